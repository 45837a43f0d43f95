//! Opening: what is kept, cut, given up or refused is decided by a table, and reported.
//!
//! D is the highest batch known to have been durable: MANIFEST, TAIL and every batch head say one, the largest counts.
//! Up to D everything was acknowledged: what is missing there is damage. Beyond D nothing was acknowledged as durable:
//! what is not whole there is a torn tail. Only a torn tail is ever cut, and the bytes go to quarantine/ first.
//!
//! Recovery decides before it writes, and each thing that it writes may be interrupted and done again.

mod list;
mod report;
mod tail;

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use parking_lot::{Condvar, Mutex, RwLock};

pub(super) use tail::TAIL;

pub use report::{Cut, Hole, LostMessage, RecoveryReport};

use super::keeper::{Keeper, Work};
use super::ledger::Ledger;
use super::queue::Queue;
use super::scan::{Found, Looks, Scanner, Survey, search_bodies, search_records};
use super::segment::Segment;
use super::writer::{Active, Writer, segment_len};
use super::{Log, Shared};
use crate::error::{Error, Result};
use crate::format::PAGE;
use crate::format::change::{BodyAt, Change, Fence};
use crate::format::footer::RecordAt;
use crate::format::record::{Class, Frame, RecordHeader};
use crate::format::segments::{Edit, What};
use crate::io::{Open, Storage};
use crate::mail::AccountId;
use crate::options::{Durability, Options};
use list::Listed;

/// What the folds of the accounts are built from: every record, in order of its number.
pub(crate) trait Replay {
    fn replay(&mut self, header: &RecordHeader, change: &Change);
}

/// What to do where the log does not go on as it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The log ends here.
    End,
    /// A torn tail: what is from here on goes to quarantine and is cut off.
    Cut,
    /// Damage: kept where it is, reported, fenced.
    Hole,
}

/// One row of the decision table; `None` matches anything.
struct Decision {
    /// Whether the log is known to go on behind this place: the segment was sealed, ended or followed by another.
    inside: Option<bool>,
    /// Whether a batch that was acknowledged as durable is missing here.
    acknowledged: Option<bool>,
    looks: Option<Looks>,
    verdict: Verdict,
}

/// The table, read from the top. FORMAT.md section 13.
const DECISIONS: [Decision; 6] = [
    Decision {
        inside: Some(true),
        acknowledged: None,
        looks: None,
        verdict: Verdict::Hole,
    },
    Decision {
        inside: None,
        acknowledged: Some(true),
        looks: None,
        verdict: Verdict::Hole,
    },
    Decision {
        inside: None,
        acknowledged: None,
        looks: Some(Looks::Empty),
        verdict: Verdict::End,
    },
    Decision {
        inside: None,
        acknowledged: None,
        looks: Some(Looks::Torn),
        verdict: Verdict::Cut,
    },
    // Written whole and then changed: no power cut does that. Perhaps acknowledged just before TAIL was synced.
    Decision {
        inside: None,
        acknowledged: None,
        looks: Some(Looks::Altered),
        verdict: Verdict::Hole,
    },
    Decision {
        inside: None,
        acknowledged: None,
        looks: None,
        verdict: Verdict::Hole,
    },
];

pub(super) fn decide(inside: bool, acknowledged: bool, looks: Looks) -> Verdict {
    let fits = |row: &&Decision| {
        row.inside.is_none_or(|value| value == inside)
            && row.acknowledged.is_none_or(|value| value == acknowledged)
            && row.looks.is_none_or(|value| value == looks)
    };
    DECISIONS
        .iter()
        .find(fits)
        .map_or(Verdict::Hole, |row| row.verdict)
}

