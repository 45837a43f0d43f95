//! The root of a base: all of a fold that is not a column, in the order of its fields.
//!
//! Numbers are little-endian; a text is its length as `u32` and its UTF-8 bytes; a list is its count as `u32` and its
//! items. Counts are not believed: items are taken one by one until the bytes end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::format::Fault;
use crate::format::bytes::{NUMBER_MAX, Put, Take, within};
use crate::format::change::MailboxProperties;
use crate::index::Fold;
use crate::index::buckets::{Bucket, Buckets};
use crate::index::expunged::{Expunged, Gone};
use crate::index::mailbox::{Counters, MailboxFold};
use crate::mail::{AccountId, Keyword, UidValidity};

/// UIDNEXT where the last UID was given.
const UID_NEXT_MAX: u64 = u32::MAX as u64 + 1;

/// The parent is not among the mailboxes: its record was lost.
const ORPHAN: u32 = 1;
/// The mailbox has columns of members; where it has none, its entries serve as them.
const MEMBERS: u32 = 2;

/// A mailbox without its columns.
#[derive(Debug)]
pub(super) struct MailboxRoot {
    pub(super) id: u32,
    /// Its entries and members are empty.
    pub(super) fold: MailboxFold,
    /// Rows of its entries.
    pub(super) rows: usize,
    /// Rows of its members, where they have columns of their own.
    pub(super) members: Option<usize>,
    /// Its parent was lost.
    orphan: bool,
}

/// What a root says.
#[derive(Debug)]
pub(super) struct Root {
    /// The account; its keywords and mailboxes are empty.
    pub(super) fold: Fold,
    /// The keyword sets by number, from 1 on; an empty one is a free number.
    pub(super) keywords: Vec<Vec<Keyword>>,
    /// Ascending by id.
    pub(super) mailboxes: Vec<MailboxRoot>,
}

/// Appends the root of `fold`. The members of the mailboxes in `own_members` have columns.
pub(super) fn encode(fold: &Fold, own_members: &BTreeSet<u32>, out: &mut Vec<u8>) {
    out.put(fold.id.as_bytes());
    out.put_u32(u32::from(fold.exists));
    out.put_u32(fold.uid_validity_mark);
    out.put_u32(fold.past_floor);
    out.put_u32(0);
    out.put_u64(fold.last_record);
    out.put_u64(fold.modseq);
    out.put_u64(fold.modseq_burned);
    out.put_u64(fold.next_mailbox);
    out.put_u64(fold.next_email);
    out.put_u64(fold.fence);
    out.put_u64(fold.assigned);
    out.put_u64(fold.chain_breaks);
    out.put_u64(fold.bad_bases);
    put_text(out, &fold.name);
    put_count(out, fold.subscriptions.len());
    for (principal, name) in fold.subscriptions.iter() {
        out.put_u32(*principal);
        put_text(out, name);
    }
    put_count(out, fold.past_names.len());
    for (name, mark) in fold.past_names.iter() {
        out.put_u32(*mark);
        put_text(out, name);
    }
    put_history(out, &fold.destroyed);
    put_count(out, fold.keywords.sets().count());
    for set in fold.keywords.sets() {
        put_count(out, set.len());
        set.iter()
            .for_each(|keyword| put_text(out, keyword.as_str()));
    }
    put_count(out, fold.mailboxes.len());
    for (id, mailbox) in fold.mailboxes.iter() {
        out.put_u32(*id);
        put_mailbox(out, fold, mailbox, own_members.contains(id));
    }
}

/// Reads a root, all of which `bytes` must be.
///
/// # Errors
/// Any [`Fault`]: it ends early or late, or says what cannot be.
pub(super) fn decode(bytes: &[u8]) -> Result<Root, Fault> {
    let mut take = Take::new(bytes);
    let mut fold = Fold::new(AccountId::from_bytes(take.array()?));
    fold.exists = take_flag(&mut take, "account state", 1)? == 1;
    fold.uid_validity_mark = take.u32()?;
    fold.past_floor = take.u32()?;
    take.zeroes(4)?;
    fold.last_record = take.number("record number")?;
    fold.modseq = take.number("MODSEQ")?;
    fold.modseq_burned = take.number("MODSEQ")?;
    fold.next_mailbox = take.u64()?;
    fold.next_email = take.u64()?;
    fold.fence = take.number("record number")?;
    fold.assigned = take.number("record number")?;
    fold.chain_breaks = take.number("breaks")?;
    fold.bad_bases = take.number("bad bases")?;
    fold.name = take_text(&mut take, "account name")?.into();
    fold.subscriptions = Arc::new(take_subscriptions(&mut take)?);
    fold.past_names = Arc::new(take_past_names(&mut take)?);
    fold.destroyed = take_history(&mut take)?;
    let keywords = take_list(&mut take, 4, take_set)?;
    let mailboxes = take_list(&mut take, 4, take_mailbox)?;
    let left = take.left() as u64;
    within("bytes behind the root", left, 0, 0)?;
    let root = Root {
        fold,
        keywords,
        mailboxes,
    };
    root.check()?;
    Ok(root)
}

