use proptest::prelude::*;

use super::super::fences::{FenceAt, Fences};
use super::*;
use crate::format::change::Flag;
use crate::mail::{Flags, Uid, UidSet, UidValidity};

const KEY: AccountId = AccountId::from_bytes([7; 16]);

fn header(number: u64, previous: u64, mailbox: u32, modseq: u64) -> RecordHeader {
    RecordHeader {
        number,
        previous,
        account: KEY,
        mailbox,
        modseq,
    }
}

fn create(name: &str) -> Change {
    Change::CreateAccount {
        name: name.into(),
        uid_validity_mark: 5,
    }
}

fn mailbox(parent: u32, name: &str, noselect: bool) -> Change {
    Change::CreateMailbox(CreateMailbox {
        parent,
        name: name.into(),
        uid_validity: UidValidity::new(100).unwrap(),
        properties: MailboxProperties {
            noselect,
            ..MailboxProperties::default()
        },
    })
}

fn transfer(to: u32, email: u64) -> Transfer {
    Transfer {
        source: 2,
        uid_validity: UidValidity::new(100).unwrap(),
        save_date: 0,
        entries: vec![Transferred {
            from: Uid::MIN,
            to: Uid::new(to).unwrap(),
            email,
        }],
    }
}

fn flag() -> Change {
    Change::Flag(Flag {
        uids: UidSet::from(Uid::MIN),
        add: Flags::SEEN,
        remove: Flags::EMPTY,
        add_keywords: Vec::new(),
        remove_keywords: Vec::new(),
        replace_keywords: false,
        principal: 0,
    })
}

/// A fresh account with INBOX.
fn fresh() -> Row {
    let mut row = Row::new(KEY);
    row.advance(&header(10, 0, 0, 1), &create("anna"));
    row.advance(&header(11, 10, 1, 2), &mailbox(0, "INBOX", false));
    row
}

#[test]
fn an_account_is_known_from_its_first_record() {
    let row = fresh();
    assert!(row.complete && !row.opaque);
    assert_eq!(
        (row.exists, row.name.as_deref()),
        (Some(true), Some("anna"))
    );
    assert_eq!((row.modseq, row.next_email, row.next_mailbox), (2, 1, 2));
    assert_eq!(
        (row.uid_validity_mark, row.records, row.last_record),
        (100, 2, 11)
    );
    let expected = Inbox {
        uid_validity: 100,
        uid_next: 1,
    };
    assert_eq!(row.inbox, expected);
}

#[test]
fn a_record_counts_once() {
    let mut row = fresh();
    let before = row.clone();
    row.advance(&header(11, 10, 1, 2), &mailbox(0, "INBOX", false));
    row.advance(&header(4, 0, 1, 99), &flag());
    assert_eq!(row, before);
}

#[test]
fn later_records_alone_make_no_complete_row() {
    let mut row = Row::new(KEY);
    row.advance(&header(12, 11, 1, 3), &Change::Copy(transfer(8, 20)));
    assert!(!row.complete);
    assert_eq!((row.inbox.uid_next, row.next_email), (9, 21));
    assert_eq!((row.exists, row.name.as_ref()), (Some(true), None));
}

#[test]
fn what_happens_to_inbox_makes_it_opaque() {
    let rename = |parent, name: &str, uid_validity: Vec<(u32, u32)>| Change::RenameMailbox {
        parent,
        name: name.into(),
        uid_validity,
    };
    let after = |mailbox, change: &Change| {
        let mut row = fresh();
        row.advance(&header(20, 11, mailbox, 9), change);
        row
    };
    for (id, change) in [
        (1, rename(0, "Old", Vec::new())),
        (2, rename(0, "INBOX", Vec::new())),
        (2, rename(3, "x", vec![(1, 7)])),
        (1, Change::DeleteMailbox),
        (1, Change::UpdateMailbox(MailboxProperties::default())),
        (2, mailbox(0, "INBOX", false)),
        (1, mailbox(0, "Other", false)),
        (1, mailbox(2, "INBOX", false)),
        (1, mailbox(0, "INBOX", true)),
    ] {
        assert!(after(id, &change).opaque, "{id} {change:?}");
    }
    for (id, change) in [
        (2, rename(0, "Old", vec![(2, 300)])),
        (2, rename(3, "INBOX", Vec::new())),
        (2, Change::DeleteMailbox),
        (2, mailbox(3, "INBOX", false)),
        (1, flag()),
        (1, Change::Move(transfer(5, 6))),
    ] {
        assert!(!after(id, &change).opaque, "{id} {change:?}");
    }
    assert_eq!(
        after(2, &rename(0, "Old", vec![(2, 300)])).uid_validity_mark,
        300
    );
}

