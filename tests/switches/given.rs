//! Goal: what the disk does not give now is not taken for gone, neither by a delivery by name nor by what is saved.

use mailkeep::{Accepted, Delivery, Recipient, Store};

use crate::kit::{message, open, options, tried};
use crate::sim::{SECTOR, Sim};

fn send(store: &Store, mailbox: &str, seed: u64, len: usize) {
    let mailbox = store.account("anna").unwrap().mailbox(mailbox).unwrap();
    let kept = store.deliver(message(seed, len), [Delivery::to(&mailbox)]);
    kept.unwrap().wait().unwrap().remove(0).unwrap();
}

fn by_name(store: &Store, mailbox: &str, seed: u64) -> Accepted {
    let to = [Recipient::new("anna", mailbox)];
    let kept = store.deliver_to(message(seed, 300), to).unwrap();
    kept.wait().unwrap().remove(0).unwrap()
}

fn len(store: &Store, mailbox: &str) -> usize {
    let mailbox = store.account("anna").unwrap().mailbox(mailbox).unwrap();
    mailbox.view().unwrap().len()
}

/// An account of which part cannot be read is served, and its mailbox that nothing tells of is there when the disk gives
/// its data again: no image was made without it, and what was sent to it did not go elsewhere.
#[test]
fn a_mailbox_that_could_not_be_read_is_there_later() {
    let sim = Sim::new();
    let store = open(&sim, options(0)).unwrap();
    store.create_account("anna").unwrap();
    (0..12).for_each(|seed| send(&store, "INBOX", seed, 9_000));
    store
        .account("anna")
        .unwrap()
        .create_mailbox("Lists")
        .unwrap();
    send(&store, "Lists", 20, 300);
    (30..50).for_each(|seed| send(&store, "INBOX", seed, 9_000));
    store.close().unwrap();
    // All that is known of the mailbox.
    let files = sim.files();
    for (name, content) in &files {
        if name.starts_with("index/") {
            sim.lose(name);
        } else if name.ends_with(".seg") {
            let found = content.windows(5).position(|bytes| bytes == b"Lists");
            if let Some(at) = found {
                let from = at / SECTOR * SECTOR;
                sim.fail_reads(name, from..from + SECTOR);
            }
        }
    }
    let store = open(&sim, tried(1)).unwrap();
    assert_eq!(len(&store, "INBOX"), 32);
    for seed in 100..104 {
        let kept = by_name(&store, "Lists", seed);
        assert!(matches!(kept, Accepted::Deferred(_)), "{kept:?}");
        send(&store, "INBOX", 200 + seed, 300);
    }
    store.close().unwrap();
    sim.heal_reads();
    for run in 2..4 {
        let store = open(&sim, tried(run)).unwrap();
        assert_eq!((len(&store, "INBOX"), len(&store, "Lists")), (36, 5));
        assert_eq!(store.health().deferred, 0);
        store.close().unwrap();
    }
}
