//! The header page of a log segment. FORMAT.md section 4.

use super::bytes::{Put, Take};
use super::{Fault, Features, PAGE, StoreId, VERSION, checksum};
use crate::switch::Switch;

const MAGIC: u64 = u64::from_le_bytes(*b"MKSEGMT1");

/// What a segment holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// Batches.
    Batches,
    /// One large body.
    Body,
}

/// What is behind the end of the log in this file. Tells a sector that was never written from a damaged one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behind {
    /// Zeroes or the end of the file.
    Zeroes,
    /// Bytes of an earlier life of the file.
    Stale,
}

/// The first page of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The store it belongs to.
    pub store: StoreId,
    /// The segment's number; its file name repeats it.
    pub segment: u64,
    /// Which rewriting of this segment this is; 0 is the original.
    pub generation: u32,
    /// Random; part of every checksum in the segment.
    pub salt: u64,
    /// Number of the first record that goes here.
    pub first_record: u64,
    /// Sequence of the first batch that goes here.
    pub first_batch: u64,
    /// The writer's epoch when it was made.
    pub epoch: u64,
    /// When it was made, milliseconds since 1970.
    pub created_ms: i64,
    /// What it holds.
    pub holds: Holds,
    /// What lies behind the log's end.
    pub behind: Behind,
    /// Feature bits.
    pub features: Features,
}

impl SegmentHeader {
    /// The page as it is written.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(PAGE);
        out.put_u64(MAGIC);
        out.put_u16(VERSION);
        out.put_u8(match self.holds {
            Holds::Batches => 0,
            Holds::Body => 1,
        });
        out.put_u8(match self.behind {
            Behind::Zeroes => 0,
            Behind::Stale => 1,
        });
        out.put_u32(self.features.must_know);
        out.put_u32(self.features.read_only_safe);
        out.put_u32(self.features.ignorable);
        out.put(&self.store.0);
        out.put_u64(self.segment);
        out.put_u64(self.salt);
        out.put_u64(self.first_record);
        out.put_u64(self.first_batch);
        out.put_u64(self.epoch);
        out.put_i64(self.created_ms);
        out.put_u32(self.generation);
        out.resize(PAGE - 4, 0);
        let crc = checksum(0, &out);
        out.put_u32(crc);
        out
    }

    /// Reads a header page.
    ///
    /// # Errors
    /// Any [`Fault`]; a newer version or feature is told apart from damage.
    pub fn decode(page: &[u8]) -> Result<Self, Fault> {
        let mut take = Take::sealed(page, PAGE, MAGIC, Switch::HeaderSum)?;
        let holds = match take.u8()? {
            0 => Holds::Batches,
            1 => Holds::Body,
            kind => {
                return Err(Fault::Range {
                    field: "segment content",
                    found: kind.into(),
                    min: 0,
                    max: 1,
                });
            }
        };
        let behind = match take.u8()? {
            0 => Behind::Zeroes,
            1 => Behind::Stale,
            kind => {
                return Err(Fault::Range {
                    field: "segment preparation",
                    found: kind.into(),
                    min: 0,
                    max: 1,
                });
            }
        };
        let features = take.features()?;
        let header = Self {
            store: StoreId(take.array()?),
            segment: take.number("segment number")?,
            salt: take.u64()?,
            first_record: take.number("record number")?,
            first_batch: take.number("batch sequence")?,
            epoch: take.number("epoch")?,
            created_ms: take.i64()?,
            generation: take.u32()?,
            holds,
            behind,
            features,
        };
        take.end()?;
        Ok(header)
    }

    /// The seed that binds all checksums of this segment to store, segment, generation and salt.
    #[must_use]
    pub fn place(&self) -> Place {
        let mut bytes = Vec::with_capacity(36);
        bytes.put(&Switch::PlaceStore.some(self.store.0).unwrap_or_default());
        bytes.put_u64(Switch::PlaceSegment.number(self.segment));
        bytes.put_u64(Switch::PlaceSalt.number(self.salt));
        bytes.put_u32(Switch::PlaceGeneration.some(self.generation).unwrap_or(0));
        Place(checksum(0, &bytes))
    }
}

/// Seed of the checksums in one segment. FORMAT.md section 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(u32);

impl Place {
    /// A checksum of `bytes` that is good only in this segment and only for `number` (an offset, a record
    /// number or a batch sequence).
    #[must_use]
    pub fn checksum(self, number: u64, bytes: &[u8]) -> u32 {
        let number = Switch::PlaceNumber.number(number);
        checksum(checksum(self.0, &number.to_le_bytes()), bytes)
    }
}
