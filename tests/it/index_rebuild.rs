//! The index is lost while the log has many segments: everything is served while it is made again, also over deaths in
//! the middle, bad footers and lost records; and readers beside a writer that saves and merges.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use mailkeep::{Delivery, Durability, Error, FlagChange, Flags, Options, Receipt, Store, UidSet};

use crate::harm::lose_all;
use crate::kit::{
    assert_whole, deliver, env, message, open, options, receipts, state, steps, tried,
};
use crate::seam::Seam;
use crate::sim::{Call, SECTOR, Sim};

type Change<'a> = &'a dyn Fn(&Store) -> mailkeep::Result<()>;

fn name(at: u64) -> String {
    format!("account-{at}@example.it")
}

fn send(store: &Store, name: &str, seed: u64, len: usize) -> u32 {
    let inbox = store.account(name).unwrap().inbox().unwrap();
    let kept = store.deliver(message(seed, len), [Delivery::to(&inbox)]);
    kept.unwrap().wait().unwrap().remove(0).unwrap().uid.get()
}

/// A store of many segments, closed, and the receipts of its accounts.
fn sample(accounts: u64, rounds: u64) -> (Sim, BTreeMap<String, Receipt>) {
    let sim = Sim::new();
    let store = open(&sim, options(0)).unwrap();
    for at in 0..accounts {
        store.create_account(&name(at)).unwrap();
    }
    for round in 0..rounds {
        for at in 0..accounts {
            send(&store, &name(at), round << 32 | at, 1_500);
        }
        let some = store.account(&name(round % accounts)).unwrap();
        let (inbox, change) = (some.inbox().unwrap(), FlagChange::add(Flags::SEEN));
        inbox
            .flag(&UidSet::full(), &change, None)
            .unwrap()
            .wait()
            .unwrap();
    }
    store.account(&name(1)).unwrap().rename("renamed").unwrap();
    store.account(&name(2)).unwrap().delete().unwrap();
    store.create_account(&name(2)).unwrap();
    let before = receipts(&store);
    store.close().unwrap();
    (sim, before)
}

