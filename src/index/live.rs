//! What an account's row and its fold have to do with each other.

use std::sync::Arc;

use crate::directory::{Fences, Inbox, Row};
use crate::format::change::{Change, Fence};
use crate::format::record::RecordHeader;
use crate::mail::{AccountId, UidValidity};
use crate::switch::Switch;

use super::fold::{Fold, INBOX};
use super::mailbox::MailboxFold;
use super::plan::INBOX_ID;

impl Row {
    /// The row of an account that is about to be created, behind all fences so far.
    pub(crate) fn beginning(id: AccountId, fences: &Fences) -> Self {
        let mut row = Self::new(id);
        // While nothing is known there is nothing to skip.
        fences.apply(&mut row, u64::MAX);
        Self {
            complete: true,
            next_email: 1,
            next_mailbox: 1,
            ..row
        }
    }

    /// Whether only the account's fold can say how it is: its beginning is not known, or something happened that a row
    /// cannot tell.
    pub(crate) fn needs_fold(&self) -> bool {
        !self.complete || self.opaque
    }

    /// Whether an account has this name.
    pub(crate) fn is_called(&self, name: &str) -> bool {
        self.exists == Some(true) && self.name.as_deref() == Some(name)
    }

    /// Whether the account has records, of which none that can be read tells its name.
    pub(super) fn has_lost_its_name(&self) -> bool {
        let unnamed = |name: &str| name == self.key.to_string();
        self.last_record > 0 && self.name.as_deref().is_none_or(unnamed)
    }

    /// The MODSEQ that the next change gets.
    pub(crate) fn next_modseq(&self) -> u64 {
        self.modseq + 1
    }

    /// Nothing that `failed` gave out will be given again.
    pub(crate) fn burn(&mut self, failed: &Self) {
        self.modseq = self.modseq.max(failed.modseq);
        self.next_email = self.next_email.max(failed.next_email);
        self.next_mailbox = self.next_mailbox.max(failed.next_mailbox);
        self.uid_validity_mark = self.uid_validity_mark.max(failed.uid_validity_mark);
        self.inbox.uid_next = self.inbox.uid_next.max(failed.inbox.uid_next);
    }

    /// Takes back what a part of the account's records said that the row knew better.
    fn keep(&mut self, known: Self) {
        self.burn(&known);
        self.last_record = self.last_record.max(known.last_record);
        self.assigned = self.assigned.max(known.assigned);
        self.past_floor = self.past_floor.max(known.past_floor);
        self.complete = known.complete;
        self.opaque |= known.opaque;
        self.exists = known.exists.or(self.exists);
        self.name = known.name.or_else(|| self.name.take());
        if self.inbox.uid_validity == 0 {
            self.inbox.uid_validity = known.inbox.uid_validity;
        }
    }
}

impl Fold {
    /// The fold of an account that is about to be created.
    pub(crate) fn beginning(row: &Row, past_floor: u32) -> Self {
        Self {
            fence: row.fence,
            past_floor,
            ..Self::new(row.key)
        }
    }

    /// Takes over the fences in front of record `before` that it has not crossed yet. What is not there yet skips
    /// nothing, and takes care not to give a UIDVALIDITY that a lost account of the name may have given.
    pub(crate) fn cross(&mut self, fences: &Fences, before: u64, floor: u32) {
        let all = fences.all().iter();
        for at in all.filter(|at| at.number < before) {
            if at.number <= self.fence {
                continue;
            }
            if self.last_record == 0 {
                self.fence = at.number;
                self.past_floor = self.past_floor.max(floor);
                continue;
            }
            let header = RecordHeader {
                number: at.number,
                previous: 0,
                account: AccountId::from_bytes([0; 16]),
                mailbox: 0,
                modseq: 0,
            };
            let fence = Fence {
                first_lost: at.first_lost,
                last_lost: at.last_lost,
                bound: at.bound,
            };
            self.apply(&header, &Change::Fence(fence));
        }
    }

