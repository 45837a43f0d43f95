//! Reading ahead: files are read and taken apart in a thread of its own, while the messages before are delivered.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::SyncSender;

use crate::source::{self, Found, Options, SourceError};

/// Bytes of messages that make a batch. What waits is bounded by three batches, each of this and one message.
const BATCH_LEN: usize = 1 << 20;

/// Small messages that make a batch.
const BATCH_COUNT: usize = 1024;

/// Some messages in a row.
#[derive(Default)]
pub(super) struct Batch {
    /// Messages, and what could not be read between them.
    pub(super) items: Vec<Result<Found, SourceError>>,
    /// Bytes of files read up to here.
    pub(super) read_bytes: u64,
    /// Files passed over up to here, as they are no mail.
    pub(super) passed_over: u64,
}

/// Reads all paths, one after the other. Ends early when nobody takes the batches any more.
pub(super) fn read_all(paths: &[PathBuf], options: Options, batches: &SyncSender<Batch>) {
    let (mut read_bytes, mut passed_over) = (0, 0);
    for path in paths {
        let mut source = match source::open(path, options) {
            Ok(source) => source,
            Err(error) => {
                let items = vec![Err(error)];
                let batch = Batch {
                    items,
                    read_bytes,
                    passed_over,
                };
                if batches.send(batch).is_err() {
                    return;
                }
                continue;
            }
        };
        let mut is_end = false;
        while !is_end {
            let (items, ended) = collect(&mut source);
            is_end = ended;
            let batch = Batch {
                items,
                read_bytes: read_bytes + source.read_bytes(),
                passed_over: passed_over + source.passed_over(),
            };
            if batches.send(batch).is_err() {
                return;
            }
        }
        read_bytes += source.read_bytes();
        passed_over += source.passed_over();
    }
}

/// The next batch of a source, and whether it was the last.
fn collect(source: &mut source::Source) -> (Vec<Result<Found, SourceError>>, bool) {
    let (mut items, mut len) = (Vec::new(), 0);
    while len < BATCH_LEN && items.len() < BATCH_COUNT {
        match source.next() {
            Some(item) => {
                len += item.as_ref().map_or(0, |found| found.raw.len());
                items.push(item);
            }
            None => return (items, true),
        }
    }
    (items, false)
}

/// Bytes of all files below the paths; 0 where that is not known. Only for the progress bar: what cannot be looked at
/// counts nothing.
pub(super) fn total_bytes(paths: &[PathBuf]) -> u64 {
    if paths.iter().any(|path| path == Path::new("-")) {
        return 0;
    }
    let mut rest: Vec<PathBuf> = paths.to_vec();
    let mut bytes = 0;
    while let Some(path) = rest.pop() {
        let Ok(metadata) = fs::metadata(&path) else {
            continue;
        };
        if metadata.is_dir() {
            let entries = fs::read_dir(&path).into_iter().flatten().flatten();
            let followed = entries.filter(|entry| {
                // As the walk does: links to directories are not followed.
                !(entry.file_type().is_ok_and(|found| found.is_symlink()) && entry.path().is_dir())
            });
            rest.extend(followed.map(|entry| entry.path()));
        } else {
            bytes += metadata.len();
        }
    }
    bytes
}