/// The state of an opening.
struct Opening<'a> {
    storage: &'a dyn Storage,
    replay: &'a mut dyn Replay,
    report: RecoveryReport,
    /// Number that the next record should have, and head checksum of the last batch.
    next_record: u64,
    /// The highest next number that MANIFEST and TAIL know.
    marked: u64,
    last_batch: u64,
    last_crc: u32,
    /// D.
    durable: u64,
    /// Lost numbers that a fence already covers.
    fenced: Vec<(u64, u64)>,
    /// Segments of large bodies that a record names.
    large: HashSet<u64>,
    /// A record kind of a newer build that allows reading only.
    newer: Option<u8>,
    highest_segment: u64,
    /// Where the batches of each segment end.
    ends: Vec<u64>,
    /// Read-only: the last batch that is shown. A live writer may be further on.
    show: Option<u64>,
}

impl Log {
    /// Opens the log of a store that exists; `replay` gets every record.
    pub(crate) fn open(
        storage: Arc<dyn Storage>,
        options: Options,
        lock: Option<Box<dyn Send + Sync>>,
        replay: &mut dyn Replay,
    ) -> Result<(Self, RecoveryReport)> {
        let how = if options.read_only {
            Open::Read
        } else {
            Open::Write
        };
        let raw_tail = tail::read(&*storage, how)?;
        let (mut ledger, edits) = Ledger::open(&*storage, how)?;
        let tail = raw_tail.mark(ledger.manifest.store);
        let mut listed = list::segments(&*storage, &ledger, edits, how)?;
        let mut opening = Opening::new(&*storage, replay, &ledger, &tail, options.read_only);
        opening.note(&mut listed);
        opening.check_complete(&ledger, &tail, &listed.segments, &options)?;
        opening.find_durable(&listed.segments);
        let mut ended = Vec::new();
        let active = opening.read_all(&listed.segments, &tail, &mut ended)?;
        if let (Some(kind), false) = (opening.newer, options.read_only) {
            return Err(Error::fault(
                storage.describe(),
                0,
                crate::format::Fault::Kind { kind },
            ));
        }
        opening.next_record = opening.next_record.max(opening.marked);
        if !options.read_only {
            opening.make_durable(active.as_ref())?;
            let (nonce, epoch) = (options.host.unique(), tail.epoch());
            ledger.update(|manifest| {
                manifest.epoch = manifest.epoch.max(epoch) + 1;
                manifest.nonce = nonce;
                manifest.clean = false;
            })?;
            if opening.is_sure() {
                list::drop_orphans(&*storage, &mut ledger, &listed.large, &opening.large)?;
            }
        }
        let parts = Parts {
            storage: Arc::clone(&storage),
            options,
            lock,
            ledger,
            tail,
            ended,
            listed: listed.segments,
            active,
        };
        opening.finish(parts)
    }
}

/// What an open log is put together from.
struct Parts {
    storage: Arc<dyn Storage>,
    options: Options,
    lock: Option<Box<dyn Send + Sync>>,
    ledger: Ledger,
    tail: tail::Mark,
    ended: Vec<Edit>,
    listed: Vec<Listed>,
    active: Option<Active>,
}

impl<'a> Opening<'a> {
    fn new(
        storage: &'a dyn Storage,
        replay: &'a mut dyn Replay,
        ledger: &Ledger,
        tail: &tail::Mark,
        read_only: bool,
    ) -> Self {
        Self {
            storage,
            replay,
            report: RecoveryReport {
                clean: ledger.manifest.clean,
                ..RecoveryReport::default()
            },
            next_record: 1,
            marked: tail.next_record().max(ledger.manifest.next_record),
            last_batch: 0,
            last_crc: 0,
            durable: ledger.manifest.durable_batch.max(tail.durable()),
            fenced: Vec::new(),
            large: HashSet::new(),
            newer: None,
            highest_segment: 0,
            ends: Vec::new(),
            show: read_only.then(|| ledger.manifest.durable_batch.max(tail.written())),
        }
    }

