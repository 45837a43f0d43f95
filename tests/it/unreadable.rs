//! Pages that the disk does not give while a store is opened, and gives again later.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{ControlFlow, Range};

use mailkeep::{Delivery, Error, Store};

use crate::kit::{message, open, options};
use crate::sim::Sim;

const LOG: &str = "log/0000000000000001.seg";
const PAGE: usize = 4096;
/// The first page without anything of the account's creation.
const FROM: usize = 2;

fn len_of(seed: u64) -> usize {
    [60, 700, 3000, 90, 5200, 60][seed as usize % 6]
}

/// Delivers the messages of these seeds one by one; all are acknowledged. Returns which UID each got.
fn deliver(store: &Store, seeds: Range<u64>) -> BTreeMap<u32, u64> {
    let anna = match store.account("anna") {
        Ok(anna) => anna,
        Err(_) => store.create_account("anna").unwrap(),
    };
    let inbox = anna.inbox().unwrap();
    let one = |seed| {
        let commit = store.deliver(message(seed, len_of(seed)), [Delivery::to(&inbox)]);
        let kept = commit.unwrap().wait().unwrap().remove(0).unwrap();
        (kept.uid.get(), seed)
    };
    seeds.map(one).collect()
}

/// A store of 20 messages after a power cut that took all that was not synced, and the UIDs acknowledged.
fn after_a_power_cut() -> (BTreeMap<String, Vec<u8>>, BTreeMap<u32, u64>) {
    let sim = Sim::new();
    let store = open(&sim, options(0)).unwrap();
    store.create_account("anna").unwrap();
    assert!(sim.files()[LOG].len() <= FROM * PAGE);
    let acked = deliver(&store, 0..20);
    let cut = sim.crash(sim.ops_len(), &mut |_| false);
    (cut.files(), acked)
}

/// What an opening that reads none of it anew shows of `acked`, and what a verification tells of the rest.
fn shown_or_told(sim: &Sim, acked: &BTreeMap<u32, u64>, what: &str) -> usize {
    let store = open(sim, options(3).read_only(true)).unwrap();
    let report = store.verify(&mut |_| ControlFlow::Continue(())).unwrap();
    let anna = store.account("anna").unwrap();
    let told: BTreeSet<u32> = report
        .returned
        .iter()
        .filter(|returned| returned.account == anna.id() && returned.mailbox == 1)
        .filter_map(|returned| Some(returned.uid?.get()))
        .collect();
    let view = anna.inbox().unwrap().view().unwrap();
    for uid in acked.keys() {
        let shown = view.iter().any(|row| row.uid.get() == *uid);
        assert!(
            shown != told.contains(uid),
            "{what}: UID {uid}, told {told:?}"
        );
    }
    assert!(told.is_empty() || !report.is_whole());
    told.len()
}

/// Opens a store on a disk that does not give these pages of its log, delivers `more` messages, then opens it again on a
/// disk that does. Whether the first opening noticed, and how many messages a verification tells of that came back.
fn hurt_and_heal(pages: Range<usize>, more: u64) -> (bool, usize) {
    let (files, acked) = after_a_power_cut();
    let sim = Sim::from_files(files.clone());
    sim.fail_reads(LOG, pages.start * PAGE..pages.end * PAGE);
    let store = open(&sim, options(1)).unwrap();
    let noticed = !store.recovery().is_whole();
    assert_eq!(store.recovery().cut, None, "{pages:?}: nothing was torn");
    // Mail for an account that may be there must not be refused for good.
    let nobody = store.account("nobody").map(|account| account.id());
    assert!(
        match nobody {
            Err(Error::NoSuchAccount { .. }) => !noticed,
            // Also where what was not given is part of a message: nobody looks that closely.
            Err(Error::Damaged { .. }) => true,
            _ => false,
        },
        "{pages:?}: {nobody:?}"
    );
    let more = deliver(&store, 100..100 + more);
    if let Some(twice) = more.keys().find(|uid| acked.contains_key(uid)) {
        panic!("{pages:?}: UID {twice} was given twice");
    }
    store.close().unwrap();
    let written = files[LOG].iter().rposition(|byte| *byte != 0).unwrap();
    let kept = sim.files()[LOG].starts_with(&files[LOG][..=written]);
    assert!(kept, "{pages:?}: what could not be read was written over");

    sim.heal_reads();
    let told = shown_or_told(&sim, &acked, &format!("{pages:?}"));
    let again = options(2).replay_all(true).rebuild(true);
    let store = open(&sim, again).unwrap();
    store
        .wait_rebuilt(&mut |_| ControlFlow::Continue(()))
        .unwrap();
    let inbox = store.account("anna").unwrap().inbox().unwrap();
    let view = inbox.view().unwrap();
    // Behind a lost end of the log an account goes on without what it held.
    let there = |uid: &u32| view.iter().find(|row| row.uid.get() == *uid);
    for (uid, seed) in acked.iter().chain(&more) {
        match there(uid) {
            Some(row) => {
                let bytes = view.message(row.uid).unwrap().bytes().unwrap();
                assert!(
                    bytes == message(*seed, len_of(*seed)),
                    "{pages:?}, UID {uid}"
                );
            }
            None => assert!(noticed && !more.is_empty(), "{pages:?}: UID {uid} is lost"),
        }
    }
    (noticed, told)
}

