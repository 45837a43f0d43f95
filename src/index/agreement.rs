//! Rows and folds of the same records agree in all that a delivery, or the next change of the account, goes by.

use proptest::prelude::*;

use super::{Fold, INBOX_ID, Leaf};
use crate::directory::{FenceAt, Fences, Inbox, Row};
use crate::format::change::{
    Assign, BodyAt, Change, CreateMailbox, Deliver, Fence, Flag, MailboxProperties, Transfer,
    Transferred,
};
use crate::format::record::RecordHeader;
use crate::mail::{
    AccountId, Digest, Flags, InternalDate, Shape, Summary, Uid, UidSet, UidValidity,
};

const KEY: AccountId = AccountId::from_bytes([7; 16]);

/// What is done, and two numbers that say to what.
type Step = (u8, u32, u32);

/// A history as a store writes it: every number comes from the account as it is.
struct History {
    fold: Fold,
    fences: Fences,
    records: Vec<(RecordHeader, Change)>,
    number: u64,
}

impl History {
    fn new() -> Self {
        let mut history = Self {
            fold: Fold::new(KEY),
            fences: Fences::default(),
            records: Vec::new(),
            number: 0,
        };
        history.push(
            0,
            Change::CreateAccount {
                name: "anna".into(),
                uid_validity_mark: 40,
            },
        );
        history.create("INBOX");
        history
    }

    fn push(&mut self, mailbox: u32, change: Change) {
        self.number += 1;
        let header = RecordHeader {
            number: self.number,
            previous: self.fold.last_record,
            account: KEY,
            mailbox,
            modseq: self.fold.next_modseq(),
        };
        self.fold.cross(&self.fences, header.number, 0);
        self.fold.apply(&header, &change);
        self.records.push((header, change));
    }

    fn validity(&self) -> UidValidity {
        UidValidity::new(self.fold.uid_validity_mark.saturating_add(1)).unwrap()
    }

    fn create(&mut self, name: &str) {
        let id = u32::try_from(self.fold.next_mailbox).unwrap();
        let create = CreateMailbox {
            parent: 0,
            name: name.into(),
            uid_validity: self.validity(),
            properties: MailboxProperties::default(),
        };
        self.push(id, Change::CreateMailbox(create));
    }

    fn fence(&mut self, bound: u32) {
        self.number += 1;
        self.fences.add(FenceAt {
            number: self.number,
            bound,
            first_lost: 1,
            last_lost: 1,
        });
    }

    fn deliver(&self, mailbox: u32) -> Option<Deliver> {
        let known = self.fold.mailbox(mailbox)?;
        Some(Deliver {
            uid: Uid::new(u32::try_from(known.uid_assign).ok()?)?,
            uid_validity: known.uid_validity,
            flags: Flags::EMPTY,
            keywords: Vec::new(),
            internal_date: InternalDate::new(1_700_000_000, 0).unwrap(),
            save_date: 1_700_000_000,
            email: self.fold.next_email,
            thread: 0,
            raw_len: 10,
            shape: Shape::from_parts(10, 0).unwrap(),
            digest: Digest::of(b""),
            body: BodyAt::Here(8),
            summary: Summary::of(b""),
        })
    }

    fn transfer(&self, source: u32, to: u32, new: bool) -> Option<Transfer> {
        let known = self.fold.mailbox(to)?;
        let next = u32::try_from(known.uid_assign).ok()?;
        let leaves = self.fold.mailbox(source)?.entries.leaves();
        let entries =
            leaves.flat_map(|leaf| (0..leaf.len()).map(|at| leaf.row(at)).collect::<Vec<_>>());
        let entry = |(entry, n): (super::Entry, u32)| {
            Some(Transferred {
                from: Uid::new(entry.uid)?,
                to: Uid::new(next + n)?,
                email: if new {
                    self.fold.next_email + u64::from(n)
                } else {
                    entry.email
                },
            })
        };
        let entries = entries
            .take(2)
            .zip(0..)
            .map(entry)
            .collect::<Option<Vec<_>>>()?;
        if entries.is_empty() {
            return None;
        }
        Some(Transfer {
            source,
            uid_validity: known.uid_validity,
            save_date: 0,
            entries,
        })
    }

