//! Reading a segment from front to back: where its batches are, and what cannot be read.
//!
//! With `pread`, never through a mapping: a disk that fails is an answer here, not a signal. Bodies are passed over.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use super::places::room;
use crate::format::batch::{self, BatchHead};
use crate::format::body::{self, BodyHeader};
use crate::format::record::{self, Frame};
use crate::format::segment::Place;
use crate::format::{PAGE, SECTOR, padded};
use crate::io::File;

/// Bytes read at a time, at least.
pub(super) const WINDOW: usize = 64 * 1024;

/// A salvage may spend this many times the length of what it searches on checksums. Honest bytes need one; bytes made
/// to waste time get no more.
const SALVAGE_EFFORT: usize = 16;

/// A segment's bytes up to `limit`, read through a window.
pub(super) struct Scanner {
    file: Arc<dyn File>,
    pub(super) place: Place,
    pub(super) limit: u64,
    /// Behind the highest number that a record of the segment can have.
    pub(super) reach: u64,
    window: Vec<u8>,
    window_at: u64,
    /// Bytes read at a time, at least.
    window_len: usize,
    /// Pages that the disk did not give.
    pub(super) unreadable: BTreeSet<u64>,
    /// What it said to the first of them.
    pub(super) refusal: Option<Arc<std::io::Error>>,
}

/// A batch whose fixed head is sound.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) offset: u64,
    pub(super) head: BatchHead,
}

/// What a segment holds, judged by the fixed heads.
#[derive(Debug, Default)]
pub(super) struct Survey {
    pub(super) batches: Vec<Found>,
    /// Ranges between batches where none begins.
    pub(super) gaps: Vec<Range<u64>>,
    /// Behind the last batch.
    pub(super) end: u64,
    /// Where batches were taken off the end: the first record of the first of them.
    pub(super) behind: Option<u64>,
}

impl Survey {
    /// Takes off what begins at `end` and behind it.
    pub(super) fn end_at(&mut self, end: u64) {
        let mut off = self.batches.iter().filter(|found| found.offset >= end);
        self.behind = off.next().map(|found| found.head.first_record);
        self.batches.retain(|found| found.offset < end);
        self.gaps.retain(|gap| gap.start < end);
        self.end = end;
    }

    /// The gap that lies in front of what was taken off.
    pub(super) fn last_gap(&self) -> Option<Range<u64>> {
        self.gaps.last().filter(|gap| gap.end == self.end).cloned()
    }
}

/// How the bytes look at a place where no sound batch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Looks {
    /// Zeroes, or the end of the file: nothing was written here.
    Empty,
    /// Something was written and something was not.
    Torn,
    /// All of it was written, and it is not what was written.
    Altered,
}

/// A record found in a batch or a gap.
#[derive(Debug)]
pub(super) struct Piece<'a> {
    /// Offset in the bytes that were searched.
    pub(super) at: usize,
    pub(super) frame: Frame<'a>,
}

impl Scanner {
    pub(super) fn new(file: Arc<dyn File>, place: Place, first_record: u64, limit: u64) -> Self {
        Self {
            file,
            place,
            limit,
            reach: first_record.saturating_add(room(limit)),
            window: Vec::new(),
            window_at: 0,
            window_len: WINDOW,
            unreadable: BTreeSet::new(),
            refusal: None,
        }
    }

    /// Reads `len` bytes at a time, at least: for many small batches in a row.
    pub(super) fn with_window(mut self, len: usize) -> Self {
        self.window_len = len;
        self
    }

    /// `len` bytes at `at`; fewer where the limit comes first. What the disk does not give reads as zeroes, which no
    /// checksum passes.
    pub(super) fn get(&mut self, at: u64, len: usize) -> &[u8] {
        let len = usize::try_from(self.limit.saturating_sub(at))
            .unwrap_or(usize::MAX)
            .min(len);
        let start = at
            .checked_sub(self.window_at)
            .and_then(|start| usize::try_from(start).ok());
        let inside = start.is_some_and(|start| start.saturating_add(len) <= self.window.len());
        if !inside {
            self.fill(at, len.max(self.window_len));
        }
        let start = usize::try_from(at - self.window_at).unwrap_or(usize::MAX);
        self.window.get(start..start + len).unwrap_or_default()
    }

