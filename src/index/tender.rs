//! Work on the index off the callers' path: saving what is new, merging runs, rebuilding what is missing, images.
//!
//! One thread, `mailkeep-index`; without it (`Options::background(false)`) the same steps are made inline, by whoever
//! commits when the tail has grown past its bound, and by opening and closing.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::sync::{Condvar, Mutex};

use super::Index;
use super::opening::note;
use crate::directory::{Checkpoint, Row};
use crate::error::{Error, Result};
use crate::format::change::Change;
use crate::log::{Position, SegmentInfo};
use crate::mail::AccountId;
use crate::stat::Rebuild;
use crate::switch::Switch;
use crate::threads;

/// Accounts that wait for a new image, at most. Who is passed over is found again when it is used.
const IMAGES_WAITING: usize = 64 << 10;

/// While a rebuild is under way, what is done is saved this often.
const SAVE_EVERY: Duration = Duration::from_secs(2);

/// A rebuild says how far it is whenever it meets a record whose number is a multiple of this.
const TELL_EVERY: u64 = 4096;

/// What is to be done, and how far it is.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) state: Mutex<State>,
    pub(super) wake: Condvar,
    /// Told after each step of the thread.
    pub(super) stepped: Condvar,
    /// Held over a step: they are made one at a time.
    pub(super) step: Mutex<Saved>,
    /// Length of the log at the last checkpoint, in bytes.
    saved_len: AtomicU64,
    /// Length of the log at which a checkpoint is tried again after one that failed.
    again_at: AtomicU64,
    /// Whether a checkpoint was asked for and not begun.
    asked: AtomicBool,
    /// Segments that could not be read for the rebuild since the last checkpoint.
    skipped: Mutex<BTreeSet<u64>>,
    /// How far the rebuild is, while there is one.
    pub(super) progress: Mutex<Option<Progress>>,
    /// Derived files that were found damaged.
    pub(super) damage: AtomicU64,
    /// Why the last step failed, until one of its kind succeeds.
    pub(super) failed: Mutex<Option<Error>>,
    pub(super) stop: AtomicBool,
}

#[derive(Debug, Default)]
pub(super) struct State {
    images: VecDeque<AccountId>,
    waiting: HashSet<AccountId>,
    pub(super) urgent: bool,
}

/// What the last checkpoint was.
#[derive(Debug)]
pub(super) struct Saved {
    generation: u64,
    when: Instant,
}

/// How far the rebuild of the directory is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    pub(super) began: Instant,
    /// Bytes of the segments that are done.
    pub(super) done_bytes: u64,
    /// Bytes of the segment that is at work.
    pub(super) read_bytes: u64,
    pub(super) total_bytes: u64,
    pub(super) rows: u64,
}

impl Progress {
    pub(super) fn rebuild(&self) -> Rebuild {
        let elapsed = self.began.elapsed();
        let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        // A run that is found damaged meanwhile adds to what is read.
        let done_bytes = (self.done_bytes + self.read_bytes).min(self.total_bytes);
        let rate = done_bytes.saturating_mul(1000) / millis.max(1);
        let left = self.total_bytes - done_bytes;
        Rebuild {
            done_bytes,
            total_bytes: self.total_bytes,
            accounts: self.rows,
            bytes_per_second: rate,
            left: (rate > 0).then(|| Duration::from_secs(left / rate)),
        }
    }
}

impl Work {
    pub(super) fn new(generation: u64, saved_len: u64) -> Self {
        Self {
            state: Mutex::default(),
            wake: Condvar::new(),
            stepped: Condvar::new(),
            step: Mutex::new(Saved {
                generation,
                when: Instant::now(),
            }),
            saved_len: AtomicU64::new(saved_len),
            again_at: AtomicU64::new(0),
            asked: AtomicBool::new(false),
            skipped: Mutex::default(),
            progress: Mutex::default(),
            damage: AtomicU64::new(0),
            failed: Mutex::default(),
            stop: AtomicBool::new(false),
        }
    }

    pub(super) fn saved_len(&self) -> u64 {
        self.saved_len.load(Ordering::Relaxed)
    }

    pub(super) fn images_waiting(&self) -> u64 {
        self.state.lock().images.len() as u64
    }
}

/// The thread.
#[derive(Debug)]
pub(crate) struct Tender {
    index: Arc<Index>,
    thread: Option<JoinHandle<()>>,
}

