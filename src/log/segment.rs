//! A segment as it is read: records and bodies by number, verified.

use std::ops::Range;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::RwLock;

use crate::error::{Error, Result};
use crate::format::body::{self, BodyCheck};
use crate::format::change::Change;
use crate::format::footer::{self, RecordAt, Trailer};
use crate::format::record::{self, Frame, RecordHeader};
use crate::format::segment::{Place, SegmentHeader};
use crate::format::{Fault, PAGE};
use crate::io::File;

/// One segment of the log.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(super) header: SegmentHeader,
    pub(super) place: Place,
    /// Full path, for errors.
    path: String,
    pub(super) file: Arc<dyn File>,
    /// Where its batches end.
    end: AtomicU64,
    table: RwLock<Table>,
    verified: Verified,
}

/// Where the records are.
#[derive(Debug)]
enum Table {
    /// In memory, while the segment has no footer.
    Open(Vec<RecordAt>),
    /// In the footer.
    Sealed(Footer),
}

/// A footer, read page by page, each verified once.
#[derive(Debug)]
pub(super) struct Footer {
    pub(super) trailer: Trailer,
    verified: Vec<AtomicU64>,
}

/// A message body that was found.
#[derive(Clone, Debug)]
pub(crate) struct Body {
    segment: Arc<Segment>,
    number: u64,
    header_at: u64,
    /// As the header says: not checked before the body is read.
    header_len: u32,
    len: u32,
}

impl Segment {
    pub(super) fn new(header: SegmentHeader, path: String, file: Arc<dyn File>) -> Self {
        let place = header.place();
        let table = RwLock::new(Table::Open(Vec::new()));
        let end = AtomicU64::new(PAGE as u64);
        Self {
            header,
            place,
            path,
            file,
            end,
            table,
            verified: Verified::default(),
        }
    }

    pub(super) fn first_record(&self) -> u64 {
        self.header.first_record
    }

