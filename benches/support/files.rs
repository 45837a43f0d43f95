//! A store's files, from outside.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use mailkeep::format::checksum;
use rustix::fs::Advice;

/// Files of a folder in order of their names.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// The files of the log, oldest first.
pub(crate) fn log_files(store: &Path) -> Vec<PathBuf> {
    files(&store.join("log"))
}

/// Bytes of zeroes that are ready for the next segment.
pub(crate) fn prepared(store: &Path) -> u64 {
    let files = fs::read_dir(store.join("log")).unwrap().map(Result::unwrap);
    let spare = |file: &fs::DirEntry| file.file_name().to_string_lossy().starts_with("spare");
    files
        .filter(spare)
        .filter_map(|file| Some(file.metadata().ok()?.len()))
        .sum()
}

/// Copies a store that no process has open, and syncs the copy: nothing of it is left to be written when it is
/// measured. Segments but for the newest three are sealed and never written again, so these are linked.
pub(crate) fn copy_store(from: &Path, to: &Path) {
    copy(from, to);
    fs::create_dir(to.join("log")).unwrap();
    let segments = log_files(from);
    let sealed = segments.len().saturating_sub(3);
    for (at, path) in segments.iter().enumerate() {
        let target = to.join("log").join(path.file_name().unwrap());
        if at < sealed {
            fs::hard_link(path, target).unwrap();
        } else {
            copy_file(path, &target);
        }
    }
}

/// All but the log.
fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for path in files(from) {
        let target = to.join(path.file_name().unwrap());
        match path.is_dir() {
            true if path.ends_with("log") => {}
            true => copy(&path, &target),
            false => copy_file(&path, &target),
        }
    }
}

fn copy_file(from: &Path, to: &Path) {
    fs::copy(from, to).unwrap();
    File::open(to).unwrap().sync_all().unwrap();
}

/// Removes everything derived.
pub(crate) fn remove_index(store: &Path) {
    fs::remove_dir_all(store.join("index")).unwrap();
}

/// Reads these files once, with or without a checksum over all of it; how many bytes there were.
pub(crate) fn read_all(paths: &[PathBuf], checked: bool) -> u64 {
    let mut buffer = vec![0; 1 << 20];
    let (mut sum, mut crc) = (0, 0);
    for path in paths {
        let mut file = File::open(path).unwrap();
        loop {
            let len = file.read(&mut buffer).unwrap();
            if len == 0 {
                break;
            }
            if checked {
                crc ^= checksum(0, &buffer[..len]);
            }
            sum += len as u64;
        }
    }
    std::hint::black_box(crc);
    sum
}

/// Where the log ends: its newest file that holds anything but zeroes, and the length up to its last other byte.
fn end(store: &Path) -> (PathBuf, u64) {
    let used = |path: PathBuf| {
        let bytes = fs::read(&path).unwrap();
        let last = bytes.iter().rposition(|byte| *byte != 0)?;
        Some((path, last as u64 + 1))
    };
    log_files(store).into_iter().rev().find_map(used).unwrap()
}

/// The last `len` bytes of the log: files, from where, how many.
pub(crate) fn tail(store: &Path, len: u64) -> Vec<(PathBuf, u64, u64)> {
    let (last, end) = end(store);
    let older = log_files(store).into_iter().rev();
    let older = older.skip_while(|path| *path != last);
    let (mut left, mut found) = (len, Vec::new());
    for path in older {
        let whole = if path == last {
            end
        } else {
            fs::metadata(&path).unwrap().len()
        };
        let here = left.min(whole);
        found.push((path, whole - here, here));
        left -= here;
        if left == 0 {
            break;
        }
    }
    assert_eq!(left, 0, "the log is shorter than its tail");
    found
}

/// Reads these parts of files and computes CRC-32C of it all.
pub(crate) fn read_parts(parts: &[(PathBuf, u64, u64)], buffer: &mut [u8]) -> u32 {
    let mut crc = 0;
    for (path, start, len) in parts {
        let file = File::open(path).unwrap();
        let mut at = *start;
        while at < start + len {
            let piece = (buffer.len() as u64).min(start + len - at) as usize;
            file.read_exact_at(&mut buffer[..piece], at).unwrap();
            crc = checksum(crc, &buffer[..piece]);
            at += piece as u64;
        }
    }
    crc
}

/// Asks the kernel to forget the pages of these files, which are clean and not mapped.
pub(crate) fn make_cold(paths: &[PathBuf]) {
    for path in paths {
        let file = File::open(path).unwrap();
        file.sync_all().unwrap();
        rustix::fs::fadvise(&file, 0, None, Advice::DontNeed).unwrap();
    }
}
