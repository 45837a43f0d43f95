//! What changed since a client was last here (QRESYNC, RFC 7162; JMAP `changes`, RFC 8620 5.2).

use crate::account::Account;
use crate::error::Result;
use crate::mail::{MailboxId, ModSeq, UidSet};
use crate::mailbox::Mailbox;
use crate::view::View;

/// What changed in a mailbox since a MODSEQ.
///
/// ```
/// # use mailkeep::{Delivery, FlagChange, Flags, Options, Store, UidSet};
/// # let dir = tempfile::tempdir()?;
/// # let store = Store::open(dir.path().join("mail"), Options::default())?;
/// # let inbox = store.create_account("anna@example.it")?.inbox()?;
/// # for _ in 0..3 { inbox.append(b"Subject: x\n\n", Delivery::to(&inbox))?.wait()?; }
/// let seen_last = inbox.status()?.highest_modseq;
/// inbox.flag(&UidSet::parse("1", None)?, &FlagChange::add(Flags::SEEN), None)?.wait()?;
/// inbox.destroy(&UidSet::parse("2", None)?)?.wait()?;
///
/// let changes = inbox.changes_since(seen_last)?;
/// assert_eq!((changes.changed.to_string(), changes.vanished.to_string()), ("1".into(), "2".into()));
/// assert!(changes.complete);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Changes {
    /// Entries that came or changed.
    pub changed: UidSet,
    /// UIDs of entries that are gone. One that came and went in the meantime is among them.
    pub vanished: UidSet,
    /// Whether `vanished` is just what went. Else that is not known any more, and `vanished` has all UIDs below UIDNEXT
    /// that no entry has (RFC 7162 5).
    pub complete: bool,
    /// HIGHESTMODSEQ of the state that these changes lead to: what to ask from the next time.
    pub highest_modseq: ModSeq,
}

impl View {
    /// What changed in the mailbox between `since` and this view. `since` may be a MODSEQ of another mailbox of the
    /// account (a JMAP state). One above all that the account gave is of another history and counts as the beginning.
    ///
    /// # Cost
    /// Looks at the MODSEQ of each entry, a column, and at up to 4,096 runs of expunged UIDs.
    #[must_use]
    pub fn changes_since(&self, since: ModSeq) -> Changes {
        let (changed, vanished) = self
            .fold()
            .changes_since(since.get(), self.account_modseq());
        let complete = vanished.is_some();
        Changes {
            changed,
            vanished: vanished.unwrap_or_else(|| self.fold().absent()),
            complete,
            highest_modseq: self.highest_modseq(),
        }
    }
}

impl Mailbox {
    /// What changed in the mailbox since `since`.
    ///
    /// # Errors
    /// [`Error::NoSuchMailbox`](crate::Error::NoSuchMailbox) when it was deleted.
    ///
    /// # Cost
    /// As [`View::changes_since`].
    pub fn changes_since(&self, since: ModSeq) -> Result<Changes> {
        Ok(self.view()?.changes_since(since))
    }
}

impl Account {
    /// The mailboxes that were deleted since `since`, ascending; `None` where that is not known any more.
    ///
    /// # Errors
    /// [`Error::Damaged`](crate::Error::Damaged), [`Error::Io`](crate::Error::Io) where the account cannot be loaded.
    pub fn mailboxes_destroyed_since(&self, since: ModSeq) -> Result<Option<Vec<MailboxId>>> {
        let fold = self.fold()?;
        let Some(known) = fold.destroyed.since(since.get()) else {
            return Ok(None);
        };
        let ids = known.flat_map(|(first, last)| first.get()..=last.get());
        let mut ids: Vec<MailboxId> = ids.filter_map(MailboxId::new).collect();
        ids.sort_unstable();
        Ok(Some(ids))
    }
}
