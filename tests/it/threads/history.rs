//! What was done to each message, mailbox and account of a run, and by when it was acknowledged.
//!
//! Time is the number of changes of the disk. Each object is changed by one thread only, so its history is a line; what
//! may be found after a crash is a piece of that line.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use mailkeep::{AccountId, Digest, Flags};

/// An acknowledgement that never came.
pub(super) const NEVER: usize = usize::MAX;

/// Where a message is: an entry of a mailbox. UID 0 stands for any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) account: AccountId,
    pub(super) mailbox: u32,
    pub(super) uid: u32,
    pub(super) flags: Flags,
}

impl Place {
    fn is(&self, found: &Self) -> bool {
        let uid = self.uid == 0 || self.uid == found.uid;
        uid && (self.account, self.mailbox, self.flags)
            == (found.account, found.mailbox, found.flags)
    }

    /// Whether it is the same entry, however it is marked.
    pub(super) fn is_entry(&self, other: &Self) -> bool {
        let uid = self.uid == 0 || self.uid == other.uid;
        uid && (self.account, self.mailbox) == (other.account, other.mailbox)
    }
}

/// Whether these are the places that were expected, in any order.
pub(super) fn same_places(expected: &[Place], found: &[Place]) -> bool {
    let mut left: Vec<&Place> = found.iter().collect();
    // Those of a known UID first: what stands for any UID must not take theirs.
    let (any, known): (Vec<&Place>, Vec<&Place>) =
        expected.iter().partition(|place| place.uid == 0);
    let all_there = known.into_iter().chain(any).all(|place| {
        let at = left.iter().position(|found| place.is(found));
        at.map(|at| left.swap_remove(at)).is_some()
    });
    all_there && left.is_empty()
}

/// One change of an object.
#[derive(Clone, Debug)]
pub(super) struct Step<T> {
    /// The disk's changes before it was begun, and when it was acknowledged.
    pub(super) before: usize,
    pub(super) after: usize,
    pub(super) durable: bool,
    pub(super) value: T,
}

/// What an object was, from nothing on.
#[derive(Clone, Debug)]
pub(super) struct History<T>(pub(super) Vec<Step<T>>);

impl<T: Default + Clone + Debug> History<T> {
    pub(super) fn new() -> Self {
        Self(vec![Step {
            before: 0,
            after: 0,
            durable: true,
            value: T::default(),
        }])
    }

    pub(super) fn now(&self) -> &T {
        &self.0.last().unwrap().value
    }

    /// What may be found after a crash at `at`, when `shown` says which step a reader is known to have seen by then.
    pub(super) fn allowed(&self, at: usize, shown: usize) -> &[Step<T>] {
        let acknowledged = |step: &Step<T>| step.durable && step.after <= at;
        let least = self.0.iter().rposition(acknowledged).unwrap().max(shown);
        let begun = self.0.iter().rposition(|step| step.before <= at).unwrap();
        assert!(least <= begun, "shown before it was begun: {self:?}");
        &self.0[least..=begun]
    }
}

/// A reader saw this entry, and the disk had made `shown` changes afterwards.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) shown: usize,
    pub(super) digest: Digest,
    pub(super) place: Place,
}

/// A reader saw these numbers of a mailbox.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers {
    pub(super) shown: usize,
    pub(super) mailbox: (AccountId, u32),
    pub(super) uid_validity: u32,
    pub(super) uid_next: u32,
    pub(super) modseq: u64,
}

impl History<Option<String>> {
    /// It is created, under an id that nothing had before.
    pub(super) fn begin(&mut self, before: usize, after: usize, name: &str) {
        assert_eq!(self.0.len(), 1, "an id is given once");
        self.0.push(Step {
            before,
            after,
            durable: true,
            value: Some(name.to_owned()),
        });
    }
}

/// All that is known of a run, or of one thread's part in it.
#[derive(Default)]
pub(super) struct Histories {
    pub(super) messages: BTreeMap<Digest, History<Vec<Place>>>,
    /// Names by id; `None` where there is none (any more).
    pub(super) mailboxes: BTreeMap<(AccountId, u32), History<Option<String>>>,
    pub(super) accounts: BTreeMap<AccountId, History<Option<String>>>,
    /// Messages whose delivery failed: never shown; a crash may leave them.
    pub(super) failed: BTreeSet<Digest>,
    pub(super) seen: Vec<Seen>,
    pub(super) numbers: Vec<Numbers>,
}

impl Histories {
    pub(super) fn join(&mut self, other: Self) {
        self.messages.extend(other.messages);
        self.mailboxes.extend(other.mailboxes);
        self.accounts.extend(other.accounts);
        self.failed.extend(other.failed);
        self.seen.extend(other.seen);
        self.numbers.extend(other.numbers);
    }
}
