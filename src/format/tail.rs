//! TAIL: how far acknowledged batches reach, written after each commit and not synced with it. FORMAT.md section 12.
//!
//! Two slots, written in turn, a page apart so that no write can tear both.

use super::bytes::{Put, Take};
use super::{Fault, PAGE, SECTOR, StoreId, checksum};
use crate::switch::Switch;

const MAGIC: u64 = u64::from_le_bytes(*b"MKTAIL01");

/// Length of the file in bytes.
pub const FILE_LEN: u64 = (PAGE + SECTOR) as u64;

/// One slot of TAIL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    /// The store.
    pub store: StoreId,
    /// Epoch of the writer.
    pub epoch: u64,
    /// Last batch that was written.
    pub written: u64,
    /// Last batch that was durable.
    pub durable: u64,
    /// The segment that batch `written` lies in.
    pub segment: u64,
    /// Offset behind batch `written`.
    pub end: u64,
    /// Number after the last record of batch `written`.
    pub next_record: u64,
}

impl Tail {
    /// The slot as written.
    #[must_use]
    pub fn encode(&self) -> [u8; SECTOR] {
        let mut out = Vec::with_capacity(SECTOR);
        out.put_u64(MAGIC);
        out.put(&self.store.0);
        out.put_u64(self.epoch);
        out.put_u64(self.written);
        out.put_u64(self.durable);
        out.put_u64(self.segment);
        out.put_u64(self.end);
        out.put_u64(self.next_record);
        out.resize(SECTOR - 4, 0);
        let crc = checksum(0, &out);
        out.put_u32(crc);
        let mut sector = [0; SECTOR];
        sector.copy_from_slice(&out);
        sector
    }

    /// Reads one slot of `store`'s TAIL.
    ///
    /// # Errors
    /// Any [`Fault`]; [`Fault::Foreign`] for another store's.
    pub fn decode(store: StoreId, slot: &[u8]) -> Result<Self, Fault> {
        let mut take = Take::unversioned(slot, SECTOR, MAGIC, Switch::TailSum)?;
        if StoreId(take.array()?) != store && Switch::TailStore.on() {
            return Err(Fault::Foreign);
        }
        let tail = Self {
            store,
            epoch: take.number("epoch")?,
            written: take.number("batch sequence")?,
            durable: take.number("batch sequence")?,
            segment: take.number("segment number")?,
            end: take.number("end of a segment")?,
            next_record: take.number("record number")?,
        };
        take.end()?;
        Ok(tail)
    }

    /// Offset of the slot that the batch `written` goes to.
    #[must_use]
    pub fn slot(&self) -> u64 {
        (Switch::TailSlots.number(self.written) % 2) * PAGE as u64
    }
}
