//! Who writes: group commit without a timer.
//!
//! Callers join the group that fills. The first one that waits becomes the leader: it takes the group, writes it, and
//! wakes the first one that waits for the next group, which filled meanwhile: it leads next. Then it wakes those whose group it
//! was, each by itself: through a condition variable they would queue for the lock, and the next leader among them. A single
//! writer pays one write and one sync, nothing more.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;

use crate::sync::{Condvar, Mutex};

use super::Shared;
use super::group::{Group, GroupWriter};
use crate::error::{Error, Result};
use crate::options::Durability;
use crate::switch::Switch;

/// A group that has this many bytes is closed and the next one begun, so that one batch stays a modest write.
const GROUP_FULL: usize = 4 << 20;

/// Bytes that may wait to be written before callers have to help.
const QUEUE_MAX: usize = 32 << 20;

/// The groups that wait, and how the ones before them ended.
#[derive(Debug)]
pub(super) struct Queue {
    groups: VecDeque<Group>,
    spare: Option<Group>,
    next_batch: u64,
    next_record: u64,
    /// Whether somebody is writing a group; and whether that is one of more than removals.
    leading: bool,
    leads_others: bool,
    /// Whether the last batch of more than removals found no room.
    full: bool,
    /// Batches that failed, as ranges with the reason. Grows with failures only, neighbours merged.
    failures: Vec<(u64, u64, Error)>,
    stopped: Option<Error>,
    closed: bool,
    wakers: Vec<(u64, Waker)>,
    /// Threads that wait, each with its batch; in the order in which they came.
    sleepers: Vec<(u64, Arc<Sleeper>)>,
}

/// A thread that waits to be woken, by itself. Not [`std::thread::park`]: who waits may be inside of somebody's future, whose
/// wakers use that.
#[derive(Debug, Default)]
struct Sleeper {
    woken: Mutex<bool>,
    told: Condvar,
}

thread_local! {
    static SLEEPER: Arc<Sleeper> = Arc::default();
}

impl Sleeper {
    /// This thread.
    fn this() -> Arc<Self> {
        // At the end of a thread it may be gone already.
        SLEEPER.try_with(Arc::clone).unwrap_or_default()
    }

    /// Sleeps until it is woken; once for each time.
    fn sleep(&self) {
        let mut woken = self.woken.lock();
        while !*woken {
            self.told.wait(&mut woken);
        }
        *woken = false;
    }

    fn wake(&self) {
        *self.woken.lock() = true;
        self.told.notify_one();
    }
}

/// Whom to wake once the queue's lock is given back. A waker may do anything, also call the store.
#[must_use = "who waits must be woken"]
#[derive(Debug, Default)]
struct Woken {
    /// The next leader in front.
    threads: Vec<Arc<Sleeper>>,
    wakers: Vec<Waker>,
}

impl Woken {
    fn wake(self) {
        self.threads.iter().for_each(|sleeper| sleeper.wake());
        self.wakers.into_iter().for_each(Waker::wake);
    }
}

impl Queue {
    pub(super) fn new(next_batch: u64, next_record: u64) -> Self {
        Self {
            groups: VecDeque::new(),
            spare: None,
            next_batch,
            next_record,
            leading: false,
            leads_others: false,
            full: false,
            failures: Vec::new(),
            stopped: None,
            closed: false,
            wakers: Vec::new(),
            sleepers: Vec::new(),
        }
    }

    /// Those who wait for batches up to `done`, and in front of them who leads next.
    fn woken(&mut self, done: u64) -> Woken {
        let mut woken = Woken::default();
        let next = self.sleepers.iter().position(|(batch, _)| *batch > done);
        if let Some(next) = next.filter(|_| !self.groups.is_empty()) {
            woken.threads.push(self.sleepers.remove(next).1);
        }
        let ended = self.sleepers.extract_if(.., |(batch, _)| *batch <= done);
        woken.threads.extend(ended.map(|(_, thread)| thread));
        let ended = self.wakers.extract_if(.., |(batch, _)| *batch <= done);
        woken.wakers.extend(ended.map(|(_, waker)| waker));
        woken
    }

    pub(super) fn next_record(&self) -> u64 {
        self.next_record
    }

