//! From what a caller wants to what the records say: checked against the account as it will be once everything before
//! is durable.

use std::sync::Arc;

use super::fold::{Fold, INBOX};
use super::mailbox::MailboxFold;
use crate::error::{Error, Result};
use crate::format::change::{
    BodyAt, Change, CreateMailbox, Deliver, Flag, MailboxProperties, Transfer, Transferred,
};
use crate::format::record::RecordHeader;
use crate::log::{GroupWriter, NewBody, NewRecord};
use crate::mail::{
    AccountId, Digest, EmailId, FlagChange, Flags, InternalDate, Keyword, MailboxName, ModSeq,
    Shape, Summary, Uid, UidSet, UidValidity,
};

/// Most UID ranges or transferred entries in one record; larger changes take several, in one batch.
const RECORD_ITEMS: usize = 32 << 10;

/// Records that will be written together, and the account as they make it.
#[derive(Debug)]
pub(crate) struct Draft {
    scratch: Fold,
    /// How many of the drafts the scratch has.
    applied: usize,
    pub(crate) drafts: Vec<Drafted>,
    first_modseq: u64,
    /// Seconds since 1970.
    now: i64,
}

/// One record to be.
#[derive(Debug)]
pub(crate) struct Drafted {
    pub(crate) mailbox: u32,
    pub(crate) modseq: u64,
    pub(crate) change: Change,
    /// Which of the call's message bodies it brings.
    pub(crate) body: Option<usize>,
}

/// What is known of a message before it is delivered.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    pub(crate) digest: Digest,
    pub(crate) shape: Shape,
    pub(crate) summary: Summary,
    pub(crate) raw_len: u32,
    pub(crate) body: BodyAt,
}

/// How a message is delivered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Marks {
    pub(crate) flags: Flags,
    /// Sorted, no duplicates.
    pub(crate) keywords: Vec<Keyword>,
    pub(crate) date: Option<InternalDate>,
}

/// A message that was delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delivered {
    /// Its UID.
    pub uid: Uid,
    /// The mailbox's UIDVALIDITY.
    pub uid_validity: UidValidity,
    /// The MODSEQ of its arrival.
    pub modseq: ModSeq,
    /// The Email it is.
    pub email: EmailId,
}

/// What a change of flags did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Flagged {
    /// The entries that are different now.
    pub changed: UidSet,
    /// The entries that had a MODSEQ above UNCHANGEDSINCE and were left alone (RFC 7162 3.1.3).
    pub modified: UidSet,
    /// The MODSEQ that the changed ones have now; `None` when none changed.
    pub modseq: Option<ModSeq>,
}

/// What a copy or move did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Transferring {
    /// The destination's UIDVALIDITY; `None` when nothing was transferred.
    pub uid_validity: Option<UidValidity>,
    /// UID in the source and UID in the destination, in order of both (COPYUID, RFC 9051 7.1).
    pub uids: Vec<(Uid, Uid)>,
}

impl Draft {
    pub(crate) fn new(head: Fold, now_ms: i64) -> Self {
        let first_modseq = head.next_modseq();
        Self {
            scratch: head,
            applied: 0,
            drafts: Vec::new(),
            first_modseq,
            now: now_ms.div_euclid(1000),
        }
    }

    /// The account with all drafts so far.
    fn fold(&mut self) -> &Fold {
        for drafted in self.drafts.get(self.applied..).unwrap_or_default() {
            let header = drafted.header(&self.scratch, 0);
            self.scratch.apply(&header, &drafted.change);
        }
        self.applied = self.drafts.len();
        &self.scratch
    }

    fn push(&mut self, mailbox: u32, change: Change) -> u64 {
        let modseq = self.first_modseq + self.drafts.len() as u64;
        self.drafts.push(Drafted {
            mailbox,
            modseq,
            change,
            body: None,
        });
        modseq
    }

    fn modseq(&self, raw: u64, name: &str) -> Result<ModSeq> {
        ModSeq::new(raw).ok_or_else(|| Error::Exhausted {
            name: name.into(),
            what: "MODSEQs",
        })
    }

