//! Opening from a position, and reading what no opening read.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use super::sim::{Call, Fault, Sim};
use super::{Dice, Scribe, account, open, options, readable, written, written_by};
use crate::format::segment::SegmentHeader;
use crate::log::{Log, Position, segment_name};
use crate::options::Durability;

/// Both openings of the same disk: all of it, and from a position.
fn compare(disk: &Sim, position: &Position) {
    let whole = Sim::from_files(disk.files());
    let tail = Sim::from_files(disk.files());
    let all = open(&whole, options(50).replay_all(true), None).unwrap();
    let some = open(&tail, options(50), Some(position)).unwrap();
    assert!(some.log.fitted(), "{position:?}\n{}", all.report);
    assert!(!all.log.fitted() && all.log.replayed_from() == 1);
    assert_eq!(some.log.replayed_from(), position.next_record);
    let later: Vec<_> = all
        .seen
        .records
        .iter()
        .filter(|(header, _)| header.number >= position.next_record)
        .cloned()
        .collect();
    assert_eq!(some.seen.records, later);
    assert_eq!(some.report.cut, all.report.cut);
    assert_eq!(some.report.unsynced, all.report.unsynced);
    let holes: Vec<_> = all
        .report
        .holes
        .iter()
        .filter(|hole| hole.last_lost >= position.next_record)
        .cloned()
        .collect();
    assert_eq!(some.report.holes, holes);
    assert_eq!(some.log.stat().next_record, all.log.stat().next_record);
    assert_eq!(readable(&some.log), readable(&all.log));
    // Both go on in the same way.
    for (opened, sim) in [(all, &whole), (some, &tail)] {
        let mut scribe = Scribe::new(9);
        scribe.write(&opened.log, Durability::Durable, 100);
        let next = opened.log.stat().next_record;
        drop(opened);
        let again = open(sim, options(60).replay_all(true), None).unwrap();
        assert_eq!(again.log.stat().next_record, next);
        scribe.check(&again.log);
    }
}

#[test]
fn from_a_position_is_as_from_the_front() {
    for seed in 0..6 {
        let (sim, _, positions) = written(seed, 40);
        let mut random = Dice::new(seed);
        for (taken, position) in &positions {
            compare(&sim, position);
            for _ in 0..3 {
                let span = (sim.ops_len() - taken) as u64;
                let at = taken + usize::try_from(random.below(span + 1)).unwrap();
                compare(&sim.killed(at), position);
                for left in sim.crash_point(at).states(2, 3, seed) {
                    compare(&left, position);
                }
            }
        }
    }
}

/// Damage behind the position is judged as it is when all is read.
#[test]
fn damage_behind_a_position_is_found() {
    let (sim, _, positions) = written(3, 40);
    let mut random = Dice::new(5);
    for (_, position) in &positions {
        for _ in 0..12 {
            let mut files = sim.files();
            let names: Vec<String> = files
                .keys()
                .filter(|name| name.ends_with(".seg"))
                .cloned()
                .collect();
            let name = &names[usize::try_from(random.below(names.len() as u64)).unwrap()];
            let own = segment_name(position.segment);
            let file = files.get_mut(name).unwrap();
            let first = match name.cmp(&own) {
                std::cmp::Ordering::Less => continue,
                std::cmp::Ordering::Equal => position.offset,
                std::cmp::Ordering::Greater => 4096,
            };
            let sectors = (file.len() as u64).saturating_sub(first) / 512;
            if sectors == 0 {
                continue;
            }
            let at = usize::try_from(first + random.below(sectors) * 512).unwrap();
            file[at..at + 512].fill(0);
            compare(&Sim::from_files(files), position);
        }
    }
}

/// Segments that failed, and those that were never sealed, lie in front of the position without a footer.
#[test]
fn what_has_no_footer_is_read_once_it_is_asked_for() {
    type Fails = dyn Fn(&Sim, u64);
    let failing: [&Fails; 2] = [
        // A sync fails now and then: the segment ends there for ever.
        &|sim, batch| {
            if batch % 7 == 3 {
                sim.set_fault(Some(Fault::once(&[Call::Sync], 0)));
            }
        },
        // No segment can be sealed.
        &|sim, batch| {
            if batch == 5 {
                sim.set_fault(Some(Fault::from(&[Call::SetLen], 0)));
            }
        },
    ];
    for (fail, given_up) in failing.into_iter().zip([true, false]) {
        let (sim, scribe, positions) = written_by(7, 60, |sim, batch, _| {
            fail(sim, batch);
            Durability::Durable
        });
        let (_, last) = positions[positions.len() - 1];
        let opened = open(&sim, options(40).read_only(true), Some(&last)).unwrap();
        let segments = opened.log.segments();
        let unsealed = segments.iter().filter(|segment| !segment.sealed).count();
        assert!(unsealed > 3, "{segments:?}");
        scribe.check(&opened.log);
        drop(opened);
        for (_, position) in &positions {
            compare(&sim, position);
        }
        // A writer seals what was not given up.
        let opened = open(&sim, options(41), Some(&last)).unwrap();
        Scribe::new(8).write(&opened.log, Durability::Durable, 10);
        let left = opened.log.segments();
        let left = left.iter().filter(|segment| !segment.sealed).count();
        assert!(
            if given_up {
                left >= unsealed
            } else {
                left == 1
            },
            "{left}"
        );
        scribe.check(&opened.log);
        let next = opened.log.stat().next_record;
        drop(opened);
        let whole = open(&sim, options(42).replay_all(true), None).unwrap();
        assert!(whole.report.is_whole(), "{}", whole.report);
        assert_eq!(whole.log.stat().next_record, next);
        scribe.check(&whole.log);
    }
}

