//! A delivery that was put off: its record, its body, and the entry that it becomes.

use super::*;
use crate::Options;
use crate::format::StoreId;
use crate::format::change::Deferred;
use crate::log::NewRecord;
use crate::mail::{NameKey, Uid};

/// Writes a deferred delivery as the writer of one does; returns it with its number.
fn defer(store: &Store, message: &[u8]) -> (u64, Deferred) {
    defer_for(store, "anna", message)
}

/// The same for any account name, filed under the key of "anna": as if the two names shared it.
fn defer_for(store: &Store, account: &str, message: &[u8]) -> (u64, Deferred) {
    let inner = &store.inner;
    let mut prepared = Prepared::new(message.into(), inner).unwrap();
    let StoreId(id) = store.id();
    let filed = NameKey::new(&id, "anna").deferred();
    prepared.write_if_large(inner, &[filed]).unwrap();
    let arrival = prepared.arrival.clone();
    let deferred = Deferred {
        account: account.into(),
        mailbox: "INBOX".into(),
        flags: Flags::SEEN,
        keywords: vec![Keyword::new("work").unwrap()],
        internal_date: InternalDate::new(1_700_000_000, 60).unwrap(),
        save_date: 1_700_000_001,
        raw_len: arrival.raw_len,
        shape: arrival.shape,
        digest: arrival.digest,
        body: arrival.body,
        summary: arrival.summary,
    };
    let mut change = Change::Deferred(Box::new(deferred));
    let body = prepared.body(&[filed], 0, 0);
    let here = matches!(arrival.body, BodyAt::Here(_)).then_some(&body);
    let joined = inner.log.join(Durability::Durable, &[], |group| {
        let new = NewRecord {
            account: filed,
            mailbox: 0,
            modseq: 0,
            previous: 0,
            change: &mut change,
        };
        let number = group.push(new, here);
        inner.index.note_deferred(filed, number, group.batch());
        number
    });
    let (batch, number) = joined.unwrap().unwrap();
    inner.log.commit(batch, ()).wait().unwrap();
    match inner.log.record(number).unwrap().1 {
        Change::Deferred(deferred) => (number, *deferred),
        _ => unreachable!(),
    }
}

/// Goal: an assigned delivery is an entry like any other, with the deferred record's body, also after an opening and
/// where the body has a segment of its own; until then it is none.
#[test]
fn deferred_deliveries_become_entries() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mail");
    let store = Store::open(&path, Options::default()).unwrap();
    store.create_account("anna").unwrap();
    let small = b"Subject: small\n\nbody\n".to_vec();
    let large = [b"Subject: large\n\n".to_vec(), vec![b'x'; 2 << 20]].concat();
    let deferred = [defer(&store, &small), defer(&store, &large)];
    assert!(matches!(deferred[0].1.body, BodyAt::Here(_)));
    assert!(matches!(deferred[1].1.body, BodyAt::Segment(_)));
    store.close().unwrap();

    let store = Store::open(&path, Options::default()).unwrap();
    assert!(store.recovery().is_whole());
    let check = |store: &Store| {
        let account = store.account("anna").unwrap();
        assert_eq!(account.fold().unwrap().assigned, deferred[1].0);
        let view = account.inbox().unwrap().view().unwrap();
        for (row, raw) in view.iter().zip([&small, &large]) {
            assert_eq!((row.flags, row.save_date), (Flags::SEEN, 1_700_000_001));
            assert_eq!(row.keywords.len(), 1);
            let message = view.message(row.uid).unwrap();
            assert_eq!(&message.bytes().unwrap(), raw);
            assert_eq!(message.digest().unwrap(), Digest::of(raw));
            message.check().unwrap();
        }
        assert_eq!(view.uids().len(), 2);
        assert!(view.message(Uid::MIN).is_ok());
        let counts = store.count(&mut |_| std::ops::ControlFlow::Continue(()));
        assert_eq!(
            counts.unwrap().live_bytes,
            (small.len() + large.len()) as u64
        );
        account.receipt().unwrap()
    };
    let before = check(&store);
    store.close().unwrap();
    let store = Store::open(&path, Options::default()).unwrap();
    assert!(store.recovery().is_whole());
    assert_eq!(check(&store), before);
    let report = store.verify(&mut |_| std::ops::ControlFlow::Continue(()));
    assert!(report.unwrap().is_whole());
}

/// Goal: of two names that share a key each account gets what was deferred for its own, and the other's waits on, also
/// when the store is opened again.
#[test]
fn a_name_that_shares_the_key_keeps_its_mail() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mail");
    let store = Store::open(&path, Options::default()).unwrap();
    store.create_account("anna").unwrap();
    let texts: [&[u8]; 3] = [b"Subject: 1\n\n", b"Subject: 2\n\n", b"Subject: 3\n\n"];
    for (name, text) in ["anna", "other", "anna"].into_iter().zip(texts) {
        defer_for(&store, name, text);
    }
    assert_eq!(store.health().deferred, 3);
    let check = |store: &Store| {
        let view = store
            .account("anna")
            .unwrap()
            .inbox()
            .unwrap()
            .view()
            .unwrap();
        let bytes = |uid| view.message(uid).unwrap().bytes().unwrap();
        let found: Vec<_> = view.uids().iter().map(bytes).collect();
        assert_eq!(found, [texts[0], texts[2]]);
        assert_eq!(store.health().deferred, 1);
    };
    check(&store);
    check(&store);
    store.close().unwrap();
    for _ in 0..2 {
        let store = Store::open(&path, Options::default()).unwrap();
        check(&store);
        store.close().unwrap();
    }
}
