//! Work off the commit path: sealing full segments, preparing the next one, syncing TAIL when idle, and writing
//! batches that are awaited rather than waited for.
//!
//! Two threads, `mailkeep-log` and `mailkeep-commit`; without them (`Options::background(false)`) the same work is
//! done inline by whoever waits for a commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::sync::{Condvar, Mutex, MutexGuard};

use super::Shared;
use super::segment::Segment;
use super::spare::Spares;
use super::writer::Active;
use crate::error::{Error, Result};
use crate::switch::Switch;
use crate::threads;

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
    /// Whether segments are prepared at all, and whether the next one may be.
    prepares: bool,
    prepare: AtomicBool,
    /// Removing a large file takes long on some disks: not while an opening waits.
    leftovers: Mutex<Vec<String>>,
    leader_wanted: Mutex<bool>,
    lead: Condvar,
}

#[derive(Debug, Default)]
pub(super) struct State {
    seal: Vec<Arc<Segment>>,
    /// Segments whose footer is bad.
    heal: Vec<Arc<Segment>>,
    pub(super) spares: Spares,
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

    /// A batch was written. Has the next segment, of `next_len` bytes, filled further where batches are small and durable:
    /// what is not synced gains nothing by it.
    pub(super) fn written(&self, active: &mut Active, durable: bool, next_len: u64) {
        self.commits.fetch_add(1, Ordering::Relaxed);
        let news = !self.tail_dirty.swap(true, Ordering::Relaxed);
        let fills = durable && self.prepare.load(Ordering::Relaxed);
        let zeroes = fills.then(|| active.zeroes_wanted(next_len)).flatten();
        if news || zeroes.is_some() {
            // Under the lock, or the thread could look, see nothing and go to sleep just after.
            let mut state = self.state.lock();
            if let Some(zeroes) = zeroes {
                state.spares.ask(zeroes);
            }
            self.wake.notify_all();
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Whether the next segment may be filled while nothing is committed: there were no more than `seen` commits.
    pub(super) fn may_fill(&self, seen: u64) -> bool {
        let may = self.prepare.load(Ordering::Relaxed) && !self.state.lock().stop;
        may && self.commits.load(Ordering::Relaxed) == seen
    }

    /// A segment was begun: the next one may be prepared.
    pub(super) fn prepare_again(&self) {
        self.prepare.store(self.prepares, Ordering::Relaxed);
    }

    /// The next segment could not be prepared: it grows.
    pub(super) fn prepare_no_more(&self) {
        self.prepare.store(false, Ordering::Relaxed);
        self.state.lock().spares.ask(0);
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
        {
            let mut state = shared.work.state.lock();
            state.stop = true;
            // A store that closes waits for no zeroes.
            state.spares.ask(0);
        }
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
            if waits || state.spares.behind().is_some() || self.reserve.is_short() {
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
                    self.fill_idle(now);
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
            let zeroes = state.spares.behind();
            // The oldest first: the footers of some rest on those before.
            let seal = (!state.seal.is_empty()).then(|| state.seal.remove(0));
            let heal = state.heal.pop();
            drop(state);
            if zeroes.is_none() && seal.is_none() && heal.is_none() {
                return;
            }
            if let Some(goal) = zeroes {
                self.fill_to(goal);
            }
            if let Some(segment) = seal {
                self.seal_or_leave(&segment);
            }
            if let Some(segment) = heal {
                self.heal_or_leave(&segment);
            }
        }
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
