//! Maildir: one message a file, all else about it in the file's name.
//!
//! A name is `unique[,S=bytes][,W=bytes][:2,FLAGS]`. For `:` file systems and programs that cannot
//! have it use `;` or `!`. The flags are letters, in any order:
//! `D` `\Draft`, `F` `\Flagged`, `P` `$Forwarded`, `R` `\Answered`, `S` `\Seen`, `T` `\Deleted`;
//! Dovecot adds `a` to `z` for the keywords that the folder's file `dovecot-keywords` numbers from 0.
//! Other letters say nothing.
//!
//! A message was received at the seconds its name starts with, when they are a date from 1973 to
//! 2099, else when its file was last modified. Messages come in that order, then by name: a folder
//! keeps no other.
//!
//! A file may be compressed, as Dovecot's `zlib` does it. It is taken as it is when `S=` says that it
//! has all the bytes of the message.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::compress::{self, detect};
use super::{Found, Options, Origin, SourceError, check_len, read_message};
use crate::utf7;

/// File with a folder's keywords, a line `number name` for each.
pub(crate) const KEYWORDS_FILE: &str = "dovecot-keywords";

/// Letters and their flags. `P` (passed) stands for resent, forwarded or bounced.
pub(crate) const FLAGS: [(u8, &str); 6] = [
    (b'D', "\\Draft"),
    (b'F', "\\Flagged"),
    (b'P', "$Forwarded"),
    (b'R', "\\Answered"),
    (b'S', "\\Seen"),
    (b'T', "\\Deleted"),
];

/// Seconds that a name may start with to count as a date: 1973-03-03 to 2099-12-31.
const PLAUSIBLE: std::ops::Range<i64> = 100_000_000..4_102_444_800;

/// The longest `dovecot-keywords` file that is read, in bytes: 26 names need far less.
const KEYWORDS_LEN_MAX: u64 = 64 << 10;

/// Whether a directory is a Maildir or one of its folders.
pub(super) fn is_maildir(path: &Path) -> bool {
    let has = |name: &str| path.join(name).is_dir();
    has("cur") || (has("new") && has("tmp"))
}

/// The levels that a folder's directory adds to those of the directory it lies in: `.A.B` is two
/// (Maildir++), `A` is one (nested folders). A level that is not modified UTF-7 stays as it is.
pub(super) fn levels(directory: &str) -> Vec<String> {
    let decoded = |level: &str| utf7::decode(level).unwrap_or_else(|| level.to_owned());
    match directory.strip_prefix('.') {
        Some(path) => path
            .split('.')
            .filter(|level| !level.is_empty())
            .map(decoded)
            .collect(),
        None => vec![decoded(directory)],
    }
}

/// The messages of one folder, in order.
pub(super) struct Folder {
    messages: std::vec::IntoIter<Message>,
    keywords: Vec<Option<String>>,
    levels: Vec<String>,
    options: Options,
}

/// A message's file; the order is that of the folder.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Message {
    received: i64,
    name: String,
    path: PathBuf,
}

impl Folder {
    /// Lists the messages of a folder.
    ///
    /// # Errors
    ///
    /// `Io` when `cur` or `new` exists and cannot be listed.
    pub(super) fn open(
        path: &Path,
        levels: Vec<String>,
        options: Options,
    ) -> Result<Self, SourceError> {
        let mut messages = Vec::new();
        for part in ["cur", "new"] {
            let part = path.join(part);
            if part.is_dir() {
                list(&part, &mut messages).map_err(SourceError::io("list", &part, 0))?;
            }
        }
        messages.sort_unstable();
        let messages = messages.into_iter();
        Ok(Self {
            messages,
            keywords: keywords(path),
            levels,
            options,
        })
    }

    /// Reads one message.
    fn message(&mut self, message: Message) -> Result<Found, SourceError> {
        let raw = read(&message, self.options)?;
        Ok(Found {
            raw,
            received: Some((message.received, 0)),
            flags: flags(&message.name, &self.keywords),
            folder: self.levels.clone(),
            origin: Origin {
                path: message.path,
                offset: 0,
            },
        })
    }
}

impl Iterator for Folder {
    type Item = Result<Found, SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        let message = self.messages.next()?;
        Some(self.message(message))
    }
}

/// Adds the files of `cur` or `new`. Names that start with a dot are not messages.
fn list(part: &Path, messages: &mut Vec<Message>) -> io::Result<()> {
    for entry in fs::read_dir(part)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') {
            continue;
        }
        let path = entry.path();
        // A message may have gone since the listing began; a link to nothing is none either.
        let Ok(metadata) = fs::metadata(&path) else {
            continue;
        };
        if metadata.is_file() {
            let received = seconds(&name).unwrap_or_else(|| modified(&metadata));
            messages.push(Message {
                received,
                name,
                path,
            });
        }
    }
    Ok(())
}

