//! Many threads on many accounts with next to no memory: no deadlock, no lost change, no UID twice, whatever is dropped
//! and loaded meanwhile.
//!
//! `MAILKEEP_ROUNDS` says how many changes each thread makes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use mailkeep::{Delivery, Digest, Durability, FlagChange, Flags, Options, Store, Uid, UidSet};

use crate::harm::{Dice, harm};
use crate::kit::{env, message, open, receipts};
use crate::sim::{Sim, SimHost};

const ACCOUNTS: usize = 40;
const THREADS: u64 = 16;

fn options() -> Options {
    Options::new()
        .segment_len(256 << 10)
        .tail_max(64 << 10)
        .chain_max(1)
        .cache_bytes(2 << 10)
        .durability(Durability::Written)
}

fn name(at: usize) -> String {
    format!("account-{at}")
}

/// Account, UID: digest of what was delivered, and whether it was flagged.
type Mail = BTreeMap<(usize, u32), (Digest, bool)>;

/// What one thread did, by what it was told.
fn work(store: &Store, thread: u64, rounds: u64) -> Mail {
    let mut dice = Dice::new(thread + 1);
    let mut mine = Mail::new();
    for round in 0..rounds {
        let at = dice.below(ACCOUNTS);
        let account = store.account(&name(at)).unwrap();
        match dice.below(8) {
            0 => {
                let view = account.inbox().unwrap().view().unwrap();
                let here = mine.range((at, 0)..=(at, u32::MAX));
                for ((_, uid), (digest, flagged)) in here {
                    let uid = Uid::new(*uid).unwrap();
                    let row = view.iter().find(|row| row.uid == uid).unwrap();
                    assert_eq!(row.flags.contains(Flags::FLAGGED), *flagged);
                    let bytes = view.message(uid).unwrap().bytes().unwrap();
                    assert_eq!(Digest::of(&bytes), *digest);
                }
            }
            1 | 2 => {
                let here = mine.range_mut((at, 0)..=(at, u32::MAX)).next_back();
                if let Some(((_, uid), (_, flagged))) = here {
                    let set: UidSet = [Uid::new(*uid).unwrap()].into_iter().collect();
                    let change = FlagChange::add(Flags::FLAGGED);
                    let inbox = account.inbox().unwrap();
                    inbox.flag(&set, &change, None).unwrap().wait().unwrap();
                    *flagged = true;
                }
            }
            3 => assert_eq!(store.accounts(None, 1000).unwrap().len(), ACCOUNTS),
            _ => {
                let body = message(thread << 32 | round, 200);
                let other = dice.below(ACCOUNTS);
                let to: Vec<_> = [at, other][..1 + usize::from(at != other)]
                    .iter()
                    .map(|at| store.account(&name(*at)).unwrap().inbox().unwrap())
                    .collect();
                let kept = store.deliver(&body, to.iter().map(Delivery::to)).unwrap();
                let kept = kept.wait().unwrap();
                for (at, kept) in [at, other].into_iter().zip(kept) {
                    let uid = kept.unwrap().uid.get();
                    let before = mine.insert((at, uid), (Digest::of(&body), false));
                    assert!(before.is_none(), "UID {uid} twice");
                }
            }
        }
    }
    mine
}

/// Runs the threads; a deadlock ends the test instead of hanging it.
fn run(store: &Store, rounds: u64) -> Mail {
    let (done, ended) = channel();
    let (start, steps) = (
        Arc::new(Barrier::new(THREADS as usize)),
        Arc::new(AtomicU64::new(0)),
    );
    for thread in 0..THREADS {
        let (store, done, start) = (store.clone(), done.clone(), Arc::clone(&start));
        let steps = Arc::clone(&steps);
        std::thread::spawn(move || {
            start.wait();
            let mail = work(&store, thread, rounds);
            steps.fetch_add(1, Ordering::SeqCst);
            done.send(mail).unwrap();
        });
    }
    drop(done);
    let mut all = Mail::new();
    for _ in 0..THREADS {
        let mail = match ended.recv_timeout(Duration::from_secs(120)) {
            Ok(mail) => mail,
            Err(RecvTimeoutError::Timeout) => {
                panic!("hangs: {} ended", steps.load(Ordering::SeqCst))
            }
            Err(RecvTimeoutError::Disconnected) => panic!("a thread failed"),
        };
        for (key, value) in mail {
            assert!(all.insert(key, value).is_none(), "{key:?} was given twice");
        }
    }
    all
}

fn holds(store: &Store, mail: &Mail) {
    let mut found = Mail::new();
    for at in 0..ACCOUNTS {
        let view = store
            .account(&name(at))
            .unwrap()
            .inbox()
            .unwrap()
            .view()
            .unwrap();
        for row in view.iter() {
            let digest = Digest::of(&view.message(row.uid).unwrap().bytes().unwrap());
            let flagged = row.flags.contains(Flags::FLAGGED);
            found.insert((at, row.uid.get()), (digest, flagged));
        }
    }
    assert!(found == *mail, "{} of {}", found.len(), mail.len());
}

fn no_update_is_lost(options: impl Fn() -> Options) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mail");
    let store = Store::open(&path, options()).unwrap();
    for at in 0..ACCOUNTS {
        store.create_account(&name(at)).unwrap();
    }
    let mail = run(&store, env("MAILKEEP_ROUNDS", 300));
    holds(&store, &mail);
    let before = receipts(&store);
    let health = store.health();
    assert!(
        health.index_damage == 0 && health.index_error.is_none(),
        "{health}"
    );
    store.close().unwrap();
    let store = Store::open(&path, options()).unwrap();
    assert_eq!(receipts(&store), before);
    holds(&store, &mail);
    store.close().unwrap();
    // By the log alone.
    std::fs::remove_dir_all(path.join("index")).unwrap();
    let store = Store::open(&path, options()).unwrap();
    assert_eq!(receipts(&store), before);
}

#[test]
fn threads_lose_no_update_while_accounts_are_dropped() {
    no_update_is_lost(options);
}

/// The same where every step of the index is made by whoever commits.
#[test]
fn threads_lose_no_update_where_they_save_the_index() {
    no_update_is_lost(|| options().background(false));
}

/// The same while the index is saved and read by all of them, and something befalls its files all the time.
#[test]
fn threads_lose_no_update_whatever_befalls_the_index() {
    let sim = Sim::new();
    let options = |run: u64| {
        let host = SimHost::new(1_700_000_000_000, (run + 1) << 40);
        options().host(Arc::new(host))
    };
    let store = open(&sim, options(0)).unwrap();
    for at in 0..ACCOUNTS {
        store.create_account(&name(at)).unwrap();
    }
    let stop = Arc::new(AtomicBool::new(false));
    let harming = {
        let (sim, stop) = (sim.clone(), Arc::clone(&stop));
        std::thread::spawn(move || {
            let mut done = 0;
            while !stop.load(Ordering::SeqCst) {
                done += 1;
                harm(&sim, env("MAILKEEP_SEED", 1) << 32 | done);
                std::thread::sleep(Duration::from_millis(5));
            }
            done
        })
    };
    let mail = run(&store, env("MAILKEEP_ROUNDS", 300));
    holds(&store, &mail);
    stop.store(true, Ordering::SeqCst);
    assert!(harming.join().unwrap() > 3);
    let before = receipts(&store);
    let health = store.health();
    assert!(health.whole && health.stopped.is_none(), "{health}");
    store.close().unwrap();
    let store = open(&sim, options(1)).unwrap();
    assert_eq!(receipts(&store), before);
    holds(&store, &mail);
}
