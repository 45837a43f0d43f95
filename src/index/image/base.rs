//! A base: a whole account in one blob. FORMAT.md section 19 has the bytes: they are what `Base` records carry, too.
//!
//! Of one entry: 72 bytes, 84 in a mailbox whose Email ids do not ascend with its UIDs.
//!
//! Decoding verifies every checksum, builds no row, and copies no column of bytes that lie right: the fold's leaves are
//! ranges of `bytes`, which live as long as it.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use super::check::{self, Bounds};
use super::root::{self, MailboxRoot, Root};
use crate::format::bytes::{Put, Take, check as check_sum, patch_u32, within};
use crate::format::{Fault, VERSION, checksum, padded};
use crate::index::Fold;
use crate::index::buckets::BUCKET_UIDS;
use crate::index::entry::{EntryColumns, MemberColumns};
use crate::index::keywords::Keywords;
use crate::index::mailbox::{Counters, MailboxFold};
use crate::index::tree::Tree;
use crate::switch::Switch;

pub(super) const MAGIC: u64 = u64::from_le_bytes(*b"MKIBASE1");

/// Bytes under one checksum.
const CHUNK: usize = 64 << 10;

/// The newest record or fence that the fold has taken over: what its image covers.
pub(crate) fn covered(fold: &Fold) -> u64 {
    fold.last_record.max(fold.fence)
}

/// The account as a base.
///
/// # Cost
/// Time and memory by the entries of the account: 72 bytes each or a little more.
pub(crate) fn encode(fold: &Fold) -> Vec<u8> {
    let own = own_members(fold);
    let columns_len = columns_len(fold, &own);
    let mut out = Vec::new();
    out.put_u64(MAGIC);
    out.put_u16(VERSION);
    out.put_u16(0);
    out.put_u32(0);
    out.put_u64(columns_len as u64);
    out.put_u64(0);
    let sums = out.len();
    out.resize(sums + sums_len(columns_len), 0);
    root::encode(fold, &own, &mut out);
    let root_end = out.len();
    out.resize(padded(root_end + 4, 8), 0);
    let columns = out.len();
    // Nearly all there is of a large account: written once, where it stays.
    out.reserve_exact(columns_len);
    for (id, mailbox) in fold.mailboxes.iter() {
        EntryColumns::encode(mailbox.entries.leaves(), &mut out);
        if own.contains(id) {
            MemberColumns::encode(mailbox.members.leaves(), &mut out);
        }
    }
    seal(&mut out, sums, root_end, columns);
    out
}

fn columns_len(fold: &Fold, own_members: &BTreeSet<u32>) -> usize {
    let len = |(id, mailbox): (&u32, &Arc<MailboxFold>)| {
        let own = own_members.contains(id);
        let members = own.then(|| MemberColumns::len_of(mailbox.members.len()));
        EntryColumns::len_of(mailbox.entries.len()) + members.unwrap_or(0)
    };
    fold.mailboxes.iter().map(len).sum()
}

/// Puts the length of the root and all checksums in their places.
fn seal(out: &mut [u8], sums: usize, root_end: usize, columns: usize) {
    let pieces = out.get(columns..).unwrap_or_default().chunks(CHUNK);
    let found: Vec<u32> = pieces.map(|piece| checksum(0, piece)).collect();
    for (index, sum) in found.into_iter().enumerate() {
        patch_u32(out, sums + index * 4, sum);
    }
    let len = u32::try_from(root_end + 4).unwrap_or(u32::MAX);
    patch_u32(out, 12, len);
    let sum = checksum(0, out.get(..root_end).unwrap_or_default());
    patch_u32(out, root_end, sum);
}

/// The mailboxes whose members need columns: Emails do not ascend with UIDs, or an entry is not its Email's.
fn own_members(fold: &Fold) -> BTreeSet<u32> {
    let needs = |mailbox: &MailboxFold| {
        let mut last = None;
        let mut rises = |email: &u64| last.replace(*email) < Some(*email);
        mailbox.members.len() != mailbox.entries.len()
            || !mailbox
                .entries
                .leaves()
                .all(|leaf| leaf.email().iter().all(&mut rises))
    };
    let found = fold.mailboxes.iter().filter(|(_, mailbox)| needs(mailbox));
    found.map(|(id, _)| *id).collect()
}

/// A base's parts, the root and the columns verified.
#[derive(Debug)]
struct Parts {
    root: Root,
    columns: Bytes,
}

impl Parts {
    fn of(bytes: &Bytes) -> Result<Self, Fault> {
        let len = Take::new(bytes.get(12..).unwrap_or_default()).u32()? as usize;
        let mut take = Take::sealed(bytes, len, MAGIC, Switch::BaseSum)?;
        take.zeroes(2)?;
        take.u32()?;
        let columns_len = take_len(&mut take)?;
        take.zeroes(8)?;
        let from = padded(len, 8);
        let all = from.saturating_add(columns_len);
        within(
            "bytes of a base",
            bytes.len() as u64,
            all as u64,
            all as u64,
        )?;
        Take::new(bytes.get(len..from).unwrap_or_default()).end()?;
        let sums = take.slice(sums_len(columns_len))?;
        let columns = bytes.slice(from..all);
        verify(&columns, sums)?;
        Ok(Self {
            root: root::decode(take.slice(take.left())?)?,
            columns,
        })
    }
}

fn take_len(take: &mut Take<'_>) -> Result<usize, Fault> {
    // What does not fit is longer than any bytes there are.
    Ok(usize::try_from(take.u64()?).unwrap_or(usize::MAX))
}

