//! An account: its mailboxes and what concerns it as a whole.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::index::{Cell, Counters, Draft, Fold, INBOX_ID, Saved};
use crate::mail::{AccountId, AccountName, MailboxId, MailboxName, SpecialUse};
use crate::mailbox::{Mailbox, MailboxProperties};
use crate::options::Durability;
use crate::store::Store;
use crate::transaction::Transaction;

/// An account of a [`Store`]. Cloning is cheap.
///
/// ```
/// # use mailkeep::{Options, Store};
/// # let dir = tempfile::tempdir()?;
/// # let store = Store::open(dir.path().join("mail"), Options::default())?;
/// let anna = store.create_account("anna@example.it")?;
/// anna.create_mailbox("Lists/linux-man")?;
/// let names: Vec<String> = anna.mailboxes()?.into_iter().map(|mailbox| mailbox.name).collect();
/// assert_eq!(names, ["INBOX", "Lists", "Lists/linux-man"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Account {
    pub(crate) store: Store,
    pub(crate) cell: Arc<Cell>,
}

/// A mailbox in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MailboxInfo {
    /// Its full name, levels separated by `/`.
    pub name: String,
    /// Its id: never reused, kept by a rename (MAILBOXID, RFC 8474).
    pub id: MailboxId,
    /// Whether the name is subscribed.
    pub subscribed: bool,
    /// Special uses.
    pub special_use: SpecialUse,
    /// Whether it is a name only and holds no messages.
    pub noselect: bool,
    /// Its counters.
    pub counters: Counters,
}

impl Account {
    pub(crate) fn new(store: Store, cell: Arc<Cell>) -> Self {
        Self { store, cell }
    }

    pub(crate) fn fold(&self) -> Result<Fold> {
        self.store.inner.index.fold(&self.cell)
    }

    /// Its id: chosen at creation, never reused, kept by a rename.
    #[must_use]
    pub fn id(&self) -> AccountId {
        self.cell.id
    }

    /// Its name now.
    #[must_use]
    pub fn name(&self) -> String {
        let state = self.store.inner.index.lock(&self.cell);
        let row = &state.durable().row;
        // One whose creation is lost goes by its id.
        row.name
            .as_ref()
            .map_or_else(|| row.key.to_string(), ToString::to_string)
    }

    /// Its INBOX.
    ///
    /// # Errors
    /// [`Error::NoSuchMailbox`] once the account is deleted.
    ///
    /// # Cost
    /// None: neither this nor a delivery there loads the account.
    pub fn inbox(&self) -> Result<Mailbox> {
        let index = &self.store.inner.index;
        if index.lock(&self.cell).serves_inbox() {
            return Ok(Mailbox::new(self.clone(), INBOX_ID));
        }
        self.find(&MailboxName::inbox())
    }

    /// The mailbox of that name.
    ///
    /// # Errors
    /// [`Error::NoSuchMailbox`] where that is certain; [`Error::InvalidName`]; [`Error::Damaged`] and [`Error::Io`] where
    /// the account cannot be loaded as a whole, and it may be in what is missing.
    pub fn mailbox(&self, name: &str) -> Result<Mailbox> {
        self.find(&MailboxName::new(name)?)
    }

    fn find(&self, name: &MailboxName) -> Result<Mailbox> {
        let fold = self.fold()?;
        let index = &self.store.inner.index;
        let id = index
            .certain(&fold, fold.find(name))?
            .ok_or_else(|| Error::NoSuchMailbox {
                name: name.to_string(),
            })?;
        Ok(Mailbox::new(self.clone(), id))
    }

