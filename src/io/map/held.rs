//! Bytes of a file that are held for a while, and whether they are still the file's.

use std::hint::black_box;
use std::ops::{Deref, Range};

use bytes::Bytes;

use super::table::Slot;
use crate::io::direct::PAGE;

/// Bytes of a file: in memory of their own, or in a mapping, where they may turn to zeroes when the disk fails.
///
/// Whatever is made of mapped bytes counts only if [`is_good`](Held::is_good) says so *afterwards*.
#[derive(Clone, Debug)]
pub struct Held {
    bytes: Bytes,
    /// The mapping's place in the table. It is that mapping's for as long as `bytes` are held, which a slice of another
    /// mapping never becomes.
    slot: Option<&'static Slot>,
}

impl Held {
    pub(super) fn mapped(bytes: Bytes, slot: &'static Slot) -> Self {
        let slot = Some(slot).filter(|_| !bytes.is_empty());
        Self { bytes, slot }
    }

    pub(super) fn owned(bytes: Bytes) -> Self {
        Self { bytes, slot: None }
    }

    /// Whether the bytes lie in a mapping; otherwise they never change.
    #[must_use]
    pub fn is_mapped(&self) -> bool {
        self.slot.is_some()
    }

    /// Whether all that was read of the bytes until now was the file's.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.slot.is_none_or(Slot::is_good)
    }

    /// Whether all pages can be read now: looks at each of them.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        if self.is_mapped() {
            let pages = self.bytes.iter().step_by(PAGE).chain(self.bytes.last());
            black_box(pages.fold(0, |all, byte| all ^ byte));
        }
        self.is_good()
    }

    /// Part of the bytes, which is to lie inside them.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Self {
        let bytes = match self.bytes.get(range) {
            Some(part) => self.bytes.slice_ref(part),
            None => Bytes::new(),
        };
        Self { bytes, ..*self }
    }

    /// A copy that never changes; the bytes themselves where they do not. `None` where a page could not be read.
    #[must_use]
    pub fn copy(&self) -> Option<Bytes> {
        let copy = if self.is_mapped() {
            Bytes::copy_from_slice(&self.bytes)
        } else {
            self.bytes.clone()
        };
        self.is_good().then_some(copy)
    }

    /// As [`copy`](Self::copy), into `buf`, which is as long; whether the copy is good.
    #[must_use]
    pub fn copy_to(&self, buf: &mut [u8]) -> bool {
        if let Some(to) = buf.get_mut(..self.bytes.len()) {
            to.copy_from_slice(&self.bytes);
        }
        self.is_good() && buf.len() == self.bytes.len()
    }

    /// The bytes; whether they are good is then told by [`still_good`](crate::still_good).
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }
}

impl From<Bytes> for Held {
    /// Looks up whether the bytes are mapped.
    fn from(bytes: Bytes) -> Self {
        let found = Slot::find(bytes.as_ptr().addr()).filter(|_| !bytes.is_empty());
        let slot = found.map(|(slot, ..)| slot);
        Self { bytes, slot }
    }
}

impl Deref for Held {
    type Target = Bytes;

    fn deref(&self) -> &Bytes {
        &self.bytes
    }
}
