//! The directory: what is known of each account without loading it.
//!
//! A row of a key ([`row`]) is merged from sources, newest first: the part in memory ([`memory`]: records behind the
//! checkpoint), immutable runs ([`run`]: each the rows of a range of record numbers), and for ranges that no run covers
//! what the log's segments tell ([`Uncovered`]). All of it is derived and verified at each read. A run that fails is
//! dropped on the spot; its range is then uncovered, and whoever asked gets the same answer from the log.
//!
//! Many readers, one maintainer. One lock guards the state, for the time of copying a few references: nothing is read
//! or written under it. A second one, taken first, keeps flush, merge and cover apart.

mod checkpoint;
mod codec;
mod cover;
mod fences;
mod filter;
mod maintain;
mod memory;
mod merge;
mod page;
mod row;
mod run;
mod search;

use std::ops::Range;
use std::sync::Arc;

use crate::sync::{Mutex, RwLock};

pub(crate) use self::checkpoint::{Checkpoint, ImageFile};
pub(crate) use self::fences::{FenceAt, Fences};
pub(crate) use self::page::FileId;
pub(crate) use self::row::{ImageAt, Inbox, Kind, Row};
pub(crate) use self::run::RunInfo;

use self::cover::{Cover, Slot};
use self::memory::Memory;
use crate::format::StoreId;
use crate::format::change::Change;
use crate::format::record::RecordHeader;
use crate::io::Storage;
use crate::mail::AccountId;
use crate::{Error, Result};

/// What the log tells of records that no run covers.
pub(crate) trait Uncovered {
    /// The rows of the keys from `first` to `last` as the records of that range make them, in strictly ascending order
    /// of keys, the first `limit` of them: fewer only where there are no more. Each is made by [`Row::advance`] from
    /// its records in order, with [`Fences::apply`] before each.
    ///
    /// # Errors
    /// What kept it from reading.
    fn rows(
        &self,
        records: Range<u64>,
        first: AccountId,
        last: AccountId,
        limit: usize,
    ) -> Result<Vec<Row>>;
}

/// The directory of a store's accounts.
#[derive(Debug)]
pub(crate) struct Directory {
    storage: Arc<dyn Storage>,
    store: StoreId,
    now: RwLock<Now>,
    /// Held while files are written or removed.
    maintenance: Mutex<()>,
}

#[derive(Debug)]
struct Now {
    cover: Arc<Cover>,
    memory: Memory,
    fences: Arc<Fences>,
    /// The next file.
    next: FileId,
    /// Why runs were dropped, the first few since it was asked.
    damage: Vec<Error>,
}

/// Errors kept until somebody asks for them.
const DAMAGE_MAX: usize = 64;

impl Directory {
    /// The directory with these runs and fences, from a checkpoint. `tail` is the first record that will be told by
    /// [`note`](Self::note) or [`put`](Self::put), `next` the next file. Reads nothing: a run is opened
    /// when it is first asked.
    pub(crate) fn open(
        storage: Arc<dyn Storage>,
        next: FileId,
        runs: &[RunInfo],
        fences: &[FenceAt],
        tail: u64,
    ) -> Self {
        let slots = runs.iter().map(|info| Arc::new(Slot::new(*info)));
        let highest = runs.iter().map(|info| info.number).max().unwrap_or(0);
        Self {
            storage,
            store: next.store,
            now: RwLock::new(Now {
                cover: Arc::new(Cover::new(slots.collect(), tail)),
                memory: Memory::default(),
                fences: Arc::new(Fences::new(fences)),
                next: FileId {
                    number: next.number.max(highest.saturating_add(1)),
                    ..next
                },
                damage: Vec::new(),
            }),
            maintenance: Mutex::default(),
        }
    }

    /// Takes over a record of the log that is read back; each once, in order. A fence is kept for all rows.
    pub(crate) fn note(&self, header: &RecordHeader, change: &Change) {
        let mut now = self.now.write();
        let now = &mut *now;
        match change {
            Change::Fence(fence) => Arc::make_mut(&mut now.fences).add(FenceAt {
                number: header.number,
                bound: fence.bound,
                first_lost: fence.first_lost,
                last_lost: fence.last_lost,
            }),
            change => now.memory.note(header, change, &now.fences),
        }
    }

    /// Takes over an account's row as it is now. One that is complete replaces all that was known but the image.
    ///
    /// Its records must have been written: a flush makes them durable before it writes the row.
    pub(crate) fn put(&self, row: Row) {
        self.now.write().memory.put(row);
    }

    /// About how much memory the rows take that no flush is writing, in bytes.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.now.read().memory.bytes()
    }

    /// The runs, for a checkpoint; oldest first.
    pub(crate) fn runs(&self) -> Vec<RunInfo> {
        let slots = self.cover_now().slots();
        slots.iter().map(|slot| slot.info).collect()
    }

    /// The fences, for a checkpoint; by number.
    pub(crate) fn fences(&self) -> Arc<Fences> {
        Arc::clone(&self.now.read().fences)
    }

    /// The first record that only the part in memory knows: where a replay begins.
    pub(crate) fn tail(&self) -> u64 {
        self.cover_now().tail()
    }

    /// The next number of a file, for a checkpoint.
    pub(crate) fn next_file(&self) -> u32 {
        self.now.read().next.number
    }

    /// The record numbers before the tail that no run covers, ascending.
    pub(crate) fn uncovered(&self) -> Vec<Range<u64>> {
        self.cover_now().gaps()
    }

    /// Why runs were dropped since this was last asked, the first few.
    pub(crate) fn take_damage(&self) -> Vec<Error> {
        std::mem::take(&mut self.now.write().damage)
    }

    /// A run is damaged: it is dropped, and its range is uncovered. Nothing happens where it is no longer in use.
    pub(crate) fn damaged(&self, number: u32, error: Error) {
        let mut now = self.now.write();
        if !now.cover.has(number) {
            return;
        }
        now.cover = Arc::new(now.cover.without(&[number]));
        if now.damage.len() < DAMAGE_MAX {
            now.damage.push(error);
        }
    }

    fn cover_now(&self) -> Arc<Cover> {
        Arc::clone(&self.now.read().cover)
    }
}

#[cfg(test)]
mod tests;
