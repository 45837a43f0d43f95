//! Zeroes ahead of the log in the segment that it is in, where that one was not prepared.
//!
//! Each sync of a file that has become longer writes metadata too. So whoever makes a segment longer by a small durable batch
//! does it for those that follow as well: their blocks were written before.

use super::spare::{BULK, PIECE, fill_from};
use super::writer::Active;
use crate::format::PAGE;
use crate::io::File;

/// How far the file of a segment reaches.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ahead {
    /// Its length, in bytes.
    len: u64,
    /// Bytes of the last batches, as long as they were small and durable.
    in_a_row: u64,
}

impl Ahead {
    /// Of a file that was just opened or made.
    pub(super) fn of(file: &dyn File) -> Self {
        Self {
            len: file.len().unwrap_or(0),
            in_a_row: 0,
        }
    }
}

impl Active {
    /// A batch of `len` bytes is written at the end, and not synced yet. Where it is small and durable and made the file
    /// longer, zeroes go behind it: as many as those in front of it took that were small and durable too, one after the
    /// other, so that zeroes are never most of what is written. An error is none of the batch's: the file grows.
    pub(super) fn zero_ahead(&mut self, len: u64, durable: bool) {
        let end = self.end + len;
        let counts = durable && len < BULK;
        let in_a_row = if counts { self.ahead.in_a_row } else { 0 };
        self.ahead.in_a_row = if counts { in_a_row + len } else { 0 };
        let grows = end > self.ahead.len;
        self.ahead.len = self.ahead.len.max(end);
        if in_a_row == 0 || !grows {
            return;
        }
        let to = (end + in_a_row.min(PIECE)).next_multiple_of(PAGE as u64);
        let to = to.min(self.capacity).max(end);
        match fill_from(&*self.file, end, to - end) {
            Ok(()) => self.ahead.len = to,
            Err(_) => self.ahead.in_a_row = 0,
        }
    }
}
