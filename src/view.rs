//! A view: a mailbox at one moment, with sequence numbers that stay.

use std::ops::RangeBounds;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::index::{Counters, Entry, EntryLeaf, Fold, Keywords, Leaf, MailboxFold};
use crate::mail::{EmailId, Flags, InternalDate, Keyword, ModSeq, Uid, UidSet, UidValidity};
use crate::message::Message;
use crate::store::Store;

/// A snapshot of a mailbox. It shows what was durable when it was taken and never changes; writers go on beside it.
///
/// ```
/// # use mailkeep::{Delivery, Flags, Options, Store};
/// # let dir = tempfile::tempdir()?;
/// # let store = Store::open(dir.path().join("mail"), Options::default())?;
/// # let inbox = store.create_account("anna@example.it")?.inbox()?;
/// # for text in ["Subject: 1\n\n", "Subject: 2\n\n"] {
/// #     store.deliver(text.as_bytes(), [Delivery::to(&inbox)])?.wait()?;
/// # }
/// let view = inbox.view()?;
/// for row in view.rows(1..) {
///     println!("{} {} {} {}", row.sequence, row.uid, row.flags, row.size);
/// }
/// let unseen = view.columns().map(|columns| columns.flags().iter().filter(|f| !f.contains(Flags::SEEN)).count());
/// assert_eq!(unseen.sum::<usize>(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct View {
    store: Store,
    name: String,
    mailbox: Arc<MailboxFold>,
    keywords: Keywords,
    /// Highest MODSEQ of the account.
    account_modseq: u64,
    /// Whether the disk did not give all of the account when it was loaded.
    partial: bool,
}

/// One entry of a [`View`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Row<'a> {
    /// Message sequence number in the view, from 1.
    pub sequence: u32,
    /// UID.
    pub uid: Uid,
    /// System flags.
    pub flags: Flags,
    /// Keywords, sorted.
    pub keywords: &'a [Keyword],
    /// MODSEQ of its last change.
    pub modseq: ModSeq,
    /// MODSEQ of its arrival in this mailbox.
    pub created: ModSeq,
    /// The Email it is an entry of (EMAILID, RFC 8474).
    pub email: EmailId,
    /// INTERNALDATE.
    pub internal_date: InternalDate,
    /// When it came into this mailbox, seconds since 1970 (SAVEDATE, RFC 8514).
    pub save_date: i64,
    /// RFC822.SIZE: its size in bytes with CRLF line ends.
    pub size: u64,
    /// Its length in bytes as it was given.
    pub raw_len: u32,
}

/// Some consecutive entries of a [`View`], by columns. All slices have the same length.
#[derive(Clone, Copy, Debug)]
pub struct Columns<'a> {
    leaf: &'a EntryLeaf,
}

impl<'a> Columns<'a> {
    /// UIDs, ascending.
    #[must_use]
    pub fn uid(&self) -> &'a [u32] {
        self.leaf.uid()
    }

    /// System flags.
    #[must_use]
    pub fn flags(&self) -> &'a [Flags] {
        self.leaf.flags()
    }

    /// MODSEQs as they were given; none counts as less than [`View::modseq_floor`].
    #[must_use]
    pub fn modseq(&self) -> &'a [u64] {
        self.leaf.modseq()
    }

    /// Internal dates, seconds since 1970.
    #[must_use]
    pub fn internal_date(&self) -> &'a [i64] {
        self.leaf.date()
    }

    /// Wire sizes in bytes.
    #[must_use]
    pub fn size(&self) -> &'a [u64] {
        self.leaf.size()
    }

    /// Email ids.
    #[must_use]
    pub fn email(&self) -> &'a [u64] {
        self.leaf.email()
    }
}

impl View {
    pub(crate) fn new(
        store: Store,
        name: String,
        mailbox: Arc<MailboxFold>,
        account: &Fold,
    ) -> Self {
        Self {
            store,
            name,
            mailbox,
            keywords: account.keywords.clone(),
            account_modseq: account.modseq,
            partial: account.partial,
        }
    }

    pub(crate) fn fold(&self) -> &MailboxFold {
        &self.mailbox
    }

    pub(crate) fn account_modseq(&self) -> u64 {
        self.account_modseq
    }

    /// The mailbox's name at that moment.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many entries it has: the highest sequence number.
    #[must_use]
    pub fn len(&self) -> usize {
        self.mailbox.entries.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// UIDVALIDITY.
    #[must_use]
    pub fn uid_validity(&self) -> UidValidity {
        self.mailbox.uid_validity
    }

    /// HIGHESTMODSEQ.
    #[must_use]
    pub fn highest_modseq(&self) -> ModSeq {
        ModSeq::new(self.mailbox.modseq).unwrap_or(ModSeq::MIN)
    }

    /// The MODSEQ below which no entry reports one: raised when records were lost for good.
    #[must_use]
    pub fn modseq_floor(&self) -> u64 {
        self.mailbox.modseq_floor
    }

    /// Counts and sizes.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.mailbox.counters
    }

