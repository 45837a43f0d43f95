//! Receipts as accounts change: kept hashes never lie, and each fact is under the digests that it should be under.

use proptest::prelude::*;

use super::*;
use crate::format::change::{
    BodyAt, Change, CreateMailbox, Deliver, Fence, Flag, MailboxProperties, Transfer, Transferred,
};
use crate::format::record::RecordHeader;
use crate::mail::{
    AccountId, Flags, InternalDate, Keyword, Shape, SpecialUse, Summary, Uid, UidSet, UidValidity,
};

/// An account that records are applied to.
struct Bench {
    fold: Fold,
    number: u64,
}

impl Bench {
    /// With mailboxes 1 and 2.
    fn new() -> Self {
        let mut bench = Self {
            fold: Fold::new(AccountId::from_bytes([7; 16])),
            number: 0,
        };
        bench.apply(
            0,
            Change::CreateAccount {
                name: "anna".into(),
                uid_validity_mark: 0,
            },
        );
        for (id, name) in [(1, "INBOX"), (2, "Archive")] {
            bench.apply(
                id,
                Change::CreateMailbox(CreateMailbox {
                    parent: 0,
                    name: name.into(),
                    uid_validity: UidValidity::MIN,
                    properties: MailboxProperties::default(),
                }),
            );
        }
        bench
    }

    fn apply(&mut self, mailbox: u32, change: Change) {
        self.number += 1;
        let header = RecordHeader {
            number: self.number,
            previous: self.fold.last_record,
            account: self.fold.id,
            mailbox,
            modseq: self.number,
        };
        self.fold.apply(&header, &change);
    }

    fn deliver(&mut self, mailbox: u32, deliver: Deliver) {
        self.apply(mailbox, Change::Deliver(Box::new(deliver)));
    }

    fn flag(&mut self, mailbox: u32, uids: UidSet, add: Flags, keywords: &[&str]) {
        self.apply(
            mailbox,
            Change::Flag(Flag {
                uids,
                add,
                remove: Flags::EMPTY,
                add_keywords: words(keywords),
                remove_keywords: Vec::new(),
                replace_keywords: true,
                principal: 0,
            }),
        );
    }
}

fn words(keywords: &[&str]) -> Vec<Keyword> {
    let words = keywords.iter().map(|word| Keyword::new(word).unwrap());
    words.collect()
}

fn message(uid: u32) -> Deliver {
    Deliver {
        uid: Uid::new(uid).unwrap(),
        uid_validity: UidValidity::MIN,
        flags: Flags::EMPTY,
        keywords: Vec::new(),
        internal_date: InternalDate::utc(1_700_000_000).unwrap(),
        save_date: 5,
        email: uid.into(),
        thread: 0,
        raw_len: 3,
        shape: Shape::from_parts(4, 0).unwrap(),
        digest: Digest::of(b""),
        body: BodyAt::Record(1),
        summary: Summary::of(b"\n\n"),
    }
}

/// What the records would say: here it follows from the record's number.
fn content(entry: &Entry) -> Result<Content> {
    Ok(Content {
        digest: Digest::of(&entry.record.to_le_bytes()),
        wire_size: entry.size,
    })
}

fn scratch(fold: &Fold) -> Roots {
    let mut content_of = content;
    fold.roots(&mut Hashing::from_scratch(&mut content_of))
        .unwrap()
}

/// By what is kept; and what had to be hashed.
fn kept(fold: &Fold) -> (Roots, Fresh) {
    let mut content_of = content;
    let mut hashing = Hashing::new(&mut content_of);
    let roots = fold.roots(&mut hashing).unwrap();
    (roots, hashing.fresh)
}

/// UIDs at the edges of buckets, and between.
fn uid() -> impl Strategy<Value = u32> {
    prop_oneof![
        Just(1),
        Just(4095),
        Just(4096),
        Just(u32::MAX),
        1..=40_u32,
        4000..=4200_u32,
        1..=12_288_u32
    ]
}

#[derive(Clone, Debug)]
enum Op {
    Deliver(u32, u32, u32),
    Flag(u32, u32, u32, usize),
    Expunge(u32, u32, u32),
    Transfer(u32, u32, u32, bool),
    Fence(u32),
    /// A receipt of the account as it is.
    Snapshot,
    /// What the last one hashed is kept.
    Keep,
}

