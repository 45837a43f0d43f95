//! Opening from a position, and reading what no opening read.

#[path = "../../tests/it/sim.rs"]
#[allow(dead_code)] // Shared with the integration tests, which use all of it.
mod sim;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::{Log, NewBody, NewRecord, Position, RecoveryReport, Replay, find_or_create, lock};
use crate::error::Result;
use crate::format::change::{BodyAt, Change, Deliver};
use crate::format::record::RecordHeader;
use crate::mail::{
    AccountId, Digest, Flags, InternalDate, Shape, Summary, Uid, UidSet, UidValidity,
};
use crate::options::{Durability, Options};
use sim::{Sim, SimHost};

/// What a replay got.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) records: Vec<(RecordHeader, Change)>,
    pub(super) begun: Option<(u64, bool)>,
}

impl Replay for Seen {
    fn begin(&mut self, from: u64, fitted: bool) {
        assert!(self.begun.is_none() && self.records.is_empty());
        self.begun = Some((from, fitted));
    }

    fn replay(&mut self, header: &RecordHeader, change: &Change) {
        self.records.push((*header, change.clone()));
    }
}

/// Options of run `run` of a test; no run may give unique numbers that an earlier one gave.
fn options(run: u64) -> Options {
    let host = SimHost::new(1_700_000_000_000, (run + 1) << 32);
    Options::new()
        .background(false)
        .prepare(false)
        .segment_len(64 << 10)
        .host(Arc::new(host))
}

pub(super) struct Opened {
    pub(super) log: Log,
    pub(super) report: RecoveryReport,
    pub(super) seen: Seen,
}

fn open(sim: &Sim, options: Options, from: Option<&Position>) -> Result<Opened> {
    let storage = sim.storage();
    find_or_create(&*storage, &options)?;
    let lock = if options.read_only {
        None
    } else {
        Some(lock(&*storage, &options)?)
    };
    let mut seen = Seen::default();
    let (log, report) = Log::open(storage, options, lock, &mut seen, from)?;
    assert_eq!(seen.begun, Some((log.replayed_from(), log.fitted())));
    Ok(Opened { log, report, seen })
}

/// Numbers that look random and are the same each time (xorshift).
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self((seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most
    }
}

/// Writes random batches, and remembers what was written.
struct Scribe {
    random: Random,
    last: HashMap<AccountId, u64>,
    /// By record number: the record, and the body that it brought.
    written: BTreeMap<u64, (RecordHeader, Change, Option<Vec<u8>>)>,
}

fn account(index: u64) -> AccountId {
    let mut bytes = [7; 16];
    bytes[0] = u8::try_from(index * 40).unwrap();
    AccountId::from_bytes(bytes)
}

fn deliver(uid: u64, body: &[u8]) -> Change {
    Change::Deliver(Box::new(Deliver {
        uid: Uid::new(u32::try_from(uid).unwrap()).unwrap(),
        uid_validity: UidValidity::new(1).unwrap(),
        flags: Flags::default(),
        keywords: Vec::new(),
        internal_date: InternalDate::utc(0).unwrap(),
        save_date: 0,
        email: uid,
        thread: 0,
        raw_len: u32::try_from(body.len()).unwrap(),
        shape: Shape::of(body),
        digest: Digest::of(body),
        body: BodyAt::Here(0),
        summary: Summary::of(body),
    }))
}

impl Scribe {
    fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            last: HashMap::new(),
            written: BTreeMap::new(),
        }
    }

    /// One batch of up to eight records, bodies up to `most` bytes.
    fn write(&mut self, log: &Log, durability: Durability, most: u64) {
        let count = 1 + self.random.below(8);
        let (batch, ()) = log
            .join(durability, &[], |group| {
                for _ in 0..count {
                    let id = account(self.random.below(5));
                    let number = group.next_number();
                    let body = vec![b'a'; usize::try_from(self.random.below(most)).unwrap() + 1];
                    let has_body = self.random.below(2) == 0;
                    let mut change = if has_body {
                        deliver(number, &body)
                    } else {
                        let mut uids = UidSet::new();
                        uids.insert_range(Uid::MIN, Uid::new(3).unwrap());
                        Change::Expunge { uids }
                    };
                    let new_body = NewBody {
                        bytes: &body,
                        chunks: crate::format::body::chunk_checksums(&body),
                        account: id,
                        mailbox: 1,
                        uid: 1,
                        owners: Vec::new(),
                    };
                    let previous = self.last.insert(id, number).unwrap_or(0);
                    let record = NewRecord {
                        account: id,
                        mailbox: 1,
                        modseq: number,
                        previous,
                        change: &mut change,
                    };
                    group.push(record, has_body.then_some(&new_body));
                    let header = RecordHeader {
                        number,
                        previous,
                        account: id,
                        mailbox: 1,
                        modseq: number,
                    };
                    let body = has_body.then_some(body);
                    self.written.insert(number, (header, change, body));
                }
            })
            .unwrap()
            .unwrap();
        log.shared.wait(batch).unwrap();
    }

    /// Every record that was written reads as it was.
    fn check(&self, log: &Log) {
        for (number, (header, change, body)) in &self.written {
            assert_eq!(log.record(*number).unwrap(), (*header, change.clone()));
            if let Some(body) = body {
                let bytes = log.body(*number).unwrap().bytes().unwrap();
                assert!(bytes == body.as_slice());
            }
        }
    }
}

/// What a log gives for each number.
fn readable(log: &Log) -> Vec<String> {
    let one = |number| {
        let body = log.body(number).and_then(|body| body.bytes());
        let body = body.map(|bytes| Digest::of(&bytes));
        format!("{number}: {:?} {body:?}", log.record(number))
    };
    (1..log.stat().next_record).map(one).collect()
}

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

/// A store of some segments, with positions and how many changes of the disk came before each.
fn written(seed: u64, batches: u64) -> (Sim, Scribe, Vec<(usize, Position)>) {
    let sim = Sim::new();
    let opened = open(&sim, options(0), None).unwrap();
    assert_eq!(opened.log.position().unwrap(), None);
    let mut scribe = Scribe::new(seed);
    let mut positions = Vec::new();
    for _ in 0..batches {
        let durability = match scribe.random.below(3) {
            0 => Durability::Written,
            _ => Durability::Durable,
        };
        scribe.write(&opened.log, durability, 4000);
        if scribe.random.below(6) == 0 {
            let position = opened.log.position().unwrap().unwrap();
            positions.push((sim.ops_len(), position));
        }
    }
    drop(opened);
    (sim, scribe, positions)
}

#[test]
fn from_a_position_is_as_from_the_front() {
    for seed in 0..6 {
        let (sim, _, positions) = written(seed, 40);
        let mut random = Random::new(seed);
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
    let mut random = Random::new(5);
    for (_, position) in &positions {
        for _ in 0..12 {
            let mut files = sim.files();
            let names: Vec<String> = files
                .keys()
                .filter(|name| name.ends_with(".seg"))
                .cloned()
                .collect();
            let name = &names[usize::try_from(random.below(names.len() as u64)).unwrap()];
            let own = super::segment_name(position.segment);
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
    let file = hurt.get_mut(&super::segment_name(sound.segment)).unwrap();
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
    (
        super::segment_name(segment.number()),
        at,
        segment.first_record(),
    )
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
        .find(|segment| super::segment_name(segment.number()) == name)
        .unwrap();
    segment.is_sealed()
}
