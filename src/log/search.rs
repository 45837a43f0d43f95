//! What the index asks of whole segments: which there are, which accounts have records in them, and their records in
//! a row.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range, RangeInclusive};
use std::sync::Arc;

use super::Log;
use super::merged::Hints;
use super::scan::Survey;
use super::segment::Segment;
use super::walk::{self, Walked};
use crate::error::{Error, Result};
use crate::format::change::Change;
use crate::format::record::{Class, RecordHeader};
use crate::format::{Fault, PAGE};
use crate::mail::AccountId;
use crate::switch::Switch;

/// Bytes that a scan reads at a time.
const WINDOW: usize = 1 << 20;

/// One segment of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentInfo {
    pub(crate) number: u64,
    pub(crate) first_record: u64,
    /// Number behind its last record; for the last segment, what the next record gets.
    pub(crate) next_record: u64,
    /// Whether it has a footer by which its accounts are found.
    pub(crate) sealed: bool,
    /// Bytes of its batches; 0 where that is not known before it was read.
    pub(crate) len: u64,
}

/// What a scan of a segment found besides its records.
#[derive(Clone, Debug, Default)]
pub(crate) struct SegmentScan {
    /// Numbers that were given to records which cannot be read, ascending.
    pub(crate) lost: Vec<u64>,
    /// Whether it was stopped before the end.
    pub(crate) stopped: bool,
    /// Why the disk did not give all of it: what it did not give is among the lost, and may be there another time.
    pub(crate) refusal: Option<Error>,
}

impl Log {
    /// All segments with batches, in order of their records.
    pub(crate) fn segments(&self) -> Vec<SegmentInfo> {
        let segments = Arc::clone(&self.shared.segments.read());
        let last = self.shared.queue.lock().next_record();
        let next = segments.iter().skip(1).map(|next| next.first_record());
        segments
            .iter()
            .zip(next.chain([last]))
            .map(|(segment, next_record)| SegmentInfo {
                number: segment.number(),
                first_record: segment.first_record(),
                next_record,
                sealed: segment.is_sealed(),
                len: segment.end(),
            })
            .collect()
    }

    /// Accounts of `keys` that have records with numbers in `records`, ascending, each with the number of its newest one
    /// there. If there are more than `limit`, the first ones. Segments are asked that lie wholly in `records`, and not the
    /// last one of the log.
    ///
    /// # Errors
    /// As reading a record; a damaged footer is none: the segment's batches are read instead.
    ///
    /// # Cost
    /// A look into one merged table for 64 segments, and into the account table of each that it does not rule out. One
    /// without a footer is read.
    pub(crate) fn accounts_in(
        &self,
        records: Range<u64>,
        keys: &RangeInclusive<AccountId>,
        limit: usize,
    ) -> Result<Vec<(AccountId, u64)>> {
        let segments = Arc::clone(&self.shared.segments.read());
        let mut hints = Hints::new(keys.clone());
        let mut newest = BTreeMap::new();
        for (at, pair) in segments.windows(2).enumerate().rev() {
            let [segment, next] = pair else { continue };
            let inside =
                records.start <= segment.first_record() && next.first_record() <= records.end;
            if !inside || !hints.may_hold(&self.shared, &segments, at) {
                continue;
            }
            let found = accounts_of(segment, keys, limit);
            self.shared.look_after(segment);
            for (account, number) in found? {
                newest.entry(account).or_insert(number);
            }
            // What comes behind the first ones cannot be among them, whatever older segments hold.
            while newest.len() > limit {
                newest.pop_last();
            }
        }
        Ok(newest.into_iter().collect())
    }

    /// The numbers of all of an account's records in `records`, ascending, whether or not each names the one before it.
    /// The last segment of the log is not asked.
    ///
    /// # Errors
    /// As [`accounts_in`](Self::accounts_in).
    ///
    /// # Cost
    /// As [`accounts_in`](Self::accounts_in).
    pub(crate) fn numbers_of(&self, account: AccountId, records: Range<u64>) -> Result<Vec<u64>> {
        let segments = Arc::clone(&self.shared.segments.read());
        let mut hints = Hints::new(account..=account);
        let mut numbers = Vec::new();
        for (at, pair) in segments.windows(2).enumerate() {
            let [segment, next] = pair else { continue };
            let overlaps =
                segment.first_record() < records.end && records.start < next.first_record();
            if !overlaps || !hints.may_hold(&self.shared, &segments, at) {
                continue;
            }
            let found = numbers_in(segment, &account);
            self.shared.look_after(segment);
            numbers.extend(found?.into_iter().filter(|number| records.contains(number)));
        }
        Ok(numbers)
    }

