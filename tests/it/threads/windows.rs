//! Moments between two steps of saving the index, each made on purpose.

use std::sync::Arc;
use std::time::Duration;

use mailkeep::{Delivery, Durability, Options, Store};

use super::gate::{Gate, GatedHost, on};
use crate::kit::{message, open, options};
use crate::sim::{Op, Sim, SimHost};

fn deliver(store: &Store, account: &str, seed: u64, len: usize, how: Durability) -> u32 {
    let inbox = store.account(account).unwrap().inbox().unwrap();
    let to = [Delivery::to(&inbox)];
    let kept = store.deliver_with(message(seed, len), to, how).unwrap();
    kept.wait().unwrap().remove(0).unwrap().uid.get()
}

/// Goal: what the index saves of an account was durable before. Here a batch is written, and no more, while a checkpoint
/// is under way: after a power cut the account's row must not know of it, or the account's next records, which get the
/// lost ones' numbers, would be passed over as known, and their UIDs given again.
#[test]
fn a_checkpoint_saves_nothing_that_is_only_written() {
    let sim = Sim::new();
    let clock = Gate::of("gated");
    let host = GatedHost {
        host: SimHost::new(1_700_000_000_000, 1),
        gate: Arc::clone(&clock.gate),
    };
    let options: fn(u64) -> Options = |run| options(run).segment_len(1 << 20).tail_max(64 << 10);
    let store = Store::open_on(sim.storage(), options(1).host(Arc::new(host))).unwrap();
    for name in ["first", "anna", "other"] {
        store.create_account(name).unwrap();
    }
    let durable = Durability::Durable;
    // In this order the checkpoint comes to them.
    deliver(&store, "first", 1, 100, durable);
    let shown = deliver(&store, "anna", 2, 100, durable);
    deliver(&store, "other", 3, 70_000, durable);
    let mut before = 0;
    std::thread::scope(|scope| {
        let gated = on(scope, "gated", || {
            deliver(&store, "first", 4, 100, Durability::Written)
        });
        clock.await_arrival();
        // Saves the index as the tail is long, and waits for the account that the other thread has locked.
        let saver = on(scope, "saver", || {
            deliver(&store, "other", 5, 100, durable);
        });
        std::thread::sleep(Duration::from_millis(300));
        for seed in 10..15 {
            deliver(&store, "anna", seed, 100, Durability::Written);
        }
        before = sim.ops_len();
        clock.open();
        gated.join().unwrap();
        saver.join().unwrap();
    });
    // The power goes as soon as the new checkpoint counts.
    let ops = sim.ops();
    let saved = ops[before..].iter().position(|op| {
        let renamed = matches!(op, Op::Rename { to, .. } if to == "index/CHECKPOINT");
        renamed || matches!(op, Op::SyncDir { folder } if folder == "index")
    });
    assert!(saved.is_some(), "a checkpoint was written meanwhile");
    let named = |op: &Op| matches!(op, Op::SyncDir { folder } if folder == "index");
    let at = before + ops[before..].iter().rposition(named).unwrap() + 1;
    let disk = sim.crash(at, &mut |_| false);
    let store = open(&disk, options(2)).unwrap();
    let mut last = shown;
    for seed in 20..23 {
        let uid = deliver(&store, "anna", seed, 100, durable);
        assert!(uid > last, "{uid} was given before: {last}");
        last = uid;
    }
    store.close().unwrap();
    let store = open(&disk, options(3)).unwrap();
    let view = store.account("anna").unwrap().inbox().unwrap().view();
    let view = view.unwrap();
    assert!(view.uids().iter().any(|uid| uid.get() == last), "{last}");
    let uid = deliver(&store, "anna", 24, 100, durable);
    assert!(uid > last, "{uid} was given before: {last}");
}
