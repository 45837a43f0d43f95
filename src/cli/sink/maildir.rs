//! Writing a Maildir, with Maildir++ folders.
//!
//! A message is written in `tmp` and renamed into `cur`, so that a reader at work never sees a part
//! of one. Its name is `<seconds>.M<number>P<process>.<host>,S=<bytes>,W=<bytes with CRLF>:2,FLAGS`;
//! the number counts messages, so that names sort in the order of writing within a second. Names give
//! no years before 1970: those messages start with 0 and have their date as the file's time only.
//!
//! A mailbox `A`, `B` is the folder `.A.B`, each level in modified UTF-7, where `.` and `/` inside a
//! level are in base64 too (`&AC4-`), which our reader undoes. A name over 255 bytes keeps its start
//! and gets a digest.
//!
//! Keywords are letters `a` to `z`, numbered in the folder's `dovecot-keywords`. A 27th keyword and
//! system flags that Maildir has no letter for are reported as lost.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use super::directory::{Directory, bounded};
use super::eml::set_time;
use super::{Fidelity, Outgoing, SinkError, Written};
use crate::source::{KEYWORDS_FILE, MAILDIR_FLAGS};
use crate::utf7;

/// The letters for keywords end at `z`.
const KEYWORDS_MAX: usize = 26;

/// A Maildir that is being written.
pub(crate) struct MaildirSink {
    root: Directory,
    host: String,
    folders: HashMap<String, Folder>,
    written_count: u64,
}

/// A folder that is being written; the top is the one without a name.
struct Folder {
    directory: Directory,
    tmp: Directory,
    cur: Directory,
    keywords: Vec<String>,
}

impl MaildirSink {
    /// Creates the Maildir, or takes the directory when it is empty. `host` is for the names of
    /// files: what cannot stand there is left out.
    ///
    /// # Errors
    ///
    /// `NotEmpty`, `Io`.
    pub(crate) fn create(out: &Path, host: &str) -> Result<Self, SinkError> {
        let is_plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
        let host: String = host.chars().filter(is_plain).take(64).collect();
        let host = if host.is_empty() {
            "localhost".to_owned()
        } else {
            host
        };
        let root = Directory::create(out)?;
        let mut sink = Self {
            root,
            host,
            folders: HashMap::new(),
            written_count: 0,
        };
        // The top exists even when no message is in it: without it the folders are no Maildir.
        sink.folder(String::new())?;
        Ok(sink)
    }

    /// Creates the folder of a mailbox, which may stay without messages.
    ///
    /// # Errors
    ///
    /// `Io`.
    pub(crate) fn begin(&mut self, folder: &[String]) -> Result<(), SinkError> {
        self.folder(folder_name(folder)).map(|_| ())
    }

    /// Writes a message.
    ///
    /// # Errors
    ///
    /// `Io`. Other messages may still be written.
    pub(crate) fn put(&mut self, message: &Outgoing<'_>) -> Result<Written, SinkError> {
        self.written_count += 1;
        let mut name = format!(
            "{}.M{:09}P{}.{},S={},W={}:2,",
            message.received.max(0),
            self.written_count,
            std::process::id(),
            self.host,
            message.raw.len(),
            wire_len(message.raw),
        );
        let folder = self.folder(folder_name(message.folder))?;
        let lost_flags = push_letters(&mut name, message.flags, &mut folder.keywords);
        let (mut file, tmp_path) = folder.tmp.create_file(&name)?;
        if let Err(error) = file.write_all(message.raw) {
            folder.tmp.remove_part(&name);
            return Err(SinkError::io("write", &tmp_path)(error));
        }
        set_time(&file, message.received);
        folder.tmp.sync_file(&file, &tmp_path)?;
        let path = folder.tmp.rename(&name, &folder.cur)?;
        folder.cur.sync_file(&file, &path)?;
        // `S=` tells a reader that the file is the message even if it starts as compressed data.
        Ok(Written {
            path,
            fidelity: Fidelity::Exact,
            lost_flags,
        })
    }

