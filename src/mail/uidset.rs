//! Sets of UIDs, small where the UIDs are close together.

use std::fmt;

use super::id::Uid;

/// A set of UIDs, kept as inclusive ranges: sorted, and neither overlapping nor touching.
///
/// Equal sets are therefore equal values. A mailbox of a million messages without a gap is one range.
///
/// ```
/// use mailkeep::mail::{Uid, UidSet};
///
/// let set = UidSet::parse("7,1:3,2", None)?;
/// assert_eq!(set.to_string(), "1:3,7");
/// assert_eq!(set.len(), 4);
/// assert!(set.contains(Uid::MIN));
/// assert_eq!(UidSet::full().difference(&set).to_string(), "4:6,8:4294967295");
/// # Ok::<(), mailkeep::mail::UidSetError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct UidSet {
    ranges: Vec<(Uid, Uid)>,
}

impl UidSet {
    /// The empty set.
    #[must_use]
    pub const fn new() -> Self {
        Self { ranges: Vec::new() }
    }

    /// Every UID there can be.
    #[must_use]
    pub fn full() -> Self {
        Self {
            ranges: vec![(Uid::MIN, Uid::MAX)],
        }
    }

    /// Reads a `sequence-set` (RFC 9051, 9) such as `1:3,7,12:*`, in any order and with repetitions.
    ///
    /// `largest` is what `*` stands for: the largest UID in use. In an empty mailbox there is none, and an element
    /// with a `*` in it selects nothing. As the RFC says, `9:*` selects `largest` also where that is below 9.
    ///
    /// # Errors
    /// [`UidSetError`] says at which byte the text leaves the grammar. The variable `$` of a saved search is not a
    /// set yet, and refused.
    ///
    /// # Cost
    /// Sorts the elements of the text: memory and time follow the length of the text, not the numbers in it.
    pub fn parse(text: &str, largest: Option<Uid>) -> Result<Self, UidSetError> {
        let mut ranges = Vec::new();
        let mut index = 0;
        for element in text.split(',') {
            let (one, other) = match element.split_once(':') {
                Some((one, other)) => (
                    parse_end(one, index, largest)?,
                    parse_end(other, index + one.len() + 1, largest)?,
                ),
                None => [parse_end(element, index, largest)?; 2].into(),
            };
            if let (Some(one), Some(other)) = (one, other) {
                push(&mut ranges, one.min(other), one.max(other));
            }
            index += element.len() + 1;
        }
        Ok(Self::from_pushed(ranges))
    }

    /// The set of ranges that may be in any order and overlap.
    fn from_pushed(mut ranges: Vec<(Uid, Uid)>) -> Self {
        if !ranges.is_sorted() {
            ranges.sort_unstable();
        }
        let mut set = Self::new();
        for (first, last) in ranges {
            push(&mut set.ranges, first, last);
        }
        set
    }

    /// Puts `uid` into the set.
    ///
    /// # Cost
    /// Amortised constant for a UID above all others; else a binary search, and a move of the ranges behind it.
    pub fn insert(&mut self, uid: Uid) {
        self.insert_range(uid, uid);
    }

    /// Puts the UIDs from `first` to `last`, both included, into the set; nothing where `last` is below `first`.
    ///
    /// # Cost
    /// As [`insert`](Self::insert), however wide the range is.
    pub fn insert_range(&mut self, first: Uid, last: Uid) {
        if last < first {
            return;
        }
        if self.ranges.last().is_none_or(|(start, _)| *start <= first) {
            return push(&mut self.ranges, first, last);
        }
        // The ranges from `from` up to `to` overlap or touch the new one; it takes their place.
        let from = self
            .ranges
            .partition_point(|(_, end)| end.get() < first.get() - 1);
        let to = self
            .ranges
            .partition_point(|(start, _)| start.get() - 1 <= last.get());
        let joined = self.ranges.get(from..to).unwrap_or_default();
        let first = joined.first().map_or(first, |(start, _)| first.min(*start));
        let last = joined.last().map_or(last, |(_, end)| last.max(*end));
        self.ranges.splice(from..to, [(first, last)]);
    }

