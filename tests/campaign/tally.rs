//! Runs seeds on threads until enough states were looked at, and says how to run one again.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

/// A number from the environment.
pub(crate) fn env(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.replace('_', "").parse().expect("a number"))
}

/// Only this disk, where the environment says so.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Only {
    at: Option<u64>,
    state: Option<u64>,
}

impl Only {
    pub(crate) fn from_env() -> Self {
        Self {
            at: env("MAILKEEP_AT"),
            state: env("MAILKEEP_STATE"),
        }
    }

    pub(crate) fn is_one(self) -> bool {
        self.at.is_some()
    }

    pub(crate) fn at(self, at: usize) -> bool {
        self.at.is_none_or(|only| only == at as u64)
    }

    pub(crate) fn state(self, state: usize) -> bool {
        self.state.is_none_or(|only| only == state as u64)
    }
}

/// What was looked at, by kind.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally(pub(crate) BTreeMap<&'static str, u64>);

impl Tally {
    /// The kinds whose names begin with a capital are no states.
    pub(crate) fn add(&mut self, kind: &'static str) {
        *self.0.entry(kind).or_default() += 1;
    }

    /// With those of another.
    pub(crate) fn take(&mut self, other: Self) {
        for (kind, count) in other.0 {
            *self.0.entry(kind).or_default() += count;
        }
    }

    pub(crate) fn states(&self) -> u64 {
        let states = self
            .0
            .iter()
            .filter(|(kind, _)| !kind.starts_with(char::is_uppercase));
        states.map(|(_, count)| count).sum()
    }
}

/// The command that runs one disk again, printed if `run` panics.
pub(crate) fn replayable<T>(
    test: &str,
    seed: u64,
    at: usize,
    state: usize,
    run: impl FnOnce() -> T,
) -> T {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(done) => done,
        Err(reason) => {
            let build = if cfg!(debug_assertions) {
                ""
            } else {
                "--release "
            };
            eprintln!(
                "to run it again: MAILKEEP_SEED={seed} MAILKEEP_AT={at} MAILKEEP_STATE={state} cargo test \
                 {build}--test campaign {test} -- --nocapture"
            );
            resume_unwind(reason)
        }
    }
}

/// One test at a time: each takes all processors.
static TURN: Mutex<()> = Mutex::new(());

/// Runs seed after seed until `states` are looked at, or as many as the environment says; prints what was done.
pub(crate) fn campaign(
    test: &str,
    (release, debug): (u64, u64),
    run: impl Fn(u64, &mut Tally) + Sync,
) -> Tally {
    let _turn = TURN
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let default = if cfg!(debug_assertions) {
        debug
    } else {
        release
    };
    let states = env("MAILKEEP_STATES").unwrap_or(default);
    let start = Instant::now();
    let only = env("MAILKEEP_SEED");
    let first = only.or(env("MAILKEEP_FROM")).unwrap_or(1);
    let available = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = match only {
        Some(_) => 1,
        None => env("MAILKEEP_THREADS").map_or(available, |threads| threads as usize),
    };
    let (next, done) = (AtomicU64::new(first), AtomicU64::new(0));
    let (failed, total) = (AtomicBool::new(false), Mutex::new(Tally::default()));
    let reports = AtomicU64::new(1);
    let work = || {
        while done.load(Ordering::Relaxed) < states && !failed.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            let mut tally = Tally::default();
            let result = catch_unwind(AssertUnwindSafe(|| run(seed, &mut tally)));
            let now = done.fetch_add(tally.states(), Ordering::Relaxed) + tally.states();
            if let Err(reason) = result {
                failed.store(true, Ordering::Relaxed);
                eprintln!("{test}: seed {seed} failed after {now} states");
                resume_unwind(reason);
            }
            total.lock().unwrap().take(tally);
            // A long run tells how far it is, each tenth million.
            let report = reports.load(Ordering::Relaxed);
            if now >= report * 10_000_000
                && reports.fetch_max(now / 10_000_000 + 1, Ordering::Relaxed) == report
            {
                eprintln!(
                    "{test}: {now} states, {:.0} s, seed {seed}",
                    start.elapsed().as_secs_f64()
                );
            }
            if only.is_some() {
                break;
            }
        }
    };
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
        for thread in all {
            if let Err(reason) = thread.join() {
                resume_unwind(reason);
            }
        }
    });
    let tally = total.into_inner().unwrap();
    let (seconds, last) = (start.elapsed().as_secs_f64(), next.into_inner() - 1);
    let states = tally.states();
    println!(
        "{test}: {states} states, seeds {first} to {last}, {seconds:.1} s, {:.0} a second",
        states as f64 / seconds
    );
    for (kind, count) in &tally.0 {
        println!("    {count:>12} {kind}");
    }
    tally
}