fn op() -> impl Strategy<Value = Op> {
    let mailbox = || 1..=2_u32;
    prop_oneof![
        8 => (mailbox(), uid(), 1..20_u32).prop_map(|(id, uid, many)| Op::Deliver(id, uid, many)),
        6 => (mailbox(), uid(), 0..9_u32, 0..4_usize).prop_map(|(id, uid, more, set)| Op::Flag(id, uid, more, set)),
        3 => (mailbox(), uid(), 0..9_u32).prop_map(|(id, uid, more)| Op::Expunge(id, uid, more)),
        3 => (mailbox(), uid(), uid(), any::<bool>()).prop_map(|(id, from, to, moved)| Op::Transfer(id, from, to, moved)),
        1 => (1..9_u32).prop_map(Op::Fence),
        4 => Just(Op::Snapshot),
        4 => Just(Op::Keep),
    ]
}

fn range(first: u32, more: u32) -> UidSet {
    let mut uids = UidSet::new();
    let last = Uid::new(first.saturating_add(more)).unwrap();
    uids.insert_range(Uid::new(first).unwrap(), last);
    uids
}

const SETS: [&[&str]; 4] = [&[], &["a"], &["a", "b"], &["work"]];

fn run(bench: &mut Bench, op: &Op) {
    match *op {
        Op::Deliver(id, first, many) => (0..many).for_each(|more| {
            let mut deliver = message(first.saturating_add(more));
            deliver.email = bench.number;
            bench.deliver(id, deliver);
        }),
        Op::Flag(id, first, more, set) => {
            let flags = Flags::from_bits(u16::try_from(set).unwrap()).unwrap();
            bench.flag(id, range(first, more), flags, SETS[set]);
        }
        Op::Expunge(id, first, more) => bench.apply(
            id,
            Change::Expunge {
                uids: range(first, more),
            },
        ),
        Op::Transfer(id, from, to, moved) => {
            let transfer = Transfer {
                source: id,
                uid_validity: UidValidity::MIN,
                save_date: 9,
                entries: vec![Transferred {
                    from: Uid::new(from).unwrap(),
                    to: Uid::new(to).unwrap(),
                    email: bench.number,
                }],
            };
            // To a free UID: a writer never gives one twice.
            if bench.fold.mailbox(3 - id).unwrap().get(to).is_none() {
                let change = if moved {
                    Change::Move(transfer)
                } else {
                    Change::Copy(transfer)
                };
                bench.apply(3 - id, change);
            }
        }
        Op::Fence(bound) => bench.apply(
            0,
            Change::Fence(Fence {
                first_lost: 1,
                last_lost: 1,
                bound,
            }),
        ),
        Op::Snapshot | Op::Keep => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Goal: a receipt by what was kept is the one from scratch, whatever happened between hashing and keeping.
    #[test]
    fn kept_hashes_are_those_from_scratch(ops in prop::collection::vec(op(), 1..60)) {
        let mut bench = Bench::new();
        let mut last: Option<(Fold, Fresh)> = None;
        for op in &ops {
            run(&mut bench, op);
            let (roots, fresh) = kept(&bench.fold);
            prop_assert_eq!(roots, scratch(&bench.fold));
            match op {
                Op::Snapshot => last = Some((bench.fold.clone(), fresh)),
                Op::Keep => {
                    if let Some((snapshot, fresh)) = last.take() {
                        bench.fold.keep_buckets(&snapshot, &fresh);
                    }
                    prop_assert_eq!(kept(&bench.fold).0, scratch(&bench.fold));
                }
                _ => {}
            }
        }
    }
}

/// Goal: after a change only its bucket is hashed again.
#[test]
fn only_what_changed_is_hashed_again() {
    let mut bench = Bench::new();
    (1..=10_000).for_each(|uid| bench.deliver(1, message(uid)));
    let (roots, fresh) = kept(&bench.fold);
    assert_eq!(
        fresh
            .iter()
            .map(|(_, bucket)| bucket.rows)
            .collect::<Vec<_>>(),
        [4095, 4096, 1809]
    );
    let snapshot = bench.fold.clone();
    bench.fold.keep_buckets(&snapshot, &fresh);
    assert_eq!(kept(&bench.fold), (roots, vec![]));
    // In the midst of a bucket, so that its leaf is not also its neighbour's.
    bench.flag(1, range(6000, 0), Flags::SEEN, &[]);
    let (flagged, fresh) = kept(&bench.fold);
    let numbers = |fresh: &Fresh| {
        fresh
            .iter()
            .map(|(_, bucket)| bucket.number)
            .collect::<Vec<_>>()
    };
    assert_eq!(numbers(&fresh), [1]);
    assert_eq!(flagged.content, roots.content);
    assert_ne!(flagged.state, roots.state);
    // What was hashed before another change in the bucket is not kept.
    let snapshot = bench.fold.clone();
    bench.flag(1, range(6001, 0), Flags::SEEN, &[]);
    bench.fold.keep_buckets(&snapshot, &fresh);
    assert_eq!(numbers(&kept(&bench.fold).1), [1]);
    // A pending state takes over what was hashed of a durable one.
    let (_, fresh) = kept(&bench.fold);
    let snapshot = bench.fold.clone();
    bench.flag(1, range(100, 0), Flags::SEEN, &[]);
    bench.fold.keep_buckets(&snapshot, &fresh);
    assert_eq!(numbers(&kept(&bench.fold).1), [0]);
}

/// Which of the digests of mailbox 1 and of the account differ when one thing is done in another way.
fn differs(usual: impl Fn(&mut Bench), other: impl Fn(&mut Bench)) -> ([bool; 3], [bool; 3]) {
    let run = |act: &dyn Fn(&mut Bench)| {
        let mut bench = Bench::new();
        act(&mut bench);
        let mut content_of = |entry: &Entry| {
            let mut content = content(entry)?;
            content.digest = Digest::of(&entry.raw_len.to_le_bytes());
            Ok(content)
        };
        let mut hashing = Hashing::new(&mut content_of);
        let fold = &bench.fold;
        let mailbox = fold.mailbox(1).unwrap();
        let mailbox = mailbox.roots(1, &fold.keywords, &mut hashing).unwrap();
        (mailbox, fold.roots(&mut hashing).unwrap())
    };
    let ((one, account), (two, others)) = (run(&usual), run(&other));
    let compare = |one: Roots, two: Roots| {
        [
            one.content != two.content,
            one.state != two.state,
            one.exact != two.exact,
        ]
    };
    (compare(one, two), compare(account, others))
}

const ALL: [bool; 3] = [true, true, true];
const STATE: [bool; 3] = [false, true, true];
const EXACT: [bool; 3] = [false, false, true];
const NONE: [bool; 3] = [false; 3];

/// Goal: each fact of a message is under the digests that say they cover it, and under no others.
#[test]
fn each_fact_of_a_message_counts() {
    let with = |change: fn(&mut Deliver)| {
        let act = move |bench: &mut Bench| {
            let mut deliver = message(5);
            change(&mut deliver);
            bench.deliver(1, deliver);
        };
        differs(|bench| bench.deliver(1, message(5)), act)
    };
    let twice = |digests| (digests, digests);
    assert_eq!(with(|_| ()), twice(NONE));
    assert_eq!(
        with(|deliver| deliver.uid = Uid::new(6).unwrap()),
        twice(ALL)
    );
    // Stands for the digest here.
    assert_eq!(with(|deliver| deliver.raw_len = 4), twice(ALL));
    assert_eq!(
        with(|deliver| deliver.shape = Shape::from_parts(5, 0).unwrap()),
        twice(ALL)
    );
    assert_eq!(
        with(|deliver| deliver.internal_date = InternalDate::new(1_700_000_001, 0).unwrap()),
        twice(ALL)
    );
    assert_eq!(
        with(|deliver| deliver.internal_date = InternalDate::new(1_700_000_000, 1).unwrap()),
        twice(ALL)
    );
    assert_eq!(with(|deliver| deliver.flags = Flags::SEEN), twice(STATE));
    assert_eq!(
        with(|deliver| deliver.keywords = words(&["a"])),
        twice(STATE)
    );
    assert_eq!(with(|deliver| deliver.save_date = 6), twice(STATE));
    assert_eq!(with(|deliver| deliver.email = 6), twice(EXACT));
    assert_eq!(with(|deliver| deliver.thread = 6), twice(NONE));
}

/// Goal: so is each fact of a mailbox and of an account.
#[test]
fn each_fact_around_messages_counts() {
    let still = |_: &mut Bench| ();
    let change = |mailbox: u32, change: Change| {
        move |bench: &mut Bench| bench.apply(mailbox, change.clone())
    };
    let properties = |set: fn(&mut MailboxProperties)| {
        let (usual, mut other) = (MailboxProperties::default(), MailboxProperties::default());
        set(&mut other);
        differs(
            change(1, Change::UpdateMailbox(usual)),
            change(1, Change::UpdateMailbox(other)),
        )
    };
    assert_eq!(
        properties(|other| other.special_use = SpecialUse::SENT),
        (STATE, STATE)
    );
    assert_eq!(properties(|other| other.noselect = true), (STATE, STATE));
    assert_eq!(properties(|other| other.sort_order = 1), (STATE, STATE));
    assert_eq!(properties(|other| other.quota_root = 1), (STATE, STATE));
    let rename = |name: &str, uid_validity| Change::RenameMailbox {
        parent: 0,
        name: name.into(),
        uid_validity,
    };
    let keep = || change(1, rename("INBOX", vec![]));
    assert_eq!(
        differs(keep(), change(1, rename("Other", vec![]))),
        (NONE, ALL)
    );
    assert_eq!(
        differs(keep(), change(1, rename("INBOX", vec![(1, 9)]))),
        (EXACT, EXACT)
    );
    let subscribe = |on| Change::Subscribe {
        principal: 0,
        name: "x".into(),
        on,
    };
    assert_eq!(
        differs(change(0, subscribe(false)), change(0, subscribe(true))),
        (NONE, STATE)
    );
    let account = |name: &str| Change::RenameAccount {
        name: name.into(),
        uid_validity_mark: 0,
    };
    assert_eq!(
        differs(change(0, account("a")), change(0, account("b"))),
        (NONE, EXACT)
    );
    // A MODSEQ, an entry that came and went (UIDNEXT), a deleted mailbox.
    let seen = || |bench: &mut Bench| bench.flag(1, range(1, 0), Flags::SEEN, &[]);
    let came_and_went = |bench: &mut Bench| {
        bench.deliver(1, message(1));
        bench.apply(1, Change::Expunge { uids: range(1, 0) });
    };
    assert_eq!(differs(still, seen()), (NONE, EXACT));
    assert_eq!(differs(still, came_and_went), (EXACT, EXACT));
    assert_eq!(
        differs(still, change(2, Change::DeleteMailbox)),
        (NONE, ALL)
    );
}

/// Goal: content and state do not depend on the ids that mailboxes have, nor on the order in which they were made.
#[test]
fn ids_of_mailboxes_do_not_count() {
    let make = |order: [(u32, &str); 2]| {
        let mut bench = Bench::new();
        for (id, name) in order {
            bench.apply(
                id,
                Change::CreateMailbox(CreateMailbox {
                    parent: 0,
                    name: name.into(),
                    uid_validity: UidValidity::MIN,
                    properties: MailboxProperties::default(),
                }),
            );
        }
        scratch(&bench.fold)
    };
    let (one, two) = (make([(3, "a"), (4, "b")]), make([(3, "b"), (4, "a")]));
    assert_eq!((one.content, one.state), (two.content, two.state));
    assert_ne!(one.exact, two.exact);
}

/// Goal: a digest that cannot be had is an error, and what was hashed before it is kept.
#[test]
fn errors_come_through() {
    let mut bench = Bench::new();
    (1..=5000).for_each(|uid| bench.deliver(1, message(uid)));
    let mut content_of = |entry: &Entry| match entry.uid {
        4500 => Err(crate::Error::Closed),
        _ => content(entry),
    };
    let mut hashing = Hashing::new(&mut content_of);
    assert!(matches!(
        bench.fold.roots(&mut hashing),
        Err(crate::Error::Closed)
    ));
    assert_eq!(hashing.fresh.len(), 1);
}
