//! Adding many rows at once: those that come behind all others are put there a leaf at a time.

use std::sync::Arc;

use super::{Child, FANOUT, Leaf, Node, Tree};

impl<L: Leaf> Tree<L> {
    /// Adds each row whose key is not there yet, as [`insert`](Self::insert) does, and tells which. Those that come behind all
    /// others are gathered, and put in a leaf at a time.
    pub(crate) fn insert_all(
        &mut self,
        rows: impl Iterator<Item = (u64, L::Row)>,
        mut added: impl FnMut(&L::Row),
    ) {
        let mut behind = L::default();
        // Where all others end, as far as that is known.
        let mut end = None;
        for (key, row) in rows {
            match end.take().or_else(|| self.end()) {
                Some((last, 0)) if last < key => {
                    behind.insert(behind.len(), row);
                    added(&row);
                    end = Some((key, 0));
                    if behind.len() == L::CAPACITY {
                        self.push(std::mem::take(&mut behind));
                    }
                }
                _ => {
                    self.push(std::mem::take(&mut behind));
                    if self.insert(key, row) {
                        added(&row);
                    }
                }
            }
        }
        self.push(behind);
    }

    /// The highest key, and how many rows fit behind it into its leaf.
    fn end(&self) -> Option<(u64, usize)> {
        let mut node = &self.root.node;
        loop {
            match node {
                Node::Leaf(leaf) => {
                    let last = leaf.key(leaf.len().checked_sub(1)?);
                    return Some((last, L::CAPACITY - leaf.len()));
                }
                Node::Inner(children) => node = &children.last()?.node,
            }
        }
    }

    /// Puts a leaf behind all others: those are not empty, and all keys in it are above theirs.
    fn push(&mut self, leaf: L) {
        if leaf.len() > 0
            && let Some(right) = self.root.push(Child::leaf(leaf))
        {
            self.grow(right);
        }
    }
}

impl<L: Leaf> Child<L> {
    /// Takes a leaf at the right edge; gives it back, as its own new sibling, where it is a leaf or full.
    fn push(&mut self, leaf: Self) -> Option<Self> {
        let Node::Inner(children) = &mut self.node else {
            return Some(leaf);
        };
        let count = leaf.count;
        let children = Arc::make_mut(children);
        let right = match children.last_mut() {
            Some(last) => last.push(leaf),
            None => Some(leaf),
        };
        if let Some(right) = right {
            if children.len() == FANOUT {
                return Some(Self::inner(vec![right]));
            }
            children.push(right);
        }
        self.count += count;
        None
    }
}
