//! One shared read-only mapping per open file, handed out as [`Bytes`], and bytes seen as numbers ([`cast`]). The only
//! `unsafe` of the crate.
//!
//! [`Map::bytes`] is the read path of every message, so it must cost no more than a lock that nobody contends and
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
//! What this cannot guard against: another program that cuts a mapped file (the reader is killed by `SIGBUS`) or
//! writes into it, and a medium that fails to deliver a page. Mode 0700 and the writer lock keep others out.

use std::fs::File;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use memmap2::{Advice, MmapOptions, MmapRaw};
use parking_lot::RwLock;

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
    /// The mapping behind `whole`, to tell the system what it is needed for.
    raw: Option<Arc<MmapRaw>>,
    /// The whole mapping; empty before the first use. May reach beyond the end of the file, so it is only ever
    /// cut into slices and never looked into.
    whole: Bytes,
    /// The file is at least this many bytes long.
    known_len: u64,
    /// The length the file is expected to reach.
    expected_len: u64,
}

impl Map {
    /// Makes the next mapping reach at least `len` bytes.
    pub(super) fn expect_len(&self, len: u64) {
        let mut state = self.state.write();
        state.expected_len = state.expected_len.max(len);
    }

    /// `len` bytes of `file` at `offset`; `file` must be the same file in every call.
    ///
    /// # Errors
    /// `UnexpectedEof` when the range leaves the file, or why it cannot be mapped.
    pub(super) fn bytes(&self, file: &File, offset: u64, len: usize) -> io::Result<Bytes> {
        let Some(end) = u64::try_from(len)
            .ok()
            .and_then(|len| offset.checked_add(len))
        else {
            return Err(beyond_end(offset, len));
        };
        if let Some(found) = self.state.read().cut(offset, end) {
            return Ok(found);
        }
        let mut state = self.state.write();
        state.reach(file, end)?;
        state
            .cut(offset, end)
            .ok_or_else(|| beyond_end(offset, len))
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
    /// The range, if it is mapped and known to lie inside the file.
    fn cut(&self, offset: u64, end: u64) -> Option<Bytes> {
        if end > self.known_len {
            return None;
        }
        let (from, to) = (usize::try_from(offset).ok()?, usize::try_from(end).ok()?);
        let found = (to <= self.whole.len()).then(|| self.whole.slice(from..to))?;
        if to - from >= LARGE
            && let Some(raw) = &self.raw
        {
            // A hint: without it the pages come one by one.
            for step in (from..to).step_by(STEP) {
                let _ = raw.advise_range(Advice::WillNeed, step, STEP.min(to - step));
            }
        }
        Some(found)
    }

    /// Learns the file's length now, and maps it anew if `end` lies in the file but not in the mapping.
    fn reach(&mut self, file: &File, end: u64) -> io::Result<()> {
        self.known_len = file.metadata()?.len();
        if end > self.known_len || usize::try_from(end).is_ok_and(|end| end <= self.whole.len()) {
            return Ok(());
        }
        // At least twice the last one: a file that grows past every expectation is mapped log(n) times, not n.
        let doubled = u64::try_from(self.whole.len()).map_or(0, |len| len.saturating_mul(2));
        let wanted = self.known_len.max(self.expected_len).max(doubled);
        // Where address space is short (a 32-bit machine, a limit), what is there now is enough.
        let raw = map(file, wanted).or_else(|_| map(file, self.known_len))?;
        self.whole = Bytes::from_owner(Mapping {
            raw: Arc::clone(&raw),
        });
        self.raw = Some(raw);
        Ok(())
    }
}

/// The refusal of a range that is not in the file.
fn beyond_end(offset: u64, len: usize) -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        format!("{len} bytes at {offset} are not in the file"),
    )
}

