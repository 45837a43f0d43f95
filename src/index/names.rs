//! From a name to its account: all that ever had the name is filed under the name's key.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::{Condvar, Mutex};

use super::Index;
use super::cell::Cell;
use crate::directory::{Kind, Row};
use crate::error::{Error, Result};
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

    /// The account of that name.
    ///
    /// # Cost
    /// One probe of the directory.
    pub(crate) fn find(&self, name: &str) -> Result<Arc<Cell>> {
        let mut found: Option<(u32, Arc<Cell>)> = None;
        for cell in self.namesakes(name)? {
            let mark = {
                let state = self.lock(&cell);
                let row = &state.durable().row;
                row.is_called(name).then_some(row.uid_validity_mark)
            };
            // Two, where the record of the deletion of one is lost: the later one has given greater UIDVALIDITYs.
            if let Some(mark) = mark.filter(|mark| found.as_ref().is_none_or(|(best, _)| best < mark)) {
                found = Some((mark, cell));
            }
        }
        let (_, cell) = found.ok_or_else(|| Error::NoSuchAccount { name: name.into() })?;
        self.assign_deferred(&cell)?;
        Ok(cell)
    }

    /// The account of that id, deleted ones too.
    pub(crate) fn by_id(&self, id: AccountId) -> Result<Option<Arc<Cell>>> {
        loop {
            let moment = self.cells.moment(id);
            if let Some(cell) = self.cells.get(id) {
                return Ok(Some(cell));
            }
            let row = self.directory.lookup(&id, &self.uncovered)?;
            let Some(row) = row.filter(|row| row.kind == Kind::Account) else {
                return Ok(None);
            };
            if let Some(cell) = self.cell(row, moment)? {
                return Ok(Some(cell));
            }
        }
    }

    /// All accounts that have the name, had it, or are about to have it.
    fn namesakes(&self, name: &str) -> Result<Vec<Arc<Cell>>> {
        let key = self.key_of(name);
        let moment = self.cells.moment(key.deferred());
        let mut found = Vec::new();
        for row in self.directory.by_prefix(key.0, &self.uncovered)? {
            let id = row.key;
            match row.kind {
                Kind::Account => match self.cell(row, moment)? {
                    Some(cell) => found.push(cell),
                    None => found.extend(self.by_id(id)?),
                },
                Kind::Alias { target } => found.extend(self.by_id(target)?),
                Kind::Deferred => {}
            }
        }
        Ok(found)
    }

    /// Whether a name can be given to an account; if so, the highest UIDVALIDITY that earlier ones of the name gave.
    pub(crate) fn free_name(&self, name: &str, _claim: &Claim<'_>) -> Result<u32> {
        let mut mark = self.floor.load(Ordering::Relaxed);
        for cell in self.namesakes(name)? {
            let state = self.lock(&cell);
            let row = &state.head().row;
            if row.is_called(name) {
                return Err(Error::AccountExists { name: name.into() });
            }
            mark = mark.max(row.uid_validity_mark);
        }
        Ok(mark)
    }

    /// Up to `limit` names of accounts behind `after`, in the order of their keys.
    pub(crate) fn page(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>> {
        let mut names = Vec::new();
        let mut from = match after {
            Some(name) => self.behind(name)?,
            None => None,
        };
        while names.len() < limit {
            let rows = self
                .directory
                .page(from, limit - names.len(), &self.uncovered)?;
            let Some(last) = rows.last() else { break };
            from = Some(last.key);
            for row in rows {
                let name = self.listed_name(row)?;
                names.extend(name.filter(|name| names.last() != Some(name)));
            }
        }
        Ok(names)
    }

    /// The key behind which the page after `name` begins.
    fn behind(&self, name: &str) -> Result<Option<AccountId>> {
        let key = self.key_of(name);
        for row in self.directory.by_prefix(key.0, &self.uncovered)? {
            let at = row.key;
            if self.listed_name(row)?.as_deref() == Some(name) {
                return Ok(Some(at));
            }
        }
        Ok(Some(key.range().1))
    }

    /// The name under which a row's account is listed; `None` for rows that only help to find it.
    fn listed_name(&self, row: Row) -> Result<Option<String>> {
        let filed_under = NameKey::of_id(row.key);
        let cell = match row.kind {
            Kind::Deferred => None,
            Kind::Alias { target } => self.by_id(target)?,
            Kind::Account => match self.cells.get(row.key) {
                Some(cell) => Some(cell),
                // A moment ago nothing newer was known than the row itself: no need to keep the account in memory.
                None if !row.needs_fold() => {
                    let named = row.name.filter(|_| row.exists == Some(true));
                    let named = named.filter(|name| self.key_of(name) == filed_under);
                    return Ok(named.map(|name| name.to_string()));
                }
                None => self.by_id(row.key)?,
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
