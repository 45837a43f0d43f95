//! Pages: the unit in which a run is read, written and verified.
//!
//! A page ends in a CRC-32C of the store, the file, its place and its content, so that any page is proved alone, and a
//! stale or misplaced one does not pass. Nothing is remembered: every read verifies.
//!
//! A number of a file comes again where all files were lost: the nonce in the first page tells the files apart.

use std::io::ErrorKind;
use std::sync::Arc;

use bytes::Bytes;

use crate::format::bytes::{Put, check};
use crate::format::{Fault, PAGE, StoreId, checksum};
use crate::io::{File, Open, Storage};
use crate::switch::Switch;
use crate::{Error, Result};

/// Pages that are read ahead at a time by who reads them in order.
pub(super) const AHEAD: u32 = 64;

/// Bytes of a page before its checksum.
pub(super) const CONTENT: usize = PAGE - 4;

/// Which file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileId {
    /// The store.
    pub(crate) store: StoreId,
    /// Number of the file.
    pub(crate) number: u32,
    /// Drawn by each opening: no two files of one number have the same.
    pub(crate) nonce: [u8; 16],
}

/// The seed of the checksum of a file's first page.
pub(super) fn salt_of(store: StoreId, number: u32) -> u32 {
    let store = Switch::RunStore.some(store.0).unwrap_or_default();
    let number = Switch::RunNumber.some(number).unwrap_or(0);
    checksum(checksum(0, &store), &number.to_le_bytes())
}

/// The seed of the checksums of its other pages.
pub(super) fn salt_behind(salt: u32, nonce: [u8; 16]) -> u32 {
    checksum(salt, &Switch::RunNonce.some(nonce).unwrap_or_default())
}

fn checksum_of(salt: u32, page: u32, content: &[u8]) -> u32 {
    let page = Switch::RunPage.some(page).unwrap_or(0);
    checksum(checksum(salt, &page.to_le_bytes()), content)
}

/// Fills a page with zeroes to its end and signs it.
pub(super) fn seal(salt: u32, page: u32, content: &mut Vec<u8>) {
    content.resize(CONTENT, 0);
    let crc = checksum_of(salt, page, content);
    content.put_u32(crc);
}

/// An open file of pages.
#[derive(Debug)]
pub(super) struct Pages {
    file: Arc<dyn File>,
    path: String,
    /// The seeds of the checksums of the first page and of the others.
    salts: [u32; 2],
}

impl Pages {
    /// Opens the file for reading. Of its pages only the first can be read before [`with_nonce`](Self::with_nonce).
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn open(
        storage: &dyn Storage,
        path: String,
        store: StoreId,
        number: u32,
    ) -> Result<Self> {
        let file = storage
            .open(&path, Open::Read)
            .map_err(|error| Error::io("open", path.as_str(), error))?;
        let salts = [salt_of(store, number); 2];
        Ok(Self { file, path, salts })
    }

    /// The same, with what the first page says.
    pub(super) fn with_nonce(mut self, nonce: [u8; 16]) -> Self {
        let [first, behind] = &mut self.salts;
        *behind = salt_behind(*first, nonce);
        self
    }

    /// Length of the file in bytes.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn len(&self) -> Result<u64> {
        let len = self.file.len();
        len.map_err(|error| Error::io("measure", self.path.as_str(), error))
    }

    /// Says that `count` pages from this one on will be read, as far as there are so many. A hint: whatever is wrong is
    /// found by reading.
    pub(super) fn read_ahead(&self, page: u32, count: u32) {
        let (from, len) = (offset_of(page), self.file.len().unwrap_or(0));
        let ahead = len.saturating_sub(from).min(u64::from(count) * PAGE as u64);
        self.file.will_need(from, ahead);
    }

    /// The content of a page, verified.
    ///
    /// # Errors
    /// [`Error::Damaged`] where it is not what was written, or is not there.
    ///
    /// # Cost
    /// A copy, of which the checksum is taken: what was verified stays. A third of a microsecond for the checksum, as much
    /// for reading it.
    pub(super) fn read(&self, page: u32) -> Result<Bytes> {
        let offset = offset_of(page);
        let mut bytes = match self.file.copied(offset, PAGE) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                let (len, needed) = (self.len()?, offset.saturating_add(PAGE as u64));
                return Err(self.fault(page, Fault::Short { len, needed }));
            }
            Err(error) => return Err(Error::io("read", self.path.as_str(), error)),
        };
        let stored = bytes.split_off(CONTENT);
        let stored = stored.as_ref().try_into().map_or(0, u32::from_le_bytes);
        let [first, behind] = self.salts;
        let salt = if page == 0 { first } else { behind };
        Switch::RunSum
            .guard(|| check(checksum_of(salt, page, &bytes), stored))
            .map_err(|fault| self.fault(page, fault))?;
        Ok(bytes)
    }

    /// A fault in a page of this file.
    pub(super) fn fault(&self, page: u32, what: Fault) -> Error {
        Error::fault(self.path.as_str(), offset_of(page), what)
    }
}

