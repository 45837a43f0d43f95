//! The keyword sets of an account: each set that some entry has, once.
//!
//! Entries of a mailbox have few different sets, so an entry holds a number. A set that no entry has any more gives
//! its number back.

use std::collections::HashMap;
use std::sync::Arc;

use crate::mail::Keyword;

/// A set of keywords, sorted.
pub(crate) type KeywordSet = Arc<[Keyword]>;

/// The table. Cloning is one reference count; a change copies what a clone shares.
#[derive(Clone, Debug, Default)]
pub(crate) struct Keywords {
    table: Arc<Table>,
}

#[derive(Clone, Debug, Default)]
struct Table {
    /// Set number n is at n - 1: the set, and how many entries have it.
    sets: Vec<(KeywordSet, u64)>,
    numbers: HashMap<KeywordSet, u32>,
    free: Vec<u32>,
}

impl Keywords {
    /// The set of that number; number 0 is the empty set.
    pub(crate) fn get(&self, number: u32) -> &[Keyword] {
        let at = (number as usize).checked_sub(1);
        at.and_then(|at| self.table.sets.get(at))
            .map_or(&[], |(set, _)| set)
    }

    /// Counts one more entry with this set; returns its number.
    pub(crate) fn take(&mut self, set: &[Keyword]) -> u32 {
        if set.is_empty() {
            return 0;
        }
        let table = Arc::make_mut(&mut self.table);
        if let Some(number) = table.numbers.get(set).copied() {
            table.count(number, 1);
            return number;
        }
        let set: KeywordSet = set.into();
        let number = match table.free.pop() {
            Some(number) => number,
            None => {
                table.sets.push((Arc::from([]), 0));
                u32::try_from(table.sets.len()).unwrap_or(u32::MAX)
            }
        };
        table.numbers.insert(Arc::clone(&set), number);
        if let Some(place) = table.sets.get_mut(number as usize - 1) {
            *place = (set, 1);
        }
        number
    }

    /// Counts `number` again: one more entry with the set that another has.
    pub(crate) fn again(&mut self, number: u32) -> u32 {
        if number != 0 {
            Arc::make_mut(&mut self.table).count(number, 1);
        }
        number
    }

    /// One entry less has this set.
    pub(crate) fn release(&mut self, number: u32) {
        if number == 0 {
            return;
        }
        let table = Arc::make_mut(&mut self.table);
        if table.count(number, -1) == Some(0)
            && let Some((set, _)) = table.sets.get_mut(number as usize - 1)
        {
            let set = std::mem::replace(set, Arc::from([]));
            table.numbers.remove(&set);
            table.free.push(number);
        }
    }
}

impl Table {
    fn count(&mut self, number: u32, change: i64) -> Option<u64> {
        let (_, count) = self.sets.get_mut((number as usize).checked_sub(1)?)?;
        *count = count.saturating_add_signed(change);
        Some(*count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(words: &[&str]) -> Vec<Keyword> {
        words
            .iter()
            .map(|word| Keyword::new(word).unwrap())
            .collect()
    }

    /// Goal: a set is kept once, and its number is given back when nobody has it.
    #[test]
    fn sets_are_shared_and_reclaimed() {
        let mut keywords = Keywords::default();
        let one = keywords.take(&set(&["a", "b"]));
        assert_eq!(keywords.take(&set(&["a", "b"])), one);
        let snapshot = keywords.clone();
        keywords.release(one);
        keywords.release(one);
        assert_eq!(keywords.get(one), &[]);
        assert_eq!(keywords.take(&set(&["c"])), one, "the number is used again");
        assert_eq!(
            snapshot.get(one),
            set(&["a", "b"]),
            "a snapshot keeps its own"
        );
        assert_eq!(keywords.take(&[]), 0);
    }
}
