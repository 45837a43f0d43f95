//! The limit: the same bytes, the same checksums, nothing else.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Condvar, Mutex};

use mailkeep::format::checksum;

/// A file that messages are written to one after the other.
pub(crate) struct RawLog {
    file: File,
    at: u64,
    len: u64,
    prewritten: bool,
    buffer: Vec<u8>,
}

impl RawLog {
    /// A file that grows with each write: every sync has to write its new length and place, too.
    pub(crate) fn growing(path: &Path) -> Self {
        let options = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(path);
        Self {
            file: options.unwrap(),
            at: 0,
            len: u64::MAX,
            prewritten: false,
            buffer: vec![0; 16 << 20],
        }
    }

    /// A file of `len` zeroes that are on the disk; used again from its beginning when full.
    pub(crate) fn prewritten(path: &Path, len: u64) -> Self {
        let mut log = Self::growing(path);
        zero(&log.file, len);
        log.len = len;
        log.prewritten = true;
        log
    }

    /// Checksum, digest and one write of `len` bytes that hold `message`; no sync.
    pub(crate) fn write(&mut self, message: &[u8], len: usize) {
        let crc = checksum(0, message);
        let digest = blake3::hash(message);
        let batch = &mut self.buffer[..len];
        batch[..4].copy_from_slice(&crc.to_le_bytes());
        batch[4..36].copy_from_slice(digest.as_bytes());
        batch[len - message.len()..].copy_from_slice(message);
        self.put(len);
    }

    /// Writes `len` bytes, whatever they are.
    pub(crate) fn put(&mut self, len: usize) {
        let buffer = std::mem::take(&mut self.buffer);
        self.append(&buffer[..len]);
        self.buffer = buffer;
    }

    fn append(&mut self, bytes: &[u8]) {
        let len = bytes.len() as u64;
        if self.prewritten && self.at + len > self.len {
            self.at = 0;
        }
        self.file.write_all_at(bytes, self.at).unwrap();
        self.at += len;
    }

    /// `fdatasync`.
    pub(crate) fn sync(&self) {
        self.file.sync_data().unwrap();
    }
}

/// Bytes in front of each message of a [`SharedLog`].
const HEAD: usize = 96;

/// A file that many threads write to: who finds nobody writing writes for all that have come meanwhile, in one call, and syncs.
pub(crate) struct SharedLog {
    group: Mutex<Waiting>,
    ended: Condvar,
    log: Mutex<RawLog>,
}

struct Waiting {
    bytes: Vec<u8>,
    /// Number of the group that fills, and of the last one that is on the disk.
    fills: u64,
    done: u64,
    led: bool,
}

impl SharedLog {
    pub(crate) fn new(log: RawLog) -> Self {
        let group = Waiting {
            bytes: Vec::new(),
            fills: 1,
            done: 0,
            led: false,
        };
        Self {
            group: Mutex::new(group),
            ended: Condvar::new(),
            log: Mutex::new(log),
        }
    }

    /// How many groups were synced.
    pub(crate) fn syncs(&self) -> u64 {
        self.group.lock().unwrap().done
    }

    /// Checksum and digest by each thread; on the disk when this returns.
    pub(crate) fn commit(&self, message: &[u8]) {
        let crc = checksum(0, message);
        let digest = blake3::hash(message);
        let mut group = self.group.lock().unwrap();
        group.bytes.extend_from_slice(&crc.to_le_bytes());
        group.bytes.extend_from_slice(digest.as_bytes());
        group.bytes.extend_from_slice(&[0; HEAD - 36]);
        group.bytes.extend_from_slice(message);
        let mine = group.fills;
        while group.done < mine {
            if group.led {
                group = self.ended.wait(group).unwrap();
                continue;
            }
            group.led = true;
            group.fills += 1;
            let mut log = self.log.lock().unwrap();
            // What the group before was made in is used again.
            let mut bytes = std::mem::take(&mut log.buffer);
            std::mem::swap(&mut bytes, &mut group.bytes);
            group.bytes.clear();
            let written = group.fills - 1;
            drop(group);
            log.append(&bytes);
            log.sync();
            log.buffer = bytes;
            drop(log);
            group = self.group.lock().unwrap();
            (group.done, group.led) = (written, false);
            self.ended.notify_all();
        }
    }
}

/// Fills a file with `len` zeroes and syncs it.
pub(crate) fn zero(file: &File, len: u64) {
    let zeroes = vec![0; 1 << 20];
    for at in (0..len).step_by(zeroes.len()) {
        let piece = zeroes.len().min((len - at) as usize);
        file.write_all_at(&zeroes[..piece], at).unwrap();
    }
    file.sync_all().unwrap();
}
