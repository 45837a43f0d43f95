//! A place in the log behind which an opening may begin to read.

/// Where the log's tail begins for somebody who knows all before it.
///
/// Everything in front of it was durable when it was taken. It is believed only if the batch that ends at it is there
/// unchanged, so that a position of another log, or of a later one than was put back from a copy, is found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    /// The segment.
    pub(crate) segment: u64,
    /// Its generation.
    pub(crate) generation: u32,
    /// Offset behind the last batch, in bytes.
    pub(crate) offset: u64,
    /// Offset of the last batch, in bytes.
    pub(crate) last: u64,
    /// Number after the last batch's last record.
    pub(crate) next_record: u64,
    /// Sequence of the last batch.
    pub(crate) batch: u64,
    /// Its head checksum, which the next batch repeats.
    pub(crate) crc: u32,
    /// Highest segment number that was given, also to large bodies.
    pub(crate) highest_segment: u64,
}
