//! Chains of accounts, searches through footers, scans of segments.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use super::sim::Sim;
use super::{Dice, Scribe, account, open, options, written};
use crate::format::change::Change;
use crate::log::{Log, Position, segment_name};
use crate::mail::AccountId;
use crate::options::Durability;

/// Numbers of the account's records, ascending.
fn numbers_of(scribe: &Scribe, id: AccountId) -> Vec<u64> {
    let records = scribe.written.values();
    let own = records.filter(|(header, ..)| header.account == id);
    own.map(|(header, ..)| header.number).collect()
}

fn never(_: &Change) -> bool {
    false
}

/// A store that knows its segments from the list only.
fn cold() -> (Sim, Scribe, Position) {
    let (sim, scribe, positions) = written(2, 120);
    let (_, last) = positions[positions.len() - 1];
    (sim, scribe, last)
}

fn chain(log: &Log, id: AccountId, below: u64, from: u64) -> (Vec<u64>, Vec<u64>) {
    let chain = log.account_records(id, below, from, &never).unwrap();
    for (header, change) in &chain.records {
        assert_eq!(
            log.record(header.number).unwrap(),
            (*header, change.clone())
        );
        assert_eq!(header.account, id);
    }
    let numbers = chain.records.iter().map(|(header, _)| header.number);
    (numbers.collect(), chain.lost)
}

#[test]
fn a_chain_is_what_was_written() {
    let (sim, scribe, last) = cold();
    for from in [None, Some(&last)] {
        let opened = open(&sim, options(50), from).unwrap();
        let next = opened.log.stat().next_record;
        let mut random = Dice::new(1);
        for index in 0..6 {
            let id = account(index);
            let all = numbers_of(&scribe, id);
            assert_eq!(all.is_empty(), index == 5);
            assert_eq!(chain(&opened.log, id, next, 0), (all.clone(), Vec::new()));
            assert_eq!(
                chain(&opened.log, id, u64::MAX, 0),
                (all.clone(), Vec::new())
            );
            for _ in 0..30 {
                let (below, from) = (random.below(next + 1), random.below(next + 1));
                let wanted = all
                    .iter()
                    .filter(|number| (from + 1..below).contains(number));
                let wanted: Vec<u64> = wanted.copied().collect();
                assert_eq!(chain(&opened.log, id, below, from), (wanted, Vec::new()));
            }
            if let Some(middle) = all.get(all.len() / 2) {
                let stop = |change: &Change| *change == scribe.written[middle].1;
                let found = opened.log.account_records(id, next, 0, &stop).unwrap();
                assert!(found.records.len() < all.len());
                assert!(stop(&found.records[0].1));
            }
        }
    }
}

/// Zeroes a sector of the front of each batch in turn.
fn each_damage(sim: &Sim, mut check: impl FnMut(&Sim)) {
    for (name, file) in sim.files() {
        if !name.ends_with(".seg") {
            continue;
        }
        let heads = (8..file.len() / 512).filter(|at| file[at * 512..].starts_with(b"MKBATCH1"));
        for head in heads.step_by(3) {
            for sector in [head, head + 1] {
                let disk = Sim::from_files(sim.files());
                disk.zero_sector(&name, sector);
                check(&disk);
            }
        }
    }
}

/// What is lost is named; everything else is there.
#[test]
fn a_chain_goes_on_behind_damage() {
    let (sim, scribe, last) = cold();
    let mut lost_ever = 0;
    each_damage(&sim, |disk| {
        let opened = open(disk, options(50), Some(&last)).unwrap();
        let next = opened.log.stat().next_record;
        for index in 0..5 {
            let id = account(index);
            let all = numbers_of(&scribe, id);
            let there = |number: &u64| opened.log.record(*number).is_ok();
            let (good, bad): (Vec<u64>, Vec<u64>) = all.iter().partition(|number| there(number));
            let (found, lost) = chain(&opened.log, id, next, 0);
            assert_eq!(found, good);
            // The newest ones leave no trace if no footer names them.
            let newest = found.last().copied().unwrap_or(0);
            let known: Vec<u64> = lost
                .iter()
                .copied()
                .filter(|number| *number < newest)
                .collect();
            let gone: Vec<u64> = bad.into_iter().filter(|number| *number < newest).collect();
            let runs: BTreeSet<u64> = gone.iter().copied().collect();
            assert!(known.iter().all(|number| runs.contains(number)));
            assert_eq!(known.is_empty(), gone.is_empty());
            lost_ever += known.len();
        }
    });
    assert!(lost_ever > 20);
}