#[test]
fn a_history_without_its_beginning_is_opaque() {
    let mut row = Row::new(KEY);
    row.advance(&header(12, 0, 1, 3), &Change::Copy(transfer(8, 20)));
    assert!(row.complete && row.opaque);
}

#[test]
fn a_name_longer_than_a_page_takes_is_not_kept() {
    let mut row = Row::new(KEY);
    row.advance(
        &header(1, 0, 0, 1),
        &create(&"x".repeat(AccountName::LEN_MAX)),
    );
    assert!(row.name.is_some() && !row.opaque);
    let long = Change::RenameAccount {
        name: "x".repeat(AccountName::LEN_MAX + 1),
        uid_validity_mark: 0,
    };
    row.advance(&header(2, 1, 0, 1), &long);
    assert!(row.opaque);
}

#[test]
fn the_last_uid_and_mailbox_are_given() {
    let mut row = fresh();
    row.advance(
        &header(20, 11, 1, 9),
        &Change::Copy(transfer(u32::MAX, u64::MAX)),
    );
    row.advance(&header(21, 20, u32::MAX, 9), &flag());
    assert_eq!(row.inbox.uid_next, U32_NEXT_MAX);
    assert_eq!((row.next_mailbox, row.next_email), (U32_NEXT_MAX, u64::MAX));
    row.fence(30, u32::MAX);
    assert_eq!(row.inbox.uid_next, U32_NEXT_MAX);
    assert_eq!((row.next_mailbox, row.next_email), (U32_NEXT_MAX, u64::MAX));
    assert_eq!(
        (row.uid_validity_mark, row.past_floor),
        (u32::MAX, u32::MAX)
    );
}

#[test]
fn a_fence_counts_once() {
    let mut row = fresh();
    row.fence(15, 1000);
    let once = row.clone();
    assert_eq!(
        (row.modseq, row.next_email, row.next_mailbox),
        (1002, 1001, 1002)
    );
    assert_eq!((row.inbox.uid_next, row.inbox.uid_validity), (1001, 100));
    assert_eq!((row.uid_validity_mark, row.past_floor), (1100, 1100));
    row.fence(15, 1000);
    row.fence(14, 1000);
    assert_eq!(row, once);
}

#[test]
fn a_deleted_account_keeps_its_mark() {
    let mut row = fresh();
    let delete = Change::DeleteAccount {
        uid_validity_mark: 400,
    };
    row.advance(&header(12, 11, 0, 3), &delete);
    assert_eq!((row.exists, row.uid_validity_mark), (Some(false), 400));
}

#[test]
fn keys_tell_deferred_deliveries() {
    let mut key = [3; 16];
    key[8..].fill(0xff);
    assert_eq!(Row::new(AccountId::from_bytes(key)).kind, Kind::Deferred);
    key[15] = 0xfe;
    assert_eq!(Row::new(AccountId::from_bytes(key)).kind, Kind::Account);
    let alias = Row::alias(KEY, AccountId::from_bytes([9; 16]), 4);
    let merged = Row::new(KEY).then(&alias);
    assert_eq!(merged, alias);
}

#[test]
fn a_complete_row_hides_older_ones_but_not_a_newer_image() {
    let at = |record| ImageAt {
        file: 1,
        offset: 8,
        len: 9,
        record,
    };
    let mut older = fresh();
    older.imaged(at(11));
    assert_eq!(older.records, 0);
    let mut newer = fresh();
    newer.advance(&header(12, 11, 1, 3), &flag());
    let merged = older.then(&newer);
    assert_eq!((merged.image, merged.records), (Some(at(11)), 3));
    newer.imaged(at(12));
    assert_eq!(older.then(&newer), newer);
    // An older image than the one at hand changes nothing.
    newer.imaged(at(5));
    assert_eq!(newer.image, Some(at(12)));
    // A complete row is not undone by what it has already.
    let mut stale = Row::new(KEY);
    stale.advance(&header(11, 10, 1, 2), &mailbox(0, "INBOX", false));
    assert_eq!(newer.then(&stale), newer);
}

