//! Delivery: one message to one or many mailboxes, its body written once.

mod by_name;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::body::{OWNERS_MAX, chunk_checksums};
use crate::format::change::{BodyAt, Change};
use crate::index::{
    Arrival, Cell, ColdDraft, Delivered, Draft, Drafts, Marks, Pin, State, batch_fits,
};
use crate::log::{Commit, GroupWriter, LARGE, NewBody};
use crate::mail::{AccountId, Digest, Flags, InternalDate, Keyword, Shape, Summary};
use crate::mailbox::Mailbox;
use crate::options::Durability;
use crate::store::{Inner, Store};
pub use by_name::{Accepted, Deferral, Recipient};

/// A message as it is handed over: bytes, or several pieces that make it (headers that a server adds, then the mail).
///
/// ```
/// use mailkeep::Raw;
/// let one: Raw = b"Subject: x\r\n\r\n".into();
/// let pieces: [&[u8]; 2] = [b"Received: by us\r\n", b"Subject: x\r\n\r\n"];
/// let two: Raw = pieces[..].into();
/// # let _ = (one, two);
/// ```
#[derive(Clone, Debug)]
pub struct Raw<'a>(Cow<'a, [u8]>);

impl<'a> From<&'a [u8]> for Raw<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self(bytes.into())
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Raw<'a> {
    fn from(bytes: &'a [u8; N]) -> Self {
        Self(bytes.as_slice().into())
    }
}

impl<'a> From<&'a Vec<u8>> for Raw<'a> {
    fn from(bytes: &'a Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl<'a> From<&'a bytes::Bytes> for Raw<'a> {
    fn from(bytes: &'a bytes::Bytes) -> Self {
        Self(bytes.as_ref().into())
    }
}

impl From<Vec<u8>> for Raw<'_> {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl<'a> From<&'a [&'a [u8]]> for Raw<'a> {
    fn from(pieces: &'a [&'a [u8]]) -> Self {
        match pieces {
            [one] => (*one).into(),
            _ => pieces.concat().into(),
        }
    }
}

impl Raw<'_> {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn into_owned(self) -> Raw<'static> {
        Raw(self.0.into_owned().into())
    }
}

/// Where a message goes, and how it is marked there.
///
/// ```
/// # use mailkeep::{Delivery, Flags, InternalDate, Keyword, Options, Store};
/// # let dir = tempfile::tempdir()?;
/// # let store = Store::open(dir.path().join("mail"), Options::default())?;
/// # let inbox = store.create_account("anna@example.it")?.inbox()?;
/// let date = InternalDate::new(1_700_000_000, 60).expect("a valid date");
/// let delivery = Delivery::to(&inbox).flags(Flags::SEEN).keyword(Keyword::new("$Work")?).internal_date(date);
/// let kept = store.deliver(b"Subject: x\r\n\r\n", [delivery])?.wait()?;
/// assert_eq!(kept[0].as_ref().map(|kept| kept.uid.get()).ok(), Some(1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Delivery {
    pub(crate) mailbox: Mailbox,
    pub(crate) marks: Marks,
}

impl Delivery {
    /// To this mailbox, without flags, dated now.
    #[must_use]
    pub fn to(mailbox: &Mailbox) -> Self {
        Self {
            mailbox: mailbox.clone(),
            marks: Marks::default(),
        }
    }

    /// With these system flags.
    #[must_use]
    pub fn flags(mut self, flags: Flags) -> Self {
        self.marks.flags = flags;
        self
    }

    /// With one more keyword.
    #[must_use]
    pub fn keyword(mut self, keyword: Keyword) -> Self {
        if let Err(at) = self.marks.keywords.binary_search(&keyword) {
            self.marks.keywords.insert(at, keyword);
        }
        self
    }

    /// With this internal date instead of now.
    #[must_use]
    pub fn internal_date(mut self, date: InternalDate) -> Self {
        self.marks.date = Some(date);
        self
    }

    pub(crate) fn into_mailbox(mut self, mailbox: &Mailbox) -> Self {
        self.mailbox = mailbox.clone();
        self
    }
}

/// A message that was looked at and is ready to be written.
#[derive(Debug)]
pub(crate) struct Prepared<'a> {
    raw: Raw<'a>,
    chunks: Vec<u32>,
    pub(crate) arrival: Arrival,
}

