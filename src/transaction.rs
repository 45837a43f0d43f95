//! Several changes of one account that happen together or not at all.

use crate::account::Account;
use crate::deliver::{Delivery, Prepared, Raw};
use crate::error::{Error, Result};
use crate::format::change::BodyAt;
use crate::index::{Arrival, Delivered, Draft, Drafts, Flagged, Marks, Transferring};
use crate::log::{Commit, NewBody};
use crate::mail::{FlagChange, MailboxName, ModSeq, UidSet};
use crate::mailbox::{Mailbox, MailboxProperties};
use crate::store::Inner;

/// Changes of one account, collected, then checked and committed as one: multi-append, JMAP `set`, Sieve actions.
///
/// Nothing is checked or written before [`commit`](Transaction::commit); then the changes apply in order, each seeing
/// those before it. If one fails, none is made.
///
/// ```
/// # use mailkeep::{Delivery, FlagChange, Flags, Options, Outcome, Store};
/// # let dir = tempfile::tempdir()?;
/// # let store = Store::open(dir.path().join("mail"), Options::default())?;
/// # let anna = store.create_account("anna@example.it")?;
/// let inbox = anna.inbox()?;
/// let mut transaction = anna.transaction();
/// transaction.append(b"Subject: 1\n\n", Delivery::to(&inbox))?;
/// transaction.append(b"Subject: 2\n\n", Delivery::to(&inbox))?;
/// transaction.flag(&inbox, mailkeep::UidSet::full(), FlagChange::add(Flags::SEEN), None);
/// let outcomes = transaction.commit()?.wait()?;
/// assert!(matches!(outcomes[2], Outcome::Flagged(ref flagged) if flagged.changed.len() == 2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Transaction {
    account: Account,
    steps: Vec<Step>,
    messages: Vec<Prepared<'static>>,
    len: usize,
}

#[derive(Debug)]
enum Step {
    Append {
        mailbox: u32,
        message: usize,
        marks: Marks,
    },
    Flag {
        mailbox: u32,
        uids: UidSet,
        change: FlagChange,
        unchanged_since: Option<ModSeq>,
    },
    Transfer {
        source: u32,
        uids: UidSet,
        destination: u32,
        moved: bool,
    },
    Expunge {
        mailbox: u32,
        uids: UidSet,
        only_deleted: bool,
    },
    CreateMailbox {
        name: MailboxName,
        properties: MailboxProperties,
    },
    RenameMailbox {
        from: MailboxName,
        to: MailboxName,
    },
    DeleteMailbox {
        name: MailboxName,
    },
}

/// What one change of a [`Transaction`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// Of an append.
    Appended(Delivered),
    /// Of a change of flags.
    Flagged(Flagged),
    /// Of a copy or move.
    Transferred(Transferring),
    /// Of an expunge: which entries are gone.
    Expunged(UidSet),
    /// Of a change of mailboxes.
    Done,
}

/// Most bytes of messages in one transaction: they are held in memory and written as one batch.
const LEN_MAX: u64 = 512 << 20;

impl Transaction {
    pub(crate) fn new(account: Account) -> Self {
        Self {
            account,
            steps: Vec::new(),
            messages: Vec::new(),
            len: 0,
        }
    }

