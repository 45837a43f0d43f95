//! Loading an account: its image, then the records since. Off the account's lock; who asks for another account does not
//! wait.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::sync::MutexGuard;

use super::Index;
use super::cell::{Cell, Pin, State};
use super::cells::COLD;
use super::fold::Fold;
use super::image::chain;
use super::sources::{LONG, is_base};
use crate::directory::Row;
use crate::error::{Error, Result};
use crate::format::change::Change;
use crate::format::record::RecordHeader;
use crate::switch::Switch;

impl Index {
    /// Locks a cell for a change of its account or a look at its row. Never waits for the disk.
    pub(crate) fn lock<'a>(&self, cell: &'a Cell) -> MutexGuard<'a, State> {
        let mut state = cell.lock(&self.log);
        self.cross(&mut state);
        state
    }

    /// As [`lock`](Self::lock); `None` where a load is about to end, which may have to read yet.
    pub(crate) fn lock_at_hand<'a>(&self, cell: &'a Cell) -> Option<MutexGuard<'a, State>> {
        let mut state = cell.lock_at_hand(&self.log)?;
        self.cross(&mut state);
        Some(state)
    }

    /// Locks a cell whose fold is loaded; loads it first if need be.
    pub(crate) fn lock_loaded<'a>(&self, cell: &'a Arc<Cell>) -> Result<MutexGuard<'a, State>> {
        let _pin = cell.pin();
        let mut asked = false;
        loop {
            let state = self.lock(cell);
            let loaded = state.is_loaded();
            if loaded && (asked || !state.is_partial()) {
                return Ok(state);
            }
            drop(state);
            asked = true;
            match loaded {
                true => {
                    self.ask_again(cell);
                }
                false => self.load(cell)?,
            }
        }
    }

    /// Makes sure that a delivery to these mailboxes can be planned without the disk, as long as the pin is held.
    pub(crate) fn warm<'a>(&self, cell: &'a Arc<Cell>, mailboxes: &[u32]) -> Result<Pin<'a>> {
        let pin = cell.pin();
        let mut asked = false;
        loop {
            let state = self.lock(cell);
            let missing = state.lacks(mailboxes);
            if state.serves(mailboxes) && (asked || !missing) {
                return Ok(pin);
            }
            drop(state);
            asked = true;
            match missing {
                true => {
                    self.ask_again(cell);
                }
                false => self.load(cell)?,
            }
        }
    }

    /// The account as it is durable: a snapshot.
    pub(crate) fn fold(&self, cell: &Arc<Cell>) -> Result<Fold> {
        let _pin = cell.pin();
        let mut asked = false;
        loop {
            let fold = self.lock(cell).durable().fold.clone();
            match fold {
                Some(fold) if asked || !fold.partial => return Ok(fold),
                Some(_) => {
                    self.ask_again(cell);
                }
                None => self.load(cell)?,
            }
            asked = true;
        }
    }

    /// Loads the account's fold, unless another caller does: then waits for that.
    pub(super) fn load(&self, cell: &Arc<Cell>) -> Result<()> {
        let row = {
            let mut state = cell.peek(&self.log);
            while state.loading {
                cell.wait_loaded(&mut state);
            }
            if state.is_loaded() {
                return Ok(());
            }
            state.loading = true;
            state.durable().row.clone()
        };
        self.load_row(cell, &row)?;
        self.loaded(cell, &row);
        Ok(())
    }

    /// Loads the fold that the row describes, by who has said that it does; whether it is in place.
    pub(super) fn load_row(&self, cell: &Arc<Cell>, row: &Row) -> Result<bool> {
        let loaded = self.read(row).and_then(|fold| self.install(cell, fold));
        {
            let mut state = cell.peek(&self.log);
            (state.loading, state.hold) = (false, false);
        }
        cell.tell_loaded();
        loaded
    }

    /// What is to be done now that there is more of the account.
    pub(super) fn loaded(&self, cell: &Arc<Cell>, row: &Row) {
        if row.records > self.log.options().chain_max {
            self.want_image(cell.id);
        }
        self.try_assign_deferred(cell);
        self.shrink();
    }

    /// Catches up with what was delivered meanwhile, and puts the fold in place, unless there is one and this one is not whole.
    /// Changes of the account wait until then.
    fn install(&self, cell: &Arc<Cell>, mut fold: Fold) -> Result<bool> {
        loop {
            let mut state = cell.peek(&self.log);
            state.hold = true;
            let (batch, last) = (state.last_batch(), state.durable().row.last_record);
            if batch == 0 && last <= fold.last_record {
                if fold.partial && state.is_loaded() {
                    return Ok(false);
                }
                self.cross_fold(&mut fold, u64::MAX);
                let weight = COLD + fold.weight();
                let durable = state.durable_mut();
                fold.describe(&mut durable.row);
                durable.fold = Some(fold);
                drop(state);
                self.cells.weigh(cell, weight);
                return Ok(true);
            }
            drop(state);
            if batch > 0 {
                // Failed or not: its records are settled when this returns.
                let _ = self.log.commit(batch, ()).wait();
            }
            let row = cell.peek(&self.log).durable().row.clone();
            self.follow(&mut fold, &row)?;
        }
    }

    /// The account's fold as of its row.
    pub(super) fn read(&self, row: &Row) -> Result<Fold> {
        let mut fold = self.image_of(row).unwrap_or_else(|| Fold::new(row.key));
        self.follow(&mut fold, row)?;
        if row.exists == Some(true) && fold.partial {
            if !fold.exists {
                // The account is there, and the disk gives nothing of it: it is not to pass for one that is empty or gone.
                let source = io::Error::other("its records cannot be read");
                return Err(Error::io("read", self.log.path_of_log(), source));
            }
            // The record that named it may be among those that are not given; the row has what it said.
            if let Some(name) = &row.name {
                fold.name = Arc::clone(name);
            }
        }
        self.cross_fold(&mut fold, u64::MAX);
        // Behind the fences: what was lost is passed over.
        if !fold.partial {
            fold.keep_inbox(row);
        }
        Ok(fold)
    }

    /// The fold that the account's image has, if it is sound. A bad one is forgotten: the log has everything.
    fn image_of(&self, row: &Row) -> Option<Fold> {
        let at = row.image?;
        match chain::load(&self.images, row.key, &at) {
            Ok(fold) => Some(fold),
            Err(error) => {
                self.note_damage(&error);
                None
            }
        }
    }

    /// Takes over the account's records behind those that the fold has, up to the row's last.
    fn follow(&self, fold: &mut Fold, row: &Row) -> Result<()> {
        let (after, last) = (fold.last_record, row.last_record);
        if last <= after {
            return Ok(());
        }
        if row.records > LONG {
            for (newest, from) in self.uncovered.steps(row.key, after + 1..last + 1)? {
                self.take(fold, newest, from.max(after), &|_| false)?;
            }
        } else {
            self.take(fold, last, after, &is_base)?;
        }
        // Also where the last ones are lost: the row was made from them, and knows what they gave out.
        if Switch::RowReached.on() {
            fold.reach(row);
        }
        Ok(())
    }

    /// Takes over the account's records behind `from`, up to `newest`.
    fn take(
        &self,
        fold: &mut Fold,
        newest: u64,
        from: u64,
        starts: &dyn Fn(&Change) -> bool,
    ) -> Result<()> {
        let chain = self
            .log
            .account_records(fold.id, newest + 1, from, starts)?;
        let mut lost = chain.lost;
        let last = chain.records.last().map(|(header, _)| header.number);
        // Of the newest one nothing may be left, and no later record names it: it is known that it was there.
        let gone = newest > from && last != Some(newest) && lost.last() != Some(&newest);
        if gone && Switch::NewestLost.on() {
            lost.push(newest);
        }
        if !chain.given && Switch::UnreadNoted.on() {
            fold.partial = true;
        }
        self.note_lost(&lost);
        self.note_found(chain.records.iter().map(|(header, _)| header.number));
        Switch::LossFenced.guard(|| self.fence_all(&lost))?;
        for (header, change) in &chain.records {
            self.apply(fold, header, change);
        }
        Ok(())
    }

    /// Takes over a record, and the fences in front of it.
    pub(super) fn apply(&self, fold: &mut Fold, header: &RecordHeader, change: &Change) {
        self.cross_fold(fold, header.number);
        fold.apply(header, change);
    }

    /// Takes over the fences in front of record `before` that the fold has not crossed yet.
    fn cross_fold(&self, fold: &mut Fold, before: u64) {
        if fold.fence < self.last_fence() {
            let floor = self.floor.load(Ordering::Relaxed);
            fold.cross(&self.directory.fences(), before, floor);
        }
    }

    /// The same for a cell: a loss may be found while it is in memory.
    fn cross(&self, state: &mut State) {
        if state.durable().row.fence < self.last_fence() {
            let floor = self.floor.load(Ordering::Relaxed);
            state.cross(&self.directory.fences(), floor);
        }
    }
}
