//! An account that was loaded while the disk gave only a part of it: what is missing comes when the disk gives it and somebody
//! asks, in the open store, and what was delivered meanwhile is where it was sent to.

use std::collections::BTreeMap;
use std::ops::Range;

use mailkeep::format::PAGE;
use mailkeep::{Accepted, Delivery, Error, Options, Recipient, Result, Store};

use crate::kit::{message, open, options, state};
use crate::sim::Sim;

const NAMES: [&str; 3] = ["anna", "bruno", "carla"];

/// Nothing of it lies in an image: all is read from the log. Accounts stay in memory.
fn plain(run: u64) -> Options {
    options(run).chain_max(1000).cache_bytes(64 << 20)
}

/// A store that was closed: accounts with mailboxes in several segments, the newest of which has records of each.
fn closed() -> Sim {
    let sim = Sim::new();
    let store = open(&sim, plain(0)).unwrap();
    for (seed, name) in (0..).zip(NAMES) {
        store.create_account(name).unwrap();
        deliver(&store, seed, name, "INBOX", 9_000);
    }
    for round in 1..6 {
        for (seed, name) in (10 * round..).zip(NAMES) {
            let account = store.account(name).unwrap();
            let mailbox = format!("Box {round}");
            account.create_mailbox(&mailbox).unwrap();
            deliver(&store, seed, name, &mailbox, 9_000);
        }
    }
    store.close().unwrap();
    sim
}

/// The pages of all segments.
fn pages(files: &BTreeMap<String, Vec<u8>>) -> Vec<(&str, Range<usize>)> {
    let segments = files.iter().filter(|(name, _)| name.ends_with(".seg"));
    let pages = segments.flat_map(|(name, content)| {
        let written = content.iter().rposition(|byte| *byte != 0);
        let starts = (0..=written.unwrap_or(0)).step_by(PAGE);
        starts.map(|at| (&**name, at..at + PAGE))
    });
    pages.collect()
}

fn deliver(store: &Store, seed: u64, account: &str, mailbox: &str, len: usize) {
    let to = store.account(account).unwrap().mailbox(mailbox).unwrap();
    let kept = store.deliver(message(seed, len), [Delivery::to(&to)]);
    kept.unwrap().wait().unwrap().remove(0).unwrap();
}

fn by_name(store: &Store, seed: u64, account: &str, mailbox: &str) -> Result<Accepted> {
    let to = [Recipient::new(account, mailbox)];
    store.deliver_to(message(seed, 300), to)?.wait()?.remove(0)
}

/// How many messages each mailbox has, as far as the store gives them.
fn counts(store: &Store, name: &str) -> BTreeMap<String, usize> {
    let account = store.account(name).unwrap();
    let mailboxes = account.mailboxes().unwrap().into_iter();
    let counts = mailboxes.map(|info| {
        let view = account.mailbox(&info.name).unwrap().view().unwrap();
        (info.name, view.len())
    });
    counts.collect()
}

/// Asks for each mailbox of an account of which a part is not given, and sends mail to each. One that is missing is not said
/// not to be there, and mail for it waits. Returns how many are missing.
fn in_part(store: &Store, name: &str, seed: u64, twice: bool) -> Option<usize> {
    let account = match store.account(name) {
        Ok(account) => account,
        Err(error) => {
            assert!(!matches!(error, Error::NoSuchAccount { .. }), "{error:?}");
            return None;
        }
    };
    let mut missing = 0;
    for round in 1..6 {
        let mailbox = format!("Box {round}");
        let found = account.mailbox(&mailbox).and_then(|found| found.view());
        let gone = matches!(found, Err(Error::NoSuchMailbox { .. }));
        assert!(!gone, "{mailbox} of {name}: {found:?}");
        missing += usize::from(found.is_err());
        for more in 0..1 + u64::from(twice) {
            let kept = by_name(store, seed + 2 * round + more, name, &mailbox).unwrap();
            if found.is_err() {
                assert!(matches!(kept, Accepted::Deferred(_)), "{mailbox}: {kept:?}");
            }
        }
    }
    Some(missing)
}

/// Goal: each page in turn is not given while the accounts are loaded. When it is given again, what was missing is there in
/// the same store, mail that waited has its UIDs in the mailboxes it was sent to, nothing counts as lost, and another opening
/// shows the same.
/// Fails when: what was loaded in part stays as it was loaded.
#[test]
fn what_was_not_given_for_a_moment_is_loaded_when_it_is() {
    let files = closed().files();
    let mut in_parts = 0;
    for (nth, (segment, page)) in pages(&files).into_iter().enumerate() {
        let background = nth % 4 == 0;
        let sim = Sim::from_files(files.clone());
        let store = open(&sim, plain(1).background(background)).unwrap();
        sim.fail_reads(segment, page.clone());
        for (seed, name) in (100..).step_by(100).zip(NAMES) {
            let missing = in_part(&store, name, seed, background);
            in_parts += usize::from(missing.is_some_and(|missing| missing > 0));
        }
        sim.heal_reads();
        for name in NAMES {
            let more = 1 + usize::from(background);
            let boxes = (1..6).map(|round| (format!("Box {round}"), 1 + more));
            let all: BTreeMap<_, _> = boxes.chain([("INBOX".to_owned(), 1)]).collect();
            assert_eq!(
                counts(&store, name),
                all,
                "{name} without {segment} {page:?}"
            );
            let kept = by_name(&store, 900, name, "Box 1").unwrap();
            assert!(matches!(kept, Accepted::Delivered(_)), "{kept:?}");
        }
        let health = store.health();
        assert_eq!((health.deferred, health.lost_records), (0, 0), "{health}");
        let shown = state(&store);
        store.close().unwrap();
        assert_eq!(state(&open(&sim, plain(2)).unwrap()), shown);
    }
    println!("{in_parts} accounts were loaded in part");
    assert!(in_parts > 2 * NAMES.len());
}

/// Goal: while an account is in memory in part, the disk fails elsewhere: what was shown stays shown, until all is given.
/// Fails when: what is read again replaces what had something else.
#[test]
fn what_is_shown_stays_where_the_disk_fails_elsewhere() {
    let files = closed().files();
    let pages = pages(&files);
    let mut in_part = 0;
    for (nth, first) in pages.iter().enumerate() {
        for second in pages.iter().skip(nth % 5).step_by(5) {
            let sim = Sim::from_files(files.clone());
            let store = open(&sim, plain(1)).unwrap();
            let shown = |name| {
                let account = store.account(name).ok()?;
                let mailboxes = account.mailboxes().ok()?;
                Some(mailboxes.into_iter().map(|info| info.name).collect())
            };
            sim.fail_reads(first.0, first.1.clone());
            let before: Vec<Option<Vec<String>>> = NAMES.into_iter().map(shown).collect();
            sim.heal_reads();
            sim.fail_reads(second.0, second.1.clone());
            for (name, before) in NAMES.into_iter().zip(before) {
                let before = before.filter(|before| before.len() < 6);
                let Some(before) = before else { continue };
                let now: Vec<String> = shown(name).expect("it was shown");
                let kept = before.iter().all(|mailbox| now.contains(mailbox));
                assert!(kept, "{name}: {before:?}, then {now:?}");
                in_part += 1;
            }
            sim.heal_reads();
            for name in NAMES {
                assert_eq!(counts(&store, name).len(), 6, "{name}");
            }
        }
    }
    println!("{in_part} accounts were in memory in part");
    assert!(in_part > 0);
}
