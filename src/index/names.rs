//! From a name to its account: all that ever had the name is filed under the name's key.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::sync::{Condvar, Mutex};

use super::Index;
use super::cell::Cell;
use super::cells::Glance;
use crate::directory::{Kind, Row};
use crate::error::{Error, Result};
use crate::format::Fault;
use crate::mail::{AccountId, NameKey};

/// Names that somebody is about to give to an account.
#[derive(Debug, Default)]
pub(super) struct Claims {
    keys: Mutex<HashSet<NameKey>>,
    freed: Condvar,
}

/// The right to give a name to an account, until it is dropped.
#[derive(Debug)]
pub(crate) struct Claim<'a> {
    claims: &'a Claims,
    key: NameKey,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.claims.keys.lock().remove(&self.key);
        self.claims.freed.notify_all();
    }
}

/// Which account was found under a name lately. It may have another name since: who asks looks at it.
#[derive(Debug, Default)]
pub(super) struct Recent {
    ids: Mutex<HashMap<NameKey, AccountId>>,
}

/// Names that are remembered; at so many all are forgotten, which costs each a look into the directory.
const RECENT_MAX: usize = 64 << 10;

impl Recent {
    fn get(&self, key: NameKey) -> Option<AccountId> {
        self.ids.lock().get(&key).copied()
    }

    fn put(&self, key: NameKey, id: AccountId) {
        let mut ids = self.ids.lock();
        if ids.len() >= RECENT_MAX {
            ids.clear();
        }
        ids.insert(key, id);
    }
}

impl Index {
    pub(crate) fn key_of(&self, name: &str) -> NameKey {
        NameKey::new(&self.log.store().0, name)
    }

