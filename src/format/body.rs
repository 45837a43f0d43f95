//! A message body behind its header: found, attributed and verified without the record. FORMAT.md section 7.

use std::borrow::Cow;

use super::bytes::{Put, Take, check, patch_u32, within};
use super::segment::Place;
use super::{CHUNK, Fault, checksum, padded};
use crate::mail::AccountId;
use crate::switch::Switch;

/// Bytes of a body header before the checksums of its chunks.
pub const FIXED: usize = 56;

/// Largest body, in bytes: offsets in a segment are 32 bits wide.
pub const LEN_MAX: u64 = (4 << 30) - 64 * 1024;

/// Most owners that one body header lists; a delivery to more accounts stores further bodies.
pub const OWNERS_MAX: usize = 4096;

/// How the stored bytes were made from the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Codec {
    /// They are the message.
    Plain,
}

/// The header in front of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodyHeader<'a> {
    /// Number of the record that brought it.
    pub number: u64,
    /// The first owner.
    pub account: AccountId,
    /// The mailbox of the first entry.
    pub mailbox: u32,
    /// The UID of the first entry.
    pub uid: u32,
    /// Length of the bytes that follow.
    pub stored_len: u32,
    /// Length of the message.
    pub raw_len: u32,
    /// Which key they are encrypted under; 0 is none.
    pub key: u32,
    /// How they were made from the message.
    pub codec: Codec,
    /// The other accounts whose entries point here.
    pub owners: Cow<'a, [AccountId]>,
    /// CRC-32C of each [`CHUNK`] of the stored bytes.
    pub chunks: Cow<'a, [u32]>,
}

/// The checksums of a body's chunks.
#[must_use]
pub fn chunk_checksums(stored: &[u8]) -> Vec<u32> {
    stored
        .chunks(CHUNK)
        .map(|chunk| checksum(0, chunk))
        .collect()
}

/// Length of the header of a body of `stored_len` bytes with `owners` further owners.
#[must_use]
pub const fn header_len(stored_len: usize, owners: usize) -> usize {
    padded(FIXED + 4 * stored_len.div_ceil(CHUNK) + 16 * owners, 8)
}

/// Signs an encoded header, `header` and nothing more: its checksum is good at `place` only.
pub fn sign(place: Place, number: u64, header: &mut [u8]) {
    let crc = place.checksum(number, header.get(4..).unwrap_or_default());
    patch_u32(header, 0, crc);
}

impl BodyHeader<'_> {
    /// Length of the encoded header in bytes, a multiple of 8.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        header_len(self.stored_len as usize, self.owners.len())
    }

    /// Appends the header to `out`, not signed yet (see [`sign`]).
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        let len = self.encoded_len();
        out.put_u32(0);
        out.put_u32(u32::try_from(len).unwrap_or(u32::MAX));
        out.put_u64(self.number);
        out.put(self.account.as_bytes());
        out.put_u32(self.mailbox);
        out.put_u32(self.uid);
        out.put_u32(self.stored_len);
        out.put_u32(self.raw_len);
        out.put_u32(self.key);
        out.put_u8(match self.codec {
            Codec::Plain => 0,
        });
        out.put_u8(0);
        out.put_u16(u16::try_from(self.owners.len()).unwrap_or(u16::MAX));
        for crc in &*self.chunks {
            out.put_u32(*crc);
        }
        for owner in &*self.owners {
            out.put(owner.as_bytes());
        }
        out.resize(start + len, 0);
    }
}

impl BodyHeader<'static> {
    /// Reads the header at the start of `bytes`.
    ///
    /// # Errors
    /// As [`BodyCheck::new`].
    pub fn decode(place: Place, bytes: &[u8]) -> Result<Self, Fault> {
        let checked = BodyCheck::new(place, bytes)?;
        let mut take = Take::new(checked.whole);
        take.slice(16)?;
        let account = AccountId::from_bytes(take.array()?);
        let (mailbox, uid) = (take.u32()?, take.u32()?);
        let (stored_len, raw_len, key) = (take.u32()?, take.u32()?, take.u32()?);
        take.slice(4)?;
        let chunks = (0..checked.chunk_count())
            .map(|_| take.u32())
            .collect::<Result<Vec<_>, _>>()?;
        let owners = (0..checked.owners)
            .map(|_| take.array().map(AccountId::from_bytes))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            number: checked.number,
            account,
            mailbox,
            uid,
            stored_len,
            raw_len,
            key,
            codec: Codec::Plain,
            owners: owners.into(),
            chunks: chunks.into(),
        })
    }
}

