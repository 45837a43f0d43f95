//! What an opening found and did.

use std::fmt;

use crate::mail::AccountId;

/// What opening a store found and did. Nothing is done that is not said here.
///
/// ```
/// # use mailkeep::{Options, Store};
/// # let dir = tempfile::tempdir()?;
/// let store = Store::open(dir.path().join("mail"), Options::default())?;
/// assert!(store.recovery().is_whole());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecoveryReport {
    /// Whether the last writer closed the store. If not, the rest says what that cost.
    pub clean: bool,
    /// Segments, batches and records that were read.
    pub segments: u64,
    /// Batches read.
    pub batches: u64,
    /// Records read.
    pub records: u64,
    /// The torn tail that was cut: a write that a crash interrupted, never acknowledged as durable.
    pub cut: Option<Cut>,
    /// Records that were acknowledged as [`Written`](crate::Durability::Written) and did not survive a power cut, as
    /// they were never promised to: no damage. Nothing that they gave out is given again. Only those of which a mark
    /// on the medium tells; only the first opening after the loss reports them.
    pub unsynced: Option<Unsynced>,
    /// Damage: records that were acknowledged and cannot be read.
    pub holes: Vec<Hole>,
    /// The messages among them of which the body was found: account, mailbox, UID are known.
    pub lost: Vec<LostMessage>,
    /// Batches that do not follow on the one in front of them, although no damage lies between the two: one of them is of
    /// another history of this store, put in place of what was acknowledged.
    pub breaks: Vec<Break>,
    /// Accounts of which the chain of records shows that some are missing.
    pub accounts_hit: Vec<AccountId>,
    /// Files that are missing or cut short.
    pub missing: Vec<String>,
    /// Files in the log's folder that no list names; they were left alone.
    pub unlisted: Vec<String>,
    /// Footers that are damaged. Their segments were read without.
    pub bad_footers: Vec<String>,
    /// Entries of SEGMENTS that are damaged. The segments' own headers were used instead.
    pub bad_edits: u64,
    /// Pages of 4 KiB that the disk did not give.
    pub unreadable: u64,
    /// Segments of which it gave nothing: what they hold is not known, and may be another time.
    pub(crate) blank: u64,
}

impl RecoveryReport {
    /// Whether nothing acknowledged is missing. What was acknowledged as [`Written`](crate::Durability::Written) and
    /// lost in a power cut does not count.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.holes.is_empty()
            && self.breaks.is_empty()
            && self.missing.is_empty()
            && self.bad_footers.is_empty()
            && self.bad_edits == 0
    }
}

/// A torn tail.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cut {
    /// The segment's file.
    pub segment: String,
    /// Offset from which it was cut, in bytes.
    pub offset: u64,
    /// How much, in bytes.
    pub len: u64,
    /// Where the bytes were copied to before; `None` when nothing was cut: the store was opened read-only, or the disk had no
    /// room for the copy, and the log goes on elsewhere.
    pub quarantine: Option<String>,
}

/// Records that were only written, and then lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unsynced {
    /// Number of the first record lost.
    pub first_lost: u64,
    /// Number of the last record lost.
    pub last_lost: u64,
    /// Bytes of the log that they took, at most.
    pub bytes: u64,
}

/// A range of records that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Hole {
    /// The segment's file.
    pub segment: String,
    /// Where the bad bytes lie, from this offset...
    pub from: u64,
    /// ...to this one, exclusive. Equal where nothing at all was found.
    pub to: u64,
    /// Number of the first record lost.
    pub first_lost: u64,
    /// Number of the last record lost.
    pub last_lost: u64,
    /// Bytes that the lost records took, at most: more than is bad where nothing tells where they ended.
    pub(super) room: u64,
}

/// Where the log does not follow on itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Break {
    /// The segment's file.
    pub segment: String,
    /// Offset of the batch in it, in bytes.
    pub offset: u64,
}

/// A message whose record is lost, known by its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LostMessage {
    /// The account.
    pub account: AccountId,
    /// The mailbox's id in the account.
    pub mailbox: u32,
    /// The UID it had.
    pub uid: u32,
    /// Number of the record.
    pub record: u64,
}

impl fmt::Display for RecoveryReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.clean {
            "closed cleanly"
        } else {
            "not closed"
        };
        write!(
            f,
            "{how}; {} segments, {} batches, {} records read",
            self.segments, self.batches, self.records
        )?;
        if let Some(cut) = &self.cut {
            write!(
                f,
                "\ntorn tail of {} bytes at {} in {}",
                cut.len, cut.offset, cut.segment
            )?;
            match &cut.quarantine {
                Some(copy) => write!(f, " cut, kept in {copy}")?,
                None => write!(f, " left as it is")?,
            }
        }
        if let Some(lost) = &self.unsynced {
            write!(
                f,
                "\nrecords {} to {} were written, not synced, and did not survive",
                lost.first_lost, lost.last_lost
            )?;
        }
        for hole in &self.holes {
            let (first, last) = (hole.first_lost, hole.last_lost);
            write!(
                f,
                "\nrecords {first} to {last} lost at {} to {} in {}",
                hole.from, hole.to, hole.segment
            )?;
        }
        for broken in &self.breaks {
            write!(
                f,
                "\nnot of the same history as what is before it: {} from {}",
                broken.segment, broken.offset
            )?;
        }
        for lost in &self.lost {
            write!(
                f,
                "\nlost: account {} mailbox {} UID {}",
                lost.account, lost.mailbox, lost.uid
            )?;
        }
        for what in &self.missing {
            write!(f, "\nmissing: {what}")?;
        }
        for name in &self.unlisted {
            write!(f, "\nin no list, left alone: {name}")?;
        }
        for name in &self.bad_footers {
            write!(f, "\ndamaged footer, read without: {name}")?;
        }
        if self.bad_edits > 0 {
            write!(
                f,
                "\n{} damaged entries of SEGMENTS, segment headers used instead",
                self.bad_edits
            )?;
        }
        if self.unreadable > 0 {
            write!(f, "\n{} pages that the disk did not give", self.unreadable)?;
        }
        Ok(())
    }
}
