//! Devices that fail on command: files of a small FUSE file system, each of which holds a [`Medium`].
//!
//! A loop device on such a file is a block device whose every read, write and flush passes here.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, UNIX_EPOCH};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty,
    ReplyEntry, ReplyOpen, ReplyWrite, Request, WriteFlags,
};

use crate::medium::{Medium, SECTOR, places};

/// Files keep their length and their name as long as they are there.
const TTL: Duration = Duration::from_secs(60);
const ROOT: u64 = 1;

/// Which accesses a fault hits.
#[derive(Clone, Debug)]
pub(crate) enum Spot {
    /// Those that touch these bytes of the device.
    Range(Range<u64>),
    /// Those that carry these bytes.
    Holding(Vec<u8>),
}

impl Spot {
    fn hit(&self, offset: u64, bytes: &[u8]) -> bool {
        match self {
            Self::Range(range) => range.start < offset + bytes.len() as u64 && offset < range.end,
            Self::Holding(wanted) => places(bytes, wanted).next().is_some(),
        }
    }
}

/// A fault, and how often it strikes yet.
struct Fault {
    spot: Spot,
    left: u64,
}

/// What a device did since it was made.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) reads: u64,
    pub(crate) writes: u64,
    pub(crate) syncs: u64,
    /// Calls that a fault has failed.
    pub(crate) failed: u64,
}

struct Device {
    medium: Medium,
    bad_reads: Vec<Fault>,
    bad_writes: Vec<Fault>,
    bad_syncs: u64,
    dead: bool,
    /// Bytes that may be taken yet by writes to places never written before.
    room: Option<u64>,
    trap: Option<Trap>,
    counts: Counts,
}

/// A snapshot to be taken right after a write that is yet to come.
struct Trap {
    writes: u64,
    sprung: Option<Medium>,
}

impl Device {
    fn new(medium: Medium) -> Self {
        Self {
            medium,
            bad_reads: Vec::new(),
            bad_writes: Vec::new(),
            bad_syncs: 0,
            dead: false,
            room: None,
            trap: None,
            counts: Counts::default(),
        }
    }

    fn has_sprung(&self) -> bool {
        self.trap.as_ref().is_some_and(|trap| trap.sprung.is_some())
    }

    fn fail(&mut self, error: Errno) -> Errno {
        self.counts.failed += 1;
        error
    }

    fn read(&mut self, offset: u64, len: usize) -> Result<Vec<u8>, Errno> {
        self.counts.reads += 1;
        let end = self.medium.len().min(offset.saturating_add(len as u64));
        let mut out = vec![0; end.saturating_sub(offset) as usize];
        self.medium.read(offset, &mut out);
        if self.dead || struck(&mut self.bad_reads, offset, &out) {
            return Err(self.fail(Errno::EIO));
        }
        Ok(out)
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        self.counts.writes += 1;
        if self.dead || struck(&mut self.bad_writes, offset, bytes) {
            return Err(self.fail(Errno::EIO));
        }
        if offset + bytes.len() as u64 > self.medium.len() {
            return Err(Errno::ENOSPC);
        }
        if let Some(room) = &mut self.room {
            let fresh = self.medium.fresh(offset, bytes);
            if fresh > *room {
                return Err(self.fail(Errno::ENOSPC));
            }
            *room -= fresh;
        }
        self.medium.write(offset, bytes);
        if let Some(trap) = self.trap.as_mut().filter(|trap| trap.sprung.is_none()) {
            trap.writes = trap.writes.saturating_sub(1);
            if trap.writes == 0 {
                trap.sprung = Some(self.medium.clone());
            }
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), Errno> {
        self.counts.syncs += 1;
        if self.dead {
            return Err(self.fail(Errno::EIO));
        }
        if self.bad_syncs > 0 {
            self.bad_syncs -= 1;
            return Err(self.fail(Errno::EIO));
        }
        self.medium.sync();
        Ok(())
    }
}

fn struck(faults: &mut [Fault], offset: u64, bytes: &[u8]) -> bool {
    let fits = |fault: &&mut Fault| fault.left > 0 && fault.spot.hit(offset, bytes);
    match faults.iter_mut().find(fits) {
        Some(fault) => {
            fault.left -= 1;
            true
        }
        None => false,
    }
}

#[derive(Default)]
struct Shelf {
    devices: BTreeMap<u64, Device>,
    /// Inodes and names are never given twice.
    given: u64,
}

type Shared = Arc<Mutex<Shelf>>;

fn lock(shelf: &Shared) -> MutexGuard<'_, Shelf> {
    shelf.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The mounted file system. Its process must not use what is mounted on its devices, or nobody could answer it.
pub(crate) struct Rack {
    shelf: Shared,
    path: PathBuf,
    /// Unmounts when it is dropped.
    _session: BackgroundSession,
}

impl Rack {
    /// Mounts an empty rack at `path`.
    pub(crate) fn mount(path: &Path) -> std::io::Result<Self> {
        std::fs::create_dir_all(path)?;
        let shelf = Shared::default();
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("mailkeep-disks".into())];
        let session = fuser::spawn_mount(Files(Arc::clone(&shelf)), path, &config)?;
        Ok(Self {
            shelf,
            path: path.to_owned(),
            _session: session,
        })
    }