    /// Whether `uid` is in the set: a binary search over the ranges.
    #[must_use]
    pub fn contains(&self, uid: Uid) -> bool {
        let index = self.ranges.partition_point(|(_, last)| *last < uid);
        self.ranges
            .get(index)
            .is_some_and(|(first, _)| *first <= uid)
    }

    /// How many UIDs are in the set; takes a walk over the ranges.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.ranges
            .iter()
            .map(|(first, last)| u64::from(last.get() - first.get()) + 1)
            .sum()
    }

    /// Whether no UID is in the set.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The inclusive ranges, ascending, with at least one absent UID between any two.
    #[must_use]
    pub fn ranges(&self) -> &[(Uid, Uid)] {
        &self.ranges
    }

    /// The UIDs, ascending.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Uid> {
        self.ranges
            .iter()
            .flat_map(|(first, last)| first.get()..=last.get())
            .filter_map(Uid::new)
    }

    /// The UIDs of either set.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self::from_pushed([self.ranges(), other.ranges()].concat())
    }

    /// The UIDs of both sets.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let mut both = Vec::new();
        let (mut ours, mut theirs) = (
            self.ranges.iter().peekable(),
            other.ranges.iter().peekable(),
        );
        while let (Some((first, last)), Some((their_first, their_last))) =
            (ours.peek(), theirs.peek())
        {
            let (from, to) = (first.max(their_first), last.min(their_last));
            if from <= to {
                both.push((*from, *to));
            }
            // Whichever range ends first can meet nothing further on.
            if last < their_last {
                ours.next()
            } else {
                theirs.next()
            };
        }
        Self { ranges: both }
    }

    /// The UIDs of this set that are not in `other`.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        self.intersection(&other.complement())
    }

    /// The UIDs that are not in the set: the gaps before, between and after the ranges.
    fn complement(&self) -> Self {
        let mut gaps = Vec::with_capacity(self.ranges.len() + 1);
        let mut free = Some(Uid::MIN);
        for (first, last) in &self.ranges {
            if let (Some(from), Some(to)) = (free, Uid::new(first.get() - 1))
                && from <= to
            {
                gaps.push((from, to));
            }
            free = last.get().checked_add(1).and_then(Uid::new);
        }
        gaps.extend(free.map(|from| (from, Uid::MAX)));
        Self { ranges: gaps }
    }
}

/// Puts a range at the end of a list, joined to the range before it if it overlaps or touches that.
///
/// A list that is pushed to in order of `first` ends up as the ranges of a set. Out of order it may hold overlaps,
/// but no UID that was not pushed.
fn push(ranges: &mut Vec<(Uid, Uid)>, first: Uid, last: Uid) {
    match ranges.last_mut() {
        Some((start, end)) if *start <= first && first.get() - 1 <= end.get() => {
            *end = last.max(*end)
        }
        _ => ranges.push((first, last)),
    }
}

/// Reads one end of a range, which begins at byte `index` of the whole text; `*` may stand for nothing.
fn parse_end(text: &str, index: usize, largest: Option<Uid>) -> Result<Option<Uid>, UidSetError> {
    if text == "*" {
        return Ok(largest);
    }
    if let Some(other) = text.bytes().position(|byte| !byte.is_ascii_digit()) {
        return Err(UidSetError::Syntax {
            index: index + other,
        });
    }
    match text.as_bytes().first() {
        None => Err(UidSetError::Syntax { index }),
        Some(b'0') => Err(UidSetError::Number { index }),
        Some(_) => {
            let uid = text.parse().ok().and_then(Uid::new);
            uid.map(Some).ok_or(UidSetError::Number { index })
        }
    }
}

