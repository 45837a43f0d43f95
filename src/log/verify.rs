//! Checking every byte of the log: heads, sectors, padding, footers, the small files.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use super::ledger::{MANIFEST, SEGMENTS};
use super::recovery::TAIL;
use super::scan::digest;
use super::search::is_end_lost;
use super::segment::Segment;
use super::{Log, Shared, segment_name};
use crate::error::{Error, Result};
use crate::format::footer::{self, Trailer};
use crate::format::manifest::Manifest;
use crate::format::segment::SegmentHeader;
use crate::format::segments::{self, Edit, What};
use crate::format::tail::{self, Tail};
use crate::format::{Fault, PAGE, SECTOR};
use crate::io::{File, Open};
use crate::switch::Switch;

/// How often a slot of TAIL that is not sound is looked at while it changes under the look.
const TAIL_LOOKS: usize = 16;

/// A place on disk that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Damage {
    /// The file.
    pub path: String,
    /// From this offset, in bytes...
    pub from: u64,
    /// ...to this one, exclusive.
    pub to: u64,
    /// What is wrong; `None` when the disk does not give the bytes.
    pub what: Option<Fault>,
}

impl Damage {
    pub(crate) fn new(path: &str, from: u64, to: u64, what: Fault) -> Self {
        Self {
            path: path.to_owned(),
            from,
            to,
            what: Some(what),
        }
    }
}

/// What was read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Checked {
    pub(crate) segments: u64,
    pub(crate) bytes: u64,
    pub(crate) stopped: bool,
}

/// One run over the log.
struct Check<'a> {
    damage: &'a mut Vec<Damage>,
    tell: &'a mut dyn FnMut(u64) -> ControlFlow<()>,
}

impl Log {
    /// Checks everything; adds what is wrong to `damage`.
    pub(crate) fn verify(
        &self,
        damage: &mut Vec<Damage>,
        tell: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Checked {
        let shared = &self.shared;
        let mut checked = Checked::default();
        let mut check = Check { damage, tell };
        let large = shared.check_small_files(&mut check);
        let segments = Arc::clone(&shared.segments.read());
        for (at, segment) in segments.iter().enumerate() {
            checked.segments += 1;
            // What cannot be opened is damage too; the rest is read.
            if let Some((path, file)) =
                shared.named(&segment_name(segment.number()), segment.end(), &mut check)
            {
                match check.segment(&segments, segment, at, &file) {
                    Ok(len) => checked.bytes += len,
                    Err(_) => check.unread(&path, 0, segment.end()),
                }
            }
            if (check.tell)(segment.end()).is_break() {
                checked.stopped = true;
                return checked;
            }
        }
        for number in large {
            checked.segments += 1;
            checked.bytes += shared.check_large(number, &mut check);
        }
        checked
    }
}

impl Check<'_> {
    fn bad(&mut self, path: &str, from: u64, to: u64, what: Fault) {
        let damage = Damage::new(path, from, to, what);
        if !self.damage.contains(&damage) {
            self.damage.push(damage);
        }
    }

    fn unread(&mut self, path: &str, from: u64, to: u64) {
        self.damage.push(Damage {
            path: path.to_owned(),
            from,
            to,
            what: None,
        });
    }

    /// All of a segment up to its end, and what must be zero behind; returns the file's length.
    fn segment(
        &mut self,
        segments: &[Arc<Segment>],
        segment: &Segment,
        at: usize,
        file: &Arc<dyn File>,
    ) -> Result<u64> {
        let path = segment.path();
        self.header(path, &**file, segment);
        if segment.end() == 0 {
            segment.settle()?;
        }
        let end = segment.end();
        let mut scanner = segment.scanner_of(Arc::clone(file))?;
        let survey = scanner.survey(PAGE as u64);
        for gap in &survey.gaps {
            self.bad(path, gap.start, gap.end, Fault::Lost);
        }
        // In front of a footer there are zeroes up to the page.
        let padded = segment.footer_at() == end
            && end - survey.end < PAGE as u64
            && scanner.written_from(survey.end).is_none();
        if survey.end < end && !padded {
            self.bad(path, survey.end, end, Fault::Lost);
        }
        for found in &survey.batches {
            let bytes = scanner.get(found.offset, found.head.len as usize);
            for sector in found.head.bad_sectors(segment.place, found.offset, bytes) {
                let from = found.offset + (sector * SECTOR) as u64;
                self.bad(path, from, from + SECTOR as u64, Fault::Lost);
            }
        }
        for page in std::mem::take(&mut scanner.unreadable) {
            self.unread(path, page, page + PAGE as u64);
        }
        if segment.is_listed_sealed() {
            let last = survey.batches.last().map(|found| found.head.batch);
            self.footer(path, &**file, segment, survey.end..end, last);
        }
        if is_end_lost(segments, at, &survey) {
            let behind = end.max(survey.end + SECTOR as u64);
            self.bad(path, survey.end, behind, Fault::Lost);
        }
        Ok(file.len().unwrap_or(0))
    }