    pub(super) fn stopped(&self) -> Option<Error> {
        self.stopped.clone()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    pub(super) fn stop(&mut self, why: &Error) {
        if Switch::StopNoted.on() && self.stopped.is_none() {
            self.stopped = Some(Error::Stopped {
                source: Arc::new(why.clone()),
            });
        }
    }

    fn refuse(&self) -> Result<()> {
        match &self.stopped {
            Some(stopped) if Switch::StopRefuses.on() => Err(stopped.clone()),
            _ if Switch::CloseRefuses.on() && self.closed => Err(Error::Closed),
            _ => Ok(()),
        }
    }

    /// Whether something waits or is written that fails where there is no room.
    fn others_wait(&self) -> bool {
        self.leading && self.leads_others || self.groups.iter().any(|group| !group.removes)
    }

    /// The group that fills, begun if need be. On a full disk removals have their own.
    fn open_group(&mut self, removes: bool) -> Option<&mut Group> {
        let apart = |group: &Group| self.full && group.removes != removes;
        let full = self
            .groups
            .back()
            .is_none_or(|group| group.payload_len() >= GROUP_FULL || apart(group));
        if full {
            let (batch, record) = (self.next_batch, self.next_record);
            let group = match self.spare.take() {
                Some(spare) => spare.recycle(batch, record),
                None => Group::new(batch, record),
            };
            self.next_batch += 1;
            self.groups.push_back(group);
        }
        self.groups.back_mut()
    }

    fn waiting_bytes(&self) -> usize {
        self.groups.iter().map(Group::payload_len).sum()
    }

    fn failure_of(&self, batch: u64) -> Option<&Error> {
        let at = self.failures.partition_point(|(_, last, _)| *last < batch);
        self.failures
            .get(at)
            .filter(|(first, ..)| *first <= batch)
            .map(|(.., error)| error)
    }

    /// All batches from `first` on that exist have failed.
    fn fail_from(&mut self, first: u64, error: &Error) -> u64 {
        let last = if Switch::FailBehind.on() {
            self.next_batch - 1
        } else {
            first
        };
        match self.failures.last_mut() {
            Some((_, before, reason)) if *before + 1 == first => {
                *before = last;
                *reason = error.clone();
            }
            _ => self.failures.push((first, last, error.clone())),
        }
        if Switch::FailBehind.on() {
            self.groups.clear();
        }
        last
    }
}

impl Shared {
    pub(super) fn admit(&self, len: usize) -> Result<()> {
        let mut queue = self.queue.lock();
        loop {
            queue.refuse()?;
            let waiting = queue.waiting_bytes();
            if waiting == 0 || waiting + len <= QUEUE_MAX {
                return Ok(());
            }
            if queue.leading {
                self.finished.wait(&mut queue);
            } else {
                queue = self.lead(queue);
            }
        }
    }