impl<'a> Prepared<'a> {
    /// Computes what the records will say of a message. Its content is never a reason to refuse it, its size may be.
    pub(crate) fn new(raw: Raw<'a>, inner: &Inner) -> Result<Self> {
        let bytes = raw.bytes();
        let (len, max) = (bytes.len() as u64, inner.log.options().message_max);
        if len == 0 {
            return Err(Error::EmptyMessage);
        }
        let too_large = || Error::TooLarge {
            what: "the message",
            len,
            max,
        };
        if len > max {
            return Err(too_large());
        }
        let arrival = Arrival {
            digest: Digest::of(bytes),
            shape: Shape::of(bytes),
            summary: Summary::of(bytes),
            raw_len: u32::try_from(len).map_err(|_| too_large())?,
            body: BodyAt::Here(0),
        };
        Ok(Self {
            chunks: chunk_checksums(bytes),
            arrival,
            raw,
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.raw.bytes().len()
    }

    /// The body, as that of the first owner's entry.
    pub(crate) fn body(&self, owners: &[AccountId], mailbox: u32, uid: u32) -> NewBody<'_> {
        let (account, others) = match owners.split_first() {
            Some((first, others)) => (*first, others.to_vec()),
            None => (AccountId::from_bytes([0; 16]), Vec::new()),
        };
        NewBody {
            bytes: self.raw.bytes(),
            chunks: &self.chunks,
            account,
            mailbox,
            uid,
            owners: others,
        }
    }

    /// Bytes that it adds to a batch: a large body has a segment of its own.
    pub(crate) fn len_in_batch(&self) -> usize {
        if self.len() as u64 > LARGE {
            0
        } else {
            self.len()
        }
    }

    /// Gives back the segment of a large body that no record will name.
    pub(crate) fn discard_if_large(&self, inner: &Inner) {
        if let BodyAt::Segment(segment) = self.arrival.body {
            inner.log.drop_large(segment);
        }
    }

    /// Writes a large body ahead of its record, into a segment of its own.
    pub(crate) fn write_if_large(&mut self, inner: &Inner, owners: &[AccountId]) -> Result<()> {
        if self.len() as u64 > LARGE {
            let segment = inner.log.write_large(&self.body(
                owners.get(..OWNERS_MAX).unwrap_or(owners),
                0,
                0,
            ))?;
            self.arrival.body = BodyAt::Segment(segment);
        }
        Ok(())
    }
}

/// What one account gets of a delivery.
struct Share {
    cell: Arc<Cell>,
    /// Which of the call's deliveries, with their mailboxes.
    targets: Vec<(usize, u32, Marks)>,
}

impl Share {
    fn mailboxes(&self) -> Vec<u32> {
        self.targets.iter().map(|(_, id, _)| *id).collect()
    }

    /// The account gets nothing.
    fn fail(&self, error: &Error, results: &mut [Result<Delivered>]) {
        for (at, ..) in &self.targets {
            if let Some(place) = results.get_mut(*at) {
                *place = Err(error.clone());
            }
        }
    }
}

/// Why a delivery that waits for nothing was not made.
fn busy() -> Error {
    Error::Io {
        op: "wait for",
        path: "an account".into(),
        source: Arc::new(std::io::ErrorKind::WouldBlock.into()),
    }
}

impl Store {
    /// Delivers one message to one or many mailboxes, of one or many accounts. The body is written once.
    ///
    /// Each recipient has a result of its own, in the order of `deliveries`: one's failure is not another's. Several
    /// mailboxes of one account share the Email; a mailbox that is named twice gets two.
    ///
    /// # Errors
    /// Of the whole call: [`Error::EmptyMessage`], [`Error::TooLarge`], or as [`Commit::wait`]. Of one recipient:
    /// [`Error::NoSuchMailbox`], [`Error::NotAllowed`] (noselect), [`Error::Exhausted`].
    ///
    /// # Durability
    /// As the store's option says; by default, durable when the commit was waited for.
    ///
    /// # Cost
    /// One hash over the message, one copy (none above 1 MiB), one write and one sync shared with all that commit at
    /// the same time. A message over 1 MiB is written and synced by itself first.
    pub fn deliver<'a>(
        &self,
        raw: impl Into<Raw<'a>>,
        deliveries: impl IntoIterator<Item = Delivery>,
    ) -> Result<Commit<Vec<Result<Delivered>>>> {
        let durability = self.inner.log.options().durability;
        self.deliver_with(raw, deliveries, durability)
    }