    fn header(&mut self, path: &str, file: &dyn File, segment: &Segment) {
        let mut page = vec![0; PAGE];
        match file.read_at(&mut page, 0) {
            Err(_) => self.unread(path, 0, PAGE as u64),
            Ok(_) => match SegmentHeader::decode(&page) {
                Ok(header) if header.place() == segment.place || !Switch::VerifyHeader.on() => {}
                Ok(_) => self.bad(path, 0, PAGE as u64, Fault::Foreign),
                Err(fault) => self.bad(path, 0, PAGE as u64, fault),
            },
        }
    }

    /// The footer of a segment whose batches were found up to `behind.start`, the last with the number `last`, and which
    /// has them up to `behind.end` for all that is known.
    fn footer(
        &mut self,
        path: &str,
        file: &dyn File,
        segment: &Segment,
        behind: Range<u64>,
        last: Option<u64>,
    ) {
        let len = file.len().unwrap_or(0);
        let Some(trailer_at) = len.checked_sub(PAGE as u64) else {
            return self.bad(path, behind.end, len, Fault::Lost);
        };
        let mut page = vec![0; PAGE];
        if file.read_at(&mut page, trailer_at).is_err() {
            return self.unread(path, trailer_at, len);
        }
        let trailer = match Trailer::decode(&page) {
            Ok(trailer) if trailer.file_len() == len || !Switch::VerifyTrailer.on() => trailer,
            Ok(_) => return self.bad(path, trailer_at, len, Fault::Foreign),
            Err(fault) => return self.bad(path, trailer_at, len, fault),
        };
        let has_batches = trailer.last_batch >= trailer.first_batch;
        if has_batches && last.is_none_or(|last| last < trailer.last_batch) {
            // Of the last ones nothing is left that looks like a batch, zeroes perhaps.
            self.bad(path, behind.start, trailer.footer_at, Fault::Lost);
        }
        self.padding(path, file, behind.end, trailer.footer_at);
        self.footer_pages(path, file, segment, &trailer);
        match digest(file, trailer.footer_at) {
            Ok(found)
                if found.as_bytes() == trailer.digest.as_bytes() || !Switch::VerifyDigest.on() => {}
            // The sectors that are bad are in the list; a digest that disagrees alone says that something escaped.
            Ok(found) => {
                let (found, expected) = (begin(found.as_bytes()), begin(trailer.digest.as_bytes()));
                let what = Fault::SegmentDigest { found, expected };
                self.bad(path, 0, trailer.footer_at, what);
            }
            Err(_) => self.unread(path, 0, trailer.footer_at),
        }
    }

    /// Between the last batch and the footer there are zeroes up to the page.
    fn padding(&mut self, path: &str, file: &dyn File, from: u64, to: u64) {
        let len = to.saturating_sub(from).min(PAGE as u64);
        let mut padding = vec![0; usize::try_from(len).unwrap_or(PAGE)];
        if file.read_at(&mut padding, from).is_err() {
            return self.unread(path, from, to);
        }
        let sectors = (from..).step_by(SECTOR).zip(padding.chunks(SECTOR));
        for (start, sector) in sectors {
            if let Some(nth) = sector.iter().position(|byte| *byte != 0) {
                let at = start + nth as u64;
                let end = start + sector.len() as u64;
                self.bad(path, start, end, Fault::Reserved { at });
            }
        }
    }

    fn footer_pages(&mut self, path: &str, file: &dyn File, segment: &Segment, trailer: &Trailer) {
        let mut footer = vec![0; trailer.trailer_at()];
        if file.read_at(&mut footer, trailer.footer_at).is_err() {
            return self.unread(path, trailer.footer_at, trailer.file_len());
        }
        let (pages, table) = footer.split_at(trailer.checksums_at());
        if let Err(fault) = trailer.verify_checksums(table) {
            return self.bad(path, trailer.footer_at, trailer.file_len(), fault);
        }
        for (number, page) in pages.chunks(PAGE).enumerate() {
            if let Err(fault) = footer::verify_page(segment.place, table, number, page) {
                let from = trailer.footer_at + (number * PAGE) as u64;
                self.bad(path, from, from + PAGE as u64, fault);
            }
        }
    }
}

/// The first bytes of a digest, as a number that reads like them.
fn begin(digest: &[u8]) -> u64 {
    let first = digest.iter().take(8);
    first.fold(0, |number, byte| number << 8 | u64::from(*byte))
}

impl Shared {
    /// TAIL, MANIFEST's slots, SEGMENTS' head and edits. Returns the numbers of the segments of large bodies.
    fn check_small_files(&self, check: &mut Check<'_>) -> Vec<u64> {
        self.check_tail(check);
        // Held so that no writer is in the middle of either file.
        let ledger = self.ledger.lock();
        self.check_manifest(&ledger.manifest, check);
        self.check_segments(ledger.manifest.edits, check)
    }

