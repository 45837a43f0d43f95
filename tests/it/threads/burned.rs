//! Numbers of a batch that failed are given to nobody, also when the process dies right after.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mailkeep::{Error, Store};

use crate::kit::{assert_whole, deliver, open, options, state};
use crate::seam::Seam;
use crate::sim::{Call, Sim};

/// Goal: a commit fails, the next one makes a segment that begins behind the failed one's numbers, and the process dies
/// before anything is in it. What the next process puts there is found.
#[test]
fn a_segment_that_begins_behind_burned_numbers_is_filled_from_there() {
    let (sim, full) = (Sim::new(), Arc::new(AtomicBool::new(false)));
    let is_full = Arc::clone(&full);
    let disk = Seam::over(sim.storage(), move |call, name| {
        if call == Call::Write && name.starts_with("log/") && is_full.load(Ordering::SeqCst) {
            return Err(io::Error::from_raw_os_error(28));
        }
        Ok(())
    });
    let store = Store::open_on(disk, options(1)).unwrap();
    deliver(&store, 1, 500).unwrap();
    full.store(true, Ordering::SeqCst);
    for seed in 2..5 {
        let failed = deliver(&store, seed, 500);
        assert!(matches!(failed, Err(Error::NoSpace { .. })), "{failed:?}");
    }
    full.store(false, Ordering::SeqCst);
    let from = sim.ops_len();
    deliver(&store, 5, 500).unwrap();
    for at in from..=sim.ops_len() {
        let point = sim.crash_point(at);
        let keep = |all: bool| point.state(&mut |_| all);
        for disk in [sim.killed(at), keep(true), keep(false)] {
            let store = open(&disk, options(2)).unwrap();
            assert!(store.recovery().is_whole(), "{}", store.recovery());
            for seed in 10..14 {
                deliver(&store, seed, 500).unwrap();
            }
            let shown = state(&store);
            assert!(!shown.contains("unreadable"), "at {at}: {shown}");
            store.close().unwrap();
            let store = open(&disk, options(3)).unwrap();
            assert_eq!(state(&store), shown, "at {at}");
            assert_whole(&store);
        }
    }
}