    fn mailbox(&mut self, id: u32) -> Result<&MailboxFold> {
        self.fold().mailbox(id).ok_or_else(|| Error::NoSuchMailbox {
            name: format!("#{id}"),
        })
    }

    /// A UIDVALIDITY above all that the account gave: by the clock, or one more.
    fn uid_validity(&mut self, above: u32) -> Result<UidValidity> {
        let clock = u32::try_from(self.now).unwrap_or(if self.now < 0 { 0 } else { u32::MAX });
        let mark = self.fold().uid_validity_mark.max(above);
        let next = mark
            .checked_add(1)
            .map(|next| next.max(clock))
            .and_then(UidValidity::new);
        next.ok_or_else(|| Error::Exhausted {
            name: "the account".into(),
            what: "UIDVALIDITYs",
        })
    }

    pub(crate) fn create_account(&mut self, name: &str, uid_validity_mark: u32) -> Result<()> {
        self.push(
            0,
            Change::CreateAccount {
                name: name.into(),
                uid_validity_mark,
            },
        );
        self.create_mailbox(&MailboxName::inbox(), MailboxProperties::default())
            .map(drop)
    }

    /// Renames the account. `uid_validity_mark` is the highest UIDVALIDITY that earlier accounts of the name gave: its
    /// mailboxes with no greater one get one, as a client may know the name with other messages (RFC 9051 2.3.1.1).
    pub(crate) fn rename_account(&mut self, name: &str, uid_validity_mark: u32) -> Result<()> {
        self.push(
            0,
            Change::RenameAccount {
                name: name.into(),
                uid_validity_mark,
            },
        );
        let stale = |mailbox: &MailboxFold| mailbox.uid_validity.get() <= uid_validity_mark;
        let all = self.fold().mailboxes.iter();
        let stale: Vec<u32> = all
            .filter(|(_, mailbox)| stale(mailbox))
            .map(|(id, _)| *id)
            .collect();
        let mut above = 0;
        for ids in stale.chunks(RECORD_ITEMS) {
            let mut fresh = Vec::with_capacity(ids.len());
            for id in ids {
                above = self.uid_validity(above)?.get();
                fresh.push((*id, above));
            }
            if let Some(first) = ids.first() {
                self.keep_name(*first, fresh)?;
            }
        }
        Ok(())
    }

    /// Gives new UIDVALIDITYs by a rename of one mailbox to the name that it has.
    fn keep_name(&mut self, id: u32, uid_validity: Vec<(u32, u32)>) -> Result<()> {
        let mailbox = self.mailbox(id)?;
        let (parent, name) = (mailbox.parent, mailbox.name.to_string());
        let change = Change::RenameMailbox {
            parent,
            name,
            uid_validity,
        };
        self.push(id, change);
        Ok(())
    }

    /// Whether the account is there at all.
    pub(crate) fn exists(&mut self) -> Result<()> {
        let fold = self.fold();
        if fold.exists {
            Ok(())
        } else {
            Err(Error::NoSuchAccount {
                name: fold.name.to_string(),
            })
        }
    }

    pub(crate) fn delete_account(&mut self) {
        let uid_validity_mark = self.fold().uid_validity_mark;
        self.push(0, Change::DeleteAccount { uid_validity_mark });
    }

    /// Creates a mailbox, and those above it that are missing (RFC 9051 6.3.4).
    pub(crate) fn create_mailbox(
        &mut self,
        name: &MailboxName,
        properties: MailboxProperties,
    ) -> Result<u32> {
        if self.fold().find(name).is_some() {
            return Err(Error::MailboxExists {
                name: name.to_string(),
            });
        }
        let parent = self.parent_of(name)?;
        self.create_one(parent, name.leaf(), properties)
    }

    fn create_one(
        &mut self,
        parent: u32,
        leaf: &str,
        properties: MailboxProperties,
    ) -> Result<u32> {
        let uid_validity = self.uid_validity(0)?;
        let exhausted = |_| Error::Exhausted {
            name: leaf.into(),
            what: "mailbox ids",
        };
        let id = u32::try_from(self.fold().next_mailbox).map_err(exhausted)?;
        self.push(
            id,
            Change::CreateMailbox(CreateMailbox {
                parent,
                name: leaf.into(),
                uid_validity,
                properties,
            }),
        );
        Ok(id)
    }

