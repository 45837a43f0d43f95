//! The store: opening it, its accounts, its state.

use std::path::Path;
use std::sync::Arc;

use crate::sync::Mutex;

use crate::account::Account;
use crate::error::{Error, Result};
use crate::format::StoreId;
use crate::index::{Cell, Draft, Drafts, Index, Lookups, Tender, batch_fits};
use crate::io::{Directory, Storage};
use crate::log::{Commit, GroupWriter, Log, NewBody, RecoveryReport};
use crate::mail::{AccountId, AccountName};
use crate::options::{Durability, Options};
use crate::switch::Switch;
use crate::threads;
use crate::witness::Witness;

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
/// assert_eq!(store.accounts(None, 100)?, ["anna@example.it"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

/// What all handles of a store share.
#[derive(Debug)]
pub(crate) struct Inner {
    /// How closing ended, once it has. Held while it is done.
    closed: Mutex<Option<Result<()>>>,
    tender: Mutex<Tender>,
    pub(crate) lookups: Lookups,
    pub(crate) log: Arc<Log>,
    pub(crate) index: Arc<Index>,
    pub(crate) recovery: RecoveryReport,
    pub(crate) path: String,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // An error here leaves a store that was not closed cleanly: the next opening recovers it.
        let _ = self.close();
    }
}

