//! Work off the commit path: sealing full segments, preparing the next one, syncing TAIL when idle, and writing
//! batches that are awaited rather than waited for.
//!
//! Two threads, `mailkeep-log` and `mailkeep-commit`; without them (`Options::background(false)`) the same work is
//! done inline by whoever waits for a commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::sync::{Condvar, Mutex};

use super::Shared;
use super::segment::Segment;
use super::writer::{Active, segment_len};
use crate::error::{Error, Result};
use crate::io::{File, Open};
use crate::switch::Switch;
use crate::threads;

/// What the names of prepared files begin with.
pub(super) const SPARE: &str = "log/spare";

/// A file of zeroes, durable as such, of which the next segment is made. Its name is its own: whoever took it can
/// rename it whatever the thread that makes spares does meanwhile.
#[derive(Debug)]
pub(super) struct Spare {
    pub(super) name: String,
    pub(super) file: Arc<dyn File>,
}

/// Commits larger than this on average are bulk: writing each byte twice meanwhile would cost more than it gains.
const PREPARE_BELOW: u64 = 128 << 10;

/// Zeroes that the disk is given at once: commits wait behind them.
const FILL_AT_ONCE: u64 = 2 << 20;

/// TAIL is synced when nothing was committed for this long; while batches are only written, about this often.
const IDLE: Duration = Duration::from_millis(100);

/// What is to be done.
#[derive(Debug, Default)]
pub(super) struct Work {
    state: Mutex<State>,
    wake: Condvar,
    /// Commits so far, to see idleness; and whether TAIL has news.
    commits: AtomicU64,
    tail_dirty: AtomicBool,
    /// Whether segments are prepared at all, and whether this one has not asked for the next yet.
    prepares: bool,
    prepare: AtomicBool,
    /// Removing a large file takes long on some disks: not while an opening waits.
    leftovers: Mutex<Vec<String>>,
    leader_wanted: Mutex<bool>,
    lead: Condvar,
}

#[derive(Debug, Default)]
struct State {
    seal: Vec<Arc<Segment>>,
    /// Segments whose footer is bad.
    heal: Vec<Arc<Segment>>,
    /// Length of the spare to make.
    spare_wanted: Option<u64>,
    spare: Option<Spare>,
    /// How many were made, to name the next.
    spares: u64,
    stop: bool,
}

/// The two threads.
#[derive(Debug)]
pub(super) struct Keeper {
    threads: Vec<JoinHandle<()>>,
}

impl Work {
    /// `leftovers` are files of an earlier run that nothing needs.
    pub(super) fn new(prepare: bool, leftovers: Vec<String>) -> Self {
        Self {
            leftovers: Mutex::new(leftovers),
            prepares: prepare,
            prepare: AtomicBool::new(prepare),
            ..Self::default()
        }
    }

    /// A segment is full: it wants its footer.
    pub(super) fn seal(&self, segment: Arc<Segment>) {
        self.state.lock().seal.push(segment);
        self.wake.notify_all();
    }

    /// A segment's footer is bad: it wants another.
    pub(super) fn heal(&self, segment: Arc<Segment>) {
        self.state.lock().heal.push(segment);
        self.wake.notify_all();
    }

    /// A batch was written. Asks for a spare of `spare_len` bytes when the segment is half full of small durable
    /// batches: what is not synced gains nothing by it.
    pub(super) fn written(&self, active: &Active, durable: bool, spare_len: u64) {
        self.commits.fetch_add(1, Ordering::Relaxed);
        let news = !self.tail_dirty.swap(true, Ordering::Relaxed);
        let half = durable
            && self.prepare.load(Ordering::Relaxed)
            && active.is_half_full()
            && active.mean_batch() < PREPARE_BELOW;
        if half {
            // Asked once a segment: `reset_spare` arms it again.
            self.prepare.store(false, Ordering::Relaxed);
        }
        if news || half {
            // Under the lock, or the thread could look, see nothing and go to sleep just after.
            let mut state = self.state.lock();
            if half {
                state.spare_wanted = Some(spare_len);
            }
            self.wake.notify_all();
        }
    }

    #[cfg(test)]
    pub(super) fn has_spare(&self) -> bool {
        self.state.lock().spare.is_some()
    }

    pub(super) fn take_spare(&self) -> Option<Spare> {
        self.state.lock().spare.take()
    }

    /// A segment was begun: the next half-full one may ask for a spare again.
    pub(super) fn reset_spare(&self) {
        self.prepare.store(self.prepares, Ordering::Relaxed);
    }
}

impl Keeper {
    pub(super) fn start(shared: &Arc<Shared>) -> Result<Self> {
        let lives: [(_, fn(&Shared)); 2] =
            [("log", Shared::keep), ("commit", Shared::lead_when_asked)];
        let mut keeper = Self {
            threads: Vec::with_capacity(lives.len()),
        };
        for (name, run) in lives {
            let of_thread = Arc::clone(shared);
            match threads::spawn(name, move || run(&of_thread)) {
                Ok(thread) => keeper.threads.push(thread),
                Err(source) => {
                    // One that went on would keep the writer's lock.
                    keeper.stop(shared);
                    return Err(Error::io("start a thread for", shared_path(), source));
                }
            }
        }
        Ok(keeper)
    }

    pub(super) fn stop(self, shared: &Shared) {
        shared.work.state.lock().stop = true;
        shared.work.wake.notify_all();
        *shared.work.leader_wanted.lock() = true;
        shared.work.lead.notify_all();
        let this = std::thread::current().id();
        for thread in self.threads {
            // The last handle may be dropped by a waker that the commit thread itself calls.
            if thread.thread().id() != this {
                let _ = thread.join();
            }
        }
    }
}

