//! A mailbox: its messages and what is done to them.

use crate::account::Account;
use crate::deliver::{Delivery, Raw};
use crate::error::{Error, Result};
pub use crate::format::change::MailboxProperties;
use crate::index::{Counters, Delivered, Flagged, Transferring};
use crate::log::Commit;
use crate::mail::{FlagChange, MailboxId, ModSeq, Uid, UidSet, UidValidity};
use crate::options::Durability;
use crate::view::View;

/// A mailbox of an [`Account`]. The handle means the mailbox, not its name: a rename does not disturb it.
///
/// Changes are checked and accepted when the call returns and durable when its [`Commit`] was waited for; several can be
/// under way at once.
///
/// ```
/// # use mailkeep::{Delivery, FlagChange, Flags, Options, Store};
/// # let dir = tempfile::tempdir()?;
/// # let store = Store::open(dir.path().join("mail"), Options::default())?;
/// # let anna = store.create_account("anna@example.it")?;
/// let (inbox, archive) = (anna.inbox()?, anna.create_mailbox("Archive")?);
/// let kept = inbox.append(b"Subject: hello\n\n", Delivery::to(&inbox).flags(Flags::SEEN))?.wait()?;
///
/// let uids = kept.uid.into();
/// inbox.flag(&uids, &FlagChange::add(Flags::FLAGGED), None)?.wait()?;
/// inbox.move_to(&uids, &archive)?.wait()?;
/// assert_eq!(archive.view()?.rows(1..)[0].flags, Flags::SEEN | Flags::FLAGGED);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Mailbox {
    pub(crate) account: Account,
    pub(crate) id: u32,
}

/// A mailbox's numbers at one moment (STATUS, RFC 9051 6.3.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MailboxStatus {
    /// UIDVALIDITY.
    pub uid_validity: UidValidity,
    /// UIDNEXT; `None` when the last UID was given.
    pub uid_next: Option<Uid>,
    /// HIGHESTMODSEQ.
    pub highest_modseq: ModSeq,
    /// Counts and sizes.
    pub counters: Counters,
    /// Properties.
    pub properties: MailboxProperties,
}

impl Mailbox {
    pub(crate) fn new(account: Account, id: u32) -> Self {
        Self { account, id }
    }

    pub(crate) fn gone(&self) -> Error {
        Error::NoSuchMailbox {
            name: format!("#{}", self.id),
        }
    }

    /// The account it belongs to.
    #[must_use]
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// Its id: never reused in the account, kept by a rename (MAILBOXID, RFC 8474).
    #[must_use]
    pub fn id(&self) -> MailboxId {
        MailboxId::new(self.id).unwrap_or(MailboxId::MAX)
    }

    /// Its full name now, levels separated by `/`.
    ///
    /// # Errors
    /// [`Error::NoSuchMailbox`] when it was deleted.
    pub fn name(&self) -> Result<String> {
        let fold = self.account.fold()?;
        if fold.mailbox(self.id).is_some() {
            Ok(fold.path(self.id))
        } else {
            Err(self.gone())
        }
    }

    /// Its numbers now.
    ///
    /// # Errors
    /// [`Error::NoSuchMailbox`] when it was deleted.
    ///
    /// # Cost
    /// The same whatever the mailbox holds.
    pub fn status(&self) -> Result<MailboxStatus> {
        let fold = self.account.fold()?;
        let mailbox = fold.mailbox(self.id).ok_or_else(|| self.gone())?;
        Ok(MailboxStatus {
            uid_validity: mailbox.uid_validity,
            uid_next: u32::try_from(mailbox.uid_next).ok().and_then(Uid::new),
            highest_modseq: ModSeq::new(mailbox.modseq).unwrap_or(ModSeq::MIN),
            counters: mailbox.counters,
            properties: mailbox.properties,
        })
    }

    /// A snapshot of the mailbox: sequence numbers that stay, rows, messages.
    ///
    /// # Errors
    /// [`Error::NoSuchMailbox`] when it was deleted.
    ///
    /// # Cost
    /// A few reference counts, whatever the mailbox holds. Holding it for hours pins the memory of what changed since,
    /// and blocks nobody.
    pub fn view(&self) -> Result<View> {
        let fold = self.account.fold()?;
        let mailbox = fold
            .mailboxes
            .get(&self.id)
            .cloned()
            .ok_or_else(|| match fold.partial {
                true => self.account.store.inner.index.not_given(),
                false => self.gone(),
            })?;
        Ok(View::new(
            self.account.store.clone(),
            fold.path(self.id),
            mailbox,
            &fold,
        ))
    }

