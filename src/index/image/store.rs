//! The files that blobs lie in: index/NNNNNNNN.img.
//!
//! A file is blobs, one after the other, each at a multiple of 8 with zeroes between. Each has a head that is good at
//! its place only, so that a file can be walked, and a blob of another store or an earlier file is not taken for one:
//!
//! | at | what |
//! | ---: | --- |
//! | 0 | magic, `u64` |
//! | 8 | CRC-32C of store id, file number, offset and the head behind this field, `u32`; length of the blob, `u32` |
//! | 16 | account, 16 bytes |
//! | 32 | record that the image covers with this blob, `u64` |
//! | 40 | the blob, which has checksums of its own |
//!
//! Files are appended to by the process that made them only: what an earlier one wrote behind its last checkpoint is
//! not known to be whole, so appends begin a new file. A file that a write or sync failed on is never written again.
//!
//! Locks, in this order: syncing; the active file, held while a blob is written; the state, held for look-ups only.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::sync::Mutex;
use bytes::Bytes;

use super::ImageAt;
use super::chain::Blobs;
use crate::directory::ImageFile;
use crate::error::{Error, Result};
use crate::format::bytes::{NUMBER_MAX, Put, Take, check, patch_u32, within};
use crate::format::{Fault, StoreId, checksum, padded};
use crate::io::{File, Open, Storage};
use crate::mail::AccountId;
use crate::switch::Switch;

const MAGIC: u64 = u64::from_le_bytes(*b"MKIMAGE1");

/// Bytes of a blob's head.
const HEAD: usize = 40;
/// A file that is this long or longer gets no more blobs.
const FILE_LEN: u64 = 64 << 20;
/// Blobs begin at multiples of this.
const ALIGN: u64 = 8;
/// Files that are open at once, at most, besides the one that is appended to.
const OPEN_MAX: usize = 256;
/// The folder of all files.
const FOLDER: &str = "index";

/// All image files of a store.
#[derive(Debug)]
pub(crate) struct ImageStore {
    storage: Arc<dyn Storage>,
    store: StoreId,
    /// Held by the one that syncs: another finds nothing left to sync only when all of it is durable.
    syncing: Mutex<()>,
    active: Mutex<Active>,
    state: Mutex<State>,
}

/// Where appends go.
#[derive(Debug)]
struct Active {
    /// None yet, or none any more.
    open: Option<(u32, Arc<dyn File>)>,
    /// The number that the next file gets, unless there is a file of it.
    next_number: u32,
    /// Files with blobs that may not be durable; those of a failed sync stay.
    unsynced: BTreeMap<u32, Arc<dyn File>>,
    /// A file was made whose name may not be durable.
    unnamed: bool,
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<u32, ImageFile>,
    /// Open files, each with when it was used last.
    open: HashMap<u32, (Arc<dyn File>, u64)>,
    clock: u64,
    /// Files that could not be written or synced: what was appended since the last sync may not be there.
    failed: BTreeMap<u32, Error>,
}

/// A blob found by a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) account: AccountId,
    pub(crate) at: ImageAt,
}

impl ImageStore {
    /// The files a checkpoint knows; none is opened or looked at. New files get numbers from `next_number` on that no
    /// file has.
    pub(crate) fn open(
        storage: Arc<dyn Storage>,
        store: StoreId,
        files: &[ImageFile],
        next_number: u32,
    ) -> Self {
        let files: BTreeMap<_, _> = files.iter().map(|file| (file.number, *file)).collect();
        let above = files
            .keys()
            .next_back()
            .map_or(0, |last| last.saturating_add(1));
        Self {
            storage,
            store,
            syncing: Mutex::new(()),
            active: Mutex::new(Active {
                open: None,
                next_number: next_number.max(above),
                unsynced: BTreeMap::new(),
                unnamed: false,
            }),
            state: Mutex::new(State {
                files,
                ..State::default()
            }),
        }
    }

