//! A disk in memory that never changes, but for one bit: that is another one for whoever reads it, and each such read is
//! counted. So a flip costs what reads it, not a copy of the store. Only readers can open it.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use mailkeep::io::{File, Kind, Listed, Open, Storage};

use super::Files;

/// No file has this number.
const NONE: usize = usize::MAX;

/// Number of a file, and which bytes of it.
type Seen = (usize, Range<usize>);

#[derive(Debug)]
pub(super) struct Bent {
    files: Vec<(String, Bytes)>,
    file: AtomicUsize,
    bit: AtomicUsize,
    met: AtomicU64,
    /// What was read since [`Bent::watch`], by file number.
    seen: Mutex<Option<Vec<Seen>>>,
}

impl Bent {
    pub(super) fn new(files: &Files) -> Arc<Self> {
        let files = files.iter();
        let files = files.map(|(name, content)| (name.clone(), Bytes::copy_from_slice(content)));
        Arc::new(Self {
            files: files.collect(),
            file: AtomicUsize::new(NONE),
            bit: AtomicUsize::new(0),
            met: AtomicU64::new(0),
            seen: Mutex::new(None),
        })
    }

    pub(super) fn storage(self: &Arc<Self>) -> Arc<dyn Storage> {
        Arc::new(Volume(Arc::clone(self)))
    }

    fn number(&self, name: &str) -> Option<usize> {
        self.files.iter().position(|(known, _)| known == name)
    }

    /// Flips this bit, and no other.
    pub(super) fn bend(&self, name: &str, bit: usize) {
        let file = self.number(name).expect(name);
        self.file.store(file, Ordering::Relaxed);
        self.bit.store(bit, Ordering::Relaxed);
        self.met.store(0, Ordering::Relaxed);
    }

    /// All is as it was written.
    pub(super) fn straighten(&self) {
        self.file.store(NONE, Ordering::Relaxed);
    }

    /// How many reads were given the flipped bit.
    pub(super) fn met(&self) -> u64 {
        self.met.load(Ordering::Relaxed)
    }

    /// Notes what `act` reads: the bytes of these files, true for those that were read.
    pub(super) fn watch(&self, act: impl FnOnce()) -> BTreeMap<String, Vec<bool>> {
        *self.seen.lock().unwrap() = Some(Vec::new());
        act();
        let mut read = BTreeMap::new();
        for (file, range) in self.seen.lock().unwrap().take().unwrap() {
            let (name, content) = &self.files[file];
            let bytes = read.entry(name.clone());
            let bytes: &mut Vec<bool> = bytes.or_insert_with(|| vec![false; content.len()]);
            bytes[range].fill(true);
        }
        read
    }

    /// Where in `range` of the file the flipped byte is, and what is flipped in it.
    fn within(&self, file: usize, range: &Range<usize>) -> Option<(usize, u8)> {
        if self.file.load(Ordering::Relaxed) != file {
            if let Some(seen) = &mut *self.seen.lock().unwrap() {
                seen.push((file, range.clone()));
            }
            return None;
        }
        let bit = self.bit.load(Ordering::Relaxed);
        let here = range.contains(&(bit / 8));
        self.met.fetch_add(u64::from(here), Ordering::Relaxed);
        here.then(|| (bit / 8 - range.start, 1 << (bit % 8)))
    }
}

fn refused<T>() -> io::Result<T> {
    Err(ErrorKind::ReadOnlyFilesystem.into())
}

#[derive(Debug)]
struct Volume(Arc<Bent>);

impl Storage for Volume {
    fn open(&self, name: &str, how: Open) -> io::Result<Arc<dyn File>> {
        let number = self.0.number(name).ok_or(ErrorKind::NotFound)?;
        if how != Open::Read {
            return refused();
        }
        Ok(Arc::new(Opened(Arc::clone(&self.0), number)))
    }

    fn list(&self, folder: &str) -> io::Result<Vec<Listed>> {
        let files = self.0.files.iter();
        let parts = files.map(|(name, content)| (name.rsplit_once('/'), name, content));
        let inside = parts.filter_map(|(parts, name, content)| {
            let (of, own) = parts.unwrap_or(("", name));
            (of == folder).then(|| Listed {
                name: own.to_owned(),
                kind: Kind::File,
                len: content.len() as u64,
            })
        });
        Ok(inside.collect())
    }

    fn create_folder(&self, _: &str) -> io::Result<()> {
        refused()
    }

    fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        refused()
    }

    fn remove(&self, _: &str) -> io::Result<()> {
        refused()
    }

    fn sync_dir(&self, _: &str) -> io::Result<()> {
        refused()
    }

    fn lock(&self, _: &str, _: &str) -> io::Result<Box<dyn Send + Sync>> {
        refused()
    }

    fn describe(&self) -> String {
        "bent disk".to_owned()
    }
}

#[derive(Debug)]
struct Opened(Arc<Bent>, usize);

impl File for Opened {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let content = &self.0.files[self.1].1;
        let from = content.len().min(offset as usize);
        let to = content.len().min(from + buf.len());
        buf[..to - from].copy_from_slice(&content[from..to]);
        if let Some((at, mask)) = self.0.within(self.1, &(from..to)) {
            buf[at] ^= mask;
        }
        Ok(to - from)
    }

    fn write_at(&self, _: &[&[u8]], _: u64) -> io::Result<()> {
        refused()
    }

    fn sync(&self) -> io::Result<()> {
        refused()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.files[self.1].1.len() as u64)
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        refused()
    }

    fn bytes(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        let content = &self.0.files[self.1].1;
        let range = offset as usize..(offset as usize).saturating_add(len);
        if range.end > content.len() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        Ok(match self.0.within(self.1, &range) {
            None => content.slice(range),
            Some((at, mask)) => {
                let mut copy = content[range].to_vec();
                copy[at] ^= mask;
                copy.into()
            }
        })
    }
}
