//! The accounts in memory, within a budget of bytes. What is dropped needs no write: the log and the directory have it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::sync::Mutex;

use super::cell::Cell;
use crate::mail::AccountId;

/// Parts of the table, so that threads of different accounts rarely meet.
const SHARDS: usize = 16;

/// Parts of a shard that are told apart when an id is looked up while others are given up.
const SLOTS: usize = 64;

/// Most cells that one call looks at to give them up.
const TURNS_MAX: usize = 256;

/// Bytes that a cell takes without its fold, about.
pub(super) const COLD: usize = 512;

/// The table.
#[derive(Debug)]
pub(super) struct Cells {
    shards: [Mutex<Shard>; SHARDS],
    bytes: AtomicUsize,
    budget: usize,
    /// How many cells were given up so far.
    gone: AtomicU64,
    /// Which shard gives something up next.
    hand: AtomicUsize,
}

#[derive(Debug)]
struct Shard {
    cells: HashMap<AccountId, Arc<Cell>>,
    /// In the order in which they may go; who was used meanwhile gets a second chance.
    queue: VecDeque<AccountId>,
    /// By a byte of the id: which one, of all that were given up, was the last.
    gone: [u64; SLOTS],
}

/// A moment of the table: what was looked up since may be older than what a cell that was given up since knew.
#[derive(Clone, Copy, Debug)]
pub(super) struct Glance(u64);

impl Cells {
    pub(super) fn new(budget: usize) -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            bytes: AtomicUsize::new(0),
            budget,
            gone: AtomicU64::new(0),
            hand: AtomicUsize::new(0),
        }
    }

    fn shard(&self, id: AccountId) -> &Mutex<Shard> {
        // The last bytes of an id are random; the remainder is in bounds, the first is never taken instead.
        let at = usize::from(id.as_bytes()[15]) % SHARDS;
        let [first, ..] = &self.shards;
        self.shards.get(at).unwrap_or(first)
    }

    pub(super) fn get(&self, id: AccountId) -> Option<Arc<Cell>> {
        self.shard(id).lock().cells.get(&id).cloned()
    }

    /// Called before an account's row is looked up that shall become a cell.
    pub(super) fn glance(&self) -> Glance {
        Glance(self.gone.load(Ordering::Acquire))
    }

    /// The cell of that id; `make` is asked for one where there is none. `None` where one may have been there, and gone,
    /// since `glance`.
    pub(super) fn get_or_insert(
        &self,
        id: AccountId,
        glance: Glance,
        make: impl FnOnce() -> Arc<Cell>,
    ) -> Option<Arc<Cell>> {
        let mut shard = self.shard(id).lock();
        if let Some(cell) = shard.cells.get(&id) {
            return Some(Arc::clone(cell));
        }
        if shard
            .gone
            .get(slot(id))
            .is_some_and(|last| *last > glance.0)
        {
            return None;
        }
        let cell = make();
        shard.add(&cell);
        drop(shard);
        self.weigh(&cell, COLD);
        Some(cell)
    }

    /// Whether no cell of that id was given up since: what was looked up then is still true, if there is none now.
    pub(super) fn none_since(&self, id: AccountId, glance: Glance) -> bool {
        let shard = self.shard(id).lock();
        shard
            .gone
            .get(slot(id))
            .is_none_or(|last| *last <= glance.0)
    }

    /// A cell of an id that nobody knows yet.
    pub(super) fn insert(&self, cell: Arc<Cell>) -> Arc<Cell> {
        self.shard(cell.id).lock().add(&cell);
        self.weigh(&cell, COLD);
        cell
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

    /// Gives up cells that were not used lately until the budget is kept, or everything had its turn twice. `release`
    /// tells whether the cell may go; it is asked without a lock of the table. `released` tells whether that still holds,
    /// when nobody else can have the cell any more.
    pub(super) fn shrink(
        &self,
        release: impl Fn(&Arc<Cell>) -> bool,
        released: impl Fn(&Arc<Cell>) -> bool,
    ) {
        // The next call goes on: no call pays for cells that are all in use.
        let mut turns = (2 * self.turns()).min(TURNS_MAX);
        while self.bytes() > self.budget && turns > 0 {
            turns -= 1;
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
            // This one and the table's: nobody else has it, and nobody can get it without this lock.
            if Arc::strong_count(&cell) == 2 && released(&cell) {
                shard.cells.remove(&cell.id);
                let last = self.gone.fetch_add(1, Ordering::AcqRel) + 1;
                if let Some(slot) = shard.gone.get_mut(slot(cell.id)) {
                    *slot = last;
                }
                drop(shard);
                self.weigh(&cell, 0);
            } else {
                shard.queue.push_back(cell.id);
            }
        }
    }

    fn turns(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| shard.lock().queue.len())
            .sum::<usize>()
            .max(SHARDS)
    }
}

fn slot(id: AccountId) -> usize {
    usize::from(id.as_bytes()[14]) % SLOTS
}

impl Default for Shard {
    fn default() -> Self {
        Self {
            cells: HashMap::new(),
            queue: VecDeque::new(),
            gone: [0; SLOTS],
        }
    }
}

impl Shard {
    fn add(&mut self, cell: &Arc<Cell>) {
        self.cells.insert(cell.id, Arc::clone(cell));
        self.queue.push_back(cell.id);
    }

    fn next(&mut self) -> Option<Arc<Cell>> {
        let id = self.queue.pop_front()?;
        self.cells.get(&id).cloned()
    }
}
