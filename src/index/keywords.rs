//! The keyword sets of an account: each set that some entry has, once.
//!
//! Entries of a mailbox have few different sets, so an entry holds a number. A set that no entry has any more gives
//! its number back.

use std::collections::HashMap;
use std::sync::Arc;

use crate::sync::Mutex;

use crate::mail::Keyword;

/// A set of keywords, sorted.
type KeywordSet = Arc<[Keyword]>;

/// Slots in a block: what a change copies that a clone shares.
const BLOCK: usize = 128;

/// The table. Cloning is a few reference counts; a change copies one block.
#[derive(Clone, Debug, Default)]
pub(crate) struct Keywords {
    /// Set number n is in slot n - 1.
    blocks: Arc<Vec<Arc<Vec<Slot>>>>,
    /// The first free number; the free ones are a list through their slots. 0 ends it.
    free: u32,
    /// Where a set was seen last. Shared by all clones and therefore a hint: the slot says whether it is true.
    hints: Arc<Mutex<HashMap<KeywordSet, u32>>>,
}

#[derive(Clone, Debug)]
enum Slot {
    /// A set, and how many entries have it.
    Used(KeywordSet, u64),
    /// Free; the next free number.
    Free(u32),
}

impl Keywords {
    fn slot(&self, number: u32) -> Option<&Slot> {
        let at = (number as usize).checked_sub(1)?;
        self.blocks.get(at / BLOCK)?.get(at % BLOCK)
    }

    fn slot_mut(&mut self, number: u32) -> Option<&mut Slot> {
        let at = (number as usize).checked_sub(1)?;
        let block = Arc::make_mut(&mut self.blocks).get_mut(at / BLOCK)?;
        Arc::make_mut(block).get_mut(at % BLOCK)
    }

    /// All sets in the order of their numbers, from 1 on; an empty one is a number that is free.
    pub(crate) fn sets(&self) -> impl Iterator<Item = &[Keyword]> {
        let slots = self.blocks.iter().flat_map(|block| block.iter());
        slots.map(|slot| match slot {
            Slot::Used(set, _) => &**set,
            Slot::Free(_) => &[],
        })
    }

    /// A table of sets, each with the number of entries that have it, in the order of their numbers from 1 on. The
    /// number of a set that no entry has is free.
    pub(crate) fn from_sets(sets: Vec<(Vec<Keyword>, u64)>) -> Self {
        let mut free = 0;
        let mut hints = HashMap::new();
        let mut slots = Vec::with_capacity(sets.len());
        for (number, (set, count)) in (1..).zip(sets) {
            slots.push(if count == 0 || set.is_empty() {
                Slot::Free(std::mem::replace(&mut free, number))
            } else {
                let set = KeywordSet::from(set);
                hints.insert(Arc::clone(&set), number);
                Slot::Used(set, count)
            });
        }
        // Full but for the last, as `place` needs it.
        let blocks = slots.chunks(BLOCK).map(|block| Arc::new(block.to_vec()));
        Self {
            blocks: Arc::new(blocks.collect()),
            free,
            hints: Arc::new(Mutex::new(hints)),
        }
    }

    /// The set of that number; number 0 is the empty set.
    pub(crate) fn get(&self, number: u32) -> &[Keyword] {
        match self.slot(number) {
            Some(Slot::Used(set, _)) => set,
            _ => &[],
        }
    }

    /// Counts one more entry with this set; returns its number.
    pub(crate) fn take(&mut self, set: &[Keyword]) -> u32 {
        if set.is_empty() {
            return 0;
        }
        let hint = self.hints.lock().get(set).copied();
        if let Some(number) = hint.filter(|number| self.get(*number) == set) {
            return self.again(number);
        }
        let set: KeywordSet = set.into();
        let number = self.place(Slot::Used(Arc::clone(&set), 1));
        self.hints.lock().insert(set, number);
        number
    }

    /// Puts a slot in a free place, or at the end.
    fn place(&mut self, slot: Slot) -> u32 {
        let number = self.free;
        if let Some(place) = self.slot_mut(number) {
            let next = match std::mem::replace(place, slot) {
                Slot::Free(next) => next,
                Slot::Used(..) => 0,
            };
            self.free = next;
            return number;
        }
        let blocks = Arc::make_mut(&mut self.blocks);
        if blocks.last().is_none_or(|block| block.len() == BLOCK) {
            blocks.push(Arc::new(Vec::with_capacity(BLOCK)));
        }
        if let Some(block) = blocks.last_mut() {
            Arc::make_mut(block).push(slot);
        }
        let full = blocks.len().saturating_sub(1) * BLOCK;
        let count = full + blocks.last().map_or(0, |block| block.len());
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// Counts `number` again: one more entry with the set that another has.
    pub(crate) fn again(&mut self, number: u32) -> u32 {
        if let Some(Slot::Used(_, count)) = self.slot_mut(number) {
            *count += 1;
        }
        number
    }

    /// One entry less has this set.
    pub(crate) fn release(&mut self, number: u32) {
        let free = self.free;
        let Some(slot) = self.slot_mut(number) else {
            return;
        };
        let Slot::Used(set, count) = slot else { return };
        *count -= 1;
        if *count > 0 {
            return;
        }
        let set = Arc::clone(set);
        *slot = Slot::Free(free);
        self.free = number;
        self.hints.lock().remove(&set);
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

    /// Goal: a table made of the sets of another has the same numbers, and gives those that are free.
    #[test]
    fn a_table_is_made_of_sets() {
        let mut one = Keywords::default();
        for n in 0..300 {
            one.take(&set(&[&format!("k{n}")]));
        }
        one.release(7);
        one.release(200);
        let sets = one.sets().map(|set| (set.to_vec(), 1)).collect();
        let mut two = Keywords::from_sets(sets);
        assert!(one.sets().eq(two.sets()));
        assert_eq!(two.take(&set(&["k5"])), 6, "known sets are found");
        let given: Vec<u32> = (0..3)
            .map(|n| two.take(&set(&[&format!("n{n}")])))
            .collect();
        assert_eq!(given, [200, 7, 301]);
        two.release(9);
        assert_eq!(
            two.take(&set(&["again"])),
            9,
            "counts are those that were given"
        );
        assert!(
            Keywords::from_sets(vec![(set(&["a"]), 0)])
                .sets()
                .all(<[_]>::is_empty)
        );
    }

    /// Goal: what one clone learned never makes another give a wrong number: clones go separate ways when a change is
    /// planned and then not made.
    #[test]
    fn clones_do_not_mislead_each_other() {
        let mut one = Keywords::default();
        let mut other = one.clone();
        let a = one.take(&set(&["a"]));
        let b = other.take(&set(&["b"]));
        assert_eq!(a, b, "each has its own first number");
        assert_eq!(one.get(a), set(&["a"]));
        let again = one.take(&set(&["b"]));
        assert_ne!(again, a);
        assert_eq!(one.get(again), set(&["b"]));
        assert_eq!(other.get(b), set(&["b"]));
        let many: Vec<u32> = (0..1000)
            .map(|n| one.take(&set(&[&format!("k{n}")])))
            .collect();
        for (n, number) in many.iter().enumerate() {
            assert_eq!(one.get(*number), set(&[&format!("k{n}")]));
        }
        for number in &many {
            one.release(*number);
        }
        let reused: std::collections::BTreeSet<u32> = (0..1000)
            .map(|n| one.take(&set(&[&format!("n{n}")])))
            .collect();
        assert_eq!(reused, many.into_iter().collect());
    }
}