impl Tender {
    /// Starts the thread, where the options allow one.
    pub(crate) fn start(index: &Arc<Index>) -> Result<Self> {
        let options = index.log.options();
        let thread = if options.background && !options.read_only {
            let index = Arc::clone(index);
            let thread = threads::spawn("index", move || index.tend());
            Some(thread.map_err(|source| Error::io("start a thread for", "the index", source))?)
        } else {
            None
        };
        Ok(Self {
            index: Arc::clone(index),
            thread,
        })
    }

    /// Ends the thread; what it is at is broken off between two steps.
    pub(crate) fn stop(&mut self) {
        let work = &self.index.work;
        work.stop.store(true, Ordering::Relaxed);
        drop(work.state.lock());
        work.wake.notify_all();
        if let Some(thread) = self.thread.take().filter(|thread| {
            // The last handle may go while this very thread runs a waker.
            thread.thread().id() != std::thread::current().id()
        }) {
            let _ = thread.join();
        }
    }
}

impl Drop for Tender {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Index {
    /// The thread's life.
    fn tend(&self) {
        loop {
            let more = self.tried(self.tend_step());
            if self.work.stop.load(Ordering::Relaxed) {
                return;
            }
            let mut state = self.work.state.lock();
            self.work.stepped.notify_all();
            let idle = !more && state.images.is_empty() && !state.urgent;
            if idle && !self.work.stop.load(Ordering::Relaxed) {
                self.work.wake.wait(&mut state);
            }
            state.urgent = false;
        }
    }

    /// Keeps the error of a step for [`Health`](crate::Health). It costs nothing but speed: the next opening, or a later
    /// step, does it again.
    pub(super) fn tried(&self, step: Result<bool>) -> bool {
        match step {
            Ok(more) => more,
            Err(error) => {
                *self.work.failed.lock() = Some(error);
                false
            }
        }
    }

    /// One step, the most urgent one; whether there is more to do.
    fn tend_step(&self) -> Result<bool> {
        let Ok(_held) = self.log.hold() else {
            return Ok(false);
        };
        if self.is_due() {
            self.save()?;
            return Ok(true);
        }
        let rebuild = || self.rebuild_step();
        let merge = || self.directory.maintain();
        let steps: [&dyn Fn() -> Result<bool>; 4] =
            [&rebuild, &merge, &|| self.image_step(), &|| {
                self.reclaim_step()
            }];
        // One that fails keeps none of the others from being made.
        Ok(steps.iter().any(|step| self.tried(step())))
    }

    /// Called after a commit was joined: asks for what has become due; without the thread, makes a step of it.
    pub(crate) fn after_change(&self) {
        self.shrink();
        let background = self.log.options().background;
        let due = self.is_due();
        if due && self.work.asked.swap(true, Ordering::Relaxed) {
            return;
        }
        if !background {
            self.tried(self.tend_step());
        } else if due {
            self.work.state.lock().urgent = true;
            self.work.wake.notify_one();
        }
    }

    fn is_due(&self) -> bool {
        if !self.given.some {
            return false;
        }
        let len = self.log.len();
        let long = len.saturating_sub(self.work.saved_len()) > self.log.options().tail_max;
        let again = len >= self.work.again_at.load(Ordering::Relaxed);
        again && (long || self.directory.memory_bytes() > super::MEMORY_MAX)
    }

    /// The account's chain has grown: it wants an image.
    pub(super) fn want_image(&self, id: AccountId) {
        let mut state = self.work.state.lock();
        if state.images.len() < IMAGES_WAITING && state.waiting.insert(id) {
            state.images.push_back(id);
            self.work.wake.notify_one();
        }
    }

    fn image_step(&self) -> Result<bool> {
        let _one = self.work.step.lock();
        let next = {
            let mut state = self.work.state.lock();
            let next = state.images.pop_front();
            if let Some(id) = next {
                state.waiting.remove(&id);
            }
            next
        };
        let Some(id) = next else { return Ok(false) };
        if !self.rows_are_to_be_saved() {
            return Ok(true);
        }
        if let Some(cell) = self.by_id(id)? {
            self.save_image(&cell)?;
        }
        Ok(true)
    }

    /// Writes a checkpoint: an opening reads the log from here on.
    pub(crate) fn save(&self) -> Result<()> {
        self.save_over(&mut self.work.step.lock())
    }

    fn save_over(&self, saved: &mut Saved) -> Result<()> {
        self.work.skipped.lock().clear();
        let log_len = self.log.len();
        let result = self.save_now(saved, log_len);
        if result.is_err() {
            // A disk that fails or is full is not asked at every commit.
            let again = log_len + self.log.options().tail_max / 8;
            self.work.again_at.store(again, Ordering::Relaxed);
        }
        self.work.asked.store(false, Ordering::Relaxed);
        result
    }

