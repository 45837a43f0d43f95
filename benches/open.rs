//! Opening a store after it was closed and after it was not, beside reading the same log once.
//!
//! Opening replays the records, so it grows with their number: linear in this version. The pages are in memory.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a bench that meets the unexpected stops"
)]

#[allow(dead_code, reason = "each bench uses a part")]
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use criterion::{BatchSize, Criterion, Throughput};
use mailkeep::{Options, Store};
use support::mail::{fill, store};
use support::{Plan, Report, Target, folder, human, side};

const LEN: usize = 1024;

/// A store of `count` messages, and a copy of its files from before it was closed.
struct Stores {
    _dir: tempfile::TempDir,
    count: usize,
    closed: PathBuf,
    unclean: PathBuf,
}

impl Stores {
    fn new(count: usize) -> Self {
        let dir = folder();
        let (closed, unclean) = (dir.path().join("closed"), dir.path().join("unclean"));
        let (store, inbox) = store(&closed, Options::new());
        fill(&store, &inbox, count, LEN);
        copy(&closed, &unclean);
        drop(inbox);
        store.close().unwrap();
        Self {
            _dir: dir,
            count,
            closed,
            unclean,
        }
    }

    fn open(&self, path: &Path) -> Store {
        let store = Store::open(path, Options::new().create(false)).unwrap();
        let inbox = store.account("anna@example.it").unwrap().inbox().unwrap();
        assert_eq!(inbox.view().unwrap().len(), self.count);
        assert!(store.recovery().is_whole());
        store
    }

    /// A new copy of the store as it was before it was closed.
    fn unclean_copy(&self, number: usize) -> PathBuf {
        let path = self.unclean.with_extension(number.to_string());
        copy(&self.unclean, &path);
        path
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Reads each file of the log once.
fn read_log(path: &Path) -> usize {
    let files = fs::read_dir(path.join("log")).unwrap();
    files
        .map(|entry| fs::read(entry.unwrap().path()).unwrap().len())
        .sum()
}

fn groups(criterion: &mut Criterion, stores: &Stores) {
    let mut group = criterion.benchmark_group("open/warm");
    group
        .throughput(Throughput::Elements(stores.count as u64))
        .sample_size(10);
    let name = |what: &str| format!("{what}/{}", stores.count);
    group.bench_function(name("closed"), |bench| {
        bench.iter_batched(
            || (),
            |()| stores.open(&stores.closed),
            BatchSize::PerIteration,
        );
    });
    group.bench_function(name("raw-read-of-log"), |bench| {
        bench.iter(|| read_log(&stores.closed))
    });
    group.finish();
}

/// Opening against reading; returns the median times of opening, closed and unclean.
fn ratios(report: &mut Report, stores: &Stores) {
    let plan = Plan {
        rounds: 7,
        steps: 1,
        bytes: 0,
        ops: 1,
    };
    let copies: Vec<PathBuf> = (0..=plan.rounds)
        .map(|number| stores.unclean_copy(number))
        .collect();
    let mut copies = copies.iter();
    // Closing again is in the time: one sync, and a write of MANIFEST.
    let sides = &mut [
        side("ours-closed", || drop(stores.open(&stores.closed))),
        side("ours-unclean", || drop(stores.open(copies.next().unwrap()))),
        side("raw-read-of-log", || {
            assert!(read_log(&stores.closed) > stores.count * LEN)
        }),
    ];
    let ratios = [
        ("ours-closed", "raw-read-of-log", Target::Tell),
        ("ours-unclean", "raw-read-of-log", Target::Tell),
    ];
    report.contest(
        &format!("open+close/warm/{}", stores.count),
        plan,
        sides,
        &ratios,
    );
}

/// Opening alone, the closing not in it.
fn open_alone(stores: &Stores) -> f64 {
    let times: Vec<f64> = (0..5)
        .map(|_| {
            let start = Instant::now();
            let store = stores.open(&stores.closed);
            let took = start.elapsed().as_nanos() as f64;
            store.close().unwrap();
            took
        })
        .collect();
    support::median(&times)
}

fn main() {
    let counts: &[usize] = if support::smoke() {
        &[1_000]
    } else {
        &[1_000, 10_000, 100_000]
    };
    let mut criterion = support::criterion();
    let mut report = Report::default();
    let mut before = None;
    for count in counts {
        let stores = Stores::new(*count);
        groups(&mut criterion, &stores);
        if support::smoke() {
            continue;
        }
        ratios(&mut report, &stores);
        let took = open_alone(&stores);
        let growth = before.map_or(String::new(), |before| {
            format!(", {:.1} times the one before", took / before)
        });
        let each = human(took / *count as f64);
        report.line(format!(
            "note open/closed/warm/{count} = {} ({each} a message{growth}); replay is linear in this version",
            human(took)
        ));
        before = Some(took);
    }
    criterion.final_summary();
    report.finish();
}
