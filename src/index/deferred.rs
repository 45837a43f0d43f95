//! Deliveries that were accepted while their account could not be read: kept under the name's key, and made entries of
//! the account by the first who loads it.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::Index;
use super::cell::Cell;
use super::fold::Fold;
use super::plan::Draft;
use crate::error::{Error, Result};
use crate::format::change::{Change, Deferred};
use crate::mail::{AccountId, MailboxName};
use crate::options::Durability;

/// Deferred deliveries that are known and have no UID yet: record numbers, ascending, by key.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    known: Mutex<BTreeMap<AccountId, Vec<u64>>>,
}

impl Waiting {
    pub(super) fn new(known: impl IntoIterator<Item = (AccountId, u64)>) -> Self {
        let waiting = Self::default();
        for (key, number) in known {
            waiting.add(key, number);
        }
        waiting
    }

    pub(super) fn add(&self, key: AccountId, number: u64) {
        let mut known = self.known.lock();
        let numbers = known.entry(key).or_default();
        if let Err(at) = numbers.binary_search(&number) {
            numbers.insert(at, number);
        }
    }

    fn of(&self, key: AccountId) -> Vec<u64> {
        self.known.lock().get(&key).cloned().unwrap_or_default()
    }

    fn done(&self, key: AccountId, upto: u64) {
        let mut known = self.known.lock();
        if let Some(numbers) = known.get_mut(&key) {
            numbers.retain(|number| *number > upto);
            if numbers.is_empty() {
                known.remove(&key);
            }
        }
    }

    pub(super) fn len(&self) -> u64 {
        self.known.lock().values().map(|numbers| numbers.len() as u64).sum()
    }

    /// All of them, for a checkpoint.
    pub(super) fn all(&self) -> Vec<(AccountId, u64)> {
        let known = self.known.lock();
        let pairs = known
            .iter()
            .flat_map(|(key, numbers)| numbers.iter().map(|number| (*key, *number)));
        pairs.collect()
    }
}

impl Index {
    /// A delivery was deferred as this record.
    pub(crate) fn note_deferred(&self, key: AccountId, number: u64) {
        self.waiting.add(key, number);
    }

    /// Gives the deferred deliveries for the account's name their UIDs. Durable when it returns.
    pub(super) fn assign_deferred(&self, cell: &Arc<Cell>) -> Result<()> {
        if self.log.options().read_only {
            return Ok(());
        }
        let (name, assigned) = {
            let state = self.lock(cell);
            let row = &state.durable().row;
            match &row.name {
                Some(name) if row.exists == Some(true) => (Arc::clone(name), row.assigned),
                _ => return Ok(()),
            }
        };
        let key = self.key_of(&name).deferred();
        self.find_deferred(key, assigned)?;
        let numbers = self.waiting.of(key);
        let Some(last) = numbers.last().copied() else {
            return Ok(());
        };
        let mut arrived = Vec::with_capacity(numbers.len());
        for number in numbers {
            match self.log.record(number)?.1 {
                Change::Deferred(deferred) if *deferred.account == *name => {
                    arrived.push((number, deferred));
                }
                // Two names may share a key.
                _ => {}
            }
        }
        self.assign(cell, &arrived)?;
        self.waiting.done(key, last);
        Ok(())
    }

    /// What was deferred in front of all that was replayed is known from the checkpoint, or else through the footers.
    fn find_deferred(&self, key: AccountId, assigned: u64) -> Result<()> {
        let unknown = assigned + 1..self.waiting_known_from;
        if unknown.is_empty() {
            return Ok(());
        }
        for (header, _) in self.uncovered.records(key, unknown)? {
            self.waiting.add(key, header.number);
        }
        Ok(())
    }

    fn assign(&self, cell: &Arc<Cell>, arrived: &[(u64, Box<Deferred>)]) -> Result<()> {
        loop {
            let mut state = self.lock_loaded(cell)?;
            let Some(fold) = state.head().fold.clone() else {
                continue;
            };
            let assigned = fold.assigned;
            let mut draft = Draft::new(fold, self.log.options().host.now_ms());
            for (number, deferred) in arrived.iter().filter(|(number, _)| *number > assigned) {
                let place = draft.fold().place_of(&deferred.mailbox)?;
                draft.assign(place, *number, deferred)?;
            }
            let mut records = draft.records;
            let rests_on = state.last_batch();
            if records.list.is_empty() {
                drop(state);
                return self.log.commit(rests_on, ()).wait();
            }
            let joined = self.log.join(Durability::Durable, &[rests_on], |group| {
                let previous = state.head().row.last_record;
                records.write(cell.id, previous, group, &[])
            })?;
            if let Some((batch, numbers)) = joined {
                let head = records.finish(state.head().clone(), &numbers);
                self.push(cell, &mut state, batch, head);
                drop(state);
                return self.log.commit(batch, ()).wait();
            }
        }
    }
}

impl Fold {
    /// The mailbox that a deferred delivery goes to: the one it names, INBOX where there is none.
    pub(super) fn place_of(&self, name: &str) -> Result<u32> {
        let found = MailboxName::new(name).ok().and_then(|name| self.find(&name));
        let usable = found.filter(|id| {
            self.mailbox(*id)
                .is_some_and(|mailbox| !mailbox.properties.noselect)
        });
        let inbox = || self.find(&MailboxName::inbox());
        usable.or_else(inbox).ok_or_else(|| Error::NoSuchMailbox {
            name: name.to_owned(),
        })
    }
}
