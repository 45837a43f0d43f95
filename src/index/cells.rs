//! The accounts in memory, within a budget of bytes. What is dropped needs no write: the log and the directory have it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::cell::Cell;
use crate::mail::AccountId;

/// Parts of the table, one for each first byte of an id, so that threads of different accounts rarely meet. Accounts
/// that share a name key are in one part.
const SHARDS: usize = 256;

/// Bytes that a cell takes without its fold, about.
pub(super) const COLD: usize = 512;

/// The table.
#[derive(Debug)]
pub(super) struct Cells {
    shards: [Mutex<Shard>; SHARDS],
    bytes: AtomicUsize,
    budget: usize,
    /// Which shard gives something up next.
    hand: AtomicUsize,
}

#[derive(Debug, Default)]
struct Shard {
    cells: HashMap<AccountId, Arc<Cell>>,
    /// In the order in which they may go; who was used meanwhile gets a second chance.
    queue: VecDeque<AccountId>,
    /// How many were given up.
    gone: u64,
}

/// A moment in the life of a part of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment(u64);

impl Cells {
    pub(super) fn new(budget: usize) -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            bytes: AtomicUsize::new(0),
            budget,
            hand: AtomicUsize::new(0),
        }
    }

    fn shard(&self, id: AccountId) -> &Mutex<Shard> {
        let [byte, ..] = id.as_bytes();
        let [first, ..] = &self.shards;
        // There is one for each byte.
        self.shards.get(usize::from(*byte)).unwrap_or(first)
    }

    pub(super) fn get(&self, id: AccountId) -> Option<Arc<Cell>> {
        self.shard(id).lock().cells.get(&id).cloned()
    }

    /// What the directory says of an account is its newest state only if its cell was not given up after the directory
    /// was asked: so the moment is taken before, and held against the insertion.
    pub(super) fn moment(&self, id: AccountId) -> Moment {
        Moment(self.shard(id).lock().gone)
    }

    /// The cell of that id; `make` is asked for one where there is none. `None` where one was given up since `moment`:
    /// what `make` knows may be old.
    pub(super) fn get_or_insert(
        &self,
        id: AccountId,
        moment: Moment,
        make: impl FnOnce() -> Arc<Cell>,
    ) -> Option<Arc<Cell>> {
        let mut shard = self.shard(id).lock();
        if let Some(cell) = shard.cells.get(&id) {
            return Some(Arc::clone(cell));
        }
        if moment != Moment(shard.gone) {
            return None;
        }
        let cell = make();
        shard.cells.insert(id, Arc::clone(&cell));
        shard.queue.push_back(id);
        drop(shard);
        self.weigh(&cell, COLD);
        Some(cell)
    }

    /// Counts `weight` bytes for the cell from now on.
    pub(super) fn weigh(&self, cell: &Cell, weight: usize) {
        let before = cell.weight.swap(weight, Ordering::Relaxed);
        if weight >= before {
            self.bytes.fetch_add(weight - before, Ordering::Relaxed);
        } else {
            self.bytes.fetch_sub(before - weight, Ordering::Relaxed);
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn len(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| shard.lock().cells.len())
            .sum()
    }

    /// Gives up cells that were not used lately until the budget is kept, or each part of the table had two turns: the
    /// next call goes on. `release` tells whether the cell may go; it is asked without a lock of the table.
    pub(super) fn shrink(&self, release: impl Fn(&Arc<Cell>) -> bool) {
        for _ in 0..2 * SHARDS {
            if self.bytes() <= self.budget {
                return;
            }
            let at = self.hand.fetch_add(1, Ordering::Relaxed) % SHARDS;
            let Some(shard) = self.shards.get(at) else {
                continue;
            };
            let next = shard.lock().next();
            let Some(cell) = next else { continue };
            if cell.used.swap(false, Ordering::Relaxed) || !release(&cell) {
                shard.lock().queue.push_back(cell.id);
                continue;
            }
            let mut shard = shard.lock();
            // This one and the table's: nobody else has it, and nobody can get it without this lock. But somebody may have
            // had it since it was released, and changed the account.
            if Arc::strong_count(&cell) == 2 && cell.is_idle() {
                shard.cells.remove(&cell.id);
                shard.gone += 1;
                drop(shard);
                self.weigh(&cell, 0);
            } else {
                shard.queue.push_back(cell.id);
            }
        }
    }
}

impl Shard {
    fn next(&mut self) -> Option<Arc<Cell>> {
        let id = self.queue.pop_front()?;
        self.cells.get(&id).cloned()
    }
}
