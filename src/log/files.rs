//! The open files of segments: at most a fixed number at a time, whatever the number of segments.
//!
//! A file is opened at its first use and closed when others were used since and the budget is spent. Bytes that were
//! handed out stay valid: they keep their mapping. Pinned files (the active segment, whose writer holds it) are never
//! closed and do not count.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::sync::{Mutex, RwLock};

use crate::io::{File, Open, Storage};

/// Files of segments that are open at a time, beside pinned ones: half of the descriptors that a process usually gets.
pub(super) const OPEN_MAX: usize = 512;

/// Opens and closes the files of segments.
#[derive(Debug)]
pub(super) struct Files {
    storage: Arc<dyn Storage>,
    how: Open,
    most: usize,
    /// Slots whose file may be closed. Never locked over I/O.
    open: Mutex<Vec<Arc<Slot>>>,
    /// Counts openings: what was used since the last one is newer than what was not.
    clock: AtomicU64,
}

/// A segment's place among the open files.
#[derive(Debug)]
pub(super) struct Slot {
    name: String,
    file: RwLock<Option<Arc<dyn File>>>,
    used: AtomicU64,
}

impl Slot {
    /// The slot of the file `name`, relative to the volume, not opened yet.
    pub(super) fn new(name: String) -> Arc<Self> {
        Arc::new(Self {
            name,
            file: RwLock::new(None),
            used: AtomicU64::new(0),
        })
    }

    /// A slot that is open and pinned.
    pub(super) fn pinned(name: String, file: Arc<dyn File>) -> Arc<Self> {
        Arc::new(Self {
            name,
            file: RwLock::new(Some(file)),
            used: AtomicU64::new(0),
        })
    }
}

impl Files {
    /// Opens files with `how`, at most `most` at a time.
    pub(super) fn new(storage: Arc<dyn Storage>, how: Open, most: usize) -> Arc<Self> {
        Arc::new(Self {
            storage,
            how,
            most: most.max(1),
            open: Mutex::new(Vec::new()),
            clock: AtomicU64::new(1),
        })
    }

    /// How the files are opened.
    pub(super) fn how(&self) -> Open {
        self.how
    }

    /// The slot's file, opened if need be.
    ///
    /// # Errors
    /// What the system says to opening it.
    pub(super) fn get(&self, slot: &Arc<Slot>) -> std::io::Result<Arc<dyn File>> {
        if let Some(file) = &*slot.file.read() {
            // Most reads find it so: they write nothing that other threads read.
            let now = self.clock.load(Ordering::Relaxed);
            if slot.used.load(Ordering::Relaxed) != now {
                slot.used.store(now, Ordering::Relaxed);
            }
            return Ok(Arc::clone(file));
        }
        let file = self.storage.open(&slot.name, self.how)?;
        let mut current = slot.file.write();
        if let Some(first) = &*current {
            // Another thread was faster.
            return Ok(Arc::clone(first));
        }
        *current = Some(Arc::clone(&file));
        drop(current);
        self.release(slot);
        Ok(file)
    }

    /// From now on the slot's file, which is open, may be closed.
    pub(super) fn release(&self, slot: &Arc<Slot>) {
        let now = self.clock.fetch_add(1, Ordering::Relaxed) + 1;
        slot.used.store(now, Ordering::Relaxed);
        let closing = {
            let mut open = self.open.lock();
            if open.iter().any(|other| Arc::ptr_eq(other, slot)) {
                return;
            }
            let oldest = (0..open.len()).min_by_key(|at| {
                let used = open.get(*at).map(|slot| slot.used.load(Ordering::Relaxed));
                used.unwrap_or(u64::MAX)
            });
            let oldest = oldest.filter(|_| open.len() >= self.most);
            let closing = oldest.map(|at| open.swap_remove(at));
            open.push(Arc::clone(slot));
            closing
        };
        // Outside of the lock: the last handle unmaps and closes.
        let closed = closing.and_then(|slot| slot.file.write().take());
        drop(closed);
    }

    /// From now on the slot's file stays open.
    pub(super) fn pin(&self, slot: &Arc<Slot>) {
        self.open.lock().retain(|other| !Arc::ptr_eq(other, slot));
    }

    /// How many files are open that may be closed.
    #[cfg(test)]
    pub(super) fn open_count(&self) -> usize {
        self.open.lock().len()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Files, Slot};
    use crate::io::{Directory, Open, Storage};

    #[test]
    fn the_least_used_file_gives_way_and_its_bytes_stay() {
        let folder = tempfile::tempdir().unwrap();
        let volume = Directory::create_or_open(folder.path(), false).unwrap();
        for name in ["a", "b", "c"] {
            let file = volume.open(name, Open::Create).unwrap();
            file.write_at(&[name.as_bytes()], 0).unwrap();
        }
        let files = Files::new(Arc::new(volume), Open::Read, 2);
        let [a, b, c] = ["a", "b", "c"].map(|name| Slot::new(name.into()));
        let bytes = files.get(&a).unwrap().bytes(0, 1).unwrap();
        files.get(&b).unwrap();
        assert_eq!(files.open_count(), 2);
        // `a` was used since `b` was opened.
        files.get(&a).unwrap();
        files.get(&c).unwrap();
        assert_eq!(files.open_count(), 2);
        let is_open = |slot: &Slot| slot.file.read().is_some();
        assert!(is_open(&c) && is_open(&a) != is_open(&b));
        assert_eq!(bytes, "a");
        // A pinned one does not count and stays.
        files.pin(&c);
        for slot in [&a, &b, &a, &b] {
            assert_eq!(files.get(slot).unwrap().len().unwrap(), 1);
        }
        assert!(is_open(&c) && is_open(&a) && is_open(&b));
        files.release(&c);
        files.release(&c);
        assert_eq!(files.open_count(), 2);
        assert!(files.get(&Slot::new("d".into())).is_err());
        assert_eq!(files.open_count(), 2);
    }
}