    /// As [`deliver`](Store::deliver), with a durability of its own.
    ///
    /// # Errors
    /// As [`deliver`](Store::deliver).
    pub fn deliver_with<'a>(
        &self,
        raw: impl Into<Raw<'a>>,
        deliveries: impl IntoIterator<Item = Delivery>,
        durability: Durability,
    ) -> Result<Commit<Vec<Result<Delivered>>>> {
        let inner = &self.inner;
        let mut prepared = Prepared::new(raw.into(), inner)?;
        let (shares, count) = shares(deliveries, self);
        let owners: Vec<AccountId> = shares.keys().copied().collect();
        inner.log.admit(prepared.len_in_batch())?;
        prepared.write_if_large(inner, &owners)?;
        let done = inner.deliver(&prepared, &shares, count, durability, Wait::ForLoads);
        if !done.as_ref().is_ok_and(|handed| handed.kept) {
            prepared.discard_if_large(inner);
        }
        let handed = done?;
        Ok(inner.log.commit(handed.batch, handed.results))
    }
}

/// Sorts deliveries by account. A mailbox of another store gets no share, and so the error of a missing one.
fn shares(
    deliveries: impl IntoIterator<Item = Delivery>,
    store: &Store,
) -> (BTreeMap<AccountId, Share>, usize) {
    let mut shares = BTreeMap::new();
    let mut count = 0;
    for (at, delivery) in deliveries.into_iter().enumerate() {
        count = at + 1;
        let account = delivery.mailbox.account;
        if Arc::ptr_eq(&account.store.inner, &store.inner) {
            let new = || Share {
                cell: Arc::clone(&account.cell),
                targets: Vec::new(),
            };
            let share = shares.entry(account.id()).or_insert_with(new);
            share
                .targets
                .push((at, delivery.mailbox.id, delivery.marks));
        }
    }
    (shares, count)
}

/// A delivery that was handed to the log.
struct Handed {
    /// With it all results are durable.
    batch: u64,
    results: Vec<Result<Delivered>>,
    /// Whether it made any entry.
    kept: bool,
}

/// What a delivery does about an account whose load is about to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// Waits.
    ForLoads,
    /// Has an error as the result of that one: the load may yet meet a disk that hangs.
    ForNothing,
}

/// A plan for one account, on what is known of it in memory.
enum Plan {
    Cold(ColdDraft),
    Loaded(Draft),
}

impl Plan {
    fn new(state: &State, now_ms: i64) -> Self {
        let head = state.head();
        match &head.fold {
            Some(fold) => Self::Loaded(Draft::new(fold.clone(), now_ms)),
            None => Self::Cold(ColdDraft::new(head.row.clone(), now_ms)),
        }
    }

    fn deliver(
        &mut self,
        mailbox: u32,
        arrival: &Arrival,
        marks: &Marks,
        email: Option<u64>,
    ) -> Result<Delivered> {
        match self {
            Self::Cold(draft) => draft.deliver(arrival, marks, Some(0)),
            Self::Loaded(draft) => draft.deliver(mailbox, arrival, marks, email, Some(0)),
        }
    }

    fn into_records(self) -> Drafts {
        match self {
            Self::Cold(draft) => draft.records,
            Self::Loaded(draft) => draft.records,
        }
    }
}

impl Inner {
    /// Delivers to all of `shares`; the results are those of `count` deliveries.
    fn deliver(
        &self,
        prepared: &Prepared<'_>,
        shares: &BTreeMap<AccountId, Share>,
        count: usize,
        durability: Durability,
        wait: Wait,
    ) -> Result<Handed> {
        loop {
            if let Some(handed) = self.try_deliver(prepared, shares, count, durability, wait)? {
                return Ok(handed);
            }
        }
    }