    /// Shows the records of segment `number` whose numbers are in `records` to `each`, in order of their place, reading
    /// from front to back and passing over bodies. Damage costs what is damaged.
    ///
    /// # Errors
    /// [`Error::Damaged`] with [`Fault::Lost`] where there is no such segment; [`Error::Io`] where it cannot be opened;
    /// [`Error::UnsupportedFormat`] for a record of a newer build that every reader must know. Pages that the disk does not
    /// give are no error: see [`SegmentScan::refusal`].
    pub(crate) fn scan_segment(
        &self,
        number: u64,
        records: Range<u64>,
        each: &mut dyn FnMut(&RecordHeader, &Change) -> ControlFlow<()>,
    ) -> Result<SegmentScan> {
        let segments = Arc::clone(&self.shared.segments.read());
        let at = segments.iter().position(|one| one.number() == number);
        let Some((at, segment)) = at.and_then(|at| Some((at, segments.get(at)?))) else {
            return Err(Error::fault(self.shared.path("log"), 0, Fault::Lost));
        };
        segment.check_header()?;
        if segment.end() == 0 {
            segment.settle()?;
        }
        let scanner = segment.scanner()?;
        let mut scanner = scanner.with_window(WINDOW);
        let survey = scanner.survey(PAGE as u64);
        // Of a sealed segment it is known which number was the last; of another one what is written has to tell, there or in
        // the next one.
        let behind = segment.is_listed_sealed() && Switch::SealedNumbers.on()
            || scanner.written_from(survey.end).is_some()
            || is_end_lost(&segments, at, &survey);
        let given = given(segment, &survey, behind.then_some(scanner.reach));
        let next = given.last().map_or(0, |last| last.end);
        let numbers = records.start.max(segment.first_record())..records.end.min(next);
        let mut missing = Missing::new(given, &numbers);
        let mut newer = None;
        let mut feed = |walked: Walked<'_>| {
            let header = walked.frame.header;
            missing.found(header.number);
            match walked.frame.change() {
                Ok(change) => each(&header, &change),
                Err(fault) if fault.is_newer() && walked.frame.class == Class::MustKnow => {
                    newer = Some(segment.fault(u64::from(walked.at.frame), fault));
                    ControlFlow::Break(())
                }
                Err(fault) if fault.is_newer() => ControlFlow::Continue(()),
                Err(_) => {
                    missing.lost(header.number);
                    ControlFlow::Continue(())
                }
            }
        };
        let stopped = walk::walk(&mut scanner, &survey, numbers, &mut feed).is_break();
        match newer {
            Some(error) => Err(error),
            None => Ok(SegmentScan {
                lost: missing.into_lost(stopped),
                stopped,
                refusal: scanner
                    .refusal
                    .as_ref()
                    .map(|refusal| segment.refused(refusal)),
            }),
        }
    }
}

/// Whether the last sound batch of the segment at index `at` was not its last one: the first batch behind it names another.
pub(super) fn is_end_lost(segments: &[Arc<Segment>], at: usize, survey: &Survey) -> bool {
    let Some(last) = survey.batches.last().filter(|_| Switch::EndAsked.on()) else {
        return false;
    };
    for next in segments.get(at + 1..).unwrap_or_default() {
        // One that was not read yet does not know where it ends.
        let read = match next.end() {
            0 => next.settle(),
            _ => Ok(()),
        };
        let Ok(mut scanner) = read.and_then(|()| next.scanner()) else {
            return false;
        };
        if let Some(first) = scanner.next_batch(PAGE as u64) {
            return first.offset == PAGE as u64 && first.head.previous != last.head.crc();
        }
        // One may be empty: made before a crash, or given up at its first batch.
        if scanner.written_from(PAGE as u64).is_some() {
            return false;
        }
    }
    false
}

/// The numbers of an account's records in a segment, ascending.
fn numbers_in(segment: &Segment, account: &AccountId) -> Result<Vec<u64>> {
    if let Some(footer) = segment.footer()? {
        match footer.numbers(segment, account) {
            Ok(numbers) => return Ok(numbers),
            Err(_) => segment.distrust_footer(),
        }
    }
    segment.settle()?;
    let mut numbers = Vec::new();
    walk_all(segment, &mut |header| {
        if header.account == *account {
            numbers.push(header.number);
        }
    })?;
    numbers.sort_unstable();
    Ok(numbers)
}

