//! A piece: the records of an account since another blob of its image, without what a fold does not keep.
//!
//! | at | what |
//! | ---: | --- |
//! | 0 | magic, `u64`; version, `u16`; 0, `u16`; bytes of the whole piece, `u32` |
//! | 16 | account, 16 bytes |
//! | 32 | records after this number, `u64`, and up to this one, `u64` |
//! | 48 | the blob before: file, `u32`; length, `u32` (0: there is none); offset, `u64` |
//! | 64 | bytes of the base it stands on, `u64`; bytes of all pieces on it with this one, `u64` |
//! | 80 | records, `u32`; 0, `u32` |
//! | 88 | the records; CRC-32C of all before, `u32` |
//!
//! A record: bytes of its payload, `u32`; its mailbox, `u32`; number, previous number and MODSEQ, `u64` each; kind,
//! `u8`; the payload as in the log (FORMAT.md section 8). Fences of the store are among them.

use std::borrow::Cow;

use super::ImageAt;
use crate::format::bytes::{Put, Take, patch_u32, within};
use crate::format::change::Change;
use crate::format::record::RecordHeader;
use crate::format::{Fault, VERSION, checksum};
use crate::mail::{AccountId, Summary};
use crate::switch::Switch;

pub(super) const MAGIC: u64 = u64::from_le_bytes(*b"MKIPIEC1");

/// Bytes before the records.
const HEAD: usize = 88;
/// Bytes of a record before its payload.
const RECORD: usize = 33;
/// The longest piece; a longer one is a base.
pub(super) const LEN_MAX: u64 = 64 << 20;
/// The account of a fence: none.
const STORE: AccountId = AccountId::from_bytes([0; 16]);

/// What a piece says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) account: AccountId,
    /// Its records have numbers above this one, which the blob before covers.
    pub(crate) after: u64,
    /// And up to this one.
    pub(crate) upto: u64,
    /// The blob before; `None` where the account began with this piece.
    pub(crate) previous: Option<ImageAt>,
    /// Bytes of the base at the start of the chain; 0 where there is none.
    pub(crate) base_len: u64,
    /// Bytes of all pieces of the chain with this one: set by [`encode`].
    pub(crate) pieces_len: u64,
}

/// Records as they are in a piece.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Records {
    count: u32,
    bytes: Vec<u8>,
}

impl Records {
    /// Those of `records` with a number above `after`.
    pub(crate) fn of(records: &[(RecordHeader, Change)], after: u64) -> Self {
        let mut all = Self::default();
        let newer = records.iter().filter(|(header, _)| header.number > after);
        newer.for_each(|(header, change)| all.push(header, change));
        all
    }

    fn push(&mut self, header: &RecordHeader, change: &Change) {
        let out = &mut self.bytes;
        let start = out.len();
        out.put_u32(0);
        out.put_u32(header.mailbox);
        out.put_u64(header.number);
        out.put_u64(header.previous);
        out.put_u64(header.modseq);
        out.put_u8(change.kind());
        slim(change).encode(out);
        let len = out.len() - start - RECORD;
        patch_u32(out, start, u32::try_from(len).unwrap_or(u32::MAX));
        self.count = self.count.saturating_add(1);
    }

    /// Puts the records of an earlier piece before these.
    pub(crate) fn prepend(&mut self, earlier: Self) {
        let later = std::mem::replace(self, earlier);
        self.count = self.count.saturating_add(later.count);
        self.bytes.extend_from_slice(&later.bytes);
    }