impl Root {
    /// Whether ids ascend below the next one, and parents are as they are said to be.
    fn check(&self) -> Result<(), Fault> {
        let mut free = 0;
        for mailbox in &self.mailboxes {
            let id = u64::from(mailbox.id);
            within(
                "mailbox id",
                id,
                free,
                self.fold.next_mailbox.saturating_sub(1),
            )?;
            free = id + 1;
            let parent = mailbox.fold.parent;
            if self.has(parent) == mailbox.orphan {
                return Err(Fault::Mismatch {
                    field: "parent of a mailbox",
                    found: parent.into(),
                    expected: 0,
                });
            }
        }
        Ok(())
    }

    /// Whether there is a mailbox of that id, or it is the root of all.
    fn has(&self, id: u32) -> bool {
        let found = self
            .mailboxes
            .binary_search_by_key(&id, |mailbox| mailbox.id);
        id == 0 || found.is_ok()
    }
}

fn put_mailbox(out: &mut Vec<u8>, fold: &Fold, mailbox: &MailboxFold, own_members: bool) {
    let orphan = mailbox.parent != 0 && !fold.mailboxes.contains_key(&mailbox.parent);
    let flags = if orphan { ORPHAN } else { 0 } | if own_members { MEMBERS } else { 0 };
    out.put_u32(flags);
    out.put_u32(mailbox.parent);
    out.put_u32(mailbox.uid_validity.get());
    mailbox.properties.encode(out);
    out.put_u64(mailbox.uid_next);
    out.put_u64(mailbox.uid_assign);
    out.put_u64(mailbox.modseq);
    out.put_u64(mailbox.modseq_floor);
    put_counters(out, &mailbox.counters);
    if own_members {
        out.put_u64(mailbox.members.len() as u64);
    }
    put_text(out, &mailbox.name);
    put_history(out, &mailbox.expunged);
    put_count(out, mailbox.buckets.iter().count());
    for bucket in mailbox.buckets.iter() {
        out.put_u32(bucket.number);
        out.put_u32(bucket.rows);
        out.put(&bucket.content);
        out.put(&bucket.state);
        out.put(&bucket.exact);
    }
}

fn take_mailbox(take: &mut Take<'_>) -> Result<MailboxRoot, Fault> {
    let id = take.u32()?;
    let flags = take_flag(take, "mailbox state", ORPHAN | MEMBERS)?;
    let parent = take.u32()?;
    let uid_validity = take.u32()?;
    let uid_validity = UidValidity::new(uid_validity).ok_or(Fault::Range {
        field: "UIDVALIDITY",
        found: 0,
        min: 1,
        max: u32::MAX.into(),
    })?;
    let properties = MailboxProperties::decode(take)?;
    let uid_next = take.u64()?;
    within("UIDNEXT", uid_next, 1, UID_NEXT_MAX)?;
    let uid_assign = take.u64()?;
    within("UID to assign", uid_assign, uid_next, NUMBER_MAX)?;
    let (modseq, modseq_floor) = (take.number("MODSEQ")?, take.number("MODSEQ")?);
    let counters = take_counters(take)?;
    let members = (flags & MEMBERS != 0)
        .then(|| take_rows(take))
        .transpose()?;
    let name = take_text(take, "mailbox name")?;
    let mut fold = MailboxFold::new(parent, name, uid_validity, properties, modseq);
    fold.modseq = modseq;
    fold.uid_next = uid_next;
    fold.uid_assign = uid_assign;
    fold.modseq_floor = modseq_floor;
    fold.counters = counters;
    fold.expunged = take_history(take)?;
    fold.buckets = take_buckets(take)?;
    let rows = usize::try_from(counters.messages).unwrap_or(usize::MAX);
    Ok(MailboxRoot {
        id,
        fold,
        rows,
        members,
        orphan: flags & ORPHAN != 0,
    })
}

fn put_counters(out: &mut Vec<u8>, counters: &Counters) {
    out.put_u64(counters.messages);
    out.put_u64(counters.unseen);
    out.put_u64(counters.deleted);
    out.put_u64(counters.bytes);
    out.put_u64(counters.deleted_bytes);
}