/// The file's bytes, decompressed where they are compressed.
fn read(message: &Message, options: Options) -> Result<Vec<u8>, SourceError> {
    let path = &message.path;
    let file = File::open(path).map_err(SourceError::io("open", path, 0))?;
    let file_len = file
        .metadata()
        .map_err(SourceError::io("read", path, 0))?
        .len();
    check_len(file_len, path, 0, options)?;
    let raw = read_message(file, path, options)?;
    if stated_len(&message.name) == Some(raw.len() as u64) {
        return Ok(raw);
    }
    let Some(compression) = detect(&raw) else {
        return Ok(raw);
    };
    let compressed = Box::new(io::Cursor::new(raw));
    let plain = compress::decode(compressed, compression).map_err(SourceError::io(
        "decompress",
        path,
        0,
    ))?;
    read_message(plain, path, options)
}

/// The bytes of the message, uncompressed, as the name says.
fn stated_len(name: &str) -> Option<u64> {
    let (unique, _) = split(name);
    unique
        .split(',')
        .find_map(|field| field.strip_prefix("S="))?
        .parse()
        .ok()
}

/// The name before the flags, and the flags.
fn split(name: &str) -> (&str, &str) {
    [":2,", ";2,", "!2,"]
        .iter()
        .find_map(|mark| name.split_once(mark))
        .unwrap_or((name, ""))
}

/// The flags and keywords of a message, each once, in the order of the letters.
fn flags(name: &str, keywords: &[Option<String>]) -> Vec<String> {
    let (_, letters) = split(name);
    let mut flags: Vec<String> = Vec::new();
    // A comma ends the letters: programs put fields of their own behind it.
    for letter in letters.bytes().take_while(|letter| *letter != b',') {
        let system = FLAGS
            .iter()
            .find(|(known, _)| *known == letter)
            .map(|(_, flag)| *flag);
        let keyword = || {
            let number = letter.checked_sub(b'a')?;
            keywords.get(usize::from(number))?.as_deref()
        };
        if let Some(flag) = system.or_else(keyword)
            && !flags.iter().any(|known| known == flag)
        {
            flags.push(flag.to_owned());
        }
    }
    flags
}

/// The keywords of a folder by number. None when there is no file, or none that can be read: the
/// messages are worth more than their letters.
fn keywords(folder: &Path) -> Vec<Option<String>> {
    use io::Read as _;

    let mut text = Vec::new();
    let read = File::open(folder.join(KEYWORDS_FILE))
        .and_then(|file| file.take(KEYWORDS_LEN_MAX).read_to_end(&mut text));
    let mut keywords = vec![None; 26];
    if read.is_ok() {
        for line in String::from_utf8_lossy(&text).lines() {
            let Some((number, name)) = line.split_once(' ') else {
                continue;
            };
            let slot = number
                .parse()
                .ok()
                .and_then(|number: usize| keywords.get_mut(number));
            if let Some(slot) = slot.filter(|_| !name.is_empty()) {
                *slot = Some(name.to_owned());
            }
        }
    }
    keywords
}

/// The date that a name starts with.
fn seconds(name: &str) -> Option<i64> {
    let digits = name
        .find(|c: char| !c.is_ascii_digit())
        .map_or(name, |end| &name[..end]);
    digits
        .parse()
        .ok()
        .filter(|seconds| PLAUSIBLE.contains(seconds))
}