    /// Bytes of a piece of these records.
    pub(crate) fn piece_len(&self) -> usize {
        HEAD + self.bytes.len() + 4
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// The change without its summary, which no fold keeps.
fn slim(change: &Change) -> Cow<'_, Change> {
    match change {
        Change::Deliver(deliver) => {
            let mut deliver = deliver.clone();
            deliver.summary = Summary::of(b"");
            Cow::Owned(Change::Deliver(deliver))
        }
        Change::Assign(assign) => {
            let mut assign = assign.clone();
            assign.deliver.summary = Summary::of(b"");
            Cow::Owned(Change::Assign(assign))
        }
        _ => Cow::Borrowed(change),
    }
}

/// A piece of these records. Of `head`, `pieces_len` is what the pieces before take.
pub(crate) fn encode(head: &Head, records: &Records) -> Vec<u8> {
    let len = records.piece_len();
    let mut out = Vec::with_capacity(len);
    out.put_u64(MAGIC);
    out.put_u16(VERSION);
    out.put_u16(0);
    out.put_u32(u32::try_from(len).unwrap_or(u32::MAX));
    out.put(head.account.as_bytes());
    out.put_u64(head.after);
    out.put_u64(head.upto);
    out.put_u32(head.previous.map_or(0, |at| at.file));
    out.put_u32(head.previous.map_or(0, |at| at.len));
    out.put_u64(head.previous.map_or(0, |at| at.offset));
    out.put_u64(head.base_len);
    out.put_u64(head.pieces_len.saturating_add(len as u64));
    out.put_u32(records.count);
    out.put_u32(0);
    out.put(&records.bytes);
    let sum = checksum(0, &out);
    out.put_u32(sum);
    out
}

/// The head of a piece and its records, still as bytes; the checksum is good.
///
/// # Errors
/// Any [`Fault`]: it is no piece, or not one that was written whole and sound.
pub(crate) fn open(bytes: &[u8]) -> Result<(Head, Records), Fault> {
    let len = bytes.len();
    let mut take = Take::sealed(bytes, len, MAGIC, Switch::PieceSum)?;
    take.zeroes(2)?;
    let claimed = u64::from(take.u32()?);
    within("bytes of a piece", claimed, len as u64, len as u64)?;
    let account = AccountId::from_bytes(take.array()?);
    let after = take.number("record number")?;
    let upto = take.number("record number")?;
    within("last record", upto, after.saturating_add(1), u64::MAX)?;
    let previous = take_previous(&mut take, after)?;
    let (base_len, pieces_len) = (
        take.number("bytes of a base")?,
        take.number("bytes of pieces")?,
    );
    within("bytes of pieces", pieces_len, len as u64, u64::MAX)?;
    let count = take.u32()?;
    take.zeroes(4)?;
    let bytes = take.slice(take.left())?.to_vec();
    let head = Head {
        account,
        after,
        upto,
        previous,
        base_len,
        pieces_len,
    };
    Ok((head, Records { count, bytes }))
}

fn take_previous(take: &mut Take<'_>, record: u64) -> Result<Option<ImageAt>, Fault> {
    let (file, len, offset) = (take.u32()?, take.u32()?, take.number("offset")?);
    if len > 0 {
        return Ok(Some(ImageAt {
            file,
            len,
            offset,
            record,
        }));
    }
    // The account begins here: there is nothing before.
    within("place of no blob", u64::from(file) | offset | record, 0, 0)?;
    Ok(None)
}

impl Records {
    /// The records, which must be those that `head` announces.
    ///
    /// # Errors
    /// Any [`Fault`]: one is not a record, or their numbers do not ascend within the piece's bounds.
    pub(crate) fn decode(&self, head: &Head) -> Result<Vec<(RecordHeader, Change)>, Fault> {
        let mut take = Take::new(&self.bytes);
        let most = (take.left() / RECORD) as u64;
        within("records of a piece", self.count.into(), 0, most)?;
        let mut all = Vec::with_capacity(self.count as usize);
        let mut last = head.after;
        for _ in 0..self.count {
            let (header, change) = take_record(&mut take, head.account)?;
            within(
                "record number",
                header.number,
                last.saturating_add(1),
                head.upto,
            )?;
            last = header.number;
            all.push((header, change));
        }
        within("bytes behind the records", take.left() as u64, 0, 0)?;
        Ok(all)
    }
}

fn take_record(take: &mut Take<'_>, account: AccountId) -> Result<(RecordHeader, Change), Fault> {
    let len = take.u32()? as usize;
    let mailbox = take.u32()?;
    let number = take.number("record number")?;
    let previous = take.number("record number")?;
    let modseq = take.number("MODSEQ")?;
    let kind = take.u8()?;
    let change = Change::decode(kind, take.slice(len)?)?;
    let fence = matches!(change, Change::Fence(_));
    let header = RecordHeader {
        number,
        previous,
        account: if fence { STORE } else { account },
        mailbox,
        modseq,
    };
    Ok((header, change))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{ACCOUNT, create_account, records, steps};
    use super::*;
    use proptest::prelude::*;

    fn head(upto: u64) -> Head {
        Head {
            account: ACCOUNT,
            after: 0,
            upto,
            previous: None,
            base_len: 0,
            pieces_len: 0,
        }
    }

    /// With its checksum made good.
    fn mended(mut bytes: Vec<u8>) -> Vec<u8> {
        let at = bytes.len() - 4;
        let sum = checksum(0, &bytes[..at]);
        patch_u32(&mut bytes, at, sum);
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Vec<(RecordHeader, Change)>, Fault> {
        let (head, records) = open(bytes)?;
        records.decode(&head)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        /// Goal: records come back as they were, less the summary, also those of joined pieces.
        #[test]
        fn records_come_back(steps in steps(40), cut in 0..40_usize) {
            let all = records(&steps);
            let cut = cut.min(all.len());
            let mut joined = Records::of(&all[cut..], 0);
            joined.prepend(Records::of(&all[..cut], 0));
            prop_assert_eq!(&joined, &Records::of(&all, 0));
            let bytes = encode(&head(all.len() as u64), &joined);
            prop_assert_eq!(bytes.len(), joined.piece_len());
            prop_assert_eq!(decode(&bytes).unwrap(), all);
        }

        /// Goal: what somebody else wrote is refused or read, never more.
        #[test]
        fn hostile_bytes_do_no_harm(
            steps in steps(10),
            edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        ) {
            let all = records(&steps);
            let mut bytes = encode(&head(all.len() as u64), &Records::of(&all, 0));
            for (at, value) in edits {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            let _ = decode(&mended(bytes));
        }
    }

    /// Goal: every flipped bit, and every other length, is a fault.
    #[test]
    fn damage_is_found() {
        let all = records(&[(12, 1, 4, 50), (8, 1, 2, 3), (4, 1, 3, 4)]);
        let whole = encode(&head(9), &Records::of(&all, 0));
        assert_eq!(decode(&whole).unwrap(), all);
        for at in 0..whole.len() {
            assert!(decode(&whole[..at]).is_err(), "{at} bytes");
            for bit in 0..8 {
                let mut bytes = whole.clone();
                bytes[at] ^= 1 << bit;
                assert!(decode(&bytes).is_err(), "byte {at} bit {bit}");
            }
        }
    }

    /// Goal: numbers outside the piece's bounds, or out of order, are refused under a good checksum.
    #[test]
    fn numbers_ascend_within_bounds() {
        let all = records(&[(8, 1, 2, 3), (9, 1, 2, 3)]);
        let whole = |records: &[(RecordHeader, Change)], after, upto| {
            let head = Head {
                after,
                previous: None,
                ..head(upto)
            };
            decode(&encode(&head, &Records::of(records, 0)))
        };
        assert!(whole(&all, 0, 3).is_ok());
        assert!(whole(&all, 0, 2).is_err(), "above the last");
        assert!(whole(&all, 0, 0).is_err(), "no number at all");
        let (mut back, mut twice) = (all.clone(), all.clone());
        back.swap(0, 1);
        twice[1].0.number = 1;
        assert!(whole(&back, 0, 3).is_err());
        assert!(whole(&twice, 0, 3).is_err());
        let previous = Some(ImageAt {
            file: 3,
            len: 5,
            offset: 64,
            record: 1,
        });
        let later = Head {
            after: 1,
            previous,
            base_len: 5,
            pieces_len: 7,
            ..head(3)
        };
        let bytes = encode(&later, &Records::of(&all, 1));
        let (found, found_records) = open(&bytes).unwrap();
        let expected = Head {
            pieces_len: 7 + bytes.len() as u64,
            ..later
        };
        assert_eq!(found, expected);
        assert_eq!(found_records.decode(&found).unwrap(), all[1..]);
        let lost = Head {
            previous: None,
            ..later
        };
        assert!(
            open(&encode(&lost, &Records::default())).is_err(),
            "a beginning in the middle"
        );
    }

    /// Goal: counts that the bytes do not hold are refused before anything is made of them.
    #[test]
    fn counts_are_bounded() {
        let all = [super::super::testing::record(1, 0, create_account())];
        let whole = encode(&head(1), &Records::of(&all, 0));
        for count in [0, 2, u32::MAX] {
            let mut bytes = whole.clone();
            patch_u32(&mut bytes, 80, count);
            assert!(decode(&mended(bytes)).is_err(), "{count} records");
        }
        let mut bytes = whole;
        patch_u32(&mut bytes, HEAD, u32::MAX);
        assert!(decode(&mended(bytes)).is_err());
    }
}
