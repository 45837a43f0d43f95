//! The original, which is only read, and copies of it.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use mailkeep::{Delivery, Options, Store};

use super::Result;

/// A copy of the store, taken while no writer has it; its length in bytes.
pub(crate) fn take(original: &Path, to: &Path) -> Result<u64> {
    let lock = File::open(original.join("LOCK"));
    let lock = lock.map_err(|error| format!("{} holds no store: {error}", original.display()))?;
    match lock.try_lock_shared() {
        Ok(()) => copy(original, to),
        Err(TryLockError::WouldBlock) => {
            let path = original.display();
            Err(format!("{path} is open for writing: stop the server, or drill on a backup").into())
        }
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

/// Copies a store's files; their length in bytes. Symbolic links are no part of a store.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<u64> {
    fs::create_dir_all(to)?;
    let mut len = 0;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (kind, to) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            len += copy(&entry.path(), &to)?;
        } else if kind.is_file() {
            len += fs::copy(entry.path(), to)?;
        }
    }
    Ok(len)
}

/// A small store with a little of everything: sealed segments, a large message, flags, a mailbox of its own.
pub(crate) fn make(path: &Path) -> Result<()> {
    let options = Options::new().segment_len(256 << 10).tail_max(64 << 10);
    let store = Store::open(path, options)?;
    for name in ["anna", "bruno", "carla"] {
        let account = store.create_account(&format!("{name}@example.it"))?;
        let lists = account.create_mailbox("Lists")?;
        let inbox = account.inbox()?;
        for n in 0..120_u32 {
            let len = 200 + (n as usize % 4).pow(3) * 1_000;
            let raw = message(name, n, len);
            let both = [Delivery::to(&inbox), Delivery::to(&lists)];
            let to = both.into_iter().take(1 + (n as usize) % 2);
            for kept in store.deliver(&raw, to)?.wait()? {
                kept?;
            }
        }
    }
    let anna = store.account("anna@example.it")?.inbox()?;
    let large = message("large", 0, (1 << 20) + 5);
    store.deliver(&large, [Delivery::to(&anna)])?.wait()?;
    store.close()?;
    Ok(())
}

/// A message of about `len` bytes that no other is like.
pub(crate) fn message(name: &str, n: u32, len: usize) -> Vec<u8> {
    let mut raw = format!("Subject: {name} {n}\r\n\r\n").into_bytes();
    let mut line = 0;
    while raw.len() < len {
        raw.extend(format!("{name}, message {n}, line {line}\r\n").bytes());
        line += 1;
    }
    raw
}

/// The segments of the log, oldest first, with their lengths.
pub(crate) fn segments(store: &Path) -> Result<Vec<(PathBuf, u64)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(store.join("log"))? {
        let entry = entry?;
        if entry.path().extension().is_some_and(|end| end == "seg") {
            found.push((entry.path(), entry.metadata()?.len()));
        }
    }
    found.sort();
    Ok(found)
}
