//! An account as the fold of its records: state, and the one way to change it.
//!
//! [`Fold::apply`] is used for a record that was just made and for one that is read back, so both give the same. It
//! takes every sound record: what a lost record would have made (a mailbox, say) gets a stand-in.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::base::Gathering;
use super::entry::Entry;
use super::expunged::Expunged;
use super::keywords::Keywords;
use super::mailbox::MailboxFold;
use super::plan::INBOX_ID;
use crate::format::change::{
    Change, CreateMailbox, Deliver, Fence, Flag, MailboxProperties, Transfer, Transferred,
};
use crate::format::record::RecordHeader;
use crate::mail::{AccountId, Flags, Keyword, MailboxName, UidValidity};

/// An account. Cloning is cheap and gives a snapshot: writers then copy what they change.
#[derive(Clone, Debug)]
pub(crate) struct Fold {
    pub(crate) id: AccountId,
    pub(crate) name: Arc<str>,
    /// Whether it was created and not deleted.
    pub(crate) exists: bool,
    /// Number of its newest record: the next one's `previous`.
    pub(crate) last_record: u64,
    /// Highest MODSEQ given: its JMAP state.
    pub(crate) modseq: u64,
    /// The next MODSEQ to give lies above this; above `modseq` where a failed commit burned some.
    pub(crate) modseq_burned: u64,
    pub(crate) next_mailbox: u64,
    pub(crate) next_email: u64,
    /// Highest UIDVALIDITY ever given.
    pub(crate) uid_validity_mark: u32,
    pub(crate) mailboxes: Arc<BTreeMap<u32, Arc<MailboxFold>>>,
    /// Subscribed names, with the principal.
    pub(crate) subscriptions: Arc<BTreeSet<(u32, Arc<str>)>>,
    /// Names that mailboxes had and have no more, with the highest UIDVALIDITY they had.
    pub(crate) past_names: Arc<BTreeMap<Arc<str>, u32>>,
    /// Highest UIDVALIDITY that any name may have had: the records of which mailbox had it may be lost.
    pub(crate) past_floor: u32,
    pub(crate) keywords: Keywords,
    /// The mailboxes that were deleted, as far as they are remembered.
    pub(crate) destroyed: Expunged,
    /// Number of the last fence that was applied.
    pub(crate) fence: u64,
    /// Deferred deliveries for the account's names up to this record number have become entries.
    pub(crate) assigned: u64,
    /// Parts of a base, until the last one is there.
    pub(crate) gathering: Option<Arc<Gathering>>,
    /// How many bases were needed and could not be read: older records are needed then.
    pub(crate) bad_bases: u64,
    /// How often a record named another one as the record before it than the one that was.
    pub(crate) chain_breaks: u64,
    /// Whether the disk did not give all that was asked when the account was loaded: what is not here may be there another time.
    pub(crate) partial: bool,
}

/// The mailbox that every account has.
pub(crate) const INBOX: &str = "INBOX";

impl Fold {
    pub(crate) fn new(id: AccountId) -> Self {
        Self {
            id,
            name: id.to_string().into(),
            exists: false,
            last_record: 0,
            modseq: 0,
            modseq_burned: 0,
            next_mailbox: 1,
            next_email: 1,
            uid_validity_mark: 0,
            mailboxes: Arc::default(),
            subscriptions: Arc::default(),
            past_names: Arc::default(),
            past_floor: 0,
            keywords: Keywords::default(),
            destroyed: Expunged::default(),
            fence: 0,
            assigned: 0,
            gathering: None,
            bad_bases: 0,
            chain_breaks: 0,
            partial: false,
        }
    }

    pub(crate) fn mailbox(&self, id: u32) -> Option<&MailboxFold> {
        self.mailboxes.get(&id).map(Arc::as_ref)
    }

    /// The mailbox, to be changed: copied first if a snapshot shares it.
    pub(super) fn mailbox_mut(&mut self, id: u32) -> Option<&mut MailboxFold> {
        Arc::make_mut(&mut self.mailboxes)
            .get_mut(&id)
            .map(Arc::make_mut)
    }

