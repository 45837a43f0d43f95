//! Goal: a store that is put back whole to an earlier state, or to another history, is refused by whoever kept a witness
//! elsewhere, whatever else it has; one that went on is not. A witness never names what a crash could take back.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use mailkeep::format::SECTOR;
use mailkeep::{Durability, Error, Options, Store, Witness};

use crate::kit::{deliver, open, options, state, steps, tried};
use crate::sim::Sim;

type Files = BTreeMap<String, Vec<u8>>;

/// What an opening with a witness comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Borne,
    Refused,
}

/// Opens the files with the witness. A refusal leaves log, marks and lists as they were.
fn ask(files: &Files, witness: Witness, options: Options) -> Answer {
    let sim = Sim::from_files(files.clone());
    // A store without a segment has the folder all the same.
    sim.storage().create_folder("log").unwrap();
    match open(&sim, options.witness(witness)) {
        Ok(_) => Answer::Borne,
        Err(Error::NotWitnessed {
            expected, found, ..
        }) => {
            assert!(*expected == witness && *found != witness);
            let truth = |files: &Files| -> Files {
                let mut files = files.clone();
                files.retain(|name, _| !name.starts_with("index/") && name != "LOCK");
                files
            };
            assert!(truth(&sim.files()) == truth(files), "a refusal wrote");
            Answer::Refused
        }
        Err(error) => panic!("{error:?}"),
    }
}

/// Ways to open: without an index, with one, all of the log, read-only.
fn ways(run: u64) -> [Options; 5] {
    [
        options(run),
        tried(run + 1),
        options(run + 2).replay_all(true),
        options(run + 3).rebuild(true),
        options(run + 4).read_only(true),
    ]
}

/// The store after each step, closed or as `kill -9` leaves it, with the witness it then gave.
fn history(made: &dyn Fn(u64) -> Options, closed: bool) -> Vec<(Witness, Files)> {
    let sim = Sim::new();
    let mut all = Vec::new();
    let mut store = open(&sim, made(0)).unwrap();
    all.push((store.witness(), sim.files()));
    for (run, step) in (1..).zip(steps()) {
        (step.run)(&store, step.durability).unwrap();
        store.sync().unwrap();
        let witness = store.witness();
        if closed {
            drop(store);
            all.push((witness, sim.files()));
            store = open(&sim, made(run)).unwrap();
            // Saving the index at closing writes nothing to the log, and nothing was lost.
            assert_eq!(store.witness(), witness, "step {run}");
        } else {
            all.push((witness, sim.files()));
        }
    }
    all
}

fn every_pair(history: &[(Witness, Files)], run: u64) {
    let (mut borne, mut refused) = (0, 0);
    for (expected, (witness, _)) in history.iter().enumerate() {
        for (shown, (at, files)) in history.iter().enumerate() {
            // A step may have changed nothing.
            let is_older = at.batch < witness.batch;
            assert!(!is_older || shown < expected);
            let ways = ways(run);
            let way = ways[(expected * 7 + shown) % ways.len()].clone();
            let answer = ask(files, *witness, way);
            let right = if is_older {
                Answer::Refused
            } else {
                Answer::Borne
            };
            assert_eq!(answer, right, "witness of {expected}, files of {shown}");
            match answer {
                Answer::Borne => borne += 1,
                Answer::Refused => refused += 1,
            }
        }
    }
    println!("{borne} openings borne out, {refused} refused");
    assert!(borne > 300 && refused > 250);
}

#[test]
fn an_older_copy_is_refused() {
    every_pair(&history(&options, true), 1000);
    every_pair(&history(&tried, true), 2000);
    every_pair(&history(&options, false), 3000);
}

/// Of the index of a newer copy, or of none, an opening knows no more.
#[test]
fn an_older_log_below_a_newer_index_is_refused() {
    let history = history(&tried, true);
    let (witness, newest) = history.last().unwrap();
    for (at, files) in &history[..history.len() - 1] {
        if at.batch == witness.batch {
            continue;
        }
        let mut mixed = files.clone();
        mixed.retain(|name, _| !name.starts_with("index/"));
        let newer = newest.iter().filter(|(name, _)| name.starts_with("index/"));
        mixed.extend(newer.map(|(name, content)| (name.clone(), content.clone())));
        for way in ways(4000) {
            assert_eq!(ask(&mixed, *witness, way), Answer::Refused);
        }
    }
}

