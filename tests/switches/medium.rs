//! Goal: what a call promised is on the medium when it returns: a power cut right then, which takes all that was not
//! synced, takes none of it.

use std::collections::BTreeMap;

use mailkeep::{Durability, Options};

use crate::kit::{assert_whole, deliver, env, open, options, state, steps, tried};
use crate::sim::{Op, Sim};

/// The medium after a power cut now that takes all it can.
fn cut(sim: &Sim) -> Sim {
    sim.crash(sim.ops_len(), &mut |_| false)
}

/// Every file is on the medium as it is seen. The lock is no part of the store.
fn all_is_durable(sim: &Sim, what: &str) {
    let found = cut(sim).files();
    for (name, content) in sim.files() {
        if name != "LOCK" {
            assert!(found.get(&name) == Some(&content), "{what}: {name}");
        }
    }
}

fn worked(options: impl Fn(u64) -> Options) -> Sim {
    let sim = Sim::new();
    let store = open(&sim, options(0)).unwrap();
    for step in &steps()[..22] {
        (step.run)(&store, step.durability).unwrap();
    }
    store.close().unwrap();
    sim
}

#[test]
fn all_that_closing_left() {
    all_is_durable(&worked(options), "closed");
    all_is_durable(&worked(tried), "closed with an index");
}

/// A footer that was written again.
#[test]
fn all_that_healing_left() {
    let sim = worked(options);
    let sealed = |name: &&String| name.ends_with(".seg");
    let files = sim.files();
    let name = files.keys().find(sealed).unwrap();
    sim.zero_sector(name, files[name].len() / 512 - 1);
    let hurt = sim.files();
    let store = open(&sim, options(1).replay_all(true)).unwrap();
    assert_eq!(store.recovery().bad_footers.len(), 1);
    deliver(&store, 1 << 40, 100).unwrap();
    assert!(
        sim.files()[name] != hurt[name],
        "the footer was written again"
    );
    store.close().unwrap();
    all_is_durable(&sim, "healed");
    assert_whole(&open(&cut(&sim), options(2).replay_all(true)).unwrap());
}

/// What was cut from the end is in quarantine before it is cut.
#[test]
fn all_that_was_cut() {
    let sim = Sim::new();
    let store = open(&sim, options(0)).unwrap();
    deliver(&store, 1, 3_000).unwrap();
    let before = sim.ops_len();
    deliver(&store, 2, 5_000).unwrap();
    let point = sim.crash_point(before + 1);
    let mut left = point.pending_len();
    let torn = point.state(&mut |_| {
        left -= 1;
        left > 0
    });
    let shown = open(&torn, options(1)).unwrap();
    let name = shown.recovery().cut.clone().unwrap().quarantine.unwrap();
    let kept = torn.files()[&name].clone();
    let is_cut = |op: &Op| matches!(op, Op::SetLen { .. });
    let at = torn.ops().iter().position(is_cut).unwrap();
    let found = torn.crash(at, &mut |_| false).files();
    assert!(
        found.get(&name) == Some(&kept),
        "cut and not in quarantine yet"
    );
}

/// Whatever of a creation was done before the process was killed: mail that is acknowledged after is there.
#[test]
fn all_that_was_shown_after_a_creation_was_killed() {
    let sim = Sim::new();
    drop(open(&sim, options(0)).unwrap());
    for op in 0..=sim.ops_len() {
        let disk = sim.killed(op);
        let store = open(&disk, options(1)).unwrap();
        deliver(&store, 1, 100).unwrap();
        let shown = state(&store);
        let found = open(&cut(&disk), options(2)).unwrap();
        assert_eq!(state(&found), shown, "killed at {op}");
    }
}

/// Once shown never gone, also where what was shown is the first batch of a segment.
#[test]
fn all_that_was_shown_after_a_kill() {
    let sim = Sim::new();
    let store = open(&sim, options(0).durability(Durability::Written)).unwrap();
    deliver(&store, 1, 100).unwrap();
    deliver(&store, 2, 100).unwrap();
    let disk = sim.killed(sim.ops_len());
    let store = open(&disk, options(1)).unwrap();
    let shown = state(&store);
    assert_eq!(
        state(&open(&cut(&disk), options(2)).unwrap()),
        shown,
        "it was shown"
    );
}

/// A power cut alone never costs the index: what a checkpoint names is there and sound.
///
/// `MAILKEEP_SEED` chooses other samples.
#[test]
fn all_that_a_checkpoint_names() {
    let sim = Sim::new();
    let mut store = open(&sim, tried(0)).unwrap();
    for (at, step) in steps().iter().enumerate() {
        (step.run)(&store, step.durability).unwrap();
        if at % 4 == 3 {
            store.close().unwrap();
            store = open(&sim, tried(at as u64 + 1)).unwrap();
        }
    }
    drop(store);
    let seed = env("MAILKEEP_SEED", 1);
    let mut seen = BTreeMap::<bool, u64>::new();
    for op in 0..=sim.ops_len() {
        for left in sim.crash_point(op).states(2, 1, seed + op as u64) {
            let store = open(&left, tried(100)).unwrap();
            state(&store);
            let health = store.health();
            let named = left.files().contains_key("index/CHECKPOINT");
            assert_eq!(
                health.index_damage, 0,
                "after {op} changes, seed {seed}: {health}"
            );
            *seen.entry(named).or_default() += 1;
        }
    }
    assert!(seen[&true] > 100, "{seen:?}");
}

/// A rebuild that a power cut interrupts leaves no checkpoint that names what it took away.
#[test]
fn all_that_a_rebuild_took_away() {
    let before = worked(tried).files();
    let sim = Sim::from_files(before);
    drop(open(&sim, tried(1).rebuild(true)).unwrap());
    for op in 0..=sim.ops_len() {
        for left in sim.crash_point(op).states(2, 2, op as u64) {
            let store = open(&left, tried(100)).unwrap();
            state(&store);
            assert_eq!(
                store.health().index_damage,
                0,
                "after {op} changes: {}",
                store.health()
            );
        }
    }
}