    /// The rows of a range of sequence numbers (from 1), in order.
    #[must_use]
    pub fn rows(&self, range: impl RangeBounds<u32>) -> Vec<Row<'_>> {
        use std::ops::Bound;
        let first = match range.start_bound() {
            Bound::Included(first) => (*first).max(1),
            Bound::Excluded(before) => before.saturating_add(1),
            Bound::Unbounded => 1,
        };
        let end = match range.end_bound() {
            Bound::Included(last) => last.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u32::MAX,
        };
        let count = end.saturating_sub(first) as usize;
        self.iter_from(first).take(count).collect()
    }

    /// All rows, in order.
    pub fn iter(&self) -> impl Iterator<Item = Row<'_>> {
        self.iter_from(1)
    }

    fn iter_from(&self, sequence: u32) -> impl Iterator<Item = Row<'_>> {
        let position = (sequence as usize).saturating_sub(1).min(self.len());
        let (leaves, skip) = self.mailbox.entries.leaves_from(position);
        let entries = leaves
            .flat_map(|leaf| (0..leaf.len()).map(|at| leaf.row(at)))
            .skip(skip);
        entries
            .zip(sequence.max(1)..)
            .map(|(entry, sequence)| self.row_of(&entry, sequence))
    }

    fn row_of(&self, entry: &Entry, sequence: u32) -> Row<'_> {
        let modseq =
            |value: u64| ModSeq::new(value.max(self.mailbox.modseq_floor)).unwrap_or(ModSeq::MIN);
        Row {
            sequence,
            uid: Uid::new(entry.uid).unwrap_or(Uid::MIN),
            flags: entry.flags,
            keywords: self.keywords.get(entry.keywords),
            modseq: modseq(entry.modseq),
            created: modseq(entry.created),
            email: EmailId::new(entry.email).unwrap_or(EmailId::MIN),
            internal_date: InternalDate::new(entry.date, entry.zone).unwrap_or(InternalDate::EPOCH),
            save_date: entry.save_date,
            size: entry.size,
            raw_len: entry.raw_len,
        }
    }

    /// The row of a UID.
    #[must_use]
    pub fn row(&self, uid: Uid) -> Option<Row<'_>> {
        let entry = self.mailbox.get(uid.get())?;
        let position = self.mailbox.entries.position(uid.get().into())?;
        Some(self.row_of(&entry, u32::try_from(position + 1).ok()?))
    }

    /// The row of a sequence number.
    #[must_use]
    pub fn at(&self, sequence: u32) -> Option<Row<'_>> {
        let position = (sequence as usize).checked_sub(1)?;
        self.mailbox
            .entries
            .at(position)
            .map(|entry| self.row_of(&entry, sequence))
    }

    /// The entries by columns, in pieces: for scans near the speed of memory.
    pub fn columns(&self) -> impl Iterator<Item = Columns<'_>> {
        self.mailbox.entries.leaves().map(|leaf| Columns { leaf })
    }

    /// The UIDs of all entries.
    #[must_use]
    pub fn uids(&self) -> UidSet {
        self.select(|_| true)
    }

    /// The UIDs of the entries without `\Seen`.
    #[must_use]
    pub fn unseen(&self) -> UidSet {
        self.select(|flags| !flags.contains(Flags::SEEN))
    }

    /// The UIDs of the entries with all of `flags`.
    #[must_use]
    pub fn with_flags(&self, flags: Flags) -> UidSet {
        self.select(|found| found.contains(flags))
    }

    fn select(&self, wanted: impl Fn(Flags) -> bool) -> UidSet {
        let all = self
            .columns()
            .flat_map(|columns| columns.uid().iter().zip(columns.flags()));
        all.filter(|(_, flags)| wanted(**flags))
            .filter_map(|(uid, _)| Uid::new(*uid))
            .collect()
    }

    /// The message of a UID, also when it was expunged since the view was taken.
    ///
    /// # Errors
    /// [`Error::NoSuchMessage`], [`Error::Damaged`], [`Error::Io`]; that, too, where the UID is not known and the disk did not
    /// give all of the account: it may be there another time.
    ///
    /// # Cost
    /// Finds the bytes; reads none of them.
    pub fn message(&self, uid: Uid) -> Result<Message> {
        let missing = || match self.partial {
            true => self.store.inner.index.not_given(),
            false => Error::NoSuchMessage {
                mailbox: self.name.clone(),
                uid,
            },
        };
        let (record, raw_len) = self.mailbox.source(uid.get()).ok_or_else(missing)?;
        Message::open(self.store.clone(), record, raw_len)
    }
}
