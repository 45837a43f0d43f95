//! Whether it pays to fill segments with zeroes ahead of the log ([`Options::prepare`]), by size of the messages; and
//! what it would cost or gain in the first segment of a new store, which grows.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a bench that meets the unexpected stops"
)]

#[allow(dead_code, reason = "each bench uses a part")]
mod support;

use std::path::Path;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use mailkeep::{Durability, Mailbox, Options, Store};
use support::mail::{Seed, batch_lens, deliver_now, store};
use support::raw::RawLog;
use support::{Plan, Report, Target, folder, side};

/// Segments of this size, so that several are begun while it is measured.
const SEGMENT: u64 = 4 << 20;

fn open(path: &Path, prepare: bool) -> (Store, Mailbox) {
    store(path, Options::new().prepare(prepare).segment_len(SEGMENT))
}

/// Delivers the next message, durable.
fn step<'a>(open: &'a (Store, Mailbox), messages: &'a [Vec<u8>]) -> impl FnMut() + 'a {
    let mut uid = open.1.view().unwrap().len();
    move || {
        let message = &messages[uid % messages.len()];
        uid += 1;
        let found = deliver_now(&open.0, &open.1, message, Durability::Durable);
        assert_eq!(found as usize, uid);
    }
}

fn groups(criterion: &mut Criterion, messages: &[Vec<u8>]) {
    let mut group = criterion.benchmark_group("prepare/durable/4KiB");
    group.throughput(Throughput::Bytes(4096));
    for (name, prepare) in [("on", true), ("off", false)] {
        let dir = folder();
        let open = open(&dir.path().join("store"), prepare);
        group.bench_function(name, |bench| bench.iter(step(&open, messages)));
    }
    group.finish();
}

/// Prepared or not, past the first segment.
fn on_or_off(report: &mut Report, name: &str, messages: &[Vec<u8>], steps: usize) {
    let dir = folder();
    let [on, off] =
        [("on", true), ("off", false)].map(|(name, prepare)| open(&dir.path().join(name), prepare));
    for (store, inbox) in [&on, &off] {
        while store.stat().segments < 2 {
            for _ in 0..16 {
                let message = &messages[inbox.view().unwrap().len() % messages.len()];
                deliver_now(store, inbox, message, Durability::Written);
            }
            // Time for the store's own thread: written deliveries fill a segment before the next is prepared.
            std::thread::sleep(Duration::from_millis(2));
        }
        store.sync().unwrap();
    }
    let bytes: usize = messages.iter().map(Vec::len).sum();
    let plan = Plan {
        rounds: 25,
        steps,
        bytes: (bytes / messages.len()) as u64,
        ops: 1,
    };
    let sides = &mut [
        side("on", step(&on, messages)),
        side("off", step(&off, messages)),
    ];
    report.contest(
        &format!("prepare/durable/{name}"),
        plan,
        sides,
        &[("on", "off", Target::Tell)],
    );
}

/// Batches of one length as plain files, each synced: the file grows, or is filled with zeroes first, which is part of the
/// time. In a store another thread does that, on the same disk.
fn plain(report: &mut Report, name: &str, batch: &[u8], batches: u64, zeroes: u64) {
    let len = batch_lens(&[batch.to_vec()])[0];
    let dir = folder();
    let plan = Plan {
        rounds: 9,
        steps: 1,
        bytes: batch.len() as u64 * batches,
        ops: batches.max(1),
    };
    let path = dir.path().join("raw");
    let write = |mut log: RawLog| {
        for _ in 0..batches {
            log.write(batch, len);
            log.sync();
        }
        drop(log);
        std::fs::remove_file(&path).unwrap();
    };
    let sides = &mut [
        side("prewritten-with-its-cost", || {
            write(RawLog::prewritten(&path, zeroes))
        }),
        side("growing", || write(RawLog::growing(&path))),
    ];
    let ratios = [("prewritten-with-its-cost", "growing", Target::Tell)];
    report.contest(&format!("prepare/{name}"), plan, sides, &ratios);
}

/// A new store's first deliveries: is its first segment worth filling?
fn first_segment(report: &mut Report, deliveries: u64) {
    let name = format!("first-segment/{deliveries}-deliveries");
    plain(report, &name, &Seed(5).message(4096), deliveries, SEGMENT);
}

/// The curve over the size of batches, from which the default is chosen: 64 MiB each time.
fn curve(report: &mut Report, kib: usize) {
    let batch = Seed(6).message(kib << 10);
    let batches = (64_u64 << 20) / batch.len() as u64;
    let zeroes = batches * batch_lens(std::slice::from_ref(&batch))[0] as u64;
    plain(
        report,
        &format!("batches/{kib}-KiB"),
        &batch,
        batches,
        zeroes,
    );
}

fn main() {
    let small = Seed(1).messages(64, 4096);
    let mut criterion = support::criterion();
    groups(&mut criterion, &small);
    criterion.final_summary();
    if support::smoke() {
        return;
    }
    let mut report = Report::default();
    on_or_off(&mut report, "300B", &Seed(3).messages(64, 300), 64);
    on_or_off(&mut report, "4KiB", &small, 64);
    on_or_off(&mut report, "mail", &Seed(2).mail(256), 64);
    for deliveries in [1, 16, 128, 800] {
        first_segment(&mut report, deliveries);
    }
    for kib in [8, 32, 128, 512, 1024, 4096] {
        curve(&mut report, kib);
    }
    report.finish();
}
