//! One shared read-only mapping per open file, handed out as [`Held`], bytes read into memory where nothing is mapped,
//! and bytes seen as numbers ([`cast`]). The only `unsafe` of the crate is here and in the handler below.
//!
//! Files are mapped only in a process that has asked for the [guard]: without its handler, a page that cannot
//! be read ends the process. All others read with `pread`, and so does everybody for a file of which a page could not be
//! read, for as long as it is open: the error is then the system's own.
//!
//! [`Map::held`] is the read path of every message, so it must cost no more than a lock that nobody contends and
//! a reference count: no system call, no allocation. Two decisions make that so.
//!
//! *The mapping is longer than the file.* Address space is free and a page beyond the end of a file becomes
//! readable the moment the file grows over it, so one mapping made over the length a file is expected to reach
//! serves a segment for its whole life, also while it is being appended to. What guards the space beyond the end
//! is not the mapping but the length check below.
//!
//! *Nothing is read around what is asked for.* Small ranges lie anywhere: of a store that is larger than memory, the
//! 128 KiB that the system likes to read around a page are mostly never used, and throw out what is. For a large range
//! it is told what will be needed, and reads that at once.
//!
//! *The length is remembered.* A file of ours shrinks only through [`Map::set_len`], so a length once seen is a
//! bound that stays good, and the system is asked again only for a range beyond it. A process that follows a store
//! it does not write sees the writer's cuts late: it is safe because a writer cuts only space that no record lies
//! in (see `File::set_len`), and a reader asks only for records.
//!
//! `MmapOptions::map_if_safe` is not tried: it accepts a sealed memfd or a file under fs-verity, which the files of
//! a volume never are, maps no further than the present end, and would cost two system calls to hear "no".
//!
//! What nothing here notices: another program that writes into a mapped file behind bytes that were handed out. Mode
//! 0700 and the writer lock keep others out.

mod asked;
mod guard;
mod held;
mod table;

use std::fs::File;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use memmap2::{Advice, MmapOptions, MmapRaw};
use parking_lot::RwLock;
use rustix::buffer::spare_capacity;
use rustix::io::retry_on_intr;

pub use self::guard::{install_guard, still_good};
pub use self::held::Held;
pub use self::table::faults;

use self::asked::Asked;
use self::table::Slot;
use super::direct::{or_direct, read_into};
use super::is_of_the_medium;
use crate::mail::Flags;

/// The mapping of one open file, made when first needed and again when outgrown.
///
/// Bytes that came from an outgrown mapping keep it alive for as long as they are held.
#[derive(Debug, Default)]
pub(super) struct Map {
    state: RwLock<State>,
}

/// A range of so many bytes is read ahead, in steps of at most so many: the system cuts a longer hint short.
const LARGE: usize = 32 << 10;
const STEP: usize = 256 << 10;

/// What a [`Map`] knows of its file.
#[derive(Debug, Default)]
struct State {
    mapped: Option<Mapped>,
    /// The file is not mapped any more: a page could not be read, or there was no room in the table.
    is_unmapped: bool,
    /// The file is at least this many bytes long.
    known_len: u64,
    /// The length the file is expected to reach.
    expected_len: u64,
}

/// A mapping that is handed out from.
#[derive(Debug)]
struct Mapped {
    /// To tell the system what it is needed for.
    raw: Arc<MmapRaw>,
    slot: &'static Slot,
    asked: Asked,
    /// All of it. May reach beyond the end of the file, so it is only ever cut into slices and never looked into.
    whole: Bytes,
}

impl Map {
    /// Makes the next mapping reach at least `len` bytes.
    pub(super) fn expect_len(&self, len: u64) {
        let mut state = self.state.write();
        state.expected_len = state.expected_len.max(len);
    }