    /// Puts a device on it.
    pub(crate) fn insert(&self, medium: Medium) -> Disk {
        let mut shelf = lock(&self.shelf);
        shelf.given += 1;
        let inode = ROOT + shelf.given;
        shelf.devices.insert(inode, Device::new(medium));
        Disk {
            shelf: Arc::clone(&self.shelf),
            inode,
            path: self.path.join(inode.to_string()),
        }
    }
}

/// One device. Dropping it takes its medium away: what still uses it meets errors.
pub(crate) struct Disk {
    shelf: Shared,
    inode: u64,
    path: PathBuf,
}

impl Disk {
    /// The file that a loop device is put on.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn with<T>(&self, act: impl FnOnce(&mut Device) -> T) -> T {
        let mut shelf = lock(&self.shelf);
        act(shelf.devices.get_mut(&self.inode).expect("it is there"))
    }

    /// The next `times` reads that hit the spot fail with `EIO`.
    pub(crate) fn eio_read(&self, spot: Spot, times: u64) {
        self.with(|device| device.bad_reads.push(Fault { spot, left: times }));
    }

    /// The next `times` writes that hit the spot fail with `EIO` and change nothing.
    pub(crate) fn eio_write(&self, spot: Spot, times: u64) {
        self.with(|device| device.bad_writes.push(Fault { spot, left: times }));
    }

    /// The next `times` flushes fail with `EIO` and make nothing durable.
    pub(crate) fn eio_sync(&self, times: u64) {
        self.with(|device| device.bad_syncs = times);
    }

    /// The device answers everything with `EIO`, or answers again.
    pub(crate) fn dead(&self, dead: bool) {
        self.with(|device| device.dead = dead);
    }

    /// A thin volume: only so many bytes can be written yet to places that were never written before.
    pub(crate) fn enospc(&self, bytes: u64) {
        self.with(|device| device.room = Some(bytes));
    }

    /// The device is sound again. Nothing comes back of what it has lost.
    pub(crate) fn clear(&self) {
        self.with(|device| {
            device.bad_reads.clear();
            device.bad_writes.clear();
            device.bad_syncs = 0;
            device.dead = false;
            device.room = None;
        });
    }

    /// Damage: inverts bits of one byte.
    pub(crate) fn flip(&self, offset: u64, mask: u8) {
        self.with(|device| device.medium.flip(offset, mask));
    }

    /// All that was written is durable: for the time before a test begins.
    pub(crate) fn settle(&self) {
        self.with(|device| device.medium.sync());
    }

    /// What a power cut at this moment leaves, and how many writes no flush had covered.
    pub(crate) fn snapshot(&self, seed: u64) -> (Medium, usize) {
        let medium = self.medium();
        (medium.crash(seed), medium.unsynced())
    }

    /// As [`snapshot`](Self::snapshot), at the moment after that many writes more: some are not flushed then. It does not
    /// wait for ever.
    pub(crate) fn snapshot_after(&self, writes: u64, seed: u64) -> (Medium, usize) {
        let sprung = None;
        self.with(|device| device.trap = Some(Trap { writes, sprung }));
        let until = Instant::now() + Duration::from_millis(300);
        while Instant::now() < until && self.with(|device| !device.has_sprung()) {
            std::thread::sleep(Duration::from_micros(200));
        }
        let sprung = self
            .with(|device| device.trap.take())
            .and_then(|trap| trap.sprung);
        let medium = sprung.unwrap_or_else(|| self.medium());
        (medium.crash(seed), medium.unsynced())
    }

    /// What the device shows now.
    pub(crate) fn medium(&self) -> Medium {
        self.with(|device| device.medium.clone())
    }

    pub(crate) fn counts(&self) -> Counts {
        self.with(|device| device.counts)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        lock(&self.shelf).devices.remove(&self.inode);
    }
}