    fn fill(&mut self, at: u64, len: usize) {
        let len = usize::try_from(self.limit.saturating_sub(at))
            .unwrap_or(usize::MAX)
            .min(len);
        // What is there is written over; only what was not read must not stay.
        self.window.resize(len, 0);
        self.window_at = at;
        match self.file.read_at(&mut self.window, at) {
            Ok(read) => self.window.iter_mut().skip(read).for_each(|byte| *byte = 0),
            Err(_) => self.fill_by_page(at),
        }
    }

    /// Page by page, so that a bad page costs no more than itself.
    fn fill_by_page(&mut self, at: u64) {
        let mut place = at;
        let mut rest = self.window.as_mut_slice();
        while !rest.is_empty() {
            let len = usize::try_from(PAGE as u64 - place % PAGE as u64).unwrap_or(PAGE);
            let (page, behind) = rest.split_at_mut(len.min(rest.len()));
            page.fill(0);
            if let Err(error) = self.file.read_at(page, place) {
                page.fill(0);
                self.unreadable.insert(page_of(place));
                self.refusal.get_or_insert_with(|| Arc::new(error));
            }
            place += page.len() as u64;
            rest = behind;
        }
    }

    /// The pages of a range that the disk did not give when it was read: nobody knows what they hold.
    fn unread(&self, range: Range<u64>) -> impl DoubleEndedIterator<Item = u64> {
        self.unreadable
            .range(page_of(range.start)..range.end)
            .copied()
    }

    /// The first page that the disk did not give.
    pub(super) fn first_unreadable(&self) -> Option<u64> {
        self.unreadable.first().copied()
    }

    /// How many bytes of a range that was read the disk did not give, in whole pages.
    pub(super) fn unread_len(&self, range: Range<u64>) -> u64 {
        self.unread(range).count() as u64 * PAGE as u64
    }

    /// The fixed head at `offset`, if a sound one is there whose batch fits below the limit and whose numbers the segment
    /// can have.
    pub(super) fn head(&mut self, offset: u64) -> Option<BatchHead> {
        let place = self.place;
        let head = BatchHead::decode(place, offset, self.get(offset, batch::FIXED)).ok()?;
        (offset + u64::from(head.len) <= self.limit && self.reaches(&head)).then_some(head)
    }

    fn reaches(&self, head: &BatchHead) -> bool {
        head.first_record + u64::from(head.count) <= self.reach
    }

    /// Finds all batches from `from` on by their fixed heads.
    pub(super) fn survey(&mut self, from: u64) -> Survey {
        let mut survey = Survey {
            end: from,
            ..Survey::default()
        };
        let mut at = survey.end;
        while let Some(found) = self.next_batch(at) {
            if found.offset > survey.end {
                survey.gaps.push(survey.end..found.offset);
            }
            at = found.offset + u64::from(found.head.len);
            survey.end = at;
            survey.batches.push(found);
        }
        survey
    }

    /// The first sound batch at or behind `at`.
    pub(super) fn next_batch(&mut self, at: u64) -> Option<Found> {
        let mut offset = at;
        while offset < self.limit {
            if let Some(head) = self.head(offset) {
                return Some(Found { offset, head });
            }
            offset += SECTOR as u64;
        }
        None
    }

    /// The first byte at or behind `at` that is not zero, rounded down to its sector.
    pub(super) fn written_from(&mut self, mut at: u64) -> Option<u64> {
        while at < self.limit {
            let bytes = self.get(at, WINDOW);
            if let Some(found) = bytes.iter().position(|byte| *byte != 0) {
                return Some((at + found as u64) / SECTOR as u64 * SECTOR as u64);
            }
            at += WINDOW as u64;
        }
        None
    }

    /// Behind the last byte that is not zero or not known, rounded up to its sector; `at` if there is none behind it.
    pub(super) fn written_to(&mut self, at: u64) -> u64 {
        let mut end = at;
        let mut from = at;
        while from < self.limit {
            let bytes = self.get(from, WINDOW);
            if let Some(last) = bytes.iter().rposition(|byte| *byte != 0) {
                end = (from + last as u64 + 1)
                    .next_multiple_of(SECTOR as u64)
                    .min(self.limit);
            }
            from += WINDOW as u64;
        }
        let unread = self.unread(at..self.limit).next_back();
        unread.map_or(end, |page| end.max(self.limit.min(page + PAGE as u64)))
    }