/// Two stores that went on from one copy: each refuses the other's witness, though batch, record and place are the same.
#[test]
fn another_history_is_refused() {
    let sim = Sim::new();
    let store = open(&sim, options(0)).unwrap();
    deliver(&store, 1, 3_000).unwrap();
    let before = store.witness();
    drop(store);
    let went_on = |run| {
        let sim = Sim::from_files(sim.files());
        let store = open(&sim, options(run)).unwrap();
        deliver(&store, 2, 3_000).unwrap();
        let mid = store.witness();
        deliver(&store, 3, 3_000).unwrap();
        drop(store);
        (mid, sim.files())
    };
    let ((one, one_files), (other, other_files)) = (went_on(1), went_on(2));
    assert_eq!(
        (one.batch, one.next_record),
        (other.batch, other.next_record)
    );
    assert_eq!(
        (one.segment, one.offset, one.epoch),
        (other.segment, other.offset, other.epoch)
    );
    for way in ways(10) {
        assert_eq!(ask(&one_files, one, way.clone()), Answer::Borne);
        assert_eq!(ask(&one_files, other, way.clone()), Answer::Refused);
        assert_eq!(ask(&other_files, one, way.clone()), Answer::Refused);
        assert_eq!(ask(&other_files, before, way.clone()), Answer::Borne);
        // Each single field counts.
        for wrong in [
            |w: &mut Witness| w.store.0[0] ^= 1,
            |w: &mut Witness| w.epoch += 1,
            |w: &mut Witness| w.batch -= 1,
            |w: &mut Witness| w.batch += 1,
            |w: &mut Witness| w.next_record += 1,
            |w: &mut Witness| w.checksum ^= 1,
            |w: &mut Witness| w.segment += 1,
            |w: &mut Witness| w.segment = u64::MAX,
            |w: &mut Witness| w.offset = u64::MAX,
            |w: &mut Witness| w.offset = 0,
        ] {
            let mut witness = one;
            wrong(&mut witness);
            assert_eq!(
                ask(&one_files, witness, way.clone()),
                Answer::Refused,
                "{witness}"
            );
        }
    }
}

/// With a damaged head the batch behind it vouches for the one that was witnessed; with none behind, nothing does.
#[test]
fn a_damaged_batch_is_vouched_for_by_the_next() {
    let sim = Sim::new();
    let store = open(&sim, options(0)).unwrap();
    let mut witnesses = Vec::new();
    for seed in 0..40 {
        deliver(&store, seed, 9_000).unwrap();
        witnesses.push(store.witness());
    }
    drop(store);
    let files = sim.files();
    assert!(witnesses.last().unwrap().segment > 3);
    for (nth, witness) in witnesses.iter().enumerate() {
        let mut hurt = files.clone();
        let name = format!("log/{:016}.seg", witness.segment);
        hurt.get_mut(&name).unwrap()[witness.offset as usize + 20] ^= 1;
        let right = if nth + 1 < witnesses.len() {
            Answer::Borne
        } else {
            Answer::Refused
        };
        for way in ways(100) {
            assert_eq!(ask(&hurt, *witness, way), right, "{nth}");
        }
    }
}

/// A witness is proof that a batch was durable: where it is torn and every mark here is from before it, it is damage
/// that is kept and told, not a torn tail that is cut.
#[test]
fn a_witnessed_batch_is_never_cut() {
    let sim = Sim::new();
    let store = open(&sim, options(0)).unwrap();
    deliver(&store, 1, 3_000).unwrap();
    let marks = sim.files();
    deliver(&store, 2, 6_000).unwrap();
    let witness = store.witness();
    let mut files = sim.files();
    for mark in ["TAIL", "MANIFEST", "SEGMENTS"] {
        files.insert(mark.to_owned(), marks[mark].clone());
    }
    let name = format!("log/{:016}.seg", witness.segment);
    let end = witness.offset as usize + 13 * SECTOR;
    files.get_mut(&name).unwrap()[end - 3 * SECTOR..end].fill(0);
    // By itself it looks like a write that a power cut interrupted.
    let alone = Sim::from_files(files.clone());
    let store = open(&alone, options(1)).unwrap();
    assert!(store.recovery().cut.is_some() && store.recovery().is_whole());
    drop(store);
    let held = Sim::from_files(files.clone());
    let store = open(&held, options(2).witness(witness)).unwrap();
    let report = store.recovery();
    assert!(report.cut.is_none(), "{report}");
    let verified = store.verify(&mut |_| ControlFlow::Continue(())).unwrap();
    let bad: Vec<u32> = verified
        .bad_messages
        .iter()
        .map(|bad| bad.uid.get())
        .collect();
    assert_eq!(bad, [2], "{report}\n{verified:?}");
    assert_eq!(deliver(&store, 3, 100).unwrap(), 3);
    let range = witness.offset as usize..end;
    assert!(
        held.files()[&name][range.clone()] == files[&name][range],
        "kept"
    );
}

