//! The store's fences: where records were lost for good, and how far every account skips ahead for it.

use super::row::Row;
use crate::switch::Switch;

/// A fence, as [`crate::format::change::Fence`] says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FenceAt {
    /// Number of the fence's record.
    pub(crate) number: u64,
    /// No account lost more UIDs, MODSEQs or ids than this.
    pub(crate) bound: u32,
    /// First record number lost.
    pub(crate) first_lost: u64,
    /// Last record number lost.
    pub(crate) last_lost: u64,
}

/// All fences of a store, by number. Few: each is a loss that nothing could repair.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fences {
    sorted: Vec<FenceAt>,
}

impl Fences {
    /// The fences, in any order.
    pub(crate) fn new(fences: &[FenceAt]) -> Self {
        let mut all = Self::default();
        fences.iter().for_each(|fence| all.add(*fence));
        all
    }

    /// Adds a fence; one of the same number is replaced.
    pub(crate) fn add(&mut self, fence: FenceAt) {
        let found = self
            .sorted
            .binary_search_by_key(&fence.number, |fence| fence.number);
        match found {
            Ok(at) => drop(self.sorted.splice(at..=at, [fence])),
            Err(at) => self.sorted.insert(at, fence),
        }
    }

    /// All of them, by number.
    pub(crate) fn all(&self) -> &[FenceAt] {
        &self.sorted
    }

    /// Whether one of them covers the loss of these records.
    pub(crate) fn cover(&self, first: u64, last: u64) -> bool {
        let covers = |fence: &FenceAt| fence.first_lost <= first && last <= fence.last_lost;
        self.sorted.iter().any(covers)
    }

    /// Number of the last one; 0 when there is none.
    pub(crate) fn last(&self) -> u64 {
        self.sorted.last().map_or(0, |fence| fence.number)
    }

    /// Applies to the row all fences before the record `below` that it does not have.
    pub(crate) fn apply(&self, row: &mut Row, below: u64) {
        let from = self.sorted.partition_point(|has| has.number <= row.fence);
        let missing = self.sorted.get(from..).unwrap_or_default();
        for fence in missing.iter().take_while(|fence| fence.number < below) {
            row.fence(
                fence.number,
                Switch::RowFenced.some(fence.bound).unwrap_or(0),
            );
        }
    }

    /// The fences before the record `from` were found after this row was made of records behind it: what the row tells
    /// lies beyond them, and is not lifted again.
    pub(crate) fn stand_before(&self, row: &mut Row, from: u64) {
        let mut empty = Row::new(row.key);
        self.apply(&mut empty, from);
        row.fence = row.fence.max(empty.fence);
        row.skipped = row.skipped.saturating_add(empty.skipped);
    }
}
