//! A mailbox as the fold of its account's records has it.

use std::sync::Arc;

use super::buckets::Buckets;
use super::entry::{Entry, EntryLeaf, Member, MemberLeaf};
use super::expunged::Expunged;
use super::tree::{Leaf, Tree};
use crate::format::change::MailboxProperties;
use crate::mail::{Flags, Uid, UidSet, UidValidity};

/// Counters of a mailbox; each is exact at any moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Entries.
    pub messages: u64,
    /// Entries without `\Seen`.
    pub unseen: u64,
    /// Entries with `\Deleted`.
    pub deleted: u64,
    /// Wire size of all entries, in bytes.
    pub bytes: u64,
    /// Wire size of the entries with `\Deleted`, in bytes.
    pub deleted_bytes: u64,
}

impl Counters {
    fn add(&mut self, entry: &Entry) {
        self.messages += 1;
        self.bytes += entry.size;
        self.unseen += u64::from(!entry.flags.contains(Flags::SEEN));
        if entry.flags.contains(Flags::DELETED) {
            self.deleted += 1;
            self.deleted_bytes += entry.size;
        }
    }

    fn take(&mut self, entry: &Entry) {
        self.messages -= 1;
        self.bytes -= entry.size;
        self.unseen -= u64::from(!entry.flags.contains(Flags::SEEN));
        if entry.flags.contains(Flags::DELETED) {
            self.deleted -= 1;
            self.deleted_bytes -= entry.size;
        }
    }
}

/// A mailbox. Cloning it is cheap and gives a snapshot.
#[derive(Clone)]
pub(crate) struct MailboxFold {
    pub(crate) parent: u32,
    pub(crate) name: Arc<str>,
    pub(crate) uid_validity: UidValidity,
    /// UIDNEXT as shown; above `u32::MAX` when the last UID was given.
    pub(crate) uid_next: u64,
    /// The next UID to give: above UIDNEXT where a failed commit burned some.
    pub(crate) uid_assign: u64,
    pub(crate) properties: MailboxProperties,
    /// HIGHESTMODSEQ.
    pub(crate) modseq: u64,
    /// No entry reports a MODSEQ below this.
    pub(crate) modseq_floor: u64,
    pub(crate) entries: Tree<EntryLeaf>,
    pub(super) members: Tree<MemberLeaf>,
    pub(crate) counters: Counters,
    /// The UIDs that are gone, as far as they are remembered.
    pub(crate) expunged: Expunged,
    /// What receipts hashed, as far as it is still true.
    pub(crate) buckets: Buckets,
}

impl std::fmt::Debug for MailboxFold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MailboxFold")
            .field("name", &self.name)
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

impl MailboxFold {
    pub(crate) fn new(
        parent: u32,
        name: &str,
        uid_validity: UidValidity,
        properties: MailboxProperties,
        modseq: u64,
    ) -> Self {
        Self {
            parent,
            name: name.into(),
            uid_validity,
            uid_next: 1,
            uid_assign: 1,
            properties,
            modseq: modseq.max(1),
            modseq_floor: 0,
            entries: Tree::default(),
            members: Tree::default(),
            counters: Counters::default(),
            expunged: Expunged::default(),
            buckets: Buckets::default(),
        }
    }

    pub(crate) fn get(&self, uid: u32) -> Option<Entry> {
        self.entries.get(uid.into())
    }

    /// Whether it has an entry of that UID. One that arrives is above all others, mostly: then nothing is searched.
    pub(crate) fn has(&self, uid: u32) -> bool {
        u64::from(uid) < self.uid_next && self.entries.find(uid.into()).is_some()
    }

    /// The record that delivered a UID's Email, and its length as given: what it takes to find the bytes.
    pub(crate) fn source(&self, uid: u32) -> Option<(u64, u32)> {
        let (leaf, at) = self.entries.find(uid.into())?;
        Some((*leaf.record().get(at)?, *leaf.raw_len().get(at)?))
    }

    /// The UID of an Email's entry here, if it has one.
    pub(crate) fn uid_of(&self, email: u64) -> Option<u32> {
        self.members.get(email).map(|member| member.uid)
    }

    /// Adds an entry; false when its UID is taken.
    pub(crate) fn add(&mut self, entry: Entry) -> bool {
        let added = self.entries.insert(entry.uid.into(), entry);
        if added {
            let member = self.note(&entry);
            self.members.insert(member.email, member);
        }
        added
    }

    /// Adds entries, but those whose UID is taken.
    pub(crate) fn add_all(&mut self, entries: impl Iterator<Item = Entry>) {
        let (mut tree, mut members) = (std::mem::take(&mut self.entries), Vec::new());
        let entries = entries.map(|entry| (entry.uid.into(), entry));
        tree.insert_all(entries, |entry| members.push(self.note(entry)));
        self.entries = tree;
        let members = members.into_iter().map(|member| (member.email, member));
        self.members.insert_all(members, |_| {});
    }

