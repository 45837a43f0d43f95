//! A mailbox's entries by columns, and its Emails by id.

use std::sync::Arc;

use bytes::Bytes;

use super::columns::{ALIGN, Extent, Layout, Place, ROWS, Value, columns, readable};
use super::tree::Leaf;
use crate::format::{Fault, padded};
use crate::io::cast;
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

columns! {
    /// Up to [`ROWS`] entries, by UID.
    EntryLeaf of Entry, owned in EntryArrays, mapped in EntryColumns:
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

/// An Email in a mailbox, and the entry it has there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) email: u64,
    pub(crate) uid: u32,
}

columns! {
    /// Up to [`ROWS`] members, by Email id.
    MemberLeaf of Member, owned in MemberArrays, mapped in MemberColumns:
    email: u64 = 0,
    uid: u32 = 0,
}

impl EntryColumns {
    /// The entries as members: for a mailbox where Email ids ascend with UIDs, and every entry is its Email's. Most
    /// mailboxes are such, and their images keep no members.
    pub(crate) fn members(&self) -> MemberColumns {
        MemberColumns {
            rows: self.rows,
            bytes: self.bytes.clone(),
            email: self.email,
            uid: self.uid,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(uid: u32) -> Entry {
        let n = u64::from(uid);
        Entry {
            uid,
            flags: Flags::from_bits((uid % 32) as u16).unwrap(),
            keywords: uid % 7,
            modseq: n + 1,
            created: n + 2,
            email: n * 3,
            record: n + 4,
            date: -i64::from(uid),
            zone: -(uid as i16 % 840),
            save_date: i64::from(uid) << 20,
            size: n + 5,
            raw_len: uid / 2,
        }
    }

    fn owned(uids: impl IntoIterator<Item = u32>) -> Vec<EntryLeaf> {
        let uids: Vec<u32> = uids.into_iter().collect();
        let leaf = |part: &[u32]| {
            let mut leaf = EntryLeaf::default();
            part.iter()
                .for_each(|uid| leaf.insert(leaf.len(), entry(*uid)));
            leaf
        };
        uids.chunks(ROWS).map(leaf).collect()
    }

    fn rows(leaves: &[EntryLeaf]) -> Vec<Entry> {
        let rows = |leaf: &EntryLeaf| (0..leaf.len()).map(|at| leaf.row(at)).collect::<Vec<_>>();
        leaves.iter().flat_map(rows).collect()
    }

    fn mapped(leaves: &[EntryLeaf], askew: usize) -> EntryColumns {
        let mut bytes = Vec::new();
        EntryColumns::encode(leaves.iter(), &mut bytes);
        let count = rows(leaves).len();
        assert_eq!(bytes.len(), EntryColumns::len_of(count));
        let mut laid = vec![0; askew];
        laid.extend_from_slice(&bytes);
        EntryColumns::new(&Bytes::from(laid).slice(askew..), count).unwrap()
    }

    /// Goal: a set gives back the rows it was made of, for every count around the bounds, also from bytes that lie askew.
    #[test]
    fn rows_go_through_a_set() {
        for count in [0, 1, 2, 127, 128, 129, 256, 1000] {
            let leaves = owned(1..=count);
            for askew in 0..9 {
                let found: Vec<_> = mapped(&leaves, askew).leaves().collect();
                assert_eq!(rows(&found), rows(&leaves), "{count} rows, {askew} askew");
                assert_eq!(found.len(), leaves.len());
            }
        }
    }

    /// Goal: what is done to a leaf in arrays and to one in an image is the same, and the image's other holders see
    /// nothing of it.
    #[test]
    fn a_mapped_leaf_is_copied_when_it_changes() {
        let changes: [fn(&mut EntryLeaf); 4] = [
            |leaf| leaf.insert(1, entry(3)),
            |leaf| {
                let row = Entry {
                    flags: Flags::SEEN,
                    ..leaf.row(4)
                };
                leaf.set(4, row);
            },
            |leaf| leaf.remove(0),
            |leaf| {
                let rest = leaf.split_off(5);
                assert_eq!(rest.uid(), [12, 14, 16, 18, 20]);
            },
        ];
        let plain = owned((1..=10).map(|n| n * 2)).remove(0);
        for change in changes {
            let mut in_arrays = plain.clone();
            let mut in_image = mapped(std::slice::from_ref(&plain), 0)
                .leaves()
                .next()
                .unwrap();
            let snapshot = in_image.clone();
            change(&mut in_arrays);
            change(&mut in_image);
            assert_eq!(rows(&[in_image]), rows(&[in_arrays]));
            assert_eq!(rows(&[snapshot]), rows(std::slice::from_ref(&plain)));
        }
    }

    /// Goal: keys are found in both, also those that no UID can be.
    #[test]
    fn keys_are_found() {
        let leaf = mapped(&owned([2, 4, u32::MAX]), 0).leaves().next().unwrap();
        for (key, found) in [
            (2, Ok(0)),
            (3, Err(1)),
            (u32::MAX.into(), Ok(2)),
            (u64::MAX, Err(3)),
        ] {
            assert_eq!(leaf.find(key), found);
        }
        assert_eq!(leaf.key(3), u64::MAX);
    }

    /// Goal: bytes that are not exactly the columns are refused.
    #[test]
    fn other_lengths_and_padding_are_refused() {
        let mut bytes = Vec::new();
        EntryColumns::encode(owned(1..=3).iter(), &mut bytes);
        for rows in [0, 2, 4, usize::MAX, usize::MAX / 72] {
            assert!(EntryColumns::new(&Bytes::from(bytes.clone()), rows).is_err());
        }
        bytes[12] = 1; // behind three UIDs
        let refused = EntryColumns::new(&Bytes::from(bytes), 3);
        assert_eq!(refused.err(), Some(Fault::Reserved { at: 12 }));
    }

    /// Goal: where Emails ascend with UIDs, the entries serve as members.
    #[test]
    fn entries_serve_as_members() {
        let members: Vec<_> = mapped(&owned(1..=200), 0).members().leaves().collect();
        assert_eq!(members.len(), 2);
        assert_eq!(
            members[1].row(0),
            Member {
                email: 387,
                uid: 129
            }
        );
    }
}
