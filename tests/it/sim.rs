//! A simulated disk: a [`Storage`] that records every change, and from the record builds every disk that a power
//! cut may leave behind.
//!
//! * Live, it behaves like a page cache: reads see every write.
//! * [`Sim::crash`] is the disk after a power cut: synced data and names are there; of the rest each 512-byte
//!   sector, each file length and each name is there or not, as the caller chooses (see `crash.rs` for the rules).
//! * [`Sim::killed`] is the disk after `kill -9`: all is there, and what was not synced still is not.
//! * [`Fault`]s make calls fail, [`Sim::set_space`] fills the disk, damage changes bytes at rest.
//!
//! Nothing here reads a clock or a random source: the same calls give the same disk.

// By path, so that unit tests of the library can have this file too.
#[path = "sim/crash.rs"]
mod crash;
#[path = "sim/host.rs"]
mod host;
#[path = "sim/live.rs"]
mod live;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use mailkeep::io::Storage;

pub(crate) use self::crash::{CrashPoint, Image, Pending};
pub(crate) use self::host::SimHost;

/// What a device writes whole or not at all.
pub(crate) const SECTOR: usize = 512;

/// One recorded change. Files are known by inode number: they keep it through renames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Create {
        name: String,
        inode: usize,
    },
    Write {
        inode: usize,
        offset: usize,
        bytes: Bytes,
    },
    SetLen {
        inode: usize,
        len: usize,
    },
    Sync {
        inode: usize,
    },
    SyncFailed {
        inode: usize,
        how: SyncFails,
    },
    Rename {
        from: String,
        to: String,
    },
    Remove {
        name: String,
    },
    CreateFolder {
        folder: String,
    },
    SyncDir {
        folder: String,
    },
    /// Damage: the medium holds this now, whatever was written.
    Became {
        inode: usize,
        content: Bytes,
    },
    /// Damage: the name is gone from the medium.
    Lost {
        name: String,
    },
}

/// The calls a [`Fault`] may hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Open,
    List,
    CreateFolder,
    Rename,
    Remove,
    SyncDir,
    Lock,
    Read,
    Write,
    Sync,
    Len,
    SetLen,
    Bytes,
}

impl Call {
    /// Those that change the disk; reads go on.
    pub(crate) const CHANGES: &[Self] = &[
        Self::CreateFolder,
        Self::Rename,
        Self::Remove,
        Self::SyncDir,
        Self::Write,
        Self::Sync,
        Self::SetLen,
    ];

    /// Those that change nothing; one that opens may also create.
    pub(crate) const READS: &[Self] = &[Self::Open, Self::List, Self::Read, Self::Len, Self::Bytes];
}

/// The errors of a system, by number: EIO, ENOSPC, EDQUOT, EROFS, EMFILE, ENOMEM, EINTR.
pub(crate) const ERRORS: [fn() -> io::Error; 7] = [
    || io::Error::from_raw_os_error(5),
    || io::Error::from_raw_os_error(28),
    || io::Error::from_raw_os_error(122),
    || io::Error::from_raw_os_error(30),
    || io::Error::from_raw_os_error(24),
    || io::Error::from_raw_os_error(12),
    || io::Error::from_raw_os_error(4),
];

/// What became of unsynced pages when a sync failed. In every case a later sync returns `Ok`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SyncFails {
    /// They are still dirty; a later sync stores them.
    Kept,
    /// They were marked clean and never reach the medium; the cache still shows them (ext4, xfs).
    Dropped,
    /// As `Dropped`, and the cache shows what the medium holds (btrfs, or after memory pressure).
    Reverted,
}

/// How much of a failed write reached the page cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WriteFails {
    Nothing,
    Half,
}

/// A plan to fail one call, or all from one on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    /// The calls that count; empty for all.
    pub(crate) calls: &'static [Call],
    /// How many of those succeed first.
    pub(crate) after: usize,
    /// Whether every later one fails too.
    pub(crate) forever: bool,
    pub(crate) error: fn() -> io::Error,
    pub(crate) sync: SyncFails,
    pub(crate) write: WriteFails,
}

impl Fault {
    /// `EIO`, once, after `after` calls of these kinds; a failed sync drops, a failed write does nothing.
    pub(crate) fn once(calls: &'static [Call], after: usize) -> Self {
        Self {
            calls,
            after,
            forever: false,
            error: ERRORS[0],
            sync: SyncFails::Dropped,
            write: WriteFails::Nothing,
        }
    }

    /// As [`Fault::once`], and every later call of these kinds fails too.
    pub(crate) fn from(calls: &'static [Call], after: usize) -> Self {
        Self {
            forever: true,
            ..Self::once(calls, after)
        }
    }
}

/// A handle to a simulated disk; clones share it.
#[derive(Clone, Default)]
pub(crate) struct Sim(Arc<Mutex<Disk>>);

