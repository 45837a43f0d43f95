//! Mail that is made of this very store's files: segments, batches, records and footers as they lie on the disk. With
//! and without damage in front of it, no byte of a body is taken for the log's own structure.

use std::collections::BTreeMap;

use mailkeep::format::batch::BatchHead;
use mailkeep::format::segment::SegmentHeader;
use mailkeep::format::{PAGE, SECTOR};
use mailkeep::{Delivery, Digest, FlagChange, Flags, Options, Store, UidSet};

use crate::harm::lose_all;
use crate::kit::{assert_whole, message, open, options, state};
use crate::sim::Sim;

type Files = BTreeMap<String, Vec<u8>>;
/// All messages of a store, by account and UID.
type Mail = BTreeMap<(String, u32), Digest>;

/// Large segments: what imitates a batch lies in the same segment as the batch.
fn wide(run: u64) -> Options {
    options(run).segment_len(1 << 20)
}

fn send(store: &Store, to: &[&str], raw: &[u8]) {
    let to = to.iter().map(|name| {
        let account = store.account(name);
        let account = account.or_else(|_| store.create_account(name));
        Delivery::to(&account.unwrap().inbox().unwrap())
    });
    let sent = store.deliver(raw, to.collect::<Vec<_>>());
    let sent = sent.unwrap().wait().unwrap();
    assert!(sent.iter().all(Result::is_ok));
}

/// A store with a sealed segment and one that is written, and records of several kinds.
fn victim() -> Files {
    let sim = Sim::new();
    let store = open(&sim, options(0)).unwrap();
    for n in 0..3 {
        send(&store, &["anna"], &message(n, 30_000));
    }
    store.close().unwrap();
    let store = open(&sim, wide(1)).unwrap();
    for n in 3..8 {
        send(&store, &["anna", "bruno"], &message(n, 200 * n as usize));
    }
    let anna = store.account("anna").unwrap();
    let all = UidSet::full();
    let seen = FlagChange::add(Flags::SEEN);
    anna.inbox()
        .unwrap()
        .flag(&all, &seen, None)
        .unwrap()
        .wait()
        .unwrap();
    anna.create_mailbox("Lists").unwrap();
    sim.files()
}

/// The batches of a segment, each with its offset.
fn batches(segment: &[u8]) -> Vec<(usize, BatchHead)> {
    let place = SegmentHeader::decode(&segment[..PAGE]).unwrap().place();
    let mut found = Vec::new();
    let mut at = PAGE;
    while let Some(Ok(head)) = segment
        .get(at..)
        .map(|rest| BatchHead::decode(place, at as u64, rest))
    {
        let len = head.len as usize;
        found.push((at, head));
        at += len;
    }
    found
}

/// The segment that is written: the last one.
fn active(files: &Files) -> &String {
    files.keys().rfind(|name| name.ends_with(".seg")).unwrap()
}

/// Messages made of the store: each file, at several places in a sector; the segment that is written once more at
/// every eighth byte of a sector; its records alone; and files whose footer ends where the message ends.
fn imitations(files: &Files) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for (name, content) in files.iter().filter(|(_, content)| !content.is_empty()) {
        for shift in [0, 8, 256] {
            let raw = [&vec![b's'; shift][..], content].concat();
            all.push((format!("{name} behind {shift} bytes"), raw));
        }
    }
    let segment = &files[active(files)];
    let end = batches(segment)
        .last()
        .map(|(at, head)| at + head.len as usize)
        .unwrap();
    for (at, head) in batches(segment) {
        // One of the copies begins with a sector of the segment that it comes to lie in.
        let batch = &segment[at..(at + head.len as usize).min(at + 4 * SECTOR)];
        let mut shifted = Vec::new();
        for shift in 0..SECTOR / 8 {
            shifted.resize(shifted.len().next_multiple_of(SECTOR) + shift * 8, b'p');
            shifted.extend_from_slice(batch);
        }
        all.push((format!("a batch at every eighth byte, {at}"), shifted));
    }
    let records = batches(segment)
        .into_iter()
        .flat_map(|(at, head)| segment[at + head.head_len()..at + head.bodies_at()].to_vec());
    let records: Vec<u8> = records.collect();
    all.push(("records".into(), records.clone()));
    all.push(("records on and on".into(), records.repeat(30)));
    let sealed = files
        .iter()
        .find(|(name, _)| name.ends_with(".seg"))
        .unwrap()
        .1;
    let footer = &sealed[sealed.len() - 3 * PAGE..];
    for shift in 0..SECTOR / 8 {
        let raw = [&vec![b'f'; shift * 8][..], footer].concat();
        all.push((format!("a footer behind {} bytes", shift * 8), raw));
    }
    let whole = [&segment[..end], &records, sealed].concat();
    all.push(("all of it".into(), whole));
    all
}

