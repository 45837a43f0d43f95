//! What the tests of images share: random records, and folds compared by all that can be seen of them.

use proptest::prelude::*;

use crate::format::change::{
    Assign, BodyAt, Change, CreateMailbox, Deliver, Fence, Flag, MailboxProperties, Transfer,
    Transferred,
};
use crate::format::record::RecordHeader;
use crate::index::buckets::Bucket;
use crate::index::expunged::Gone;
use crate::index::tree::Leaf;
use crate::index::{Counters, Entry, Fold};
use crate::mail::{
    AccountId, Digest, Flags, InternalDate, Keyword, Shape, SpecialUse, Summary, Uid, UidSet,
    UidValidity,
};

pub(super) const ACCOUNT: AccountId = AccountId::from_bytes([7; 16]);

/// All that can be seen of a fold.
#[derive(Debug, PartialEq)]
pub(super) struct Seen {
    text: String,
    mailboxes: Vec<SeenMailbox>,
}

#[derive(Debug, PartialEq)]
struct SeenMailbox {
    text: String,
    counters: Counters,
    entries: Vec<(Entry, Vec<Keyword>)>,
    members: Vec<(u64, u32)>,
    gone: Vec<Gone>,
    buckets: Vec<Bucket>,
}

pub(super) fn seen(fold: &Fold) -> Seen {
    let mailbox = |(id, mailbox): (&u32, &std::sync::Arc<crate::index::MailboxFold>)| {
        let rows = mailbox.entries.leaves().flat_map(|leaf| {
            let row = |at| {
                let entry = leaf.row(at);
                let set = fold.keywords.get(entry.keywords).to_vec();
                // Which number a set has is nobody's business.
                (
                    Entry {
                        keywords: 0,
                        ..entry
                    },
                    set,
                )
            };
            (0..leaf.len()).map(row)
        });
        let members = mailbox.members.leaves();
        let pairs =
            members.flat_map(|leaf| leaf.email().iter().copied().zip(leaf.uid().iter().copied()));
        SeenMailbox {
            text: format!(
                "{id} {} {:?} {:?} {} {} {:?} {} {} {}",
                mailbox.parent,
                mailbox.name,
                mailbox.uid_validity,
                mailbox.uid_next,
                mailbox.uid_assign,
                mailbox.properties,
                mailbox.modseq,
                mailbox.modseq_floor,
                mailbox.expunged.floor(),
            ),
            counters: mailbox.counters,
            entries: rows.collect(),
            members: pairs.collect(),
            gone: mailbox.expunged.items().collect(),
            buckets: mailbox.buckets.iter().collect(),
        }
    };
    Seen {
        text: format!(
            "{} {:?} {} {} {} {} {} {} {} {:?} {:?} {} {:?} {} {} {} {} {}",
            fold.id,
            fold.name,
            fold.exists,
            fold.last_record,
            fold.modseq,
            fold.modseq_burned,
            fold.next_mailbox,
            fold.next_email,
            fold.uid_validity_mark,
            fold.subscriptions,
            fold.past_names,
            fold.past_floor,
            fold.destroyed.items().collect::<Vec<_>>(),
            fold.destroyed.floor(),
            fold.fence,
            fold.assigned,
            fold.chain_breaks,
            fold.bad_bases,
        ),
        mailboxes: fold.mailboxes.iter().map(mailbox).collect(),
    }
}

/// One step of a random history: what is done, and three numbers that say to what.
pub(super) type Step = (u8, u32, u32, u64);

pub(super) fn steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec((0..20_u8, 1..6_u32, 1..40_u32, 1..60_u64), 0..most)
}

/// The records of a history. Most are what a store writes; some are what only a damaged or lying log holds.
pub(super) fn records(steps: &[Step]) -> Vec<(RecordHeader, Change)> {
    let mut made = vec![record(1, 0, create_account())];
    for (number, step) in (2..).zip(steps) {
        made.push(record(number, step.1, change(*step, number)));
    }
    made
}

pub(super) fn create_account() -> Change {
    Change::CreateAccount {
        name: "Anna".into(),
        uid_validity_mark: 3,
    }
}

/// A record whose number is also its MODSEQ.
pub(super) fn record(number: u64, mailbox: u32, change: Change) -> (RecordHeader, Change) {
    let fence = matches!(change, Change::Fence(_));
    let header = RecordHeader {
        number,
        previous: number - 1,
        account: if fence {
            AccountId::from_bytes([0; 16])
        } else {
            ACCOUNT
        },
        mailbox,
        modseq: number,
    };
    (header, change)
}

