//! A storage and a host that hold threads up before and after calls: what is a few instructions wide elsewhere is wide
//! here.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use mailkeep::io::{File, Host, Listed, Open, Storage};

use crate::sim::SimHost;

/// When somebody is held up, and for how long: the same sequence of answers for the same seed.
#[derive(Debug)]
pub(super) struct Pauses {
    state: AtomicU64,
    /// One of so many calls is held up.
    one_of: u64,
}

impl Pauses {
    pub(super) fn new(seed: u64, one_of: u64) -> Arc<Self> {
        let state = AtomicU64::new(seed);
        Arc::new(Self { state, one_of })
    }

    pub(super) fn maybe(&self) {
        let mut roll = self
            .state
            .fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
        roll = (roll ^ roll >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        roll = (roll ^ roll >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        roll ^= roll >> 31;
        if roll.is_multiple_of(self.one_of) {
            let micros = (roll >> 32) % 1500;
            if micros < 500 {
                std::thread::yield_now();
            } else {
                std::thread::sleep(Duration::from_micros(micros));
            }
        }
    }
}

/// A host that holds up whoever asks for the time: planners do, with an account locked.
#[derive(Debug)]
pub(super) struct SlowHost {
    pub(super) host: SimHost,
    pub(super) pauses: Arc<Pauses>,
}

impl Host for SlowHost {
    fn now_ms(&self) -> i64 {
        self.pauses.maybe();
        self.host.now_ms()
    }
    fn unique(&self) -> [u8; 16] {
        self.host.unique()
    }
    fn identity(&self) -> String {
        self.host.identity()
    }
}

/// A storage on another one.
pub(super) struct Slow<T: ?Sized> {
    below: Arc<T>,
    pauses: Arc<Pauses>,
}

impl<T: ?Sized> fmt::Debug for Slow<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Slow")
    }
}

impl<T: ?Sized> Slow<T> {
    pub(super) fn over(below: Arc<T>, pauses: &Arc<Pauses>) -> Arc<Self> {
        let pauses = Arc::clone(pauses);
        Arc::new(Self { below, pauses })
    }

    fn call<R>(&self, call: impl FnOnce(&T) -> R) -> R {
        self.pauses.maybe();
        let result = call(&self.below);
        self.pauses.maybe();
        result
    }
}

impl Storage for Slow<dyn Storage> {
    fn open(&self, name: &str, how: Open) -> io::Result<Arc<dyn File>> {
        let file = self.call(|below| below.open(name, how))?;
        Ok(Slow::over(file, &self.pauses))
    }
    fn list(&self, folder: &str) -> io::Result<Vec<Listed>> {
        self.call(|below| below.list(folder))
    }
    fn create_folder(&self, folder: &str) -> io::Result<()> {
        self.call(|below| below.create_folder(folder))
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.call(|below| below.rename(from, to))
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.call(|below| below.remove(name))
    }
    fn sync_dir(&self, folder: &str) -> io::Result<()> {
        self.call(|below| below.sync_dir(folder))
    }
    fn lock(&self, name: &str, owner: &str) -> io::Result<Box<dyn Send + Sync>> {
        self.below.lock(name, owner)
    }
    fn describe(&self) -> String {
        self.below.describe()
    }
}

impl File for Slow<dyn File> {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.call(|below| below.read_at(buf, offset))
    }
    fn write_at(&self, parts: &[&[u8]], offset: u64) -> io::Result<()> {
        self.call(|below| below.write_at(parts, offset))
    }
    fn sync(&self) -> io::Result<()> {
        self.call(|below| below.sync())
    }
    fn len(&self) -> io::Result<u64> {
        self.below.len()
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.call(|below| below.set_len(len))
    }
    fn expect_len(&self, len: u64) {
        self.below.expect_len(len);
    }
    fn bytes(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        self.call(|below| below.bytes(offset, len))
    }
}