fn mail(store: &Store) -> Mail {
    let mut found = Mail::new();
    for name in store.accounts(None, 100).unwrap() {
        let account = store.account(&name).unwrap();
        for info in account.mailboxes().unwrap() {
            let view = account.mailbox(&info.name).unwrap().view().unwrap();
            for row in view.iter() {
                let message = view.message(row.uid);
                if let Ok((bytes, digest)) = message.and_then(|m| Ok((m.bytes()?, m.digest()?))) {
                    assert_eq!(Digest::of(&bytes), digest, "{name} {}", row.uid);
                    let place = format!("{name} {}", info.name);
                    found.insert((place, row.uid.get()), Digest::of(&bytes));
                }
            }
        }
    }
    found
}

/// The victim, after the imitation was delivered to both, and one more message behind it.
fn with(files: &Files, raw: &[u8]) -> (Sim, Mail) {
    let sim = Sim::from_files(files.clone());
    let store = open(&sim, wide(2)).unwrap();
    send(&store, &["anna", "bruno"], raw);
    send(&store, &["anna"], &message(100, 700));
    let mail = mail(&store);
    (sim, mail)
}

/// Goal: mail made of the store's own files is mail: it comes back, and nothing else changes, after a kill, without
/// the index, and when all is read again; also when it is the last thing in its segment.
#[test]
fn a_store_keeps_its_own_files_as_mail() {
    let files = victim();
    let imitations = imitations(&files);
    for (what, raw) in &imitations {
        let (sim, mut expected) = with(&files, raw);
        let last = Sim::from_files(files.clone());
        let store = open(&last, wide(3)).unwrap();
        send(&store, &["anna"], raw);
        let expected_last = mail(&store);
        drop(store);
        for (sim, expected) in [(&sim, &mut expected), (&last, &mut expected_last.clone())] {
            for (loses, options) in [
                (false, wide(4)),
                (true, wide(5)),
                (false, wide(6).replay_all(true)),
            ] {
                if loses {
                    lose_all(sim);
                }
                let store = open(sim, options).unwrap();
                assert!(store.recovery().is_whole(), "{what}: {}", store.recovery());
                assert!(
                    store.recovery().cut.is_none(),
                    "{what}: {}",
                    store.recovery()
                );
                assert!(mail(&store) == *expected, "{what}");
                assert!(expected.values().any(|found| *found == Digest::of(raw)));
                assert_whole(&store);
            }
        }
    }
}

/// Ranges to damage, so that what is in front of a body cannot be read.
fn damages(at: usize, head: &BatchHead) -> Vec<(&'static str, usize, usize)> {
    let body = at + head.bodies_at();
    let end = at + head.len as usize;
    let sector = |place: usize| place / SECTOR * SECTOR;
    let mut found = vec![
        ("the head's sector", at, at + SECTOR),
        ("the head's page", at, (at + PAGE).min(end)),
        ("all in front of the body", at, sector(body)),
        (
            "all to the body's header",
            at,
            (sector(body) + SECTOR).min(end),
        ),
        (
            "the sector of the body's header",
            sector(body),
            (sector(body) + SECTOR).min(end),
        ),
        (
            "the middle",
            sector(at + head.len as usize / 2),
            sector(at + head.len as usize / 2) + SECTOR,
        ),
        ("all but the last sector", at, end - SECTOR),
    ];
    found.retain(|(_, from, to)| from < to);
    found
}

