//! Delivery beside the bare minimum: the same checksum and digest, one write of the same bytes, one `fdatasync`.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a bench that meets the unexpected stops"
)]

#[allow(dead_code, reason = "each bench uses a part")]
mod support;

use std::cell::Cell;
use std::path::Path;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use mailkeep::{Durability, Mailbox, Options, Store};
use support::files;
use support::mail::{Seed, batch_lens, deliver_now, store};
use support::raw::{RawLog, SharedLog};
use support::{Plan, Report, Target, folder, side};

/// Messages that are delivered in turn, with the length of the batch that each becomes.
struct Mails {
    messages: Vec<Vec<u8>>,
    batches: Vec<usize>,
}

impl Mails {
    fn new(messages: Vec<Vec<u8>>) -> Self {
        let batches = batch_lens(&messages);
        Self { messages, batches }
    }

    fn mean(&self) -> u64 {
        let sum: usize = self.messages.iter().map(Vec::len).sum();
        (sum / self.messages.len()) as u64
    }

    /// Each message for ever, one after the other.
    fn turn(&self) -> impl Iterator<Item = (&[u8], usize)> {
        let lens = self.batches.iter().copied();
        self.messages.iter().map(Vec::as_slice).zip(lens).cycle()
    }
}

/// Delivers the next message and checks that it got the next UID.
fn step<'a>(
    open: &'a (Store, Mailbox),
    mails: &'a Mails,
    durability: Durability,
) -> impl FnMut() + 'a {
    let mut turn = mails.turn();
    let mut uid = open.1.view().unwrap().len() as u32;
    move || {
        let (message, _) = turn.next().unwrap();
        uid += 1;
        assert_eq!(deliver_now(&open.0, &open.1, message, durability), uid);
    }
}

/// The same with a plain file.
fn raw_step(mut log: RawLog, mails: &Mails, sync: bool) -> impl FnMut() {
    let mut turn = mails.turn();
    move || {
        let (message, len) = turn.next().unwrap();
        log.write(message, len);
        if sync {
            log.sync();
        }
    }
}

fn groups(criterion: &mut Criterion, sizes: &[(&str, Mails)]) {
    for (name, mails) in sizes {
        let mut group = criterion.benchmark_group(format!("deliver/1-thread/{name}"));
        group.throughput(Throughput::Bytes(mails.mean()));
        for (durability, word) in [
            (Durability::Durable, "durable"),
            (Durability::Written, "written"),
        ] {
            let dir = folder();
            let open = store(&dir.path().join("store"), Options::new());
            let raw = RawLog::growing(&dir.path().join("raw"));
            let mut raw = raw_step(raw, mails, durability == Durability::Durable);
            let mut ours = step(&open, mails, durability);
            group.bench_function(format!("{word}/ours"), |bench| bench.iter(&mut ours));
            group.bench_function(format!("{word}/raw-growing"), |bench| bench.iter(&mut raw));
        }
        group.finish();
    }
}

/// How long a log is when it is measured. The next segment is half as long: what is measured ends before the one after that
/// is prepared, which is measured by `prepare`.
const USED: u64 = 512 << 20;

/// Longer than a store waits until it sees that nothing is committed, and than a piece of the next segment takes.
const IDLE: Duration = Duration::from_millis(500);