#[test]
fn footers_tell_the_accounts_of_a_range() {
    let (sim, scribe, last) = cold();
    let opened = open(&sim, options(50), Some(&last)).unwrap();
    let segments = opened.log.segments();
    assert!(segments.len() > 5);
    let (low, high) = (
        AccountId::from_bytes([0; 16]),
        AccountId::from_bytes([255; 16]),
    );
    let mut random = Dice::new(4);
    for _ in 0..60 {
        let pick = |random: &mut Dice| {
            let at = random.below(segments.len() as u64 - 1);
            segments[usize::try_from(at).unwrap()].first_record
        };
        let (a, b) = (pick(&mut random), pick(&mut random));
        let (first, end) = (a.min(b), a.max(b));
        let (one, two) = (account(random.below(6)), account(random.below(6)));
        for keys in [low..=high, one..=one, one.min(two)..=one.max(two)] {
            let mut wanted: Vec<(AccountId, u64)> = (0..5)
                .map(account)
                .filter(|id| keys.contains(id))
                .filter_map(|id| {
                    let numbers = numbers_of(&scribe, id);
                    let inside = numbers
                        .iter()
                        .filter(|number| (first..end).contains(*number));
                    inside.max().map(|newest| (id, *newest))
                })
                .collect();
            let find = |limit| opened.log.accounts_in(first..end, &keys, limit).unwrap();
            assert_eq!(find(100), wanted);
            wanted.truncate(2);
            assert_eq!(find(2), wanted);
            assert_eq!(find(0), []);
        }
    }
}

#[test]
fn a_search_does_without_a_footer() {
    let (sim, scribe, last) = cold();
    let files = sim.files();
    let segments = open(&sim, options(48), Some(&last)).unwrap().log.segments();
    let sealed = segments.iter().find(|segment| segment.sealed).unwrap();
    let name = segment_name(sealed.number);
    let len = files[&name].len();
    let footer_at = usize::try_from(sealed.len).unwrap();
    for at in (footer_at..len).step_by(500) {
        let disk = Sim::from_files(files.clone());
        disk.flip(&name, at * 8);
        let opened = open(&disk, options(50), Some(&last)).unwrap();
        for index in 0..5 {
            let all = numbers_of(&scribe, account(index));
            let next = opened.log.stat().next_record;
            assert_eq!(
                chain(&opened.log, account(index), next, 0),
                (all.clone(), Vec::new())
            );
            let keys = account(index)..=account(index);
            let end = sealed.next_record;
            let newest = all.iter().rfind(|number| **number < end).copied();
            let found = opened.log.accounts_in(1..end, &keys, 9).unwrap();
            assert_eq!(found.first().map(|(_, number)| *number), newest);
        }
    }
}

