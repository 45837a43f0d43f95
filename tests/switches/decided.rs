//! Goal: an opening goes by the log itself, whatever the marks, the list, the folder or the index say of another time.

use std::collections::BTreeMap;

use mailkeep::format::PAGE;
use mailkeep::format::manifest::Manifest;
use mailkeep::format::segments::{self, Edit};
use mailkeep::{Options, Recipient, Store};

use crate::kit::{deliver, message, open, options, state};
use crate::sim::{SECTOR, Sim};

type Files = BTreeMap<String, Vec<u8>>;

const FIRST: &str = "log/0000000000000001.seg";

fn bare(run: u64) -> Options {
    options(run).replay_all(true)
}

fn segment(number: u64) -> String {
    format!("log/{number:016}.seg")
}

/// Delivers until segment `number` is there; returns how many messages that took.
fn until(store: &Store, sim: &Sim, number: u64) -> usize {
    let mut many = 0;
    while !sim.files().contains_key(&segment(number)) {
        deliver(store, many as u64, 9_000).unwrap();
        many += 1;
    }
    many
}

fn inbox_len(store: &Store) -> usize {
    let inbox = store.account("anna").unwrap().inbox().unwrap();
    inbox.view().unwrap().len()
}

fn take_index(files: &mut Files) -> Files {
    let names: Vec<String> = files.keys().cloned().collect();
    let index = names.into_iter().filter(|name| name.starts_with("index/"));
    index
        .map(|name| (name.clone(), files.remove(&name).unwrap()))
        .collect()
}

/// Takes a segment's lines off the list, as damage does.
fn forget(files: &mut Files, segment: u64) {
    let manifest = |slot: usize| Manifest::decode(&files["MANIFEST"][slot * PAGE..][..PAGE]);
    let newest = [manifest(0), manifest(1)].into_iter().flatten();
    let newest = newest.max_by_key(|manifest| manifest.generation).unwrap();
    let list = files.get_mut("SEGMENTS").unwrap();
    for index in 0..newest.edits {
        let at = usize::try_from(segments::offset(index)).unwrap();
        let bytes = &mut list[at..at + segments::EDIT_LEN];
        let edit = Edit::decode(newest.store, index, bytes).unwrap();
        if edit.segment == segment {
            bytes.fill(0);
        }
    }
}

/// MANIFEST and TAIL say that the store was closed, and are of an earlier closing: the log goes on, however far.
#[test]
fn marks_of_an_earlier_closing_end_nothing() {
    let sim = Sim::new();
    let bare = |run| bare(run).segment_len(4 << 20);
    let store = open(&sim, bare(0)).unwrap();
    deliver(&store, 0, 200).unwrap();
    store.close().unwrap();
    let earlier = sim.files();
    let store = open(&sim, bare(1)).unwrap();
    for seed in 1..5 {
        deliver(&store, seed, 100 << 10).unwrap();
    }
    let mut files = sim.files();
    for name in ["MANIFEST", "TAIL"] {
        files.insert(name.into(), earlier[name].clone());
    }
    assert_eq!(files["SEGMENTS"], earlier["SEGMENTS"]);
    let store = open(&Sim::from_files(files), bare(2)).unwrap();
    assert_eq!(inbox_len(&store), 5, "{}", store.recovery());
}

/// The last batch has a bad head, and its records are found one by one: later openings look for them too.
#[test]
fn what_is_left_of_a_damaged_end_stays() {
    let sim = Sim::new();
    let store = open(&sim, bare(0)).unwrap();
    for seed in 0..3 {
        deliver(&store, seed, 200).unwrap();
    }
    let mut files = sim.files();
    let log = files.get_mut(FIRST).unwrap();
    let mut sectors = log.chunks(SECTOR);
    let last = sectors.rposition(|sector| sector.starts_with(b"MKBATCH1"));
    log[last.unwrap() * SECTOR + 20] ^= 1;
    let sim = Sim::from_files(files);
    for run in 1..5 {
        let store = open(&sim, bare(run)).unwrap();
        assert_eq!(inbox_len(&store), 2 + run as usize, "opening {run}");
        deliver(&store, 10 + run, 100).unwrap();
        store.close().unwrap();
    }
}

