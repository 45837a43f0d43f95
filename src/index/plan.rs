//! From what a caller wants to what the records say: checked against the account as it will be once everything before
//! is durable.

mod cold;
mod deliveries;
mod mailboxes;

use std::collections::BTreeMap;

pub(crate) use cold::{ColdDraft, INBOX_ID};

use super::cell::Head;
use super::fold::Fold;
use super::mailbox::MailboxFold;
use crate::error::{Error, Result};
use crate::format::change::{BodyAt, Change, Flag, Transfer, Transferred};
use crate::format::record::RecordHeader;
use crate::log::{GroupWriter, NewBody, NewRecord};
use crate::mail::{
    AccountId, Digest, EmailId, FlagChange, Flags, InternalDate, Keyword, ModSeq, Shape, Summary,
    Uid, UidSet, UidValidity,
};

/// Most UID ranges or transferred entries in one record; larger changes take several, in one batch.
const RECORD_ITEMS: usize = 32 << 10;

/// Most bytes of keywords in one record: far above what mail has, far below what a record holds.
const KEYWORDS_LEN_MAX: u64 = 1 << 20;

/// Records that will be written together, and the account as they make it.
#[derive(Debug)]
pub(crate) struct Draft {
    scratch: Fold,
    /// How many of the drafts the scratch has.
    applied: usize,
    /// The deliveries of new Emails among those behind.
    ahead: Ahead,
    pub(crate) records: Drafts,
}

/// Deliveries, each of a new Email, that a fold does not have yet.
#[derive(Debug, Default)]
struct Ahead {
    count: usize,
    of_mailbox: BTreeMap<u32, u64>,
}

/// Records of one account that will be written together.
#[derive(Debug)]
pub(crate) struct Drafts {
    pub(crate) list: Vec<Drafted>,
    first_modseq: u64,
    /// Seconds since 1970.
    now: i64,
}

/// One record to be.
#[derive(Debug)]
pub(crate) struct Drafted {
    /// The id it is filed under instead of the account's, with no record before it.
    pub(crate) filed: Option<AccountId>,
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
            ahead: Ahead::default(),
            records: Drafts::new(first_modseq, now_ms),
        }
    }

    /// The account with all drafts so far.
    pub(super) fn fold(&mut self) -> &Fold {
        let new = self.records.list.get(self.applied..).unwrap_or_default();
        for drafted in new.iter().filter(|drafted| drafted.filed.is_none()) {
            let header = drafted.header(self.scratch.id, self.scratch.last_record, 0);
            self.scratch.apply(&header, &drafted.change);
        }
        self.applied = self.records.list.len();
        self.ahead = Ahead::default();
        &self.scratch
    }

    /// What the scratch does not have yet, which is nothing but deliveries of new Emails.
    fn ahead(&mut self) -> &Ahead {
        if self.ahead.count != self.records.list.len() - self.applied {
            self.fold();
        }
        &self.ahead
    }

    fn push(&mut self, mailbox: u32, change: Change) -> Result<ModSeq> {
        self.records.push(mailbox, change)
    }

    fn mailbox(&mut self, id: u32) -> Result<&MailboxFold> {
        self.fold().mailbox(id).ok_or_else(|| no_mailbox(id))
    }

    /// A UIDVALIDITY above all that the account gave: by the clock, or one more.
    fn uid_validity(&mut self, above: u32) -> Result<UidValidity> {
        let now = self.records.now;
        let clock = u32::try_from(now).unwrap_or(if now < 0 { 0 } else { u32::MAX });
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

    /// Changes flags. Entries that would stay as they are get no new MODSEQ.
    pub(crate) fn flag(
        &mut self,
        id: u32,
        uids: &UidSet,
        change: &FlagChange,
        unchanged_since: Option<ModSeq>,
    ) -> Result<Flagged> {
        let flag = flag_record(change);
        keywords_fit(&flag.add_keywords)?;
        keywords_fit(&flag.remove_keywords)?;
        self.fold();
        let fold = &self.scratch;
        let mailbox = fold.mailbox(id).ok_or_else(|| no_mailbox(id))?;
        let mut done = Flagged::default();
        let floor = mailbox.modseq_floor;
        for (leaf, at) in mailbox.find(uids) {
            let columns = (
                leaf.uid().get(at),
                leaf.flags().get(at),
                leaf.keywords().get(at),
            );
            let (Some(uid), Some(had), Some(set)) = columns else {
                continue;
            };
            let Some(uid) = Uid::new(*uid) else { continue };
            let changed_at = || leaf.modseq().get(at).map_or(0, |modseq| floor.max(*modseq));
            if unchanged_since.is_some_and(|since| changed_at() > since.get()) {
                done.modified.insert(uid);
                continue;
            }
            let (flags, keywords) = flag.outcome(*had, fold.keywords.get(*set));
            if flags != *had || keywords.is_some() {
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
            )?;
            done.modseq = Some(modseq);
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
        let save_date = self.records.now;
        self.fold();
        let fold = &self.scratch;
        let from = fold.mailbox(source).ok_or_else(|| no_mailbox(source))?;
        let to = fold.mailbox(destination);
        let to = to.ok_or_else(|| no_mailbox(destination))?;
        if to.properties.noselect {
            return Err(Error::NotAllowed {
                name: to.name.to_string(),
                verb: "selected",
            });
        }
        let uid_validity = to.uid_validity;
        let mut next_email = fold.next_email;
        let mut entries = Vec::new();
        for (at, (leaf, row)) in from.find(uids).enumerate() {
            let (uid, email) = (leaf.uid().get(row), leaf.email().get(row));
            let (Some(uid), Some(email)) = (uid.and_then(|uid| Uid::new(*uid)), email) else {
                continue;
            };
            let leaves = moved && source == destination;
            let held = to.uid_of(*email).is_some() && !leaves;
            let email = if held { next_email } else { *email };
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
            )?;
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
            self.push(id, Change::Expunge { uids: part })?;
        }
        Ok(found)
    }
}