/// A store that has just begun a segment which was prepared, with room for all that is measured; the one before is sealed.
fn used(path: &Path) -> (Store, Mailbox) {
    let open = store(path, Options::new());
    if !support::smoke() {
        let mails = Mails::new(Seed(3).mail(256));
        let mut ours = step(&open, &mails, Durability::Durable);
        let segments = || open.0.stat().segments;
        let (mut begun, mut ready) = (segments(), 0);
        while open.0.stat().log_bytes < USED || segments() == begun {
            begun = segments();
            (0..64).for_each(|_| ours());
            // However slow the disk is just now, the next segment is whole before it begins.
            let mut zeroes = files::prepared(path);
            while zeroes > ready {
                std::thread::sleep(IDLE);
                (ready, zeroes) = (zeroes, files::prepared(path));
            }
            ready = zeroes;
        }
        while open.0.stat().sealed + 1 < segments() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    open
}

/// One thread, each delivery synced before the next.
fn durable(report: &mut Report, name: &str, mails: &Mails, steps: usize) {
    let dir = folder();
    let open = store(&dir.path().join("store"), Options::new());
    let used = used(&dir.path().join("used"));
    let growing = RawLog::growing(&dir.path().join("growing"));
    let prewritten = RawLog::prewritten(&dir.path().join("prewritten"), 64 << 20);
    let plan = Plan {
        rounds: 25,
        steps,
        bytes: mails.mean(),
        ops: 1,
    };
    let sides = &mut [
        side("ours-new-store", step(&open, mails, Durability::Durable)),
        side("ours", step(&used, mails, Durability::Durable)),
        side("raw-growing", raw_step(growing, mails, true)),
        side("raw-prewritten", raw_step(prewritten, mails, true)),
    ];
    let ratios = [
        ("ours", "raw-growing", Target::Tell),
        ("ours", "raw-prewritten", Target::Speed(0.85)),
        ("ours-new-store", "raw-growing", Target::Tell),
        ("ours-new-store", "raw-prewritten", Target::Tell),
    ];
    report.contest(
        &format!("deliver/durable/1-thread/{name}"),
        plan,
        sides,
        &ratios,
    );
}

/// One thread, nothing synced. A new store begins a segment often: each is half as long as the log, and what is in the one before
/// is synced first.
fn written(report: &mut Report, name: &str, mails: &Mails, steps: usize) {
    let dir = folder();
    let open = store(&dir.path().join("store"), Options::new());
    let used = used(&dir.path().join("used"));
    let growing = RawLog::growing(&dir.path().join("growing"));
    let plan = Plan {
        rounds: 25,
        steps,
        bytes: mails.mean(),
        ops: 1,
    };
    let sides = &mut [
        side("ours-new-store", step(&open, mails, Durability::Written)),
        side("ours", step(&used, mails, Durability::Written)),
        side("raw-growing", raw_step(growing, mails, false)),
    ];
    let ratios = [
        ("ours", "raw-growing", Target::Speed(0.6)),
        ("ours-new-store", "raw-growing", Target::Tell),
    ];
    report.contest(
        &format!("deliver/written/1-thread/{name}"),
        plan,
        sides,
        &ratios,
    );
}

const THREADS: usize = 16;
const EACH: usize = 8;

/// Hands each thread its part of `work`, message by message.
fn in_threads(work: &[&[u8]], commit: impl Fn(&[u8]) + Sync) {
    std::thread::scope(|threads| {
        for piece in work.chunks(EACH) {
            threads.spawn(|| piece.iter().for_each(|message| commit(message)));
        }
    });
}

/// Sixteen threads that share syncs.
fn shared(report: &mut Report, name: &str, mails: &Mails) {
    let dir = folder();
    let (store, inbox) = &used(&dir.path().join("store"));
    let before = (inbox.view().unwrap().len(), store.stat().batches);
    let growing = SharedLog::new(RawLog::growing(&dir.path().join("growing")));
    let zeroes = RawLog::prewritten(&dir.path().join("prewritten"), 64 << 20);
    let prewritten = SharedLog::new(zeroes);
    let plan = Plan {
        rounds: 15,
        steps: 1,
        bytes: mails.mean() * (THREADS * EACH) as u64,
        ops: (THREADS * EACH) as u64,
    };
    let work: Vec<&[u8]> = mails
        .turn()
        .map(|(message, _)| message)
        .take(THREADS * EACH)
        .collect();
    let calls = Cell::new(0);
    let ours = || {
        in_threads(&work, |message| {
            deliver_now(store, inbox, message, Durability::Durable);
        });
        calls.set(calls.get() + 1);
    };
    let sides = &mut [
        side("ours", ours),
        side("raw-growing", || {
            in_threads(&work, |message| growing.commit(message))
        }),
        side("raw-prewritten", || {
            in_threads(&work, |message| prewritten.commit(message))
        }),
    ];
    let ratios = [
        ("ours", "raw-growing", Target::Tell),
        ("ours", "raw-prewritten", Target::Speed(0.85)),
    ];
    report.contest(
        &format!("deliver/durable/16-threads/{name}"),
        plan,
        sides,
        &ratios,
    );
    let delivered = calls.get() * work.len();
    assert_eq!(inbox.view().unwrap().len() - before.0, delivered);
    if !support::smoke() {
        let share = |syncs: u64| delivered as f64 / syncs as f64;
        report.line(format!(
            "note deliver/durable/16-threads/{name}: {:.1} deliveries share a sync, {:.1} of raw-prewritten",
            share(store.stat().batches - before.1),
            share(prewritten.syncs()),
        ));
    }
}

fn main() {
    let sizes = [
        ("4KiB", Mails::new(Seed(1).messages(64, 4096))),
        ("mail", Mails::new(Seed(2).mail(256))),
    ];
    let mut criterion = support::criterion();
    groups(&mut criterion, &sizes);
    criterion.final_summary();
    let mut report = Report::default();
    for (name, mails) in &sizes {
        durable(&mut report, name, mails, 32);
        written(
            &mut report,
            name,
            mails,
            if *name == "4KiB" { 256 } else { 64 },
        );
        shared(&mut report, name, mails);
    }
    report.finish();
}
