//! A batch: records and bodies that become true together, written by one call. FORMAT.md section 5.
//!
//! ```text
//! fixed head | checksum of each sector | records | bodies, each behind its header | zeroes up to the sector
//! ```

use super::bytes::{Put, Take, check, patch_u32, within};
use super::segment::Place;
use super::{Fault, SECTOR, checksum, padded, record};
use crate::switch::Switch;

const MAGIC: u64 = u64::from_le_bytes(*b"MKBATCH1");

/// Bytes of the head before the sector table: they lie in one sector, which no device tears.
pub const FIXED: usize = 96;

/// Largest batch, in bytes. A torn tail is never longer.
pub const LEN_MAX: usize = 1 << 30;

/// The fixed head of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchHead {
    /// Store-wide sequence of the batch.
    pub batch: u64,
    /// Epoch of the writer.
    pub epoch: u64,
    /// Nonce of the writer.
    pub nonce: [u8; 16],
    /// Number of its first record; the others follow one by one.
    pub first_record: u64,
    /// Highest batch known durable when this one was written.
    pub durable: u64,
    /// When it was committed, milliseconds since 1970.
    pub commit_ms: i64,
    /// Length of the whole batch in bytes, a multiple of [`SECTOR`].
    pub len: u32,
    /// Length of the records, which follow the sector table.
    pub records_len: u32,
    /// How many records.
    pub count: u32,
    /// Head checksum of the batch before; 0 for the store's first.
    pub previous: u32,
    table_crc: u32,
    head_crc: u32,
}

/// What a batch is built from, besides its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// As [`BatchHead::batch`].
    pub batch: u64,
    /// As [`BatchHead::epoch`].
    pub epoch: u64,
    /// As [`BatchHead::nonce`].
    pub nonce: [u8; 16],
    /// As [`BatchHead::first_record`].
    pub first_record: u64,
    /// As [`BatchHead::durable`].
    pub durable: u64,
    /// As [`BatchHead::commit_ms`].
    pub commit_ms: i64,
    /// As [`BatchHead::count`].
    pub count: u32,
    /// As [`BatchHead::previous`].
    pub previous: u32,
}

/// Length of the head (with the table) of a batch that carries `payload_len` bytes, and of the whole batch.
#[must_use]
pub fn lengths(payload_len: usize) -> (usize, usize) {
    // The table has an entry for each sector of the batch, itself included: grow until it fits.
    let mut len = padded(FIXED + payload_len, SECTOR);
    loop {
        let head = padded(FIXED + len / SECTOR * 4, 8);
        let whole = padded(head + payload_len, SECTOR);
        if whole == len {
            return (head, len);
        }
        len = whole;
    }
}

/// Builds the head of a batch of `records` and `bodies` that goes to `offset`: the bytes before them. Behind them
/// belong zeroes up to the returned length of the whole batch.
#[must_use]
pub fn encode_head(
    place: Place,
    offset: u64,
    facts: &Facts,
    records: &[u8],
    bodies: &[u8],
) -> (Vec<u8>, usize, u32) {
    let (head_len, len) = lengths(records.len() + bodies.len());
    let mut out = Vec::with_capacity(head_len);
    out.put_u64(MAGIC);
    out.put_u64(0);
    out.put_u64(facts.batch);
    out.put_u64(facts.epoch);
    out.put(&facts.nonce);
    out.put_u64(facts.first_record);
    out.put_u64(facts.durable);
    out.put_i64(facts.commit_ms);
    out.put_u32(u32::try_from(len).unwrap_or(u32::MAX));
    out.put_u32(u32::try_from(head_len).unwrap_or(u32::MAX));
    out.put_u32(u32::try_from(records.len()).unwrap_or(u32::MAX));
    out.put_u32(facts.count);
    out.put_u32(facts.previous);
    out.put_u32(0);
    put_table(&mut out, head_len, len, records, bodies);
    out.resize(head_len, 0);
    let table_crc = place.checksum(offset, out.get(FIXED..).unwrap_or_default());
    patch_u32(&mut out, 12, table_crc);
    let head_crc = place.checksum(offset, out.get(12..FIXED).unwrap_or_default());
    patch_u32(&mut out, 8, head_crc);
    (out, len, head_crc)
}

/// One checksum for each sector, over its bytes behind the head.
fn put_table(out: &mut Vec<u8>, head_len: usize, len: usize, records: &[u8], bodies: &[u8]) {
    const ZEROES: [u8; SECTOR] = [0; SECTOR];
    let whole_heads = head_len / SECTOR;
    for _ in 0..whole_heads {
        out.put_u32(0);
    }
    let mut parts = [records, bodies];
    let mut want = SECTOR - head_len % SECTOR;
    for _ in whole_heads..len / SECTOR {
        let mut crc = 0;
        let mut left = want;
        for part in &mut parts {
            let (now, later) = part.split_at(left.min(part.len()));
            crc = checksum(crc, now);
            left -= now.len();
            *part = later;
        }
        crc = checksum(crc, ZEROES.get(..left).unwrap_or_default());
        out.put_u32(crc);
        want = SECTOR;
    }
}