/// What may happen to a row: a record, perhaps with an image behind it, or a fence. Numbers come from the position.
#[derive(Clone, Debug)]
enum Event {
    Record(u32, Change, bool),
    Fence(u32),
}

fn event() -> impl Strategy<Value = Event> {
    let uid = 1_u32..50;
    let record = prop_oneof![
        4 => (1_u32..4, uid, 1_u64..90)
            .prop_map(|(id, uid, email)| (id, Change::Copy(transfer(uid, email)))),
        2 => (1_u32..4).prop_map(|id| (id, flag())),
        1 => (1_u32..4, any::<bool>()).prop_map(|(id, noselect)| {
            (id, mailbox(0, if id == 1 { "INBOX" } else { "Sent" }, noselect))
        }),
        1 => "[a-c]{1,3}".prop_map(|name| (0, create(&name))),
        1 => "[a-c]{1,3}".prop_map(|name| {
            (0, Change::RenameAccount { name, uid_validity_mark: 9 })
        }),
        1 => (0_u32..300).prop_map(|uid_validity_mark| {
            (0, Change::DeleteAccount { uid_validity_mark })
        }),
        1 => (1_u32..3).prop_map(|id| (id, Change::DeleteMailbox)),
    ];
    prop_oneof![
        5 => (record, prop::bool::weighted(0.1))
            .prop_map(|((id, change), image)| Event::Record(id, change, image)),
        1 => (0_u32..500).prop_map(Event::Fence),
    ]
}

fn fences_of(events: &[Event]) -> Fences {
    let numbered = events.iter().zip(1..);
    let fences = numbered.filter_map(|(event, number)| match event {
        Event::Fence(bound) => Some(FenceAt {
            number,
            bound: *bound,
            first_lost: 0,
            last_lost: 0,
        }),
        Event::Record(..) => None,
    });
    Fences::new(&fences.collect::<Vec<_>>())
}

/// The row of some events, of which the first has the number `first`.
fn row_of(events: &[Event], first: u64, starts: u64, fences: &Fences) -> Option<Row> {
    let mut row = Row::new(KEY);
    for (event, number) in events.iter().zip(first..) {
        match event {
            Event::Record(mailbox, change, image) => {
                fences.apply(&mut row, number);
                // Every record names an older one, but for the account's first.
                let previous = if number == starts { 0 } else { number - 1 };
                row.advance(&header(number, previous, *mailbox, number * 3), change);
                if *image {
                    row.imaged(ImageAt {
                        file: 1,
                        offset: number,
                        len: 1,
                        record: number,
                    });
                }
            }
            Event::Fence(_) => {}
        }
    }
    (row.last_record != 0).then_some(row)
}

proptest! {
    /// Goal: however a history is cut and the parts are merged, the row is the same as from the whole.
    #[test]
    fn merging_is_the_same_as_advancing(
        events in prop::collection::vec(event(), 1..30),
        cuts in prop::collection::vec(0_usize..30, 0..5),
        complete: bool,
        from_left: bool,
    ) {
        let fences = fences_of(&events);
        let is_record = |event: &Event| matches!(event, Event::Record(..));
        let starts = events.iter().position(is_record).filter(|_| complete);
        let starts = starts.map_or(0, |at| at as u64 + 1);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(events.len())).collect();
        cuts.extend([0, events.len()]);
        cuts.sort_unstable();
        let parts: Vec<Row> = cuts
            .windows(2)
            .filter_map(|cut| row_of(&events[cut[0]..cut[1]], cut[0] as u64 + 1, starts, &fences))
            .collect();
        let merged = if from_left {
            parts.into_iter().reduce(|older, newer| older.then(&newer))
        } else {
            parts.into_iter().rev().reduce(|newer, older| older.then(&newer))
        };
        let last = |row: Option<Row>| row.map(|mut row| {
            fences.apply(&mut row, u64::MAX);
            row
        });
        let whole = row_of(&events, 1, starts, &fences);
        prop_assert_eq!(last(merged), last(whole));
    }
}
