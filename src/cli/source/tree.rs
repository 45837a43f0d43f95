//! Walking directories: folders of files, Maildirs and their folders, in the order of names.
//!
//! A directory that is a Maildir gives its messages, then its folders give theirs: both `.A.B`
//! (Maildir++) and `A/B` (nested). What lies loose beside `cur` and `new` belongs to programs and is
//! passed over. Any other directory gives its files that are mail (`eml` has the rule) and names the
//! others, then its directories do; names that start with a dot are left alone. Links to files are followed, links to
//! directories are not, so the walk ends.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::eml::{self, Opened};
use super::mbox::Reader;
use super::{Format, Found, Options, SourceError, maildir};

/// Directories inside each other that are entered. Deeper ones are an error, not a search.
const DEPTH_MAX: usize = 64;

/// What is still to be read; the last of the stack comes first.
enum Step {
    /// A directory not looked at yet.
    Directory(Place),
    /// Files of a directory that may be mail.
    Files(std::vec::IntoIter<PathBuf>),
    /// Messages of a Maildir folder.
    Folder(maildir::Folder),
    /// Messages of an mbox.
    Mbox(Box<Reader>),
    /// A message that is already there.
    Message(Box<Found>),
}

/// A directory and what it is to the mailbox imported to.
struct Place {
    path: PathBuf,
    levels: Vec<String>,
    depth: usize,
}

/// A walk over everything below a path, or the one file that it is.
pub(super) struct Tree {
    steps: Vec<Step>,
    options: Options,
    passed_over: u64,
    /// Bytes read of files, before decompression.
    read_bytes: Arc<AtomicU64>,
}

impl Tree {
    /// See [`super::open`].
    pub(super) fn open(path: &Path, options: Options) -> Result<Self, SourceError> {
        let mut tree = Self {
            steps: Vec::new(),
            options,
            passed_over: 0,
            read_bytes: Arc::default(),
        };
        if path == Path::new("-") {
            let opened = eml::open_stdin(options, &tree.read_bytes)?;
            tree.push(opened, path)?;
        } else if fs::metadata(path)
            .map_err(SourceError::io("open", path, 0))?
            .is_dir()
        {
            let path = path.to_path_buf();
            tree.steps.push(Step::Directory(Place {
                path,
                levels: Vec::new(),
                depth: 0,
            }));
        } else {
            let opened = eml::open(path, true, options, &tree.read_bytes)?;
            tree.push(opened, path)?;
        }
        Ok(tree)
    }

    /// Files seen and not taken.
    pub(super) fn passed_over(&self) -> u64 {
        self.passed_over
    }

    /// Bytes read of files.
    pub(super) fn read_bytes(&self) -> u64 {
        self.read_bytes.load(Ordering::Relaxed)
    }

    /// Makes an opened file the next step, or names it when it is passed over.
    fn push(&mut self, opened: Opened, path: &Path) -> Result<(), SourceError> {
        match opened {
            Opened::Message(found) => self.steps.push(Step::Message(Box::new(found))),
            Opened::Mbox(reader) => self.steps.push(Step::Mbox(reader)),
            Opened::Nothing => {
                self.passed_over += 1;
                return Err(SourceError::PassedOver {
                    path: path.to_path_buf(),
                    expected: match self.options.format {
                        Format::Mbox => "a From_ line with a date",
                        Format::Auto | Format::Eml => "the header of a message",
                    },
                });
            }
        }
        Ok(())
    }

    /// Puts what a directory holds on the stack.
    fn enter(&mut self, place: &Place) -> Result<(), SourceError> {
        let is_maildir = maildir::is_maildir(&place.path);
        let Listing { files, directories } =
            list(&place.path).map_err(SourceError::io("list", &place.path, 0))?;
        for (path, name) in directories.into_iter().rev() {
            if let Some(levels) = child_levels(place, &name, &path, is_maildir) {
                self.steps.push(Step::Directory(Place {
                    path,
                    levels,
                    depth: place.depth + 1,
                }));
            }
        }
        if is_maildir {
            self.passed_over += files.len() as u64;
            let folder = maildir::Folder::open(&place.path, place.levels.clone(), self.options)?;
            self.steps.push(Step::Folder(folder));
        } else {
            self.steps.push(Step::Files(files.into_iter()));
        }
        Ok(())
    }

    /// Looks at a directory that is next.
    fn directory(&mut self, place: &Place) -> Result<(), SourceError> {
        if place.depth > DEPTH_MAX {
            let error = io::Error::other("too many directories inside each other");
            return Err(SourceError::io("enter", &place.path, 0)(error));
        }
        self.enter(place)
    }

    /// Opens a file of a directory.
    fn file(&mut self, path: &Path) -> Result<(), SourceError> {
        let opened = eml::open(path, false, self.options, &self.read_bytes)?;
        self.push(opened, path)
    }
}