#[derive(Default)]
struct Disk {
    /// What was durable when recording began, and what was not.
    start: CrashPoint,
    ops: Vec<Op>,
    notes: Vec<(usize, String)>,
    /// The page cache: what reads see.
    live: Image,
    locked: BTreeSet<String>,
    fault: Option<Fault>,
    counted: usize,
    hits: usize,
    space: Option<usize>,
    unreadable: Vec<(usize, Range<usize>)>,
    /// After so many more reads that fail, what is unreadable is given again.
    heals_after: Cell<Option<usize>>,
}

impl Sim {
    /// An empty disk.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// A disk on which these files, and the folders they name, are durable.
    pub(crate) fn from_files(files: BTreeMap<String, Vec<u8>>) -> Self {
        let mut image = Image::default();
        for (name, content) in files {
            if let Some((folder, _)) = name.split_once('/') {
                Arc::make_mut(&mut image.folders).insert(folder.to_owned());
            }
            image.add(&name, content);
        }
        Self::from_image(image)
    }

    /// A disk that holds this, durably.
    pub(crate) fn from_image(image: Image) -> Self {
        Self::started(image.clone(), CrashPoint::durable(image))
    }

    fn started(live: Image, start: CrashPoint) -> Self {
        Self::of(Disk {
            live,
            start,
            ..Disk::default()
        })
    }

    fn of(disk: Disk) -> Self {
        Self(Arc::new(Mutex::new(disk)))
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        // A test that panics elsewhere must not hide its reason behind a poisoned lock.
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The disk as something a store opens.
    pub(crate) fn storage(&self) -> Arc<dyn Storage> {
        Arc::new(self.clone())
    }

    /// How many changes were recorded.
    pub(crate) fn ops_len(&self) -> usize {
        self.disk().ops.len()
    }

    /// The recorded changes.
    pub(crate) fn ops(&self) -> Vec<Op> {
        self.disk().ops.clone()
    }

    /// Notes that something happened now, such as "acknowledged 7".
    pub(crate) fn note(&self, text: &str) {
        let mut disk = self.disk();
        let at = disk.ops.len();
        disk.notes.push((at, text.to_owned()));
    }

    /// What was noted before a crash right after the first `at` changes.
    pub(crate) fn notes_before(&self, at: usize) -> Vec<String> {
        let disk = self.disk();
        disk.notes
            .iter()
            .filter(|note| note.0 <= at)
            .map(|note| note.1.clone())
            .collect()
    }

    /// The file of that name now, as inode number.
    pub(crate) fn inode(&self, name: &str) -> usize {
        self.disk().live.names[name]
    }

    /// Every file a reader sees now.
    pub(crate) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        self.disk().live.files()
    }

    /// What is durable, and what is not, right after the first `at` changes: for many crashes at one point.
    pub(crate) fn crash_point(&self, at: usize) -> CrashPoint {
        let disk = self.disk();
        disk.start.after(&disk.ops[..at])
    }

    /// Every point at which the power may go, in order: after no change, after the first, and so on.
    pub(crate) fn walk(&self, visit: &mut dyn FnMut(usize, &CrashPoint)) {
        let (mut point, ops) = {
            let disk = self.disk();
            (disk.start.clone(), disk.ops.clone())
        };
        visit(0, &point);
        for (at, op) in ops.iter().enumerate() {
            point.step(op);
            visit(at + 1, &point);
        }
    }

    /// The disk as a power cut right after the first `at` changes may leave it.
    pub(crate) fn crash(&self, at: usize, choose: &mut dyn FnMut(Pending) -> bool) -> Self {
        self.crash_point(at).state(choose)
    }

    /// The disk as `kill -9` right after the first `at` changes leaves it: all is there, and what was not synced
    /// is lost in a later [`Sim::crash`] of the returned disk, whose count of changes goes on from `at`.
    pub(crate) fn killed(&self, at: usize) -> Self {
        let disk = self.disk();
        let mut live = disk.start.image(&mut |_| true);
        for (n, op) in disk.ops[..at].iter().enumerate() {
            if matches!(
                op,
                Op::SyncFailed {
                    how: SyncFails::Reverted,
                    ..
                }
            ) {
                live.revert(op, &disk.start.after(&disk.ops[..n]));
            }
            live.apply(op);
        }
        let notes = disk
            .notes
            .iter()
            .filter(|note| note.0 <= at)
            .cloned()
            .collect();
        Self::of(Disk {
            start: disk.start.clone(),
            ops: disk.ops[..at].to_vec(),
            notes,
            live,
            ..Disk::default()
        })
    }

    /// Sets (or with `None` takes away) the plan of failures, and counts calls from here.
    pub(crate) fn set_fault(&self, fault: Option<Fault>) {
        let mut disk = self.disk();
        (disk.fault, disk.counted, disk.hits) = (fault, 0, 0);
    }

    /// How many calls the present plan has failed.
    pub(crate) fn fault_hits(&self) -> usize {
        self.disk().hits
    }

    /// Limits the sum of all file lengths. Only growth fails for space, never a write inside a file.
    pub(crate) fn set_space(&self, bytes: Option<usize>) {
        self.disk().space = bytes;
    }

