//! A sorted sequence of rows that is cheap to snapshot: the form a mailbox has in memory.
//!
//! A B+tree whose nodes are shared by `Arc`. [`Tree::clone`] is one reference count, so a reader takes
//! a snapshot and keeps it for hours; a writer then copies the nodes between the root and the row it
//! changes, once, and shares the rest. A node that no snapshot holds is changed in place.
//!
//! The rows live in leaves of a type the caller chooses ([`Leaf`]), by columns for instance, so that a
//! scan reads slices. Key and count of each child stand beside its pointer: a search by key or by
//! position reads a single leaf.
//!
//! What always holds (`check` in the tests):
//! - keys ascend strictly over the whole tree, and `first` and `count` of a child are exact;
//! - all leaves are at the same depth; only the root may be an empty leaf;
//! - a leaf has at most [`Leaf::CAPACITY`] rows, an inner node 1 to [`FANOUT`] children.
//!
//! There is no lower bound on how full a node is. Rows added at the end leave full nodes behind, and a
//! removal joins siblings as soon as both fit into one, so memory follows the rows that are left.

mod adding;

use std::ops::RangeInclusive;
use std::slice;
use std::sync::Arc;

/// Children of an inner node, at most.
///
/// A writer that follows a snapshot copies one node per level, one reference count per child. 32
/// copies less than 64 although the tree is deeper: ten million rows in leaves of 128 are four levels
/// over the leaves.
const FANOUT: usize = 32;

/// Some rows in ascending order of their keys, in whatever layout suits who scans them.
///
/// Positions (`at`) count from 0. The tree passes only positions that exist (for `insert` and
/// `split_off`, up to `len`), and rows whose key belongs at that position. `default()` is empty.
pub(crate) trait Leaf: Clone + Default {
    /// One row, all columns of it.
    type Row: Copy;
    /// Rows in a leaf, at most; 2 or more.
    const CAPACITY: usize;
    /// How many rows there are.
    fn len(&self) -> usize;
    /// The key of the row at `at`.
    fn key(&self, at: usize) -> u64;
    /// Where `key` is, or where it would have to be inserted, as `slice::binary_search`.
    fn find(&self, key: u64) -> Result<usize, usize>;
    /// The row at `at`.
    fn row(&self, at: usize) -> Self::Row;
    /// Puts a row before the one at `at`.
    fn insert(&mut self, at: usize, row: Self::Row);
    /// Replaces the row at `at`; the key stays the same.
    fn set(&mut self, at: usize, row: Self::Row);
    /// Takes the row at `at` out.
    fn remove(&mut self, at: usize);
    /// Takes the rows from `at` to the end out, and returns them.
    fn split_off(&mut self, at: usize) -> Self;
}

/// Rows sorted by a `u64` key, each key once.
///
/// # Cost
///
/// `clone` is O(1), all else O(log n). A change copies what a clone still shares: one node per level
/// (a removal that joins two siblings, both). Dropping the last clone that holds a node frees it, so
/// a snapshot outlived by many changes is best dropped outside of locks.
#[derive(Clone)]
pub(crate) struct Tree<L> {
    root: Child<L>,
}

/// A subtree and what its parent knows of it.
#[derive(Clone)]
struct Child<L> {
    /// The lowest key in it; `u64::MAX` in an empty one.
    first: u64,
    /// How many rows it has.
    count: usize,
    node: Node<L>,
}

#[derive(Clone)]
enum Node<L> {
    Leaf(Arc<L>),
    Inner(Arc<Vec<Child<L>>>),
}

/// What inserting into a subtree did to it.
enum Inserted<L> {
    /// Nothing: the key is there already.
    Present,
    /// It took the row.
    Fits,
    /// It took the row and gave away its upper part, the new sibling to the right.
    Split(Child<L>),
}

impl<L: Leaf> Default for Tree<L> {
    fn default() -> Self {
        Self {
            root: Child::leaf(L::default()),
        }
    }
}

impl<L: Leaf> Tree<L> {
    /// The tree of the rows in `leaves`, whose keys ascend strictly over all of them. Costs by the number of leaves:
    /// no row is moved. Empty leaves are left out.
    pub(crate) fn from_leaves(leaves: impl Iterator<Item = L>) -> Self {
        let mut level: Vec<Child<L>> = leaves
            .filter(|leaf| leaf.len() > 0)
            .map(Child::leaf)
            .collect();
        while level.len() > 1 {
            let mut rest = level.into_iter();
            level = Vec::with_capacity(rest.len().div_ceil(FANOUT));
            while rest.len() > 0 {
                level.push(Child::inner(rest.by_ref().take(FANOUT).collect()));
            }
        }
        level.pop().map_or_else(Self::default, |root| Self { root })
    }

