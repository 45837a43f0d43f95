//! A segment as it is read: records and bodies by number, verified.
//!
//! A segment that the list names costs a few words until it is used: its file is opened at the first read, and where its
//! records are is found out then, from the footer or by reading the batches once.

mod again;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::sync::{Mutex, RwLock};
use bytes::Bytes;

use self::again::Part;
use super::body::{Body, Verified};
use super::files::{Files, Slot};
use super::footing::{self, Footer};
use super::ledger::allow;
use super::places::Places;
use super::scan::Scanner;
use super::walk;
use super::window::Window;
use crate::error::{Error, Result};
use crate::format::body;
use crate::format::change::Change;
use crate::format::footer::{RecordAt, Trailer};
use crate::format::record::{self, Frame, RecordHeader};
use crate::format::segment::{Place, SegmentHeader};
use crate::format::{Fault, PAGE};
use crate::io::File;
use crate::switch::Switch;

/// One segment of the log.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(super) header: SegmentHeader,
    pub(super) place: Place,
    /// Full path, for errors.
    path: String,
    files: Arc<Files>,
    slot: Arc<Slot>,
    /// Where its batches end; 0 while that is not known.
    end: AtomicU64,
    /// Number after its last record as the list says; 0 where it does not.
    next_record: AtomicU64,
    table: RwLock<Table>,
    /// Held while the batches are read to find the records, so that this is done once.
    reading: Mutex<()>,
    /// Where SEGMENTS says that the footer begins, sound or not; 0 for none.
    footer_at: AtomicU64,
    /// Whether the footer turned out to be bad: it wants a new one.
    bad_footer: AtomicBool,
    /// What the disk said when it did not give a part of the batches: what is missing since may be there later.
    refusal: OnceLock<Arc<std::io::Error>>,
    /// The same, of what was read since the opening: that is read again.
    part: Mutex<Option<Part>>,
    pub(super) verified: Verified,
}

/// Where the records are.
#[derive(Debug)]
enum Table {
    /// In memory. Those in front of the first of them lie in front of `unread`, and were not read yet.
    Open { places: Places, unread: u64 },
    /// In the footer, of which the trailer was not read yet.
    Listed,
    /// In the footer.
    Sealed(Arc<Footer>),
    /// Only in the batches themselves.
    Unknown,
}

/// What has to be done before a table answers.
enum Step {
    ReadTrailer,
    ReadBatches,
    ReadAgain(Option<RecordAt>),
    Ask(Arc<Footer>),
}

/// What the list says of a segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    /// Whether it has a footer.
    pub(super) sealed: bool,
    /// Where its batches end; 0 if not known.
    pub(super) end: u64,
    /// Number after its last record; 0 if not known.
    pub(super) next_record: u64,
}

impl Segment {
    /// A segment that was just made: its file is pinned.
    pub(super) fn new(
        header: SegmentHeader,
        path: String,
        name: String,
        file: Arc<dyn File>,
        files: &Arc<Files>,
    ) -> Self {
        let table = Table::Open {
            places: Places::from(header.first_record),
            unread: PAGE as u64,
        };
        let known = Known {
            sealed: false,
            end: PAGE as u64,
            next_record: 0,
        };
        Self::build(header, path, Slot::pinned(name, file), files, known, table)
    }

    /// A segment that the list names. Its file is not touched.
    pub(super) fn listed(
        header: SegmentHeader,
        path: String,
        name: String,
        files: &Arc<Files>,
        known: Known,
    ) -> Self {
        let table = if known.sealed {
            Table::Listed
        } else {
            Table::Unknown
        };
        Self::build(header, path, Slot::new(name), files, known, table)
    }

