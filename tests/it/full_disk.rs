//! On a full disk mail can be removed, which nothing else can be: also after the store was opened again there, and until
//! what is kept for it is used up. What was accepted is durable; when there is room again all goes on.

use std::io::ErrorKind;

use mailkeep::{Delivery, Durability, Error, Options, Store, UidSet};

use crate::kit::{assert_whole, deliver, message, open, options, state};
use crate::sim::{Call, ERRORS, Fault, Sim};

const RESERVE: &str = "RESERVE";

const WANTED: usize = 256 << 10;

fn made(run: u64) -> Options {
    options(run).reserve(WANTED as u64)
}

fn used(sim: &Sim) -> usize {
    sim.files().values().map(Vec::len).sum()
}

fn reserve(sim: &Sim) -> usize {
    sim.files().get(RESERVE).map_or(0, Vec::len)
}

/// A store with mail, whose disk has no byte left; `room` of the last segment may be free.
fn full(room: usize) -> (Sim, Store) {
    filled(room, made(0))
}

fn filled(room: usize, options: Options) -> (Sim, Store) {
    let sim = Sim::new();
    let store = open(&sim, options).unwrap();
    for name in ["anna", "bruno", "carla"] {
        let account = store.create_account(name).unwrap();
        let lists = account.create_mailbox("Lists").unwrap();
        for seed in 0..40 {
            let mailbox = if seed % 4 == 0 {
                &lists
            } else {
                &account.inbox().unwrap()
            };
            let kept = store.deliver(message(seed, 400), [Delivery::to(mailbox)]);
            kept.unwrap().wait().unwrap().remove(0).unwrap();
        }
    }
    sim.set_space(Some(used(&sim) + room));
    while refused(&store) < 3 {}
    (sim, store)
}

/// How many of three deliveries are refused for want of room.
fn refused(store: &Store) -> usize {
    let tried = (0..3).map(|seed| deliver(store, seed, 20_000));
    let refused = tried.filter(|tried| match tried {
        Ok(_) => false,
        Err(Error::NoSpace { .. }) => true,
        Err(error) => panic!("{error:?}"),
    });
    refused.count()
}

/// Removes one message of an INBOX; whether there was one.
fn remove(store: &Store, name: &str) -> Result<(), Error> {
    let inbox = store.account(name)?.inbox()?;
    let uid = inbox.view()?.uids().iter().next().unwrap();
    let gone = inbox.destroy(&UidSet::from(uid))?.wait()?;
    assert_eq!(gone.len(), 1);
    Ok(())
}

/// Goal: with no byte left mail is removed, and mailboxes and accounts are, durably; no delivery gets in by that; also in a
/// store that was opened on the full disk after a power cut; and with room again it is as ready as before.
#[test]
fn removals_find_room() {
    for room in [0, 300, 5_000, 70_000] {
        let (sim, store) = full(room);
        assert_eq!(reserve(&sim), WANTED);
        for _ in 0..3 {
            remove(&store, "anna").unwrap();
            assert_eq!(refused(&store), 3, "{room}: no room for mail");
        }
        let shown = state(&store);
        // Not closed: the power goes.
        let sim = sim.crash(sim.ops_len(), &mut |_| false);
        drop(store);
        sim.set_space(Some(used(&sim)));
        let store = open(&sim, made(1)).unwrap();
        assert!(store.recovery().is_whole(), "{}", store.recovery());
        assert_eq!(state(&store), shown, "{room}");
        // The opening may have removed something.
        while refused(&store) < 3 {}
        store
            .account("bruno")
            .unwrap()
            .delete_mailbox("Lists")
            .unwrap();
        store.account("carla").unwrap().delete().unwrap();
        for _ in 0..3 {
            remove(&store, "bruno").unwrap();
        }
        assert_eq!(refused(&store), 3);
        let shown = state(&store);
        drop(store);
        sim.set_space(Some(used(&sim)));
        let store = open(&sim, made(2)).unwrap();
        assert_eq!(state(&store), shown, "{room}");
        remove(&store, "bruno").unwrap();
        sim.set_space(None);
        assert_eq!(refused(&store), 0);
        assert_eq!(reserve(&sim), WANTED, "{room}: filled again");
        assert_whole(&store);
        let shown = state(&store);
        drop(store);
        let sim = sim.crash(sim.ops_len(), &mut |_| false);
        assert_eq!(state(&open(&sim, made(3)).unwrap()), shown);
    }
}