    /// How the place looks where a batch should begin and no sound head is.
    pub(super) fn looks(&mut self, at: u64) -> Looks {
        // What the disk does not give may have been written, for all we know. Taken for zeroes, an acknowledged batch would be cut off
        // as torn, or written over.
        self.get(at, SECTOR);
        let sector = at..self.limit.min(at + SECTOR as u64);
        if self.unread(sector).next().is_some() {
            return Looks::Altered;
        }
        if self.written_from(at).is_none() {
            return Looks::Empty;
        }
        let place = self.place;
        let sector = self.get(at, SECTOR);
        if sector.len() < SECTOR || sector.iter().all(|byte| *byte == 0) {
            return Looks::Torn;
        }
        match BatchHead::decode(place, at, sector) {
            // The head is whole and says more than the file holds.
            Ok(head) if self.reaches(&head) => Looks::Torn,
            Ok(_) | Err(_) => Looks::Altered,
        }
    }

    /// How the sectors of a batch look whose head is sound. `None` when all are as written.
    pub(super) fn batch_looks(&mut self, found: &Found) -> Option<Looks> {
        let place = self.place;
        let (from, len) = (found.offset, found.head.len as usize);
        self.get(from, len);
        let unread: Vec<u64> = self.unread(from..from + len as u64).collect();
        let bytes = self.get(from, len);
        let bad = found.head.bad_sectors(place, from, bytes);
        let zero = |sector: &usize| {
            let page = page_of(from + (sector * SECTOR) as u64);
            let content = bytes.get(sector * SECTOR..(sector + 1) * SECTOR);
            !unread.contains(&page)
                && content.is_none_or(|content| content.iter().all(|byte| *byte == 0))
        };
        if bad.is_empty() {
            None
        } else if bad.iter().any(zero) {
            Some(Looks::Torn)
        } else {
            Some(Looks::Altered)
        }
    }

    /// The records of a batch, and whether they are all there.
    pub(super) fn records(&mut self, found: &Found) -> (Vec<Piece<'_>>, bool) {
        let place = self.place;
        let from = found.offset + found.head.head_len() as u64;
        let numbers =
            found.head.first_record..found.head.first_record + u64::from(found.head.count);
        let bytes = self.get(from, found.head.records_len as usize);
        let pieces = search_records(place, bytes, &numbers);
        let complete = pieces.len() == found.head.count as usize;
        (pieces, complete)
    }
}

fn page_of(at: u64) -> u64 {
    at - at % PAGE as u64
}

/// All sound records in `bytes` whose numbers are in `numbers`. Where they follow one another each is found at once;
/// behind a bad one, the next is looked for at each multiple of 8.
pub(super) fn search_records<'b>(
    place: Place,
    bytes: &'b [u8],
    numbers: &Range<u64>,
) -> Vec<Piece<'b>> {
    let mut pieces = Vec::new();
    let mut effort = bytes.len().saturating_mul(SALVAGE_EFFORT);
    let mut at = 0;
    while let Some(rest) = bytes.get(at..).filter(|rest| rest.len() >= record::HEADER) {
        match record_at(place, rest, numbers, &mut effort) {
            Some(frame) => {
                let here = at;
                at += frame.len;
                pieces.push(Piece { at: here, frame });
            }
            None => at += 8,
        }
    }
    pieces
}

/// All sound body headers in `bytes` whose record numbers are in `numbers`, with their offsets. What lies inside a body
/// is the message's: a copy of a segment may have been sent by mail.
pub(super) fn search_bodies(
    place: Place,
    bytes: &[u8],
    numbers: &Range<u64>,
) -> Vec<(usize, BodyHeader<'static>)> {
    let mut bodies = Vec::new();
    let mut effort = bytes.len().saturating_mul(SALVAGE_EFFORT);
    let mut at = 0;
    while let Some(rest) = bytes.get(at..).filter(|rest| rest.len() >= body::FIXED) {
        match body_at(place, rest, numbers, &mut effort) {
            Some(header) => {
                let here = at;
                at += len_with_body(&header);
                bodies.push((here, header));
            }
            None => at += 8,
        }
    }
    bodies
}

/// What can be told from bytes in which no batch has a sound head.
#[derive(Debug, Default)]
pub(super) struct Salvage<'b> {
    /// Records by number, each once.
    pub(super) pieces: Vec<Piece<'b>>,
    /// Bodies by offset in the bytes.
    pub(super) bodies: Vec<(usize, BodyHeader<'static>)>,
}

