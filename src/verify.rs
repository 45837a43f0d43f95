//! Reading everything, reporting everything, changing nothing.

use std::ops::ControlFlow;

use crate::account::Account;
use crate::error::Result;
use crate::format::Fault;
use crate::index::{Content, Entry, Hashing, Returned};
use crate::log::Damage;
use crate::mail::{AccountId, Digest, Uid};
use crate::message::Message;
use crate::receipt::Receipt;
use crate::store::Store;

/// What [`Store::verify`] or [`Account::verify`] found.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Segments read.
    pub segments: u64,
    /// Bytes of them.
    pub log_bytes: u64,
    /// Messages read.
    pub messages: u64,
    /// Bytes of them.
    pub message_bytes: u64,
    /// Places on disk that are not as they were written.
    pub damage: Vec<Damage>,
    /// Messages that cannot be read whole.
    pub bad_messages: Vec<BadMessage>,
    /// Mailboxes that do not come to their receipts although each message can be read whole.
    pub bad_receipts: Vec<BadReceipt>,
    /// Records that the disk did not give when the store was opened, and gives now: their accounts went on without them.
    pub returned: Vec<Returned>,
    /// Whether it was stopped before the end.
    pub stopped: bool,
}

impl VerifyReport {
    /// Whether everything that was read is as it was written.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.damage.is_empty()
            && self.bad_messages.is_empty()
            && self.bad_receipts.is_empty()
            && self.returned.is_empty()
    }
}

/// A message that cannot be read whole.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BadMessage {
    /// Its account's name.
    pub account: String,
    /// Its account's id.
    pub account_id: AccountId,
    /// Its mailbox's name.
    pub mailbox: String,
    /// Its UID.
    pub uid: Uid,
    /// Why.
    pub error: crate::Error,
}

/// A mailbox that does not come to its receipt: what is kept about its messages is not what their bytes say.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BadReceipt {
    /// Its account's name.
    pub account: String,
    /// Its account's id.
    pub account_id: AccountId,
    /// The mailbox's name.
    pub mailbox: String,
    /// Its receipt by what is recorded of the messages.
    pub recorded: Receipt,
    /// Its receipt by the bytes of the messages.
    pub found: Receipt,
}

/// How far a verification is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Bytes read.
    pub done_bytes: u64,
    /// Bytes to be read in all, as estimated at the start.
    pub total_bytes: u64,
}

