//! Receipts: whether two mailboxes, or two accounts, hold the same.

use std::fmt;
use std::str::FromStr;

use crate::account::Account;
use crate::error::{Error, Result};
use crate::format::Fault;
use crate::index::{Content, Entry, Fold, Hashing, Roots};
use crate::mail::Digest;
use crate::mailbox::Mailbox;
use crate::store::Inner;

/// What a [`Mailbox`] or an [`Account`] holds, as three digests. FORMAT.md section 18 says over what, so that other
/// programs can compute them.
///
/// Equal digests mean equal mail, also in another store, of another layout: after an import, a restore, a migration, a
/// rebuild. A receipt that is kept elsewhere shows whether a store was put back to an earlier state.
///
/// ```
/// # use mailkeep::{Delivery, FlagChange, Flags, Options, Store, UidSet};
/// # let dir = tempfile::tempdir()?;
/// # let store = Store::open(dir.path().join("mail"), Options::default())?;
/// let anna = store.create_account("anna@example.it")?;
/// let inbox = anna.inbox()?;
/// inbox.append(b"Subject: 1\n\n", Delivery::to(&inbox))?.wait()?;
/// let before = inbox.receipt()?;
/// inbox.flag(&UidSet::full(), &FlagChange::add(Flags::SEEN), None)?.wait()?;
/// let after = inbox.receipt()?;
/// assert_eq!(before.content, after.content);
/// assert_ne!(before.state, after.state);
/// assert_eq!(after.to_string().parse(), Ok(after));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Receipt {
    /// Over each message's UID, digest, size and internal date. Of an account, also over the names of its mailboxes.
    pub content: Digest,
    /// Over `content`, flags, keywords, save dates and the properties of mailboxes. Of an account, also over its
    /// subscriptions.
    pub state: Digest,
    /// Over `state`, UIDVALIDITY, UIDNEXT, MODSEQs and ids. Equal only for what was one history.
    pub exact: Digest,
    /// How many messages there are.
    pub messages: u64,
    /// Their size in bytes, as on the wire.
    pub bytes: u64,
}

impl From<Roots> for Receipt {
    fn from(roots: Roots) -> Self {
        let Roots {
            content,
            state,
            exact,
            messages,
            bytes,
        } = roots;
        Self {
            content,
            state,
            exact,
            messages,
            bytes,
        }
    }
}

impl fmt::Display for Receipt {
    /// Content, state and exact in hexadecimal, then messages and bytes, with `:` between them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            content,
            state,
            exact,
            messages,
            bytes,
        } = self;
        write!(f, "{content}:{state}:{exact}:{messages}:{bytes}")
    }
}

/// Why a text is not a [`Receipt`]: it is not three digests and two numbers with `:` between them. Fix the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a receipt: three digests and two numbers, with : between them")]
#[non_exhaustive]
pub struct ReceiptError;

impl FromStr for Receipt {
    type Err = ReceiptError;

    fn from_str(text: &str) -> Result<Self, ReceiptError> {
        let parts: Vec<&str> = text.split(':').collect();
        let [content, state, exact, messages, bytes] = parts[..] else {
            return Err(ReceiptError);
        };
        let digest = |text: &str| text.parse().map_err(|_| ReceiptError);
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let number = digits.then(|| text.parse().ok()).flatten();
            number.ok_or(ReceiptError)
        };
        Ok(Self {
            content: digest(content)?,
            state: digest(state)?,
            exact: digest(exact)?,
            messages: number(messages)?,
            bytes: number(bytes)?,
        })
    }
}

impl Inner {
    /// What an entry's record says of its content.
    fn recorded(&self, entry: &Entry) -> Result<Content> {
        let digest = self.log.record(entry.record)?.1.digest();
        let lost = || Error::fault("the log", 0, Fault::Lost);
        Ok(Content {
            digest: digest.ok_or_else(lost)?,
            wire_size: entry.size,
        })
    }
}

impl Mailbox {
    /// What the mailbox holds now. Its name is no part of it.
    ///
    /// # Errors
    /// [`Error::NoSuchMailbox`] when it was deleted; [`Error::Damaged`] or [`Error::Io`] where a message's record
    /// cannot be read.
    ///
    /// # Cost
    /// Reads the records of messages in runs of 4,096 UIDs in which something changed since the last receipt; all of
    /// them the first time after opening. No bodies.
    pub fn receipt(&self) -> Result<Receipt> {
        let account = &self.account;
        account.hashed(|fold, hashing| {
            let mailbox = fold.mailbox(self.id).ok_or_else(|| self.gone())?;
            mailbox.roots(self.id, &fold.keywords, hashing)
        })
    }
}

impl Account {
    /// What the account holds now: its mailboxes by name, and the subscriptions. Its own name is no part of content
    /// and state.
    ///
    /// # Errors
    /// [`Error::NoSuchAccount`] when it was deleted; [`Error::Damaged`] or [`Error::Io`] where a message's record
    /// cannot be read.
    ///
    /// # Cost
    /// As [`Mailbox::receipt`], of all mailboxes.
    pub fn receipt(&self) -> Result<Receipt> {
        self.hashed(|fold, hashing| {
            if fold.exists {
                fold.roots(hashing)
            } else {
                Err(Error::NoSuchAccount {
                    name: fold.name.to_string(),
                })
            }
        })
    }

    /// Hashes what is durable now.
    fn hashed(
        &self,
        roots: impl FnOnce(&Fold, &mut Hashing<'_>) -> Result<Roots>,
    ) -> Result<Receipt> {
        self.hashed_of(&self.fold()?, roots)
    }

    /// Hashes a state that was durable, by what the records say, and keeps what was hashed.
    pub(crate) fn hashed_of(
        &self,
        fold: &Fold,
        roots: impl FnOnce(&Fold, &mut Hashing<'_>) -> Result<Roots>,
    ) -> Result<Receipt> {
        let inner = &self.store.inner;
        let mut content_of = |entry: &Entry| inner.recorded(entry);
        let mut hashing = Hashing::new(&mut content_of);
        let roots = roots(fold, &mut hashing);
        // Also what was hashed before an error: the next try begins there.
        inner.index.keep_buckets(&self.cell, fold, &hashing.fresh);
        roots.map(Receipt::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: text and value are the same thing, and nothing else is taken for a receipt.
    #[test]
    fn text_goes_both_ways() {
        let receipt = Receipt {
            content: Digest::of(b"a"),
            state: Digest::of(b"b"),
            exact: Digest::of(b"c"),
            messages: 7,
            bytes: u64::MAX,
        };
        let text = receipt.to_string();
        assert_eq!(text.parse(), Ok(receipt));
        assert_eq!(text.to_uppercase().parse(), Ok(receipt));
        for bad in [
            String::new(),
            text.replace(':', "-"),
            format!("{text}:"),
            format!("{text}0"),
            text.chars().skip(1).collect(),
            text.replacen(|digit: char| digit.is_ascii_digit(), "g", 1),
            text.replace(":7:", ":+7:"),
            text.replace(":7:", "::"),
        ] {
            assert_eq!(bad.parse::<Receipt>(), Err(ReceiptError), "{bad}");
        }
    }
}
