//! Where records lie, by number.

use std::ops::Range;

use crate::format::body::BodyHeader;
use crate::format::footer::RecordAt;
use crate::format::record;

/// Numbers that failed batches burned, at most, in one segment: each takes room in memory and in the footer.
const BURNED_MAX: u64 = 1 << 20;

/// How many numbers batches take that end at offset `end` of their segment, at most. The writer begins a new segment before
/// there are more, and what claims more is not sound: a number is never a reason to ask for memory.
pub(super) fn room(end: u64) -> u64 {
    end / record::HEADER as u64 + BURNED_MAX
}

/// The places of a segment's records from one of them on; empty for a number that was burned or whose record is lost.
#[derive(Clone, Debug)]
pub(super) struct Places {
    first: u64,
    list: Vec<RecordAt>,
}

impl Places {
    /// None yet; those from number `first` on are to come.
    pub(super) fn from(first: u64) -> Self {
        Self {
            first,
            list: Vec::new(),
        }
    }

    /// The first number that it can tell of.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// The number behind the last one.
    pub(super) fn next(&self) -> u64 {
        self.first + self.list.len() as u64
    }

    /// All of them, the first one's in front.
    pub(super) fn list(&self) -> &[RecordAt] {
        &self.list
    }

    /// Where record `number` lies.
    pub(super) fn get(&self, number: u64) -> Option<RecordAt> {
        self.list.get(self.index(number)?).copied()
    }

    /// Whether one of these numbers that it has reached has no record.
    pub(super) fn lacks_one(&self, numbers: &Range<u64>) -> bool {
        let end = numbers.end.min(self.next());
        let range = self.index(numbers.start).zip(self.index(end));
        let known = range.and_then(|(from, to)| self.list.get(from..to));
        known.is_some_and(|known| known.iter().any(|place| place.frame == 0))
    }

    /// Notes where record `number` lies. One in front of the first is passed over.
    pub(super) fn put(&mut self, number: u64, at: RecordAt) {
        let Some(index) = self.index(number) else {
            return;
        };
        // Whoever reads looks only for numbers that the file has `room` for.
        if index >= self.list.len() {
            self.list.resize(index + 1, RecordAt::default());
        }
        if let Some(place) = self.list.get_mut(index) {
            *place = at;
        }
    }

    /// Notes where bodies lie whose records are lost: an image or a base may yet have their entries. `start` is where the
    /// bytes begin in which they were found.
    pub(super) fn put_bodies(&mut self, start: u64, bodies: &[(usize, BodyHeader<'static>)]) {
        for (at, body) in bodies {
            if self.get(body.number).is_none_or(|place| place.frame == 0) {
                self.put(body.number, place_at(0, start + *at as u64));
            }
        }
    }

    /// Adds the records from `first` on, behind all others; numbers between that were burned stay empty.
    pub(super) fn extend(&mut self, first: u64, added: impl Iterator<Item = RecordAt>) {
        // A gap is numbers that failed groups burned: 8 bytes each, and no more of them than there is `room` for.
        if let Some(at) = self.index(first).filter(|at| *at > self.list.len()) {
            self.list.resize(at, RecordAt::default());
        }
        self.list.extend(added);
    }

    /// Makes it reach up to number `next`, or ends it there.
    pub(super) fn end_at(&mut self, next: u64) {
        let len = self.index(next).unwrap_or(0);
        self.list.resize(len, RecordAt::default());
    }

    /// Puts those in front that lie there.
    pub(super) fn lead(&mut self, mut front: Self) {
        if front.first < self.first {
            front.end_at(self.first);
            front.list.append(&mut self.list);
            *self = front;
        }
    }

    /// Takes over what was found of its records and is not here.
    pub(super) fn fill(&mut self, found: &Self) {
        for (number, place) in (self.first..).zip(&mut self.list) {
            let found = found.get(number).unwrap_or_default();
            if place.frame == 0 {
                place.frame = found.frame;
            }
            if place.body == 0 {
                place.body = found.body;
            }
        }
    }

    fn index(&self, number: u64) -> Option<usize> {
        usize::try_from(number.checked_sub(self.first)?).ok()
    }
}

/// The place of a record and its body.
pub(super) fn place_at(frame: u64, body: u64) -> RecordAt {
    let narrow = |at: u64| u32::try_from(at).unwrap_or(0);
    RecordAt {
        frame: narrow(frame),
        body: narrow(body),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(frame: u32) -> RecordAt {
        RecordAt { frame, body: 0 }
    }

    /// Goal: what is put is found by number, nothing else is, and burned numbers take their room.
    #[test]
    fn places_are_found_by_number() {
        let mut places = Places::from(10);
        places.put(9, at(1));
        places.put(12, at(2));
        places.extend(15, [at(3), at(4)].into_iter());
        let found: Vec<_> = (8..18).map(|number| places.get(number)).collect();
        let empty = Some(RecordAt::default());
        let expected = [None, None, empty, empty, Some(at(2)), empty, empty];
        assert_eq!(found[..7], expected);
        assert_eq!(found[7..], [Some(at(3)), Some(at(4)), None]);
        assert_eq!((places.first(), places.next()), (10, 17));
        assert!(places.lacks_one(&(10..13)) && places.lacks_one(&(14..99)));
        assert!(!places.lacks_one(&(15..99)) && !places.lacks_one(&(12..13)));
    }

    /// Goal: what is read later lies in front, as much of it as fits there.
    #[test]
    fn the_front_is_joined() {
        for front_len in [0, 1, 3, 7] {
            let mut places = Places::from(13);
            places.extend(13, [at(13), at(14)].into_iter());
            let mut front = Places::from(10);
            front.extend(10, (10..10 + front_len).map(at));
            places.lead(front);
            let known = 3.min(front_len);
            let expected = (10..10 + known).map(at);
            let expected = expected.chain((known..3).map(|_| at(0)));
            let expected: Vec<_> = expected.chain([at(13), at(14)]).collect();
            assert_eq!((places.first(), places.list()), (10, &expected[..]));
        }
        let mut places = Places::from(13);
        places.lead(Places::from(13));
        assert_eq!(places.next(), 13);
    }
}
