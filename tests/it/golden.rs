//! Files of format version 1 that were written once and are never written again: they decode to what they held
//! then, and the same values are the same bytes today. A change here is a new version of the format.

use std::fs;
use std::path::Path;

use mailkeep::format::batch::{self, BatchHead, Facts};
use mailkeep::format::body::{self, BodyCheck, BodyHeader, Codec};
use mailkeep::format::change::{
    Assign, Base, BodyAt, Change, CreateMailbox, Deferred, Deliver, Fence, Flag, MailboxProperties,
    Transfer, Transferred,
};
use mailkeep::format::footer::{self, RecordAt, Sealing, Trailer};
use mailkeep::format::manifest::{Manifest, Member, MemberState};
use mailkeep::format::record::{self, Frame, RecordHeader};
use mailkeep::format::segment::{Behind, Holds, SegmentHeader};
use mailkeep::format::segments::{self, EDIT_LEN, Edit, What};
use mailkeep::format::tail::Tail;
use mailkeep::format::{Features, PAGE};
use mailkeep::mail::{
    AccountId, Digest, Flags, InternalDate, Keyword, Shape, SpecialUse, Summary, Uid, UidSet,
    UidValidity,
};

use crate::fuzz_seeds::targets::{BATCH_AT, STORE, place};

const MESSAGE: &[u8] =
    b"From: Anna <anna@example.it>\r\nSubject: hello\r\nDate: Sat, 21 Nov 2026 20:00:00 +0100\r\n\
    Message-ID: <1@example.it>\r\n\r\nHow are you?\r\n";

fn golden(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1");
    fs::read(folder.join(name)).unwrap()
}

fn anna() -> AccountId {
    AccountId::from_bytes(*b"account of anna.")
}

fn uid(number: u32) -> Uid {
    Uid::new(number).unwrap()
}

fn uids(ranges: &[(u32, u32)]) -> UidSet {
    let mut set = UidSet::new();
    for (first, last) in ranges {
        set.insert_range(uid(*first), uid(*last));
    }
    set
}

fn keywords(names: &[&str]) -> Vec<Keyword> {
    names
        .iter()
        .map(|name| Keyword::new(name).unwrap())
        .collect()
}

fn validity(number: u32) -> UidValidity {
    UidValidity::new(number).unwrap()
}

fn deliver() -> Change {
    Change::Deliver(Box::new(delivered()))
}

fn delivered() -> Deliver {
    Deliver {
        uid: uid(4),
        uid_validity: validity(1_790_000_000),
        flags: Flags::SEEN | Flags::DRAFT,
        keywords: keywords(&["$forwarded", "work"]),
        internal_date: InternalDate::new(1_790_000_000, 120).unwrap(),
        save_date: 1_790_000_001,
        email: 12,
        thread: 3,
        raw_len: u32::try_from(MESSAGE.len()).unwrap(),
        shape: Shape::of(MESSAGE),
        digest: Digest::of(MESSAGE),
        body: BodyAt::Here(0),
        summary: Summary::of(MESSAGE),
    }
}

/// One of each kind that came later, in the order of their numbers.
fn later_changes() -> Vec<Change> {
    vec![
        Change::Base(Base {
            part: 2,
            parts: 3,
            bytes: b"the end of a state".to_vec(),
        }),
        Change::Assign(Box::new(Assign {
            deferred: 990,
            deliver: Deliver {
                body: BodyAt::Record(990),
                ..delivered()
            },
        })),
        Change::Deferred(Box::new(Deferred {
            account: "anna@example.it".into(),
            mailbox: "lists/rust".into(),
            flags: Flags::FLAGGED,
            keywords: keywords(&["work"]),
            internal_date: InternalDate::new(1_790_000_000, -60).unwrap(),
            save_date: 1_790_000_001,
            raw_len: u32::try_from(MESSAGE.len()).unwrap(),
            shape: Shape::of(MESSAGE),
            digest: Digest::of(MESSAGE),
            body: BodyAt::Segment(7),
            summary: Summary::of(MESSAGE),
        })),
        Change::Alias { target: anna() },
    ]
}

fn transfer() -> Transfer {
    let entry = |from, to, email| Transferred {
        from: uid(from),
        to: uid(to),
        email,
    };
    Transfer {
        source: 1,
        uid_validity: validity(1_790_000_002),
        save_date: -5,
        entries: vec![entry(4, 1, 12), entry(9, 2, 1 << 40)],
    }
}

fn mailbox_changes() -> [Change; 5] {
    let properties = MailboxProperties {
        special_use: SpecialUse::SENT | SpecialUse::IMPORTANT,
        noselect: true,
        sort_order: 10,
        quota_root: 2,
    };
    [
        Change::CreateMailbox(CreateMailbox {
            parent: 1,
            name: "perch\u{e9}".into(),
            uid_validity: validity(1_790_000_000),
            properties,
        }),
        Change::RenameMailbox {
            parent: 0,
            name: "lists".into(),
            uid_validity: vec![(2, 1_790_000_009)],
        },
        Change::DeleteMailbox,
        Change::UpdateMailbox(properties),
        Change::Subscribe {
            principal: 7,
            name: "lists/rust".into(),
            on: true,
        },
    ]
}

