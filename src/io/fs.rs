//! The real disk: one directory on a local file system, and the real host.
//!
//! Everything goes through the descriptor of the directory, one name at a time, and no step follows a symbolic
//! link: whoever can plant names in the directory cannot make the store read or write elsewhere. (`openat2` with
//! `RESOLVE_BENEATH` would say the same of a longer path in one call. Names here are at most one folder deep, so
//! two plain `openat` calls prove as much, on every kernel, and rename and remove need the folder anyway.)
//!
//! What is opened must be a regular file with one name. New files have mode 0600, new folders 0700, and every
//! descriptor closes on exec and stays clear of 0 to 2, where a stray `print` would write into it.
//!
//! A call that failed is not repeated here, but for reads and writes that a signal interrupted.

use std::fmt;
use std::fs::{self, TryLockError};
use std::io::{self, ErrorKind, IoSlice};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::{Errno, retry_on_intr};

use super::direct::read_into;
use super::map::Map;
use super::{File, Held, Host, Kind, Listed, Open, Storage};
use crate::switch::Switch;

/// How any folder is opened.
const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
/// What every file is opened with. `NONBLOCK` means nothing to a regular file; a fifo planted under one of our
/// names would otherwise hang the open instead of being refused.
const FILE: OFlags = OFlags::NOFOLLOW
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOCTTY)
    .union(OFlags::NONBLOCK);
/// Mode of a new folder.
const PRIVATE_FOLDER: Mode = Mode::RWXU;
/// Mode of a new file.
const PRIVATE_FILE: Mode = Mode::RUSR.union(Mode::WUSR);
/// The most parts one `pwritev` takes (`IOV_MAX` of Linux).
const PARTS_MAX: usize = 1024;
/// The lowest descriptor a file gets: 0 to 2 are where a careless `print` goes.
const LOWEST_FD: RawFd = 3;

/// A volume on a local file system: the real [`Storage`].
///
/// # Examples
/// ```
/// use mailkeep::io::{Directory, Open, Storage};
/// # fn main() -> std::io::Result<()> {
/// # let temporary = tempfile::tempdir()?;
/// let volume = Directory::create_or_open(&temporary.path().join("mail"), true)?;
/// let file = volume.open("note", Open::Create)?;
/// file.write_at(&[b"kept", b" mail"], 0)?;
/// file.sync()?;
/// volume.sync_dir("")?; // only now does the name survive a power cut
/// assert_eq!(&file.bytes(5, 4)?[..], b"mail");
/// # Ok(())
/// # }
/// ```
pub struct Directory {
    fd: OwnedFd,
    path: PathBuf,
}

impl Directory {
    /// Opens the directory at `path`; with `create`, makes it first where it is missing, with mode 0700. The
    /// directory above it must exist.
    ///
    /// # Durability
    /// With `create`, the directory's own name is durable when this returns.
    ///
    /// # Errors
    /// `NotFound`; `NotADirectory` for a file or a symbolic link; `PermissionDenied` for a directory that
    /// everybody may write to, or what the system says.
    pub fn create_or_open(path: &Path, create: bool) -> io::Result<Self> {
        // A trailing slash would make the system follow a symbolic link: components have none.
        let path: PathBuf = path.components().collect();
        if create {
            create_durably(&path)?;
        }
        let fd = above_stdio(
            rustix::fs::openat(CWD, &path, FOLDER, Mode::empty())?,
            LOWEST_FD,
        )?;
        if Mode::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode).contains(Mode::WOTH) {
            return Err(io::Error::new(
                ErrorKind::PermissionDenied,
                "everybody may write to this directory: take that right away first",
            ));
        }
        Ok(Self { fd, path })
    }

    /// Opens a folder of the volume (`""` is the volume itself).
    fn folder(&self, folder: &str) -> io::Result<OwnedFd> {
        let name = if folder.is_empty() {
            "."
        } else {
            checked(folder)?
        };
        Ok(above_stdio(
            rustix::fs::openat(&self.fd, name, FOLDER, Mode::empty())?,
            LOWEST_FD,
        )?)
    }

    /// Splits a name, and opens the folder that it is in.
    fn locate<'name>(&self, name: &'name str) -> io::Result<(OwnedFd, &'name str)> {
        let (folder, leaf) = match name.split_once('/') {
            Some((folder, leaf)) => (checked(folder)?, checked(leaf)?),
            None => ("", checked(name)?),
        };
        Ok((self.folder(folder)?, leaf))
    }

    /// Opens what must be a regular file with one name.
    fn regular(&self, name: &str, flags: OFlags) -> io::Result<fs::File> {
        let (folder, leaf) = self.locate(name)?;
        let fd = match rustix::fs::openat(&folder, leaf, FILE | flags, PRIVATE_FILE) {
            Err(Errno::LOOP) => return Err(refused("a symbolic link")),
            other => above_stdio(other?, LOWEST_FD)?,
        };
        let stat = rustix::fs::fstat(&fd)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile if stat.st_nlink > 1 => Err(refused("a file with a second name")),
            FileType::RegularFile => Ok(fs::File::from(fd)),
            FileType::Directory => Err(ErrorKind::IsADirectory.into()),
            _ => Err(refused("not a regular file")),
        }
    }
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Directory({})", self.path.display())
    }
}

