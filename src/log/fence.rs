//! Fences: records that say which others are lost for good, so that nothing that they gave out is given again.

use super::{Log, NewRecord};
use crate::error::Result;
use crate::format::change::{Change, Fence};
use crate::format::record::RecordHeader;
use crate::mail::AccountId;
use crate::options::Durability;
use crate::switch::Switch;

impl Log {
    /// Logs that the records `first_lost` to `last_lost`, of which `bytes` bytes of the log are left, are lost. Returns the
    /// record, which is durable: whoever keeps accounts applies it to all of them.
    ///
    /// # Errors
    /// As a commit.
    pub(crate) fn fence(
        &self,
        first_lost: u64,
        last_lost: u64,
        bytes: u64,
    ) -> Result<(RecordHeader, Change)> {
        let records = last_lost.saturating_sub(first_lost).saturating_add(1);
        let change = Change::Fence(Fence {
            first_lost,
            last_lost,
            bound: bound(records, bytes),
        });
        let account = AccountId::from_bytes([0; 16]);
        loop {
            let joined = self.join(Durability::Durable, &[], |group| {
                let new = NewRecord {
                    account,
                    mailbox: 0,
                    modseq: 0,
                    previous: 0,
                    change: &mut change.clone(),
                };
                group.push(new, None)
            })?;
            // It rests on no other batch: it always joins.
            let Some((batch, number)) = joined else {
                continue;
            };
            Switch::FenceWaits.guard(|| self.shared.wait(batch))?;
            let header = RecordHeader {
                number,
                previous: 0,
                account,
                mailbox: 0,
                modseq: 0,
            };
            return Ok((header, change));
        }
    }
}

/// No account lost more UIDs, MODSEQs or ids than this: each record is one MODSEQ, and a UID takes 16 bytes or more.
fn bound(records: u64, bytes: u64) -> u32 {
    u32::try_from(records.saturating_add(bytes / 16))
        .unwrap_or(u32::MAX)
        .saturating_add(1)
}
