//! Opening after a death, by the length of the tail that it has to read, beside a loop that reads as many bytes at the
//! log's end and computes their checksum.
//!
//! A process delivers to a store of 1,000,000 messages (1,000 in test mode) and is killed when the log is so far beyond the
//! checkpoint. Each opening gets a new copy of what it left, synced, in memory, and is timed alone. At the end: the law.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a bench that meets the unexpected stops"
)]

#[allow(dead_code, reason = "each bench uses a part")]
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use mailkeep::{Durability, Options, Store};
use support::mail::{Seed, closed, deliver_now, fill_accounts, name};
use support::{Plan, Report, Target, files, folder, human, process, side, smoke, timed};

/// Small enough that a copy of the log's end is small.
const SEGMENT: u64 = 64 << 20;
const LENS: [(&str, usize); 2] = [("300B", 300), ("64KiB", 64 << 10)];

fn options() -> Options {
    Options::new().segment_len(SEGMENT)
}

/// Messages of the base, and mebibytes of the tails.
fn sizes() -> (usize, &'static [u64]) {
    if smoke() {
        (1_000, &[0, 1])
    } else {
        (1_000_000, &[0, 1, 8, 32])
    }
}

/// What a process left that was killed.
struct Left {
    path: PathBuf,
    tail: u64,
    records: u64,
    /// An account that got mail at the end, and how many messages it has now.
    account: String,
    messages: u64,
}

fn main() {
    if let Some(role) = process::role() {
        let [path, len, tail] = &role[..] else {
            panic!("not a role: {role:?}")
        };
        return deliver(Path::new(path), len.parse().unwrap(), tail.parse().unwrap());
    }
    if support::listing() {
        return;
    }
    let (count, tails) = sizes();
    let dir = folder();
    let base = dir.path().join("base");
    let accounts = count.div_ceil(1_000);
    closed(&base, options(), accounts, |store, inboxes| {
        fill_accounts(store, inboxes, count / accounts, 300);
    });

    let mut report = Report::default();
    let mut points = Vec::new();
    for (name, len) in LENS {
        for mib in tails {
            let left = die(&base, dir.path(), len, mib << 20);
            let question = format!("recover/warm/{count}/tail-{mib}MiB-of-{name}");
            let took = opening(&mut report, &question, *mib, &left);
            points.extend(took.map(|ns| (ns, left.records as f64, mib_of(left.tail))));
            fs::remove_dir_all(&left.path).unwrap();
        }
    }
    law(&mut report, &points);
    report.finish();
}

fn mib_of(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// In a process of its own: delivers until the log is `tail` bytes beyond the checkpoint, each message a batch of its own,
/// and waits to be killed.
fn deliver(path: &Path, len: usize, tail: u64) {
    let store = Store::open(path, options().create(false)).unwrap();
    let first = store.stat();
    let (mut seed, mut number, mut last) = (Seed(len as u64), 0, (String::new(), 0));
    let of = sizes().0.div_ceil(1_000);
    let inbox = |account: usize| store.account(&name(account)).unwrap().inbox().unwrap();
    let inboxes: Vec<_> = (0..of).map(inbox).collect();
    while store.stat().tail_bytes < tail {
        let inbox = &inboxes[number % of];
        let uid = deliver_now(&store, inbox, &seed.message(len), Durability::Written);
        last = (name(number % of), uid);
        number += 1;
    }
    store.sync().unwrap();
    let now = store.stat();
    process::say_and_wait(&serde_json::json!({
        "tail": now.tail_bytes, "records": now.records - first.records, "account": last.0, "messages": last.1,
    }));
}

fn die(base: &Path, dir: &Path, len: usize, tail: u64) -> Left {
    let path = dir.join("left");
    files::copy_store(base, &path);
    let role = [path.to_str().unwrap(), &len.to_string(), &tail.to_string()];
    let said = process::ask_and_kill(&role);
    let number = |key: &str| said[key].as_u64().unwrap();
    let left = Left {
        tail: number("tail"),
        records: number("records"),
        account: said["account"].as_str().unwrap().to_owned(),
        messages: number("messages"),
        path,
    };
    assert!((tail..tail + (2 << 20)).contains(&left.tail), "{said}");
    left
}

/// Opens copies of it; the median time in nanoseconds.
fn opening(report: &mut Report, question: &str, mib: u64, left: &Left) -> Option<f64> {
    if !smoke() && !support::wanted(question) {
        return None;
    }
    let copy = left.path.with_extension("copy");
    let ours = || {
        files::copy_store(&left.path, &copy);
        let start = Instant::now();
        let store = Store::open(&copy, options().create(false)).unwrap();
        let took = start.elapsed();
        assert!(store.recovery().is_whole());
        if left.messages > 0 {
            let inbox = store.account(&left.account).unwrap().inbox().unwrap();
            assert_eq!(inbox.view().unwrap().len() as u64, left.messages);
        }
        store.close().unwrap();
        fs::remove_dir_all(&copy).unwrap();
        took
    };
    let parts = files::tail(&left.path, left.tail);
    let mut buffer = vec![0; 1 << 20];
    let sum = files::read_parts(&parts, &mut buffer);
    let raw = || assert_eq!(files::read_parts(&parts, &mut buffer), sum);
    let plan = Plan {
        rounds: 7,
        steps: 1,
        bytes: left.tail,
        ops: 1,
    };
    let mut ratios = vec![("ours", "raw-read+crc32c", Target::Tell)];
    if mib == 8 {
        ratios.push(("ours", "raw-read+crc32c", Target::Nanos(5e6)));
    }
    let sides = &mut [timed("ours", ours), side("raw-read+crc32c", raw)];
    Some(report.contest(question, plan, sides, &ratios)?[0])
}

/// What a record and a mebibyte of the tail cost beyond an opening without one: least squares over all tails.
fn law(report: &mut Report, points: &[(f64, f64, f64)]) {
    // The shortest tail is none.
    let Some(still) = points.iter().map(|point| point.0).reduce(f64::min) else {
        return;
    };
    let sum = |of: fn(&(f64, f64, f64)) -> f64| points.iter().map(of).sum::<f64>();
    let (rr, rm, mm) = (sum(|p| p.1 * p.1), sum(|p| p.1 * p.2), sum(|p| p.2 * p.2));
    let rest: Vec<_> = points.iter().map(|p| (p.0 - still, p.1, p.2)).collect();
    let (rt, mt) = rest
        .iter()
        .fold((0.0, 0.0), |(r, m), p| (r + p.1 * p.0, m + p.2 * p.0));
    let bottom = rr * mm - rm * rm;
    if bottom <= 0.0 {
        return;
    }
    let (record, mib) = ((rt * mm - mt * rm) / bottom, (mt * rr - rt * rm) / bottom);
    report.line(format!(
        "note recover/warm: an opening takes {} and, of the tail, {} a record and {} a MiB",
        human(still),
        human(record),
        human(mib)
    ));
    let question = "recover/warm/law";
    report.value(question, "without a tail", still / 1e6, "ms", None);
    report.value(question, "a record of the tail", record, "ns", None);
    report.value(question, "a MiB of the tail", mib / 1e3, "us", None);
}
