//! Finding where a delivery by name goes, on a few threads of its own: a read that hangs holds one of them, not who
//! delivers.
//!
//! What memory answers is answered at once. The rest is read by threads named `mailkeep-load`, at most four, begun when
//! they are needed. While a read is overdue nothing is queued behind it: the answer is then "not now", at once, until
//! it has returned. Nobody waits for these threads, not even closing: one that hangs is left to itself.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Instant;

use crate::sync::{Condvar, Mutex};

use super::Index;
use super::cell::{Cell, Hold, State};
use super::fold::Fold;
use super::plan::{ColdDraft, INBOX_ID};
use crate::error::{Error, Result};
use crate::mail::MailboxName;
use crate::switch::Switch;
use crate::threads;

/// Threads at most.
const THREADS_MAX: usize = 4;

/// Who is to be looked up.
#[derive(Clone, Debug)]
pub(crate) struct Lookup {
    /// Name of the account.
    pub(crate) account: String,
    pub(crate) mailbox: MailboxName,
}

/// Where a delivery goes.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) cell: Arc<Cell>,
    pub(crate) mailbox: u32,
    /// What a plan needs of the account stays in memory with this.
    pub(crate) _hold: Hold,
}

/// The threads.
#[derive(Debug, Default)]
pub(crate) struct Lookups {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// By when each that is being done should be.
    running: BTreeMap<u64, Instant>,
    /// Threads, and how many of them wait for a job.
    threads: usize,
    idle: usize,
    next: u64,
    stop: bool,
}

/// One lookup, and by when it should be done.
struct Job {
    work: Box<dyn FnOnce() + Send>,
    due: Instant,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue")
            .field("jobs", &self.jobs.len())
            .field("running", &self.running)
            .finish_non_exhaustive()
    }
}

impl Queue {
    /// Whether a job hangs, as far as anybody can tell.
    fn is_overdue(&self) -> bool {
        let now = Instant::now();
        self.running.values().any(|due| *due <= now)
    }
}

impl Lookups {
    /// Looks up all of `wanted`: the place of each, its error, or `None` where the answer is not to be had by `due`.
    /// Where the options allow no threads it is read here, however long that takes.
    pub(crate) fn find(
        &self,
        index: &Arc<Index>,
        wanted: &[Lookup],
        due: Instant,
    ) -> Vec<Option<Result<Place>>> {
        let recalled = wanted.iter().map(|lookup| index.at_hand(lookup));
        if !index.log.options().background {
            let read = recalled.zip(wanted);
            let read =
                read.map(|(at_hand, lookup)| at_hand.unwrap_or_else(|| index.look_up(lookup)));
            return read.map(Some).collect();
        }
        let mut found: Vec<Option<Result<Place>>> = recalled.collect();
        let (answers, answered) = mpsc::channel();
        let given_up = GiveUp::default();
        let mut open = 0;
        for (at, lookup) in wanted.iter().enumerate() {
            if found.get(at).is_none_or(Option::is_some) {
                continue;
            }
            let (index, lookup, answers) = (Arc::clone(index), lookup.clone(), answers.clone());
            let given_up = Arc::clone(&given_up.0);
            let work = move || {
                if !given_up.load(Ordering::Relaxed) {
                    // Who asked may be gone: then the account is in memory for the next one.
                    let _ = answers.send((at, index.look_up(&lookup)));
                }
            };
            let work = Box::new(work);
            if !self.submit(Job { work, due }) {
                break;
            }
            open += 1;
        }
        drop(answers);
        while open > 0 {
            let left = due.saturating_duration_since(Instant::now());
            let Ok((at, answer)) = answered.recv_timeout(left) else {
                break;
            };
            if let Some(place) = found.get_mut(at) {
                *place = Some(answer);
            }
            open -= 1;
        }
        found
    }

    /// Has a job done, unless one hangs; whether it will be.
    fn submit(&self, job: Job) -> bool {
        let mut queue = self.shared.queue.lock();
        if queue.stop || queue.is_overdue() || job.due <= Instant::now() {
            return false;
        }
        queue.jobs.push_back(job);
        if queue.idle < queue.jobs.len() && queue.threads < THREADS_MAX {
            let shared = Arc::clone(&self.shared);
            match threads::spawn("load", move || shared.work()) {
                Ok(_) => queue.threads += 1,
                Err(_) if queue.threads == 0 => {
                    queue.jobs.pop_back();
                    return false;
                }
                // Those that are there will come to it.
                Err(_) => {}
            }
        }
        drop(queue);
        self.shared.wake.notify_one();
        true
    }

