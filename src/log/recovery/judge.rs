//! Where a segment ends, and what the bytes behind its last batch are: nothing, a torn tail, or damage.

use std::ops::Range;
use std::sync::Arc;

use super::list::Listed;
use super::opening::Opening;
use super::report::Cut;
use super::{Verdict, decide};
use crate::error::Result;
use crate::format::SECTOR;
use crate::format::record;
use crate::format::segments::{Edit, What};
use crate::log::ahead::Ahead;
use crate::log::places::Places;
use crate::log::scan::{Found, Looks, Scanner, Survey, salvage};
use crate::log::syncing::Syncing;
use crate::log::writer::{Active, edit_of};
use crate::switch::Switch;

impl Opening<'_> {
    /// Judges gaps and the bytes behind the last batch. A torn tail is taken off the survey and noted; returns the
    /// verdict for what is behind the survey's end.
    pub(super) fn judge(
        &self,
        scanner: &mut Scanner,
        survey: &mut Survey,
        inside: bool,
    ) -> Verdict {
        let unsure =
            |found: &&Found| found.head.batch > self.durable || !Switch::BatchAcknowledged.on();
        let torn_batch = survey.batches.iter().filter(unsure).find(|found| {
            !inside
                && scanner
                    .batch_looks(found)
                    .is_some_and(|looks| decide(inside, false, looks) == Verdict::Cut)
        });
        let torn_gap = survey.gaps.iter().find(|gap| {
            let before = survey
                .batches
                .iter()
                .rfind(|found| found.offset < gap.start);
            let acknowledged =
                before.map_or(self.last_batch, |found| found.head.batch) < self.durable;
            // Batches behind an empty place: it was not whole, only its first sectors are not there.
            let looks = match scanner.looks(gap.start) {
                Looks::Empty => Looks::Torn,
                looks => looks,
            };
            decide(inside, Switch::GapAcknowledged.on() && acknowledged, looks) == Verdict::Cut
        });
        let cut = [
            torn_batch.map(|found| found.offset),
            torn_gap.map(|gap| gap.start),
        ]
        .into_iter()
        .flatten()
        .min();
        if let Some(show) = self.show.filter(|_| !inside) {
            // What a live writer is at is none of a reader's business.
            let end = survey
                .batches
                .iter()
                .find(|found| found.head.batch > show)
                .map(|found| found.offset);
            if let Some(end) = end.into_iter().chain(cut).min() {
                survey.end_at(end);
                return Verdict::End;
            }
        }
        if let Some(cut) = cut {
            survey.end_at(cut);
            return Verdict::Cut;
        }
        let last = survey
            .batches
            .last()
            .map_or(self.last_batch, |found| found.head.batch);
        let looks = scanner.looks(survey.end);
        if inside && looks == Looks::Empty {
            Verdict::End
        } else {
            decide(
                inside,
                Switch::EndAcknowledged.on() && last < self.durable,
                looks,
            )
        }
    }

    /// Whether the segment's last batch is really its last: the next segment, the footer or the marks know. If not,
    /// what is left of the batches behind it is looked for; returns whether that was so.
    pub(super) fn check_chain(
        &mut self,
        listed: &Listed,
        scanner: &mut Scanner,
        survey: &Survey,
        places: &mut Places,
        later: &[Listed],
        rest: Verdict,
    ) -> Result<bool> {
        // Damage may lie in front of a torn batch that is cut off: then nothing else would look there.
        let hole = survey.last_gap().filter(|_| Switch::HoleBeforeCut.on());
        let gap = match &hole {
            Some(hole) => hole.clone(),
            None => survey.end..scanner.written_to(survey.end),
        };
        let expected = match later.first() {
            Some(next) => next.segment.first_record(),
            None if hole.is_some() => {
                let unknown = self.first_unknown(listed, scanner, &gap);
                unknown.max(survey.behind.unwrap_or(0))
            }
            None if rest == Verdict::Hole => self.first_unknown(listed, scanner, &gap),
            None => return Ok(false),
        };
        // A segment may be empty: made before a crash, or given up at its first batch.
        let previous = later.split_last().and_then(|(_, between)| {
            let first = between.iter().find_map(Listed::first_previous);
            first.or(self.last_previous)
        });
        let missing = match (previous, listed.known_next()) {
            (Some(previous), _) => previous != self.last_crc,
            (None, Some(next)) if !later.is_empty() => next > self.next_record,
            (None, _) => later.is_empty() || self.last_batch < self.durable,
        };
        let lost = Switch::ChainEnd.on() && missing && expected > self.next_record;
        if lost {
            let room = match hole {
                Some(hole) => hole.end - hole.start,
                None => self.room_behind(gap.start, listed, expected, scanner.limit),
            };
            self.read_gap(listed, scanner, (gap, room), expected, places)?;
            if later.is_empty() {
                // The next batch must not seem to follow the last good one, or no later opening would look here.
                self.last_crc ^= Switch::ChainTurned.some(u32::MAX).unwrap_or(0);
            }
        }
        Ok(lost)
    }

    /// How many bytes the records before `next` may have taken behind `from`, whatever is there now: sectors may have become zeroes.
    /// Where the file ends there it may have been cut off, and held as much as a segment does.
    fn room_behind(&self, from: u64, listed: &Listed, next: u64, limit: u64) -> u64 {
        let of_tail = match self.tail.next_record() >= next {
            true => self.tail.end_in(listed.segment.number()),
            false => 0,
        };
        let known = listed.known_end().unwrap_or(of_tail);
        let end = if known > from { known } else { limit };
        match end.saturating_sub(from) {
            room if room < SECTOR as u64 => self.segment_len,
            room => room,
        }
    }

    /// The number behind all that the end of the log can hold: the marks say one, and so does what is found there.
    fn first_unknown(&self, listed: &Listed, scanner: &mut Scanner, gap: &Range<u64>) -> u64 {
        let len = usize::try_from(gap.end - gap.start).unwrap_or(usize::MAX);
        let most = (len / record::HEADER) as u64;
        let numbers = self.next_record..self.next_record + most.max(1);
        let (place, bytes) = (listed.segment.place, scanner.get(gap.start, len));
        let salvage = salvage(place, bytes, &numbers);
        let records = salvage.pieces.iter();
        let records = records.map(|piece| piece.frame.header.number);
        let bodies = salvage.bodies.iter().map(|(_, body)| body.number);
        let found = records.chain(bodies).max().unwrap_or(self.next_record);
        // What the disk does not give now may come back: its numbers must not have been given to others by then.
        let hidden = scanner.unread_len(gap.clone()) / record::HEADER as u64;
        self.marked.max(found + 1 + hidden)
    }

    /// The last segment is where writing goes on, unless what lies behind its end must not be touched.
    pub(super) fn end_of_log(
        &mut self,
        listed: &Listed,
        survey: &Survey,
        rest: Verdict,
        scanner: &mut Scanner,
        ended: &mut Vec<Edit>,
    ) -> Result<Option<Active>> {
        if rest == Verdict::Hole {
            ended.push(Edit {
                what: What::Ended,
                end: scanner.written_to(survey.end),
                next_record: self.next_record,
                ..edit_of(&listed.segment, What::Ended)
            });
            return Ok(None);
        }
        if rest == Verdict::Cut {
            self.report.cut = Some(Cut {
                segment: listed.segment.path().to_owned(),
                offset: survey.end,
                len: scanner.written_to(survey.end) - survey.end,
                quarantine: None,
            });
        }
        let unsure = |found: &&Found| found.head.batch > self.durable;
        self.unsure = survey.batches.iter().find(unsure).map(|found| found.offset);
        let file = listed.segment.file()?;
        let capacity = file.len().unwrap_or(0).max(survey.end);
        let batches = survey.batches.iter().map(|found| u64::from(found.head.len));
        Ok(Some(Active {
            syncing: Syncing::new(&listed.segment, &file),
            segment: Arc::clone(&listed.segment),
            ahead: Ahead::of(&*file),
            file,
            end: survey.end,
            capacity,
            unsynced: false,
            unsynced_bytes: 0,
            batches: survey.batches.len() as u64,
            batch_bytes: batches.sum(),
            pace: None,
        }))
    }
}