/// Maps the first `len` bytes of `file`, be they there yet or not. `len` is not 0.
fn map(file: &File, len: u64) -> io::Result<Arc<MmapRaw>> {
    let len = usize::try_from(len).map_err(|_| io::ErrorKind::OutOfMemory)?;
    let raw = MmapOptions::new().len(len).map_raw_read_only(file)?;
    // A hint, as above.
    let _ = raw.advise(Advice::Random);
    Ok(Arc::new(raw))
}

/// A read-only shared mapping that `Bytes` may own.
struct Mapping {
    raw: Arc<MmapRaw>,
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
        //    goes into `State::whole`, which is private to this file and only cut, and `State::cut` cuts nothing
        //    beyond `known_len`. That length was read from the file itself, under the lock that
        //    `Map::set_len` holds while it cuts the file. A file of a volume is cut through no other way: its
        //    directory has mode 0700 and its files are named by no other program, have one name (`fs.rs`
        //    refuses links), and the process that cuts is the one that holds the writer lock. That it cuts
        //    nothing that was handed out is the contract of `File::set_len`.
        // 4. *Not written while shared.* The mapping is `PROT_READ`. A byte in it can change by a write to the
        //    file alone; writes go to the end of the active segment, beyond everything handed out, and the
        //    contract of `File::bytes` is that a range handed out is not written again. The rest of the
        //    mapping may change under a `Bytes`, and is not read through it.
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
mod tests {
    use std::io::ErrorKind;
    use std::os::unix::fs::FileExt;

    use super::*;

    fn file_of(content: &[u8]) -> File {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(content, 0).unwrap();
        file
    }

    fn address(bytes: &Bytes) -> usize {
        bytes.as_ptr().addr()
    }

    /// Goal: a cast gives every number, in place, or nothing.
    #[test]
    fn bytes_are_seen_as_numbers_where_they_lie_right() {
        let numbers = [0x0201_u16, 0x0403, 0x0605, 0x0807].map(u16::to_le);
        let file = file_of(&[1, 2, 3, 4, 5, 6, 7, 8]);
        let mapped = Map::default().bytes(&file, 0, 8).unwrap();
        assert_eq!(
            cast::<u16>(&mapped).unwrap().as_ptr().addr(),
            address(&mapped)
        );
        assert_eq!(cast::<u16>(&mapped).unwrap(), numbers);
        assert_eq!(
            cast::<u64>(&mapped).unwrap(),
            [0x0807_0605_0403_0201_u64.to_le()]
        );
        assert_eq!(cast::<u8>(&mapped[1..]).unwrap().len(), 7);
        assert!(cast::<u16>(&mapped[1..7]).is_none(), "an odd address");
        assert!(
            cast::<u32>(&mapped[..6]).is_none(),
            "not a whole number of them"
        );
        assert!(cast::<i64>(&mapped[4..]).is_none());
        assert_eq!(cast::<i64>(&mapped[..0]).map(<[i64]>::len), Some(0));
    }

    /// Goal: a flag set takes any bits: to be refused by who casts.
    #[test]
    fn flags_are_their_bits() {
        let file = file_of(&[1, 0, 31, 0]);
        let mapped = Map::default().bytes(&file, 0, 4).unwrap();
        let flags = cast::<Flags>(&mapped).unwrap();
        if cfg!(target_endian = "little") {
            assert_eq!(flags[0], Flags::SEEN);
            assert_eq!(flags[1].bits(), 31);
        }
        assert_eq!((size_of::<Flags>(), align_of::<Flags>()), (2, 2));
    }

    #[test]
    fn many_calls_share_one_mapping() {
        let (file, map) = (file_of(b"0123456789"), Map::default());
        let whole = map.bytes(&file, 0, 10).unwrap();
        let part = map.bytes(&file, 3, 4).unwrap();
        assert_eq!(&part[..], b"3456");
        assert_eq!(address(&part), address(&whole) + 3);
    }

