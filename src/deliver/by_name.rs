//! Delivery by name: who names account and mailbox is never made to wait for old data. Where the account cannot be
//! found or loaded now, the message is kept under the account's name and gets its UID later.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Handed, Prepared, Raw, Share, Wait};
use crate::error::{Error, Result};
use crate::format::body::OWNERS_MAX;
use crate::format::change::{BodyAt, Change, Deferred};
use crate::index::{Delivered, Lookup, Marks, Place, keywords_fit, len_fits};
use crate::log::{Commit, GroupWriter, NewRecord};
use crate::mail::{AccountId, AccountName, Flags, InternalDate, Keyword, MailboxName};
use crate::options::Durability;
use crate::store::{Inner, Store};

/// In place of a deadline that no clock can show.
const FAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Where a message goes by name, and how it is marked there. See [`Store::deliver_to`].
///
/// ```
/// use mailkeep::{Flags, InternalDate, Keyword, Recipient};
/// let date = InternalDate::new(1_700_000_000, 60).expect("a valid date");
/// let recipient = Recipient::new("anna@example.it", "Lists/rust")
///     .flags(Flags::FLAGGED)
///     .keyword(Keyword::new("$Work")?)
///     .internal_date(date);
/// # let _ = recipient;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Recipient {
    account: String,
    mailbox: String,
    marks: Marks,
}

impl Recipient {
    /// To the mailbox of that full name in the account of that name, without flags, dated now.
    #[must_use]
    pub fn new(account: &str, mailbox: &str) -> Self {
        Self {
            account: account.to_owned(),
            mailbox: mailbox.to_owned(),
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

    /// What has to be looked up, if the names can be names at all.
    fn lookup(&self) -> Result<Lookup> {
        keywords_fit(&self.marks.keywords)?;
        Ok(Lookup {
            account: AccountName::new(&self.account)?.as_str().to_owned(),
            mailbox: MailboxName::new(&self.mailbox)?,
        })
    }
}

/// What became of a delivery by name. Either way the message is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Accepted {
    /// It is in the mailbox.
    Delivered(Delivered),
    /// It waits for its account.
    Deferred(Deferral),
}

impl Accepted {
    /// The entry that was made; `None` where the message waits for its account.
    #[must_use]
    pub fn delivered(&self) -> Option<&Delivered> {
        match self {
            Self::Delivered(delivered) => Some(delivered),
            Self::Deferred(_) => None,
        }
    }
}

/// A delivery that waits for its account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Deferral {
    /// Number of its record in the log. Deferred deliveries of an account become entries in the order of these.
    pub record: u64,
}

/// A delivery that is to be deferred.
struct Late {
    /// Which of the call's recipients.
    at: usize,
    /// The key that it is filed under.
    key: AccountId,
    change: Change,
}

impl Store {
    /// Delivers one message by name of account and mailbox, and never waits for old data: where an account cannot be
    /// found or loaded now (its data is damaged, the disk fails, or does not answer within
    /// [`Options::load_deadline`](crate::Options::load_deadline)), the message is logged as *deferred* and acknowledged
    /// like any other. It gets its UID, durably, when the account is next found by name or loaded;
    /// until then [`Health::deferred`](crate::Health::deferred) counts it, and no mailbox shows it.
    ///
    /// Each recipient has a result of its own, in the order of `recipients`. A mailbox that is not there, or cannot hold
    /// messages, is INBOX. Each recipient is an entry of its own, also of those that name one mailbox twice. Deferred
    /// deliveries of an account become entries in the order in which they were accepted; one for a name that no account
    /// has by then waits until one has it.
    ///
    /// # Errors
    /// Of the whole call: [`Error::EmptyMessage`], [`Error::TooLarge`], or as [`Commit::wait`]. Of one recipient:
    /// [`Error::NoSuchAccount`] (all that could hold the account was read), [`Error::InvalidAccountName`],
    /// [`Error::InvalidName`], [`Error::TooLarge`] (keywords), [`Error::Exhausted`].
    ///
    /// # Durability
    /// As the store's option says; by default, durable when the commit was waited for. A deferred delivery is exactly as
    /// durable as one that was delivered.
    ///
    /// # Cost
    /// As [`deliver`](Store::deliver). An account that was not used lately costs a look into the directory, on a thread
    /// of the store's, for which the call waits until the deadline at most; while an earlier look is overdue it is not
    /// even tried. The body is written once for all who are delivered to and once for all who are deferred; one over
    /// 1 MiB once in all.
    ///
    /// # Examples
    /// ```
    /// use mailkeep::{Accepted, Error, Options, Recipient, Store};
    /// # let dir = tempfile::tempdir()?;
    /// # let store = Store::open(dir.path().join("mail"), Options::default())?;
    /// store.create_account("anna@example.it")?;
    /// let to = [Recipient::new("anna@example.it", "Lists/none"), Recipient::new("nobody", "INBOX")];
    /// let kept = store.deliver_to(b"Subject: x\r\n\r\n", to)?.wait()?;
    /// match &kept[0] {
    ///     Ok(Accepted::Delivered(delivered)) => assert_eq!(delivered.uid.get(), 1), // in INBOX
    ///     Ok(Accepted::Deferred(deferral)) => println!("accepted as record {}", deferral.record),
    ///     other => panic!("{other:?}"),
    /// }
    /// assert!(matches!(kept[1], Err(Error::NoSuchAccount { .. })));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn deliver_to<'a>(
        &self,
        raw: impl Into<Raw<'a>>,
        recipients: impl IntoIterator<Item = Recipient>,
    ) -> Result<Commit<Vec<Result<Accepted>>>> {
        let durability = self.inner.log.options().durability;
        self.deliver_to_with(raw, recipients, durability)
    }

    /// As [`deliver_to`](Store::deliver_to), with a durability of its own.
    ///
    /// # Errors
    /// As [`deliver_to`](Store::deliver_to).
    pub fn deliver_to_with<'a>(
        &self,
        raw: impl Into<Raw<'a>>,
        recipients: impl IntoIterator<Item = Recipient>,
        durability: Durability,
    ) -> Result<Commit<Vec<Result<Accepted>>>> {
        let inner = &self.inner;
        let mut prepared = Prepared::new(raw.into(), inner)?;
        let recipients: Vec<Recipient> = recipients.into_iter().collect();
        inner.log.admit(prepared.len_in_batch())?;
        let (places, results) = inner.look_up(&recipients);
        let owners = inner.owners(&recipients, &places, &results);
        prepared.write_if_large(inner, &owners)?;
        let done = inner.accept(&prepared, &recipients, places, results, durability);
        if !done
            .as_ref()
            .is_ok_and(|(_, results)| results.iter().any(Result::is_ok))
        {
            prepared.discard_if_large(inner);
        }
        let (batch, results) = done?;
        Ok(inner.log.commit(batch, results))
    }
}

