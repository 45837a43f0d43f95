//! The end of an opening: what was recovered is made durable, the log is put together, losses are fenced.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use crate::sync::{Condvar, Mutex, RwLock};

use super::list::Listed;
use super::opening::Opening;
use super::report::{Cut, Hole, RecoveryReport};
use super::tail;
use crate::error::{Error, Result};
use crate::format::segments::{Edit, What};
use crate::io::{File, Storage};
use crate::log::ahead::Ahead;
use crate::log::files::Files;
use crate::log::keeper::{Keeper, Work};
use crate::log::ledger::Ledger;
use crate::log::queue::Queue;
use crate::log::reserve::Reserve;
use crate::log::writer::{Active, Writer, edit_of, segment_len};
use crate::log::{Log, Shared};
use crate::options::Options;
use crate::switch::Switch;
use crate::witness::Witness;

/// What an open log is put together from.
pub(super) struct Parts {
    pub(super) storage: Arc<dyn Storage>,
    pub(super) options: Options,
    pub(super) lock: Option<Box<dyn Send + Sync>>,
    pub(super) ledger: Ledger,
    pub(super) tail: tail::Mark,
    pub(super) ended: Vec<Edit>,
    pub(super) listed: Vec<Listed>,
    /// Bytes of all segments that are there.
    pub(super) log_len: u64,
    pub(super) leftovers: Vec<String>,
    pub(super) files: Arc<Files>,
    pub(super) active: Option<Active>,
    pub(super) witness: Witness,
}

