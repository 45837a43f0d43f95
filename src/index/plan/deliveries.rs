//! Deliveries, and those that were put off.

use super::{Arrival, Delivered, Draft, Drafts, Marks, keywords_fit, next_uid, no_mailbox};
use crate::error::{Error, Result};
use crate::format::change::{Assign, BodyAt, Change, Deferred, Deliver};
use crate::mail::{EmailId, InternalDate, Uid, UidValidity};

/// Where a message goes: all that a delivery needs to know of its account.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub(super) mailbox: u32,
    pub(super) uid: Uid,
    pub(super) uid_validity: UidValidity,
    pub(super) email: u64,
}

impl Draft {
    /// Delivers a message. `email` is the Email it shares with another entry of the same call.
    pub(crate) fn deliver(
        &mut self,
        id: u32,
        arrival: &Arrival,
        marks: &Marks,
        email: Option<u64>,
        body: Option<usize>,
    ) -> Result<Delivered> {
        let slot = self.slot(id, email)?;
        let delivered = self.records.deliver(slot, arrival, marks, body)?;
        if email.is_none() {
            self.ahead.count += 1;
            *self.ahead.of_mailbox.entry(id).or_default() += 1;
        }
        Ok(delivered)
    }

    /// Makes the deferred delivery of record `number` an entry, as if it came now but for its save date. Those of an
    /// account are assigned in the order of their numbers, each once: those above the fold's `assigned`.
    pub(crate) fn assign(
        &mut self,
        id: u32,
        number: u64,
        deferred: &Deferred,
    ) -> Result<Delivered> {
        let arrival = Arrival {
            digest: deferred.digest,
            shape: deferred.shape,
            summary: deferred.summary.clone(),
            raw_len: deferred.raw_len,
            body: match deferred.body {
                BodyAt::Here(_) => BodyAt::Record(number),
                elsewhere => elsewhere,
            },
        };
        let marks = Marks {
            flags: deferred.flags,
            keywords: deferred.keywords.clone(),
            date: Some(deferred.internal_date),
        };
        let slot = self.slot(id, None)?;
        let deliver = Deliver {
            save_date: deferred.save_date,
            ..self.records.delivery(slot, &arrival, &marks)?
        };
        let deferred = number;
        self.records.push_delivery(id, deliver, |deliver| {
            Change::Assign(Box::new(Assign { deferred, deliver }))
        })
    }

    /// The next place in a mailbox. Many deliveries of one call need not be folded each before the next is planned: what each
    /// takes, for a new Email, is one UID and one Email id.
    fn slot(&mut self, id: u32, email: Option<u64>) -> Result<Slot> {
        if email.is_some() {
            self.fold();
        }
        let ahead = self.ahead();
        let uids_ahead = ahead.of_mailbox.get(&id).copied().unwrap_or(0);
        let next_email = ahead.count as u64 + self.scratch.next_email;
        let mailbox = self.scratch.mailbox(id).ok_or_else(|| no_mailbox(id))?;
        let (uid_validity, uid) = (mailbox.uid_validity, next_uid(mailbox, uids_ahead)?);
        if mailbox.properties.noselect {
            return Err(Error::NotAllowed {
                name: mailbox.name.to_string(),
                verb: "selected",
            });
        }
        let shared = email.filter(|email| mailbox.uid_of(*email).is_none());
        Ok(Slot {
            mailbox: id,
            uid,
            uid_validity,
            email: shared.unwrap_or(next_email),
        })
    }
}

impl Drafts {
    /// Drafts the delivery of a message into a slot.
    pub(super) fn deliver(
        &mut self,
        slot: Slot,
        arrival: &Arrival,
        marks: &Marks,
        body: Option<usize>,
    ) -> Result<Delivered> {
        let deliver = self.delivery(slot, arrival, marks)?;
        let change = |deliver| Change::Deliver(Box::new(deliver));
        let delivered = self.push_delivery(slot.mailbox, deliver, change)?;
        if let Some(drafted) = self.list.last_mut() {
            drafted.body = body;
        }
        Ok(delivered)
    }

    /// The entry that a message becomes.
    fn delivery(&self, slot: Slot, arrival: &Arrival, marks: &Marks) -> Result<Deliver> {
        keywords_fit(&marks.keywords)?;
        let internal_date = marks.date.or_else(|| InternalDate::utc(self.now));
        Ok(Deliver {
            uid: slot.uid,
            uid_validity: slot.uid_validity,
            flags: marks.flags,
            keywords: marks.keywords.clone(),
            internal_date: internal_date.ok_or_else(|| Error::NotAllowed {
                name: slot.mailbox.to_string(),
                verb: "dated by this clock",
            })?,
            save_date: self.now,
            email: slot.email,
            thread: 0,
            raw_len: arrival.raw_len,
            shape: arrival.shape,
            digest: arrival.digest,
            body: arrival.body,
            summary: arrival.summary.clone(),
        })
    }

    fn push_delivery(
        &mut self,
        id: u32,
        deliver: Deliver,
        change: impl FnOnce(Deliver) -> Change,
    ) -> Result<Delivered> {
        let (uid, uid_validity) = (deliver.uid, deliver.uid_validity);
        let email = EmailId::new(deliver.email).ok_or_else(|| Error::Exhausted {
            name: "the account".into(),
            what: "Email ids",
        })?;
        Ok(Delivered {
            uid,
            uid_validity,
            modseq: self.push(id, change(deliver))?,
            email,
        })
    }
}
