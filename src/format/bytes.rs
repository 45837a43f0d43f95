//! Little-endian numbers in and out of slices, without indexing and without trust in any length.

use super::{Fault, Features, VERSION, checksum};
use crate::switch::Switch;

/// The largest number of anything that is counted: records, batches, segments, generations.
pub(crate) const NUMBER_MAX: u64 = i64::MAX.unsigned_abs();

/// Reads one structure from front to back.
#[derive(Clone, Debug)]
pub(crate) struct Take<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Take<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// A structure of exactly `len` bytes that begins with `magic` and a version and ends in the checksum of all
    /// before it, positioned behind the version. These three keep their places in every version, so that a newer
    /// file is told from a damaged one.
    pub(crate) fn sealed(
        bytes: &'a [u8],
        len: usize,
        magic: u64,
        sum: Switch,
    ) -> Result<Self, Fault> {
        let mut take = Self::unversioned(bytes, len, magic, sum)?;
        match take.u16()? {
            VERSION => Ok(take),
            found => Err(Fault::Version {
                found,
                supported: VERSION,
            }),
        }
    }

    /// As [`sealed`](Self::sealed), of a structure that has no version of its own.
    pub(crate) fn unversioned(
        bytes: &'a [u8],
        len: usize,
        magic: u64,
        sum: Switch,
    ) -> Result<Self, Fault> {
        Self::new(bytes).magic(magic)?;
        let mut whole = Self::new(bytes);
        let covered = whole.slice(len.saturating_sub(4))?;
        let stored = whole.u32()?;
        sum.guard(|| check(checksum(0, covered), stored))?;
        Ok(Self {
            bytes: covered,
            at: 8,
        })
    }

    /// The three sets of feature bits; a must-know bit that this build does not know is refused.
    pub(crate) fn features(&mut self) -> Result<Features, Fault> {
        let features = Features {
            must_know: self.u32()?,
            read_only_safe: self.u32()?,
            ignorable: self.u32()?,
        };
        features.writable().map(|_| features)
    }

    /// A number that counts up and is therefore below 2^63: adding to it cannot overflow.
    pub(crate) fn number(&mut self, field: &'static str) -> Result<u64, Fault> {
        let found = self.u64()?;
        within(field, found, 0, NUMBER_MAX)?;
        Ok(found)
    }

    /// Bytes not taken yet.
    pub(crate) fn left(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    pub(crate) fn slice(&mut self, len: usize) -> Result<&'a [u8], Fault> {
        let end = self.at.checked_add(len);
        let found = end.and_then(|end| self.bytes.get(self.at..end));
        let Some(found) = found else {
            return Err(Fault::Short {
                len: self.bytes.len() as u64,
                needed: (self.at as u64).saturating_add(len as u64),
            });
        };
        self.at += len;
        Ok(found)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let slice = self.slice(N)?;
        slice.try_into().map_err(|_| Fault::Short {
            len: slice.len() as u64,
            needed: N as u64,
        })
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Fault> {
        self.array().map(u8::from_le_bytes)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Fault> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn i16(&mut self) -> Result<i16, Fault> {
        self.array().map(i16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Fault> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Fault> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn i64(&mut self) -> Result<i64, Fault> {
        self.array().map(i64::from_le_bytes)
    }

    /// Takes `len` bytes that must be zero.
    pub(crate) fn zeroes(&mut self, len: usize) -> Result<(), Fault> {
        let start = self.at as u64;
        match first_set(self.slice(len)?) {
            None => Ok(()),
            Some(at) => Err(Fault::Reserved {
                at: start + at as u64,
            }),
        }
    }

    /// Takes all that is left; it must be zero.
    pub(crate) fn end(mut self) -> Result<(), Fault> {
        self.zeroes(self.left())
    }

    /// Takes all that is left: fewer than 8 bytes, to a multiple of 8, all zero.
    pub(crate) fn padding(self) -> Result<(), Fault> {
        within("padding", self.left() as u64, 0, 7)?;
        self.end()
    }

    /// Text behind a 16-bit length.
    pub(crate) fn text(&mut self, field: &'static str) -> Result<&'a str, Fault> {
        let len = usize::from(self.u16()?);
        std::str::from_utf8(self.slice(len)?).map_err(|_| Fault::Text { field })
    }

    /// A magic number.
    pub(crate) fn magic(&mut self, expected: u64) -> Result<(), Fault> {
        match self.u64()? {
            found if found == expected => Ok(()),
            found => Err(Fault::Magic { found, expected }),
        }
    }
}

/// Where the first byte is that is not zero. Mostly there is none: asked of 64 bytes at a time.
fn first_set(bytes: &[u8]) -> Option<usize> {
    const PIECE: usize = 64;
    let pieces = bytes.chunks(PIECE);
    let zeroes = pieces.take_while(|piece| piece.iter().fold(0, |all, byte| all | byte) == 0);
    let from = (zeroes.count() * PIECE).min(bytes.len());
    let rest = bytes.get(from..).unwrap_or_default();
    rest.iter().position(|byte| *byte != 0).map(|at| from + at)
}

/// Writes one structure from front to back.
pub(crate) trait Put {
    fn put(&mut self, bytes: &[u8]);

    fn put_u8(&mut self, value: u8) {
        self.put(&value.to_le_bytes());
    }
    fn put_u16(&mut self, value: u16) {
        self.put(&value.to_le_bytes());
    }
    fn put_i16(&mut self, value: i16) {
        self.put(&value.to_le_bytes());
    }
    fn put_u32(&mut self, value: u32) {
        self.put(&value.to_le_bytes());
    }
    fn put_u64(&mut self, value: u64) {
        self.put(&value.to_le_bytes());
    }
    fn put_i64(&mut self, value: i64) {
        self.put(&value.to_le_bytes());
    }
    /// Text behind a 16-bit length. Names are bounded far below that when they are made.
    fn put_text(&mut self, text: &str) {
        let len = u16::try_from(text.len()).unwrap_or(u16::MAX);
        self.put_u16(len);
        self.put(text.as_bytes().get(..usize::from(len)).unwrap_or_default());
    }
}

impl Put for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Overwrites the four bytes at `at` with a number written earlier as a placeholder.
pub(crate) fn patch_u32(bytes: &mut [u8], at: usize, value: u32) {
    if let Some(place) = at.checked_add(4).and_then(|end| bytes.get_mut(at..end)) {
        place.copy_from_slice(&value.to_le_bytes());
    }
}

/// The stored checksum in front of a structure against the one of the bytes it covers.
pub(crate) fn check(found: u32, expected: u32) -> Result<(), Fault> {
    if found == expected {
        Ok(())
    } else {
        Err(Fault::Checksum { found, expected })
    }
}

/// Refuses a number outside its bounds.
pub(crate) fn within(field: &'static str, found: u64, min: u64, max: u64) -> Result<(), Fault> {
    if (min..=max).contains(&found) {
        Ok(())
    } else {
        Err(Fault::Range {
            field,
            found,
            min,
            max,
        })
    }
}
