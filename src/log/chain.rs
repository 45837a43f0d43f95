//! An account's records: from the newest back through the segments, by footer where there is one.

use std::collections::BTreeSet;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use super::merged::Hints;
use super::segment::Segment;
use super::walk::walk;
use super::window::Window;
use super::{Log, Shared};
use crate::error::{Error, Result};
use crate::format::PAGE;
use crate::format::change::Change;
use crate::format::record::RecordHeader;
use crate::mail::AccountId;

/// An account's records, as far as they can be read.
#[derive(Debug, Default)]
pub(crate) struct Chain {
    /// In order of their numbers.
    pub(crate) records: Vec<(RecordHeader, Change)>,
    /// Numbers of records that were there and cannot be read, ascending. Of a record that left no trace at all nothing is
    /// known: the account's next record names it as the one before.
    pub(crate) lost: Vec<u64>,
    /// Whether the disk gave all that was asked: what it did not give is among the lost, and may be there another time.
    pub(crate) given: bool,
}

/// A walk down an account's chain.
struct Walk<'a> {
    shared: &'a Shared,
    account: AccountId,
    from: u64,
    starts: &'a dyn Fn(&Change) -> bool,
    /// Newest first.
    records: Vec<(RecordHeader, Change)>,
    lost: BTreeSet<u64>,
    given: bool,
    window: Window,
    /// The record before the last one that was read, where that is known.
    expected: Option<u64>,
}

impl Log {
    /// The records of `account` with numbers above `from` and below `below`, ascending; not beyond one that `starts` the
    /// account anew, which is the first then. It is quickest where `below - 1` is one of them.
    ///
    /// # Errors
    /// [`Error::UnsupportedFormat`], [`Error::Foreign`], and [`Error::Io`] where a file cannot be opened for want of
    /// something. What is damaged is no error: it is in [`Chain::lost`], and older records are looked for through footers.
    ///
    /// # Cost
    /// In sealed segments one look into the account table, then the records; an unsealed segment that does not hold
    /// `below - 1` as one of them is read once, and so is each one in which the chain is broken.
    pub(crate) fn account_records(
        &self,
        account: AccountId,
        below: u64,
        from: u64,
        starts: &dyn Fn(&Change) -> bool,
    ) -> Result<Chain> {
        let mut walk = Walk {
            shared: &self.shared,
            account,
            from,
            starts,
            records: Vec::new(),
            lost: BTreeSet::new(),
            given: true,
            window: Window::default(),
            expected: None,
        };
        walk.run(below)?;
        let mut chain = Chain {
            records: walk.records,
            lost: walk.lost.into_iter().collect(),
            given: walk.given,
        };
        chain.records.reverse();
        Ok(chain)
    }
}

