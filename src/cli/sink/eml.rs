//! Writing one file for each message: `OUT/<levels of the mailbox>/<uid>.eml`.
//!
//! A level becomes a directory. Letters and digits of ASCII and `-`, `_`, `@`, `+`, `=` and `,` stay
//! as they are, each other byte is `%` and two hex digits, also `.`: so no level is `..`, hidden, or
//! `1.eml` like a message. A level of no bytes is `%` alone. A name over 255 bytes keeps its start and
//! gets a digest. On a file system without upper and lower case, mailboxes may share a directory;
//! messages that then have the same name are errors, not replaced.

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::directory::{Directory, bounded};
use super::{Fidelity, Outgoing, SinkError, Written};
use crate::source::looks_like_other;

/// A folder of messages that is being written.
pub(crate) struct EmlSink {
    root: Directory,
    /// The mailbox written to last, which is mostly that of the next message.
    last: Option<(Vec<String>, Directory)>,
}

impl EmlSink {
    /// Creates the folder, or takes it when it is empty.
    ///
    /// # Errors
    ///
    /// `NotEmpty`, `Io`.
    pub(crate) fn create(out: &Path) -> Result<Self, SinkError> {
        Ok(Self {
            root: Directory::create(out)?,
            last: None,
        })
    }

    /// Writes a message.
    ///
    /// # Errors
    ///
    /// `Io`, also when the mailbox has a message of that UID. Other messages may still be written.
    pub(crate) fn put(&mut self, message: &Outgoing<'_>) -> Result<Written, SinkError> {
        let directory = self.directory(message.folder)?;
        let name = format!("{}.eml", message.uid);
        let (mut file, path) = directory.create_file(&name)?;
        if let Err(error) = file.write_all(message.raw) {
            directory.remove_part(&name);
            return Err(SinkError::io("write", &path)(error));
        }
        set_time(&file, message.received);
        directory.sync_file(&file, &path)?;
        let is_plain = !looks_like_other(message.raw);
        let fidelity = if is_plain {
            Fidelity::Exact
        } else {
            Fidelity::LooksLikeOther
        };
        Ok(Written {
            path,
            fidelity,
            lost_flags: Vec::new(),
        })
    }

    /// Makes all that was written durable.
    ///
    /// # Errors
    ///
    /// `Io`: then it must not be relied on.
    pub(crate) fn finish(self) -> Result<(), SinkError> {
        self.root.sync_all()
    }

    /// The directory of a mailbox.
    fn directory(&mut self, folder: &[String]) -> Result<&Directory, SinkError> {
        let last = self.last.take().filter(|(levels, _)| levels == folder);
        if folder.is_empty() {
            return Ok(&self.root);
        }
        let entry = match last {
            Some(entry) => entry,
            None => (folder.to_vec(), enter_levels(&self.root, folder)?),
        };
        Ok(&self.last.insert(entry).1)
    }
}

/// Opens the directory of a mailbox that is not the top.
pub(super) fn enter_levels(root: &Directory, folder: &[String]) -> Result<Directory, SinkError> {
    let (first, rest) = folder
        .split_first()
        .map_or(("", folder), |(first, rest)| (first, rest));
    rest.iter()
        .try_fold(root.enter(&level_name(first))?, |directory, level| {
            directory.enter(&level_name(level))
        })
}

/// The name of a level's directory.
pub(super) fn level_name(level: &str) -> String {
    use std::fmt::Write as _;

    if level.is_empty() {
        return "%".to_owned();
    }
    let mut name = String::with_capacity(level.len());
    for byte in level.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_@+=,".contains(&byte) {
            name.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(name, "%{byte:02X}");
        }
    }
    bounded(name, &[level.to_owned()])
}

