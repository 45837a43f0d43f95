//! The disk gives nothing of an account that the directory knows: that is an error of the disk, not an account that does not
//! exist, is empty, or can be deleted. What it does not give of one is counted as lost until it gives it.

use mailkeep::{Delivery, Error, Options, Store};

use crate::kit::{message, open, options, state};
use crate::sim::{Call, Fault, SECTOR, Sim};

const LOG: &str = "log/0000000000000001.seg";
const NAMES: [&str; 4] = ["anna", "bruno", "carla", "dora"];

fn made(run: u64) -> Options {
    options(run).tail_max(64 << 10).cache_bytes(0)
}

/// A store of some accounts that was closed: an opening reads no records of them.
fn closed() -> Sim {
    let sim = Sim::new();
    let store = open(&sim, made(0)).unwrap();
    for (seed, name) in (0..).zip(NAMES) {
        let inbox = store.create_account(name).unwrap().inbox().unwrap();
        for nth in 0..3 {
            let text = message(10 * seed + nth, 400);
            let kept = store.deliver(text, [Delivery::to(&inbox)]).unwrap();
            kept.wait().unwrap().remove(0).unwrap();
        }
    }
    store.close().unwrap();
    sim
}

/// Whether the disk is named as the reason.
fn of_the_disk(error: &Error) -> bool {
    matches!(
        error,
        Error::Io { .. } | Error::Damaged { .. } | Error::Stopped { .. }
    )
}

/// Asks for everything; nothing passes for gone. Returns how often the disk was given as the reason.
fn asked(store: &Store, what: &str) -> usize {
    let mut refused = 0;
    let mut told = |error: Error| {
        assert!(of_the_disk(&error), "{what}: {error:?}");
        refused += 1;
    };
    match store.accounts(None, 100) {
        Ok(mut names) => {
            names.sort();
            assert_eq!(names, NAMES, "{what}");
        }
        Err(error) => told(error),
    }
    for name in NAMES {
        let account = match store.account(name) {
            Ok(account) => account,
            Err(error) => {
                told(error);
                continue;
            }
        };
        match account.inbox().and_then(|inbox| inbox.view()) {
            Ok(view) if view.len() == 3 => {}
            // Some of its records were read: the others are counted as lost, for now.
            Ok(view) => {
                let lost = store.health().lost_records;
                assert!(lost > 0, "{what}: {} of {name}'s are shown", view.len());
            }
            Err(error) => told(error),
        }
    }
    refused
}

/// Goal: with all records and images of accounts refused, accounts are listed or the disk is blamed, deleting one fails for
/// the disk, and all are there when the disk gives again.
#[test]
fn an_account_that_cannot_be_read_is_not_gone() {
    let sim = closed();
    let shown = state(&open(&Sim::from_files(sim.files()), made(1)).unwrap());
    let store = open(&sim, made(1)).unwrap();
    for name in sim.files().keys() {
        let index = name.starts_with("index/") && name.ends_with(".img");
        if name.ends_with(".seg") || index {
            sim.fail_reads(name, 0..usize::MAX);
        }
    }
    assert!(asked(&store, "unreadable") >= NAMES.len());
    for name in NAMES {
        let deleted = store.account(name).and_then(mailkeep::Account::delete);
        let error = deleted.unwrap_err();
        assert!(of_the_disk(&error), "{name}: {error:?}");
    }
    sim.heal_reads();
    assert_eq!(asked(&store, "healed"), 0);
    assert_eq!(state(&store), shown);
}

/// Goal: the same when every read from the first, the second, and so on fails.
#[test]
fn no_account_is_gone_when_reads_fail_from_some_call_on() {
    let files = closed().files();
    let (mut runs, mut refused) = (0, 0);
    for after in 0.. {
        let sim = Sim::from_files(files.clone());
        let store = open(&sim, made(1)).unwrap();
        sim.set_fault(Some(Fault::from(&[Call::Read, Call::Bytes], after)));
        refused += asked(&store, &format!("reads fail after {after}"));
        let hits = sim.fault_hits();
        sim.set_fault(None);
        assert_eq!(asked(&store, &format!("reads failed after {after}")), 0);
        runs += 1;
        if hits == 0 {
            break;
        }
    }
    println!("{runs} runs, {refused} times the disk was blamed");
    assert!(runs > 4 && refused > runs);
}

/// A store with an image for each account, all in one file; its name, and where it names dora.
fn imaged() -> (Sim, String, Vec<usize>) {
    let sim = Sim::new();
    let store = open(&sim, options(0).chain_max(2)).unwrap();
    for name in NAMES {
        store.create_account(name).unwrap();
        (0..5).for_each(|seed| deliver(&store, name, seed));
    }
    let dora = store.account("dora").unwrap().id();
    store.close().unwrap();
    let mut files = sim.files().into_iter();
    let (name, bytes) = files.find(|(name, _)| name.ends_with(".img")).unwrap();
    let named = bytes.windows(16).enumerate();
    let named = named.filter(|(_, bytes)| *bytes == dora.as_bytes());
    (sim, name, named.map(|(at, _)| at).collect())
}

fn deliver(store: &Store, name: &str, seed: u64) {
    let inbox = store.account(name).unwrap().inbox().unwrap();
    let kept = store.deliver(message(seed, 400), [Delivery::to(&inbox)]);
    kept.unwrap().wait().unwrap().remove(0).unwrap();
}