    /// How many rows there are.
    pub(crate) fn len(&self) -> usize {
        self.root.count
    }

    /// The row with this key.
    pub(crate) fn get(&self, key: u64) -> Option<L::Row> {
        self.find(key).map(|(leaf, at)| leaf.row(at))
    }

    /// The leaf that has the row with this key, and where in it: for who does not need all of the row.
    pub(crate) fn find(&self, key: u64) -> Option<(&L, usize)> {
        let mut child = &self.root;
        loop {
            match &child.node {
                Node::Leaf(leaf) => {
                    // Keys ascend strictly: where none is missing, it lies just so far behind the first.
                    let guess = usize::try_from(key.checked_sub(child.first)?).ok()?;
                    if guess < child.count && leaf.key(guess) == key {
                        return Some((leaf, guess));
                    }
                    return leaf.find(key).ok().map(|at| (&**leaf, at));
                }
                Node::Inner(children) => child = children.get(slot_of(children, key))?,
            }
        }
    }

    /// How many rows come before the one with this key: its sequence number less 1.
    pub(crate) fn position(&self, key: u64) -> Option<usize> {
        self.search(key).ok()
    }

    /// How many rows have a key below this one, whether or not the key itself is there.
    pub(crate) fn rank(&self, key: u64) -> usize {
        self.search(key).unwrap_or_else(|position| position)
    }

    /// The row at this position, counted from 0.
    pub(crate) fn at(&self, position: usize) -> Option<L::Row> {
        let (mut leaves, at) = self.leaves_from(position);
        leaves.next().map(|leaf| leaf.row(at))
    }

    /// All leaves in order, none of them empty.
    pub(crate) fn leaves(&self) -> Leaves<'_, L> {
        self.leaves_from(0).0
    }

    /// The leaves from the one that holds `position`, and the place of that row in the first of them.
    /// From a position past the end, none.
    ///
    /// To start from a key, pass its [`rank`](Self::rank).
    pub(crate) fn leaves_from(&self, position: usize) -> (Leaves<'_, L>, usize) {
        let mut ahead = Vec::new();
        let mut at = position;
        let mut level = slice::from_ref(&self.root);
        loop {
            let mut rest = level.iter();
            while let Some(child) = rest.as_slice().first()
                && at >= child.count
            {
                at -= child.count;
                rest.next();
            }
            match rest.as_slice().first().map(|child| &child.node) {
                // Only at the root: deeper down the count has promised that the position is there.
                None => return (Leaves { ahead }, 0),
                Some(Node::Leaf(_)) => {
                    ahead.push(rest);
                    return (Leaves { ahead }, at);
                }
                Some(Node::Inner(children)) => {
                    rest.next();
                    ahead.push(rest);
                    level = children;
                }
            }
        }
    }

    /// Adds a row; false, and nothing is changed, if its key is there already.
    ///
    /// `key` must be the key of `row`. Keys that ascend over all others fill the leaves to the brim.
    pub(crate) fn insert(&mut self, key: u64, row: L::Row) -> bool {
        const { assert!(L::CAPACITY >= 2, "half a leaf must hold a row") };
        match self.root.insert(key, row, true) {
            Inserted::Present => false,
            Inserted::Fits => true,
            Inserted::Split(right) => {
                self.grow(right);
                true
            }
        }
    }

    /// Gives the root a sibling to its right, and both a new root.
    fn grow(&mut self, right: Child<L>) {
        let left = std::mem::replace(&mut self.root, Child::leaf(L::default()));
        self.root = Child::inner(vec![left, right]);
    }

    /// Replaces the row with this key and returns the old one; changes nothing if there is none.
    ///
    /// `key` must be the key of `row`.
    pub(crate) fn update(&mut self, key: u64, row: L::Row) -> Option<L::Row> {
        let mut node = &mut self.root.node;
        loop {
            match node {
                Node::Leaf(leaf) => {
                    let at = leaf.find(key).ok()?;
                    let old = leaf.row(at);
                    Arc::make_mut(leaf).set(at, row);
                    return Some(old);
                }
                Node::Inner(children) => {
                    let slot = slot_of(children, key);
                    node = &mut Arc::make_mut(children).get_mut(slot)?.node;
                }
            }
        }
    }

    /// Replaces the rows with keys in `keys` by what `act` makes of them, each with the key it has, in order; those of
    /// which it makes nothing stay. A leaf where all stay is not copied.
    pub(crate) fn change(
        &mut self,
        keys: RangeInclusive<u64>,
        act: &mut impl FnMut(&L::Row) -> Option<L::Row>,
    ) {
        self.root.change(&keys, act);
    }

    /// Takes the row with this key out and returns it; changes nothing if there is none.
    pub(crate) fn remove(&mut self, key: u64) -> Option<L::Row> {
        let row = self.root.remove(key)?;
        while let Node::Inner(children) = &self.root.node
            && let [only] = children.as_slice()
        {
            let only = only.clone();
            self.root = only;
        }
        Some(row)
    }

    /// The position of a key, or the one it would get.
    fn search(&self, key: u64) -> Result<usize, usize> {
        let mut before = 0;
        let mut node = &self.root.node;
        loop {
            match node {
                Node::Leaf(leaf) => {
                    return leaf
                        .find(key)
                        .map(|at| before + at)
                        .map_err(|at| before + at);
                }
                Node::Inner(children) => {
                    let slot = slot_of(children, key);
                    before += count_of(children.iter().take(slot));
                    let Some(child) = children.get(slot) else {
                        return Err(before);
                    };
                    node = &child.node;
                }
            }
        }
    }
}

