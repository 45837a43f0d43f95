//! The checkpoint: up to which place of the log the derived files know everything, and which files they are.
//!
//! One small file, replaced whole. Whatever is wrong with it, the store opens without it: then no record is covered.

use std::io::ErrorKind;

use super::fences::FenceAt;
use super::run::{FOLDER, RunInfo};
use crate::format::bytes::{Put, Take, check, within};
use crate::format::{Fault, StoreId, VERSION, checksum};
use crate::io::{Open, Storage};
use crate::log::Position;
use crate::mail::AccountId;
use crate::switch::Switch;
use crate::{Error, Result};

const MAGIC: u64 = u64::from_le_bytes(*b"MKCHECK1");
const PATH: &str = "index/CHECKPOINT";
const PATH_NEW: &str = "index/checkpoint.new";

/// Longest file, in bytes: some million files and fences.
const LEN_MAX: u64 = 64 << 20;
/// Zero bytes for what a later build keeps here.
const SPARE: usize = 64;

/// A file of images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ImageFile {
    /// Its number.
    pub(crate) number: u32,
    /// How many of its bytes were written.
    pub(crate) len: u64,
    /// How many of these no row points to.
    pub(crate) dead: u64,
}

/// What the file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    /// The store.
    pub(crate) store: StoreId,
    /// Grows with each checkpoint.
    pub(crate) generation: u64,
    /// All records before it are in the files named here, or lie in uncovered segments.
    pub(crate) position: Position,
    /// Runs of the directory.
    pub(crate) runs: Vec<RunInfo>,
    /// Files of images.
    pub(crate) images: Vec<ImageFile>,
    /// The store's fences.
    pub(crate) fences: Vec<FenceAt>,
    /// Next number of a file in `index/`.
    pub(crate) next_file: u32,
    /// Highest UIDVALIDITY ever given, by any account.
    pub(crate) uid_validity_max: u32,
    /// Highest UIDVALIDITY that an account may have given whose records are lost.
    pub(crate) uid_validity_floor: u32,
    /// Deferred deliveries that have no UID yet: key and record number.
    pub(crate) deferred: Vec<(AccountId, u64)>,
}

impl Checkpoint {
    /// The file's bytes.
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_u64(MAGIC);
        out.put_u16(VERSION);
        out.put(&[0; 6]);
        out.put(&self.store.0);
        out.put_u64(self.generation);
        let at = &self.position;
        [
            at.segment,
            at.offset,
            at.last,
            at.next_record,
            at.batch,
            at.highest_segment,
        ]
        .iter()
        .for_each(|number| out.put_u64(*number));
        [
            at.generation,
            at.crc,
            self.next_file,
            self.uid_validity_max,
            self.uid_validity_floor,
        ]
        .iter()
        .for_each(|number| out.put_u32(*number));
        let lists = [
            self.runs.len(),
            self.images.len(),
            self.fences.len(),
            self.deferred.len(),
        ];
        for many in lists {
            out.put_u32(u32::try_from(many).unwrap_or(u32::MAX));
        }
        out.put(&[0; SPARE]);
        self.runs.iter().for_each(|run| put_run(run, &mut out));
        self.images
            .iter()
            .for_each(|file| put_image(file, &mut out));
        self.fences
            .iter()
            .for_each(|fence| put_fence(fence, &mut out));
        for (key, number) in &self.deferred {
            out.put(key.as_bytes());
            out.put_u64(*number);
        }
        let crc = checksum(0, &out);
        out.put_u32(crc);
        out
    }

    /// # Errors
    /// Any [`Fault`]. Nothing is allocated by a number in the bytes.
    fn decode(bytes: &[u8]) -> Result<Self, Fault> {
        let Some((covered, stored)) = bytes.split_last_chunk::<4>() else {
            let len = bytes.len() as u64;
            return Err(Fault::Short { len, needed: 4 });
        };
        Switch::CheckpointSum.guard(|| check(checksum(0, covered), u32::from_le_bytes(*stored)))?;
        let mut take = Take::new(covered);
        take.magic(MAGIC)?;
        match take.u16()? {
            VERSION => take.zeroes(6)?,
            found => {
                return Err(Fault::Version {
                    found,
                    supported: VERSION,
                });
            }
        }
        let store = StoreId(take.array()?);
        let generation = take.number("generation")?;
        let mut position = Position {
            segment: take.number("segment number")?,
            generation: 0,
            offset: take.number("offset")?,
            last: take.number("offset")?,
            next_record: take.number("record number")?,
            batch: take.number("batch sequence")?,
            crc: 0,
            highest_segment: take.number("segment number")?,
        };
        (position.generation, position.crc) = (take.u32()?, take.u32()?);
        let next_file = take.u32()?;
        let (uid_validity_max, uid_validity_floor) = (take.u32()?, take.u32()?);
        let (runs, images, fences, deferred) = (take.u32()?, take.u32()?, take.u32()?, take.u32()?);
        take.zeroes(SPARE)?;
        let found = Self {
            store,
            generation,
            position,
            runs: take_all(&mut take, runs, take_run)?,
            images: take_all(&mut take, images, take_image)?,
            fences: take_all(&mut take, fences, take_fence)?,
            deferred: take_all(&mut take, deferred, take_deferred)?,
            next_file,
            uid_validity_max,
            uid_validity_floor,
        };
        within("bytes behind the checkpoint", take.left() as u64, 0, 0)?;
        Ok(found)
    }

    /// The checkpoint in `index/`, of whatever store; `None` where there is none.
    ///
    /// # Errors
    /// What is wrong with the file. The caller may report it, and goes on as if there were none.
    pub(crate) fn load(storage: &dyn Storage) -> Result<Option<Self>> {
        let failed = |error| Error::io("read", PATH, error);
        let file = match storage.open(PATH, Open::Read) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            file => file.map_err(failed)?,
        };
        let len = file.len().map_err(failed)?;
        let fault = |what| Error::fault(PATH, 0, what);
        within("length of the checkpoint", len, 4, LEN_MAX).map_err(fault)?;
        // Not mapped: a disk that fails is an answer here. The length is the file's own, and bounded.
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        let read = file.read_at(&mut bytes, 0).map_err(failed)?;
        let found = Self::decode(bytes.get(..read).unwrap_or_default()).map_err(fault)?;
        Ok(Some(found))
    }

    /// Replaces the store's checkpoint.
    ///
    /// # Errors
    /// What the system says. The file is then the old one or this one.
    ///
    /// # Durability
    /// This is the checkpoint after a crash once the call has returned; during it, the old one or this one.
    pub(crate) fn save(&self, storage: &dyn Storage) -> Result<()> {
        let failed = |error| Error::io("write", PATH_NEW, error);
        let aside = Switch::CheckpointAside.some(PATH_NEW).unwrap_or(PATH);
        match storage.remove(aside) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let file = storage.open(aside, Open::Create).map_err(failed)?;
        file.write_at(&[&self.encode()], 0).map_err(failed)?;
        // Before the rename: else the name could outlive a crash and the bytes not.
        Switch::CheckpointSync
            .guard(|| file.sync())
            .map_err(failed)?;
        let renamed = storage.rename(aside, PATH);
        renamed.map_err(|error| Error::io("replace", PATH, error))?;
        let synced = Switch::CheckpointNameSync.guard(|| storage.sync_dir(FOLDER));
        synced.map_err(|error| Error::io("sync", FOLDER, error))
    }
}