impl Walk<'_> {
    fn run(&mut self, below: u64) -> Result<()> {
        let segments = Arc::clone(&self.shared.segments.read());
        let mut below = below;
        let mut hints = Hints::new(self.account..=self.account);
        loop {
            let after = segments.partition_point(|segment| segment.first_record() < below);
            let Some(at) = after.checked_sub(1) else {
                break;
            };
            let Some(segment) = segments.get(at) else {
                break;
            };
            if below <= self.from.saturating_add(1) {
                break;
            }
            // Where the chain leads there is something: only a search that has lost it asks.
            if self.expected.is_none() && !hints.may_hold(self.shared, &segments, at) {
                below = segment.first_record();
                continue;
            }
            let done = self.segment(segment, below);
            self.shared.look_after(segment);
            if done? {
                return Ok(());
            }
            below = match self.expected {
                Some(previous) => previous + 1,
                None => segment.first_record(),
            };
        }
        self.miss(None);
        Ok(())
    }

    /// The account's records in one segment, newest first; returns whether the chain ends there.
    fn segment(&mut self, segment: &Segment, below: u64) -> Result<bool> {
        if segment.footer()?.is_none() {
            segment.settle()?;
        }
        // Each record names the one before it. The footer's table of accounts, some reads away, is for where that breaks.
        if self.linked(segment, below)? {
            return Ok(true);
        }
        let low = self
            .expected
            .filter(|number| *number < segment.first_record());
        if low.is_some() {
            return Ok(false);
        }
        let below = self.lowest().unwrap_or(below).min(below);
        if let Some(footer) = segment.footer()? {
            match footer.numbers(segment, &self.account) {
                Ok(numbers) => return self.listed(segment, &numbers, below),
                Err(_) => segment.distrust_footer(),
            }
        }
        segment.settle()?;
        let numbers = self.scan(segment, segment.first_record()..below)?;
        self.listed(segment, &numbers, below)
    }

    /// Follows the chain from `below - 1` on, while it can be followed, to the front of the segment; returns whether the
    /// chain ends there.
    fn linked(&mut self, segment: &Segment, below: u64) -> Result<bool> {
        let mut at = self.expected.unwrap_or(below - 1);
        while at >= segment.first_record() {
            let read = segment.record_in(&mut self.window, at);
            let read = self.readable(read)?;
            let Some(record) = read.filter(|(header, _)| header.account == self.account) else {
                return Ok(false);
            };
            if self.take(record) {
                return Ok(true);
            }
            match self.expected {
                Some(previous) if previous < at => at = previous,
                _ => return Ok(false),
            }
        }
        Ok(false)
    }

    /// Reads the records of `numbers` that are below `below`, newest first; returns whether the chain ends there.
    fn listed(&mut self, segment: &Segment, numbers: &[u64], below: u64) -> Result<bool> {
        let wanted = self.from.saturating_add(1)..below;
        for number in numbers
            .iter()
            .rev()
            .filter(|number| wanted.contains(number))
        {
            self.miss(Some(*number));
            let read = segment.record_in(&mut self.window, *number);
            let read = self.readable(read)?;
            match read.filter(|(header, _)| header.account == self.account) {
                Some(record) => {
                    if self.take(record) {
                        return Ok(true);
                    }
                }
                None => {
                    self.lost.insert(*number);
                }
            }
        }
        // What should have been here is not: older ones are looked for without its help.
        let here = |number: &u64| *number >= segment.first_record();
        if self.expected.as_ref().is_some_and(here) {
            self.miss(None);
        }
        Ok(false)
    }

    /// The next older record is `found`, or none: another that was named as the next one is lost.
    fn miss(&mut self, found: Option<u64>) {
        let expected = self.expected.take();
        if let Some(missing) = expected.filter(|number| Some(*number) != found) {
            self.lost.insert(missing);
        }
    }

    /// Takes over a record; returns whether the chain ends with it.
    fn take(&mut self, record: (RecordHeader, Change)) -> bool {
        let previous = record.0.previous;
        let ends = previous <= self.from || previous >= record.0.number || (self.starts)(&record.1);
        self.records.push(record);
        self.expected = (!ends).then_some(previous);
        ends
    }

    /// The number of the oldest record that was read.
    fn lowest(&self) -> Option<u64> {
        self.records.last().map(|(header, _)| header.number)
    }

    /// Tells a record that is damaged or gone (`None`) from what a caller has to know.
    fn readable<T>(&mut self, read: Result<T>) -> Result<Option<T>> {
        match read {
            Ok(read) => Ok(Some(read)),
            Err(Error::Damaged { .. }) => Ok(None),
            // The disk does not give it.
            Err(Error::Io { op: "read", .. }) => {
                self.given = false;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The numbers of the account's records in a segment without a footer, by reading its batches.
    fn scan(&mut self, segment: &Segment, numbers: Range<u64>) -> Result<Vec<u64>> {
        let mut scanner = segment.scanner()?;
        let survey = scanner.survey(PAGE as u64);
        let mut found = Vec::new();
        let _ = walk(&mut scanner, &survey, numbers, &mut |walked| {
            if walked.frame.header.account == self.account {
                found.push(walked.frame.header.number);
            }
            ControlFlow::Continue(())
        });
        self.given &= scanner.refusal.is_none();
        found.sort_unstable();
        Ok(found)
    }
}
