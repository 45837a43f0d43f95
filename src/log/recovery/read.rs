//! Replay: every record of every segment goes to the folds, in order of its number; what is not there is noted.

use std::collections::BTreeSet;
use std::ops::Range;

use super::Verdict;
use super::list::Listed;
use super::opening::Opening;
use super::report::{Break, Hole, LostMessage};
use super::witness;
use crate::error::Result;
use crate::format::PAGE;
use crate::format::body::BodyHeader;
use crate::format::change::{BodyAt, Change};
use crate::format::record::{Class, Frame};
use crate::format::segments::Edit;
use crate::log::places::{Places, place_at};
use crate::log::position::Position;
use crate::log::scan::{Found, Piece, Scanner, Survey, salvage, search_bodies};
use crate::log::segment::Segment;
use crate::log::writer::Active;
use crate::switch::Switch;

impl Opening<'_> {
    /// Reads all segments in order; returns the one to go on with. `last` is the survey of the last one.
    pub(super) fn read_all(
        &mut self,
        segments: &[Listed],
        mut last: Option<(Scanner, Survey)>,
        ended: &mut Vec<Edit>,
    ) -> Result<Option<Active>> {
        let mut active = None;
        for (at, listed) in segments.iter().enumerate().skip(self.start.at) {
            self.report.segments += 1;
            let later = segments.get(at + 1..).unwrap_or_default();
            let known = last.take_if(|_| later.is_empty());
            let from = self.offset_in(at);
            let (mut scanner, mut survey) = match known {
                Some(known) => known,
                None => {
                    let mut scanner = listed.checked_scanner()?;
                    let survey = scanner.survey(from);
                    (scanner, survey)
                }
            };
            let inside = !later.is_empty() || listed.is_finished();
            let rest = self.judge(&mut scanner, &mut survey, inside);
            let mut places = Places::from(if from == PAGE as u64 {
                listed.segment.first_record()
            } else {
                self.next_record.max(listed.segment.first_record())
            });
            self.read_segment(listed, &mut scanner, &survey, &mut places)?;
            let lost = self.check_chain(listed, &mut scanner, &survey, &mut places, later, rest)?;
            // What is damaged there is kept: a footer goes behind it. Else what follows is at most half a footer, and there
            // is none behind the last segment.
            let damaged = if inside { lost } else { rest == Verdict::Hole };
            let end = if damaged {
                scanner.written_to(survey.end)
            } else {
                survey.end
            };
            self.damaged |= scanner.written_from(survey.end).is_some();
            listed.segment.set_end(end);
            listed.segment.set_places(places, from);
            self.report.unreadable += scanner.unreadable.len() as u64;
            if let Some(refusal) = &scanner.refusal {
                listed.segment.set_refusal(refusal);
                self.report.blank += u64::from(survey.batches.is_empty());
            }
            if listed.is_sealed() {
                listed.load_footer(&mut self.report)?;
            } else if !inside {
                active = self.end_of_log(listed, &survey, rest, &mut scanner, ended)?;
            }
        }
        if Switch::TailSegmentGone.on()
            && active.is_none()
            && self.tail.next_record() > self.next_record
        {
            // The segment that TAIL speaks of is not there at all.
            let path = self.storage.describe();
            let numbers = self.next_record..self.tail.next_record();
            self.lose(&path, (0..0, self.segment_len), numbers, &[]);
        }
        Ok(active)
    }

    /// Replays what is there, in order, and notes what is not.
    fn read_segment(
        &mut self,
        listed: &Listed,
        scanner: &mut Scanner,
        survey: &Survey,
        places: &mut Places,
    ) -> Result<()> {
        let mut gaps = survey.gaps.iter().peekable();
        for found in &survey.batches {
            while let Some(gap) = gaps.next_if(|gap| gap.start < found.offset) {
                let room = gap.end - gap.start;
                self.read_gap(
                    listed,
                    scanner,
                    (gap.clone(), room),
                    found.head.first_record,
                    places,
                )?;
            }
            self.read_batch(listed, scanner, found, places)?;
        }
        Ok(())
    }

    fn read_batch(
        &mut self,
        listed: &Listed,
        scanner: &mut Scanner,
        found: &Found,
        places: &mut Places,
    ) -> Result<()> {
        let numbers =
            found.head.first_record..found.head.first_record + u64::from(found.head.count);
        let follows = self.last_crc == found.head.previous;
        if !follows && numbers.start == self.next_record && !self.damaged {
            self.report.breaks.push(Break {
                segment: listed.segment.path().to_owned(),
                offset: found.offset,
            });
        }
        self.damaged = false;
        if Switch::ChainBroken.on() && !follows && numbers.start > self.next_record {
            self.lose(
                listed.segment.path(),
                (found.offset..found.offset, self.segment_len),
                self.next_record..numbers.start,
                &[],
            );
        }
        let records_at = found.offset + found.head.head_len() as u64;
        let bodies_at = found.offset + found.head.bodies_at() as u64;
        let (pieces, complete) = scanner.records(found);
        for piece in &pieces {
            let change = self.feed(&listed.segment, records_at + piece.at as u64, &piece.frame)?;
            let body = match change.as_ref().and_then(Change::body) {
                Some(BodyAt::Here(at)) => bodies_at + u64::from(at),
                _ => 0,
            };
            let at = place_at(records_at + piece.at as u64, body);
            places.put(piece.frame.header.number, at);
        }
        if !complete {
            let here = numbers_of(&pieces);
            let end = found.offset + u64::from(found.head.len);
            let bytes = scanner.get(bodies_at, usize::try_from(end - bodies_at).unwrap_or(0));
            let bodies = search_bodies(listed.segment.place, bytes, &numbers);
            places.put_bodies(bodies_at, &bodies);
            let room = end - found.offset;
            self.lose_some(
                listed,
                (found.offset..end, room),
                numbers.clone(),
                &here,
                &bodies,
            );
        }
        self.report.batches += 1;
        self.last_batch = self.last_batch.max(found.head.batch);
        self.last_crc = found.head.crc();
        self.next_record = self.next_record.max(numbers.end);
        // For writing, all that was read is synced before it is shown. A reader knows of what the marks say.
        if self.show.is_none() || found.head.batch <= self.durable {
            let (store, segment) = (self.witness.store, listed.segment.number());
            self.witness = witness::of(store, segment, found.offset, &found.head);
        }
        self.position = Some(Position {
            segment: listed.segment.number(),
            generation: listed.segment.header.generation,
            offset: found.offset + u64::from(found.head.len),
            last: found.offset,
            next_record: numbers.end,
            batch: found.head.batch,
            crc: found.head.crc(),
            highest_segment: 0,
        });
        Ok(())
    }

    /// A range where no batch begins: records and bodies are looked for one by one.
    pub(super) fn read_gap(
        &mut self,
        listed: &Listed,
        scanner: &mut Scanner,
        (gap, room): (Range<u64>, u64),
        before: u64,
        places: &mut Places,
    ) -> Result<()> {
        let numbers = self.next_record..before;
        let len = usize::try_from(gap.end - gap.start).unwrap_or(usize::MAX);
        let bytes = scanner.get(gap.start, len).to_vec();
        let place = listed.segment.place;
        let found = salvage(place, &bytes, &(numbers.start..before.min(scanner.reach)));
        for piece in &found.pieces {
            let number = piece.frame.header.number;
            let at = gap.start + piece.at as u64;
            self.feed(&listed.segment, at, &piece.frame)?;
            let body = found.body_of(number);
            let body = body.map_or(0, |at| gap.start + at as u64);
            places.put(number, place_at(at, body));
        }
        places.put_bodies(gap.start, &found.bodies);
        self.lose_some(
            listed,
            (gap, room),
            numbers,
            &numbers_of(&found.pieces),
            &found.bodies,
        );
        self.next_record = self.next_record.max(before);
        self.damaged = true;
        Ok(())
    }

    /// Hands a record to the folds.
    fn feed(&mut self, segment: &Segment, at: u64, frame: &Frame<'_>) -> Result<Option<Change>> {
        self.report.records += 1;
        let change = match frame.change() {
            Ok(change) => change,
            Err(fault) if fault.is_newer() => match frame.class {
                Class::Ignorable => return Ok(None),
                Class::ReadOnlySafe => {
                    self.newer = Some(frame.kind);
                    return Ok(None);
                }
                Class::MustKnow => return Err(segment.fault(at, fault)),
            },
            Err(fault) => return Err(segment.fault(at, fault)),
        };
        if let Change::Fence(fence) = &change {
            self.fenced.push((fence.first_lost, fence.last_lost));
        }
        if let Some(BodyAt::Segment(number)) = change.body() {
            self.large.insert(number);
        }
        self.replay.replay(&frame.header, &change);
        Ok(Some(change))
    }

    /// Notes that those of `numbers` are lost, in runs, that are not `here`; `bodies` were found and tell which messages they
    /// were.
    fn lose_some(
        &mut self,
        listed: &Listed,
        at: (Range<u64>, u64),
        numbers: Range<u64>,
        here: &BTreeSet<u64>,
        bodies: &[(usize, BodyHeader<'static>)],
    ) {
        // The numbers say what the lists claim: they are never gone through one by one.
        let mut next = numbers.start;
        for end in here.iter().copied().chain([numbers.end]) {
            if next < end {
                self.lose(listed.segment.path(), at.clone(), next..end, bodies);
            }
            next = end + 1;
        }
    }

    fn lose(
        &mut self,
        path: &str,
        (at, room): (Range<u64>, u64),
        numbers: Range<u64>,
        bodies: &[(usize, BodyHeader<'static>)],
    ) {
        for (_, body) in bodies
            .iter()
            .filter(|(_, body)| numbers.contains(&body.number))
        {
            self.report.lost.push(LostMessage {
                account: body.account,
                mailbox: body.mailbox,
                uid: body.uid,
                record: body.number,
            });
        }
        self.report.holes.push(Hole {
            segment: path.to_owned(),
            from: at.start,
            to: at.end,
            first_lost: numbers.start,
            last_lost: numbers.end.saturating_sub(1),
            room,
        });
    }
}

fn numbers_of(pieces: &[Piece<'_>]) -> BTreeSet<u64> {
    let numbers = pieces.iter().map(|piece| piece.frame.header.number);
    numbers.collect()
}