    /// Goes on behind the row's last record, and gives out nothing that the row knows to be given out. Where the record that
    /// named the account is lost, the row was made from it: else the next row would not know the name either.
    pub(crate) fn reach(&mut self, row: &Row) {
        self.last_record = self.last_record.max(row.last_record);
        // The record of its last renaming may be among the lost: the fold then has a name from before, or none.
        if let Some(name) = &row.name
            && **name != *self.id.to_string()
        {
            self.name = Arc::clone(name);
        }
        // All that made it may be among them, and none that deleted it.
        self.exists |= row.exists == Some(true) && !self.partial;
        if row.modseq > self.modseq {
            self.modseq_burned = self.modseq_burned.max(row.modseq);
        }
        self.next_email = self.next_email.max(row.next_email);
        self.next_mailbox = self.next_mailbox.max(row.next_mailbox);
        self.uid_validity_mark = self.uid_validity_mark.max(row.uid_validity_mark);
        let behind = |inbox: &&MailboxFold| inbox.uid_assign < row.inbox.uid_next;
        if self.mailbox(INBOX_ID).filter(behind).is_some() {
            let inbox = Arc::make_mut(&mut self.mailboxes).get_mut(&INBOX_ID);
            if let Some(inbox) = inbox.map(Arc::make_mut) {
                inbox.uid_assign = row.inbox.uid_next;
            }
        }
    }

    /// Every account has an INBOX. One of which no record is left gets a stand-in, or all mail for it would wait for ever: with
    /// the numbers that the row knows, else with a UIDVALIDITY above any that was given. The first delivery there makes it
    /// durable.
    pub(crate) fn keep_inbox(&mut self, row: &Row) {
        let may = self.exists && self.mailbox(INBOX_ID).is_none() && self.child(0, INBOX).is_none();
        if may && Switch::InboxKept.on() {
            self.stand_in(
                INBOX_ID,
                UidValidity::new(row.inbox.uid_validity),
                self.modseq,
            );
            self.reach(row);
            let inbox = Arc::make_mut(&mut self.mailboxes).get_mut(&INBOX_ID);
            if let Some(inbox) = inbox.map(Arc::make_mut) {
                // It was told before, by this row: UIDNEXT does not fall.
                inbox.uid_next = inbox.uid_assign;
            }
        }
    }

    /// Makes the row say what the fold knows. Where the account's image is stays.
    ///
    /// What the disk did not give of the account the row may know: then nothing in it falls, and what is older than it still
    /// counts.
    pub(crate) fn describe(&self, row: &mut Row) {
        let known = self.partial.then(|| row.clone());
        self.describe_all(row);
        if let Some(known) = known {
            row.keep(known);
        }
    }

    fn describe_all(&self, row: &mut Row) {
        let inbox = self
            .mailbox(INBOX_ID)
            .filter(|inbox| !inbox.properties.noselect);
        row.complete = true;
        row.opaque = inbox.is_none() && self.exists;
        row.exists = Some(self.exists);
        row.name = Some(Arc::clone(&self.name));
        row.last_record = self.last_record;
        row.modseq = self.next_modseq() - 1;
        row.next_email = self.next_email;
        row.next_mailbox = self.next_mailbox;
        row.uid_validity_mark = self.uid_validity_mark;
        row.assigned = self.assigned;
        row.past_floor = self.past_floor;
        row.inbox = inbox.map_or(Inbox::default(), |inbox| Inbox {
            uid_validity: inbox.uid_validity.get(),
            uid_next: inbox.uid_assign,
        });
    }

    /// Whether it is weighed in no time.
    pub(crate) fn is_small(&self) -> bool {
        const SMALL: u64 = 4096;
        let mailboxes = self.mailboxes.values();
        mailboxes
            .map(|mailbox| mailbox.counters.messages)
            .sum::<u64>()
            <= SMALL
    }

    /// About how many bytes it takes in memory.
    pub(crate) fn weight(&self) -> usize {
        const NAME: usize = 128;
        let mailboxes = self.mailboxes.values();
        let bytes: usize = mailboxes.map(|mailbox| mailbox.weight()).sum();
        bytes + NAME * (self.subscriptions.len() + self.past_names.len())
    }
}