fn sums_len(len: usize) -> usize {
    len.div_ceil(CHUNK).saturating_mul(4)
}

/// Columns from this length on are verified by two threads: reading them in is most of what opening a large mailbox costs.
const HALVED: usize = 8 << 20;

/// Compares bytes with the checksums of their pieces.
fn verify(bytes: &[u8], sums: &[u8]) -> Result<(), Fault> {
    if bytes.len() < HALVED {
        return verify_part(bytes, sums);
    }
    let pieces = bytes.len() / CHUNK / 2;
    let (front, back) = bytes.split_at(pieces * CHUNK);
    let (front_sums, back_sums) = sums.split_at(sums.len().min(pieces * 4));
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("mailkeep-verify".into());
        let other = thread.spawn_scoped(scope, || verify_part(back, back_sums));
        let front = verify_part(front, front_sums);
        let back = match other.map(std::thread::ScopedJoinHandle::join) {
            Ok(Ok(verified)) => verified,
            // No thread was to be had, or it ended otherwise.
            Ok(Err(_)) | Err(_) => verify_part(back, back_sums),
        };
        front.and(back)
    })
}

fn verify_part(bytes: &[u8], sums: &[u8]) -> Result<(), Fault> {
    let mut sums = Take::new(sums);
    for piece in bytes.chunks(CHUNK) {
        let stored = sums.u32()?;
        Switch::ColumnsSum.guard(|| check_sum(checksum(0, piece), stored))?;
    }
    Ok(())
}

/// The account that `bytes` are, of which nothing was verified yet: a blob, or the payloads of `Base` records joined.
///
/// # Errors
/// Any [`Fault`]: the bytes are not a base, or not one that was written whole and sound.
///
/// # Cost
/// A pass over all bytes, and some passes over single columns; memory by the leaves (one for each 128
/// entries), not by the rows. Where the bytes lie askew in memory (not a multiple of 8), the columns are copied.
pub(crate) fn decode(bytes: &Bytes) -> Result<Fold, Fault> {
    Parts::of(bytes)?.fold()
}

impl Parts {
    fn fold(self) -> Result<Fold, Fault> {
        let Root {
            mut fold,
            keywords,
            mailboxes,
        } = self.root;
        let mut uses = vec![0; keywords.len()];
        let mut columns = Columns {
            bytes: self.columns,
            at: 0,
        };
        let mut all = Vec::with_capacity(mailboxes.len());
        for mailbox in mailboxes {
            let id = mailbox.id;
            all.push((id, Arc::new(columns.mailbox(mailbox, &mut uses)?)));
        }
        columns.end()?;
        fold.mailboxes = Arc::new(all.into_iter().collect());
        fold.keywords = Keywords::from_sets(keywords.into_iter().zip(uses).collect());
        Ok(fold)
    }
}

/// Verified columns, taken mailbox by mailbox.
#[derive(Debug)]
struct Columns {
    bytes: Bytes,
    at: usize,
}

impl Columns {
    fn take(&mut self, len: usize) -> Result<Bytes, Fault> {
        let left = self.bytes.len() - self.at;
        within("bytes of columns", len as u64, 0, left as u64)?;
        let from = self.at;
        self.at += len;
        Ok(self.bytes.slice(from..self.at))
    }

    /// Fills a mailbox with its rows; counts the uses of keyword sets.
    fn mailbox(&mut self, root: MailboxRoot, uses: &mut [u64]) -> Result<MailboxFold, Fault> {
        let mut mailbox = root.fold;
        let entries = self.take(EntryColumns::len_of(root.rows))?;
        let entries = EntryColumns::new(&entries, root.rows)?;
        let bounds = Bounds {
            uid_next: mailbox.uid_next,
            modseq: mailbox.modseq,
        };
        same(&check::entries(&entries, bounds, uses)?, &mailbox.counters)?;
        let members = match root.members {
            None => {
                check::emails_ascend(&entries)?;
                entries.members()
            }
            Some(rows) => {
                let members = self.take(MemberColumns::len_of(rows))?;
                let members = MemberColumns::new(&members, rows)?;
                check::members(&members, &entries)?;
                members
            }
        };
        mailbox.members = Tree::from_leaves(members.leaves());
        mailbox.entries = Tree::from_leaves(entries.leaves());
        check_buckets(&mailbox)?;
        Ok(mailbox)
    }

    fn end(self) -> Result<(), Fault> {
        let left = (self.bytes.len() - self.at) as u64;
        within("bytes behind the columns", left, 0, 0)
    }
}

/// Compares the counters found with those of the root.
fn same(found: &Counters, expected: &Counters) -> Result<(), Fault> {
    let all = [
        ("unseen messages", found.unseen, expected.unseen),
        ("deleted messages", found.deleted, expected.deleted),
        ("bytes of messages", found.bytes, expected.bytes),
        (
            "bytes of deleted",
            found.deleted_bytes,
            expected.deleted_bytes,
        ),
        ("messages", found.messages, expected.messages),
    ];
    for (field, found, expected) in all {
        if found != expected {
            return Err(Fault::Mismatch {
                field,
                found,
                expected,
            });
        }
    }
    Ok(())
}

/// Refuses hashes of buckets that have another number of rows.
fn check_buckets(mailbox: &MailboxFold) -> Result<(), Fault> {
    for bucket in mailbox.buckets.iter() {
        let first = u64::from(bucket.number) * u64::from(BUCKET_UIDS);
        let before = |uid| mailbox.entries.rank(uid) as u64;
        let rows = before(first + u64::from(BUCKET_UIDS)) - before(first);
        within("rows of a bucket", bucket.rows.into(), rows, rows)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
