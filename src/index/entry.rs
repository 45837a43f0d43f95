//! A mailbox's entries by columns, and its Emails by id.
//!
//! A leaf keeps each column in an array of its own, so that a scan of flags reads flags only, and copying a leaf that
//! a snapshot shares is one `memcpy`.

use super::tree::Leaf;
use crate::mail::Flags;

/// One entry: a message's membership in a mailbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) uid: u32,
    pub(crate) flags: Flags,
    /// Number of its keyword set in the account's table; 0 is the empty set.
    pub(crate) keywords: u32,
    pub(crate) modseq: u64,
    pub(crate) created: u64,
    pub(crate) email: u64,
    /// The record that delivered its Email.
    pub(crate) record: u64,
    /// INTERNALDATE: seconds, and minutes east of UTC.
    pub(crate) date: i64,
    pub(crate) zone: i16,
    pub(crate) save_date: i64,
    /// Size on the wire, and as given.
    pub(crate) size: u64,
    pub(crate) raw_len: u32,
}

/// Rows in a leaf.
const ROWS: usize = 128;

/// Defines the leaf: each column once.
macro_rules! columns {
    ($($name:ident: $type:ty = $empty:expr,)*) => {
        /// Up to [`ROWS`] entries, by UID.
        #[derive(Clone, Debug)]
        pub(crate) struct EntryLeaf {
            len: usize,
            $($name: [$type; ROWS],)*
        }

        impl Default for EntryLeaf {
            fn default() -> Self {
                Self { len: 0, $($name: [$empty; ROWS],)* }
            }
        }

        impl EntryLeaf {
            $(
                /// The column, one value for each entry.
                pub(crate) fn $name(&self) -> &[$type] {
                    self.$name.get(..self.len).unwrap_or_default()
                }
            )*

            fn read(&self, at: usize) -> Option<Entry> {
                Some(Entry { $($name: *self.$name().get(at)?,)* })
            }

            fn write(&mut self, at: usize, row: &Entry) {
                $(if let Some(place) = self.$name.get_mut(at) { *place = row.$name; })*
            }

            /// Moves the entries from `from` to `to`, within the leaf.
            fn shift(&mut self, from: usize, to: usize) {
                if from <= self.len && to + (self.len - from) <= ROWS {
                    $(self.$name.copy_within(from..self.len, to);)*
                }
            }
        }
    };
}

columns! {
    uid: u32 = 0,
    flags: Flags = Flags::EMPTY,
    keywords: u32 = 0,
    modseq: u64 = 0,
    created: u64 = 0,
    email: u64 = 0,
    record: u64 = 0,
    date: i64 = 0,
    zone: i16 = 0,
    save_date: i64 = 0,
    size: u64 = 0,
    raw_len: u32 = 0,
}

impl Leaf for EntryLeaf {
    type Row = Entry;
    const CAPACITY: usize = ROWS;

    fn len(&self) -> usize {
        self.len
    }

    fn key(&self, at: usize) -> u64 {
        self.uid().get(at).copied().map_or(u64::MAX, u64::from)
    }

    fn find(&self, key: u64) -> Result<usize, usize> {
        match u32::try_from(key) {
            Ok(key) => self.uid().binary_search(&key),
            Err(_) => Err(self.len),
        }
    }

    fn row(&self, at: usize) -> Entry {
        self.read(at).unwrap_or_default()
    }

    fn insert(&mut self, at: usize, row: Entry) {
        self.shift(at, at + 1);
        self.write(at, &row);
        self.len += 1;
    }

    fn set(&mut self, at: usize, row: Entry) {
        self.write(at, &row);
    }

    fn remove(&mut self, at: usize) {
        self.shift(at + 1, at);
        self.len -= 1;
    }

    fn split_off(&mut self, at: usize) -> Self {
        let mut rest = self.clone();
        rest.shift(at, 0);
        rest.len = self.len - at;
        self.len = at;
        rest
    }
}

/// An Email in a mailbox, and the entry it has there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) email: u64,
    pub(crate) uid: u32,
}

/// Members, by Email id.
#[derive(Clone, Debug)]
pub(crate) struct MemberLeaf {
    rows: Vec<Member>,
}

impl Default for MemberLeaf {
    fn default() -> Self {
        Self {
            rows: Vec::with_capacity(ROWS),
        }
    }
}

impl Leaf for MemberLeaf {
    type Row = Member;
    const CAPACITY: usize = ROWS;

    fn len(&self) -> usize {
        self.rows.len()
    }

    fn key(&self, at: usize) -> u64 {
        self.rows.get(at).map_or(u64::MAX, |row| row.email)
    }

    fn find(&self, key: u64) -> Result<usize, usize> {
        self.rows.binary_search_by_key(&key, |row| row.email)
    }

    fn row(&self, at: usize) -> Member {
        self.rows.get(at).copied().unwrap_or_default()
    }

    fn insert(&mut self, at: usize, row: Member) {
        self.rows.insert(at, row);
    }

    fn set(&mut self, at: usize, row: Member) {
        if let Some(place) = self.rows.get_mut(at) {
            *place = row;
        }
    }

    fn remove(&mut self, at: usize) {
        self.rows.remove(at);
    }

    fn split_off(&mut self, at: usize) -> Self {
        Self {
            rows: self.rows.split_off(at),
        }
    }
}