    /// Adds a message, which is copied unless it is given as a `Vec`.
    ///
    /// # Errors
    /// [`Error::EmptyMessage`], [`Error::TooLarge`] (the message, or all messages of the transaction over 512 MiB),
    /// [`Error::NoSuchMailbox`] for a mailbox of another account.
    pub fn append<'a>(&mut self, raw: impl Into<Raw<'a>>, delivery: Delivery) -> Result<()> {
        let mailbox = self.own(&delivery.mailbox)?;
        let raw = raw.into().into_owned();
        let prepared = Prepared::new(raw, &self.account.store.inner)?;
        let len = (self.len + prepared.len()) as u64;
        if len > LEN_MAX {
            return Err(Error::TooLarge {
                what: "the transaction",
                len,
                max: LEN_MAX,
            });
        }
        self.len += prepared.len();
        self.steps.push(Step::Append {
            mailbox,
            message: self.messages.len(),
            marks: delivery.marks,
        });
        self.messages.push(prepared);
        Ok(())
    }

    fn own(&self, mailbox: &Mailbox) -> Result<u32> {
        let same = mailbox.account.id() == self.account.id();
        if same {
            Ok(mailbox.id)
        } else {
            Err(Error::NoSuchMailbox {
                name: "of another account".into(),
            })
        }
    }

    /// The mailbox's id; 0, which no mailbox has, where it is another account's.
    fn id_of(&self, mailbox: &Mailbox) -> u32 {
        self.own(mailbox).unwrap_or(0)
    }

    /// As [`Mailbox::flag`].
    pub fn flag(
        &mut self,
        mailbox: &Mailbox,
        uids: UidSet,
        change: FlagChange,
        unchanged_since: Option<ModSeq>,
    ) {
        self.steps.push(Step::Flag {
            mailbox: self.id_of(mailbox),
            uids,
            change,
            unchanged_since,
        });
    }

    /// As [`Mailbox::copy_to`].
    pub fn copy(&mut self, source: &Mailbox, uids: UidSet, destination: &Mailbox) {
        self.steps.push(Step::Transfer {
            source: self.id_of(source),
            uids,
            destination: self.id_of(destination),
            moved: false,
        });
    }

    /// As [`Mailbox::move_to`].
    pub fn r#move(&mut self, source: &Mailbox, uids: UidSet, destination: &Mailbox) {
        self.steps.push(Step::Transfer {
            source: self.id_of(source),
            uids,
            destination: self.id_of(destination),
            moved: true,
        });
    }

    /// As [`Mailbox::expunge`].
    pub fn expunge(&mut self, mailbox: &Mailbox, uids: UidSet) {
        self.steps.push(Step::Expunge {
            mailbox: self.id_of(mailbox),
            uids,
            only_deleted: true,
        });
    }

    /// As [`Mailbox::destroy`].
    pub fn destroy(&mut self, mailbox: &Mailbox, uids: UidSet) {
        self.steps.push(Step::Expunge {
            mailbox: self.id_of(mailbox),
            uids,
            only_deleted: false,
        });
    }

    /// As [`Account::create_mailbox_with`].
    ///
    /// # Errors
    /// [`Error::InvalidName`].
    pub fn create_mailbox(&mut self, name: &str, properties: MailboxProperties) -> Result<()> {
        self.steps.push(Step::CreateMailbox {
            name: MailboxName::new(name)?,
            properties,
        });
        Ok(())
    }

    /// As [`Account::rename_mailbox`].
    ///
    /// # Errors
    /// [`Error::InvalidName`].
    pub fn rename_mailbox(&mut self, from: &str, to: &str) -> Result<()> {
        self.steps.push(Step::RenameMailbox {
            from: MailboxName::new(from)?,
            to: MailboxName::new(to)?,
        });
        Ok(())
    }

    /// As [`Account::delete_mailbox`].
    ///
    /// # Errors
    /// [`Error::InvalidName`].
    pub fn delete_mailbox(&mut self, name: &str) -> Result<()> {
        self.steps.push(Step::DeleteMailbox {
            name: MailboxName::new(name)?,
        });
        Ok(())
    }

    /// Checks and commits all changes as one batch. Outcomes are in the order of the calls.
    ///
    /// # Errors
    /// That of the first change that cannot be made: then none is. Or as [`Commit::wait`].
    ///
    /// # Durability
    /// After a crash all of it is there or nothing.
    pub fn commit(mut self) -> Result<Commit<Vec<Outcome>>> {
        let store = self.account.store.clone();
        let inner = &store.inner;
        inner.log.admit(self.len)?;
        let written = self.write_large(inner);
        let done = written.and_then(|()| self.try_commit(inner));
        if done.is_err() {
            for message in &self.messages {
                message.discard_if_large(inner);
            }
        }
        done
    }

    fn write_large(&mut self, inner: &Inner) -> Result<()> {
        let owner = [self.account.id()];
        let mut messages = self.messages.iter_mut();
        messages.try_for_each(|message| message.write_if_large(inner, &owner))
    }

    fn try_commit(&self, inner: &Inner) -> Result<Commit<Vec<Outcome>>> {
        let cell = &self.account.cell;
        let durability = inner.log.options().durability;
        let plan = |draft: &mut Draft| {
            let steps = self.steps.iter();
            steps.map(|step| step.plan(draft, &self.messages)).collect()
        };
        let bodies = |records: &Drafts| -> Vec<NewBody<'_>> {
            let places = body_places(records, self.messages.len());
            let placed = self.messages.iter().zip(places);
            placed
                .map(|(message, (mailbox, uid))| message.body(&[cell.id], mailbox, uid))
                .collect()
        };
        loop {
            if let Some(commit) = inner.try_change(cell, durability, &[], plan, bodies)? {
                return Ok(commit);
            }
        }
    }
}

impl Step {
    fn plan(&self, draft: &mut Draft, messages: &[Prepared<'_>]) -> Result<Outcome> {
        Ok(match self {
            Self::Append {
                mailbox,
                message,
                marks,
            } => {
                let prepared = messages.get(*message).ok_or(Error::Closed)?;
                let arrival: &Arrival = &prepared.arrival;
                let body = matches!(arrival.body, BodyAt::Here(_)).then_some(*message);
                Outcome::Appended(draft.deliver(*mailbox, arrival, marks, None, body)?)
            }
            Self::Flag {
                mailbox,
                uids,
                change,
                unchanged_since,
            } => Outcome::Flagged(draft.flag(*mailbox, uids, change, *unchanged_since)?),
            Self::Transfer {
                source,
                uids,
                destination,
                moved,
            } => Outcome::Transferred(draft.transfer(*source, uids, *destination, *moved)?),
            Self::Expunge {
                mailbox,
                uids,
                only_deleted,
            } => Outcome::Expunged(draft.expunge(*mailbox, uids, *only_deleted)?),
            Self::CreateMailbox { name, properties } => {
                draft.exists()?;
                draft.create_mailbox(name, *properties)?;
                Outcome::Done
            }
            Self::RenameMailbox { from, to } => {
                draft.rename_mailbox(from, to)?;
                Outcome::Done
            }
            Self::DeleteMailbox { name } => {
                draft.delete_mailbox(name)?;
                Outcome::Done
            }
        })
    }
}

/// Mailbox and UID of each message's entry, for its body's header.
fn body_places(records: &Drafts, count: usize) -> Vec<(u32, u32)> {
    let mut places = vec![(0, 0); count];
    for drafted in &records.list {
        if let (Some(place), crate::format::change::Change::Deliver(deliver)) = (
            drafted.body.and_then(|at| places.get_mut(at)),
            &drafted.change,
        ) {
            *place = (drafted.mailbox, deliver.uid.get());
        }
    }
    places
}
