//! What a sealed segment ends in: where its records are, and which belong to which account. FORMAT.md section 9.
//!
//! ```text
//! records | accounts | lists | merged accounts | checksum of each page before | trailer, the last page of the file
//! ```
//! Each part starts at a page, so that one entry can be verified by reading its page, the page that holds its
//! checksum, and the trailer.

use super::bytes::{Put, Take, check, within};
use super::segment::Place;
use super::{Fault, Features, PAGE, StoreId, VERSION, checksum, padded};
use crate::mail::{AccountId, Digest};
use crate::switch::Switch;

const MAGIC: u64 = u64::from_le_bytes(*b"MKFOOTR1");

/// Bytes of one entry of the record table.
pub const RECORD_ENTRY: usize = 8;

/// Bytes of one entry of the account table.
pub const ACCOUNT_ENTRY: usize = 24;

/// Bytes of one entry of the merged account table.
pub const MERGED_ENTRY: usize = 24;

/// Segments that a merged account table covers, at most: one bit each.
pub const MERGED_MAX: usize = 64;

/// Ignorable feature bit: the footer has a merged account table.
const HAS_MERGED: u32 = 1;

/// Where a record lies in its segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordAt {
    /// Offset of the record's frame; 0 when the record is lost.
    pub frame: u32,
    /// Offset of the body header it brought; 0 for none.
    pub body: u32,
}

impl RecordAt {
    /// Reads one entry of the record table.
    ///
    /// # Errors
    /// [`Fault::Short`].
    pub fn decode(entry: &[u8]) -> Result<Self, Fault> {
        let mut take = Take::new(entry);
        Ok(Self {
            frame: take.u32()?,
            body: take.u32()?,
        })
    }
}

/// Which records of the segment belong to an account: a run of the lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountRun {
    /// The account.
    pub account: AccountId,
    /// Index of its first number in the lists.
    pub first: u32,
    /// How many.
    pub count: u32,
}

impl AccountRun {
    /// Reads one entry of the account table.
    ///
    /// # Errors
    /// [`Fault::Short`].
    pub fn decode(entry: &[u8]) -> Result<Self, Fault> {
        let mut take = Take::new(entry);
        Ok(Self {
            account: AccountId::from_bytes(take.array()?),
            first: take.u32()?,
            count: take.u32()?,
        })
    }
}

/// An account with records in segments before this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MergedRun {
    /// The account.
    pub account: AccountId,
    /// Bit *i* says that it has records in segment *i* of [`Trailer::merged`].
    pub segments: u64,
}

impl MergedRun {
    /// Reads one entry of the merged account table.
    ///
    /// # Errors
    /// [`Fault::Short`].
    pub fn decode(entry: &[u8]) -> Result<Self, Fault> {
        let mut take = Take::new(entry);
        Ok(Self {
            account: AccountId::from_bytes(take.array()?),
            segments: take.u64()?,
        })
    }
}

/// Which accounts have records in which of the segments before, for a search that has nothing else.
#[derive(Clone, Copy, Debug, Default)]
pub struct Merged<'a> {
    /// Numbers of the segments, at most [`MERGED_MAX`].
    pub segments: &'a [u64],
    /// All accounts with a record in one of them, ascending.
    pub accounts: &'a [MergedRun],
}

/// The last page of a sealed segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trailer {
    /// The store.
    pub store: StoreId,
    /// The segment.
    pub segment: u64,
    /// Its generation.
    pub generation: u32,
    /// Number of its first record.
    pub first_record: u64,
    /// How many record numbers it spans, lost ones included.
    pub record_count: u32,
    /// How many accounts have records in it.
    pub account_count: u32,
    /// How many record numbers all accounts together have.
    pub list_count: u32,
    /// Sequence of its first batch.
    pub first_batch: u64,
    /// Sequence of its last batch; below `first_batch` when it has none.
    pub last_batch: u64,
    /// Head checksum of its last batch, which the next segment's first batch repeats.
    pub last_crc: u32,
    /// Where its batches end and the footer begins; a multiple of [`PAGE`].
    pub footer_at: u64,
    /// BLAKE3 of the file up to `footer_at`.
    pub digest: Digest,
    /// Feature bits.
    pub features: Features,
    /// Entries of the merged account table.
    pub merged_count: u32,
    /// Numbers of the segments that it covers; empty where there is none.
    pub merged: Vec<u64>,
    pages_crc: u32,
}