/// Gives a file the time its message was received. A help for people who sort by it: what the file
/// system cannot keep is left out.
pub(super) fn set_time(file: &std::fs::File, received: i64) {
    let span = Duration::from_secs(received.unsigned_abs());
    let time: Option<SystemTime> = if received < 0 {
        UNIX_EPOCH.checked_sub(span)
    } else {
        UNIX_EPOCH.checked_add(span)
    };
    if let Some(time) = time {
        let _ = file.set_modified(time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_levels() {
        for (level, expected) in [
            ("INBOX", "INBOX"),
            ("..", "%2E%2E"),
            (".hidden", "%2Ehidden"),
            ("/etc/passwd", "%2Fetc%2Fpasswd"),
            ("a\0b", "a%00b"),
            ("1.eml", "1%2Eeml"),
            ("100%", "100%25"),
            ("caf\u{e9} \\", "caf%C3%A9%20%5C"),
            ("", "%"),
            ("~x", "%7Ex"),
        ] {
            assert_eq!(level_name(level), expected);
        }
        assert_eq!(level_name(&"a".repeat(255)).len(), 255);
        assert!(level_name(&"a".repeat(256)).len() <= 255);
        assert_ne!(
            level_name(&"\u{e9}".repeat(200)),
            level_name(&"\u{e9}".repeat(201))
        );
    }

    #[test]
    fn names_never_lead_out() {
        let root = tempfile::tempdir().unwrap();
        let out = root.path().join("out");
        let mut sink = EmlSink::create(&out).unwrap();
        for level in [
            "..", "../..", "/tmp", ".", "", "a\0b", "a/../..", "1.eml", "\u{e9}\n",
        ] {
            let folder = vec![level.to_owned(), "..".to_owned(), level.repeat(300)];
            let message = Outgoing {
                raw: b"x",
                received: 0,
                flags: &[],
                folder: &folder,
                uid: 1,
            };
            let written = sink.put(&message).unwrap();
            assert_eq!(
                written
                    .path
                    .strip_prefix(&out)
                    .unwrap()
                    .components()
                    .count(),
                4
            );
            assert!(
                written
                    .path
                    .canonicalize()
                    .unwrap()
                    .starts_with(out.canonicalize().unwrap())
            );
        }
        sink.finish().unwrap();
        let names: Vec<_> = std::fs::read_dir(root.path()).unwrap().collect();
        assert_eq!(names.len(), 1);
    }

    #[test]
    fn a_uid_is_written_once_in_a_mailbox() {
        let root = tempfile::tempdir().unwrap();
        let mut sink = EmlSink::create(root.path()).unwrap();
        let folder = ["A".to_owned()];
        let top = Outgoing {
            raw: b"x",
            received: 1_072_915_200,
            flags: &[],
            folder: &[],
            uid: 1,
        };
        let written = sink.put(&top).unwrap();
        assert_eq!(written.path, root.path().join("1.eml"));
        let modified = std::fs::metadata(&written.path)
            .unwrap()
            .modified()
            .unwrap();
        assert_eq!(modified, UNIX_EPOCH + Duration::from_secs(1_072_915_200));
        sink.put(&Outgoing {
            folder: &folder,
            ..top
        })
        .unwrap();
        sink.put(&Outgoing {
            folder: &folder,
            uid: 2,
            ..top
        })
        .unwrap();
        assert!(matches!(
            sink.put(&top),
            Err(SinkError::Io { op: "create", .. })
        ));
        assert!(
            sink.put(&Outgoing {
                folder: &folder,
                ..top
            })
            .is_err()
        );
        sink.finish().unwrap();
    }

    #[test]
    fn a_message_that_looks_like_another_file_is_reported() {
        let root = tempfile::tempdir().unwrap();
        let mut sink = EmlSink::create(root.path()).unwrap();
        let starts: [&[u8]; 3] = [
            b"From a Thu Jan  1 00:00:00 2004\nx",
            b"\x28\xb5\x2f\xfd",
            b"\x1f\x8b\x08",
        ];
        for (uid, raw) in (1..).zip(starts) {
            let message = Outgoing {
                raw,
                received: 0,
                flags: &[],
                folder: &[],
                uid,
            };
            assert_eq!(
                sink.put(&message).unwrap().fidelity,
                Fidelity::LooksLikeOther
            );
        }
    }
}
