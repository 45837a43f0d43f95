//! The state of an opening, and what is known before the first record is read: what is missing, and how far
//! acknowledged batches reached.

use std::collections::HashSet;

use super::list::Listed;
use super::report::{RecoveryReport, Unsynced};
use super::start::Start;
use super::{Replay, tail};
use crate::error::{Error, Result};
use crate::format::PAGE;
use crate::io::Storage;
use crate::log::ledger::Ledger;
use crate::log::position::Position;
use crate::log::scan::{Scanner, Survey, WINDOW};
use crate::log::writer::Active;
use crate::options::Options;
use crate::switch::Switch;
use crate::witness::Witness;

/// The state of an opening.
pub(super) struct Opening<'a> {
    pub(super) storage: &'a dyn Storage,
    pub(super) replay: &'a mut dyn Replay,
    pub(super) report: RecoveryReport,
    /// Number that the next record should have, and head checksum of the last batch.
    pub(super) next_record: u64,
    /// The highest next number that MANIFEST and TAIL know.
    pub(super) marked: u64,
    pub(super) last_batch: u64,
    pub(super) last_crc: u32,
    /// D.
    pub(super) durable: u64,
    /// What the last segment's first batch repeats of the batch before it.
    pub(super) last_previous: Option<u32>,
    /// Whether damage lies behind the last batch that was read: then the next one need not follow on it.
    pub(super) damaged: bool,
    /// Lost numbers that a fence already covers.
    pub(super) fenced: Vec<(u64, u64)>,
    /// Segments of large bodies that a record names.
    pub(super) large: HashSet<u64>,
    /// A record kind of a newer build that allows reading only.
    pub(super) newer: Option<u8>,
    pub(super) highest_segment: u64,
    /// Where reading began.
    pub(super) start: Start,
    /// Behind the last batch that was read.
    pub(super) position: Option<Position>,
    /// Where the batches begin in the last segment that nothing says were durable.
    pub(super) unsure: Option<u64>,
    /// The last durable batch that was read.
    pub(super) witness: Witness,
    /// Read-only: the last batch that is shown. A live writer may be further on.
    pub(super) show: Option<u64>,
    /// What TAIL says.
    pub(super) tail: tail::Mark,
    /// Bytes of a segment: what was lost of one of which nothing is left took no more.
    pub(super) segment_len: u64,
}

impl<'a> Opening<'a> {
    pub(super) fn new(
        storage: &'a dyn Storage,
        replay: &'a mut dyn Replay,
        ledger: &Ledger,
        tail: &tail::Mark,
        options: &Options,
    ) -> Self {
        let store = ledger.manifest.store;
        // Whoever keeps a witness elsewhere knows of batches that were durable, whatever the marks here say.
        let witnessed = options.witness.filter(|witness| witness.store == store);
        let durable = ledger.manifest.durable_batch;
        let durable = durable.max(witnessed.map_or(0, |witness| witness.batch));
        Self {
            storage,
            replay,
            report: RecoveryReport {
                clean: ledger.manifest.clean,
                ..RecoveryReport::default()
            },
            next_record: 1,
            marked: Switch::NextOfTail
                .number(tail.next_record())
                .max(Switch::NextOfManifest.number(ledger.manifest.next_record)),
            last_batch: 0,
            last_crc: 0,
            durable: Switch::DurableOfManifest
                .number(durable)
                .max(Switch::DurableOfTail.number(tail.durable())),
            last_previous: None,
            damaged: false,
            fenced: Vec::new(),
            large: HashSet::new(),
            newer: None,
            highest_segment: 0,
            start: Start::FRONT,
            position: None,
            unsure: None,
            witness: Witness::empty(store),
            show: (options.read_only && Switch::ReaderBound.on())
                .then(|| durable.max(tail.written())),
            tail: tail.clone(),
            segment_len: options.segment_len,
        }
    }