    fn insert_mailbox(&mut self, id: u32, mailbox: MailboxFold) {
        self.next_mailbox = self.next_mailbox.max(u64::from(id) + 1);
        Arc::make_mut(&mut self.mailboxes).insert(id, Arc::new(mailbox));
    }

    /// The MODSEQ that the next change gets.
    pub(crate) fn next_modseq(&self) -> u64 {
        self.modseq.max(self.modseq_burned) + 1
    }

    /// The mailbox of that name.
    pub(crate) fn find(&self, name: &MailboxName) -> Option<u32> {
        name.levels()
            .try_fold(0, |parent, leaf| self.child(parent, leaf))
    }

    /// The mailbox with that leaf name below `parent` (0 is the root).
    pub(crate) fn child(&self, parent: u32, leaf: &str) -> Option<u32> {
        let mut all = self.mailboxes.iter();
        all.find(|(_, mailbox)| mailbox.parent == parent && &*mailbox.name == leaf)
            .map(|(id, _)| *id)
    }

    /// The full name of a mailbox.
    pub(crate) fn path(&self, id: u32) -> String {
        let mut levels = Vec::new();
        let mut at = id;
        // A record that made a cycle would be a lie; the bound keeps it from being a loop.
        while let Some(mailbox) = self
            .mailboxes
            .get(&at)
            .filter(|_| levels.len() <= MailboxName::LEVELS_MAX)
        {
            levels.push(&*mailbox.name);
            at = mailbox.parent;
        }
        levels.reverse();
        levels.join("/")
    }

    /// The mailbox and all below it.
    pub(crate) fn subtree(&self, top: u32) -> Vec<u32> {
        let mut below: HashMap<u32, Vec<u32>> = HashMap::new();
        for (id, mailbox) in self.mailboxes.iter() {
            below.entry(mailbox.parent).or_default().push(*id);
        }
        let mut found = vec![top];
        let mut at = 0;
        while let Some(parent) = found.get(at).copied() {
            // Taken, so that each is found once, also where a lie made a cycle.
            let children = below.remove(&parent).unwrap_or_default();
            found.extend(children.into_iter().filter(|id| *id != top));
            at += 1;
        }
        found
    }

    /// Takes over a record of this account, or a fence of the store.
    pub(crate) fn apply(&mut self, header: &RecordHeader, change: &Change) {
        if let Change::Fence(fence) = change {
            // A fence is met once for each way by which the account's records are read.
            if header.number > self.fence {
                self.fence = header.number;
                self.fence(fence);
            }
            return;
        }
        if matches!(change, Change::Alias { .. } | Change::Deferred(_)) {
            // About an account, filed under another key: they change nothing in it.
            return;
        }
        let last = self.last_record;
        self.chain_breaks += u64::from(header.previous != self.last_record);
        self.last_record = header.number;
        self.modseq = self.modseq.max(header.modseq);
        match change {
            Change::CreateAccount {
                name,
                uid_validity_mark,
            } => {
                self.exists = true;
                self.name = name.as_str().into();
                self.uid_validity_mark = self.uid_validity_mark.max(*uid_validity_mark);
            }
            Change::RenameAccount {
                name,
                uid_validity_mark,
            } => {
                self.name = name.as_str().into();
                self.uid_validity_mark = self.uid_validity_mark.max(*uid_validity_mark);
            }
            Change::DeleteAccount { .. } => self.delete(),
            Change::CreateMailbox(create) => self.create_mailbox(header, create),
            Change::RenameMailbox {
                parent,
                name,
                uid_validity,
            } => {
                self.rename_mailbox(header, *parent, name, uid_validity);
            }
            Change::DeleteMailbox => self.delete_mailbox(header.mailbox, header.modseq),
            Change::UpdateMailbox(properties) => self.with_mailbox(header, None, |mailbox, _| {
                mailbox.properties = *properties;
                mailbox.modseq = mailbox.modseq.max(header.modseq);
            }),
            Change::Subscribe {
                principal,
                name,
                on,
            } => self.subscribe(*principal, name, *on),
            Change::Deliver(deliver) => self.deliver(header, deliver),
            Change::Flag(flag) => self.flag(header, flag),
            Change::Copy(transfer) => self.transfer(header, transfer, false),
            Change::Move(transfer) => self.transfer(header, transfer, true),
            Change::Expunge { uids } => self.with_mailbox(header, None, |mailbox, keywords| {
                for entry in mailbox.select(uids) {
                    mailbox.remove(entry.uid, header.modseq);
                    keywords.release(entry.keywords);
                }
            }),
            Change::Assign(assign) => {
                self.assigned = self.assigned.max(assign.deferred);
                self.deliver(header, &assign.deliver);
            }
            Change::Base(base) => self.base(header, base, last),
            Change::Fence(_) | Change::Alias { .. } | Change::Deferred(_) => {}
        }
    }

