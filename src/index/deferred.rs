//! Deliveries that were accepted while their account could not be read: kept under the name's key, and made entries of
//! the account by the first who finds or loads it.
//!
//! Each becomes one entry, once, in the order of the record numbers: an assign record names the deferred one, and the
//! account's `assigned` is the highest that was named. Below that one may wait only where the account took a name that it
//! had not always had: then its records say which it was given. What waits is known from the tail and the checkpoint; in ranges
//! of records that no run of the directory covers it is asked for through the footers.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io;
use std::sync::Arc;

use crate::sync::Mutex;

use super::Index;
use super::cell::Cell;
use super::fold::Fold;
use super::plan::Draft;
use crate::directory::Row;
use crate::error::{Error, Result};
use crate::format::Fault;
use crate::format::change::{Change, Deferred};
use crate::log::Log;
use crate::mail::{AccountId, MailboxName};
use crate::options::Durability;
use crate::switch::Switch;

/// Deferred deliveries that become entries with one batch, at most.
const ASSIGNED_AT_ONCE: usize = 256;

/// Deferred deliveries that are known and have no UID yet.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    by_key: BTreeMap<AccountId, BTreeSet<u64>>,
    /// By record number: the key, and the batch that brings the record (0: it is durable).
    numbers: BTreeMap<u64, (AccountId, u64)>,
    /// Assigned ones whose records a rebuild may yet meet: it reads the newest segments first.
    assigned: HashSet<u64>,
    /// Whether no rebuild is under way.
    all_met: bool,
}

impl Known {
    fn add(&mut self, key: AccountId, number: u64, batch: u64) {
        if !self.assigned.contains(&number) {
            self.by_key.entry(key).or_default().insert(number);
            self.numbers.entry(number).or_insert((key, batch));
        }
    }

    fn remove(&mut self, number: u64) -> bool {
        let Some((key, _)) = self.numbers.remove(&number) else {
            return false;
        };
        if let Some(numbers) = self.by_key.get_mut(&key) {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.by_key.remove(&key);
            }
        }
        true
    }
}

impl Waiting {
    /// `known` are durable; `assigned` have their UIDs, and were not among those that were read.
    pub(super) fn new(
        known: impl IntoIterator<Item = (AccountId, u64)>,
        assigned: HashSet<u64>,
    ) -> Self {
        let mut all = Known {
            assigned,
            ..Known::default()
        };
        for (key, number) in known {
            all.add(key, number, 0);
        }
        Self {
            known: Mutex::new(all),
        }
    }

    /// A deferred delivery's record was met, durable.
    pub(super) fn add(&self, key: AccountId, number: u64) {
        self.known.lock().add(key, number, 0);
    }

    /// The record of an assign was met.
    pub(super) fn note_assigned(&self, number: u64) {
        self.done(&[number]);
    }

    /// All records were met.
    pub(super) fn note_all_met(&self) {
        let mut known = self.known.lock();
        known.assigned = HashSet::new();
        known.all_met = true;
    }

    /// Whether any waits under this key.
    pub(super) fn holds(&self, key: AccountId) -> bool {
        self.known.lock().by_key.contains_key(&key)
    }

    /// Those of a key, ascending. What is being written is waited for; what failed is forgotten.
    fn of(&self, key: AccountId, log: &Log) -> Vec<u64> {
        let pairs: Vec<(u64, u64)> = {
            let known = self.known.lock();
            let numbers = known.by_key.get(&key).into_iter().flatten();
            let batch = |number: &u64| known.numbers.get(number).map_or(0, |(_, batch)| *batch);
            numbers.map(|number| (*number, batch(number))).collect()
        };
        let is_there = |(number, batch): (u64, u64)| {
            let there = batch == 0 || log.commit(batch, ()).wait().is_ok();
            if !there {
                self.known.lock().remove(number);
            }
            there.then_some(number)
        };
        pairs.into_iter().filter_map(is_there).collect()
    }

    fn done(&self, numbers: &[u64]) {
        let mut known = self.known.lock();
        for number in numbers {
            known.remove(*number);
            if !known.all_met {
                known.assigned.insert(*number);
            }
        }
    }

    pub(super) fn len(&self) -> u64 {
        self.known.lock().numbers.len() as u64
    }

    /// All with numbers below `next_record`, for a checkpoint: up to there all batches have ended.
    pub(super) fn before(&self, next_record: u64, log: &Log) -> Vec<(AccountId, u64)> {
        let known: Vec<(u64, (AccountId, u64))> = {
            let known = self.known.lock();
            let before = known.numbers.range(..next_record);
            before.map(|(number, at)| (*number, *at)).collect()
        };
        // The log is asked without the lock: a delivery is deferred under the lock of its queue.
        let is_there = |batch: u64| batch == 0 || matches!(log.outcome(batch), Some(Ok(())));
        let there = known.into_iter().filter(|(_, (_, batch))| is_there(*batch));
        there.map(|(number, (key, _))| (key, number)).collect()
    }
}