/// When a file was last modified, in seconds since the epoch.
fn modified(metadata: &fs::Metadata) -> i64 {
    let whole = |elapsed: std::time::Duration| i64::try_from(elapsed.as_secs()).unwrap_or(0);
    metadata
        .modified()
        .map_or(0, |time| match time.duration_since(UNIX_EPOCH) {
            Ok(after) => whole(after),
            Err(before) => -whole(before.duration()),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_in_names() {
        let keywords = [Some("work".to_owned()), None];
        for (name, expected) in [
            ("1.M1P1.host", &[][..]),
            ("1.M1P1.host:2,", &[]),
            ("1.M1P1.host,S=3,W=4:2,S", &["\\Seen"]),
            ("1.M1P1.host;2,TDR", &["\\Deleted", "\\Draft", "\\Answered"]),
            ("1.M1P1.host!2,FP", &["\\Flagged", "$Forwarded"]),
            (
                "1.M1P1.host:2,RDF,xS",
                &["\\Answered", "\\Draft", "\\Flagged"],
            ),
            ("1.M1P1.host:2,SSabz?9", &["\\Seen", "work"]),
            ("1.M1P1.host:1,S", &[]),
            ("2,S", &[]),
        ] {
            assert_eq!(flags(name, &keywords), expected, "{name}");
        }
    }

    #[test]
    fn dates_in_names() {
        assert_eq!(seconds("1035478339.27041_118.foo.org"), Some(1_035_478_339));
        assert_eq!(seconds("1035478339"), Some(1_035_478_339));
        for name in [
            "01:2,",
            "99999999.a",
            "4102444800.a",
            "99999999999999999999.a",
            "msg1",
            "",
        ] {
            assert_eq!(seconds(name), None, "{name}");
        }
        assert_eq!(seconds("100000000.a"), Some(100_000_000));
        assert_eq!(seconds("4102444799.a"), Some(4_102_444_799));
    }

    #[test]
    fn stated_lengths() {
        assert_eq!(stated_len("1.a,S=12,W=13:2,S"), Some(12));
        assert_eq!(stated_len("1.a,W=13,S=12"), Some(12));
        for name in [
            "1.a",
            "1.a:2,S=12",
            "1.a,S=",
            "1.a,S=x",
            "1.a,S=99999999999999999999",
        ] {
            assert_eq!(stated_len(name), None, "{name}");
        }
    }

    #[test]
    fn folder_names() {
        assert_eq!(levels(".A.B"), ["A", "B"]);
        assert_eq!(levels(".My Folder"), ["My Folder"]);
        assert_eq!(levels(".&AOk-t&AOk-.R&D"), ["\u{e9}t\u{e9}", "R&D"]);
        assert_eq!(levels(".a&AC4-b"), ["a.b"]);
        assert_eq!(levels("a.b"), ["a.b"]);
        assert_eq!(levels("..A..B."), ["A", "B"]);
    }

    #[test]
    fn a_folder_is_read_in_order() {
        let root = tempfile::tempdir().unwrap();
        for part in ["cur", "new", "tmp"] {
            fs::create_dir(root.path().join(part)).unwrap();
        }
        let write = |name: &str, bytes: &[u8]| fs::write(root.path().join(name), bytes).unwrap();
        write("dovecot-keywords", b"0 work\n2 $Junk\nx y\n99 far\n1 \n");
        write("cur/1300000000.b:2,Sac", b"second");
        write("cur/1300000000.a:2,b", b"first");
        write("new/1200000000.z", b"zeroth");
        write("cur/.hidden", b"no");
        write("tmp/1200000000.y", b"no");
        let compressed = zstd::encode_all(&b"third"[..], 3).unwrap();
        write("cur/1400000000.c,S=5:2,", &compressed);
        let whole = format!("cur/1400000000.d,S={}:2,", compressed.len());
        write(&whole, &compressed);
        write("cur/1500000000.e:2,", &[b'x'; 101]);
        fs::create_dir(root.path().join("cur/1600000000.dir")).unwrap();

        let options = Options {
            message_max: 100,
            ..Options::default()
        };
        let folder = Folder::open(root.path(), vec!["A".to_owned()], options).unwrap();
        let mut items: Vec<_> = folder.collect();
        let last = items.pop().unwrap();
        assert!(matches!(
            last,
            Err(SourceError::TooLarge {
                found: 101,
                offset: 0,
                ..
            })
        ));
        let found: Vec<Found> = items.into_iter().collect::<Result<_, _>>().unwrap();
        let raws: Vec<&[u8]> = found.iter().map(|found| &found.raw[..]).collect();
        assert_eq!(
            raws,
            [&b"zeroth"[..], b"first", b"second", b"third", &compressed]
        );
        assert_eq!(found[0].flags, [""; 0]);
        assert_eq!(found[1].flags, [""; 0]);
        assert_eq!(found[2].flags, ["\\Seen", "work", "$Junk"]);
        assert_eq!(found[2].received, Some((1_300_000_000, 0)));
        assert!(found.iter().all(|found| found.folder == ["A"]));
    }

    #[test]
    fn a_name_without_a_date_takes_the_files_time() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("cur")).unwrap();
        for (name, seconds) in [("01:2,", 86_400_i64), ("02:2,", -86_400)] {
            let file = File::create(root.path().join("cur").join(name)).unwrap();
            let day = std::time::Duration::from_secs(86_400);
            let time = if seconds < 0 {
                UNIX_EPOCH - day
            } else {
                UNIX_EPOCH + day
            };
            file.set_modified(time).unwrap();
        }
        let folder = Folder::open(root.path(), Vec::new(), Options::default()).unwrap();
        let dates: Vec<_> = folder.map(|found| found.unwrap().received).collect();
        assert_eq!(dates, [Some((-86_400, 0)), Some((86_400, 0))]);
    }
}
