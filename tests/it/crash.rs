//! Power cuts and kills at every point of a workload, and again at every point of the recovery from them.
//!
//! The log is one line of batches, so what is found after a crash must be exactly what was shown after one of the
//! steps: none older than the last that was acknowledged as durable, none newer than the one under way. That one
//! comparison holds all of it: acknowledged mail is there and equal, the rest is whole or absent, no number goes down.
//!
//! `MAILKEEP_STATES` bounds the states of each test; `MAILKEEP_AT` replays one crash point, `MAILKEEP_SEED` another
//! choice of the samples.

use std::panic::{AssertUnwindSafe, catch_unwind};

use mailkeep::{Durability, Options, Store};

use crate::kit::{assert_whole, deliver, env, open, options, state, steps, tried};
use crate::sim::{Op, Sim};

/// What the store showed once `op` changes of the disk had been made.
struct Shown {
    op: usize,
    durable: bool,
    state: String,
}

/// How the stores of a test are opened.
#[derive(Clone, Copy)]
struct How {
    prepare: bool,
    /// Whether the index is saved at every turn: checkpoints, runs, merges and images lie between the writes of the log.
    tried: bool,
}

impl How {
    fn options(self, run: u64) -> Options {
        let options = if self.tried { tried } else { options };
        options(run).prepare(self.prepare)
    }
}

/// Runs the workload, closing and opening again after each of `reopen`.
fn workload(how: How, reopen: &[usize]) -> (Sim, Vec<Shown>) {
    let sim = Sim::new();
    let of = |run: usize| how.options(run as u64);
    let mut shown = vec![Shown {
        op: 0,
        durable: true,
        state: String::new(),
    }];
    let mut store = open(&sim, of(0)).unwrap();
    for (at, step) in steps().iter().enumerate() {
        (step.run)(&store, step.durability).unwrap();
        shown.push(Shown {
            op: sim.ops_len(),
            durable: step.durability == Durability::Durable,
            state: state(&store),
        });
        if reopen.contains(&at) {
            store.close().unwrap();
            store = open(&sim, of(at + 1)).unwrap();
            // Recovered is durable.
            let last = shown.last_mut().unwrap();
            (last.op, last.durable) = (sim.ops_len(), true);
        }
    }
    drop(store);
    (sim, shown)
}

/// How the UIDNEXTs and MODSEQs of a state may differ from those that were shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Numbers {
    Same,
    /// They may have skipped ahead: what gave some out was only written, and is lost.
    NotLess,
}

impl Numbers {
    fn of(store: &Store) -> Self {
        match store.recovery().unsynced {
            None => Self::Same,
            Some(_) => Self::NotLess,
        }
    }

    /// Whether `found` is the state `shown`.
    fn allow(self, shown: &str, found: &str) -> bool {
        let number = |word: &str| -> Option<u64> {
            let inner = word
                .strip_prefix("Some(Uid(")
                .or_else(|| word.strip_prefix("ModSeq("))?;
            inner.trim_end_matches(')').parse().ok()
        };
        let fits = |(shown, found): (&str, &str)| {
            let numbers = number(shown).zip(number(found));
            shown == found
                || self == Self::NotLess && numbers.is_some_and(|(shown, found)| found >= shown)
        };
        let (shown, found) = (shown.split([' ', '\n']), found.split([' ', '\n']));
        shown.clone().count() == found.clone().count() && shown.zip(found).all(fits)
    }
}

/// Which of the shown states this is; it must be between the last one acknowledged and the one under way.
fn which(shown: &[Shown], op: usize, written_counts: bool, found: &str, numbers: Numbers) -> usize {
    let under_way = shown.partition_point(|shown| shown.op <= op);
    let counts = |shown: &Shown| shown.durable || written_counts;
    let least = shown[..under_way].iter().rposition(counts).unwrap();
    let allowed = &shown[least..shown.len().min(under_way + 1)];
    let at = allowed
        .iter()
        .rposition(|shown| numbers.allow(&shown.state, found));
    least
        + at.unwrap_or_else(|| {
            let expected = &shown[least].state;
            panic!("a state that was never shown:\n{found}\nat least this was:\n{expected}")
        })
}

