//! Every kind of change that the workloads must bring: a full run in which one never came has not tried what it says.

use mailkeep::{Stat, Store};

use crate::act::Act;
use crate::sim::{Op, Sim};
use crate::tally::Tally;

/// What is counted; names begin with a capital, as they are no states.
pub(crate) const KINDS: [&str; 37] = [
    "Did: create an account",
    "Did: rename an account",
    "Did: delete an account",
    "Did: create a mailbox",
    "Did: rename a mailbox",
    "Did: delete a mailbox",
    "Did: subscribe",
    "Did: set properties",
    "Did: deliver to one",
    "Did: deliver to many",
    "Did: deliver, written only",
    "Did: deliver by name",
    "Did: deliver a large message",
    "Did: defer a delivery",
    "Did: assign a deferred one",
    "Did: skip ahead of what was not given",
    "Did: flag",
    "Did: copy",
    "Did: move",
    "Did: expunge",
    "Did: several at once",
    "Did: a transaction",
    "Did: write a base",
    "Did: sync",
    "Did: close and open",
    "Did: rebuild the index",
    "Did: replay all",
    "Did: begin a segment",
    "Did: begin a prepared segment",
    "Did: seal a segment",
    "Did: switch MANIFEST",
    "Did: edit SEGMENTS",
    "Did: write a checkpoint",
    "Did: write a run",
    "Did: merge runs",
    "Did: write an image",
    "Did: remove a derived file",
];

/// Asserts that all of them came.
pub(crate) fn all_came(tally: &Tally) {
    let missing = KINDS.iter().filter(|kind| !tally.0.contains_key(*kind));
    let missing: Vec<_> = missing.collect();
    assert!(missing.is_empty(), "never happened: {missing:?}");
}

/// What an act is that wrote something.
pub(crate) fn of_act(act: &Act, messages: &[Vec<u8>], tally: &mut Tally) {
    let kind = match act {
        Act::CreateAccount(_) => "Did: create an account",
        Act::RenameAccount(..) => "Did: rename an account",
        Act::DeleteAccount(_) => "Did: delete an account",
        Act::CreateMailbox(_) => "Did: create a mailbox",
        Act::RenameMailbox(..) => "Did: rename a mailbox",
        Act::DeleteMailbox(_) => "Did: delete a mailbox",
        Act::Subscribe(..) => "Did: subscribe",
        Act::SortOrder(..) => "Did: set properties",
        Act::Deliver {
            message,
            to,
            written,
            ..
        } => {
            if messages[*message].len() > 1 << 20 {
                tally.add("Did: deliver a large message");
            }
            if *written {
                tally.add("Did: deliver, written only");
            }
            match to.len() {
                1 => "Did: deliver to one",
                _ => "Did: deliver to many",
            }
        }
        Act::ByName { .. } => "Did: deliver by name",
        // Those of nothing write nothing.
        Act::Flag { uids, .. } | Act::Transfer { uids, .. } | Act::Destroy { uids, .. }
            if uids.is_empty() =>
        {
            return;
        }
        Act::Flag { .. } => "Did: flag",
        Act::Transfer { moved: false, .. } => "Did: copy",
        Act::Transfer { moved: true, .. } => "Did: move",
        Act::Destroy { .. } => "Did: expunge",
        Act::Together(acts) | Act::Transaction(_, acts) => {
            acts.iter().for_each(|act| of_act(act, messages, tally));
            match act {
                Act::Together(_) => "Did: several at once",
                _ => "Did: a transaction",
            }
        }
        Act::Base(_) => "Did: write a base",
        Act::Sync => "Did: sync",
    };
    tally.add(kind);
}

/// What became of segments and runs between two looks at an open store.
pub(crate) fn between(before: &Stat, store: &Store, tally: &mut Tally) -> Stat {
    let now = store.stat();
    let changes = [
        (now.segments > before.segments, "Did: begin a segment"),
        (now.sealed > before.sealed, "Did: seal a segment"),
        (now.runs < before.runs, "Did: merge runs"),
    ];
    let came = changes.into_iter().filter(|(came, _)| *came);
    came.for_each(|(_, kind)| tally.add(kind));
    now
}

/// What the changes of a disk tell.
pub(crate) fn of_disk(disk: &Sim, tally: &mut Tally) {
    let (manifest, segments) = (disk.inode("MANIFEST"), disk.inode("SEGMENTS"));
    let mut images = Vec::new();
    for op in disk.ops() {
        let kind = match &op {
            Op::Write { inode, .. } if *inode == manifest => "Did: switch MANIFEST",
            Op::Write { inode, .. } if *inode == segments => "Did: edit SEGMENTS",
            Op::Write { inode, .. } if images.contains(inode) => "Did: write an image",
            Op::Create { name, inode } if name.ends_with(".img") => {
                images.push(*inode);
                continue;
            }
            Op::Create { name, .. } if name.ends_with(".run") => "Did: write a run",
            Op::Rename { to, .. } if to == "index/CHECKPOINT" => "Did: write a checkpoint",
            Op::Rename { to, .. } if to.ends_with(".seg") => "Did: begin a prepared segment",
            Op::Remove { name } if name.starts_with("index/") => "Did: remove a derived file",
            _ => continue,
        };
        tally.add(kind);
    }
}
