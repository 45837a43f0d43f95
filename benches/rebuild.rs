//! The index deleted: how long until the first answer, and until all of it is there again, beside reading the log's
//! segments once in the same run.
//!
//! Warm: the log is in memory. Cold: the kernel was asked to forget the log's pages before each step.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a bench that meets the unexpected stops"
)]

#[allow(dead_code, reason = "each bench uses a part")]
mod support;

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use mailkeep::{Durability, Mailbox, Options, Store, Uid};
use support::mail::{Seed, closed, deliver, fill_accounts, name};
use support::{Plan, Report, Target, files, folder, smoke, timed};

const ACCOUNTS: usize = 100;

/// A closed store, and what is in it.
struct Place {
    path: PathBuf,
    log: Vec<PathBuf>,
    log_bytes: u64,
    /// Messages of each account.
    each: usize,
}

impl Place {
    fn new(path: PathBuf, each: usize, fill: impl FnOnce(&Store, &[Mailbox])) -> Self {
        let options = Options::new().segment_len(if smoke() { 64 << 10 } else { 32 << 20 });
        let log_bytes = closed(&path, options, ACCOUNTS, fill);
        let log = files::log_files(&path);
        Self {
            path,
            log,
            log_bytes,
            each,
        }
    }

    /// One account's mailbox and its first message.
    fn answer(&self, store: &Store, account: usize) {
        let inbox = store.account(&name(account)).unwrap().inbox().unwrap();
        let view = inbox.view().unwrap();
        assert_eq!(view.len(), self.each);
        let message = view.message(Uid::new(1).unwrap()).unwrap();
        assert!(!message.bytes().unwrap().is_empty());
    }

    /// Opens without an index and works; the closing is not in the time.
    fn without_index(&self, cold: bool, work: impl FnOnce(&Store)) -> Duration {
        files::remove_index(&self.path);
        self.forget(cold);
        let start = Instant::now();
        let store = Store::open(&self.path, Options::new().create(false)).unwrap();
        work(&store);
        let took = start.elapsed();
        assert!(store.recovery().is_whole());
        store.close().unwrap();
        took
    }

    fn forget(&self, cold: bool) {
        if cold {
            files::make_cold(&self.log);
        }
    }
}

fn ask(report: &mut Report, size: &str, place: &Place, cold: bool) {
    let warmth = if cold { "cold" } else { "warm" };
    let mut turn = 0;
    let first = || {
        turn += 7;
        place.without_index(cold, |store| place.answer(store, turn % ACCOUNTS))
    };
    let rebuild = || {
        let took = place.without_index(cold, |store| {
            store
                .wait_rebuilt(&mut |_| ControlFlow::Continue(()))
                .unwrap();
            assert_eq!(store.health().rebuild, None);
            assert!(store.stat().run_bytes > 0, "nothing was rebuilt");
        });
        check(place);
        took
    };
    let raw = |checked: bool| {
        move || {
            place.forget(cold);
            let start = Instant::now();
            assert_eq!(files::read_all(&place.log, checked), place.log_bytes);
            start.elapsed()
        }
    };
    let plan = Plan {
        rounds: 7,
        steps: 1,
        bytes: place.log_bytes,
        ops: 1,
    };
    let sides = &mut [
        timed("first-answer", first),
        timed("rebuild", rebuild),
        timed("raw-read", raw(false)),
        timed("raw-read+crc32c", raw(true)),
    ];
    let speed = if cold {
        Target::Speed(0.5)
    } else {
        Target::Tell
    };
    let ratios = [
        ("rebuild", "raw-read", speed),
        ("rebuild", "raw-read+crc32c", Target::Tell),
        ("first-answer", "raw-read", Target::Nanos(1e9)),
    ];
    report.contest(
        &format!("rebuild/{warmth}/{ACCOUNTS}-accounts/{size}"),
        plan,
        sides,
        &ratios,
    );
}

/// The store that was rebuilt and closed opens at once, and has all its mail.
fn check(place: &Place) {
    let store = Store::open(&place.path, Options::new().create(false)).unwrap();
    assert_eq!(store.health().rebuild, None);
    for account in 0..ACCOUNTS {
        place.answer(&store, account);
    }
    store.close().unwrap();
}

fn main() {
    if support::listing() {
        return;
    }
    let (small, large) = if smoke() { (20, 2) } else { (3_000, 60) };
    let dir = folder();
    let places = [
        (
            format!("{}x300B", ACCOUNTS * small),
            Place::new(dir.path().join("small"), small, |store, inboxes| {
                fill_accounts(store, inboxes, small, 300);
            }),
        ),
        (
            format!("{}x-mail", ACCOUNTS * large),
            Place::new(dir.path().join("mail"), large, |store, inboxes| {
                mail(store, inboxes, large);
            }),
        ),
    ];
    let mut report = Report::default();
    for (size, place) in &places {
        for cold in [false, true] {
            ask(&mut report, size, place, cold);
        }
    }
    report.finish();
}

/// Mail-sized messages to each inbox in turn.
fn mail(store: &Store, inboxes: &[Mailbox], each: usize) {
    let mut seed = Seed(5);
    for _ in 0..each {
        for inbox in inboxes {
            let len = seed.mail_len();
            let message = seed.message(len);
            let kept = deliver(store, inbox, &message, Durability::Written).wait();
            assert!(kept.unwrap()[0].is_ok());
        }
    }
}
