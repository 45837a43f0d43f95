//! Room for what frees room: a file of zeroes that is cut shorter when the disk is full and mail is to be removed.
//!
//! Removing is a record too, and a log has no place for it on a full disk. Only batches of nothing but removals get room
//! from here, and no more than they need. The file is filled again when there is room. It may be missing, or be removed at
//! any time: all that it holds is its length.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::format::PAGE;
use crate::io::{File, Open, Storage};
use crate::switch::Switch;
use crate::sync::Mutex;

use super::spare::fill_from;

pub(super) const RESERVE: &str = "RESERVE";

/// What a batch needs beside its own bytes, at most: a segment's header, a line in SEGMENTS, and blocks begun for them.
const BESIDE: u64 = 4 * PAGE as u64;

/// The reserve of an open store.
#[derive(Debug)]
pub(super) struct Reserve {
    /// What it should have, and what it has, in bytes.
    wanted: u64,
    len: AtomicU64,
    /// Whether it wants filling.
    short: AtomicBool,
    /// Whether some of it was given away since it was filled.
    given: AtomicBool,
    /// Held over the file's I/O.
    file: Mutex<Option<Arc<dyn File>>>,
}

impl Reserve {
    /// What an earlier run left of it; made, or filled, by [`fill`](Self::fill). Of 0 bytes for who only reads.
    pub(super) fn open(storage: &dyn Storage, wanted: u64) -> Self {
        let file = (wanted > 0).then(|| storage.open(RESERVE, Open::Write).ok());
        let file = file.flatten();
        let len = file.as_ref().and_then(|file| file.len().ok()).unwrap_or(0);
        Self {
            wanted,
            len: AtomicU64::new(len),
            short: AtomicBool::new(len < wanted),
            given: AtomicBool::new(false),
            file: Mutex::new(file),
        }
    }

    /// Whether it wants filling.
    pub(super) fn is_short(&self) -> bool {
        self.short.load(Ordering::Relaxed)
    }

    /// A batch found room; `again` says that the one before did not.
    pub(super) fn look_again(&self, again: bool) {
        if (self.given.swap(false, Ordering::Relaxed) || again)
            && self.len.load(Ordering::Relaxed) < self.wanted
        {
            self.short.store(true, Ordering::Relaxed);
        }
    }

    /// Gives the disk room for a batch of `len` bytes; whether there was any left.
    pub(super) fn give(&self, len: u64) -> bool {
        let file = self.file.lock();
        let held = self.len.load(Ordering::Relaxed);
        let Some(file) = file.as_ref().filter(|_| held > 0) else {
            return false;
        };
        let rest = held.saturating_sub(len.saturating_add(BESIDE));
        let rest = rest - rest % PAGE as u64;
        self.len.store(rest, Ordering::Relaxed);
        self.given.store(true, Ordering::Relaxed);
        let cut = file.set_len(rest);
        // Some file systems have the room only when they have written that.
        cut.and_then(|()| Switch::ReserveSync.guard(|| file.sync()))
            .is_ok()
    }

    /// Fills it as far as there is room. Tried once: a disk that is full is not asked at every commit.
    pub(super) fn fill(&self, storage: &dyn Storage) {
        if !self.short.swap(false, Ordering::Relaxed) {
            return;
        }
        let mut file = self.file.lock();
        if file.is_none() {
            *file = storage.open(RESERVE, Open::Create).ok();
        }
        let held = self.len.load(Ordering::Relaxed);
        let Some(file) = file.as_ref().filter(|_| held < self.wanted) else {
            return;
        };
        let filled = fill_from(&**file, held, self.wanted - held);
        let _ = filled.and_then(|()| Switch::ReserveSync.guard(|| file.sync()));
        let _ = Switch::ReserveNameSync.guard(|| storage.sync_dir(""));
        // As much as there was room for.
        let len = file.len().unwrap_or(held);
        self.len.store(len, Ordering::Relaxed);
    }
}
