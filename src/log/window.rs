//! A page of a segment that was read: an account's records often lie side by side.

use super::segment::Segment;
use crate::format::PAGE;

/// The page that was read last, in memory.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// Which segment's, and where in it.
    place: Option<(u64, u64)>,
    page: Vec<u8>,
}

impl Window {
    /// `len` bytes of the segment at `offset`, where the page in which they begin has them all.
    pub(super) fn get(&mut self, segment: &Segment, offset: u64, len: usize) -> Option<&[u8]> {
        let inside = usize::try_from(offset % PAGE as u64).unwrap_or(0);
        self.turn_to(segment, offset - inside as u64);
        self.page.get(inside..inside.saturating_add(len))
    }

    /// Reads the page unless it is here. Where the disk does not give all of it, it has nothing: a part may be given.
    fn turn_to(&mut self, segment: &Segment, at: u64) {
        if self.place == Some((segment.number(), at)) {
            return;
        }
        self.page.resize(PAGE, 0);
        let file = segment.file();
        let read = file
            .ok()
            .and_then(|file| file.read_at(&mut self.page, at).ok());
        self.page.truncate(read.unwrap_or(0));
        self.place = Some((segment.number(), at));
    }
}
