use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use proptest::prelude::*;

use super::*;

mod changing;

/// Small leaves, so that a few thousand rows are a deep tree.
#[derive(Clone, Default)]
struct Pairs(Vec<(u64, u64)>);

impl Leaf for Pairs {
    type Row = (u64, u64);
    const CAPACITY: usize = 4;

    fn len(&self) -> usize {
        self.0.len()
    }
    fn key(&self, at: usize) -> u64 {
        self.0[at].0
    }
    fn find(&self, key: u64) -> Result<usize, usize> {
        self.0.binary_search_by_key(&key, |row| row.0)
    }
    fn row(&self, at: usize) -> (u64, u64) {
        self.0[at]
    }
    fn insert(&mut self, at: usize, row: (u64, u64)) {
        self.0.insert(at, row);
    }
    fn set(&mut self, at: usize, row: (u64, u64)) {
        assert_eq!(self.0[at].0, row.0);
        self.0[at] = row;
    }
    fn remove(&mut self, at: usize) {
        self.0.remove(at);
    }
    fn split_off(&mut self, at: usize) -> Self {
        Self(self.0.split_off(at))
    }
}

/// Rows with the even keys from 0, so that odd keys can go between them.
fn evens(count: u64) -> Tree<Pairs> {
    let mut tree = Tree::default();
    for key in (0..count).map(|i| i * 2) {
        assert!(tree.insert(key, (key, 0)));
    }
    tree
}

fn rows(tree: &Tree<Pairs>) -> Vec<(u64, u64)> {
    tree.leaves()
        .flat_map(|leaf| leaf.0.iter().copied())
        .collect()
}

/// Asserts the invariants the module states, and returns the levels of the tree.
fn check(tree: &Tree<Pairs>) -> usize {
    let rows = rows(tree);
    assert!(rows.is_sorted_by(|a, b| a.0 < b.0), "keys ascend");
    assert_eq!(rows.len(), tree.len());
    if let Node::Inner(children) = &tree.root.node {
        assert!(children.len() > 1, "a root with one child is of no use");
        check_child(&tree.root)
    } else {
        assert_eq!(tree.root.first, rows.first().map_or(u64::MAX, |row| row.0));
        assert!(rows.len() <= Pairs::CAPACITY);
        1
    }
}

fn check_child(child: &Child<Pairs>) -> usize {
    match &child.node {
        Node::Leaf(leaf) => {
            assert!(
                (1..=Pairs::CAPACITY).contains(&leaf.len()),
                "{} rows",
                leaf.len()
            );
            assert_eq!((child.first, child.count), (leaf.key(0), leaf.len()));
            1
        }
        Node::Inner(children) => {
            assert!(
                (1..=FANOUT).contains(&children.len()),
                "{} children",
                children.len()
            );
            assert_eq!(child.first, children[0].first);
            assert_eq!(
                child.count,
                children.iter().map(|child| child.count).sum::<usize>()
            );
            let levels: Vec<_> = children.iter().map(check_child).collect();
            assert!(
                levels.iter().all(|&level| level == levels[0]),
                "all leaves equally deep"
            );
            levels[0] + 1
        }
    }
}

/// Every node of a tree, root first.
fn nodes(tree: &Tree<Pairs>) -> Vec<Node<Pairs>> {
    fn collect(child: &Child<Pairs>, into: &mut Vec<Node<Pairs>>) {
        into.push(child.node.clone());
        if let Node::Inner(children) = &child.node {
            children.iter().for_each(|child| collect(child, into));
        }
    }
    let mut into = Vec::new();
    collect(&tree.root, &mut into);
    into
}

fn same(a: &Node<Pairs>, b: &Node<Pairs>) -> bool {
    match (a, b) {
        (Node::Leaf(a), Node::Leaf(b)) => Arc::ptr_eq(a, b),
        (Node::Inner(a), Node::Inner(b)) => Arc::ptr_eq(a, b),
        _ => false,
    }
}

/// How many nodes of `tree` are not nodes of `other`.
fn unshared(tree: &Tree<Pairs>, other: &Tree<Pairs>) -> usize {
    let others = nodes(other);
    nodes(tree)
        .iter()
        .filter(|node| !others.iter().any(|other| same(node, other)))
        .count()
}