    /// All mailboxes, by name. One level after the other: a mailbox comes before those below it.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Io`] where the account cannot be loaded.
    pub fn mailboxes(&self) -> Result<Vec<MailboxInfo>> {
        let fold = self.fold()?;
        let mut all: Vec<_> = fold
            .mailboxes
            .iter()
            .filter_map(|(id, mailbox)| {
                let name = fold.path(*id);
                Some(MailboxInfo {
                    subscribed: fold.subscriptions.contains(&(0, name.as_str().into())),
                    name,
                    id: MailboxId::new(*id)?,
                    special_use: mailbox.properties.special_use,
                    noselect: mailbox.properties.noselect,
                    counters: mailbox.counters,
                })
            })
            .collect();
        all.sort_by(|a, b| a.name.split('/').cmp(b.name.split('/')));
        Ok(all)
    }

    /// Creates a mailbox, and those above it that are missing (RFC 9051 6.3.4). The name becomes NFC; a first level of
    /// INBOX in any case is `INBOX`.
    ///
    /// # Errors
    /// [`Error::MailboxExists`], [`Error::InvalidName`], or as [`Commit::wait`](crate::Commit::wait).
    ///
    /// # Durability
    /// Durable when it returns.
    pub fn create_mailbox(&self, name: &str) -> Result<Mailbox> {
        self.create_mailbox_with(name, MailboxProperties::default())
    }

    /// As [`create_mailbox`](Account::create_mailbox), with properties (CREATE-SPECIAL-USE, RFC 6154).
    ///
    /// # Errors
    /// As [`create_mailbox`](Account::create_mailbox).
    pub fn create_mailbox_with(
        &self,
        name: &str,
        properties: MailboxProperties,
    ) -> Result<Mailbox> {
        let name = MailboxName::new(name)?;
        let inner = &self.store.inner;
        let create = inner.change(&self.cell, Durability::Durable, |draft| {
            draft.exists()?;
            draft.create_mailbox(&name, properties)
        });
        Ok(Mailbox::new(self.clone(), create?.wait()?))
    }

    /// Renames a mailbox with all below it. UIDs, ids and UIDVALIDITY stay, unless a mailbox of the new name once had
    /// an equal or greater UIDVALIDITY. Renaming INBOX moves its messages and leaves it empty (RFC 9051 6.3.6).
    ///
    /// # Errors
    /// [`Error::NoSuchMailbox`], [`Error::MailboxExists`], [`Error::NotAllowed`] (below itself),
    /// [`Error::InvalidName`], or as [`Commit::wait`](crate::Commit::wait).
    ///
    /// # Durability
    /// Durable when it returns.
    pub fn rename_mailbox(&self, from: &str, to: &str) -> Result<Mailbox> {
        let (from, to) = (MailboxName::new(from)?, MailboxName::new(to)?);
        let inner = &self.store.inner;
        let rename = inner.change(&self.cell, Durability::Durable, |draft| {
            draft.rename_mailbox(&from, &to)
        });
        Ok(Mailbox::new(self.clone(), rename?.wait()?))
    }

    /// Deletes a mailbox with its messages. Its name stays subscribed; a later mailbox of the name gets a greater
    /// UIDVALIDITY.
    ///
    /// # Errors
    /// [`Error::NoSuchMailbox`], [`Error::HasChildren`], [`Error::NotAllowed`] (INBOX), [`Error::InvalidName`], or as
    /// [`Commit::wait`](crate::Commit::wait).
    ///
    /// # Durability
    /// Durable when it returns.
    pub fn delete_mailbox(&self, name: &str) -> Result<()> {
        let name = MailboxName::new(name)?;
        let inner = &self.store.inner;
        inner
            .change(&self.cell, Durability::Durable, |draft| {
                draft.delete_mailbox(&name)
            })?
            .wait()
    }

    /// Subscribes a name or takes the subscription back. The mailbox need not exist (RFC 9051 6.3.7).
    ///
    /// # Errors
    /// [`Error::InvalidName`], or as [`Commit::wait`](crate::Commit::wait).
    ///
    /// # Durability
    /// Durable when it returns.
    pub fn subscribe(&self, name: &str, on: bool) -> Result<()> {
        let name = MailboxName::new(name)?;
        let subscribe = self
            .store
            .inner
            .change(&self.cell, Durability::Durable, |draft| {
                draft.exists()?;
                draft.subscribe(&name, on)
            });
        subscribe?.wait()
    }

