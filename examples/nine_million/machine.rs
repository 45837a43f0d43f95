//! What the machine says of this process, and its caches.

#[path = "../../benches/support/memory.rs"]
mod memory;

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::time::Instant;

pub(crate) use self::memory::Memory;
use self::memory::field;
use crate::Result;
use crate::figures::{Sheet, Target};

/// Anonymous memory that an open store may have, in MiB.
const ANON_MAX: f64 = 64.0;

impl Memory {
    /// About the same, at little cost: `now` stops the process for a moment.
    pub(crate) fn glance() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self {
            anon: 1024 * field(&status, "RssAnon:"),
            file: 1024 * field(&status, "RssFile:"),
        }
    }

    /// The larger of each.
    pub(crate) fn most(self, other: Self) -> Self {
        Self {
            anon: self.anon.max(other.anon),
            file: self.file.max(other.file),
        }
    }

    pub(crate) fn put(self, sheet: &mut Sheet, when: &str) {
        sheet.mib(
            &format!("memory {when}, anonymous"),
            self.anon,
            Target::None,
        );
        sheet.mib(
            &format!("memory {when}, mapped files"),
            self.file,
            Target::None,
        );
    }

    /// The same, where an opened store is to be small.
    pub(crate) fn aim(self, sheet: &mut Sheet, when: &str) {
        let target = Target::Most(ANON_MAX);
        sheet.mib(&format!("memory {when}, anonymous"), self.anon, target);
        sheet.mib(
            &format!("memory {when}, mapped files"),
            self.file,
            Target::None,
        );
    }
}

/// What this process has read so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reading {
    /// Calls that read.
    pub(crate) calls: u64,
    /// Page faults that had to wait for the disk.
    pub(crate) faults: u64,
    /// Bytes that came from the disk.
    pub(crate) bytes: u64,
}

impl Reading {
    pub(crate) fn now() -> Self {
        let io = fs::read_to_string("/proc/self/io").unwrap_or_default();
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        // Behind the program's name, which may hold anything, the tenth field.
        let fields = stat.rsplit(')').next().unwrap_or_default();
        let faults = fields.split_whitespace().nth(9);
        Self {
            calls: field(&io, "syscr:"),
            faults: faults.and_then(|text| text.parse().ok()).unwrap_or(0),
            bytes: field(&io, "read_bytes:"),
        }
    }

    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            calls: self.calls.saturating_sub(before.calls),
            faults: self.faults.saturating_sub(before.faults),
            bytes: self.bytes.saturating_sub(before.bytes),
        }
    }

    /// The calls that taking a reading makes itself.
    pub(crate) fn own_calls() -> u64 {
        let before = Self::now();
        Self::now().since(before).calls
    }
}

/// Drops the page cache, where this process may.
pub(crate) fn drop_caches() -> bool {
    // What is dirty cannot be dropped.
    let synced = std::process::Command::new("sync").status();
    synced.is_ok_and(|status| status.success())
        && fs::write("/proc/sys/vm/drop_caches", "3").is_ok()
}

/// Whether what is measured is cold.
pub(crate) fn warmth() -> &'static str {
    if drop_caches() {
        "page cache dropped before"
    } else {
        "warm: only root may drop the page cache"
    }
}

/// Bytes a second at which files of that folder are read in sequence, the first `most` bytes of them.
pub(crate) fn sequential_rate(folder: &Path, most: u64) -> Result<f64> {
    let mut buffer = vec![0; 1 << 20];
    let (mut total, begin) = (0, Instant::now());
    for entry in fs::read_dir(folder)? {
        let mut file = File::open(entry?.path())?;
        loop {
            let read = file.read(&mut buffer)? as u64;
            if read == 0 || total >= most {
                break;
            }
            total += read;
        }
    }
    Ok(total as f64 / begin.elapsed().as_secs_f64())
}

/// Bytes of the files in a folder.
pub(crate) fn len_of(folder: &Path) -> u64 {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    files
        .filter_map(|file| file.metadata().ok())
        .map(|data| data.len())
        .sum()
}