#[test]
fn an_empty_tree_has_nothing() {
    let mut tree = Tree::<Pairs>::default();
    assert_eq!((tree.len(), tree.get(0), tree.at(0)), (0, None, None));
    assert_eq!((tree.position(u64::MAX), tree.rank(u64::MAX)), (None, 0));
    assert_eq!((tree.remove(0), tree.update(0, (0, 1))), (None, None));
    assert_eq!(tree.leaves().count(), 0);
}

#[test]
fn the_lowest_and_the_highest_key_are_keys() {
    let mut tree = Tree::<Pairs>::default();
    assert!(tree.insert(u64::MAX, (u64::MAX, 2)));
    assert!(tree.insert(0, (0, 1)));
    assert_eq!(
        (tree.position(0), tree.position(u64::MAX)),
        (Some(0), Some(1))
    );
    check(&tree);
}

#[test]
fn a_key_is_inserted_once() {
    let mut tree = evens(1000);
    assert!(!tree.insert(500, (500, 9)));
    assert_eq!((tree.len(), tree.get(500)), (1000, Some((500, 0))));
    check(&tree);
}

#[test]
fn absent_keys_are_not_updated_or_removed() {
    let mut tree = evens(1000);
    let before = rows(&tree);
    for key in [1, 777, 1999, u64::MAX] {
        assert_eq!((tree.update(key, (key, 9)), tree.remove(key)), (None, None));
    }
    assert_eq!(rows(&tree), before);
    check(&tree);
}

#[test]
fn rank_counts_the_keys_below() {
    let tree = evens(1000);
    assert_eq!((tree.position(500), tree.rank(500)), (Some(250), 250));
    assert_eq!((tree.position(501), tree.rank(501)), (None, 251));
    assert_eq!(tree.rank(u64::MAX), 1000);
}

#[test]
fn leaves_start_at_any_position() {
    let tree = evens(1000);
    let all = rows(&tree);
    for position in 0..=1001 {
        let (leaves, at) = tree.leaves_from(position);
        let found: Vec<_> = leaves
            .flat_map(|leaf| leaf.0.iter().copied())
            .skip(at)
            .collect();
        assert_eq!(found, all.get(position..).unwrap_or_default());
        assert!(at < Pairs::CAPACITY);
    }
}

#[test]
fn appends_leave_full_nodes() {
    let rows = Pairs::CAPACITY * FANOUT * FANOUT;
    let mut tree = evens(rows as u64);
    assert_eq!(check(&tree), 3);
    assert_eq!(nodes(&tree).len(), 1 + FANOUT + FANOUT * FANOUT);
    tree.insert(u64::MAX, (u64::MAX, 0));
    assert_eq!(check(&tree), 4);
}

/// As one by one, whatever was there before.
#[test]
fn rows_added_at_once_fill_the_nodes() {
    let count = (Pairs::CAPACITY * FANOUT * FANOUT) as u64;
    let keys = || (0..count).map(|key| (key * 2, (key * 2, 0)));
    for before in [0, 1, 3, 4, 5, 4 * 32, 4 * 32 + 1, 4 * 32 * 3] {
        let mut tree = evens(before);
        let mut added = 0;
        tree.insert_all(keys(), |_| added += 1);
        assert_eq!((check(&tree), added), (3, count - before));
        assert_eq!(nodes(&tree).len(), 1 + FANOUT + FANOUT * FANOUT);
        assert_eq!(rows(&tree), rows(&evens(count)));
    }
}

/// Splitting at the end of any full leaf would give each of these keys a leaf of its own.
#[test]
fn keys_that_descend_share_leaves() {
    let mut tree = evens(1000);
    tree.insert(1_000_000, (1_000_000, 0));
    for key in (10_000..20_000).rev() {
        tree.insert(key, (key, 0));
    }
    check(&tree);
    assert!(tree.leaves().count() < tree.len() / 2 + 1);
}

#[test]
fn removing_most_gives_the_nodes_back() {
    let mut tree = evens(10_000);
    for key in (0..10_000).filter(|i| i % 10 != 0).map(|i| i * 2) {
        tree.remove(key).unwrap();
    }
    check(&tree);
    assert_eq!(tree.len(), 1000);
    assert!(nodes(&tree).len() < 600, "{} nodes", nodes(&tree).len());
}

#[test]
fn removing_all_leaves_an_empty_root() {
    for from_the_end in [false, true] {
        let mut tree = evens(5000);
        while tree.len() > 0 {
            let at = if from_the_end { tree.len() - 1 } else { 0 };
            let (key, _) = tree.at(at).unwrap();
            tree.remove(key).unwrap();
        }
        assert_eq!((check(&tree), nodes(&tree).len()), (1, 1));
        assert!(tree.insert(7, (7, 7)));
    }
}