/// The rack as the kernel sees it.
struct Files(Shared);

impl Files {
    fn with<T>(
        &self,
        inode: INodeNo,
        act: impl FnOnce(&mut Device) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let mut shelf = lock(&self.0);
        act(shelf.devices.get_mut(&inode.0).ok_or(Errno::EIO)?)
    }

    fn attr(&self, inode: INodeNo) -> Result<FileAttr, Errno> {
        if inode.0 == ROOT {
            return Ok(attr(ROOT, FileType::Directory, 0));
        }
        self.with(inode, |device| {
            Ok(attr(inode.0, FileType::RegularFile, device.medium.len()))
        })
    }
}

fn attr(inode: u64, kind: FileType, size: u64) -> FileAttr {
    FileAttr {
        ino: INodeNo(inode),
        size,
        blocks: size / SECTOR as u64,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind,
        perm: 0o700,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

impl Filesystem for Files {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let inode = name.to_str().and_then(|name| name.parse().ok());
        match inode.map(|inode| self.attr(INodeNo(inode))) {
            Some(Ok(attr)) => reply.entry(&TTL, &attr, Generation(0)),
            _ => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.attr(inode) {
            Ok(attr) => reply.attr(&TTL, &attr),
            Err(error) => reply.error(error),
        }
    }

    // Whoever makes a file system on it may set times and the length it has anyway.
    fn setattr(
        &self,
        _: &Request,
        inode: INodeNo,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<fuser::TimeOrNow>,
        _: Option<fuser::TimeOrNow>,
        _: Option<std::time::SystemTime>,
        _: Option<FileHandle>,
        _: Option<std::time::SystemTime>,
        _: Option<std::time::SystemTime>,
        _: Option<std::time::SystemTime>,
        _: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        match self.attr(inode) {
            Ok(attr) if size.is_none_or(|size| size == attr.size) => reply.attr(&TTL, &attr),
            Ok(_) => reply.error(Errno::EPERM),
            Err(error) => reply.error(error),
        }
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::empty());
    }

    fn read(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.with(inode, |device| device.read(offset, size as usize)) {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(error),
        }
    }

    fn write(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        bytes: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.with(inode, |device| device.write(offset, bytes)) {
            Ok(()) => reply.written(u32::try_from(bytes.len()).expect("one request")),
            Err(error) => reply.error(error),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, inode: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        match self.with(inode, Device::sync) {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error),
        }
    }

    // Discards and zeroing by range: the kernel then writes zeroes where it needs them.
    fn fallocate(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: u64,
        _: u64,
        _: i32,
        reply: ReplyEmpty,
    ) {
        reply.error(Errno::EOPNOTSUPP);
    }
}