fn take_counters(take: &mut Take<'_>) -> Result<Counters, Fault> {
    Ok(Counters {
        messages: take.u64()?,
        unseen: take.u64()?,
        deleted: take.u64()?,
        bytes: take.u64()?,
        deleted_bytes: take.u64()?,
    })
}

fn take_rows(take: &mut Take<'_>) -> Result<usize, Fault> {
    // More than fits is more than there can be columns of.
    Ok(usize::try_from(take.u64()?).unwrap_or(usize::MAX))
}

fn put_history(out: &mut Vec<u8>, history: &Expunged) {
    out.put_u64(history.floor());
    put_count(out, history.items().count());
    for gone in history.items() {
        out.put_u64(gone.modseq);
        out.put_u32(gone.first);
        out.put_u32(gone.last);
    }
}

fn take_history(take: &mut Take<'_>) -> Result<Expunged, Fault> {
    let floor = take.number("MODSEQ")?;
    let items = take_list(take, 16, |take| {
        Ok(Gone {
            modseq: take.number("MODSEQ")?,
            first: take.u32()?,
            last: take.u32()?,
        })
    })?;
    let count = items.len() as u64;
    Expunged::from_parts(floor, items).ok_or(Fault::Range {
        field: "expunge history",
        found: count,
        min: 0,
        max: 0,
    })
}

fn take_buckets(take: &mut Take<'_>) -> Result<Buckets, Fault> {
    let mut buckets = Buckets::default();
    let mut free = 0;
    for bucket in take_list(take, 104, take_bucket)? {
        let number = u64::from(bucket.number);
        within("bucket", number, free, u32::MAX.into())?;
        free = number + 1;
        buckets.set(bucket);
    }
    Ok(buckets)
}

fn take_bucket(take: &mut Take<'_>) -> Result<Bucket, Fault> {
    Ok(Bucket {
        number: take.u32()?,
        rows: take.u32()?,
        content: take.array()?,
        state: take.array()?,
        exact: take.array()?,
    })
}

fn take_subscriptions(take: &mut Take<'_>) -> Result<BTreeSet<(u32, Arc<str>)>, Fault> {
    let all = take_list(take, 8, |take| {
        Ok((take.u32()?, take_text(take, "subscription")?.into()))
    })?;
    sorted("subscription", &all)?;
    Ok(all.into_iter().collect())
}

fn take_past_names(take: &mut Take<'_>) -> Result<BTreeMap<Arc<str>, u32>, Fault> {
    let all = take_list(take, 8, |take| {
        let mark = take.u32()?;
        Ok((Arc::from(take_text(take, "past name")?), mark))
    })?;
    let names: Vec<&Arc<str>> = all.iter().map(|(name, _)| name).collect();
    sorted("past name", &names)?;
    Ok(all.into_iter().collect())
}

fn take_set(take: &mut Take<'_>) -> Result<Vec<Keyword>, Fault> {
    let set = take_list(take, 4, |take| {
        let text = take_text(take, "keyword")?;
        let keyword = Keyword::new(text).ok();
        // Another spelling of a keyword is not what was written.
        let as_written = keyword.filter(|keyword| keyword.as_str() == text);
        as_written.ok_or(Fault::Text { field: "keyword" })
    })?;
    sorted("keyword", &set)?;
    Ok(set)
}

/// Refuses what does not ascend strictly.
fn sorted<T: Ord>(field: &'static str, all: &[T]) -> Result<(), Fault> {
    if all.is_sorted_by(|a, b| a < b) {
        Ok(())
    } else {
        Err(Fault::Text { field })
    }
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    out.put_u32(u32::try_from(count).unwrap_or(u32::MAX));
}

/// A list of items that take `least` bytes or more each.
fn take_list<'a, T>(
    take: &mut Take<'a>,
    least: usize,
    one: impl Fn(&mut Take<'a>) -> Result<T, Fault>,
) -> Result<Vec<T>, Fault> {
    let count = take.u32()?;
    within("count", count.into(), 0, (take.left() / least) as u64)?;
    (0..count).map(|_| one(take)).collect()
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_count(out, text.len());
    out.put(text.as_bytes());
}

fn take_text<'a>(take: &mut Take<'a>, field: &'static str) -> Result<&'a str, Fault> {
    let len = take.u32()? as usize;
    std::str::from_utf8(take.slice(len)?).map_err(|_| Fault::Text { field })
}

fn take_flag(take: &mut Take<'_>, field: &'static str, known: u32) -> Result<u32, Fault> {
    let found = take.u32()?;
    if found & !known == 0 {
        return Ok(found);
    }
    Err(Fault::Range {
        field,
        found: found.into(),
        min: 0,
        max: known.into(),
    })
}