/// One of each kind, in the order of their numbers.
fn changes() -> Vec<Change> {
    let mut changes = vec![
        Change::CreateAccount {
            name: "anna@example.it".into(),
            uid_validity_mark: 1_700_000_000,
        },
        Change::RenameAccount {
            name: "anna.r@example.it".into(),
            uid_validity_mark: 1_700_000_001,
        },
        Change::DeleteAccount {
            uid_validity_mark: u32::MAX,
        },
    ];
    changes.extend(mailbox_changes());
    changes.extend([
        deliver(),
        Change::Flag(Flag {
            uids: uids(&[(1, 3), (9, 9)]),
            add: Flags::FLAGGED,
            remove: Flags::DELETED,
            add_keywords: keywords(&["work"]),
            remove_keywords: keywords(&["$junk", "$notjunk"]),
            replace_keywords: true,
            principal: 7,
        }),
        Change::Copy(transfer()),
        Change::Move(transfer()),
        Change::Expunge {
            uids: uids(&[(1, 1), (u32::MAX, u32::MAX)]),
        },
        Change::Fence(Fence {
            first_lost: 1002,
            last_lost: 1004,
            bound: 40,
        }),
    ]);
    changes
}

fn record_header(number: u64) -> RecordHeader {
    RecordHeader {
        number,
        previous: number - 1,
        account: anna(),
        mailbox: 1,
        modseq: number - 900,
    }
}

fn encoded_record(number: u64, change: &Change) -> Vec<u8> {
    let mut bytes = Vec::new();
    record::encode(&record_header(number), change, &mut bytes);
    record::sign(place(), number, &mut bytes);
    bytes
}

/// Goal: every kind of record, the later ones in a file of their own.
#[test]
fn records() {
    records_are(&golden("records.bin"), changes());
    records_are(&golden("records_later.bin"), later_changes());
}

fn records_are(file: &[u8], changes: Vec<Change>) {
    let mut rest = file;
    let mut again = Vec::new();
    for (number, change) in (1001..).zip(changes) {
        let frame = Frame::decode(place(), rest).unwrap();
        assert_eq!(frame.header, record_header(number));
        assert_eq!(frame.change().unwrap(), change);
        rest = &rest[frame.len..];
        again.extend(encoded_record(number, &change));
    }
    assert!(rest.is_empty());
    assert_eq!(again, file);
}

fn body_header() -> BodyHeader<'static> {
    let len = u32::try_from(MESSAGE.len()).unwrap();
    BodyHeader {
        number: 1001,
        account: anna(),
        mailbox: 1,
        uid: 4,
        stored_len: len,
        raw_len: len,
        key: 0,
        codec: Codec::Plain,
        owners: vec![AccountId::from_bytes(*b"account of bruno")].into(),
        chunks: body::chunk_checksums(MESSAGE).into(),
    }
}

fn encoded_body() -> Vec<u8> {
    let mut bytes = Vec::new();
    body_header().encode(&mut bytes);
    body::sign(place(), 1001, &mut bytes);
    bytes.extend_from_slice(MESSAGE);
    bytes
}

/// Goal: a body behind its header.
#[test]
fn body() {
    let file = golden("body.bin");
    let header = BodyHeader::decode(place(), &file).unwrap();
    assert_eq!(header, body_header());
    let stored = &file[header.encoded_len()..];
    let check = BodyCheck::new(place(), &file).unwrap();
    check.verify(stored, 0..stored.len()).unwrap();
    assert_eq!(stored, MESSAGE);
    assert_eq!(encoded_body(), file);
}

fn facts() -> Facts {
    Facts {
        batch: 501,
        epoch: 3,
        nonce: *b"nonce of writer.",
        first_record: 1001,
        durable: 500,
        commit_ms: 1_790_000_000_500,
        count: 1,
        previous: 0xaabb_ccdd,
    }
}

/// Goal: a batch of one delivery.
#[test]
fn batch() {
    let file = golden("batch.bin");
    let head = BatchHead::decode(place(), BATCH_AT, &file).unwrap();
    let facts = facts();
    assert_eq!(
        (head.batch, head.epoch, head.nonce),
        (facts.batch, facts.epoch, facts.nonce)
    );
    assert_eq!(
        (head.first_record, head.count),
        (facts.first_record, facts.count)
    );
    assert_eq!(
        (head.durable, head.commit_ms),
        (facts.durable, facts.commit_ms)
    );
    assert_eq!(
        (head.previous, head.len as usize),
        (facts.previous, file.len())
    );
    assert!(head.bad_sectors(place(), BATCH_AT, &file).is_empty());
    let frame = Frame::decode(place(), &file[head.head_len()..]).unwrap();
    assert_eq!(frame.change().unwrap(), deliver());
    assert!(file[head.bodies_at()..].starts_with(&encoded_body()));
    let (records, bodies) = (encoded_record(1001, &deliver()), encoded_body());
    let (mut again, len, crc) = batch::encode_head(place(), BATCH_AT, &facts, &records, &bodies);
    again.extend(records);
    again.extend(bodies);
    again.resize(len, 0);
    assert_eq!((again, crc), (file, head.crc()));
}

