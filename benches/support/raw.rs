//! The limit: the same bytes, the same checksums, nothing else.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

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
        let crc = crc32c::crc32c(message);
        let digest = blake3::hash(message);
        let batch = &mut self.buffer[..len];
        batch[..4].copy_from_slice(&crc.to_le_bytes());
        batch[4..36].copy_from_slice(digest.as_bytes());
        batch[len - message.len()..].copy_from_slice(message);
        self.put(len);
    }

    /// The same for several messages in one write.
    pub(crate) fn write_all<'a>(
        &mut self,
        messages: impl IntoIterator<Item = &'a [u8]>,
        len: usize,
    ) {
        let mut at = 0;
        for message in messages {
            let crc = crc32c::crc32c(message);
            let digest = blake3::hash(message);
            let piece = &mut self.buffer[at..at + 36 + message.len()];
            piece[..4].copy_from_slice(&crc.to_le_bytes());
            piece[4..36].copy_from_slice(digest.as_bytes());
            piece[36..].copy_from_slice(message);
            at += 36 + message.len();
        }
        self.put(len.max(at));
    }

    /// Writes `len` bytes, whatever they are.
    pub(crate) fn put(&mut self, len: usize) {
        if self.prewritten && self.at + len as u64 > self.len {
            self.at = 0;
        }
        self.file
            .write_all_at(&self.buffer[..len], self.at)
            .unwrap();
        self.at += len as u64;
    }

    /// `fdatasync`.
    pub(crate) fn sync(&self) {
        self.file.sync_data().unwrap();
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
