//! Work off the commit path: sealing full segments, preparing the next one, syncing TAIL when idle, and writing
//! batches that are awaited rather than waited for.
//!
//! Two threads, `mailkeep-log` and `mailkeep-commit`; without them (`Options::background(false)`) the same work is
//! done inline by whoever waits for a commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::Shared;
use super::scan::{Scanner, digest};
use super::segment::Segment;
use super::writer::{Active, edit_of};
use crate::error::{Error, Result};
use crate::format::footer::{self, Sealing, Trailer};
use crate::format::segments::What;
use crate::format::{PAGE, padded};
use crate::io::{File, Open};
use crate::mail::Digest;

/// What the names of prepared files begin with.
pub(super) const SPARE: &str = "log/spare";

/// A file of zeroes, durable as such, of which the next segment is made. Its name is its own: whoever took it can
/// rename it whatever the thread that makes spares does meanwhile.
#[derive(Debug)]
pub(super) struct Spare {
    pub(super) name: String,
    pub(super) file: Arc<dyn File>,
}

/// Commits larger than this on average are bulk: writing each byte twice would cost more than it gains.
const PREPARE_BELOW: u64 = 64 << 10;

/// TAIL is synced when nothing was committed for this long; while batches are only written, about this often.
const IDLE: Duration = Duration::from_millis(100);

/// What is to be done.
#[derive(Debug, Default)]
pub(super) struct Work {
    state: Mutex<State>,
    wake: Condvar,
    /// Commits so far, to see idleness; and whether TAIL has news.
    commits: AtomicU64,
    tail_dirty: AtomicBool,
    /// Whether segments are prepared at all, and whether this one has not asked for the next yet.
    prepares: bool,
    prepare: AtomicBool,
    leader_wanted: Mutex<bool>,
    lead: Condvar,
}

#[derive(Debug, Default)]
struct State {
    seal: Vec<(Arc<Segment>, u64)>,
    /// Length of the spare to make.
    spare_wanted: Option<u64>,
    spare: Option<Spare>,
    /// How many were made, to name the next.
    spares: u64,
    stop: bool,
}

/// The two threads.
#[derive(Debug)]
pub(super) struct Keeper {
    threads: Vec<JoinHandle<()>>,
}

impl Work {
    pub(super) fn new(prepare: bool) -> Self {
        Self {
            prepares: prepare,
            prepare: AtomicBool::new(prepare),
            ..Self::default()
        }
    }

    /// A segment is full: it wants its footer.
    pub(super) fn seal(&self, segment: Arc<Segment>, end: u64) {
        self.state.lock().seal.push((segment, end));
        self.wake.notify_all();
    }

    /// A batch was written. Asks for a spare of `spare_len` bytes when the segment is half full of small durable
    /// batches: what is not synced gains nothing by it.
    pub(super) fn written(&self, active: &Active, durable: bool, spare_len: u64) {
        self.commits.fetch_add(1, Ordering::Relaxed);
        let news = !self.tail_dirty.swap(true, Ordering::Relaxed);
        let half = durable
            && self.prepare.load(Ordering::Relaxed)
            && active.end * 2 > active.capacity
            && active.mean_batch() < PREPARE_BELOW;
        if half {
            // Asked once a segment: `reset_spare` arms it again.
            self.prepare.store(false, Ordering::Relaxed);
        }
        if news || half {
            // Under the lock, or the thread could look, see nothing and go to sleep just after.
            let mut state = self.state.lock();
            if half {
                state.spare_wanted = Some(spare_len);
            }
            self.wake.notify_all();
        }
    }

    pub(super) fn take_spare(&self) -> Option<Spare> {
        self.state.lock().spare.take()
    }

    /// A segment was begun: the next half-full one may ask for a spare again.
    pub(super) fn reset_spare(&self) {
        self.prepare.store(self.prepares, Ordering::Relaxed);
    }
}

