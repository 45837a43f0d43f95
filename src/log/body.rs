//! A message body that was found: read in place, verified before it is handed out.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::sync::RwLock;
use bytes::Bytes;

use super::segment::Segment;
use crate::error::{Error, Result};
use crate::format::body::{self, BodyCheck};
use crate::format::bytes::within;
use crate::format::{CHUNK, Fault, record};
use crate::io::{File, Held, not_read};
use crate::switch::Switch;

/// Most headers of bodies are no longer: of one chunk, or of a few owners.
const SHORT: usize = 128;

/// A message body that was found.
#[derive(Clone, Debug)]
pub(crate) struct Body {
    pub(super) segment: Arc<Segment>,
    pub(super) number: u64,
    pub(super) header_at: u64,
    /// As the header says: not checked before the body is read.
    pub(super) header_len: u32,
    pub(super) len: u32,
}

impl Body {
    /// The bytes, verified in this process. No copy where the segment is mapped.
    pub(crate) fn bytes(&self) -> Result<Bytes> {
        self.range(0..self.len as usize)
    }

    /// Part of the bytes; only the chunks it touches are verified. The range is cut to the body.
    pub(crate) fn range(&self, range: Range<usize>) -> Result<Bytes> {
        self.with(range, true, Bytes::clone)
    }

    /// What `act` makes of all the bytes, which were right from before it to after it.
    pub(crate) fn read<T>(&self, act: impl Fn(&Bytes) -> T) -> Result<T> {
        self.with(0..self.len as usize, true, act)
    }

    /// As [`read`](Self::read); reads and checks everything again, whatever was verified before.
    pub(crate) fn recheck<T>(&self, act: impl Fn(&Bytes) -> T) -> Result<T> {
        self.with(0..self.len as usize, false, act)
    }

    /// What `act` makes of a range. `trusting`: a mapped body that was verified before is not verified again, but its
    /// pages are looked at: what cannot be read now is not handed out.
    fn with<T>(&self, range: Range<usize>, trusting: bool, act: impl Fn(&Bytes) -> T) -> Result<T> {
        let file = self.segment.file()?;
        // Where a page of a mapping could not be read, the same file is read into memory the second time.
        for _ in 0..2 {
            let read = self.try_with(&*file, range.clone(), trusting, &act);
            match read {
                Ok(Some(made)) => return Ok(made),
                Ok(None) => {}
                Err(error) => return Err(error),
            }
        }
        let source = not_read(self.header_at, self.len as usize);
        Err(self.segment.io("read")(source))
    }

    /// As [`with`](Self::with); `None` where a page could not be read, and nothing that was found counts.
    fn try_with<T>(
        &self,
        file: &dyn File,
        range: Range<usize>,
        trusting: bool,
        act: &impl Fn(&Bytes) -> T,
    ) -> Result<Option<T>> {
        let len = self.len as usize;
        let end = range.end.min(len);
        let start = range.start.min(end);
        // Checksums are of whole chunks.
        let (from, to) = (start / CHUNK * CHUNK, end.next_multiple_of(CHUNK).min(len));
        let index = self.segment.index(self.number);
        let body_at = self.header_at + u64::from(self.header_len);
        let hold = || {
            let (at, len) = (body_at + from as u64, to - from);
            let held = file.held(at, len);
            held.map_err(|source| self.segment.unread(file, at, len, source))
        };
        let mut seen = None;
        if trusting && self.segment.verified.get(index) {
            let held = hold()?;
            if !held.is_readable() {
                return Ok(None);
            }
            seen = Some(held).filter(Held::is_mapped);
        }
        let held = if let Some(held) = seen {
            held
        } else {
            body::check_header_len(self.header_len)
                .map_err(|fault| self.segment.fault(self.header_at, fault))?;
            let (at, len) = (self.header_at, self.header_len as usize);
            let (mut short, long);
            let header = if len <= SHORT {
                short = [0; SHORT];
                let header = short.get_mut(..len).unwrap_or_default();
                let read = file.copy_to(header, at);
                read.map_err(|source| self.segment.unread(file, at, len, source))?;
                &*header
            } else {
                let read = file.copied(at, len);
                long = read.map_err(|source| self.segment.unread(file, at, len, source))?;
                &*long
            };
            // Before anything of a length that it says is read.
            let header = self.check_header(header)?;
            let held = hold()?;
            let verified = header.verify_chunks(from / CHUNK, &held);
            if !held.is_good() {
                return Ok(None);
            }
            verified.map_err(|fault| self.segment.fault(body_at, fault))?;
            held
        };
        let part = held.slice(start - from..end - from);
        let made = act(&part);
        if !held.is_good() {
            return Ok(None);
        }
        // What is read anew each time is verified each time.
        if end - start == len && held.is_mapped() {
            self.segment.verified.set(index);
        }
        Ok(Some(made))
    }

    /// The header, sound and this record's.
    fn check_header<'a>(&self, bytes: &'a [u8]) -> Result<BodyCheck<'a>> {
        let fault = |fault| self.segment.fault(self.header_at, fault);
        let header = BodyCheck::new(self.segment.place, bytes).map_err(fault)?;
        if header.number == self.number || !Switch::BodyNumber.on() {
            // Both were read before anything was verified.
            let (found, expected) = (self.len.into(), header.stored_len.into());
            within("body length", found, expected, expected).map_err(fault)?;
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
        let len = self.segment.file().ok().and_then(|file| file.len().ok());
        len.unwrap_or(0)
    }

    /// The bytes pass their checksums and are not what was delivered.
    pub(crate) fn wrong_digest(&self) -> Error {
        self.segment.fault(self.header_at, Fault::Digest)
    }
}

/// Which records' bodies were verified in this process: a bitmap in pieces, so that it costs nothing for what is
/// never read.
#[derive(Debug, Default)]
pub(super) struct Verified {
    /// Piece `n` covers the records from `n * PIECE` on.
    pieces: RwLock<Vec<OnceLock<Box<[AtomicU64; PIECE / 64]>>>>,
}

/// Records that one piece of the bitmap covers.
const PIECE: usize = 4096;

/// Most records that a segment can hold: one takes at least a record header.
const RECORDS_MAX: usize = (crate::options::SEGMENT_LEN_MAX as usize) / record::HEADER;

impl Verified {
    pub(super) fn get(&self, index: usize) -> bool {
        let pieces = self.pieces.read();
        let word = pieces
            .get(index / PIECE)
            .and_then(OnceLock::get)
            .and_then(|piece| piece.get(index % PIECE / 64));
        word.is_some_and(|word| word.load(Ordering::Relaxed) & (1 << (index % 64)) != 0)
    }

    pub(super) fn set(&self, index: usize) {
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