impl Index {
    /// A delivery will be deferred as this record once `batch` is durable. Told as the record joins its batch: a
    /// checkpoint whose tail begins behind it must name it.
    pub(crate) fn note_deferred(&self, key: AccountId, number: u64, batch: u64) {
        self.waiting.known.lock().add(key, number, batch);
    }

    /// Gives the deferred deliveries for the account's name their UIDs. Durable when it returns.
    ///
    /// # Errors
    /// Where one cannot be read now, or assigns cannot be written: that one and those behind it wait on.
    pub(crate) fn assign_deferred(&self, cell: &Arc<Cell>) -> Result<()> {
        if self.log.options().read_only {
            return Ok(());
        }
        let name = {
            let state = self.lock(cell);
            let row = &state.durable().row;
            match &row.name {
                Some(name) if row.exists == Some(true) => Arc::clone(name),
                _ => return Ok(()),
            }
        };
        let key = self.key_of(&name).deferred();
        self.find_deferred(key)?;
        let mut numbers = self.waiting.of(key, &self.log);
        if numbers.is_empty() {
            return Ok(());
        }
        let taken = self.taken(&name, &numbers)?;
        if !taken.is_empty() {
            let done: Vec<u64> = numbers.extract_if(.., |at| taken.contains(at)).collect();
            self.waiting.done(&done);
        }
        for numbers in numbers.chunks(ASSIGNED_AT_ONCE) {
            let mut read = self.read_deferred(key, &name, numbers);
            self.hold_back(cell, &mut read)?;
            self.assign(cell, &read.arrived)?;
            self.waiting.done(&read.done);
            if let Some(error) = read.stopped {
                return Err(error);
            }
        }
        Ok(())
    }

    /// As [`assign_deferred`](Self::assign_deferred), for who only wants the account: what cannot be assigned now waits
    /// on, which keeps nobody from reading or delivering.
    pub(super) fn try_assign_deferred(&self, cell: &Arc<Cell>) {
        let _ = self.assign_deferred(cell);
    }

    /// What was deferred in ranges of records that no run covers, and is not known yet.
    fn find_deferred(&self, key: AccountId) -> Result<()> {
        for range in self.directory.uncovered() {
            for number in self.uncovered.numbers(key, range)? {
                self.waiting.add(key, number);
            }
        }
        Ok(())
    }

    /// A rebuild met deferred deliveries: key, number, and the account's name. Those wait that have no UID yet; the records
    /// of the others' assignments may lie in what is not rebuilt. In doubt they wait: whoever finds the account knows.
    pub(super) fn meet_deferred(&self, met: &[(AccountId, u64, String)]) {
        let mut by_name: BTreeMap<&str, Vec<(AccountId, u64)>> = BTreeMap::new();
        for (key, number, name) in met {
            by_name.entry(name).or_default().push((*key, *number));
        }
        for (name, numbers) in by_name {
            let only: Vec<u64> = numbers.iter().map(|(_, number)| *number).collect();
            let taken = self.taken(name, &only).unwrap_or_default();
            let done = |number| Switch::MetAssigned.on() && taken.contains(&number);
            for (key, number) in numbers.into_iter().filter(|(_, number)| !done(*number)) {
                self.waiting.add(key, number);
            }
        }
    }

    /// Whether a deferred delivery waits, or has its UID.
    pub(super) fn has_deferred(&self, number: u64, name: &str) -> Result<bool> {
        let waits = self.waiting.known.lock().numbers.contains_key(&number);
        Ok(waits || self.taken(name, &[number])?.contains(&number))
    }

    /// Which of these deferred deliveries for a name have their UIDs: in the account that has the name, or in one that had it.
    fn taken(&self, name: &str, numbers: &[u64]) -> Result<HashSet<u64>> {
        let key = self.key_of(name);
        let mut taken = HashSet::new();
        for cell in self.namesakes(name)? {
            let row = self.lock(&cell).durable().row.clone();
            // Another name that shares the key is none of this one's business.
            let its = row.name.as_deref();
            if its.is_none_or(|its| its == name || self.key_of(its) != key) {
                taken.extend(self.taken_by(&row, numbers, row.is_called(name))?);
            }
        }
        Ok(taken)
    }

    /// Which of these deferred deliveries are entries of the account. Of the one that has the name it must be certain: in
    /// doubt its mail waits, and what it lost was given.
    fn taken_by(&self, row: &Row, numbers: &[u64], certain: bool) -> Result<HashSet<u64>> {
        let below = numbers.iter().filter(|number| **number <= row.assigned);
        let Some(first) = below.clone().min() else {
            return Ok(HashSet::new());
        };
        let chain = self
            .log
            .account_records(row.key, row.last_record + 1, *first, &|_| false)?;
        if certain && !chain.given {
            let source = io::Error::other("its records cannot be read");
            return Err(Error::io("read", self.log.path_of_log(), source));
        }
        if certain && !chain.lost.is_empty() {
            return Ok(below.copied().collect());
        }
        let assigned = chain.records.iter().filter_map(|(_, change)| match change {
            Change::Assign(assign) => Some(assign.deferred),
            _ => None,
        });
        Ok(assigned.collect())
    }

