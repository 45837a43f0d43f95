//! Every call of the disk fails, once or from then on, with every error: nothing is acknowledged that is not there,
//! nothing panics, errors say what they are, and the store goes on where it can.

use std::collections::{BTreeMap, BTreeSet};

use mailkeep::{Durability, Error, RecoveryReport, Store};

use crate::kit::{assert_whole, deliver, env, open, options, state, steps};
use crate::sim::{Call, ERRORS, Fault, Op, Sim, SyncFails, WriteFails};

/// What a run that was hurt had acknowledged as durable, and at all.
struct Outcome {
    least: String,
    shown: String,
    failed: usize,
    /// Whether a step that failed would have changed or removed something: after a crash it may have happened.
    changed: bool,
}

/// Whether an error is one that a failing disk may cause.
fn expected(error: &Error) -> bool {
    matches!(
        error,
        Error::Io { .. } | Error::NoSpace { .. } | Error::Stopped { .. }
    )
}

/// Runs the workload; a step may also fail for want of what an earlier failed one should have made.
fn run(store: &Store, durable_only: bool) -> Outcome {
    let mut outcome = Outcome {
        least: state(store),
        shown: state(store),
        failed: 0,
        changed: false,
    };
    for step in steps() {
        let durability = if durable_only {
            Durability::Durable
        } else {
            step.durability
        };
        match (step.run)(store, durability) {
            Ok(()) => {
                outcome.shown = state(store);
                if durability == Durability::Durable {
                    outcome.least = outcome.shown.clone();
                }
            }
            Err(Error::NoSuchAccount { .. } | Error::NoSuchMailbox { .. })
                if outcome.failed > 0 => {}
            Err(error) => {
                assert!(expected(&error), "{error:?}");
                outcome.failed += 1;
                outcome.changed |= step.changes;
                // What was only written may be lost with its segment; then it reads as an error, not as something else.
                let shown = state(store);
                assert!(
                    shown == outcome.shown || (!durable_only && shown.contains("unreadable")),
                    "a change that failed was shown"
                );
            }
        }
    }
    outcome
}

/// After a failed sync, no file is synced or written in that run, but for those that are written again whole.
fn failed_segments_stay_untouched(sim: &Sim) {
    let mut inodes = BTreeMap::new();
    let mut segments = BTreeSet::new();
    let mut failed = BTreeSet::new();
    for op in sim.ops() {
        match op {
            Op::Create { name, inode } if name.ends_with(".seg") => {
                segments.insert(inode);
            }
            Op::Create { name, inode } => {
                inodes.insert(name, inode);
            }
            // Prepared under another name.
            Op::Rename { from, to } if to.ends_with(".seg") => {
                segments.insert(inodes[&from]);
            }
            Op::SyncFailed { inode, .. } if segments.contains(&inode) => {
                failed.insert(inode);
            }
            Op::Write { inode, .. } | Op::Sync { inode } | Op::SetLen { inode, .. } => {
                assert!(
                    !failed.contains(&inode),
                    "file {inode} was used after a failed sync"
                );
            }
            _ => {}
        }
    }
}

/// One run with one plan of failures, then a look at what the device holds.
fn hurt(fault: Fault, run_number: u64, prepare: bool, durable_only: bool) -> usize {
    let options = options(run_number).prepare(prepare);
    let sim = Sim::new();
    let store = open(&sim, options.clone()).unwrap();
    sim.set_fault(Some(fault));
    let outcome = run(&store, durable_only);
    let hits = sim.fault_hits();
    let stopped = store.health().stopped.is_some();
    assert!(
        fault.forever || !stopped,
        "one failure stops nothing: {}",
        store.health()
    );
    sim.set_fault(None);
    let refused = deliver(&store, 1, 100);
    if stopped {
        assert!(matches!(refused, Err(Error::Stopped { .. })), "{refused:?}");
        assert!(store.health().to_string().contains("reading only"));
    } else {
        refused.unwrap();
    }
    // Reads went on all the time; now what a power cut leaves.
    let least = if stopped {
        outcome.least
    } else {
        state(&store)
    };
    failed_segments_stay_untouched(&sim);
    let at = sim.ops_len();
    drop(store);
    for n in 0..4 {
        let mut flip = n % 2 == 0;
        let left = sim.crash(if n < 2 { at } else { sim.ops_len() }, &mut |_| {
            flip = !flip;
            flip
        });
        let store = open(&left, options.clone()).unwrap();
        let whole = store.recovery().is_whole();
        // Where blocks were written ahead, a sector of which only half was written then looks altered, and nobody can tell
        // that it was never acknowledged: damage is reported, and nothing is lost.
        let mixed = fault.write == WriteFails::Half && prepare && is_one_hole(store.recovery());
        assert!(whole || !durable_only || mixed, "{}", store.recovery());
        if !(stopped && outcome.changed) {
            let lost = !whole && !durable_only;
            durable_is_there(&least, &state(&store), !whole, lost);
        }
        deliver(&store, 2, 100).unwrap();
    }
    hits
}