/// Goal: a segment's header.
#[test]
fn segment_header() {
    let expected = SegmentHeader {
        store: STORE,
        segment: 17,
        generation: 0,
        salt: 0x1122_3344_5566_7788,
        first_record: 1001,
        first_batch: 501,
        epoch: 3,
        created_ms: 1_790_000_000_000,
        holds: Holds::Body,
        behind: Behind::Stale,
        features: Features {
            ignorable: 1,
            ..Features::default()
        },
    };
    let file = golden("segment_header.bin");
    assert_eq!(SegmentHeader::decode(&file).unwrap(), expected);
    assert_eq!(expected.encode(), file);
    assert_eq!(expected.place(), place());
}

/// Goal: a footer of two accounts and three records, one of them lost.
#[test]
fn footer() {
    let records = [
        RecordAt {
            frame: 4200,
            body: 4600,
        },
        RecordAt::default(),
        RecordAt {
            frame: 5224,
            body: 0,
        },
    ];
    let sealing = Sealing {
        store: STORE,
        segment: 17,
        generation: 0,
        first_record: 1001,
        first_batch: 501,
        last_batch: 502,
        last_crc: 0xaabb_ccdd,
        footer_at: 8192,
        digest: Digest::of(MESSAGE),
        records: &records,
        owners: &[
            (anna(), 0),
            (AccountId::from_bytes(*b"account of bruno"), 2),
        ],
    };
    let file = golden("footer.bin");
    let trailer = Trailer::decode(&file[file.len() - PAGE..]).unwrap();
    assert_eq!(
        (trailer.store, trailer.segment, trailer.generation),
        (STORE, 17, 0)
    );
    assert_eq!((trailer.first_record, trailer.record_count), (1001, 3));
    assert_eq!(
        (trailer.first_batch, trailer.last_batch, trailer.last_crc),
        (501, 502, 0xaabb_ccdd)
    );
    assert_eq!((trailer.account_count, trailer.list_count), (2, 2));
    assert_eq!(
        (trailer.footer_at, trailer.digest),
        (8192, Digest::of(MESSAGE))
    );
    assert_eq!(footer::encode(place(), &sealing), file);
}

/// Goal: a slot of MANIFEST.
#[test]
fn manifest() {
    let member = |name: &[u8; 16], state, since_batch| Member {
        volume: *name,
        state,
        since_batch,
    };
    let expected = Manifest {
        store: STORE,
        volume: *b"volume one......",
        generation: 7,
        epoch: 3,
        nonce: *b"nonce of writer.",
        next_record: 1001,
        durable_batch: 500,
        edits: 5,
        edits_chain: 0x0a0b_0c0d,
        created_ms: 1_780_000_000_000,
        clean: true,
        features: Features::default(),
        members: vec![
            member(b"volume one......", MemberState::Current, 0),
            member(b"volume two......", MemberState::Stale, 400),
        ],
    };
    let file = golden("manifest.bin");
    assert_eq!(Manifest::decode(&file).unwrap(), expected);
    assert_eq!(expected.encode(), file);
}

/// Goal: SEGMENTS with an edit of each kind.
#[test]
fn segments() {
    let edit = |what, end, next_record| Edit {
        what,
        segment: 17,
        generation: 0,
        first_record: 1001,
        first_batch: 501,
        end,
        next_record,
        salt: 0x1122_3344_5566_7788,
    };
    let edits = [
        edit(What::Created, 0, 0),
        edit(What::Ended, 5120, 1002),
        edit(What::Sealed, 8192, 1002),
        edit(What::Body, 0, 0),
        edit(What::Dropped, 0, 0),
    ];
    let file = golden("segments.bin");
    assert_eq!(segments::decode_head(&file).unwrap(), STORE);
    let mut again = segments::encode_head(STORE);
    for (index, (edit, bytes)) in (0..).zip(edits.iter().zip(file.chunks(EDIT_LEN).skip(1))) {
        assert_eq!(Edit::decode(STORE, index, bytes).unwrap(), *edit);
        again.extend(edit.encode(STORE, index));
    }
    assert_eq!(again, file);
    assert_eq!(segments::chain(0, &file[EDIT_LEN..]), 0x6683_9a71);
}

/// Goal: a slot of TAIL.
#[test]
fn tail() {
    let expected = Tail {
        store: STORE,
        epoch: 3,
        written: 501,
        durable: 500,
        segment: 17,
        end: 5120,
        next_record: 1002,
    };
    let file = golden("tail.bin");
    assert_eq!(Tail::decode(STORE, &file).unwrap(), expected);
    assert_eq!(expected.encode()[..], file);
}
