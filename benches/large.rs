//! One large mailbox (1,000,000 messages; 2,000 in test mode): what its first view costs after opening, how fast flags
//! are scanned, what scattered changes of flags cost, and how many bytes of index there are for each message.
//!
//! The limits beside it are the checksum over the same number of bytes and a scan of a plain slice.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a bench that meets the unexpected stops"
)]

#[allow(dead_code, reason = "each bench uses a part")]
mod support;

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use mailkeep::format::change::{Change, Flag};
use mailkeep::format::record::{self, RecordHeader};
use mailkeep::{AccountId, FlagChange, Flags, Mailbox, Options, Store, Uid, UidSet};
use support::mail::{Seed, fill, store};
use support::{folder, human, median, smoke};

const LEN: usize = 300;
const ROUNDS: usize = 9;

fn main() {
    let (count, changes) = if smoke() {
        (2_000, 100)
    } else {
        (1_000_000, 10_000)
    };
    let dir = folder();
    let path = dir.path().join("mail");
    let start = Instant::now();
    let (made, inbox) = store(&path, Options::new());
    fill(&made, &inbox, count, LEN);
    println!(
        "note large/fill/{count} = {}",
        human(start.elapsed().as_nanos() as f64)
    );
    drop(inbox);
    settle(&made);
    made.close().unwrap();

    let cold = first_views(&path, count);
    println!(
        "note large/view/first after opening/{count} = {}",
        human(cold)
    );
    let (opened, inbox) = open(&path);
    assert_eq!(inbox.view().unwrap().len(), count);
    let warm = time(|| assert_eq!(inbox.view().unwrap().len(), count));
    println!("note large/view/warm/{count} = {}", human(warm));
    scan(&inbox, count);
    change_flags(&path, &opened, &inbox, count, changes);
    let stat = opened.stat();
    let index = stat.run_bytes + stat.image_bytes;
    println!(
        "note large/index/{count} = {:.1} bytes a message ({:.1} more that newer ones have replaced)",
        index as f64 / count as f64,
        stat.image_dead_bytes as f64 / count as f64
    );
    opened.close().unwrap();
}

fn open(path: &Path) -> (Store, Mailbox) {
    let store = Store::open(path, Options::new().create(false)).unwrap();
    let inbox = store.account("anna@example.it").unwrap().inbox().unwrap();
    (store, inbox)
}

/// Waits until the background has written what is due.
fn settle(store: &Store) {
    while store.health().images_waiting > 0 {
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(Duration::from_millis(200));
}

/// Median of the first view after opening; the pages of the files are in memory, the account is not.
fn first_views(path: &Path, count: usize) -> f64 {
    let times: Vec<f64> = (0..5)
        .map(|_| {
            let (store, inbox) = open(path);
            let start = Instant::now();
            assert_eq!(inbox.view().unwrap().len(), count);
            let took = start.elapsed().as_nanos() as f64;
            store.close().unwrap();
            took
        })
        .collect();
    median(&times)
}

fn time(mut step: impl FnMut()) -> f64 {
    let times: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            step();
            start.elapsed().as_nanos() as f64
        })
        .collect();
    median(&times)
}

/// All flags by columns, beside a plain slice of as many.
fn scan(inbox: &Mailbox, count: usize) {
    let view = inbox.view().unwrap();
    let unseen = |flags: &[Flags]| {
        flags
            .iter()
            .filter(|flags| !flags.contains(Flags::SEEN))
            .count()
    };
    let ours = time(|| {
        let found: usize = view.columns().map(|columns| unseen(columns.flags())).sum();
        assert_eq!(black_box(found), count);
    });
    let slice = vec![Flags::EMPTY; count];
    let limit = time(|| assert_eq!(unseen(black_box(&slice)), count));
    let each = |nanos: f64| nanos / count as f64;
    println!(
        "ratio large/scan of all flags/{count} = {:.2} of a plain slice ({:.2} ns a row, {:.2} ns)",
        ours / limit,
        each(ours),
        each(limit)
    );
}

/// Bytes that this process has handed over to be written, and that went to the disk for it (whole pages of 4 KiB).
fn written() -> [u64; 2] {
    let io = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    ["wchar: ", "write_bytes: "].map(|name| {
        let line = io.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|bytes| bytes.parse().ok()).unwrap_or(0)
    })
}

/// Flags set one by one all over the mailbox, each durable.
fn change_flags(path: &Path, store: &Store, inbox: &Mailbox, count: usize, changes: usize) {
    let mut seed = Seed(7);
    let uids: Vec<Uid> = (0..changes)
        .map(|_| Uid::new(1 + (seed.next() % count as u64) as u32).unwrap())
        .collect();
    let (before, batches, index) = (written(), store.stat().batches, index_len(path));
    let add = FlagChange::add(Flags::FLAGGED);
    let times: Vec<f64> = uids
        .iter()
        .map(|uid| {
            let start = Instant::now();
            inbox
                .flag(&(*uid).into(), &add, None)
                .unwrap()
                .wait()
                .unwrap();
            start.elapsed().as_nanos() as f64
        })
        .collect();
    settle(store);
    let batches = store.stat().batches - batches;
    assert!(batches <= changes as u64);
    let records = (changes * record_len(uids[0])) as f64;
    println!(
        "note large/{changes} single flags, durable = {} each (median); {batches} batches; bytes handed over {:.1} times, in \
         pages {:.1} times their records of {:.0} bytes; index files grew by {:.1} times",
        human(median(&times)),
        (written()[0] - before[0]) as f64 / records,
        (written()[1] - before[1]) as f64 / records,
        records / changes as f64,
        (index_len(path).saturating_sub(index)) as f64 / records
    );
}

fn index_len(path: &Path) -> u64 {
    let files = std::fs::read_dir(path.join("index")).unwrap();
    files
        .map(|file| file.unwrap().metadata().unwrap().len())
        .sum()
}

/// Length of the record of one flag.
fn record_len(uid: Uid) -> usize {
    let header = RecordHeader {
        number: 1,
        previous: 0,
        account: AccountId::from_bytes([1; 16]),
        mailbox: 1,
        modseq: 1,
    };
    let change = Change::Flag(Flag {
        uids: UidSet::from(uid),
        add: Flags::FLAGGED,
        remove: Flags::EMPTY,
        add_keywords: Vec::new(),
        remove_keywords: Vec::new(),
        replace_keywords: false,
        principal: 0,
    });
    record::encode(&header, &change, &mut Vec::new())
}
