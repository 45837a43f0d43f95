//! A new segment is listed by two small files. A write to one of them that fails may still have reached the disk.

use std::io;

use mailkeep::{Delivery, Digest, Options, Store};

use crate::kit::{message, open, options, state};
use crate::sim::{Call, Fault, Sim, WriteFails};

const ERRORS: [fn() -> io::Error; 2] = [
    || io::Error::from_raw_os_error(5),
    || io::Error::from_raw_os_error(28),
];

fn small(run: u64) -> Options {
    options(run).segment_len(64 << 10).tail_max(1 << 20)
}

fn deliver(store: &Store, seed: u64, len: usize) -> mailkeep::Result<()> {
    let inbox = store.account("anna")?.inbox()?;
    let kept = store.deliver(message(seed, len), [Delivery::to(&inbox)])?;
    kept.wait()?.remove(0).map(drop)
}

/// A message comes for which another segment is needed, and write `after` from there on fails with half of it written; then
/// small ones. What was shown when the power goes, and whether the write was made at all.
fn hurt(after: usize, error: fn() -> io::Error) -> (Sim, Vec<(u32, Digest)>, bool) {
    let sim = Sim::new();
    let store = open(&sim, small(0)).unwrap();
    store.create_account("anna").unwrap();
    for seed in 0..2 {
        deliver(&store, seed, 20_000).unwrap();
    }
    sim.set_fault(Some(Fault {
        error,
        write: WriteFails::Half,
        ..Fault::once(&[Call::Write], after)
    }));
    let _ = deliver(&store, 10, 30_000);
    for seed in 11..14 {
        let _ = deliver(&store, seed, 300);
    }
    let hit = sim.fault_hits() > 0;
    sim.set_fault(None);
    deliver(&store, 14, 300).unwrap();
    let shown = bodies(&store);
    let crashed = Sim::from_image(sim.crash_point(sim.ops_len()).image(&mut |_| true));
    (crashed, shown, hit)
}

/// UIDs and messages.
fn bodies(store: &Store) -> Vec<(u32, Digest)> {
    let view = store.account("anna").unwrap().inbox().unwrap().view();
    let view = view.unwrap();
    let rows = view.iter().map(|row| {
        let bytes = view.message(row.uid).unwrap().bytes().unwrap();
        (row.uid.get(), Digest::of(&bytes))
    });
    rows.collect()
}

/// Goal: whichever write around the begin of a segment fails, what is acknowledged behind it is there after a power cut, and
/// nothing is reported.
/// Fails when: a batch goes into the segment before one that the disk may list: its records are looked for in the later one.
#[test]
fn a_segment_that_could_not_be_listed_may_be_there() {
    let mut runs = 0;
    for error in ERRORS {
        for after in 0.. {
            let (sim, shown, hit) = hurt(after, error);
            let store = open(&sim, small(1)).unwrap();
            let found = bodies(&store);
            assert_eq!(found, shown, "write {after}, {}", error());
            deliver(&store, 15, 300).unwrap();
            let shown = state(&store);
            store.close().unwrap();
            assert_eq!(state(&open(&sim, small(2)).unwrap()), shown);
            runs += 1;
            if !hit {
                break;
            }
        }
    }
    println!("{runs} writes failed");
    assert!(runs > 2 * 6);
}
