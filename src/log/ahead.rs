//! Zeroes ahead of the log in the segment that it is in, where that one was not prepared.
//!
//! Each sync of a file that has become longer writes metadata too. So whoever makes a segment longer by a small durable batch
//! does it for those that follow as well: their blocks were written before.

use super::spare::{BULK, PIECE, fill_from};
use super::writer::Active;
use crate::format::PAGE;
use crate::io::File;

/// What the file of a segment has room for, and whether it should have more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ahead {
    /// Length of the file, in bytes; endless where no zeroes are wanted any more.
    len: u64,
    /// Bytes of the last batches, as long as they were small and durable.
    in_a_row: u64,
}

impl Ahead {
    /// Of a file as it is now.
    pub(super) fn of(file: &dyn File) -> Self {
        Self {
            len: file.len().unwrap_or(u64::MAX),
            in_a_row: 0,
        }
    }
}

impl Active {
    /// A batch of `len` bytes is going to be written at the end. Where it makes the file longer, and it and those in front of
    /// it were small and all of them `want` it, zeroes are written behind its place: as many as those took, up to the next page,
    /// so that about as much is written twice as is gained.
    ///
    /// An error is none of the batch's: all in front of it is synced, so it can only be over these zeroes. The file is cut
    /// to what it was, and grows.
    pub(super) fn zero_ahead(&mut self, len: u64, want: bool) {
        let in_a_row = self.ahead.in_a_row;
        let end = self.end + len;
        let grows = end > self.ahead.len;
        let small = want && len < BULK;
        self.ahead.in_a_row = if small { in_a_row + len } else { 0 };
        if !grows {
            return;
        }
        let before = std::mem::replace(&mut self.ahead.len, end);
        if !small || in_a_row == 0 {
            return;
        }
        let to = (end + in_a_row.min(PIECE)).next_multiple_of(PAGE as u64);
        let to = to.min(self.capacity).max(end);
        match fill_from(&*self.file, end, to - end) {
            Ok(()) => self.ahead.len = to,
            Err(_) => {
                // A full disk gets back what it gave.
                let _ = self.file.set_len(before);
                self.ahead.len = u64::MAX;
            }
        }
    }
}