    /// Goes one step on, unless there is nothing to do it to.
    fn step(&mut self, (what, one, other): Step) -> Option<()> {
        let all: Vec<u32> = self.fold.mailboxes.keys().copied().collect();
        // INBOX half of the time.
        let pick = |n: u32| match n % 2 {
            0 => all.first(),
            _ => all.get(n as usize / 2 % all.len().max(1)),
        };
        let (here, there) = (*pick(one)?, *pick(other)?);
        let change = match what {
            0..=5 => Change::Deliver(Box::new(self.deliver(here)?)),
            6 => Change::Assign(Box::new(Assign {
                deferred: self.number.saturating_sub(other.into()),
                deliver: Deliver {
                    body: BodyAt::Record(1),
                    ..self.deliver(here)?
                },
            })),
            7 => Change::Copy(self.transfer(there, here, other % 3 == 0)?),
            8 => Change::Move(self.transfer(there, here, other % 3 == 0)?),
            9 => Change::Flag(Flag {
                uids: UidSet::full(),
                add: Flags::SEEN,
                remove: Flags::EMPTY,
                add_keywords: Vec::new(),
                remove_keywords: Vec::new(),
                replace_keywords: false,
                principal: 0,
            }),
            10 => Change::Expunge {
                uids: UidSet::full(),
            },
            11 => {
                self.create(&format!("m{}", self.number));
                return Some(());
            }
            12 if here != INBOX_ID || other == 0 => Change::DeleteMailbox,
            13 if here != INBOX_ID || other < 2 => Change::RenameMailbox {
                parent: 0,
                name: format!("r{}", self.number),
                uid_validity: vec![(here, self.validity().get())],
            },
            14 => {
                let uid_validity_mark = self.fold.uid_validity_mark + other;
                let name = format!("anna{one}");
                self.push(
                    0,
                    Change::RenameAccount {
                        name,
                        uid_validity_mark,
                    },
                );
                return Some(());
            }
            15 => {
                let name = format!("s{one}");
                let (principal, on) = (0, other % 2 == 0);
                self.push(
                    0,
                    Change::Subscribe {
                        principal,
                        name,
                        on,
                    },
                );
                return Some(());
            }
            16 => {
                self.fence(other * 7);
                return Some(());
            }
            17 if one == 0 && other == 0 => {
                let uid_validity_mark = self.fold.uid_validity_mark;
                self.push(0, Change::DeleteAccount { uid_validity_mark });
                return Some(());
            }
            _ => return None,
        };
        self.push(here, change);
        Some(())
    }

    /// The row of some of the records, with all fences.
    fn row(&self, records: &[(RecordHeader, Change)]) -> Option<Row> {
        let mut row = Row::new(KEY);
        for (header, change) in records {
            self.fences.apply(&mut row, header.number);
            row.advance(header, change);
        }
        (row.last_record > 0).then_some(row)
    }

    /// What a row has to say, by the fold.
    fn described(&self, row: &Row) -> Row {
        let mut fold = self.fold.clone();
        fold.cross(&self.fences, u64::MAX, 0);
        let mut described = row.clone();
        fold.describe(&mut described);
        described
    }
}

/// What a delivery, a listing or the next account of the name goes by.
fn used(row: &Row) -> impl PartialEq + std::fmt::Debug + use<> {
    let inbox = match row.exists {
        Some(true) => row.inbox,
        // Of an account that is gone nobody asks.
        _ => Inbox::default(),
    };
    let numbers = (
        row.modseq,
        row.next_email,
        row.next_mailbox,
        row.uid_validity_mark,
    );
    let found = (row.exists, row.name.clone(), row.last_record, row.assigned);
    (
        numbers,
        found,
        (inbox.uid_validity, inbox.uid_next),
        row.past_floor,
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Goal: whatever happened, what the row says is what the fold says, unless the row says that only the fold can tell;
    /// also where the row was put together from parts.
    #[test]
    fn rows_say_what_folds_say(
        steps in prop::collection::vec((0..18_u8, 0..6_u32, 0..30_u32), 0..60),
        cuts in prop::collection::vec(0..60_usize, 0..4),
    ) {
        let mut history = History::new();
        for step in steps {
            history.step(step);
            let whole = history.row(&history.records).unwrap();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| *cut.min(&history.records.len())).collect();
            cuts.extend([0, history.records.len()]);
            cuts.sort_unstable();
            let parts = cuts.windows(2).filter_map(|cut| history.row(&history.records[cut[0]..cut[1]]));
            let merged = parts.reduce(|older, newer| older.then(&newer)).unwrap();
            for mut row in [whole, merged] {
                history.fences.apply(&mut row, u64::MAX);
                if !row.opaque {
                    prop_assert_eq!(used(&row), used(&history.described(&row)));
                    prop_assert!(row.complete);
                }
            }
        }
    }
}

/// What makes a row opaque is rare: mail that comes and goes does not.
#[test]
fn common_changes_leave_rows_clear() {
    let mut history = History::new();
    for step in [
        (11, 0, 0),
        (0, 0, 0),
        (0, 3, 0),
        (7, 0, 3),
        (8, 3, 1),
        (9, 0, 0),
        (10, 0, 0),
        (14, 0, 2),
        (15, 0, 0),
        (16, 0, 9),
        (0, 0, 0),
    ] {
        history.step(step).unwrap();
    }
    let row = history.row(&history.records).unwrap();
    assert!(row.complete && !row.opaque);
    assert_eq!(used(&row), used(&history.described(&row)));
}

/// A fence in between is in both.
#[test]
fn a_fence_lifts_both_alike() {
    let mut history = History::new();
    history.step((0, 0, 0)).unwrap();
    history.step((16, 0, 10)).unwrap();
    let mut row = history.row(&history.records).unwrap();
    history.fences.apply(&mut row, u64::MAX);
    assert_eq!(used(&row), used(&history.described(&row)));
    assert_eq!(row.inbox.uid_next, 72);
    // As the change of a fence does.
    let mut fold = history.fold.clone();
    let header = RecordHeader {
        number: history.number,
        ..history.records[0].0
    };
    let change = Change::Fence(Fence {
        first_lost: 1,
        last_lost: 1,
        bound: 70,
    });
    fold.apply(&header, &change);
    let mut described = row.clone();
    fold.describe(&mut described);
    assert_eq!(used(&row), used(&described));
}
