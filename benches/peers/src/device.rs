//! A file system on a block device that nobody else uses: what its counters say was written for this store alone.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::store::Result;

/// An ext4 with its defaults in a file, mounted through a loop device. Gone when dropped.
pub(crate) struct Device {
    image: PathBuf,
    mount: PathBuf,
    /// `/dev/loopN`; empty before there is one.
    node: String,
    mounted: bool,
}

impl Device {
    pub(crate) fn new(folder: &Path, bytes: u64) -> Result<Self> {
        let mut device = Self {
            image: folder.join("device.img"),
            mount: folder.join("device"),
            node: String::new(),
            mounted: false,
        };
        File::create(&device.image)?.set_len(bytes)?;
        fs::create_dir_all(&device.mount)?;
        // Tables that are made later would be counted.
        let eager = "lazy_itable_init=0,lazy_journal_init=0";
        run(Command::new("mkfs.ext4")
            .args(["-q", "-F", "-E", eager])
            .arg(&device.image))?;
        let node = run(Command::new("losetup")
            .args(["-f", "--show"])
            .arg(&device.image))?;
        device.node = node.trim().to_owned();
        run(Command::new("mount").arg(&device.node).arg(&device.mount))?;
        device.mounted = true;
        Ok(device)
    }

    /// Where it is mounted.
    pub(crate) fn folder(&self) -> &Path {
        &self.mount
    }

    /// The file with its counters.
    pub(crate) fn stat(&self) -> PathBuf {
        let name = self.node.trim_start_matches("/dev/");
        Path::new("/sys/block").join(name).join("stat")
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if self.mounted
            && let Err(error) = run(Command::new("umount").arg(&self.mount))
        {
            eprintln!("{} stays mounted: {error}", self.mount.display());
        }
        if !self.node.is_empty()
            && let Err(error) = run(Command::new("losetup").arg("-d").arg(&self.node))
        {
            eprintln!("{} stays: {error}", self.node);
        }
        // What cannot be removed is in a folder that will be.
        let _ = fs::remove_file(&self.image);
        let _ = fs::remove_dir(&self.mount);
    }
}

/// Runs a command to its end; what it prints.
fn run(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let done = command
        .output()
        .map_err(|error| format!("{name}: {error}"))?;
    if done.status.success() {
        Ok(String::from_utf8_lossy(&done.stdout).into_owned())
    } else {
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        Err(format!("{name} ended with {}: {}", done.status, said.trim()).into())
    }
}
