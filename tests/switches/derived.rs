//! Goal: what the index says never takes back what was shown, and what it names is there as long as it is named.

use std::sync::mpsc::channel;
use std::time::Duration;

use mailkeep::{Delivery, Store};

use crate::kit::{deliver, message, open, options, state, steps, tried};
use crate::sim::{Call, Fault, SECTOR, Sim};

const FIRST: &str = "log/0000000000000001.seg";
const CHECKPOINT: &str = "index/CHECKPOINT";

fn send(store: &Store, to: &str, seed: u64, len: usize) {
    let inbox = store.account(to).unwrap().inbox().unwrap();
    let kept = store.deliver(message(seed, len), [Delivery::to(&inbox)]);
    kept.unwrap().wait().unwrap().remove(0).unwrap();
}

/// The sectors of the first segment that `change` wrote.
fn written(sim: &Sim, change: impl FnOnce()) -> Vec<usize> {
    let before = sim.files()[FIRST].clone();
    change();
    let after = &sim.files()[FIRST];
    let old = |at: usize| before.get(at * SECTOR..(at + 1) * SECTOR);
    let sectors = after.chunks(SECTOR).enumerate();
    let new = sectors.filter(|(at, sector)| old(*at) != Some(sector));
    new.map(|(at, _)| at).collect()
}

fn lose(sim: &Sim, sectors: &[usize]) {
    sectors.iter().for_each(|at| sim.zero_sector(FIRST, *at));
}

/// For once the checkpoint cannot be found: the files that it names are not written over.
#[test]
fn what_a_checkpoint_names_is_not_written_over() {
    let sim = Sim::new();
    let store = open(&sim, tried(0)).unwrap();
    for step in &steps()[..22] {
        (step.run)(&store, step.durability).unwrap();
    }
    store.close().unwrap();
    let before = sim.files();
    sim.lose(CHECKPOINT);
    let store = open(&sim, tried(1)).unwrap();
    // No other gets its name meanwhile.
    sim.set_fault(Some(Fault::from(&[Call::Rename], 0)));
    for seed in 0..30 {
        deliver(&store, seed, 9_000).unwrap();
    }
    assert!(sim.fault_hits() > 0, "no checkpoint was due");
    let expected = state(&store);
    let mut files = sim.files();
    files.insert(CHECKPOINT.into(), before[CHECKPOINT].clone());
    let store = open(&Sim::from_files(files), tried(2)).unwrap();
    assert_eq!(state(&store), expected);
    assert_eq!(store.health().index_damage, 0, "{}", store.health());
}

/// A loss was logged since the image was written: the account skipped ahead once, and not again when it is loaded.
#[test]
fn an_image_does_not_grow_over_a_logged_loss() {
    let sim = Sim::new();
    let store = open(&sim, options(0)).unwrap();
    for name in ["anna", "bruno"] {
        store.create_account(name).unwrap();
    }
    (0..40).for_each(|seed| send(&store, "anna", seed, 100));
    let lost = written(&sim, || send(&store, "bruno", 50, 100));
    send(&store, "anna", 60, 100);
    store.close().unwrap();
    // Who is loaded gets an image: not bruno.
    let store = open(&sim, tried(1)).unwrap();
    (70..76).for_each(|seed| send(&store, "anna", seed, 100));
    store.close().unwrap();
    lose(&sim, &lost);
    let store = open(&sim, tried(2)).unwrap();
    assert_eq!(store.health().lost_records, 0);
    let bruno = store.account("bruno").unwrap().inbox().unwrap();
    assert_eq!(bruno.view().unwrap().len(), 0);
    assert_eq!(store.health().lost_records, 1, "found, and logged");
    (80..86).for_each(|seed| send(&store, "anna", seed, 100));
    let expected = state(&store);
    store.close().unwrap();
    let store = open(&sim, tried(3)).unwrap();
    assert_eq!(state(&store), expected);
    assert_eq!(store.health().index_damage, 0);
}

/// The last record of an account is lost, and its row knows of it: the account is shown without it, and goes on behind it.
#[test]
fn an_account_without_its_last_record_goes_on_behind_it() {
    let sim = Sim::new();
    let store = open(&sim, options(0)).unwrap();
    for name in ["anna", "bruno"] {
        store.create_account(name).unwrap();
    }
    (0..4).for_each(|seed| send(&store, "anna", seed, 100));
    let lost = written(&sim, || send(&store, "anna", 5, 100));
    send(&store, "bruno", 6, 100);
    store.close().unwrap();
    lose(&sim, &lost);
    let (tell, told) = channel();
    std::thread::spawn(move || {
        // A reader can log no loss; a writer does.
        for read_only in [true, false] {
            let store = open(&sim, options(1).read_only(read_only)).unwrap();
            let inbox = store.account("anna").unwrap().inbox().unwrap();
            tell.send(inbox.view().unwrap().len()).unwrap();
            tell.send(store.health().lost_records as usize).unwrap();
            if !read_only {
                let next = deliver(&store, 7, 100).unwrap();
                tell.send(next as usize).unwrap();
            }
        }
    });
    let told = || told.recv_timeout(Duration::from_secs(20)).unwrap();
    // Messages, and losses that are told.
    assert_eq!((told(), told()), (4, 1), "read-only");
    assert_eq!((told(), told()), (4, 1));
    assert!(told() > 5, "a UID is given again");
}

/// Nothing is left of an account, and only a rebuild of the index finds that something is lost: who gets its name next
/// has other UIDVALIDITYs.
#[test]
fn a_name_of_lost_history_gets_a_greater_uidvalidity() {
    let sim = Sim::new();
    let store = open(&sim, options(0)).unwrap();
    deliver(&store, 0, 100).unwrap();
    let validity = |store: &Store| {
        let carol = store.create_account("carol").unwrap();
        carol.inbox().unwrap().status().unwrap().uid_validity
    };
    let mut before = None;
    // Before the segment gets its footer, which would name the account.
    let lost = written(&sim, || before = Some(validity(&store)));
    lose(&sim, &lost);
    (1..20).for_each(|seed| send(&store, "anna", seed, 9_000));
    store.close().unwrap();
    let index: Vec<String> = sim.files().into_keys().collect();
    for name in index.iter().filter(|name| name.starts_with("index/")) {
        sim.lose(name);
    }
    let store = open(&sim, options(1)).unwrap();
    (20..40).for_each(|seed| send(&store, "anna", seed, 100));
    assert!(store.health().lost_records > 0, "{}", store.health());
    let (before, after) = (before.unwrap(), validity(&store));
    assert!(after > before, "{after} after {before}");
}
