//! A record: what happened to one account, framed. FORMAT.md section 6.

use super::Fault;
use super::bytes::{Put, Take, check, patch_u32};
use super::change::{BodyAt, Change};
use super::padded;
use super::segment::Place;
use crate::mail::AccountId;
use crate::switch::Switch;

/// Bytes of a record before its payload.
pub const HEADER: usize = 56;

/// Largest record, in bytes. Larger changes are split into several.
pub const LEN_MAX: usize = 16 << 20;

/// The header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// The record's store-wide number.
    pub number: u64,
    /// Number of the account's previous record; 0 for its first.
    pub previous: u64,
    /// The account; all zero for a record of the store itself.
    pub account: AccountId,
    /// The mailbox it is about; 0 where it is about none.
    pub mailbox: u32,
    /// The change's MODSEQ; 0 where it has none.
    pub modseq: u64,
}

/// A record read back: header, kind and payload, checksum verified.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// The header.
    pub header: RecordHeader,
    /// What kind of change the payload is.
    pub kind: u8,
    /// What to do where the kind is unknown.
    pub class: Class,
    /// Length of the whole frame in bytes, a multiple of 8.
    pub len: usize,
    payload: &'a [u8],
}

/// What a reader must do that does not know a record's kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Refuse the store.
    MustKnow,
    /// Read, but do not write.
    ReadOnlySafe,
    /// Skip the record.
    Ignorable,
}

impl<'a> Frame<'a> {
    /// Reads and verifies the frame at the start of `bytes`.
    ///
    /// # Errors
    /// Any [`Fault`]; the length is bounded by `bytes` before it is used.
    pub fn decode(place: Place, bytes: &'a [u8]) -> Result<Self, Fault> {
        let mut take = Take::new(bytes);
        let stored = take.u32()?;
        let len = take.u32()? as usize;
        if !(HEADER..=LEN_MAX).contains(&len) || !len.is_multiple_of(8) {
            let (found, max) = (len as u64, LEN_MAX as u64);
            return Err(Fault::Range {
                field: "record length",
                found,
                min: HEADER as u64,
                max,
            });
        }
        let number = Take::new(bytes.get(16..).unwrap_or_default()).u64()?;
        let whole = Take::new(bytes).slice(len)?;
        let found = place.checksum(number, whole.get(4..).unwrap_or_default());
        Switch::RecordSum.guard(|| check(found, stored))?;
        let kind = take.u8()?;
        let class = match take.u8()? {
            0 => Class::MustKnow,
            1 => Class::ReadOnlySafe,
            2 => Class::Ignorable,
            class => {
                return Err(Fault::Range {
                    field: "record class",
                    found: class.into(),
                    min: 0,
                    max: 2,
                });
            }
        };
        take.zeroes(2)?;
        let mailbox = take.u32()?;
        let number = take.number("record number")?;
        let header = RecordHeader {
            number,
            previous: take.number("record number")?,
            account: AccountId::from_bytes(take.array()?),
            mailbox,
            modseq: take.number("MODSEQ")?,
        };
        Ok(Self {
            header,
            kind,
            class,
            len,
            payload: whole.get(HEADER..).unwrap_or_default(),
        })
    }

    /// What the record says happened.
    ///
    /// # Errors
    /// [`Fault::Kind`] for a kind of a newer build, others for a payload that contradicts itself.
    pub fn change(&self) -> Result<Change, Fault> {
        Change::decode(self.kind, self.payload)
    }

    /// What [`Change::body`] says of the [change](Self::change), found without reading the rest; `None` also where the
    /// payload is too short to say.
    #[must_use]
    pub fn body(&self) -> Option<BodyAt> {
        Change::body_of(self.kind, self.payload)
    }
}

/// Appends a record to `out`, not signed yet; returns its length in bytes.
pub fn encode(header: &RecordHeader, change: &Change, out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.put_u64(0);
    out.put_u8(change.kind());
    out.put_u8(0);
    out.put_u16(0);
    out.put_u32(header.mailbox);
    out.put_u64(header.number);
    out.put_u64(header.previous);
    out.put(header.account.as_bytes());
    out.put_u64(header.modseq);
    change.encode(out);
    let len = padded(out.len() - start, 8);
    out.resize(start + len, 0);
    patch_u32(out, start + 4, u32::try_from(len).unwrap_or(u32::MAX));
    len
}

/// Signs an encoded record: its checksum is good at `place` only. Done when the place is known, and again when a
/// batch has to go elsewhere.
pub fn sign(place: Place, number: u64, frame: &mut [u8]) {
    let crc = place.checksum(number, frame.get(4..).unwrap_or_default());
    patch_u32(frame, 0, crc);
}
