//! Work on the index off the callers' path: saving what is new, merging runs, rebuilding what is missing, images.
//!
//! One thread, `mailkeep-index`; without it (`Options::background(false)`) the same steps are made inline, by whoever
//! commits when the tail has grown past its bound, and by opening and closing.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::Index;
use super::opening::note;
use crate::directory::{Checkpoint, Row};
use crate::error::{Error, Result};
use crate::log::Position;
use crate::mail::AccountId;
use crate::stat::Rebuild;

/// Accounts that wait for a new image, at most. Who is passed over is found again when it is used.
const IMAGES_WAITING: usize = 64 << 10;

/// While a rebuild is under way, what is done is saved this often.
const SAVE_EVERY: Duration = Duration::from_secs(2);

/// What is to be done, and how far it is.
#[derive(Debug)]
pub(super) struct Work {
    state: Mutex<State>,
    wake: Condvar,
    /// Held over a step: they are made one at a time.
    step: Mutex<Saved>,
    /// Length of the log at the last checkpoint, in bytes.
    saved_len: AtomicU64,
    /// Length of the log at which a checkpoint is tried again after one that failed.
    again_at: AtomicU64,
    /// Whether a checkpoint was asked for and not begun.
    asked: AtomicBool,
    /// How far the rebuild is, while there is one.
    pub(super) progress: Mutex<Option<Progress>>,
    /// Derived files that were found damaged.
    pub(super) damage: AtomicU64,
    stop: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    images: VecDeque<AccountId>,
    waiting: HashSet<AccountId>,
    urgent: bool,
}

/// What the last checkpoint was.
#[derive(Debug)]
struct Saved {
    generation: u64,
    at: Option<Position>,
    when: Instant,
}

/// How far the rebuild of the directory is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    pub(super) began: Instant,
    pub(super) done_bytes: u64,
    pub(super) total_bytes: u64,
    pub(super) rows: u64,
}

impl Progress {
    pub(super) fn rebuild(&self) -> Rebuild {
        let elapsed = self.began.elapsed();
        let rate = self.done_bytes.saturating_mul(1000) / u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
        let left = self.total_bytes.saturating_sub(self.done_bytes);
        Rebuild {
            done_bytes: self.done_bytes,
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
            step: Mutex::new(Saved {
                generation,
                at: None,
                when: Instant::now(),
            }),
            saved_len: AtomicU64::new(saved_len),
            again_at: AtomicU64::new(0),
            asked: AtomicBool::new(false),
            progress: Mutex::default(),
            damage: AtomicU64::new(0),
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
            let thread = std::thread::Builder::new().name("mailkeep-index".into());
            let thread = thread.spawn(move || index.tend());
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
            // Errors of derived files cost nothing but speed; the next opening, or the next step, does it again.
            let more = self.tend_step().unwrap_or(false);
            if self.work.stop.load(Ordering::Relaxed) {
                return;
            }
            let mut state = self.work.state.lock();
            let idle = !more && state.images.is_empty() && !state.urgent;
            if idle && !self.work.stop.load(Ordering::Relaxed) {
                self.work.wake.wait(&mut state);
            }
            state.urgent = false;
        }
    }

    /// One step, the most urgent one; whether there is more to do.
    fn tend_step(&self) -> Result<bool> {
        if self.is_due() {
            self.save()?;
            return Ok(true);
        }
        if self.rebuild_step()? {
            return Ok(true);
        }
        if self.directory.maintain()? {
            return Ok(true);
        }
        Ok(self.image_step()? || self.reclaim_step()?)
    }

    /// Called after a commit was joined: asks for what has become due.
    pub(crate) fn after_change(&self) {
        if !self.is_due() || self.work.asked.swap(true, Ordering::Relaxed) {
            return;
        }
        if self.log.options().background {
            self.work.state.lock().urgent = true;
            self.work.wake.notify_one();
        } else {
            // As on the thread: an error here is none of the caller's commit.
            let _ = self.save();
            let _ = self.rebuild_step();
            while matches!(self.directory.maintain(), Ok(true)) {}
            while matches!(self.image_step(), Ok(true)) {}
        }
    }

    fn is_due(&self) -> bool {
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
        let next = {
            let mut state = self.work.state.lock();
            let next = state.images.pop_front();
            if let Some(id) = next {
                state.waiting.remove(&id);
            }
            next
        };
        let Some(id) = next else { return Ok(false) };
        if let Some(cell) = self.by_id(id)? {
            self.save_image(&cell)?;
        }
        Ok(true)
    }