fn shared_path() -> String {
    "the store".into()
}

impl Shared {
    /// Has the commit thread write what waits; false when there is none.
    pub(super) fn ask_for_leader(&self) -> bool {
        if self.options.background {
            *self.work.leader_wanted.lock() = true;
            self.work.lead.notify_one();
        }
        self.options.background
    }

    fn lead_when_asked(&self) {
        loop {
            let mut wanted = self.work.leader_wanted.lock();
            while !*wanted {
                self.work.lead.wait(&mut wanted);
            }
            *wanted = false;
            drop(wanted);
            if self.work.state.lock().stop {
                return;
            }
            // Errors reach those who wait for the batch.
            let _ = self.flush();
        }
    }

    /// The log thread.
    fn keep(&self) {
        let mut seen = 0;
        self.remove_leftovers();
        loop {
            self.work_now();
            self.sync_much();
            let mut state = self.work.state.lock();
            if state.stop {
                return;
            }
            let waits = !state.seal.is_empty() || !state.heal.is_empty();
            if waits || state.spare_wanted.is_some() || self.reserve.is_short() {
                continue;
            }
            if self.work.tail_dirty.load(Ordering::Relaxed) {
                let timed_out = self.work.wake.wait_for(&mut state, IDLE).timed_out();
                drop(state);
                let now = self.work.commits.load(Ordering::Relaxed);
                // Of batches that were only written nothing else tells after a power cut: TAIL goes to the medium
                // even when there is no rest.
                if timed_out && (now == seen || self.has_unsynced()) {
                    self.sync_tail();
                    self.prepare_idle();
                }
                seen = now;
            } else {
                self.work.wake.wait(&mut state);
            }
        }
    }

    /// Does what is to be done, inline, where there are no threads.
    pub(super) fn work_inline(&self) {
        if !self.options.background
            && let Ok(_held) = self.hold()
        {
            self.work_now();
        }
    }

    fn work_now(&self) {
        self.reserve.fill(&*self.storage);
        loop {
            let mut state = self.work.state.lock();
            let spare = state.spare_wanted.take();
            // The oldest first: the footers of some rest on those before.
            let seal = (!state.seal.is_empty()).then(|| state.seal.remove(0));
            let heal = state.heal.pop();
            drop(state);
            if spare.is_none() && seal.is_none() && heal.is_none() {
                return;
            }
            if let Some(len) = spare {
                self.make_spare(len);
            }
            if let Some(segment) = seal {
                self.seal_or_leave(&segment);
            }
            if let Some(segment) = heal {
                self.heal_or_leave(&segment);
            }
        }
    }

    /// When nothing is committed a spare costs nobody anything, whatever the size of commits: the next ones find it.
    fn prepare_idle(&self) {
        let half = {
            let writer = self.writer.lock();
            let active = writer.active.as_ref();
            // What is not synced gains nothing by it.
            active.is_some_and(|active| active.is_half_full() && !active.unsynced)
        };
        if half && self.work.prepares {
            let log_len = self.log_len.load(Ordering::Relaxed);
            self.make_spare(segment_len(log_len, &self.options));
        }
    }

    /// Makes a spare, unless one is ready. None is no error: the next segment grows instead.
    fn make_spare(&self, len: u64) {
        let name = {
            let mut state = self.work.state.lock();
            if state.spare.is_some() {
                return;
            }
            state.spares += 1;
            format!("{SPARE}-{}", state.spares)
        };
        match self.fill_spare(&name, len) {
            Ok(file) => self.work.state.lock().spare = Some(Spare { name, file }),
            Err(_) => {
                let _ = self.storage.remove(&name);
            }
        }
    }

    fn fill_spare(&self, name: &str, len: u64) -> std::io::Result<Arc<dyn File>> {
        let file = self.storage.open(name, Open::Create)?;
        let mut at = 0;
        while at < len {
            let piece = (len - at).min(FILL_AT_ONCE);
            fill_from(&*file, at, piece)?;
            Switch::SpareSync.guard(|| file.sync())?;
            at += piece;
        }
        Ok(file)
    }

    /// Whether batches were written and not synced. Waits for one that is being written.
    fn has_unsynced(&self) -> bool {
        let writer = self.writer.lock();
        writer.written > writer.durable
    }

    /// Removes what an earlier run left. A failure costs the space, until the next opening.
    pub(super) fn remove_leftovers(&self) {
        let leftovers = std::mem::take(&mut *self.work.leftovers.lock());
        for name in leftovers {
            let _ = self.storage.remove(&name);
        }
    }

    /// Removes a spare that was not needed: the next opening would, and a closed store should not keep the space.
    pub(super) fn drop_spare(&self) {
        if let Some(spare) = self.work.take_spare() {
            let _ = self.storage.remove(&spare.name);
        }
    }

    fn sync_tail(&self) {
        self.work.tail_dirty.store(false, Ordering::Relaxed);
        let tail = {
            let writer = self.writer.lock();
            writer.write_tail(self);
            writer.tail.clone()
        };
        if let Some(tail) = tail {
            let _ = Switch::TailIdleSync.guard(|| tail.sync());
        }
    }
}

/// Writes `len` zeroes at `from`.
pub(super) fn fill_from(file: &dyn File, from: u64, len: u64) -> std::io::Result<()> {
    let zeroes = vec![0; usize::try_from(len).unwrap_or(usize::MAX).min(1 << 20)];
    let mut at = from;
    while at < from + len {
        let piece = usize::try_from(from + len - at)
            .unwrap_or(usize::MAX)
            .min(zeroes.len());
        file.write_at(&[zeroes.get(..piece).unwrap_or_default()], at)?;
        at += piece as u64;
    }
    Ok(())
}