impl Keeper {
    pub(super) fn start(shared: &Arc<Shared>) -> Result<Self> {
        let spawn = |name: &str, run: fn(&Shared)| {
            let shared = Arc::clone(shared);
            let thread = std::thread::Builder::new()
                .name(name.into())
                .spawn(move || run(&shared));
            thread.map_err(|source| Error::io("start a thread for", shared_path(), source))
        };
        let threads = vec![
            spawn("mailkeep-log", Shared::keep)?,
            spawn("mailkeep-commit", Shared::lead_when_asked)?,
        ];
        Ok(Self { threads })
    }

    pub(super) fn stop(self, shared: &Shared) {
        shared.work.state.lock().stop = true;
        shared.work.wake.notify_all();
        *shared.work.leader_wanted.lock() = true;
        shared.work.lead.notify_all();
        let this = std::thread::current().id();
        for thread in self.threads {
            // The last handle may be dropped by a waker that the commit thread itself calls.
            if thread.thread().id() != this {
                let _ = thread.join();
            }
        }
    }
}

fn shared_path() -> String {
    "the store".into()
}

impl Shared {
    /// Has the commit thread write what waits; false when there is none.
    pub(super) fn ask_for_leader(&self) -> bool {
        if self.options.background {
            *self.work.leader_wanted.lock() = true;
            self.work.lead.notify_one();
        }
        self.options.background
    }

    fn lead_when_asked(&self) {
        loop {
            let mut wanted = self.work.leader_wanted.lock();
            while !*wanted {
                self.work.lead.wait(&mut wanted);
            }
            *wanted = false;
            drop(wanted);
            if self.work.state.lock().stop {
                return;
            }
            // Errors reach those who wait for the batch.
            let _ = self.flush();
        }
    }

    /// The log thread.
    fn keep(&self) {
        let mut seen = 0;
        loop {
            self.work_now();
            let mut state = self.work.state.lock();
            if state.stop {
                return;
            }
            if !state.seal.is_empty() || state.spare_wanted.is_some() {
                continue;
            }
            if self.work.tail_dirty.load(Ordering::Relaxed) {
                let timed_out = self.work.wake.wait_for(&mut state, IDLE).timed_out();
                drop(state);
                let now = self.work.commits.load(Ordering::Relaxed);
                // Of batches that were only written nothing else tells after a power cut: TAIL goes to the medium
                // even when there is no rest.
                if timed_out && (now == seen || self.has_unsynced()) {
                    self.sync_tail();
                }
                seen = now;
            } else {
                self.work.wake.wait(&mut state);
            }
        }
    }

    /// Does what is to be done, inline, where there are no threads.
    pub(super) fn work_inline(&self) {
        if !self.options.background {
            self.work_now();
        }
    }

    fn work_now(&self) {
        loop {
            let mut state = self.work.state.lock();
            let spare = state.spare_wanted.take();
            let seal = state.seal.pop();
            drop(state);
            if let Some(len) = spare {
                self.make_spare(len);
            }
            match seal {
                Some((segment, end)) => self.seal_or_leave(&segment, end),
                None if spare.is_none() => return,
                None => {}
            }
        }
    }

    /// Makes a spare, unless one is ready. None is no error: the next segment grows instead.
    fn make_spare(&self, len: u64) {
        let name = {
            let mut state = self.work.state.lock();
            if state.spare.is_some() {
                return;
            }
            state.spares += 1;
            format!("{SPARE}-{}", state.spares)
        };
        match self.fill_spare(&name, len) {
            Ok(file) => self.work.state.lock().spare = Some(Spare { name, file }),
            Err(_) => {
                let _ = self.storage.remove(&name);
            }
        }
    }

    fn fill_spare(&self, name: &str, len: u64) -> std::io::Result<Arc<dyn File>> {
        let file = self.storage.open(name, Open::Create)?;
        fill_from(&*file, 0, len)?;
        file.sync()?;
        Ok(file)
    }

