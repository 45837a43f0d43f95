//! What the disk did not give when the batches were read it may give later.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::{Segment, Table, walk};
use crate::format::PAGE;

/// Batches of which the disk gave a part.
#[derive(Clone, Debug)]
pub(super) struct Part {
    /// The first page that it did not give; `None` where it did not tell the length of the file.
    pub(super) page: Option<u64>,
    /// As far as they were read, and for which records.
    pub(super) limit: u64,
    pub(super) numbers: Range<u64>,
    pub(super) source: Arc<io::Error>,
}

impl Segment {
    /// Reads batches again of which the disk did not give a part; whether more is known now. It is asked for one page of
    /// what was missing, first: as long as that is in vain no more is read.
    pub(super) fn read_again(&self) -> bool {
        let _reading = self.reading.lock();
        let Some(part) = self.part.lock().clone() else {
            return false;
        };
        let found = self.file().ok().filter(|file| match part.page {
            Some(page) => {
                let len = (part.limit.max(page) - page).min(PAGE as u64);
                let mut bytes = vec![0; usize::try_from(len).unwrap_or(PAGE)];
                file.read_at(&mut bytes, page).is_ok()
            }
            None => file.len().is_ok(),
        });
        let found = found.and_then(|file| {
            walk::places(&file, self.place, part.limit, part.numbers.clone()).ok()
        });
        let Some(found) = found else { return false };
        // Once more that page, or one in front of it: then nothing has come of it.
        let more = found.refusal.is_none() || found.refused > part.page;
        if let Table::Open { places, .. } = &mut *self.table.write() {
            if part.limit == 0 && places.next() < found.places.next() {
                places.end_at(found.places.next());
            }
            places.fill(&found.places);
        }
        if part.limit == 0 {
            self.set_end(self.end().max(found.end));
        }
        *self.part.lock() = found.refusal.map(|source| Part {
            page: found.refused,
            source,
            ..part
        });
        more
    }
}
