//! The log: ordered segments, one of them active. The only truth.
//!
//! It knows files, batches and records, and nothing of mailboxes. Reading order: `group` (what is about to be
//! written), `queue` (who writes it), `writer` (how), `ahead` (on what blocks), `ledger` (the small files beside the log), `files`, `segment`,
//! `footing` and `body` (reading), `chain`, `search` and `merged` (finding), `scan`, `walk` and `recovery` (opening), `keeper`, `seal` and `spare` (work off the commit path).
//!
//! Locks, in the order in which they may be taken:
//! 1. `Writer`: held by whoever writes a batch, over its write and its sync. Nobody needs it to read or to join.
//! 2. `Ledger`: held over writes of SEGMENTS and MANIFEST, when a segment begins or is sealed.
//! 3. `Queue`: short, never over I/O.
//! 4. the sync of the active segment's file, and the reserve's: held over them, by those who write or sync.
//! 5. a segment's `reading`: held while its batches are read to find its records, by those who need them.
//! 6. the witness, the segment list, each segment's record table, and the list of open files: never over I/O.

mod ahead;
mod body;
mod chain;
mod close;
mod commit;
mod fence;
mod files;
mod footing;
mod group;
mod keeper;
mod large;
mod ledger;
mod lost;
mod merged;
mod places;
mod position;
mod queue;
mod recovery;
mod reserve;
mod scan;
mod seal;
mod search;
mod segment;
mod spare;
mod syncing;
#[cfg(test)]
mod tests;
mod verify;
mod walk;
mod window;
mod witness;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::sync::{Condvar, Mutex, RwLock};

pub use commit::Commit;
pub use recovery::{Break, Cut, Hole, LostMessage, RecoveryReport, Unsynced};
pub use verify::Damage;

pub(crate) use body::Body;
pub(crate) use chain::Chain;
pub(crate) use group::{GroupWriter, NewBody, NewRecord};
pub(crate) use large::LARGE;
pub(crate) use position::Position;
pub(crate) use recovery::{Replay, find_or_create, lock};
pub(crate) use search::SegmentInfo;

use crate::error::{Error, Result};
use crate::format::StoreId;
use crate::format::change::{BodyAt, Change};
use crate::format::record::RecordHeader;
use crate::io::Storage;
use crate::options::{Durability, Options};
use crate::switch::Switch;
use crate::witness::Witness;
use files::Files;
use keeper::Keeper;
use ledger::Ledger;
use queue::Queue;
use segment::Segment;
use writer::Writer;

/// The writer lock; `None` inside where the caller has none to give. The volume is locked until the last one is dropped.
pub(crate) type Held = Arc<Option<Box<dyn Send + Sync>>>;

/// The log of an open store. Dropping it closes it.
#[derive(Debug)]
pub(crate) struct Log {
    shared: Arc<Shared>,
    keeper: Mutex<Option<Keeper>>,
}

/// What the log's handles, commits and threads share.
struct Shared {
    storage: Arc<dyn Storage>,
    options: Options,
    store: StoreId,
    queue: Mutex<Queue>,
    /// Told when a batch is finished, for those who wait for room or for the end of a lead. Who waits for a batch is woken by itself.
    finished: Condvar,
    /// Highest finished batch, and highest failed one: read without a lock.
    done: AtomicU64,
    failed: AtomicU64,
    writer: Mutex<Writer>,
    ledger: Mutex<Ledger>,
    segments: RwLock<Arc<Vec<Arc<Segment>>>>,
    files: Arc<Files>,
    /// Number of the first record that the opening read, and whether it began at the position that it was given.
    replayed_from: u64,
    fitted: bool,
    /// Footers that were found to be bad.
    bad_footers: AtomicU64,
    /// Segments of large bodies that were read lately.
    large: Mutex<Vec<Arc<Segment>>>,
    work: keeper::Work,
    reserve: reserve::Reserve,
    /// Bytes of all segments, to size the next one.
    log_len: AtomicU64,
    /// The last durable batch.
    witness: Mutex<Witness>,
    read_only: AtomicBool,
    /// The writer lock, until the log is closed. Whoever writes beside the queue holds it meanwhile.
    lock: Mutex<Option<Held>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("storage", &self.storage)
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

/// Sizes and counts of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogStat {
    pub(crate) segments: u64,
    pub(crate) sealed: u64,
    pub(crate) bytes: u64,
    pub(crate) next_record: u64,
    pub(crate) batches: u64,
    /// Footers that were found to be bad, by the opening or since. Each is written again where that is possible.
    pub(crate) bad_footers: u64,
}

impl Log {
    pub(crate) fn store(&self) -> StoreId {
        self.shared.store
    }