#[test]
fn a_position_that_does_not_fit_is_ignored() {
    let (sim, scribe, positions) = written(1, 60);
    let (_, sound) = positions[positions.len() / 2];
    let (early, late) = (positions[0].0, positions[positions.len() - 1].1);
    let alter: [fn(&mut Position); 9] = [
        |position| position.segment += 100,
        |position| position.segment += 1,
        |position| position.generation += 1,
        |position| position.offset += 512,
        |position| position.last += 512,
        |position| position.last = u64::MAX,
        |position| position.next_record += 1,
        |position| position.batch += 1,
        |position| position.crc ^= 1,
    ];
    let mut cases: Vec<(Sim, Position)> = alter
        .iter()
        .map(|alter| {
            let mut position = sound;
            alter(&mut position);
            (Sim::from_files(sim.files()), position)
        })
        .collect();
    // The store was put back from an older copy.
    cases.push((sim.killed(early), late));
    // Its last batch cannot be read.
    let mut hurt = sim.files();
    let file = hurt.get_mut(&segment_name(sound.segment)).unwrap();
    file[usize::try_from(sound.last).unwrap() + 20] ^= 1;
    cases.push((Sim::from_files(hurt), sound));
    for (disk, position) in cases {
        let without = open(&Sim::from_files(disk.files()), options(50), None).unwrap();
        let with = open(&disk, options(50), Some(&position)).unwrap();
        assert!(!with.log.fitted(), "{position:?}");
        assert_eq!(with.seen.begun, without.seen.begun);
        assert_eq!(with.seen.records, without.seen.records);
    }
    let with = open(&sim, options(50), Some(&sound)).unwrap();
    assert!(with.log.fitted());
    scribe.check(&with.log);
}

/// The batch behind a position does not follow on the one in front of it: they are of two histories.
#[test]
fn a_position_in_front_of_another_history_is_ignored() {
    let (sim, _, positions) = written(1, 60);
    let mut files = sim.files();
    let at = |position: &Position| usize::try_from(position.offset).unwrap();
    let (_, position) = positions
        .iter()
        .find(|(_, position)| {
            files[&segment_name(position.segment)][at(position)..].starts_with(b"MKBATCH1")
        })
        .unwrap();
    let file = files.get_mut(&segment_name(position.segment)).unwrap();
    let place = SegmentHeader::decode(&file[..4096]).unwrap().place();
    let head = &mut file[at(position)..][..96];
    // What it repeats of the batch before it; signed again.
    head[88] ^= 1;
    let crc = place.checksum(position.offset, &head[12..]);
    head[8..12].copy_from_slice(&crc.to_le_bytes());
    let disk = || Sim::from_files(files.clone());
    let without = open(&disk(), options(50), None).unwrap();
    let with = open(&disk(), options(50), Some(position)).unwrap();
    assert!(!with.log.fitted());
    assert_eq!(with.seen.begun, without.seen.begun);
    assert_eq!(with.seen.records, without.seen.records);
}

/// Without a position, only what no footer finds is read; the rest is found through footers, one file at a time.
#[test]
fn an_opening_opens_what_it_reads() {
    let (sim, scribe, positions) = written(2, 200);
    let (_, last) = positions[positions.len() - 1];
    for from in [None, Some(&last)] {
        let opened = open(&sim, options(50), from).unwrap();
        let stat = opened.log.stat();
        assert!(stat.segments > 5, "{stat:?}");
        let files = &opened.log.shared.files;
        assert!(files.open_count() <= 3, "{} open", files.open_count());
        assert!(opened.report.segments <= 2);
        let before = files.open_count();
        let (first, _) = scribe.written.first_key_value().unwrap();
        opened.log.record(*first).unwrap();
        opened.log.record(*first).unwrap();
        assert_eq!(files.open_count(), before + 1);
        scribe.check(&opened.log);
        assert_eq!(opened.log.stat().bad_footers, 0);
    }
}

/// Where the footer of a segment begins, and one of its records.
fn sealed(log: &Log) -> (String, usize, u64) {
    let segments = Arc::clone(&log.shared.segments.read());
    let segment = segments.iter().find(|segment| segment.is_sealed()).unwrap();
    let at = usize::try_from(segment.footer_at()).unwrap();
    (segment_name(segment.number()), at, segment.first_record())
}

