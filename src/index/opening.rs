//! Opening: the checkpoint says what the directory covers, the log's tail says the rest.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::sync::{Mutex, RwLock};

use super::cells::Cells;
use super::deferred::Waiting;
use super::image::store::ImageStore;
use super::sources::Segments;
use super::{Index, names, rebuild, tender};
use crate::directory::{Checkpoint, Directory, FenceAt, Fences, FileId, Row};
use crate::error::{Error, Result};
use crate::format::change::{Change, Fence};
use crate::format::record::RecordHeader;
use crate::io::Storage;
use crate::log::{Log, RecoveryReport, Replay, SegmentInfo};
use crate::mail::{AccountId, NameKey};
use crate::options::Options;
use crate::switch::Switch;

/// Takes the records of the log's tail into rows.
#[derive(Debug, Default)]
struct Tail {
    rows: BTreeMap<AccountId, Row>,
    fences: Fences,
    high: u32,
    floor: u32,
    /// The first record that was replayed.
    from: u64,
    /// Those without a UID, by record number.
    deferred: BTreeMap<u64, AccountId>,
    /// Those in front of all that was replayed which got one.
    assigned: HashSet<u64>,
    hit: Vec<AccountId>,
}

impl Replay for Tail {
    fn begin(&mut self, from: u64, fitted: bool) {
        if !fitted && Switch::TailForgotten.on() {
            *self = Self::default();
        }
        self.from = from;
    }

    fn replay(&mut self, header: &RecordHeader, change: &Change) {
        match change {
            Change::Fence(fence) => self.fence(header.number, fence),
            change => {
                self.note_deferred(header, change);
                let (last, row) = note(&mut self.rows, &self.fences, header, change);
                self.high = self.high.max(row.uid_validity_mark);
                self.check_chain(header, last);
            }
        }
    }
}

impl Tail {
    fn note_deferred(&mut self, header: &RecordHeader, change: &Change) {
        match change {
            Change::Deferred(_) => {
                self.deferred.insert(header.number, header.account);
            }
            Change::Assign(assign) if self.deferred.remove(&assign.deferred).is_none() => {
                self.assigned.insert(assign.deferred);
            }
            _ => {}
        }
    }

    fn fence(&mut self, number: u64, fence: &Fence) {
        self.floor = self.floor.max(self.high.saturating_add(fence.bound));
        self.fences.add(fence_at(number, fence));
    }

    /// A record names the one before it: if that should have been replayed and was not, it is lost. `last` was; 0 for none.
    fn check_chain(&mut self, header: &RecordHeader, last: u64) {
        let broken = match last {
            0 => header.previous >= self.from,
            last => header.previous != last,
        };
        let filed = header.account == AccountId::from_bytes([0; 16]) || header.previous == 0;
        if broken && !filed && self.hit.last() != Some(&header.account) {
            self.hit.push(header.account);
        }
    }
}

/// What the disk gave of the log's tail when the store was opened.
#[derive(Clone, Copy, Debug)]
pub(super) struct Given {
    /// Every page of it: what is not found is not there.
    pub(super) all: bool,
    /// Something of every segment. Else there may be any number of accounts that nothing is known of: nothing is saved,
    /// so that the next opening looks again, and no account is created.
    pub(super) some: bool,
}

/// Takes over a record into the rows of a range of records; returns the number of the account's record before it there, 0 for
/// none, and its row.
pub(super) fn note<'a>(
    rows: &'a mut BTreeMap<AccountId, Row>,
    fences: &Fences,
    header: &RecordHeader,
    change: &Change,
) -> (u64, &'a Row) {
    let row = rows
        .entry(header.account)
        .or_insert_with(|| Row::new(header.account));
    let last = row.last_record;
    fences.apply(row, header.number);
    row.advance(header, change);
    (last, row)
}

pub(super) fn fence_at(number: u64, fence: &Fence) -> FenceAt {
    FenceAt {
        number,
        bound: fence.bound,
        first_lost: fence.first_lost,
        last_lost: fence.last_lost,
    }
}

/// The row by which an account is found whose id does not begin with the key of its name: it was renamed, or is of a
/// store whose ids were made otherwise.
pub(super) fn stray(row: &Row, store: &[u8; 16]) -> Option<Row> {
    let key = NameKey::new(store, row.name.as_deref()?);
    let alias = row.key.alias(key);
    (alias != row.key).then(|| Row::alias(alias, row.key, row.last_record))
}

/// A number above those of all files that are there: a checkpoint may yet come to name them.
fn next_file(storage: &dyn Storage) -> u32 {
    let files = storage.list("index").unwrap_or_default();
    let numbers = files.iter().filter_map(|file| {
        let (number, _) = file.name.split_once('.')?;
        u32::from_str_radix(number, 16).ok()
    });
    // A name beyond all that will ever be given was not made here.
    let numbers = numbers.filter(|number| *number <= u32::MAX / 2);
    numbers.max().map_or(1, |last| last.saturating_add(1))
}

/// Bytes of the log that the opening read.
fn tail_len(log: &Log, checkpoint: Option<&Checkpoint>) -> u64 {
    let from = log.replayed_from();
    let read = |segment: &SegmentInfo| match checkpoint.map(|known| known.position) {
        Some(at) if at.segment == segment.number => segment.len.saturating_sub(at.offset),
        _ => segment.len,
    };
    let segments = log.segments().into_iter();
    segments
        .filter(|segment| segment.next_record > from)
        .map(|segment| read(&segment))
        .sum()
}

