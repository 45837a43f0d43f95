//! The part of the directory that is in memory: what happened since the last flush.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use super::fences::Fences;
use super::row::Row;
use crate::format::change::Change;
use crate::format::record::RecordHeader;
use crate::mail::AccountId;

/// Rows by key.
pub(super) type Rows = BTreeMap<AccountId, Row>;

/// Rows that change, and before them those that a flush is writing.
#[derive(Debug, Default)]
pub(super) struct Memory {
    live: Rows,
    frozen: Option<Arc<Rows>>,
    /// About how much memory the live rows take.
    bytes: usize,
}

impl Memory {
    /// About how much memory the rows take that no flush is writing, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes over a record that is read back.
    pub(super) fn note(&mut self, header: &RecordHeader, change: &Change, fences: &Fences) {
        let row = self.live.entry(header.account);
        let mut before = 0;
        let row = row
            .and_modify(|row| before = row.footprint())
            .or_insert_with(|| Row::new(header.account));
        fences.apply(row, header.number);
        row.advance(header, change);
        self.bytes = self.bytes.saturating_sub(before) + row.footprint();
    }

    /// Takes over a row that continues what is known, or replaces it where it is complete.
    pub(super) fn put(&mut self, row: Row) {
        let key = row.key;
        let (before, row) = match self.live.get(&key) {
            Some(older) => (older.footprint(), older.then(&row)),
            None => (0, row),
        };
        self.bytes = self.bytes.saturating_sub(before) + row.footprint();
        self.live.insert(key, row);
    }

    /// What is known of a key.
    pub(super) fn get(&self, key: &AccountId) -> Option<Row> {
        let frozen = self.frozen.as_ref().and_then(|rows| rows.get(key));
        match (frozen, self.live.get(key)) {
            (Some(older), Some(newer)) => Some(older.then(newer)),
            (older, newer) => newer.or(older).cloned(),
        }
    }

    /// The first rows with a key from `first` to `last`, at most `limit` of each part; the older part first.
    pub(super) fn range(&self, first: AccountId, last: AccountId, limit: usize) -> [Vec<Row>; 2] {
        let some = |rows: &Rows| -> Vec<Row> {
            if first > last {
                return Vec::new();
            }
            let found = rows.range((Bound::Included(first), Bound::Included(last)));
            found.take(limit).map(|(_, row)| row.clone()).collect()
        };
        let frozen = self.frozen.as_deref().map(some).unwrap_or_default();
        [frozen, some(&self.live)]
    }

    /// Sets the rows apart for a flush. They are still found, and what comes now lies over them.
    pub(super) fn freeze(&mut self) -> Arc<Rows> {
        self.restore();
        let frozen = Arc::new(std::mem::take(&mut self.live));
        self.bytes = 0;
        self.frozen = Some(Arc::clone(&frozen));
        frozen
    }

    /// The frozen rows are in a run now. Those of them that are given here stay, below what came since.
    pub(super) fn release(&mut self, staying: Vec<Row>) {
        self.frozen = None;
        staying.into_iter().for_each(|row| self.underlay(row));
    }

    /// A flush failed: its rows join those that came since.
    pub(super) fn restore(&mut self) {
        if let Some(frozen) = self.frozen.take() {
            frozen.values().for_each(|row| self.underlay(row.clone()));
        }
    }

    /// Puts a row below what is known of its key since.
    fn underlay(&mut self, older: Row) {
        match self.live.remove(&older.key) {
            Some(newer) => {
                self.bytes = self.bytes.saturating_sub(newer.footprint());
                self.put(older.then(&newer));
            }
            None => self.put(older),
        }
    }
}

#[cfg(test)]
mod tests;
