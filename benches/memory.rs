//! Memory of a process that opens a store of 1,000,000 messages of 300 B in 1,000 accounts (1,000 in 10 in test mode), and
//! reads one message in a hundred: what is its own (anonymous), beyond what it had before, and pages of mapped files.
//!
//! A page fault maps up to 16 pages around the one that is touched where they are in memory ("fault-around", 64 KiB), so
//! that few reads all over a file map much of it. Such pages are the page cache's and cost nothing but their entries in
//! the page table. The limit beside it is a process that maps the log's files and touches as many places.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a bench that meets the unexpected stops"
)]

#[allow(dead_code, reason = "each bench uses a part")]
mod support;

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use mailkeep::format::checksum;
use mailkeep::io::{Directory, Open, Storage as _};
use mailkeep::{Options, Store, Uid, install_guard};
use support::mail::{Seed, closed, fill_accounts, name};
use support::memory::Memory;
use support::{Report, files, folder, process, smoke};

const LEN: usize = 300;
/// Bytes of the store's own when it is open; of mapped files when one message in a hundred was read.
const ANON_MAX: f64 = 2.0;
const MAPPED_MAX: f64 = 80.0;

/// Accounts, messages of each.
fn sizes() -> (usize, usize) {
    if smoke() { (10, 100) } else { (1_000, 1_000) }
}

/// Which messages are read: account and UID.
fn places(which: &str) -> Vec<(usize, u32)> {
    let (accounts, each) = sizes();
    let mut seed = Seed(6);
    let mut pick = |of: usize| (seed.next() % of as u64) as usize;
    match which {
        "newest" => (0..accounts)
            .flat_map(|account| (each - each / 100..each).map(move |at| (account, at as u32 + 1)))
            .collect(),
        "few-accounts" => (0..accounts.div_ceil(100))
            .flat_map(|account| (1..=each as u32).map(move |uid| (account, uid)))
            .collect(),
        _ => (0..accounts * each / 100)
            .map(|_| (pick(accounts), pick(each) as u32 + 1))
            .collect(),
    }
}

fn main() {
    if let Some(role) = process::role() {
        let [what, path, which] = &role[..] else {
            panic!("not a role: {role:?}")
        };
        return match what.as_str() {
            "ours" => ours(Path::new(path), which),
            _ => raw(Path::new(path)),
        };
    }
    if support::listing() || (!smoke() && !support::wanted("memory")) {
        return;
    }
    let (count, each) = sizes();
    let dir = folder();
    let path = dir.path().join("store");
    // All of the log is in memory, as a kernel keeps it that has been told nothing else.
    closed(&path, Options::new(), count, |store, inboxes| {
        fill_accounts(store, inboxes, each, LEN);
    });

    let mut report = Report::default();
    let path = path.to_str().unwrap();
    let question = |what: &str| format!("memory/warm/{}x{LEN}B/{what}", count * each);
    for which in ["scattered", "newest", "few-accounts"] {
        let said = process::ask(&["ours", path, which]);
        let mib = |key: &str| said[key].as_f64().unwrap() / f64::from(1 << 20);
        if which == "scattered" {
            let asked = &question("after opening");
            report.value(asked, "anonymous", mib("open_anon"), "MiB", Some(ANON_MAX));
            report.value(asked, "mapped", mib("open_file"), "MiB", None);
        }
        let asked = &question(&format!("after 1% read, {which}"));
        report.value(asked, "anonymous", mib("anon"), "MiB", None);
        report.value(asked, "mapped", mib("file"), "MiB", Some(MAPPED_MAX));
        let cache = mib("cache");
        report.line(format!(
            "note {asked}: {} accounts in memory, {cache:.1} MiB as counted",
            said["accounts"]
        ));
        assert!(
            smoke() || mib("file") > 0.0,
            "nothing is known of mapped pages"
        );
    }
    let said = process::ask(&["raw", path, ""]);
    let file = said["file"].as_f64().unwrap() / f64::from(1 << 20);
    let asked = question("after 1% read, scattered");
    report.value(&asked, "raw-map", file, "MiB", None);
    report.finish();
}

/// In a process of its own: opens, reads, says what memory it has more than before.
fn ours(path: &Path, which: &str) {
    install_guard().unwrap();
    let before = Memory::now();
    let store = Store::open(path, Options::new().create(false)).unwrap();
    let open = Memory::now();
    for (account, uid) in places(which) {
        let view = store.account(&name(account)).unwrap().inbox().unwrap();
        let view = view.view().unwrap();
        assert_eq!(view.len(), sizes().1);
        let message = view.message(Uid::new(uid).unwrap()).unwrap();
        assert_eq!(black_box(message.bytes().unwrap()).len(), LEN);
    }
    let (now, stat) = (Memory::now(), store.stat());
    process::say(&serde_json::json!({
        "open_anon": open.anon.saturating_sub(before.anon), "open_file": open.file.saturating_sub(before.file),
        "anon": now.anon.saturating_sub(before.anon), "file": now.file.saturating_sub(before.file),
        "accounts": stat.cached_accounts, "cache": stat.cache_bytes,
    }));
    store.close().unwrap();
}

/// In a process of its own: maps the log's files and touches as many places in them, chosen at random.
fn raw(path: &Path) {
    install_guard().unwrap();
    let log = Directory::create_or_open(&path.join("log"), false).unwrap();
    let files: Vec<(Arc<dyn mailkeep::io::File>, u64)> = files::log_files(path)
        .iter()
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            let len = std::fs::metadata(path).unwrap().len();
            (log.open(name, Open::Read).unwrap(), len)
        })
        .collect();
    let all: u64 = files.iter().map(|file| file.1).sum();
    let before = Memory::now();
    let (mut seed, mut sum) = (Seed(6), 0);
    for _ in 0..places("scattered").len() {
        let mut at = seed.next() % (all - LEN as u64);
        for (file, len) in &files {
            if at + LEN as u64 <= *len {
                sum ^= checksum(0, &file.bytes(at, LEN).unwrap());
                break;
            }
            at = at.saturating_sub(*len);
        }
    }
    black_box(sum);
    let now = Memory::now();
    process::say(&serde_json::json!({ "file": now.file.saturating_sub(before.file) }));
}