/// Goal: with damage in front of and inside such a body, every message that is served is the one that was stored there,
/// all others are served, nothing appears that was not there, and the damage is told.
#[test]
fn damage_in_front_of_an_imitation_is_only_damage() {
    let files = victim();
    let mut tried = 0;
    for (what, raw) in imitations(&files) {
        let (sim, expected) = with(&files, &raw);
        let hit = Digest::of(&raw);
        let files = sim.files();
        let Some((name, at, head)) = place_of(&files, &raw) else {
            // A large body has a segment of its own.
            assert!(raw.len() > 1 << 20, "{what}");
            continue;
        };
        for (part, from, to) in damages(at, &head) {
            for (fill, loses, options) in [
                (0, false, wide(4)),
                (0, true, wide(5)),
                (b'#', true, wide(6).replay_all(true)),
                (0, false, wide(7).replay_all(true).read_only(true)),
            ] {
                let mut files = files.clone();
                files.get_mut(&name).unwrap()[from..to].fill(fill);
                let sim = Sim::from_files(files);
                if loses {
                    lose_all(&sim);
                }
                let says = format!("{what}, {part} ({fill})");
                let store = open(&sim, options).unwrap_or_else(|error| panic!("{says}: {error}"));
                let found = mail(&store);
                for (key, digest) in &found {
                    assert_eq!(
                        expected.get(key),
                        Some(digest),
                        "{says}: {key:?} is not what it was"
                    );
                }
                let missing = expected.iter().filter(|(key, _)| !found.contains_key(*key));
                for (key, digest) in missing {
                    assert_eq!(
                        *digest,
                        hit,
                        "{says}: {key:?} is missing: {}",
                        store.recovery()
                    );
                }
                if found.len() < expected.len() && store.recovery().is_whole() {
                    let report = store
                        .verify(&mut |_| std::ops::ControlFlow::Continue(()))
                        .unwrap();
                    assert!(!report.is_whole(), "{says}: nothing is told");
                }
                let names = store.accounts(None, 10).unwrap();
                assert_eq!(names.len(), 2, "{says}: {names:?}");
                tried += 1;
            }
        }
    }
    assert!(tried > 1000, "{tried}");
    println!("{tried} damaged stores");
}

/// The batch with that body: segment, offset, head.
fn place_of(files: &Files, raw: &[u8]) -> Option<(String, usize, BatchHead)> {
    let segments = files.iter().filter(|(name, _)| name.ends_with(".seg"));
    let mut found = segments.filter_map(|(name, content)| {
        let mut holds = batches(content).into_iter().filter(|(at, head)| {
            let bodies = &content[at + head.bodies_at()..at + head.len as usize];
            bodies.len() >= raw.len()
                && bodies.windows(raw.len()).step_by(8).any(|part| part == raw)
        });
        holds.next_back().map(|(at, head)| (name.clone(), at, head))
    });
    found.next_back()
}

/// Goal: where the heads of several batches are hit, so that records and bodies are looked for one by one, those that lie
/// inside a body are not found: nothing is replayed twice, and no message becomes another one.
#[test]
fn records_inside_a_body_are_not_salvaged() {
    let files = victim();
    let mut tried = 0;
    for (what, raw) in imitations(&files).into_iter().chain(twins(&files)) {
        let (sim, _) = with(&files, &raw);
        let files = sim.files();
        let store = open(&Sim::from_files(files.clone()), wide(4)).unwrap();
        let expected = state(&store);
        drop(store);
        let Some((name, last, _)) = place_of(&files, &raw) else {
            continue;
        };
        let heads: Vec<usize> = batches(&files[&name])
            .into_iter()
            .map(|(at, _)| at)
            .collect();
        for first in heads.iter().filter(|at| **at <= last) {
            let mut files = files.clone();
            let segment = files.get_mut(&name).unwrap();
            // One bit of each head: all else can be read.
            for at in heads.iter().filter(|at| (*first..=last).contains(*at)) {
                segment[at + 40] ^= 1;
            }
            let sim = Sim::from_files(files);
            lose_all(&sim);
            for run in [5, 6] {
                let store = open(&sim, wide(run)).unwrap();
                let says = format!("{what}, from {first}: {}", store.recovery());
                assert!(store.recovery().holes.is_empty(), "{says}");
                let found = state(&store);
                assert!(found == expected, "{says}\n{found}\n{expected}");
                tried += 1;
            }
        }
    }
    assert!(tried > 500, "{tried}");
}

/// Messages made of a copy of the store that went on by itself: its records have this store's checksums, and the numbers
/// that come next here.
fn twins(files: &Files) -> Vec<(String, Vec<u8>)> {
    let twin = Sim::from_files(files.clone());
    let store = open(&twin, wide(2)).unwrap();
    for n in 0..6 {
        send(&store, &["bruno", "anna"], &message(200 + n, 300));
    }
    drop(store);
    let twin = twin.files();
    let segment = &twin[active(&twin)];
    let shifted = [0, 8, 16, 256].map(|shift| {
        let raw = [&vec![b't'; shift][..], segment].concat();
        (format!("a twin behind {shift} bytes"), raw)
    });
    shifted.into()
}
