//! SEGMENTS: the list of log segments as edits, each 64 bytes, appended and never changed. FORMAT.md section 11.

use super::bytes::{Put, Take, check, patch_u32};
use super::{Fault, StoreId, VERSION, checksum};
use crate::switch::Switch;

const MAGIC: u64 = u64::from_le_bytes(*b"MKSEGLS1");

/// Length of the file's head and of each edit, in bytes.
pub const EDIT_LEN: usize = 64;

/// What happened to a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// It was made and batches go there.
    Created,
    /// It ends at `end` and has no footer: it must not be written or synced again.
    Ended,
    /// It has its footer at `end`.
    Sealed,
    /// It was made, holds one large body, and is durable.
    Body,
    /// It is gone.
    Dropped,
}

/// One edit of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edit {
    /// What happened.
    pub what: What,
    /// To which segment.
    pub segment: u64,
    /// Its generation.
    pub generation: u32,
    /// Number of its first record.
    pub first_record: u64,
    /// Sequence of its first batch.
    pub first_batch: u64,
    /// Offset at which its batches end; 0 while they may still grow.
    pub end: u64,
    /// Number after its last record, once it has ended; else 0.
    pub next_record: u64,
    /// Its salt, so that the loss of its header page is the loss of a page only.
    pub salt: u64,
}

/// The head of SEGMENTS.
#[must_use]
pub fn encode_head(store: StoreId) -> Vec<u8> {
    let mut out = Vec::with_capacity(EDIT_LEN);
    out.put_u64(MAGIC);
    out.put_u16(VERSION);
    out.put(&store.0);
    out.resize(EDIT_LEN - 4, 0);
    let crc = checksum(0, &out);
    out.put_u32(crc);
    out
}

/// Reads the head of SEGMENTS.
///
/// # Errors
/// Any [`Fault`].
pub fn decode_head(head: &[u8]) -> Result<StoreId, Fault> {
    let mut take = Take::sealed(head, EDIT_LEN, MAGIC, Switch::SegmentsSum)?;
    let store = StoreId(take.array()?);
    take.end()?;
    Ok(store)
}

/// Offset of edit `index` in the file.
#[must_use]
pub fn offset(index: u64) -> u64 {
    index.saturating_add(1).saturating_mul(EDIT_LEN as u64)
}

/// The seed of an edit's checksum: good in this store and at this place of the list only.
fn seed(store: StoreId, index: u64) -> u32 {
    let store = Switch::EditStore.some(store.0).unwrap_or_default();
    checksum(
        checksum(0, &store),
        &Switch::EditIndex.number(index).to_le_bytes(),
    )
}

/// The chain checksum over the list so far and one more edit.
#[must_use]
pub fn chain(previous: u32, edit: &[u8]) -> u32 {
    checksum(previous, edit)
}

impl Edit {
    /// The edit as written as number `index` of the list.
    #[must_use]
    pub fn encode(&self, store: StoreId, index: u64) -> Vec<u8> {
        let mut out = Vec::with_capacity(EDIT_LEN);
        out.put_u32(0);
        out.put_u16(match self.what {
            What::Created => 1,
            What::Ended => 2,
            What::Sealed => 3,
            What::Body => 4,
            What::Dropped => 5,
        });
        out.put_u16(0);
        out.put_u64(self.segment);
        out.put_u64(self.first_record);
        out.put_u64(self.first_batch);
        out.put_u64(self.end);
        out.put_u64(self.next_record);
        out.put_u32(self.generation);
        out.put_u64(self.salt);
        out.resize(EDIT_LEN, 0);
        let crc = checksum(seed(store, index), out.get(4..).unwrap_or_default());
        patch_u32(&mut out, 0, crc);
        out
    }

    /// Reads edit number `index` of the list.
    ///
    /// # Errors
    /// Any [`Fault`].
    pub fn decode(store: StoreId, index: u64, bytes: &[u8]) -> Result<Self, Fault> {
        let whole = Take::new(bytes).slice(EDIT_LEN)?;
        let mut take = Take::new(whole);
        let stored = take.u32()?;
        let covered = whole.get(4..).unwrap_or_default();
        Switch::EditSum.guard(|| check(checksum(seed(store, index), covered), stored))?;
        let what = match take.u16()? {
            1 => What::Created,
            2 => What::Ended,
            3 => What::Sealed,
            4 => What::Body,
            5 => What::Dropped,
            found => {
                return Err(Fault::Range {
                    field: "segment edit",
                    found: found.into(),
                    min: 1,
                    max: 5,
                });
            }
        };
        take.zeroes(2)?;
        let edit = Self {
            what,
            segment: take.number("segment number")?,
            first_record: take.number("record number")?,
            first_batch: take.number("batch sequence")?,
            end: take.number("end of a segment")?,
            next_record: take.number("record number")?,
            generation: take.u32()?,
            salt: take.u64()?,
        };
        take.end()?;
        Ok(edit)
    }
}