    /// Writes the lists of keywords and makes all that was written durable.
    ///
    /// # Errors
    ///
    /// `Io`: then it must not be relied on.
    pub(crate) fn finish(self) -> Result<(), SinkError> {
        for folder in self
            .folders
            .values()
            .filter(|folder| !folder.keywords.is_empty())
        {
            let (mut file, path) = folder.directory.create_file(KEYWORDS_FILE)?;
            for (number, keyword) in folder.keywords.iter().enumerate() {
                writeln!(file, "{number} {keyword}").map_err(SinkError::io("write", &path))?;
            }
            folder.directory.sync_file(&file, &path)?;
        }
        self.root.sync_all()
    }

    /// The folder of a name, created when it is new.
    fn folder(&mut self, name: String) -> Result<&mut Folder, SinkError> {
        use std::collections::hash_map::Entry;

        match self.folders.entry(name) {
            Entry::Occupied(found) => Ok(found.into_mut()),
            Entry::Vacant(slot) => {
                let folder = Folder::create(&self.root, slot.key())?;
                Ok(slot.insert(folder))
            }
        }
    }
}

impl Folder {
    /// Creates a folder and its parts; the name of the top is empty.
    fn create(root: &Directory, name: &str) -> Result<Self, SinkError> {
        let directory = if name.is_empty() {
            root.again()?
        } else {
            root.enter(name)?
        };
        directory.enter("new")?;
        let (tmp, cur) = (directory.enter("tmp")?, directory.enter("cur")?);
        if !name.is_empty() {
            // The mark of a Maildir++ folder.
            directory.create_file("maildirfolder")?;
        }
        Ok(Self {
            directory,
            tmp,
            cur,
            keywords: Vec::new(),
        })
    }
}

/// The directory of a mailbox; empty for the top.
fn folder_name(levels: &[String]) -> String {
    let name = levels.iter().fold(String::new(), |mut name, level| {
        name.push('.');
        name.push_str(&utf7::encode(level, &['.', '/']));
        // `&-` is a `&`, so an empty level needs a spelling of its own: base64 of nothing does not
        // exist. A level of NUL stands in for it, which no store has.
        if level.is_empty() {
            name.push_str("&AAA-");
        }
        name
    });
    bounded(name, levels)
}

/// Adds the letters of flags, in the order of ASCII, and gives back the flags that have none.
fn push_letters(name: &mut String, flags: &[String], keywords: &mut Vec<String>) -> Vec<String> {
    let (mut letters, mut lost) = (Vec::new(), Vec::new());
    for flag in flags {
        match letter(flag, keywords) {
            Some(letter) => letters.push(letter),
            None => lost.push(flag.clone()),
        }
    }
    letters.sort_unstable();
    letters.dedup();
    for letter in letters {
        // Writing to a String cannot fail.
        let _ = write!(name, "{}", char::from(letter));
    }
    lost
}

/// The letter of a flag; a keyword that is new is numbered.
fn letter(flag: &str, keywords: &mut Vec<String>) -> Option<u8> {
    let system = MAILDIR_FLAGS
        .iter()
        .find(|(_, known)| known.eq_ignore_ascii_case(flag));
    if let Some((letter, _)) = system {
        return Some(*letter);
    }
    // Names that would break the list of keywords, or that IMAP does not have.
    if flag.is_empty() || flag.starts_with('\\') || !flag.bytes().all(|b| b.is_ascii_graphic()) {
        return None;
    }
    let known = keywords
        .iter()
        .position(|known| known.eq_ignore_ascii_case(flag));
    let number = known.or_else(|| {
        (keywords.len() < KEYWORDS_MAX).then(|| {
            keywords.push(flag.to_owned());
            keywords.len() - 1
        })
    })?;
    u8::try_from(number).ok().map(|number| b'a' + number)
}

