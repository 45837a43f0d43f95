//! What is done to a store, as values: what the rules of mail say of each, and the calls that do it.

use std::collections::BTreeSet;

use mailkeep::{
    Delivery, Durability, FlagChange, Flags, Keyword, Mailbox, MailboxProperties, Recipient,
    Result, Store, Uid, UidSet,
};

use crate::model::{Arriving, Marking, Now, Ruled, World};

/// A mailbox: names of account and mailbox.
pub(crate) type Place = (String, String);

/// How messages come and flags change: system flags as bits, keywords.
#[derive(Clone, Debug, Default)]
pub(crate) struct Marks {
    pub(crate) flags: u16,
    pub(crate) keywords: BTreeSet<String>,
}

#[derive(Clone, Debug)]
pub(crate) enum Act {
    CreateAccount(String),
    RenameAccount(String, String),
    DeleteAccount(String),
    CreateMailbox(Place),
    RenameMailbox(Place, String),
    DeleteMailbox(Place),
    Subscribe(Place, bool),
    SortOrder(Place, u32),
    /// One message to many.
    Deliver {
        message: usize,
        to: Vec<Place>,
        marks: Marks,
        written: bool,
    },
    /// The same by name.
    ByName {
        message: usize,
        to: Vec<Place>,
    },
    Flag {
        at: Place,
        uids: BTreeSet<u32>,
        on: bool,
        marks: Marks,
    },
    Transfer {
        from: Place,
        uids: BTreeSet<u32>,
        to: String,
        moved: bool,
    },
    Destroy {
        at: Place,
        uids: BTreeSet<u32>,
    },
    /// These are asked for one after another and then waited for: batches of several.
    Together(Vec<Act>),
    /// One batch of one account.
    Transaction(String, Vec<Act>),
    /// The account's state goes to the log.
    Base(String),
    Sync,
}

impl Act {
    /// Whether it is acknowledged as durable.
    pub(crate) fn is_durable(&self) -> bool {
        !matches!(self, Self::Deliver { written: true, .. })
    }

    /// What the rules say of it.
    pub(crate) fn rule(&self, world: &mut World, now: &mut Now<'_>) -> Ruled<()> {
        match self {
            Self::CreateAccount(name) => world.create_account(name, now),
            Self::RenameAccount(from, to) => {
                let account = world.by_name(from)?;
                world.rename_account(account, to)
            }
            Self::DeleteAccount(name) => {
                let account = world.by_name(name)?;
                world.accounts.remove(&account);
                Ok(())
            }
            Self::CreateMailbox((account, name)) => {
                let account = world.by_name(account)?;
                world.account(account)?.create(name, false, now).map(drop)
            }
            Self::RenameMailbox((account, from), to) => {
                let account = world.by_name(account)?;
                world.account(account)?.rename(from, to, now)
            }
            Self::DeleteMailbox((account, name)) => {
                let account = world.by_name(account)?;
                world.account(account)?.delete(name)
            }
            Self::Subscribe((account, name), on) => {
                let account = world.by_name(account)?;
                world.account(account)?.subscribe(name, *on);
                Ok(())
            }
            Self::SortOrder((account, name), order) => {
                let account = world.by_name(account)?;
                let account = world.account(account)?;
                let mailbox = account.find(name)?;
                account.properties(mailbox, false, *order, now)
            }
            Self::Deliver {
                message, to, marks, ..
            } => rule_delivery(world, *message, to, marks, now),
            Self::ByName { message, to } => {
                rule_delivery(world, *message, to, &Marks::default(), now)
            }
            Self::Flag {
                at,
                uids,
                on,
                marks,
            } => {
                let account = world.by_name(&at.0)?;
                let account = world.account(account)?;
                let mailbox = account.find(&at.1)?;
                let marking = if *on { Marking::Add } else { Marking::Remove };
                let marking = marking(marks.flags, marks.keywords.clone());
                account.flag(mailbox, uids, &marking, None, now).map(drop)
            }
            Self::Transfer {
                from,
                uids,
                to,
                moved,
            } => {
                let account = world.by_name(&from.0)?;
                let account = world.account(account)?;
                let (source, to) = (account.find(&from.1)?, account.find(to)?);
                account.transfer(source, uids, to, *moved, now).map(drop)
            }
            Self::Destroy { at, uids } => {
                let account = world.by_name(&at.0)?;
                let account = world.account(account)?;
                let mailbox = account.find(&at.1)?;
                account.expunge(mailbox, uids, false, now).map(drop)
            }
            Self::Together(acts) => {
                for act in acts {
                    act.rule(world, now)?;
                }
                Ok(())
            }
            Self::Transaction(account, acts) => {
                world.by_name(account)?;
                for act in acts {
                    act.rule(world, now)?;
                }
                Ok(())
            }
            Self::Base(account) => world.by_name(account).map(drop),
            Self::Sync => Ok(()),
        }
    }

