//! A [`Storage`] that asks before each call: to fail it, to hold it up, or to look at it. By file, unlike the faults of
//! the simulated disk.

use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use mailkeep::io::{File, Listed, Open, Storage};

use crate::sim::Call;

/// Told of each call and the name it is for; an error is what the call returns. Creating a file is a write too.
pub(crate) type Before = dyn Fn(Call, &str) -> io::Result<()> + Send + Sync;

/// A storage on another one.
pub(crate) struct Seam {
    pub(crate) below: Arc<dyn Storage>,
    pub(crate) before: Arc<Before>,
}

impl Seam {
    pub(crate) fn over(
        below: Arc<dyn Storage>,
        before: impl Fn(Call, &str) -> io::Result<()> + Send + Sync + 'static,
    ) -> Arc<dyn Storage> {
        Arc::new(Self {
            below,
            before: Arc::new(before),
        })
    }
}

impl fmt::Debug for Seam {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Seam({:?})", self.below)
    }
}

impl Storage for Seam {
    fn open(&self, name: &str, how: Open) -> io::Result<Arc<dyn File>> {
        (self.before)(Call::Open, name)?;
        if how == Open::Create {
            (self.before)(Call::Write, name)?;
        }
        Ok(Arc::new(SeamFile {
            below: self.below.open(name, how)?,
            name: name.to_owned(),
            before: Arc::clone(&self.before),
        }))
    }

    fn list(&self, folder: &str) -> io::Result<Vec<Listed>> {
        (self.before)(Call::List, folder)?;
        self.below.list(folder)
    }

    fn create_folder(&self, folder: &str) -> io::Result<()> {
        (self.before)(Call::CreateFolder, folder)?;
        self.below.create_folder(folder)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        (self.before)(Call::Rename, to)?;
        self.below.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        (self.before)(Call::Remove, name)?;
        self.below.remove(name)
    }

    fn sync_dir(&self, folder: &str) -> io::Result<()> {
        (self.before)(Call::SyncDir, folder)?;
        self.below.sync_dir(folder)
    }

    fn lock(&self, name: &str, owner: &str) -> io::Result<Box<dyn Send + Sync>> {
        (self.before)(Call::Lock, name)?;
        self.below.lock(name, owner)
    }

    fn describe(&self) -> String {
        self.below.describe()
    }
}

struct SeamFile {
    below: Arc<dyn File>,
    name: String,
    before: Arc<Before>,
}

impl fmt::Debug for SeamFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SeamFile({})", self.name)
    }
}

impl SeamFile {
    fn ask(&self, call: Call) -> io::Result<()> {
        (self.before)(call, &self.name)
    }
}

impl File for SeamFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.ask(Call::Read)?;
        self.below.read_at(buf, offset)
    }

    fn write_at(&self, parts: &[&[u8]], offset: u64) -> io::Result<()> {
        self.ask(Call::Write)?;
        self.below.write_at(parts, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.ask(Call::Sync)?;
        self.below.sync()
    }

    fn len(&self) -> io::Result<u64> {
        self.ask(Call::Len)?;
        self.below.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.ask(Call::SetLen)?;
        self.below.set_len(len)
    }

    fn expect_len(&self, len: u64) {
        self.below.expect_len(len);
    }

    fn bytes(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        self.ask(Call::Bytes)?;
        self.below.bytes(offset, len)
    }
}
