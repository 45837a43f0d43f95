//! How a batch gets to the disk, and what happens when it does not.
//!
//! A failed write or sync is final for its segment: what the medium holds of those pages is unknown, and a second
//! sync would report success over lost data. The segment is never written or synced again. SEGMENTS says durably
//! where it ends, the batch goes from memory into a new segment, then it is acknowledged. (Zeroes behind the end are no part of
//! the log: where they cannot be written nothing is unknown.)

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Shared;
use super::ahead::Ahead;
use super::group::Group;
use super::places::room;
use super::position::Position;
use super::segment::Segment;
use super::spare::Pace;
use super::syncing::Syncing;
use super::{join_path, segment_name};
use crate::error::{Error, Result};
use crate::format::batch::Facts;
use crate::format::segment::{Behind, Holds, SegmentHeader};
use crate::format::segments::{Edit, What};
use crate::format::tail::Tail;
use crate::format::{Features, PAGE, batch};
use crate::io::{File, Open};
use crate::options::{Durability, Options};
use crate::switch::Switch;

/// Smallest segment that is made, in bytes, unless the option is smaller. The next one is half the log until the option
/// is reached: their number stays bounded, a small store stays small, and a new one soon gets to a prepared segment.
const SEGMENT_LEN_FIRST: u64 = 1 << 20;

/// The writing end of the log.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) epoch: u64,
    pub(super) nonce: [u8; 16],
    /// Head checksum of the last good batch.
    pub(super) last_crc: u32,
    /// Last batch that is durable, last that is written.
    pub(super) durable: u64,
    pub(super) written: u64,
    pub(super) next_segment: u64,
    pub(super) next_record: u64,
    /// Behind the last batch that was written; `None` while there is none.
    pub(super) position: Option<Position>,
    pub(super) active: Option<Active>,
    /// Why batches that were acknowledged as written can no longer be made durable: their segment failed.
    pub(super) doubtful: Option<Error>,
    /// Segments that ended without a footer, not yet said in SEGMENTS.
    pub(super) ended: Vec<Edit>,
    pub(super) tail: Option<Arc<dyn File>>,
}

/// The segment that batches go to.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) segment: Arc<Segment>,
    /// Its file, which stays open.
    pub(super) file: Arc<dyn File>,
    pub(super) syncing: Arc<Syncing>,
    /// Where the next batch goes.
    pub(super) end: u64,
    /// Length at which it is full.
    pub(super) capacity: u64,
    /// Whether something written is not synced.
    pub(super) unsynced: bool,
    /// Bytes that were written since a sync, about.
    pub(super) unsynced_bytes: u64,
    /// Batches that this process read or wrote there, and their bytes.
    pub(super) batches: u64,
    pub(super) batch_bytes: u64,
    /// Room that the file has ahead of the log.
    pub(super) ahead: Ahead,
    /// Of the filling of the next one; `None` before it begins.
    pub(super) pace: Option<Pace>,
}

impl Active {
    /// Mean length of the batches so far, in bytes.
    pub(super) fn mean_batch(&self) -> u64 {
        self.batch_bytes / self.batches.max(1)
    }

    /// Whether the next segment is near.
    pub(super) fn is_half_full(&self) -> bool {
        self.end > self.capacity / 2
    }
}

impl Writer {
    /// Writes a group as the next batch, as durable as it asks. On an error nothing of it will ever be seen. Removals get
    /// room from the reserve where there is no other.
    pub(super) fn commit(&mut self, shared: &Shared, group: &mut Group) -> Result<()> {
        loop {
            let result = self.commit_here(shared, group);
            let refused = matches!(&result, Err(error) if error.is_retryable());
            let may = refused && group.removes && Switch::ReserveGiven.on();
            if !may || !shared.reserve.give(group.payload_len() as u64) {
                return result;
            }
        }
    }

    /// Writes a group where there is room for it.
    fn commit_here(&mut self, shared: &Shared, group: &mut Group) -> Result<()> {
        let first = match self.try_commit(shared, group) {
            Ok(()) => return Ok(()),
            // Nothing of it was written: what is there stays in use, and there may be room again later.
            Err((error, false)) if error.is_retryable() => return Err(error),
            Err((error, _)) => error,
        };
        let second = match self.try_commit(shared, group) {
            Ok(()) => return Ok(()),
            Err((error, _)) => error,
        };
        Err(if second.is_retryable() { second } else { first })
    }

