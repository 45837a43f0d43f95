//! A row: what the records of a range say of one key.
//!
//! Rows of neighbouring ranges merge ([`Row::then`]), in any grouping, to the row of the whole range. A number that the
//! range does not tell is 0 in a row that is not complete, and reads as "below everything": merging takes the larger.

use std::sync::Arc;

use crate::format::change::{
    Change, CreateMailbox, Deliver, MailboxProperties, Transfer, Transferred,
};
use crate::format::record::RecordHeader;
use crate::mail::{AccountId, AccountName, ModSeq};

/// The mailbox that every account has, by its id and its name at the root.
const INBOX_ID: u32 = 1;
const INBOX: &str = "INBOX";

/// The second half of a key that holds a name's deferred deliveries.
const DEFERRED: [u8; 8] = [0xff; 8];

/// UIDNEXT and the next mailbox id when the last one was given.
pub(super) const U32_NEXT_MAX: u64 = 1 << 32;

/// What a key stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An account, by its id.
    #[default]
    Account,
    /// An account's other name.
    Alias {
        /// The account.
        target: AccountId,
    },
    /// Deliveries to a name whose account could not be read.
    Deferred,
}

/// INBOX as far as a delivery needs it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Inbox {
    /// Its UIDVALIDITY; 0 is unknown.
    pub(crate) uid_validity: u32,
    /// Its UIDNEXT, at most 2^32; 0 is unknown.
    pub(crate) uid_next: u64,
}

/// Where an image of the account is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ImageAt {
    /// Number of the file.
    pub(crate) file: u32,
    /// Offset in it, in bytes.
    pub(crate) offset: u64,
    /// Length in bytes.
    pub(crate) len: u32,
    /// The last record it covers.
    pub(crate) record: u64,
}

/// What is known of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// The key: the first 8 bytes are that of the name, the others random.
    pub(crate) key: AccountId,
    /// What the key stands for.
    pub(crate) kind: Kind,
    /// Whether older sources add nothing (but perhaps an image).
    pub(crate) complete: bool,
    /// Whether the account exists; `None` where the records do not say.
    pub(crate) exists: Option<bool>,
    /// The account's name, at most [`AccountName::LEN_MAX`] bytes.
    pub(crate) name: Option<Arc<str>>,
    /// Number of the newest record; 0 where there is none.
    pub(crate) last_record: u64,
    /// How many records a load reads: those behind the image, or all. Never too small, except that a row which is not
    /// complete counts its own range only.
    pub(crate) records: u32,
    /// Highest MODSEQ.
    pub(crate) modseq: u64,
    /// The next Email id.
    pub(crate) next_email: u64,
    /// The next mailbox id, at most 2^32.
    pub(crate) next_mailbox: u64,
    /// Highest UIDVALIDITY ever given.
    pub(crate) uid_validity_mark: u32,
    /// Mailbox 1.
    pub(crate) inbox: Inbox,
    /// Something happened that only the account's fold can tell: a delivery needs a load.
    pub(crate) opaque: bool,
    /// Number of the last fence applied.
    pub(crate) fence: u64,
    /// Sum of the bounds of the store's fences up to that one, so that [`Row::then`] can lift an older row over them.
    pub(crate) skipped: u64,
    /// Deferred records up to this one have their UIDs.
    pub(crate) assigned: u64,
    /// Highest UIDVALIDITY that any name may have had when records were lost.
    pub(crate) past_floor: u32,
    /// The newest image.
    pub(crate) image: Option<ImageAt>,
}

impl Row {
    /// The row of a key of which nothing is known. What the key stands for is read from its shape; for an alias see
    /// [`Row::alias`].
    pub(crate) fn new(key: AccountId) -> Self {
        let kind = match key.as_bytes() {
            [.., a, b, c, d, e, f, g, h] if [*a, *b, *c, *d, *e, *f, *g, *h] == DEFERRED => {
                Kind::Deferred
            }
            _ => Kind::Account,
        };
        Self {
            key,
            kind,
            complete: false,
            exists: None,
            name: None,
            last_record: 0,
            records: 0,
            modseq: 0,
            next_email: 0,
            next_mailbox: 0,
            uid_validity_mark: 0,
            inbox: Inbox::default(),
            opaque: false,
            fence: 0,
            skipped: 0,
            assigned: 0,
            past_floor: 0,
            image: None,
        }
    }

    /// The row of an alias that the record `number` made. It says all there is to say, so it hides all older rows of
    /// its key: an account that takes its first name back has its own key there, and needs no alias.
    pub(crate) fn alias(key: AccountId, target: AccountId, number: u64) -> Self {
        Self {
            kind: Kind::Alias { target },
            complete: true,
            exists: Some(true),
            last_record: number,
            records: 1,
            ..Self::new(key)
        }
    }

    /// The first 8 bytes of the key.
    pub(crate) fn prefix(&self) -> [u8; 8] {
        prefix_of(&self.key)
    }

