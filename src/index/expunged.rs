//! What is gone, and since which MODSEQ: the expunged UIDs of a mailbox, the deleted mailboxes of an account.
//!
//! Bounded: the oldest items go first, and the history says from where on it is whole (RFC 7162 5 leaves the bound
//! to the server).

use std::collections::VecDeque;
use std::sync::Arc;

use crate::mail::Uid;

/// Items in a block: what a change copies that a clone shares.
const BLOCK: usize = 128;

/// Blocks at most: 4,096 items, 64 KiB.
const BLOCKS_MAX: usize = 32;

/// Most items that are remembered.
#[cfg(test)]
pub(crate) const ITEMS_MAX: usize = BLOCK * BLOCKS_MAX;

/// Ids next to each other that went with one change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gone {
    /// The change's MODSEQ.
    pub(crate) modseq: u64,
    /// First and last id, both included.
    pub(crate) first: u32,
    pub(crate) last: u32,
}

/// The history. Cloning is one reference count; a change copies one block.
#[derive(Clone, Debug, Default)]
pub(crate) struct Expunged {
    /// Full but for the last, ascending by MODSEQ over all.
    blocks: Arc<VecDeque<Arc<Vec<Gone>>>>,
    /// The truncation point: all that went with a greater MODSEQ is known.
    floor: u64,
}

impl PartialEq for Expunged {
    fn eq(&self, other: &Self) -> bool {
        self.floor == other.floor && self.items().eq(other.items())
    }
}

impl Expunged {
    /// A history of which nothing is known up to `floor`.
    pub(crate) fn unknown_to(floor: u64) -> Self {
        Self {
            blocks: Arc::default(),
            floor,
        }
    }

    /// A history with these items; `None` where they are too many, not ascending by MODSEQ, or no ranges of ids.
    pub(crate) fn from_parts(floor: u64, items: impl IntoIterator<Item = Gone>) -> Option<Self> {
        let mut blocks = VecDeque::new();
        let mut open = Vec::new();
        let mut newest = 0;
        for gone in items {
            let sound = gone.modseq >= newest && gone.first >= 1 && gone.first <= gone.last;
            if !sound || blocks.len() == BLOCKS_MAX {
                return None;
            }
            newest = gone.modseq;
            open.push(gone);
            if open.len() == BLOCK {
                blocks.push_back(Arc::new(std::mem::take(&mut open)));
            }
        }
        if !open.is_empty() {
            blocks.push_back(Arc::new(open));
        }
        let blocks = Arc::new(blocks);
        Some(Self { blocks, floor })
    }

    /// The truncation point: what went with a MODSEQ up to it may be missing.
    pub(crate) fn floor(&self) -> u64 {
        self.floor
    }

    /// All items, ascending by MODSEQ.
    pub(crate) fn items(&self) -> impl DoubleEndedIterator<Item = Gone> {
        self.blocks.iter().flat_map(|block| block.iter().copied())
    }

    /// Notes that `id` is gone since the change with `modseq`.
    pub(crate) fn push(&mut self, id: u32, modseq: u64) {
        let newest = self.blocks.back().and_then(|block| block.last()).copied();
        // Later records have greater MODSEQs; one that does not is a lie, and must not put the history out of order.
        let modseq = modseq.max(newest.map_or(0, |newest| newest.modseq));
        let joins =
            |newest: &Gone| newest.modseq == modseq && newest.last.checked_add(1) == Some(id);
        let blocks = Arc::make_mut(&mut self.blocks);
        if newest.as_ref().is_some_and(joins) {
            let last = blocks.back_mut().map(Arc::make_mut);
            if let Some(newest) = last.and_then(|block| block.last_mut()) {
                newest.last = id;
            }
            return;
        }
        if blocks.back().is_none_or(|block| block.len() == BLOCK) {
            if blocks.len() == BLOCKS_MAX
                && let Some(oldest) = blocks.pop_front()
            {
                self.floor = oldest.last().map_or(0, |gone| gone.modseq).max(self.floor);
            }
            blocks.push_back(Arc::new(Vec::with_capacity(BLOCK)));
        }
        if let Some(block) = blocks.back_mut() {
            Arc::make_mut(block).push(Gone {
                modseq,
                first: id,
                last: id,
            });
        }
    }

    /// Moves the truncation point up to `modseq`: what went before may not all be known.
    pub(crate) fn forget(&mut self, modseq: u64) {
        *self = Self::unknown_to(self.floor.max(modseq));
    }