#[test]
fn a_change_copies_one_path_and_no_more() {
    let snapshot = evens(5000);
    let levels = check(&snapshot);
    assert_eq!(levels, 4);
    let changed = |change: fn(&mut Tree<Pairs>)| {
        let mut tree = snapshot.clone();
        assert_eq!(unshared(&tree, &snapshot), 0);
        change(&mut tree);
        unshared(&tree, &snapshot)
    };
    assert_eq!(
        changed(|tree| assert!(tree.update(5000, (5000, 1)).is_some())),
        levels
    );
    assert_eq!(changed(|tree| assert!(tree.remove(5000).is_some())), levels);
    assert_eq!(
        changed(|tree| assert!(tree.insert(u64::MAX, (u64::MAX, 0)))),
        levels
    );
    // A full leaf in full nodes: all but the root are copied into two.
    assert_eq!(
        changed(|tree| assert!(tree.insert(1, (1, 0)))),
        2 * levels - 1
    );
    assert_eq!(rows(&snapshot), rows(&evens(5000)));
}

#[test]
fn what_no_snapshot_holds_is_changed_in_place() {
    let places = |tree: &Tree<Pairs>| -> Vec<*const ()> {
        let place = |node: &Node<Pairs>| match node {
            Node::Leaf(leaf) => Arc::as_ptr(leaf).cast(),
            Node::Inner(children) => Arc::as_ptr(children).cast(),
        };
        nodes(tree).iter().map(place).collect()
    };
    let mut tree = evens(5000);
    let snapshot = tree.clone();
    tree.update(5002, (5002, 1));
    let copied = places(&tree);
    assert!(copied != places(&snapshot));
    tree.update(5002, (5002, 2));
    assert!(places(&tree) == copied, "this snapshot has had its copy");
    drop(snapshot);
    tree.remove(5002);
    tree.insert(5003, (5003, 3));
    assert!(places(&tree) == copied, "no snapshot is left");
}

#[test]
fn threads_can_share_a_snapshot() {
    fn shared<T: Send + Sync>(_: &T) {}
    shared(&evens(1));
}

/// Keys are below this, so that random ones meet.
const KEYS: u64 = 20_000;

#[derive(Clone, Debug)]
enum Op {
    /// That many rows after the last one, the given distance apart.
    Append(u16, u64),
    Insert(u64),
    /// Many at once: runs from a key on, so many, the given distance apart.
    InsertAll(Vec<(u64, u16, u64)>),
    /// That many keys down from this one.
    InsertDown(u64, u64),
    Update(u64),
    Remove(u64),
    /// Every so manieth in a range of keys.
    Change(u64, u64, usize),
    /// All in a range of keys but every so manieth.
    RemoveRange(u64, u64, usize),
    Snapshot,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (0..1500_u16, 1..4_u64).prop_map(|(count, step)| Op::Append(count, step)),
        3 => (0..KEYS).prop_map(Op::Insert),
        3 => prop::collection::vec((0..2 * KEYS, 0..400_u16, 1..4_u64), 1..4).prop_map(Op::InsertAll),
        1 => (0..KEYS, 0..300_u64).prop_map(|(from, count)| Op::InsertDown(from, count)),
        3 => (0..KEYS).prop_map(Op::Update),
        3 => (0..KEYS).prop_map(Op::Remove),
        2 => (0..KEYS, 0..KEYS, 1..9_usize).prop_map(|(a, n, each)| Op::Change(a, n, each)),
        2 => (0..KEYS, 0..KEYS, 2..20_usize).prop_map(|(a, n, keep)| Op::RemoveRange(a, n, keep)),
        1 => Just(Op::Snapshot),
    ]
}

/// The tree and what it should be. The value of a row is the number of the step that wrote it.
#[derive(Clone, Default)]
struct Pair {
    tree: Tree<Pairs>,
    model: BTreeMap<u64, u64>,
}

impl Pair {
    fn insert(&mut self, key: u64, step: u64) {
        let is_new = !self.model.contains_key(&key);
        assert_eq!(self.tree.insert(key, (key, step)), is_new);
        self.model.entry(key).or_insert(step);
    }

    fn remove(&mut self, key: u64) {
        let old = self.model.remove(&key).map(|value| (key, value));
        assert_eq!(self.tree.remove(key), old);
    }

