//! Delivering to an account that is not loaded: its directory row is enough for INBOX.

use super::deliveries::Slot;
use super::{Arrival, Delivered, Drafts, Marks};
use crate::directory::Row;
use crate::error::{Error, Result};
use crate::mail::{Uid, UidValidity};

/// The mailbox that every account begins with: its INBOX, which can be neither renamed nor deleted.
pub(crate) const INBOX_ID: u32 = 1;

/// Deliveries to the INBOX of one account, planned on its row.
#[derive(Debug)]
pub(crate) struct ColdDraft {
    row: Row,
    pub(crate) records: Drafts,
}

impl ColdDraft {
    /// Whether the row says all that a delivery to this mailbox needs.
    pub(crate) fn serves(row: &Row, mailbox: u32) -> bool {
        mailbox == INBOX_ID
            && !row.needs_fold()
            && row.exists == Some(true)
            && row.inbox.uid_validity != 0
    }

    pub(crate) fn new(row: Row, now_ms: i64) -> Self {
        Self {
            records: Drafts::new(row.next_modseq(), now_ms),
            row,
        }
    }

    /// As [`Draft::deliver`](super::Draft::deliver), to INBOX. Each entry is an Email of its own, as INBOX holds the
    /// first already.
    pub(crate) fn deliver(
        &mut self,
        arrival: &Arrival,
        marks: &Marks,
        body: Option<usize>,
    ) -> Result<Delivered> {
        let ahead = self.records.list.len() as u64;
        let uid = u32::try_from(self.row.inbox.uid_next + ahead)
            .ok()
            .and_then(Uid::new)
            .ok_or_else(|| Error::Exhausted {
                name: "INBOX".into(),
                what: "UIDs",
            })?;
        let slot = Slot {
            mailbox: INBOX_ID,
            uid,
            uid_validity: UidValidity::new(self.row.inbox.uid_validity).unwrap_or(UidValidity::MAX),
            email: self.row.next_email + ahead,
        };
        self.records.deliver(slot, arrival, marks, body)
    }
}