    /// The file that has the name now, with its path: one that is open may be another, or have none. That it is not there is
    /// damage, and nothing that keeps the rest from being read.
    fn named(
        &self,
        name: &str,
        needed: u64,
        check: &mut Check<'_>,
    ) -> Option<(String, Arc<dyn File>)> {
        let path = self.path(name);
        match self.storage.open(name, Open::Read) {
            Ok(file) => return Some((path, file)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                check.bad(&path, 0, 0, Fault::Short { len: 0, needed });
            }
            Err(_) => check.unread(&path, 0, needed),
        }
        None
    }

    fn check_manifest(&self, manifest: &Manifest, check: &mut Check<'_>) {
        let Some((path, file)) = self.named(MANIFEST, 2 * PAGE as u64, check) else {
            return;
        };
        for slot in 0..2 {
            let at = slot * PAGE as u64;
            let mut page = vec![0; PAGE];
            if file.read_at(&mut page, at).is_err() {
                check.unread(&path, at, at + PAGE as u64);
            } else if let Err(fault) = Manifest::decode(&page) {
                let never_written = manifest.generation == 0 && page.iter().all(|byte| *byte == 0);
                if !never_written {
                    check.bad(&path, at, at + PAGE as u64, fault);
                }
            }
        }
    }

    /// The list's head and its first `edits` edits.
    fn check_segments(&self, edits: u64, check: &mut Check<'_>) -> Vec<u64> {
        let mut large = Vec::new();
        let Some((path, file)) = self.named(SEGMENTS, segments::offset(edits), check) else {
            return large;
        };
        let mut head = vec![0; segments::EDIT_LEN];
        let head_end = segments::offset(0);
        if file.read_at(&mut head, 0).is_err() {
            check.unread(&path, 0, head_end);
        } else {
            match segments::decode_head(&head) {
                Ok(store) if store == self.store => {}
                Ok(_) => check.bad(&path, 0, head_end, Fault::Foreign),
                Err(fault) => check.bad(&path, 0, head_end, fault),
            }
        }
        for index in 0..edits {
            let at = segments::offset(index);
            let mut bytes = vec![0; segments::EDIT_LEN];
            if file.read_at(&mut bytes, at).is_err() {
                check.unread(&path, at, at + segments::EDIT_LEN as u64);
                continue;
            }
            match Edit::decode(self.store, index, &bytes) {
                Ok(edit) if edit.what == What::Body => large.push(edit.segment),
                Ok(edit) if edit.what == What::Dropped => {
                    large.retain(|number| *number != edit.segment)
                }
                Ok(_) => {}
                Err(fault) => check.bad(&path, at, at + segments::EDIT_LEN as u64, fault),
            }
        }
        large
    }

    /// TAIL's slots. One that is all zeroes was never written, or was not synced before a power cut; and one that a writer
    /// was writing is another one at the next look.
    fn check_tail(&self, check: &mut Check<'_>) {
        let Some((path, file)) = self.named(TAIL, tail::FILE_LEN, check) else {
            return;
        };
        for at in [0, PAGE] {
            let look = || {
                let mut slot = vec![0; SECTOR];
                let read = file.read_at(&mut slot, at as u64);
                read.map(|_| slot)
            };
            let (from, to) = (at as u64, (at + SECTOR) as u64);
            let mut seen = None;
            for _ in 0..TAIL_LOOKS {
                let Ok(slot) = look() else {
                    check.unread(&path, from, to);
                    break;
                };
                let fault = match Tail::decode(self.store, &slot) {
                    Err(fault) if slot.iter().any(|byte| *byte != 0) => fault,
                    _ => break,
                };
                if seen.as_ref() == Some(&slot) {
                    check.bad(&path, from, to, fault);
                    break;
                }
                seen = Some(slot);
            }
        }
    }

    /// A large body and its header page; returns the file's length.
    fn check_large(&self, number: u64, check: &mut Check<'_>) -> u64 {
        let path = self.path(&segment_name(number));
        let missing = || Error::fault(path.clone(), 0, Fault::Lost);
        let checked = self
            .open_large(number, &missing)
            .and_then(|segment| segment.body_at(number, PAGE as u64))
            .and_then(|body| body.recheck(|_| ()).map(|()| body.file_len()));
        match checked {
            Ok(len) => len,
            Err(Error::Damaged { offset, what, .. }) => {
                let file = self.storage.open(&segment_name(number), Open::Read);
                let len = file.and_then(|file| file.len()).unwrap_or(0);
                // The header page, or the body.
                let page = PAGE as u64;
                let (from, to) = if offset < page {
                    (0, page)
                } else {
                    (page, len)
                };
                check.bad(&path, from, to, what);
                len
            }
            Err(Error::Foreign { .. }) => {
                check.bad(&path, 0, PAGE as u64, Fault::Foreign);
                0
            }
            Err(_) => {
                check.unread(&path, 0, 0);
                0
            }
        }
    }
}