pub(super) fn fold_of(records: &[(RecordHeader, Change)]) -> Fold {
    let mut fold = Fold::new(ACCOUNT);
    records
        .iter()
        .for_each(|(header, change)| fold.apply(header, change));
    fold
}

pub(super) fn uid(number: u32) -> Uid {
    Uid::new(number).unwrap()
}

fn uid_validity(number: u32) -> UidValidity {
    UidValidity::new(number).unwrap()
}

fn keywords(n: u64) -> Vec<Keyword> {
    let all = ["$forwarded", "$junk", "a", "b"];
    let chosen = (0..4).filter(|bit| n >> bit & 1 == 1).map(|bit| all[bit]);
    let mut all: Vec<_> = chosen.map(|word| Keyword::new(word).unwrap()).collect();
    all.sort();
    all
}

pub(super) fn deliver(uid_number: u32, email: u64) -> Change {
    let raw_len = 100 + uid_number % 1000;
    Change::Deliver(Box::new(Deliver {
        uid: uid(uid_number),
        uid_validity: uid_validity(9),
        flags: Flags::from_bits((email % 32) as u16).unwrap(),
        keywords: keywords(email / 3),
        internal_date: InternalDate::new(1_700_000_000 + i64::from(uid_number), 90).unwrap(),
        save_date: 1_700_000_100,
        email,
        thread: 0,
        raw_len,
        shape: Shape::from_parts(u64::from(raw_len) + 5, 1).unwrap(),
        digest: Digest::of(&email.to_le_bytes()),
        body: BodyAt::Here(8),
        summary: Summary::of(b""),
    }))
}

pub(super) fn flag(uids: UidSet, add: Flags, remove: Flags, add_keywords: Vec<Keyword>) -> Change {
    Change::Flag(Flag {
        uids,
        add,
        remove,
        add_keywords,
        remove_keywords: Vec::new(),
        replace_keywords: false,
        principal: 0,
    })
}

fn change((what, mailbox, number, other): Step, record: u64) -> Change {
    let uids = [number, number + 1, number + 5]
        .map(uid)
        .into_iter()
        .collect();
    match what {
        0 => Change::CreateMailbox(CreateMailbox {
            parent: (other % 4) as u32,
            name: format!("m{number}"),
            uid_validity: uid_validity(number),
            properties: MailboxProperties {
                special_use: SpecialUse::SENT,
                noselect: other % 2 == 0,
                sort_order: number,
                quota_root: 0,
            },
        }),
        1 => Change::RenameMailbox {
            parent: 0,
            name: format!("r{number}"),
            uid_validity: vec![(mailbox, number)],
        },
        2 if other < 9 => Change::DeleteMailbox,
        2 | 3 => Change::Subscribe {
            principal: number % 2,
            name: format!("s{}", other % 4),
            on: other % 3 > 0,
        },
        4 if other == 1 => Change::DeleteAccount {
            uid_validity_mark: 9,
        },
        4 if other < 6 => Change::Fence(Fence {
            first_lost: 1,
            last_lost: 2,
            bound: number,
        }),
        4 | 5 => Change::Expunge { uids },
        6 => transfer(mailbox, number, other, record, Change::Copy),
        7 => transfer(mailbox, number, other, record, Change::Move),
        8 => flag(uids, Flags::SEEN, Flags::DELETED, keywords(other)),
        9 => flag(uids, Flags::DELETED, Flags::EMPTY, Vec::new()),
        10 => Change::UpdateMailbox(MailboxProperties {
            sort_order: number,
            ..MailboxProperties::default()
        }),
        12 => match deliver(record as u32, record) {
            Change::Deliver(deliver) => Change::Assign(Box::new(Assign {
                deferred: record / 2,
                deliver: Deliver {
                    body: BodyAt::Record(record / 2),
                    ..*deliver
                },
            })),
            other => other,
        },
        // Emails out of order and twice, UIDs that are taken.
        11 => deliver(number, other),
        _ => deliver(record as u32, record),
    }
}

fn transfer(
    mailbox: u32,
    number: u32,
    other: u64,
    record: u64,
    kind: fn(Transfer) -> Change,
) -> Change {
    let entry = |n: u32| Transferred {
        from: uid(number + n),
        to: uid(record as u32 * 4 + n),
        email: record * 4 + u64::from(n),
    };
    kind(Transfer {
        source: (mailbox + other as u32) % 5 + 1,
        uid_validity: uid_validity(4),
        save_date: 55,
        entries: (0..3).map(entry).collect(),
    })
}
