//! Why bytes are not what they should be.

/// Why a slice is not a valid structure. Carries what was found and what was expected; the caller adds the file
/// and the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// Fewer bytes than the structure takes.
    #[error("{len} bytes are there, {needed} are needed")]
    Short {
        /// Bytes at hand.
        len: u64,
        /// Bytes needed.
        needed: u64,
    },
    /// Another kind of file or structure.
    #[error("magic number is {found:016x}, expected {expected:016x}")]
    Magic {
        /// What is there.
        found: u64,
        /// What belongs there.
        expected: u64,
    },
    /// The checksum does not fit the bytes (or their place: it covers that too).
    #[error("checksum is {found:08x}, expected {expected:08x}")]
    Checksum {
        /// Computed over the bytes found.
        found: u32,
        /// Stored beside them.
        expected: u32,
    },
    /// Written by a newer build.
    #[error("format version is {found}, this build reads up to {supported}")]
    Version {
        /// The version in the file.
        found: u16,
        /// The newest version this build reads.
        supported: u16,
    },
    /// A must-know feature that this build does not know.
    #[error("feature bits {unknown:08x} are not known to this build")]
    Features {
        /// The bits.
        unknown: u32,
    },
    /// A byte that must be zero is not.
    #[error("a reserved byte at {at} is not zero")]
    Reserved {
        /// Offset in the structure.
        at: u64,
    },
    /// A number outside its bounds, under a good checksum.
    #[error("{field} is {found}, outside {min} to {max}")]
    Range {
        /// Which number.
        field: &'static str,
        /// Its value.
        found: u64,
        /// Smallest valid value.
        min: u64,
        /// Largest valid value.
        max: u64,
    },
    /// A number that should repeat another one and does not.
    #[error("{field} is {found}, expected {expected}")]
    Mismatch {
        /// Which number.
        field: &'static str,
        /// Its value.
        found: u64,
        /// What it should be.
        expected: u64,
    },
    /// A name or keyword that is not valid, under a good checksum.
    #[error("{field} is not valid text")]
    Text {
        /// Which text.
        field: &'static str,
    },
    /// A record kind of a newer build whose bit says that a reader must know it.
    #[error("record kind {kind} is not known to this build")]
    Kind {
        /// The kind.
        kind: u8,
    },
    /// The bytes pass their checksums, but are not what the record says was delivered.
    #[error("the content digest does not fit")]
    Digest,
    /// The bytes in front of a segment's footer are not those that were sealed. Places that are named beside it say where;
    /// where none is, the change lies where no other checksum looks. Restore the file from a copy.
    #[error(
        "the digest of all bytes in front of the footer begins with {found:016x}, the footer has {expected:016x}: \
         restore the file from a copy; other places named of it, if any, are where it changed"
    )]
    SegmentDigest {
        /// The first bytes of the digest of what is there.
        found: u64,
        /// The first bytes of the digest that was taken at sealing.
        expected: u64,
    },
    /// The record that belongs here was lost.
    #[error("the record was lost")]
    Lost,
    /// The file belongs to another store.
    #[error("the file belongs to another store")]
    Foreign,
}

impl Fault {
    /// Whether the bytes are sound but from a newer build (as against damaged).
    #[must_use]
    pub fn is_newer(self) -> bool {
        matches!(
            self,
            Self::Version { .. } | Self::Features { .. } | Self::Kind { .. }
        )
    }
}
