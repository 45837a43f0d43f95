//! The store: opening it, its accounts, its state.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::account::Account;
use crate::error::{Error, Result};
use crate::format::StoreId;
use crate::index::{Cell, Draft, Index, Loader, Names, batch_fits};
use crate::io::{Directory, Storage};
use crate::log::{Commit, Log, NewBody, RecoveryReport};
use crate::mail::{AccountId, AccountName, NameKey};
use crate::options::{Durability, Options};

/// A store of mail: one directory, one writer process.
///
/// Cloning is cheap; all clones are the same store. The last one to go closes it cleanly.
///
/// ```
/// use mailkeep::{Options, Store};
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("mail");
/// let store = Store::open(&path, Options::default())?;
/// store.create_account("anna@example.it")?;
/// store.close()?;
///
/// let store = Store::open(&path, Options::new().read_only(true))?;
/// assert_eq!(store.accounts(None, 100), ["anna@example.it"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

/// What all handles of a store share.
#[derive(Debug)]
pub(crate) struct Inner {
    // First, so that it is closed before anything else goes.
    pub(crate) log: Log,
    pub(crate) index: Index,
    recovery: RecoveryReport,
    path: String,
}

impl Store {
    /// Opens the store in the directory `path`, creating it unless the options forbid.
    ///
    /// # Errors
    /// - [`Error::NotAStore`]: nothing there and nothing to be created, or a folder with other files, or a file.
    /// - [`Error::Locked`]: another handle has it open for writing.
    /// - [`Error::Incomplete`]: files are missing or cut short; see [`Options::accept_loss`].
    /// - [`Error::UnsupportedFormat`], [`Error::Foreign`], [`Error::Damaged`] (MANIFEST or the head of SEGMENTS).
    /// - [`Error::InvalidOption`], [`Error::Io`], [`Error::NoSpace`].
    ///
    /// Damage in the log is no error: the store opens, serves the rest and says in [`Store::recovery`] what is lost.
    ///
    /// # Durability
    /// What is shown after this survives a power cut: recovered records are synced first.
    ///
    /// # Cost
    /// Reads the heads and records of the whole log (not the bodies); about 120 bytes of memory per message. Writes
    /// and syncs MANIFEST once.
    pub fn open(path: impl AsRef<Path>, options: Options) -> Result<Self> {
        options.validate()?;
        let path = path.as_ref();
        let shown = path.display().to_string();
        let create = options.create && !options.read_only;
        let directory =
            Directory::create_or_open(path, create).map_err(|source| match source.kind() {
                std::io::ErrorKind::NotFound => Error::NotAStore {
                    path: shown.clone(),
                    what: "it does not exist",
                },
                std::io::ErrorKind::NotADirectory => Error::NotAStore {
                    path: shown.clone(),
                    what: "it is no directory",
                },
                _ => Error::io("open", &shown, source),
            })?;
        Self::open_on(Arc::new(directory), options)
    }

