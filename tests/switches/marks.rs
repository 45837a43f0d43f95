//! Goal: a batch that was acknowledged and is not there is a loss, whichever of the marks is left to tell.
//!
//! TAIL, MANIFEST and the heads of batches each say how far acknowledged batches reach. Each test takes away all but one
//! of them, and the end of the log.

use std::collections::BTreeMap;

use mailkeep::{Durability, Error, Options, Store};

use crate::kit::{deliver, open, options};
use crate::sim::{Op, SECTOR, Sim};

type Files = BTreeMap<String, Vec<u8>>;

const FIRST: &str = "log/0000000000000001.seg";
const SECOND: &str = "log/0000000000000002.seg";

/// Nothing is known from the index: the log and the marks have to tell.
fn bare(run: u64) -> Options {
    options(run).replay_all(true)
}

/// A store with `count` messages, one a batch; killed or closed.
fn mail(count: u64, closed: bool) -> Files {
    let sim = Sim::new();
    let store = open(&sim, bare(0)).unwrap();
    for seed in 0..count {
        deliver(&store, seed, 200).unwrap();
    }
    if closed {
        store.close().unwrap();
    }
    sim.files()
}

/// Where the batches of the first segment begin, in sectors.
fn batches(files: &Files) -> Vec<usize> {
    let sectors = files[FIRST].chunks(SECTOR).enumerate();
    let starts = sectors.filter(|(_, sector)| sector.starts_with(b"MKBATCH1"));
    starts.map(|(at, _)| at).collect()
}

/// Makes zeroes of some batches, counted from the end.
fn lose(files: &mut Files, from_the_end: std::ops::Range<usize>) {
    let starts = batches(files);
    let file = files.get_mut(FIRST).unwrap();
    let ends = [&starts[1..], &[file.len() / SECTOR]].concat();
    for back in from_the_end {
        let at = starts.len() - 1 - back;
        file[starts[at] * SECTOR..ends[at] * SECTOR].fill(0);
    }
}

fn lose_tail(files: &mut Files) {
    files.get_mut("TAIL").unwrap().fill(0);
}

fn reopened(files: Files) -> Store {
    open(&Sim::from_files(files), bare(1)).unwrap()
}

/// The loss is told, and no UID up to `last` is given again.
fn is_told(store: &Store, last: u32) {
    let report = store.recovery();
    assert!(!report.holes.is_empty(), "{report}");
    let next = deliver(store, 99, 100).unwrap();
    assert!(next > last, "UID {next} is given again");
}

#[test]
fn the_next_batch_tells() {
    let mut files = mail(5, false);
    lose_tail(&mut files);
    lose(&mut files, 1..2);
    let store = reopened(files);
    assert!(store.recovery().cut.is_none(), "{}", store.recovery());
    let inbox = store.account("anna").unwrap().inbox().unwrap();
    assert_eq!(inbox.view().unwrap().len(), 4, "all others");
    is_told(&store, 5);
}

#[test]
fn manifest_tells_of_a_closed_store() {
    let mut files = mail(5, true);
    lose_tail(&mut files);
    lose(&mut files, 0..1);
    is_told(&reopened(files), 5);
}

#[test]
fn tail_tells_of_a_killed_store() {
    for count in [4, 5] {
        let mut files = mail(count, false);
        lose(&mut files, 0..1);
        is_told(&reopened(files), u32::try_from(count).unwrap());
    }
}

/// Of all batches that are lost, also of those of which nothing is left.
#[test]
fn numbers_of_all_that_was_lost_are_passed_over() {
    for closed in [false, true] {
        let mut files = mail(12, closed);
        lose(&mut files, 0..8);
        if closed {
            lose_tail(&mut files);
        }
        let store = reopened(files);
        let report = store.recovery();
        let last = report.holes.iter().map(|hole| hole.last_lost).max();
        assert_eq!(last, Some(14), "an account, INBOX, 12 messages: {report}");
        is_told(&store, 12);
    }
}

/// What was lost with TAIL had numbers that MANIFEST knows: whoever wrote one down elsewhere never meets another batch of it.
#[test]
fn numbers_of_lost_batches_are_not_given_again() {
    let sim = Sim::new();
    let store = open(&sim, bare(0)).unwrap();
    for seed in 0..5 {
        deliver(&store, seed, 200).unwrap();
    }
    let last = store.witness().batch;
    store.close().unwrap();
    let mut files = sim.files();
    lose_tail(&mut files);
    lose(&mut files, 0..4);
    let store = reopened(files);
    deliver(&store, 99, 100).unwrap();
    assert!(store.witness().batch > last + 1, "{:?}", store.witness());
}

/// TAIL is not synced after each batch, so the one that was written last may be what a power cut tore.
#[test]
fn the_other_slot_of_tail_tells() {
    let mut files = mail(5, false);
    let written = |slot: usize| files["TAIL"][slot + 32..slot + 40].to_vec();
    let newest = [0, 4096].into_iter().max_by_key(|slot| {
        let number = written(*slot).try_into().unwrap();
        u64::from_le_bytes(number)
    });
    let newest = newest.unwrap();
    files.get_mut("TAIL").unwrap()[newest..newest + SECTOR].fill(0x5a);
    lose(&mut files, 0..2);
    is_told(&reopened(files), 5);
}

#[test]
fn tail_tells_what_a_sync_made_durable() {
    let sim = Sim::new();
    let store = open(&sim, bare(0).durability(Durability::Written)).unwrap();
    for seed in 0..5 {
        deliver(&store, seed, 200).unwrap();
    }
    store.sync().unwrap();
    let mut files = sim.files();
    lose(&mut files, 0..1);
    is_told(&reopened(files), 5);
}

/// The next segment was begun and nothing is in it yet.
#[test]
fn manifest_tells_when_a_segment_was_begun() {
    let sim = Sim::new();
    let store = open(&sim, bare(0)).unwrap();
    let mut last = 0;
    while !sim.files().contains_key(SECOND) {
        last = deliver(&store, last.into(), 9_000).unwrap();
    }
    let second = sim.inode(SECOND);
    let ops = sim.ops();
    let batch = ops.iter().position(
        |op| matches!(op, Op::Write { inode, offset, .. } if *inode == second && *offset > 0),
    );
    let mut files = sim.killed(batch.unwrap()).files();
    assert!(files.contains_key(SECOND));
    lose_tail(&mut files);
    lose(&mut files, 0..1);
    is_told(&reopened(files), last - 1);
}

/// Goal: a MANIFEST that was put back from an older copy is refused, and accepting that once is enough.
#[test]
fn an_older_manifest_is_refused() {
    let sim = Sim::new();
    let mut older = None;
    for run in 0..3 {
        let store = open(&sim, options(run)).unwrap();
        deliver(&store, run, 200).unwrap();
        store.close().unwrap();
        older.get_or_insert(sim.files()["MANIFEST"].clone());
    }
    let mut files = sim.files();
    files.insert("MANIFEST".into(), older.unwrap());
    let sim = Sim::from_files(files);
    let refused = open(&sim, options(3));
    assert!(
        matches!(refused, Err(Error::Incomplete { .. })),
        "{refused:?}"
    );
    let store = open(&sim, options(4).accept_loss(true)).unwrap();
    assert_eq!(deliver(&store, 9, 100).unwrap(), 4);
    store.close().unwrap();
    let store = open(&sim, options(5)).unwrap();
    assert_eq!(deliver(&store, 10, 100).unwrap(), 5);
}
