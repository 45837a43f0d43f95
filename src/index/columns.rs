//! Rows by columns: in arrays of a leaf's own, or where they lie in the bytes of an image.
//!
//! A leaf keeps each column in an array of its own, so that a scan of flags reads flags only, and copying a leaf that
//! a snapshot shares is one `memcpy`. A leaf of an image is a range of rows of a *column set* that all its leaves
//! share: nothing is copied before a row of it changes, and then that leaf alone.
//!
//! The bytes of a column set: each column in turn, little-endian, padded with zeroes to 8 bytes. Whoever makes a set
//! of bytes from a disk has read them into memory, verified their checksum, and checks the values (`image/check.rs`).
//! They are used for hours by code that takes them for granted and makes records of them, so they must not change: a
//! set never lies in a mapped file, of which a page may turn to zeroes.

use std::sync::Arc;

use bytes::Bytes;

use crate::format::bytes::within;
use crate::format::{Fault, padded};
use crate::io::Plain;
use crate::mail::Flags;

/// Rows in a leaf.
pub(super) const ROWS: usize = 128;

/// Every column begins at a multiple of this, in bytes: the widest number.
pub(super) const ALIGN: usize = 8;

/// Where the rows of a leaf are.
#[derive(Clone, Debug, Default)]
pub(super) enum Place<Arrays, Columns> {
    /// There are none: an empty mailbox takes no arrays.
    #[default]
    Empty,
    /// In arrays of the leaf's own. Boxed, so that a leaf of an image is a few words.
    Owned(Box<Arrays>),
    /// In `len` rows of a column set, from `start` on.
    Mapped {
        set: Arc<Columns>,
        start: usize,
        len: usize,
    },
}

/// A value of a column.
pub(super) trait Value: Plain {
    /// Appends values as they lie in an image.
    fn put(values: &[Self], out: &mut Vec<u8>);
}

/// Appends numbers, little-endian.
fn put<T: Copy, const N: usize>(values: &[T], out: &mut Vec<u8>, bytes: impl Fn(T) -> [u8; N]) {
    let start = out.len();
    out.resize(start + values.len() * N, 0);
    let places = out.get_mut(start..).unwrap_or_default();
    for (place, value) in places.chunks_exact_mut(N).zip(values) {
        place.copy_from_slice(&bytes(*value));
    }
}

macro_rules! values {
    ($($type:ty),*) => {
        $(impl Value for $type {
            fn put(values: &[Self], out: &mut Vec<u8>) {
                put(values, out, Self::to_le_bytes);
            }
        })*
    };
}

values!(u32, u64, i16, i64);

impl Value for Flags {
    fn put(values: &[Self], out: &mut Vec<u8>) {
        put(values, out, |flags| flags.bits().to_le_bytes());
    }
}

/// The extent of a column: where it begins in its set, its bytes without padding, the bytes of a value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    at: usize,
    len: usize,
    width: usize,
}

/// Lays out columns of `rows` values, one after the other.
#[derive(Debug)]
pub(super) struct Layout {
    rows: usize,
    end: usize,
}

impl Layout {
    pub(super) fn of(rows: usize) -> Self {
        Self { rows, end: 0 }
    }

    /// The next column, of values of `width` bytes.
    pub(super) fn column(&mut self, width: usize) -> Extent {
        // A length past all memory is refused where it is compared with the bytes that are there.
        let len = self.rows.saturating_mul(width).min(usize::MAX / 64);
        let at = self.end;
        self.end = at.saturating_add(padded(len, ALIGN));
        Extent { at, len, width }
    }

    /// Bytes of all columns.
    pub(super) fn end(&self) -> usize {
        self.end
    }
}

impl Extent {
    pub(super) fn of<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        let end = self.at.saturating_add(self.len);
        bytes.get(self.at..end).unwrap_or_default()
    }
}

/// The bytes of a set as this machine can read them in place: themselves, or where they lie askew (in the middle of a
/// record of the log, say) or its byte order is another, a copy.
///
/// # Errors
/// [`Fault::Range`] where there are other bytes behind the columns, or padding that is not zero.
pub(super) fn readable(bytes: &Bytes, extents: &[Extent], end: usize) -> Result<Bytes, Fault> {
    within(
        "bytes of columns",
        bytes.len() as u64,
        end as u64,
        end as u64,
    )?;
    for extent in extents {
        let from = extent.at.saturating_add(extent.len);
        let padding = bytes.get(from..padded(from, ALIGN)).unwrap_or_default();
        if let Some(at) = padding.iter().position(|byte| *byte != 0) {
            let at = (from + at) as u64;
            return Err(Fault::Reserved { at });
        }
    }
    let little = cfg!(target_endian = "little");
    if little && bytes.as_ptr().align_offset(ALIGN) == 0 {
        return Ok(bytes.clone());
    }
    let (mut copy, from) = aligned(bytes);
    if !little {
        for extent in extents {
            let at = from + extent.at;
            let column = copy.get_mut(at..at + extent.len).unwrap_or_default();
            column
                .chunks_exact_mut(extent.width)
                .for_each(<[u8]>::reverse);
        }
    }
    Ok(Bytes::from_owner(copy).slice(from..from + end))
}

