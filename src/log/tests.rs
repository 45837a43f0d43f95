//! Stores of random batches on a simulated disk, opened from a position or not.

#[path = "../../tests/it/sim.rs"]
#[allow(dead_code)] // Shared with the integration tests, which use all of it.
mod sim;

mod footers;
mod given;
mod numbers;
mod opening;
mod preparing;
mod reading;
mod window;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::{Log, NewBody, NewRecord, Position, RecoveryReport, Replay, find_or_create, lock};
use crate::dice::Dice;
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
        .reserve(0)
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

/// Writes random batches, and remembers what was written.
struct Scribe {
    random: Dice,
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
            random: Dice::new(seed),
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
                        chunks: &crate::format::body::chunk_checksums(&body),
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

    /// One small record of one account.
    fn write_as(&mut self, log: &Log, id: AccountId) {
        let previous = self.last.get(&id).copied().unwrap_or(0);
        let mut change = Change::DeleteMailbox;
        let joined = log.join(Durability::Durable, &[], |group| {
            let record = NewRecord {
                account: id,
                mailbox: 1,
                modseq: 1,
                previous,
                change: &mut change,
            };
            group.push(record, None)
        });
        let (batch, number) = joined.unwrap().unwrap();
        log.shared.wait(batch).unwrap();
        let header = RecordHeader {
            number,
            previous,
            account: id,
            mailbox: 1,
            modseq: 1,
        };
        self.last.insert(id, number);
        self.written.insert(number, (header, change, None));
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

/// A store of some segments, with positions and how many changes of the disk came before each.
fn written(seed: u64, batches: u64) -> (Sim, Scribe, Vec<(usize, Position)>) {
    written_by(seed, batches, |_, _, random| match random.below(3) {
        0 => Durability::Written,
        _ => Durability::Durable,
    })
}

/// As [`written`]; `before` is called before each batch and says how durable it is.
fn written_by(
    seed: u64,
    batches: u64,
    mut before: impl FnMut(&Sim, u64, &mut Dice) -> Durability,
) -> (Sim, Scribe, Vec<(usize, Position)>) {
    let sim = Sim::new();
    let opened = open(&sim, options(0), None).unwrap();
    assert_eq!(opened.log.position().unwrap(), None);
    let mut scribe = Scribe::new(seed);
    let mut positions = Vec::new();
    for batch in 0..batches {
        let durability = before(&sim, batch, &mut scribe.random);
        scribe.write(&opened.log, durability, 4000);
        if scribe.random.below(6) == 0 {
            let position = opened.log.position().unwrap().unwrap();
            positions.push((sim.ops_len(), position));
        }
    }
    sim.set_fault(None);
    drop(opened);
    (sim, scribe, positions)
}