/// Goal: removals go on until what is kept is used up, many of them; then they are refused for want of room and change
/// nothing; with room again they go on, and as much is kept as before.
#[test]
fn the_reserve_is_used_up_and_says_so() {
    // So much that there is more mail to remove.
    const KEPT: usize = 64 << 10;
    let made = |run| options(run).reserve(KEPT as u64);
    let (sim, store) = filled(0, made(0));
    assert_eq!(reserve(&sim), KEPT);
    let people = ["anna", "bruno", "carla"];
    let mut removed = 0;
    let error = loop {
        assert!(removed < 90, "all mail is gone, {} is kept", reserve(&sim));
        match remove(&store, people[removed % 3]) {
            Ok(()) => removed += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::NoSpace { .. }), "{error:?}");
    assert_eq!(reserve(&sim), 0, "refused while there is room");
    // Four of nothing but new segments would be the least.
    assert!(removed >= 4, "{removed}");
    let shown = state(&store);
    for name in people {
        let refused = remove(&store, name).unwrap_err();
        assert!(matches!(refused, Error::NoSpace { .. }), "{refused:?}");
    }
    assert_eq!(state(&store), shown);
    let sim = sim.crash(sim.ops_len(), &mut |_| false);
    drop(store);
    // What the power cut left lies on a disk with room.
    let store = open(&sim, made(1)).unwrap();
    assert_eq!(state(&store), shown);
    assert_whole(&store);
    remove(&store, "anna").unwrap();
    assert_eq!(reserve(&sim), KEPT);
}

/// Goal: only a full disk uses up what is kept for it: a removal that fails for another reason fails as it did.
#[test]
fn the_reserve_is_for_a_full_disk_only() {
    let full = [ErrorKind::StorageFull, ErrorKind::QuotaExceeded];
    let others = ERRORS
        .iter()
        .filter(|error| !full.contains(&error().kind()));
    for error in others {
        let sim = Sim::new();
        let store = open(&sim, made(0)).unwrap();
        store.create_account("anna").unwrap();
        for seed in 0..3 {
            deliver(&store, seed, 400).unwrap();
        }
        remove(&store, "anna").unwrap();
        let shown = state(&store);
        sim.set_fault(Some(Fault {
            error: *error,
            ..Fault::from(&[Call::Write, Call::Open], 0)
        }));
        let refused = remove(&store, "anna").unwrap_err();
        let hits = sim.fault_hits();
        sim.set_fault(None);
        assert!(matches!(refused, Error::Io { .. }), "{refused:?}");
        assert!(hits > 0);
        assert_eq!(reserve(&sim), WANTED, "{}", error());
        drop(store);
        assert_eq!(state(&open(&sim, made(1)).unwrap()), shown);
    }
}

/// Goal: a removal is not refused because a delivery in front of it is; both are told what became of them.
#[test]
fn a_removal_goes_on_behind_deliveries_that_fail() {
    let (sim, store) = full(0);
    let inbox = store.account("anna").unwrap().inbox().unwrap();
    for seed in 0..4 {
        let late = store.deliver_with(
            message(seed, 20_000),
            [Delivery::to(&inbox)],
            Durability::Durable,
        );
        remove(&store, "bruno").unwrap();
        let late = late.unwrap().wait();
        assert!(matches!(late, Err(Error::NoSpace { .. })), "{late:?}");
    }
    let shown = state(&store);
    let sim = sim.crash(sim.ops_len(), &mut |_| false);
    drop(store);
    assert_eq!(state(&open(&sim, made(1)).unwrap()), shown);
}