    /// One try; an error comes with whether the batch may be on the disk in part.
    fn try_commit(&mut self, shared: &Shared, group: &mut Group) -> Result<(), (Error, bool)> {
        self.make_room(shared, group.payload_len(), group.first_record, group.batch)
            .map_err(|error| (error, false))?;
        self.write(shared, group).map_err(|error| {
            if Switch::AbandonWrite.on() {
                self.abandon(shared, &error);
            }
            (error, true)
        })
    }

    /// Makes everything written durable. Once a sync has failed over batches that were acknowledged as written, this
    /// never succeeds again: the sync of another file says nothing about them.
    pub(super) fn sync(&mut self, shared: &Shared) -> Result<()> {
        self.sync_active(shared)?;
        Switch::DoubtTold.guard(|| self.doubtful.clone().map_or(Ok(()), Err))
    }

    fn sync_active(&mut self, shared: &Shared) -> Result<()> {
        let Some(active) = self.active.as_mut().filter(|active| active.unsynced) else {
            return Ok(());
        };
        match active.syncing.sync() {
            Ok(()) => {
                (active.unsynced, active.unsynced_bytes) = (false, 0);
                self.durable = self.written;
                self.tell_witness(shared);
                if Switch::TailOnSync.on() {
                    self.write_tail(shared);
                }
                Ok(())
            }
            Err(error) => {
                if Switch::AbandonSync.on() {
                    self.abandon(shared, &error);
                }
                Err(error)
            }
        }
    }

    /// Where the log's tail begins; all before it is durable.
    pub(super) fn position(&self) -> Option<Position> {
        self.position.map(|position| Position {
            highest_segment: self.next_segment - 1,
            ..position
        })
    }

    /// The active segment takes no more: it failed.
    fn abandon(&mut self, shared: &Shared, why: &Error) {
        if let Some(active) = self.active.take() {
            if Switch::DoubtNoted.on() && active.unsynced && self.doubtful.is_none() {
                self.doubtful = Some(why.clone());
            }
            shared.files.release(active.segment.slot());
            let ended = Edit {
                what: What::Ended,
                end: active.end,
                next_record: self.next_record,
                ..edit_of(&active.segment, What::Ended)
            };
            self.ended.extend(Switch::EndedEdit.some(ended));
        }
    }

    /// An active segment with room for a batch of `payload_len` bytes.
    fn make_room(
        &mut self,
        shared: &Shared,
        payload_len: usize,
        first_record: u64,
        first_batch: u64,
    ) -> Result<()> {
        let (_, len) = batch::lengths(payload_len);
        if let Some(active) = &self.active {
            let empty = active.end == PAGE as u64;
            let fits = empty || active.end + len as u64 <= active.capacity;
            // Numbers that were burned since the last batch there take room in memory: not in this segment.
            let gap = first_record.saturating_sub(active.segment.first_record());
            if fits && gap <= room(active.end) {
                return Ok(());
            }
            // Batches of another segment say that all before them are durable: make it so.
            // Where that fails the segment is given up, which the next one's listing says.
            let _ = Switch::RotationSync.guard(|| self.sync_active(shared));
        }
        self.begin_segment(shared, payload_len, first_record, first_batch)
    }