    /// Appends a blob of `account` that covers `record`; one write. Not durable before [`sync`](Self::sync).
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::NoSpace`], [`Error::TooLarge`]. The next blob then goes to a new file.
    pub(crate) fn append(&self, account: AccountId, record: u64, blob: &[u8]) -> Result<ImageAt> {
        let len = u32::try_from(blob.len()).ok().filter(|len| *len > 0);
        let len = len.ok_or(Error::TooLarge {
            what: "image",
            len: blob.len() as u64,
            max: u32::MAX.into(),
        })?;
        let mut active = self.active.lock();
        let (number, file, offset) = self.place(&mut active)?;
        let at = ImageAt {
            file: number,
            len,
            offset,
            record,
        };
        let head = self.head(account, &at);
        let padding = [0; ALIGN as usize];
        let pad = padding.get(..padded(blob.len(), ALIGN as usize) - blob.len());
        active.unsynced.insert(number, Arc::clone(&file));
        if let Err(source) = file.write_at(&[&head, blob, pad.unwrap_or_default()], offset) {
            active.open.take_if(|_| Switch::ImageWriteFailed.on());
            let error = Error::io("write", self.path(number), source);
            // What it holds already is whole: only a sync that fails makes that doubtful.
            return Err(error);
        }
        if let Some(known) = self.state.lock().files.get_mut(&number) {
            known.len = end_of(&at);
        }
        Ok(at)
    }

    /// The file that the next blob goes to, and where in it.
    fn place(&self, active: &mut Active) -> Result<(u32, Arc<dyn File>, u64)> {
        if let Some((number, file)) = &active.open {
            let known = self.state.lock().files.get(number).copied();
            if let Some(known) = known.filter(|known| known.len < FILE_LEN) {
                return Ok((*number, Arc::clone(file), known.len));
            }
        }
        let (number, file) = self.create(active)?;
        active.open = Some((number, Arc::clone(&file)));
        active.unnamed = true;
        let mut state = self.state.lock();
        let (len, dead) = (0, 0);
        state.files.insert(number, ImageFile { number, len, dead });
        state.keep_open(number, &file);
        Ok((number, file, 0))
    }

    /// Makes a file of the next number that is free: files that no checkpoint knows may be left of an earlier process.
    fn create(&self, active: &mut Active) -> Result<(u32, Arc<dyn File>)> {
        loop {
            let number = active.next_number;
            let name = name_of(number);
            let exhausted = || {
                Error::io(
                    "create",
                    self.path(number),
                    std::io::ErrorKind::AlreadyExists.into(),
                )
            };
            active.next_number = number.checked_add(1).ok_or_else(exhausted)?;
            match self.storage.open(&name, Open::Create) {
                Ok(file) => {
                    file.expect_len(FILE_LEN);
                    return Ok((number, file));
                }
                Err(source) if source.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(source) => return Err(Error::io("create", self.path(number), source)),
            }
        }
    }

    /// Makes durable what was appended before the call.
    ///
    /// # Errors
    /// [`Error::Io`]. What the file holds that failed is in doubt for ever: this then fails until the file is
    /// [removed](Self::remove), so that no checkpoint names its blobs.
    pub(crate) fn sync(&self) -> Result<()> {
        let _one_at_a_time = self.syncing.lock();
        let (files, unnamed) = {
            let mut active = self.active.lock();
            (
                std::mem::take(&mut active.unsynced),
                std::mem::take(&mut active.unnamed),
            )
        };
        for (number, file) in files {
            if let Err(source) = Switch::ImageSync.guard(|| file.sync()) {
                let error = Error::io("sync", self.path(number), source);
                if Switch::ImageFailureKept.on() {
                    self.fail(number, error);
                }
            }
        }
        if unnamed
            && let Err(source) = Switch::ImageNameSync.guard(|| self.storage.sync_dir(FOLDER))
        {
            self.active.lock().unnamed = Switch::ImageNameKept.on();
            return Err(Error::io("sync", self.describe(FOLDER), source));
        }
        match self.state.lock().failed.values().next() {
            None => Ok(()),
            Some(error) => Err(error.clone()),
        }
    }

    fn fail(&self, number: u32, error: Error) {
        let mut active = self.active.lock();
        active.open.take_if(|(open, _)| *open == number);
        self.state.lock().failed.insert(number, error);
    }

    /// A file that a sync failed on and that was not removed since.
    pub(crate) fn failed(&self) -> Option<u32> {
        self.state.lock().failed.keys().next().copied()
    }

    /// Counts a blob as dead: its account's image does not need it any more. It may be counted twice: where the run is lost that has the place
    /// of the newest image, an older one is the account's image again.
    pub(crate) fn release(&self, at: &ImageAt) {
        if let Some(file) = self.state.lock().files.get_mut(&at.file) {
            file.dead = file
                .dead
                .saturating_add(end_of(at) - at.offset)
                .min(file.len);
        }
    }

    /// Nothing in a file is needed any more.
    pub(crate) fn forget(&self, number: u32) {
        if let Some(file) = self.state.lock().files.get_mut(&number) {
            file.dead = file.len;
        }
    }

    /// Says which blobs of a file are needed, after a look at all of them.
    pub(crate) fn recount(&self, number: u32, needed: &[ImageAt]) {
        let needed = needed.iter().map(|at| end_of(at) - at.offset).sum();
        if let Some(file) = self.state.lock().files.get_mut(&number) {
            file.dead = file.len.saturating_sub(needed);
        }
    }

    /// All files, by number.
    pub(crate) fn files(&self) -> Vec<ImageFile> {
        self.state.lock().files.values().copied().collect()
    }

    /// The number that the next file gets, or a greater one.
    pub(crate) fn next_number(&self) -> u32 {
        self.active.lock().next_number
    }

    /// Whether blobs may still be appended to the file.
    pub(crate) fn is_active(&self, number: u32) -> bool {
        let active = self.active.lock();
        active
            .open
            .as_ref()
            .is_some_and(|(open, _)| *open == number)
    }

    /// Shows each blob of a file, in order: for moving those that are needed out of a file that is mostly dead.
    ///
    /// # Errors
    /// [`Error::Damaged`] at a head that is not good: nothing is known of what lies behind it. [`Error::Io`], or what
    /// `each` returns.
    pub(crate) fn walk(
        &self,
        number: u32,
        mut each: impl FnMut(Found) -> Result<()>,
    ) -> Result<()> {
        let end = self
            .state
            .lock()
            .files
            .get(&number)
            .map_or(0, |file| file.len);
        let mut offset = 0;
        while offset < end {
            let head = self.range(number, offset, HEAD)?;
            let found = self.found(number, offset, &head);
            let found = found.map_err(|what| self.fault(number, offset, what))?;
            offset = end_of(&found.at);
            each(found)?;
        }
        Ok(())
    }

    /// Takes a file away. Blobs that are held stay readable.
    ///
    /// # Errors
    /// [`Error::Io`]; the file is then still known.
    pub(crate) fn remove(&self, number: u32) -> Result<()> {
        let mut active = self.active.lock();
        active.open.take_if(|(open, _)| *open == number);
        match self.storage.remove(&name_of(number)) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io("remove", self.path(number), source));
            }
            _ => {}
        }
        active.unsynced.remove(&number);
        let mut state = self.state.lock();
        state.files.remove(&number);
        state.open.remove(&number);
        state.failed.remove(&number);
        Ok(())
    }

    /// Removes files that an earlier process left and no checkpoint came to name. Not while a file is being made.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn remove_unknown(&self) -> Result<()> {
        let listed = match self.storage.list(FOLDER) {
            Err(source) if source.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            listed => listed.map_err(|source| Error::io("list", self.describe(FOLDER), source))?,
        };
        let numbers = listed.iter().filter_map(|file| number_of(&file.name));
        let known = |number: &u32| self.state.lock().files.contains_key(number);
        for number in numbers.filter(|number| !known(number)) {
            self.remove(number)?;
        }
        Ok(())
    }

    fn head(&self, account: AccountId, at: &ImageAt) -> Vec<u8> {
        let mut head = Vec::with_capacity(HEAD);
        head.put_u64(MAGIC);
        head.put_u32(0);
        head.put_u32(at.len);
        head.put(account.as_bytes());
        head.put_u64(at.record);
        let sum = self.sum(at.file, at.offset, &head);
        patch_u32(&mut head, 8, sum);
        head
    }

    /// The checksum of a head at its place.
    fn sum(&self, number: u32, offset: u64, head: &[u8]) -> u32 {
        let store = Switch::BlobStore.some(self.store.0).unwrap_or_default();
        let number = Switch::BlobFile.some(number).unwrap_or(0);
        let sum = checksum(0, &store);
        let sum = checksum(sum, &number.to_le_bytes());
        let sum = checksum(sum, &Switch::BlobOffset.number(offset).to_le_bytes());
        checksum(sum, head.get(12..HEAD).unwrap_or_default())
    }

    fn found(&self, number: u32, offset: u64, head: &[u8]) -> Result<Found, Fault> {
        let mut take = Take::new(head);
        take.magic(MAGIC)?;
        let stored = take.u32()?;
        Switch::BlobSum.guard(|| check(self.sum(number, offset, head), stored))?;
        let len = take.u32()?;
        within("length of a blob", len.into(), 1, u32::MAX.into())?;
        let account = AccountId::from_bytes(take.array()?);
        let record = take.number("record number")?;
        let at = ImageAt {
            file: number,
            len,
            offset,
            record,
        };
        Ok(Found { account, at })
    }

    /// Bytes of a file, in memory.
    fn range(&self, number: u32, offset: u64, len: usize) -> Result<Bytes> {
        let file = self.file(number)?;
        match file.copied(offset, len) {
            Err(source) if source.kind() == std::io::ErrorKind::UnexpectedEof => {
                let what = Fault::Short {
                    len: file.len().unwrap_or(0).saturating_sub(offset),
                    needed: len as u64,
                };
                Err(self.fault(number, offset, what))
            }
            other => other.map_err(|source| Error::io("read", self.path(number), source)),
        }
    }

    /// The file, opened where it is not. Not under the lock: two may open it at once, and one of them is kept.
    fn file(&self, number: u32) -> Result<Arc<dyn File>> {
        if let Some(file) = self.state.lock().used(number) {
            return Ok(file);
        }
        let opened = self.storage.open(&name_of(number), Open::Read);
        let file = opened.map_err(|source| Error::io("open", self.path(number), source))?;
        let mut state = self.state.lock();
        if state.files.contains_key(&number) {
            state.keep_open(number, &file);
        }
        Ok(file)
    }

    fn fault(&self, number: u32, offset: u64, what: Fault) -> Error {
        Error::fault(self.path(number), offset, what)
    }

    fn path(&self, number: u32) -> String {
        self.describe(&name_of(number))
    }

    fn describe(&self, name: &str) -> String {
        format!("{}/{name}", self.storage.describe())
    }
}

impl Blobs for ImageStore {
    fn read(&self, at: &ImageAt) -> Result<Bytes> {
        let fault = |what| self.fault(at.file, at.offset, what);
        within("offset of a blob", at.offset, 0, NUMBER_MAX).map_err(fault)?;
        let bytes = self.range(at.file, at.offset, HEAD.saturating_add(at.len as usize))?;
        let found = self.found(at.file, at.offset, &bytes).map_err(fault)?;
        let (len, record) = (found.at.len.into(), found.at.record);
        Switch::BlobLength
            .guard(|| within("length of a blob", len, at.len.into(), at.len.into()))
            .map_err(fault)?;
        Switch::BlobRecord
            .guard(|| within("record of a blob", record, at.record, at.record))
            .map_err(fault)?;
        Ok(bytes.slice(HEAD..))
    }

    fn damaged(&self, at: &ImageAt, what: Fault) -> Error {
        self.fault(at.file, at.offset, what)
    }
}

impl State {
    fn used(&mut self, number: u32) -> Option<Arc<dyn File>> {
        self.clock += 1;
        let (file, used) = self.open.get_mut(&number)?;
        *used = self.clock;
        Some(Arc::clone(file))
    }

    /// Keeps a file open; closes the one that was not used for longest where they are too many.
    fn keep_open(&mut self, number: u32, file: &Arc<dyn File>) {
        self.clock += 1;
        self.open.insert(number, (Arc::clone(file), self.clock));
        if self.open.len() > OPEN_MAX {
            let oldest = self.open.iter().min_by_key(|(_, (_, used))| *used);
            let oldest = oldest.map(|(number, _)| *number);
            oldest.and_then(|number| self.open.remove(&number));
        }
    }
}

/// Where the next blob begins.
fn end_of(at: &ImageAt) -> u64 {
    let end = at.offset.saturating_add(HEAD as u64 + u64::from(at.len));
    end.next_multiple_of(ALIGN)
}

/// The name of a file: what the volume calls it.
pub(crate) fn name_of(number: u32) -> String {
    format!("{FOLDER}/{number:08x}.img")
}

/// The number in the name of an image file.
fn number_of(name: &str) -> Option<u32> {
    let number = u32::from_str_radix(name.strip_suffix(".img")?, 16).ok()?;
    // Another spelling of the number is not a name of ours.
    (name_of(number) == format!("{FOLDER}/{name}")).then_some(number)
}

#[cfg(test)]
mod tests;