impl Store {
    /// Reads every byte of the log and every message, and checks all of it: segment by segment, then message by message
    /// with its digest, and each mailbox with its [`Receipt`]. Changes nothing; other handles go on.
    ///
    /// `progress` is told every few megabytes; it may end the reading.
    ///
    /// # Errors
    /// None for damage, which is in the report. [`Error::Io`](crate::Error::Io) where a folder cannot be listed.
    ///
    /// # Cost
    /// Reads the whole log, and the bodies of messages once more.
    pub fn verify(
        &self,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<VerifyReport> {
        let mut report = VerifyReport::default();
        let stat = self.inner.log.stat();
        // Messages fill most of the log; how much exactly only a look at every account would tell.
        let mut at = Progress {
            done_bytes: 0,
            total_bytes: 2 * stat.bytes,
        };
        let mut tell = |more: u64| {
            at.done_bytes += more;
            progress(at)
        };
        report.damage = self.recovery_damage();
        let read = self.inner.log.verify(&mut report.damage, &mut tell);
        (report.segments, report.log_bytes) = (read.segments, read.bytes);
        report.returned = self.inner.index.returned()?;
        report.stopped = read.stopped || self.verify_messages(&mut report, &mut tell)?.is_break();
        Ok(report)
    }

    /// Files that the opening found missing or damaged are damage too.
    fn recovery_damage(&self) -> Vec<Damage> {
        let recovery = self.recovery();
        let holes = recovery
            .holes
            .iter()
            .map(|hole| Damage::new(&hole.segment, hole.from, hole.to, Fault::Lost));
        let breaks = recovery.breaks.iter();
        let breaks =
            breaks.map(|at| Damage::new(&at.segment, at.offset, at.offset, Fault::Foreign));
        let files = recovery.missing.iter().chain(&recovery.bad_footers);
        let files = files.map(|path| Damage::new(path, 0, 0, Fault::Lost));
        holes.chain(breaks).chain(files).collect()
    }

    fn verify_messages(
        &self,
        report: &mut VerifyReport,
        tell: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>> {
        self.each_account(&mut |account| account.verify_messages(report, tell))
    }
}

impl Account {
    /// Reads every message of the account and checks each with its digest. Changes nothing. Of the report, only what
    /// is said of messages is filled in; what the opening found is in [`Store::recovery`].
    ///
    /// # Errors
    /// None for damage, which is in the report.
    ///
    /// # Cost
    /// Reads the bodies of all messages.
    pub fn verify(
        &self,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<VerifyReport> {
        let mut report = VerifyReport::default();
        let mut at = Progress {
            done_bytes: 0,
            total_bytes: self.message_bytes()?,
        };
        let mut tell = |more: u64| {
            at.done_bytes += more;
            progress(at)
        };
        report.stopped = self.verify_messages(&mut report, &mut tell)?.is_break();
        Ok(report)
    }

    fn message_bytes(&self) -> Result<u64> {
        let mailboxes = self.mailboxes()?;
        Ok(mailboxes.iter().map(|mailbox| mailbox.counters.bytes).sum())
    }

    fn verify_messages(
        &self,
        report: &mut VerifyReport,
        tell: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>> {
        let fold = self.fold()?;
        for info in self.mailboxes()? {
            let Some(mailbox) = fold.mailbox(info.id.get()) else {
                continue;
            };
            let mut reading = Reading {
                account: self,
                mailbox: &info.name,
                report: &mut *report,
                tell: &mut *tell,
                bad: false,
                stopped: false,
            };
            let mut content_of = |entry: &Entry| reading.read(entry);
            let mut hashing = Hashing::from_scratch(&mut content_of);
            let roots = mailbox.roots(info.id.get(), &fold.keywords, &mut hashing);
            let (bad, stopped) = (reading.bad, reading.stopped);
            if stopped {
                return Ok(ControlFlow::Break(()));
            }
            // Of a mailbox with a bad message it is known that it is not what it was.
            if !bad {
                let recorded = self.hashed_of(&fold, |fold, hashing| {
                    mailbox.roots(info.id.get(), &fold.keywords, hashing)
                })?;
                report.compare(self, info.name, recorded, roots?.into());
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

impl VerifyReport {
    fn compare(&mut self, account: &Account, mailbox: String, recorded: Receipt, found: Receipt) {
        if recorded != found {
            self.bad_receipts.push(BadReceipt {
                account: account.name(),
                account_id: account.id(),
                mailbox,
                recorded,
                found,
            });
        }
    }
}

/// The messages of a mailbox as they are read and checked, one after the other.
struct Reading<'a> {
    account: &'a Account,
    mailbox: &'a str,
    report: &'a mut VerifyReport,
    tell: &'a mut dyn FnMut(u64) -> ControlFlow<()>,
    /// Whether one was not as it was delivered.
    bad: bool,
    stopped: bool,
}

impl Reading<'_> {
    /// Reads a message; what its bytes come to. An error only where the reading was stopped.
    fn read(&mut self, entry: &Entry) -> Result<Content> {
        self.report.messages += 1;
        self.report.message_bytes += u64::from(entry.raw_len);
        let store = self.account.store.clone();
        let read = Message::open(store, entry.record, entry.raw_len)
            .and_then(|message| message.read_content());
        if (self.tell)(entry.raw_len.into()).is_break() {
            self.stopped = true;
            return Err(crate::Error::Closed);
        }
        read.or_else(|error| {
            self.bad = true;
            self.report.bad_messages.push(BadMessage {
                account: self.account.name(),
                account_id: self.account.id(),
                mailbox: self.mailbox.into(),
                uid: Uid::new(entry.uid).unwrap_or(Uid::MIN),
                error,
            });
            Ok(Content {
                digest: Digest::of(&[]),
                wire_size: 0,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::Bucket;
    use crate::{Delivery, Options};

    /// Goal: what is kept about a mailbox and is not what its messages come to is found.
    #[test]
    fn wrong_receipts_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("mail"), Options::default()).unwrap();
        let account = store.create_account("anna").unwrap();
        let inbox = account.inbox().unwrap();
        let commit = inbox.append(b"Subject: x\n\n", Delivery::to(&inbox));
        commit.unwrap().wait().unwrap();
        let mut tell = |_| ControlFlow::Continue(());
        assert!(store.verify(&mut tell).unwrap().is_whole());
        let wrong = Bucket {
            number: 0,
            rows: 1,
            ..Bucket::default()
        };
        let cell = &account.cell;
        let fold = account.fold().unwrap();
        store.inner.index.keep_buckets(cell, &fold, &[(1, wrong)]);
        let report = store.verify(&mut tell).unwrap();
        let bad: Vec<_> = report
            .bad_receipts
            .iter()
            .map(|bad| (bad.account.as_str(), bad.mailbox.as_str()))
            .collect();
        assert_eq!(bad, [("anna", "INBOX")]);
        assert!(!report.is_whole() && report.bad_messages.is_empty());
    }
}