    /// Makes a segment and moves on to it.
    fn begin_segment(
        &mut self,
        shared: &Shared,
        payload_len: usize,
        first_record: u64,
        first_batch: u64,
    ) -> Result<()> {
        let number = self.next_segment;
        // A number is tried once: a file that failed half-way may still lie there.
        self.next_segment += 1;
        let wanted = segment_len(shared.log_len.load(Ordering::Relaxed), &shared.options);
        let (_, batch_len) = batch::lengths(payload_len);
        let capacity = wanted.max(PAGE as u64 + batch_len as u64);
        let header = self.header(shared, number, first_record, first_batch, Holds::Batches);
        let name = segment_name(number);
        let made = make_file(shared, &name, &header, true);
        let file = made.inspect_err(|_| {
            let _ = shared.storage.remove(&name);
        })?;
        file.expect_len(capacity + (capacity / 8));
        let path = shared.path(&name);
        let segment = Segment::new(header, path, name, Arc::clone(&file), &shared.files);
        let segment = Arc::new(segment);
        let mut edits = self.ended.clone();
        edits.extend(Switch::CreatedEdit.some(edit_of(&segment, What::Created)));
        let (durable, next_record) = (self.durable, self.next_record);
        // With the marks: while the new segment is empty, nothing else says how far the one before it reached.
        let listed = shared.ledger.lock().append(&edits, |manifest| {
            let (durable, next) = (
                Switch::RotationDurable.number(durable),
                Switch::RotationNext.number(next_record),
            );
            manifest.durable_batch = manifest.durable_batch.max(durable);
            manifest.next_record = manifest.next_record.max(next);
        });
        if let Err(error) = listed {
            // The disk may list it all the same, with the numbers from here on: nothing with these goes into another one.
            if Switch::AbandonList.on() {
                self.abandon(shared, &error);
            }
            return Err(error);
        }
        self.ended.clear();
        shared.publish(Arc::clone(&segment));
        let full = self.active.replace(Active {
            syncing: Syncing::new(&segment, &file),
            segment,
            ahead: Ahead::of(&*file),
            file,
            end: PAGE as u64,
            capacity,
            unsynced: false,
            unsynced_bytes: 0,
            batches: 0,
            batch_bytes: 0,
            pace: None,
        });
        if let Some(full) = full {
            full.segment.set_next_record(first_record);
            shared.files.release(full.segment.slot());
            shared.work.seal(full.segment);
        }
        shared.work.prepare_again();
        Ok(())
    }

    pub(super) fn header(
        &self,
        shared: &Shared,
        segment: u64,
        first_record: u64,
        first_batch: u64,
        holds: Holds,
    ) -> SegmentHeader {
        let salt = shared.options.host.unique();
        SegmentHeader {
            store: shared.store,
            segment,
            generation: 0,
            salt: u64::from_le_bytes(salt.first_chunk().copied().unwrap_or_default()),
            first_record,
            first_batch,
            epoch: self.epoch,
            created_ms: shared.options.host.now_ms(),
            holds,
            behind: Behind::Zeroes,
            features: Features::default(),
        }
    }

    /// Writes the group at the end of the active segment, in one call, and syncs as asked.
    fn write(&mut self, shared: &Shared, group: &mut Group) -> Result<()> {
        let Some(active) = self.active.as_mut() else {
            return Err(Error::Closed);
        };
        let facts = Facts {
            batch: group.batch,
            epoch: self.epoch,
            nonce: self.nonce,
            first_record: group.first_record,
            durable: Switch::HeadDurable.number(self.durable),
            commit_ms: shared.options.host.now_ms(),
            count: group.record_count(),
            previous: self.last_crc,
        };
        const ZEROES: [u8; crate::format::SECTOR] = [0; crate::format::SECTOR];
        let (head, len, crc) = group.finish(active.segment.place, active.end, &facts);
        let [records, bodies] = group.payload();
        let pad = len.saturating_sub(head.len() + records.len() + bodies.len());
        let pad = ZEROES.get(..pad).unwrap_or(&ZEROES);
        let durable = group.durability == Durability::Durable;
        // Removals may be written with the last room of a full disk.
        let ahead = shared.options.prepare && durable && !group.removes;
        active.zero_ahead(len as u64, ahead);
        let file = &active.file;
        file.write_at(&[&head, records, bodies, pad], active.end)
            .map_err(active.segment.io("write"))?;
        if durable {
            Switch::CommitSync.guard(|| active.syncing.sync())?;
            let tail = Tail {
                store: shared.store,
                epoch: self.epoch,
                written: group.batch,
                durable: group.batch,
                segment: active.segment.number(),
                end: active.end + len as u64,
                next_record: group.next_number(),
            };
            let told = Switch::TailOnCommit.guard(|| match &self.tail {
                Some(file) => file.write_at(&[&tail.encode()], tail.slot()),
                None => Ok(()),
            });
            if told.is_err() {
                // A file system that goes down while it syncs may say Ok; asked again it says so.
                Switch::SyncAsked.guard(|| active.syncing.sync())?;
            }
            (active.unsynced, active.unsynced_bytes) = (false, 0);
            self.durable = group.batch;
        } else {
            active.unsynced = true;
            active.unsynced_bytes += len as u64;
        }
        active
            .segment
            .extend(group.first_record, group.places(active.end, head.len()));
        self.position = Some(Position {
            segment: active.segment.number(),
            generation: active.segment.header.generation,
            offset: active.end + len as u64,
            last: active.end,
            next_record: group.next_number(),
            batch: group.batch,
            crc,
            highest_segment: 0,
        });
        active.end += len as u64;
        active.segment.set_end(active.end);
        active.batches += 1;
        active.batch_bytes += len as u64;
        self.written = group.batch;
        self.last_crc = crc;
        self.next_record = group.next_number();
        let log_len = shared.log_len.fetch_add(len as u64, Ordering::Relaxed) + len as u64;
        let next_len = segment_len(log_len, &shared.options);
        shared.work.written(active, durable, next_len);
        if durable {
            self.tell_witness(shared);
        }
        // Of batches that were only written, the log thread tells TAIL when there is time.
        if Switch::TailOnCommit.on() && !durable && !shared.options.background {
            self.write_tail(shared);
        }
        Ok(())
    }

