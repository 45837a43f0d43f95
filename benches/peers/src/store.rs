//! What every store has to be able to do: a mail store's work, in the fewest calls.

use std::error::Error;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Bits of a message's flags in the stores that are not mail stores.
pub(crate) const SEEN: u32 = 1;
pub(crate) const FLAGGED: u32 = 2;

/// A mailbox, by number: each account has room for 4,096 of them, the first is its INBOX.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place(pub(crate) u32);

impl Place {
    const EACH: u32 = 4096;

    pub(crate) fn inbox(account: u32) -> Self {
        Self(account * Self::EACH)
    }

    /// Another mailbox of the same account.
    pub(crate) fn beside(self, mailbox: u32) -> Self {
        Self(self.account() * Self::EACH + mailbox)
    }

    pub(crate) fn account(self) -> u32 {
        self.0 / Self::EACH
    }

    /// 0 for the INBOX.
    pub(crate) fn mailbox(self) -> u32 {
        self.0 % Self::EACH
    }
}

/// A message on its way into a store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mail {
    pub(crate) place: Place,
    pub(crate) seen: bool,
    /// Lives as long as the process, so that threads may hand it to each other.
    pub(crate) body: &'static [u8],
}

impl Mail {
    pub(crate) fn flags(&self) -> u32 {
        if self.seen { SEEN } else { 0 }
    }
}

/// What a look at all flags of a mailbox found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scan {
    pub(crate) messages: u64,
    pub(crate) seen: u64,
    pub(crate) flagged: u64,
}

impl Scan {
    pub(crate) fn count(&mut self, flags: u32) {
        self.messages += 1;
        self.seen += u64::from(flags & SEEN);
        self.flagged += u64::from(flags & FLAGGED) / u64::from(FLAGGED);
    }
}

/// A store under test. A write that has returned is as durable as the store was asked to be when it was opened.
pub(crate) trait Store: Send + Sync {
    /// Makes mailboxes, where they are not made by what is put into them. Never timed.
    fn create(&self, _places: &[Place]) -> Result<()> {
        Ok(())
    }

    /// Keeps all of `mails` or none; several are all for one mailbox. Returns their UIDs.
    fn deliver(&self, mails: &[Mail]) -> Result<Vec<u32>>;

    /// Sets `\Flagged` of all `uids`, or takes it away, in one commit.
    fn flag(&self, place: Place, uids: &[u32], on: bool) -> Result<()>;

    /// Copies all `uids` to another mailbox of the account in one commit, without their bytes.
    fn copy(&self, from: Place, uids: &[u32], to: Place) -> Result<()>;

    /// A reader's fixed view of the store, for one thread.
    fn session(&self) -> Result<Box<dyn Session + '_>>;

    fn close(self: Box<Self>) -> Result<()>;

    /// Whether deliveries from many threads share their syncs by themselves. Otherwise a [`Group`](crate::group::Group)
    /// is put in front.
    fn shares_commits(&self) -> bool {
        false
    }
}

/// See [`Store::session`].
pub(crate) trait Session {
    /// Shows a message's bytes, without a copy where the store can.
    fn read(&mut self, place: Place, uid: u32, see: &mut dyn FnMut(&[u8])) -> Result<()>;

    fn scan(&mut self, place: Place) -> Result<Scan>;
}

/// That a message is not where it was put.
pub(crate) fn missing<T>(place: Place, uid: u32) -> Result<T> {
    Err(format!("{place:?} has no message {uid}").into())
}
