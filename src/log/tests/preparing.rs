//! Goal: the next segment is filled with zeroes before it is needed, and when that costs nobody anything; one that is not
//! grows ahead of what it gets.

use std::time::{Duration, Instant};

use super::{Opened, Scribe, Sim, open, options};
use crate::log::segment_name;
use crate::log::spare::{BULK, PIECE, SPARE};
use crate::options::Durability;

/// Long enough for a thread to do something on any machine.
const LONG: Duration = Duration::from_secs(60);

/// Length of a full segment.
const SEGMENT: u64 = 4 << 20;

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
        .segment_len(SEGMENT);
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
    let is_whole = || {
        let writer = opened.log.shared.writer.lock();
        let pace = writer.active.as_ref().unwrap().pace;
        pace.is_some_and(|pace| opened.log.shared.work.zeroes() == pace.len)
    };
    while !is_whole() {
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

/// While commits go on zeroes are written in step with them, a piece at a time, and all are there in time.
#[test]
fn a_segment_is_filled_in_step() {
    let sim = Sim::new();
    let mut scribe = Scribe::new(7);
    // Without threads whoever commits does what is to be done.
    let options = options(0).prepare(true).segment_len(12 * PIECE);
    let opened = open(&sim, options, None).unwrap();
    let work = &opened.log.shared.work;
    let (mut ended_whole, mut begun_whole) = (0, 0);
    let mut before = (0, 0);
    while begun_whole < 2 {
        scribe.write(&opened.log, Durability::Durable, 40 << 10);
        let writer = opened.log.shared.writer.lock();
        let active = writer.active.as_ref().unwrap();
        let (number, end) = (active.segment.number(), active.end);
        let zeroes = work.zeroes();
        if number != before.0 {
            assert_eq!(zeroes, 0, "all that was prepared is used");
            let whole = before.1 > PIECE && active.file.len().unwrap() == before.1;
            begun_whole += u64::from(whole);
            assert_eq!(begun_whole, ended_whole);
        } else if let Some(pace) = active.pace {
            let left = (active.capacity - pace.from) * 3 / 4;
            let share = (end - pace.from) as f64 / left as f64;
            let due = (pace.len as f64 * share) as u64;
            assert!(
                zeroes >= due.min(pace.len).saturating_sub(PIECE),
                "{zeroes} of {due}"
            );
            assert!(zeroes <= due + 2 * PIECE, "{zeroes} of {due}");
            let done = zeroes == pace.len && pace.len > PIECE;
            ended_whole += u64::from(done && before.1 != zeroes);
        } else {
            assert_eq!(zeroes, 0, "before the half");
        }
        before = (number, zeroes);
    }
    drop(scribe);
    opened.log.close().unwrap();
    assert!(spares(&sim).is_empty());
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

/// The end of the log, and the length of the file that it is in.
fn reach(opened: &Opened) -> (u64, u64) {
    let writer = opened.log.shared.writer.lock();
    let active = writer.active.as_ref().unwrap();
    (active.end, active.file.len().unwrap())
}

/// A segment that was not prepared becomes longer for many small durable batches at once, and zeroes are never most of it;
/// nobody else pays for that: not large batches, nor the first small one behind them, nor what is only written.
#[test]
fn a_segment_grows_ahead_of_small_batches() {
    let sim = Sim::new();
    let mut scribe = Scribe::new(3);
    let plain = || options(0).segment_len(SEGMENT);
    let opened = open(&sim, plain().prepare(true), None).unwrap();
    scribe.write(&opened.log, Durability::Durable, 300);
    let (mut times, mut before) = (0, 0);
    // As far as nothing of the first segment is full.
    while reach(&opened).0 < 900 << 10 {
        scribe.write(&opened.log, Durability::Durable, 6 << 10);
        let (end, len) = reach(&opened);
        let zeroes = len - end;
        assert!(zeroes <= end.min(PIECE) + 4096, "{zeroes} behind {end}");
        times += u64::from(len != before);
        before = len;
    }
    assert!((6..16).contains(&times), "became longer {times} times");
    for (durability, most) in [(Durability::Durable, 2 * BULK), (Durability::Written, 300)] {
        let grown = || {
            let (end, len) = reach(&opened);
            end == len
        };
        let tries = (0..1000).take_while(|_| {
            scribe.write(&opened.log, durability, most);
            !grown()
        });
        assert!(tries.count() < 1000, "{durability:?}: zeroes for nothing");
        scribe.write(&opened.log, Durability::Durable, 300);
        assert!(grown(), "the first small one");
        scribe.write(&opened.log, Durability::Durable, 300);
        assert!(!grown(), "the second one");
    }
    opened.log.close().unwrap();
    let again = open(&sim, plain().replay_all(true), None).unwrap();
    assert_eq!(again.seen.records.len(), scribe.written.len());

    let sim = Sim::new();
    let unprepared = open(&sim, plain().prepare(false), None).unwrap();
    for _ in 0..20 {
        scribe.write(&unprepared.log, Durability::Durable, 300);
        let (end, len) = reach(&unprepared);
        assert_eq!(end, len, "not asked for");
    }
}

/// A disk that has room for batches and not for zeroes takes the batches, and gets the zeroes back.
#[test]
fn zeroes_that_have_no_room_cost_no_batch() {
    let sim = Sim::new();
    let mut scribe = Scribe::new(4);
    let opened = open(&sim, options(0).prepare(true).segment_len(SEGMENT), None).unwrap();
    let room = || {
        let (end, len) = reach(&opened);
        len - end
    };
    scribe.write(&opened.log, Durability::Durable, 300);
    while reach(&opened).0 < 100 << 10 || room() > 4 << 10 {
        scribe.write(&opened.log, Durability::Durable, 300);
    }
    let (_, before) = reach(&opened);
    let files: usize = sim.files().values().map(Vec::len).sum();
    sim.set_space(Some(files + (12 << 10)));
    while reach(&opened).1 == before {
        scribe.write(&opened.log, Durability::Durable, 300);
    }
    assert_eq!(room(), 0, "cut to what it was");
    sim.set_space(None);
    for _ in 0..20 {
        scribe.write(&opened.log, Durability::Durable, 300);
        assert_eq!(room(), 0, "tried once");
    }
    opened.log.close().unwrap();
    let again = open(&sim, options(1).replay_all(true), None).unwrap();
    assert_eq!(again.seen.records.len(), scribe.written.len());
}

/// A segment whose torn tail was cut off has nothing ahead: it gets zeroes again.
#[test]
fn a_segment_that_was_cut_grows_ahead_again() {
    let sim = Sim::new();
    let mut scribe = Scribe::new(5);
    let opened = open(&sim, options(0).segment_len(SEGMENT), None).unwrap();
    scribe.write(&opened.log, Durability::Durable, 300);
    scribe.write(&opened.log, Durability::Written, 100 << 10);
    let mut kept = 0;
    let left = sim.crash(sim.ops_len(), &mut |_| {
        kept += 1;
        kept % 2 == 0
    });
    let again = open(&left, options(1).prepare(true).segment_len(SEGMENT), None).unwrap();
    assert!(again.report.cut.is_some(), "{}", again.report);
    for _ in 0..2 {
        scribe.write(&again.log, Durability::Durable, 300);
    }
    let (end, len) = reach(&again);
    assert!(len > end, "{len} of {end}");
}

/// Without threads of the store's those that commit fill the spare: one at a time, and none is left behind.
#[test]
fn many_that_commit_fill_one_spare() {
    let sim = Sim::new();
    let options = options(0).prepare(true).segment_len(SEGMENT);
    let Opened { log, .. } = open(&sim, options, None).unwrap();
    let storage = sim.storage();
    let names = || {
        let all = storage.list("log").unwrap().into_iter();
        all.filter(|file| format!("log/{}", file.name).starts_with(SPARE))
            .count()
    };
    let most = std::thread::scope(|scope| {
        let commit = |seed| {
            let (log, names) = (&log, &names);
            move || {
                let mut scribe = Scribe::new(seed);
                let most = (0..150).map(|_| {
                    scribe.write(log, Durability::Durable, 10 << 10);
                    names()
                });
                most.max()
            }
        };
        let threads: Vec<_> = (0..4).map(|seed| scope.spawn(commit(seed))).collect();
        let joined = threads.into_iter().map(|thread| thread.join().unwrap());
        joined.max().flatten()
    });
    assert_eq!(most, Some(1));
    log.close().unwrap();
    assert_eq!(names(), 0, "none of a closed store");
}

/// Nor one that a thread was filling when the store was closed.
#[test]
fn closing_ends_the_filling() {
    let sim = Sim::new();
    let opened = open(&sim, options(0).prepare(true), None).unwrap();
    std::thread::scope(|scope| {
        let filling = scope.spawn(|| while opened.log.shared.fill_to(16 * SEGMENT) {});
        while spares(&sim).is_empty() {
            std::thread::yield_now();
        }
        opened.log.close().unwrap();
        filling.join().unwrap();
    });
    assert!(spares(&sim).is_empty());
}
