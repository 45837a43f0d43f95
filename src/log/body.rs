//! A message body that was found: read in place, verified before it is handed out.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::sync::RwLock;
use bytes::Bytes;

use super::segment::Segment;
use crate::error::{Error, Result};
use crate::format::body::BodyCheck;
use crate::format::{Fault, record};

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