/// Whether one batch is altered, no account is known to miss anything, and nothing else is wrong.
fn is_one_hole(found: &RecoveryReport) -> bool {
    let mut rest = found.clone();
    rest.holes.pop();
    rest.is_whole() && rest.accounts_hit.is_empty()
}

/// Every message that was acknowledged is there. A fence has raised the MODSEQs where one was set; and where batches were
/// `lost` that were only written, messages that only those brought are not in question.
fn durable_is_there(least: &str, found: &str, fenced: bool, lost: bool) {
    let without_modseq = |line: &str| {
        let line = line.trim_start();
        match (line.find(" ModSeq("), line.find(" EmailId(")) {
            (Some(from), Some(to)) if fenced => format!("{}{}", &line[..from], &line[to..]),
            _ => line.to_owned(),
        }
    };
    let found: BTreeSet<String> = found.lines().map(without_modseq).collect();
    for line in least.lines().filter(|line| line.starts_with("    ")) {
        assert!(
            found.contains(&without_modseq(line)) || lost,
            "{line} is gone from\n{found:#?}"
        );
    }
}

/// Fails call 1, 2, 3 ... until a run is not hurt any more.
fn each_call(calls: &'static [Call], forever: bool, change: impl Fn(&mut Fault)) {
    let every = env("MAILKEEP_EVERY", 3) as usize;
    let mut runs = 0;
    for after in (0..).step_by(every) {
        let mut fault = Fault {
            forever,
            ..Fault::once(calls, after)
        };
        change(&mut fault);
        runs += 1;
        if hurt(fault, after as u64, after % 4 < 2, after % 2 == 0) == 0 {
            break;
        }
    }
    println!("{runs} runs");
}

#[test]
fn a_call_fails_once() {
    for error in ERRORS {
        each_call(Call::CHANGES, false, |fault| fault.error = error);
    }
}

#[test]
fn calls_fail_from_one_on() {
    for error in ERRORS {
        each_call(Call::CHANGES, true, |fault| fault.error = error);
    }
}

#[test]
fn writes_are_cut_short() {
    for forever in [false, true] {
        each_call(&[Call::Write], forever, |fault| {
            fault.write = WriteFails::Half
        });
    }
}

#[test]
fn syncs_fail_and_keep_drop_or_revert_their_pages() {
    for how in [SyncFails::Kept, SyncFails::Dropped, SyncFails::Reverted] {
        for forever in [false, true] {
            each_call(&[Call::Sync], forever, |fault| fault.sync = how);
        }
    }
}

/// The disk is full: an error that says so, nothing half-done, reads go on; with room again, so do writes.
#[test]
fn a_full_disk_refuses_and_resumes() {
    for room in (0..400_000).step_by(9_973) {
        let sim = Sim::new();
        let store = open(&sim, options(room)).unwrap();
        deliver(&store, 1, 500).unwrap();
        let used: usize = sim.files().values().map(Vec::len).sum();
        sim.set_space(Some(used + room as usize));
        let mut acknowledged = Vec::new();
        let mut refused = 0;
        for (seed, len) in (2..20).zip(
            [100, 30_000, 3, 200_000, 1 << 20, 70_000]
                .into_iter()
                .cycle(),
        ) {
            match deliver(&store, seed, len) {
                Ok(uid) => acknowledged.push(uid),
                Err(Error::NoSpace { .. }) => refused += 1,
                Err(error) => panic!("{error:?}"),
            }
        }
        assert!(refused > 0 && store.health().stopped.is_none());
        let before = state(&store);
        assert!(
            acknowledged
                .iter()
                .all(|uid| before.contains(&format!("\n    {uid} ")))
        );
        sim.set_space(None);
        deliver(&store, 30, 100_000).unwrap();
        assert_whole(&store);
        let after = state(&store);
        drop(store);
        let left = sim.crash(sim.ops_len(), &mut |_| false);
        let store = open(&left, options(room + 1)).unwrap();
        assert!(store.recovery().is_whole(), "{}", store.recovery());
        assert_eq!(state(&store), after);
    }
}

/// `Written` mail whose segment fails is never called durable after.
#[test]
fn a_sync_that_failed_is_never_good_again() {
    let sim = Sim::new();
    let store = open(&sim, options(0).durability(Durability::Written)).unwrap();
    deliver(&store, 1, 500).unwrap();
    deliver(&store, 2, 500).unwrap();
    sim.set_fault(Some(Fault::once(&[Call::Sync], 0)));
    for _ in 0..2 {
        let synced = store.sync();
        assert!(matches!(synced, Err(Error::Io { .. })), "{synced:?}");
    }
    deliver(&store, 3, 500).unwrap();
    assert!(store.sync().is_err());
    assert!(store.close().is_err());
}