    /// `len` bytes of `file` at `offset`, mapped where that may be; `file` must be the same file in every call.
    ///
    /// # Errors
    /// `UnexpectedEof` when the range leaves the file, or what the system says.
    pub(super) fn held(&self, file: &File, offset: u64, len: usize) -> io::Result<Held> {
        let end = end_of(offset, len)?;
        let known = {
            let state = self.state.read();
            if let Some(found) = state.cut(offset, end) {
                return Ok(found);
            }
            !state.may_be_mapped() && end <= state.known_len
        };
        if !known {
            let mut state = self.state.write();
            state.reach(file, end)?;
            if let Some(found) = state.cut(offset, end) {
                return Ok(found);
            }
            if end > state.known_len {
                return Err(beyond_end(offset, len));
            }
        }
        Ok(Held::owned(read(file, offset, len)?))
    }

    /// `len` bytes of `file` at `offset`, in memory of their own: copied where the file is mapped already, which no
    /// system call is needed for.
    ///
    /// # Errors
    /// As [`Map::held`].
    pub(super) fn copied(&self, file: &File, offset: u64, len: usize) -> io::Result<Bytes> {
        let end = end_of(offset, len)?;
        let (found, known_len) = {
            let state = self.state.read();
            (state.cut(offset, end), state.known_len)
        };
        if let Some(copy) = found.and_then(|found| found.copy()) {
            return Ok(copy);
        }
        if end > known_len {
            let mut state = self.state.write();
            state.known_len = file.metadata()?.len();
            if end > state.known_len {
                return Err(beyond_end(offset, len));
            }
        }
        read(file, offset, len)
    }

    /// As [`copied`](Map::copied), into all of `buf`.
    ///
    /// # Errors
    /// As [`Map::held`].
    pub(super) fn copy_to(&self, file: &File, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let end = end_of(offset, buf.len())?;
        let found = self.state.read().cut(offset, end);
        if found.is_some_and(|found| found.copy_to(buf)) {
            return Ok(());
        }
        fill(file, offset, buf)
    }

    /// Changes the file's length through `change`, having first forgotten a known length that it may undo.
    ///
    /// # Errors
    /// What `change` returns.
    pub(super) fn set_len(
        &self,
        len: u64,
        change: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        // The lock is held across the change: a reader that came between would learn the old length again.
        let mut state = self.state.write();
        state.known_len = state.known_len.min(len);
        change()
    }
}

impl State {
    /// The range, if it is mapped, known to lie inside the file, and no page of the mapping ever failed.
    fn cut(&self, offset: u64, end: u64) -> Option<Held> {
        let mapped = self.mapped.as_ref()?;
        if end > self.known_len || !mapped.slot.is_good() {
            return None;
        }
        let (from, to) = (usize::try_from(offset).ok()?, usize::try_from(end).ok()?);
        let found = (to <= mapped.whole.len()).then(|| mapped.whole.slice(from..to))?;
        if to - from >= LARGE && mapped.asked.is_due(from, to) {
            // A hint: without it the pages come one by one.
            for step in (from..to).step_by(STEP) {
                let len = STEP.min(to - step);
                let _ = mapped.raw.advise_range(Advice::WillNeed, step, len);
            }
        }
        Some(Held::mapped(found, mapped.slot))
    }

    fn may_be_mapped(&self) -> bool {
        guard::is_installed() && !self.is_unmapped
    }

    /// Learns the file's length now, and maps it anew if it may be mapped, and `end` lies in the file but not in the
    /// mapping.
    fn reach(&mut self, file: &File, end: u64) -> io::Result<()> {
        self.known_len = file.metadata()?.len();
        if self
            .mapped
            .as_ref()
            .is_some_and(|mapped| !mapped.slot.is_good())
        {
            // What is held of it stays as it is; whoever reads from now on hears what the system says.
            self.is_unmapped = true;
            self.mapped = None;
        }
        let len = self.mapped.as_ref().map_or(0, |mapped| mapped.whole.len());
        let is_served = usize::try_from(end).is_ok_and(|end| end <= len);
        if is_served || end > self.known_len || !self.may_be_mapped() {
            return Ok(());
        }
        // At least twice the last one: a file that grows past every expectation is mapped log(n) times, not n.
        let doubled = u64::try_from(len).map_or(0, |len| len.saturating_mul(2));
        let wanted = self.known_len.max(self.expected_len).max(doubled);
        // Another handler may have taken the guard's place since: then nothing more is mapped.
        self.mapped = guard::is_in_place()
            // Where address space is short (a limit), what is there now is enough.
            .then(|| {
                map(file, wanted)
                    .or_else(|_| map(file, self.known_len))
                    .ok()
            })
            .flatten();
        self.is_unmapped = self.mapped.is_none();
        Ok(())
    }
}

