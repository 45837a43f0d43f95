//! `find` and `change` against a map. Replay: `MAILKEEP_SEED=n MAILKEEP_ROUNDS=1 cargo test --lib tree::tests::changing`.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::super::*;
use super::{Pairs, check, rows};
use crate::dice::Dice;

/// Runs `act` with each seed, and says which one it was that failed.
fn seeds(act: impl Fn(&mut Dice)) {
    let env = |name: &str, default| {
        let text = std::env::var(name).ok();
        text.map_or(default, |text| text.parse().unwrap())
    };
    let first = env("MAILKEEP_SEED", 1);
    for seed in first..first + env("MAILKEEP_ROUNDS", 60) {
        println!("seed {seed}");
        act(&mut Dice::new(seed));
    }
}

type Model = BTreeMap<u64, u64>;

/// Rows with runs of keys and holes in between, and removals behind them: leaves of all fillings. Keys up to the highest.
fn grown(random: &mut Dice) -> (Tree<Pairs>, Model) {
    let (mut tree, mut model) = (Tree::default(), Model::new());
    let mut key = match random.below(2) {
        0 => 0,
        _ => u64::MAX - 20_000,
    };
    for _ in 0..random.below(40) {
        for _ in 0..random.below(30) {
            assert!(tree.insert(key, (key, 0)));
            model.insert(key, 0);
            key += 1;
        }
        key += random.below(20);
    }
    if random.below(3) == 0 {
        tree.insert(u64::MAX, (u64::MAX, 0));
        model.insert(u64::MAX, 0);
    }
    let one_in = 2 + random.below(9);
    let keys: Vec<u64> = model.keys().copied().collect();
    for key in keys {
        if random.below(one_in) == 0 {
            assert_eq!(tree.remove(key), Some((key, 0)));
            model.remove(&key);
        }
    }
    (tree, model)
}

fn leaves(tree: &Tree<Pairs>) -> Vec<Arc<Pairs>> {
    let nodes = super::nodes(tree).into_iter();
    nodes
        .filter_map(|node| match node {
            Node::Leaf(leaf) => Some(leaf),
            Node::Inner(_) => None,
        })
        .collect()
}

fn all(model: &Model) -> Vec<(u64, u64)> {
    model.iter().map(|(key, value)| (*key, *value)).collect()
}

/// A range of keys, of any kind: short, wide, in a hole, backwards, up to the ends.
fn range(random: &mut Dice, model: &Model) -> RangeInclusive<u64> {
    let key = |random: &mut Dice| {
        let at = random.below(model.len() as u64 + 1);
        let near = model.keys().nth(usize::try_from(at).unwrap());
        let near = near.copied().unwrap_or(random.below(2) * u64::MAX);
        match random.below(3) {
            0 => near.saturating_sub(random.below(5)),
            1 => near.saturating_add(random.below(5)),
            _ => near,
        }
    };
    let from = key(random);
    match random.below(3) {
        0 => from..=from.saturating_add(random.below(9)),
        _ => from..=key(random),
    }
}

/// Goal: every key is found in the leaf that has it, and none that is not there, whatever is missing around it: the guess
/// that a search begins with is a guess.
#[test]
fn keys_are_found_whatever_is_missing() {
    seeds(|random| {
        let (tree, model) = grown(random);
        let lowest = model.keys().next().copied().unwrap_or(0);
        let highest = model.keys().last().copied().unwrap_or(0);
        let around =
            lowest.saturating_sub(9)..=highest.min(lowest.saturating_add(20_000)).saturating_add(9);
        for key in around.chain([0, 1, highest, u64::MAX - 1, u64::MAX]) {
            let found = tree.find(key).map(|(leaf, at)| leaf.0[at]);
            let expected = model.get(&key).map(|value| (key, *value));
            assert_eq!(found, expected, "{key}");
            assert_eq!(tree.get(key), expected, "{key}");
        }
    });
}

/// Goal: a change makes of each row in its range, in order, what it is told, and of no other; what snapshots hold stays as
/// it was; a leaf where all rows stay is that of the snapshot, and one where a row changes is not.
#[test]
fn a_change_is_one_of_its_range_and_of_no_snapshot() {
    seeds(|random| {
        let (mut tree, mut model) = grown(random);
        let mut snapshots = Vec::new();
        for step in 1..40 {
            let range = range(random, &model);
            let one_in = [1, 1, 3, 50, u64::MAX][usize::try_from(random.below(5)).unwrap()];
            let mut inside: Vec<(u64, u64)> = all(&model);
            inside.retain(|(key, _)| range.contains(key));
            let (mut asked, mut changed) = (Vec::new(), Vec::new());
            let before = tree.clone();
            tree.change(range.clone(), &mut |row| {
                asked.push(*row);
                let changes = one_in < u64::MAX && random.below(one_in) == 0;
                changes.then(|| {
                    changed.push(row.0);
                    (row.0, step)
                })
            });
            assert_eq!(asked, inside, "{range:?}");
            for key in &changed {
                model.insert(*key, step);
            }
            check(&tree);
            assert_eq!(rows(&tree), all(&model), "{range:?}");
            let pairs = leaves(&before).into_iter().zip(leaves(&tree));
            for (old, new) in pairs {
                let stays = !old.0.iter().any(|(key, _)| changed.contains(key));
                assert_eq!(Arc::ptr_eq(&old, &new), stays, "{range:?} {:?}", old.0);
            }
            snapshots.push((before, inside, range));
        }
        for (step, (snapshot, inside, range)) in snapshots.iter().enumerate() {
            let mut held = rows(snapshot);
            assert!(held.iter().all(|(_, value)| *value <= step as u64));
            held.retain(|(key, _)| range.contains(key));
            assert_eq!(held, *inside, "{step}");
        }
    });
}

/// Goal: where nobody else holds it, a leaf is changed where it is.
#[test]
fn a_change_copies_nothing_that_no_snapshot_holds() {
    seeds(|random| {
        let (mut tree, model) = grown(random);
        let places = |tree: &Tree<Pairs>| -> Vec<*const Pairs> {
            leaves(tree).iter().map(Arc::as_ptr).collect()
        };
        let before = places(&tree);
        tree.change(0..=u64::MAX, &mut |row| Some((row.0, 7)));
        assert_eq!(places(&tree), before);
        assert_eq!(
            rows(&tree),
            model.keys().map(|key| (*key, 7)).collect::<Vec<_>>()
        );
    });
}