    pub(super) fn number(&self) -> u64 {
        self.header.segment
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    pub(super) fn set_end(&self, end: u64) {
        self.end.store(end, Ordering::Release);
    }

    pub(super) fn is_sealed(&self) -> bool {
        matches!(*self.table.read(), Table::Sealed(_))
    }

    /// Adds the places of records from `first` on; numbers between that were burned stay empty.
    pub(super) fn extend(&self, first: u64, places: impl Iterator<Item = RecordAt>) {
        if let Table::Open(table) = &mut *self.table.write() {
            let at =
                usize::try_from(first.saturating_sub(self.first_record())).unwrap_or(usize::MAX);
            // A gap is numbers that failed groups burned: 8 bytes each.
            if at > table.len() {
                table.resize(at, RecordAt::default());
            }
            table.extend(places);
        }
    }

    pub(super) fn set_places(&self, places: Vec<RecordAt>) {
        *self.table.write() = Table::Open(places);
    }

    pub(super) fn places(&self) -> Vec<RecordAt> {
        match &*self.table.read() {
            Table::Open(places) => places.clone(),
            Table::Sealed(_) => Vec::new(),
        }
    }

    /// From now on the records are found through the footer.
    pub(super) fn set_sealed(&self, trailer: Trailer) {
        let pages = trailer.checksums_at() / PAGE + 1;
        let verified = std::iter::repeat_with(AtomicU64::default)
            .take(pages.div_ceil(64))
            .collect();
        *self.table.write() = Table::Sealed(Footer { trailer, verified });
    }

    pub(super) fn io(&self, op: &'static str) -> impl Fn(std::io::Error) -> Error {
        let path = self.path.clone();
        move |source| Error::io(op, path.clone(), source)
    }

    pub(super) fn fault(&self, offset: u64, what: Fault) -> Error {
        Error::fault(self.path.clone(), offset, what)
    }

    pub(super) fn lost(&self, _number: u64) -> Error {
        self.fault(0, Fault::Lost)
    }

    fn bytes(&self, offset: u64, len: usize) -> Result<Bytes> {
        self.file.bytes(offset, len).map_err(self.io("read"))
    }

    fn place_of(&self, number: u64) -> Result<RecordAt> {
        let index = number
            .checked_sub(self.first_record())
            .ok_or_else(|| self.lost(number))?;
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        let at = match &*self.table.read() {
            Table::Open(table) => table.get(index).copied(),
            Table::Sealed(footer) => footer.place(self, index)?,
        };
        at.filter(|at| at.frame != 0 || at.body != 0)
            .ok_or_else(|| self.lost(number))
    }

    /// The record, its checksum verified.
    pub(super) fn record(&self, number: u64) -> Result<(RecordHeader, Change)> {
        let at = u64::from(self.place_of(number)?.frame);
        let len = self.bytes(at + 4, 4)?;
        let len = u32::from_le_bytes(len.as_ref().try_into().unwrap_or_default()) as usize;
        if at == 0 || !(record::HEADER..=record::LEN_MAX).contains(&len) {
            return Err(self.lost(number));
        }
        let bytes = self.bytes(at, len)?;
        let frame = Frame::decode(self.place, &bytes).map_err(|fault| self.fault(at, fault))?;
        if frame.header.number != number {
            let (found, expected) = (frame.header.number, number);
            return Err(self.fault(
                at,
                Fault::Mismatch {
                    field: "record number",
                    found,
                    expected,
                },
            ));
        }
        let change = frame.change().map_err(|fault| self.fault(at, fault))?;
        Ok((frame.header, change))
    }

    /// The body that record `number` brought, if it brought one.
    pub(super) fn own_body(self: &Arc<Self>, number: u64) -> Result<Option<Body>> {
        match self.place_of(number)?.body {
            0 => Ok(None),
            at => self.body_at(number, at.into()).map(Some),
        }
    }

    pub(super) fn has_body(&self, number: u64) -> Result<bool> {
        Ok(self.place_of(number)?.body != 0)
    }

    /// The body whose header is at `header_at`. What is read here is only where to look: reading the body checks it.
    pub(super) fn body_at(self: &Arc<Self>, number: u64, header_at: u64) -> Result<Body> {
        let fixed = self.bytes(header_at, body::FIXED)?;
        let word = |at: usize| {
            let bytes = fixed.get(at..at + 4).and_then(|word| word.try_into().ok());
            u32::from_le_bytes(bytes.unwrap_or_default())
        };
        Ok(Body {
            segment: Arc::clone(self),
            number,
            header_at,
            header_len: word(4),
            len: word(40),
        })
    }

    fn index(&self, number: u64) -> usize {
        usize::try_from(number.saturating_sub(self.first_record())).unwrap_or(usize::MAX)
    }
}

impl Footer {
    /// The place of the record at `index`, its page verified.
    fn place(&self, segment: &Segment, index: usize) -> Result<Option<RecordAt>> {
        if index >= self.trailer.record_count as usize {
            return Ok(None);
        }
        let at = index * footer::RECORD_ENTRY;
        self.verify_page(segment, at / PAGE)?;
        let entry = segment.bytes(self.trailer.footer_at + at as u64, footer::RECORD_ENTRY)?;
        RecordAt::decode(&entry)
            .map(Some)
            .map_err(|fault| segment.fault(self.trailer.footer_at + at as u64, fault))
    }

    fn verify_page(&self, segment: &Segment, page: usize) -> Result<()> {
        let word = self.verified.get(page / 64);
        let bit = 1 << (page % 64);
        if word.is_some_and(|word| word.load(Ordering::Relaxed) & bit != 0) {
            return Ok(());
        }
        let start = self.trailer.footer_at;
        let table_at = start + self.trailer.checksums_at() as u64;
        let table = segment.bytes(
            table_at,
            self.trailer.trailer_at() - self.trailer.checksums_at(),
        )?;
        self.trailer
            .verify_checksums(&table)
            .map_err(|fault| segment.fault(table_at, fault))?;
        let page_at = start + (page * PAGE) as u64;
        let content = segment.bytes(page_at, PAGE)?;
        footer::verify_page(segment.place, &table, page, &content)
            .map_err(|fault| segment.fault(page_at, fault))?;
        if let Some(word) = word {
            word.fetch_or(bit, Ordering::Relaxed);
        }
        Ok(())
    }
}

impl Body {
    /// The bytes, verified in this process. No copy where the segment is mapped.
    pub(crate) fn bytes(&self) -> Result<Bytes> {
        self.range(0..self.len as usize)
    }