    fn save_now(&self, saved: &mut Saved, log_len: u64) -> Result<()> {
        if !self.given.some {
            return Ok(());
        }
        let Some(position) = self.log.position()? else {
            return Ok(());
        };
        // Of this moment: those that get their UIDs behind the position wait as far as the checkpoint knows.
        let deferred = self.waiting.before(position.next_record, &self.log);
        // Fences in front of it whose record is written are known after this.
        drop(self.fencing.write());
        if position.next_record > self.directory.tail() {
            self.catch_up_images();
        }
        self.settle_all();
        Switch::ImagesBeforeCheckpoint.guard(|| self.sync_images())?;
        let sync = || self.log.sync_written();
        let flushed = self.directory.flush(position.next_record, sync)?;
        self.write_checkpoint(saved, position, deferred)?;
        // Else rows that only memory has may say that an image went elsewhere: one was made for a record that then could not
        // be written. Without the old one the account would be folded from the log.
        if flushed.is_some() {
            self.drop_dead_images()?;
        }
        self.work.saved_len.store(log_len, Ordering::Relaxed);
        *self.work.failed.lock() = None;
        Ok(())
    }

    /// The same when the store is closed, unless nothing happened since.
    pub(crate) fn save_at_close(&self) -> Result<()> {
        if self.log.options().read_only {
            return Ok(());
        }
        let Ok(_held) = self.log.hold() else {
            return Ok(());
        };
        self.save().inspect_err(|error| {
            *self.work.failed.lock() = Some(error.clone());
        })
    }

    /// Makes images durable. A file of which that cannot be said is given up: its accounts are folded from the log, and
    /// the checkpoint goes on without.
    fn sync_images(&self) -> Result<()> {
        while let Err(error) = self.images.sync() {
            let Some(number) = self.images.failed() else {
                return Err(error);
            };
            self.note_damage(&error);
            self.images.remove(number)?;
        }
        Ok(())
    }

    fn write_checkpoint(
        &self,
        saved: &mut Saved,
        position: Position,
        deferred: Vec<(AccountId, u64)>,
    ) -> Result<()> {
        let runs = self.directory.runs();
        let checkpoint = Checkpoint {
            store: self.log.store(),
            generation: saved.generation + 1,
            position,
            runs: runs.clone(),
            images: self.images.files(),
            fences: self.directory.fences().all().to_vec(),
            deferred,
            next_file: self.directory.next_file().max(self.images.next_number()),
            uid_validity_max: self.high.load(Ordering::Relaxed),
            uid_validity_floor: self.floor.load(Ordering::Relaxed),
        };
        if !Switch::RunsDroppedLate.on() {
            self.directory.remove_files_not_in_use(&[])?;
        }
        checkpoint.save(&*self.storage)?;
        saved.generation += 1;
        saved.when = Instant::now();
        self.directory.remove_files_not_in_use(&runs)?;
        Ok(())
    }

    /// Removes the image files that no row points into: nor does the checkpoint that is durable now. What is counted as dead is looked at.
    fn drop_dead_images(&self) -> Result<()> {
        let dead = |file: &crate::directory::ImageFile| file.dead >= file.len && file.len > 0;
        for file in self.images.files().into_iter().filter(dead) {
            if self.images.is_active(file.number) {
                continue;
            }
            // What cannot be looked at now stays.
            let Ok(needed) = self.needed_of(file.number) else {
                continue;
            };
            if needed.is_empty() || !Switch::ImagesLookedAt.on() {
                self.images.remove(file.number)?;
            } else {
                self.images.recount(file.number, &needed);
            }
        }
        self.images.remove_unknown()
    }

    /// Hands the rows of all accounts that changed to the directory.
    fn settle_all(&self) {
        let touched = std::mem::take(&mut *self.touched.lock());
        for id in touched {
            // Who is gone left its row with the directory.
            let Some(cell) = self.cells.get(id) else {
                continue;
            };
            let mut state = cell.peek(&self.log);
            if !state.listed {
                continue;
            }
            self.tell(state.durable().row.clone());
            if state.last_batch() > 0 {
                self.touched.lock().push(id);
            } else {
                state.listed = false;
            }
        }
    }

