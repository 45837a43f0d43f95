//! The next segment, prepared: a file that is filled with zeroes ahead of the log, no faster than the log comes near it.
//!
//! On blocks that were written before, a durable append is one write and one flush. Filling writes to the disk that commits
//! wait for, so it keeps step with them, a piece at a time; where nothing is committed it goes on until the file is whole.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Shared;
use super::keeper::Work;
use super::writer::{Active, segment_len};
use crate::io::{File, Open};
use crate::switch::Switch;

/// What the names of prepared files begin with.
pub(super) const SPARE: &str = "log/spare";

/// Commits of this length, in bytes, are bulk: writing each byte twice meanwhile would cost more than it gains.
pub(super) const BULK: u64 = 128 << 10;

/// Zeroes that the disk is given at once: commits wait behind them.
pub(super) const PIECE: u64 = 512 << 10;

/// A file of zeroes, of which the next segment is made, whole or not. Its name is its own: whoever took it can rename it
/// whatever the thread that fills it does meanwhile.
#[derive(Debug)]
pub(super) struct Spare {
    pub(super) name: String,
    pub(super) file: Arc<dyn File>,
    /// Bytes of zeroes that are durable.
    filled: u64,
}

/// The spare, and how far it should be filled.
#[derive(Debug, Default)]
pub(super) struct Spares {
    ready: Option<Spare>,
    /// Whether a thread has it, to fill it. One at a time: without threads of the store's whoever commits does it.
    out: bool,
    /// Whether the store is closed: none is kept.
    ended: bool,
    goal: u64,
    /// How many were made, to name the next.
    made: u64,
}

impl Spares {
    /// How far it should be filled by now, if it is not and nobody is at it.
    pub(super) fn behind(&self) -> Option<u64> {
        self.lacks(self.goal).then_some(self.goal)
    }

    fn lacks(&self, goal: u64) -> bool {
        !self.out && !self.ended && self.filled() < goal
    }

    pub(super) fn filled(&self) -> u64 {
        self.ready.as_ref().map_or(0, |spare| spare.filled)
    }

    /// The spare, for a segment that begins, unless a thread has it; nothing more is asked for until that one is half full.
    pub(super) fn take(&mut self) -> Option<Spare> {
        self.goal = 0;
        self.ready.take()
    }

    /// The spare, to be filled by who asks until [`Spares::put_back`]: with the name of a new one where there is none.
    fn take_out(&mut self, goal: u64) -> Option<(Option<Spare>, String)> {
        if !self.lacks(goal) {
            return None;
        }
        self.out = true;
        let ready = self.ready.take();
        self.made += u64::from(ready.is_none());
        Some((ready, format!("{SPARE}-{}", self.made)))
    }

    /// The spare as it is now, or none where that failed. Given back where the store was closed meanwhile.
    fn put_back(&mut self, spare: Option<Spare>) -> Option<Spare> {
        self.out = false;
        if self.ended {
            return spare;
        }
        self.ready = spare;
        None
    }

    /// The spare, for good: the store is closed.
    fn end(&mut self) -> Option<Spare> {
        self.ended = true;
        self.ready.take()
    }

    /// Asks for `goal` bytes of zeroes.
    pub(super) fn ask(&mut self, goal: u64) {
        self.goal = goal;
    }
}

/// How the filling of the next segment keeps step with this one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Where this one ended when it began.
    pub(super) from: u64,
    /// Length of the next one, and how much of it was asked for so far, in bytes.
    pub(super) len: u64,
    asked: u64,
}

impl Active {
    /// From the half of this segment on: how the next one, of `len` bytes, is filled.
    fn begin_pace(&mut self, len: u64) -> Option<&mut Pace> {
        let begin = || Pace {
            from: self.end,
            len,
            asked: 0,
        };
        let half = self.is_half_full();
        half.then(|| self.pace.get_or_insert_with(begin))
    }