/// Opens what a crash left, holds it against what was shown, delivers once more, and looks at every byte.
fn recovers(how: How, disk: &Sim, shown: &[Shown], op: usize) -> (usize, Numbers) {
    let options = How {
        prepare: true,
        ..how
    }
    .options(100);
    let store = open(disk, options.clone()).unwrap();
    assert!(store.recovery().is_whole(), "{}", store.recovery());
    let numbers = Numbers::of(&store);
    let at = which(shown, op, false, &state(&store), numbers);
    // Shown now: no later crash may take it back.
    disk.note("shown");
    let store = if op.is_multiple_of(2) {
        // Opening and closing alone must not make up damage for the next one.
        store.close().unwrap();
        let store = open(disk, options.clone()).unwrap();
        assert!(store.recovery().is_whole(), "{}", store.recovery());
        store
    } else {
        store
    };
    deliver(&store, 1 << 40, 3_000).unwrap();
    disk.note("delivered");
    assert_whole(&store);
    let after = state(&store);
    store.close().unwrap();
    let store = open(disk, options.clone()).unwrap();
    assert!(store.recovery().clean && store.recovery().is_whole());
    assert_eq!(state(&store), after);
    (at, numbers)
}

/// The power goes again at some points of a recovery.
fn recovery_recovers(
    how: How,
    disk: &Sim,
    shown: &[Shown],
    op: usize,
    (at, numbers): (usize, Numbers),
    seed: u64,
) {
    let every = 5;
    let count = |what: &str, until: usize| disk.notes_before(until).iter().any(|note| note == what);
    for again in (seed as usize % every..disk.ops_len()).step_by(every) {
        if count("delivered", again) {
            break;
        }
        for left in disk.crash_point(again).states(2, 0, seed) {
            let store = open(&left, how.options(200)).unwrap();
            assert!(store.recovery().is_whole(), "{}", store.recovery());
            let found = state(&store);
            if count("shown", again) {
                // The delivery may be there, and the account it may have made.
                let kept = found.lines().next().unwrap_or_default().to_owned();
                let before = &shown[at].state;
                let same = numbers.allow(before, &found);
                assert!(same || before.is_empty() || kept.starts_with("anna"));
            } else {
                which(shown, op, false, &found, numbers);
            }
        }
    }
}

fn replayable(op: usize, state: usize, run: impl FnOnce()) {
    let result = catch_unwind(AssertUnwindSafe(run));
    if let Err(reason) = result {
        eprintln!(
            "MAILKEEP_SEED={} MAILKEEP_AT={op}, state {state}",
            env("MAILKEEP_SEED", 1)
        );
        std::panic::resume_unwind(reason);
    }
}

/// All crash points of the workload, `budget` states in all.
fn power_cuts(how: How, reopen: &[usize], budget: u64) {
    let start = std::time::Instant::now();
    let (sim, shown) = workload(how, reopen);
    let (seed, only) = (env("MAILKEEP_SEED", 1), env("MAILKEEP_AT", u64::MAX));
    let points = sim.ops_len() + 1;
    let each = (budget as usize / points).max(4);
    let exhaustive = (each.ilog2() as usize).min(8);
    let mut states = 0;
    for op in (0..points).filter(|op| only == u64::MAX || only == *op as u64) {
        let point = sim.crash_point(op);
        let left = point.states(exhaustive, each.saturating_sub(4), seed + op as u64);
        for (n, disk) in left.enumerate() {
            states += 1;
            replayable(op, n, || {
                let at = recovers(how, &disk, &shown, op);
                if n == op % each.min(4) {
                    recovery_recovers(how, &disk, &shown, op, at, seed + op as u64);
                }
            });
        }
    }
    let rate = f64::from(states) / start.elapsed().as_secs_f64();
    println!("{points} crash points, {states} states, {rate:.0} states/s");
}

#[test]
fn power_cuts_without_preparation() {
    let how = How {
        prepare: false,
        tried: false,
    };
    power_cuts(how, &[7, 16], env("MAILKEEP_STATES", 4000));
}

#[test]
fn power_cuts_with_preparation() {
    let how = How {
        prepare: true,
        tried: false,
    };
    power_cuts(how, &[4, 21], env("MAILKEEP_STATES", 4000));
}

