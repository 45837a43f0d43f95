//! Writing the index fails, call by call: no change of mail does, what is shown stays right, and health says so.
//!
//! `MAILKEEP_EVERY` sets how many calls are passed over between two that fail.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mailkeep::{Options, Store};

use crate::kit::{assert_whole, deliver, env, options, receipts, state, steps, tried};
use crate::seam::Seam;
use crate::sim::{Call, ERRORS, Sim};

/// Which calls of files in `index/` fail.
#[derive(Clone, Copy)]
struct Plan {
    calls: &'static [Call],
    after: usize,
    forever: bool,
    error: fn() -> io::Error,
}

/// EIO, ENOSPC, EROFS.
const SOME: [fn() -> io::Error; 3] = [ERRORS[0], ERRORS[1], ERRORS[3]];

/// Opens the store over a disk on which the plan holds once `armed` is passed; returns how often it struck.
fn open(sim: &Sim, plan: Plan, options: Options) -> (mailkeep::Result<Store>, Arc<AtomicUsize>) {
    let (counted, hits) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
    let struck = Arc::clone(&hits);
    let seam = Seam::over(sim.storage(), move |call, name| {
        let index = name == "index" || name.starts_with("index/");
        if !index || !plan.calls.contains(&call) {
            return Ok(());
        }
        let nth = counted.fetch_add(1, Ordering::SeqCst);
        if nth == plan.after || (plan.forever && nth > plan.after) {
            struck.fetch_add(1, Ordering::SeqCst);
            return Err((plan.error)());
        }
        Ok(())
    });
    (Store::open_on(seam, options), hits)
}

/// What the workload shows after each step where nothing fails.
fn expected() -> Vec<String> {
    let sim = Sim::new();
    crate::kit::open(&sim, tried(0)).unwrap().close().unwrap();
    let store = crate::kit::open(&sim, tried(0)).unwrap();
    let shown = steps().into_iter().map(|step| {
        (step.run)(&store, step.durability).unwrap();
        state(&store)
    });
    shown.collect()
}

/// One run with one plan; how often it struck.
fn run(plan: Plan, expected: &[String]) -> usize {
    let sim = Sim::new();
    let what = format!("call {}, forever: {}", plan.after, plan.forever);
    crate::kit::open(&sim, tried(0)).unwrap().close().unwrap();
    let (store, hits) = open(&sim, plan, tried(0));
    let store = store.unwrap_or_else(|error| panic!("{what}: {error}"));
    for (step, expected) in steps().into_iter().zip(expected) {
        (step.run)(&store, step.durability).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(state(&store) == *expected, "{what}");
    }
    let health = store.health();
    assert!(health.stopped.is_none() && health.whole, "{what}: {health}");
    let hits = hits.load(Ordering::SeqCst);
    if plan.forever && hits > 30 && plan.calls.contains(&Call::Write) {
        assert!(health.index_error.is_some(), "{what}: {health:?}");
        assert!(health.to_string().contains("not saved"), "{health}");
    }
    let before = receipts(&store);
    store
        .close()
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    let crashed = sim.crash(sim.ops_len(), &mut |_| false);
    for disk in [sim, crashed] {
        let store = crate::kit::open(&disk, tried(1)).unwrap();
        assert!(store.recovery().is_whole(), "{what}: {}", store.recovery());
        assert_eq!(receipts(&store), before, "{what}");
        assert_eq!(Some(&state(&store)), expected.last(), "{what}");
        deliver(&store, 77, 5_000).unwrap();
        assert_whole(&store);
    }
    hits
}

fn each_call(calls: &'static [Call], forever: bool, error: fn() -> io::Error) {
    let every = env("MAILKEEP_EVERY", if forever { 60 } else { 12 }) as usize;
    let expected = expected();
    for after in (0..).step_by(every) {
        let plan = Plan {
            calls,
            after,
            forever,
            error,
        };
        if run(plan, &expected) == 0 {
            println!("{after} calls");
            break;
        }
    }
}

#[test]
fn a_write_of_the_index_fails_once() {
    for error in SOME {
        each_call(Call::CHANGES, false, error);
    }
}

#[test]
fn writes_of_the_index_fail_from_one_on() {
    for error in SOME {
        each_call(Call::CHANGES, true, error);
    }
}

