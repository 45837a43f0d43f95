//! What a client is told that comes back (QRESYNC), and receipts of what a store holds.

use std::ops::ControlFlow;
use std::sync::Arc;

use mailkeep::mail::NameKey;
use mailkeep::{
    Account, Delivery, FlagChange, Flags, InternalDate, Keyword, Mailbox, MailboxProperties,
    ModSeq, Options, Receipt, SpecialUse, Store, Uid, UidSet,
};

use crate::sim::{Sim, SimHost};

const NOON: i64 = 1_700_000_000_000;

fn open(sim: &Sim, opening: u64, options: Options) -> Store {
    let host = Arc::new(SimHost::new(
        NOON + i64::try_from(opening).unwrap(),
        opening << 32,
    ));
    Store::open_on(sim.storage(), options.background(false).host(host)).unwrap()
}

fn anna(store: &Store) -> Account {
    store
        .account("anna")
        .or_else(|_| store.create_account("anna"))
        .unwrap()
}

fn append(mailbox: &Mailbox, count: u32) {
    for number in 0..count {
        let text = format!("Subject: {number}\r\n\r\n");
        let date = InternalDate::new(i64::from(number), 60).unwrap();
        let delivery = Delivery::to(mailbox).internal_date(date);
        mailbox
            .append(text.as_bytes(), delivery)
            .unwrap()
            .wait()
            .unwrap();
    }
}

fn uids(text: &str) -> UidSet {
    UidSet::parse(text, None).unwrap()
}

fn destroy(mailbox: &Mailbox, text: &str) {
    mailbox.destroy(&uids(text)).unwrap().wait().unwrap();
}

fn highest(mailbox: &Mailbox) -> ModSeq {
    mailbox.status().unwrap().highest_modseq
}

/// Changed and vanished UIDs, and whether that is all.
fn since(mailbox: &Mailbox, modseq: ModSeq) -> (String, String, bool) {
    let changes = mailbox.changes_since(modseq).unwrap();
    assert_eq!(changes.highest_modseq, highest(mailbox));
    let (changed, vanished) = (changes.changed, changes.vanished);
    (changed.to_string(), vanished.to_string(), changes.complete)
}

fn told(changed: &str, vanished: &str, complete: bool) -> (String, String, bool) {
    (changed.into(), vanished.into(), complete)
}

/// RFC 7162 3.2.10: who was here at a MODSEQ is told what changed and what vanished since, and no more; also after the
/// store was opened again.
#[test]
fn changes_since_a_modseq_are_told() {
    let sim = Sim::new();
    let store = open(&sim, 1, Options::new());
    let account = anna(&store);
    let (inbox, archive) = (
        account.inbox().unwrap(),
        account.create_mailbox("Archive").unwrap(),
    );
    append(&inbox, 6);
    let start = highest(&inbox);
    assert_eq!(since(&inbox, start), told("", "", true));
    destroy(&inbox, "2:3");
    let later = highest(&inbox);
    destroy(&inbox, "6");
    append(&inbox, 1);
    let mark = FlagChange::add(Flags::SEEN);
    inbox.flag(&uids("4"), &mark, None).unwrap().wait().unwrap();
    inbox.move_to(&uids("5"), &archive).unwrap().wait().unwrap();
    let check = |inbox: &Mailbox, archive: &Mailbox| {
        assert_eq!(since(inbox, start), told("4,7", "2:3,5:6", true));
        assert_eq!(since(inbox, later), told("4,7", "5:6", true));
        assert_eq!(since(inbox, highest(inbox)), told("", "", true));
        assert_eq!(since(archive, ModSeq::MIN), told("1", "", true));
    };
    check(&inbox, &archive);
    // A view tells what was, not what is.
    let view = inbox.view().unwrap();
    destroy(&inbox, "1");
    assert_eq!(view.changes_since(later).vanished, uids("5:6"));
    assert_eq!(since(&inbox, start).1, "1:3,5:6");
    // One that another mailbox gave is as good; one that was never given is of another history.
    append(&archive, 1);
    assert_eq!(since(&inbox, highest(&archive)), told("", "", true));
    let beyond = ModSeq::new(highest(&archive).get() + 1).unwrap();
    assert_eq!(since(&inbox, beyond), told("4,7", "1:3,5:6", false));
    store.close().unwrap();
    let store = open(&sim, 2, Options::new());
    let account = anna(&store);
    let inbox = account.inbox().unwrap();
    assert_eq!(since(&inbox, start), told("4,7", "1:3,5:6", true));
    // The name of a mailbox that is gone tells nothing, its id does.
    let archive = account.mailbox("Archive").unwrap().id();
    let before = highest(&inbox);
    account.delete_mailbox("Archive").unwrap();
    let gone = |modseq| account.mailboxes_destroyed_since(modseq).unwrap();
    assert_eq!(gone(before), Some(vec![archive]));
    append(&inbox, 1);
    assert_eq!(gone(highest(&inbox)), Some(vec![]));
}

