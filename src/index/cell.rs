//! An account in memory: what is durable of it, and what will be, in order.
//!
//! A cell begins *cold*: it has the directory's row of the account, which is enough to deliver to INBOX. The account's
//! fold is loaded when somebody asks for more, and may be dropped again at any time: the log has it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::sync::{Condvar, Mutex, MutexGuard};

use super::again::Again;
use super::buckets::Bucket;
use super::fold::Fold;
use super::plan::{ColdDraft, INBOX_ID};
use crate::directory::{Fences, ImageAt, Row};
use crate::format::change::Change;
use crate::format::record::RecordHeader;
use crate::log::Log;
use crate::mail::AccountId;
use crate::switch::Switch;

/// An account that is in use.
#[derive(Debug)]
pub(crate) struct Cell {
    pub(crate) id: AccountId,
    state: Mutex<State>,
    /// Told when a load has ended.
    loaded: Condvar,
    /// Whether it was used since the cache last looked.
    pub(super) used: AtomicBool,
    /// Bytes that the cache counts for it.
    pub(super) weight: AtomicUsize,
    /// Who needs its fold to stay.
    pins: AtomicUsize,
}

/// Keeps the fold of a cell loaded, once it is.
#[derive(Debug)]
pub(crate) struct Pin<'a>(&'a Cell);

impl Drop for Pin<'_> {
    fn drop(&mut self) {
        self.0.pins.fetch_sub(1, Ordering::Release);
    }
}

/// As a [`Pin`], for who takes the cell along.
#[derive(Debug)]
pub(crate) struct Hold(Arc<Cell>);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.pins.fetch_sub(1, Ordering::Release);
    }
}

/// A cell, locked.
#[derive(Debug)]
pub(crate) struct State {
    durable: Head,
    /// The account after each batch that is not durable yet.
    pending: VecDeque<(u64, Head)>,
    /// Somebody reads the account's fold from the log.
    pub(super) loading: bool,
    /// The load is about to end: changes wait for it.
    pub(super) hold: bool,
    /// When more is asked for of a fold that is not whole.
    pub(super) again: Again,
    /// How often deferred mail was given UIDs here since the cell is in memory, also where that failed later.
    pub(super) assigns: u64,
    /// Whether the index has it in the list of accounts whose rows are news to the directory.
    pub(super) listed: bool,
}

/// An account at one moment: its row, and its fold where that is loaded.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) row: Row,
    pub(crate) fold: Option<Fold>,
}

impl Head {
    /// Takes over a record of the account.
    pub(crate) fn apply(&mut self, header: &RecordHeader, change: &Change) {
        self.row.advance(header, change);
        if let Some(fold) = &mut self.fold {
            fold.apply(header, change);
            if self.row.opaque {
                fold.describe(&mut self.row);
            }
        }
    }

    /// Nothing that `failed` gave out will be given again.
    fn burn(&mut self, failed: &Head) {
        self.row.burn(&failed.row);
        if let (Some(fold), Some(failed)) = (&mut self.fold, &failed.fold) {
            fold.burn(failed);
        }
    }
}

impl Cell {
    pub(crate) fn new(row: Row, fold: Option<Fold>) -> Arc<Self> {
        Arc::new(Self {
            id: row.key,
            state: Mutex::new(State {
                durable: Head { row, fold },
                pending: VecDeque::new(),
                loading: false,
                hold: false,
                again: Again::default(),
                assigns: 0,
                listed: false,
            }),
            loaded: Condvar::new(),
            used: AtomicBool::new(true),
            weight: AtomicUsize::new(0),
            pins: AtomicUsize::new(0),
        })
    }

    /// Locks the cell for a change or a look at its row, and takes over what has become durable meanwhile.
    pub(crate) fn lock(&self, log: &Log) -> MutexGuard<'_, State> {
        self.used.store(true, Ordering::Relaxed);
        let mut state = self.state.lock();
        while state.hold {
            self.loaded.wait(&mut state);
        }
        state.settle(log);
        state
    }

    pub(crate) fn pin(&self) -> Pin<'_> {
        self.pins.fetch_add(1, Ordering::Acquire);
        Pin(self)
    }

    pub(super) fn hold(self: &Arc<Self>) -> Hold {
        self.pins.fetch_add(1, Ordering::Acquire);
        Hold(Arc::clone(self))
    }

    /// As [`lock`](Self::lock); `None` where a load is about to end, which may have to read yet.
    pub(super) fn lock_at_hand(&self, log: &Log) -> Option<MutexGuard<'_, State>> {
        self.used.store(true, Ordering::Relaxed);
        let mut state = self.state.lock();
        if state.hold {
            return None;
        }
        state.settle(log);
        Some(state)
    }

    /// Drops the fold: the row is enough until somebody asks. Not while somebody needs it, or changes rest on it.
    pub(super) fn cool(&self, state: &mut State) -> bool {
        let may =
            state.pending.is_empty() && !state.loading && self.pins.load(Ordering::Acquire) == 0;
        if may {
            state.durable.fold = None;
        }
        may
    }

    /// As [`lock`](Self::lock), for the load itself and for the cache: does not wait for a load.
    pub(super) fn peek(&self, log: &Log) -> MutexGuard<'_, State> {
        let mut state = self.state.lock();
        state.settle(log);
        state
    }

    /// As [`peek`](Self::peek); `None` where somebody has the lock.
    pub(super) fn try_peek(&self, log: &Log) -> Option<MutexGuard<'_, State>> {
        let mut state = self.state.try_lock()?;
        state.settle(log);
        Some(state)
    }

    /// Waits until no load is under way.
    pub(super) fn wait_loaded(&self, state: &mut MutexGuard<'_, State>) {
        self.loaded.wait(state);
    }

    /// Tells those who wait that a load has ended.
    pub(super) fn tell_loaded(&self) {
        self.loaded.notify_all();
    }
}