/// Shows the headers of all records of a segment, in the order of their places. All or an error: who is not found might
/// be in what the disk does not give now, and that is no answer.
fn walk_all(segment: &Segment, each: &mut dyn FnMut(&RecordHeader)) -> Result<()> {
    let mut scanner = segment.scanner()?;
    let survey = scanner.survey(PAGE as u64);
    let all = segment.first_record()..segment.next_record().max(segment.first_record());
    let _ = walk::walk(&mut scanner, &survey, all, &mut |walked| {
        each(&walked.frame.header);
        ControlFlow::Continue(())
    });
    match scanner
        .refusal
        .as_ref()
        .filter(|_| Switch::SearchGiven.on())
    {
        Some(refusal) => Err(segment.refused(refusal)),
        None => Ok(()),
    }
}

/// Up to `limit` accounts of `keys` in a segment, with the number of the newest record of each.
fn accounts_of(
    segment: &Segment,
    keys: &RangeInclusive<AccountId>,
    limit: usize,
) -> Result<Vec<(AccountId, u64)>> {
    if let Some(footer) = segment.footer()? {
        match footer.accounts(segment, keys, limit) {
            Ok(found) => return Ok(found),
            Err(_) => segment.distrust_footer(),
        }
    }
    segment.settle()?;
    let mut newest = BTreeMap::new();
    walk_all(segment, &mut |header| {
        if keys.contains(&header.account) {
            let number = newest.entry(header.account).or_insert(0);
            *number = header.number.max(*number);
        }
    })?;
    Ok(newest.into_iter().take(limit).collect())
}

/// The numbers that records of the segment have or had, in ranges, ascending. What no range holds was burned by batches
/// that failed. `behind`: there were numbers behind the last sound batch, below this at most.
fn given(segment: &Segment, survey: &Survey, behind: Option<u64>) -> Vec<Range<u64>> {
    let mut ranges = Vec::new();
    let mut next = segment.first_record();
    let mut crc = None;
    for found in &survey.batches {
        let head = &found.head;
        // A batch names the one before it: if that is not the last good one, there was another.
        let lost = match crc {
            Some(crc) => crc != head.previous,
            None => found.offset > PAGE as u64,
        };
        let first = if lost { next } else { head.first_record };
        next = head.first_record + u64::from(head.count);
        ranges.push(first.min(head.first_record)..next);
        crc = Some(head.crc());
    }
    let end = behind.map_or(0, |reach| segment.next_record().min(reach));
    if end > next {
        ranges.push(next..end);
    }
    ranges
}

/// Finds out which numbers are missing among those that were given.
struct Missing {
    /// Given numbers that were not passed yet, the next one first.
    given: Vec<Range<u64>>,
    lost: Vec<u64>,
}

impl Missing {
    fn new(given: Vec<Range<u64>>, numbers: &Range<u64>) -> Self {
        let cut = |range: &Range<u64>| range.start.max(numbers.start)..range.end.min(numbers.end);
        let mut given: Vec<_> = given
            .iter()
            .map(cut)
            .filter(|range| !range.is_empty())
            .collect();
        given.reverse();
        Self {
            given,
            lost: Vec::new(),
        }
    }

    /// Record `number` is there.
    fn found(&mut self, number: u64) {
        let before = self.lost.len();
        self.pass(number.saturating_add(1));
        if self.lost.len() > before {
            self.lost.pop_if(|last| *last == number);
        } else if let Ok(at) = self.lost.binary_search(&number) {
            // Salvaged out of order.
            self.lost.remove(at);
        }
    }

    fn lost(&mut self, number: u64) {
        if let Err(at) = self.lost.binary_search(&number) {
            self.lost.insert(at, number);
        }
    }

    /// All given numbers below `end` that were not passed yet are lost, unless they turn up.
    fn pass(&mut self, end: u64) {
        while let Some(range) = self.given.last_mut() {
            let to = range.end.min(end);
            if to > range.start {
                self.lost.extend(range.start..to);
                range.start = to;
            }
            if !range.is_empty() {
                return;
            }
            self.given.pop();
        }
    }

    fn into_lost(mut self, stopped: bool) -> Vec<u64> {
        if !stopped {
            self.pass(u64::MAX);
        }
        self.lost
    }
}
