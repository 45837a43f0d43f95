//! Asking the directory: all sources, merged.

use std::ops::Range;
use std::sync::Arc;

use super::cover::{Cover, Source, Stop};
use super::merge::Merged;
use super::row::{Row, key_of};
use super::{Directory, Fences, Uncovered};
use crate::mail::AccountId;
use crate::{Error, Result};

/// Most rows asked of the log at once.
const GAP_BATCH: usize = 1024;

/// The lowest key and the highest.
const LOWEST: AccountId = AccountId::from_bytes([0; 16]);
const HIGHEST: AccountId = AccountId::from_bytes([0xff; 16]);

/// Rows of one source, in order.
type Rows<'a> = Box<dyn Iterator<Item = Result<Row, Stop>> + 'a>;

/// What the directory was at one moment.
struct Moment {
    /// Rows in memory, the older part first.
    memory: [Vec<Row>; 2],
    cover: Arc<Cover>,
    fences: Arc<Fences>,
}

impl Directory {
    /// What is known of a key, with all fences applied; `None` where no record names it.
    ///
    /// A row that is not complete although all sources were asked has lost its beginning: only the account's fold can
    /// tell more.
    ///
    /// # Errors
    /// Those of `uncovered`, or of a run that cannot be read although it may be sound. A damaged one is no error: the
    /// answer then comes from `uncovered`.
    ///
    /// # Cost
    /// From the newest source to the first that makes the row complete: one page of each run without the key, three of
    /// one with it.
    pub(crate) fn lookup(&self, key: &AccountId, uncovered: &dyn Uncovered) -> Result<Option<Row>> {
        loop {
            let (found, cover, fences) = {
                let now = self.now.read();
                let found = now.memory.get(key);
                (found, Arc::clone(&now.cover), Arc::clone(&now.fences))
            };
            if let Some(mut row) = self.settle(self.find(key, found, &cover, uncovered))? {
                row.iter_mut().for_each(|row| fences.apply(row, u64::MAX));
                return Ok(row);
            }
        }
    }

