//! Reading a message beside one CRC-32C over the same bytes. All warm: the pages are in memory.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a bench that meets the unexpected stops"
)]

#[allow(dead_code, reason = "each bench uses a part")]
mod support;

use std::hint::black_box;
use std::path::Path;

use criterion::{Criterion, Throughput};
use mailkeep::format::checksum;
use mailkeep::io::{Directory, Open, Storage as _};
use mailkeep::{Durability, Message, Options, Store, Uid, View};
use support::mail::{Seed, deliver_now, fill, store};
use support::{Plan, Report, Target, folder, side};

const SIZES: [(&str, usize); 4] = [
    ("300B", 300),
    ("8KiB", 8 << 10),
    ("64KiB", 64 << 10),
    ("1MiB", 1 << 20),
];

fn uid(number: u32) -> Uid {
    Uid::new(number).unwrap()
}

/// A store with one message of `len` bytes, and that message.
fn one(path: &Path, len: usize) -> (Store, View, Message) {
    let (store, inbox) = store(path, Options::new());
    deliver_now(&store, &inbox, &Seed(9).message(len), Durability::Durable);
    let view = inbox.view().unwrap();
    let message = view.message(uid(1)).unwrap();
    assert_eq!(message.len(), len);
    (store, view, message)
}

fn groups(criterion: &mut Criterion) {
    for (name, len) in SIZES {
        let dir = folder();
        let (_store, view, message) = one(&dir.path().join("store"), len);
        let bytes = message.range(1..len).unwrap();
        let mut group = criterion.benchmark_group(format!("read/warm/{name}"));
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function("verify/ours", |bench| {
            bench.iter(|| message.range(1..len).unwrap());
        });
        group.bench_function("verify/raw-crc32c", |bench| {
            bench.iter(|| checksum(0, &bytes))
        });
        message.bytes().unwrap();
        group.bench_function("verified/ours", |bench| {
            bench.iter(|| view.message(uid(1)).unwrap().bytes().unwrap());
        });
        group.finish();
    }
}

/// A body that has not been verified, every time, over a mapping that is in use: a range is verified each time as
/// long as the whole was not.
fn verify(report: &mut Report, name: &str, len: usize) {
    let dir = folder();
    let (_store, view, message) = one(&dir.path().join("store"), len);
    let bytes = message.range(1..len).unwrap();
    let expected = checksum(0, &bytes);
    let ops = ((4 << 20) / len).max(4) as u64;
    let plan = Plan {
        rounds: 25,
        steps: 5,
        bytes: len as u64 * ops,
        ops,
    };
    let ours = || {
        for _ in 0..ops {
            let message = view.message(uid(1)).unwrap();
            assert_eq!(black_box(message.range(1..len).unwrap()).len(), len - 1);
        }
    };
    let raw = || {
        for _ in 0..ops {
            assert_eq!(checksum(0, black_box(&bytes)), expected);
        }
    };
    let sides = &mut [side("ours", ours), side("raw-crc32c", raw)];
    let ratios = [("ours", "raw-crc32c", Target::Time(1.3))];
    report.contest(&format!("read/verify/warm/{name}"), plan, sides, &ratios);
}

/// The checksum, and crc32c alone, over the same bytes.
fn sums(report: &mut Report, name: &str, len: usize) {
    let bytes = Seed(9).message(len);
    let ops = ((4 << 20) / len) as u64;
    let plan = Plan {
        rounds: 25,
        steps: 5,
        bytes: len as u64 * ops,
        ops,
    };
    let by = |sum: fn(u32, &[u8]) -> u32| {
        let bytes = &bytes;
        move || {
            for _ in 0..ops {
                black_box(sum(0, black_box(bytes)));
            }
        }
    };
    let sides = &mut [
        side("ours", by(checksum)),
        side("crc32c", by(crc32c::crc32c_append)),
    ];
    report.contest(
        &format!("read/checksum/{name}"),
        plan,
        sides,
        &[("ours", "crc32c", Target::Tell)],
    );
}

/// Lookup and bytes of a message that was verified before.
fn verified(report: &mut Report, name: &str, len: usize) {
    let dir = folder();
    let (_store, view, message) = one(&dir.path().join("store"), len);
    message.bytes().unwrap();
    let ops = 2000;
    let plan = Plan {
        rounds: 25,
        steps: 5,
        bytes: 0,
        ops,
    };
    let bytes_only = || {
        for _ in 0..ops {
            assert_eq!(black_box(message.bytes().unwrap()).len(), len);
        }
    };
    let with_lookup = || {
        for _ in 0..ops {
            assert_eq!(
                black_box(view.message(uid(1)).unwrap().bytes().unwrap()).len(),
                len
            );
        }
    };
    let sides = &mut [side("bytes", bytes_only), side("lookup+bytes", with_lookup)];
    let ratios = [
        ("bytes", "lookup+bytes", Target::Nanos(400.0)),
        ("lookup+bytes", "bytes", Target::Nanos(400.0)),
    ];
    report.contest(&format!("read/verified/warm/{name}"), plan, sides, &ratios);
}

