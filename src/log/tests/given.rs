//! What the disk does not give now may be there later: nothing is written, and nothing is said, as if it were not there.

use super::sim::{Call, Fault, Sim};
use super::{Scribe, account, open, options, written, written_by};
use crate::error::Error;
use crate::format::PAGE;
use crate::log::{Log, Position, SegmentInfo, segment_name};
use crate::mail::AccountId;
use crate::options::Durability;

/// A store whose segments are sealed, or not, and its last position.
fn store(sealed: bool) -> (Sim, Scribe, Position) {
    let (sim, scribe, positions) = if sealed {
        written(4, 60)
    } else {
        written_by(7, 60, |sim, batch, _| {
            if batch == 5 {
                sim.set_fault(Some(Fault::from(&[Call::SetLen], 0)));
            }
            Durability::Durable
        })
    };
    let (_, last) = positions[positions.len() - 1];
    (sim, scribe, last)
}

/// A segment in the middle, of which no opening at the position reads anything.
pub(super) fn middle(sim: &Sim, last: &Position) -> (String, SegmentInfo) {
    let opened = open(sim, options(40).read_only(true), Some(last)).unwrap();
    let segments = opened.log.segments();
    let segment = segments[segments.len() / 2];
    assert!(segment.number < last.segment);
    (segment_name(segment.number), segment)
}

/// Where batches begin.
pub(super) fn heads(file: &[u8]) -> Vec<usize> {
    let sectors = (8..file.len() / 512).map(|sector| sector * 512);
    sectors
        .filter(|at| file[*at..].starts_with(b"MKBATCH1"))
        .collect()
}

/// A page of its footer is bad: 0 is of the record table, 1 of the account table.
fn hurt_footer(sim: &Sim, name: &str, segment: &SegmentInfo, page: usize) {
    let at = usize::try_from(segment.len).unwrap() + page * PAGE;
    sim.flip(name, at * 8);
}

fn numbers_of(scribe: &Scribe, id: AccountId, records: std::ops::Range<u64>) -> Vec<u64> {
    let own = scribe.written.range(records);
    let own = own.filter(|(_, (header, ..))| header.account == id);
    own.map(|(number, _)| *number).collect()
}

/// Part of a segment cannot be read when its records are looked for, and can when its footer is due, or a few reads later: no
/// footer says that they are not there.
#[test]
fn no_footer_hides_records() {
    for (sealed, failing) in [false, true]
        .into_iter()
        .flat_map(|sealed| (0..6).map(move |failing| (sealed, failing)))
    {
        let (sim, scribe, last) = store(sealed);
        let (name, segment) = middle(&sim, &last);
        for head in heads(&sim.files()[&name]) {
            let disk = Sim::from_files(sim.files());
            if sealed {
                hurt_footer(&disk, &name, &segment, 0);
            }
            let opened = open(&disk, options(50), Some(&last)).unwrap();
            disk.fail_reads(&name, head..head + 512);
            for number in segment.first_record..segment.next_record {
                let _ = opened.log.record(number);
            }
            disk.heal_reads_after(failing);
            // Without threads, whoever commits does the work.
            Scribe::new(8).write(&opened.log, Durability::Durable, 10);
            drop(opened);
            disk.heal_reads();
            let opened = open(&disk, options(51), Some(&last)).unwrap();
            scribe.check(&opened.log);
        }
    }
}

/// Reads fail from one on while footers are made: none of them lacks an account.
#[test]
fn no_footer_hides_accounts() {
    let (sim, scribe, last) = store(false);
    for after in 0.. {
        let disk = Sim::from_files(sim.files());
        let opened = open(&disk, options(50), Some(&last)).unwrap();
        disk.set_fault(Some(Fault::from(&[Call::Read, Call::Bytes], after)));
        Scribe::new(8).write(&opened.log, Durability::Durable, 10);
        let failed = disk.fault_hits();
        disk.set_fault(None);
        drop(opened);
        let opened = open(&disk, options(51), Some(&last)).unwrap();
        let segments = opened.log.segments();
        let all = 1..segments[segments.len() - 1].first_record;
        for id in (0..5).map(account) {
            let found = opened.log.numbers_of(id, all.clone()).unwrap();
            let wanted = numbers_of(&scribe, id, all.clone());
            assert_eq!(found, wanted, "reads fail after {after}");
        }
        if failed == 0 {
            assert!(after > 20, "{after} reads");
            break;
        }
    }
}

/// A segment without a footer, of which the disk does not give all, is no answer to who is in it.
#[test]
fn no_search_says_that_who_was_not_given_is_not_there() {
    let (sim, scribe, last) = store(true);
    let (name, segment) = middle(&sim, &last);
    let mut refused = 0;
    let mut is_right = |found: Result<Vec<u64>, Error>, wanted: Vec<u64>| match found {
        Ok(found) => assert_eq!(found, wanted),
        Err(error) => {
            assert!(matches!(error, Error::Io { .. }), "{error:?}");
            refused += 1;
        }
    };
    for head in heads(&sim.files()[&name]) {
        let disk = Sim::from_files(sim.files());
        hurt_footer(&disk, &name, &segment, 1);
        let opened = open(&disk, options(50), Some(&last)).unwrap();
        disk.fail_reads(&name, head..head + 512);
        let records = segment.first_record..segment.next_record;
        for id in (0..5).map(account) {
            let wanted = numbers_of(&scribe, id, records.clone());
            let newest = wanted.last().copied().into_iter().collect();
            is_right(opened.log.numbers_of(id, records.clone()), wanted);
            is_right(newest_of(&opened.log, id, &records), newest);
        }
    }
    assert!(refused > 20, "{refused}");
}

fn newest_of(log: &Log, id: AccountId, records: &std::ops::Range<u64>) -> Result<Vec<u64>, Error> {
    let found = log.accounts_in(records.clone(), &(id..=id), 9)?;
    Ok(found.into_iter().map(|(_, number)| number).collect())
}