impl Drafts {
    /// Whether all of them remove mail, and so may use what is kept for that on a full disk.
    pub(crate) fn only_remove(&self) -> bool {
        let removes = |change: &Change| {
            let of_all = matches!(change, Change::DeleteMailbox | Change::DeleteAccount { .. });
            of_all || matches!(change, Change::Expunge { .. })
        };
        self.list.iter().all(|drafted| removes(&drafted.change))
    }

    pub(super) fn new(first_modseq: u64, now_ms: i64) -> Self {
        Self {
            list: Vec::new(),
            first_modseq,
            now: now_ms.div_euclid(1000),
        }
    }

    /// Drafts a change; returns its MODSEQ.
    pub(super) fn push(&mut self, mailbox: u32, change: Change) -> Result<ModSeq> {
        let raw = self.first_modseq + self.list.len() as u64;
        let modseq = ModSeq::new(raw).ok_or_else(|| Error::Exhausted {
            name: "the account".into(),
            what: "MODSEQs",
        })?;
        self.list.push(Drafted {
            filed: None,
            mailbox,
            modseq: raw,
            change,
            body: None,
        });
        Ok(modseq)
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
        let mut numbers = Vec::with_capacity(self.list.len());
        for drafted in &mut self.list {
            let body = drafted.body.and_then(|at| bodies.get(at));
            let new = NewRecord {
                account: drafted.filed.unwrap_or(account),
                mailbox: drafted.mailbox,
                modseq: drafted.modseq,
                previous: if drafted.filed.is_some() { 0 } else { previous },
                change: &mut drafted.change,
            };
            let number = group.push(new, body);
            if drafted.filed.is_none() {
                previous = number;
            }
            numbers.push(number);
        }
        numbers
    }

    /// The account with the drafts, which got these numbers.
    pub(crate) fn finish(&self, mut head: Head, numbers: &[u64]) -> Head {
        let numbered = self.list.iter().zip(numbers);
        for (drafted, number) in numbered.filter(|(drafted, _)| drafted.filed.is_none()) {
            let header = drafted.header(head.row.key, head.row.last_record, *number);
            head.apply(&header, &drafted.change);
        }
        head
    }
}

impl Drafted {
    fn header(&self, account: AccountId, previous: u64, number: u64) -> RecordHeader {
        RecordHeader {
            number,
            previous,
            account,
            mailbox: self.mailbox,
            modseq: self.modseq,
        }
    }
}

/// Most bytes that one call may add to a batch.
const BATCH_LEN_MAX: u64 = 768 << 20;

/// Whether drafts that go into one batch, with `bodies_len` bytes of messages, are not too much for it.
pub(crate) fn batch_fits<'a>(
    drafts: impl IntoIterator<Item = &'a Drafts>,
    bodies_len: usize,
) -> Result<()> {
    let drafts = drafts.into_iter().flat_map(|drafts| &drafts.list);
    let records: u64 = drafts.map(|drafted| drafted.change.rough_len()).sum();
    len_fits(records + bodies_len as u64)
}

/// Whether so many bytes are not too much for a batch.
pub(crate) fn len_fits(len: u64) -> Result<()> {
    let max = BATCH_LEN_MAX;
    if len <= max {
        return Ok(());
    }
    Err(Error::TooLarge {
        what: "the change",
        len,
        max,
    })
}

pub(crate) fn keywords_fit(keywords: &[Keyword]) -> Result<()> {
    let len = keywords
        .iter()
        .map(|keyword| keyword.as_str().len() as u64 + 2)
        .sum();
    let max = KEYWORDS_LEN_MAX;
    if len <= max && keywords.len() <= usize::from(u16::MAX) {
        return Ok(());
    }
    Err(Error::TooLarge {
        what: "the list of keywords",
        len,
        max,
    })
}

fn no_mailbox(id: u32) -> Error {
    Error::NoSuchMailbox {
        name: format!("#{id}"),
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
