//! Accounts: derived state only. `Fold::apply` is the single way in; the log is the only truth.
//!
//! In this version the folds of all accounts are built by reading the log's records at open and are held in memory:
//! opening costs by the number of records, memory about 120 bytes a message. [`Index`] is the seam behind which images
//! and a directory will take that place: nothing above it knows how an account comes to be loaded.
//!
//! Reading order: `tree`, `entry`, `keywords`, `expunged`, `buckets`, `mailbox`, `fold`, `base`,
//! `receipt`, `plan`, this file.
//!
//! Locks: an account's cell; and the names, which may be held when a cell is locked. Never the other way round.

mod base;
mod buckets;
mod columns;
mod entry;
// Until images use the rest of it.
#[allow(dead_code)]
mod expunged;
mod fold;
// Until accounts are loaded from images.
#[allow(dead_code)]
mod image;
mod keywords;
mod mailbox;
mod plan;
mod receipt;
mod tree;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard, RwLock};

use buckets::Bucket;
pub(crate) use entry::{Entry, EntryLeaf};
pub(crate) use fold::Fold;
pub(crate) use keywords::Keywords;
pub use mailbox::Counters;
pub(crate) use mailbox::MailboxFold;
pub(crate) use plan::{Arrival, Draft, Marks, batch_fits};
pub use plan::{Delivered, Flagged, Transferring};
pub(crate) use receipt::{Content, Hashing, Roots};
pub(crate) use tree::Leaf;

use crate::error::{Error, Result};
use crate::format::change::Change;
use crate::format::record::RecordHeader;
use crate::log::{Log, Replay};
use crate::mail::AccountId;

/// The accounts of a store.
#[derive(Debug, Default)]
pub(crate) struct Index {
    names: Mutex<Names>,
    cells: RwLock<HashMap<AccountId, Arc<Cell>>>,
}

/// Which account a name means.
#[derive(Debug, Default)]
pub(crate) struct Names {
    by_name: BTreeMap<Arc<str>, AccountId>,
    /// Names that accounts had and have no more, with the highest UIDVALIDITY they gave.
    marks: HashMap<Arc<str>, u32>,
    /// Highest UIDVALIDITY that an account of any name may have given: records that tell of it may be lost.
    floor: u32,
}

/// An account: what is durable, and what will be, in order.
#[derive(Debug)]
pub(crate) struct Cell {
    pub(crate) id: AccountId,
    state: Mutex<State>,
}

/// A cell, locked.
#[derive(Debug)]
pub(crate) struct State {
    durable: Fold,
    /// The account after each batch that is not durable yet.
    pending: VecDeque<(u64, Fold)>,
}

impl Cell {
    fn new(fold: Fold) -> Arc<Self> {
        Arc::new(Self {
            id: fold.id,
            state: Mutex::new(State {
                durable: fold,
                pending: VecDeque::new(),
            }),
        })
    }

    /// Locks the cell and takes over what has become durable meanwhile.
    pub(crate) fn lock(&self, log: &Log) -> MutexGuard<'_, State> {
        let mut state = self.state.lock();
        state.settle(log);
        state
    }

    /// The account as it is durable.
    pub(crate) fn durable(&self, log: &Log) -> Fold {
        self.lock(log).durable.clone()
    }

    /// Keeps what was hashed of `snapshot`, which was durable once, where nothing changed since.
    pub(crate) fn keep_buckets(&self, log: &Log, snapshot: &Fold, fresh: &[(u32, Bucket)]) {
        if fresh.is_empty() {
            return;
        }
        let mut state = self.lock(log);
        state.durable.keep_buckets(snapshot, fresh);
        for (_, pending) in &mut state.pending {
            pending.keep_buckets(snapshot, fresh);
        }
    }
}

impl State {
    fn settle(&mut self, log: &Log) {
        while let Some((batch, _)) = self.pending.front() {
            match log.outcome(*batch) {
                None => return,
                Some(Ok(())) => {
                    if let Some((_, fold)) = self.pending.pop_front() {
                        self.durable = fold;
                    }
                }
                Some(Err(_)) => {
                    // What came after was built on it, and has failed with it.
                    if let Some((_, failed)) = self.pending.back() {
                        self.durable.burn(failed);
                    }
                    self.pending.clear();
                }
            }
        }
    }

    /// The account as it will be when all pending changes are durable.
    pub(crate) fn head(&self) -> &Fold {
        self.pending.back().map_or(&self.durable, |(_, fold)| fold)
    }

    /// The batch with which all pending changes are durable; 0 when none is pending.
    pub(crate) fn last_batch(&self) -> u64 {
        self.pending.back().map_or(0, |(batch, _)| *batch)
    }