#[test]
fn syncs_of_the_index_fail() {
    for forever in [false, true] {
        each_call(&[Call::Sync], forever, ERRORS[0]);
        each_call(&[Call::Rename, Call::SyncDir], forever, ERRORS[0]);
    }
}

#[test]
fn reads_of_the_index_fail() {
    for forever in [false, true] {
        each_call(Call::READS, forever, ERRORS[0]);
        for error in SOME {
            each_call(&[Call::List], forever, error);
        }
    }
}

/// The disk fills up with the index: mail that fits is kept, and with room again the index is saved.
#[test]
fn the_index_finds_no_room() {
    let sim = Sim::new();
    let full = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let is_full = Arc::clone(&full);
    let seam = Seam::over(sim.storage(), move |call, name| {
        let grows = call == Call::Write && name.starts_with("index/");
        match grows && is_full.load(Ordering::SeqCst) {
            true => Err(io::Error::from_raw_os_error(28)),
            false => Ok(()),
        }
    });
    let store = Store::open_on(seam, tried(0)).unwrap();
    for seed in 0..60 {
        deliver(&store, seed, 3_000).unwrap();
    }
    let health = store.health();
    assert!(health.index_error.is_some(), "{health:?}");
    assert!(store.stat().tail_bytes > 100_000);
    full.store(false, Ordering::SeqCst);
    // It is tried again when the log has grown by an eighth of the tail's bound.
    let saved = (60..64).any(|seed| {
        deliver(&store, seed, 3_000).unwrap();
        store.health().index_error.is_none()
    });
    assert!(saved, "{}", store.health());
    assert!(store.stat().tail_bytes < 20_000, "{:?}", store.stat());
    let shown = state(&store);
    store.close().unwrap();
    let store = crate::kit::open(&sim, options(1)).unwrap();
    assert_eq!(state(&store), shown);
}

/// While the disk gives nothing of the index and of the log's sealed segments, no account is said to be missing, nothing
/// is concluded, and nothing is written that says so: with the disk back all is there.
#[test]
fn a_disk_that_gives_nothing_is_no_empty_store() {
    let sim = Sim::new();
    let store = crate::kit::open(&sim, tried(0)).unwrap();
    let names: Vec<String> = (0..20).map(|at| format!("account-{at}")).collect();
    for name in &names {
        store.create_account(name).unwrap();
    }
    for seed in 0..60 {
        for name in &names[..5] {
            let inbox = store.account(name).unwrap().inbox().unwrap();
            let body = crate::kit::message(seed, 1_500);
            let kept = store
                .deliver(body, [mailkeep::Delivery::to(&inbox)])
                .unwrap();
            kept.wait().unwrap();
        }
    }
    let before = receipts(&store);
    store.close().unwrap();
    for lose in [false, true] {
        let disk = Sim::from_files(sim.files());
        if lose {
            crate::harm::lose_all(&disk);
        }
        let failing = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let fails = Arc::clone(&failing);
        let last = disk
            .files()
            .into_keys()
            .rfind(|name| name.ends_with(".seg"))
            .unwrap();
        let seam = Seam::over(disk.storage(), move |call, name| {
            let derived = name.starts_with("index/");
            let sealed = name.starts_with("log/") && name != last;
            let reads = matches!(call, Call::Read | Call::Bytes);
            match reads && (derived || sealed) && fails.load(Ordering::SeqCst) {
                true => Err(ERRORS[0]()),
                false => Ok(()),
            }
        });
        let store = Store::open_on(seam, tried(1)).unwrap();
        let seen = store.create_account("seen").unwrap();
        failing.store(true, Ordering::SeqCst);
        for name in &names {
            let found = store.account(name).map(drop);
            let fits = matches!(
                found,
                Ok(()) | Err(mailkeep::Error::Io { .. } | mailkeep::Error::Damaged { .. })
            );
            assert!(fits, "{lose}: {name}: {found:?}");
        }
        // The index is saved meanwhile, and tries to be made again.
        for seed in 0..50 {
            let kept = store.deliver(
                crate::kit::message(seed, 3_000),
                [mailkeep::Delivery::to(&seen.inbox().unwrap())],
            );
            kept.unwrap().wait().unwrap();
        }
        failing.store(false, Ordering::SeqCst);
        drop(seen);
        store.close().unwrap();
        let store = crate::kit::open(&disk, tried(2)).unwrap();
        let mut after = receipts(&store);
        after.remove("seen").unwrap();
        assert_eq!(after, before, "{lose}");
    }
}