    /// Adds records to the group that fills, and returns its batch. They were planned on what the batches `rests_on` make
    /// true: if one of those has failed meanwhile, nothing is added and the answer is `None`: plan again.
    pub(super) fn join<T>(
        &self,
        durability: Durability,
        rests_on: &[u64],
        removes: bool,
        fill: impl FnOnce(&mut GroupWriter<'_>) -> T,
    ) -> Result<Option<(u64, T)>> {
        if self.read_only.load(Ordering::Relaxed) {
            return Err(Error::ReadOnly);
        }
        let mut queue = self.queue.lock();
        queue.refuse()?;
        if rests_on
            .iter()
            .any(|batch| Switch::FailedRest.on() && queue.failure_of(*batch).is_some())
        {
            return Ok(None);
        }
        if removes && queue.full && queue.others_wait() {
            return Ok(None);
        }
        let group = queue.open_group(removes).ok_or(Error::Closed)?;
        group.removes &= removes;
        group.durability = group.durability.max(durability);
        let batch = group.batch;
        let value = fill(&mut GroupWriter { group });
        let next = group.next_number();
        queue.next_record = next;
        Ok(Some((batch, value)))
    }

    /// How `batch` ended. Without a lock where it ended well.
    pub(super) fn outcome(&self, batch: u64) -> Option<Result<()>> {
        if self.done.load(Ordering::Acquire) < batch {
            return None;
        }
        if self.failed.load(Ordering::Acquire) < batch {
            return Some(Ok(()));
        }
        let queue = self.queue.lock();
        Some(
            queue
                .failure_of(batch)
                .map_or(Ok(()), |error| Err(error.clone())),
        )
    }

    /// Waits for `batch`; writes it itself where nobody else does.
    pub(super) fn wait(&self, batch: u64) -> Result<()> {
        if let Some(outcome) = self.outcome(batch) {
            return outcome;
        }
        self.wait_done(batch)?;
        self.work_inline();
        self.outcome(batch).unwrap_or(Err(Error::Closed))
    }

    /// Waits until `batch` has ended, well or not; leads where nobody does.
    fn wait_done(&self, batch: u64) -> Result<()> {
        let mut queue = self.queue.lock();
        while self.done.load(Ordering::Acquire) < batch {
            if queue.leading {
                let me = Sleeper::this();
                queue.sleepers.push((batch, Arc::clone(&me)));
                drop(queue);
                me.sleep();
                if self.done.load(Ordering::Acquire) >= batch {
                    return Ok(());
                }
                queue = self.queue.lock();
            } else if queue.groups.is_empty() {
                return Err(Error::Closed);
            } else {
                queue = self.lead(queue);
            }
        }
        Ok(())
    }

    /// Has `waker` woken when `batch` has ended; false when it has already.
    pub(super) fn wake_for(&self, batch: u64, waker: &Waker) -> bool {
        let mut queue = self.queue.lock();
        if self.done.load(Ordering::Acquire) >= batch {
            return false;
        }
        let known = queue
            .wakers
            .iter()
            .any(|(for_batch, known)| *for_batch == batch && known.will_wake(waker));
        if !known {
            queue.wakers.push((batch, waker.clone()));
        }
        true
    }

    /// Writes all that waits.
    pub(super) fn flush(&self) -> Result<()> {
        let last = self.queue.lock().groups.back().map(|group| group.batch);
        last.map_or(Ok(()), |batch| self.wait(batch))
    }

    /// Has what waits in front of a removal written or refused, where it may be refused for want of room.
    pub(super) fn clear_the_way(&self) {
        let others = || {
            let queue = self.queue.lock();
            queue.full && queue.others_wait()
        };
        if others() {
            // Those who wait for it are told.
            let _ = self.flush();
            self.await_leader();
        }
    }

    /// Waits until nobody is writing a group.
    pub(super) fn await_leader(&self) {
        let mut queue = self.queue.lock();
        while queue.leading {
            self.finished.wait(&mut queue);
        }
    }

    /// Writes the first group that waits. The queue's lock is given back meanwhile.
    fn lead<'a>(
        &'a self,
        mut queue: crate::sync::MutexGuard<'a, Queue>,
    ) -> crate::sync::MutexGuard<'a, Queue> {
        let Some(mut group) = queue.groups.pop_front() else {
            return queue;
        };
        (queue.leading, queue.leads_others) = (true, !group.removes);
        drop(queue);
        let mut leadership = Leadership {
            shared: self,
            batch: group.batch,
            ended: false,
        };
        let result = self.writer.lock().commit(self, &mut group);
        leadership.ended = true;
        let mut queue = self.queue.lock();
        if !group.removes {
            let was = queue.full;
            queue.full = matches!(&result, Err(error) if error.is_retryable());
            if !queue.full {
                self.reserve.look_again(was);
            }
        }
        let done = match &result {
            Ok(()) => group.batch,
            Err(error) => self.failed_from(&mut queue, group.batch, error),
        };
        queue.spare = Some(group);
        let woken = self.finish_lead(&mut queue, done);
        drop(queue);
        woken.wake();
        self.queue.lock()
    }

    fn failed_from(&self, queue: &mut Queue, batch: u64, error: &Error) -> u64 {
        if !error.is_retryable() {
            queue.stop(error);
        }
        let last = queue.fail_from(batch, error);
        self.failed.store(last, Ordering::Release);
        last
    }

    /// Notes that all batches up to `done` have ended.
    fn finish_lead(&self, queue: &mut Queue, done: u64) -> Woken {
        queue.leading = false;
        self.done.store(done, Ordering::Release);
        self.finished.notify_all();
        queue.woken(done)
    }
}

/// Ends a lead whose thread panicked: nobody waits for ever, nothing is acknowledged any more.
struct Leadership<'a> {
    shared: &'a Shared,
    batch: u64,
    ended: bool,
}

impl Drop for Leadership<'_> {
    fn drop(&mut self) {
        if Switch::LeaderPanic.on() && !self.ended {
            let mut queue = self.shared.queue.lock();
            let done = self
                .shared
                .failed_from(&mut queue, self.batch, &Error::Closed);
            let woken = self.shared.finish_lead(&mut queue, done);
            drop(queue);
            woken.wake();
        }
    }
}
