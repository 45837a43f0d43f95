//! Segments as part of the directory: their footers are sorted by account, so what no run covers is found there.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{ControlFlow, Range, RangeInclusive};
use std::sync::Arc;

use super::opening::note;
use crate::sync::{Mutex, RwLock};

use crate::directory::{Fences, Row, Uncovered};
use crate::error::{Error, Result};
use crate::format::change::Change;
use crate::format::record::RecordHeader;
use crate::log::{Chain, Log, SegmentInfo};
use crate::mail::AccountId;
use crate::switch::Switch;

/// A chain with more records is taken over segment by segment, oldest first, so that memory is bounded by a segment: the
/// index was lost, and the account is large.
pub(super) const LONG: u32 = 4096;

/// The segments of a log.
#[derive(Debug)]
pub(super) struct Segments {
    log: Arc<Log>,
    fences: RwLock<Arc<Fences>>,
    /// Records that were found lost while rows were read, since somebody took them.
    lost: Mutex<Vec<u64>>,
}

impl Segments {
    pub(super) fn new(log: Arc<Log>, fences: Arc<Fences>) -> Self {
        Self {
            log,
            fences: RwLock::new(fences),
            lost: Mutex::default(),
        }
    }

    /// The records that were found lost while rows were read: what they gave out no row tells.
    pub(super) fn take_lost(&self) -> Vec<u64> {
        std::mem::take(&mut *self.lost.lock())
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

    /// The newest segment with records in one of the ranges, and which of them; not one of `skipped`.
    ///
    /// Of some ranges no segment has a record: their numbers were burned, or are lost with their files.
    pub(super) fn newest(
        &self,
        ranges: &[Range<u64>],
        skipped: &BTreeSet<u64>,
    ) -> Option<(SegmentInfo, Range<u64>)> {
        ranges.iter().rev().find_map(|range| {
            let mut end = range.end;
            for segment in self.overlapping(range).into_iter().rev() {
                // Numbers between two segments were burned: nobody has them.
                let from = range.start.max(segment.first_record);
                if !skipped.contains(&segment.number) {
                    return Some((segment, from..end));
                }
                end = from;
            }
            None
        })
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
        for number in self.log.numbers_of(key, records)? {
            match self.log.record(number) {
                Ok(record) => found.push(record),
                Err(Error::Damaged { .. } | Error::Io { op: "read", .. }) => {}
                Err(error) => return Err(error),
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

    /// The numbers of a key's records in the range, ascending, also of those that cannot be read.
    pub(super) fn numbers(&self, key: AccountId, records: Range<u64>) -> Result<Vec<u64>> {
        self.log.numbers_of(key, records)
    }

    /// The rows that parts of neighbouring sealed segments make, of the first `limit` keys.
    fn found(
        &self,
        segments: &[SegmentInfo],
        records: &Range<u64>,
        keys: &RangeInclusive<AccountId>,
        limit: usize,
    ) -> Result<BTreeMap<AccountId, Row>> {
        let (Some(first), Some(last)) = (segments.first(), segments.last()) else {
            return Ok(BTreeMap::new());
        };
        let span = first.first_record..last.next_record;
        let within = records.start.max(span.start)..records.end.min(span.end);
        let mut rows = BTreeMap::new();
        for (key, newest) in self.log.accounts_in(span, keys, limit)? {
            if let Some(row) = self.row(key, newest, &within)? {
                rows.insert(key, row);
            }
        }
        Ok(rows)
    }

    /// The rows that a part of a segment makes which has no footer.
    fn scanned(
        &self,
        segment: &SegmentInfo,
        records: &Range<u64>,
        keys: &RangeInclusive<AccountId>,
    ) -> Result<BTreeMap<AccountId, Row>> {
        let mut rows = BTreeMap::new();
        let fences = self.fences();
        let scan =
            self.log
                .scan_segment(segment.number, records.clone(), &mut |header, change| {
                    if keys.contains(&header.account) {
                        note(&mut rows, &fences, header, change);
                    }
                    ControlFlow::Continue(())
                })?;
        match scan.refusal.filter(|_| Switch::RowsGiven.on()) {
            // Who is not found might be in what the disk does not give now.
            Some(refusal) => Err(refusal),
            None => {
                self.lost.lock().extend(scan.lost);
                Ok(rows)
            }
        }
    }

    /// The row that a key's records in the range make, of which `newest` is the last or lies behind the range.
    fn row(&self, key: AccountId, newest: u64, records: &Range<u64>) -> Result<Option<Row>> {
        let below = newest.saturating_add(1).min(records.end);
        let from = records.start.saturating_sub(1);
        let (mut rows, fences) = (BTreeMap::new(), self.fences());
        let mut last_lost = None;
        let mut take = |chain: Chain| {
            for (header, change) in &chain.records {
                note(&mut rows, &fences, header, change);
            }
            last_lost = last_lost.max(chain.lost.last().copied());
        };
        let met = Cell::new(0);
        // Not from a base on: what it repeats of records before it, such as a name, a row does not tell.
        let enough = |_: &Change| {
            met.set(met.get() + 1);
            met.get() > LONG
        };
        let chain = self.log.account_records(key, below, from, &enough)?;
        if met.get() <= LONG {
            take(chain);
        } else {
            for (newest, before) in self.steps(key, from + 1..below)? {
                let (below, from) = (newest + 1, from.max(before));
                take(self.log.account_records(key, below, from, &|_| false)?);
            }
        }
        let mut row = rows.remove(&key);
        if let Some(last) = last_lost {
            // What the lost ones gave out must not be given again: only the fold can tell, or skip ahead.
            let row = row.get_or_insert_with(|| Row::new(key));
            fences.apply(row, u64::MAX);
            row.last_record = row.last_record.max(last);
            row.opaque = true;
        }
        Ok(row)
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
        // In the order of their records: one whose footer is damaged may have others behind it.
        let segments = self.overlapping(&records);
        for group in segments.chunk_by(|a, b| a.sealed && b.sealed) {
            let newer = match group {
                [segment] if !segment.sealed => self.scanned(segment, &records, &keys)?,
                group => self.found(group, &records, &keys, limit)?,
            };
            for (key, newer) in newer {
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
