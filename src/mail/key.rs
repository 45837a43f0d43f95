//! Where accounts of a name are found: account ids begin with a key made of the name.

use super::AccountId;

/// The first 8 bytes of the ids of all accounts that were created with, or renamed to, one name in one store.
///
/// They are the first 8 bytes of the BLAKE3 of the store's id and the name, so that ids lie uniformly and looking up
/// a name is looking up the few ids in [`range`](Self::range). Two names may share a key: the account says its name.
///
/// ```
/// use mailkeep::mail::{AccountId, NameKey};
///
/// let key = NameKey::new(b"0123456789abcdef", "anna@example.it");
/// let id = AccountId::named(key, *b"sixteen of luck.");
/// assert_eq!(NameKey::of_id(id), key);
/// let (first, last) = key.range();
/// assert!(first < id && id < last);
/// assert_eq!(last, key.deferred());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NameKey(pub [u8; 8]);

/// What the id ends in under which deliveries are kept that await their account.
const DEFERRED: [u8; 8] = [0xff; 8];

impl NameKey {
    /// The key of `name` in the store with the id `store`.
    #[must_use]
    pub fn new(store: &[u8; 16], name: &str) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(store).update(name.as_bytes());
        Self(first(hasher.finalize().as_bytes()))
    }

    /// The key that `id` begins with.
    #[must_use]
    pub fn of_id(id: AccountId) -> Self {
        Self(first(id.as_bytes()))
    }

    /// The key under which deliveries are filed that name an account whose state could not be read: above the ids of
    /// all accounts of the name.
    #[must_use]
    pub fn deferred(self) -> AccountId {
        self.with(DEFERRED)
    }

    /// The lowest and the highest id that begin with the key, both included.
    #[must_use]
    pub fn range(self) -> (AccountId, AccountId) {
        (self.with([0; 8]), self.deferred())
    }

    fn with(self, rest: [u8; 8]) -> AccountId {
        let mut bytes = [0; 16];
        let (key, end) = bytes.split_at_mut(8);
        key.copy_from_slice(&self.0);
        end.copy_from_slice(&rest);
        AccountId::from_bytes(bytes)
    }
}

impl AccountId {
    /// A new id under `key`. It ends in the last 8 bytes of `unique`, which never come again; never all `0xff`.
    #[must_use]
    pub fn named(key: NameKey, unique: [u8; 16]) -> Self {
        let mut rest = last(&unique);
        if rest == DEFERRED {
            rest = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe];
        }
        key.with(rest)
    }

    /// The id under which this account is also filed once it has the name with `key`; itself where it begins with it.
    #[must_use]
    pub fn alias(self, key: NameKey) -> Self {
        key.with(last(self.as_bytes()))
    }
}

fn first(bytes: &[u8]) -> [u8; 8] {
    bytes.first_chunk().copied().unwrap_or_default()
}

fn last(bytes: &[u8]) -> [u8; 8] {
    bytes.last_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORE: [u8; 16] = *b"store of a test.";

    /// Goal: the key is what the format says, and depends on the store and on the name.
    #[test]
    fn key_is_a_digest_of_store_and_name() {
        let key = NameKey::new(&STORE, "anna");
        assert_eq!(key.0, blake3::hash(b"store of a test.anna").as_bytes()[..8]);
        assert_ne!(key, NameKey::new(&STORE, "Anna"));
        assert_ne!(key, NameKey::new(&[0; 16], "anna"));
    }

    /// Goal: every id that can be made lies in the key's range and below the key of deferred deliveries.
    #[test]
    fn ids_lie_in_the_range_of_their_key() {
        let key = NameKey([0xff; 8]);
        for unique in [[0; 16], [0xff; 16], [7; 16]] {
            let id = AccountId::named(key, unique);
            let (first, last) = key.range();
            assert!(first <= id && id < last, "{id}");
            assert_ne!(id, key.deferred());
            assert_eq!(NameKey::of_id(id), key);
        }
        let id = AccountId::named(key, *b"front   back....");
        assert_eq!(&id.as_bytes()[8..], b"back....");
    }

    /// Goal: an alias keeps what tells accounts apart, and the way back to the first name is the id itself.
    #[test]
    fn aliases_end_as_the_id_does() {
        let (old, new) = (NameKey::new(&STORE, "old"), NameKey::new(&STORE, "new"));
        let id = AccountId::named(old, [9; 16]);
        assert_eq!(NameKey::of_id(id.alias(new)), new);
        assert_eq!(id.alias(new).as_bytes()[8..], [9; 8]);
        assert_eq!(id.alias(old), id);
    }
}
