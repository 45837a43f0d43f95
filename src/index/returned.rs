//! What was given up and can be read after all: records at the log's end that the disk did not give when a store was opened
//! for writing, and gives again. They were fenced, and their accounts went on without them: each next record names the one in
//! front of them, so that no walk down the account's chain meets them.

use std::ops::ControlFlow;

use super::Index;
use crate::directory::FenceAt;
use crate::error::{Error, Result};
use crate::format::change::Change;
use crate::mail::{AccountId, Uid};

/// A record that was given up and can be read after all. Its account went on without it, and does not have it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Returned {
    /// The account; of a delivery that waited for its account, the key of the account's name.
    pub account: AccountId,
    /// The mailbox's id in the account; 0 for a change of the account itself.
    pub mailbox: u32,
    /// Of a delivery, the UID that it had.
    pub uid: Option<Uid>,
    /// Number of the record.
    pub record: u64,
    /// The segment that has it, as a number.
    pub segment: u64,
}

fn uid_of(change: &Change) -> Option<Uid> {
    match change {
        Change::Deliver(deliver) => Some(deliver.uid),
        Change::Assign(assign) => Some(assign.deliver.uid),
        _ => None,
    }
}

impl Index {
    /// All that fences gave up and that can be read, but for what its account has.
    ///
    /// # Cost
    /// Reads the segments with losses, and of each account that has something there the records since. In memory is what is
    /// told of one segment, and at a time one account's records of one.
    pub(crate) fn returned(&self) -> Result<Vec<Returned>> {
        let fences = self.directory.fences();
        let mut returned = Vec::new();
        for segment in self.log.segments() {
            let lost = |fence: &&FenceAt| {
                fence.first_lost < segment.next_record && fence.last_lost >= segment.first_record
            };
            let lost: Vec<FenceAt> = fences.all().iter().filter(lost).copied().collect();
            let mut found = self.readable_in(segment.number, &lost)?;
            found.sort_by_key(|found| (found.account, found.record));
            for of_account in found.chunk_by(|one, next| one.account == next.account) {
                let missing = self.not_taken_over(of_account)?;
                returned.extend(missing);
            }
        }
        returned.sort_by_key(|returned| returned.record);
        Ok(returned)
    }

    /// The records of a segment that these fences gave up and that can be read, but for deferred deliveries that wait or
    /// have their UID.
    fn readable_in(&self, segment: u64, lost: &[FenceAt]) -> Result<Vec<Returned>> {
        let first = lost.iter().map(|fence| fence.first_lost).min();
        let last = lost.iter().map(|fence| fence.last_lost).max();
        let (Some(first), Some(last)) = (first, last) else {
            return Ok(Vec::new());
        };
        let is_lost = |number| {
            let mut lost = lost.iter();
            lost.any(|fence| (fence.first_lost..=fence.last_lost).contains(&number))
        };
        let mut found = Vec::new();
        let mut failed = None;
        let scanned = self.log.scan_segment(
            segment,
            first..last.saturating_add(1),
            &mut |header, change| {
                let known = match change {
                    _ if !is_lost(header.number) => Ok(true),
                    Change::Fence(_) | Change::Alias { .. } => Ok(true),
                    Change::Deferred(late) => self.has_deferred(header.number, &late.account),
                    _ => Ok(false),
                };
                match known {
                    Ok(true) => {}
                    Ok(false) => found.push(Returned {
                        account: header.account,
                        mailbox: header.mailbox,
                        uid: uid_of(change),
                        record: header.number,
                        segment,
                    }),
                    Err(error) => {
                        failed = Some(error);
                        return ControlFlow::Break(());
                    }
                }
                ControlFlow::Continue(())
            },
        );
        match (failed, scanned) {
            (Some(error), _) => Err(error),
            (None, Err(error @ Error::Io { op, .. })) if op != "read" => Err(error),
            // What the disk does not give, or is damaged now, has not come back. Who reads the log tells of it.
            (None, _) => Ok(found),
        }
    }

    /// Those of an account's records, ascending, that it went on without: segment by segment, newest first. None where the
    /// disk does not give all that it has now: that is damage, and told as such.
    fn not_taken_over(&self, found: &[Returned]) -> Result<Vec<Returned>> {
        let mut missing = found.to_vec();
        let Some(first) = found.first() else {
            return Ok(missing);
        };
        let Some(cell) = self.by_id(first.account)? else {
            return Ok(missing);
        };
        let mut below = self.lock(&cell).durable().row.last_record + 1;
        for segment in self.log.segments().iter().rev() {
            let from = segment.first_record.max(first.record) - 1;
            if below <= from + 1 {
                continue;
            }
            let chain = self
                .log
                .account_records(first.account, below, from, &|_| false)?;
            if !chain.given {
                return Ok(Vec::new());
            }
            let has = |number: u64| {
                let records = &chain.records;
                let found = records.binary_search_by_key(&number, |(header, _)| header.number);
                found.is_ok()
            };
            missing.retain(|missing| !has(missing.record));
            let oldest = chain.records.first();
            below = oldest.map_or(from + 1, |(header, _)| header.previous.min(from) + 1);
        }
        Ok(missing)
    }
}