    /// Does it, and waits for it.
    pub(crate) fn run(&self, store: &Store, messages: &[Vec<u8>]) -> Result<()> {
        self.begin(store, messages)?()
    }

    /// Asks for it; what is returned waits for it.
    fn begin(&self, store: &Store, messages: &[Vec<u8>]) -> Result<Wait> {
        let done = || -> Result<Wait> { Ok(Box::new(|| Ok(()))) };
        match self {
            Self::CreateAccount(name) => store.create_account(name).map(drop)?,
            Self::RenameAccount(from, to) => store.account(from)?.rename(to)?,
            Self::DeleteAccount(name) => store.account(name)?.delete()?,
            Self::CreateMailbox((account, name)) => {
                store.account(account)?.create_mailbox(name).map(drop)?;
            }
            Self::RenameMailbox((account, from), to) => {
                store.account(account)?.rename_mailbox(from, to).map(drop)?;
            }
            Self::DeleteMailbox((account, name)) => store.account(account)?.delete_mailbox(name)?,
            Self::Subscribe((account, name), on) => store.account(account)?.subscribe(name, *on)?,
            Self::SortOrder(at, order) => {
                mailbox(store, at)?.set_properties(MailboxProperties {
                    sort_order: *order,
                    ..MailboxProperties::default()
                })?
            }
            Self::Base(account) => store.account(account)?.write_base()?,
            Self::Sync => store.sync()?,
            Self::Deliver {
                message,
                to,
                marks,
                written,
            } => {
                let deliveries = to
                    .iter()
                    .map(|at| Ok(delivery(&mailbox(store, at)?, marks)));
                let deliveries = deliveries.collect::<Result<Vec<_>>>()?;
                let durability = match written {
                    true => Durability::Written,
                    false => Durability::Durable,
                };
                let commit = store.deliver_with(&messages[*message], deliveries, durability)?;
                return Ok(Box::new(|| {
                    commit.wait()?.into_iter().try_for_each(|one| one.map(drop))
                }));
            }
            Self::ByName { message, to } => {
                let to = to
                    .iter()
                    .map(|(account, name)| Recipient::new(account, name));
                let commit = store.deliver_to(&messages[*message], to)?;
                return Ok(Box::new(|| {
                    commit.wait()?.into_iter().try_for_each(|one| one.map(drop))
                }));
            }
            Self::Flag {
                at,
                uids,
                on,
                marks,
            } => {
                let change = change(*on, marks);
                let commit = mailbox(store, at)?.flag(&uid_set(uids), &change, None)?;
                return Ok(Box::new(|| commit.wait().map(drop)));
            }
            Self::Transfer {
                from,
                uids,
                to,
                moved,
            } => {
                let (source, uids) = (mailbox(store, from)?, uid_set(uids));
                let to = source.account().mailbox(to)?;
                let commit = match moved {
                    true => source.move_to(&uids, &to)?,
                    false => source.copy_to(&uids, &to)?,
                };
                return Ok(Box::new(|| commit.wait().map(drop)));
            }
            Self::Destroy { at, uids } => {
                let commit = mailbox(store, at)?.destroy(&uid_set(uids))?;
                return Ok(Box::new(|| commit.wait().map(drop)));
            }
            Self::Together(acts) => {
                let waits = acts.iter().map(|act| act.begin(store, messages));
                let waits = waits.collect::<Result<Vec<_>>>()?;
                return Ok(Box::new(|| waits.into_iter().try_for_each(|wait| wait())));
            }
            Self::Transaction(account, acts) => {
                let mut transaction = store.account(account)?.transaction();
                for act in acts {
                    act.add(store, messages, &mut transaction)?;
                }
                let commit = transaction.commit()?;
                return Ok(Box::new(|| commit.wait().map(drop)));
            }
        }
        done()
    }