    fn build(
        header: SegmentHeader,
        path: String,
        slot: Arc<Slot>,
        files: &Arc<Files>,
        known: Known,
        table: Table,
    ) -> Self {
        Self {
            place: header.place(),
            header,
            path,
            files: Arc::clone(files),
            slot,
            end: AtomicU64::new(known.end),
            next_record: AtomicU64::new(known.next_record),
            table: RwLock::new(table),
            reading: Mutex::new(()),
            footer_at: AtomicU64::new(if known.sealed { known.end } else { 0 }),
            bad_footer: AtomicBool::new(false),
            refusal: OnceLock::new(),
            part: Mutex::default(),
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

    pub(super) fn slot(&self) -> &Arc<Slot> {
        &self.slot
    }

    /// The segment's file, opened if it is not.
    pub(super) fn file(&self) -> Result<Arc<dyn File>> {
        self.files.get(&self.slot).map_err(self.io("open"))
    }

    /// A scanner over its batches.
    pub(super) fn scanner(&self) -> Result<Scanner> {
        self.scanner_of(self.file()?)
    }

    /// As [`scanner`](Self::scanner), in a file of its name.
    pub(super) fn scanner_of(&self, file: Arc<dyn File>) -> Result<Scanner> {
        // The list could say anything.
        let len = file.len().map_err(self.io("measure"))?;
        let limit = self.end().min(len);
        Ok(Scanner::new(file, self.place, self.first_record(), limit))
    }

    /// Where its batches end, with the zeroes in front of a footer perhaps; 0 where nothing but the batches themselves says so and they were not read yet.
    pub(super) fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    pub(super) fn set_end(&self, end: u64) {
        self.end.store(end, Ordering::Release);
    }

    /// Number after its last record; its first one's where that is not known.
    pub(super) fn next_record(&self) -> u64 {
        let listed = self.next_record.load(Ordering::Acquire);
        let read = match &*self.table.read() {
            Table::Open { places, .. } => places.next(),
            _ => 0,
        };
        listed.max(read).max(self.first_record())
    }

    /// Tells the number of the first record behind it, where the list does not.
    pub(super) fn set_next_record(&self, next: u64) {
        self.next_record.store(next, Ordering::Release);
    }

    /// Whether its records are found through its footer.
    pub(super) fn is_sealed(&self) -> bool {
        matches!(*self.table.read(), Table::Sealed(_) | Table::Listed)
    }

    /// Whether the list says that it has a footer, sound or not.
    pub(super) fn is_listed_sealed(&self) -> bool {
        self.footer_at() != 0
    }

    /// Where the list says that its footer begins; 0 for none.
    pub(super) fn footer_at(&self) -> u64 {
        self.footer_at.load(Ordering::Acquire)
    }

    /// Whether its footer is bad; told once.
    pub(super) fn take_bad_footer(&self) -> bool {
        self.bad_footer.load(Ordering::Relaxed) && self.bad_footer.swap(false, Ordering::AcqRel)
    }

    /// Adds the places of records from `first` on; numbers between that were burned stay empty.
    pub(super) fn extend(&self, first: u64, added: impl Iterator<Item = RecordAt>) {
        if let Table::Open { places, .. } = &mut *self.table.write() {
            places.extend(first, added);
        }
    }

    /// Takes over the places that were read from `unread` on.
    pub(super) fn set_places(&self, places: Places, unread: u64) {
        *self.table.write() = Table::Open { places, unread };
    }

    /// Where all records are: reads what was not read yet.
    pub(super) fn places(&self) -> Result<Vec<RecordAt>> {
        while self.read_again() {}
        loop {
            let footer = match &*self.table.read() {
                Table::Open { places, .. } if places.first() <= self.first_record() => {
                    return Ok(places.list().to_vec());
                }
                Table::Sealed(footer) => Some(Arc::clone(footer)),
                _ => None,
            };
            match footer {
                Some(footer) => match footer.places(self) {
                    Ok(places) => return Ok(places),
                    Err(_) => self.distrust_footer(),
                },
                None => self.settle()?,
            }
        }
    }

    /// From now on the records are found through the footer.
    pub(super) fn set_sealed(&self, trailer: Trailer) {
        let next = trailer.first_record + u64::from(trailer.record_count);
        self.set_next_record(next);
        self.footer_at.store(trailer.footer_at, Ordering::Release);
        *self.table.write() = Table::Sealed(Arc::new(Footer::new(trailer)));
    }

    pub(super) fn io(&self, op: &'static str) -> impl Fn(std::io::Error) -> Error {
        move |source| Error::io(op, self.path.clone(), source)
    }

    pub(super) fn fault(&self, offset: u64, what: Fault) -> Error {
        Error::fault(self.path.clone(), offset, what)
    }

    /// Why a record is not there: lost, unless the disk did not give all of the segment when it was read.
    pub(super) fn lost(&self, _number: u64) -> Error {
        self.refusal().unwrap_or_else(|| self.fault(0, Fault::Lost))
    }

    /// The error of a segment of which a part could not be read.
    pub(super) fn refusal(&self) -> Option<Error> {
        let part = || {
            self.part
                .lock()
                .as_ref()
                .map(|part| Arc::clone(&part.source))
        };
        let source = self.refusal.get().cloned().or_else(part);
        source.map(|source| self.refused(&source))
    }

    pub(super) fn refused(&self, source: &Arc<std::io::Error>) -> Error {
        Error::Io {
            op: "read",
            path: self.path.clone(),
            source: Arc::clone(source),
        }
    }

    /// Notes that the disk did not give all of it.
    pub(super) fn set_refusal(&self, source: &Arc<std::io::Error>) {
        self.refusal.get_or_init(|| Arc::clone(source));
    }

    /// Bytes in memory: what is found in them stays found, whatever the disk does.
    pub(super) fn bytes(&self, offset: u64, len: usize) -> Result<Bytes> {
        let file = self.file()?;
        let read = file.copied(offset, len);
        read.map_err(|source| self.unread(&*file, offset, len, source))
    }

    /// Why `len` bytes at `at` were not read. That the file ends before is damage, of a length or of the file: trying again
    /// does not help.
    pub(super) fn unread(
        &self,
        file: &dyn File,
        at: u64,
        len: usize,
        source: std::io::Error,
    ) -> Error {
        match file.len() {
            Ok(there) if source.kind() == std::io::ErrorKind::UnexpectedEof => {
                let (len, needed) = (there.saturating_sub(at), len as u64);
                self.fault(at, Fault::Short { len, needed })
            }
            _ => self.io("read")(source),
        }
    }

    /// As [`bytes`](Self::bytes), of a few.
    pub(super) fn array<const N: usize>(&self, offset: u64) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        let file = self.file()?;
        let read = file.copy_to(&mut bytes, offset);
        read.map_err(|source| self.unread(&*file, offset, N, source))?;
        Ok(bytes)
    }

    fn place_of(&self, number: u64) -> Result<RecordAt> {
        let index = number
            .checked_sub(self.first_record())
            .ok_or_else(|| self.lost(number))?;
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        let at = loop {
            let step = match &*self.table.read() {
                Table::Open { places, .. } if number >= places.first() => {
                    match places.get(number) {
                        Some(at) if at.frame != 0 => break Some(at),
                        found => Step::ReadAgain(found),
                    }
                }
                Table::Open { .. } | Table::Unknown => Step::ReadBatches,
                Table::Listed => Step::ReadTrailer,
                Table::Sealed(footer) => Step::Ask(Arc::clone(footer)),
            };
            match step {
                Step::ReadTrailer => self.read_trailer()?,
                Step::ReadBatches => self.read_batches()?,
                Step::ReadAgain(_) if self.read_again() => {}
                Step::ReadAgain(found) => break found,
                Step::Ask(footer) => match footer.place(self, index) {
                    Ok(place) => break place,
                    // The batches say the same: the footer only saves reading them.
                    Err(_) => self.distrust_footer(),
                },
            }
        };
        at.filter(|at| at.frame != 0 || at.body != 0)
            .ok_or_else(|| self.lost(number))
    }

    /// Its footer, if it has a sound one.
    pub(super) fn footer(&self) -> Result<Option<Arc<Footer>>> {
        if matches!(*self.table.read(), Table::Listed) {
            self.read_trailer()?;
        }
        match &*self.table.read() {
            Table::Sealed(footer) => Ok(Some(Arc::clone(footer))),
            _ => Ok(None),
        }
    }

    /// Finds out where the records are, and where the batches end.
    pub(super) fn settle(&self) -> Result<()> {
        if matches!(*self.table.read(), Table::Listed) {
            self.read_trailer()?;
        }
        let unread = match &*self.table.read() {
            Table::Open { places, .. } => places.first() > self.first_record(),
            Table::Unknown => true,
            Table::Listed | Table::Sealed(_) => false,
        };
        if unread { self.read_batches() } else { Ok(()) }
    }

    /// The footer is not what was written: from now on the batches are asked.
    pub(super) fn distrust_footer(&self) {
        let mut table = self.table.write();
        if matches!(*table, Table::Listed | Table::Sealed(_)) {
            *table = Table::Unknown;
            self.bad_footer.store(true, Ordering::Release);
        }
    }

    /// The records were just read, and the footer is not what was written.
    pub(super) fn note_bad_footer(&self) {
        self.bad_footer.store(true, Ordering::Release);
    }

    /// Reads the trailer and believes it if it is this segment's.
    fn read_trailer(&self) -> Result<()> {
        let file = self.file()?;
        let Some(trailer) = footing::read_trailer(&*file) else {
            self.distrust_footer();
            return Ok(());
        };
        if Switch::TrailerForeign.on()
            && (trailer.store != self.header.store || trailer.segment != self.number())
        {
            return Err(self.fault(0, Fault::Foreign));
        }
        if !self.is_own(&trailer, &*file) {
            self.distrust_footer();
            return Ok(());
        }
        let mut table = self.table.write();
        if matches!(*table, Table::Listed) {
            *table = Table::Sealed(Arc::new(Footer::new(trailer)));
        }
        Ok(())
    }

    /// Whether a sound trailer is the one that the list speaks of, and the file as long as it says.
    pub(super) fn is_own(&self, trailer: &Trailer, file: &dyn File) -> bool {
        (trailer.store == self.header.store || !Switch::TrailerStore.on())
            && (trailer.segment == self.number() || !Switch::TrailerSegment.on())
            && (trailer.generation == self.header.generation || !Switch::TrailerGeneration.on())
            && (trailer.first_record == self.first_record() || !Switch::TrailerFirst.on())
            && (trailer.footer_at == self.footer_at() || !Switch::TrailerPlace.on())
            && trailer.features.writable().is_ok()
            // Before anything of the length that the trailer claims is allocated.
            && (file.len().ok() == Some(trailer.file_len()) || !Switch::TrailerLength.on())
    }

    /// Finds the records that were not found yet by reading the batches.
    fn read_batches(&self) -> Result<()> {
        let _reading = self.reading.lock();
        let (limit, next) = match &*self.table.read() {
            Table::Open { places, unread } if places.first() > self.first_record() => {
                (*unread, places.first())
            }
            Table::Unknown => (self.end(), self.next_record.load(Ordering::Acquire)),
            _ => return Ok(()),
        };
        self.check_header()?;
        let found = walk::places(&self.file()?, self.place, limit, self.first_record()..next)?;
        if let Some(refusal) = &found.refusal {
            // Where the disk gives nothing at all, nothing is known: it is read again by whoever asks next.
            let mut all = found.places.list().iter();
            if all.all(|place| *place == RecordAt::default()) {
                return Err(self.refused(refusal));
            }
            *self.part.lock() = Some(Part {
                page: found.refused,
                limit,
                numbers: self.first_record()..next,
                source: Arc::clone(refusal),
            });
        }
        let mut table = self.table.write();
        match &mut *table {
            Table::Open { places, .. } => places.lead(found.places),
            _ => {
                if self.end() == 0 {
                    self.set_end(found.end);
                }
                *table = Table::Open {
                    places: found.places,
                    unread: PAGE as u64,
                };
            }
        }
        Ok(())
    }

    /// Refuses a file that is another's, or of a newer format. A damaged header costs nothing: the list says the same.
    pub(super) fn check_header(&self) -> Result<()> {
        let mut page = vec![0; PAGE];
        let read = self.file()?.read_at(&mut page, 0).is_ok();
        let header = match SegmentHeader::decode(&page) {
            Ok(header) if read => header,
            Err(fault) if fault.is_newer() => return Err(self.fault(0, fault)),
            _ => return Ok(()),
        };
        if Switch::HeaderPlace.on()
            && (header.place() != self.place || header.store != self.header.store)
        {
            return Err(self.fault(0, Fault::Foreign));
        }
        allow(header.features, self.files.how()).map_err(|fault| self.fault(0, fault))
    }

    /// The record, its checksum verified.
    pub(super) fn record(&self, number: u64) -> Result<(RecordHeader, Change)> {
        self.record_in(&mut Window::default(), number)
    }

    /// As [`record`](Self::record), by way of a page that may have the next one too.
    pub(super) fn record_in(
        &self,
        window: &mut Window,
        number: u64,
    ) -> Result<(RecordHeader, Change)> {
        let at = u64::from(self.place_of(number)?.frame);
        let len = match window.get(self, at + 4, 4) {
            Some(len) => len.try_into().unwrap_or_default(),
            None => self.array(at + 4)?,
        };
        let len = u32::from_le_bytes(len) as usize;
        if at == 0 || !(record::HEADER..=record::LEN_MAX).contains(&len) {
            return Err(self.lost(number));
        }
        let alone;
        let bytes = match window.get(self, at, len) {
            Some(found) => found,
            None => {
                alone = self.bytes(at, len)?;
                &alone
            }
        };
        let frame = Frame::decode(self.place, bytes).map_err(|fault| self.fault(at, fault))?;
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
        let fixed: [u8; body::FIXED] = self.array(header_at)?;
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

    pub(super) fn index(&self, number: u64) -> usize {
        usize::try_from(number.saturating_sub(self.first_record())).unwrap_or(usize::MAX)
    }
}
