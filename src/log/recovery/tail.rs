//! TAIL at an opening: how far acknowledged batches reached; and where a cut tail goes.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::manifest::Manifest;
use crate::format::tail::{FILE_LEN, Tail};
use crate::format::{PAGE, SECTOR, StoreId};
use crate::io::{File, Open, Storage};
use crate::log::join_path;
use crate::log::scan::copy;
use crate::log::writer::Active;
use crate::switch::Switch;

pub(in crate::log) const TAIL: &str = "TAIL";

/// The bytes of TAIL, read before anything else so that a live writer can only be further on.
pub(super) struct Raw {
    file: Option<Arc<dyn File>>,
    bytes: Vec<u8>,
}

/// What TAIL says.
#[derive(Clone)]
pub(super) struct Mark {
    file: Option<Arc<dyn File>>,
    tail: Option<Tail>,
}

pub(super) fn read(storage: &dyn Storage, how: Open) -> Result<Raw> {
    let path = join_path(&storage.describe(), TAIL);
    let file = match storage.open(TAIL, how) {
        Ok(file) => Some(file),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => match how {
            Open::Read => None,
            Open::Write | Open::Create => Some(
                storage
                    .open(TAIL, Open::Create)
                    .map_err(|source| Error::io("create", &path, source))?,
            ),
        },
        Err(source) => return Err(Error::io("open", &path, source)),
    };
    let mut bytes = vec![0; usize::try_from(FILE_LEN).unwrap_or(0)];
    if let Some(file) = &file {
        // An unreadable TAIL is one that says nothing: MANIFEST and the batches still do.
        let _ = file.read_at(&mut bytes, 0);
    }
    Ok(Raw { file, bytes })
}

impl Raw {
    /// The slot that is further on.
    pub(super) fn mark(self, store: StoreId) -> Mark {
        let slot = |at: usize| {
            self.bytes
                .get(at..at + SECTOR)
                .and_then(|slot| Tail::decode(store, slot).ok())
        };
        let tail = [slot(0), slot(PAGE)]
            .into_iter()
            .flatten()
            .max_by_key(|tail| {
                (
                    Switch::TailEpoch.number(tail.epoch),
                    Switch::TailNewest.number(tail.written),
                )
            });
        Mark {
            file: self.file,
            tail,
        }
    }
}

impl Mark {
    pub(super) fn file(&self) -> Option<Arc<dyn File>> {
        self.file.clone()
    }

    pub(super) fn epoch(&self) -> u64 {
        self.tail.map_or(0, |tail| tail.epoch)
    }

    pub(super) fn durable(&self) -> u64 {
        self.tail.map_or(0, |tail| tail.durable)
    }

    pub(super) fn written(&self) -> u64 {
        self.tail.map_or(0, |tail| tail.written)
    }

    pub(super) fn next_record(&self) -> u64 {
        self.tail.map_or(0, |tail| tail.next_record)
    }

    /// Where the log ended when it was closed, as a segment's number and an offset. Only where MANIFEST says the same:
    /// it was closed cleanly, by the writer whose last word this is, with nothing left to sync.
    pub(super) fn clean_end(&self, manifest: &Manifest) -> Option<(u64, u64)> {
        let closed = |tail: &Tail| {
            manifest.clean
                && (tail.epoch == manifest.epoch || !Switch::CleanEpoch.on())
                && (tail.durable == manifest.durable_batch || !Switch::CleanDurable.on())
                && tail.written == tail.durable
        };
        self.tail
            .filter(closed)
            .map(|tail| (tail.segment, tail.end))
    }

    /// How many bytes behind `end` of `segment` were written, at most.
    pub(super) fn bytes_behind(&self, segment: u64, end: u64) -> u64 {
        self.tail.map_or(0, |tail| {
            if tail.segment == segment {
                tail.end.saturating_sub(end)
            } else {
                tail.end
            }
        })
    }

    /// How long `segment` must be at least.
    pub(super) fn end_in(&self, segment: u64) -> u64 {
        self.tail
            .filter(|tail| tail.segment == segment && tail.durable == tail.written)
            .map_or(0, |tail| tail.end)
    }
}

/// Copies the `len` bytes behind the active segment's end to quarantine/; the copy is durable after. Returns its name.
pub(super) fn quarantine(storage: &dyn Storage, active: &Active, len: u64) -> Result<String> {
    let (segment, end) = (active.segment.number(), active.end);
    let io = |name: &str| {
        let path = join_path(&storage.describe(), name);
        move |source| Error::io("write", path, source)
    };
    storage
        .create_folder("quarantine")
        .map_err(io("quarantine"))?;
    for attempt in 0..u32::MAX {
        let name = format!("quarantine/{segment:016}-{end}-{attempt}.cut");
        match storage.open(&name, Open::Create) {
            Ok(file) => {
                let copied = copy(&*active.file, end..end + len, &*file);
                copied
                    .and_then(|()| Switch::QuarantineSync.guard(|| file.sync()))
                    .map_err(|source| {
                        let _ = storage.remove(&name);
                        io(&name)(source)
                    })?;
                Switch::QuarantineNameSync
                    .guard(|| storage.sync_dir("quarantine"))
                    .map_err(io("quarantine"))?;
                return Ok(name);
            }
            // Of an opening that was interrupted.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(io(&name)(source)),
        }
    }
    Err(Error::Closed)
}