    fn add(
        &self,
        store: &Store,
        messages: &[Vec<u8>],
        transaction: &mut mailkeep::Transaction,
    ) -> Result<()> {
        match self {
            Self::Deliver {
                message, to, marks, ..
            } => {
                let to = mailbox(store, &to[0])?;
                transaction.append(&messages[*message], delivery(&to, marks))?;
            }
            Self::Flag {
                at,
                uids,
                on,
                marks,
            } => transaction.flag(
                &mailbox(store, at)?,
                uid_set(uids),
                change(*on, marks),
                None,
            ),
            Self::Transfer {
                from,
                uids,
                to,
                moved,
            } => {
                let source = mailbox(store, from)?;
                let to = source.account().mailbox(to)?;
                match moved {
                    true => transaction.r#move(&source, uid_set(uids), &to),
                    false => transaction.copy(&source, uid_set(uids), &to),
                }
            }
            Self::Destroy { at, uids } => transaction.destroy(&mailbox(store, at)?, uid_set(uids)),
            other => panic!("{other:?} in a transaction"),
        }
        Ok(())
    }
}

type Wait = Box<dyn FnOnce() -> Result<()>>;

fn mailbox(store: &Store, at: &Place) -> Result<Mailbox> {
    store.account(&at.0)?.mailbox(&at.1)
}

fn flags(bits: u16) -> Flags {
    Flags::from_bits(bits).unwrap()
}

fn delivery(to: &Mailbox, marks: &Marks) -> Delivery {
    let plain = Delivery::to(to).flags(flags(marks.flags));
    marks.keywords.iter().fold(plain, |delivery, keyword| {
        delivery.keyword(Keyword::new(keyword).unwrap())
    })
}

fn change(on: bool, marks: &Marks) -> FlagChange {
    let verb = if on {
        FlagChange::add
    } else {
        FlagChange::remove
    };
    marks
        .keywords
        .iter()
        .fold(verb(flags(marks.flags)), |change, keyword| {
            change.with(Keyword::new(keyword).unwrap())
        })
}

fn uid_set(uids: &BTreeSet<u32>) -> UidSet {
    uids.iter().filter_map(|uid| Uid::new(*uid)).collect()
}

/// All of the places must be there; a delivery by name to a mailbox that is not goes to INBOX.
pub(crate) fn rule_delivery(
    world: &mut World,
    message: usize,
    to: &[Place],
    marks: &Marks,
    now: &mut Now<'_>,
) -> Ruled<()> {
    let mut targets = Vec::new();
    for (account, name) in to {
        let account = world.by_name(account)?;
        let mailbox = world.account(account)?.find(name)?;
        let arriving = Arriving {
            message,
            flags: marks.flags,
            keywords: marks.keywords.clone(),
            date: None,
        };
        targets.push((account, mailbox, arriving));
    }
    let answers = world.deliver(&targets, now);
    answers.into_iter().try_for_each(|answer| answer.map(drop))
}