    /// Says how far acknowledged batches reach. A hint for recovery: an error here is not an error of the commit.
    pub(super) fn write_tail(&self, shared: &Shared) {
        let (Some(file), Some(active)) = (&self.tail, &self.active) else {
            return;
        };
        let tail = Tail {
            store: shared.store,
            epoch: self.epoch,
            written: self.written,
            durable: self.durable,
            segment: active.segment.number(),
            end: active.end,
            next_record: self.next_record,
        };
        let _ = file.write_at(&[&tail.encode()], tail.slot());
    }
}

/// An edit about `segment`.
pub(super) fn edit_of(segment: &Segment, what: What) -> Edit {
    Edit {
        what,
        segment: segment.number(),
        generation: segment.header.generation,
        first_record: segment.header.first_record,
        first_batch: segment.header.first_batch,
        end: 0,
        next_record: 0,
        salt: segment.header.salt,
    }
}

/// Length of the next segment of a log of `log_len` bytes: half of it, within bounds.
pub(super) fn segment_len(log_len: u64, options: &Options) -> u64 {
    let most = options.segment_len;
    (log_len / 2).clamp(SEGMENT_LEN_FIRST.min(most), most)
}

/// Creates a segment file with its header; file and name are durable after. Takes the prepared spare if there is one.
pub(super) fn make_file(
    shared: &Shared,
    name: &str,
    header: &SegmentHeader,
    spare: bool,
) -> Result<Arc<dyn File>> {
    let storage = &*shared.storage;
    let path = join_path(&storage.describe(), name);
    let io = |op: &'static str| {
        let path = path.clone();
        move |source| Error::io(op, path, source)
    };
    let file = match spare.then(|| shared.work.take_spare()).flatten() {
        Some(spare) => {
            storage.rename(&spare.name, name).map_err(|error| {
                let _ = storage.remove(&spare.name);
                io("create")(error)
            })?;
            spare.file
        }
        None => storage.open(name, Open::Create).map_err(io("create"))?,
    };
    file.write_at(&[&header.encode()], 0).map_err(io("write"))?;
    Switch::SegmentSync
        .guard(|| file.sync())
        .map_err(io("sync"))?;
    Switch::SegmentNameSync
        .guard(|| storage.sync_dir("log"))
        .map_err(io("sync the folder of"))?;
    Ok(file)
}

impl Shared {
    /// Adds a segment to the list that readers use.
    pub(super) fn publish(&self, segment: Arc<Segment>) {
        let mut list = self.segments.write();
        let mut next = Vec::clone(&list);
        let at = next.partition_point(|other| other.first_record() <= segment.first_record());
        next.insert(at, segment);
        *list = Arc::new(next);
    }
}
