//! Receipts: what a mailbox or an account holds, in a few digests. FORMAT.md section 18.
//!
//! A BLAKE3 tree over rows in canonical form, in buckets of [`BUCKET_UIDS`] UIDs. Sums of row hashes would be cheaper to
//! keep and are not safe: XOR falls to linear algebra, addition to a generalised birthday attack.

use std::ptr;

use super::buckets::{BUCKET_UIDS, Bucket};
use super::entry::Entry;
use super::fold::Fold;
use super::keywords::Keywords;
use super::mailbox::MailboxFold;
use super::tree::Leaf;
use crate::error::Result;
use crate::mail::Digest;

/// What is hashed of a message's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    /// BLAKE3 of the bytes as given.
    pub(crate) digest: Digest,
    /// Their size on the wire.
    pub(crate) wire_size: u64,
}

/// Tells an entry's content: from its record, or from its bytes.
pub(crate) type ContentOf<'a> = dyn FnMut(&Entry) -> Result<Content> + 'a;

/// What a mailbox or an account comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Roots {
    pub(crate) content: Digest,
    pub(crate) state: Digest,
    pub(crate) exact: Digest,
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
}

/// Buckets that were hashed, with their mailboxes.
pub(crate) type Fresh = Vec<(u32, Bucket)>;

/// How to go about it.
pub(crate) struct Hashing<'a> {
    content_of: &'a mut ContentOf<'a>,
    /// Whether buckets that are known are hashed again all the same.
    from_scratch: bool,
    /// The ones that were hashed.
    pub(crate) fresh: Fresh,
}

impl<'a> Hashing<'a> {
    /// Hashes what is not known.
    pub(crate) fn new(content_of: &'a mut ContentOf<'a>) -> Self {
        Self {
            content_of,
            from_scratch: false,
            fresh: Vec::new(),
        }
    }

    /// Hashes everything.
    pub(crate) fn from_scratch(content_of: &'a mut ContentOf<'a>) -> Self {
        Self {
            from_scratch: true,
            ..Self::new(content_of)
        }
    }
}

/// Three hashes that take in the same things in different depth.
struct Hashers {
    content: Input,
    state: Input,
    exact: Input,
}

/// The input of one hash, as a structure is written.
struct Input(blake3::Hasher);