    /// The mailbox above `name`, created where it is missing; 0 is the root.
    fn parent_of(&mut self, name: &MailboxName) -> Result<u32> {
        let mut parent = 0;
        let above = name.parent();
        for leaf in above.iter().flat_map(MailboxName::levels) {
            parent = match self.fold().child(parent, leaf) {
                Some(id) => id,
                None => self.create_one(parent, leaf, MailboxProperties::default())?,
            };
        }
        Ok(parent)
    }

    fn find(&mut self, name: &MailboxName) -> Result<u32> {
        self.fold().find(name).ok_or_else(|| Error::NoSuchMailbox {
            name: name.to_string(),
        })
    }

    /// Renames a mailbox with all below it. INBOX stays: its messages move (RFC 9051 6.3.6).
    pub(crate) fn rename_mailbox(&mut self, from: &MailboxName, to: &MailboxName) -> Result<u32> {
        let id = self.find(from)?;
        if self.fold().find(to).is_some() {
            return Err(Error::MailboxExists {
                name: to.to_string(),
            });
        }
        if from.is_inbox() {
            let destination = self.create_mailbox(to, MailboxProperties::default())?;
            self.transfer(id, &UidSet::full(), destination, true)?;
            return Ok(destination);
        }
        if to.starts_with(from) {
            return Err(Error::NotAllowed {
                name: from.to_string(),
                verb: "renamed to a name below itself",
            });
        }
        let parent = self.parent_of(to)?;
        let uid_validity = self.fresh_uid_validities(id, from, to)?;
        self.push(
            id,
            Change::RenameMailbox {
                parent,
                name: to.leaf().into(),
                uid_validity,
            },
        );
        Ok(id)
    }

    /// Which mailboxes below `top` need a greater UIDVALIDITY when `from` becomes `to`: those whose new name once
    /// belonged to a mailbox with an equal or greater one.
    fn fresh_uid_validities(
        &mut self,
        top: u32,
        from: &MailboxName,
        to: &MailboxName,
    ) -> Result<Vec<(u32, u32)>> {
        let mut fresh = Vec::new();
        let mut above = 0;
        for id in self.fold().subtree(top) {
            let path = self.fold().path(id);
            let new_path = format!(
                "{to}{}",
                path.strip_prefix(from.as_str()).unwrap_or_default()
            );
            MailboxName::new(&new_path)?;
            let past = self.fold().past_names.get(new_path.as_str()).copied();
            let present = self.mailbox(id)?.uid_validity.get();
            if past.is_some_and(|past| past >= present) {
                above = self.uid_validity(above)?.get();
                fresh.push((id, above));
            }
        }
        Ok(fresh)
    }

    /// Deletes a mailbox and its messages; not INBOX, not one with mailboxes below it.
    pub(crate) fn delete_mailbox(&mut self, name: &MailboxName) -> Result<()> {
        let id = self.find(name)?;
        if name.is_inbox() {
            return Err(Error::NotAllowed {
                name: INBOX.into(),
                verb: "deleted",
            });
        }
        if self.fold().subtree(id).len() > 1 {
            return Err(Error::HasChildren {
                name: name.to_string(),
            });
        }
        self.push(id, Change::DeleteMailbox);
        Ok(())
    }

    pub(crate) fn update_mailbox(&mut self, id: u32, properties: MailboxProperties) -> Result<()> {
        if self.mailbox(id)?.properties != properties {
            self.push(id, Change::UpdateMailbox(properties));
        }
        Ok(())
    }

    pub(crate) fn subscribe(&mut self, name: &MailboxName, on: bool) {
        let key = (0, Arc::from(name.as_str()));
        if self.fold().subscriptions.contains(&key) != on {
            self.push(
                0,
                Change::Subscribe {
                    principal: 0,
                    name: name.to_string(),
                    on,
                },
            );
        }
    }