/// Facts of a segment that is being sealed, as in [`Trailer`].
#[derive(Clone, Debug)]
pub struct Sealing<'a> {
    /// As in the trailer.
    pub store: StoreId,
    /// As in the trailer.
    pub segment: u64,
    /// As in the trailer.
    pub generation: u32,
    /// As in the trailer.
    pub first_record: u64,
    /// As in the trailer.
    pub first_batch: u64,
    /// As in the trailer.
    pub last_batch: u64,
    /// As in the trailer.
    pub last_crc: u32,
    /// As in the trailer.
    pub footer_at: u64,
    /// As in the trailer.
    pub digest: Digest,
    /// All records, by number.
    pub records: &'a [RecordAt],
    /// Each record's account with its index in the segment, sorted.
    pub owners: &'a [(AccountId, u32)],
}

/// Builds the whole footer, to be written at `footer_at`.
#[must_use]
pub fn encode(place: Place, sealing: &Sealing<'_>) -> Vec<u8> {
    encode_merged(place, sealing, Merged::default())
}

/// As [`encode`], with a merged account table unless that covers no segment.
#[must_use]
pub fn encode_merged(place: Place, sealing: &Sealing<'_>, merged: Merged<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    for record in sealing.records {
        out.put_u32(record.frame);
        out.put_u32(record.body);
    }
    out.resize(padded(out.len(), PAGE), 0);
    let mut account_count = 0;
    for run in sealing.owners.chunk_by(|a, b| a.0 == b.0) {
        if let Some((account, _)) = run.first() {
            let first = run_start(sealing.owners, run);
            out.put(account.as_bytes());
            out.put_u32(first);
            out.put_u32(u32::try_from(run.len()).unwrap_or(u32::MAX));
            account_count += 1;
        }
    }
    out.resize(padded(out.len(), PAGE), 0);
    for (_, index) in sealing.owners {
        out.put_u32(*index);
    }
    out.resize(padded(out.len(), PAGE), 0);
    for run in merged.accounts {
        out.put(run.account.as_bytes());
        out.put_u64(run.segments);
    }
    out.resize(padded(out.len(), PAGE), 0);
    let mut crcs = Vec::with_capacity(out.len() / PAGE * 4);
    for (number, page) in out.chunks(PAGE).enumerate() {
        crcs.put_u32(place.checksum(number as u64, page));
    }
    crcs.resize(padded(crcs.len(), PAGE), 0);
    let trailer = Trailer {
        store: sealing.store,
        segment: sealing.segment,
        generation: sealing.generation,
        first_record: sealing.first_record,
        record_count: u32::try_from(sealing.records.len()).unwrap_or(u32::MAX),
        account_count,
        list_count: u32::try_from(sealing.owners.len()).unwrap_or(u32::MAX),
        first_batch: sealing.first_batch,
        last_batch: sealing.last_batch,
        last_crc: sealing.last_crc,
        footer_at: sealing.footer_at,
        digest: sealing.digest,
        features: Features {
            ignorable: if merged.segments.is_empty() {
                0
            } else {
                HAS_MERGED
            },
            ..Features::default()
        },
        merged_count: u32::try_from(merged.accounts.len()).unwrap_or(u32::MAX),
        merged: merged.segments.to_vec(),
        pages_crc: checksum(0, &crcs),
    };
    out.append(&mut crcs);
    trailer.encode(&mut out);
    out
}

/// Index in `owners` at which `run`, a part of it, begins.
fn run_start(owners: &[(AccountId, u32)], run: &[(AccountId, u32)]) -> u32 {
    let at = run
        .first()
        .map_or(0, |first| owners.partition_point(|owner| owner < first));
    u32::try_from(at).unwrap_or(u32::MAX)
}