/// A segment is not there, its lines of the list are not either, and the opening begins behind it: the next batch tells.
#[test]
fn a_segment_that_nothing_names_is_a_loss() {
    let sim = Sim::new();
    let store = open(&sim, options(0)).unwrap();
    let many = until(&store, &sim, 3);
    let mut files = sim.files();
    take_index(&mut files);
    files.remove(&segment(2)).unwrap();
    forget(&mut files, 2);
    let store = open(&Sim::from_files(files), options(1)).unwrap();
    let report = store.recovery();
    assert!(
        report.bad_edits > 0 && report.missing.is_empty(),
        "{report}"
    );
    let lost = report
        .holes
        .iter()
        .map(|hole| hole.last_lost - hole.first_lost + 1);
    let lost = usize::try_from(lost.sum::<u64>()).unwrap();
    assert_eq!(inbox_len(&store) + lost, many, "{report}");
}

/// A segment is there, and its lines of the list are not: it is taken up.
#[test]
fn a_segment_whose_lines_are_damaged_is_taken_up() {
    let sim = Sim::new();
    let store = open(&sim, bare(0)).unwrap();
    let many = until(&store, &sim, 3);
    let mut files = sim.files();
    forget(&mut files, 2);
    let store = open(&Sim::from_files(files), bare(1)).unwrap();
    assert!(store.recovery().bad_edits > 0, "{}", store.recovery());
    assert_eq!(inbox_len(&store), many);
}

/// Files that a copy left in log/: of another store, with nothing in it yet or with mail, or of another segment.
#[test]
fn files_that_are_not_the_segments_are_left_alone() {
    let mut stores = [0, 40].map(|run| {
        let sim = Sim::new();
        deliver(&open(&sim, bare(run)).unwrap(), run, 200).unwrap();
        sim.files()
    });
    let [own, other] = &mut stores;
    let mut begun = other[FIRST].clone();
    begun[PAGE..].fill(0);
    let (name, expected) = (
        segment(77),
        state(&open(&Sim::from_files(own.clone()), bare(1)).unwrap()),
    );
    for content in [begun, other[FIRST].clone(), own[FIRST].clone()] {
        let mut files = own.clone();
        files.insert(name.clone(), content.clone());
        let sim = Sim::from_files(files);
        let store = open(&sim, bare(1)).unwrap();
        assert_eq!(store.recovery().unlisted, std::slice::from_ref(&name));
        assert_eq!(state(&store), expected);
        store.close().unwrap();
        assert!(sim.files()[&name] == content);
    }
}

/// All but the index was put back from a copy: nothing that the index says is of this log.
#[test]
fn an_index_that_is_ahead_of_the_log_is_forgotten() {
    let sim = Sim::new();
    let store = open(&sim, options(0)).unwrap();
    until(&store, &sim, 4);
    store.close().unwrap();
    let mut files = sim.files();
    let store = open(&sim, options(1)).unwrap();
    // Nobody has the name, as far as can be read: it waits, and the checkpoint says so.
    for name in files.keys().filter(|name| **name != segment(4)) {
        sim.fail_reads(name, 0..usize::MAX);
    }
    let to = [Recipient::new("nobody", "INBOX")];
    let kept = store.deliver_to(message(900, 300), to).unwrap();
    kept.wait().unwrap().remove(0).unwrap();
    sim.heal_reads();
    for seed in 1_000..1_020 {
        deliver(&store, seed, 9_000).unwrap();
    }
    store.create_account("bruno").unwrap();
    assert_eq!(store.health().deferred, 1);
    store.close().unwrap();
    take_index(&mut files);
    let expected = state(&open(&Sim::from_files(files.clone()), options(2)).unwrap());
    files.extend(take_index(&mut sim.files()));
    let store = open(&Sim::from_files(files), options(2)).unwrap();
    let health = store.health();
    assert_eq!((health.index_damage, health.deferred), (1, 0), "{health}");
    assert_eq!(state(&store), expected);
}