    /// Refuses a store of which files are missing, or that is older than its own marks, unless the loss is accepted.
    fn check_complete(
        &mut self,
        ledger: &Ledger,
        tail: &tail::Mark,
        segments: &[Listed],
        options: &Options,
    ) -> Result<()> {
        let volume = self.storage.describe();
        if tail.epoch() > ledger.manifest.epoch && !ledger.doubt {
            let what = format!(
                "MANIFEST is of epoch {}, TAIL of {}",
                ledger.manifest.epoch,
                tail.epoch()
            );
            self.report.missing.push(what);
        }
        for listed in segments {
            let len = listed
                .segment
                .file
                .len()
                .map_err(listed.segment.io("read"))?;
            let needed = listed.needed_len(tail);
            if len < needed {
                let what = format!(
                    "{} has {len} bytes, {needed} are needed",
                    listed.segment.path()
                );
                self.report.missing.push(what);
            }
        }
        match self.report.missing.first() {
            Some(what) if !options.read_only && !options.accept_loss => Err(Error::Incomplete {
                path: volume,
                what: what.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// D also from the heads of all batches: each says what was durable when it was written.
    fn find_durable(&mut self, segments: &[Listed]) {
        let mut later = segments.iter().rev();
        // A segment is begun only when all before it is durable: only the last one can have an uncertain end. Its
        // header's first batch says nothing of D: numbers before it may have been burned by batches that failed.
        let Some(last) = later.next() else { return };
        let survey = last.scanner().survey();
        let said = survey.batches.iter().map(|found| found.head.durable).max();
        self.durable = self.durable.max(said.unwrap_or(0));
    }

    /// Reads all segments in order; returns the one to go on with.
    fn read_all(
        &mut self,
        segments: &[Listed],
        tail: &tail::Mark,
        ended: &mut Vec<Edit>,
    ) -> Result<Option<Active>> {
        let mut active = None;
        for (at, listed) in segments.iter().enumerate() {
            self.report.segments += 1;
            let later = segments.get(at + 1..).unwrap_or_default();
            let mut scanner = listed.scanner();
            let mut survey = scanner.survey();
            let inside = !later.is_empty() || listed.is_finished();
            let rest = self.judge(&mut scanner, &mut survey, inside);
            self.ends.push(survey.end);
            listed.segment.set_end(survey.end);
            let mut places = Vec::new();
            self.read_segment(listed, &mut scanner, &survey, &mut places)?;
            self.check_chain(listed, &mut scanner, survey.end, &mut places, later, rest)?;
            listed.segment.set_places(places);
            self.report.unreadable += scanner.unreadable.len() as u64;
            if listed.is_sealed() {
                listed.load_footer(&mut self.report);
            } else if !inside {
                active = self.end_of_log(listed, &survey, rest, &mut scanner, ended);
            }
        }
        if active.is_none() && tail.next_record() > self.next_record {
            // The segment that TAIL speaks of is not there at all.
            let path = self.storage.describe();
            self.lose(&path, 0..0, self.next_record..tail.next_record(), &[]);
        }
        Ok(active)
    }

    /// Judges gaps and the bytes behind the last batch. A torn tail is taken off the survey and noted; returns the
    /// verdict for what is behind the survey's end.
    fn judge(&self, scanner: &mut Scanner<'_>, survey: &mut Survey, inside: bool) -> Verdict {
        let unsure = |found: &&Found| found.head.batch > self.durable;
        let torn_batch = survey.batches.iter().filter(unsure).find(|found| {
            !inside
                && scanner
                    .batch_looks(found)
                    .is_some_and(|looks| decide(inside, false, looks) == Verdict::Cut)
        });
        let torn_gap = survey.gaps.iter().find(|gap| {
            let before = survey
                .batches
                .iter()
                .rfind(|found| found.offset < gap.start);
            let acknowledged =
                before.map_or(self.last_batch, |found| found.head.batch) < self.durable;
            // Batches behind an empty place: it was not whole, only its first sectors are not there.
            let looks = match scanner.looks(gap.start) {
                Looks::Empty => Looks::Torn,
                looks => looks,
            };
            decide(inside, acknowledged, looks) == Verdict::Cut
        });
        let cut = [
            torn_batch.map(|found| found.offset),
            torn_gap.map(|gap| gap.start),
        ]
        .into_iter()
        .flatten()
        .min();
        if let Some(show) = self.show.filter(|_| !inside) {
            // What a live writer is at is none of a reader's business.
            let end = survey
                .batches
                .iter()
                .find(|found| found.head.batch > show)
                .map(|found| found.offset);
            if let Some(end) = end.into_iter().chain(cut).min() {
                survey.batches.retain(|found| found.offset < end);
                survey.gaps.retain(|gap| gap.start < end);
                survey.end = end;
                return Verdict::End;
            }
        }
        if let Some(cut) = cut {
            survey.batches.retain(|found| found.offset < cut);
            survey.gaps.retain(|gap| gap.start < cut);
            survey.end = cut;
            return Verdict::Cut;
        }
        let last = survey
            .batches
            .last()
            .map_or(self.last_batch, |found| found.head.batch);
        let looks = scanner.looks(survey.end);
        if inside && looks == Looks::Empty {
            Verdict::End
        } else {
            decide(inside, last < self.durable, looks)
        }
    }

    /// Replays what is there, in order, and notes what is not.
    fn read_segment(
        &mut self,
        listed: &Listed,
        scanner: &mut Scanner<'_>,
        survey: &Survey,
        places: &mut Vec<RecordAt>,
    ) -> Result<()> {
        let mut gaps = survey.gaps.iter().peekable();
        for found in &survey.batches {
            while let Some(gap) = gaps.next_if(|gap| gap.start < found.offset) {
                self.read_gap(
                    listed,
                    scanner,
                    gap.clone(),
                    found.head.first_record,
                    places,
                )?;
            }
            self.read_batch(listed, scanner, found, places)?;
        }
        Ok(())
    }

    fn read_batch(
        &mut self,
        listed: &Listed,
        scanner: &mut Scanner<'_>,
        found: &Found,
        places: &mut Vec<RecordAt>,
    ) -> Result<()> {
        let first = listed.segment.first_record();
        let numbers =
            found.head.first_record..found.head.first_record + u64::from(found.head.count);
        if self.last_crc != found.head.previous && numbers.start > self.next_record {
            self.lose(
                listed.segment.path(),
                found.offset..found.offset,
                self.next_record..numbers.start,
                &[],
            );
        }
        let records_at = found.offset + found.head.head_len() as u64;
        let bodies_at = found.offset + found.head.bodies_at() as u64;
        let (pieces, complete) = scanner.records(found);
        let mut here = HashSet::new();
        for piece in &pieces {
            let change = self.feed(&listed.segment, records_at + piece.at as u64, &piece.frame)?;
            let body = match &change {
                Some(Change::Deliver(deliver)) => match deliver.body {
                    BodyAt::Here(at) => bodies_at + u64::from(at),
                    _ => 0,
                },
                _ => 0,
            };
            put(
                places,
                first,
                piece.frame.header.number,
                records_at + piece.at as u64,
                body,
            );
            here.insert(piece.frame.header.number);
        }
        if !complete {
            let missing: Vec<u64> = numbers
                .clone()
                .filter(|number| !here.contains(number))
                .collect();
            let end = found.offset + u64::from(found.head.len);
            let bytes = scanner.get(bodies_at, usize::try_from(end - bodies_at).unwrap_or(0));
            let bodies = search_bodies(listed.segment.place, bytes, &numbers);
            self.lose_some(listed, found.offset..end, &missing, &bodies);
        }
        self.report.batches += 1;
        self.last_batch = self.last_batch.max(found.head.batch);
        self.last_crc = found.head.crc();
        self.next_record = self.next_record.max(numbers.end);
        Ok(())
    }

    /// A range where no batch begins: records and bodies are looked for one by one.
    fn read_gap(
        &mut self,
        listed: &Listed,
        scanner: &mut Scanner<'_>,
        gap: Range<u64>,
        before: u64,
        places: &mut Vec<RecordAt>,
    ) -> Result<()> {
        let first = listed.segment.first_record();
        let numbers = self.next_record..before;
        let len = usize::try_from(gap.end - gap.start).unwrap_or(usize::MAX);
        let bytes = scanner.get(gap.start, len).to_vec();
        let place = listed.segment.place;
        let mut pieces = search_records(place, &bytes, &numbers);
        pieces.sort_by_key(|piece| piece.frame.header.number);
        let bodies = search_bodies(place, &bytes, &numbers);
        let mut here = HashSet::new();
        for piece in &pieces {
            let number = piece.frame.header.number;
            let at = gap.start + piece.at as u64;
            self.feed(&listed.segment, at, &piece.frame)?;
            let body = bodies.iter().find(|(_, body)| body.number == number);
            put(
                places,
                first,
                number,
                at,
                body.map_or(0, |(at, _)| gap.start + *at as u64),
            );
            here.insert(number);
        }
        let missing: Vec<u64> = numbers.filter(|number| !here.contains(number)).collect();
        self.lose_some(listed, gap, &missing, &bodies);
        self.next_record = self.next_record.max(before);
        Ok(())
    }

    /// Hands a record to the folds.
    fn feed(&mut self, segment: &Segment, at: u64, frame: &Frame<'_>) -> Result<Option<Change>> {
        self.report.records += 1;
        let change = match frame.change() {
            Ok(change) => change,
            Err(fault) if fault.is_newer() => match frame.class {
                Class::Ignorable => return Ok(None),
                Class::ReadOnlySafe => {
                    self.newer = Some(frame.kind);
                    return Ok(None);
                }
                Class::MustKnow => return Err(segment.fault(at, fault)),
            },
            Err(fault) => return Err(segment.fault(at, fault)),
        };
        match &change {
            Change::Fence(fence) => self.fenced.push((fence.first_lost, fence.last_lost)),
            Change::Deliver(deliver) => {
                if let BodyAt::Segment(number) = deliver.body {
                    self.large.insert(number);
                }
            }
            _ => {}
        }
        self.replay.replay(&frame.header, &change);
        Ok(Some(change))
    }

    /// Notes that the records `missing` are lost, in runs; `bodies` were found and tell which messages they were.
    fn lose_some(
        &mut self,
        listed: &Listed,
        at: Range<u64>,
        missing: &[u64],
        bodies: &[(usize, crate::format::body::BodyHeader)],
    ) {
        for run in missing.chunk_by(|a, b| a + 1 == *b) {
            if let (Some(first), Some(last)) = (run.first(), run.last()) {
                self.lose(listed.segment.path(), at.clone(), *first..*last + 1, bodies);
            }
        }
    }

    fn lose(
        &mut self,
        path: &str,
        at: Range<u64>,
        numbers: Range<u64>,
        bodies: &[(usize, crate::format::body::BodyHeader)],
    ) {
        for (_, body) in bodies
            .iter()
            .filter(|(_, body)| numbers.contains(&body.number))
        {
            self.report.lost.push(LostMessage {
                account: body.account,
                mailbox: body.mailbox,
                uid: body.uid,
                record: body.number,
            });
        }
        self.report.holes.push(Hole {
            segment: path.to_owned(),
            from: at.start,
            to: at.end,
            first_lost: numbers.start,
            last_lost: numbers.end.saturating_sub(1),
        });
    }

    /// Whether the segment's last batch is really its last: the next segment, the footer or the marks know. If not,
    /// what is left of the batches behind it is looked for.
    fn check_chain(
        &mut self,
        listed: &Listed,
        scanner: &mut Scanner<'_>,
        from: u64,
        places: &mut Vec<RecordAt>,
        later: &[Listed],
        rest: Verdict,
    ) -> Result<()> {
        let gap = from..scanner.written_to(from);
        let expected = match later.first() {
            Some(next) => next.segment.first_record(),
            None if rest == Verdict::Hole => self.first_unknown(listed, scanner, &gap),
            None => return Ok(()),
        };
        // A segment may be empty: made before a crash, or given up at its first batch.
        let previous = later.iter().find_map(Listed::first_previous);
        let missing = match (previous, listed.known_next()) {
            (Some(previous), _) => previous != self.last_crc,
            (None, Some(next)) if !later.is_empty() => next > self.next_record,
            (None, _) => later.is_empty() || self.last_batch < self.durable,
        };
        if missing && expected > self.next_record {
            self.read_gap(listed, scanner, gap, expected, places)?;
            if later.is_empty() {
                // The next batch must not seem to follow the last good one, or no later opening would look here.
                self.last_crc = !self.last_crc;
            }
        }
        Ok(())
    }

    /// The number behind all that the end of the log can hold: the marks say one, and so does what is found there.
    fn first_unknown(&self, listed: &Listed, scanner: &mut Scanner<'_>, gap: &Range<u64>) -> u64 {
        let len = usize::try_from(gap.end - gap.start).unwrap_or(usize::MAX);
        let most = (len / crate::format::record::HEADER) as u64;
        let numbers = self.next_record..self.next_record + most.max(1);
        let (place, bytes) = (listed.segment.place, scanner.get(gap.start, len));
        let records = search_records(place, bytes, &numbers);
        let records = records.iter().map(|piece| piece.frame.header.number);
        let bodies = search_bodies(place, bytes, &numbers);
        let bodies = bodies.iter().map(|(_, body)| body.number);
        let found = records.chain(bodies).max().unwrap_or(self.next_record);
        self.marked.max(found + 1)
    }

    /// The last segment is where writing goes on, unless what lies behind its end must not be touched.
    fn end_of_log(
        &mut self,
        listed: &Listed,
        survey: &Survey,
        rest: Verdict,
        scanner: &mut Scanner<'_>,
        ended: &mut Vec<Edit>,
    ) -> Option<Active> {
        if rest == Verdict::Hole {
            ended.push(Edit {
                what: What::Ended,
                end: scanner.written_to(survey.end),
                next_record: self.next_record,
                ..super::writer::edit_of(&listed.segment, What::Ended)
            });
            return None;
        }
        if rest == Verdict::Cut {
            self.report.cut = Some(Cut {
                segment: listed.segment.path().to_owned(),
                offset: survey.end,
                len: scanner.written_to(survey.end) - survey.end,
                quarantine: None,
            });
        }
        let capacity = listed.segment.file.len().unwrap_or(0).max(survey.end);
        Some(Active {
            segment: Arc::clone(&listed.segment),
            end: survey.end,
            capacity,
            unsynced: false,
            batches: survey.batches.len() as u64,
        })
    }

    /// Whether every record there ever was has been read. Else a large body that no record names may be all that is
    /// left of an acknowledged message.
    fn is_sure(&self) -> bool {
        self.fenced.is_empty() && self.report.is_whole()
    }

    /// Cuts a torn tail (into quarantine first), then syncs what was recovered: once shown, it must not vanish.
    fn make_durable(&mut self, active: Option<&Active>) -> Result<()> {
        // The names too: what created the store may have been killed before it synced them.
        for folder in ["", "log"] {
            let synced = self.storage.sync_dir(folder);
            synced
                .map_err(|source| Error::io("sync the folder", self.storage.describe(), source))?;
        }
        let Some(active) = active else { return Ok(()) };
        if let Some(cut) = &mut self.report.cut {
            cut.quarantine = Some(tail::quarantine(self.storage, active, cut.len)?);
            active
                .segment
                .file
                .set_len(active.end)
                .map_err(active.segment.io("cut"))?;
        }
        active
            .segment
            .file
            .sync()
            .map_err(active.segment.io("sync"))
    }

    /// Puts the log together, and fences what was lost.
    fn finish(mut self, parts: Parts) -> Result<(Log, RecoveryReport)> {
        let Parts {
            storage,
            options,
            lock,
            ledger,
            tail,
            ended,
            listed,
            mut active,
        } = parts;
        let manifest = &ledger.manifest;
        let next_batch = self
            .last_batch
            .max(tail.written())
            .max(manifest.durable_batch)
            + 1;
        let next_segment = self.highest_segment + 1;
        let log_len: u64 = listed
            .iter()
            .filter_map(|listed| listed.segment.file.len().ok())
            .sum();
        if let Some(active) = &mut active {
            active.capacity = active.capacity.max(segment_len(log_len, &options));
            active.segment.file.expect_len(active.capacity);
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
            large: Mutex::new(Vec::new()),
            work: Work::new(options.prepare),
            log_len: AtomicU64::new(log_len),
            read_only: AtomicBool::new(read_only),
            options,
            lock: Mutex::new(lock),
        });
        if !read_only {
            let full = listed.len().saturating_sub(1);
            let unsealed = listed
                .iter()
                .zip(&self.ends)
                .take(full)
                .filter(|(listed, _)| !listed.is_finished());
            for (listed, end) in unsealed {
                shared.work.seal(Arc::clone(&listed.segment), *end);
            }
        }
        let keeper = if background {
            Some(Keeper::start(&shared)?)
        } else {
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
        let holes: Vec<(u64, u64, u64)> = self
            .report
            .holes
            .iter()
            .map(|hole| (hole.first_lost, hole.last_lost, hole.to - hole.from))
            .collect();
        for (first_lost, last_lost, bytes) in holes {
            let covered = self
                .fenced
                .iter()
                .any(|(first, last)| *first <= first_lost && last_lost <= *last);
            if covered || last_lost < first_lost {
                continue;
            }
            let fence = Fence {
                first_lost,
                last_lost,
                bound: bound(last_lost - first_lost + 1, bytes),
            };
            let header = RecordHeader {
                number: 0,
                previous: 0,
                account: AccountId::from_bytes([0; 16]),
                mailbox: 0,
                modseq: 0,
            };
            let change = Change::Fence(fence);
            let (batch, number) = log.join(Durability::Durable, |group| {
                let new = super::NewRecord {
                    account: header.account,
                    mailbox: 0,
                    modseq: 0,
                    previous: 0,
                    change: &mut change.clone(),
                };
                group.push(new, None)
            })?;
            log.shared.wait(batch)?;
            self.replay
                .replay(&RecordHeader { number, ..header }, &change);
            self.fenced.push((first_lost, last_lost));
        }
        Ok(())
    }
}

/// No account lost more UIDs, MODSEQs or ids than this: each record is one MODSEQ, and a UID takes 16 bytes or more.
fn bound(records: u64, bytes: u64) -> u32 {
    u32::try_from(records.saturating_add(bytes / 16))
        .unwrap_or(u32::MAX)
        .saturating_add(1)
}

/// Notes where record `number` lies.
fn put(places: &mut Vec<RecordAt>, first: u64, number: u64, frame: u64, body: u64) {
    let Some(index) = number
        .checked_sub(first)
        .and_then(|index| usize::try_from(index).ok())
    else {
        return;
    };
    // A number is at most what the file's bytes can hold: bounded by what was read.
    if index >= places.len() {
        places.resize(index + 1, RecordAt::default());
    }
    let narrow = |at: u64| u32::try_from(at).unwrap_or(0);
    if let Some(place) = places.get_mut(index) {
        *place = RecordAt {
            frame: narrow(frame),
            body: narrow(body),
        };
    }
}

/// Sees to it that there is a store in `storage`: creates one in an empty folder where the options allow it.
pub(crate) fn find_or_create(storage: &dyn Storage, options: &Options) -> Result<()> {
    let path = storage.describe();
    let not_a_store = |what| {
        Err(Error::NotAStore {
            path: path.clone(),
            what,
        })
    };
    let io = |source| Error::io("list", &path, source);
    let names = storage.list("").map_err(io)?;
    if names
        .iter()
        .any(|entry| entry.name == super::ledger::MANIFEST)
    {
        return Ok(());
    }
    // What an interrupted creation leaves. Segments are made after MANIFEST.
    const OURS: [&str; 7] = [
        "LOCK",
        "TAIL",
        "SEGMENTS",
        "MANIFEST.new",
        "log",
        "index",
        "quarantine",
    ];
    let segments = match storage.list("log") {
        Ok(found) => !found.is_empty(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(source) => return Err(io(source)),
    };
    if segments {
        return Err(Error::Incomplete {
            path,
            what: "MANIFEST is missing".into(),
        });
    }
    if names
        .iter()
        .any(|entry| !OURS.contains(&entry.name.as_str()))
    {
        return not_a_store("the folder holds other files");
    }
    if !options.create || options.read_only {
        return not_a_store("the folder is empty");
    }
    let _lock = lock(storage, options)?;
    Ledger::create(storage, &*options.host)
}

/// Takes the writer lock.
pub(crate) fn lock(storage: &dyn Storage, options: &Options) -> Result<Box<dyn Send + Sync>> {
    const LOCK: &str = "LOCK";
    let owner = format!(
        "{} since {} ms",
        options.host.identity(),
        options.host.now_ms()
    );
    storage
        .lock(LOCK, &owner)
        .map_err(|source| match source.kind() {
            std::io::ErrorKind::WouldBlock => {
                let path = storage.describe();
                Error::Locked {
                    path,
                    owner: read_owner(storage, LOCK).unwrap_or_else(|| "another process".into()),
                }
            }
            _ => Error::io("lock", storage.describe(), source),
        })
}

/// Who the lock file says has the store.
fn read_owner(storage: &dyn Storage, name: &str) -> Option<String> {
    let mut owner = vec![0; 512];
    let read = storage
        .open(name, Open::Read)
        .ok()?
        .read_at(&mut owner, 0)
        .ok()?;
    owner.truncate(read);
    String::from_utf8(owner)
        .ok()
        .filter(|owner| !owner.is_empty())
}

impl Shared {
    pub(super) fn close(&self) -> Result<()> {
        if self.read_only.load(std::sync::atomic::Ordering::Relaxed) {
            return Ok(());
        }
        {
            let mut queue = self.queue.lock();
            if queue.is_closed() {
                return Ok(());
            }
            // First, so that no batch can join that nobody writes before the lock is given up.
            queue.close();
        }
        let flushed = self.flush();
        // Waits for a batch that somebody else is writing.
        let mut writer = self.writer.lock();
        flushed?;
        writer.sync(self)?;
        if let Some(error) = self.queue.lock().stopped() {
            return Err(error);
        }
        writer.write_tail(self);
        if let Some(tail) = &writer.tail {
            tail.sync()
                .map_err(|source| Error::io("sync", self.path("TAIL"), source))?;
        }
        let (durable, next_record) = (writer.durable, writer.next_record);
        drop(writer);
        self.ledger.lock().update(|manifest| {
            manifest.clean = true;
            manifest.durable_batch = manifest.durable_batch.max(durable);
            manifest.next_record = manifest.next_record.max(next_record);
        })
    }
}

const _: () = assert!(PAGE == 4096);

#[cfg(test)]
mod tests {
    use super::{Looks, Verdict, decide};

    /// Each row of FORMAT.md section 13: inside, acknowledged, looks.
    #[test]
    fn the_table_decides_row_by_row() {
        use Looks::{Altered, Empty, Torn};
        use Verdict::{Cut, End, Hole};
        for looks in [Empty, Torn, Altered] {
            assert_eq!(decide(true, false, looks), Hole, "the log goes on behind");
            assert_eq!(decide(true, true, looks), Hole, "the log goes on behind");
            assert_eq!(decide(false, true, looks), Hole, "acknowledged and missing");
        }
        assert_eq!(decide(false, false, Empty), End);
        assert_eq!(decide(false, false, Torn), Cut);
        assert_eq!(
            decide(false, false, Altered),
            Hole,
            "no power cut does that"
        );
    }
}