/// Checkpoints, runs, merges and images are written all along the way, and lie half-written beside the log.
#[test]
fn power_cuts_while_the_index_is_saved() {
    let how = How {
        prepare: false,
        tried: true,
    };
    let reopen = [2, 4, 6, 8, 10, 13, 16];
    let (sim, _) = workload(how, &reopen);
    let wrote = |end: &str| {
        let created = |op: &&Op| matches!(op, Op::Create { name, .. } if name.contains(end));
        sim.ops().iter().filter(created).count()
    };
    let removed = |op: &&Op| matches!(op, Op::Remove { name } if name.ends_with(".run"));
    let saved = |op: &&Op| matches!(op, Op::Rename { to, .. } if to == "index/CHECKPOINT");
    let [merged, saved] = [
        sim.ops().iter().filter(removed).count(),
        sim.ops().iter().filter(saved).count(),
    ];
    let wrote = [".run", ".img"].map(wrote);
    assert!(wrote.iter().all(|wrote| *wrote > 5) && merged > 3 && saved > 5);
    power_cuts(how, &reopen, env("MAILKEEP_STATES", 4000));
}

/// `kill -9`, then the store is opened, and then the power goes: what was shown is still there.
#[test]
fn once_shown_never_gone() {
    let how = How {
        prepare: true,
        tried: false,
    };
    let (sim, shown) = workload(how, &[3, 12]);
    let step = (sim.ops_len() / (env("MAILKEEP_STATES", 300) as usize)).max(1);
    for op in (0..=sim.ops_len()).step_by(step) {
        replayable(op, 0, || {
            let disk = sim.killed(op);
            let store = open(&disk, options(300)).unwrap();
            assert!(store.recovery().is_whole(), "{}", store.recovery());
            let seen = state(&store);
            which(&shown, op, true, &seen, Numbers::Same);
            let seen = if op.is_multiple_of(2) {
                deliver(&store, 1 << 42, 100).unwrap();
                state(&store)
            } else {
                seen
            };
            for left in disk.crash_point(disk.ops_len()).states(3, 4, op as u64) {
                let store = open(&left, options(301)).unwrap();
                assert!(store.recovery().is_whole(), "{}", store.recovery());
                assert_eq!(state(&store), seen);
                deliver(&store, 1 << 41, 100).unwrap();
                assert_whole(&store);
            }
        });
    }
}

/// The power goes while the first segment is made, and again at each point of the recovery, which removes that segment:
/// no torn write leaves a list that names it.
#[test]
fn two_power_cuts_while_a_segment_is_made() {
    let sim = Sim::new();
    let store = open(&sim, options(0)).unwrap();
    store.create_account("anna").unwrap();
    let mut torn = 0;
    for op in 0..=sim.ops_len() {
        for disk in sim.crash_point(op).states(3, 4, 1) {
            drop(open(&disk, options(1)).unwrap());
            for again in 1..=disk.ops_len() {
                for left in disk.crash_point(again).states(0, 8, op as u64) {
                    torn += 1;
                    let store = open(&left, options(2))
                        .unwrap_or_else(|why| panic!("at {op}, then at {again}: {why}"));
                    assert!(store.recovery().is_whole(), "{}", store.recovery());
                }
            }
        }
    }
    assert!(torn > 1000);
}

/// Who reads after a power cut, before a writer was there, sees what each batch says of those before it: TAIL, which is
/// not synced with each, may know of none of them.
#[test]
fn readers_see_what_the_log_knows_of_itself() {
    let sim = Sim::new();
    let store = open(&sim, options(0)).unwrap();
    for seed in 0..5 {
        deliver(&store, seed, 300).unwrap();
    }
    let left = sim.crash(sim.ops_len(), &mut |_| false);
    let reader = open(&left, options(1).read_only(true)).unwrap();
    let shown = state(&reader);
    let messages = shown
        .lines()
        .filter(|line| line.starts_with("    "))
        .count();
    assert!(messages >= 4, "{shown}");
    drop(reader);
    let whole = state(&open(&left, options(2)).unwrap());
    assert_eq!(whole, state(&store));
}
