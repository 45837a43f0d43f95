//! The directory written to, by handle: names are looked up one component at a time, relative to an
//! open directory, and never through a link.
//!
//! A path is only kept to say in errors. Were files created by path, whoever can write below the
//! output could swap a directory for a link between our look and our use.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use super::SinkError;

/// The longest name that file systems take, in bytes.
pub(super) const NAME_LEN_MAX: usize = 255;

/// Bytes that are kept of a name that is too long: room for `~` and 16 hex digits remains.
const NAME_KEEP: usize = 200;

/// Whether each file and directory is synced by itself. Linux syncs a whole file system in one call
/// at the end, which costs thousands of small files far less.
const SYNC_EACH: bool = !cfg!(any(target_os = "linux", target_os = "android"));

/// An open directory.
pub(super) struct Directory {
    handle: OwnedFd,
    path: PathBuf,
}

impl Directory {
    /// Creates the directory, or takes it when it is there and empty. Links in `path` itself are
    /// followed: the user named it.
    ///
    /// # Errors
    ///
    /// `NotEmpty`; `Io` when its parent does not exist or the system refuses.
    pub(super) fn create(path: &Path) -> Result<Self, SinkError> {
        match rustix::fs::mkdirat(CWD, path, Mode::from_raw_mode(0o700)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(SinkError::io("create", path)(error)),
        }
        let handle = rustix::fs::openat(CWD, path, directory_flags(), Mode::empty())
            .map_err(SinkError::io("open", path))?;
        let entries = rustix::fs::Dir::read_from(&handle).map_err(SinkError::io("list", path))?;
        for entry in entries {
            let entry = entry.map_err(SinkError::io("list", path))?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                return Err(SinkError::NotEmpty {
                    path: path.to_path_buf(),
                });
            }
        }
        Ok(Self {
            handle,
            path: path.to_path_buf(),
        })
    }

    /// Opens a directory in this one, created if need be. `name` must be a single component.
    ///
    /// # Errors
    ///
    /// `Io`, also when the name is a link or a file.
    pub(super) fn enter(&self, name: &str) -> Result<Self, SinkError> {
        let path = self.path.join(name);
        let mode = Mode::from_raw_mode(0o700);
        match rustix::fs::mkdirat(&self.handle, component(name, &path)?, mode) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(SinkError::io("create", &path)(error)),
        }
        let flags = directory_flags() | OFlags::NOFOLLOW;
        let handle = rustix::fs::openat(&self.handle, name, flags, Mode::empty())
            .map_err(SinkError::io("open", &path))?;
        Ok(Self { handle, path })
    }

    /// A second handle to this directory.
    ///
    /// # Errors
    ///
    /// `Io`.
    pub(super) fn again(&self) -> Result<Self, SinkError> {
        let handle = self
            .handle
            .try_clone()
            .map_err(SinkError::io("open", &self.path))?;
        Ok(Self {
            handle,
            path: self.path.clone(),
        })
    }

    /// Creates a file and gives its path too. `name` must be a single component.
    ///
    /// # Errors
    ///
    /// `Io`, also when there is anything of that name.
    pub(super) fn create_file(&self, name: &str) -> Result<(File, PathBuf), SinkError> {
        let path = self.path.join(name);
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o600);
        let name = component(name, &path)?;
        let handle = rustix::fs::openat(&self.handle, name, flags, mode)
            .map_err(SinkError::io("create", &path))?;
        Ok((File::from(handle), path))
    }

    /// Removes a file that could not be written whole, so that no one takes it for a message. That
    /// it could not be is told already: when this fails too, nothing more can be done.
    pub(super) fn remove_part(&self, name: &str) {
        let _ = rustix::fs::unlinkat(&self.handle, name, AtFlags::empty());
    }

    /// Moves a file into another directory. The caller sees to it that the new name is free: it
    /// comes from a counter, in a directory that was empty.
    ///
    /// # Errors
    ///
    /// `Io`.
    pub(super) fn rename(&self, name: &str, into: &Self) -> Result<PathBuf, SinkError> {
        let path = into.path.join(name);
        rustix::fs::renameat(&self.handle, name, &into.handle, name)
            .map_err(SinkError::io("rename", &path))?;
        Ok(path)
    }

    /// Makes a file's bytes durable where [`Directory::sync_all`] will not.
    ///
    /// # Errors
    ///
    /// `Io`.
    pub(super) fn sync_file(&self, file: &File, path: &Path) -> Result<(), SinkError> {
        if !SYNC_EACH {
            return Ok(());
        }
        file.sync_all().map_err(SinkError::io("sync", path))?;
        rustix::fs::fsync(&self.handle).map_err(SinkError::io("sync", &self.path))
    }

    /// Makes everything below this directory durable, and its own name.
    ///
    /// # Errors
    ///
    /// `Io`: then what was written must not be relied on.
    pub(super) fn sync_all(&self) -> Result<(), SinkError> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        rustix::fs::syncfs(&self.handle).map_err(SinkError::io("sync", &self.path))?;
        rustix::fs::fsync(&self.handle).map_err(SinkError::io("sync", &self.path))?;
        sync_parent(&self.path)
    }
}

