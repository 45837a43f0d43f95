//! The seam to the disk: the only module that names `std::fs`, `rustix`, `memmap2` or `libc`.
//!
//! Everything above speaks to two small traits. [`Storage`] is one volume's directory: named files, flat
//! folders, a lock. [`File`] is one open file. The real implementation is [`Directory`]; tests put a simulated
//! disk here that records every call and can fail, tear, reorder or drop it.
//!
//! What a caller may rely on, and an implementation must keep:
//!
//! * Names are relative, made by this crate from numbers (`log/0000000000000001.seg`), never from mail or users.
//! * A write is not durable before [`File::sync`] on the same file returned `Ok`. A created, renamed or removed
//!   name is not durable before [`Storage::sync_dir`] of its folder returned `Ok`.
//! * A write or sync that failed leaves the bytes it covered in an unknown state for ever. Nobody retries it.
//! * Bytes handed out by [`File::bytes`] stay valid as long as they are held, also after the file was removed. Mapped
//!   ones may turn to zeroes when the disk fails, where a [guard](install_guard) keeps that from ending the process:
//!   [`File::held`] tells afterwards, [`File::copied`] are bytes that cannot.

mod direct;
mod fs;
mod map;

use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::Bytes;

pub use self::fs::{Directory, System};
pub use self::map::{Held, faults, install_guard, still_good};
pub(crate) use self::map::{Plain, cast};

/// Whether an error says that the medium failed, or that what it gives is not what was written.
pub(crate) fn is_of_the_medium(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let of_the_medium = [Errno::IO, Errno::BADMSG, Errno::NODATA, Errno::UCLEAN];
    let number = error.raw_os_error();
    number.is_some_and(|number| {
        of_the_medium
            .iter()
            .any(|errno| errno.raw_os_error() == number)
    })
}

/// How [`Storage::open`] opens a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// Reading only; the file must exist.
    Read,
    /// Reading and writing; the file must exist.
    Write,
    /// Reading and writing; the file must not exist yet. Mode 0600.
    Create,
}

/// One name that [`Storage::list`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The name inside the folder, without the folder.
    pub name: String,
    /// What it is. Symbolic links are not followed: they are [`Kind::Other`].
    pub kind: Kind,
    /// Length in bytes, for a regular file.
    pub len: u64,
}

/// The kind of a [`Listed`] name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// Anything else: symbolic link, device, socket. Never opened.
    Other,
}

/// One volume: a directory of files that this crate names.
///
/// All names are relative to the volume, with `/` between folder and file, at most one folder deep.
pub trait Storage: fmt::Debug + Send + Sync + 'static {
    /// Opens a file. Never follows a symbolic link, refuses what is not a regular file.
    ///
    /// # Errors
    /// `NotFound`, `AlreadyExists` (with [`Open::Create`]), or what the system says.
    fn open(&self, name: &str, how: Open) -> io::Result<Arc<dyn File>>;

    /// Lists a folder (`""` is the volume itself), in no order. A missing folder is `NotFound`.
    ///
    /// # Errors
    /// What the system says.
    fn list(&self, folder: &str) -> io::Result<Vec<Listed>>;

    /// Creates a folder with mode 0700. An existing folder is fine.
    ///
    /// # Errors
    /// What the system says.
    fn create_folder(&self, folder: &str) -> io::Result<()>;

    /// Renames a file, replacing a file of the new name.
    ///
    /// # Errors
    /// What the system says.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// What the system says.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes the names of a folder durable (`""` is the volume itself).
    ///
    /// # Errors
    /// What the system says; the names are then in an unknown state.
    fn sync_dir(&self, folder: &str) -> io::Result<()>;

    /// Takes the volume's writer lock and writes `owner` into the lock file for people to read. The lock is
    /// held until the returned value is dropped, also against other handles of this process.
    ///
    /// # Errors
    /// `WouldBlock` when another holder exists.
    fn lock(&self, name: &str, owner: &str) -> io::Result<Box<dyn Send + Sync>>;

    /// Where this volume is, for error messages.
    fn describe(&self) -> String;
}

/// One open file of a [`Storage`].
pub trait File: fmt::Debug + Send + Sync + 'static {
    /// Reads at `offset` until `buf` is full or the file ends; returns how many bytes were read.
    ///
    /// # Errors
    /// What the system says.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `parts`, one after the other, at `offset`; extends the file where needed. In one system
    /// call where the system takes it whole.
    ///
    /// # Errors
    /// What the system says; any part of the bytes may then have been written.
    fn write_at(&self, parts: &[&[u8]], offset: u64) -> io::Result<()>;

    /// Makes everything written to this file, and its length, durable (`fdatasync`).
    ///
    /// # Errors
    /// What the system says. What was written since the last good sync is then unknown for ever.
    fn sync(&self) -> io::Result<()>;

    /// The file's length in bytes now.
    ///
    /// # Errors
    /// What the system says.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file is empty.
    ///
    /// # Errors
    /// As [`File::len`].
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Cuts or extends (with zeroes) the file to `len` bytes. Nothing that [`File::bytes`] handed out and is
    /// still held may be cut away, here or in another process that reads the same file: reading it would end
    /// that process.
    ///
    /// # Errors
    /// What the system says.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// A hint: the file is expected to become `len` bytes long. One mapping then serves it while it grows.
    /// Changes nothing on disk; worth giving before the first [`File::bytes`].
    fn expect_len(&self, len: u64) {
        let _ = len;
    }

    /// `len` bytes at `offset`, without copying where the file can be mapped. The range must lie inside the
    /// file and must not be written again while the bytes are held.
    ///
    /// # Errors
    /// `UnexpectedEof` when the range leaves the file, or what the system says.
    fn bytes(&self, offset: u64, len: usize) -> io::Result<Bytes>;

    /// As [`File::bytes`], with the means to tell afterwards whether they were the file's. A page that could not be
    /// read makes the next call read into memory.
    ///
    /// # Errors
    /// As [`File::bytes`].
    fn held(&self, offset: u64, len: usize) -> io::Result<Held> {
        Ok(self.bytes(offset, len)?.into())
    }

    /// As [`File::bytes`], in memory of their own: whatever becomes of the file, they never change.
    ///
    /// # Errors
    /// As [`File::bytes`].
    fn copied(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        // Where a page of a mapping could not be read, the second call reads into memory.
        for _ in 0..2 {
            if let Some(copy) = self.held(offset, len)?.copy() {
                return Ok(copy);
            }
        }
        Err(not_read(offset, len))
    }

    /// As [`File::copied`], into all of `buf`: for what is small.
    ///
    /// # Errors
    /// As [`File::bytes`].
    fn copy_to(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        if self.read_at(buf, offset)? < buf.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    /// A hint: this range will be asked for soon.
    fn will_need(&self, offset: u64, len: u64) {
        let _ = (offset, len);
    }
}

/// The error where pages of a file could not be read, and nothing said why.
pub(crate) fn not_read(offset: u64, len: usize) -> io::Error {
    io::Error::other(format!("{len} bytes at {offset} could not be read"))
}

/// What a store takes from its host besides disks: the time, and numbers nobody can guess.
///
/// A trait, so that a test can replay a run exactly.
pub trait Host: fmt::Debug + Send + Sync + 'static {
    /// Milliseconds since 1970-01-01 UTC. May jump; nothing is ordered by it.
    fn now_ms(&self) -> i64;
    /// 16 bytes that were never returned before.
    fn unique(&self) -> [u8; 16];
    /// Who this process is, for the lock file: process number and host name.
    fn identity(&self) -> String;
}