/// `many` items. Bounded by the bytes that are left: the first that is not there ends it.
fn take_all<T>(
    take: &mut Take<'_>,
    many: u32,
    one: impl Fn(&mut Take<'_>) -> Result<T, Fault>,
) -> Result<Vec<T>, Fault> {
    let mut all = Vec::new();
    for _ in 0..many {
        all.push(one(take)?);
    }
    Ok(all)
}

fn put_run(run: &RunInfo, out: &mut Vec<u8>) {
    out.put_u32(run.number);
    out.put(&run.nonce);
    [run.lo, run.hi, run.rows, run.len]
        .iter()
        .for_each(|number| out.put_u64(*number));
}

fn take_run(take: &mut Take<'_>) -> Result<RunInfo, Fault> {
    Ok(RunInfo {
        number: take.u32()?,
        nonce: take.array()?,
        lo: take.number("record number")?,
        hi: take.number("record number")?,
        rows: take.number("count of rows")?,
        len: take.number("length of a run")?,
    })
}

fn put_image(file: &ImageFile, out: &mut Vec<u8>) {
    out.put_u32(file.number);
    out.put_u64(file.len);
    out.put_u64(file.dead);
}

fn take_image(take: &mut Take<'_>) -> Result<ImageFile, Fault> {
    Ok(ImageFile {
        number: take.u32()?,
        len: take.number("length of images")?,
        dead: take.number("length of images")?,
    })
}

fn take_deferred(take: &mut Take<'_>) -> Result<(AccountId, u64), Fault> {
    let key = AccountId::from_bytes(take.array()?);
    Ok((key, take.number("record number")?))
}

fn put_fence(fence: &FenceAt, out: &mut Vec<u8>) {
    out.put_u64(fence.number);
    out.put_u32(fence.bound);
    out.put_u64(fence.first_lost);
    out.put_u64(fence.last_lost);
}

fn take_fence(take: &mut Take<'_>) -> Result<FenceAt, Fault> {
    Ok(FenceAt {
        number: take.number("record number")?,
        bound: take.u32()?,
        first_lost: take.number("record number")?,
        last_lost: take.number("record number")?,
    })
}

#[cfg(test)]
mod tests;