impl Storage for Directory {
    fn open(&self, name: &str, how: Open) -> io::Result<Arc<dyn File>> {
        let flags = match how {
            Open::Read => OFlags::RDONLY,
            Open::Write => OFlags::RDWR,
            Open::Create => OFlags::RDWR | OFlags::CREATE | OFlags::EXCL,
        };
        Ok(Arc::new(RealFile {
            file: self.regular(name, flags)?,
            map: Map::default(),
        }))
    }

    fn list(&self, folder: &str) -> io::Result<Vec<Listed>> {
        let fd = self.folder(folder)?;
        let mut found = Vec::new();
        for entry in Dir::read_from(&fd)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            match rustix::fs::statat(&fd, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => found.push(listed(&name.to_string_lossy(), &stat)),
                Err(Errno::NOENT) => {} // removed since the folder was read
                Err(error) => return Err(error.into()),
            }
        }
        Ok(found)
    }

    fn create_folder(&self, folder: &str) -> io::Result<()> {
        match rustix::fs::mkdirat(&self.fd, checked(folder)?, PRIVATE_FOLDER) {
            Err(Errno::EXIST) => self.folder(folder).map(drop), // that it is a folder is what this proves
            other => Ok(other?),
        }
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (from_folder, from_leaf) = self.locate(from)?;
        let (to_folder, to_leaf) = self.locate(to)?;
        Ok(rustix::fs::renameat(
            from_folder,
            from_leaf,
            to_folder,
            to_leaf,
        )?)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let (folder, leaf) = self.locate(name)?;
        Ok(rustix::fs::unlinkat(folder, leaf, AtFlags::empty())?)
    }

    fn sync_dir(&self, folder: &str) -> io::Result<()> {
        Switch::DiskNameSync.guard(|| Ok(rustix::fs::fsync(self.folder(folder)?)?))
    }

    fn lock(&self, name: &str, owner: &str) -> io::Result<Box<dyn Send + Sync>> {
        let file = self.regular(name, OFlags::RDWR | OFlags::CREATE)?;
        // This lock belongs to the open file, not to the process: a second handle of this process is kept out
        // like another process, and closing an unrelated handle of the file does not give it up.
        Switch::DiskLock
            .guard(|| try_lock(&file))
            .map_err(|error| match error {
                TryLockError::WouldBlock => ErrorKind::WouldBlock.into(),
                TryLockError::Error(error) => error,
            })?;
        // For people, and no reason to keep anybody out, as where a disk is full.
        let _ = describe_owner(&file, owner);
        Ok(Box::new(file))
    }

    fn describe(&self) -> String {
        self.path.display().to_string()
    }
}

/// What stands in a lock file is at least so long, in bytes.
const LOCK_LINE: usize = 127;

/// Writes who has the lock over what stands there, of one length: cutting a file takes time on some disks.
fn describe_owner(file: &fs::File, owner: &str) -> io::Result<()> {
    let line = format!("{owner:<LOCK_LINE$}\n");
    write_all(file, &[line.as_bytes()], 0)?;
    if file.metadata()?.len() > line.len() as u64 {
        file.set_len(line.len() as u64)?;
    }
    Ok(())
}

/// One open file of a [`Directory`].
#[derive(Debug)]
struct RealFile {
    file: fs::File,
    map: Map,
}

impl File for RealFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        read_into(&self.file, buf, offset)
    }

    fn write_at(&self, parts: &[&[u8]], offset: u64) -> io::Result<()> {
        write_all(&self.file, parts, offset)
    }

    fn sync(&self) -> io::Result<()> {
        // Not repeated when a signal interrupts it: whether a second sync would cover the same bytes is unknown.
        Switch::DiskSync.guard(|| Ok(rustix::fs::fdatasync(&self.file)?))
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.map
            .set_len(len, || Ok(rustix::fs::ftruncate(&self.file, len)?))
    }

    fn expect_len(&self, len: u64) {
        self.map.expect_len(len);
    }

    fn bytes(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        Ok(self.held(offset, len)?.into_bytes())
    }

    fn held(&self, offset: u64, len: usize) -> io::Result<Held> {
        self.map.held(&self.file, offset, len)
    }

    fn copied(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        self.map.copied(&self.file, offset, len)
    }

    fn copy_to(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.map.copy_to(&self.file, buf, offset)
    }

    fn will_need(&self, offset: u64, len: u64) {
        let len = std::num::NonZeroU64::new(len);
        // A hint. With none, the system would take it for the rest of the file.
        if len.is_some() {
            let _ = rustix::fs::fadvise(&self.file, offset, len, rustix::fs::Advice::WillNeed);
        }
    }
}

