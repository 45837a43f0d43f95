//! Before an opening: a store is found or created, and the writer lock is taken.

use crate::error::{Error, Result};
use crate::io::{Open, Storage};
use crate::log::ledger::{Ledger, MANIFEST};
use crate::options::Options;
use crate::switch::Switch;

/// Sees to it that there is a store in `storage`: creates one in an empty folder where the options allow it.
pub(crate) fn find_or_create(storage: &dyn Storage, options: &Options) -> Result<()> {
    let path = storage.describe();
    let not_a_store = |what| {
        Err(Error::NotAStore {
            path: path.clone(),
            what,
        })
    };
    let io = |source| Error::io("list", &path, source);
    let names = storage.list("").map_err(io)?;
    if names.iter().any(|entry| entry.name == MANIFEST) {
        return Ok(());
    }
    // What an interrupted creation leaves. Segments are made after MANIFEST.
    const OURS: [&str; 7] = [
        "LOCK",
        "TAIL",
        "SEGMENTS",
        "MANIFEST.new",
        "log",
        "index",
        "quarantine",
    ];
    let segments = match storage.list("log") {
        Ok(found) => !found.is_empty(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(source) => return Err(io(source)),
    };
    if segments {
        return Err(Error::Incomplete {
            path,
            what: "MANIFEST is missing".into(),
        });
    }
    if names
        .iter()
        .any(|entry| !OURS.contains(&entry.name.as_str()))
    {
        return not_a_store("the folder holds other files");
    }
    if !options.create || options.read_only {
        return not_a_store("the folder is empty");
    }
    let _lock = lock(storage, options)?;
    Ledger::create(storage, &*options.host)
}

/// Takes the writer lock.
pub(crate) fn lock(storage: &dyn Storage, options: &Options) -> Result<Box<dyn Send + Sync>> {
    const LOCK: &str = "LOCK";
    let owner = format!(
        "{} since {} ms",
        options.host.identity(),
        options.host.now_ms()
    );
    let name = if Switch::WriterLock.on() {
        LOCK.to_owned()
    } else {
        options.host.unique().iter().map(u8::to_string).collect()
    };
    storage
        .lock(&name, &owner)
        .map_err(|source| match source.kind() {
            std::io::ErrorKind::WouldBlock => {
                let path = storage.describe();
                Error::Locked {
                    path,
                    owner: read_owner(storage, LOCK).unwrap_or_else(|| "another process".into()),
                }
            }
            _ => Error::io("lock", storage.describe(), source),
        })
}

/// Who the lock file says has the store.
fn read_owner(storage: &dyn Storage, name: &str) -> Option<String> {
    let mut owner = vec![0; 512];
    let read = storage
        .open(name, Open::Read)
        .ok()?
        .read_at(&mut owner, 0)
        .ok()?;
    owner.truncate(read);
    let owner = String::from_utf8(owner).ok()?;
    Some(owner.trim().to_owned()).filter(|owner| !owner.is_empty())
}