/// Offset of a page in its file, in bytes.
fn offset_of(page: u32) -> u64 {
    u64::from(page) * PAGE as u64
}

/// Appends pages to a new file, many at a time.
#[derive(Debug)]
pub(super) struct PageWriter {
    file: Arc<dyn File>,
    path: String,
    id: FileId,
    /// Pages sealed and not written yet.
    buffer: Vec<u8>,
    written: u64,
    /// Number of the next page.
    next: u32,
}

/// Bytes written at once.
const BUFFER: usize = 1 << 20;

/// A large run is synced as it grows, each time that so many bytes were written: commits wait behind what the disk has
/// been given, and a gigabyte at once is a second.
const SYNC_EVERY: u64 = 8 << 20;

impl PageWriter {
    /// Creates the file, its first page left for [`PageWriter::finish`]. A file of that name is from a run that never
    /// became part of the directory, and goes.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn create(storage: &dyn Storage, path: String, id: FileId) -> Result<Self> {
        let failed = |error| Error::io("create", path.as_str(), error);
        let file = match storage.open(&path, Open::Create) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                storage.remove(&path).map_err(failed)?;
                storage.open(&path, Open::Create)
            }
            other => other,
        };
        Ok(Self {
            file: file.map_err(failed)?,
            path,
            id,
            buffer: Vec::with_capacity(BUFFER),
            written: PAGE as u64,
            next: 1,
        })
    }

    /// Number of the next page.
    pub(super) fn next(&self) -> u32 {
        self.next
    }

    /// Appends a page; `content` is empty afterwards.
    ///
    /// # Errors
    /// What the system says; [`Error::TooLarge`] behind 2^32 pages.
    pub(super) fn append(&mut self, content: &mut Vec<u8>) -> Result<()> {
        let page = self.next;
        self.next = page.checked_add(1).ok_or(Error::TooLarge {
            what: "a run of the directory",
            len: u64::from(page) * PAGE as u64,
            max: u64::from(u32::MAX) * PAGE as u64,
        })?;
        let salt = salt_behind(self.salt(), self.id.nonce);
        seal(salt, page, content);
        self.buffer.append(content);
        if self.buffer.len() >= BUFFER {
            self.drain()?;
        }
        Ok(())
    }

    fn drain(&mut self) -> Result<()> {
        self.write(self.written, &self.buffer)?;
        let before = self.written;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        if self.written / SYNC_EVERY > before / SYNC_EVERY {
            Switch::RunSyncAhead.guard(|| self.sync())?;
        }
        Ok(())
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let done = self.file.write_at(&[bytes], offset);
        done.map_err(|error| Error::io("write", self.path.as_str(), error))
    }

    /// Writes the first page and makes the file durable, but not its name. Returns its length in bytes.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn finish(mut self, mut head: Vec<u8>) -> Result<u64> {
        self.drain()?;
        seal(self.salt(), 0, &mut head);
        self.write(0, &head)?;
        Switch::RunSync.guard(|| self.sync())?;
        Ok(self.written)
    }

    fn salt(&self) -> u32 {
        salt_of(self.id.store, self.id.number)
    }

    fn sync(&self) -> Result<()> {
        let synced = self.file.sync();
        synced.map_err(|error| Error::io("sync", self.path.as_str(), error))
    }
}
