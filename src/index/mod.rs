//! Accounts: derived state only. [`Fold::apply`](fold::Fold::apply) is the single way in; the log is the only truth.
//!
//! An account that is used has a [`Cell`]. It begins as the account's row in the directory, which is found by the
//! account's id or name in one probe and is enough to deliver to INBOX. Its fold is loaded from its image and the few
//! records since when somebody asks for more, and dropped when memory is wanted elsewhere.
//!
//! Reading order: `tree`, `columns`, `entry`, `keywords`, `expunged`, `buckets`, `mailbox`, `fold`, `image`, `base`,
//! `receipt`, `plan` (what an account is, how it is saved and how it changes); `live`, `cell`, `cells`, `names`, `load`,
//! `again`, `lookups`, `deferred`, `returned` (which accounts are in memory); `sources`, `opening`, `tender`, `rebuild`, `imaging` (what is kept on
//! disk, and how it comes back when it is lost).
//!
//! Locks: an account's cell; then the fences, the list of touched cells, the directory's memory: each short, none over
//! I/O. The tender's step is held over I/O and needed by nobody else.

mod again;
#[cfg(test)]
mod agreement;
mod base;
mod buckets;
mod cell;
mod cells;
mod columns;
mod deferred;
mod entry;
mod expunged;
mod fold;
mod image;
mod imaging;
mod keywords;
mod live;
mod load;
mod lookups;
mod mailbox;
mod names;
mod opening;
mod plan;
mod rebuild;
mod receipt;
mod returned;
mod sources;
mod tender;
mod tree;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::sync::{Mutex, RwLock};

pub(crate) use base::Saved;
pub(crate) use buckets::Bucket;
pub(crate) use cell::{Cell, Head, Pin, State};
pub(crate) use entry::{Entry, EntryLeaf};
pub(crate) use fold::Fold;
pub(crate) use keywords::Keywords;
pub(crate) use lookups::{Lookup, Lookups, Place};
pub use mailbox::Counters;
pub(crate) use mailbox::MailboxFold;
pub(crate) use plan::{
    Arrival, ColdDraft, Draft, Drafts, INBOX_ID, Marks, batch_fits, keywords_fit, len_fits,
};
pub use plan::{Delivered, Flagged, Transferring};
pub(crate) use receipt::{Content, Hashing, Roots};
pub use returned::Returned;
pub(crate) use tender::Tender;
pub(crate) use tree::Leaf;

use crate::directory::{Directory, Row};
use crate::error::{Error, Result};
use crate::format::change::{Change, Fence};
use crate::format::record::RecordHeader;
use crate::io::Storage;
use crate::log::{Log, LostMessage};
use crate::mail::AccountId;
use crate::stat::{Health, Stat};
use crate::switch::Switch;
use cells::{COLD, Cells, Glance};
use image::store::ImageStore;
use sources::Segments;

/// The directory's part in memory may have this many bytes before it is saved.
const MEMORY_MAX: usize = 32 << 20;

/// A large account is weighed anew with one batch of so many: that walks over all its leaves.
const WEIGHED_EVERY: u64 = 64;

/// Lost records that are kept by number; more are only fenced.
const LOST_MAX: usize = 64 << 10;

/// The accounts of a store.
#[derive(Debug)]
pub(crate) struct Index {
    log: Arc<Log>,
    storage: Arc<dyn Storage>,
    directory: Directory,
    /// What no run covers, through the footers.
    uncovered: Segments,
    images: ImageStore,
    cells: Cells,
    claims: names::Claims,
    /// Number of the last fence.
    last_fence: AtomicU64,
    /// Held by whoever logs a fence until it is known; never while waiting for anything but that commit.
    fencing: RwLock<()>,
    /// Highest UIDVALIDITY that an account may have given whose records are lost.
    floor: AtomicU32,
    /// Highest UIDVALIDITY that any account is known to have given.
    high: AtomicU32,
    /// Deferred deliveries without a UID.
    waiting: deferred::Waiting,
    given: opening::Given,
    recent: names::Recent,
    /// Records that were found lost since the opening, with what their bodies say.
    lost: Mutex<BTreeMap<u64, Option<LostMessage>>>,
    /// Accounts whose rows are news to the directory.
    touched: Mutex<Vec<AccountId>>,
    work: tender::Work,
}

impl Index {
    /// The cell of the account that a row describes, which was looked up after `glance`.
    fn cell(&self, mut row: Row, mut glance: Glance) -> Result<Arc<Cell>> {
        let id = row.key;
        loop {
            let (row_now, fold) = self.begin(row)?;
            if let Some(cell) = self
                .cells
                .get_or_insert(id, glance, || Cell::new(row_now, fold))
            {
                self.shrink();
                return Ok(cell);
            }
            // The account was in memory in between, and may have changed: what was looked up may be old.
            glance = self.cells.glance();
            let again = self.ask(|directory, log| directory.lookup(&id, log))?;
            row = again.unwrap_or_else(|| Row::new(id));
        }
    }