/// Goal: who asks first has the answer before the rebuild is through, and mail is delivered meanwhile; the progress is
/// told.
#[test]
fn the_account_that_is_asked_first_does_not_wait_for_the_rebuild() {
    let (sim, before) = sample(30, 40);
    lose_all(&sim);
    let slow = Arc::new(AtomicBool::new(true));
    let is_slow = Arc::clone(&slow);
    let seam = Seam::over(sim.storage(), move |call, file| {
        let here = std::thread::current().name() == Some("mailkeep-index");
        let reads = matches!(call, Call::Read | Call::Bytes) && file.starts_with("log/");
        if here && reads && is_slow.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    });
    let began = Instant::now();
    let store = Store::open_on(seam, options(1).background(true)).unwrap();
    let receipt = store.account(&name(7)).unwrap().receipt().unwrap();
    let answered = began.elapsed();
    assert_eq!(receipt, before[&name(7)]);
    let mut seen = Vec::new();
    let mut longest = Duration::ZERO;
    let mut nth = 0;
    while began.elapsed() < Duration::from_millis(1500) {
        let start = Instant::now();
        send(&store, &name(3 + nth % 20), nth, 500);
        longest = longest.max(start.elapsed());
        nth += 1;
        seen.extend(store.health().rebuild);
    }
    assert!(
        store.health().rebuild.is_some(),
        "the rebuild is too fast for this test"
    );
    let told: Vec<u64> = seen.iter().map(|rebuild| rebuild.done_bytes).collect();
    assert!(told.is_sorted() && told.first() < told.last(), "{told:?}");
    assert!(seen.iter().all(|seen| seen.done_bytes <= seen.total_bytes));
    assert!(store.health().to_string().contains("rebuilding the index"));
    println!("answered after {answered:?}, {nth} deliveries, the slowest took {longest:?}");
    assert!(
        longest < Duration::from_millis(500),
        "a delivery waited for {longest:?}"
    );
    slow.store(false, Ordering::SeqCst);
    while store.health().rebuild.is_some() {
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "the rebuild does not end"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    let now = receipts(&store);
    for at in (0..30).filter(|at| *at > 2 && !(3..23).contains(at)) {
        assert_eq!(now[&name(at)], before[&name(at)]);
    }
    store.close().unwrap();
    let store = open(&sim, options(2)).unwrap();
    assert_eq!(receipts(&store), now);
    assert!(store.health().rebuild.is_none() && store.stat().runs > 0);
}

/// Goal: a rebuild goes on while mail is delivered, flagged and moved and accounts come, go and change names, is killed
/// at any point, and ends with what the log says.
#[test]
fn a_rebuild_is_killed_and_goes_on() {
    let (sim, before) = sample(8, 40);
    lose_all(&sim);
    let start = sim.ops_len();
    let store = open(&sim, options(1)).unwrap();
    let mut shown = vec![(sim.ops_len(), receipts(&store))];
    assert_eq!(shown[0].1, before);
    let work: [Change; 9] = [
        &|store| store.create_account("new").map(drop),
        &|store| store.account(&name(4))?.rename("four"),
        &|store| store.account(&name(5))?.delete(),
        &|store| store.create_account(&name(5)).map(drop),
        &|store| {
            let inbox = store.account(&name(6))?.inbox()?;
            inbox
                .flag(&UidSet::full(), &FlagChange::add(Flags::FLAGGED), None)?
                .wait()?;
            Ok(())
        },
        &|store| store.create_account(&name(4)).map(drop),
        &|store| store.account("renamed")?.rename(&name(1)),
        &|store| store.account(&name(7))?.create_mailbox("there").map(drop),
        &|store| {
            let account = store.account(&name(7))?;
            let to = account.mailbox("there")?;
            account.inbox()?.move_to(&UidSet::full(), &to)?.wait()?;
            Ok(())
        },
    ];
    let mut rebuilt = false;
    for (nth, step) in work.iter().cycle().take(40).enumerate() {
        if nth < work.len() {
            step(&store).unwrap();
        } else {
            send(&store, &name(nth as u64 % 4 * 2), nth as u64, 200);
        }
        shown.push((sim.ops_len(), receipts(&store)));
        let progress = store.health().rebuild;
        assert!(progress.is_none_or(|progress| progress.done_bytes <= progress.total_bytes));
        rebuilt |= progress.is_some();
    }
    assert!(rebuilt, "nothing was rebuilt");
    assert!(store.health().rebuild.is_none(), "{}", store.health());
    drop(store);
    let states = env("MAILKEEP_STATES", 100) as usize;
    let every = ((sim.ops_len() - start) / states).max(1);
    for op in (start..sim.ops_len()).step_by(every) {
        let mut left: Vec<Sim> = sim.crash_point(op).states(1, 2, op as u64).collect();
        left.push(sim.killed(op));
        for disk in left {
            let store = open(&disk, options(2)).unwrap();
            assert!(store.recovery().is_whole());
            let found = receipts(&store);
            let least = shown.iter().rposition(|(at, _)| *at <= op).unwrap_or(0);
            let most = (least + 2).min(shown.len());
            let fits = shown[least..most].iter().any(|(_, shown)| *shown == found);
            if !fits {
                for (_, shown) in &shown[least..most] {
                    let names = shown.keys().chain(found.keys());
                    for name in names.filter(|name| shown.get(*name) != found.get(*name)) {
                        let [was, is] =
                            [shown, &found].map(|all| all.get(name).map(ToString::to_string));
                        eprintln!("{name}: was {was:?}, is {is:?}");
                    }
                }
                panic!(
                    "op {op}, between steps {least} and {most}: {}",
                    store.recovery()
                );
            }
            for seed in 0..3 {
                deliver(&store, seed, 100).unwrap();
            }
            let after = receipts(&store);
            drop(store);
            let store = open(&disk, options(3)).unwrap();
            assert_eq!(receipts(&store), after, "op {op}");
        }
    }
}

/// Goal: a footer that is damaged too costs time and nothing else.
#[test]
fn a_rebuild_passes_bad_footers() {
    let (sim, before) = sample(8, 40);
    let names: Vec<String> = sim.files().into_keys().collect();
    let segments: Vec<&String> = names.iter().filter(|name| name.ends_with(".seg")).collect();
    for back in [8, 700, 5_000] {
        for hurt in [segments.len() / 2, 1, 0] {
            let disk = Sim::from_files(sim.files());
            lose_all(&disk);
            let len = disk.files()[segments[hurt]].len();
            disk.flip(segments[hurt], 8 * (len - back));
            let store = open(&disk, options(1)).unwrap();
            let found = receipts_read(&store);
            let differ: Vec<_> = before
                .iter()
                .filter(|(name, receipt)| found.get(*name) != Some(*receipt))
                .collect();
            // Far from the end it may be a record that is hit: that is told, and costs the account's messages.
            assert!(
                differ.is_empty() || !store.lost().is_empty() || !store.health().whole,
                "{back}, {hurt}"
            );
            assert!(
                differ.is_empty() || back > 1000,
                "{back}, {hurt}: {differ:?}"
            );
            for seed in 0..60 {
                send(&store, &name(3), seed, 10);
            }
            assert!(store.health().rebuild.is_none(), "{}", store.health());
            let after = receipts_read(&store);
            store.close().unwrap();
            let store = open(&disk, options(2)).unwrap();
            assert_eq!(receipts_read(&store), after);
        }
    }
}

/// Goal: the index is lost, and the footer of an old segment is damaged: whoever asks, and asks again when that is known, is
/// told what later segments say of the account.
/// Fails when: the segment that has to be read is taken for the newest one.
#[test]
fn an_old_segment_without_its_footer_stays_an_old_one() {
    let (sim, _) = sample(8, 10);
    let store = open(&sim, options(1)).unwrap();
    // Who has a base is not read further back than that.
    for at in 3..8 {
        store.account(&name(at)).unwrap().write_base().unwrap();
    }
    for seed in 0..80 {
        send(&store, &name(3 + seed % 5), seed, 1_500);
    }
    for seed in 0..80 {
        send(&store, &name(0), 1000 + seed, 1_500);
    }
    let before = receipts(&store);
    store.close().unwrap();
    let files = sim.files();
    let segments: Vec<&String> = files.keys().filter(|name| name.ends_with(".seg")).collect();
    for hurt in [0, 1, segments.len() / 2, segments.len() - 2] {
        let disk = Sim::from_files(files.clone());
        lose_all(&disk);
        let len = files[segments[hurt]].len();
        disk.flip(segments[hurt], 8 * (len - 8));
        for run in 2..4 {
            let little = options(run).cache_bytes(0);
            let store = open(&disk, little.read_only(true)).unwrap();
            assert!(receipts_read(&store) == before, "{hurt}, asked first");
            assert!(receipts_read(&store) == before, "{hurt}, asked again");
        }
    }
}

/// Goal: the index is lost, and an account has more records in segments with footers than are taken into memory at once: it is
/// as it was, and its next UID the next one.
/// Fails when: a part of its way through the segments is passed over, or taken twice.
#[test]
fn a_long_history_is_found_segment_by_segment() {
    const MESSAGES: u32 = 6_000;
    let sim = Sim::new();
    let store = open(&sim, options(0)).unwrap();
    let account = store.create_account("anna").unwrap();
    store.create_account("berta").unwrap();
    let inbox = account.inbox().unwrap();
    for first in (0..MESSAGES).step_by(100) {
        let mut many = account.transaction();
        for seed in first..first + 100 {
            let to = Delivery::to(&inbox);
            many.append(message(seed.into(), 40), to).unwrap();
        }
        many.commit().unwrap().wait().unwrap();
        send(&store, "berta", first.into(), 10);
    }
    drop((account, inbox));
    for seed in 0..80 {
        send(&store, "berta", seed, 1_500);
    }
    let before = receipts(&store);
    store.close().unwrap();
    lose_all(&sim);
    let store = open(&sim, options(1).cache_bytes(0)).unwrap();
    assert!(receipts_read(&store) == before);
    assert_eq!(send(&store, "anna", 1 << 40, 100), MESSAGES + 1);
}

/// Delivers often enough for every step of the index to be made.
fn tend(store: &Store) {
    for seed in 0..80 {
        deliver(store, seed, 10).unwrap();
    }
}

/// As `receipts`, where an account may have records that are lost.
fn receipts_read(store: &Store) -> BTreeMap<String, Receipt> {
    let names = store.accounts(None, 1000).unwrap();
    let read = names.into_iter().filter_map(|name| {
        let receipt = store.account(&name).unwrap().receipt().ok()?;
        Some((name, receipt))
    });
    read.collect()
}

/// One delivery of a [`sample`] is lost, with all that says so; its body too.
fn lose_a_delivery(sim: &Sim) {
    let files = sim.files();
    let mut segments = files.keys().filter(|name| name.ends_with(".seg"));
    let segment = segments.nth(1).unwrap();
    let starts: Vec<usize> = (0..files[segment].len() / SECTOR)
        .filter(|at| files[segment][at * SECTOR..].starts_with(b"MKBATCH1"))
        .collect();
    (starts[5]..starts[6]).for_each(|sector| sim.zero_sector(segment, sector));
}

/// Goal: a batch in the middle of the log is lost, and the index too: what is gone is told, no UID of it is given again,
/// and the rest is there: before, during and after the rebuild, and when the account is first met by a delivery.
#[test]
fn a_lost_record_is_told_when_the_index_is_lost_too() {
    for first in 0..3 {
        let (sim, _) = sample(4, 60);
        lose_all(&sim);
        lose_a_delivery(&sim);
        let store = open(&sim, options(1)).unwrap();
        let names = [name(0), name(3), "renamed".to_owned()];
        let lens = |store: &Store| -> Vec<usize> {
            let views = names
                .iter()
                .map(|name| store.account(name).unwrap().inbox().unwrap().view());
            views.map(|view| view.unwrap().len()).collect()
        };
        match first {
            // A delivery to each, without a look at it.
            0 => names
                .iter()
                .for_each(|name| assert!(send(&store, name, 1, 10) > 60)),
            // The rebuild first.
            1 => tend(&store),
            _ => {}
        }
        let found = lens(&store);
        let expected = 60 + usize::from(first == 0);
        let gone = found.iter().filter(|len| **len < expected).count();
        // The one of account 2 was deleted since: then nothing is missing.
        assert!(
            gone <= 1 && found.iter().all(|len| *len >= expected - 1),
            "{found:?}"
        );
        let health = store.health();
        if gone == 1 {
            assert!(
                !health.whole && health.lost_records > 0,
                "{first}: {health:?}"
            );
        }
        for name in &names {
            let view = store
                .account(name)
                .unwrap()
                .inbox()
                .unwrap()
                .view()
                .unwrap();
            let highest = view.uids().iter().map(|uid| uid.get()).max().unwrap();
            assert!(send(&store, name, 5, 10) > highest.max(60));
        }
        tend(&store);
        let after = receipts_read(&store);
        let fences = store.health().next_record;
        store.close().unwrap();
        let store = open(&sim, options(2)).unwrap();
        assert_eq!(receipts_read(&store), after);
        assert_eq!(store.health().next_record, fences, "fenced once");
    }
}

/// Goal: where a fence lies in front of the log's tail and the index is lost, what the tail's records gave out is known
/// to lie beyond it: no account skips ahead once more for the same loss.
#[test]
fn a_fence_before_the_tail_is_crossed_once_though_the_index_is_lost() {
    let (sim, _) = sample(4, 60);
    lose_a_delivery(&sim);
    let store = open(&sim, options(1).replay_all(true)).unwrap();
    assert!(!store.recovery().is_whole());
    let segments = store.stat().segments;
    // Nobody else hears of it before the tail.
    while store.stat().segments < segments + 2 {
        send(&store, &name(2), 1, 10_000);
    }
    let accounts = [name(0), name(3), "renamed".to_owned()];
    for name in &accounts {
        assert!(send(&store, name, 2, 10) > 61, "the fence was crossed");
    }
    let status = |store: &Store| {
        let inboxes = accounts
            .iter()
            .map(|name| store.account(name).unwrap().inbox().unwrap());
        inboxes
            .map(|inbox| inbox.status().unwrap())
            .collect::<Vec<_>>()
    };
    let before = status(&store);
    store.close().unwrap();
    lose_all(&sim);
    let store = open(&sim, options(2)).unwrap();
    assert_eq!(status(&store), before);
    for (name, before) in accounts.iter().zip(&before) {
        assert_eq!(
            Some(send(&store, name, 2, 10)),
            before.uid_next.map(|uid| uid.get())
        );
    }
    tend(&store);
    store.close().unwrap();
    lose_all(&sim);
    let store = open(&sim, options(3)).unwrap();
    let accounts = accounts.iter().map(|name| store.account(name).unwrap());
    for (account, before) in accounts.zip(&before) {
        let uid_next = account.inbox().unwrap().status().unwrap().uid_next.unwrap();
        assert_eq!(uid_next.get(), before.uid_next.unwrap().get() + 1);
    }
}

/// Goal: readers beside a writer that saves and merges its index show what was acknowledged when they opened, then and
/// later.
#[test]
fn readers_follow_a_writer_that_saves_its_index() {
    let sim = Sim::new();
    let store = open(&sim, tried(0)).unwrap();
    let mut readers: Vec<(Store, String)> = Vec::new();
    for step in steps() {
        (step.run)(&store, Durability::Durable).unwrap();
        let reader = open(&sim, tried(1).read_only(true)).unwrap();
        let shown = state(&store);
        assert_eq!(state(&reader), shown);
        readers.push((reader, shown));
        for (reader, shown) in &readers {
            assert_eq!(state(reader), *shown);
            assert!(matches!(reader.create_account("x"), Err(Error::ReadOnly)));
        }
    }
}

/// The same on real files with threads: a reader that opens sees all that was acknowledged before.
#[test]
fn readers_open_while_a_writer_saves_its_index() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mail");
    let options = || {
        Options::new()
            .segment_len(64 << 10)
            .tail_max(64 << 10)
            .chain_max(1)
            .cache_bytes(0)
    };
    let store = Store::open(&path, options()).unwrap();
    store.create_account("anna").unwrap();
    let (acknowledged, stop) = (AtomicU32::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let mut opened = 0;
                    while !stop.load(Ordering::SeqCst) {
                        let least = acknowledged.load(Ordering::SeqCst);
                        let reader = Store::open(&path, options().read_only(true)).unwrap();
                        let view = reader
                            .account("anna")
                            .unwrap()
                            .inbox()
                            .unwrap()
                            .view()
                            .unwrap();
                        assert!(view.len() as u32 >= least, "{} of {least}", view.len());
                        assert!(view.iter().zip(1..).all(|(row, uid)| row.uid.get() == uid));
                        opened += 1;
                    }
                    opened
                })
            })
            .collect();
        for seed in 0..env("MAILKEEP_ROUNDS", 400) {
            acknowledged.store(deliver(&store, seed, 3_000).unwrap(), Ordering::SeqCst);
        }
        stop.store(true, Ordering::SeqCst);
        let opened: Vec<u32> = readers
            .into_iter()
            .map(|reader| reader.join().unwrap())
            .collect();
        assert!(opened.iter().all(|opened| *opened > 1), "{opened:?}");
    });
    assert_whole(&store);
    assert!(store.health().index_error.is_none(), "{}", store.health());
}