impl Store {
    /// Opens the store in the directory `path`, creating it unless the options forbid.
    ///
    /// # Errors
    /// - [`Error::NotAStore`]: nothing there and nothing to be created, or a folder with other files, or a file.
    /// - [`Error::Locked`]: another handle has it open for writing.
    /// - [`Error::Incomplete`]: files are missing or cut short; see [`Options::accept_loss`].
    /// - [`Error::NotWitnessed`]: see [`Options::witness`].
    /// - [`Error::UnsupportedFormat`], [`Error::Foreign`], [`Error::Damaged`] (MANIFEST or the head of SEGMENTS).
    /// - [`Error::InvalidOption`], [`Error::Io`], [`Error::NoSpace`].
    ///
    /// Damage in the log is no error: the store opens and serves the rest. [`Store::recovery`] says what is lost of what the
    /// opening read, [`Store::lost`] also what was met since.
    ///
    /// # Durability
    /// What is shown after this survives a power cut: recovered records are synced first.
    ///
    /// # Cost
    /// Reads the checkpoint, and the heads and records of the log's tail behind it (not the bodies): about
    /// [`Options::tail_max`] at most, whatever the store holds. Writes and syncs MANIFEST once. Without a checkpoint the tail
    /// is what lies behind the last footer.
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
        let (log, index, recovery) = Index::open(storage, options, lock)?;
        Ok(Self {
            inner: Arc::new(Inner {
                closed: Mutex::default(),
                tender: Mutex::new(Tender::start(&index)?),
                lookups: Lookups::default(),
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

    /// How far the store certainly got: its last durable batch. Kept elsewhere, it shows whether an older copy was put
    /// back: see [`Options::witness`]. Of a store opened for reading only, the last batch known to be durable then.
    ///
    /// # Cost
    /// None: no I/O, and no waiting for any.
    #[must_use]
    pub fn witness(&self) -> Witness {
        self.inner.log.witness()
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
        self.create_account_with(name, Durability::Durable)?.wait()
    }

    /// As [`create_account`](Store::create_account), with a durability of its own and without waiting: for creating many
    /// at once. Until the commit was waited for the account may yet not come to be.
    ///
    /// # Errors
    /// As [`create_account`](Store::create_account).
    pub fn create_account_with(
        &self,
        name: &str,
        durability: Durability,
    ) -> Result<Commit<Account>> {
        let name = AccountName::new(name)?;
        let name = name.as_str();
        let inner = &self.inner;
        inner.log.admit(0)?;
        let claim = inner.index.claim(name);
        let mut free = inner.index.free_name(name, &claim)?;
        let id = AccountId::named(inner.index.key_of(name), inner.log.options().host.unique());
        let cell = inner.index.add(id);
        let commit = loop {
            let create = |draft: &mut Draft| draft.create_account(name, free.0);
            let tried = inner.try_change(&cell, durability, &free.1, create, |_| Vec::new());
            match tried? {
                Some(commit) => break commit,
                None => free = inner.index.free_name(name, &claim)?,
            }
        };
        inner.index.chill(&cell);
        inner.index.file(&cell);
        inner.index.remember(name, id);
        drop(claim);
        let account = Account::new(self.clone(), cell);
        commit.try_map(|()| Ok(account))
    }

    /// The account of that name.
    ///
    /// # Errors
    /// [`Error::NoSuchAccount`] where that is certain: mail for it can be refused for good. [`Error::Damaged`] and
    /// [`Error::Io`] where the disk keeps an answer back.
    pub fn account(&self, name: &str) -> Result<Account> {
        let cell = self.inner.index.find(name)?;
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
        let index = &self.inner.index;
        let cell = index.by_id(id)?.ok_or_else(missing)?;
        if index.lock(&cell).durable().row.exists == Some(true) {
            Ok(Account::new(self.clone(), cell))
        } else {
            Err(missing())
        }
    }

    /// Up to `limit` account names after `after`: a page of the list. The order is the directory's own (by a hash of the
    /// name), the same at each call; an account that is created or deleted meanwhile may or may not be listed.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Io`].
    ///
    /// # Cost
    /// Reads the page's rows in sequence, whatever the store holds.
    pub fn accounts(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>> {
        self.inner.index.page(after, limit)
    }

    /// Makes everything that was committed as `Written` durable.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::NoSpace`], [`Error::Stopped`], [`Error::Closed`].
    pub fn sync(&self) -> Result<()> {
        self.inner.log.sync()
    }

    /// Closes the store: writes what waits, syncs, and notes that the end is clean. Handles that are left read on and
    /// write no more. Dropping the last handle does the same and keeps the error to itself. While another thread closes
    /// the store this waits for it, and ends as that did; only a waker that the store itself calls does not wait.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::NoSpace`], [`Error::Stopped`]: the next opening will recover.
    pub fn close(self) -> Result<()> {
        self.inner.close()
    }
}

impl Inner {
    /// Saves the index, then closes the log. What is committed in between lies in the tail that an opening reads.
    fn close(&self) -> Result<()> {
        let mut closed = if threads::is_own() {
            // Whoever is closing waits for this very thread.
            let Some(closed) = self.closed.try_lock() else {
                return Ok(());
            };
            closed
        } else {
            self.closed.lock()
        };
        closed.get_or_insert_with(|| self.close_now()).clone()
    }

    fn close_now(&self) -> Result<()> {
        self.lookups.stop();
        self.tender.lock().stop();
        // Derived: a failure here costs the next opening time, and nothing else.
        let _ = self.index.save_at_close();
        self.log.close()
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.log.options().host.now_ms()
    }

    /// Makes a change of one account: plans it against the account as it will be, hands its records to the log, and
    /// keeps the account as it will be until they are durable. A change of nothing writes nothing.
    pub(crate) fn change<T>(
        &self,
        cell: &Arc<Cell>,
        durability: Durability,
        plan: impl Fn(&mut Draft) -> Result<T>,
    ) -> Result<Commit<T>> {
        self.log.admit(0)?;
        loop {
            let tried = self.try_change(cell, durability, &[], &plan, |_| Vec::new());
            if let Some(commit) = tried? {
                return Ok(commit);
            }
        }
    }

    /// One try, with the message bodies that the drafts bring: `None` where a batch that the plan rests on failed
    /// meanwhile (one of the account's, or of `others`), and it has to be made again.
    pub(crate) fn try_change<'a, T>(
        &self,
        cell: &Arc<Cell>,
        durability: Durability,
        others: &[u64],
        plan: impl Fn(&mut Draft) -> Result<T>,
        bodies: impl FnOnce(&Drafts) -> Vec<NewBody<'a>>,
    ) -> Result<Option<Commit<T>>> {
        let mut state = self.index.lock_loaded(cell)?;
        let Some(fold) = state.head().fold.clone() else {
            return Ok(None);
        };
        let mut draft = Draft::new(fold, self.now_ms());
        let value = plan(&mut draft)?;
        let mut records = draft.records;
        let rests_on = state.last_batch();
        if records.list.is_empty() {
            // Nothing to do, because of what is pending perhaps: then that is waited for.
            return Ok(Some(
                self.log
                    .commit(Switch::NothingWaits.number(rests_on), value),
            ));
        }
        let bodies = bodies(&records);
        batch_fits([&records], bodies.iter().map(|body| body.bytes.len()).sum())?;
        self.index.list(&mut state, cell.id);
        let rests_on: Vec<u64> = others.iter().copied().chain([rests_on]).collect();
        let removes = records.only_remove();
        let write = |group: &mut GroupWriter<'_>| {
            let previous = state.head().row.last_record;
            records.write(cell.id, previous, group, &bodies)
        };
        let joined = match removes {
            true => self.log.join_removing(durability, &rests_on, write)?,
            false => self.log.join(durability, &rests_on, write)?,
        };
        let Some((batch, numbers)) = joined else {
            drop(state);
            if removes {
                self.log.clear_the_way();
            }
            return Ok(None);
        };
        let head = records.finish(state.head().clone(), &numbers);
        self.index.push(cell, &mut state, batch, head);
        drop(state);
        self.index.after_change();
        Ok(Some(self.log.commit(batch, value)))
    }
}
