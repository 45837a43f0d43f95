//! An account's base lies in a part of the log that no run of the index covers, and what is older knows the account, too.

use std::collections::BTreeSet;

use mailkeep::format::{PAGE, SECTOR};
use mailkeep::{Delivery, Error, FlagChange, Flags, Store, UidSet};

use crate::kit::{deliver, message, open, options};
use crate::sim::Sim;

/// Delivers so many messages to an INBOX; the last UID.
fn send(store: &Store, name: &str, count: u64) -> u32 {
    let inbox = store.account(name).unwrap().inbox().unwrap();
    let one = |seed| {
        let kept = store.deliver(message(seed, 300), [Delivery::to(&inbox)]);
        let kept = kept.unwrap().wait().unwrap().remove(0).unwrap();
        kept.uid.get()
    };
    (0..count).map(one).fold(0, |_, uid| uid)
}

fn runs(sim: &Sim) -> Vec<String> {
    let names = sim.files().into_keys();
    names.filter(|name| name.ends_with(".run")).collect()
}

/// Goal: what happened between an older run and the base is not passed over: no UID that was given there is given again, and
/// the account has the name that it got there.
/// Fails when: the row that the base and what follows it make is put on top of the older run's, as if it were all of it.
#[test]
fn what_lies_before_a_base_is_not_passed_over() {
    for renamed in [false, true] {
        let sim = Sim::new();
        let store = open(&sim, options(0)).unwrap();
        store.create_account("berta").unwrap();
        assert_eq!(send(&store, "berta", 3), 3);
        store.close().unwrap();
        let older = runs(&sim);
        assert_eq!(older.len(), 1, "{older:?}");

        let store = open(&sim, options(1)).unwrap();
        let last = send(&store, "berta", 5);
        let berta = store.account("berta").unwrap();
        let name = match renamed {
            true => {
                berta.rename("carla").unwrap();
                "carla"
            }
            false => "berta",
        };
        berta.write_base().unwrap();
        let inbox = berta.inbox().unwrap();
        let seen = FlagChange::add(Flags::SEEN);
        inbox
            .flag(&UidSet::full(), &seen, None)
            .unwrap()
            .wait()
            .unwrap();
        drop((berta, inbox));
        // Until it has a footer.
        store.create_account("anna").unwrap();
        for seed in 0..3 {
            deliver(&store, seed, 50_000).unwrap();
        }
        store.close().unwrap();
        let newer: Vec<String> = runs(&sim);
        let newer: Vec<&String> = newer.iter().filter(|name| !older.contains(name)).collect();
        assert!(
            !newer.is_empty() && runs(&sim).contains(&older[0]),
            "{newer:?}"
        );
        newer.iter().for_each(|name| sim.lose(name));

        let store = open(&sim, options(2)).unwrap();
        match store.account("berta") {
            Ok(_) => assert!(!renamed, "it is called carla now"),
            Err(error) => {
                let gone = matches!(error, Error::NoSuchAccount { .. });
                assert!(renamed && gone, "{error}");
            }
        }
        assert_eq!(send(&store, name, 1), last + 1, "of {last} given UIDs");
    }
}

/// Goal: the index is gone, and a segment in front of the base has no footer, since that is damaged: what was found behind
/// it is newer than what lies in it.
/// Fails when: a segment without a footer is taken for the log's last.
#[test]
fn a_segment_whose_footer_is_damaged_is_not_the_newest() {
    let sim = Sim::new();
    let store = open(&sim, options(0)).unwrap();
    store.create_account("berta").unwrap();
    store.create_account("anna").unwrap();
    let rotate = || {
        for seed in 0..3 {
            deliver(&store, seed, 50_000).unwrap();
        }
    };
    send(&store, "berta", 3);
    rotate();
    let last = send(&store, "berta", 5);
    let berta = store.account("berta").unwrap();
    berta.write_base().unwrap();
    drop(berta);
    rotate();
    store.close().unwrap();
    let mut files = sim.files();
    files.retain(|name, _| !name.starts_with("index/"));
    let log = files.keys().find(|name| name.ends_with(".seg")).unwrap();
    let end = files[log].len() / SECTOR;
    let mut given = BTreeSet::new();
    for sector in end - 5 * PAGE / SECTOR..end {
        let sim = Sim::from_files(files.clone());
        sim.flip(log, sector * SECTOR * 8 + 8 * 20);
        let store = open(&sim, options(1)).unwrap();
        given.insert(send(&store, "berta", 1));
    }
    assert_eq!(given, BTreeSet::from([last + 1]), "of {last} given UIDs");
}