    fn apply(&mut self, op: &Op, step: u64) {
        match *op {
            Op::Append(count, apart) => {
                let next = self.model.last_key_value().map_or(0, |(key, _)| key + 1);
                (0..u64::from(count)).for_each(|i| self.insert(next + i * apart, step));
            }
            Op::Insert(key) => self.insert(key, step),
            Op::InsertAll(ref runs) => {
                let run =
                    |&(from, count, apart)| (0..u64::from(count)).map(move |i| from + i * apart);
                let keys: Vec<u64> = runs.iter().flat_map(run).collect();
                let new = |key: &&u64| match self.model.entry(**key) {
                    Entry::Vacant(free) => free.insert(step) == &step,
                    Entry::Occupied(_) => false,
                };
                let expected: Vec<_> = keys.iter().filter(new).copied().collect();
                let mut added = Vec::new();
                let rows = keys.iter().map(|key| (*key, (*key, step)));
                self.tree.insert_all(rows, |row| added.push(row.0));
                assert_eq!(added, expected);
            }
            Op::InsertDown(from, count) => {
                (from.saturating_sub(count)..=from)
                    .rev()
                    .for_each(|key| self.insert(key, step));
            }
            Op::Update(key) => {
                let old = self
                    .model
                    .get_mut(&key)
                    .map(|value| std::mem::replace(value, step));
                assert_eq!(
                    self.tree.update(key, (key, step)),
                    old.map(|value| (key, value))
                );
            }
            Op::Remove(key) => self.remove(key),
            Op::Change(from, count, each) => {
                let mut at = 0;
                self.tree.change(from..=from + count, &mut |row| {
                    at += 1;
                    (at % each == 0).then_some((row.0, step))
                });
                let values = self.model.range_mut(from..=from + count);
                let changed = values.skip(each - 1).step_by(each);
                changed.for_each(|(_, value)| *value = step);
            }
            Op::RemoveRange(from, count, keep) => {
                let keys: Vec<_> = self
                    .model
                    .range(from..from + count)
                    .map(|(k, _)| *k)
                    .collect();
                let gone = keys.iter().enumerate().filter(|(i, _)| i % keep != 0);
                gone.for_each(|(_, key)| self.remove(*key));
            }
            Op::Snapshot => {}
        }
    }

    fn agree(&self) {
        check(&self.tree);
        let expected: Vec<_> = self
            .model
            .iter()
            .map(|(key, value)| (*key, *value))
            .collect();
        assert!(rows(&self.tree) == expected, "other rows than the model");
        for (position, row) in expected.iter().enumerate() {
            assert_eq!(self.tree.at(position), Some(*row));
            assert_eq!(self.tree.position(row.0), Some(position));
            assert_eq!(self.tree.get(row.0), Some(*row));
            assert_eq!(
                self.tree.get(row.0 + 1).is_some(),
                self.model.contains_key(&(row.0 + 1))
            );
        }
    }
}

/// Goal: a tree made of leaves is like one made of rows, for every count around the bounds, and changes like one.
#[test]
fn a_tree_is_made_of_leaves() {
    let fanout = FANOUT as u64;
    for count in [
        0,
        1,
        4,
        5,
        4 * fanout,
        4 * fanout + 1,
        4 * fanout * fanout + 1,
        5000,
    ] {
        let all: Vec<_> = (0..count).map(|n| (n * 2, n)).collect();
        let mut leaves: Vec<_> = all.chunks(4).map(|rows| Pairs(rows.to_vec())).collect();
        leaves.insert(leaves.len() / 2, Pairs::default());
        let mut tree = Tree::from_leaves(leaves.into_iter());
        check(&tree);
        assert_eq!(rows(&tree), all);
        for key in (1..count * 2).step_by(7) {
            assert!(tree.insert(key | 1, (key | 1, 0)) || key % 2 == 0);
            tree.remove(key & !1);
            check(&tree);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_tree_and_its_snapshots_are_as_a_btreemap_is(ops in prop::collection::vec(op(), 1..60)) {
        let mut now = Pair::default();
        let mut snapshots = Vec::new();
        for (step, op) in (0..).zip(&ops) {
            now.apply(op, step);
            check(&now.tree);
            if matches!(op, Op::Snapshot) {
                snapshots.push(now.clone());
            }
        }
        now.agree();
        snapshots.iter().for_each(Pair::agree);
    }
}