/// The real [`Host`]: the system's clock and the kernel's random numbers.
///
/// # Examples
/// ```
/// use mailkeep::io::{Host, System};
/// assert_ne!(System.unique(), System.unique());
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

impl Host for System {
    fn now_ms(&self) -> i64 {
        let whole_ms =
            |span: std::time::Duration| i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => whole_ms(since),
            Err(before) => -whole_ms(before.duration()),
        }
    }

    fn unique(&self) -> [u8; 16] {
        let mut id = [0; 16];
        // Up to 256 bytes come whole or not at all.
        let read = retry_on_intr(|| {
            rustix::rand::getrandom(&mut id[..], rustix::rand::GetRandomFlags::empty())
        });
        if read.is_ok_and(|read| read == id.len()) {
            id
        } else {
            unique_without_randomness()
        }
    }

    fn identity(&self) -> String {
        format!(
            "{}@{}",
            std::process::id(),
            rustix::system::uname().nodename().to_string_lossy()
        )
    }
}

/// Sixteen bytes never returned before, where the kernel gives no random ones (before 3.17, or filtered away).
fn unique_without_randomness() -> [u8; 16] {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    let digest =
        blake3::hash(format!("{}/{}/{call}", System.identity(), since.as_nanos()).as_bytes());
    let mut id = [0; 16];
    id.iter_mut()
        .zip(digest.as_bytes())
        .for_each(|(to, from)| *to = *from);
    id
}

/// Locks a file. A process that this one is just starting has copies of its descriptors until it runs its own program: a
/// store that was closed a moment ago may be locked for so long.
fn try_lock(file: &fs::File) -> Result<(), TryLockError> {
    for _ in 0..20 {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(5)),
            other => return other,
        }
    }
    file.try_lock()
}

/// A name of one level, as this crate makes them.
fn checked(name: &str) -> io::Result<&str> {
    if matches!(name, "" | "." | "..") || name.contains(['/', '\0']) {
        return Err(io::Error::new(
            ErrorKind::InvalidInput,
            format!("not a name of a volume: {name:?}"),
        ));
    }
    Ok(name)
}

/// What is said of a name that holds something this crate did not put there.
fn refused(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("refused: {what}"))
}

/// Makes the directory, if it is missing, and its name durable.
fn create_durably(path: &Path) -> io::Result<()> {
    let made = match rustix::fs::mkdirat(CWD, path, PRIVATE_FOLDER) {
        Ok(()) => true,
        Err(Errno::EXIST) => false,
        Err(error) => return Err(error.into()),
    };
    let above = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return Ok(()),
    };
    // Also when the directory was there: whoever made it may have died before this line. Following links is right
    // here, as it is for every level above the volume.
    match rustix::fs::openat(
        CWD,
        above,
        FOLDER.difference(OFlags::NOFOLLOW),
        Mode::empty(),
    ) {
        Err(Errno::ACCESS) if !made => Ok(()), // made by an administrator, above what we may read
        other => Switch::VolumeNameSync.guard(|| Ok(rustix::fs::fsync(other?)?)),
    }
}

/// Moves a descriptor to `lowest` or above.
fn above_stdio(fd: OwnedFd, lowest: RawFd) -> Result<OwnedFd, Errno> {
    if fd.as_raw_fd() < lowest {
        rustix::io::fcntl_dupfd_cloexec(&fd, lowest)
    } else {
        Ok(fd)
    }
}

/// What [`Storage::list`] says of one name.
fn listed(name: &str, stat: &Stat) -> Listed {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Folder,
        _ => Kind::Other,
    };
    let len = if kind == Kind::File {
        u64::try_from(stat.st_size).unwrap_or(0)
    } else {
        0
    };
    Listed {
        name: name.to_owned(),
        kind,
        len,
    }
}

/// Writes all parts: one call, unless the system takes less at a time.
fn write_all(file: &fs::File, parts: &[&[u8]], mut offset: u64) -> io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> = parts
        .iter()
        .filter(|part| !part.is_empty())
        .map(|part| IoSlice::new(part))
        .collect();
    let mut rest = slices.as_mut_slice();
    while !rest.is_empty() {
        let batch = rest.get(..PARTS_MAX).unwrap_or(rest);
        let written = retry_on_intr(|| rustix::io::pwritev(file, batch, offset))?;
        if written == 0 {
            return Err(ErrorKind::WriteZero.into());
        }
        // Never more than a file may be long: the system has just written up to there.
        offset = offset.saturating_add(written as u64);
        IoSlice::advance_slices(&mut rest, written);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