    fn fence(&mut self, fence: &Fence) {
        let bound = u64::from(fence.bound);
        self.modseq = self
            .modseq
            .saturating_add(bound)
            .min(crate::mail::ModSeq::MAX.get());
        self.next_email = self.next_email.saturating_add(bound);
        self.next_mailbox = self.next_mailbox.saturating_add(bound);
        self.uid_validity_mark = self.uid_validity_mark.saturating_add(fence.bound);
        self.past_floor = self.uid_validity_mark;
        self.destroyed.forget(self.modseq);
        for mailbox in Arc::make_mut(&mut self.mailboxes).values_mut() {
            Arc::make_mut(mailbox).fence(fence.bound, self.modseq);
        }
    }

    fn delete(&mut self) {
        self.exists = false;
        self.mailboxes = Arc::default();
        self.subscriptions = Arc::default();
        self.past_names = Arc::default();
        self.keywords = Keywords::default();
        self.destroyed.forget(self.modseq);
    }

    /// Acts on the record's mailbox. One whose creation was lost gets a stand-in, so that what is left can be reached.
    fn with_mailbox(
        &mut self,
        header: &RecordHeader,
        uid_validity: Option<UidValidity>,
        act: impl FnOnce(&mut MailboxFold, &mut Keywords),
    ) {
        let id = header.mailbox;
        if !self.mailboxes.contains_key(&id) {
            self.stand_in(id, uid_validity, header.modseq);
        }
        let mailbox = Arc::make_mut(&mut self.mailboxes)
            .get_mut(&id)
            .map(Arc::make_mut);
        if let Some(mailbox) = mailbox {
            // A stand-in made before it had to guess.
            mailbox.uid_validity = mailbox
                .uid_validity
                .max(uid_validity.unwrap_or(UidValidity::MIN));
            act(mailbox, &mut self.keywords);
        }
    }

    pub(super) fn stand_in(&mut self, id: u32, uid_validity: Option<UidValidity>, modseq: u64) {
        let next = UidValidity::new(self.uid_validity_mark.saturating_add(1));
        let uid_validity = uid_validity.or(next).unwrap_or(UidValidity::MAX);
        self.uid_validity_mark = self.uid_validity_mark.max(uid_validity.get());
        // An account's first mailbox is its INBOX.
        let is_inbox = id == 1 && self.child(0, INBOX).is_none();
        let name = if is_inbox {
            INBOX.into()
        } else {
            format!("Recovered {id}")
        };
        let properties = MailboxProperties::default();
        let mut mailbox = MailboxFold::new(0, &name, uid_validity, properties, modseq);
        mailbox.expunged.forget(modseq);
        self.insert_mailbox(id, mailbox);
        // An account whose creation was lost is there all the same.
        self.exists = true;
    }

    fn create_mailbox(&mut self, header: &RecordHeader, create: &CreateMailbox) {
        self.uid_validity_mark = self.uid_validity_mark.max(create.uid_validity.get());
        let (name, properties) = (&create.name, create.properties);
        let mailbox = MailboxFold::new(
            create.parent,
            name,
            create.uid_validity,
            properties,
            header.modseq,
        );
        self.make_way(header, create.parent, name);
        self.insert_mailbox(header.mailbox, mailbox);
        self.stand_above(create.parent, header.modseq);
    }

