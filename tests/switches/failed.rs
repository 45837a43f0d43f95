//! Goal: what failed is never trusted again, whoever was told of it.

use std::io;
use std::sync::mpsc::channel;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use mailkeep::{Delivery, Durability, Error, Recipient, Store};

use crate::kit::{deliver, message, open, options, state};
use crate::seam::Seam;
use crate::sim::{Call, Fault, Op, Sim, SyncFails};

/// A sync that is made ahead, without the writer's lock, may be the one that the system tells of the failure.
#[test]
fn a_sync_ahead_fails_and_the_next_one_tells() {
    let sim = Sim::new();
    let options = options(0).durability(Durability::Written);
    let store = open(&sim, options.segment_len(16 << 20)).unwrap();
    let inbox = store.create_account("anna").unwrap().inbox().unwrap();
    // One batch: another segment would be begun for a second.
    let both = [1, 2].map(|seed| {
        let text = message(seed, 700 << 10);
        store.deliver(&text, [Delivery::to(&inbox)]).unwrap()
    });
    for commit in both {
        commit.wait().unwrap().remove(0).unwrap();
    }
    sim.set_fault(Some(Fault::once(&[Call::Sync], 0)));
    let synced = store.sync();
    assert!(matches!(synced, Err(Error::Io { .. })), "{synced:?}");
    assert_eq!(sim.fault_hits(), 1);
    assert!(store.sync().is_err());
}

/// Nothing can be made durable: writing stops, and nothing that happens later makes it go on.
#[test]
fn writing_stops_for_good() {
    let sim = Sim::new();
    let store = open(&sim, options(0)).unwrap();
    deliver(&store, 1, 100).unwrap();
    sim.set_fault(Some(Fault::from(&[Call::Sync], 0)));
    let failed = deliver(&store, 2, 100);
    assert!(matches!(failed, Err(Error::Io { .. })), "{failed:?}");
    sim.set_fault(None);
    let refused = deliver(&store, 3, 100);
    assert!(matches!(refused, Err(Error::Stopped { .. })), "{refused:?}");
    assert!(store.health().stopped.is_some());
    let closed = store.close();
    assert!(closed.is_err(), "{closed:?}");
    let store = open(&sim, options(1)).unwrap();
    assert!(!store.recovery().clean, "it was not closed");
    assert!(deliver(&store, 4, 100).unwrap() >= 2);
}

/// A disk driver that panics under a writer: all others are told.
#[test]
fn a_writer_panics_and_nobody_waits_for_ever() {
    let sim = Sim::new();
    let store = open(&sim, options(0)).unwrap();
    deliver(&store, 1, 100).unwrap();
    sim.set_fault(Some(Fault {
        error: || panic!("the disk driver"),
        ..Fault::once(&[Call::Write], 0)
    }));
    let other = store.clone();
    let panicked = std::thread::spawn(move || deliver(&other, 2, 100)).join();
    assert!(panicked.is_err());
    sim.set_fault(None);
    let (told, wait) = channel();
    std::thread::spawn(move || told.send(deliver(&store, 3, 100)));
    let answer = wait.recv_timeout(Duration::from_secs(20));
    let answer = answer.expect("a delivery waits for a writer that is gone");
    assert!(matches!(answer, Err(Error::Stopped { .. })), "{answer:?}");
}

/// Whether a file is written, cut or synced from some change of the disk on.
fn is_touched(sim: &Sim, inode: usize, from: usize) -> bool {
    sim.ops()[from..].iter().any(|op| match op {
        Op::Write { inode: of, .. } | Op::Sync { inode: of } | Op::SetLen { inode: of, .. } => {
            *of == inode
        }
        _ => false,
    })
}

/// A second sync would report success over lost data: neither this process nor a later one asks for it.
#[test]
fn a_file_that_failed_is_left_alone() {
    for how in [SyncFails::Kept, SyncFails::Dropped, SyncFails::Reverted] {
        let sim = Sim::new();
        let store = open(&sim, options(0)).unwrap();
        deliver(&store, 1, 500).unwrap();
        let inbox = store.account("anna").unwrap().inbox().unwrap();
        let write = |seed| {
            let to = [Delivery::to(&inbox)];
            let written = store.deliver_with(message(seed, 500), to, Durability::Written);
            written.unwrap().wait().unwrap();
        };
        write(2);
        sim.set_fault(Some(Fault {
            sync: how,
            ..Fault::once(&[Call::Sync], 0)
        }));
        store.sync().unwrap_err();
        let (inode, from) = (sim.inode("log/0000000000000001.seg"), sim.ops_len());
        (3..6).for_each(write);
        deliver(&store, 6, 500).unwrap();
        assert!(!is_touched(&sim, inode, from), "{how:?}");
        let shown = state(&store);
        let later = sim.killed(sim.ops_len());
        let from = later.ops_len();
        let store = open(&later, options(1)).unwrap();
        if how == SyncFails::Kept {
            assert_eq!(state(&store), shown);
        }
        deliver(&store, 7, 500).unwrap();
        assert!(!is_touched(&later, inode, from), "by the next one, {how:?}");
    }
}