/// The first read of each message after opening: page faults of a new mapping included, on both sides.
fn first(report: &mut Report, name: &str, len: usize) {
    let count = ((8 << 20) / len).max(8);
    let dir = folder();
    let path = dir.path().join("store");
    let (made, inbox) = store(&path, Options::new());
    fill(&made, &inbox, count, len);
    drop(inbox);
    made.close().unwrap();
    let all: Vec<u8> = Seed(3).messages(count, len).concat();
    std::fs::write(dir.path().join("raw"), &all).unwrap();
    let plan = Plan {
        rounds: 15,
        steps: 1,
        bytes: (len * count) as u64,
        ops: count as u64,
    };
    // Opened ahead: the opening is not what is timed. One handle for each round and the one that warms up.
    let stores: Vec<Store> = (0..=plan.rounds)
        .map(|_| Store::open(&path, Options::new().read_only(true)).unwrap())
        .collect();
    let mut views = stores.iter().map(|store| {
        store
            .account("anna@example.it")
            .unwrap()
            .inbox()
            .unwrap()
            .view()
            .unwrap()
    });
    let mut views: Vec<View> = views.by_ref().collect();
    let volume = Directory::create_or_open(dir.path(), false).unwrap();
    let ours = || {
        let view = views.pop().unwrap();
        for number in 1..=count as u32 {
            let message = view.message(uid(number)).unwrap();
            assert_eq!(black_box(message.bytes().unwrap()).len(), len);
        }
    };
    let raw = || {
        let file = volume.open("raw", Open::Read).unwrap();
        for number in 0..count {
            let bytes = file.bytes((number * len) as u64, len).unwrap();
            black_box(checksum(0, &bytes));
        }
    };
    let sides = &mut [side("ours", ours), side("raw-crc32c", raw)];
    let ratios = [("ours", "raw-crc32c", Target::Time(1.3))];
    report.contest(
        &format!("read/first-after-open/warm/{name}"),
        plan,
        sides,
        &ratios,
    );
}

/// One of 100,000 small messages, chosen at random; each for the first time, then again.
fn among_many(report: &mut Report) {
    const COUNT: usize = 100_000;
    if support::smoke() {
        return;
    }
    let dir = folder();
    let (store, inbox) = store(&dir.path().join("store"), Options::new());
    fill(&store, &inbox, COUNT, 300);
    let view = inbox.view().unwrap();
    let ops = 1000;
    let plan = Plan {
        rounds: 25,
        steps: 2,
        bytes: 300 * ops,
        ops,
    };
    let bytes = Seed(3).message(300 * COUNT);
    let mut seed = Seed(4);
    let mut pick = move || (seed.next() % COUNT as u64) as u32;
    let mut again = pick.clone();
    let mut other = pick.clone();
    let ours = || {
        for _ in 0..ops {
            let message = view.message(uid(pick() + 1)).unwrap();
            assert_eq!(black_box(message.range(1..300).unwrap()).len(), 299);
        }
    };
    let before = || {
        for _ in 0..ops {
            let message = view.message(uid(again() % 1000 * 100 + 1)).unwrap();
            assert_eq!(black_box(message.bytes().unwrap()).len(), 300);
        }
    };
    let raw = || {
        for _ in 0..ops {
            let at = other() as usize * 300;
            black_box(checksum(0, &bytes[at..at + 300]));
        }
    };
    let sides = &mut [
        side("ours-unverified", ours),
        side("ours-verified", before),
        side("raw-crc32c", raw),
    ];
    let ratios = [
        ("ours-unverified", "raw-crc32c", Target::Tell),
        ("ours-verified", "raw-crc32c", Target::Nanos(1000.0)),
    ];
    report.contest("read/lookup+read/warm/300B-of-100000", plan, sides, &ratios);
}

fn main() {
    let mut criterion = support::criterion();
    groups(&mut criterion);
    criterion.final_summary();
    let mut report = Report::default();
    if !support::smoke() {
        for (name, len) in [("512B", 512), ("8KiB", 8 << 10), ("64KiB", 64 << 10)] {
            sums(&mut report, name, len);
        }
        for (name, len) in SIZES {
            verify(&mut report, name, len);
            first(&mut report, name, len);
            verified(&mut report, name, len);
        }
    }
    among_many(&mut report);
    report.finish();
}