    /// A mailbox lies below this one: if its creation was lost, there is a stand-in, or nobody would find what is below it.
    fn stand_above(&mut self, parent: u32, modseq: u64) {
        if parent != 0 && self.mailbox(parent).is_none() {
            self.stand_in(parent, None, modseq);
        }
    }

    /// A mailbox gets this name now. One that has it had lost it, by a record that is lost: it gets another one, or the two
    /// could not be told from each other.
    fn make_way(&mut self, header: &RecordHeader, parent: u32, name: &str) {
        let other = self.child(parent, name);
        if let Some(other) = other.filter(|id| *id != header.mailbox && *id != INBOX_ID) {
            self.recover(other, header.modseq);
        }
    }

    /// Gives a mailbox a name by which it is found.
    fn recover(&mut self, id: u32, modseq: u64) {
        self.remember_name(id);
        if let Some(mailbox) = self.mailbox_mut(id) {
            (mailbox.parent, mailbox.name) = (0, format!("Recovered {id}").into());
            mailbox.modseq = mailbox.modseq.max(modseq);
        }
    }

    fn rename_mailbox(
        &mut self,
        header: &RecordHeader,
        parent: u32,
        name: &str,
        uid_validity: &[(u32, u32)],
    ) {
        let moved = self.subtree(header.mailbox);
        for id in &moved {
            self.remember_name(*id);
        }
        self.make_way(header, parent, name);
        self.with_mailbox(header, None, |mailbox, _| {
            mailbox.parent = parent;
            mailbox.name = name.into();
            mailbox.modseq = mailbox.modseq.max(header.modseq);
        });
        self.stand_above(parent, header.modseq);
        for (id, value) in uid_validity {
            self.uid_validity_mark = self.uid_validity_mark.max(*value);
            if let (Some(value), Some(mailbox)) = (UidValidity::new(*value), self.mailbox_mut(*id))
            {
                mailbox.uid_validity = value;
            }
        }
    }

    fn delete_mailbox(&mut self, id: u32, modseq: u64) {
        // One with others below it is not deleted: those that are there were deleted or renamed by records that are lost.
        let below = self.mailboxes.iter();
        let below: Vec<u32> = below
            .filter(|(_, mailbox)| mailbox.parent == id && id != 0)
            .map(|(below, _)| *below)
            .collect();
        for below in below {
            self.recover(below, modseq);
        }
        self.remember_name(id);
        if let Some(mailbox) = Arc::make_mut(&mut self.mailboxes).remove(&id) {
            self.destroyed.push(id, modseq);
            for leaf in mailbox.entries.leaves() {
                for keywords in leaf.keywords() {
                    self.keywords.release(*keywords);
                }
            }
        }
    }

    /// Highest UIDVALIDITY that a mailbox of that full name had, or may have had.
    pub(crate) fn past_mark(&self, path: &str) -> u32 {
        let known = self.past_names.get(path).copied();
        known.unwrap_or(0).max(self.past_floor)
    }

    /// The mailbox is about to lose its name: a later one of that name needs a greater UIDVALIDITY.
    fn remember_name(&mut self, id: u32) {
        let Some(value) = self
            .mailboxes
            .get(&id)
            .map(|mailbox| mailbox.uid_validity.get())
        else {
            return;
        };
        let path = self.path(id);
        let most = Arc::make_mut(&mut self.past_names)
            .entry(path.into())
            .or_default();
        *most = value.max(*most);
    }

    fn subscribe(&mut self, principal: u32, name: &str, on: bool) {
        let subscriptions = Arc::make_mut(&mut self.subscriptions);
        if on {
            subscriptions.insert((principal, name.into()));
        } else {
            subscriptions.remove(&(principal, name.into()));
        }
    }