/// What is known of each recipient before anything is written: where it goes, or why that is not known.
type Looked = (Vec<Option<Place>>, Vec<Option<Error>>);

/// Whether a delivery that fails so is deferred: the account is there, and cannot be delivered to now.
fn defers(error: &Error) -> bool {
    // A mailbox that was deleted since it was looked up is found to be INBOX when the account is next looked up.
    matches!(
        error,
        Error::Damaged { .. }
            | Error::Io { .. }
            | Error::NoSuchMailbox { .. }
            | Error::NotAllowed { .. }
    )
}

impl Inner {
    /// Looks all recipients up. One with neither place nor error did not answer in time.
    fn look_up(&self, recipients: &[Recipient]) -> Looked {
        let now = Instant::now();
        let due = now.checked_add(self.log.options().load_deadline);
        let due = due.unwrap_or_else(|| now + FAR);
        let mut places: Vec<Option<Place>> = recipients.iter().map(|_| None).collect();
        let mut errors: Vec<Option<Error>> = recipients.iter().map(|_| None).collect();
        let (mut asked, mut wanted) = (Vec::new(), Vec::new());
        for (at, recipient) in recipients.iter().enumerate() {
            match (recipient.lookup(), errors.get_mut(at)) {
                (Ok(lookup), _) => {
                    asked.push(at);
                    wanted.push(lookup);
                }
                (Err(error), Some(place)) => *place = Some(error),
                (Err(_), None) => {}
            }
        }
        let found = self.lookups.find(&self.index, &wanted, due);
        for (at, found) in asked.into_iter().zip(found) {
            match (found, places.get_mut(at), errors.get_mut(at)) {
                (Some(Ok(found)), Some(place), _) => *place = Some(found),
                (Some(Err(error)), _, Some(place)) if !defers(&error) => *place = Some(error),
                _ => {}
            }
        }
        (places, errors)
    }

    /// Whose a large body is: the accounts, and the keys of those who are not known yet.
    fn owners(
        &self,
        recipients: &[Recipient],
        places: &[Option<Place>],
        errors: &[Option<Error>],
    ) -> Vec<AccountId> {
        let all = recipients.iter().zip(places).zip(errors);
        let mut owners: Vec<AccountId> = all
            .filter_map(|((recipient, place), error)| match (place, error) {
                (Some(place), _) => Some(place.cell.id),
                (None, None) => Some(self.index.key_of(&recipient.account).deferred()),
                (None, Some(_)) => None,
            })
            .collect();
        owners.sort_unstable();
        owners.dedup();
        owners
    }