impl Index {
    /// Opens the log and the index over it.
    pub(crate) fn open(
        storage: Arc<dyn Storage>,
        options: Options,
        lock: Option<Box<dyn Send + Sync>>,
    ) -> Result<(Arc<Log>, Arc<Self>, RecoveryReport)> {
        // What is given up has to be known record by record.
        let options = match options.accept_loss {
            true => options.replay_all(true),
            false => options,
        };
        if !options.read_only {
            // Somebody may have removed the whole folder: it is made again, or else nothing in it can be. The opening of
            // the log makes its name durable.
            let _ = storage.create_folder("index");
        }
        // Whatever is wrong with it: everything it says can be found again.
        let checkpoint = Checkpoint::load(&*storage);
        let mut damage = u64::from(checkpoint.is_err());
        let checkpoint = checkpoint.unwrap_or_default();
        let checkpoint = checkpoint.filter(|_| !options.replay_all && !options.rebuild);
        if options.rebuild && !options.read_only {
            rebuild::drop_derived(&*storage)?;
        }
        let mut tail = Tail::default();
        if let Some(checkpoint) = &checkpoint {
            tail.fences = Fences::new(&checkpoint.fences);
            tail.high = checkpoint.uid_validity_max;
            tail.floor = checkpoint.uid_validity_floor;
            let deferred = checkpoint.deferred.iter();
            tail.deferred = deferred.map(|(key, number)| (*number, *key)).collect();
        }
        let position = checkpoint.as_ref().map(|checkpoint| checkpoint.position);
        let (log, mut recovery) = Log::open(
            Arc::clone(&storage),
            options,
            lock,
            &mut tail,
            position.as_ref(),
        )?;
        let fits = |checkpoint: &Checkpoint| {
            (log.fitted() || !Switch::CheckpointFits.on())
                && (checkpoint.store == log.store() || !Switch::CheckpointStore.on())
        };
        let had_one = checkpoint.is_some();
        let checkpoint = checkpoint.filter(fits);
        damage += u64::from(had_one && checkpoint.is_none());
        tail.hit.sort_unstable();
        tail.hit.dedup();
        recovery.accounts_hit = std::mem::take(&mut tail.hit);
        let given = Given {
            all: recovery.unreadable == 0 || !Switch::AllVouched.on(),
            some: recovery.blank == 0 || !Switch::BlankNotSaved.on(),
        };
        let index = Self::put_together(storage, Arc::new(log), checkpoint, tail, given)?;
        index.work.damage.store(damage, Ordering::Relaxed);
        Ok((Arc::clone(&index.log), Arc::new(index), recovery))
    }

    fn put_together(
        storage: Arc<dyn Storage>,
        log: Arc<Log>,
        checkpoint: Option<Checkpoint>,
        tail: Tail,
        given: Given,
    ) -> Result<Self> {
        if !log.options().read_only {
            // Somebody may have removed all of it. If it cannot be made, saving the index says so.
            let _ = storage.create_folder("index");
        }
        let (store, from) = (log.store(), log.replayed_from());
        let known = checkpoint.as_ref();
        let runs = known.map_or(&[][..], |known| &known.runs);
        let images = known.map_or(&[][..], |known| &known.images);
        let next_file = Switch::FileNumberFree
            .some(next_file(&*storage))
            .unwrap_or(1)
            .max(known.map_or(1, |known| known.next_file));
        let next = FileId {
            store,
            number: next_file,
            nonce: log.options().host.unique(),
        };
        let (fences, at) = (tail.fences.all(), Arc::clone(&storage));
        let directory = Directory::open(at, next, runs, fences, from);
        let mut index = Self {
            uncovered: Segments::new(Arc::clone(&log), directory.fences()),
            cells: Cells::new(log.options().cache_bytes),
            claims: names::Claims::default(),
            last_fence: AtomicU64::new(tail.fences.last()),
            fencing: RwLock::default(),
            floor: AtomicU32::new(tail.floor),
            high: AtomicU32::new(tail.high),
            waiting: Waiting::new(
                tail.deferred.into_iter().map(|(number, key)| (key, number)),
                tail.assigned,
            ),
            given,
            recent: names::Recent::default(),
            lost: Mutex::default(),
            touched: Mutex::default(),
            images: ImageStore::open(Arc::clone(&storage), store, images, next_file),
            work: tender::Work::new(
                known.map_or(0, |known| known.generation),
                log.len().saturating_sub(tail_len(&log, known)),
            ),
            directory,
            storage,
            log,
        };
        let mut rows = tail.rows;
        if known.is_none() {
            let found = index.find_fences(from)?;
            index.given.all &= found;
            index.given.some &= found;
            let found = index.directory.fences();
            rows.values_mut()
                .for_each(|row| found.stand_before(row, from));
        }
        rows.into_values().for_each(|row| index.tell(row));
        if index.directory.uncovered().is_empty() {
            index.waiting.note_all_met();
        }
        Ok(index)
    }

    /// Without a checkpoint the fences in front of the tail are found through the footers. Whether the disk gave all that
    /// was asked.
    fn find_fences(&self, before: u64) -> Result<bool> {
        let store = AccountId::from_bytes([0; 16]);
        let mut given = true;
        for segment in self.log.segments() {
            let records = segment.first_record..segment.next_record.min(before);
            let found = match self.uncovered.records(store, records) {
                Err(Error::Io { op: "read", .. }) => {
                    given = false;
                    continue;
                }
                found => found?,
            };
            for (header, change) in found {
                if let Change::Fence(fence) = change {
                    self.note_fence(header.number, fence);
                }
            }
        }
        Ok(given)
    }
}
