//! Closing while others are at work.
//!
//! Goal: nothing is written by who does not hold the writer's lock. From the moment it is given back another process may
//! have the store, and what is written into its files then is damage.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mailkeep::io::Storage;
use mailkeep::{Delivery, Error, Options, Recipient, Result, Store};

use super::disk::{Pauses, Slow};
use crate::harm::Dice;
use crate::kit::{self, assert_whole, env, message};
use crate::seam::Seam;
use crate::sim::{Call, Sim};

const WRITES: [Call; 6] = [
    Call::Write,
    Call::Sync,
    Call::Rename,
    Call::Remove,
    Call::SyncDir,
    Call::SetLen,
];

/// A disk that notes what is done to it while nobody has the lock.
fn watched(sim: &Sim, pauses: &Arc<Pauses>) -> (Arc<dyn Storage>, Arc<Mutex<Vec<String>>>) {
    let (found, disk) = (Arc::new(Mutex::new(Vec::new())), sim.clone());
    let noted = Arc::clone(&found);
    let watch = Seam::over(sim.storage(), move |call, name| {
        if WRITES.contains(&call) && disk.lock("LOCK", "nobody").is_ok() {
            let here = std::thread::current();
            let here = here.name().unwrap_or("?").to_owned();
            noted
                .lock()
                .unwrap()
                .push(format!("{call:?} of {name} by {here}"));
        }
        Ok(())
    });
    (Slow::over(watch, pauses), found)
}

/// What a thread does until the store is closed.
fn work(store: &Store, dice: &mut Dice, made: &AtomicUsize) -> Result<()> {
    let seed = made.fetch_add(1, Ordering::Relaxed) as u64;
    let name = format!("a{}", dice.below(3));
    let account = store.account(&name)?;
    match dice.below(8) {
        0 => {
            let large = message(seed, (1 << 20) + 1);
            let to = [Delivery::to(&account.inbox()?)];
            store.deliver(&large, to)?.wait().map(|_| ())
        }
        1 => {
            let to = [Recipient::new(&name, "INBOX")];
            store
                .deliver_to(message(seed, 9_000), to)?
                .wait()
                .map(|_| ())
        }
        2 => account.create_mailbox(&format!("m{seed}")).map(|_| ()),
        3 => store.create_account(&format!("n{seed}")).map(|_| ()),
        4 => account.write_base(),
        5 => store.wait_rebuilt(&mut |_| std::ops::ControlFlow::Continue(())),
        6 => account.receipt().map(|_| ()),
        _ => {
            let to = [Delivery::to(&account.inbox()?)];
            store.deliver(message(seed, 20_000), to)?.wait().map(|_| ())
        }
    }
}

fn options(seed: u64) -> Options {
    kit::tried(seed)
        .background(seed.is_multiple_of(2))
        .prepare(seed.is_multiple_of(4))
}

/// One run: threads that write, of which some close the store.
fn run(seed: u64) {
    let sim = Sim::new();
    {
        let store = kit::open(&sim, kit::options(seed)).unwrap();
        for account in 0..3 {
            store.create_account(&format!("a{account}")).unwrap();
        }
        store.close().unwrap();
    }
    // Something to rebuild, too.
    if seed.is_multiple_of(3) {
        crate::harm::lose_all(&sim);
    }
    let (disk, found) = watched(&sim, &Pauses::new(seed, 8));
    let store = Store::open_on(disk, options(seed)).unwrap();
    found.lock().unwrap().clear();
    let (made, closed) = (AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for number in 0..3 {
            let (store, made, closed) = (store.clone(), &made, &closed);
            scope.spawn(move || {
                let mut dice = Dice::new(seed ^ (number + 1) << 20);
                while !closed.load(Ordering::SeqCst) {
                    match work(&store, &mut dice, made) {
                        Ok(()) | Err(Error::Closed) => {}
                        Err(error) => panic!("{error:?}, seed {seed}"),
                    }
                }
            });
        }
        let two = [store.clone(), store.clone()];
        std::thread::sleep(Duration::from_micros(1 + seed * 977 % 30_000));
        let closers = two.map(|store| scope.spawn(move || store.close()));
        for closer in closers {
            closer.join().unwrap().unwrap();
        }
        std::thread::sleep(Duration::from_millis(5));
        closed.store(true, Ordering::SeqCst);
    });
    let found = found.lock().unwrap();
    assert!(found.is_empty(), "without the lock, seed {seed}: {found:?}");
    drop(store);
    let store = kit::open(&sim, kit::options(1 << 30)).unwrap();
    assert!(store.recovery().is_whole(), "{}", store.recovery());
    assert_whole(&store);
}

#[test]
fn nothing_is_written_without_the_lock() {
    let first = env("MAILKEEP_FIRST", 1);
    for seed in first..first + env("MAILKEEP_CLOSINGS", 40) {
        run(seed);
    }
}
