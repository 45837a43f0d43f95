//! Bytes to values and back: pure functions over slices. No files, no clocks, no locks.
//!
//! FORMAT.md (included below) is the contract; the code points at its sections and does not repeat its tables.
//! Reading order: [`fault`](Fault), `bytes`, [`segment`], [`batch`], [`record`], [`change`], [`body`], [`footer`],
//! then the small files beside the log: [`manifest`], [`segments`], [`tail`].
#![doc = include_str!("../../docs/FORMAT.md")]

pub mod batch;
pub mod body;
pub(crate) mod bytes;
pub mod change;
mod checksum;
mod fault;
pub mod footer;
mod hex;
pub mod manifest;
pub mod record;
pub mod segment;
pub mod segments;
pub mod tail;
#[cfg(test)]
mod tests;

pub use checksum::checksum;
pub use fault::Fault;
pub use hex::hexdump;

/// Version of the format that this build writes, and the newest it reads. FORMAT.md section 2.
pub const VERSION: u16 = 1;

/// Size of the unit in which devices tear a write, in bytes; batches are padded to it.
pub const SECTOR: usize = 512;

/// Size of a header page and of a footer block, in bytes.
pub const PAGE: usize = 4096;

/// Bytes of a body that share one checksum.
pub const CHUNK: usize = 64 * 1024;

/// The store's identity, chosen at creation, in every file. FORMAT.md section 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StoreId(pub [u8; 16]);

/// Feature bits of a file: what a reader that does not know a bit must do. FORMAT.md section 2.
///
/// This build writes one, an ignorable one of footers ([`footer::Trailer::merged`]); it refuses unknown ones by class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// An unknown bit: refuse the file.
    pub must_know: u32,
    /// An unknown bit: reading is safe, writing is not.
    pub read_only_safe: u32,
    /// An unknown bit: ignore it.
    pub ignorable: u32,
}

impl Features {
    /// Whether a build that knows no feature bits may write beside these.
    ///
    /// # Errors
    /// [`Fault::Features`] when a must-know bit is set.
    pub fn writable(self) -> Result<bool, Fault> {
        match self.must_know {
            0 => Ok(self.read_only_safe == 0),
            unknown => Err(Fault::Features { unknown }),
        }
    }
}

/// `len` rounded up to a multiple of `unit`.
#[must_use]
pub const fn padded(len: usize, unit: usize) -> usize {
    len.next_multiple_of(unit)
}