    /// Makes reads that touch this range fail with `EIO`.
    pub(crate) fn fail_reads(&self, name: &str, range: Range<usize>) {
        let mut disk = self.disk();
        let inode = disk.live.names[name];
        disk.unreadable.push((inode, range));
    }

    /// The medium gives everything again once so many reads have failed.
    pub(crate) fn heal_reads_after(&self, failed: usize) {
        self.disk().heals_after.set(Some(failed));
    }

    /// The medium gives everything again.
    pub(crate) fn heal_reads(&self) {
        let mut disk = self.disk();
        disk.unreadable.clear();
        disk.heals_after.set(None);
    }

    /// Damage: inverts one bit.
    pub(crate) fn flip(&self, name: &str, bit: usize) {
        self.damage(name, |content| content[bit / 8] ^= 1 << (bit % 8));
    }

    /// Damage: a sector reads as zeroes.
    pub(crate) fn zero_sector(&self, name: &str, sector: usize) {
        self.damage(name, |content| {
            let range = sector_range(content.len(), sector);
            content[range].fill(0);
        });
    }

    /// Damage: a sector holds what another one holds (a misdirected or stale write).
    pub(crate) fn copy_sector(&self, from: (&str, usize), to: (&str, usize)) {
        let source = self.files()[from.0].clone();
        let source = &source[sector_range(source.len(), from.1)];
        self.damage(to.0, |content| {
            let range = sector_range(content.len(), to.1);
            content[range]
                .iter_mut()
                .zip(source)
                .for_each(|(to, from)| *to = *from);
        });
    }

    /// Damage: the file ends early.
    pub(crate) fn truncate(&self, name: &str, len: usize) {
        self.damage(name, |content| content.truncate(len));
    }

    /// Damage: the file is gone.
    pub(crate) fn lose(&self, name: &str) {
        self.disk().record(Op::Lost {
            name: name.to_owned(),
        });
    }

    fn damage(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        assert!(self.damage_if_there(name, change), "{name} is there");
    }

    /// Damage: the file, if there is one of that name, holds something else.
    pub(crate) fn damage_if_there(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> bool {
        let mut disk = self.disk();
        let Some(inode) = disk.live.names.get(name).copied() else {
            return false;
        };
        let mut content = disk.live.inodes[inode].to_vec();
        change(&mut content);
        disk.record(Op::Became {
            inode,
            content: content.into(),
        });
        true
    }
}

/// The bytes of a sector in a file of `len` bytes; the last one may be short.
fn sector_range(len: usize, sector: usize) -> Range<usize> {
    sector * SECTOR..((sector + 1) * SECTOR).min(len)
}

impl Disk {
    fn record(&mut self, op: Op) {
        self.live.apply(&op);
        self.ops.push(op);
    }

    /// Counts a call, and says whether the plan fails it.
    fn struck(&mut self, call: Call) -> Option<Fault> {
        let fault = self
            .fault
            .filter(|fault| fault.calls.is_empty() || fault.calls.contains(&call))?;
        self.counted += 1;
        let passed = self.counted - 1;
        let strikes = passed == fault.after || (fault.forever && passed > fault.after);
        self.hits += usize::from(strikes);
        strikes.then_some(fault)
    }

    /// [`Disk::struck`] for calls that fail without a trace.
    fn passes(&mut self, call: Call) -> io::Result<()> {
        self.struck(call)
            .map_or(Ok(()), |fault| Err((fault.error)()))
    }

    fn inode(&self, name: &str) -> io::Result<usize> {
        self.live
            .names
            .get(name)
            .copied()
            .ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn folder(&self, folder: &str) -> io::Result<()> {
        if folder.is_empty() || self.live.folders.contains(folder) {
            Ok(())
        } else {
            Err(ErrorKind::NotFound.into())
        }
    }

    /// How long a file of `old` bytes may become.
    fn room(&self, old: usize) -> usize {
        let used: usize = self
            .live
            .names
            .values()
            .map(|inode| self.live.inodes[*inode].len())
            .sum();
        self.space
            .map_or(usize::MAX, |space| old + space.saturating_sub(used))
    }

    fn write(&mut self, inode: usize, offset: usize, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.record(Op::Write {
                inode,
                offset,
                bytes: Bytes::copy_from_slice(bytes),
            });
        }
    }

    fn read(&self, inode: usize, range: Range<usize>) -> io::Result<&[u8]> {
        let bad = |(at, bad): &(usize, Range<usize>)| {
            *at == inode && bad.start < range.end && range.start < bad.end
        };
        if self.unreadable.iter().any(bad) && self.heals_after.get() != Some(0) {
            let left = self.heals_after.get();
            self.heals_after.set(left.map(|left| left - 1));
            return Err(io::Error::from_raw_os_error(5));
        }
        Ok(&self.live.inodes[inode][range])
    }
}

/// The folder that a name is in.
fn folder_of(name: &str) -> &str {
    name.split_once('/').map_or("", |(folder, _)| folder)
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sim({} changes)", self.ops_len())
    }
}
