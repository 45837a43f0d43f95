//! Round trips: every structure and every change, with values from all of their ranges.

mod bounds;
mod refusals;
mod values;

use proptest::prelude::*;

use super::batch::{self, BatchHead, Facts};
use super::body::{self, BodyCheck, BodyHeader, Codec};
use super::change::{
    Assign, Base, BodyAt, Change, CreateMailbox, Deferred, Deliver, Fence, Flag, MailboxProperties,
    Transfer, Transferred,
};
use super::footer::{self, AccountRun, Merged, MergedRun, RecordAt, Sealing, Trailer};
use super::manifest::{Manifest, Member, MemberState};
use super::record::{self, Frame, RecordHeader};
use super::segment::{Behind, Holds, Place, SegmentHeader};
use super::segments::{self, Edit, What};
use super::tail::Tail;
use super::*;
use crate::mail::{
    AccountId, Digest, Field, FieldName, Flags, InternalDate, Keyword, Shape, SpecialUse, Summary,
    Uid, UidSet, UidValidity,
};

use values::*;

const STORE: StoreId = StoreId(*b"store of a test.");

/// The place of all that is checked here.
fn place() -> Place {
    sample_header().place()
}

fn sample_header() -> SegmentHeader {
    SegmentHeader {
        store: STORE,
        segment: 17,
        generation: 2,
        salt: 0x1122_3344_5566_7788,
        first_record: 1001,
        first_batch: 501,
        epoch: 3,
        created_ms: -1,
        holds: Holds::Batches,
        behind: Behind::Zeroes,
        features: Features::default(),
    }
}

fn encoded_record(header: &RecordHeader, change: &Change) -> Vec<u8> {
    let mut bytes = Vec::new();
    record::encode(header, change, &mut bytes);
    record::sign(place(), header.number, &mut bytes);
    bytes
}

fn encoded_body(header: &BodyHeader<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    header.encode(&mut bytes);
    body::sign(place(), header.number, &mut bytes);
    bytes
}

fn encoded_batch(offset: u64, facts: &Facts, records: &[u8], bodies: &[u8]) -> Vec<u8> {
    let (mut bytes, len, _) = batch::encode_head(place(), offset, facts, records, bodies);
    bytes.extend_from_slice(records);
    bytes.extend_from_slice(bodies);
    bytes.resize(len, 0);
    bytes
}

fn facts(count: u32) -> Facts {
    Facts {
        batch: 501,
        epoch: 3,
        nonce: [9; 16],
        first_record: 1001,
        durable: 500,
        commit_ms: 1,
        count,
        previous: 5,
    }
}

