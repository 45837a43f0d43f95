//! A file system on a device of the rack: made, mounted through a loop device, and always taken away again.

use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::medium::Medium;
use crate::rack::Disk;
use crate::stage::{Need, need, run};

/// The file systems tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fs {
    Ext4,
    Xfs,
    Btrfs,
}

impl Fs {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
        }
    }

    /// The program that makes it.
    pub(crate) fn need(self) -> Need {
        match self {
            Self::Ext4 => need("mkfs.ext4", "e2fsprogs"),
            Self::Xfs => need("mkfs.xfs", "xfsprogs"),
            Self::Btrfs => need("mkfs.btrfs", "btrfs-progs"),
        }
    }

    /// A device of the size that this file system wants at least, and some more.
    pub(crate) fn blank(self) -> Medium {
        Medium::new(match self {
            Self::Ext4 => 160 << 20,
            Self::Xfs => 320 << 20,
            Self::Btrfs => 256 << 20,
        })
    }

    /// Makes the file system, with `more` options of its mkfs.
    pub(crate) fn make(self, disk: &Disk, more: &[&str]) {
        let usual: &[&str] = match self {
            Self::Ext4 => &["-q", "-F", "-b", "4096", "-J", "size=4", "-E", "nodiscard"],
            Self::Xfs => &["-q", "-f", "-K"],
            Self::Btrfs => &["-q", "-f", "-K", "-m", "single", "-d", "single"],
        };
        let path = disk.path().to_str().expect("our own name");
        let arguments = [usual, more, &[path]].concat();
        run(&format!("mkfs.{}", self.name()), &arguments).unwrap();
        disk.settle();
    }

    /// Options with which it is mounted beside its twin.
    fn options(self) -> &'static str {
        match self {
            Self::Xfs => "noatime,nouuid",
            Self::Ext4 => "noatime,errors=remount-ro",
            Self::Btrfs => "noatime",
        }
    }

    /// Where it keeps what it needs for any change: the journal, or where there is none the superblock.
    pub(crate) fn journal(self, medium: &Medium) -> Range<u64> {
        let number = |offset: u64, len: usize| {
            let mut bytes = vec![0; len];
            medium.read(offset, &mut bytes);
            // Both have the high byte first.
            let add = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
            bytes.iter().fold(0, add)
        };
        match self {
            Self::Ext4 => {
                // The head of a version 2 superblock of jbd2, and its length in blocks.
                let heads = medium.find(&[0xC0, 0x3B, 0x39, 0x98, 0, 0, 0, 4]);
                let head = heads.into_iter().find(|at| at % 4096 == 0);
                let head = head.expect("the journal's superblock");
                head..head + number(head + 12, 4) * number(head + 16, 4)
            }
            Self::Xfs => {
                let block = number(4, 4);
                let (start, len) = (number(48, 8), number(96, 4));
                let (group_blocks, shift) = (number(84, 4), number(124, 1));
                let (group, within) = (start >> shift, start & ((1 << shift) - 1));
                let at = (group * group_blocks + within) * block;
                at..at + len * block
            }
            Self::Btrfs => 65_536..69_632,
        }
    }
}

/// A mounted device. Dropping it unmounts it, whatever state it is in.
pub(crate) struct Mounted {
    at: PathBuf,
    device: String,
    held: bool,
}

impl Mounted {
    /// Mounts the device at `at`.
    pub(crate) fn new(fs: Fs, disk: &Disk, at: &Path, more: &str) -> Result<Self, String> {
        std::fs::create_dir_all(at).map_err(|error| error.to_string())?;
        let file = disk.path().to_str().expect("our own name");
        let place = at.to_str().expect("our own name");
        // The loop device is made by `mount`, which makes it go with its last user from the start: also when nobody is left
        // to take it away.
        let options = format!("loop,{}{more}", fs.options());
        run("mount", &["-t", fs.name(), "-o", &options, file, place])?;
        let mut guard = Self {
            at: at.to_owned(),
            device: String::new(),
            held: true,
        };
        guard.device = source_of(place)?;
        // Past the cache of the file below it: faults of reading hit at once.
        run("losetup", &["--direct-io=on", &guard.device])?;
        Ok(guard)
    }

    fn place(&self) -> &str {
        self.at.to_str().expect("our own name")
    }

    pub(crate) fn path(&self) -> &Path {
        &self.at
    }

    /// The loop device's name below /dev.
    pub(crate) fn device(&self) -> &str {
        self.device.trim_start_matches("/dev/")
    }

    /// Unmounts it: whoever mounts it again reads from the device and not from the cache.
    pub(crate) fn unmount(mut self) -> Result<(), String> {
        run("umount", &[self.place()])?;
        self.held = false;
        Ok(())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let place = self.place();
        if self.held && run("umount", &[place]).is_err() {
            let _ = run("umount", &["-l", place]);
        }
    }
}

/// The device that is mounted at `place`.
fn source_of(place: &str) -> Result<String, String> {
    let table = std::fs::read_to_string("/proc/self/mountinfo");
    let table = table.map_err(|error| error.to_string())?;
    let mounted = table.lines().filter_map(|line| line.split_once(" - "));
    let mut here = mounted.filter(|(what, _)| what.split(' ').nth(4) == Some(place));
    let source = here.next_back().and_then(|(_, how)| how.split(' ').nth(1));
    source
        .map(str::to_owned)
        .ok_or_else(|| format!("nothing is mounted at {place}"))
}