    /// Writes a checkpoint: an opening reads the log from here on.
    pub(crate) fn save(&self) -> Result<()> {
        let mut saved = self.work.step.lock();
        let log_len = self.log.len();
        let result = self.save_now(&mut saved, log_len);
        if result.is_err() {
            // A disk that fails or is full is not asked at every commit.
            let again = log_len + self.log.options().tail_max / 8;
            self.work.again_at.store(again, Ordering::Relaxed);
        }
        self.work.asked.store(false, Ordering::Relaxed);
        result
    }

    fn save_now(&self, saved: &mut Saved, log_len: u64) -> Result<()> {
        let Some(position) = self.log.position()? else {
            return Ok(());
        };
        self.settle_all();
        self.images.sync()?;
        self.directory.flush(position.next_record)?;
        self.write_checkpoint(saved, position)?;
        self.work.saved_len.store(log_len, Ordering::Relaxed);
        Ok(())
    }

    /// The same when the store is closed, unless nothing happened since.
    pub(crate) fn save_at_close(&self) -> Result<()> {
        if self.log.options().read_only {
            return Ok(());
        }
        self.save()
    }

    fn write_checkpoint(&self, saved: &mut Saved, position: Position) -> Result<()> {
        let runs = self.directory.runs();
        let checkpoint = Checkpoint {
            store: self.log.store(),
            generation: saved.generation + 1,
            position,
            runs: runs.clone(),
            images: self.images.files(),
            fences: self.directory.fences().all().to_vec(),
            deferred: self.waiting.all(),
            next_file: self.directory.next_file().max(self.images.next_number()),
            uid_validity_max: self.high.load(Ordering::Relaxed),
            uid_validity_floor: self.floor.load(Ordering::Relaxed),
        };
        checkpoint.save(&*self.storage)?;
        saved.generation += 1;
        (saved.at, saved.when) = (Some(position), Instant::now());
        self.directory.remove_files_not_in_use(&runs)?;
        self.drop_dead_images()
    }

    /// Removes the image files that no row points into: nor does the checkpoint that is durable now.
    fn drop_dead_images(&self) -> Result<()> {
        let dead = |file: &crate::directory::ImageFile| file.dead >= file.len && file.len > 0;
        for file in self.images.files().into_iter().filter(dead) {
            if !self.images.is_active(file.number) {
                self.images.remove(file.number)?;
            }
        }
        Ok(())
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
            self.directory.put(state.durable().row.clone());
            if state.last_batch() > 0 {
                self.touched.lock().push(id);
            } else {
                state.listed = false;
            }
        }
    }

    /// Makes a run of the rows of one segment that none covers, the newest; whether there was one.
    fn rebuild_step(&self) -> Result<bool> {
        let uncovered = self.directory.uncovered();
        let Some((segment, records)) = self.uncovered.newest(&uncovered) else {
            return Ok(false);
        };
        self.note_progress(&uncovered);
        let mut saved = self.work.step.lock();
        let mut rows: BTreeMap<AccountId, Row> = BTreeMap::new();
        let fences = self.directory.fences();
        let stop = || self.work.stop.load(Ordering::Relaxed);
        let mut high = 0;
        let scan = self
            .log
            .scan_segment(segment.number, records.clone(), &mut |header, change| {
                if matches!(change, crate::format::change::Change::Fence(_)) {
                    return ControlFlow::Continue(());
                }
                note(&mut rows, &fences, header, change);
                high = high.max(rows.get(&header.account).map_or(0, |row| row.uid_validity_mark));
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
        self.fence_all(&scan.lost)?;
        let strays: Vec<Row> = rows
            .values()
            .filter_map(|row| super::opening::stray(row, &self.log.store().0))
            .collect();
        for stray in strays {
            rows.entry(stray.key).or_insert(stray);
        }
        let count = rows.len() as u64;
        self.directory
            .cover(records, count, rows.into_values().map(Ok))?;
        if let Some(progress) = &mut *self.work.progress.lock() {
            progress.done_bytes += segment.len;
            progress.rows += count;
        }
        if saved.when.elapsed() > SAVE_EVERY {
            self.save_rebuilt(&mut saved)?;
        }
        if self.directory.uncovered().is_empty() {
            *self.work.progress.lock() = None;
            self.save_rebuilt(&mut saved)?;
        }
        Ok(true)
    }

    /// Names the runs that the rebuild has made in the checkpoint, so that they need not be made again.
    fn save_rebuilt(&self, saved: &mut Saved) -> Result<()> {
        match saved.at {
            Some(position) => self.write_checkpoint(saved, position),
            None => Ok(()),
        }
    }

    fn note_progress(&self, uncovered: &[std::ops::Range<u64>]) {
        let mut progress = self.work.progress.lock();
        if progress.is_none() {
            *progress = Some(Progress {
                began: Instant::now(),
                done_bytes: 0,
                total_bytes: self.uncovered.len_of(uncovered),
                rows: 0,
            });
        }
    }
}
