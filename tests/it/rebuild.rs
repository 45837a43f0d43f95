//! The index dropped on purpose (`Options::rebuild`), and waiting until it is there again.

use std::ops::ControlFlow;

use mailkeep::{Delivery, Durability, Error, Rebuild, Store};

use crate::kit::{assert_whole, message, options, state};
use crate::sim::{Call, Fault, Sim};

const ACCOUNTS: u64 = 12;

/// A store of several segments that was closed, and what it shows.
fn several_segments() -> (Sim, String) {
    let sim = Sim::new();
    let store = Store::open_on(sim.storage(), options(0)).unwrap();
    for number in 0..ACCOUNTS {
        let account = store.create_account(&format!("account {number}")).unwrap();
        let to = || [Delivery::to(&account.inbox().unwrap())];
        for seed in 0..20 {
            let raw = message(number * 100 + seed, 2000);
            let commit = store.deliver_with(raw, to(), Durability::Written);
            commit.unwrap().wait().unwrap();
        }
    }
    let shown = state(&store);
    assert!(store.stat().sealed > 3);
    store.close().unwrap();
    (sim, shown)
}

fn index_files(sim: &Sim) -> Vec<String> {
    let files = sim.files().into_keys();
    files.filter(|name| name.starts_with("index/")).collect()
}

fn patient(_: &Rebuild) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// Goal: all that is derived is gone and comes back, by the thread and without one; what is shown stays the same
/// meanwhile and after, and how far it is only grows.
#[test]
fn what_is_derived_comes_back() {
    for background in [false, true] {
        let (sim, shown) = several_segments();
        sim.lose("index/CHECKPOINT");
        let damaged = index_files(&sim).remove(0);
        sim.flip(&damaged, 99);

        let again = options(1).rebuild(true).background(background);
        let store = Store::open_on(sim.storage(), again).unwrap();
        assert_eq!(state(&store), shown);
        let mut told: Vec<Rebuild> = Vec::new();
        let mut tell = |at: &Rebuild| {
            told.push(*at);
            ControlFlow::Continue(())
        };
        store.wait_rebuilt(&mut tell).unwrap();
        assert!(told.is_sorted_by_key(|at| (at.done_bytes, at.accounts)));
        assert!(told.iter().all(|at| at.done_bytes <= at.total_bytes));
        assert!(background || told.len() > 3, "{told:?}");

        let (health, stat) = (store.health(), store.stat());
        assert_eq!((health.rebuild, health.index_damage), (None, 0));
        assert!(stat.rows >= ACCOUNTS, "{stat:?}");
        assert_eq!(state(&store), shown);
        assert_whole(&store);
        // Also if the process dies now.
        assert!(index_files(&sim).contains(&"index/CHECKPOINT".to_owned()));
        store.close().unwrap();

        // Nothing is left to do, and nothing is dropped by an opening that does not say so.
        let before = index_files(&sim);
        let store = Store::open_on(sim.storage(), options(2)).unwrap();
        let mut never = |at: &Rebuild| panic!("{at}");
        store.wait_rebuilt(&mut never).unwrap();
        assert_eq!(state(&store), shown);
        assert_eq!(index_files(&sim), before);
    }
}

/// Goal: whoever opens a store to read may do without what is derived, and changes nothing.
#[test]
fn reading_only_passes_over_it() {
    let (sim, shown) = several_segments();
    let before = sim.files();
    let store = Store::open_on(sim.storage(), options(1).read_only(true).rebuild(true)).unwrap();
    assert_eq!(store.stat().runs, 0);
    assert_eq!(state(&store), shown);
    let waited = store.wait_rebuilt(&mut patient);
    assert!(matches!(waited, Err(Error::ReadOnly)), "{waited:?}");
    drop(store);
    assert_eq!(sim.files(), before);
}

/// Goal: who waits is told why it does not go on; everything is served meanwhile, and the next try succeeds.
#[test]
fn a_rebuild_that_fails_says_so_and_can_go_on() {
    let (sim, shown) = several_segments();
    let store = Store::open_on(sim.storage(), options(1).rebuild(true)).unwrap();
    for after in [0, 1, 5] {
        sim.set_fault(Some(Fault::from(&[Call::Write], after)));
        let waited = store.wait_rebuilt(&mut patient);
        assert!(matches!(waited, Err(Error::Io { .. })), "{waited:?}");
        assert_eq!(state(&store), shown);
    }
    sim.set_fault(None);
    store.wait_rebuilt(&mut patient).unwrap();
    assert_eq!(state(&store), shown);
}

/// Goal: a process that dies in the middle costs nothing but the time.
#[test]
fn a_rebuild_that_was_killed_goes_on_or_begins_anew() {
    let (sim, shown) = several_segments();
    let store = Store::open_on(sim.storage(), options(1).rebuild(true)).unwrap();
    let from = sim.ops_len();
    store.wait_rebuilt(&mut patient).unwrap();
    for at in from..=sim.ops_len() {
        let killed = sim.killed(at);
        let store = Store::open_on(killed.storage(), options(2)).unwrap();
        assert_eq!(state(&store), shown, "after {at} of {}", sim.ops_len());
        store.wait_rebuilt(&mut patient).unwrap();
        assert_eq!(store.health().index_damage, 0);
        assert_eq!(state(&store), shown);
    }
}

/// Goal: waiting may be given up at any time; the rebuild is none the worse for it.
#[test]
fn waiting_may_be_given_up() {
    let (sim, shown) = several_segments();
    let store = Store::open_on(sim.storage(), options(1).rebuild(true)).unwrap();
    let mut looks = 0;
    let mut once = |_: &Rebuild| {
        looks += 1;
        ControlFlow::Break(())
    };
    store.wait_rebuilt(&mut once).unwrap();
    assert_eq!(looks, 1);
    assert!(store.health().rebuild.is_some());
    store.wait_rebuilt(&mut patient).unwrap();
    assert!(store.health().rebuild.is_none());
    assert_eq!(state(&store), shown);
}