impl Iterator for Tree {
    type Item = Result<Found, SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let done = match self.steps.pop()? {
                Step::Message(found) => return Some(Ok(*found)),
                Step::Mbox(mut reader) => {
                    if let Some(item) = reader.next() {
                        self.steps.push(Step::Mbox(reader));
                        return Some(item);
                    }
                    Ok(())
                }
                Step::Folder(mut folder) => {
                    if let Some(item) = folder.next() {
                        let len = item.as_ref().map_or(0, |found| found.raw.len() as u64);
                        self.read_bytes.fetch_add(len, Ordering::Relaxed);
                        self.steps.push(Step::Folder(folder));
                        return Some(item);
                    }
                    Ok(())
                }
                Step::Files(mut files) => files.next().map_or(Ok(()), |path| {
                    self.steps.push(Step::Files(files));
                    self.file(&path)
                }),
                Step::Directory(place) => self.directory(&place),
            };
            if let Err(error) = done {
                return Some(Err(error));
            }
        }
    }
}

/// What a directory holds, in the order of names.
struct Listing {
    files: Vec<PathBuf>,
    directories: Vec<(PathBuf, String)>,
}

/// Lists a directory: its files but the hidden ones, and all its directories.
fn list(path: &Path) -> io::Result<Listing> {
    let (mut files, mut directories) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let (path, name) = (
            entry.path(),
            entry.file_name().to_string_lossy().into_owned(),
        );
        if entry.file_type()?.is_dir() {
            directories.push((path, name));
        } else if !name.starts_with('.') && fs::metadata(&path).is_ok_and(|found| found.is_file()) {
            files.push(path);
        }
    }
    files.sort_unstable();
    directories.sort_unstable();
    Ok(Listing { files, directories })
}

