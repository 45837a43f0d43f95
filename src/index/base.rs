//! Bases: an account's state as a record, in parts. Who reads the account's records from there needs none before.

use std::sync::Arc;

use bytes::Bytes;

use super::fold::Fold;
use super::image::base;
use super::plan::{Draft, Drafted};
use crate::error::{Error, Result};
use crate::format::change::{Base, Change};
use crate::format::record::RecordHeader;
use crate::switch::Switch;

/// The parts of a base that were met so far.
#[derive(Clone, Debug)]
pub(crate) struct Gathering {
    /// Number of the last record that the state covers.
    covers: u64,
    /// Whether nothing was known of the account before.
    fresh: bool,
    next: u32,
    parts: u32,
    bytes: Vec<u8>,
}

impl Fold {
    /// Takes over a part of a base; with the last one the account is what the base says.
    ///
    /// Only an account of which earlier records are missing needs it: one that has them all is that state already.
    /// `last` is the account's record before this one as far as it was met.
    pub(super) fn base(&mut self, header: &RecordHeader, base: &Base, last: u64) {
        let broken = header.previous != last;
        let begun = self.gathering.take();
        let gathering = match begun {
            Some(begun) if !broken && begun.next == base.part && begun.parts == base.parts => begun,
            _ if base.part > 0 => return,
            // Each record that does not follow on another counted as a break: none means that none is missing.
            _ if self.chain_breaks == 0 => return,
            _ => Arc::new(Gathering {
                covers: header.previous,
                fresh: last == 0,
                next: 0,
                parts: base.parts,
                bytes: Vec::new(),
            }),
        };
        let mut gathering = Arc::unwrap_or_clone(gathering);
        gathering.bytes.extend_from_slice(&base.bytes);
        gathering.next += 1;
        if gathering.next < gathering.parts {
            self.gathering = Some(Arc::new(gathering));
        } else {
            self.become_base(header, gathering);
        }
    }

    fn become_base(&mut self, header: &RecordHeader, gathering: Gathering) {
        let state = base::decode(&Bytes::from(gathering.bytes)).ok();
        let fits = |state: &Self| {
            (state.id == self.id || !Switch::BaseAccount.on())
                && (state.last_record == gathering.covers || !Switch::BaseCovers.on())
        };
        let Some(mut state) = state.filter(fits) else {
            self.bad_bases += 1;
            return;
        };
        state.burn(self);
        state.last_record = header.number;
        if !gathering.fresh {
            state.chain_breaks = state.chain_breaks.max(self.chain_breaks);
        }
        state.bad_bases = self.bad_bases;
        *self = state;
    }
}

/// An account as it will be written, encoded without its lock.
pub(crate) struct Saved {
    covers: u64,
    bytes: Vec<u8>,
}

impl Saved {
    /// Encodes an account.
    pub(crate) fn of(fold: &Fold) -> Self {
        Self {
            covers: fold.last_record,
            bytes: base::encode(fold),
        }
    }
}

impl Draft {
    /// Drafts a base of the account: `saved`, unless it has changed since. Nothing else may be drafted with it.
    pub(crate) fn write_base(&mut self, saved: &Saved) -> Result<()> {
        self.exists()?;
        let fold = self.fold();
        let fresh = if fold.last_record == saved.covers {
            None
        } else {
            Some(base::encode(fold))
        };
        let bytes = fresh.as_ref().unwrap_or(&saved.bytes);
        let slices = bytes.chunks(Base::PART_LEN_MAX);
        let count = u32::try_from(slices.len()).unwrap_or(u32::MAX);
        if count > Base::PARTS_MAX {
            return Err(Error::TooLarge {
                what: "the account",
                len: bytes.len() as u64,
                max: u64::from(Base::PARTS_MAX) * Base::PART_LEN_MAX as u64,
            });
        }
        for (part, slice) in (0..).zip(slices) {
            self.records.list.push(Drafted {
                filed: None,
                mailbox: 0,
                modseq: 0,
                change: Change::Base(Base {
                    part,
                    parts: count,
                    bytes: slice.to_vec(),
                }),
                body: None,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
