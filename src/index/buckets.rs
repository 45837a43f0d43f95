//! What was hashed of a mailbox's rows, by bucket: so that a receipt hashes again only what changed since the last.

use super::tree::{Leaf, Tree};

/// UIDs of a bucket: bucket n has those from n times this on.
pub(crate) const BUCKET_UIDS: u32 = 4096;

/// Hashes of one bucket's rows, in the forms that FORMAT.md section 18 defines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bucket {
    /// Bucket number: UID / [`BUCKET_UIDS`].
    pub(crate) number: u32,
    /// Rows that were hashed; never 0.
    pub(crate) rows: u32,
    pub(crate) content: [u8; 32],
    pub(crate) state: [u8; 32],
    pub(crate) exact: [u8; 32],
}

/// The buckets whose hashes are good. One that is missing has to be hashed. Cloning is one reference count.
#[derive(Clone, Default)]
pub(crate) struct Buckets {
    known: Tree<BucketLeaf>,
}

impl std::fmt::Debug for Buckets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl PartialEq for Buckets {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Buckets {
    pub(crate) fn get(&self, number: u32) -> Option<Bucket> {
        self.known.get(number.into())
    }

    /// Keeps a bucket's hashes until a row in it changes.
    pub(crate) fn set(&mut self, bucket: Bucket) {
        let key = bucket.number.into();
        if self.known.update(key, bucket).is_none() {
            self.known.insert(key, bucket);
        }
    }

    /// The row of `uid` came, went or changed.
    pub(crate) fn touch(&mut self, uid: u32) {
        let number = uid / BUCKET_UIDS;
        // Mostly it is not known; looking first copies nothing that a clone shares.
        if self.get(number).is_some() {
            self.known.remove(number.into());
        }
    }

    /// Any row may have changed.
    pub(crate) fn clear(&mut self) {
        self.known = Tree::default();
    }

    /// All that are known, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Bucket> {
        let leaves = self.known.leaves();
        leaves.flat_map(|leaf| leaf.rows.iter().copied())
    }
}

/// Buckets by number.
#[derive(Clone, Debug, Default)]
struct BucketLeaf {
    rows: Vec<Bucket>,
}

impl Leaf for BucketLeaf {
    type Row = Bucket;
    // A change of flags copies one leaf where a snapshot holds it: under 2 KiB.
    const CAPACITY: usize = 16;

    fn len(&self) -> usize {
        self.rows.len()
    }

    fn key(&self, at: usize) -> u64 {
        self.rows.get(at).map_or(u64::MAX, |row| row.number.into())
    }

    fn find(&self, key: u64) -> Result<usize, usize> {
        self.rows
            .binary_search_by_key(&key, |row| u64::from(row.number))
    }

    fn row(&self, at: usize) -> Bucket {
        self.rows.get(at).copied().unwrap_or_default()
    }

    fn insert(&mut self, at: usize, row: Bucket) {
        self.rows.insert(at, row);
    }

    fn set(&mut self, at: usize, row: Bucket) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(number: u32, content: u8) -> Bucket {
        Bucket {
            number,
            rows: 1,
            content: [content; 32],
            ..Bucket::default()
        }
    }

    /// Goal: a touched row costs its bucket's hashes and no other's; snapshots keep theirs.
    #[test]
    fn touching_drops_one_bucket() {
        let mut buckets = Buckets::default();
        (0..100).for_each(|number| buckets.set(bucket(number, 1)));
        buckets.set(bucket(7, 2));
        assert_eq!(buckets.get(7), Some(bucket(7, 2)));
        let snapshot = buckets.clone();
        buckets.touch(8 * BUCKET_UIDS - 1);
        assert_eq!(buckets.get(7), None);
        buckets.touch(8 * BUCKET_UIDS);
        assert_eq!(buckets.get(8), None);
        assert_eq!(buckets.iter().count(), 98);
        assert_eq!(snapshot.iter().count(), 100);
        assert_ne!(snapshot, buckets);
        buckets.clear();
        assert_eq!(buckets.iter().next(), None);
        buckets.touch(u32::MAX);
    }
}