    /// Ends the threads, each once it has done what it is at; waits for none.
    pub(crate) fn stop(&self) {
        let mut queue = self.shared.queue.lock();
        queue.stop = true;
        let dropped = std::mem::take(&mut queue.jobs);
        drop(queue);
        drop(dropped);
        self.shared.wake.notify_all();
    }
}

impl Shared {
    /// A thread's life.
    fn work(&self) {
        loop {
            let mut queue = self.queue.lock();
            queue.idle += 1;
            while queue.jobs.is_empty() && !queue.stop {
                self.wake.wait(&mut queue);
            }
            queue.idle -= 1;
            let Some(job) = queue.jobs.pop_front() else {
                queue.threads -= 1;
                return;
            };
            let id = queue.next;
            queue.next += 1;
            queue.running.insert(id, job.due);
            drop(queue);
            let mut running = Running {
                shared: self,
                id,
                ended: false,
            };
            (job.work)();
            running.ended = true;
        }
    }
}

/// A job that is being done.
struct Running<'a> {
    shared: &'a Shared,
    id: u64,
    ended: bool,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut queue = self.shared.queue.lock();
        queue.running.remove(&self.id);
        // One that panics takes its thread along.
        queue.threads -= usize::from(!self.ended);
    }
}

/// Tells jobs that are not begun that nobody waits for them any more.
#[derive(Default)]
struct GiveUp(Arc<AtomicBool>);

impl Drop for GiveUp {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Index {
    /// Where a delivery goes, if memory tells.
    fn at_hand(&self, lookup: &Lookup) -> Option<Result<Place>> {
        let cell = self.recall(&lookup.account)?;
        self.place_at_hand(&cell, &lookup.mailbox).transpose()
    }

    /// Where a delivery goes; reads what has to be read.
    ///
    /// # Errors
    /// [`Error::NoSuchAccount`] where that is certain; whatever keeps the account from being found or loaded.
    fn look_up(&self, lookup: &Lookup) -> Result<Place> {
        let cell = self.find(&lookup.account)?;
        let _pin = cell.pin();
        loop {
            if let Some(place) = self.place_at_hand(&cell, &lookup.mailbox)? {
                return Ok(place);
            }
            if !cell.peek(&self.log).is_partial() {
                self.load(&cell)?;
            } else if !self.ask_again(&cell) {
                return Err(self.not_given());
            }
        }
    }

    /// The place in an account, if what is in memory of it tells, and is enough to deliver there.
    fn place_at_hand(&self, cell: &Arc<Cell>, mailbox: &MailboxName) -> Result<Option<Place>> {
        let Some(state) = self.lock_at_hand(cell) else {
            return Ok(None);
        };
        let found = self.mailbox_at_hand(&state, mailbox)?;
        Ok(found.map(|mailbox| Place {
            mailbox,
            _hold: cell.hold(),
            cell: Arc::clone(cell),
        }))
    }

    fn mailbox_at_hand(&self, state: &State, mailbox: &MailboxName) -> Result<Option<u32>> {
        let head = state.head();
        let Some(fold) = &head.fold else {
            let served = *mailbox == MailboxName::inbox() && ColdDraft::serves(&head.row, INBOX_ID);
            return Ok(served.then_some(INBOX_ID));
        };
        match fold.usable(mailbox) {
            Some(found) => Ok(Some(found)),
            // It may be there yet, in what the disk did not give.
            None if Switch::MailboxVouched.on() && fold.partial => Ok(None),
            None => fold.place_of(mailbox.as_str()).map(Some),
        }
    }

    /// A mailbox that was looked for in an account. One that is missing may be there yet, in what the disk did not give.
    pub(crate) fn certain(&self, fold: &Fold, found: Option<u32>) -> Result<Option<u32>> {
        if Switch::MailboxVouched.on() && found.is_none() && fold.partial {
            return Err(self.not_given());
        }
        Ok(found)
    }

    /// What is asked for may be in what the disk did not give.
    pub(crate) fn not_given(&self) -> Error {
        let source = io::Error::other("not all records of the account can be read");
        Error::io("read", self.log.path_of_log(), source)
    }
}
