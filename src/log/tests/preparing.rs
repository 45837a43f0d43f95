//! Goal: the next segment is filled with zeroes before it is needed, and when that costs nobody anything.

use std::time::{Duration, Instant};

use super::{Opened, Scribe, Sim, open, options};
use crate::log::keeper::SPARE;
use crate::log::segment_name;
use crate::options::Durability;

/// Long enough for a thread to do something on any machine.
const LONG: Duration = Duration::from_secs(60);

/// Names of prepared files.
fn spares(sim: &Sim) -> Vec<String> {
    let names = sim.files().into_keys();
    names.filter(|name| name.starts_with(SPARE)).collect()
}

/// A log with threads whose active segment is more than half full of batches of up to `most` bytes of bodies.
fn half_full(sim: &Sim, scribe: &mut Scribe, durability: Durability, most: u64) -> Opened {
    let options = options(0)
        .prepare(true)
        .background(true)
        .segment_len(4 << 20);
    let opened = open(sim, options, None).unwrap();
    let is_half_full = || {
        let writer = opened.log.shared.writer.lock();
        writer.active.as_ref().unwrap().is_half_full()
    };
    scribe.write(&opened.log, durability, most);
    while !is_half_full() {
        scribe.write(&opened.log, durability, most);
    }
    opened
}

fn wait_for_spare(opened: &Opened) {
    let begun = Instant::now();
    while !opened.log.shared.work.has_spare() {
        assert!(begun.elapsed() < LONG, "no segment was prepared");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// While batches are small; and where they are large, as soon as nothing is committed. The next segment is made of it.
#[test]
fn a_segment_is_prepared_and_used() {
    for most in [200, 200 << 10] {
        let sim = Sim::new();
        let mut scribe = Scribe::new(most);
        let opened = half_full(&sim, &mut scribe, Durability::Durable, most);
        wait_for_spare(&opened);
        let active = || {
            let writer = opened.log.shared.writer.lock();
            let active = writer.active.as_ref().unwrap();
            (active.segment.number(), active.end)
        };
        let (before, _) = active();
        while active().0 == before {
            scribe.write(&opened.log, Durability::Durable, most);
        }
        let (number, end) = active();
        let file = sim.files().remove(&segment_name(number)).unwrap();
        let behind = &file[usize::try_from(end).unwrap()..];
        assert!(!behind.is_empty(), "begun as a file of zeroes, {most}");
        assert!(behind.iter().all(|byte| *byte == 0));
        opened.log.close().unwrap();
        assert!(spares(&sim).is_empty());
        let again = open(&sim, options(1).replay_all(true), None).unwrap();
        assert_eq!(again.seen.records.len(), scribe.written.len());
    }
}

/// What is only written gains nothing by it.
#[test]
fn none_is_prepared_for_what_is_not_synced() {
    let sim = Sim::new();
    let mut scribe = Scribe::new(1);
    let opened = half_full(&sim, &mut scribe, Durability::Written, 200 << 10);
    // Longer than the thread needs to see that nothing is committed.
    std::thread::sleep(Duration::from_millis(400));
    assert!(spares(&sim).is_empty());
    opened.log.close().unwrap();
}
