//! Bases as they are met: whole, in parts, damaged, and where none is needed.

use super::*;
use crate::format::change::{CreateMailbox, MailboxProperties};
use crate::format::record::RecordHeader;
use crate::index::fold::INBOX;
use crate::mail::{AccountId, UidSet, UidValidity};

const ACCOUNT: AccountId = AccountId::from_bytes([7; 16]);

/// Records of an account, each behind the one before it.
fn chained(from: u64, changes: Vec<Change>) -> Vec<(RecordHeader, Change)> {
    let header = |number: u64| RecordHeader {
        number,
        previous: number - 1,
        account: ACCOUNT,
        mailbox: 1,
        modseq: number,
    };
    (from..).map(header).zip(changes).collect()
}

fn began() -> Vec<(RecordHeader, Change)> {
    let create = Change::CreateAccount {
        name: "anna".into(),
        uid_validity_mark: 3,
    };
    let inbox = Change::CreateMailbox(CreateMailbox {
        parent: 0,
        name: INBOX.into(),
        uid_validity: UidValidity::new(9).unwrap(),
        properties: MailboxProperties::default(),
    });
    chained(1, vec![create, inbox])
}

fn fold_of(records: &[(RecordHeader, Change)]) -> Fold {
    let mut fold = Fold::new(ACCOUNT);
    for (header, change) in records {
        fold.apply(header, change);
    }
    fold
}

/// The records of a base of `fold` in `count` parts; MODSEQs as a writer gives them.
fn parts_of(fold: &Fold, count: usize) -> Vec<(RecordHeader, Change)> {
    let bytes = base::encode(fold);
    let slices: Vec<_> = bytes.chunks(bytes.len().div_ceil(count)).collect();
    let parts = u32::try_from(slices.len()).unwrap();
    let part = |(part, slice): (u32, &&[u8])| {
        Change::Base(Base {
            part,
            parts,
            bytes: slice.to_vec(),
        })
    };
    let mut records = chained(fold.last_record + 1, (0..).zip(&slices).map(part).collect());
    records.iter_mut().for_each(|(header, _)| {
        (header.mailbox, header.modseq) = (0, 0);
    });
    records
}

/// A state as bytes, but for the last record: what is the same has the same.
fn state(fold: &Fold) -> Vec<u8> {
    let mut fold = fold.clone();
    fold.last_record = 0;
    base::encode(&fold)
}

/// Goal: who has nothing but the parts has the account, and goes on from there as if it had read everything.
#[test]
fn parts_are_the_account() {
    let all = fold_of(&began());
    for count in [1, 2, 7] {
        let parts = parts_of(&all, count);
        assert_eq!(parts.len(), count);
        let mut fold = fold_of(&parts);
        assert_eq!(state(&fold), state(&all));
        let last = parts.last().unwrap().0.number;
        assert_eq!(
            (fold.last_record, fold.chain_breaks, fold.bad_bases),
            (last, 0, 0)
        );
        let next = Change::Expunge {
            uids: UidSet::full(),
        };
        let (header, change) = chained(last + 1, vec![next]).remove(0);
        fold.apply(&header, &change);
        assert_eq!(fold.chain_breaks, 0);
    }
}

/// Goal: an account that has all records passes a base over, also one that says something else.
#[test]
fn who_has_all_records_needs_no_base() {
    let mut other = fold_of(&began());
    other.next_email = 77;
    let mut records = began();
    records.extend(parts_of(&other, 3));
    let fold = fold_of(&records);
    assert_eq!(fold.next_email, 1);
    assert_eq!((fold.last_record, fold.chain_breaks), (5, 0));
}

/// Goal: an account of which records are missing is made whole, and nothing that it gave is given again.
#[test]
fn a_base_heals() {
    let all = fold_of(&began());
    let mut records = began();
    records.remove(1);
    records.extend(parts_of(&all, 2));
    let mut fold = fold_of(&records[..1]);
    fold.next_email = 5;
    for (header, change) in &records[1..] {
        fold.apply(header, change);
    }
    assert_eq!(fold.mailboxes.len(), 1);
    assert_eq!(fold.next_email, 5);
    assert_eq!(fold.chain_breaks, 1, "what was lost stays known");
}

/// Goal: what is no base, another account's, or not of this place in the chain is counted and changes nothing.
#[test]
fn bad_bases_are_passed_over() {
    let all = fold_of(&began());
    let refused = |parts: Vec<(RecordHeader, Change)>| {
        let fold = fold_of(&parts);
        assert!(!fold.exists);
        fold.bad_bases
    };
    let mut damaged = parts_of(&all, 2);
    if let Change::Base(base) = &mut damaged[1].1 {
        base.bytes[0] ^= 1;
    }
    assert_eq!(refused(damaged), 1);
    let other = Fold {
        id: AccountId::from_bytes([8; 16]),
        ..all.clone()
    };
    assert_eq!(refused(parts_of(&other, 1)), 1);
    let mut elsewhere = parts_of(&all, 1);
    elsewhere[0].0.previous = 1;
    assert_eq!(refused(elsewhere), 1);
}

/// Goal: parts count only together: in order, of one base, with nothing between them.
#[test]
fn parts_that_do_not_follow_are_none() {
    let all = fold_of(&began());
    let nothing = |parts: &[(RecordHeader, Change)]| {
        let fold = fold_of(parts);
        assert_eq!((fold.exists, fold.bad_bases), (false, 0));
    };
    let parts = parts_of(&all, 3);
    nothing(&parts[..2]);
    nothing(&parts[1..]);
    nothing(&[parts[0].clone(), parts[2].clone()]);
    let mut gap = parts.clone();
    gap[2].0.previous -= 1;
    nothing(&gap);
    let mut between = parts.clone();
    between[1].1 = Change::UpdateMailbox(MailboxProperties::default());
    between[1].0.mailbox = 1;
    let fold = fold_of(&between);
    assert!(fold.name.starts_with("0707"));
    let mut others = parts.clone();
    if let Change::Base(base) = &mut others[1].1 {
        base.parts = 4;
    }
    nothing(&others);
    // One that was begun and then written again is the later one.
    let mut again = parts[..2].to_vec();
    let mut later = all.clone();
    later.last_record = parts[1].0.number;
    again.extend(parts_of(&later, 2));
    let mut fold = fold_of(&again);
    assert_eq!(std::mem::take(&mut fold.chain_breaks), 1);
    assert_eq!(state(&fold), state(&all));
}
