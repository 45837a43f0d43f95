//! All that a log had of an INBOX is damaged, and its account is not: mail goes on.

use mailkeep::format::change::Change;
use mailkeep::{Accepted, Delivery, Options, Recipient, Store, UidValidity};

use super::Files;
use super::oracle::{Oracle, Unit};
use crate::kit::{message, open, options, state};
use crate::sim::Sim;

/// No images: they would have the mail.
fn made(run: u64) -> Options {
    options(run).tail_max(64 << 10).chain_max(1000)
}

/// A store of two accounts, whose INBOXes have mail, and their UIDVALIDITYs.
fn closed() -> (Files, [UidValidity; 2]) {
    let sim = Sim::new();
    let store = open(&sim, made(0)).unwrap();
    let validities = ["anna", "bruno"].map(|name| {
        let account = store.create_account(name).unwrap();
        let lists = account.create_mailbox("Lists").unwrap();
        let inbox = account.inbox().unwrap();
        for (seed, mailbox) in (0..).zip([&inbox, &lists, &inbox]) {
            let kept = store.deliver(message(seed, 300), [Delivery::to(mailbox)]);
            kept.unwrap().wait().unwrap().remove(0).unwrap();
        }
        inbox.status().unwrap().uid_validity
    });
    store.account("bruno").unwrap().rename("berta").unwrap();
    store.close().unwrap();
    (sim.files(), validities)
}

/// A bit flips in each record of an INBOX: of its creation, and of all mail there.
fn harm(files: &mut Files) {
    let oracle = Oracle::read(files);
    let of_inbox = |number: u64| match oracle.change(number) {
        Some(Change::CreateMailbox(create)) => create.name == "INBOX",
        Some(Change::Deliver(_)) => oracle
            .mail
            .iter()
            .any(|(key, entry)| entry.record == number && key.1 == 1),
        _ => false,
    };
    let mut hits = 0;
    for piece in &oracle.pieces {
        if let Unit::Record(number) = piece.unit
            && of_inbox(number)
        {
            files.get_mut(&piece.file).unwrap()[piece.range.start + 30] ^= 4;
            hits += 1;
        }
    }
    assert_eq!(hits, 6, "a creation and two messages for each account");
}

fn send(store: &Store, seed: u64, name: &str) -> Option<u32> {
    let to = [Recipient::new(name, "INBOX")];
    let kept = store.deliver_to(message(seed, 200), to).unwrap();
    match kept.wait().unwrap().remove(0) {
        Ok(Accepted::Delivered(delivered)) => Some(delivered.uid.get()),
        other => panic!("{name}: {other:?}"),
    }
}

/// Goal: an account of whose INBOX no record can be read has an INBOX: mail gets a UID there and does not wait for ever, and
/// no UID of the lost one is another message's, whether or not the index still knows it.
#[test]
fn an_account_without_its_inbox_gets_one() {
    let (files, validities) = closed();
    for indexed in [true, false] {
        let mut files = files.clone();
        harm(&mut files);
        if !indexed {
            files.retain(|name, _| !name.starts_with("index/"));
        }
        let sim = Sim::from_files(files);
        let mut uids = Vec::new();
        for run in 1..4 {
            let store = open(&sim, made(run)).unwrap();
            for (name, lost) in ["anna", "berta"].into_iter().zip(validities) {
                uids.extend(send(&store, 10 * run, name));
                let account = store.account(name).unwrap();
                let inbox = account.inbox().unwrap();
                let is = inbox.status().unwrap();
                let uid = is.uid_next.unwrap().get() - 1;
                assert!(
                    is.uid_validity > lost || (is.uid_validity == lost && uid > 2),
                    "{is:?}"
                );
                assert_eq!(inbox.view().unwrap().len() as u64, run, "{name}, {indexed}");
                assert_eq!(account.mailbox("Lists").unwrap().view().unwrap().len(), 1);
            }
            assert_eq!(store.health().deferred, 0);
            let shown = state(&store);
            store.close().unwrap();
            let store = open(&sim, made(run + 10).read_only(true)).unwrap();
            assert_eq!(state(&store), shown, "{indexed}");
        }
        assert!(
            uids.chunks(2)
                .is_sorted_by(|a, b| a[0] < b[0] && a[1] < b[1]),
            "{uids:?}"
        );
    }
}
