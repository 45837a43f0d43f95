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
    goal: u64,
    /// How many were made, to name the next.
    made: u64,
}

impl Spares {
    /// How far it should be filled by now, if it is not.
    pub(super) fn behind(&self) -> Option<u64> {
        (self.filled() < self.goal).then_some(self.goal)
    }

    pub(super) fn filled(&self) -> u64 {
        self.ready.as_ref().map_or(0, |spare| spare.filled)
    }

    /// The spare, for a segment that begins; nothing more is asked for until that one is half full.
    pub(super) fn take(&mut self) -> Option<Spare> {
        self.goal = 0;
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
    fn pace(&mut self, len: u64) -> Option<&mut Pace> {
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
        let pace = self.pace(len).filter(|_| mean < BULK)?;
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
                .and_then(|active| active.pace(len))
                .map(|pace| pace.len)
        };
        while let Some(len) = len
            && self.work.may_fill(seen)
            && self.fill_to(len)
        {}
    }

    /// Writes the next piece of the spare, towards `goal` bytes; whether it is not there yet. An error is none of the
    /// store's: the next segment grows instead, and nothing more is asked for before it begins.
    pub(super) fn fill_to(&self, goal: u64) -> bool {
        let ready = self.work.state().spares.ready.take();
        let spare = ready.or_else(|| self.begin_spare());
        let filled = spare.and_then(|spare| self.fill_piece(spare, goal));
        let Some(spare) = filled else {
            self.work.prepare_no_more();
            return false;
        };
        let more = spare.filled < goal;
        self.work.state().spares.ready = Some(spare);
        more
    }

    fn begin_spare(&self) -> Option<Spare> {
        let name = {
            let spares = &mut self.work.state().spares;
            spares.made += 1;
            format!("{SPARE}-{}", spares.made)
        };
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
        if let Some(spare) = self.work.take_spare() {
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
