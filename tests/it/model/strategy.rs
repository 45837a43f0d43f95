//! How proptest makes [`Op`]s. Small numbers: collisions are where the rules are.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::op::{ACCOUNTS, Keeps, Marked, Marking, NAMES, Op, Place, Step, Uids};

fn name() -> impl Strategy<Value = u8> {
    0..NAMES.len() as u8
}

fn account() -> impl Strategy<Value = u8> {
    prop_oneof![6 => Just(0u8), 3 => Just(1u8), 1 => 0..ACCOUNTS.len() as u8]
}

fn place() -> impl Strategy<Value = Place> {
    let at = |account, mailbox| Place::Named { account, mailbox };
    prop_oneof![
        5 => account().prop_map(move |account| at(account, 0)),
        4 => (account(), name()).prop_map(move |(account, mailbox)| at(account, mailbox)),
        5 => any::<u8>().prop_map(Place::Kept),
    ]
}

fn uids() -> impl Strategy<Value = Uids> {
    prop_oneof![
        3 => Just(Uids::All),
        3 => (1..8u8).prop_map(Uids::One),
        2 => (1..8u8, 1..12u8).prop_map(|(a, b)| Uids::Range(a, b)),
        1 => (1..8u8, 1..12u8).prop_map(|(a, b)| Uids::Two(a, b)),
    ]
}

fn marked() -> impl Strategy<Value = Marked> {
    let date = option::weighted(0.3, (any::<i32>(), -99..100i8));
    (0..32u8, prop_oneof![2 => Just(0u8), 1 => 0..8u8], date).prop_map(|(flags, keywords, date)| {
        Marked {
            flags,
            keywords,
            date,
        }
    })
}

fn marking() -> impl Strategy<Value = Marking> {
    (0..3u8, 0..32u8, 0..8u8).prop_map(|(verb, flags, keywords)| match verb {
        0 => Marking::Add { flags, keywords },
        1 => Marking::Remove { flags, keywords },
        _ => Marking::Replace { flags, keywords },
    })
}

fn append() -> impl Strategy<Value = Step> {
    (place(), any::<u8>(), marked()).prop_map(|(to, message, marked)| Step::Append {
        to,
        message,
        marked,
    })
}

fn step() -> impl Strategy<Value = Step> {
    let flag = (place(), uids(), marking(), option::weighted(0.4, 0..6u8));
    let transfer = || (place(), uids(), place());
    prop_oneof![
        6 => append(),
        5 => flag.prop_map(|(mailbox, uids, marking, unchanged_since)| {
            Step::Flag { mailbox, uids, marking, unchanged_since }
        }),
        3 => transfer().prop_map(|(from, uids, to)| Step::Copy { from, uids, to }),
        4 => transfer().prop_map(|(from, uids, to)| Step::Move { from, uids, to }),
        2 => (place(), uids()).prop_map(|(mailbox, uids)| Step::Expunge { mailbox, uids }),
        1 => (place(), uids()).prop_map(|(mailbox, uids)| Step::Destroy { mailbox, uids }),
        5 => (name(), prop::bool::weighted(0.1)).prop_map(|(name, noselect)| {
            Step::Create { name, noselect }
        }),
        4 => (name(), name()).prop_map(|(from, to)| Step::Rename { from, to }),
        2 => name().prop_map(|name| Step::Delete { name }),
    ]
}

/// Creations, renames and deletions among few names, so that names come back.
fn tree() -> impl Strategy<Value = Step> {
    // "a", "A", "a/b", "d": see `NAMES`.
    let name = || prop::sample::select(vec![3u8, 4, 5, 11]);
    prop_oneof![
        2 => name().prop_map(|name| Step::Create { name, noselect: false }),
        3 => (name(), name()).prop_map(|(from, to)| Step::Rename { from, to }),
        2 => name().prop_map(|name| Step::Delete { name }),
    ]
}

fn keeps() -> impl Strategy<Value = Keeps> {
    prop_oneof![
        1 => Just(Keeps::Nothing),
        1 => Just(Keeps::All),
        4 => any::<u64>().prop_map(Keeps::Some),
    ]
}

/// One operation. `written`: whether commits that only a process's death survives are mixed in.
pub(crate) fn op(written: bool) -> impl Strategy<Value = Op> {
    let waits = || prop::bool::weighted(0.7);
    let written = prop::bool::weighted(if written { 0.6 } else { 0.0 });
    let properties = (place(), prop::bool::weighted(0.3), 0..3u8);
    prop_oneof![
        2 => account().prop_map(Op::CreateAccount),
        1 => (account(), 0..3u8).prop_map(|(from, to)| Op::RenameAccount { from, to }),
        1 => (0..3u8).prop_map(Op::DeleteAccount),
        2 => (account(), name(), any::<bool>()).prop_map(|(account, name, on)| {
            Op::Subscribe { account, name, on }
        }),
        1 => properties.prop_map(|(mailbox, noselect, sort_order)| {
            Op::Properties { mailbox, noselect, sort_order }
        }),
        10 => (any::<u8>(), vec((place(), marked()), 1..5), waits(), written).prop_map(
            |(message, to, wait, written)| Op::Deliver { message, to, wait, written }
        ),
        24 => (account(), step(), waits()).prop_map(|(account, step, wait)| {
            Op::Single { account, step, wait }
        }),
        9 => (account(), tree()).prop_map(|(account, step)| {
            Op::Single { account, step, wait: true }
        }),
        5 => (account(), vec(step(), 0..5), waits()).prop_map(|(account, steps, wait)| {
            Op::Transaction { account, steps, wait }
        }),
        1 => Just(Op::Sync),
        2 => prop_oneof![-5..100i32, -100_000..100_000i32].prop_map(Op::Clock),
        2 => place().prop_map(Op::Hold),
        2 => Just(Op::Reopen),
        2 => (prop_oneof![2 => Just(0u8), 3 => 0..12u8], keeps()).prop_map(|(back, keeps)| {
            Op::Crash { back, keeps }
        }),
        1 => Just(Op::Kill),
    ]
}

/// What the index has to bear.
fn trial() -> impl Strategy<Value = Op> {
    prop_oneof![
        2 => account().prop_map(Op::WriteBase),
        3 => (any::<u64>(), any::<bool>()).prop_map(|(seed, open)| Op::Harm { seed, open }),
        2 => Just(Op::Reopen),
    ]
}

/// A program: something to work on, then anything; `tried` says whether the index is harmed meanwhile.
pub(crate) fn ops(written: bool, tried: bool, len: usize) -> impl Strategy<Value = Vec<Op>> {
    let op = if tried {
        prop_oneof![9 => op(written), 2 => trial()].boxed()
    } else {
        op(written).boxed()
    };
    vec(op, 1..len).prop_map(|mut ops| {
        ops.insert(0, Op::CreateAccount(0));
        ops.insert(1, Op::CreateAccount(1));
        ops
    })
}