impl State {
    fn settle(&mut self, log: &Log) {
        if !self.pending.is_empty() {
            self.settle_pending(log);
        }
        if self.pending.is_empty() && self.pending.capacity() > 0 {
            // Most accounts change seldom: room for the next change would be most of what they take.
            self.pending = VecDeque::new();
        }
    }

    fn settle_pending(&mut self, log: &Log) {
        while let Some((batch, _)) = self.pending.front() {
            match log.outcome(*batch) {
                None => return,
                Some(Ok(())) => {
                    if let Some((_, head)) = self.pending.pop_front() {
                        self.durable = head;
                    }
                }
                Some(Err(_)) => {
                    // What came after was built on it, and has failed with it.
                    if let Some((_, failed)) = self.pending.back()
                        && Switch::FailedBurned.on()
                    {
                        self.durable.burn(failed);
                    }
                    self.pending.clear();
                }
            }
        }
    }

    /// Forgets the fold: the row says all that is known.
    pub(super) fn chill(&mut self) {
        self.durable.fold = None;
        for (_, head) in &mut self.pending {
            head.fold = None;
        }
    }

    /// Takes over the fences that the account has not crossed yet.
    pub(super) fn cross(&mut self, fences: &Fences, floor: u32) {
        let pending = self.pending.iter_mut().map(|(_, head)| head);
        for head in pending.chain([&mut self.durable]) {
            fences.apply(&mut head.row, u64::MAX);
            if let Some(fold) = &mut head.fold {
                fold.cross(fences, u64::MAX, floor);
            }
        }
    }

    /// An image was saved, which covers that many of the records behind the last one.
    pub(super) fn imaged(&mut self, at: ImageAt, covered: u32) {
        let pending = self.pending.iter_mut().map(|(_, head)| head);
        for head in pending.chain([&mut self.durable]) {
            head.row.image = Some(at);
            head.row.records = head.row.records.saturating_sub(covered);
        }
    }

    /// Keeps what was hashed of `snapshot`, which was durable once, where nothing changed since.
    pub(super) fn keep_buckets(&mut self, snapshot: &Fold, fresh: &[(u32, Bucket)]) {
        let pending = self.pending.iter_mut().map(|(_, head)| head);
        for head in pending.chain([&mut self.durable]) {
            if let Some(fold) = &mut head.fold {
                fold.keep_buckets(snapshot, fresh);
            }
        }
    }

    /// The account as it is durable.
    pub(crate) fn durable(&self) -> &Head {
        if Switch::DurableShown.on() {
            &self.durable
        } else {
            self.head()
        }
    }

    pub(super) fn durable_mut(&mut self) -> &mut Head {
        &mut self.durable
    }

    /// The account as it will be when all pending changes are durable.
    pub(crate) fn head(&self) -> &Head {
        self.pending.back().map_or(&self.durable, |(_, head)| head)
    }

    /// The batch with which all pending changes are durable; 0 when none is pending.
    pub(crate) fn last_batch(&self) -> u64 {
        self.pending.back().map_or(0, |(batch, _)| *batch)
    }

    /// Whether its fold is loaded.
    pub(crate) fn is_loaded(&self) -> bool {
        self.durable.fold.is_some()
    }

    /// Whether deliveries to these mailboxes can be planned: on the fold, or on the row.
    pub(crate) fn serves(&self, mailboxes: &[u32]) -> bool {
        let row = &self.head().row;
        self.is_loaded() || mailboxes.iter().all(|id| ColdDraft::serves(row, *id))
    }

    /// Whether the account has an INBOX that can be delivered to, as far as its row says.
    pub(crate) fn serves_inbox(&self) -> bool {
        ColdDraft::serves(&self.durable.row, INBOX_ID)
    }

    /// The account will be `head` once `batch` is durable.
    pub(super) fn push(&mut self, batch: u64, head: Head) {
        match self.pending.back_mut() {
            Some((last, pending)) if *last == batch => *pending = head,
            _ => {
                // Most have one change under way: room for more only when there are more.
                self.pending.reserve_exact(1);
                self.pending.push_back((batch, head));
            }
        }
    }
}

impl Fold {
    /// Nothing that `failed` gave out will be given again.
    pub(super) fn burn(&mut self, failed: &Fold) {
        self.modseq_burned = self.modseq_burned.max(failed.next_modseq() - 1);
        self.next_email = self.next_email.max(failed.next_email);
        self.next_mailbox = self.next_mailbox.max(failed.next_mailbox);
        self.uid_validity_mark = self.uid_validity_mark.max(failed.uid_validity_mark);
        for (id, mailbox) in Arc::make_mut(&mut self.mailboxes) {
            let assigned = failed.mailbox(*id).map_or(0, |mailbox| mailbox.uid_assign);
            let mailbox = Arc::make_mut(mailbox);
            mailbox.uid_assign = mailbox.uid_assign.max(assigned);
        }
    }
}