#[test]
fn a_scan_shows_every_record_and_names_what_is_lost() {
    let (sim, scribe, last) = cold();
    let check = |disk: &Sim| {
        let opened = open(disk, options(50), Some(&last)).unwrap();
        let mut lost = 0;
        for segment in opened.log.segments() {
            let mut seen = BTreeSet::new();
            let scanned = opened
                .log
                .scan_segment(segment.number, 0..u64::MAX, &mut |header, change| {
                    if let Some(written) = scribe.written.get(&header.number) {
                        assert_eq!((header, change), (&written.0, &written.1));
                    }
                    assert!(seen.insert(header.number));
                    ControlFlow::Continue(())
                })
                .unwrap();
            assert!(!scanned.stopped);
            let given = scribe
                .written
                .range(segment.first_record..segment.next_record);
            let (there, gone): (Vec<u64>, Vec<u64>) = given
                .map(|(number, _)| *number)
                .partition(|number| seen.contains(number));
            // What the opening has told of already leaves no trace at the end of a segment that is not sealed.
            let told = |number: &u64| {
                let mut holes = opened.report.holes.iter();
                holes.any(|hole| (hole.first_lost..=hole.last_lost).contains(number))
            };
            let missed = gone.iter().filter(|number| !told(number));
            assert!(missed.eq(scanned.lost.iter().filter(|number| !told(number))));
            for number in there {
                let record = opened.log.record(number);
                assert!(record.is_ok(), "{number} in {segment:?}: {record:?}");
            }
            lost += gone.len();
        }
        lost
    };
    assert_eq!(check(&sim), 0);
    let mut lost = 0;
    each_damage(&sim, |disk| lost += check(disk));
    assert!(lost > 20);
    // Part of a segment, and stopped.
    let opened = open(&sim, options(51), Some(&last)).unwrap();
    let segment = opened.log.segments()[1];
    let range = segment.first_record + 2..segment.first_record + 5;
    let mut seen = Vec::new();
    let note = |flow| {
        move |seen: &mut Vec<u64>, number| {
            seen.push(number);
            flow
        }
    };
    let go_on = note(ControlFlow::Continue(()));
    let scan = opened
        .log
        .scan_segment(segment.number, range.clone(), &mut |header, _| {
            go_on(&mut seen, header.number)
        });
    assert!(!scan.unwrap().stopped);
    assert_eq!(seen, range.clone().collect::<Vec<_>>());
    let stop = note(ControlFlow::Break(()));
    let scan = opened
        .log
        .scan_segment(segment.number, range.clone(), &mut |header, _| {
            stop(&mut seen, header.number)
        });
    assert!(scan.unwrap().stopped);
    assert_eq!(seen.len(), 4);
    let mut each = |_: &_, _: &_| ControlFlow::Continue(());
    assert!(opened.log.scan_segment(1 << 40, range, &mut each).is_err());
}

/// Each 64th footer tells of the 64 segments before: who looks for a rare account opens few files.
#[test]
fn a_cold_search_asks_one_footer_of_64() {
    let sim = Sim::new();
    let rare = AccountId::from_bytes([99; 16]);
    let mut scribe = Scribe::new(1);
    let opened = open(&sim, options(0), None).unwrap();
    for batch in 0..420 {
        scribe.write(&opened.log, Durability::Durable, 16_000);
        if batch == 100 || batch == 190 {
            scribe.write_as(&opened.log, rare);
        }
    }
    let last = opened.log.position().unwrap().unwrap();
    drop(opened);
    let mut files = sim.files();
    let opened = open(&sim, options(49), Some(&last)).unwrap();
    let segments = opened.log.segments();
    assert!(segments.len() > 140, "{}", segments.len());
    assert!(
        segments[..segments.len() - 1]
            .iter()
            .all(|segment| segment.sealed)
    );
    let end = segments[segments.len() - 1].first_record;
    drop(opened);
    let wanted = numbers_of(&scribe, rare);
    let search = |disk: &Sim, most: usize| {
        let opened = open(disk, options(50), Some(&last)).unwrap();
        let find = |keys| opened.log.accounts_in(1..end, &keys, 9).unwrap();
        assert_eq!(find(rare..=rare), [(rare, wanted[1])]);
        let missing = AccountId::from_bytes([98; 16]);
        assert_eq!(find(missing..=missing), []);
        let open_files = opened.log.shared.files.open_count();
        assert!(open_files <= most, "{open_files}");
        // A chain that has to be looked for.
        assert_eq!(
            chain(&opened.log, rare, end, 0),
            (wanted.clone(), Vec::new())
        );
        for index in 0..5 {
            let all = numbers_of(&scribe, account(index));
            let next = opened.log.stat().next_record;
            assert_eq!(
                chain(&opened.log, account(index), next, 0),
                (all, Vec::new())
            );
        }
    };
    // The uncovered rest, two with a merged table, two with the account, the position's.
    search(&sim, segments.len() % 64 + 2 + 2 + 1);
    // Without a sound merged table each segment is asked.
    let name = segment_name(segments[64].number);
    let file = files.get_mut(&name).unwrap();
    let at = file.len() - 3 * 4096 + 16;
    file[at] ^= 1;
    search(&Sim::from_files(files), 512);
}

/// A fence while the log is open is a record like another.
#[test]
fn a_fence_is_logged() {
    let (sim, ..) = cold();
    let opened = open(&sim, options(50), None).unwrap();
    let next = opened.log.stat().next_record;
    let (header, change) = opened.log.fence(3, 5, 64).unwrap();
    assert_eq!(header.number, next);
    assert!(matches!(change, Change::Fence(fence) if fence.bound == 3 + 4 + 1));
    assert_eq!(opened.log.record(next).unwrap(), (header, change));
}