fn end_of(offset: u64, len: usize) -> io::Result<u64> {
    let end = u64::try_from(len)
        .ok()
        .and_then(|len| offset.checked_add(len));
    end.ok_or_else(|| beyond_end(offset, len))
}

/// The refusal of a range that is not in the file.
fn beyond_end(offset: u64, len: usize) -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        format!("{len} bytes at {offset} are not in the file"),
    )
}

/// From so many bytes on a range is read by two threads into large pages: most of the time would go into the pages of the
/// memory that it is read into.
const HALVED: usize = 4 << 20;

/// Reads a range that lies inside the file, as far as is known.
fn read(file: &File, offset: u64, len: usize) -> io::Result<Bytes> {
    if len >= HALVED {
        return read_halves(file, offset, len);
    }
    let mut bytes = Vec::new();
    bytes
        .try_reserve_exact(len)
        .map_err(|_| io::ErrorKind::OutOfMemory)?;
    while bytes.len() < len {
        let at = end_of(offset, bytes.len())?;
        let read = retry_on_intr(|| rustix::io::pread(file, spare_capacity(&mut bytes), at));
        let read = match read {
            Err(errno) if is_of_the_medium(&errno.into()) => {
                let had = bytes.len();
                bytes.resize(len, 0);
                let rest = bytes.get_mut(had..).unwrap_or_default();
                let found = or_direct(Err(errno), file, rest, at)?;
                bytes.truncate(had + found);
                found
            }
            read => read?,
        };
        if read == 0 {
            // It was longer once: somebody has cut it.
            return Err(beyond_end(offset, len));
        }
    }
    bytes.truncate(len);
    Ok(bytes.into())
}

fn read_halves(file: &File, offset: u64, len: usize) -> io::Result<Bytes> {
    let mut memory = MmapOptions::new().len(len).map_anon()?;
    #[cfg(target_os = "linux")]
    let _ = memory.advise(Advice::HugePage); // a hint
    let middle = (len / 2).next_multiple_of(STEP);
    let (front, back) = memory.split_at_mut(middle);
    let at = end_of(offset, middle)?;
    let by_other = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("mailkeep-read".into());
        let other = thread.spawn_scoped(scope, || fill(file, at, back)).ok();
        fill(file, offset, front)?;
        io::Result::Ok(other.and_then(|other| other.join().ok()))
    })?;
    // Alone, where no thread was to be had, or it ended otherwise.
    by_other.unwrap_or_else(|| fill(file, at, back))?;
    Ok(Bytes::from_owner(memory))
}

/// Reads into all of `memory`.
fn fill(file: &File, offset: u64, memory: &mut [u8]) -> io::Result<()> {
    if read_into(file, memory, offset)? < memory.len() {
        // It was longer once: somebody has cut it.
        return Err(beyond_end(offset, memory.len()));
    }
    Ok(())
}

/// Maps the first `len` bytes of `file`, be they there yet or not, and enters them. `len` is not 0.
fn map(file: &File, len: u64) -> io::Result<Mapped> {
    let len = usize::try_from(len).map_err(|_| io::ErrorKind::OutOfMemory)?;
    let raw = MmapOptions::new().len(len).map_raw_read_only(file)?;
    // A hint, as above.
    let _ = raw.advise(Advice::Random);
    let slot = Slot::enter(raw.as_ptr().addr(), len).ok_or(io::ErrorKind::OutOfMemory)?;
    let raw = Arc::new(raw);
    let whole = Bytes::from_owner(Mapping {
        raw: Arc::clone(&raw),
        slot,
    });
    Ok(Mapped {
        raw,
        slot,
        asked: Asked::new(len),
        whole,
    })
}

/// A read-only shared mapping that `Bytes` may own.
struct Mapping {
    raw: Arc<MmapRaw>,
    slot: &'static Slot,
}