    pub(crate) fn options(&self) -> &Options {
        &self.shared.options
    }

    /// Waits until there is room for `len` more bytes among the batches that wait to be written; writes some itself
    /// if need be. Called before any lock of an account is taken.
    pub(crate) fn admit(&self, len: usize) -> Result<()> {
        self.shared.admit(len)
    }

    /// Adds records to the batch that fills, unless one that they rest on has failed: then `None`, and they are planned
    /// again. `fill` gets the writer of that batch under the queue's lock: it must be short and cannot fail.
    pub(crate) fn join<T>(
        &self,
        durability: Durability,
        rests_on: &[u64],
        fill: impl FnOnce(&mut GroupWriter<'_>) -> T,
    ) -> Result<Option<(u64, T)>> {
        self.shared.join(durability, rests_on, false, fill)
    }

    /// As [`join`](Self::join), of records that only remove mail: they find room on a full disk. There they go into a batch
    /// of their own, and the answer is `None` while others wait in front: see [`clear_the_way`](Self::clear_the_way).
    pub(crate) fn join_removing<T>(
        &self,
        durability: Durability,
        rests_on: &[u64],
        fill: impl FnOnce(&mut GroupWriter<'_>) -> T,
    ) -> Result<Option<(u64, T)>> {
        self.shared.join(durability, rests_on, true, fill)
    }

    /// Where the disk is full: has what waits written or refused, so that it takes no removal along when it fails.
    pub(crate) fn clear_the_way(&self) {
        self.shared.clear_the_way();
    }

    /// A handle to wait for `batch`, with what to return when it is durable.
    pub(crate) fn commit<T>(&self, batch: u64, value: T) -> Commit<T> {
        Commit::new(Arc::clone(&self.shared), batch, value)
    }

    /// How `batch` ended, if it did.
    pub(crate) fn outcome(&self, batch: u64) -> Option<Result<()>> {
        self.shared.outcome(batch)
    }

    /// The body that record `number` brought, or points to.
    pub(crate) fn body(&self, number: u64) -> Result<Body> {
        match self
            .shared
            .read(number, |segment| segment.own_body(number))?
        {
            Some(body) => Ok(body),
            None => self.shared_body(number),
        }
    }

    /// The body of a record that has none of its own.
    fn shared_body(&self, number: u64) -> Result<Body> {
        let segment = self.shared.segment_of(number)?;
        let missing = || segment.lost(number);
        match self.record(number)?.1.body() {
            Some(BodyAt::Record(owner)) => self
                .shared
                .read(owner, |segment| segment.own_body(owner))?
                .ok_or_else(missing),
            Some(BodyAt::Segment(segment)) => self.shared.large_body(segment, &missing),
            Some(BodyAt::Here(_)) | None => Err(missing()),
        }
    }

    /// What tells the body of record `number` from all others: its owner's number, or its own segment's.
    pub(crate) fn body_owner(&self, number: u64) -> Result<(bool, u64)> {
        if self
            .shared
            .read(number, |segment| segment.has_body(number))?
        {
            return Ok((false, number));
        }
        match self.record(number)?.1.body() {
            Some(BodyAt::Here(_)) => Ok((false, number)),
            Some(BodyAt::Record(owner)) => Ok((false, owner)),
            Some(BodyAt::Segment(segment)) => Ok((true, segment)),
            None => Err(self.shared.segment_of(number)?.lost(number)),
        }
    }

    /// Record `number`, read back.
    pub(crate) fn record(&self, number: u64) -> Result<(RecordHeader, Change)> {
        self.shared.read(number, |segment| segment.record(number))
    }

    /// Writes a large body into a segment of its own and syncs it; returns the segment's number.
    pub(crate) fn write_large(&self, body: &NewBody<'_>) -> Result<u64> {
        self.shared.write_large(body)
    }

    /// Drops the segment of a large body that no record names. What fails here is dropped at the next opening.
    pub(crate) fn drop_large(&self, segment: u64) {
        self.shared.drop_large(segment);
    }

    /// Keeps the writer lock for work on the volume that no commit waits for.
    ///
    /// # Errors
    /// [`Error::Closed`]: it was given back. Another process may have the store, nothing may be written.
    pub(crate) fn hold(&self) -> Result<Held> {
        self.shared.hold()
    }

    /// Makes durable what was written so far, and nothing that waits.
    pub(crate) fn sync_written(&self) -> Result<()> {
        Switch::CheckpointLogSync.guard(|| self.shared.writer.lock().sync(&self.shared))
    }

    /// Makes everything written so far durable.
    pub(crate) fn sync(&self) -> Result<()> {
        let _held = self.shared.hold()?;
        self.shared.flush()?;
        self.shared.sync_some();
        Switch::StoreSync.guard(|| self.shared.writer.lock().sync(&self.shared))
    }

    /// Makes everything written so far durable; returns where the log's tail begins then: all batches in front of it have
    /// ended, as [`outcome`](Self::outcome) says. `None` for an empty log.
    ///
    /// # Errors
    /// As [`sync`](Self::sync).
    pub(crate) fn position(&self) -> Result<Option<Position>> {
        let _held = self.shared.hold()?;
        self.shared.flush()?;
        self.shared.sync_some();
        let position = {
            let mut writer = self.shared.writer.lock();
            Switch::CheckpointLogSync.guard(|| writer.sync(&self.shared))?;
            writer.position()
        };
        // Who wrote the last batch may not have said so yet. Whoever asked now what is durable of an account would not
        // find it there, nor behind the position.
        if let Some(position) = &position {
            Switch::CheckpointWaits.guard(|| self.shared.wait(position.batch))?;
        }
        Ok(position)
    }

    /// Number of the first record that the opening read and replayed.
    pub(crate) fn replayed_from(&self) -> u64 {
        self.shared.replayed_from
    }

    /// Whether the opening began at the position that it was given.
    pub(crate) fn fitted(&self) -> bool {
        self.shared.fitted
    }

    /// The number that the next record gets.
    pub(crate) fn next_record(&self) -> u64 {
        self.shared.queue.lock().next_record()
    }

    /// Bytes of all segments.
    pub(crate) fn len(&self) -> u64 {
        self.shared.log_len.load(Ordering::Relaxed)
    }

    pub(crate) fn stat(&self) -> LogStat {
        let segments = Arc::clone(&self.shared.segments.read());
        let next_record = self.shared.queue.lock().next_record();
        LogStat {
            segments: segments.len() as u64,
            sealed: segments
                .iter()
                .filter(|segment| segment.is_sealed())
                .count() as u64,
            bytes: self.shared.log_len.load(Ordering::Relaxed),
            next_record,
            batches: self.shared.done.load(Ordering::Acquire),
            bad_footers: self.shared.bad_footers.load(Ordering::Relaxed),
        }
    }

    /// Where the segments are, for error messages.
    pub(crate) fn path_of_log(&self) -> String {
        self.shared.path("log")
    }

    /// Why writing has stopped, if it has.
    pub(crate) fn stopped(&self) -> Option<Error> {
        self.shared.queue.lock().stopped()
    }

    /// Writes what waits, makes all durable and says so in MANIFEST. Later joins fail with [`Error::Closed`].
    /// The writer lock is given back when all who hold it are done.
    pub(crate) fn close(&self) -> Result<()> {
        // Another thread may be closing it too: whoever is done last gives the lock back.
        let Ok(_held) = self.shared.hold() else {
            return Ok(());
        };
        let keeper = self.keeper.lock().take();
        if let Some(keeper) = keeper {
            keeper.stop(&self.shared);
        }
        let result = self.shared.close();
        self.shared.drop_spare();
        // Another process may have the store now; this one reads on.
        drop(self.shared.lock.lock().take());
        result
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        // An error here leaves a store that was not closed cleanly: the next opening recovers it.
        let _ = self.close();
    }
}

impl Shared {
    fn hold(&self) -> Result<Held> {
        self.lock.lock().clone().ok_or(Error::Closed)
    }

    /// Reads something of the segment that holds record `number`, and sees to its footer if that turns out to be bad.
    fn read<T>(&self, number: u64, read: impl FnOnce(&Arc<Segment>) -> Result<T>) -> Result<T> {
        let segment = self.segment_of(number)?;
        let result = read(&segment);
        self.look_after(&segment);
        result
    }

    /// Has a bad footer of the segment written again.
    fn look_after(&self, segment: &Arc<Segment>) {
        if segment.take_bad_footer() {
            self.bad_footers.fetch_add(1, Ordering::Relaxed);
            self.work.heal(Arc::clone(segment));
        }
    }

    fn path(&self, name: &str) -> String {
        join_path(&self.storage.describe(), name)
    }

    /// The segment that holds record `number`.
    fn segment_of(&self, number: u64) -> Result<Arc<Segment>> {
        let segments = self.segments.read();
        let after = segments.partition_point(|segment| segment.first_record() <= number);
        let found = after.checked_sub(1).and_then(|at| segments.get(at));
        found
            .cloned()
            .ok_or_else(|| Error::fault(self.path("log"), 0, crate::format::Fault::Lost))
    }
}

fn join_path(volume: &str, name: &str) -> String {
    format!("{volume}/{name}")
}

/// File name of a log segment.
fn segment_name(number: u64) -> String {
    format!("log/{number:016}.seg")
}
