//! Opening a store that was closed, by the number of its messages (accounts of 1,000 each), beside reading its log once;
//! and opening it, loading an account and reading its first message. All warm. After a death: bench `recover`.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a bench that meets the unexpected stops"
)]

#[allow(dead_code, reason = "each bench uses a part")]
mod support;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use mailkeep::{Options, Store, Uid};
use support::mail::{closed, fill_accounts, name};
use support::{Plan, Report, Target, files, folder, side, timed};

const LEN: usize = 300;
const EACH: usize = 1_000;

/// A store of `count` messages that was closed.
struct Closed {
    _dir: tempfile::TempDir,
    count: usize,
    path: PathBuf,
    log: Vec<PathBuf>,
}

impl Closed {
    fn new(count: usize) -> Self {
        let dir = folder();
        let path = dir.path().join("store");
        let log_bytes = closed(&path, Options::new(), count / EACH, |store, inboxes| {
            fill_accounts(store, inboxes, EACH, LEN);
        });
        assert!(log_bytes > (count * LEN) as u64);
        let log = files::log_files(&path);
        Self {
            _dir: dir,
            count,
            path,
            log,
        }
    }

    /// Time to open it and to do that; the closing is not in it.
    fn open(&self, then: impl FnOnce(&Store)) -> Duration {
        let start = Instant::now();
        let store = Store::open(&self.path, Options::new().create(false)).unwrap();
        then(&store);
        let took = start.elapsed();
        assert!(store.recovery().is_whole());
        assert!(store.stat().records > self.count as u64);
        store.close().unwrap();
        took
    }
}

/// Loads an account and reads its first message.
fn first_message(store: &Store, account: usize) {
    let inbox = store.account(&name(account)).unwrap().inbox().unwrap();
    let view = inbox.view().unwrap();
    assert_eq!(view.len(), EACH);
    let message = view.message(Uid::new(1).unwrap()).unwrap();
    assert_eq!(message.bytes().unwrap().len(), LEN);
}

fn groups(criterion: &mut Criterion, closed: &Closed) {
    let mut group = criterion.benchmark_group("open/clean/warm");
    group
        .throughput(Throughput::Elements(closed.count as u64))
        .sample_size(10);
    group.bench_function(format!("ours/{}", closed.count), |bench| {
        bench.iter_custom(|times| (0..times).map(|_| closed.open(|_| ())).sum());
    });
    group.bench_function(format!("raw-read-of-log/{}", closed.count), |bench| {
        bench.iter(|| files::read_all(&closed.log, false));
    });
    group.finish();
}

fn ratios(report: &mut Report, closed: &Closed) {
    let plan = Plan {
        rounds: 15,
        steps: 5,
        bytes: 0,
        ops: 1,
    };
    let mut account = 0;
    let sides = &mut [
        timed("ours", || closed.open(|_| ())),
        timed("ours-first-message", || {
            account = (account + 7) % (closed.count / EACH);
            closed.open(|store| first_message(store, account))
        }),
        side("raw-read-of-log", || {
            assert!(files::read_all(&closed.log, false) > (closed.count * LEN) as u64);
        }),
    ];
    let ratios = [
        ("ours", "raw-read-of-log", Target::Nanos(1e6)),
        ("ours", "raw-read-of-log", Target::Tell),
        ("ours-first-message", "raw-read-of-log", Target::Tell),
    ];
    report.contest(
        &format!("open/clean/warm/{}", closed.count),
        plan,
        sides,
        &ratios,
    );
}

fn main() {
    let counts: &[usize] = if support::smoke() {
        &[1_000]
    } else {
        &[10_000, 100_000, 1_000_000]
    };
    let mut criterion = support::criterion();
    let mut report = Report::default();
    for count in counts {
        let closed = Closed::new(*count);
        groups(&mut criterion, &closed);
        ratios(&mut report, &closed);
    }
    criterion.final_summary();
    report.finish();
}