    fn deliver(&mut self, header: &RecordHeader, deliver: &Deliver) {
        self.next_email = self.next_email.max(deliver.email.saturating_add(1));
        let entry = |keywords| Entry {
            uid: deliver.uid.get(),
            flags: deliver.flags,
            keywords,
            modseq: header.modseq,
            created: header.modseq,
            email: deliver.email,
            record: header.number,
            date: deliver.internal_date.seconds(),
            zone: deliver.internal_date.zone_minutes(),
            save_date: deliver.save_date,
            size: deliver.shape.wire_size(),
            raw_len: deliver.raw_len,
        };
        self.with_mailbox(header, Some(deliver.uid_validity), |mailbox, keywords| {
            if !mailbox.has(deliver.uid.get()) {
                let set = keywords.take(&deliver.keywords);
                mailbox.add(entry(set));
            }
        });
    }

    fn flag(&mut self, header: &RecordHeader, flag: &Flag) {
        self.with_mailbox(header, None, |mailbox, keywords| {
            mailbox.change(&flag.uids, |entry| {
                let (flags, set) = flag.outcome(entry.flags, keywords.get(entry.keywords));
                let number = match set {
                    None => entry.keywords,
                    Some(set) => {
                        let number = keywords.take(&set);
                        keywords.release(entry.keywords);
                        number
                    }
                };
                Some(Entry {
                    flags,
                    keywords: number,
                    modseq: header.modseq,
                    ..*entry
                })
            });
        });
    }

    fn transfer(&mut self, header: &RecordHeader, transfer: &Transfer, moved: bool) {
        let mut found = self.taken(header, transfer, moved).peekable();
        if found.peek().is_none() {
            return;
        }
        let mut next_email = self.next_email;
        self.with_mailbox(header, Some(transfer.uid_validity), |mailbox, keywords| {
            mailbox.add_all(found.map(|(pair, entry)| {
                next_email = next_email.max(pair.email.saturating_add(1));
                let number = if moved {
                    entry.keywords
                } else {
                    keywords.again(entry.keywords)
                };
                Entry {
                    uid: pair.to.get(),
                    keywords: number,
                    modseq: header.modseq,
                    created: header.modseq,
                    email: pair.email,
                    save_date: transfer.save_date,
                    ..entry
                }
            }));
        });
        self.next_email = next_email;
    }

    /// The entries that a transfer names and that are there; taken out, all of them first, where they are moved.
    fn taken<'a>(
        &mut self,
        header: &RecordHeader,
        transfer: &'a Transfer,
        moved: bool,
    ) -> Box<dyn Iterator<Item = (&'a Transferred, Entry)> + 'a> {
        let pairs = transfer.entries.iter();
        if moved {
            let source = self.mailbox_mut(transfer.source);
            let mut take = source.map(|source| |uid: u32| source.remove(uid, header.modseq));
            let taken: Vec<_> = pairs
                .filter_map(|pair| Some((pair, take.as_mut()?(pair.from.get())?)))
                .collect();
            Box::new(taken.into_iter())
        } else {
            // As it is now, also where it is the destination.
            let source = self.mailboxes.get(&transfer.source).cloned();
            let entry = move |uid: u32| source.as_ref()?.get(uid);
            Box::new(pairs.filter_map(move |pair| Some((pair, entry(pair.from.get())?))))
        }
    }
}

impl Flag {
    /// Flags and keywords of an entry after this change; `None` where its keywords stay as they are.
    pub(crate) fn outcome(
        &self,
        flags: Flags,
        keywords: &[Keyword],
    ) -> (Flags, Option<Vec<Keyword>>) {
        let flags = flags.without(self.remove).union(self.add);
        if !self.replace_keywords && self.add_keywords.is_empty() && self.remove_keywords.is_empty()
        {
            return (flags, None);
        }
        let removed: BTreeSet<&Keyword> = self.remove_keywords.iter().collect();
        let stays = |keyword: &&Keyword| !self.replace_keywords && !removed.contains(keyword);
        let kept = keywords.iter().filter(stays);
        let set: BTreeSet<&Keyword> = kept.chain(&self.add_keywords).collect();
        let set: Vec<Keyword> = set.into_iter().cloned().collect();
        (flags, (set != keywords).then_some(set))
    }
}
