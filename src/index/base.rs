//! Bases: an account's state as a record, in parts. Who reads the account's records from there needs none before.

use std::sync::Arc;

use bytes::Bytes;

use super::fold::Fold;
use crate::format::Fault;
use crate::format::change::Base;
use crate::format::record::RecordHeader;

/// Makes a state of the bytes that it was saved as.
pub(crate) type Decode = fn(Bytes) -> Result<Fold, Fault>;

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
    pub(super) fn base(&mut self, header: &RecordHeader, base: &Base, last: u64, decode: Decode) {
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
            self.become_base(header, gathering, decode);
        }
    }

    fn become_base(&mut self, header: &RecordHeader, gathering: Gathering, decode: Decode) {
        let state = decode(Bytes::from(gathering.bytes)).ok();
        let fits = |state: &Self| state.id == self.id && state.last_record == gathering.covers;
        let Some(mut state) = state.filter(fits) else {
            self.bad_bases += 1;
            return;
        };
        state.burn(self);
        state.last_record = header.number;
        state.chain_breaks = if gathering.fresh {
            0
        } else {
            self.chain_breaks
        };
        state.bad_bases = self.bad_bases;
        *self = state;
    }
}

/// Reads a saved state. This build writes none: one that is met is passed over, and older records are read instead.
pub(crate) fn decode(_: Bytes) -> Result<Fold, Fault> {
    Err(Fault::Kind { kind: 33 })
}