/// RFC 7162 5: beyond what is remembered, everything absent counts as vanished, and that is said.
#[test]
fn forgotten_expunges_are_told_as_all_that_is_absent() {
    let store = open(&Sim::new(), 1, Options::new());
    let inbox = anna(&store).inbox().unwrap();
    let mut transaction = inbox.account().transaction();
    (0..8400).for_each(|_| transaction.append(b"x", Delivery::to(&inbox)).unwrap());
    transaction.commit().unwrap().wait().unwrap();
    let start = highest(&inbox);
    // Every other one: runs that do not join. 4,096 fit.
    let every_other = |from: u32, count: u32| -> UidSet {
        (0..count).filter_map(|n| Uid::new(from + 2 * n)).collect()
    };
    let first = every_other(1, 4096);
    inbox.destroy(&first).unwrap().wait().unwrap();
    assert_eq!(since(&inbox, start), told("", &first.to_string(), true));
    let second = highest(&inbox);
    destroy(&inbox, "8395");
    let (_, vanished, complete) = since(&inbox, start);
    assert_eq!(
        (vanished, complete),
        (first.union(&uids("8395")).to_string(), false)
    );
    assert_eq!(since(&inbox, second), told("", "8395", true));
}

/// A loss moves the truncation point: nobody is told that all is known over it.
#[test]
fn a_fence_ends_what_is_known() {
    let sim = Sim::new();
    let store = open(&sim, 1, Options::new());
    let account = anna(&store);
    let inbox = account.inbox().unwrap();
    append(&inbox, 3);
    destroy(&inbox, "1");
    let known = highest(&inbox);
    assert!(since(&inbox, known).2);
    let len = |sim: &Sim| {
        let log = sim.files()["log/0000000000000001.seg"].clone();
        let last = log.iter().rposition(|byte| *byte != 0);
        last.map_or(0, |last| last / 512 + 1)
    };
    let from = len(&sim);
    destroy(&inbox, "2");
    let to = len(&sim);
    append(&inbox, 1);
    store.close().unwrap();
    (from..to).for_each(|sector| sim.zero_sector("log/0000000000000001.seg", sector));
    let store = open(&sim, 2, Options::new().replay_all(true));
    assert!(!store.recovery().is_whole());
    let inbox = anna(&store).inbox().unwrap();
    let (changed, vanished, complete) = since(&inbox, known);
    assert!(!complete);
    assert_eq!(changed, "2:4", "each reports the MODSEQ of the fence");
    assert!(vanished.starts_with("1,5"), "{vanished}");
    let destroyed = anna(&store).mailboxes_destroyed_since(known);
    assert_eq!(destroyed.unwrap(), None);
    let now = highest(&inbox);
    destroy(&inbox, "2");
    assert_eq!(since(&inbox, now), told("", "2", true));
}

/// Mail of many shapes, the same each time.
fn fill(store: &Store) {
    let account = anna(store);
    let inbox = account.inbox().unwrap();
    append(&inbox, 20);
    let lists = account.create_mailbox("Lists/rust").unwrap();
    append(&lists, 3);
    let mark = FlagChange::add(Flags::SEEN).with(Keyword::new("work").unwrap());
    inbox
        .flag(&uids("3:7"), &mark, None)
        .unwrap()
        .wait()
        .unwrap();
    inbox.copy_to(&uids("4"), &lists).unwrap().wait().unwrap();
    destroy(&inbox, "9");
    account.subscribe("Lists/rust", true).unwrap();
    let properties = MailboxProperties {
        special_use: SpecialUse::SENT,
        ..MailboxProperties::default()
    };
    lists.set_properties(properties).unwrap();
}

fn receipts(store: &Store) -> (Receipt, Receipt, Receipt) {
    let account = anna(store);
    let of = |name: &str| account.mailbox(name).unwrap().receipt().unwrap();
    (account.receipt().unwrap(), of("INBOX"), of("Lists/rust"))
}

