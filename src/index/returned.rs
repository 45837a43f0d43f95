//! What was given up and can be read after all: records at the log's end that the disk did not give when a store was opened
//! for writing, and gives again. They were fenced, and their accounts went on without them: each next record names the one in
//! front of them, so that no walk down the account's chain meets them.

use std::ops::ControlFlow;

use super::Index;
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
    /// Reads the heads and records of segments with losses.
    pub(crate) fn returned(&self) -> Result<Vec<Returned>> {
        let mut returned = Vec::new();
        for fence in self.directory.fences().all() {
            let lost = fence.first_lost..fence.last_lost.saturating_add(1);
            for segment in self.log.segments() {
                if segment.first_record >= lost.end || segment.next_record <= lost.start {
                    continue;
                }
                let mut found = Vec::new();
                let scanned =
                    self.log
                        .scan_segment(segment.number, lost.clone(), &mut |header, change| {
                            found.push((*header, change.clone()));
                            ControlFlow::Continue(())
                        });
                match scanned {
                    // What the disk does not give has not come back.
                    Ok(_) | Err(Error::Io { op: "read", .. }) => {}
                    Err(error) => return Err(error),
                }
                for (header, change) in found {
                    let record = header.number;
                    if !self.has(header.account, record, &change)? {
                        returned.push(Returned {
                            account: header.account,
                            mailbox: header.mailbox,
                            uid: uid_of(&change),
                            record,
                            segment: segment.number,
                        });
                    }
                }
            }
        }
        returned.sort_by_key(|returned| returned.record);
        returned.dedup_by_key(|returned| returned.record);
        Ok(returned)
    }

    /// Whether an account has a record of its own, or what it says is known otherwise.
    fn has(&self, account: AccountId, record: u64, change: &Change) -> Result<bool> {
        match change {
            Change::Fence(_) | Change::Alias { .. } => return Ok(true),
            Change::Deferred(late) => return self.has_deferred(record, &late.account),
            _ => {}
        }
        let Some(cell) = self.by_id(account)? else {
            return Ok(false);
        };
        let last = self.lock(&cell).durable().row.last_record;
        let chain = self
            .log
            .account_records(account, last + 1, record - 1, &|_| false)?;
        Ok(chain
            .records
            .iter()
            .any(|(header, _)| header.number == record))
    }
}
