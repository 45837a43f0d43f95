//! Where an opening begins to read: behind a position, at the first segment that wants reading, or at the front.

use super::list::Listed;
use super::opening::Opening;
use crate::error::Result;
use crate::format::PAGE;
use crate::log::footing;
use crate::log::position::Position;
use crate::options::Options;
use crate::switch::Switch;
use crate::witness::Witness;

/// Where reading begins, and what is known of the log before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start {
    /// Index of the first segment to be read, and the offset in it.
    pub(super) at: usize,
    pub(super) offset: u64,
    /// Number of the next record; last batch and its head checksum. 1, 0 and 0 at the front.
    pub(super) next_record: u64,
    pub(super) batch: u64,
    pub(super) crc: u32,
    /// Every record that names a large body in a segment above this number is read.
    pub(super) large_above: u64,
    /// Epoch of that batch, where reading begins behind it.
    pub(super) epoch: u64,
    /// The position, if reading begins there.
    pub(super) position: Option<Position>,
}

impl Start {
    /// The front of the log.
    pub(super) const FRONT: Self = Self {
        at: 0,
        offset: PAGE as u64,
        next_record: 1,
        batch: 0,
        crc: 0,
        large_above: 0,
        epoch: 0,
        position: None,
    };

    /// Where to begin with these segments: at `from` if it fits the log, else as if there were none.
    pub(super) fn find(
        segments: &[Listed],
        from: Option<&Position>,
        options: &Options,
    ) -> Result<Self> {
        if options.replay_all {
            return Ok(Self::FRONT);
        }
        if let Some(position) = from
            && let Some(start) = Self::behind(segments, position)
        {
            return Ok(start);
        }
        Self::behind_sealed(segments)
    }

    /// Behind `position`, if the batch that ends there is the one that it speaks of. What cannot be read does not fit.
    fn behind(segments: &[Listed], position: &Position) -> Option<Self> {
        let fits = |listed: &Listed| {
            let header = &listed.segment.header;
            header.segment == position.segment && header.generation == position.generation
        };
        let at = segments.iter().position(fits)?;
        let listed = segments.get(at)?;
        let mut scanner = listed.checked_scanner().ok()?;
        let head = scanner.head(position.last)?;
        let next_record = head.first_record + u64::from(head.count);
        let same = head.batch == position.batch
            && head.crc() == position.crc
            && next_record == position.next_record
            && position.last + u64::from(head.len) == position.offset
            && listed.segment.first_record() <= position.next_record;
        let chained = scanner
            .head(position.offset)
            .is_none_or(|next| next.previous == position.crc);
        ((same || !Switch::PositionSame.on()) && (chained || !Switch::PositionChained.on()))
            .then_some(Self {
                at,
                offset: position.offset,
                next_record: position.next_record,
                batch: position.batch,
                crc: position.crc,
                large_above: position.highest_segment,
                epoch: head.epoch,
                position: Some(*position),
            })
    }

    /// At the first segment that is not sealed, or before it where the footers just in front are not sound: the records
    /// of all older ones can be found by footer.
    fn behind_sealed(segments: &[Listed]) -> Result<Self> {
        let unsealed = segments.iter().position(|listed| !listed.is_sealed());
        // The last one is read whatever it is: it says how far acknowledged batches reached.
        let most = segments.len().saturating_sub(1);
        let mut at = unsealed.unwrap_or(most).min(most);
        while let Some(before) = at.checked_sub(1).and_then(|before| segments.get(before)) {
            let trailer = Switch::StartSound
                .some(footing::read_sound(&before.segment)?)
                .unwrap_or_else(|| footing::read_trailer(&*before.segment.file().ok()?));
            // One without batches does not tell the checksum that the next batch repeats.
            let trailer = trailer.filter(|trailer| trailer.last_batch >= trailer.first_batch);
            if let (Some(trailer), Some(first)) = (trailer, segments.get(at)) {
                return Ok(Self {
                    at,
                    next_record: trailer.first_record + u64::from(trailer.record_count),
                    batch: trailer.last_batch,
                    crc: trailer.last_crc,
                    // Numbers are given in order: what is above was made, and named, after this segment was begun.
                    large_above: first.segment.number(),
                    ..Self::FRONT
                });
            }
            at -= 1;
        }
        Ok(Self::FRONT)
    }
}

impl Opening<'_> {
    /// Takes over what is known of the log before the start.
    pub(super) fn start_at(&mut self, start: Start) {
        self.next_record = start.next_record;
        self.last_batch = start.batch;
        self.last_crc = start.crc;
        self.position = start.position;
        // A footer speaks of the batches that were sound when it was made.
        self.damaged = start.at > 0 && start.position.is_none();
        if let Some(position) = &start.position {
            self.witness = Witness {
                store: self.witness.store,
                epoch: start.epoch,
                batch: position.batch,
                next_record: position.next_record,
                checksum: position.crc,
                segment: position.segment,
                offset: position.last,
            };
        }
        // What is in front of the start was durable.
        self.durable = self.durable.max(start.batch);
        self.show = self.show.map(|show| show.max(start.batch));
        self.start = start;
    }

    /// Where the first batch that is read of segment `at` can be.
    pub(super) fn offset_in(&self, at: usize) -> u64 {
        if at == self.start.at {
            self.start.offset
        } else {
            PAGE as u64
        }
    }
}