/// Looks for records and bodies whose numbers are in `numbers`, one by one. In front of a body lies its record, and behind
/// its header nothing but the message: what looks like a record or a body there is passed over, and where a number is
/// found twice all the same the first is the log's, as a batch can hold copies only of what was there before it.
pub(super) fn salvage<'b>(place: Place, bytes: &'b [u8], numbers: &Range<u64>) -> Salvage<'b> {
    let mut found = Salvage::default();
    let mut effort = bytes.len().saturating_mul(SALVAGE_EFFORT);
    let mut at = 0;
    while let Some(rest) = bytes.get(at..).filter(|rest| rest.len() >= record::HEADER) {
        let here = at;
        if let Some(frame) = record_at(place, rest, numbers, &mut effort) {
            at += frame.len;
            found.pieces.push(Piece { at: here, frame });
        } else if let Some(header) = body_at(place, rest, numbers, &mut effort) {
            at += len_with_body(&header);
            found.bodies.push((here, header));
        } else {
            at += 8;
        }
    }
    found.pieces.sort_by_key(|piece| piece.frame.header.number);
    found.pieces.dedup_by_key(|piece| piece.frame.header.number);
    found
}

impl Salvage<'_> {
    /// Where the body of a record lies in the bytes.
    pub(super) fn body_of(&self, number: u64) -> Option<usize> {
        let found = self.bodies.iter().find(|(_, body)| body.number == number);
        found.map(|(at, _)| *at)
    }
}

/// The sound record at the start of `bytes`, if its number is one of these. What is tried in vain is taken off `effort`.
fn record_at<'b>(
    place: Place,
    bytes: &'b [u8],
    numbers: &Range<u64>,
    effort: &mut usize,
) -> Option<Frame<'b>> {
    let (len, number) = (word(bytes, 4) as usize, long(bytes, 16));
    if !numbers.contains(&number) || len > bytes.len() || len > *effort {
        return None;
    }
    let frame = Frame::decode(place, bytes).ok();
    *effort -= if frame.is_some() { 0 } else { len };
    frame
}

/// As [`record_at`], of a body's header.
fn body_at(
    place: Place,
    bytes: &[u8],
    numbers: &Range<u64>,
    effort: &mut usize,
) -> Option<BodyHeader<'static>> {
    let (len, number) = (word(bytes, 4) as usize, long(bytes, 8));
    if !numbers.contains(&number) || len > bytes.len() || len > *effort {
        return None;
    }
    let header = BodyHeader::decode(place, bytes).ok();
    *effort -= if header.is_some() { 0 } else { len };
    header
}

/// Bytes that a body takes with its header.
fn len_with_body(header: &BodyHeader<'_>) -> usize {
    let len = header
        .encoded_len()
        .saturating_add(header.stored_len as usize);
    padded(len, 8)
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let found = bytes
        .get(at..at + 4)
        .and_then(|found| found.try_into().ok());
    u32::from_le_bytes(found.unwrap_or_default())
}

fn long(bytes: &[u8], at: usize) -> u64 {
    let found = bytes
        .get(at..at + 8)
        .and_then(|found| found.try_into().ok());
    u64::from_le_bytes(found.unwrap_or_default())
}

/// Copies `range` of a file to the end of `to`, in pieces. Pages that the disk does not give are left out: zeroes.
pub(super) fn copy(from: &dyn File, range: Range<u64>, to: &dyn File) -> std::io::Result<()> {
    let mut buffer = vec![0; WINDOW];
    let mut at = range.start;
    while at < range.end {
        let len = usize::try_from(range.end - at)
            .unwrap_or(usize::MAX)
            .min(WINDOW);
        let mut piece = buffer.get_mut(..len).unwrap_or_default();
        let mut tried = from.read_at(piece, at);
        if tried.is_err() && len > PAGE {
            piece = buffer.get_mut(..PAGE).unwrap_or_default();
            tried = from.read_at(piece, at);
        }
        let read = tried.unwrap_or_else(|_| {
            piece.fill(0);
            piece.len()
        });
        if read == 0 {
            break;
        }
        to.write_at(&[piece.get(..read).unwrap_or_default()], at - range.start)?;
        at += read as u64;
    }
    Ok(())
}

/// Hashes the first `len` bytes of a file.
pub(super) fn digest(file: &dyn File, len: u64) -> std::io::Result<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    while at < len {
        let want = usize::try_from(len - at)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let piece = buffer.get_mut(..want).unwrap_or_default();
        let read = file.read_at(piece, at)?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        hasher.update(piece.get(..read).unwrap_or_default());
        at += read as u64;
    }
    Ok(hasher.finalize())
}