    /// About how many bytes it takes in memory.
    pub(crate) fn footprint(&self) -> usize {
        size_of::<Self>() + self.name.as_ref().map_or(0, |name| name.len() + 16)
    }

    /// Takes over one record of the key. Records come in order; one that the row has already is passed over, and so is
    /// a fence ([`Row::fence`] is its way in).
    ///
    /// Fences with a lower number than the record's must have been applied before, also to a new row.
    pub(crate) fn advance(&mut self, header: &RecordHeader, change: &Change) {
        if header.number <= self.last_record || matches!(change, Change::Fence(_)) {
            return;
        }
        if let Change::Alias { target } = change {
            self.kind = Kind::Alias { target: *target };
        }
        if self.last_record == 0 && header.previous == 0 {
            self.begin(matches!(change, Change::CreateAccount { .. }));
        }
        self.last_record = header.number;
        self.records = self.records.saturating_add(1);
        self.modseq = self.modseq.max(header.modseq);
        if header.mailbox != 0 {
            self.next_mailbox = self.next_mailbox.max(u64::from(header.mailbox) + 1);
            // Also where the creation was lost: what is left of such an account can be reached.
            self.exists = Some(true);
        }
        self.change(header.mailbox, change);
    }

    /// Its first record is the account's first: nothing older adds to it.
    fn begin(&mut self, created: bool) {
        self.complete = true;
        self.next_email = self.next_email.max(1);
        self.next_mailbox = self.next_mailbox.max(1);
        // A history that does not begin with its account is not one this module can judge.
        self.opaque |= !created && self.kind == Kind::Account;
    }

    fn change(&mut self, mailbox: u32, change: &Change) {
        match change {
            Change::CreateAccount {
                name,
                uid_validity_mark,
            } => {
                self.exists = Some(true);
                self.rename(name, *uid_validity_mark);
            }
            Change::RenameAccount {
                name,
                uid_validity_mark,
            } => self.rename(name, *uid_validity_mark),
            Change::DeleteAccount { uid_validity_mark } => {
                self.exists = Some(false);
                self.mark(*uid_validity_mark);
            }
            Change::CreateMailbox(create) => self.create_mailbox(mailbox, create),
            Change::RenameMailbox {
                parent,
                name,
                uid_validity,
            } => {
                self.rename_mailbox(mailbox, *parent, name, uid_validity);
            }
            Change::DeleteMailbox | Change::UpdateMailbox(_) => {
                self.opaque |= mailbox == INBOX_ID;
            }
            Change::Deliver(deliver) => self.deliver(mailbox, deliver),
            Change::Copy(transfer) | Change::Move(transfer) => self.transfer(mailbox, transfer),
            Change::Assign(assign) => {
                self.assigned = self.assigned.max(assign.deferred);
                self.deliver(mailbox, &assign.deliver);
            }
            Change::Flag(_)
            | Change::Expunge { .. }
            | Change::Subscribe { .. }
            | Change::Base(_)
            | Change::Deferred(_)
            | Change::Alias { .. }
            | Change::Fence(_) => {}
        }
    }

    fn rename(&mut self, name: &str, uid_validity_mark: u32) {
        self.mark(uid_validity_mark);
        // No caller can make a longer name. One from a lie must not grow past a page.
        if name.len() <= AccountName::LEN_MAX {
            self.name = Some(name.into());
        } else {
            self.opaque = true;
        }
    }

    fn mark(&mut self, uid_validity: u32) {
        self.uid_validity_mark = self.uid_validity_mark.max(uid_validity);
    }

    fn create_mailbox(&mut self, id: u32, create: &CreateMailbox) {
        let CreateMailbox {
            parent,
            name,
            uid_validity,
            properties: MailboxProperties { noselect, .. },
        } = create;
        self.mark(uid_validity.get());
        let is_inbox = *parent == 0 && name == INBOX;
        match (id == INBOX_ID, is_inbox && !noselect) {
            (true, true) => self.inbox_has(uid_validity.get(), 1),
            (true, false) => self.opaque = true,
            (false, _) => self.opaque |= is_inbox,
        }
    }

    fn rename_mailbox(&mut self, id: u32, parent: u32, name: &str, uid_validity: &[(u32, u32)]) {
        for (_, value) in uid_validity {
            self.mark(*value);
        }
        let changes_inbox = id == INBOX_ID || uid_validity.iter().any(|(id, _)| *id == INBOX_ID);
        self.opaque |= changes_inbox || (parent == 0 && name == INBOX);
    }

    fn deliver(&mut self, mailbox: u32, deliver: &Deliver) {
        self.mark(deliver.uid_validity.get());
        self.next_email = self.next_email.max(deliver.email.saturating_add(1));
        if mailbox == INBOX_ID {
            self.inbox_has(deliver.uid_validity.get(), u64::from(deliver.uid.get()) + 1);
        }
    }

