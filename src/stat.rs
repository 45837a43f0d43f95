//! How a store is doing, and how large it is.

use std::collections::HashSet;
use std::fmt;
use std::ops::ControlFlow;
use std::time::Duration;

use crate::account::Account;
use crate::error::{Error, Result};
use crate::log::LostMessage;
use crate::store::Store;

/// How a store is doing. `Display` says it in a few words.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Health {
    /// Where it is.
    pub path: String,
    /// Whether it was opened read-only.
    pub read_only: bool,
    /// Why writing has stopped, if it has.
    pub stopped: Option<Error>,
    /// Whether the opening found everything that was acknowledged, as far as it looked: see
    /// [`Options::replay_all`](crate::Options::replay_all).
    pub whole: bool,
    /// Records that were found unreadable since the opening, in accounts that were loaded: see
    /// [`Store::lost`].
    pub lost_records: u64,
    /// Number of the next record.
    pub next_record: u64,
    /// The rebuild of what is derived, while one is under way. Everything is served meanwhile.
    pub rebuild: Option<Rebuild>,
    /// Derived files or parts of them that were found damaged, footers of segments included, by the opening or since. They were
    /// dropped and are made again; no mail is touched by that.
    pub index_damage: u64,
    /// Why the index could not be saved lately, if so. The store goes on; until it can be, an opening has more to read.
    pub index_error: Option<Error>,
    /// Deliveries that were accepted while their account could not be read, and have no UID yet.
    pub deferred: u64,
    /// Accounts that wait for a new image.
    pub images_waiting: u64,
}

/// How far a rebuild is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rebuild {
    /// Bytes of the log that were read, and that are to be read in all.
    pub done_bytes: u64,
    /// See `done_bytes`.
    pub total_bytes: u64,
    /// Accounts that were found so far, counted in each segment they occur in.
    pub accounts: u64,
    /// Bytes a second since it began.
    pub bytes_per_second: u64,
    /// The time it will take yet, at this rate; `None` before there is one.
    pub left: Option<Duration>,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.path)?;
        match (&self.stopped, self.read_only) {
            (Some(error), _) => {
                let cause = std::error::Error::source(error).map(ToString::to_string);
                write!(f, "reading only, {error}: {}", cause.unwrap_or_default())?;
            }
            (None, true) => write!(f, "opened read-only")?,
            (None, false) => write!(f, "reading and writing")?,
        }
        let whole = if self.whole {
            "whole"
        } else {
            "damaged: see the recovery report and the lost messages"
        };
        write!(f, ", {whole}")?;
        if let Some(rebuild) = &self.rebuild {
            write!(f, ", {rebuild}")?;
        }
        if let Some(error) = &self.index_error {
            write!(f, ", the index is not saved: {error}")?;
        }
        if self.deferred > 0 {
            write!(f, ", {} deliveries wait for their account", self.deferred)?;
        }
        Ok(())
    }
}

impl fmt::Display for Rebuild {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = 100 * self.done_bytes / self.total_bytes.max(1);
        write!(f, "rebuilding the index, {percent} % of the log read")?;
        match self.left {
            Some(left) => write!(f, ", {} s left", left.as_secs()),
            None => Ok(()),
        }
    }
}

/// Sizes of a store, and what it holds in memory. All of it is known without reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stat {
    /// Segments, those of large bodies not counted.
    pub segments: u64,
    /// Those with a footer.
    pub sealed: u64,
    /// Bytes of all segments.
    pub log_bytes: u64,
    /// Record numbers given.
    pub records: u64,
    /// Batches written.
    pub batches: u64,
    /// Runs of the directory.
    pub runs: u64,
    /// Rows in them: accounts and aliases, each counted in every run that has news of it.
    pub rows: u64,
    /// Bytes of the runs.
    pub run_bytes: u64,
    /// Bytes of account images that are in use.
    pub image_bytes: u64,
    /// Bytes of account images that newer ones have replaced.
    pub image_dead_bytes: u64,
    /// Accounts in memory.
    pub cached_accounts: u64,
    /// Bytes of memory for them, about.
    pub cache_bytes: u64,
    /// Bytes of memory for the directory's part that is not saved yet, about.
    pub unsaved_bytes: u64,
    /// Bytes of the log that an opening would read now.
    pub tail_bytes: u64,
}

/// What a store holds, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Accounts.
    pub accounts: u64,
    /// Mailboxes of all accounts.
    pub mailboxes: u64,
    /// Entries of all mailboxes.
    pub messages: u64,
    /// Their wire size, in bytes.
    pub message_bytes: u64,
    /// Bytes of bodies that an entry points to, each once in its account.
    pub live_bytes: u64,
}