/// Goal: a page that the disk does not give is not taken for zeroes, and so not for the end of the log or a torn tail: what
/// was acknowledged there is neither cut off nor written over, and its UIDs are not given again. Once the disk gives the page
/// it is all there, or its account went on without: of that a verification tells.
/// Fails when: `Scanner::looks` sees zeroes in such a page, or the numbers that it may hold are given to others.
#[test]
fn an_unreadable_end_of_the_log_is_no_torn_tail() {
    let pages = after_a_power_cut().0[LOG].len().div_ceil(PAGE);
    assert!(pages > FROM + 6, "batches lie in several pages");
    let (mut noticed, mut told) = (0, 0);
    for first in FROM..pages {
        for count in [1, 2, pages - first] {
            for more in [0, 12] {
                let (hurt, returned) = hurt_and_heal(first..first + count, more);
                noticed += usize::from(hurt);
                told += returned;
            }
        }
    }
    assert!(
        told > 100,
        "{told}: of what comes back a verification tells"
    );
    assert!(noticed > 2 * (pages - FROM), "most of it is noticed");
}

/// Goal: what was fenced since the disk did not give it, but never left its account's chain, is no mail that came back: an
/// account whose row knew of it names it in what came next, also where that is segments away.
#[test]
fn what_an_account_still_has_is_not_told_as_come_back() {
    // No image: it would have what the log does not give.
    let plain = |run| options(run).chain_max(u32::MAX);
    let sim = Sim::new();
    let store = open(&sim, plain(0)).unwrap();
    let mut acked = deliver(&store, 0..20);
    store.close().unwrap();
    let pages = sim.files()[LOG].len().div_ceil(PAGE);
    for first in (FROM..pages - 2).step_by(3) {
        for more in [1, 90] {
            let sim = Sim::from_files(sim.files());
            let store = open(&sim, plain(1)).unwrap();
            sim.fail_reads(LOG, first * PAGE..(first + 1) * PAGE);
            let anna = store.account("anna").unwrap();
            let given = anna.inbox().and_then(|inbox| inbox.view());
            let given = given.map_or(0, |view| view.iter().count());
            assert!(given < acked.len(), "page {first}: nothing is missing");
            drop(anna);
            acked.extend(deliver(&store, 100..100 + more));
            store.close().unwrap();
            let logs = sim.files().into_keys();
            let logs = logs.filter(|name| name.ends_with(".seg")).count();
            assert!(more < 90 || logs > 3, "{logs} segments");
            sim.heal_reads();
            let told = shown_or_told(&sim, &acked, &format!("page {first}, {more} more"));
            assert_eq!(told, 0, "page {first}, {more} more");
            acked.retain(|_, seed| *seed < 100);
        }
    }
}

/// Goal: where a segment with losses is gone, or is not what it was, a verification says that that is damage, and goes on.
#[test]
fn what_came_back_is_looked_for_in_a_segment_that_is_damaged() {
    const OTHER: &str = "log/other";
    let other = Sim::from_files(BTreeMap::new());
    let store = open(&other, options(77)).unwrap();
    deliver(&store, 0..20);
    store.close().unwrap();
    let (files, _) = after_a_power_cut();
    let pages = files[LOG].len().div_ceil(PAGE);
    let sim = Sim::from_files(files);
    sim.fail_reads(LOG, (pages - 3) * PAGE..pages * PAGE);
    let store = open(&sim, options(1)).unwrap();
    deliver(&store, 100..104);
    store.close().unwrap();
    let mut files = sim.files();
    files.insert(OTHER.into(), other.files()[LOG].clone());
    let harms: [&dyn Fn(&Sim); 3] = [
        &|sim| sim.truncate(LOG, 0),
        &|sim| sim.zero_sector(LOG, 0),
        &|sim| (0..8).for_each(|at| sim.copy_sector((OTHER, at), (LOG, at))),
    ];
    for (at, harm) in harms.iter().enumerate() {
        let sim = Sim::from_files(files.clone());
        let store = open(&sim, options(3).read_only(true)).unwrap();
        let verify = || store.verify(&mut |_| ControlFlow::Continue(()));
        let before = verify().unwrap();
        assert!(!before.returned.is_empty());
        harm(&sim);
        let report = verify().unwrap_or_else(|error| panic!("harm {at}: {error}"));
        assert!(report.damage.len() > before.damage.len(), "harm {at}");
    }
}