    /// The rows of all keys that begin so, as [`lookup`](Self::lookup) gives them; by key.
    ///
    /// # Errors
    /// As [`lookup`](Self::lookup).
    ///
    /// # Cost
    /// Asks every source: an older one may have a key that the newer ones have not.
    pub(crate) fn by_prefix(&self, prefix: [u8; 8], uncovered: &dyn Uncovered) -> Result<Vec<Row>> {
        let (first, last) = (key_of(prefix, [0; 8]), key_of(prefix, [0xff; 8]));
        self.merged(first, last, usize::MAX, |source| match source {
            Source::Gap(records) => Ok(gap(records.clone(), first, last, GAP_BATCH, uncovered)),
            Source::Run(slot) => {
                let run = slot.run(&*self.storage, self.store);
                let rows = run.and_then(|run| run.prefix(prefix));
                let rows = rows.map_err(|error| Stop::at(slot, error))?;
                Ok(Box::new(rows.into_iter().map(Ok)) as Rows<'_>)
            }
        })
    }

    /// The first `limit` rows with a key behind `after`, as [`lookup`](Self::lookup) gives them; by key.
    ///
    /// # Errors
    /// As [`lookup`](Self::lookup).
    ///
    /// # Cost
    /// Grows with the number of sources and with `limit`, not with the size of the directory.
    pub(crate) fn page(
        &self,
        after: Option<AccountId>,
        limit: usize,
        uncovered: &dyn Uncovered,
    ) -> Result<Vec<Row>> {
        let first = match after {
            None => LOWEST,
            Some(after) => match successor(&after) {
                Some(first) => first,
                None => return Ok(Vec::new()),
            },
        };
        let batch = limit.clamp(1, GAP_BATCH);
        self.merged(first, HIGHEST, limit, |source| match source {
            Source::Gap(records) => Ok(gap(records.clone(), first, HIGHEST, batch, uncovered)),
            Source::Run(slot) => {
                let run = slot.run(&*self.storage, self.store);
                let run = run.map_err(|error| Stop::at(slot, error))?;
                let rows = run.iter_from(first);
                let slot = Arc::clone(slot);
                Ok(Box::new(rows.map(move |row| {
                    row.map_err(|error| Stop::at(&slot, error))
                })))
            }
        })
    }

    /// From newest to oldest, until the row is complete.
    fn find(
        &self,
        key: &AccountId,
        mut found: Option<Row>,
        cover: &Cover,
        uncovered: &dyn Uncovered,
    ) -> Result<Option<Row>, Stop> {
        for source in cover.sources().iter().rev() {
            if found.as_ref().is_some_and(|row| row.complete) {
                break;
            }
            let older = match source {
                Source::Gap(records) => {
                    let rows = uncovered.rows(records.clone(), *key, *key, 1)?;
                    rows.into_iter().find(|row| row.key == *key)
                }
                Source::Run(slot) => {
                    let run = slot.run(&*self.storage, self.store);
                    let row = run.and_then(|run| run.get(key));
                    row.map_err(|error| Stop::at(slot, error))?
                }
            };
            found = match (older, found) {
                (Some(older), Some(newer)) => Some(older.then(&newer)),
                (older, newer) => newer.or(older),
            };
        }
        Ok(found)
    }

    /// The first `limit` rows from `first` to `last` of memory and all sources, each opened by `rows_of`.
    fn merged<'a>(
        &'a self,
        first: AccountId,
        last: AccountId,
        limit: usize,
        rows_of: impl Fn(&Source) -> Result<Rows<'a>, Stop>,
    ) -> Result<Vec<Row>> {
        loop {
            let Moment {
                memory,
                cover,
                fences,
            } = self.moment(first, last, limit);
            let sources: Result<Vec<Rows<'_>>, Stop> =
                cover.sources().iter().map(&rows_of).collect();
            let rows = sources.and_then(|sources| {
                let memory = memory
                    .into_iter()
                    .map(|rows| Box::new(rows.into_iter().map(Ok)) as Rows<'_>);
                Merged::new(sources.into_iter().chain(memory))
                    .take(limit)
                    .collect::<Result<Vec<Row>, Stop>>()
            });
            if let Some(mut rows) = self.settle(rows)? {
                rows.iter_mut().for_each(|row| fences.apply(row, u64::MAX));
                return Ok(rows);
            }
        }
    }

    fn moment(&self, first: AccountId, last: AccountId, limit: usize) -> Moment {
        let now = self.now.read();
        Moment {
            // No more of each part can be among the first of all.
            memory: now.memory.range(first, last, limit),
            cover: Arc::clone(&now.cover),
            fences: Arc::clone(&now.fences),
        }
    }

    /// `None` where a run had to be dropped: the search begins again, with what took its place. Each time there is a
    /// run less (or somebody else has changed them), so this ends.
    fn settle<T>(&self, found: Result<T, Stop>) -> Result<Option<T>> {
        match found {
            Ok(found) => Ok(Some(found)),
            Err(Stop::Run(slot, error)) => {
                self.damaged(slot.info.number, error);
                Ok(None)
            }
            Err(Stop::Other(error)) => Err(error),
        }
    }
}

/// The key behind this one.
fn successor(key: &AccountId) -> Option<AccountId> {
    let number = u128::from_le_bytes(*key.as_bytes()).swap_bytes();
    let next = number.checked_add(1)?.swap_bytes();
    Some(AccountId::from_bytes(next.to_le_bytes()))
}

/// The rows of records that no run covers, `batch` at a time.
fn gap(
    records: Range<u64>,
    first: AccountId,
    last: AccountId,
    batch: usize,
    uncovered: &dyn Uncovered,
) -> Rows<'_> {
    Box::new(GapRows {
        uncovered,
        records,
        next: Some(first),
        last,
        limit: batch,
        batch: Vec::new().into_iter(),
    })
}

struct GapRows<'a> {
    uncovered: &'a dyn Uncovered,
    records: Range<u64>,
    /// The lowest key not asked for yet.
    next: Option<AccountId>,
    last: AccountId,
    limit: usize,
    batch: std::vec::IntoIter<Row>,
}

impl GapRows<'_> {
    fn fill(&mut self, first: AccountId) -> Result<(), Error> {
        let rows = self
            .uncovered
            .rows(self.records.clone(), first, self.last, self.limit)?;
        let behind = rows.last().filter(|_| rows.len() >= self.limit);
        // A key that does not lie ahead would make a loop of this.
        self.next = behind
            .filter(|row| row.key >= first && row.key < self.last)
            .and_then(|row| successor(&row.key));
        self.batch = rows.into_iter();
        Ok(())
    }
}

impl Iterator for GapRows<'_> {
    type Item = Result<Row, Stop>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(row) = self.batch.next() {
                return Some(Ok(row));
            }
            let first = self.next.take()?;
            if let Err(error) = self.fill(first) {
                return Some(Err(error.into()));
            }
        }
    }
}