impl Store {
    /// How the store is doing.
    #[must_use]
    pub fn health(&self) -> Health {
        let inner = &self.inner;
        let log = inner.log.stat();
        let mut health = Health {
            path: inner.path.clone(),
            read_only: inner.log.options().read_only,
            stopped: inner.log.stopped(),
            whole: inner.recovery.is_whole(),
            lost_records: 0,
            next_record: log.next_record,
            rebuild: None,
            index_damage: log.bad_footers,
            index_error: None,
            deferred: 0,
            images_waiting: 0,
        };
        inner.index.report(&mut health);
        health
    }

    /// Messages whose records are lost and that are therefore in no mailbox, as far as their bodies tell: those that the
    /// opening found, and those that were found since when their accounts were loaded.
    #[must_use]
    pub fn lost(&self) -> Vec<LostMessage> {
        let mut lost = self.inner.recovery.lost.clone();
        for found in self.inner.index.lost() {
            if !lost.contains(&found) {
                lost.push(found);
            }
        }
        lost
    }

    /// Waits until all that is derived and was missing is there again: after its files were lost, found damaged, or
    /// dropped by [`Options::rebuild`](crate::Options::rebuild). Where nothing is missing it returns at once. `progress` is
    /// told after each segment, and several times a second where the store has its threads; it may end the waiting, and the
    /// rebuild goes on. The store may be used meanwhile. Images of accounts are no part of it: they come back as accounts are
    /// used.
    ///
    /// # Errors
    /// [`Error::ReadOnly`]; [`Error::Closed`] when the store is closed meanwhile; [`Error::Io`], [`Error::NoSpace`] or
    /// [`Error::Damaged`] where a step failed. It is tried again by the next call, and by the next opening.
    ///
    /// # Cost
    /// Reads the heads and records of the segments that nothing derived covers. Without the store's threads
    /// ([`Options::background`](crate::Options::background)) the caller does the work.
    ///
    /// ```
    /// # use std::ops::ControlFlow;
    /// # use mailkeep::{Options, Store};
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("mail");
    /// # Store::open(&path, Options::default())?.create_account("anna@example.it")?;
    /// let store = Store::open(&path, Options::new().rebuild(true))?;
    /// store.wait_rebuilt(&mut |at| {
    ///     println!("{at}");
    ///     ControlFlow::Continue(())
    /// })?;
    /// assert_eq!(store.health().rebuild, None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn wait_rebuilt(
        &self,
        progress: &mut dyn FnMut(&Rebuild) -> ControlFlow<()>,
    ) -> Result<()> {
        self.inner.index.wait_rebuilt(progress)
    }

    /// Sizes, from memory.
    #[must_use]
    pub fn stat(&self) -> Stat {
        let log = self.inner.log.stat();
        let mut stat = Stat {
            segments: log.segments,
            sealed: log.sealed,
            log_bytes: log.bytes,
            records: log.next_record - 1,
            batches: log.batches,
            ..Stat::default()
        };
        self.inner.index.measure(&mut stat);
        stat
    }

    /// Counts what the store holds, account by account. `progress` is told after each account and may end the counting.
    ///
    /// # Errors
    /// [`Error::Damaged`] or [`Error::Io`] where an account cannot be loaded.
    ///
    /// # Cost
    /// Loads every account: grows with the store. For people, not for each request.
    pub fn count(&self, progress: &mut dyn FnMut(&Counts) -> ControlFlow<()>) -> Result<Counts> {
        let mut counts = Counts::default();
        let mut each = |account: &Account| {
            self.count_account(account, &mut counts)?;
            Ok(progress(&counts))
        };
        let _: ControlFlow<()> = self.each_account(&mut each)?;
        Ok(counts)
    }

    /// Shows all accounts to `each`, page by page.
    pub(crate) fn each_account(
        &self,
        each: &mut dyn FnMut(&Account) -> Result<ControlFlow<()>>,
    ) -> Result<ControlFlow<()>> {
        const PAGE: usize = 1024;
        let mut after: Option<String> = None;
        loop {
            let names = self.accounts(after.as_deref(), PAGE)?;
            for name in &names {
                let account = match self.account(name) {
                    // Deleted since it was listed.
                    Err(Error::NoSuchAccount { .. }) => continue,
                    account => account?,
                };
                if each(&account)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            match names.into_iter().next_back() {
                Some(last) => after = Some(last),
                None => return Ok(ControlFlow::Continue(())),
            }
        }
    }

    fn count_account(&self, account: &Account, counts: &mut Counts) -> Result<()> {
        let fold = account.fold()?;
        let mut bodies = HashSet::new();
        counts.accounts += 1;
        for mailbox in fold.mailboxes.values() {
            counts.mailboxes += 1;
            counts.messages += mailbox.counters.messages;
            counts.message_bytes += mailbox.counters.bytes;
            for leaf in mailbox.entries.leaves() {
                for (record, len) in leaf.record().iter().zip(leaf.raw_len()) {
                    if bodies.insert(self.inner.log.body_owner(*record)?) {
                        counts.live_bytes += u64::from(*len);
                    }
                }
            }
        }
        Ok(())
    }
}