    fn change<T>(&self, plan: impl Fn(&mut crate::index::Draft) -> Result<T>) -> Result<Commit<T>> {
        let inner = &self.account.store.inner;
        inner.change(&self.account.cell, inner.log.options().durability, plan)
    }

    /// Adds one message (APPEND). `delivery` says with which flags and date; its mailbox is this one.
    ///
    /// # Errors
    /// As [`Store::deliver`](crate::Store::deliver), the result of the one recipient included.
    pub fn append<'a>(
        &self,
        raw: impl Into<Raw<'a>>,
        delivery: Delivery,
    ) -> Result<Commit<Delivered>> {
        let commit = self
            .account
            .store
            .deliver(raw, [delivery.into_mailbox(self)])?;
        commit.try_map(|mut results| results.pop().unwrap_or(Err(Error::Closed)))
    }

    /// Changes flags and keywords of the entries of `uids` that exist (STORE). With `unchanged_since`, entries with a
    /// greater MODSEQ are left alone and listed (RFC 7162 3.1.3). Entries that would stay as they are keep their MODSEQ.
    ///
    /// # Errors
    /// [`Error::NoSuchMailbox`], [`Error::Exhausted`], or as [`Commit::wait`].
    ///
    /// # Cost
    /// One record for up to 32,768 runs of UIDs; time by the number of entries.
    pub fn flag(
        &self,
        uids: &UidSet,
        change: &FlagChange,
        unchanged_since: Option<ModSeq>,
    ) -> Result<Commit<Flagged>> {
        self.change(|draft| draft.flag(self.id, uids, change, unchanged_since))
    }

    /// Copies the entries of `uids` that exist to another mailbox of the account, all or none. Flags, keywords and
    /// internal date stay; the save date is new; no body is copied. The Emails are shared, except where the destination
    /// already holds one.
    ///
    /// # Errors
    /// [`Error::NoSuchMailbox`] (also for a mailbox of another account), [`Error::NotAllowed`], [`Error::Exhausted`],
    /// or as [`Commit::wait`].
    pub fn copy_to(&self, uids: &UidSet, destination: &Mailbox) -> Result<Commit<Transferring>> {
        self.transfer(uids, destination, false)
    }

    /// Moves the entries of `uids` that exist to another mailbox of the account (RFC 6851). No message is ever in both
    /// or in neither.
    ///
    /// # Errors
    /// As [`copy_to`](Mailbox::copy_to).
    pub fn move_to(&self, uids: &UidSet, destination: &Mailbox) -> Result<Commit<Transferring>> {
        self.transfer(uids, destination, true)
    }

    fn transfer(
        &self,
        uids: &UidSet,
        destination: &Mailbox,
        moved: bool,
    ) -> Result<Commit<Transferring>> {
        if destination.account.id() != self.account.id() {
            return Err(destination.gone());
        }
        self.change(|draft| draft.transfer(self.id, uids, destination.id, moved))
    }

    /// Removes the entries of `uids` that have `\Deleted` (UID EXPUNGE, RFC 9051 6.4.9). Returns which. On a full disk it uses
    /// what [`Options::reserve`](crate::Options::reserve) keeps; no space is freed yet in this version.
    ///
    /// # Errors
    /// [`Error::NoSuchMailbox`], or as [`Commit::wait`].
    pub fn expunge(&self, uids: &UidSet) -> Result<Commit<UidSet>> {
        self.change(|draft| draft.expunge(self.id, uids, true))
    }

    /// Removes the entries of `uids`, whatever their flags (JMAP destroy). Returns which existed. On a full disk as
    /// [`expunge`](Self::expunge).
    ///
    /// # Errors
    /// [`Error::NoSuchMailbox`], or as [`Commit::wait`].
    pub fn destroy(&self, uids: &UidSet) -> Result<Commit<UidSet>> {
        self.change(|draft| draft.expunge(self.id, uids, false))
    }

    /// Sets special uses, sort order and the rest.
    ///
    /// # Errors
    /// [`Error::NoSuchMailbox`], or as [`Commit::wait`].
    ///
    /// # Durability
    /// Durable when it returns.
    pub fn set_properties(&self, properties: MailboxProperties) -> Result<()> {
        let inner = &self.account.store.inner;
        let update = |draft: &mut crate::index::Draft| draft.update_mailbox(self.id, properties);
        inner
            .change(&self.account.cell, Durability::Durable, update)?
            .wait()
    }
}