    /// Bytes of a next segment of `len` that should be zeroes by now, where that is more than it was: in step with this
    /// one, so that all is done when three quarters of what was left are used.
    pub(super) fn zeroes_wanted(&mut self, len: u64) -> Option<u64> {
        let (end, capacity, mean) = (self.end, self.capacity, self.mean_batch());
        let pace = self.begin_pace(len).filter(|_| mean < BULK)?;
        let left = (capacity.saturating_sub(pace.from) / 4 * 3).max(1);
        let pieces = pace.len.div_ceil(PIECE).saturating_mul(end - pace.from) / left;
        let goal = pace.len.min((pieces + 1).saturating_mul(PIECE));
        let more = goal > pace.asked;
        pace.asked = goal;
        more.then_some(goal)
    }
}

impl Shared {
    /// When nothing is committed zeroes cost nobody anything, whatever the size of commits: the next ones find them. Ends
    /// with the first commit after the `seen` ones.
    pub(super) fn fill_idle(&self, seen: u64) {
        let len = {
            let mut writer = self.writer.lock();
            // What is not synced gains nothing by it.
            let active = writer.active.as_mut().filter(|active| !active.unsynced);
            let len = segment_len(self.log_len.load(Ordering::Relaxed), &self.options);
            active
                .and_then(|active| active.begin_pace(len))
                .map(|pace| pace.len)
        };
        while let Some(len) = len
            && self.work.may_fill(seen)
            && self.fill_to(len)
        {}
    }

    /// Writes the next piece of the spare, towards `goal` bytes; whether it is not there yet and this thread is the one to go
    /// on. An error is none of the store's: the next segment grows instead, and nothing more is asked for before it begins.
    pub(super) fn fill_to(&self, goal: u64) -> bool {
        let Some((ready, name)) = self.work.state().spares.take_out(goal) else {
            return false;
        };
        let spare = ready.or_else(|| self.begin_spare(name));
        let filled = spare.and_then(|spare| self.fill_piece(spare, goal));
        if filled.is_none() {
            self.work.prepare_no_more();
        }
        let more = filled.as_ref().is_some_and(|spare| spare.filled < goal);
        let unwanted = self.work.state().spares.put_back(filled);
        self.remove_spare(unwanted);
        more
    }

    fn begin_spare(&self, name: String) -> Option<Spare> {
        let file = self.storage.open(&name, Open::Create).ok();
        let filled = 0;
        file.map(|file| Spare { name, file, filled })
    }

    fn fill_piece(&self, mut spare: Spare, goal: u64) -> Option<Spare> {
        let piece = goal.saturating_sub(spare.filled).min(PIECE);
        let written = fill_from(&*spare.file, spare.filled, piece);
        let synced = written.and_then(|()| Switch::SpareSync.guard(|| spare.file.sync()));
        if synced.is_err() {
            let _ = self.storage.remove(&spare.name);
            return None;
        }
        spare.filled += piece;
        Some(spare)
    }

    /// Removes a spare that was not needed: the next opening would, and a closed store should not keep the space.
    pub(super) fn drop_spare(&self) {
        let spare = self.work.state().spares.end();
        self.remove_spare(spare);
    }

    fn remove_spare(&self, spare: Option<Spare>) {
        if let Some(spare) = spare {
            let _ = self.storage.remove(&spare.name);
        }
    }
}

impl Work {
    pub(super) fn take_spare(&self) -> Option<Spare> {
        self.state().spares.take()
    }

    #[cfg(test)]
    pub(super) fn zeroes(&self) -> u64 {
        self.state().spares.filled()
    }
}

/// Writes `len` zeroes at `from`.
pub(super) fn fill_from(file: &dyn File, from: u64, len: u64) -> std::io::Result<()> {
    let zeroes = vec![0; usize::try_from(len).unwrap_or(usize::MAX).min(1 << 20)];
    let mut at = from;
    while at < from + len {
        let piece = usize::try_from(from + len - at)
            .unwrap_or(usize::MAX)
            .min(zeroes.len());
        file.write_at(&[zeroes.get(..piece).unwrap_or_default()], at)?;
        at += piece as u64;
    }
    Ok(())
}