    /// Refuses a store of which files are missing, or that is older than its own marks, unless the loss is accepted.
    pub(super) fn check_complete(
        &mut self,
        ledger: &Ledger,
        segments: &[Listed],
        options: &Options,
    ) -> Result<()> {
        let (volume, tail) = (self.storage.describe(), &self.tail);
        if Switch::EpochChecked.on() && tail.epoch() > ledger.manifest.epoch && !ledger.doubt {
            let what = format!(
                "MANIFEST is of epoch {}, TAIL of {}",
                ledger.manifest.epoch,
                tail.epoch()
            );
            self.report.missing.push(what);
        }
        for listed in segments {
            let len = listed.len;
            let needed = listed.needed_len(tail);
            if Switch::LengthChecked.on() && len < needed {
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

    /// Surveys the last segment, and learns D from the heads there too: each batch says what was durable when it was
    /// written. Of a log that was closed at `clean` (segment, offset), what was prepared behind its end is not read.
    pub(super) fn survey_last(
        &mut self,
        segments: &[Listed],
        clean: Option<(u64, u64)>,
    ) -> Result<Option<(Scanner, Survey)>> {
        // A segment is begun only when all before it is durable: only the last one can have an uncertain end. Its
        // header's first batch says nothing of D: numbers before it may have been burned by batches that failed.
        let Some(last) = segments.last() else {
            return Ok(None);
        };
        let mut scanner = last.checked_scanner()?;
        let from = self.offset_in(segments.len() - 1);
        let clean = clean.filter(|(segment, _)| *segment == last.segment.number());
        let closed = clean.and_then(|(_, end)| self.survey_closed(&mut scanner, from, end));
        let survey = closed.unwrap_or_else(|| scanner.survey(from));
        let said = survey.batches.iter().map(|found| found.head.durable).max();
        self.durable = self
            .durable
            .max(Switch::DurableOfHeads.number(said.unwrap_or(0)));
        // Where TAIL cannot be read, or was read while both its slots were being written.
        self.show = self.show.map(|show| show.max(self.durable));
        self.last_previous = survey.batches.first().map(|found| found.head.previous);
        Ok(Some((scanner, survey)))
    }

    /// The survey from `from` up to `end`, if the batch that was durable at closing is the last one there and nothing
    /// follows it. Else the marks are not of this log (files put back from a copy, say), and all of it must be looked at.
    fn survey_closed(&self, scanner: &mut Scanner, from: u64, end: u64) -> Option<Survey> {
        let whole = scanner.limit;
        // A batch that follows would begin right at the end.
        scanner.limit = whole.min(end.saturating_add(WINDOW as u64));
        let survey = scanner.survey(from);
        let in_front = (from > PAGE as u64).then_some(self.last_batch);
        let last = survey.batches.last().map(|found| found.head.batch);
        let sure = last.or(in_front) == Some(self.durable)
            && survey.end == end
            && survey
                .batches
                .iter()
                .all(|found| found.head.batch <= self.durable)
            && scanner.written_from(end).is_none();
        let sure = sure || !Switch::CleanEndSure.on();
        if !sure {
            scanner.limit = whole;
        }
        sure.then_some(survey)
    }

    /// The log ends as it may, and yet the marks know of more: batches that were written, acknowledged as that, and
    /// lost in a power cut. Their numbers are passed over.
    pub(super) fn skip_unsynced(&mut self, active: Option<&Active>) {
        let (first, next) = (self.next_record, self.marked);
        self.next_record = first.max(Switch::UnsyncedSkipped.number(next));
        let Some(active) = active.filter(|_| first < next) else {
            return;
        };
        self.report.unsynced = Some(Unsynced {
            first_lost: first,
            last_lost: next - 1,
            bytes: self.tail.bytes_behind(active.segment.number(), active.end),
        });
    }

    /// A segment may begin behind numbers that a failed batch burned, and have nothing in it when the process died. They
    /// stay burned: a record of a lower number than its segment's first would not be found there.
    pub(super) fn skip_burned(&mut self, segments: &[Listed]) {
        let first = |listed: &Listed| listed.segment.first_record();
        let begins = segments.iter().map(first).max().unwrap_or(0);
        self.next_record = self.next_record.max(begins);
    }

    /// Whether every record there ever was has been read. Else a large body that no record names may be all that is
    /// left of an acknowledged message.
    pub(super) fn is_sure(&self) -> bool {
        self.fenced.is_empty() && self.report.is_whole() && self.report.unsynced.is_none()
    }
}