#[test]
fn a_bad_footer_is_written_again() {
    let (sim, scribe, positions) = written(4, 60);
    let (_, last) = positions[positions.len() - 1];
    let (name, at, first) = sealed(&open(&sim, options(40), Some(&last)).unwrap().log);
    let sound = sim.files()[&name].clone();
    // A page of the record table, its checksums, the trailer; and an end that is too long to be cut.
    let places = [at + 8, sound.len() - 2 * 4096 + 1, sound.len() - 100];
    for place in places {
        let mut files = sim.files();
        files.get_mut(&name).unwrap()[place] ^= 4;
        let hurt = files[&name].clone();
        let disk = Sim::from_files(files);
        let reader = open(&disk, options(49).read_only(true), Some(&last)).unwrap();
        scribe.check(&reader.log);
        assert_eq!(reader.log.stat().bad_footers, 1);
        drop(reader);
        assert!(disk.files()[&name] == hurt, "a reader changes nothing");
        let opened = open(&disk, options(50), Some(&last)).unwrap();
        opened.log.record(first).unwrap();
        assert_eq!(opened.log.stat().bad_footers, 1, "at {place}");
        assert!(!sealed_by_footer(&opened.log, &name));
        // Without threads, whoever commits does the work.
        Scribe::new(8).write(&opened.log, Durability::Durable, 10);
        assert!(sealed_by_footer(&opened.log, &name));
        scribe.check(&opened.log);
        assert_eq!(opened.log.stat().bad_footers, 1);
        drop(opened);
        assert!(disk.files()[&name] == sound, "at {place}");
    }
    let mut files = sim.files();
    files.get_mut(&name).unwrap().extend([0; 4096]);
    let disk = Sim::from_files(files);
    let opened = open(&disk, options(50), Some(&last)).unwrap();
    scribe.check(&opened.log);
    Scribe::new(8).write(&opened.log, Durability::Durable, 10);
    assert!(!sealed_by_footer(&opened.log, &name));
    scribe.check(&opened.log);
}

fn sealed_by_footer(log: &Log, name: &str) -> bool {
    let segments = Arc::clone(&log.shared.segments.read());
    let segment = segments
        .iter()
        .find(|segment| segment_name(segment.number()) == name)
        .unwrap();
    segment.is_sealed()
}

/// A position is taken right when another thread's batch is written, and that thread has not said so yet: what lies in
/// front of it is known to have ended, or a checkpoint would cover records that no row knows.
#[test]
fn all_in_front_of_a_position_has_ended() {
    let sim = Sim::new();
    let opened = open(&sim, options(0), None).unwrap();
    let log = &opened.log;
    let mut scribe = Scribe::new(3);
    scribe.write_as(log, account(1));
    let short = || std::thread::sleep(Duration::from_millis(10));
    let mut met = 0;
    while met < 3 {
        let next = log.stat().next_record;
        std::thread::scope(|scope| {
            // One is about to write, the other behind it; what is written cannot be told as long as the queue is held.
            let writer = log.shared.writer.lock();
            scope.spawn(|| scribe.write_as(log, account(1)));
            short();
            let (tell, told) = channel();
            scope.spawn(move || tell.send(log.position().unwrap().unwrap()));
            short();
            let queue = log.shared.queue.lock();
            drop(writer);
            let early = told.recv_timeout(Duration::from_millis(100));
            let unknown = early.is_ok_and(|position| log.outcome(position.batch).is_none());
            drop(queue);
            assert!(!unknown, "{early:?} is told first");
            let position = early.or_else(|_| told.recv()).unwrap();
            // Whoever came first did.
            met += u32::from(position.next_record > next);
        });
    }
}

/// Beside a writer whose TAIL cannot be read, a reader is shown all that the batches themselves say to be durable: all but
/// the last one.
#[test]
fn a_reader_without_tail_is_shown_what_batches_know() {
    let sim = Sim::new();
    let opened = open(&sim, options(0), None).unwrap();
    let mut scribe = Scribe::new(5);
    for _ in 0..9 {
        scribe.write_as(&opened.log, account(1));
    }
    for sector in [0, 8] {
        sim.zero_sector("TAIL", sector);
    }
    let reader = open(&sim, options(1).read_only(true), None).unwrap();
    assert_eq!(reader.seen.records.len(), 8);
}

/// Goal: a prepared file that a killed run left goes at the next opening for writing, whoever removes it, and at no other.
#[test]
fn a_prepared_file_of_an_earlier_run_goes() {
    const SPARE: &str = "log/spare-1";
    for background in [false, true] {
        let mut files = written(3, 5).0.files();
        files.insert(SPARE.into(), vec![0; 4096]);
        let sim = Sim::from_files(files);
        drop(open(&sim, options(1).read_only(true), None).unwrap());
        assert!(sim.files().contains_key(SPARE));
        let opened = open(&sim, options(2).background(background), None).unwrap();
        opened.log.close().unwrap();
        assert!(!sim.files().contains_key(SPARE), "{background}");
    }
}