    #[test]
    fn one_mapping_serves_a_file_that_grows_to_its_expected_length() {
        let (file, map) = (file_of(b"first"), Map::default());
        map.expect_len(1 << 20);
        let first = map.bytes(&file, 0, 5).unwrap();
        for at in [5_u64, 4096, 70_000, (1 << 20) - 4] {
            file.write_all_at(b"more", at).unwrap();
            let more = map.bytes(&file, at, 4).unwrap();
            assert_eq!(&more[..], b"more");
            assert_eq!(
                address(&more),
                address(&first) + usize::try_from(at).unwrap()
            );
        }
        assert_eq!(&first[..], b"first");
    }

    #[test]
    fn a_file_that_outgrows_its_mapping_is_mapped_again_and_old_bytes_stay() {
        let (file, map) = (file_of(b"old"), Map::default());
        let old = map.bytes(&file, 0, 3).unwrap();
        file.write_all_at(b"new", 1 << 20).unwrap();
        let new = map.bytes(&file, 1 << 20, 3).unwrap();
        let again = map.bytes(&file, 0, 3).unwrap();
        assert_eq!(
            (&old[..], &new[..], &again[..]),
            (&b"old"[..], &b"new"[..], &b"old"[..])
        );
        assert_eq!(address(&new), address(&again) + (1 << 20));
        drop(map);
        assert_eq!(&old[..], b"old");
    }

    #[test]
    fn a_range_past_the_end_is_refused_also_inside_the_mapping() {
        let (file, map) = (file_of(b"12345"), Map::default());
        map.expect_len(1 << 20);
        map.bytes(&file, 0, 5).unwrap();
        for (offset, len) in [
            (0, 6),
            (5, 1),
            (4, 2),
            (4096, 1),
            (u64::MAX, 1),
            (1, usize::MAX),
        ] {
            let error = map.bytes(&file, offset, len).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{len} at {offset}");
        }
        assert!(map.bytes(&file, 5, 0).unwrap().is_empty());
        assert_eq!(
            map.bytes(&file, 6, 0).unwrap_err().kind(),
            ErrorKind::UnexpectedEof
        );
    }

    #[test]
    fn an_empty_file_has_the_empty_range_only() {
        let (file, map) = (file_of(b""), Map::default());
        assert!(map.bytes(&file, 0, 0).unwrap().is_empty());
        assert_eq!(
            map.bytes(&file, 0, 1).unwrap_err().kind(),
            ErrorKind::UnexpectedEof
        );
    }

    #[test]
    fn a_cut_file_is_not_read_past_its_new_end() {
        let (file, map) = (file_of(&[7; 10_000]), Map::default());
        map.bytes(&file, 9_999, 1).unwrap();
        map.set_len(100, || file.set_len(100)).unwrap();
        assert_eq!(
            map.bytes(&file, 9_999, 1).unwrap_err().kind(),
            ErrorKind::UnexpectedEof
        );
        assert_eq!(map.bytes(&file, 99, 1).unwrap()[..], [7]);
        map.set_len(200, || file.set_len(200)).unwrap();
        assert_eq!(map.bytes(&file, 99, 2).unwrap()[..], [7, 0]);
    }

    #[test]
    fn an_expectation_that_cannot_be_mapped_does_no_harm() {
        let (file, map) = (file_of(b"mail"), Map::default());
        map.expect_len(u64::MAX);
        assert_eq!(&map.bytes(&file, 0, 4).unwrap()[..], b"mail");
    }

    #[test]
    fn readers_on_many_threads_follow_a_writer() {
        let (file, map) = (file_of(b""), Map::default());
        std::thread::scope(|threads| {
            for _ in 0..3 {
                threads.spawn(|| {
                    let mut at = 0;
                    while at < 3_000 {
                        match map.bytes(&file, at * 8, 8) {
                            Ok(found) => assert_eq!(found[..], at.to_le_bytes()),
                            Err(error) if error.kind() == ErrorKind::UnexpectedEof => continue,
                            Err(error) => panic!("{error}"),
                        }
                        at += 1;
                    }
                });
            }
            for at in 0..3_000_u64 {
                file.write_all_at(&at.to_le_bytes(), at * 8).unwrap();
            }
        });
    }
}