/// Bytes of the message with each line end as CRLF.
fn wire_len(raw: &[u8]) -> usize {
    let mut before = 0;
    let bare_count = raw
        .iter()
        .filter(|byte| std::mem::replace(&mut before, **byte) != b'\r' && **byte == b'\n')
        .count();
    raw.len() + bare_count
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{self, Found, Options};

    fn strings(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn wire_lengths() {
        for (raw, expected) in [
            ("", 0),
            ("\n", 2),
            ("a\r\nb\n", 6),
            ("\r", 1),
            ("\n\r\n\r\r\n", 7),
        ] {
            assert_eq!(wire_len(raw.as_bytes()), expected, "{raw:?}");
        }
    }

    #[test]
    fn names_of_folders() {
        for (levels, expected) in [
            (&[][..], ""),
            (&["A", "B"], ".A.B"),
            (&[".."], ".&AC4ALg-"),
            (&["/etc", "a\0b"], ".&AC8-etc.a&AAA-b"),
            (&["R&D"], ".R&-D"),
            (&["", "x"], ".&AAA-.x"),
        ] {
            assert_eq!(folder_name(&strings(levels)), expected);
        }
        assert!(folder_name(&strings(&["long"; 100])).len() <= 255);
    }

    #[test]
    fn flags_dates_and_folders_come_back() {
        let root = tempfile::tempdir().unwrap();
        let out = root.path().join("out");
        let mut sink = MaildirSink::create(&out, "mx/1:x").unwrap();
        let flags = strings(&[
            "$junk",
            "\\Seen",
            "\\Recent",
            "work",
            "\\Answered",
            "\\Seen",
        ]);
        let folder = strings(&["\u{e9}t\u{e9}", "a.b"]);
        let first = Outgoing {
            raw: b"one\n",
            received: 1_300_000_000,
            flags: &flags,
            folder: &[],
            uid: 7,
        };
        let written = sink.put(&first).unwrap();
        let name = written.path.file_name().unwrap().to_str().unwrap();
        assert!(name.starts_with("1300000000.M000000001P"), "{name}");
        assert!(name.ends_with(".mx1x,S=4,W=5:2,RSab"), "{name}");
        assert_eq!(written.lost_flags, ["\\Recent"]);
        sink.put(&Outgoing {
            raw: b"two",
            flags: &[],
            folder: &folder,
            ..first
        })
        .unwrap();
        sink.put(&Outgoing {
            raw: b"\x1f\x8b\x08",
            received: -5,
            ..first
        })
        .unwrap();
        sink.finish().unwrap();

        let found: Vec<Found> = source::open(&out, Options::default())
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        assert_eq!(found.len(), 3);
        assert_eq!(
            (&found[0].raw[..], found[0].received),
            (&b"\x1f\x8b\x08"[..], Some((-5, 0)))
        );
        assert_eq!(found[1].raw, b"one\n");
        assert_eq!(found[1].received, Some((1_300_000_000, 0)));
        assert_eq!(found[1].flags, ["\\Answered", "\\Seen", "$junk", "work"]);
        assert_eq!(found[2].raw, b"two");
        assert_eq!(found[2].folder, folder);
        assert_eq!(found[2].flags, [""; 0]);
        assert_eq!(std::fs::read_dir(out.join("tmp")).unwrap().count(), 0);
    }

    #[test]
    fn keywords_have_26_letters() {
        let mut keywords = Vec::new();
        for number in 0..26 {
            assert_eq!(
                letter(&format!("k{number}"), &mut keywords),
                Some(b'a' + number)
            );
        }
        assert_eq!(letter("k26", &mut keywords), None);
        assert_eq!(letter("K3", &mut keywords), Some(b'd'));
        for odd in ["", "\\Custom", "two words", "line\nend"] {
            assert_eq!(letter(odd, &mut Vec::new()), None, "{odd:?}");
        }
        assert_eq!(letter("\\seen", &mut keywords), Some(b'S'));
    }
}
