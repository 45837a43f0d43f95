//! What the system says of this process, of files and of the machine.

#[path = "../../support/memory.rs"]
mod memory;

use std::fs;
use std::io::{BufReader, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

pub(crate) use self::memory::Memory;
use self::memory::field;
use crate::store::Result;

/// Bytes that went to a disk for this process, as the kernel accounts for them.
pub(crate) fn bytes_written() -> u64 {
    let io = fs::read_to_string("/proc/self/io").unwrap_or_default();
    field(&io, "write_bytes:")
}

/// Bytes that a block device was told to write: the seventh field of its `stat` counts sectors of 512 bytes.
pub(crate) fn device_bytes_written(stat: &Path) -> Result<u64> {
    let text = fs::read_to_string(stat)?;
    let sectors: u64 = text
        .split_whitespace()
        .nth(6)
        .ok_or("a short stat of a block device")?
        .parse()?;
    Ok(512 * sectors)
}

/// Bytes that all files below a folder take on the disk.
pub(crate) fn space(folder: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let data = entry.metadata()?;
        sum += 512 * data.blocks();
        if data.is_dir() {
            sum += space(&entry.path())?;
        }
    }
    Ok(sum)
}

/// Of the bytes of all files below a folder, those in blocks of 4 KiB that are not all zeroes.
pub(crate) fn filled(folder: &Path) -> Result<u64> {
    let (mut sum, mut block) = (0, [0; 4096]);
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sum += filled(&entry.path())?;
            continue;
        }
        let file = fs::File::open(entry.path())?;
        let len = file.metadata()?.len();
        let mut file = BufReader::with_capacity(1 << 20, file);
        for at in (0..len).step_by(block.len()) {
            let piece = &mut block[..(len - at).min(4096) as usize];
            file.read_exact(piece)?;
            if piece.iter().any(|byte| *byte != 0) {
                sum += 4096;
            }
        }
    }
    Ok(sum)
}

/// Writes out what this file system has in memory.
pub(crate) fn sync(folder: &Path) -> Result<()> {
    rustix::fs::syncfs(fs::File::open(folder)?)?;
    Ok(())
}

/// Processor, kernel, file system and load, for the head of a report.
pub(crate) fn describe(folder: &Path) -> Vec<(&'static str, String)> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model
        .unwrap_or("unknown")
        .trim_start_matches([' ', '\t', ':']);
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = field(&read("/proc/meminfo"), "MemTotal:") / (1 << 20);
    vec![
        ("processor", format!("{cpus} x {model}")),
        ("memory", format!("{memory} GiB")),
        (
            "kernel",
            read("/proc/sys/kernel/osrelease").trim().to_owned(),
        ),
        ("file system", file_system(folder)),
        ("load at the start", load()),
    ]
}

/// Runnable processes over the last minute.
pub(crate) fn load() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split_whitespace()
        .next()
        .unwrap_or("unknown")
        .to_owned()
}

/// Type and options of the file system that a folder is on.
fn file_system(folder: &Path) -> String {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let folder = folder.canonicalize().unwrap_or_default();
    let mut found = ("", "unknown".to_owned());
    for line in mounts.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let [_, at, kind, options, ..] = words[..]
            && folder.starts_with(at)
            && at.len() >= found.0.len()
        {
            found = (at, format!("{kind} ({options})"));
        }
    }
    found.1
}
