//! Merged account tables: one footer of 64 says which accounts have records in which of the 64 segments before, so that a
//! search without an index asks one footer instead of 64.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::Shared;
use super::footing::Footer;
use super::segment::Segment;
use crate::error::Result;
use crate::format::footer::{MERGED_MAX, MergedRun};
use crate::mail::AccountId;

/// A merged account table, to be written.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) segments: Vec<u64>,
    pub(super) accounts: Vec<MergedRun>,
}

/// Which segment's footer covers the one at index `at` of the list, if that one is there.
fn carrier(at: usize) -> usize {
    (at / MERGED_MAX + 1) * MERGED_MAX
}

impl Shared {
    /// The merged table that `segment`'s footer carries: of the 64 segments before it, if it is a 64th one and they all
    /// have sound footers. Reads all of their account tables; off the commit path.
    pub(super) fn merged_table(&self, segment: &Segment) -> Table {
        let segments = Arc::clone(&self.segments.read());
        let at = segments
            .iter()
            .position(|other| other.number() == segment.number());
        let covered = at
            .filter(|at| at.is_multiple_of(MERGED_MAX))
            .and_then(|at| segments.get(at.checked_sub(MERGED_MAX)?..at));
        // Without it a search takes longer, and finds the same.
        let table = covered.and_then(|covered| merge(covered).ok().flatten());
        table.unwrap_or_default()
    }
}

/// Merges the account tables of segments; `None` if one of them has no footer.
fn merge(covered: &[Arc<Segment>]) -> Result<Option<Table>> {
    let mut footers: Vec<Arc<Footer>> = Vec::new();
    for segment in covered {
        match segment.footer()? {
            Some(footer) => footers.push(footer),
            None => return Ok(None),
        }
    }
    let run = |source: usize, index| match (covered.get(source), footers.get(source)) {
        (Some(segment), Some(footer)) => footer.run(segment, index),
        _ => Ok(None),
    };
    let mut next = BinaryHeap::new();
    for source in 0..covered.len() {
        if let Some(first) = run(source, 0)? {
            next.push(Reverse((first.account, source, 0)));
        }
    }
    let mut accounts: Vec<MergedRun> = Vec::new();
    while let Some(Reverse((account, source, index))) = next.pop() {
        let bit = 1 << source;
        match accounts.last_mut().filter(|last| last.account == account) {
            Some(last) => last.segments |= bit,
            None => accounts.push(MergedRun {
                account,
                segments: bit,
            }),
        }
        if let Some(later) = run(source, index + 1)? {
            next.push(Reverse((later.account, source, index + 1)));
        }
    }
    Ok(Some(Table {
        segments: covered.iter().map(|segment| segment.number()).collect(),
        accounts,
    }))
}

/// What merged tables say of some accounts, asked when it is needed.
#[derive(Debug)]
pub(super) struct Hints {
    keys: RangeInclusive<AccountId>,
    asked: HashSet<usize>,
    /// By segment number, whether one of the accounts has records there.
    known: HashMap<u64, bool>,
}

impl Hints {
    pub(super) fn new(keys: RangeInclusive<AccountId>) -> Self {
        Self {
            keys,
            asked: HashSet::new(),
            known: HashMap::new(),
        }
    }

    /// Whether one of the accounts may have records in the segment at index `at` of the list.
    pub(super) fn may_hold(
        &mut self,
        shared: &Shared,
        segments: &[Arc<Segment>],
        at: usize,
    ) -> bool {
        let carrier = carrier(at);
        if let Some(segment) = segments.get(carrier)
            && self.asked.insert(carrier)
        {
            self.ask(segment);
            shared.look_after(segment);
        }
        let number = segments.get(at).map(|segment| segment.number());
        let known = number.and_then(|number| self.known.get(&number));
        known.copied().unwrap_or(true)
    }

    /// Asks the merged table of a segment. One that cannot be read says nothing.
    fn ask(&mut self, segment: &Segment) {
        let Ok(Some(footer)) = segment.footer() else {
            return;
        };
        match footer.merged(segment, &self.keys) {
            Ok(Some(bits)) => {
                for (bit, number) in footer.trailer.merged.iter().enumerate() {
                    self.known.insert(*number, bits >> bit & 1 == 1);
                }
            }
            Ok(None) => {}
            Err(_) => segment.distrust_footer(),
        }
    }
}