    fn transfer(&mut self, mailbox: u32, transfer: &Transfer) {
        self.mark(transfer.uid_validity.get());
        for Transferred { to, email, .. } in &transfer.entries {
            self.next_email = self.next_email.max(email.saturating_add(1));
            if mailbox == INBOX_ID {
                self.inbox_has(transfer.uid_validity.get(), u64::from(to.get()) + 1);
            }
        }
    }

    /// INBOX has that UIDVALIDITY, and a UIDNEXT not below this.
    fn inbox_has(&mut self, uid_validity: u32, uid_next: u64) {
        self.inbox = Inbox {
            uid_validity,
            uid_next: self.inbox.uid_next.max(uid_next),
        };
    }

    /// For tests of what merges: an image was saved that covers all records up to `image.record`. One older than the row's is passed over.
    #[cfg(test)]
    pub(crate) fn imaged(&mut self, image: ImageAt) {
        if newest(self.image, Some(image)) != Some(image) {
            return;
        }
        self.image = Some(image);
        if image.record >= self.last_record {
            self.records = 0;
        }
    }

    /// Skips ahead over what may have been lost, as the account's fold does; once for each fence.
    pub(crate) fn fence(&mut self, number: u64, bound: u32) {
        if number <= self.fence {
            return;
        }
        self.lift(bound.into());
        self.fence = number;
        self.skipped = self.skipped.saturating_add(bound.into());
    }

    /// Raises all that was known before a fence. What is unknown stays so: the older row that knows it is lifted too,
    /// when they merge.
    fn lift(&mut self, by: u64) {
        let complete = self.complete;
        let raised = |value: u64, max: u64| match value {
            0 if !complete => 0,
            value => value.saturating_add(by).min(max),
        };
        self.modseq = raised(self.modseq, ModSeq::MAX.get());
        self.next_email = raised(self.next_email, u64::MAX);
        self.next_mailbox = raised(self.next_mailbox, U32_NEXT_MAX);
        let mark = raised(self.uid_validity_mark.into(), u32::MAX.into());
        self.uid_validity_mark = u32::try_from(mark).unwrap_or(u32::MAX);
        self.past_floor = self.uid_validity_mark;
        if self.inbox.uid_next != 0 {
            self.inbox.uid_next = self.inbox.uid_next.saturating_add(by).min(U32_NEXT_MAX);
        }
    }

    /// The row of both ranges: this one's, and that of `newer` behind it. Both have the same key.
    pub(crate) fn then(&self, newer: &Self) -> Self {
        let image = newest(self.image, newer.image);
        // Sources may overlap where a flush caught records beyond its end.
        if self.complete && newer.last_record < self.last_record {
            return Self {
                image,
                ..self.clone()
            };
        }
        if newer.complete {
            return Self {
                image,
                ..newer.clone()
            };
        }
        let mut row = self.clone();
        if newer.fence > row.fence {
            // Also where the sum is the same: what was known then is the floor.
            row.lift(newer.skipped.saturating_sub(row.skipped));
            (row.fence, row.skipped) = (newer.fence, newer.skipped);
        }
        row.absorb(newer);
        row.image = image;
        row
    }

    /// Adds what a newer row knows, whose fences this one has.
    fn absorb(&mut self, newer: &Self) {
        if newer.kind != Kind::Account {
            self.kind = newer.kind;
        }
        self.exists = newer.exists.or(self.exists);
        self.name = newer.name.clone().or_else(|| self.name.take());
        self.last_record = self.last_record.max(newer.last_record);
        self.records = match newer.image {
            Some(_) => newer.records,
            None => self.records.saturating_add(newer.records),
        };
        self.modseq = self.modseq.max(newer.modseq);
        self.next_email = self.next_email.max(newer.next_email);
        self.next_mailbox = self.next_mailbox.max(newer.next_mailbox);
        self.mark(newer.uid_validity_mark);
        if newer.inbox.uid_validity != 0 {
            self.inbox.uid_validity = newer.inbox.uid_validity;
        }
        self.inbox.uid_next = self.inbox.uid_next.max(newer.inbox.uid_next);
        self.opaque |= newer.opaque;
        self.assigned = self.assigned.max(newer.assigned);
        self.past_floor = self.past_floor.max(newer.past_floor);
    }
}

/// The image that covers more; the second where they cover the same.
fn newest(older: Option<ImageAt>, newer: Option<ImageAt>) -> Option<ImageAt> {
    match (older, newer) {
        (Some(older), Some(newer)) if older.record > newer.record => Some(older),
        (older, newer) => newer.or(older),
    }
}

/// The first 8 bytes of a key: all rows of a name share them.
pub(super) fn prefix_of(key: &AccountId) -> [u8; 8] {
    let [a, b, c, d, e, f, g, h, ..] = *key.as_bytes();
    [a, b, c, d, e, f, g, h]
}

/// The key made of two halves.
pub(super) fn key_of(prefix: [u8; 8], rest: [u8; 8]) -> AccountId {
    let mut key = [0; 16];
    let bytes = prefix.iter().chain(&rest);
    key.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    AccountId::from_bytes(key)
}

#[cfg(test)]
mod tests;