    /// The account will be `fold` once `batch` is durable.
    pub(crate) fn push(&mut self, batch: u64, fold: Fold) {
        match self.pending.back_mut() {
            Some((last, pending)) if *last == batch => *pending = fold,
            _ => self.pending.push_back((batch, fold)),
        }
    }
}

impl Fold {
    /// Nothing that `failed` gave out will be given again.
    fn burn(&mut self, failed: &Fold) {
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

impl Index {
    /// The account of that name.
    pub(crate) fn find(&self, name: &str, log: &Log) -> Result<Arc<Cell>> {
        let missing = || Error::NoSuchAccount { name: name.into() };
        let id = self
            .names
            .lock()
            .by_name
            .get(name)
            .copied()
            .ok_or_else(missing)?;
        let cell = self.load(id).ok_or_else(missing)?;
        let fold = cell.durable(log);
        if fold.exists && &*fold.name == name {
            Ok(cell)
        } else {
            Err(missing())
        }
    }

    /// The account of that id.
    pub(crate) fn load(&self, id: AccountId) -> Option<Arc<Cell>> {
        self.cells.read().get(&id).cloned()
    }

    /// Up to `limit` account names after `after`, in order.
    pub(crate) fn page(&self, after: Option<&str>, limit: usize) -> Vec<Arc<str>> {
        use std::ops::Bound;
        let names = self.names.lock();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        names
            .by_name
            .range::<str, _>((from, Bound::Unbounded))
            .take(limit)
            .map(|(name, _)| Arc::clone(name))
            .collect()
    }

    /// The names, locked: for creating, renaming and deleting accounts.
    pub(crate) fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock()
    }

    /// An account that is about to be created.
    pub(crate) fn add(&self, id: AccountId) -> Arc<Cell> {
        let cell = Cell::new(Fold::new(id));
        self.cells.write().insert(id, Arc::clone(&cell));
        cell
    }
}

impl Names {
    pub(crate) fn get(&self, name: &str) -> Option<AccountId> {
        self.by_name.get(name).copied()
    }

    pub(crate) fn set(&mut self, name: &str, id: AccountId) {
        self.by_name.insert(name.into(), id);
    }

    /// Gives a name free if it is that account's; its UIDVALIDITYs lie below `mark` for ever.
    pub(crate) fn free(&mut self, name: &str, id: AccountId, mark: u32) {
        if self.get(name) == Some(id) {
            self.by_name.remove(name);
        }
        let most = self.marks.entry(name.into()).or_default();
        *most = mark.max(*most);
    }

    /// Highest UIDVALIDITY that earlier accounts of that name gave, or may have given.
    pub(crate) fn mark(&self, name: &str) -> u32 {
        self.marks.get(name).copied().unwrap_or(0).max(self.floor)
    }
}

/// Builds the index from the log's records.
#[derive(Debug, Default)]
pub(crate) struct Loader {
    folds: HashMap<AccountId, Fold>,
    names: Names,
}

impl Replay for Loader {
    fn replay(&mut self, header: &RecordHeader, change: &Change) {
        if matches!(change, Change::Fence(_)) {
            for fold in self.folds.values_mut() {
                fold.apply(header, change);
                self.names.floor = self.names.floor.max(fold.past_floor);
            }
            return;
        }
        if matches!(change, Change::Alias { .. } | Change::Deferred(_)) {
            // Filed under keys that are no account's: the names come from the accounts' own records.
            return;
        }
        let fold = self.folds.entry(header.account).or_insert_with(|| Fold {
            // Its own earlier records may be the lost ones.
            past_floor: self.names.floor,
            ..Fold::new(header.account)
        });
        let (before, mark) = (Arc::clone(&fold.name), fold.uid_validity_mark);
        fold.apply(header, change);
        match change {
            Change::DeleteAccount { uid_validity_mark } => {
                self.names.free(&before, header.account, *uid_validity_mark)
            }
            Change::RenameAccount { .. } => {
                self.names.free(&before, header.account, mark);
                self.names.set(&fold.name, header.account);
            }
            // Also where the name is taken: the record of the deletion before may be lost.
            Change::CreateAccount { .. } => self.names.set(&fold.name, header.account),
            _ if fold.exists && self.names.get(&fold.name).is_none() => {
                self.names.set(&fold.name, header.account)
            }
            _ => {}
        }
    }
}

impl Loader {
    /// The index, and the accounts of which records are missing.
    pub(crate) fn finish(self) -> (Index, Vec<AccountId>) {
        let hit = self
            .folds
            .values()
            .filter(|fold| fold.chain_breaks > 0)
            .map(|fold| fold.id)
            .collect();
        let cells = self
            .folds
            .into_iter()
            .map(|(id, fold)| (id, Cell::new(fold)))
            .collect();
        (
            Index {
                names: Mutex::new(self.names),
                cells: RwLock::new(cells),
            },
            hit,
        )
    }
}