impl Drop for Mapping {
    /// The last slice of it is gone. The table is told before it is unmapped: an address that is given to somebody else
    /// afterwards is not ours any more.
    fn drop(&mut self) {
        self.slot.leave();
    }
}

#[allow(
    unsafe_code,
    reason = "the one place where file pages become a slice: messages are served without a copy"
)]
impl AsRef<[u8]> for Mapping {
    /// Called once, by `Bytes::from_owner`, which keeps the address and the length and reads nothing.
    fn as_ref(&self) -> &[u8] {
        // SAFETY: `from_raw_parts` asks for four things.
        //
        // 1. *One live allocation of that length, not longer than `isize::MAX`.* `raw` maps `raw.len()` bytes
        //    (memmap2 checks the bound), is not null, and is unmapped only when the last owner is dropped, as `self` is one. `Bytes` drops
        //    its owner after the last slice of it, and removing a file's name leaves its mapped pages alone.
        // 2. *Aligned and initialised.* Every address suits `u8`, and a page of a file holds some value always.
        // 3. *Readable.* Pages wholly beyond the end of the file are not. Nobody sees such a slice: this value
        //    goes into `Mapped::whole`, which is private to this file and only cut, and `State::cut` cuts nothing
        //    beyond `known_len`. That length was read from the file itself, under the lock that
        //    `Map::set_len` holds while it cuts the file. A file of a volume is cut through no other way: its
        //    directory has mode 0700 and its files are named by no other program, have one name (`fs.rs`
        //    refuses links), and the process that cuts is the one that holds the writer lock. That it cuts
        //    nothing that was handed out is the contract of `File::set_len`. Where all that fails, or the disk does,
        //    the guard's handler makes the page readable; there is no mapping without it.
        // 4. *Not written while shared.* The mapping is `PROT_READ`. A byte in it can change by a write to the
        //    file alone; writes go to the end of the active segment, beyond everything handed out, and the
        //    contract of `File::bytes` is that a range handed out is not written again. The rest of the
        //    mapping may change under a `Bytes`, and is not read through it. A page that the guard replaces does
        //    change under it, from bytes that cannot be read to zeroes, once. Whoever reads it must take any bytes
        //    for possible, as they are a file's, and ask `Held::is_good` before relying on what was found: that is a
        //    fence, so what was read before it is not read again after it.
        unsafe { std::slice::from_raw_parts(self.raw.as_ptr(), self.raw.len()) }
    }
}

/// A number of which any bytes are a value, and that is nothing but its bytes.
///
/// Sealed: [`cast`] relies on it, so that every type is named in this file and argued for there.
pub(crate) trait Plain: Copy + sealed::Plain {}

mod sealed {
    /// Keeps other modules from adding types.
    pub(crate) trait Plain {}
}

/// Names the types that are plain.
macro_rules! plain {
    ($($type:ty),*) => { $(impl sealed::Plain for $type {} impl Plain for $type {})* };
}

plain!(u8, u16, u32, u64, i16, i64, Flags);

/// `bytes` as numbers in the byte order of this machine, without copying; `None` where they do not begin at an
/// address that suits `T`, or are not a whole number of them.
#[allow(
    unsafe_code,
    reason = "columns of a million entries are scanned where they are mapped"
)]
pub(crate) fn cast<T: Plain>(bytes: &[u8]) -> Option<&[T]> {
    // SAFETY: `align_to` asks that the bytes in the middle, which it has found to be aligned and whole, are valid
    // values of `T`. Every `T` is `Plain`, sealed above and listed in one place: integers, of which all bit patterns
    // are values, and `Flags`, which is `repr(transparent)` over one of them (`mail/bits.rs`); a bit without a
    // meaning in it is a wrong value, which whoever casts must refuse, but not an invalid one. None has padding or
    // interior mutability, and the result borrows `bytes`: it lives no longer and can be written no more than they.
    let (before, numbers, after) = unsafe { bytes.align_to::<T>() };
    (before.is_empty() && after.is_empty()).then_some(numbers)
}

#[cfg(test)]
mod tests;
