//! A sync fails, and the process is killed or stops for it. The system takes the pages for clean: it shows them to the next
//! process, syncs nothing, and the medium does not have them. What that process shows must not vanish in a power cut.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use mailkeep::Store;

use crate::kit::{assert_whole, deliver, open, options, state};
use crate::seam::Seam;
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

/// Goal: a file system goes down while it syncs: the sync says Ok, and whatever comes after it fails. What was written then is
/// not acknowledged on that word: it goes to another segment, and is there after a power cut.
/// Fails when: TAIL, which is a hint, fails unheard.
#[test]
fn a_sync_is_asked_again_where_the_next_write_fails() {
    const WELL: u32 = 0;
    const SYNCED: u32 = 1;
    const DOWN: u32 = 2;
    const OVER: u32 = 3;
    let sim = Sim::new();
    let stage = Arc::new(AtomicU32::new(OVER));
    let now = Arc::clone(&stage);
    let seam = Seam::over(sim.storage(), move |call, file| {
        let next = match (now.load(Ordering::SeqCst), call) {
            (WELL, Call::Sync) if file.starts_with("log/") => SYNCED,
            (SYNCED, Call::Write) if file == "TAIL" => DOWN,
            (DOWN, Call::Sync) if file.starts_with("log/") => OVER,
            _ => return Ok(()),
        };
        now.store(next, Ordering::SeqCst);
        match next {
            SYNCED => Ok(()),
            _ => Err(io::Error::from_raw_os_error(5)),
        }
    });
    let store = Store::open_on(seam, options(0)).unwrap();
    deliver(&store, 1, 300).unwrap();
    let segments = store.stat().segments;
    stage.store(WELL, Ordering::SeqCst);
    deliver(&store, 2, 300).unwrap();
    assert_eq!(stage.load(Ordering::SeqCst), OVER, "it was not asked");
    assert_eq!(store.stat().segments, segments + 1);
    let shown = state(&store);
    let cut = sim.crash(sim.ops_len(), &mut |_| false);
    let again = open(&cut, options(1)).unwrap();
    assert!(again.recovery().is_whole(), "{}", again.recovery());
    assert_eq!(state(&again), shown);
}