    /// What is to be kept of an entry that was added, beside it.
    fn note(&mut self, entry: &Entry) -> Member {
        self.buckets.touch(entry.uid);
        self.counters.add(entry);
        self.uid_next = self.uid_next.max(u64::from(entry.uid) + 1);
        self.uid_assign = self.uid_assign.max(self.uid_next);
        self.modseq = self.modseq.max(entry.modseq);
        Member {
            email: entry.email,
            uid: entry.uid,
        }
    }

    pub(crate) fn remove(&mut self, uid: u32, modseq: u64) -> Option<Entry> {
        let entry = self.entries.remove(uid.into())?;
        self.counters.take(&entry);
        if self.uid_of(entry.email) == Some(uid) {
            self.members.remove(entry.email);
        }
        self.buckets.touch(uid);
        self.expunged.push(uid, modseq);
        self.modseq = self.modseq.max(modseq);
        Some(entry)
    }

    /// Replaces the entries of `uids` by what `act` makes of them (same UID, Email and size), in order; those of which it
    /// makes nothing stay.
    pub(crate) fn change(&mut self, uids: &UidSet, mut act: impl FnMut(&Entry) -> Option<Entry>) {
        let mut replaced = |before: &Entry| {
            let after = act(before)?;
            self.buckets.touch(after.uid);
            self.counters.take(before);
            self.counters.add(&after);
            self.modseq = self.modseq.max(after.modseq);
            Some(after)
        };
        for (first, last) in uids.ranges() {
            let keys = u64::from(first.get())..=last.get().into();
            self.entries.change(keys, &mut replaced);
        }
    }

    /// Bytes of memory that it takes, about.
    pub(super) fn weight(&self) -> usize {
        let entries = self.entries.leaves().map(EntryLeaf::weight);
        let members = self.members.leaves().map(MemberLeaf::weight);
        size_of::<Self>() + self.name.len() + entries.chain(members).sum::<usize>()
    }

    /// The entries of `uids` that exist, in order. Costs by what exists, not by how wide the set is.
    pub(crate) fn select(&self, uids: &UidSet) -> Vec<Entry> {
        self.find(uids).map(|(leaf, at)| leaf.row(at)).collect()
    }

    /// The same as leaves and places in them: for who does not need all columns.
    pub(crate) fn find<'a>(
        &'a self,
        uids: &'a UidSet,
    ) -> impl Iterator<Item = (&'a EntryLeaf, usize)> {
        uids.ranges().iter().flat_map(|(first, last)| {
            let from = self.entries.rank(first.get().into());
            let (leaves, skip) = self.entries.leaves_from(from);
            let skips = std::iter::once(skip).chain(std::iter::repeat(0));
            let rows = leaves
                .zip(skips)
                .flat_map(|(leaf, skip)| (skip..leaf.len()).map(move |at| (leaf, at)));
            rows.take_while(|(leaf, at)| leaf.key(*at) <= last.get().into())
        })
    }

    /// The entries that came or changed after `since`, and the UIDs that went; `None` where not all of those are known.
    /// `given` is the highest MODSEQ of the account.
    pub(crate) fn changes_since(&self, since: u64, given: u64) -> (UidSet, Option<UidSet>) {
        // Of another history: nothing that it says of this one is sure.
        let foreign = since > given;
        let since = if foreign { 0 } else { since };
        let all = self.entries.leaves();
        let rows = all.flat_map(|leaf| leaf.uid().iter().zip(leaf.modseq()));
        let newer = rows.filter(|(_, modseq)| self.modseq_floor.max(**modseq) > since);
        let changed = newer.filter_map(|(uid, _)| Uid::new(*uid)).collect();
        let known = self.expunged.since(since).filter(|_| !foreign);
        let vanished = known.map(|ranges| {
            let mut ranges: Vec<_> = ranges.collect();
            ranges.sort_unstable();
            let mut uids = UidSet::new();
            for (first, last) in ranges {
                uids.insert_range(first, last);
            }
            uids
        });
        (changed, vanished)
    }

    /// All UIDs below UIDNEXT that no entry has.
    pub(crate) fn absent(&self) -> UidSet {
        let mut given = UidSet::new();
        let last = u32::try_from(self.uid_next - 1).unwrap_or(u32::MAX);
        if let Some(last) = Uid::new(last) {
            given.insert_range(Uid::MIN, last);
        }
        let all = self.entries.leaves();
        let present = all.flat_map(|leaf| leaf.uid().iter().copied());
        given.difference(&present.filter_map(Uid::new).collect())
    }

    /// Skips ahead over what may have been lost.
    pub(crate) fn fence(&mut self, bound: u32, modseq: u64) {
        self.uid_next = self
            .uid_next
            .saturating_add(bound.into())
            .min(u64::from(u32::MAX) + 1);
        self.uid_assign = self.uid_assign.max(self.uid_next);
        self.modseq = self.modseq.max(modseq);
        self.modseq_floor = self.modseq;
        self.expunged.forget(self.modseq);
        // Each row reports another MODSEQ now.
        self.buckets.clear();
    }
}