    /// What the directory answers. Where the log was read for it and records are lost there, that is said, and every account
    /// skips ahead, before anybody acts on the answer.
    fn ask<T>(&self, ask: impl FnOnce(&Directory, &Segments) -> Result<T>) -> Result<T> {
        let answer = ask(&self.directory, &self.uncovered)?;
        let mut lost = self.uncovered.take_lost();
        if !lost.is_empty() {
            lost.sort_unstable();
            lost.dedup();
            self.note_lost(&lost);
            Switch::RowsFenced.guard(|| self.fence_all(&lost))?;
        }
        Ok(answer)
    }

    /// What a cell begins with.
    fn begin(&self, row: Row) -> Result<(Row, Option<Fold>)> {
        if row.needs_fold() && self.cells.get(row.key).is_none() {
            // Where its beginning is lost, or something happened that a row cannot tell, only the fold knows.
            let fold = self.read(&row)?;
            let mut row = row;
            fold.describe(&mut row);
            return Ok((row, Some(fold)));
        }
        Ok((row, None))
    }

    /// An account that is about to be created.
    pub(crate) fn add(&self, id: AccountId) -> Arc<Cell> {
        let row = Row::beginning(id, &self.directory.fences());
        let fold = Fold::beginning(&row, self.floor.load(Ordering::Relaxed));
        let weight = fold.weight();
        let cell = self.cells.insert(Cell::new(row, Some(fold)));
        self.weigh(&cell, weight);
        self.shrink();
        cell
    }

    /// Counts what the fold takes that the cell holds.
    fn weigh(&self, cell: &Cell, fold: usize) {
        self.cells.weigh(cell, COLD + fold);
    }

    /// The account will be `head` once `batch` is durable. The cell was [listed](Self::list) before the batch was joined.
    pub(crate) fn push(&self, cell: &Arc<Cell>, state: &mut State, batch: u64, head: Head) {
        self.high
            .fetch_max(head.row.uid_validity_mark, Ordering::Relaxed);
        if head.row.records > self.log.options().chain_max {
            self.want_image(cell.id);
        }
        if let Some(fold) = head
            .fold
            .as_ref()
            .filter(|fold| fold.is_small() || batch.is_multiple_of(WEIGHED_EVERY))
        {
            self.weigh(cell, fold.weight());
        }
        state.push(batch, head);
    }

    /// Keeps what was hashed of `snapshot`, where nothing changed since.
    pub(crate) fn keep_buckets(&self, cell: &Cell, snapshot: &Fold, fresh: &[(u32, Bucket)]) {
        if !fresh.is_empty() {
            self.lock(cell).keep_buckets(snapshot, fresh);
        }
    }

    /// The directory will be told of the account's row. Done before a batch is joined: who saves the index when the batch
    /// is durable finds the cell listed, and waits for its lock.
    pub(crate) fn list(&self, state: &mut State, id: AccountId) {
        if !state.listed {
            state.listed = true;
            self.touched.lock().push(id);
        }
    }

    /// An account that was just created, and that nobody else has: its row says all there is, until somebody asks for
    /// more than a delivery to INBOX does. Many are created, and few are used at once.
    pub(crate) fn chill(&self, cell: &Cell) {
        let mut state = self.lock(cell);
        if !state.head().row.needs_fold() {
            state.chill();
            self.weigh(cell, 0);
        }
    }

    /// Files an account under the names that its durable row has: when it is created, renamed or deleted.
    pub(crate) fn file(&self, cell: &Arc<Cell>) {
        let row = self.lock(cell).durable().row.clone();
        self.tell(row);
    }

    /// Tells the directory of an account's durable row, and of the name it is filed under where that is another: both, or
    /// a run that covers the record of a renaming would have but one.
    fn tell(&self, row: Row) {
        if let Some(alias) = opening::stray(&row, &self.log.store().0) {
            self.directory.put(alias);
        }
        self.directory.put(row);
    }

    fn last_fence(&self) -> u64 {
        self.last_fence.load(Ordering::Acquire)
    }

    /// Keeps memory within its budget.
    fn shrink(&self) {
        let release = |cell: &Arc<Cell>| {
            let Some(mut state) = cell.try_peek(&self.log) else {
                return false;
            };
            if !cell.cool(&mut state) {
                return false;
            }
            if state.listed {
                self.tell(state.durable().row.clone());
                state.listed = false;
            }
            true
        };
        // Between the two looks at it somebody may have changed the account and gone.
        let released = |cell: &Arc<Cell>| {
            let state = cell.try_peek(&self.log);
            state.is_some_and(|state| !state.listed && state.last_batch() == 0)
        };
        self.cells.shrink(release, released);
    }