    /// Reads deferred deliveries in order, up to one that cannot be read now.
    fn read_deferred(&self, key: AccountId, name: &str, numbers: &[u64]) -> ReadDeferred {
        let mut read = ReadDeferred::default();
        for number in numbers {
            match self.log.record(*number) {
                Ok((header, Change::Deferred(deferred))) if header.account == key => {
                    // Two names may share a key.
                    if *deferred.account == *name {
                        read.arrived.push((*number, deferred));
                        read.done.push(*number);
                    }
                }
                // No such thing, whatever a checkpoint said.
                Ok(_) => read.done.push(*number),
                Err(Error::Damaged { .. }) => {
                    self.note_lost(&[*number]);
                    read.done.push(*number);
                }
                Err(error) => {
                    read.stopped = Some(error);
                    break;
                }
            }
        }
        read
    }

    /// Leaves waiting from the first one on whose mailbox may be there, in what the disk did not give of the account.
    fn hold_back(&self, cell: &Arc<Cell>, read: &mut ReadDeferred) -> Result<()> {
        if read.arrived.is_empty() {
            return Ok(());
        }
        let fold = self.fold(cell)?;
        if !fold.partial || !Switch::AssignVouched.on() {
            return Ok(());
        }
        let missing = |(_, deferred): &(u64, Box<Deferred>)| {
            let name = MailboxName::new(&deferred.mailbox).ok();
            name.is_none_or(|name| fold.usable(&name).is_none())
        };
        if let Some(at) = read.arrived.iter().position(missing) {
            let held = read.arrived.split_off(at);
            let first = held.first().map_or(0, |(number, _)| *number);
            read.done.retain(|number| *number < first);
            let path = self.log.path_of_log();
            read.stopped = Some(Error::fault(path, 0, Fault::Lost));
        }
        Ok(())
    }

    fn assign(&self, cell: &Arc<Cell>, arrived: &[(u64, Box<Deferred>)]) -> Result<()> {
        if arrived.is_empty() {
            return Ok(());
        }
        let numbers: Vec<u64> = arrived.iter().map(|(number, _)| *number).collect();
        // Which of them were given, as of so many assigns: other changes of a busy account are no reason to look again.
        let (mut as_of, mut taken) = (None, HashSet::new());
        loop {
            let mut state = self.lock_loaded(cell)?;
            let Some(fold) = state.head().fold.clone() else {
                continue;
            };
            let (assigned, rests_on) = (fold.assigned, state.last_batch());
            let now = Some(state.assigns);
            if as_of != now && numbers.iter().any(|number| *number <= assigned) {
                let row = state.head().row.clone();
                drop(state);
                Switch::DeferredWaits.guard(|| self.log.commit(rests_on, ()).wait())?;
                (as_of, taken) = (now, self.taken_by(&row, &numbers, true)?);
                continue;
            }
            let mut draft = Draft::new(fold, self.log.options().host.now_ms());
            for (number, deferred) in arrived.iter().filter(|(number, _)| !taken.contains(number)) {
                let place = draft.fold().place_of(&deferred.mailbox)?;
                draft.assign(place, *number, deferred)?;
            }
            let mut records = draft.records;
            if records.list.is_empty() {
                return Ok(());
            }
            self.list(&mut state, cell.id);
            let joined = self.log.join(Durability::Durable, &[rests_on], |group| {
                let previous = state.head().row.last_record;
                records.write(cell.id, previous, group, &[])
            })?;
            if let Some((batch, numbers)) = joined {
                let head = records.finish(state.head().clone(), &numbers);
                self.push(cell, &mut state, batch, head);
                state.assigns += 1;
                drop(state);
                return self.log.commit(batch, ()).wait();
            }
        }
    }
}

/// Deferred deliveries of a name that were read.
#[derive(Default)]
struct ReadDeferred {
    arrived: Vec<(u64, Box<Deferred>)>,
    /// Numbers that wait no more once `arrived` are assigned.
    done: Vec<u64>,
    /// Why the rest was not read.
    stopped: Option<Error>,
}

impl Fold {
    /// The mailbox of that name, if messages can be delivered to it.
    pub(super) fn usable(&self, name: &MailboxName) -> Option<u32> {
        self.find(name).filter(|id| {
            self.mailbox(*id)
                .is_some_and(|mailbox| !mailbox.properties.noselect)
        })
    }

    /// The mailbox that a delivery by name goes to: the one it names, INBOX where there is none.
    pub(super) fn place_of(&self, name: &str) -> Result<u32> {
        let found = MailboxName::new(name)
            .ok()
            .and_then(|name| self.usable(&name));
        let inbox = || self.usable(&MailboxName::inbox());
        found.or_else(inbox).ok_or_else(|| Error::NoSuchMailbox {
            name: name.to_owned(),
        })
    }
}