    /// What went with a greater MODSEQ than `modseq`, in no order; `None` where that is not all known.
    pub(crate) fn since(&self, modseq: u64) -> Option<impl Iterator<Item = (Uid, Uid)>> {
        let newer = self
            .items()
            .rev()
            .take_while(move |gone| gone.modseq > modseq);
        let ranges = newer.filter_map(|gone| Some((Uid::new(gone.first)?, Uid::new(gone.last)?)));
        (modseq >= self.floor).then_some(ranges)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn since(history: &Expunged, modseq: u64) -> Option<Vec<(u32, u32)>> {
        let mut found: Vec<_> = history
            .since(modseq)?
            .map(|(first, last)| (first.get(), last.get()))
            .collect();
        found.sort_unstable();
        Some(found)
    }

    /// Goal: what went with one change is kept as ranges, and each change is told apart.
    #[test]
    fn neighbours_of_one_change_are_one_item() {
        let mut history = Expunged::default();
        for (id, modseq) in [(1, 5), (2, 5), (4, 5), (5, 6), (3, 7)] {
            history.push(id, modseq);
        }
        assert_eq!(history.items().count(), 4);
        assert_eq!(since(&history, 7), Some(vec![]));
        assert_eq!(since(&history, 6), Some(vec![(3, 3)]));
        assert_eq!(since(&history, 5), Some(vec![(3, 3), (5, 5)]));
        assert_eq!(
            since(&history, 0),
            Some(vec![(1, 2), (3, 3), (4, 4), (5, 5)])
        );
        history.push(u32::MAX, 8);
        history.push(1, 8);
        assert_eq!(since(&history, 7), Some(vec![(1, 1), (u32::MAX, u32::MAX)]));
    }

    /// Goal: with the item after the last that fits, the oldest go, and only what is older than them is unknown.
    #[test]
    fn oldest_go_first() {
        let mut history = Expunged::default();
        let most = u32::try_from(ITEMS_MAX).unwrap();
        (1..=most).for_each(|n| history.push(2 * n, n.into()));
        assert_eq!((history.items().count(), history.floor()), (ITEMS_MAX, 0));
        assert_eq!(since(&history, 0).unwrap().len(), ITEMS_MAX);
        let snapshot = history.clone();
        history.push(1, u64::from(most) + 1);
        assert_eq!(history.items().count(), ITEMS_MAX - BLOCK + 1);
        assert_eq!(history.floor(), BLOCK as u64);
        assert_eq!(since(&history, BLOCK as u64 - 1), None);
        assert_eq!(
            since(&history, BLOCK as u64).unwrap().len(),
            ITEMS_MAX - BLOCK + 1
        );
        assert_eq!(
            snapshot.items().count(),
            ITEMS_MAX,
            "a snapshot keeps its own"
        );
    }

    /// Goal: a truncation within one change's items leaves nothing half known.
    #[test]
    fn one_change_is_known_whole_or_not() {
        let mut history = Expunged::default();
        let most = u32::try_from(ITEMS_MAX).unwrap();
        (1..=most).for_each(|n| history.push(2 * n, 9));
        history.push(1, 10);
        assert_eq!(history.floor(), 9);
        assert_eq!(since(&history, 8), None);
        assert_eq!(since(&history, 9), Some(vec![(1, 1)]));
    }

    /// Goal: forgetting moves the truncation point up, never down.
    #[test]
    fn forgetting_moves_the_point_up() {
        let mut history = Expunged::default();
        history.push(1, 5);
        history.forget(7);
        history.forget(6);
        assert_eq!(
            (since(&history, 6), since(&history, 7)),
            (None, Some(vec![]))
        );
        assert_eq!(history.items().count(), 0);
    }

    /// Goal: parts give the same history, also as it goes on; parts that are none are refused.
    #[test]
    fn parts_go_both_ways() {
        let mut history = Expunged::default();
        (1..=5000).for_each(|n| history.push(2 * n, n.into()));
        let mut again = Expunged::from_parts(history.floor(), history.items()).unwrap();
        assert_eq!(again, history);
        (5001..=6000).for_each(|n| {
            history.push(2 * n, n.into());
            again.push(2 * n, n.into());
        });
        assert_eq!(again, history);

        let gone = |modseq, first, last| Gone {
            modseq,
            first,
            last,
        };
        for bad in [
            vec![gone(2, 1, 1), gone(1, 2, 2)],
            vec![gone(1, 0, 1)],
            vec![gone(1, 2, 1)],
            vec![gone(1, 1, 1); ITEMS_MAX + 1],
        ] {
            assert_eq!(Expunged::from_parts(0, bad), None);
        }
        assert!(Expunged::from_parts(0, vec![gone(1, 1, 1); ITEMS_MAX]).is_some());
    }

    /// Goal: a MODSEQ that goes back is no reason to hide what went.
    #[test]
    fn modseqs_that_go_back_stay_in_order() {
        let mut history = Expunged::default();
        history.push(1, 9);
        history.push(5, 3);
        assert_eq!(since(&history, 8), Some(vec![(1, 1), (5, 5)]));
    }
}