    /// Records were found to be lost for good: says so in the log, unless that was done before. Every account skips
    /// ahead over what it may have lost.
    fn fence_lost(&self, first: u64, last: u64) -> Result<()> {
        let covered = self.directory.fences().cover(first, last);
        if self.log.options().read_only || covered {
            return Ok(());
        }
        // A checkpoint must not cover the fence's record before the fence is known.
        let _fencing = self.fencing.read();
        let bytes = Switch::FenceRoom.number(self.log.room_of(first..=last));
        if let (header, Change::Fence(fence)) = self.log.fence(first, last, bytes)? {
            self.note_fence(header.number, fence);
        }
        Ok(())
    }

    /// Records were found that cannot be read: keeps what is known of their messages, for people.
    fn note_lost(&self, numbers: &[u64]) {
        let new: Vec<u64> = {
            let lost = self.lost.lock();
            let room = LOST_MAX.saturating_sub(lost.len());
            let unknown = numbers.iter().filter(|number| !lost.contains_key(number));
            unknown.take(room).copied().collect()
        };
        if new.is_empty() {
            return;
        }
        let messages = self.log.lost_messages(&new);
        let mut lost = self.lost.lock();
        lost.extend(new.into_iter().map(|number| (number, None)));
        lost.extend(
            messages
                .into_iter()
                .map(|message| (message.record, Some(message))),
        );
    }

    /// Records were read: those of them that the disk did not give before are not lost.
    fn note_found(&self, numbers: impl Iterator<Item = u64>) {
        let mut lost = self.lost.lock();
        if lost.is_empty() {
            return;
        }
        for number in numbers {
            lost.remove(&number);
        }
    }

    /// The messages whose records were found lost since the opening.
    pub(crate) fn lost(&self) -> Vec<LostMessage> {
        self.lost.lock().values().flatten().copied().collect()
    }

    /// As [`fence_lost`](Self::fence_lost), for numbers in ascending order.
    fn fence_all(&self, lost: &[u64]) -> Result<()> {
        for run in lost.chunk_by(|a, b| a + 1 == *b) {
            if let (Some(first), Some(last)) = (run.first(), run.last()) {
                self.fence_lost(*first, *last)?;
            }
        }
        Ok(())
    }

    fn note_fence(&self, number: u64, fence: Fence) {
        let header = RecordHeader {
            number,
            previous: 0,
            account: AccountId::from_bytes([0; 16]),
            mailbox: 0,
            modseq: 0,
        };
        let now = u32::try_from(self.log.options().host.now_ms() / 1000).unwrap_or(u32::MAX);
        let high = self.high.load(Ordering::Relaxed).max(now);
        self.floor.fetch_max(
            Switch::FloorFenced
                .some(high.saturating_add(fence.bound))
                .unwrap_or(0),
            Ordering::Relaxed,
        );
        self.directory.note(&header, &Change::Fence(fence));
        self.uncovered.set_fences(self.directory.fences());
        self.last_fence.fetch_max(number, Ordering::Release);
    }

    /// Something derived was found damaged; it was dropped and is made again.
    fn note_damage(&self, _error: &Error) {
        self.work.damage.fetch_add(1, Ordering::Relaxed);
    }

    /// What the index has to say of the store's health.
    pub(crate) fn report(&self, health: &mut Health) {
        health.index_damage += self.damage();
        health.lost_records = self.lost.lock().len() as u64;
        health.whole &= health.lost_records == 0;
        health.deferred = self.waiting.len();
        health.images_waiting = self.work.images_waiting();
        health.index_error = self.work.failed.lock().clone();
        let progress = *self.work.progress.lock();
        health.rebuild = progress.map(|progress| progress.rebuild());
    }

    /// Sizes of the index.
    pub(crate) fn measure(&self, stat: &mut Stat) {
        let runs = self.directory.runs();
        stat.runs = runs.len() as u64;
        stat.rows = runs.iter().map(|run| run.rows).sum();
        stat.run_bytes = runs.iter().map(|run| run.len).sum();
        let images = self.images.files();
        stat.image_dead_bytes = images.iter().map(|file| file.dead).sum();
        let image_bytes: u64 = images.iter().map(|file| file.len).sum();
        stat.image_bytes = image_bytes.saturating_sub(stat.image_dead_bytes);
        stat.cached_accounts = self.cells.len() as u64;
        stat.cache_bytes = self.cells.bytes() as u64;
        stat.unsaved_bytes = self.directory.memory_bytes() as u64;
        stat.tail_bytes = self.log.len().saturating_sub(self.work.saved_len());
    }

    fn damage(&self) -> u64 {
        let runs = self.directory.take_damage().len() as u64;
        self.work.damage.fetch_add(runs, Ordering::Relaxed) + runs
    }
}