    /// Opens the store on any [`Storage`]: how tests put a simulated disk below it.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_on(storage: Arc<dyn Storage>, options: Options) -> Result<Self> {
        options.validate()?;
        let path = storage.describe();
        crate::log::find_or_create(&*storage, &options)?;
        let lock = if options.read_only {
            None
        } else {
            Some(crate::log::lock(&*storage, &options)?)
        };
        let mut loader = Loader::default();
        // Accounts are built from all records.
        let options = options.replay_all(true);
        let (log, mut recovery) = Log::open(storage, options, lock, &mut loader, None)?;
        let (index, hit) = loader.finish();
        recovery.accounts_hit = hit;
        Ok(Self {
            inner: Arc::new(Inner {
                log,
                index,
                recovery,
                path,
            }),
        })
    }

    /// The store's identity, chosen when it was created.
    #[must_use]
    pub fn id(&self) -> StoreId {
        self.inner.log.store()
    }

    /// What the opening found and did.
    #[must_use]
    pub fn recovery(&self) -> &RecoveryReport {
        &self.inner.recovery
    }

    /// Creates an account, with its INBOX. Names are opaque: 1 to 512 bytes without control characters.
    ///
    /// # Errors
    /// [`Error::AccountExists`], [`Error::InvalidAccountName`], or as [`Commit::wait`].
    ///
    /// # Durability
    /// Durable when it returns.
    pub fn create_account(&self, name: &str) -> Result<Account> {
        let name = AccountName::new(name)?;
        let name = name.as_str();
        let inner = &self.inner;
        let key = NameKey::new(&inner.log.store().0, name);
        let id = AccountId::named(key, inner.log.options().host.unique());
        inner.log.admit(0)?;
        let (cell, commit) = {
            let mut names = inner.index.names();
            let mark = inner.free_name(&names, name)?;
            let cell = inner.index.add(id);
            let commit = inner.change_now(&cell, Durability::Durable, |draft| {
                draft.create_account(name, mark)
            })?;
            names.set(name, id);
            (cell, commit)
        };
        let created = commit.wait();
        if created.is_err() {
            inner.index.names().free(name, id, 0);
        }
        created.map(|()| Account::new(self.clone(), cell))
    }

    /// The account of that name.
    ///
    /// # Errors
    /// [`Error::NoSuchAccount`].
    pub fn account(&self, name: &str) -> Result<Account> {
        let cell = self.inner.index.find(name, &self.inner.log)?;
        Ok(Account::new(self.clone(), cell))
    }

    /// The account of that id, also after it was renamed.
    ///
    /// # Errors
    /// [`Error::NoSuchAccount`].
    pub fn account_by_id(&self, id: AccountId) -> Result<Account> {
        let missing = || Error::NoSuchAccount {
            name: id.to_string(),
        };
        let cell = self.inner.index.load(id).ok_or_else(missing)?;
        if cell.durable(&self.inner.log).exists {
            Ok(Account::new(self.clone(), cell))
        } else {
            Err(missing())
        }
    }

    /// Up to `limit` account names in order of their bytes, after `after`: a page of the list.
    #[must_use]
    pub fn accounts(&self, after: Option<&str>, limit: usize) -> Vec<String> {
        let mut found = Vec::new();
        let mut after = after.map(str::to_owned);
        while found.len() < limit {
            let page = self.inner.index.page(after.as_deref(), limit - found.len());
            let Some(last) = page.last() else { break };
            after = Some(last.to_string());
            // A name that is being created is not there yet.
            found.extend(
                page.iter()
                    .filter(|name| self.account(name).is_ok())
                    .map(ToString::to_string),
            );
        }
        found
    }

    /// Makes everything that was committed as `Written` durable.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::NoSpace`], [`Error::Stopped`], [`Error::Closed`].
    pub fn sync(&self) -> Result<()> {
        self.inner.log.sync()
    }

    /// Closes the store: writes what waits, syncs, and notes that the end is clean. Handles that are left read on and
    /// write no more. Dropping the last handle does the same and keeps the error to itself.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::NoSpace`], [`Error::Stopped`]: the next opening will recover.
    pub fn close(self) -> Result<()> {
        self.inner.log.close()
    }

    /// How the store is doing.
    #[must_use]
    pub fn health(&self) -> Health {
        let log = &self.inner.log;
        Health {
            path: self.inner.path.clone(),
            read_only: log.options().read_only,
            stopped: log.stopped(),
            whole: self.inner.recovery.is_whole(),
            next_record: log.stat().next_record,
        }
    }

    /// Sizes and counts.
    ///
    /// # Errors
    /// [`Error::Damaged`] or [`Error::Io`] where the place of a body cannot be read.
    ///
    /// # Cost
    /// Looks at each entry: grows with the store. For people and scripts, not for each request.
    pub fn stat(&self) -> Result<Stat> {
        let inner = &self.inner;
        let log = inner.log.stat();
        let mut stat = Stat {
            segments: log.segments,
            sealed: log.sealed,
            log_bytes: log.bytes,
            records: log.next_record - 1,
            batches: log.batches,
            ..Stat::default()
        };
        let mut bodies = std::collections::HashSet::new();
        for name in self.accounts(None, usize::MAX) {
            // It may have been deleted since it was listed.
            let Ok(account) = self.account(&name) else {
                continue;
            };
            stat.accounts += 1;
            let fold = account.cell.durable(&inner.log);
            for mailbox in fold.mailboxes.values() {
                stat.mailboxes += 1;
                stat.messages += mailbox.counters.messages;
                stat.message_bytes += mailbox.counters.bytes;
                for leaf in mailbox.entries.leaves() {
                    for (record, len) in leaf.record().iter().zip(leaf.raw_len()) {
                        if bodies.insert(inner.log.body_owner(*record)?) {
                            stat.live_bytes += u64::from(*len);
                        }
                    }
                }
            }
        }
        stat.dead_bytes = stat.log_bytes.saturating_sub(stat.live_bytes);
        Ok(stat)
    }
}