    /// Delivers to those who have a place, and defers all others who have no error. Returns the batch with which all of
    /// it is durable.
    fn accept(
        &self,
        prepared: &Prepared<'_>,
        recipients: &[Recipient],
        places: Vec<Option<Place>>,
        errors: Vec<Option<Error>>,
        durability: Durability,
    ) -> Result<(u64, Vec<Result<Accepted>>)> {
        let shares = shares(recipients, &places);
        let count = recipients.len();
        let handed = if shares.is_empty() {
            let nobody = (0..count).map(|_| Err(Error::Closed)).collect();
            Handed {
                batch: 0,
                results: nobody,
                kept: false,
            }
        } else {
            self.deliver(prepared, &shares, count, durability, Wait::ForNothing)?
        };
        let mut results = Vec::with_capacity(count);
        let mut late = Vec::new();
        let all = recipients
            .iter()
            .zip(&places)
            .zip(errors)
            .zip(handed.results);
        for (at, (((recipient, place), error), result)) in all.enumerate() {
            let result = match (error, place, result) {
                (Some(error), ..) => Err(error),
                (None, Some(_), Ok(delivered)) => Ok(Accepted::Delivered(delivered)),
                (None, Some(_), Err(error)) if !defers(&error) => Err(error),
                (None, _, other) => {
                    late.push(self.late(at, recipient, prepared)?);
                    // Takes its place when the record has a number.
                    other.map(Accepted::Delivered)
                }
            };
            results.push(result);
        }
        if late.is_empty() {
            return Ok((handed.batch, results));
        }
        let batch = self.defer(prepared, late, handed.batch, durability, &mut results)?;
        Ok((batch, results))
    }

    /// The record of a deferred delivery.
    fn late(&self, at: usize, recipient: &Recipient, prepared: &Prepared<'_>) -> Result<Late> {
        let save_date = self.now_ms().div_euclid(1000);
        let date = recipient
            .marks
            .date
            .or_else(|| InternalDate::utc(save_date));
        let arrival = prepared.arrival.clone();
        let deferred = Deferred {
            account: recipient.account.clone(),
            mailbox: MailboxName::new(&recipient.mailbox)?.as_str().to_owned(),
            flags: recipient.marks.flags,
            keywords: recipient.marks.keywords.clone(),
            internal_date: date.ok_or_else(|| Error::NotAllowed {
                name: recipient.mailbox.clone(),
                verb: "dated by this clock",
            })?,
            save_date,
            raw_len: arrival.raw_len,
            shape: arrival.shape,
            digest: arrival.digest,
            body: arrival.body,
            summary: arrival.summary,
        };
        Ok(Late {
            at,
            key: self.index.key_of(&recipient.account).deferred(),
            change: Change::Deferred(Box::new(deferred)),
        })
    }

    /// Logs deferred deliveries; returns their batch. `rests_on` brings what the same call delivered: where that has
    /// failed, so has the call.
    fn defer(
        &self,
        prepared: &Prepared<'_>,
        mut late: Vec<Late>,
        rests_on: u64,
        durability: Durability,
        results: &mut [Result<Accepted>],
    ) -> Result<u64> {
        let records: u64 = late.iter().map(|late| late.change.rough_len()).sum();
        len_fits(records + prepared.len_in_batch() as u64)?;
        let joined = self.log.join(durability, &[rests_on], |group| {
            for late in late.chunks_mut(OWNERS_MAX) {
                self.write_deferred(prepared, late, group, results);
            }
        })?;
        match joined {
            Some((batch, ())) => {
                self.index.after_change();
                Ok(batch)
            }
            None => {
                self.log.commit(rests_on, ()).wait()?;
                Err(Error::Closed)
            }
        }
    }

    /// Writes the records of deferred deliveries. The first brings the body, the others point to it.
    fn write_deferred(
        &self,
        prepared: &Prepared<'_>,
        late: &mut [Late],
        group: &mut GroupWriter<'_>,
        results: &mut [Result<Accepted>],
    ) {
        let mut owners: Vec<AccountId> = Vec::with_capacity(late.len());
        owners.extend(late.iter().map(|late| late.key));
        // The first record's key comes first, the others in any order.
        if let Some((first, others)) = owners.split_first_mut() {
            let first = *first;
            others.sort_unstable();
            owners.dedup();
            let mut seen = false;
            owners.retain(|owner| *owner != first || !std::mem::replace(&mut seen, true));
        }
        let body = prepared.body(&owners, 0, 0);
        let mut written = None;
        for late in late {
            let here = match (late.change.body_mut(), written) {
                (Some(BodyAt::Segment(_)), _) | (None, _) => None,
                (Some(place), Some(owner)) => {
                    *place = BodyAt::Record(owner);
                    None
                }
                (Some(_), None) => {
                    written = Some(group.next_number());
                    Some(&body)
                }
            };
            let new = NewRecord {
                account: late.key,
                mailbox: 0,
                modseq: 0,
                previous: 0,
                change: &mut late.change,
            };
            let record = group.push(new, here);
            self.index.note_deferred(late.key, record, group.batch());
            if let Some(place) = results.get_mut(late.at) {
                *place = Ok(Accepted::Deferred(Deferral { record }));
            }
        }
    }
}

/// Sorts those who have a place by account.
fn shares(recipients: &[Recipient], places: &[Option<Place>]) -> BTreeMap<AccountId, Share> {
    let mut shares = BTreeMap::new();
    for (at, (recipient, place)) in recipients.iter().zip(places).enumerate() {
        let Some(place) = place else { continue };
        let new = || Share {
            cell: Arc::clone(&place.cell),
            targets: Vec::new(),
        };
        let share = shares.entry(place.cell.id).or_insert_with(new);
        share
            .targets
            .push((at, place.mailbox, recipient.marks.clone()));
    }
    shares
}