    /// Part of the bytes; only the chunks it touches are verified. The range is cut to the body.
    pub(crate) fn range(&self, range: Range<usize>) -> Result<Bytes> {
        let len = self.len as usize;
        let end = range.end.min(len);
        let start = range.start.min(end);
        let index = self.segment.index(self.number);
        if self.segment.verified.get(index) {
            let at = self.header_at + u64::from(self.header_len) + start as u64;
            return self.segment.bytes(at, end - start);
        }
        let bytes = self.verified(start..end)?;
        if end - start == len {
            self.segment.verified.set(index);
        }
        Ok(bytes.slice(start..end))
    }

    /// Reads and checks everything again, whatever was verified before.
    pub(crate) fn recheck(&self) -> Result<Bytes> {
        self.verified(0..self.len as usize)
    }

    /// All the bytes, of which the chunks that `range` touches are verified.
    fn verified(&self, range: Range<usize>) -> Result<Bytes> {
        let (header_len, len) = (self.header_len as usize, self.len as usize);
        let mut header = self.segment.bytes(self.header_at, header_len + len)?;
        let bytes = header.split_off(header_len);
        let at = self.header_at + u64::from(self.header_len);
        self.check_header(&header)?
            .verify(&bytes, range)
            .map_err(|fault| self.segment.fault(at, fault))?;
        Ok(bytes)
    }

    /// The header, sound and this record's.
    fn check_header<'a>(&self, bytes: &'a [u8]) -> Result<BodyCheck<'a>> {
        let fault = |fault| self.segment.fault(self.header_at, fault);
        let header = BodyCheck::new(self.segment.place, bytes).map_err(fault)?;
        if header.number == self.number {
            return Ok(header);
        }
        Err(fault(Fault::Mismatch {
            field: "body's record number",
            found: header.number,
            expected: self.number,
        }))
    }

    /// Length of the file it lies in.
    pub(super) fn file_len(&self) -> u64 {
        self.segment.file.len().unwrap_or(0)
    }

    /// The bytes pass their checksums and are not what was delivered.
    pub(crate) fn wrong_digest(&self) -> Error {
        self.segment.fault(self.header_at, Fault::Digest)
    }
}

/// Which records' bodies were verified in this process: a bitmap in pieces, so that it costs nothing for what is
/// never read.
#[derive(Debug, Default)]
struct Verified {
    /// Piece `n` covers the records from `n * PIECE` on.
    pieces: RwLock<Vec<OnceLock<Box<[AtomicU64; PIECE / 64]>>>>,
}

/// Records that one piece of the bitmap covers.
const PIECE: usize = 4096;

/// Most records that a segment can hold: one takes at least a record header.
const RECORDS_MAX: usize = (crate::options::SEGMENT_LEN_MAX as usize) / record::HEADER;

impl Verified {
    fn get(&self, index: usize) -> bool {
        let pieces = self.pieces.read();
        let word = pieces
            .get(index / PIECE)
            .and_then(OnceLock::get)
            .and_then(|piece| piece.get(index % PIECE / 64));
        word.is_some_and(|word| word.load(Ordering::Relaxed) & (1 << (index % 64)) != 0)
    }

    fn set(&self, index: usize) {
        if index > RECORDS_MAX {
            return;
        }
        if self.pieces.read().len() <= index / PIECE {
            self.pieces
                .write()
                .resize_with(index / PIECE + 1, OnceLock::new);
        }
        let pieces = self.pieces.read();
        let Some(piece) = pieces.get(index / PIECE) else {
            return;
        };
        let piece = piece.get_or_init(|| Box::new([const { AtomicU64::new(0) }; PIECE / 64]));
        if let Some(word) = piece.get(index % PIECE / 64) {
            word.fetch_or(1 << (index % 64), Ordering::Relaxed);
        }
    }
}