impl<L: Leaf> Child<L> {
    fn leaf(leaf: L) -> Self {
        let first = first_key(&leaf);
        Self {
            first,
            count: leaf.len(),
            node: Node::Leaf(Arc::new(leaf)),
        }
    }

    /// A leaf with one row.
    fn single(row: L::Row) -> Self {
        let mut leaf = L::default();
        leaf.insert(0, row);
        Self::leaf(leaf)
    }

    fn inner(children: Vec<Self>) -> Self {
        let count = count_of(children.iter());
        Self {
            first: first_of(&children),
            count,
            node: Node::Inner(Arc::new(children)),
        }
    }

    /// `rightmost`: nothing in the tree is to the right of this subtree.
    fn insert(&mut self, key: u64, row: L::Row, rightmost: bool) -> Inserted<L> {
        let inserted = match &mut self.node {
            Node::Leaf(leaf) => insert_in_leaf(leaf, key, row, rightmost),
            Node::Inner(children) => {
                insert_in_children(Arc::make_mut(children), key, row, rightmost)
            }
        };
        match &inserted {
            Inserted::Present => return inserted,
            Inserted::Fits => self.count += 1,
            Inserted::Split(right) => self.count = self.count + 1 - right.count,
        }
        self.first = self.first.min(key);
        inserted
    }

    fn remove(&mut self, key: u64) -> Option<L::Row> {
        let row = match &mut self.node {
            Node::Leaf(leaf) => {
                let at = leaf.find(key).ok()?;
                let row = leaf.row(at);
                let leaf = Arc::make_mut(leaf);
                leaf.remove(at);
                self.first = first_key(leaf);
                row
            }
            Node::Inner(children) => {
                let slot = slot_of(children, key);
                let children = Arc::make_mut(children);
                let row = children.get_mut(slot)?.remove(key)?;
                tidy(children, slot);
                self.first = first_of(children);
                row
            }
        };
        self.count -= 1;
        Some(row)
    }

    fn change(
        &mut self,
        keys: &RangeInclusive<u64>,
        act: &mut impl FnMut(&L::Row) -> Option<L::Row>,
    ) {
        match &mut self.node {
            Node::Leaf(leaf) => {
                let from = leaf.find(*keys.start()).unwrap_or_else(|at| at);
                for at in from..leaf.len() {
                    if leaf.key(at) > *keys.end() {
                        break;
                    }
                    if let Some(row) = act(&leaf.row(at)) {
                        Arc::make_mut(leaf).set(at, row);
                    }
                }
            }
            Node::Inner(children) => {
                let slots = slot_of(children, *keys.start())..=slot_of(children, *keys.end());
                let children = Arc::make_mut(children).get_mut(slots).unwrap_or_default();
                children
                    .iter_mut()
                    .for_each(|child| child.change(keys, act));
            }
        }
    }