    /// Whether batches were written and not synced. Waits for one that is being written.
    fn has_unsynced(&self) -> bool {
        let writer = self.writer.lock();
        writer.written > writer.durable
    }

    /// Removes a spare that was not needed: the next opening would, and a closed store should not keep the space.
    pub(super) fn drop_spare(&self) {
        if let Some(spare) = self.work.take_spare() {
            let _ = self.storage.remove(&spare.name);
        }
    }

    fn sync_tail(&self) {
        self.work.tail_dirty.store(false, Ordering::Relaxed);
        let tail = {
            let writer = self.writer.lock();
            writer.write_tail(self);
            writer.tail.clone()
        };
        if let Some(tail) = tail {
            let _ = tail.sync();
        }
    }

    /// Seals a segment. On an error it stays as it is: readable, scanned at the next opening, which tries again.
    fn seal_or_leave(&self, segment: &Arc<Segment>, end: u64) {
        if let Ok(Some(trailer)) = self.seal(segment, end) {
            segment.set_sealed(trailer);
        }
    }

    fn seal(&self, segment: &Segment, end: u64) -> Result<Option<Trailer>> {
        if self.read_only.load(Ordering::Relaxed) || self.queue.lock().stopped().is_some() {
            return Ok(None);
        }
        let footer_at = padded(usize::try_from(end).unwrap_or(usize::MAX), PAGE) as u64;
        let mut scanner = Scanner::new(&*segment.file, segment.place, end);
        let survey = scanner.survey();
        let mut owners = Vec::new();
        for found in &survey.batches {
            for piece in scanner.records(found).0 {
                let header = piece.frame.header;
                let index = header.number.saturating_sub(segment.first_record());
                owners.push((header.account, u32::try_from(index).unwrap_or(u32::MAX)));
            }
        }
        owners.sort_unstable();
        let digest = digest_padded(segment, end, footer_at)?;
        let last = survey.batches.last();
        let places = segment.places();
        let sealing = Sealing {
            store: self.store,
            segment: segment.number(),
            generation: segment.header.generation,
            first_record: segment.first_record(),
            first_batch: segment.header.first_batch,
            last_batch: last.map_or(segment.header.first_batch.saturating_sub(1), |found| {
                found.head.batch
            }),
            last_crc: last.map_or(0, |found| found.head.crc()),
            footer_at,
            digest,
            records: &places,
            owners: &owners,
        };
        let bytes = footer::encode(segment.place, &sealing);
        self.write_footer(segment, footer_at, &bytes)?;
        let page = bytes.get(bytes.len() - PAGE..).unwrap_or_default();
        let trailer = Trailer::decode(page).map_err(|fault| segment.fault(footer_at, fault))?;
        let next_record = segment.first_record() + places.len() as u64;
        let edit = crate::format::segments::Edit {
            end: footer_at,
            next_record,
            ..edit_of(segment, What::Sealed)
        };
        self.ledger.lock().append(&[edit], |_| {})?;
        self.log_len
            .fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(Some(trailer))
    }

    fn write_footer(&self, segment: &Segment, footer_at: u64, bytes: &[u8]) -> Result<()> {
        let file = &segment.file;
        file.write_at(&[bytes], footer_at)
            .map_err(segment.io("write"))?;
        file.set_len(footer_at + bytes.len() as u64)
            .map_err(segment.io("cut"))?;
        file.sync().map_err(segment.io("sync"))
    }
}

/// BLAKE3 of the file up to `footer_at`, with zeroes from `end` on.
fn digest_padded(segment: &Segment, end: u64, footer_at: u64) -> Result<Digest> {
    let file = &*segment.file;
    fill_from(file, end, footer_at - end).map_err(segment.io("write"))?;
    let hash = digest(file, footer_at).map_err(segment.io("read"))?;
    Ok(Digest::from_bytes(*hash.as_bytes()))
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