proptest! {
    /// Goal: every change comes back from its record as it was, behind other records too.
    #[test]
    fn records_come_back(header in record_header(), change in change(), next in change()) {
        let mut bytes = encoded_record(&header, &change);
        let len = bytes.len();
        bytes.extend(encoded_record(&header, &next));
        let frame = Frame::decode(place(), &bytes).unwrap();
        prop_assert_eq!((frame.len, frame.kind, frame.class), (len, change.kind(), record::Class::MustKnow));
        prop_assert_eq!(frame.header, header);
        prop_assert_eq!(frame.body(), change.body());
        prop_assert_eq!(frame.change().unwrap(), change);
        let frame = Frame::decode(place(), &bytes[len..]).unwrap();
        prop_assert_eq!(frame.change().unwrap(), next);
    }

    /// Goal: the files and slots of their own come back as they were.
    #[test]
    fn pages_come_back(header in segment_header(), manifest in manifest(), edit in edit(), index in number()) {
        prop_assert_eq!(SegmentHeader::decode(&header.encode()).unwrap(), header);
        prop_assert_eq!(Manifest::decode(&manifest.encode()).unwrap(), manifest);
        prop_assert_eq!(Edit::decode(STORE, index, &edit.encode(STORE, index)).unwrap(), edit);
        prop_assert_eq!(segments::decode_head(&segments::encode_head(header_store(index))).unwrap(), header_store(index));
    }

    /// Goal: TAIL comes back as it was, for its own store only.
    #[test]
    fn tail_comes_back(numbers in (number(), number(), number(), number(), number(), number())) {
        let (epoch, written, durable, segment, end, next_record) = numbers;
        let tail = Tail { store: STORE, epoch, written, durable, segment, end, next_record };
        prop_assert_eq!(Tail::decode(STORE, &tail.encode()).unwrap(), tail);
        prop_assert_eq!(Tail::decode(header_store(1), &tail.encode()), Err(Fault::Foreign));
        prop_assert_eq!(tail.slot(), if written % 2 == 0 { 0 } else { PAGE as u64 });
    }

    /// Goal: a body header comes back as it was, and any range of its body is verified by it.
    #[test]
    fn bodies_come_back(header in body_header(), a in any::<u16>(), b in any::<u16>()) {
        let bytes = encoded_body(&header);
        prop_assert_eq!(bytes.len(), header.encoded_len());
        prop_assert_eq!(&BodyHeader::decode(place(), &bytes).unwrap(), &header);
        let stored = vec![7; header.stored_len as usize];
        let range = usize::from(a.min(b)) * 4..usize::from(a.max(b)) * 4;
        let check = BodyCheck::new(place(), &bytes).unwrap();
        prop_assert_eq!(check.verify(&stored, range), Ok(()));
    }

    /// Goal: a batch of any size comes back, and its head fits its length.
    #[test]
    fn batches_come_back(records in prop::collection::vec(any::<u8>(), 0..3000), len in 0..200_000_usize) {
        let count = u32::try_from(records.len() / record::HEADER).unwrap();
        let bodies = vec![3; len];
        let bytes = encoded_batch(4096, &facts(count), &records, &bodies);
        let head = BatchHead::decode(place(), 4096, &bytes).unwrap();
        prop_assert_eq!(head.len as usize, bytes.len());
        prop_assert_eq!((head.head_len(), bytes.len()), batch::lengths(records.len() + len));
        prop_assert_eq!(head.verify_table(place(), 4096, &bytes), Ok(()));
        prop_assert!(head.bad_sectors(place(), 4096, &bytes).is_empty());
        prop_assert_eq!(&bytes[head.head_len()..head.bodies_at()], &records[..]);
        prop_assert!(bytes[head.bodies_at()..].starts_with(&bodies));
    }
}

fn header_store(index: u64) -> StoreId {
    StoreId(u128::from(index).to_le_bytes())
}

/// Goal: the parts of a footer lie where its trailer says, also where one fills its pages exactly.
#[test]
fn footers_come_back() {
    for (records, accounts) in [
        (0, 0),
        (1, 1),
        (511, 3),
        (512, 170),
        (513, 171),
        (1500, 1500),
    ] {
        let (bytes, places, owners) = sample_footer(records, accounts);
        let trailer = Trailer::decode(&bytes[bytes.len() - PAGE..]).unwrap();
        assert_eq!(trailer.record_count as usize, records);
        assert_eq!(trailer.account_count as usize, accounts.min(records));
        assert_eq!(trailer.file_len(), trailer.footer_at + bytes.len() as u64);
        let table = &bytes[trailer.checksums_at()..trailer.trailer_at()];
        trailer.verify_checksums(table).unwrap();
        for (number, page) in bytes[..trailer.checksums_at()].chunks(PAGE).enumerate() {
            footer::verify_page(place(), table, number, page).unwrap();
            assert!(footer::verify_page(place(), table, number + 1, page).is_err());
        }
        for (entry, place) in bytes.chunks(footer::RECORD_ENTRY).zip(&places) {
            assert_eq!(RecordAt::decode(entry).unwrap(), *place);
        }
        assert_eq!(listed(&bytes, &trailer), owners);
    }
}

