//! A witness at an opening: the log has the batch that it names, or the store is refused before anything is written.

use super::list::Listed;
use super::opening::Opening;
use crate::error::{Error, Result};
use crate::format::batch::BatchHead;
use crate::format::{PAGE, SECTOR, StoreId};
use crate::options::Options;
use crate::witness::Witness;

/// What a witness says of the batch at `offset` of a segment.
pub(super) fn of(store: StoreId, segment: u64, offset: u64, head: &BatchHead) -> Witness {
    Witness {
        store,
        epoch: head.epoch,
        batch: head.batch,
        next_record: head.first_record + u64::from(head.count),
        checksum: head.crc(),
        segment,
        offset,
    }
}

impl Opening<'_> {
    /// Says which is the last durable batch.
    ///
    /// # Errors
    /// [`Error::NotWitnessed`] where the options have a witness that the log does not bear out.
    pub(super) fn hold_witness(
        &mut self,
        segments: &[Listed],
        options: &Options,
    ) -> Result<Witness> {
        if self.witness.batch == 0 {
            self.look_before(segments);
        }
        let own = self.witness;
        let Some(expected) = options.witness.filter(|expected| *expected != own) else {
            return Ok(own);
        };
        let found = if expected.store == own.store {
            self.instead_of(&expected, segments)
        } else {
            Some(own)
        };
        found.map_or(Ok(own), |found| {
            Err(Error::NotWitnessed {
                path: self.storage.describe(),
                expected: Box::new(expected),
                found: Box::new(found),
            })
        })
    }

    /// Nothing was read behind a footer: the last batch lies in the segment in front of it.
    fn look_before(&mut self, segments: &[Listed]) {
        let before = self.start.at.checked_sub(1).and_then(|at| segments.get(at));
        if let Some(listed) = before
            && let Ok(mut scanner) = listed.checked_scanner()
            && let Some(last) = scanner.survey(PAGE as u64).batches.last()
        {
            let segment = listed.segment.number();
            self.witness = of(self.witness.store, segment, last.offset, &last.head);
        }
    }

    /// What the log has instead of the batch that was expected; `None` where it has that one.
    fn instead_of(&self, expected: &Witness, segments: &[Listed]) -> Option<Witness> {
        let own = self.witness;
        if expected.batch == 0 {
            return None;
        }
        let named = |listed: &Listed| listed.segment.number() == expected.segment;
        let Some(at) = segments.iter().position(named) else {
            return Some(own);
        };
        let (listed, later) = (segments.get(at)?, segments.get(at + 1..)?);
        let Ok(mut scanner) = listed.checked_scanner() else {
            return Some(own);
        };
        if let Some(head) = scanner.head(expected.offset) {
            let found = of(own.store, expected.segment, expected.offset, &head);
            return (found != *expected).then_some(found);
        }
        // Damaged, perhaps: then the batch behind it knows.
        let behind = scanner.next_batch(expected.offset.saturating_add(SECTOR as u64));
        let previous = match behind {
            Some(found) => Some(found.head.previous),
            None => later.iter().find_map(Listed::first_previous),
        };
        (previous != Some(expected.checksum)).then_some(own)
    }
}
