//! mailkeep with its defaults: checksums, digests, header fields, MODSEQs, and segments prepared ahead, all on.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use mailkeep::{
    Delivery, Durability, FlagChange, Flags, Mailbox, Options, Outcome, Uid, UidSet, View,
};

use super::Setup;
use crate::store::{Mail, Place, Result, Scan, Session, Store, missing};

pub(super) fn settings(more: &str) -> String {
    format!(
        "{}, this tree; Options::new(), which is Durable with CRC-32C and BLAKE3{more}",
        super::version("mailkeep")
    )
}

pub(super) struct Mailkeep {
    store: mailkeep::Store,
    durability: Durability,
    mailboxes: RwLock<HashMap<Place, Mailbox>>,
}

fn account(place: Place) -> String {
    format!("user{}@example.it", place.account())
}

fn copies(place: Place) -> String {
    format!("copies{}", place.mailbox())
}

fn set(uids: &[u32]) -> UidSet {
    uids.iter().copied().filter_map(Uid::new).collect()
}

impl Mailkeep {
    pub(super) fn open(setup: Setup<'_>, prepare: bool) -> Result<Self> {
        let options = Options::new().prepare(prepare);
        Ok(Self {
            store: mailkeep::Store::open(setup.dir, options)?,
            durability: if setup.durable {
                Durability::Durable
            } else {
                Durability::Written
            },
            mailboxes: RwLock::default(),
        })
    }

    fn mailbox(&self, place: Place) -> Result<Mailbox> {
        let known = self
            .mailboxes
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(mailbox) = known.get(&place) {
            return Ok(mailbox.clone());
        }
        drop(known);
        let account = self.store.account(&account(place))?;
        let mailbox = match place.mailbox() {
            0 => account.inbox()?,
            _ => account.mailbox(&copies(place))?,
        };
        let mut known = self
            .mailboxes
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        Ok(known.entry(place).or_insert(mailbox).clone())
    }
}

fn delivery(mail: &Mail, to: &Mailbox) -> Delivery {
    let flags = if mail.seen { Flags::SEEN } else { Flags::EMPTY };
    Delivery::to(to).flags(flags)
}

impl Store for Mailkeep {
    fn create(&self, places: &[Place]) -> Result<()> {
        for place in places {
            match place.mailbox() {
                0 => drop(self.store.create_account(&account(*place))?),
                _ => {
                    let account = self.store.account(&account(*place))?;
                    account.create_mailbox(&copies(*place))?;
                }
            }
        }
        Ok(())
    }

    fn deliver(&self, mails: &[Mail]) -> Result<Vec<u32>> {
        let [first, rest @ ..] = mails else {
            return Ok(Vec::new());
        };
        let mailbox = self.mailbox(first.place)?;
        if rest.is_empty() {
            let deliveries = [delivery(first, &mailbox)];
            let commit = self
                .store
                .deliver_with(first.body, deliveries, self.durability)?;
            let kept = commit.wait()?;
            return kept.into_iter().map(|kept| Ok(kept?.uid.get())).collect();
        }
        let mut transaction = mailbox.account().transaction();
        for mail in mails {
            transaction.append(mail.body, delivery(mail, &mailbox))?;
        }
        let outcomes = transaction.commit()?.wait()?;
        let uids = outcomes.into_iter().map(|outcome| match outcome {
            Outcome::Appended(kept) => Ok(kept.uid.get()),
            other => Err(format!("an append has become {other:?}").into()),
        });
        uids.collect()
    }

    fn flag(&self, place: Place, uids: &[u32], on: bool) -> Result<()> {
        let change = if on {
            FlagChange::add(Flags::FLAGGED)
        } else {
            FlagChange::remove(Flags::FLAGGED)
        };
        self.mailbox(place)?
            .flag(&set(uids), &change, None)?
            .wait()?;
        Ok(())
    }

    fn copy(&self, from: Place, uids: &[u32], to: Place) -> Result<()> {
        let to = self.mailbox(to)?;
        self.mailbox(from)?.copy_to(&set(uids), &to)?.wait()?;
        Ok(())
    }

    fn session(&self) -> Result<Box<dyn Session + '_>> {
        let views = HashMap::new();
        Ok(Box::new(Reader { store: self, views }))
    }

    fn close(self: Box<Self>) -> Result<()> {
        let Self {
            store, mailboxes, ..
        } = *self;
        drop(mailboxes);
        Ok(store.close()?)
    }

    fn shares_commits(&self) -> bool {
        true
    }
}

/// A view of each mailbox, taken when it is first asked for.
struct Reader<'a> {
    store: &'a Mailkeep,
    views: HashMap<Place, View>,
}

impl Reader<'_> {
    fn view(&mut self, place: Place) -> Result<&View> {
        match self.views.entry(place) {
            std::collections::hash_map::Entry::Occupied(found) => Ok(found.into_mut()),
            std::collections::hash_map::Entry::Vacant(free) => {
                Ok(free.insert(self.store.mailbox(place)?.view()?))
            }
        }
    }
}

impl Session for Reader<'_> {
    fn read(&mut self, place: Place, uid: u32, see: &mut dyn FnMut(&[u8])) -> Result<()> {
        let Some(number) = Uid::new(uid) else {
            return missing(place, uid);
        };
        see(&self.view(place)?.message(number)?.bytes()?);
        Ok(())
    }

    fn scan(&mut self, place: Place) -> Result<Scan> {
        let mut scan = Scan::default();
        for columns in self.view(place)?.columns() {
            let flags = columns.flags();
            let with = |flag| flags.iter().filter(|flags| flags.contains(flag)).count() as u64;
            scan.messages += flags.len() as u64;
            scan.seen += with(Flags::SEEN);
            scan.flagged += with(Flags::FLAGGED);
        }
        Ok(scan)
    }
}