/// All that the accounts and lists of a footer say.
fn listed(bytes: &[u8], trailer: &Trailer) -> Vec<(AccountId, u32)> {
    let accounts = bytes[trailer.accounts_at()..].chunks(footer::ACCOUNT_ENTRY);
    let mut owners = Vec::new();
    for entry in accounts.take(trailer.account_count as usize) {
        let run = AccountRun::decode(entry).unwrap();
        for index in run.first..run.first + run.count {
            let at = trailer.lists_at() + index as usize * 4;
            let index = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
            owners.push((run.account, index));
        }
    }
    owners
}

/// A footer, with the records and owners that it was made of.
fn sample_footer(
    records: usize,
    accounts: usize,
) -> (Vec<u8>, Vec<RecordAt>, Vec<(AccountId, u32)>) {
    let count = u32::try_from(records).unwrap();
    let places: Vec<_> = (0..count)
        .map(|n| RecordAt {
            frame: n * 8,
            body: n * 16,
        })
        .collect();
    let owner = |n: u32| {
        let mut id = [0; 16];
        id[0..4].copy_from_slice(&(n % u32::try_from(accounts.max(1)).unwrap()).to_le_bytes());
        AccountId::from_bytes(id)
    };
    let mut owners: Vec<_> = (0..count).map(|n| (owner(n), n)).collect();
    owners.sort_unstable();
    let sealing = sealing(&places, &owners);
    (footer::encode(place(), &sealing), places, owners)
}

fn sealing<'a>(records: &'a [RecordAt], owners: &'a [(AccountId, u32)]) -> Sealing<'a> {
    Sealing {
        store: STORE,
        segment: 17,
        generation: 2,
        first_record: 1001,
        first_batch: 501,
        last_batch: 501,
        last_crc: 5,
        footer_at: 8192,
        digest: Digest::of(b""),
        records,
        owners,
    }
}

/// A merged account table is one more part, covered by the page checksums; without it nothing differs.
#[test]
fn a_footer_carries_a_merged_table() {
    let owners = [(AccountId::from_bytes([1; 16]), 0)];
    let sealing = sealing(&[RecordAt { frame: 8, body: 0 }], &owners);
    let plain = footer::encode(place(), &sealing);
    let none = footer::encode_merged(place(), &sealing, Merged::default());
    assert_eq!(plain, none);
    let accounts: Vec<MergedRun> = (0..200)
        .map(|n| MergedRun {
            account: AccountId::from_bytes([n; 16]),
            segments: u64::from(n) << 56 | 1,
        })
        .collect();
    let segments: Vec<u64> = (1..=64).collect();
    let merged = Merged {
        segments: &segments,
        accounts: &accounts,
    };
    let bytes = footer::encode_merged(place(), &sealing, merged);
    let page = &bytes[bytes.len() - PAGE..];
    let trailer = Trailer::decode(page).unwrap();
    assert_eq!((trailer.merged_count, &trailer.merged), (200, &segments));
    assert_eq!(trailer.features.ignorable, 1);
    assert_eq!(trailer.file_len(), 8192 + bytes.len() as u64);
    assert_eq!(trailer.checksums_at() - trailer.merged_at(), 2 * PAGE);
    let table = &bytes[trailer.checksums_at()..trailer.trailer_at()];
    trailer.verify_checksums(table).unwrap();
    for (number, page) in bytes[..trailer.checksums_at()].chunks(PAGE).enumerate() {
        footer::verify_page(place(), table, number, page).unwrap();
    }
    let entries = bytes[trailer.merged_at()..].chunks(footer::MERGED_ENTRY);
    let read = entries
        .take(200)
        .map(|entry| MergedRun::decode(entry).unwrap());
    assert!(read.eq(accounts));
    // Refused: too many segments, a number of more than 63 bits, a rest that is not zero.
    for (at, value) in [(140, 65), (151, 0x80), (144 + 64 * 8, 1)] {
        let mut page = page.to_vec();
        page[at] = value;
        let crc = checksum(0, &page[..PAGE - 4]);
        page[PAGE - 4..].copy_from_slice(&crc.to_le_bytes());
        assert!(Trailer::decode(&page).is_err(), "{at}: {value}");
    }
}
