//! The stores, and the ways in which each is opened.

mod fjall;
mod lmdb;
mod maildir;
mod mailkeep;
mod raw;
mod redb;
#[cfg(feature = "rocksdb")]
mod rocksdb;
mod sqlite;

use std::path::Path;

use crate::store::{Result, Store};

/// The version of a crate that this program was built with.
fn version(name: &str) -> &'static str {
    let lock = include_str!("../../Cargo.lock");
    let package = lock.split_once(&format!("name = \"{name}\"\nversion = \""));
    let version = package.and_then(|(_, rest)| rest.split_once('"'));
    version.map_or("unknown", |(version, _)| version)
}

/// What opening a store needs to know.
#[derive(Clone, Copy)]
pub(crate) struct Setup<'a> {
    pub(crate) dir: &'a Path,
    /// Whether a write has to survive a power cut, or only the death of the process.
    pub(crate) durable: bool,
    /// Bytes that will be written, about: a raw file has as many zeroes ready.
    pub(crate) room: u64,
}

/// A store, or another way to use the same files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Way {
    Mailkeep,
    /// Without `install_guard`: messages are read and verified at every call. Reads only.
    MailkeepUnguarded,
    /// Without segments that are filled with zeroes ahead. For what a device has to write, only.
    MailkeepUnprepared,
    /// The file is full of zeroes before it begins.
    RawZero,
    /// The file grows.
    Raw,
    /// As `Raw`; nothing is checked. Reads only.
    RawBare,
    Maildir,
    Sqlite,
    Lmdb,
    Redb,
    Fjall,
    Rocksdb,
}

impl Way {
    pub(crate) const ALL: [Self; 12] = [
        Self::Mailkeep,
        Self::MailkeepUnguarded,
        Self::MailkeepUnprepared,
        Self::RawZero,
        Self::Raw,
        Self::RawBare,
        Self::Maildir,
        Self::Sqlite,
        Self::Lmdb,
        Self::Redb,
        Self::Fjall,
        Self::Rocksdb,
    ];
    /// What the store is compared with.
    pub(crate) const PEERS: [Self; 6] = [
        Self::Maildir,
        Self::Sqlite,
        Self::Lmdb,
        Self::Redb,
        Self::Fjall,
        Self::Rocksdb,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Mailkeep => "mailkeep",
            Self::MailkeepUnguarded => "mailkeep-unguarded",
            Self::MailkeepUnprepared => "mailkeep-unprepared",
            Self::RawZero => "raw-zero",
            Self::Raw => "raw",
            Self::RawBare => "raw-bare",
            Self::Maildir => "maildir",
            Self::Sqlite => "sqlite",
            Self::Lmdb => "lmdb",
            Self::Redb => "redb",
            Self::Fjall => "fjall",
            Self::Rocksdb => "rocksdb",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|way| way.name() == name)
    }

    /// The store of which this is a way.
    pub(crate) fn store(self) -> Self {
        match self {
            Self::MailkeepUnguarded | Self::MailkeepUnprepared => Self::Mailkeep,
            Self::RawBare => Self::Raw,
            other => other,
        }
    }

    /// Whose files it uses.
    pub(crate) fn files(self) -> Self {
        match self {
            Self::MailkeepUnguarded => Self::Mailkeep,
            Self::RawBare => Self::Raw,
            other => other,
        }
    }

    /// Whether this program was built with it.
    pub(crate) fn is_built(self) -> bool {
        self != Self::Rocksdb || cfg!(feature = "rocksdb")
    }

    /// Version, and what differs from the store's defaults.
    pub(crate) fn settings(self) -> String {
        match self {
            Self::Mailkeep => mailkeep::settings(""),
            Self::MailkeepUnguarded => mailkeep::settings("; without install_guard"),
            Self::MailkeepUnprepared => mailkeep::settings("; prepare(false)"),
            Self::RawZero => format!("{}; blocks written with zeroes before", raw::SETTINGS),
            Self::Raw => format!("{}; the file grows", raw::SETTINGS),
            Self::RawBare => "the file of raw, mapped, read without a check".to_owned(),
            Self::Maildir => maildir::SETTINGS.to_owned(),
            Self::Sqlite => sqlite::settings(),
            Self::Lmdb => lmdb::settings(),
            Self::Redb => format!("{}; {}", version("redb"), redb::SETTINGS),
            Self::Fjall => format!("{}; {}", version("fjall"), fjall::SETTINGS),
            #[cfg(feature = "rocksdb")]
            Self::Rocksdb => rocksdb::settings(),
            #[cfg(not(feature = "rocksdb"))]
            Self::Rocksdb => "not built in".to_owned(),
        }
    }

    /// Opens the store; makes it where there is none.
    pub(crate) fn open(self, setup: Setup<'_>) -> Result<Box<dyn Store>> {
        std::fs::create_dir_all(setup.dir)?;
        Ok(match self {
            Self::Mailkeep => {
                ::mailkeep::install_guard()?;
                Box::new(mailkeep::Mailkeep::open(setup, true)?)
            }
            Self::MailkeepUnguarded => Box::new(mailkeep::Mailkeep::open(setup, true)?),
            Self::MailkeepUnprepared => Box::new(mailkeep::Mailkeep::open(setup, false)?),
            Self::RawZero => Box::new(raw::Raw::open(setup, raw::Kind::Prewritten)?),
            Self::Raw => Box::new(raw::Raw::open(setup, raw::Kind::Growing)?),
            Self::RawBare => Box::new(raw::Raw::open(setup, raw::Kind::Unchecked)?),
            Self::Maildir => Box::new(maildir::Maildir::open(setup)?),
            Self::Sqlite => Box::new(sqlite::Sqlite::open(setup)?),
            Self::Lmdb => Box::new(lmdb::Lmdb::open(setup)?),
            Self::Redb => Box::new(redb::Redb::open(setup)?),
            Self::Fjall => Box::new(fjall::Fjall::open(setup)?),
            #[cfg(feature = "rocksdb")]
            Self::Rocksdb => Box::new(rocksdb::Rocksdb::open(setup)?),
            #[cfg(not(feature = "rocksdb"))]
            Self::Rocksdb => return Err("RocksDB is not built in".into()),
        })
    }
}
