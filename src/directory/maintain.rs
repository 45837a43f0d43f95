//! Keeping the directory small: flush, merge, cover, and files that are no longer in use.

use std::io::ErrorKind;
use std::ops::Range;
use std::sync::Arc;

use super::Directory;
use super::cover::{Slot, Stop};
use super::merge::{Merged, choose};
use super::page::FileId;
use super::row::Row;
use super::run::{FOLDER, RunInfo, path_of, write_run};
use crate::switch::Switch;
use crate::{Error, Result};

impl Directory {
    /// Writes the rows in memory as the run of the records before `hi` that no run has yet; `None` where `hi` is not
    /// behind the tail. All records before `hi` must have been told. Lookups see the rows all the time.
    ///
    /// A row may know of records that are only written: `sync` makes durable what was written when it is called, after
    /// the rows were set apart and before they are saved. Else a power cut could take records that a run knows of, and
    /// their numbers would be given to records that are then taken for known.
    ///
    /// Rows that know of later records too, as live ones do, are written and stay in memory as well: if this run is
    /// lost one day, its range is told again without those records, and the run behind it must have them.
    ///
    /// # Errors
    /// Those of `sync`; what the system says. The rows are then still in memory.
    ///
    /// # Durability
    /// The run is durable when this returns, and counts once a checkpoint names it.
    pub(crate) fn flush(
        &self,
        hi: u64,
        sync: impl FnOnce() -> Result<()>,
    ) -> Result<Option<RunInfo>> {
        let _one = self.maintenance.lock();
        let lo = self.tail();
        if hi <= lo {
            return Ok(None);
        }
        let id = self.take_id();
        let frozen = self.now.write().memory.freeze();
        let rows = frozen.values().cloned().map(Ok::<Row, Error>);
        let count = frozen.len() as u64;
        let written = sync().and_then(|()| write_run(&*self.storage, id, lo..hi, count, rows));
        let ahead = frozen.values().filter(|row| row.last_record >= hi);
        let ahead: Vec<Row> = ahead.cloned().collect();
        let mut now = self.now.write();
        match written {
            Ok(info) => {
                now.cover = Arc::new(now.cover.with(info, hi));
                now.memory.release(ahead);
                Ok(Some(info))
            }
            Err(error) => {
                if Switch::FlushRestored.on() {
                    now.memory.restore();
                }
                Err(error)
            }
        }
    }

    /// Merges some runs into one, where that is worth it; false where nothing was to be done. Call again until then.
    ///
    /// # Errors
    /// What the system says; nothing is changed then. A damaged run is no error: it is dropped.
    ///
    /// # Cost
    /// Reads and writes the runs it merges, at most eight: over the life of a store each row some log3 times.
    pub(crate) fn maintain(&self) -> Result<bool> {
        let _one = self.maintenance.lock();
        let slots = self.cover_now().slots();
        let infos: Vec<RunInfo> = slots.iter().map(|slot| slot.info).collect();
        let chosen = choose(&infos).and_then(|window| slots.get(window));
        let Some(slots) = chosen else {
            return Ok(false);
        };
        match self.merge(slots) {
            Ok(info) => self.replace(slots, info),
            Err(Stop::Run(slot, error)) => self.damaged(slot.info.number, error),
            Err(Stop::Other(error)) => return Err(error),
        }
        Ok(true)
    }

    fn merge(&self, slots: &[Arc<Slot>]) -> Result<RunInfo, Stop> {
        let mut sources = Vec::with_capacity(slots.len());
        for slot in slots {
            let run = slot.run(&*self.storage, self.store);
            let run = run.map_err(|error| Stop::at(slot, error))?;
            let lowest = crate::mail::AccountId::from_bytes([0; 16]);
            let rows = run.iter_from(lowest);
            sources.push(rows.map(|row| row.map_err(|error| Stop::at(slot, error))));
        }
        let lo = slots.first().map_or(0, |slot| slot.info.lo);
        let hi = slots.last().map_or(0, |slot| slot.info.hi);
        let count = slots.iter().map(|slot| slot.info.rows).sum();
        let rows = Merged::new(sources);
        write_run(&*self.storage, self.take_id(), lo..hi, count, rows)
    }

    /// Puts a merged run in the place of those it was made from.
    ///
    /// Also where one of them was found damaged meanwhile: all its pages were read and verified before.
    fn replace(&self, slots: &[Arc<Slot>], info: RunInfo) {
        let numbers: Vec<u32> = slots.iter().map(|slot| slot.info.number).collect();
        let mut now = self.now.write();
        let cover = now.cover.without(&numbers);
        now.cover = Arc::new(cover.with(info, cover.tail()));
    }

    /// Makes a run of the rows of an uncovered range, as [`super::Uncovered`] gives them: part of a rebuild. `expected`
    /// is about how many they are. `None` where the range is not, or not wholly, uncovered.
    ///
    /// # Errors
    /// Those of the rows; what the system says. Nothing is changed then.
    ///
    /// # Durability
    /// As [`flush`](Self::flush).
    pub(crate) fn cover(
        &self,
        range: Range<u64>,
        expected: u64,
        rows: impl Iterator<Item = Result<Row>>,
    ) -> Result<Option<RunInfo>> {
        let _one = self.maintenance.lock();
        if !self.cover_now().lacks(&range) {
            return Ok(None);
        }
        let info = write_run(&*self.storage, self.take_id(), range, expected, rows)?;
        let mut now = self.now.write();
        now.cover = Arc::new(now.cover.with(info, now.cover.tail()));
        Ok(Some(info))
    }

    /// Removes the files of runs that are neither in use nor among `named`, the runs of the checkpoint that is durable
    /// now. Returns how many. Whoever is reading one goes on.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn remove_files_not_in_use(&self, named: &[RunInfo]) -> Result<usize> {
        let _one = self.maintenance.lock();
        let cover = self.cover_now();
        let listed = match self.storage.list(FOLDER) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
            listed => listed.map_err(|error| Error::io("list", FOLDER, error))?,
        };
        let numbers = listed.iter().filter_map(|file| number_of(&file.name));
        let unused =
            numbers.filter(|at| !cover.has(*at) && named.iter().all(|info| info.number != *at));
        let mut removed = 0;
        for number in unused {
            let path = path_of(number);
            let done = self.storage.remove(&path);
            done.map_err(|error| Error::io("remove", path, error))?;
            removed += 1;
        }
        Ok(removed)
    }

    /// The id of a new file; none is given twice.
    fn take_id(&self) -> FileId {
        let mut now = self.now.write();
        let id = now.next;
        now.next.number = id.number.saturating_add(1);
        id
    }
}

/// The number in the name of a run's file.
fn number_of(name: &str) -> Option<u32> {
    let number = u32::from_str_radix(name.strip_suffix(".run")?, 16).ok()?;
    // Another spelling of the number is not a name of ours.
    (path_of(number) == format!("{FOLDER}/{name}")).then_some(number)
}
