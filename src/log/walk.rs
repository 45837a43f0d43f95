//! Going over all records of a segment that can be read: those of sound batches, and those found in between.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use super::places::{Places, place_at};
use super::scan::{Scanner, Survey, salvage};
use crate::error::Result;
use crate::format::PAGE;
use crate::format::change::BodyAt;
use crate::format::footer::RecordAt;
use crate::format::record::{self, Frame};
use crate::format::segment::Place;
use crate::io::File;

/// A record that was found.
#[derive(Debug)]
pub(super) struct Walked<'a> {
    pub(super) frame: Frame<'a>,
    pub(super) at: RecordAt,
}

/// What a segment holds.
#[derive(Debug)]
pub(super) struct Found {
    /// From the first number that was asked for on.
    pub(super) places: Places,
    /// Behind the last byte that belongs to the log.
    pub(super) end: u64,
    /// What the disk said where it did not give a page.
    pub(super) refusal: Option<Arc<std::io::Error>>,
    /// The first page that it did not give.
    pub(super) refused: Option<u64>,
}

/// Finds all records of the file whose numbers are in `numbers` (from there on, where its end is 0, which is "not known"),
/// up to `limit` (0: to the end of the file).
pub(super) fn places(
    file: &Arc<dyn File>,
    place: Place,
    limit: u64,
    numbers: Range<u64>,
) -> Result<Found> {
    // A file whose length the system does not tell reads as empty.
    let (len, untold) = match file.len() {
        Ok(len) => (len, None),
        Err(error) => (0, Some(Arc::new(error))),
    };
    let limit = if limit == 0 { len } else { limit.min(len) };
    let mut scanner = Scanner::new(Arc::clone(file), place, numbers.start, limit);
    let survey = scanner.survey(PAGE as u64);
    let mut places = Places::from(numbers.start);
    let last = known_of(&survey, &numbers).max(numbers.end);
    let within = numbers.start..last.min(scanner.reach);
    let _ = walk(&mut scanner, &survey, within, &mut |walked| {
        places.put(walked.frame.header.number, walked.at);
        ControlFlow::Continue(())
    });
    if numbers.end > numbers.start {
        // At most what was found and what the bytes can hold: the list could say anything.
        let most = numbers.start + limit / record::HEADER as u64;
        places.end_at(numbers.end.min(most.max(places.next())));
    }
    find_bodies(&mut scanner, &survey, &mut places);
    // Numbers that no batch has were burned, or their batch is damaged and its bytes are kept. If there are none, what
    // follows is at most half a footer.
    let end = if last > known_of(&survey, &numbers) {
        scanner.written_to(survey.end)
    } else {
        survey.end
    };
    Ok(Found {
        places,
        end,
        refused: scanner.first_unreadable(),
        refusal: scanner.refusal.or(untold),
    })
}

/// The number behind the last record of the last sound batch.
fn known_of(survey: &Survey, numbers: &Range<u64>) -> u64 {
    let batches = survey.batches.last();
    batches.map_or(numbers.start, |found| {
        found.head.first_record + u64::from(found.head.count)
    })
}

/// Shows every record of `numbers` that can be read to `each`, in order of its place.
pub(super) fn walk(
    scanner: &mut Scanner,
    survey: &Survey,
    numbers: Range<u64>,
    each: &mut dyn FnMut(Walked<'_>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let mut next = numbers.start;
    let mut gaps = survey.gaps.iter().peekable();
    for found in &survey.batches {
        while let Some(gap) = gaps.next_if(|gap| gap.start < found.offset) {
            let within = next.max(numbers.start)..found.head.first_record.min(numbers.end);
            walk_gap(scanner, gap.clone(), within, each)?;
        }
        next = found.head.first_record + u64::from(found.head.count);
        let records_at = found.offset + found.head.head_len() as u64;
        let bodies_at = found.offset + found.head.bodies_at() as u64;
        for piece in scanner.records(found).0 {
            if !numbers.contains(&piece.frame.header.number) {
                continue;
            }
            let body = match piece.frame.body() {
                Some(BodyAt::Here(at)) => bodies_at + u64::from(at),
                _ => 0,
            };
            let at = place_at(records_at + piece.at as u64, body);
            each(Walked {
                frame: piece.frame,
                at,
            })?;
        }
    }
    let end = scanner.written_to(survey.end);
    let within = next.max(numbers.start)..numbers.end;
    walk_gap(scanner, survey.end..end, within, each)
}

/// A range where no batch begins: records and bodies are looked for one by one.
fn walk_gap(
    scanner: &mut Scanner,
    gap: Range<u64>,
    numbers: Range<u64>,
    each: &mut dyn FnMut(Walked<'_>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    if gap.is_empty() || numbers.is_empty() {
        return ControlFlow::Continue(());
    }
    let place = scanner.place;
    let len = usize::try_from(gap.end - gap.start).unwrap_or(usize::MAX);
    let bytes = scanner.get(gap.start, len).to_vec();
    let found = salvage(place, &bytes, &numbers);
    for piece in &found.pieces {
        let body = found.body_of(piece.frame.header.number);
        let body = body.map_or(0, |at| gap.start + at as u64);
        let at = place_at(gap.start + piece.at as u64, body);
        each(Walked {
            frame: piece.frame,
            at,
        })?;
    }
    ControlFlow::Continue(())
}

/// Looks for the bodies of records that were not found, in the batches that should have them and in between.
fn find_bodies(scanner: &mut Scanner, survey: &Survey, places: &mut Places) {
    let all = places.first()..places.next();
    if !places.lacks_one(&all) {
        return;
    }
    let batches = survey.batches.iter().map(|found| {
        let from = found.head.first_record;
        let numbers = from..from + u64::from(found.head.count);
        let bodies = found.offset + found.head.bodies_at() as u64;
        (bodies..found.offset + u64::from(found.head.len), numbers)
    });
    let behind = survey.end..scanner.written_to(survey.end);
    let gaps = survey.gaps.iter().cloned().chain([behind]);
    for (range, numbers) in batches.chain(gaps.map(|gap| (gap, all.clone()))) {
        if places.lacks_one(&numbers) && !range.is_empty() {
            let len = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
            let place = scanner.place;
            let found = salvage(place, scanner.get(range.start, len), &numbers);
            places.put_bodies(range.start, &found.bodies);
        }
    }
}
