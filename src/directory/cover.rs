//! Which record numbers lie in runs, and which do not.

use std::io::ErrorKind;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use super::run::{Run, RunInfo, path_of};
use crate::format::{Fault, StoreId};
use crate::io::{Storage, is_of_the_medium};
use crate::switch::Switch;
use crate::{Error, Result};

/// The first record of a store.
const FIRST: u64 = 1;

/// A run of the directory, opened when it is first asked.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) info: RunInfo,
    run: OnceLock<Arc<Run>>,
}

impl Slot {
    pub(super) fn new(info: RunInfo) -> Self {
        let run = OnceLock::new();
        Self { info, run }
    }

    /// The run, open.
    ///
    /// # Errors
    /// As [`Run::open`]; [`Error::Damaged`] where it is not the one that the checkpoint names.
    pub(super) fn run(&self, storage: &dyn Storage, store: StoreId) -> Result<Arc<Run>> {
        if let Some(run) = self.run.get() {
            return Ok(Arc::clone(run));
        }
        // Two callers may both open it; one of the two is kept.
        let run = Run::open(storage, self.info.number, store)?;
        // Another one of the number.
        if Switch::RunNamed.on() && run.nonce() != self.info.nonce {
            return Err(Error::fault(path_of(self.info.number), 0, Fault::Foreign));
        }
        for (field, found, expected) in [
            ("first record of the run", run.lo(), self.info.lo),
            ("end of the run", run.hi(), self.info.hi),
            ("count of rows", run.rows(), self.info.rows),
            ("length of the run", run.len(), self.info.len),
        ] {
            if Switch::RunNamed.on() && found != expected {
                let fault = Fault::Mismatch {
                    field,
                    found,
                    expected,
                };
                return Err(Error::fault(path_of(self.info.number), 0, fault));
            }
        }
        Ok(Arc::clone(self.run.get_or_init(|| Arc::new(run))))
    }
}

/// Why a search stopped.
#[derive(Debug)]
pub(super) enum Stop {
    /// A run is not what was written, or gone: the search goes on without it.
    Run(Arc<Slot>, Error),
    /// Anything else.
    Other(Error),
}

impl Stop {
    /// An error met while reading a run.
    pub(super) fn at(slot: &Arc<Slot>, error: Error) -> Self {
        if spoils(&error) {
            Self::Run(Arc::clone(slot), error)
        } else {
            Self::Other(error)
        }
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

/// Whether the error says that the file is lost, or that the medium does not give it, rather than that it cannot be read
/// now (no descriptors left, say).
fn spoils(error: &Error) -> bool {
    match error {
        Error::Damaged { .. } | Error::Foreign { .. } | Error::UnsupportedFormat { .. } => true,
        Error::Io { source, .. } if is_of_the_medium(source) => true,
        Error::Io { source, .. } => matches!(
            source.kind(),
            ErrorKind::NotFound
                | ErrorKind::UnexpectedEof
                | ErrorKind::InvalidData
                | ErrorKind::IsADirectory
        ),
        _ => false,
    }
}

/// Where rows of a range of records come from.
#[derive(Clone, Debug)]
pub(super) enum Source {
    Run(Arc<Slot>),
    /// No run has them.
    Gap(Range<u64>),
}

/// The runs at one moment. Never changed: a new one takes its place.
#[derive(Debug)]
pub(super) struct Cover {
    /// Runs and the gaps between them, oldest first: all records from the first one to `tail`.
    sources: Vec<Source>,
    /// The first record that only the part in memory knows.
    tail: u64,
}

impl Cover {
    /// `slots` in any order. Of runs that overlap (no checkpoint of ours names such) one is left out, as are those that
    /// reach beyond `tail`.
    pub(super) fn new(mut slots: Vec<Arc<Slot>>, tail: u64) -> Self {
        slots.sort_by_key(|slot| (slot.info.lo, slot.info.hi));
        let mut sources = Vec::with_capacity(slots.len() * 2 + 1);
        let mut end = FIRST;
        for slot in slots {
            let Range { start, end: stop } = slot.info.range();
            if start < end || stop <= start || stop > tail {
                continue;
            }
            if start > end {
                sources.push(Source::Gap(end..start));
            }
            sources.push(Source::Run(slot));
            end = stop;
        }
        if end < tail {
            sources.push(Source::Gap(end..tail));
        }
        Self { sources, tail }
    }

    pub(super) fn tail(&self) -> u64 {
        self.tail
    }

    /// Runs and gaps, oldest first.
    pub(super) fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// The runs, oldest first.
    pub(super) fn slots(&self) -> Vec<Arc<Slot>> {
        let runs = self.sources.iter().filter_map(|source| match source {
            Source::Run(slot) => Some(Arc::clone(slot)),
            Source::Gap(_) => None,
        });
        runs.collect()
    }

    /// The record numbers that no run has, ascending.
    pub(super) fn gaps(&self) -> Vec<Range<u64>> {
        let gaps = self.sources.iter().filter_map(|source| match source {
            Source::Run(_) => None,
            Source::Gap(range) => Some(range.clone()),
        });
        gaps.collect()
    }

    /// Whether no run has any of these records, and the part in memory does not begin among them.
    pub(super) fn lacks(&self, range: &Range<u64>) -> bool {
        let mut gaps = self.gaps().into_iter();
        range.start < range.end && gaps.any(|gap| gap.start <= range.start && range.end <= gap.end)
    }

    pub(super) fn has(&self, number: u32) -> bool {
        self.slots().iter().any(|slot| slot.info.number == number)
    }

    /// As it is with another run, which may reach up to `tail`.
    pub(super) fn with(&self, info: RunInfo, tail: u64) -> Self {
        let mut slots = self.slots();
        slots.push(Arc::new(Slot::new(info)));
        Self::new(slots, tail)
    }

    /// As it is without some runs.
    pub(super) fn without(&self, numbers: &[u32]) -> Self {
        let mut slots = self.slots();
        slots.retain(|slot| !numbers.contains(&slot.info.number));
        Self::new(slots, self.tail)
    }
}

#[cfg(test)]
mod tests;