    /// Makes a run of the rows of one segment that none covers, the newest; whether there was one.
    pub(super) fn rebuild_step(&self) -> Result<bool> {
        let mut saved = self.work.step.lock();
        let uncovered = self.directory.uncovered();
        let Some((segment, records)) = self.next_uncovered(&uncovered) else {
            *self.work.progress.lock() = None;
            return Ok(false);
        };
        self.note_progress(&uncovered);
        let rebuilt = self.rebuild_segment(&mut saved, segment, records);
        if rebuilt.is_err() {
            // The others first. This one is tried again when the index is saved: no answer needs the run.
            self.work.skipped.lock().insert(segment.number);
        }
        let more = rebuilt?;
        if self.is_rebuilt() {
            *self.work.progress.lock() = None;
            if self.directory.uncovered().is_empty() {
                self.waiting.note_all_met();
            }
            self.save_now(&mut saved, self.log.len())?;
        }
        Ok(more)
    }

    fn next_uncovered(&self, uncovered: &[Range<u64>]) -> Option<(SegmentInfo, Range<u64>)> {
        self.uncovered.newest(uncovered, &self.work.skipped.lock())
    }

    fn rebuild_segment(
        &self,
        saved: &mut Saved,
        segment: SegmentInfo,
        records: Range<u64>,
    ) -> Result<bool> {
        let mut rows: BTreeMap<AccountId, Row> = BTreeMap::new();
        let fences = self.directory.fences();
        let stop = || self.work.stop.load(Ordering::Relaxed);
        let (mut high, mut deferred) = (0, Vec::new());
        let scan =
            self.log
                .scan_segment(segment.number, records.clone(), &mut |header, change| {
                    if matches!(change, Change::Fence(_)) {
                        return ControlFlow::Continue(());
                    }
                    match change {
                        Change::Deferred(late) => {
                            deferred.push((header.account, header.number, late.account.clone()));
                        }
                        Change::Assign(assign) => self.waiting.note_assigned(assign.deferred),
                        _ => {}
                    }
                    note(&mut rows, &fences, header, change);
                    high = high.max(
                        rows.get(&header.account)
                            .map_or(0, |row| row.uid_validity_mark),
                    );
                    if header.number.is_multiple_of(TELL_EVERY) {
                        self.note_read(&segment, &records, header.number);
                    }
                    if stop() {
                        ControlFlow::Break(())
                    } else {
                        ControlFlow::Continue(())
                    }
                })?;
        if scan.stopped {
            return Ok(false);
        }
        self.high.fetch_max(high, Ordering::Relaxed);
        if let Some(refusal) = scan.refusal.filter(|_| Switch::RebuildGiven.on()) {
            // A run without what the disk does not give now would hide it for good. It is asked through its footer.
            return Err(refusal);
        }
        self.note_lost(&scan.lost);
        self.fence_all(&scan.lost)?;
        let strays: Vec<Row> = rows
            .values()
            .filter_map(|row| super::opening::stray(row, &self.log.store().0))
            .collect();
        for stray in strays {
            rows.entry(stray.key).or_insert(stray);
        }
        // As long as they are found through the footer, too.
        self.meet_deferred(&deferred);
        let count = rows.len() as u64;
        self.directory
            .cover(records, count, rows.into_values().map(Ok))?;
        if let Some(progress) = &mut *self.work.progress.lock() {
            progress.done_bytes += segment.len;
            progress.read_bytes = 0;
            progress.rows += count;
        }
        if saved.when.elapsed() > SAVE_EVERY {
            // Or the runs that were made would have to be made again.
            self.save_now(saved, self.log.len())?;
        }
        Ok(true)
    }

    /// Whether runs cover all that the log has in front of its tail.
    pub(super) fn is_rebuilt(&self) -> bool {
        self.next_uncovered(&self.directory.uncovered()).is_none()
    }

    /// So far is the segment read that is at work: about, as records differ in length.
    fn note_read(&self, segment: &SegmentInfo, records: &Range<u64>, number: u64) {
        let (done, all) = (number - records.start, records.end - records.start);
        let share = u128::from(segment.len) * u128::from(done) / u128::from(all.max(1));
        if let Some(progress) = &mut *self.work.progress.lock() {
            progress.read_bytes = u64::try_from(share).unwrap_or(segment.len).min(segment.len);
        }
    }

    fn note_progress(&self, uncovered: &[Range<u64>]) {
        let mut progress = self.work.progress.lock();
        if progress.is_none() {
            *progress = Some(Progress {
                began: Instant::now(),
                done_bytes: 0,
                read_bytes: 0,
                total_bytes: self.uncovered.len_of(uncovered),
                rows: 0,
            });
        }
    }
}