/// A body header that was found sound, where it lies: what reading a message needs of it, without a copy.
#[derive(Clone, Copy, Debug)]
pub struct BodyCheck<'a> {
    /// Number of the record that brought the body.
    pub number: u64,
    /// Length of the bytes that follow the header.
    pub stored_len: u32,
    owners: usize,
    whole: &'a [u8],
}

/// Whether a header can be this long: to be asked before that many bytes are read.
///
/// # Errors
/// [`Fault::Range`].
pub fn check_header_len(len: u32) -> Result<(), Fault> {
    let most = header_len(LEN_MAX as usize, OWNERS_MAX) as u64;
    within("body header length", len.into(), FIXED as u64, most)
}

impl<'a> BodyCheck<'a> {
    /// Checks the header at the start of `bytes`.
    ///
    /// # Errors
    /// Any [`Fault`]; lengths are checked against `bytes` before anything is read by them.
    pub fn new(place: Place, bytes: &'a [u8]) -> Result<Self, Fault> {
        let mut take = Take::new(bytes);
        let stored_crc = take.u32()?;
        let len = take.u32()?;
        check_header_len(len)?;
        let whole = Take::new(bytes).slice(len as usize)?;
        let mut take = Take::new(whole);
        take.slice(8)?;
        let number = take.u64()?;
        let covered = whole.get(4..).unwrap_or_default();
        Switch::BodySum.guard(|| check(place.checksum(number, covered), stored_crc))?;
        take.slice(24)?;
        let (stored_len, raw_len, key) = (take.u32()?, take.u32()?, take.u32()?);
        within("codec", take.u8()?.into(), 0, 0)?;
        take.zeroes(1)?;
        within("body length", stored_len.into(), 0, LEN_MAX)?;
        if key == 0 && stored_len != raw_len {
            return Err(Fault::Mismatch {
                field: "stored length",
                found: stored_len.into(),
                expected: raw_len.into(),
            });
        }
        let owners = usize::from(take.u16()?);
        within("owner count", owners as u64, 0, OWNERS_MAX as u64)?;
        let expected = header_len(stored_len as usize, owners);
        if expected != whole.len() {
            return Err(Fault::Mismatch {
                field: "body header length",
                found: len.into(),
                expected: expected as u64,
            });
        }
        let checked = Self {
            number,
            stored_len,
            owners,
            whole,
        };
        take.slice(4 * checked.chunk_count() + 16 * owners)?;
        take.end()?;
        Ok(checked)
    }

    fn chunk_count(&self) -> usize {
        (self.stored_len as usize).div_ceil(CHUNK)
    }

    /// Checks the chunks of `stored` that overlap `range`; `stored` is the whole body.
    ///
    /// # Errors
    /// [`Fault::Short`] when `stored` has another length, [`Fault::Checksum`] of the first bad chunk.
    pub fn verify(&self, stored: &[u8], range: std::ops::Range<usize>) -> Result<(), Fault> {
        if stored.len() != self.stored_len as usize {
            return Err(Fault::Short {
                len: stored.len() as u64,
                needed: self.stored_len.into(),
            });
        }
        let first = range.start / CHUNK;
        let from = first.saturating_mul(CHUNK).min(stored.len());
        let to = range.end.min(stored.len()).next_multiple_of(CHUNK);
        let to = to.min(stored.len());
        match stored.get(from..to) {
            Some(chunks) if !chunks.is_empty() => self.verify_chunks(first, chunks),
            _ => Ok(()),
        }
    }

    /// Checks some whole chunks of the body, of which the first is its chunk `first`: all of `stored`.
    ///
    /// # Errors
    /// [`Fault::Short`] when they reach beyond the body, [`Fault::Checksum`] of the first bad chunk.
    pub fn verify_chunks(&self, first: usize, stored: &[u8]) -> Result<(), Fault> {
        let end = first.saturating_mul(CHUNK).saturating_add(stored.len());
        if end > self.stored_len as usize {
            return Err(Fault::Short {
                len: self.stored_len.into(),
                needed: end as u64,
            });
        }
        let mut table = Take::new(self.whole);
        table.slice(FIXED + 4 * first.min(self.chunk_count()))?;
        for chunk in stored.chunks(CHUNK) {
            let sum = table.u32()?;
            Switch::ChunkSum.guard(|| check(checksum(0, chunk), sum))?;
        }
        Ok(())
    }
}