/// A batch whose sync failed was written again elsewhere: it is there once, whatever became of the first.
#[test]
fn a_batch_that_was_written_again_is_there_once() {
    for how in [SyncFails::Kept, SyncFails::Dropped, SyncFails::Reverted] {
        let sim = Sim::new();
        let store = open(&sim, options(0)).unwrap();
        deliver(&store, 1, 500).unwrap();
        sim.set_fault(Some(Fault {
            sync: how,
            ..Fault::once(&[Call::Sync], 0)
        }));
        deliver(&store, 2, 500).unwrap();
        let shown = state(&store);
        for left in sim.crash_point(sim.ops_len()).states(6, 20, 1) {
            let store = open(&left, options(1).replay_all(true)).unwrap();
            assert!(store.recovery().is_whole(), "{how:?}: {}", store.recovery());
            assert_eq!(state(&store), shown, "{how:?}");
            assert_eq!(
                store.recovery().records,
                4,
                "an account, INBOX, two messages"
            );
        }
    }
}

/// What was joined behind a batch that fails was planned on it: it fails too, and is not shown.
#[test]
fn what_was_planned_behind_a_failure_fails() {
    let sim = Sim::new();
    let store = open(&sim, options(0).segment_len(64 << 20)).unwrap();
    let inbox = store.create_account("anna").unwrap().inbox().unwrap();
    let send = |seed, len| {
        let to = [Delivery::to(&inbox)];
        store.deliver(message(seed, len), to).unwrap()
    };
    // A batch takes 4 MiB: the last one goes into another.
    let first: Vec<_> = (0..4).map(|seed| send(seed, 1 << 20)).collect();
    let behind = send(9, 100);
    sim.set_fault(Some(Fault {
        error: || std::io::Error::from_raw_os_error(28),
        ..Fault::from(&[Call::Write], 0)
    }));
    for commit in first {
        assert!(matches!(commit.wait(), Err(Error::NoSpace { .. })));
    }
    sim.set_fault(None);
    let behind = behind.wait();
    assert!(matches!(behind, Err(Error::NoSpace { .. })), "{behind:?}");
    let uid = deliver(&store, 10, 100).unwrap();
    assert_eq!(inbox.view().unwrap().len(), 1, "UID {uid} alone");
}

/// What becomes of writes of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writes {
    Pass,
    Wait,
    Fail,
}

#[derive(Debug)]
struct Gate {
    /// And how many have waited.
    state: Mutex<(Writes, usize)>,
    changed: Condvar,
}

impl Gate {
    fn set(&self, writes: Writes) {
        self.state.lock().unwrap().0 = writes;
        self.changed.notify_all();
    }

    fn pass(&self) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        if state.0 == Writes::Wait {
            state.1 += 1;
            self.changed.notify_all();
        }
        let waits = |state: &mut (Writes, usize)| state.0 == Writes::Wait;
        match self.changed.wait_while(state, waits).unwrap().0 {
            Writes::Fail => Err(io::Error::from_raw_os_error(28)),
            _ => Ok(()),
        }
    }

    fn wait_for_one(&self) {
        let state = self.state.lock().unwrap();
        drop(
            self.changed
                .wait_while(state, |state| state.1 == 0)
                .unwrap(),
        );
    }
}

/// A delivery that waited gets its UID by one caller, while another one looks what is left to do. Where it fails the delivery waits
/// on, and where not it is there once.
#[test]
fn a_delivery_whose_uid_could_not_be_written_waits_on() {
    for fails in [true, false] {
        waits_on(fails);
    }
}

fn waits_on(fails: bool) {
    let sim = Sim::new();
    let store = open(&sim, options(0)).unwrap();
    let anna = store.create_account("anna").unwrap();
    anna.create_mailbox("Lists").unwrap();
    for seed in 0..20 {
        deliver(&store, seed, 9_000).unwrap();
    }
    store.close().unwrap();
    let gate = Arc::new(Gate {
        state: Mutex::new((Writes::Pass, 0)),
        changed: Condvar::new(),
    });
    let before = {
        let gate = Arc::clone(&gate);
        move |call, name: &str| match call {
            Call::Write if name.starts_with("log/") => gate.pass(),
            _ => Ok(()),
        }
    };
    let store = Store::open_on(Seam::over(sim.storage(), before), options(1)).unwrap();
    let anna = store.account("anna").unwrap();
    let files = sim.files();
    let sealed = files.keys().filter(|name| name.starts_with("log/"));
    for name in sealed.clone().take(sealed.count() - 1) {
        sim.fail_reads(name, 0..usize::MAX);
    }
    let to = [Recipient::new("anna", "Lists")];
    let kept = store.deliver_to(message(100, 300), to).unwrap();
    let kept = kept.wait().unwrap().remove(0).unwrap();
    assert!(kept.delivered().is_none(), "{kept:?}");
    sim.heal_reads();
    gate.set(Writes::Wait);
    std::thread::scope(|scope| {
        let first = scope.spawn(|| anna.mailboxes());
        gate.wait_for_one();
        let second = scope.spawn(|| anna.rename("emma"));
        // Time for the second one to go on where it should not.
        std::thread::sleep(Duration::from_millis(300));
        gate.set(if fails { Writes::Fail } else { Writes::Pass });
        first.join().unwrap().unwrap();
        let _ = second.join().unwrap();
    });
    gate.set(Writes::Pass);
    store.close().unwrap();
    let store = open(&sim, options(2)).unwrap();
    let names = store.accounts(None, 9).unwrap();
    let lists = store.account(&names[0]).unwrap().mailbox("Lists").unwrap();
    assert_eq!(lists.view().unwrap().len(), 1, "{names:?}");
}
