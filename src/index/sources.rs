//! Segments as part of the directory: their footers are sorted by account, so what no run covers is found there.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range, RangeInclusive};
use std::sync::Arc;

use super::opening::note;
use parking_lot::RwLock;

use crate::directory::{Fences, Row, Uncovered};
use crate::error::Result;
use crate::format::change::Change;
use crate::format::record::RecordHeader;
use crate::log::{Log, SegmentInfo};
use crate::mail::AccountId;

/// The segments of a log.
#[derive(Debug)]
pub(super) struct Segments {
    log: Arc<Log>,
    fences: RwLock<Arc<Fences>>,
}

impl Segments {
    pub(super) fn new(log: Arc<Log>, fences: Arc<Fences>) -> Self {
        Self {
            log,
            fences: RwLock::new(fences),
        }
    }

    /// There are other fences now.
    pub(super) fn set_fences(&self, fences: Arc<Fences>) {
        *self.fences.write() = fences;
    }

    fn fences(&self) -> Arc<Fences> {
        Arc::clone(&self.fences.read())
    }

    /// The segments that have records in the range, oldest first.
    fn overlapping(&self, records: &Range<u64>) -> Vec<SegmentInfo> {
        let mut segments = self.log.segments();
        segments.retain(|segment| {
            segment.first_record < records.end && records.start < segment.next_record
        });
        segments
    }

    /// The newest segment with records in one of the ranges, and which of them.
    pub(super) fn newest(&self, ranges: &[Range<u64>]) -> Option<(SegmentInfo, Range<u64>)> {
        let last = ranges.iter().max_by_key(|range| range.end)?;
        let segment = self.overlapping(last).into_iter().next_back()?;
        // Numbers between two segments were burned: nobody has them.
        let from = last.start.max(segment.first_record);
        Some((segment, from..last.end))
    }

    /// Bytes of the segments with records in the ranges.
    pub(super) fn len_of(&self, ranges: &[Range<u64>]) -> u64 {
        let segments = ranges.iter().flat_map(|range| self.overlapping(range));
        segments.map(|segment| segment.len).sum()
    }

    /// A key's records in the range, oldest first; those that can be read.
    pub(super) fn records(
        &self,
        key: AccountId,
        records: Range<u64>,
    ) -> Result<Vec<(RecordHeader, Change)>> {
        let mut found = Vec::new();
        for segment in self.overlapping(&records) {
            if let [(_, newest)] = self.keys_in(&segment, &(key..=key), 1)?[..] {
                let from = segment.first_record.max(records.start).saturating_sub(1);
                let below = newest.saturating_add(1).min(records.end);
                let chain = self.log.account_records(key, below, from, &|_| false)?;
                found.extend(chain.records);
            }
        }
        Ok(found)
    }

    /// The way through a key's records in the range, oldest first, segment by segment: each time its newest record
    /// there, and the number behind which they begin. The last of the range is the key's own.
    pub(super) fn steps(&self, key: AccountId, records: Range<u64>) -> Result<Vec<(u64, u64)>> {
        let mut steps = Vec::new();
        for segment in self.overlapping(&records) {
            let from = segment.first_record.saturating_sub(1);
            if segment.next_record >= records.end {
                steps.push((records.end - 1, from));
            } else if let [(_, newest)] = self.keys_in(&segment, &(key..=key), 1)?[..] {
                steps.push((newest, from));
            }
        }
        Ok(steps)
    }

    /// The keys of a sealed segment with the number of the newest record of each; none of one without a footer.
    fn keys_in(
        &self,
        segment: &SegmentInfo,
        keys: &RangeInclusive<AccountId>,
        limit: usize,
    ) -> Result<Vec<(AccountId, u64)>> {
        let whole = segment.first_record..segment.next_record;
        self.log.accounts_in(whole, keys, limit)
    }

    /// The rows that a part of the log's last segment makes, which has no footer.
    fn scanned(
        &self,
        segment: &SegmentInfo,
        records: &Range<u64>,
        keys: &RangeInclusive<AccountId>,
    ) -> Result<BTreeMap<AccountId, Row>> {
        let mut rows = BTreeMap::new();
        let fences = self.fences();
        self.log
            .scan_segment(segment.number, records.clone(), &mut |header, change| {
                if keys.contains(&header.account) {
                    note(&mut rows, &fences, header, change);
                }
                ControlFlow::Continue(())
            })?;
        Ok(rows)
    }

    /// The row that a key's records in the range make, of which `newest` is the last or lies behind the range.
    fn row(&self, key: AccountId, newest: u64, records: &Range<u64>) -> Result<Option<Row>> {
        let below = newest.saturating_add(1).min(records.end);
        let from = records.start.saturating_sub(1);
        let chain = self.log.account_records(key, below, from, &is_base)?;
        let (mut rows, fences) = (BTreeMap::new(), self.fences());
        for (header, change) in &chain.records {
            note(&mut rows, &fences, header, change);
        }
        Ok(rows.remove(&key))
    }
}

/// Whether the account's older records are not needed: its whole state begins here.
pub(super) fn is_base(change: &Change) -> bool {
    matches!(change, Change::Base(base) if base.part == 0)
}

impl Uncovered for Segments {
    fn rows(
        &self,
        records: Range<u64>,
        first: AccountId,
        last: AccountId,
        limit: usize,
    ) -> Result<Vec<Row>> {
        let keys = first..=last;
        let mut rows: BTreeMap<AccountId, Row> = BTreeMap::new();
        let segments = self.overlapping(&records);
        let (sealed, open): (Vec<_>, Vec<_>) = segments
            .into_iter()
            .partition(|segment| segment.sealed);
        let span = match (sealed.first(), sealed.last()) {
            (Some(first), Some(last)) => first.first_record..last.next_record,
            _ => 0..0,
        };
        for (key, newest) in self.log.accounts_in(span, &keys, limit)? {
            if let Some(row) = self.row(key, newest, &records)? {
                rows.insert(key, row);
            }
        }
        for segment in open {
            for (key, newer) in self.scanned(&segment, &records, &keys)? {
                let row = match rows.get(&key) {
                    Some(older) => older.then(&newer),
                    None => newer,
                };
                rows.insert(key, row);
            }
        }
        Ok(rows.into_values().take(limit).collect())
    }
}
