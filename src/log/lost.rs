//! What is known of records that are lost: a message's body says whose it is.

use std::ops::RangeInclusive;
use std::sync::Arc;

use super::scan::search_bodies;
use super::segment::Segment;
use super::{Log, LostMessage};
use crate::error::Result;
use crate::format::PAGE;

impl Log {
    /// The messages that these records brought, as far as their bodies are there. `numbers` ascend.
    ///
    /// # Cost
    /// Reads each segment that held one once, from front to back.
    pub(crate) fn lost_messages(&self, numbers: &[u64]) -> Vec<LostMessage> {
        let segments = Arc::clone(&self.shared.segments.read());
        let nexts = segments.iter().skip(1).map(|next| next.first_record());
        let mut found = Vec::new();
        for (segment, next) in segments.iter().zip(nexts.chain([u64::MAX])) {
            let from = numbers.partition_point(|number| *number < segment.first_record());
            let to = numbers.partition_point(|number| *number < next);
            let here = numbers.get(from..to).unwrap_or_default();
            if !here.is_empty() {
                // What cannot be opened tells nothing.
                found.extend(lost_in(segment, here).unwrap_or_default());
            }
        }
        found
    }
}

impl Log {
    /// How many bytes these records, which cannot be read, have taken at most: from where the first of them lies, or the one
    /// before it does, to where the next one does.
    ///
    /// # Cost
    /// Goes over the places of all records in each segment that held one.
    pub(crate) fn room_of(&self, numbers: RangeInclusive<u64>) -> u64 {
        let segments = Arc::clone(&self.shared.segments.read());
        let (first, last) = numbers.into_inner();
        let after = segments.partition_point(|segment| segment.first_record() <= last);
        let from = segments.partition_point(|segment| segment.first_record() <= first);
        let held = segments.get(from.saturating_sub(1)..after);
        let held = held.unwrap_or_default().iter();
        held.map(|segment| room_in(segment, first, last)).sum()
    }
}

fn room_in(segment: &Segment, first: u64, last: u64) -> u64 {
    let len = segment
        .file()
        .and_then(|file| file.len().map_err(segment.io("look at")));
    let end = segment.end().max(len.unwrap_or(0));
    let mut room = PAGE as u64..end;
    let places = segment.places().unwrap_or_default();
    let places = (segment.first_record()..).zip(places);
    for (number, place) in places.filter(|(_, place)| place.frame != 0) {
        if number <= first {
            room.start = place.frame.into();
        } else if number > last {
            room.end = place.frame.into();
            break;
        }
    }
    room.end.saturating_sub(room.start)
}

fn lost_in(segment: &Segment, numbers: &[u64]) -> Result<Vec<LostMessage>> {
    let mut scanner = segment.scanner()?;
    let survey = scanner.survey(PAGE as u64);
    let wanted = |number: u64| numbers.binary_search(&number).is_ok();
    let batches = survey.batches.iter().filter(|found| {
        let first = found.head.first_record;
        (first..first + u64::from(found.head.count)).any(wanted)
    });
    let batches = batches.map(|found| found.offset..found.offset + u64::from(found.head.len));
    let mut found = Vec::new();
    let first = numbers.first().copied().unwrap_or(0);
    let around = first..numbers.last().map_or(first, |last| last.saturating_add(1));
    for range in batches.chain(survey.gaps.iter().cloned()) {
        let len = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        let bytes = scanner.get(range.start, len);
        for (_, body) in search_bodies(segment.place, bytes, &around) {
            if wanted(body.number) {
                found.push(LostMessage {
                    account: body.account,
                    mailbox: body.mailbox,
                    uid: body.uid,
                    record: body.number,
                });
            }
        }
    }
    Ok(found)
}