/// The levels of a directory's directory, or `None` where the walk does not go.
fn child_levels(place: &Place, name: &str, path: &Path, is_maildir: bool) -> Option<Vec<String>> {
    let is_hidden = name.starts_with('.');
    let is_part = is_maildir && matches!(name, "cur" | "new" | "tmp");
    // Maildir++ folders are hidden; other hidden directories are no one's mail.
    if is_part || (is_hidden && !(is_maildir && maildir::is_maildir(path))) {
        return None;
    }
    let mut levels = place.levels.clone();
    levels.extend(maildir::levels(name));
    Some(levels)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FROM: &str = "From a@b Thu Jan  1 00:00:00 2004\n";

    fn write(root: &Path, name: &str, bytes: impl AsRef<[u8]>) {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// Messages as "folder levels: bytes", how many files are passed over.
    fn walk(path: &Path, options: Options) -> (Vec<String>, u64) {
        let mut tree = Tree::open(path, options).unwrap();
        let mut found = Vec::new();
        for item in tree.by_ref() {
            let item = match item {
                Err(SourceError::PassedOver { .. }) => continue,
                item => item.unwrap(),
            };
            found.push(format!(
                "{}: {}",
                item.folder.join("/"),
                item.raw.escape_ascii()
            ));
        }
        (found, tree.passed_over())
    }

    #[test]
    fn a_folder_of_files() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "b/1.eml", "one");
        write(root.path(), "a.eml", "two");
        write(root.path(), "c.txt", "Subject: 3");
        write(root.path(), "d.mbox", format!("{FROM}four\n\n{FROM}five"));
        write(root.path(), "notes.txt", "nothing");
        write(root.path(), "empty", "");
        write(root.path(), "empty.eml", "");
        write(root.path(), ".hidden.eml", "no");
        write(root.path(), ".git/x.eml", "no");
        write(
            root.path(),
            "e.eml.zst",
            zstd::encode_all(&b"six"[..], 1).unwrap(),
        );
        std::os::unix::fs::symlink(root.path(), root.path().join("loop")).unwrap();
        let (found, passed_over) = walk(root.path(), Options::default());
        assert_eq!(
            found,
            [
                ": two",
                ": Subject: 3",
                ": four\\n",
                ": five",
                ": six",
                ": ",
                ": one"
            ]
        );
        assert_eq!(passed_over, 1);

        let (found, _) = walk(
            root.path(),
            Options {
                format: Format::Mbox,
                ..Options::default()
            },
        );
        assert_eq!(found, [": four\\n", ": five"]);
    }

    #[test]
    fn files_that_are_passed_over_are_named() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "a.eml", "Subject: 1\n");
        write(root.path(), "b.mbox", format!("{FROM}two"));
        write(root.path(), "c", "no header\n");
        write(root.path(), "d/e", "");
        write(root.path(), "m/cur/1300000000.a:2,", "3");
        write(root.path(), "m/loose", "a program's own");
        let named = |format| {
            let options = Options {
                format,
                ..Options::default()
            };
            let tree = Tree::open(root.path(), options).unwrap();
            let said: Vec<_> = tree
                .filter_map(|item| Some(item.err()?.to_string()))
                .collect();
            said
        };
        let said = |name: &str, expected: &str| {
            let path = root.path().join(name);
            format!(
                "{} is passed over: it does not start with {expected}",
                path.display()
            )
        };
        assert_eq!(named(Format::Auto), [said("c", "the header of a message")]);
        let from = "a From_ line with a date";
        assert_eq!(
            named(Format::Mbox),
            [said("a.eml", from), said("c", from), said("d/e", from)]
        );
        assert_eq!(named(Format::Eml), [""; 0]);
    }

    #[test]
    fn all_files_of_a_folder_are_messages_when_it_is_said() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "a", "no header\n");
        write(root.path(), "b/c.mbox", FROM);
        write(root.path(), "b/d", "");
        write(root.path(), ".hidden", "no");
        let options = Options {
            format: Format::Eml,
            ..Options::default()
        };
        let (found, passed_over) = walk(root.path(), options);
        let mbox = format!(": {}", FROM.escape_default());
        assert_eq!(found, [": no header\\n", mbox.as_str(), ": "]);
        assert_eq!(passed_over, 0);
    }

    #[test]
    fn maildirs_in_a_folder_and_in_each_other() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "m/cur/1300000000.a:2,", "1");
        write(root.path(), "m/.A.B/cur/1300000000.a:2,", "2");
        write(root.path(), "m/.A.B/C/cur/1300000000.a:2,", "3");
        write(root.path(), "m/deep/er/new/1300000000.a", "4");
        write(root.path(), "m/deep/er/tmp/1300000000.b", "no");
        write(root.path(), "m/.cache/1.eml", "no");
        write(root.path(), "m/loose:2,", "no");
        let (found, passed_over) = walk(root.path(), Options::default());
        assert_eq!(found, ["m: 1", "m/A/B: 2", "m/A/B/C: 3", "m/deep/er: 4"]);
        assert_eq!(passed_over, 1);
        assert_eq!(
            walk(&root.path().join("m"), Options::default()).0[1],
            "A/B: 2"
        );
    }

    #[test]
    fn one_file() {
        let root = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &[u8], format| {
            write(root.path(), name, bytes);
            walk(
                &root.path().join(name),
                Options {
                    format,
                    ..Options::default()
                },
            )
            .0
        };
        let mbox = format!("{FROM}a\n\n{FROM}b\n");
        let packed = zstd::encode_all(mbox.as_bytes(), 1).unwrap();
        assert_eq!(file("f", b"anything", Format::Auto), [": anything"]);
        assert_eq!(
            file("f", mbox.as_bytes(), Format::Auto),
            [": a\\n", ": b\\n"]
        );
        assert_eq!(file("f", &packed, Format::Auto), [": a\\n", ": b\\n"]);
        assert_eq!(
            file("f", mbox.as_bytes(), Format::Eml),
            [format!(": {}", mbox.escape_default())]
        );
        assert_eq!(
            file("f", &packed, Format::Eml),
            [format!(": {}", packed.escape_ascii())]
        );
        assert_eq!(file("f.zst", &packed, Format::Eml).len(), 1);
        assert_eq!(file("f", b"", Format::Auto), [""; 0]);
        assert_eq!(file("f.eml", b"", Format::Auto), [": "]);

        write(root.path(), "f", "From - \n");
        let options = Options {
            format: Format::Mbox,
            ..Options::default()
        };
        let error = Tree::open(&root.path().join("f"), options).err().unwrap();
        assert!(error.to_string().ends_with(
            "f is not an mbox: found \"From -\" at its start, expected a From_ line with a date"
        ));
        let missing = Tree::open(&root.path().join("none"), options)
            .err()
            .unwrap();
        assert!(missing.to_string().starts_with("cannot open "));
    }

    #[test]
    fn what_fails_does_not_end_the_walk() {
        let root = tempfile::tempdir().unwrap();
        let packed = zstd::encode_all(&[b'x'; 5000][..], 1).unwrap();
        write(root.path(), "a.eml.zst", &packed[..packed.len() - 4]);
        write(root.path(), "b.eml", vec![b'y'; 11]);
        write(root.path(), "c.eml", "fine");
        let options = Options {
            message_max: 10,
            ..Options::default()
        };
        let items: Vec<_> = Tree::open(root.path(), options).unwrap().collect();
        assert!(matches!(
            items[0],
            Err(SourceError::Io { .. } | SourceError::TooLarge { .. })
        ));
        assert_eq!(
            items[1].as_ref().unwrap_err().to_string(),
            format!(
                "a message of {} at byte 0 is too large: found at least 11 bytes, \
                 expected at most 10",
                root.path().join("b.eml").display()
            )
        );
        assert_eq!(items[2].as_ref().unwrap().raw, b"fine");
    }

    #[test]
    fn depth_is_bounded() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), &("d/".repeat(DEPTH_MAX) + "a.eml"), "in");
        write(root.path(), &("d/".repeat(DEPTH_MAX + 1) + "a.eml"), "out");
        let items: Vec<_> = Tree::open(root.path(), Options::default())
            .unwrap()
            .collect();
        assert_eq!(items.len(), 2);
        assert_eq!(items[0].as_ref().unwrap().raw, b"in");
        assert!(matches!(items[1], Err(SourceError::Io { op: "enter", .. })));
    }
}
