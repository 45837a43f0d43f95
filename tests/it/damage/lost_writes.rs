//! Lost writes: a device says that it has a write, and has not. Each write of the workload is missing from an otherwise
//! finished store; no acknowledged message is missing without a word, none is wrong, and nothing crashes.

use std::collections::BTreeMap;

use super::{Files, all, in_part};
use crate::kit::{message, open, options, state, steps, tried};
use crate::sim::{Op, Sim};

/// The disk's files with one write left out, and what was there before in its place.
fn without(ops: &[Op], left_out: usize) -> Files {
    let mut names = BTreeMap::<String, usize>::new();
    let mut inodes = BTreeMap::<usize, Vec<u8>>::new();
    for (nth, op) in ops.iter().enumerate() {
        match op {
            Op::Create { name, inode } => {
                names.insert(name.clone(), *inode);
                inodes.insert(*inode, Vec::new());
            }
            Op::Write {
                inode,
                offset,
                bytes,
            } => {
                let content = inodes.get_mut(inode).unwrap();
                let end = offset + bytes.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                if nth != left_out {
                    content[*offset..end].copy_from_slice(bytes);
                }
            }
            Op::SetLen { inode, len } => inodes.get_mut(inode).unwrap().resize(*len, 0),
            Op::Rename { from, to } => {
                let inode = names.remove(from).unwrap();
                names.insert(to.clone(), inode);
            }
            Op::Remove { name } => drop(names.remove(name)),
            Op::Sync { .. } | Op::CreateFolder { .. } | Op::SyncDir { .. } => {}
            Op::SyncFailed { .. } | Op::Became { .. } | Op::Lost { .. } => panic!("{op:?}"),
        }
    }
    let content = |inode: &usize| inodes[inode].clone();
    names
        .iter()
        .map(|(name, inode)| (name.clone(), content(inode)))
        .collect()
}

/// Accounts, mailboxes and messages without MODSEQs and the like, which a fence moves: lines of messages only.
fn messages(shown: &str) -> Vec<&str> {
    let lines = shown.lines().filter(|line| line.starts_with("    "));
    lines.map(|line| line.rsplit(' ').next().unwrap()).collect()
}

fn every_write(made: &dyn Fn(u64) -> mailkeep::Options, run: u64) {
    let sim = Sim::new();
    let mut store = open(&sim, made(run)).unwrap();
    for (nth, step) in (0..).zip(&steps()[..22]) {
        (step.run)(&store, step.durability).unwrap();
        if nth % 6 == 5 {
            store.close().unwrap();
            store = open(&sim, made(run + nth)).unwrap();
        }
    }
    let inbox = store.account("anna").unwrap().inbox().unwrap();
    let large = message(9, (1 << 20) + 99);
    inbox
        .append(&large, mailkeep::Delivery::to(&inbox))
        .unwrap()
        .wait()
        .unwrap();
    let shown = state(&store);
    drop((inbox, store));
    let closed = sim.files();
    let ops = sim.ops();
    assert!(
        without(&ops, usize::MAX) == closed,
        "the replay is the disk"
    );
    let (mut tried, mut silent, mut said, mut refused) = (0, 0, 0, 0);
    for (nth, op) in ops.iter().enumerate() {
        let Op::Write {
            inode,
            offset,
            bytes,
        } = op
        else {
            continue;
        };
        if !in_part(nth) || (!all() && nth % 2 != 0) {
            continue;
        }
        tried += 1;
        let files = without(&ops, nth);
        let what = format!(
            "write {nth} of {} bytes at {offset} of file {inode}",
            bytes.len()
        );
        let sim = Sim::from_files(files);
        let store = match open(&sim, made(run + 50).replay_all(nth % 2 == 0)) {
            Ok(store) => store,
            Err(error) => {
                use mailkeep::Error::{Damaged, Foreign, Incomplete};
                let named = matches!(error, Incomplete { .. } | Damaged { .. } | Foreign { .. });
                assert!(named, "{what}: {error:?}");
                refused += 1;
                continue;
            }
        };
        let now = state(&store);
        let report = super::check::verify(&store);
        let unsaid = store.recovery().is_whole()
            && report.is_whole()
            && store.health().whole
            && store.health().lost_records == 0
            && store.lost().is_empty();
        let told = !unsaid;
        let (before, after) = (messages(&shown), messages(&now));
        let gone: Vec<_> = before
            .iter()
            .filter(|digest| !after.contains(*digest))
            .collect();
        assert!(
            gone.is_empty() || told,
            "{what}: {gone:?} are gone and nothing says so\n{}",
            store.recovery()
        );
        let unknown = after
            .iter()
            .filter(|digest| digest.len() == 64 && !before.contains(*digest));
        for digest in unknown {
            // What was expunged may be back where the expunging was lost, and that is said.
            assert!(told, "{what}: {digest} is new");
        }
        if told { said += 1 } else { silent += 1 }
    }
    println!(
        "{tried} lost writes: {refused} refused, {said} told, {silent} without a trace in what is shown"
    );
    let whole = std::env::var_os("MAILKEEP_DAMAGE_PART").is_none();
    assert!(!whole || tried > 40 && said > 10);
}

#[test]
fn every_write_of_the_workload() {
    every_write(&options, 0);
}

#[test]
fn every_write_of_the_workload_with_its_index() {
    every_write(&tried, 1000);
}