impl Inner {
    /// Whether a name can be given to an account; if so, the highest UIDVALIDITY that earlier ones of the name gave.
    pub(crate) fn free_name(&self, names: &Names, name: &str) -> Result<u32> {
        let mut mark = names.mark(name);
        if let Some(cell) = names.get(name).and_then(|id| self.index.load(id)) {
            let state = cell.lock(&self.log);
            let fold = state.head();
            if fold.exists && &*fold.name == name {
                return Err(Error::AccountExists { name: name.into() });
            }
            // Its deletion may be on its way to the disk.
            mark = mark.max(fold.uid_validity_mark);
        }
        Ok(mark)
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.log.options().host.now_ms()
    }

    /// Makes a change of one account: plans it against the account as it will be, hands its records to the log, and
    /// keeps the account as it will be until they are durable. A change of nothing writes nothing.
    pub(crate) fn change<T>(
        &self,
        cell: &Cell,
        durability: Durability,
        plan: impl Fn(&mut Draft) -> Result<T>,
    ) -> Result<Commit<T>> {
        self.log.admit(0)?;
        self.change_now(cell, durability, plan)
    }

    /// As [`change`](Inner::change), for callers that hold the names: never waits for the disk.
    pub(crate) fn change_now<T>(
        &self,
        cell: &Cell,
        durability: Durability,
        plan: impl Fn(&mut Draft) -> Result<T>,
    ) -> Result<Commit<T>> {
        loop {
            let tried = self.try_change(cell, durability, &plan, |_| Vec::new());
            if let Some(commit) = tried? {
                return Ok(commit);
            }
        }
    }

    /// One try, with the message bodies that the drafts bring: `None` where a batch that the plan rests on failed
    /// meanwhile, and it has to be made again.
    pub(crate) fn try_change<'a, T>(
        &self,
        cell: &Cell,
        durability: Durability,
        plan: impl Fn(&mut Draft) -> Result<T>,
        bodies: impl FnOnce(&Draft) -> Vec<NewBody<'a>>,
    ) -> Result<Option<Commit<T>>> {
        let mut state = cell.lock(&self.log);
        let mut draft = Draft::new(state.head().clone(), self.now_ms());
        let value = plan(&mut draft)?;
        let rests_on = state.last_batch();
        if draft.drafts.is_empty() {
            // Nothing to do, because of what is pending perhaps: then that is waited for.
            return Ok(Some(self.log.commit(rests_on, value)));
        }
        let bodies = bodies(&draft);
        batch_fits([&draft], bodies.iter().map(|body| body.bytes.len()).sum())?;
        let joined = self.log.join(durability, &[rests_on], |group| {
            draft.write(cell.id, state.head().last_record, group, &bodies)
        })?;
        Ok(joined.map(|(batch, numbers)| {
            let fold = draft.finish(state.head().clone(), &numbers);
            state.push(batch, fold);
            self.log.commit(batch, value)
        }))
    }
}

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
    /// Whether the opening found everything that was acknowledged.
    pub whole: bool,
    /// Number of the next record.
    pub next_record: u64,
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
        write!(
            f,
            ", {}",
            if self.whole {
                "whole"
            } else {
                "damaged: see the recovery report"
            }
        )
    }
}

/// Sizes and counts of a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stat {
    /// Accounts.
    pub accounts: u64,
    /// Mailboxes of all accounts.
    pub mailboxes: u64,
    /// Entries of all mailboxes.
    pub messages: u64,
    /// Their wire size, in bytes.
    pub message_bytes: u64,
    /// Segments, those of large bodies not counted.
    pub segments: u64,
    /// Those with a footer.
    pub sealed: u64,
    /// Bytes of all segments.
    pub log_bytes: u64,
    /// Bytes of bodies that an entry points to, each once.
    pub live_bytes: u64,
    /// The rest of the log: expunged bodies, records, checksums, padding, prepared space.
    pub dead_bytes: u64,
    /// Record numbers given.
    pub records: u64,
    /// Batches written.
    pub batches: u64,
}
