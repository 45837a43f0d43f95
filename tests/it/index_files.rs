//! The files of the index: their names, and that none is left behind.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use mailkeep::{Delivery, Options, Store};

use super::kit::{self, message};
use super::sim::Sim;

/// Name and length of each file of the index.
fn files(store: &Path) -> BTreeMap<String, u64> {
    let entries = std::fs::read_dir(store.join("index")).unwrap();
    let entries = entries.map(|entry| {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        (name, entry.metadata().unwrap().len())
    });
    entries.collect()
}

fn deliver(store: &Store, seeds: std::ops::Range<u64>) {
    deliver_to(store, "anna", seeds);
}

fn deliver_to(store: &Store, name: &str, seeds: std::ops::Range<u64>) {
    let account = match store.account(name) {
        Ok(account) => account,
        Err(_) => store.create_account(name).unwrap(),
    };
    let inbox = account.inbox().unwrap();
    for seed in seeds {
        let commit = store.deliver(message(seed, 300), [Delivery::to(&inbox)]);
        commit.unwrap().wait().unwrap().remove(0).unwrap();
    }
}

/// Looks at the account until nothing waits for the background.
fn look(store: &Store) {
    let inbox = store.account("anna").unwrap().inbox().unwrap();
    assert_eq!(inbox.view().unwrap().len(), 40);
    let until = Instant::now() + Duration::from_secs(20);
    while store.health().images_waiting > 0 {
        assert!(Instant::now() < until, "the background hangs");
        std::thread::sleep(Duration::from_millis(1));
    }
    // What was taken from the queue last is still being done.
    std::thread::sleep(Duration::from_millis(50));
}

/// Goal: who only reads writes nothing, however often the store is opened, also where the account's image is behind.
/// Fails when: an image is written whose place no run will come to name.
#[test]
fn reading_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mail");
    let store = Store::open(&path, Options::new().chain_max(1000)).unwrap();
    deliver(&store, 0..40);
    store.close().unwrap();
    let before = files(&path);
    for _ in 0..3 {
        let store = Store::open(&path, Options::new().chain_max(2)).unwrap();
        look(&store);
        store.close().unwrap();
    }
    assert_eq!(files(&path), before);
    // Where there is something to save, the image is made.
    let store = Store::open(&path, Options::new().chain_max(2)).unwrap();
    look(&store);
    deliver(&store, 40..50);
    store.close().unwrap();
    assert!(files(&path).keys().any(|name| name.ends_with(".img")));
}

/// Goal: what a process left that was killed before a checkpoint named it goes with the next checkpoint; all else stays.
#[test]
fn leftovers_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mail");
    let options = || Options::new().chain_max(2);
    let store = Store::open(&path, options()).unwrap();
    deliver(&store, 0..40);
    store.close().unwrap();
    let before = files(&path);
    let image = before.keys().find(|name| name.ends_with(".img")).unwrap();
    let index = path.join("index");
    std::fs::copy(index.join(image), index.join("0000abcd.img")).unwrap();
    std::fs::write(index.join("0000ABCE.img"), "not a name of ours").unwrap();
    let store = Store::open(&path, options()).unwrap();
    look(&store);
    deliver(&store, 40..41);
    store.close().unwrap();
    let after = files(&path);
    assert!(!after.contains_key("0000abcd.img"));
    assert!(after.contains_key("0000ABCE.img"));
    let store = Store::open(&path, options()).unwrap();
    let inbox = store.account("anna").unwrap().inbox().unwrap();
    assert_eq!(inbox.view().unwrap().len(), 41);
    assert_eq!(store.health().index_damage, 0);
}

/// Goal: numbers of files rise by one: all names are read as they are written.
/// Fails when: one kind is written in tens and read in sixteens.
#[test]
fn numbers_do_not_run_away() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mail");
    for round in 0..24 {
        let store = Store::open(&path, Options::new().chain_max(2)).unwrap();
        deliver(&store, round * 10..round * 10 + 10);
        store.close().unwrap();
    }
    let highest = files(&path)
        .into_keys()
        .filter_map(|name| u32::from_str_radix(name.split_once('.')?.0, 16).ok())
        .max();
    assert!(highest.unwrap() < 24 * 4, "{highest:?}");
    // What nobody needs any more goes.
    let images = files(&path)
        .into_keys()
        .filter(|name| name.ends_with(".img"));
    let images = images.collect::<Vec<_>>();
    assert!(images.len() <= 3, "{images:?}");
}

/// Goal: the run is lost that has the place of an account's newest image, so that an older one is its image again, and is replaced a
/// second time: the images of others in that file stay.
/// Fails when: a file is removed because so much was counted as dead, and nobody has looked.
#[test]
fn what_is_replaced_twice_is_not_two() {
    let mut sim = Sim::new();
    let options = |run| kit::options(run).chain_max(2).cache_bytes(64 << 20);
    let runs = |sim: &Sim| -> BTreeSet<String> {
        let files = sim.files().into_keys();
        files.filter(|name| name.ends_with(".run")).collect()
    };
    let mut before = BTreeSet::new();
    for run in 0..3 {
        let store = kit::open(&sim, options(run)).unwrap();
        // Not more than half of the first file, or all of it would be moved.
        deliver(&store, 0..if run == 0 { 3 } else { 40 });
        if run == 0 {
            deliver_to(&store, "berta", 0..3);
        }
        store.close().unwrap();
        let after = runs(&sim);
        if run == 1 {
            let mut files = sim.files();
            files.retain(|name, _| !after.contains(name) || before.contains(name));
            sim = Sim::from_files(files);
        }
        before = after;
    }
    let store = kit::open(&sim, options(3)).unwrap();
    for (name, many) in [("anna", 83), ("berta", 3)] {
        let inbox = store.account(name).unwrap().inbox().unwrap();
        assert_eq!(inbox.view().unwrap().len(), many);
    }
    assert_eq!(store.health().index_damage, 0);
}