/// Makes the name of a file or directory durable.
///
/// # Errors
///
/// `Io`.
pub(super) fn sync_parent(path: &Path) -> Result<(), SinkError> {
    let parent = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    File::open(parent)
        .and_then(|directory| directory.sync_all())
        .map_err(SinkError::io("sync", parent))
}

/// A name that fits a file system: as it is, or its start with a digest of `whole` in place of what
/// does not fit. `name` must be ASCII.
pub(super) fn bounded(name: String, whole: &[String]) -> String {
    if name.len() <= NAME_LEN_MAX {
        return name;
    }
    let mut hasher = blake3::Hasher::new();
    for level in whole {
        hasher.update(&(level.len() as u64).to_le_bytes());
        hasher.update(level.as_bytes());
    }
    let digest = hasher.finalize().to_hex();
    let kept = name.get(..NAME_KEEP).unwrap_or_default();
    format!("{kept}~{}", digest.get(..16).unwrap_or_default())
}

/// Refuses what is not one component: the last guard, the sinks spell names so that none gets here.
fn component<'a>(name: &'a str, path: &Path) -> Result<&'a str, SinkError> {
    if matches!(name, "" | "." | "..") || name.contains(['/', '\0']) {
        return Err(SinkError::io("create", path)(Errno::INVAL));
    }
    Ok(name)
}

/// How directories are opened.
fn directory_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_are_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let out = Directory::create(&root.path().join("out")).unwrap();
        std::fs::create_dir(root.path().join("elsewhere")).unwrap();
        symlink("../elsewhere", root.path().join("out/link")).unwrap();
        symlink("../stolen", root.path().join("out/file")).unwrap();
        assert!(matches!(
            out.enter("link"),
            Err(SinkError::Io { op: "open", .. })
        ));
        assert!(matches!(
            out.create_file("file"),
            Err(SinkError::Io { op: "create", .. })
        ));
        assert!(!root.path().join("stolen").exists());
    }

    #[test]
    fn only_single_components() {
        let root = tempfile::tempdir().unwrap();
        let out = Directory::create(&root.path().join("out")).unwrap();
        for name in ["", ".", "..", "../x", "/etc/x", "a/b", "a\0b"] {
            assert!(out.enter(name).is_err(), "{name:?}");
            assert!(out.create_file(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_directory_that_holds_something_is_refused() {
        let root = tempfile::tempdir().unwrap();
        Directory::create(root.path()).unwrap();
        std::fs::write(root.path().join("x"), "").unwrap();
        assert!(matches!(
            Directory::create(root.path()),
            Err(SinkError::NotEmpty { .. })
        ));
        assert!(Directory::create(&root.path().join("no/parent")).is_err());
        assert!(Directory::create(&root.path().join("x")).is_err());
    }

    #[test]
    fn long_names_are_cut_and_stay_apart() {
        let levels = |text: &str| [text.to_owned()];
        let fits = "a".repeat(NAME_LEN_MAX);
        assert_eq!(bounded(fits.clone(), &levels("x")), fits);
        let one = bounded("a".repeat(256), &levels("x"));
        let other = bounded("a".repeat(256), &levels("y"));
        assert_eq!(one.len(), NAME_KEEP + 17);
        assert_ne!(one, other);
    }
}