impl Opening<'_> {
    /// Cuts a torn tail (into quarantine first), then syncs what was recovered: once shown, it must not vanish. What may
    /// not be durable is written again first: where a sync of an earlier process failed, the system may show from memory
    /// what the medium does not hold, take it for written, and sync nothing.
    ///
    /// Where there is no room for the cut bytes in quarantine they stay: the segment ends in front of them, as one does whose
    /// write has failed, and writing goes on in another.
    pub(super) fn make_durable(
        &mut self,
        active: &mut Option<Active>,
        ended: &mut Vec<Edit>,
    ) -> Result<()> {
        // The names too: what created the store may have been killed before it synced them.
        let folders = [
            ("", Switch::RecoveryNamesSync),
            ("log", Switch::RecoveryLogSync),
        ];
        for (folder, switch) in folders {
            let synced = switch.guard(|| self.storage.sync_dir(folder));
            synced
                .map_err(|source| Error::io("sync the folder", self.storage.describe(), source))?;
        }
        let Some(open) = active.as_mut() else {
            return Ok(());
        };
        let full = match &mut self.report.cut {
            Some(cut) => !cut_off(self.storage, open, cut)?,
            None => false,
        };
        if let Some(from) = self.unsure {
            rewrite(&*open.file, from..open.end).map_err(open.segment.io("write"))?;
        }
        Switch::RecoverySync
            .guard(|| open.file.sync())
            .map_err(open.segment.io("sync"))?;
        if full {
            ended.push(Edit {
                end: open.end,
                next_record: self.next_record,
                ..edit_of(&open.segment, What::Ended)
            });
            *active = None;
        }
        Ok(())
    }

    /// Puts the log together, and fences what was lost.
    pub(super) fn finish(mut self, parts: Parts) -> Result<(Log, RecoveryReport)> {
        let Parts {
            storage,
            options,
            lock,
            ledger,
            tail,
            ended,
            listed,
            log_len,
            leftovers,
            files,
            mut active,
            witness,
        } = parts;
        let manifest = &ledger.manifest;
        let next_batch = self
            .last_batch
            .max(Switch::BatchBehindTail.number(tail.written()))
            .max(Switch::BatchBehindManifest.number(manifest.durable_batch))
            + 1;
        let next_segment = self.highest_segment + 1;
        // Segments of large bodies count too.
        if let Some(active) = &mut active {
            active.capacity = active.capacity.max(segment_len(log_len, &options));
            files.pin(active.segment.slot());
            active.file.expect_len(active.capacity);
        }
        let writer = Writer {
            epoch: manifest.epoch,
            nonce: manifest.nonce,
            last_crc: self.last_crc,
            // What was read was synced. Not `next_batch - 1`: a power cut may have taken batches that were only
            // written and that TAIL still counts; D must never take them for acknowledged.
            durable: self.last_batch.max(self.durable),
            written: self.last_batch.max(self.durable),
            doubtful: None,
            next_segment,
            next_record: self.next_record,
            position: self.position,
            active,
            ended,
            tail: tail.file(),
        };
        let segments: Vec<_> = listed
            .iter()
            .map(|listed| Arc::clone(&listed.segment))
            .collect();
        let read_only = options.read_only;
        let background = options.background && !read_only;
        let reserve = if read_only { 0 } else { options.reserve };
        let reserve = Reserve::open(&*storage, reserve);
        let shared = Arc::new(Shared {
            storage,
            store: manifest.store,
            queue: Mutex::new(Queue::new(next_batch, self.next_record)),
            finished: Condvar::new(),
            done: AtomicU64::new(next_batch - 1),
            failed: AtomicU64::new(0),
            writer: Mutex::new(writer),
            ledger: Mutex::new(ledger),
            segments: RwLock::new(Arc::new(segments)),
            files,
            replayed_from: self.start.next_record,
            fitted: self.start.position.is_some(),
            bad_footers: AtomicU64::new(self.report.bad_footers.len() as u64),
            large: Mutex::new(Vec::new()),
            work: Work::new(options.prepare, leftovers),
            reserve,
            log_len: AtomicU64::new(log_len),
            witness: Mutex::new(witness),
            read_only: AtomicBool::new(read_only),
            options,
            lock: Mutex::new(Some(Arc::new(lock))),
        });
        if !read_only {
            let full = listed.len().saturating_sub(1);
            for listed in listed.iter().take(full) {
                if !listed.is_finished() {
                    shared.work.seal(Arc::clone(&listed.segment));
                }
            }
            for listed in listed
                .iter()
                .filter(|listed| listed.segment.take_bad_footer())
            {
                shared.work.heal(Arc::clone(&listed.segment));
            }
        }
        let keeper = if background {
            Some(Keeper::start(&shared)?)
        } else {
            shared.remove_leftovers();
            None
        };
        let log = Log {
            shared,
            keeper: Mutex::new(keeper),
        };
        if !read_only {
            self.fence(&log)?;
        }
        Ok((log, self.report))
    }

    /// Logs a fence for each loss that none covers yet.
    fn fence(&mut self, log: &Log) -> Result<()> {
        let holes = self.report.holes.iter().filter(|_| Switch::HoleFenced.on());
        let room = |hole: &Hole| {
            Switch::HoleRoom
                .some(hole.room)
                .unwrap_or(hole.to - hole.from)
        };
        let holes = holes.map(|hole| (hole.first_lost, hole.last_lost, room(hole)));
        let unsynced = self
            .report
            .unsynced
            .iter()
            .filter(|_| Switch::UnsyncedFenced.on());
        let unsynced = unsynced.map(|lost| (lost.first_lost, lost.last_lost, lost.bytes));
        let losses: Vec<(u64, u64, u64)> = holes.chain(unsynced).collect();
        for (first_lost, last_lost, bytes) in losses {
            let covered = self
                .fenced
                .iter()
                .any(|(first, last)| *first <= first_lost && last_lost <= *last);
            if (covered && Switch::FencedOnce.on()) || last_lost < first_lost {
                continue;
            }
            let fenced = log.fence(first_lost, last_lost, bytes)?;
            self.replay.replay(&fenced.0, &fenced.1);
            self.fenced.push((first_lost, last_lost));
        }
        Ok(())
    }
}

/// Cuts a torn tail off, once it is in quarantine; false where that has no room.
fn cut_off(storage: &dyn Storage, active: &mut Active, cut: &mut Cut) -> Result<bool> {
    if Switch::Quarantine.on() {
        match tail::quarantine(storage, active, cut.len) {
            Err(error) if error.is_retryable() => return Ok(false),
            kept => cut.quarantine = Some(kept?),
        }
    }
    let cut = active.file.set_len(active.end);
    cut.map_err(active.segment.io("cut"))?;
    active.ahead = Ahead::of(&*active.file);
    Ok(true)
}

/// Writes what is there again.
fn rewrite(file: &dyn File, range: Range<u64>) -> std::io::Result<()> {
    const PIECE: u64 = 1 << 20;
    let mut at = range.start;
    while at < range.end {
        let mut piece = vec![0; (range.end - at).min(PIECE) as usize];
        let read = file.read_at(&mut piece, at)?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let found = piece.get(..read).unwrap_or_default();
        file.write_at(&[found], at)?;
        at += read as u64;
    }
    Ok(())
}