/// Equal mail has equal receipts: after an opening all three digests, in a store of another layout content and state.
#[test]
fn equal_mail_has_equal_receipts() {
    let sim = Sim::new();
    let store = open(&sim, 1, Options::new());
    fill(&store);
    let before = receipts(&store);
    assert_eq!(before, receipts(&store), "by what was kept");
    assert_eq!((before.0.messages, before.1.messages), (23, 19));
    store.close().unwrap();
    assert_eq!(receipts(&open(&sim, 2, Options::new())), before);

    let other = open(
        &Sim::new(),
        1,
        Options::new().segment_len(mailkeep::SEGMENT_LEN_MIN),
    );
    let ben = other.create_account("ben").unwrap();
    append(&ben.inbox().unwrap(), 5);
    // Other ids: a mailbox that came and went.
    anna(&other).create_mailbox("x").unwrap();
    anna(&other).delete_mailbox("x").unwrap();
    fill(&other);
    let others = receipts(&other);
    for (one, two) in [
        (before.0, others.0),
        (before.1, others.1),
        (before.2, others.2),
    ] {
        assert_eq!((one.content, one.state), (two.content, two.state));
        assert_ne!(one.exact, two.exact);
    }
    anna(&other).subscribe("Lists/rust", false).unwrap();
    assert_eq!(receipts(&other).0.content, before.0.content);
    assert_ne!(receipts(&other).0.state, before.0.state);
}

/// Verify recomputes receipts from the bytes of the messages, and finds them equal.
#[test]
fn verify_recomputes_receipts() {
    let store = open(&Sim::new(), 1, Options::new());
    fill(&store);
    let report = store.verify(&mut |_| ControlFlow::Continue(())).unwrap();
    assert!(report.is_whole() && report.bad_receipts.is_empty());
    assert_eq!(report.messages, 23);
    let report = store.verify(&mut |_| ControlFlow::Break(())).unwrap();
    assert!(report.stopped && report.is_whole());
}

/// A base changes nothing that can be seen, in the store that wrote it and in the one that reads it back.
#[test]
fn a_base_changes_nothing() {
    let sim = Sim::new();
    let store = open(&sim, 1, Options::new());
    fill(&store);
    let before = receipts(&store);
    let records = store.stat().records;
    anna(&store).write_base().unwrap();
    assert_eq!(store.stat().records, records + 1);
    assert_eq!(receipts(&store), before);
    let inbox = anna(&store).inbox().unwrap();
    append(&inbox, 1);
    let after = receipts(&store);
    store.close().unwrap();
    let store = open(&sim, 2, Options::new());
    assert!(store.recovery().is_whole());
    assert_eq!(receipts(&store), after);
    let anna = anna(&store);
    anna.clone().delete().unwrap();
    assert!(anna.write_base().is_err() && anna.receipt().is_err());
}

/// A renamed account is found under the key of its new name: a record says so, in the batch of the renaming.
#[test]
fn a_renamed_account_is_filed_under_its_new_name() {
    let sim = Sim::new();
    let store = open(&sim, 1, Options::new());
    let account = anna(&store);
    assert_eq!(
        NameKey::of_id(account.id()),
        NameKey::new(&store.id().0, "anna")
    );
    let written = || store.stat();
    let before = written();
    account.rename("anna.r").unwrap();
    let after = written();
    assert_eq!(
        (
            after.records - before.records,
            after.batches - before.batches
        ),
        (2, 1)
    );
    let alias = account.id().alias(NameKey::new(&store.id().0, "anna.r"));
    let log = sim.files()["log/0000000000000001.seg"].clone();
    let filed = log.windows(16).any(|bytes| bytes == alias.as_bytes());
    assert!(filed);
    // Back to the name that its id begins with: the renaming, and a UIDVALIDITY above those once given under the name.
    account.rename("anna").unwrap();
    assert_eq!(written().records - after.records, 2);
    append(&account.inbox().unwrap(), 1);
    account.rename("anna.x").unwrap();
    store.close().unwrap();
    let store = open(&sim, 2, Options::new());
    assert!(store.recovery().is_whole() && store.recovery().accounts_hit.is_empty());
    assert_eq!(store.accounts(None, 9).unwrap(), ["anna.x"]);
    let inbox = store.account("anna.x").unwrap().inbox().unwrap();
    assert_eq!(inbox.status().unwrap().counters.messages, 1);
}