impl Input {
    fn new(magic: &[u8; 8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(magic);
        Self(hasher)
    }

    fn put(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn text(&mut self, text: &str) {
        let len = u16::try_from(text.len()).unwrap_or(u16::MAX);
        self.put(&len.to_le_bytes());
        self.put(text.as_bytes());
    }

    fn finish(self) -> [u8; 32] {
        *self.0.finalize().as_bytes()
    }
}

impl Hashers {
    fn new(content: &[u8; 8], state: &[u8; 8], exact: &[u8; 8]) -> Self {
        Self {
            content: Input::new(content),
            state: Input::new(state),
            exact: Input::new(exact),
        }
    }

    /// Puts `bytes` into the hashes of content and state.
    fn both(&mut self, bytes: &[u8]) {
        self.content.put(bytes);
        self.state.put(bytes);
    }

    fn row(&mut self, entry: &Entry, content: &Content, keywords: &Keywords, floor: u64) {
        self.both(&entry.uid.to_le_bytes());
        self.both(&entry.zone.to_le_bytes());
        self.both(&[0; 2]);
        self.both(&entry.date.to_le_bytes());
        self.both(&content.wire_size.to_le_bytes());
        self.both(content.digest.as_bytes());

        let mut set: Vec<&str> = keywords
            .get(entry.keywords)
            .iter()
            .map(|keyword| keyword.as_str())
            .collect();
        set.sort_unstable();
        set.dedup();
        let count = u16::try_from(set.len()).unwrap_or(u16::MAX);
        self.state.put(&entry.save_date.to_le_bytes());
        self.state.put(&entry.flags.bits().to_le_bytes());
        self.state.put(&count.to_le_bytes());
        for keyword in set {
            self.state.text(keyword);
        }

        self.exact.put(&entry.uid.to_le_bytes());
        self.exact.put(&[0; 4]);
        for number in [
            entry.modseq.max(floor),
            entry.created.max(floor),
            entry.email,
        ] {
            self.exact.put(&number.to_le_bytes());
        }
    }

    fn bucket(&mut self, bucket: &Bucket) {
        let hashers = [
            (&mut self.content, &bucket.content),
            (&mut self.state, &bucket.state),
            (&mut self.exact, &bucket.exact),
        ];
        for (hasher, hash) in hashers {
            hasher.put(&bucket.number.to_le_bytes());
            hasher.put(&bucket.rows.to_le_bytes());
            hasher.put(hash);
        }
    }

    /// The three digests; each covers the one before it.
    fn roots(mut self, messages: u64, bytes: u64) -> Roots {
        self.content.put(&messages.to_le_bytes());
        let content = self.content.finish();
        self.state.put(&content);
        let state = self.state.finish();
        self.exact.put(&state);
        Roots {
            content: Digest::from_bytes(content),
            state: Digest::from_bytes(state),
            exact: Digest::from_bytes(self.exact.finish()),
            messages,
            bytes,
        }
    }
}

impl MailboxFold {
    /// What this mailbox, which has that id and those keywords, comes to.
    pub(crate) fn roots(
        &self,
        id: u32,
        keywords: &Keywords,
        hashing: &mut Hashing<'_>,
    ) -> Result<Roots> {
        let mut hashers = Hashers::new(b"MKRMBOXC", b"MKRMBOXS", b"MKRMBOXE");
        let properties = self.properties;
        for number in [
            properties.special_use.bits(),
            properties.noselect.into(),
            properties.sort_order,
            properties.quota_root,
        ] {
            hashers.state.put(&number.to_le_bytes());
        }
        hashers.exact.put(&id.to_le_bytes());
        hashers.exact.put(&self.uid_validity.get().to_le_bytes());
        hashers.exact.put(&self.uid_next.to_le_bytes());
        hashers.exact.put(&self.modseq.to_le_bytes());
        let mut from = 0;
        while let Some(first) = self.entries.at(self.entries.rank(from)) {
            let number = first.uid / BUCKET_UIDS;
            let known = self.buckets.get(number).filter(|_| !hashing.from_scratch);
            let bucket = match known {
                Some(bucket) => bucket,
                None => {
                    let bucket = self.hash_bucket(number, keywords, hashing)?;
                    hashing.fresh.push((id, bucket));
                    bucket
                }
            };
            hashers.bucket(&bucket);
            from = start_of(number) + u64::from(BUCKET_UIDS);
        }
        Ok(hashers.roots(self.counters.messages, self.counters.bytes))
    }

    fn hash_bucket(
        &self,
        number: u32,
        keywords: &Keywords,
        hashing: &mut Hashing<'_>,
    ) -> Result<Bucket> {
        let mut hashers = Hashers::new(b"MKRBUCKC", b"MKRBUCKS", b"MKRBUCKE");
        let mut rows = 0;
        let (leaves, skip) = self
            .entries
            .leaves_from(self.entries.rank(start_of(number)));
        let entries = leaves
            .flat_map(|leaf| (0..leaf.len()).map(|at| leaf.row(at)))
            .skip(skip)
            .take_while(|entry| entry.uid / BUCKET_UIDS == number);
        for entry in entries {
            let content = (hashing.content_of)(&entry)?;
            hashers.row(&entry, &content, keywords, self.modseq_floor);
            rows += 1;
        }
        Ok(Bucket {
            number,
            rows,
            content: hashers.content.finish(),
            state: hashers.state.finish(),
            exact: hashers.exact.finish(),
        })
    }

    /// Whether the rows of a bucket, and what they report, are the same in both, as far as that can be told cheaply:
    /// where one is a later state of the other, a leaf that was not changed is shared.
    fn same_rows(&self, other: &Self, number: u32) -> bool {
        let start = start_of(number);
        let end = start + u64::from(BUCKET_UIDS);
        let leaves = |mailbox: &Self| -> Vec<*const _> {
            let (leaves, _) = mailbox.entries.leaves_from(mailbox.entries.rank(start));
            let leaves = leaves.take_while(|leaf| leaf.len() > 0 && leaf.key(0) < end);
            leaves.map(ptr::from_ref).collect()
        };
        self.modseq_floor == other.modseq_floor && leaves(self) == leaves(other)
    }
}

/// The first UID, or 0, of a bucket.
fn start_of(number: u32) -> u64 {
    u64::from(number) * u64::from(BUCKET_UIDS)
}

impl Fold {
    /// What the account comes to. Names of mailboxes count, their ids and the account's name do not.
    pub(crate) fn roots(&self, hashing: &mut Hashing<'_>) -> Result<Roots> {
        let mut mailboxes = Vec::with_capacity(self.mailboxes.len());
        let (mut messages, mut bytes) = (0_u64, 0_u64);
        for (id, mailbox) in self.mailboxes.iter() {
            let roots = mailbox.roots(*id, &self.keywords, hashing)?;
            // An image may claim any sizes.
            messages = messages.saturating_add(roots.messages);
            bytes = bytes.saturating_add(roots.bytes);
            mailboxes.push((self.path(*id), roots));
        }
        let mut hashers = Hashers::new(b"MKRACCTC", b"MKRACCTS", b"MKRACCTE");
        let count = u32::try_from(mailboxes.len()).unwrap_or(u32::MAX);
        let digests: [fn(&Roots) -> Digest; 3] = [
            |roots| roots.content,
            |roots| roots.state,
            |roots| roots.exact,
        ];
        hashers.exact.put(self.id.as_bytes());
        hashers.exact.text(&self.name);
        hashers.exact.put(&self.modseq.to_le_bytes());
        let inputs = [&mut hashers.content, &mut hashers.state, &mut hashers.exact];
        for (input, digest) in inputs.into_iter().zip(digests) {
            input.put(&count.to_le_bytes());
            // By name; where a loss left several of one name, by digest: never by id.
            mailboxes.sort_by(|(name, roots), (other, others)| {
                (name, digest(roots)).cmp(&(other, digest(others)))
            });
            for (name, roots) in &mailboxes {
                input.text(name);
                input.put(digest(roots).as_bytes());
            }
        }
        let count = u32::try_from(self.subscriptions.len()).unwrap_or(u32::MAX);
        hashers.state.put(&count.to_le_bytes());
        for (principal, name) in self.subscriptions.iter() {
            hashers.state.put(&principal.to_le_bytes());
            hashers.state.text(name);
        }
        Ok(hashers.roots(messages, bytes))
    }

    /// Keeps what was hashed of `snapshot`, an earlier state of this account, where nothing changed since.
    pub(crate) fn keep_buckets(&mut self, snapshot: &Self, fresh: &[(u32, Bucket)]) {
        for (id, bucket) in fresh {
            let number = bucket.number;
            let same = match (self.mailbox(*id), snapshot.mailbox(*id)) {
                (Some(now), Some(then)) => now.same_rows(then, number),
                _ => false,
            };
            if same && let Some(mailbox) = self.mailbox_mut(*id) {
                mailbox.buckets.set(*bucket);
            }
        }
    }
}

#[cfg(test)]
mod tests;