impl Trailer {
    fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.put_u64(MAGIC);
        out.put_u16(VERSION);
        out.put_u16(0);
        out.put_u32(self.features.must_know);
        out.put_u32(self.features.read_only_safe);
        out.put_u32(self.features.ignorable);
        out.put(&self.store.0);
        out.put_u64(self.segment);
        out.put_u64(self.first_record);
        out.put_u64(self.first_batch);
        out.put_u64(self.last_batch);
        out.put_u64(self.footer_at);
        out.put_u32(self.generation);
        out.put_u32(self.record_count);
        out.put_u32(self.account_count);
        out.put_u32(self.list_count);
        out.put_u32(self.last_crc);
        out.put_u32(self.pages_crc);
        out.put(self.digest.as_bytes());
        out.put_u32(self.merged_count);
        out.put_u32(u32::try_from(self.merged.len()).unwrap_or(u32::MAX));
        for segment in self.merged.iter().take(MERGED_MAX) {
            out.put_u64(*segment);
        }
        out.resize(start + PAGE - 4, 0);
        let crc = checksum(0, out.get(start..).unwrap_or_default());
        out.put_u32(crc);
    }

    /// Reads the last page of a segment.
    ///
    /// # Errors
    /// Any [`Fault`]. [`Fault::Magic`] where the segment is simply not sealed.
    pub fn decode(page: &[u8]) -> Result<Self, Fault> {
        let mut take = Take::sealed(page, PAGE, MAGIC, Switch::TrailerSum)?;
        take.zeroes(2)?;
        let features = take.features()?;
        let store = StoreId(take.array()?);
        let segment = take.number("segment number")?;
        let first_record = take.number("record number")?;
        let first_batch = take.number("batch sequence")?;
        let last_batch = take.number("batch sequence")?;
        let footer_at = take.number("offset of the footer")?;
        if !footer_at.is_multiple_of(PAGE as u64) || footer_at == 0 {
            return Err(Fault::Mismatch {
                field: "offset of the footer",
                found: footer_at,
                expected: footer_at.next_multiple_of(PAGE as u64).max(PAGE as u64),
            });
        }
        let (generation, record_count, account_count, list_count) =
            (take.u32()?, take.u32()?, take.u32()?, take.u32()?);
        let (last_crc, pages_crc) = (take.u32()?, take.u32()?);
        let digest = Digest::from_bytes(take.array()?);
        let (merged_count, merged) = if features.ignorable & HAS_MERGED == 0 {
            (0, Vec::new())
        } else {
            decode_merged(&mut take)?
        };
        take.end()?;
        Ok(Self {
            store,
            segment,
            generation,
            first_record,
            record_count,
            account_count,
            list_count,
            first_batch,
            last_batch,
            last_crc,
            footer_at,
            digest,
            features,
            merged_count,
            merged,
            pages_crc,
        })
    }

    /// Where the account table begins, from `footer_at`.
    #[must_use]
    pub fn accounts_at(&self) -> usize {
        padded(self.record_count as usize * RECORD_ENTRY, PAGE)
    }

    /// Where the lists begin, from `footer_at`.
    #[must_use]
    pub fn lists_at(&self) -> usize {
        self.accounts_at() + padded(self.account_count as usize * ACCOUNT_ENTRY, PAGE)
    }

    /// Where the merged account table begins, from `footer_at`.
    #[must_use]
    pub fn merged_at(&self) -> usize {
        self.lists_at() + padded(self.list_count as usize * 4, PAGE)
    }

    /// Where the page checksums begin, from `footer_at`; also the length of all pages they cover.
    #[must_use]
    pub fn checksums_at(&self) -> usize {
        self.merged_at() + padded(self.merged_count as usize * MERGED_ENTRY, PAGE)
    }

    /// Where the trailer begins, from `footer_at`.
    #[must_use]
    pub fn trailer_at(&self) -> usize {
        self.checksums_at() + padded(self.checksums_at() / PAGE * 4, PAGE)
    }

    /// Length of the sealed file in bytes.
    #[must_use]
    pub fn file_len(&self) -> u64 {
        self.footer_at + self.trailer_at() as u64 + PAGE as u64
    }

    /// Verifies the table of page checksums.
    ///
    /// # Errors
    /// [`Fault::Checksum`].
    pub fn verify_checksums(&self, table: &[u8]) -> Result<(), Fault> {
        Switch::FooterTableSum.guard(|| check(checksum(0, table), self.pages_crc))
    }
}

/// What a trailer says of its merged account table.
fn decode_merged(take: &mut Take<'_>) -> Result<(u32, Vec<u64>), Fault> {
    let (count, segments) = (take.u32()?, take.u32()?);
    within(
        "segments of a merged table",
        segments.into(),
        0,
        MERGED_MAX as u64,
    )?;
    let numbers = (0..segments).map(|_| take.number("segment number"));
    Ok((count, numbers.collect::<Result<_, _>>()?))
}

/// Verifies page `number` of the footer against `table`, the verified table of page checksums.
///
/// # Errors
/// [`Fault::Short`] or [`Fault::Checksum`].
pub fn verify_page(place: Place, table: &[u8], number: usize, page: &[u8]) -> Result<(), Fault> {
    let stored = Take::new(table.get(number.saturating_mul(4)..).unwrap_or_default()).u32()?;
    Switch::FooterPageSum.guard(|| check(place.checksum(number as u64, page), stored))
}