/// Goal: an image file that is to be reclaimed and cannot be read just then is kept; it goes when it can be read.
/// Fails when: what cannot be read for a moment is given up like what is damaged.
#[test]
fn an_image_file_that_cannot_be_read_for_a_moment_is_kept() {
    let again = |sim: &Sim, run| open(sim, options(run).chain_max(2)).unwrap();
    let places = imaged().2;
    assert!(places.len() > 1, "{places:?}");
    for at in places {
        let (sim, image, _) = imaged();
        // The others' images go elsewhere; what is left is dora's.
        sim.fail_reads(&image, at..at + 1);
        let store = again(&sim, 1);
        for seed in 10..60 {
            (NAMES[..3].iter()).for_each(|name| deliver(&store, name, seed));
        }
        store.close().unwrap();
        let store = again(&sim, 2);
        (60..90).for_each(|seed| deliver(&store, "anna", seed));
        let told = store.health().index_error;
        assert!(told.is_some_and(|error| of_the_disk(&error)), "{at}");
        store.close().unwrap();
        assert!(sim.files().contains_key(&image), "{at}: it is given up");
        sim.heal_reads();
        let store = again(&sim, 3);
        (90..99).for_each(|seed| deliver(&store, "anna", seed));
        store.close().unwrap();
        assert!(!sim.files().contains_key(&image), "{at}: it stays for ever");
        let inbox = again(&sim, 4).account("dora").unwrap().inbox().unwrap();
        assert_eq!(inbox.view().unwrap().len(), 5);
    }
}

/// Where the record lies that creates something of this name, of which nothing else tells.
fn created(sim: &Sim, name: &str) -> usize {
    let content = &sim.files()[LOG];
    let mut places = (0..content.len()).filter(|at| content[*at..].starts_with(name.as_bytes()));
    let place = places.next().expect("the record that creates it");
    assert_eq!(places.next(), None);
    place
}

/// Goal: an account of which the record that created it is damaged is found by its name for as long as the index knows that,
/// however often it is loaded, given up and written to, and the store opened again.
#[test]
fn an_account_whose_creation_is_damaged_keeps_its_name() {
    let sim = closed();
    let hurt = NAMES[1];
    sim.zero_sector(LOG, created(&sim, hurt) / SECTOR);
    let mut messages = 0;
    for run in 1..4 {
        let store = open(&sim, made(run)).unwrap();
        for seed in 100 * run..100 * run + 3 {
            // Loading the next one gives this one up: nothing is kept in memory.
            NAMES.iter().for_each(|name| deliver(&store, name, seed));
            let inbox = store.account(hurt).unwrap().inbox().unwrap();
            let len = inbox.view().unwrap().len();
            assert!(len > messages, "{run}: {len}");
            messages = len;
        }
        let mut names = store.accounts(None, 100).unwrap();
        names.sort();
        assert_eq!(names, NAMES, "{run}");
        // Later an image has what there is.
        assert!(run > 1 || store.health().lost_records > 0, "not damaged");
        store.close().unwrap();
    }
    assert!(messages >= 9);
}

/// Goal: where nothing tells an account's name any more, nobody hears that there is none of that name; of other names that is
/// as certain as before.
#[test]
fn a_name_that_was_lost_is_not_one_that_nobody_has() {
    let sim = closed();
    let hurt = NAMES[1];
    let id = {
        let store = open(&sim, made(1)).unwrap();
        store.account(hurt).unwrap().id()
    };
    sim.zero_sector(LOG, created(&sim, hurt) / SECTOR);
    for name in sim.files().keys().filter(|name| name.starts_with("index/")) {
        sim.lose(name);
    }
    let store = open(&sim, made(2)).unwrap();
    let error = store.account(hurt).map(drop).unwrap_err();
    assert!(of_the_disk(&error), "{error:?}");
    let inbox = store.account_by_id(id).unwrap().inbox().unwrap();
    assert!(inbox.view().unwrap().len() >= 2, "its mail is there");
    let error = store.account("nobody").map(drop).unwrap_err();
    assert!(matches!(error, Error::NoSuchAccount { .. }), "{error:?}");
}

/// Goal: a mailbox that may be in what the disk does not give of an account is not one that does not exist: each sector of
/// the log in turn.
#[test]
fn a_mailbox_that_cannot_be_read_is_not_gone() {
    let sim = Sim::new();
    let store = open(&sim, made(0)).unwrap();
    let anna = store.create_account("anna").unwrap();
    for (seed, name) in (0..).zip(["Lists", "Sent", "Drafts"]) {
        let mailbox = anna.create_mailbox(name).unwrap();
        for to in [&mailbox, &anna.inbox().unwrap()] {
            let kept = store.deliver(message(seed, 400), [Delivery::to(to)]);
            kept.unwrap().wait().unwrap().remove(0).unwrap();
        }
    }
    store.close().unwrap();
    let written = sim.files()[LOG].iter().rposition(|byte| *byte != 0);
    let mut missed = 0;
    for sector in 0..=written.unwrap() / SECTOR {
        let store = open(&sim, made(1)).unwrap();
        for image in sim.files().keys().filter(|name| name.ends_with(".img")) {
            sim.fail_reads(image, 0..usize::MAX);
        }
        sim.fail_reads(LOG, sector * SECTOR..(sector + 1) * SECTOR);
        let anna = store.account("anna").unwrap();
        for name in ["Lists", "Sent", "Drafts"] {
            if let Err(error) = anna.mailbox(name) {
                assert!(of_the_disk(&error), "{sector}, {name}: {error:?}");
                // Some of the account was read.
                missed += usize::from(anna.mailboxes().is_ok());
            }
        }
        sim.heal_reads();
        drop((anna, store));
        let anna = open(&sim, made(2)).unwrap().account("anna").unwrap();
        let error = anna.mailbox("Nothing").map(drop).unwrap_err();
        assert!(matches!(error, Error::NoSuchMailbox { .. }), "{error:?}");
    }
    assert!(missed > 0, "the account was read as a whole or not at all");
}