/// What is only written is not witnessed until it is synced, and a read-only opening says no more than the marks.
#[test]
fn what_is_only_written_is_not_witnessed() {
    let sim = Sim::new();
    let store = open(&sim, options(0)).unwrap();
    deliver(&store, 1, 500).unwrap();
    let durable = store.witness();
    let inbox = store.account("anna").unwrap().inbox().unwrap();
    for seed in 2..5_u64 {
        let to = [mailkeep::Delivery::to(&inbox)];
        let body = crate::kit::message(seed, 500);
        let kept = store.deliver_with(&body, to, Durability::Written).unwrap();
        kept.wait().unwrap().remove(0).unwrap();
        assert_eq!(store.witness(), durable);
        let reader = open(&sim, options(1).read_only(true)).unwrap();
        assert_eq!(reader.witness(), durable);
        // A power cut now leaves a store that bears it out.
        let crashed = sim.crash(sim.ops_len(), &mut |_| false);
        open(&crashed, options(2).witness(durable)).unwrap();
    }
    store.sync().unwrap();
    let synced = store.witness();
    assert!(synced.batch > durable.batch);
    let crashed = sim.crash(sim.ops_len(), &mut |_| false);
    let store = open(&crashed, options(3).witness(synced)).unwrap();
    assert_eq!(store.witness(), synced);
}

/// Every crash of the whole workload bears out every witness that was given before it.
#[test]
fn no_crash_takes_back_what_was_witnessed() {
    let sim = Sim::new();
    let store = open(&sim, options(0)).unwrap();
    let mut given = vec![(sim.ops_len(), store.witness())];
    for step in steps() {
        (step.run)(&store, step.durability).unwrap();
        given.push((sim.ops_len(), store.witness()));
    }
    for at in given[0].0..=sim.ops_len() {
        let (_, last) = given.iter().rev().find(|(then, _)| *then <= at).unwrap();
        let mut flip = at as u64 * 0x9E37_79B9;
        let crashed = sim.crash(at, &mut |_| {
            flip = flip.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            flip >> 63 == 1
        });
        let opened = open(&crashed, options(1).witness(*last));
        assert!(opened.is_ok(), "{at}: {last} {opened:?}");
    }
}

/// A store that is not there is not made, and one that was just made goes with its own witness alone.
#[test]
fn nothing_is_created_for_a_witness() {
    let sim = Sim::new();
    let store = open(&sim, options(0)).unwrap();
    let witness = store.witness();
    assert_eq!((witness.batch, witness.next_record), (0, 1));
    let shown = state(&store);
    drop(store);
    let again: Store = open(&sim, options(1).witness(witness)).unwrap();
    assert_eq!(state(&again), shown);
    for options in [
        options(2).witness(witness).create(true),
        options(2).create(true).witness(witness),
    ] {
        let nothing = Sim::new();
        let refused = open(&nothing, options);
        assert!(
            matches!(refused, Err(Error::NotAStore { .. })),
            "{refused:?}"
        );
        assert!(nothing.files().is_empty());
    }
    let other = Sim::new();
    drop(open(&other, options(3)).unwrap());
    assert_eq!(ask(&other.files(), witness, options(4)), Answer::Refused);
}

/// The command prints the line, and every command that reads is held to it.
#[cfg(feature = "cli")]
#[test]
fn the_command_is_held_to_a_witness() {
    use crate::cli::{arg, run};
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mail");
    let store = Store::open(&path, Options::default()).unwrap();
    deliver(&store, 1, 300).unwrap();
    let first = store.witness();
    deliver(&store, 2, 300).unwrap();
    let last = store.witness();
    store.close().unwrap();
    let said = run(["witness", arg(&path)]).well();
    assert_eq!(said.text().trim().parse(), Ok(last));
    let mut wrong = last;
    wrong.batch += 1;
    let wrong = wrong.to_string();
    for verb in ["verify", "stat", "list", "receipt", "witness", "rebuild"] {
        for good in [first, last] {
            run([verb, arg(&path), "--witness", &good.to_string()]).well();
        }
        let refused = run([verb, arg(&path), "--witness", &wrong]);
        let refused = refused.ended(2);
        assert!(refused.err.contains("witnessed"), "{}", refused.err);
    }
}