impl BatchHead {
    /// Reads the fixed head at the start of `bytes`, which lie at `offset` of the segment.
    ///
    /// # Errors
    /// Any [`Fault`].
    pub fn decode(place: Place, offset: u64, bytes: &[u8]) -> Result<Self, Fault> {
        let mut take = Take::new(bytes);
        take.magic(MAGIC)?;
        let (head_crc, table_crc) = (take.u32()?, take.u32()?);
        let fixed = Take::new(bytes).slice(FIXED)?;
        let found = place.checksum(offset, fixed.get(12..).unwrap_or_default());
        Switch::HeadSum.guard(|| check(found, head_crc))?;
        let batch = take.number("batch sequence")?;
        let epoch = take.number("epoch")?;
        let nonce = take.array()?;
        let first_record = take.number("record number")?;
        let durable = take.number("batch sequence")?;
        let commit_ms = take.i64()?;
        let (len, head_len, records_len) = (take.u32()?, take.u32()?, take.u32()?);
        let (count, previous) = (take.u32()?, take.u32()?);
        take.zeroes(4)?;
        let head = Self {
            batch,
            epoch,
            nonce,
            first_record,
            durable,
            commit_ms,
            len,
            records_len,
            count,
            previous,
            table_crc,
            head_crc,
        };
        head.plausible(head_len)?;
        Ok(head)
    }

    /// Lengths that fit one another, so that nothing later can leave the batch.
    fn plausible(&self, head_len: u32) -> Result<(), Fault> {
        let len = self.len as usize;
        if len == 0 || !len.is_multiple_of(SECTOR) || len > LEN_MAX {
            let (found, max) = (len as u64, LEN_MAX as u64);
            return Err(Fault::Range {
                field: "batch length",
                found,
                min: SECTOR as u64,
                max,
            });
        }
        if head_len as usize != self.head_len() || self.head_len() > len {
            let (found, expected) = (head_len.into(), self.head_len() as u64);
            return Err(Fault::Mismatch {
                field: "batch head length",
                found,
                expected,
            });
        }
        let room = len - self.head_len();
        within("length of records", self.records_len.into(), 0, room as u64)?;
        // So that nobody makes a list of records that cannot be there.
        let most = self.records_len as usize / record::HEADER;
        within("record count", self.count.into(), 0, most as u64)
    }

    /// Length of the fixed head and the sector table.
    #[must_use]
    pub fn head_len(&self) -> usize {
        padded(FIXED + self.len as usize / SECTOR * 4, 8)
    }

    /// Where the bodies begin, from the start of the batch.
    #[must_use]
    pub fn bodies_at(&self) -> usize {
        self.head_len() + self.records_len as usize
    }

    /// The head's checksum, which the next batch repeats.
    #[must_use]
    pub fn crc(&self) -> u32 {
        self.head_crc
    }

    /// Whether the sector table of this batch (`bytes` from its start) is sound.
    ///
    /// # Errors
    /// [`Fault::Short`], [`Fault::Checksum`] or [`Fault::Reserved`].
    pub fn verify_table(&self, place: Place, offset: u64, bytes: &[u8]) -> Result<(), Fault> {
        let head = Take::new(bytes).slice(self.head_len())?;
        let found = place.checksum(offset, head.get(FIXED..).unwrap_or_default());
        Switch::TableSum.guard(|| check(found, self.table_crc))?;
        let mut take = Take::new(head);
        take.slice(FIXED + self.len as usize / SECTOR * 4)?;
        take.end()
    }

    /// The sectors of this batch (`bytes` from its start, all of it) that are not as written, by number; with an
    /// unsound table, its sectors.
    #[must_use]
    pub fn bad_sectors(&self, place: Place, offset: u64, bytes: &[u8]) -> Vec<usize> {
        let head_len = self.head_len();
        if self.verify_table(place, offset, bytes).is_err() {
            return (0..head_len.div_ceil(SECTOR)).collect();
        }
        let mut table = Take::new(bytes.get(FIXED..).unwrap_or_default());
        let mut bad = Vec::new();
        for (sector, content) in bytes
            .chunks(SECTOR)
            .take(self.len as usize / SECTOR)
            .enumerate()
        {
            let expected = table.u32().unwrap_or(0);
            let from = head_len.saturating_sub(sector * SECTOR);
            let good = match content.get(from..) {
                Some([]) | None => expected == 0,
                Some(covered) => content.len() == SECTOR && checksum(0, covered) == expected,
            };
            if !good && Switch::SectorSum.on() {
                bad.push(sector);
            }
        }
        bad
    }
}