impl From<Uid> for UidSet {
    fn from(uid: Uid) -> Self {
        Self {
            ranges: vec![(uid, uid)],
        }
    }
}

impl FromIterator<Uid> for UidSet {
    /// Collects UIDs in any order; ascending ones take no more memory than their ranges.
    fn from_iter<I: IntoIterator<Item = Uid>>(uids: I) -> Self {
        let mut ranges = Vec::new();
        for uid in uids {
            push(&mut ranges, uid, uid);
        }
        Self::from_pushed(ranges)
    }
}

impl fmt::Display for UidSet {
    /// The shortest `sequence-set` (RFC 9051, 9): `1:3,7`. The empty set, which IMAP cannot write, is the empty text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (first, last)) in self.ranges.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{first}")?;
            if first != last {
                write!(f, ":{last}")?;
            }
        }
        Ok(())
    }
}

/// Why a text is not a [`UidSet`]. Fix the text; an IMAP server answers BAD.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UidSetError {
    /// A number or `*` is missing, or something else is in its place.
    #[error("expected a number or * in the UID set at byte {index}")]
    Syntax {
        /// Where, in bytes from 0.
        index: usize,
    },
    /// A number is 0, has a leading zero, or is too large.
    #[error("number in the UID set at byte {index} is not one of 1 to 4294967295")]
    Number {
        /// Where it begins, in bytes from 0.
        index: usize,
    },
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn uid(number: u32) -> Uid {
        Uid::new(number).unwrap()
    }

    fn set(text: &str) -> UidSet {
        if text.is_empty() {
            UidSet::new()
        } else {
            UidSet::parse(text, None).unwrap()
        }
    }

    /// Goal: text in any order becomes the one canonical form.
    #[test]
    fn parse_is_canonical() {
        for (text, expected) in [
            ("1", "1"),
            ("3:1", "1:3"),
            ("5,3,4,1", "1,3:5"),
            ("1:10,5:6,11", "1:11"),
            ("4294967295,1:4294967294", "1:4294967295"),
            ("9,1:20,2", "1:20"),
        ] {
            assert_eq!(set(text).to_string(), expected, "{text}");
        }
    }

    /// Goal: `*` is the largest UID, on either side of it, and nothing in an empty mailbox.
    #[test]
    fn star_is_the_largest() {
        let parse =
            |text, largest: Option<u32>| UidSet::parse(text, largest.map(uid)).unwrap().to_string();
        assert_eq!(parse("*", Some(9)), "9");
        assert_eq!(parse("4:*", Some(9)), "4:9");
        assert_eq!(parse("*:4", Some(9)), "4:9");
        assert_eq!(parse("12:*", Some(9)), "9:12");
        assert_eq!(parse("*:*,2", Some(9)), "2,9");
        assert_eq!(parse("2,4:*,*", None), "2");
    }

    /// Goal: everything outside the grammar is refused, at the right byte.
    #[test]
    fn parse_refuses() {
        let syntax = |index| Err(UidSetError::Syntax { index });
        let number = |index| Err(UidSetError::Number { index });
        for (text, expected) in [
            ("", syntax(0)),
            (",", syntax(0)),
            ("1,", syntax(2)),
            ("1:", syntax(2)),
            (":1", syntax(0)),
            ("1:2:3", syntax(3)),
            ("1, 2", syntax(2)),
            ("1,$", syntax(2)),
            ("12a", syntax(2)),
            ("**", syntax(0)),
            ("+1", syntax(0)),
            ("1,\u{661}", syntax(2)),
            ("0", number(0)),
            ("1:01", number(2)),
            ("3,4294967296", number(2)),
            ("99999999999999999999999", number(0)),
        ] {
            assert_eq!(UidSet::parse(text, Some(uid(9))), expected, "{text}");
        }
        let message = |text| UidSet::parse(text, None).unwrap_err().to_string();
        assert_eq!(
            message("1,"),
            "expected a number or * in the UID set at byte 2"
        );
        assert_eq!(
            message("0"),
            "number in the UID set at byte 0 is not one of 1 to 4294967295"
        );
    }

    /// Goal: ascending UIDs join one range; none makes the list longer than needed.
    #[test]
    fn ascending_inserts_stay_small() {
        let mut grown = UidSet::new();
        (1..=100_000).for_each(|number| grown.insert(uid(number)));
        assert_eq!(grown.ranges(), [(uid(1), uid(100_000))]);
        assert_eq!((1..=100_000).map(uid).collect::<UidSet>(), grown);
    }

    /// Goal: a range in the middle joins what it overlaps and what it touches, and nothing else.
    #[test]
    fn insert_range_joins_neighbours() {
        let insert = |first, last| {
            let mut grown = set("2:3,6,9:10,20");
            grown.insert_range(uid(first), uid(last));
            grown.to_string()
        };
        assert_eq!(insert(4, 5), "2:6,9:10,20");
        assert_eq!(insert(7, 7), "2:3,6:7,9:10,20");
        assert_eq!(insert(1, 30), "1:30");
        assert_eq!(insert(12, 13), "2:3,6,9:10,12:13,20");
        assert_eq!(insert(20, u32::MAX), "2:3,6,9:10,20:4294967295");
        assert_eq!(insert(5, 4), "2:3,6,9:10,20");
    }

    /// Goal: both ends of the number line work.
    #[test]
    fn extremes() {
        let full = UidSet::full();
        assert_eq!(full.len(), u64::from(u32::MAX));
        assert!(full.contains(Uid::MIN) && full.contains(Uid::MAX));
        assert_eq!(full.difference(&full), UidSet::new());
        assert_eq!(
            full.difference(&UidSet::from(Uid::MAX)).to_string(),
            "1:4294967294"
        );
        assert_eq!(
            full.difference(&UidSet::from(Uid::MIN)).to_string(),
            "2:4294967295"
        );
        assert_eq!(full.iter().next_back(), Some(Uid::MAX));
        let mut grown = full.clone();
        grown.insert(Uid::MAX);
        grown.insert(Uid::MIN);
        assert_eq!(grown, full);
        assert_eq!(
            (UidSet::new().to_string().as_str(), UidSet::new().len()),
            ("", 0)
        );
    }

    fn numbers() -> impl Strategy<Value = BTreeSet<u32>> {
        prop::collection::btree_set(1_u32..40, 0..30)
    }

    proptest! {
        /// Goal: the sets behave as sets of numbers do, in whatever order they are built, and stay canonical.
        #[test]
        fn agrees_with_a_btree_set(
            order in Just((1_u32..40).collect::<Vec<_>>()).prop_shuffle(),
            ours in numbers(),
            theirs in numbers(),
        ) {
            let mut inserted = UidSet::new();
            order.iter().filter(|number| ours.contains(number)).for_each(|number| inserted.insert(uid(*number)));
            let collected: UidSet = order.iter().filter(|number| ours.contains(number)).copied().map(uid).collect();
            let other: UidSet = theirs.iter().copied().map(uid).collect();
            prop_assert_eq!(&inserted, &collected);
            prop_assert_eq!(&set(&inserted.to_string()), &inserted);
            prop_assert_eq!(inserted.len(), ours.len() as u64);
            let gaps = |set: &UidSet| set.ranges().windows(2).all(|pair| pair[0].1.get() + 1 < pair[1].0.get());
            for (made, expected) in [
                (inserted.clone(), ours.clone()),
                (inserted.union(&other), &ours | &theirs),
                (inserted.intersection(&other), &ours & &theirs),
                (inserted.difference(&other), &ours - &theirs),
            ] {
                prop_assert!(gaps(&made), "{made}");
                prop_assert!(made.iter().map(Uid::get).eq(expected.iter().copied()), "{made}");
                prop_assert!((1..40).all(|number| made.contains(uid(number)) == expected.contains(&number)));
            }
        }
    }
}