    /// Delivers a message. `email` is the Email it shares with another entry of the same call.
    pub(crate) fn deliver(
        &mut self,
        id: u32,
        arrival: &Arrival,
        marks: &Marks,
        email: Option<u64>,
        body: Option<usize>,
    ) -> Result<Delivered> {
        let now = self.now;
        let mailbox = self.mailbox(id)?;
        let (uid_validity, uid) = (mailbox.uid_validity, next_uid(mailbox, 0)?);
        if mailbox.properties.noselect {
            return Err(Error::NotAllowed {
                name: mailbox.name.to_string(),
                verb: "selected",
            });
        }
        let shared = email.filter(|email| mailbox.uid_of(*email).is_none());
        let email = shared.unwrap_or(self.fold().next_email);
        let internal_date = marks.date.or_else(|| InternalDate::utc(now));
        let deliver = Deliver {
            uid,
            uid_validity,
            flags: marks.flags,
            keywords: marks.keywords.clone(),
            internal_date: internal_date.ok_or(Error::NotAllowed {
                name: id.to_string(),
                verb: "dated by this clock",
            })?,
            save_date: now,
            email,
            thread: 0,
            raw_len: arrival.raw_len,
            shape: arrival.shape,
            digest: arrival.digest,
            body: arrival.body,
            summary: arrival.summary.clone(),
        };
        let modseq = self.push(id, Change::Deliver(Box::new(deliver)));
        if let Some(drafted) = self.drafts.last_mut() {
            drafted.body = body;
        }
        let modseq = self.modseq(modseq, "the account")?;
        let email = EmailId::new(email).ok_or(Error::Exhausted {
            name: "the account".into(),
            what: "Email ids",
        })?;
        Ok(Delivered {
            uid,
            uid_validity,
            modseq,
            email,
        })
    }

    /// Changes flags. Entries that would stay as they are get no new MODSEQ.
    pub(crate) fn flag(
        &mut self,
        id: u32,
        uids: &UidSet,
        change: &FlagChange,
        unchanged_since: Option<ModSeq>,
    ) -> Result<Flagged> {
        let flag = flag_record(change);
        self.fold();
        let fold = &self.scratch;
        let mailbox = fold.mailbox(id).ok_or_else(|| Error::NoSuchMailbox {
            name: format!("#{id}"),
        })?;
        let mut done = Flagged::default();
        for entry in mailbox.select(uids) {
            let Some(uid) = Uid::new(entry.uid) else {
                continue;
            };
            if unchanged_since
                .is_some_and(|since| entry.modseq.max(mailbox.modseq_floor) > since.get())
            {
                done.modified.insert(uid);
                continue;
            }
            let (flags, keywords) = flag.outcome(entry.flags, fold.keywords.get(entry.keywords));
            if flags != entry.flags || keywords.is_some() {
                done.changed.insert(uid);
            }
        }
        for part in parts(&done.changed) {
            let modseq = self.push(
                id,
                Change::Flag(Flag {
                    uids: part,
                    ..flag.clone()
                }),
            );
            done.modseq = Some(self.modseq(modseq, "the account")?);
        }
        Ok(done)
    }

    /// Copies or moves the entries of `uids` that exist, all or none.
    pub(crate) fn transfer(
        &mut self,
        source: u32,
        uids: &UidSet,
        destination: u32,
        moved: bool,
    ) -> Result<Transferring> {
        let save_date = self.now;
        self.fold();
        let fold = &self.scratch;
        let missing = |id| Error::NoSuchMailbox {
            name: format!("#{id}"),
        };
        let from = fold.mailbox(source).ok_or_else(|| missing(source))?;
        let to = fold
            .mailbox(destination)
            .ok_or_else(|| missing(destination))?;
        if to.properties.noselect {
            return Err(Error::NotAllowed {
                name: to.name.to_string(),
                verb: "selected",
            });
        }
        let uid_validity = to.uid_validity;
        let mut next_email = fold.next_email;
        let mut entries = Vec::new();
        for (at, entry) in from.select(uids).iter().enumerate() {
            let Some(uid) = Uid::new(entry.uid) else {
                continue;
            };
            let leaves = moved && source == destination;
            let held = to.uid_of(entry.email).is_some() && !leaves;
            let email = if held { next_email } else { entry.email };
            next_email += u64::from(held);
            entries.push(Transferred {
                from: uid,
                to: next_uid(to, at as u64)?,
                email,
            });
        }
        let pairs: Vec<_> = entries.iter().map(|entry| (entry.from, entry.to)).collect();
        for part in entries.chunks(RECORD_ITEMS) {
            let transfer = Transfer {
                source,
                uid_validity,
                save_date,
                entries: part.to_vec(),
            };
            self.push(
                destination,
                if moved {
                    Change::Move(transfer)
                } else {
                    Change::Copy(transfer)
                },
            );
        }
        let uid_validity = (!pairs.is_empty()).then_some(uid_validity);
        Ok(Transferring {
            uid_validity,
            uids: pairs,
        })
    }