    /// Waits until nobody else is about to give this name to an account.
    pub(crate) fn claim(&self, name: &str) -> Claim<'_> {
        let key = self.key_of(name);
        let mut keys = self.claims.keys.lock();
        while !keys.insert(key) {
            self.claims.freed.wait(&mut keys);
        }
        drop(keys);
        Claim {
            claims: &self.claims,
            key,
        }
    }

    /// The account of that name. Where one that has the name or had it does not tell its name, because that is damaged, or
    /// the disk did not give all of the log's tail, the answer is not that there is none: mail for it would be refused for
    /// good.
    ///
    /// # Cost
    /// One probe of the directory.
    pub(crate) fn find(&self, name: &str) -> Result<Arc<Cell>> {
        match self.called(name)? {
            (Some(found), _) => Ok(found),
            (None, nameless) if nameless || !self.given.all => {
                Err(Error::fault(self.log.path_of_log(), 0, Fault::Lost))
            }
            (None, _) => Err(Error::NoSuchAccount { name: name.into() }),
        }
    }

    /// The account of that name, as far as memory tells, and nothing waits to be assigned to it.
    pub(super) fn recall(&self, name: &str) -> Option<Arc<Cell>> {
        let key = self.key_of(name);
        if self.waiting.holds(key.deferred()) {
            return None;
        }
        let id = self.recent.get(key)?;
        let cell = self.cells.get(id)?;
        let is_it = cell.lock_at_hand(&self.log)?.durable().row.is_called(name);
        is_it.then_some(cell)
    }

    /// The account is found under this name now.
    pub(crate) fn remember(&self, name: &str, id: AccountId) {
        self.recent.put(self.key_of(name), id);
    }

    /// The account of that name, and whether one that may be it has lost its name.
    fn called(&self, name: &str) -> Result<(Option<Arc<Cell>>, bool)> {
        let mut found: Option<((u32, u32), Arc<Cell>)> = None;
        let mut nameless = false;
        for cell in self.namesakes(name)? {
            let mark = {
                let state = self.lock(&cell);
                let row = &state.durable().row;
                nameless |= row.has_lost_its_name();
                let marks = (row.inbox.uid_validity, row.uid_validity_mark);
                row.is_called(name).then_some(marks)
            };
            // Two, where the record is lost by which one was deleted or renamed: the INBOX of the later one began with a greater
            // UIDVALIDITY.
            if let Some(mark) =
                mark.filter(|mark| found.as_ref().is_none_or(|(best, _)| best < mark))
            {
                found = Some((mark, cell));
            }
        }
        let found = found.map(|(_, cell)| cell);
        if let Some(cell) = &found {
            self.try_assign_deferred(cell);
            self.remember(name, cell.id);
        }
        Ok((found, nameless))
    }

    /// The account of that id, deleted ones too.
    pub(crate) fn by_id(&self, id: AccountId) -> Result<Option<Arc<Cell>>> {
        if let Some(cell) = self.cells.get(id) {
            return Ok(Some(cell));
        }
        let glance = self.cells.glance();
        let row = self.ask(|directory, log| directory.lookup(&id, log))?;
        let row = row.filter(|row| row.kind == Kind::Account);
        row.map(|row| self.cell(row, glance)).transpose()
    }

    /// All accounts that have the name, had it, or are about to have it.
    pub(super) fn namesakes(&self, name: &str) -> Result<Vec<Arc<Cell>>> {
        let key = self.key_of(name);
        let mut found = Vec::new();
        let glance = self.cells.glance();
        for row in self.ask(|directory, log| directory.by_prefix(key.0, log))? {
            match row.kind {
                Kind::Account => found.push(self.cell(row, glance)?),
                Kind::Alias { target } => found.extend(self.by_id(target)?),
                Kind::Deferred => {}
            }
        }
        Ok(found)
    }

    /// Whether a name can be given to an account; if so, the highest UIDVALIDITY that earlier ones of the name gave, and
    /// the batches that the answer rests on: where one of them fails, an account may have the name yet.
    pub(crate) fn free_name(&self, name: &str, _claim: &Claim<'_>) -> Result<(u32, Vec<u64>)> {
        if !self.given.some {
            return Err(Error::fault(self.log.path_of_log(), 0, Fault::Lost));
        }
        let mut mark = self.floor.load(Ordering::Relaxed);
        let mut rests_on = Vec::new();
        for cell in self.namesakes(name)? {
            let state = self.lock(&cell);
            let row = &state.head().row;
            if row.is_called(name) {
                return Err(Error::AccountExists { name: name.into() });
            }
            mark = mark.max(row.uid_validity_mark);
            rests_on.extend(Some(state.last_batch()).filter(|batch| *batch > 0));
        }
        Ok((mark, rests_on))
    }

    /// Up to `limit` names of accounts behind `after`, in the order of their keys.
    pub(crate) fn page(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>> {
        let mut names = Vec::new();
        let mut from = match after {
            Some(name) => self.behind(name)?,
            None => None,
        };
        while names.len() < limit {
            let glance = self.cells.glance();
            let rows = self.ask(|directory, log| directory.page(from, limit - names.len(), log))?;
            let Some(last) = rows.last() else { break };
            from = Some(last.key);
            for row in rows {
                let name = self.listed_name(row, glance)?;
                names.extend(name.filter(|name| names.last() != Some(name)));
            }
        }
        Ok(names)
    }

    /// The key behind which the page after `name` begins.
    fn behind(&self, name: &str) -> Result<Option<AccountId>> {
        let key = self.key_of(name);
        let glance = self.cells.glance();
        // Where records are lost two may be listed under one name: behind both, or the page would begin with it again.
        let rows = self.ask(|directory, log| directory.by_prefix(key.0, log))?;
        for row in rows.into_iter().rev() {
            let at = row.key;
            if self.listed_name(row, glance)?.as_deref() == Some(name) {
                return Ok(Some(at));
            }
        }
        Ok(Some(key.range().1))
    }

    /// The name under which a row's account is listed; `None` for rows that only help to find it.
    fn listed_name(&self, row: Row, glance: Glance) -> Result<Option<String>> {
        let filed_under = NameKey::of_id(row.key);
        let cell = match row.kind {
            Kind::Deferred => None,
            Kind::Alias { target } => self.by_id(target)?,
            Kind::Account => match self.cells.get(row.key) {
                Some(cell) => Some(cell),
                // Nothing newer is known than the row itself: no need to keep the account in memory.
                None if !row.needs_fold() && self.cells.none_since(row.key, glance) => {
                    let named = row.name.filter(|_| row.exists == Some(true));
                    let named = named.filter(|name| self.key_of(name) == filed_under);
                    return Ok(named.map(|name| name.to_string()));
                }
                None => Some(self.cell(row, glance)?),
            },
        };
        let Some(cell) = cell else { return Ok(None) };
        let state = self.lock(&cell);
        let row = &state.durable().row;
        let name = row.name.as_ref().filter(|_| row.exists == Some(true));
        Ok(name
            .filter(|name| self.key_of(name) == filed_under)
            .map(ToString::to_string))
    }
}