/// A copy that begins at a multiple of [`ALIGN`] in memory, and at which index it does.
fn aligned(bytes: &[u8]) -> (Vec<u8>, usize) {
    let mut copy: Vec<u8> = Vec::with_capacity(bytes.len() + ALIGN);
    // What the allocator gave stays where it is: the capacity is enough.
    let from = copy.as_ptr().align_offset(ALIGN).min(ALIGN);
    copy.resize(from, 0);
    copy.extend_from_slice(bytes);
    (copy, from)
}

/// Defines a leaf, the arrays it owns, and the column set it may lie in: each column once, the key first.
macro_rules! columns {
    (
        $(#[$doc:meta])*
        $leaf:ident of $row:ident, owned in $arrays:ident, mapped in $columns:ident:
        $key:ident: $key_type:ty = $key_empty:expr,
        $($name:ident: $type:ty = $empty:expr,)*
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default)]
        pub(crate) struct $leaf {
            place: Place<$arrays, $columns>,
        }

        /// The rows of one leaf, by columns.
        #[derive(Clone, Debug)]
        struct $arrays {
            len: usize,
            $key: [$key_type; ROWS],
            $($name: [$type; ROWS],)*
        }

        impl Default for $arrays {
            fn default() -> Self {
                Self { len: 0, $key: [$key_empty; ROWS], $($name: [$empty; ROWS],)* }
            }
        }

        /// The rows of many leaves, by columns, in bytes that hold nothing else.
        #[derive(Clone, Debug)]
        pub(crate) struct $columns {
            rows: usize,
            bytes: Bytes,
            $key: Extent,
            $($name: Extent,)*
        }

        impl $columns {
            /// Bytes of a set of `rows` rows.
            pub(crate) fn len_of(rows: usize) -> usize {
                let mut layout = Layout::of(rows);
                layout.column(size_of::<$key_type>());
                $(layout.column(size_of::<$type>());)*
                layout.end()
            }

            /// The set of `rows` rows that `bytes` are, whose checksum was good.
            ///
            /// # Errors
            /// [`Fault::Range`] or [`Fault::Reserved`] where they are not that long or padded otherwise.
            pub(crate) fn new(bytes: &Bytes, rows: usize) -> Result<Self, Fault> {
                let mut layout = Layout::of(rows);
                let $key = layout.column(size_of::<$key_type>());
                $(let $name = layout.column(size_of::<$type>());)*
                let bytes = readable(bytes, &[$key, $($name),*], layout.end())?;
                Ok(Self { rows, bytes, $key, $($name),* })
            }

            /// Appends the rows of `leaves` as a set.
            pub(crate) fn encode<'a>(leaves: impl Iterator<Item = &'a $leaf> + Clone, out: &mut Vec<u8>) {
                let start = out.len();
                let pad = |out: &mut Vec<u8>| out.resize(start + padded(out.len() - start, ALIGN), 0);
                leaves.clone().for_each(|leaf| Value::put(leaf.$key(), out));
                pad(out);
                $(
                    leaves.clone().for_each(|leaf| Value::put(leaf.$name(), out));
                    pad(out);
                )*
            }

            /// The column, one value for each row.
            pub(crate) fn $key(&self) -> &[$key_type] {
                cast(self.$key.of(&self.bytes)).unwrap_or_default()
            }

            $(
                /// The column, one value for each row.
                pub(crate) fn $name(&self) -> &[$type] {
                    cast(self.$name.of(&self.bytes)).unwrap_or_default()
                }
            )*

            /// Full leaves over the rows, but for the last.
            pub(crate) fn leaves(self) -> impl Iterator<Item = $leaf> {
                let set = Arc::new(self);
                (0..set.rows).step_by(ROWS).map(move |start| $leaf {
                    place: Place::Mapped {
                        start,
                        len: ROWS.min(set.rows - start),
                        set: Arc::clone(&set),
                    },
                })
            }
        }

        impl $arrays {
            fn of(leaf: &$leaf) -> Box<Self> {
                let mut arrays = Box::new(Self { len: leaf.$key().len(), ..Self::default() });
                let rows = ..arrays.len;
                if let Some(to) = arrays.$key.get_mut(rows) { to.copy_from_slice(leaf.$key()); }
                $(if let Some(to) = arrays.$name.get_mut(rows) { to.copy_from_slice(leaf.$name()); })*
                arrays
            }

            fn write(&mut self, at: usize, row: &$row) {
                if let Some(place) = self.$key.get_mut(at) { *place = row.$key; }
                $(if let Some(place) = self.$name.get_mut(at) { *place = row.$name; })*
            }

            /// Moves the rows from `from` to `to`, within the leaf.
            fn shift(&mut self, from: usize, to: usize) {
                if from <= self.len && to + (self.len - from) <= ROWS {
                    self.$key.copy_within(from..self.len, to);
                    $(self.$name.copy_within(from..self.len, to);)*
                }
            }
        }

        impl $leaf {
            /// Bytes of memory that it takes, about: its part of a set that it lies in, too.
            pub(super) fn weight(&self) -> usize {
                let row = size_of::<$key_type>() $(+ size_of::<$type>())*;
                size_of::<Self>() + match &self.place {
                    Place::Empty => 0,
                    Place::Owned(_) => size_of::<$arrays>(),
                    Place::Mapped { len, .. } => len * row,
                }
            }

            /// The column, one value for each row.
            pub(crate) fn $key(&self) -> &[$key_type] {
                match &self.place {
                    Place::Empty => &[],
                    Place::Owned(arrays) => arrays.$key.get(..arrays.len).unwrap_or_default(),
                    Place::Mapped { set, start, len } => {
                        set.$key().get(*start..start + len).unwrap_or_default()
                    }
                }
            }

            $(
                /// The column, one value for each row.
                pub(crate) fn $name(&self) -> &[$type] {
                    match &self.place {
                        Place::Empty => &[],
                        Place::Owned(arrays) => arrays.$name.get(..arrays.len).unwrap_or_default(),
                        Place::Mapped { set, start, len } => {
                            set.$name().get(*start..start + len).unwrap_or_default()
                        }
                    }
                }
            )*

            fn read(&self, at: usize) -> Option<$row> {
                Some($row { $key: *self.$key().get(at)?, $($name: *self.$name().get(at)?,)* })
            }

            /// Changes the rows in arrays of the leaf's own, copied first where they lie in an image.
            fn change<T>(&mut self, act: impl FnOnce(&mut $arrays) -> T) -> T {
                let mut arrays = match std::mem::take(&mut self.place) {
                    Place::Owned(arrays) => arrays,
                    place => $arrays::of(&Self { place }),
                };
                let done = act(&mut arrays);
                self.place = Place::Owned(arrays);
                done
            }
        }

        impl Leaf for $leaf {
            type Row = $row;
            const CAPACITY: usize = ROWS;

            fn len(&self) -> usize {
                match &self.place {
                    Place::Empty => 0,
                    Place::Owned(arrays) => arrays.len,
                    Place::Mapped { len, .. } => *len,
                }
            }

            fn key(&self, at: usize) -> u64 {
                self.$key().get(at).map_or(u64::MAX, |key| (*key).into())
            }

            fn find(&self, key: u64) -> Result<usize, usize> {
                match key.try_into() {
                    Ok(key) => self.$key().binary_search(&key),
                    Err(_) => Err(self.len()),
                }
            }

            fn row(&self, at: usize) -> $row {
                self.read(at).unwrap_or_default()
            }

            fn insert(&mut self, at: usize, row: $row) {
                self.change(|arrays| {
                    arrays.shift(at, at + 1);
                    arrays.write(at, &row);
                    arrays.len += 1;
                });
            }

            fn set(&mut self, at: usize, row: $row) {
                self.change(|arrays| arrays.write(at, &row));
            }

            fn remove(&mut self, at: usize) {
                self.change(|arrays| {
                    arrays.shift(at + 1, at);
                    arrays.len -= 1;
                });
            }

            fn split_off(&mut self, at: usize) -> Self {
                let rest = self.change(|arrays| {
                    let mut rest = Box::new(arrays.clone());
                    rest.shift(at, 0);
                    rest.len = arrays.len - at;
                    arrays.len = at;
                    rest
                });
                Self { place: Place::Owned(rest) }
            }
        }
    };
}

pub(super) use columns;