    /// Takes over all rows of the sibling to the right if they fit; the caller then drops that one.
    fn absorb(&mut self, right: &Self) -> bool {
        match (&mut self.node, &right.node) {
            (Node::Leaf(left), Node::Leaf(rows)) if self.count + right.count <= L::CAPACITY => {
                let left = Arc::make_mut(left);
                for at in 0..rows.len() {
                    left.insert(left.len(), rows.row(at));
                }
            }
            (Node::Inner(left), Node::Inner(more)) if left.len() + more.len() <= FANOUT => {
                Arc::make_mut(left).extend_from_slice(more);
            }
            _ => return false,
        }
        self.count += right.count;
        true
    }
}

fn insert_in_leaf<L: Leaf>(
    leaf: &mut Arc<L>,
    key: u64,
    row: L::Row,
    rightmost: bool,
) -> Inserted<L> {
    let last = leaf.len().checked_sub(1);
    let found = match last {
        // Most come behind all others.
        Some(last) if leaf.key(last) < key => Err(last + 1),
        _ => leaf.find(key),
    };
    let Err(at) = found else {
        return Inserted::Present;
    };
    if leaf.len() < L::CAPACITY {
        Arc::make_mut(leaf).insert(at, row);
        return Inserted::Fits;
    }
    // Only at the right edge of the whole tree: elsewhere keys that descend towards a full leaf
    // would each get a leaf of their own.
    if rightmost && at == leaf.len() {
        return Inserted::Split(Child::single(row));
    }
    let cut = L::CAPACITY / 2;
    let left = Arc::make_mut(leaf);
    let mut right = left.split_off(cut);
    if at <= cut {
        left.insert(at, row);
    } else {
        right.insert(at - cut, row);
    }
    Inserted::Split(Child::leaf(right))
}

fn insert_in_children<L: Leaf>(
    children: &mut Vec<Child<L>>,
    key: u64,
    row: L::Row,
    rightmost: bool,
) -> Inserted<L> {
    let slot = slot_of(children, key);
    let rightmost = rightmost && slot + 1 == children.len();
    let inserted = children
        .get_mut(slot)
        .map(|child| child.insert(key, row, rightmost));
    match inserted {
        Some(Inserted::Split(right)) => children.insert(slot + 1, right),
        Some(done) => return done,
        // Not reached, as an inner node has children; the row would become the first.
        None => children.push(Child::single(row)),
    }
    if children.len() <= FANOUT {
        return Inserted::Fits;
    }
    let cut = if rightmost { FANOUT } else { FANOUT / 2 };
    Inserted::Split(Child::inner(children.split_off(cut)))
}

/// After a removal below the child at `slot`: drops it if it is empty, else joins it with a sibling
/// if both fit into one node.
fn tidy<L: Leaf>(children: &mut Vec<Child<L>>, slot: usize) {
    if children.get(slot).is_some_and(|child| child.count == 0) {
        children.remove(slot);
        return;
    }
    for left in slot.saturating_sub(1)..=slot {
        if let Some([into, from, ..]) = children.get_mut(left..)
            && into.absorb(from)
        {
            children.remove(left + 1);
            return;
        }
    }
}

/// The child that holds `key` if any does: the last one that does not begin after it, or the first.
fn slot_of<L>(children: &[Child<L>], key: u64) -> usize {
    children
        .partition_point(|child| child.first <= key)
        .saturating_sub(1)
}

fn count_of<'a, L: 'a>(children: impl Iterator<Item = &'a Child<L>>) -> usize {
    children.map(|child| child.count).sum()
}

fn first_of<L>(children: &[Child<L>]) -> u64 {
    children.first().map_or(u64::MAX, |child| child.first)
}

fn first_key<L: Leaf>(leaf: &L) -> u64 {
    if leaf.len() == 0 {
        u64::MAX
    } else {
        leaf.key(0)
    }
}

/// Leaves in ascending order, see [`Tree::leaves`].
pub(crate) struct Leaves<'a, L> {
    /// For each level from the root down, the siblings still to come.
    ahead: Vec<slice::Iter<'a, Child<L>>>,
}

impl<L> Clone for Leaves<'_, L> {
    fn clone(&self) -> Self {
        let ahead = self.ahead.clone();
        Self { ahead }
    }
}

impl<'a, L> Iterator for Leaves<'a, L> {
    type Item = &'a L;

    fn next(&mut self) -> Option<&'a L> {
        loop {
            match self.ahead.last_mut()?.next().map(|child| &child.node) {
                Some(Node::Leaf(leaf)) => return Some(leaf),
                Some(Node::Inner(children)) => self.ahead.push(children.iter()),
                None => drop(self.ahead.pop()),
            }
        }
    }
}

#[cfg(test)]
mod tests;
