//! A sync fails, and the process is killed or stops for it. The system takes the pages for clean: it shows them to the next
//! process, syncs nothing, and the medium does not have them. What that process shows must not vanish in a power cut.

use mailkeep::Store;

use crate::kit::{assert_whole, deliver, open, options, state};
use crate::sim::{Call, Fault, Op, Sim};

/// Where the `nth` sync from here on fails; the changes recorded until then. `None` when there are not so many.
fn until_a_failed_sync(sim: &Sim, store: &Store, nth: usize) -> Option<usize> {
    sim.set_fault(Some(Fault::once(&[Call::Sync], nth)));
    for seed in 10..14 {
        // What fails goes to another segment; nothing is asked of these but that they sync.
        let _ = deliver(store, seed, [300, 5_000][seed as usize % 2]);
    }
    let failed = |op: &Op| matches!(op, Op::SyncFailed { .. });
    sim.ops().iter().position(failed).map(|at| at + 1)
}

/// Goal: each sync in turn fails, the process is killed right then, the next one opens the store and shows what it found,
/// delivers some more or nothing; the power goes. All that was shown is there, and nothing is reported as lost.
#[test]
fn what_is_shown_after_a_failed_sync_and_a_restart_is_durable() {
    let mut tried = 0;
    for nth in 0.. {
        let sim = Sim::new();
        let store = open(&sim, options(0)).unwrap();
        for seed in 0..3 {
            deliver(&store, seed, 700).unwrap();
        }
        let before = state(&store);
        let Some(at) = until_a_failed_sync(&sim, &store, nth) else {
            break;
        };
        for more in [0, 1, 5] {
            let what = format!("sync {nth} failed, {more} deliveries after it");
            let killed = sim.killed(at);
            let store = open(&killed, options(1)).unwrap();
            assert!(store.recovery().is_whole(), "{what}: {}", store.recovery());
            assert!(state(&store).len() >= before.len(), "{what}");
            for seed in 0..more {
                deliver(&store, 100 + seed, 600).unwrap();
            }
            let shown = state(&store);
            let cut = killed.crash(killed.ops_len(), &mut |_| false);
            drop(store);
            let store = open(&cut, options(2)).unwrap();
            assert!(store.recovery().is_whole(), "{what}: {}", store.recovery());
            assert_eq!(state(&store), shown, "{what}");
            assert_whole(&store);
            tried += 1;
        }
    }
    println!("{tried} restarts");
    assert!(tried >= 12);
}
