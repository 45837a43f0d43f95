//! A [`Storage`] that counts what is written to each folder: the seam below a store, used from outside.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use mailkeep::io::{Directory, File, Listed, Open, Storage};

/// Bytes written since the beginning.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// To index/.
    pub(crate) index: AtomicU64,
    /// To all the rest.
    pub(crate) log: AtomicU64,
    /// Files made in index/.
    pub(crate) index_files: AtomicU64,
}

/// A directory whose writes are counted.
#[derive(Debug)]
pub(crate) struct Counting {
    directory: Directory,
    written: Arc<Written>,
}

impl Counting {
    pub(crate) fn new(directory: Directory) -> (Self, Arc<Written>) {
        let written = Arc::new(Written::default());
        let counting = Self {
            directory,
            written: Arc::clone(&written),
        };
        (counting, written)
    }
}

impl Storage for Counting {
    fn open(&self, name: &str, how: Open) -> io::Result<Arc<dyn File>> {
        let file = self.directory.open(name, how)?;
        if how == Open::Read {
            return Ok(file);
        }
        let in_index = name.starts_with("index/");
        if in_index && how == Open::Create {
            self.written.index_files.fetch_add(1, Ordering::Relaxed);
        }
        Ok(Arc::new(Counted {
            file,
            in_index,
            written: Arc::clone(&self.written),
        }))
    }

    fn list(&self, folder: &str) -> io::Result<Vec<Listed>> {
        self.directory.list(folder)
    }

    fn create_folder(&self, folder: &str) -> io::Result<()> {
        self.directory.create_folder(folder)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.directory.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.directory.remove(name)
    }

    fn sync_dir(&self, folder: &str) -> io::Result<()> {
        self.directory.sync_dir(folder)
    }

    fn lock(&self, name: &str, owner: &str) -> io::Result<Box<dyn Send + Sync>> {
        self.directory.lock(name, owner)
    }

    fn describe(&self) -> String {
        self.directory.describe()
    }
}

#[derive(Debug)]
struct Counted {
    file: Arc<dyn File>,
    in_index: bool,
    written: Arc<Written>,
}

impl File for Counted {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buf, offset)
    }

    fn write_at(&self, parts: &[&[u8]], offset: u64) -> io::Result<()> {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let counter = if self.in_index {
            &self.written.index
        } else {
            &self.written.log
        };
        counter.fetch_add(len as u64, Ordering::Relaxed);
        self.file.write_at(parts, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn expect_len(&self, len: u64) {
        self.file.expect_len(len);
    }

    fn bytes(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        self.file.bytes(offset, len)
    }
}