    /// Removes the entries of `uids`; with `only_deleted` those of them with `\Deleted`. Returns which.
    pub(crate) fn expunge(&mut self, id: u32, uids: &UidSet, only_deleted: bool) -> Result<UidSet> {
        let wanted = |flags: Flags| !only_deleted || flags.contains(Flags::DELETED);
        let entries = self.mailbox(id)?.select(uids);
        let found: UidSet = entries
            .iter()
            .filter(|entry| wanted(entry.flags))
            .filter_map(|entry| Uid::new(entry.uid))
            .collect();
        for part in parts(&found) {
            self.push(id, Change::Expunge { uids: part });
        }
        Ok(found)
    }

    /// Adds the drafts to the batch that fills; returns their numbers. A message body that several drafts bring is
    /// written with the first.
    pub(crate) fn write(
        &mut self,
        account: AccountId,
        mut previous: u64,
        group: &mut GroupWriter<'_>,
        bodies: &[NewBody<'_>],
    ) -> Vec<u64> {
        let mut numbers = Vec::with_capacity(self.drafts.len());
        for drafted in &mut self.drafts {
            let body = drafted.body.and_then(|at| bodies.get(at));
            let new = NewRecord {
                account,
                mailbox: drafted.mailbox,
                modseq: drafted.modseq,
                previous,
                change: &mut drafted.change,
            };
            previous = group.push(new, body);
            numbers.push(previous);
        }
        numbers
    }

    /// The account with the drafts, which got the numbers from `first` on.
    pub(crate) fn finish(&self, mut head: Fold, numbers: &[u64]) -> Fold {
        for (drafted, number) in self.drafts.iter().zip(numbers) {
            let header = drafted.header(&head, *number);
            head.apply(&header, &drafted.change);
        }
        head
    }
}

impl Drafted {
    pub(crate) fn header(&self, fold: &Fold, number: u64) -> RecordHeader {
        RecordHeader {
            number,
            previous: fold.last_record,
            account: fold.id,
            mailbox: self.mailbox,
            modseq: self.modseq,
        }
    }
}

/// The UID that the entry after `ahead` more ones gets.
fn next_uid(mailbox: &MailboxFold, ahead: u64) -> Result<Uid> {
    let next = u32::try_from(mailbox.uid_assign + ahead)
        .ok()
        .and_then(Uid::new);
    next.ok_or_else(|| Error::Exhausted {
        name: mailbox.name.to_string(),
        what: "UIDs",
    })
}

/// The record of a change of flags, without UIDs.
fn flag_record(change: &FlagChange) -> Flag {
    let all = Flags::SEEN | Flags::ANSWERED | Flags::FLAGGED | Flags::DELETED | Flags::DRAFT;
    let remove = if change.replaces() {
        all.without(change.adds())
    } else {
        change.removes()
    };
    Flag {
        uids: UidSet::new(),
        add: change.adds(),
        remove,
        add_keywords: change.added_keywords().to_vec(),
        remove_keywords: if change.replaces() {
            Vec::new()
        } else {
            change.removed_keywords().to_vec()
        },
        replace_keywords: change.replaces(),
        principal: 0,
    }
}

/// A set in parts that each fit in a record.
fn parts(uids: &UidSet) -> impl Iterator<Item = UidSet> {
    uids.ranges().chunks(RECORD_ITEMS).map(|ranges| {
        let mut part = UidSet::new();
        for (first, last) in ranges {
            part.insert_range(*first, *last);
        }
        part
    })
}