    /// Plans for all accounts under their locks (taken in the order of their ids), then hands all to one batch; `None`
    /// where the plans have to be made again.
    fn try_deliver(
        &self,
        prepared: &Prepared<'_>,
        shares: &BTreeMap<AccountId, Share>,
        count: usize,
        durability: Durability,
        wait: Wait,
    ) -> Result<Option<Handed>> {
        let missing = |_| {
            Err(Error::NoSuchMailbox {
                name: "of another store".into(),
            })
        };
        let mut results: Vec<Result<Delivered>> = (0..count).map(missing).collect();
        // Before any lock is held, as it may have to read.
        let (warm, _pins) = self.warm(shares, &mut results, wait);
        let mut planned = Vec::new();
        let mut rests_on = Vec::with_capacity(warm.len());
        for (id, share) in warm {
            let state = match wait {
                Wait::ForLoads => self.index.lock(&share.cell),
                Wait::ForNothing => match self.index.lock_at_hand(&share.cell) {
                    Some(state) if state.serves(&share.mailboxes()) => state,
                    _ => {
                        share.fail(&busy(), &mut results);
                        continue;
                    }
                },
            };
            rests_on.push(state.last_batch());
            let mut draft = Plan::new(&state, self.now_ms());
            plan(&mut draft, share, prepared, &mut results);
            let records = draft.into_records();
            if !records.list.is_empty() {
                planned.push((id, share, state, records));
            }
        }
        if planned.is_empty() {
            let batch = rests_on.into_iter().max().unwrap_or(0);
            return Ok(Some(Handed {
                batch,
                results,
                kept: false,
            }));
        }
        let drafts = planned.iter().map(|(.., records)| records);
        batch_fits(drafts, prepared.len_in_batch())?;
        for (id, _, state, _) in &mut planned {
            self.index.list(state, *id);
        }
        let joined = self.log.join(durability, &rests_on, |group| {
            let mut numbers = Vec::with_capacity(planned.len());
            for accounts in planned.chunks_mut(OWNERS_MAX) {
                let owners: Vec<AccountId> = accounts.iter().map(|(id, ..)| *id).collect();
                let mut written = None;
                for (id, _, state, records) in accounts {
                    let previous = state.head().row.last_record;
                    numbers.push(write(
                        prepared,
                        &owners,
                        &mut written,
                        *id,
                        previous,
                        records,
                        group,
                    ));
                }
            }
            numbers
        })?;
        let Some((batch, numbers)) = joined else {
            return Ok(None);
        };
        for ((_, share, state, records), numbers) in planned.iter_mut().zip(&numbers) {
            let head = records.finish(state.head().clone(), numbers);
            self.index.push(&share.cell, state, batch, head);
        }
        drop(planned);
        self.index.after_change();
        Ok(Some(Handed {
            batch,
            results,
            kept: true,
        }))
    }

    /// Sees to it that each account can be planned for from memory. One that cannot be loaded has its error as the
    /// result, and is none of the others' business.
    fn warm<'a>(
        &self,
        shares: &'a BTreeMap<AccountId, Share>,
        results: &mut [Result<Delivered>],
        wait: Wait,
    ) -> (Vec<(AccountId, &'a Share)>, Vec<Pin<'a>>) {
        if wait == Wait::ForNothing {
            // They are, and whoever calls keeps them so.
            return (
                shares.iter().map(|(id, share)| (*id, share)).collect(),
                Vec::new(),
            );
        }
        let mut warm = Vec::with_capacity(shares.len());
        let mut pins = Vec::with_capacity(shares.len());
        for (id, share) in shares {
            match self.index.warm(&share.cell, &share.mailboxes()) {
                Ok(pin) => {
                    warm.push((*id, share));
                    pins.push(pin);
                }
                Err(error) => share.fail(&error, results),
            }
        }
        (warm, pins)
    }
}

/// Plans the entries of one account. The first makes the Email, the others share it where they can.
fn plan(
    draft: &mut Plan,
    share: &Share,
    prepared: &Prepared<'_>,
    results: &mut [Result<Delivered>],
) {
    let mut email = None;
    for (at, mailbox, marks) in &share.targets {
        let result = draft.deliver(*mailbox, &prepared.arrival, marks, email);
        if let Ok(delivered) = &result {
            email.get_or_insert(delivered.email.get());
        }
        if let Some(place) = results.get_mut(*at) {
            *place = result;
        }
    }
}

/// Writes one account's records. The first record of all brings the body, the others point to it.
fn write(
    prepared: &Prepared<'_>,
    owners: &[AccountId],
    written: &mut Option<u64>,
    account: AccountId,
    previous: u64,
    records: &mut Drafts,
    group: &mut GroupWriter<'_>,
) -> Vec<u64> {
    let large = matches!(prepared.arrival.body, BodyAt::Segment(_));
    let mut first = None;
    for drafted in &mut records.list {
        let Change::Deliver(deliver) = &mut drafted.change else {
            continue;
        };
        drafted.body = None;
        match (*written, large) {
            (_, true) => {}
            (Some(owner), false) => deliver.body = BodyAt::Record(owner),
            (None, false) => {
                drafted.body = Some(0);
                *written = Some(group.next_number());
                first = Some((drafted.mailbox, deliver.uid.get()));
            }
        }
    }
    match first {
        Some((mailbox, uid)) => {
            let mut owners = owners.to_vec();
            if let Some(at) = owners.iter().position(|owner| *owner == account) {
                owners.swap(0, at);
            }
            records.write(
                account,
                previous,
                group,
                &[prepared.body(&owners, mailbox, uid)],
            )
        }
        None => records.write(account, previous, group, &[]),
    }
}

#[cfg(test)]
mod tests;