    /// The subscribed names, in order; also those of mailboxes that do not exist.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Io`] where the account cannot be loaded.
    pub fn subscriptions(&self) -> Result<Vec<String>> {
        let fold = self.fold()?;
        let own = fold.subscriptions.iter().filter(|(who, _)| *who == 0);
        Ok(own.map(|(_, name)| name.to_string()).collect())
    }

    /// Gives the account another name. Nothing else changes, except that after a name that an account had before
    /// mailboxes get a greater UIDVALIDITY where theirs is not above those given under that name.
    ///
    /// # Errors
    /// [`Error::AccountExists`], [`Error::InvalidAccountName`], [`Error::NoSuchAccount`] when it was deleted, or as
    /// [`Commit::wait`](crate::Commit::wait).
    ///
    /// # Durability
    /// Durable when it returns.
    pub fn rename(&self, name: &str) -> Result<()> {
        let name = AccountName::new(name)?;
        let name = name.as_str();
        let inner = &self.store.inner;
        let before = self.name();
        if before == name {
            return Ok(());
        }
        // What was deferred for the old name is this account's, not that of whoever gets the name next.
        inner.index.assign_deferred(&self.cell)?;
        let key = inner.index.key_of(name);
        let claim = inner.index.claim(name);
        inner.log.admit(0)?;
        let rename = loop {
            let (mark, rests_on) = inner.index.free_name(name, &claim)?;
            let plan = |draft: &mut Draft| {
                draft.exists()?;
                draft.rename_account(name, key, mark)
            };
            let (cell, durable) = (&self.cell, Durability::Durable);
            let tried = inner.try_change(cell, durable, &rests_on, plan, |_| Vec::new());
            if let Some(commit) = tried? {
                break commit;
            }
        };
        let done = rename.wait();
        inner.index.file(&self.cell);
        done
    }

    /// Deletes the account with all its mail. A later account of the name is another one, with greater UIDVALIDITYs.
    ///
    /// # Errors
    /// [`Error::NoSuchAccount`] when it was deleted before, or as [`Commit::wait`](crate::Commit::wait).
    ///
    /// # Durability
    /// Durable when it returns.
    pub fn delete(self) -> Result<()> {
        let inner = &self.store.inner;
        // Or it would be delivered to the next account of the name.
        inner.index.assign_deferred(&self.cell)?;
        let delete = inner.change(&self.cell, Durability::Durable, |draft| {
            draft.exists()?;
            draft.delete_account()
        });
        delete?.wait()?;
        inner.index.file(&self.cell);
        Ok(())
    }

    /// Writes the account's state into the log, so that whoever reads its records may begin there: before its earlier
    /// ones are dropped, or where many of them would be read for a small account.
    ///
    /// # Errors
    /// [`Error::NoSuchAccount`] when it was deleted, [`Error::TooLarge`] above 768 MiB (about 10,000,000 messages), or as
    /// [`Commit::wait`](crate::Commit::wait).
    ///
    /// # Durability
    /// Durable when it returns.
    ///
    /// # Cost
    /// 72 bytes of log for each message, and as much memory twice over meanwhile. Where the account
    /// changes meanwhile, its other changes wait until it is encoded once more.
    pub fn write_base(&self) -> Result<()> {
        let inner = &self.store.inner;
        let saved = Saved::of(&self.fold()?);
        let write = |draft: &mut Draft| draft.write_base(&saved);
        inner.change(&self.cell, Durability::Durable, write)?.wait()
    }

    /// Begins a transaction: several changes of this account that happen together or not at all.
    #[must_use]
    pub fn transaction(&self) -> Transaction {
        Transaction::new(self.clone())
    }
}
