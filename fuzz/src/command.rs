// What the command takes from outside besides a store: its arguments, and files of mail. Each function panics where a
// promise is broken:
//
// * no bytes make a parser panic, loop, or allocate more than their length and the message limit allow;
// * what parses is written as text that parses as the same;
// * a message that is imported is bytes of the file: all that an unquoted mbox holds between two separators.
//
// This file is used where `crate` is the command: in the fuzzer's own library, and in the tests of the command.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser as _;
use mailkeep::mail::{AccountName, MailboxName};
use mailkeep::{Digest, InternalDate, Keyword, Receipt, Uid, UidSet};

use crate::args::Args;
use crate::source::{self, Format, Found, Options, Quoting, SourceError};
use crate::utf7;

/// A target and its name.
type Target = (&'static str, fn(&[u8]));

/// All targets of this file.
pub const COMMAND: [Target; 2] = [("args", args), ("import", import)];

/// Words of a command line, one a line; then each word as everything that a word may be.
pub fn args(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let words: Vec<&str> = text.split('\n').collect();
    if let Err(error) = Args::try_parse_from(std::iter::once("mailkeep").chain(words.clone())) {
        let _ = error.to_string();
    }
    words.into_iter().for_each(word);
}

fn word(text: &str) {
    for largest in [None, Uid::new(7), Uid::new(u32::MAX)] {
        if let Ok(set) = UidSet::parse(text, largest) {
            let again = UidSet::parse(&set.to_string(), None);
            assert!(
                set.is_empty() || again.as_ref() == Ok(&set),
                "{set:?} {again:?}"
            );
            assert!(set.ranges().len() <= text.len());
            assert!(set.ranges().is_sorted_by(|one, two| one.1 < two.0));
        }
    }
    if let Ok(name) = MailboxName::new(text) {
        assert_eq!(MailboxName::new(name.as_str()).as_ref(), Ok(&name));
        assert_eq!(MailboxName::from_levels(name.levels()).as_ref(), Ok(&name));
    }
    if let Ok(name) = AccountName::new(text) {
        assert_eq!(AccountName::new(name.as_str()).as_ref(), Ok(&name));
    }
    if let Ok(keyword) = Keyword::new(text) {
        assert_eq!(Keyword::new(keyword.as_str()).as_ref(), Ok(&keyword));
    }
    for date in [InternalDate::rfc5322(text), InternalDate::from_line(text)]
        .into_iter()
        .flatten()
    {
        assert_eq!(
            InternalDate::new(date.seconds(), date.zone_minutes()),
            Some(date)
        );
        let _ = date.to_string();
    }
    if let Ok(digest) = text.parse::<Digest>() {
        assert_eq!(digest.to_string().parse(), Ok(digest));
    }
    if let Ok(receipt) = text.parse::<Receipt>() {
        assert_eq!(receipt.to_string().parse(), Ok(receipt));
    }
    assert_eq!(
        utf7::decode(&utf7::encode(text, &['.', '/'])).as_deref(),
        Some(text)
    );
    let _ = utf7::decode(text);
}

/// Longest message that is taken in.
const MESSAGE_MAX: u64 = 4096;

/// A file, or the files of a Maildir. The first byte says what.
pub fn import(data: &[u8]) {
    let Some((choice, data)) = data.split_first() else {
        return;
    };
    let quoting = [Quoting::Rd, Quoting::O, Quoting::None][usize::from(choice >> 1 & 3) % 3];
    let format = [Format::Auto, Format::Mbox, Format::Eml][usize::from(choice >> 3 & 3) % 3];
    let options = Options {
        message_max: MESSAGE_MAX,
        format,
        quoting,
    };
    let root = Root::new();
    if choice & 1 == 0 {
        let names = ["a", "a.eml", "a.zst", "a.eml.gz"];
        let path = root.0.join(names[usize::from(choice >> 5) % 4]);
        fs::write(&path, data).expect("the file is written");
        file(&path, data, options);
        // As a folder's walk meets it.
        drop(read(&root.0, options));
    } else {
        maildir(&root.0, data, options);
    }
}

/// A folder of this process, empty again when it is dropped.
struct Root(PathBuf);

impl Root {
    fn new() -> Self {
        let base = Path::new("/dev/shm");
        let base = if base.is_dir() {
            base.to_owned()
        } else {
            std::env::temp_dir()
        };
        let path = base.join(format!("mailkeep-fuzz-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).expect("the folder is made");
        Self(path)
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// All that can be read.
fn read(path: &Path, options: Options) -> Vec<Found> {
    let Ok(source) = source::open(path, options) else {
        return Vec::new();
    };
    let mut all = Vec::new();
    for item in source {
        match item {
            Ok(found) => {
                assert!(found.raw.len() as u64 <= MESSAGE_MAX);
                all.push(found);
            }
            Err(SourceError::TooLarge { found, .. }) => assert!(found > MESSAGE_MAX),
            Err(error) => drop(error.to_string()),
        }
    }
    all
}

fn file(path: &Path, data: &[u8], options: Options) {
    let found = read(path, options);
    let packed = [&b"\x28\xb5\x2f\xfd"[..], b"\x1f\x8b\x08"];
    let is_packed = packed.iter().any(|magic| data.starts_with(magic))
        || data.get(1..4) == Some(&b"\x2a\x4d\x18"[..]);
    if is_packed {
        return;
    }
    if options.format == Format::Eml && data.len() as u64 <= MESSAGE_MAX {
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].raw, data);
    }
    let mut end = 0;
    for message in &found {
        let offset = usize::try_from(message.origin.offset).expect("an offset in the file");
        assert!(offset >= end, "messages overlap");
        end = offset;
        if options.quoting != Quoting::None {
            continue;
        }
        let rest = &data[offset..];
        let from = rest
            .starts_with(b"From ")
            .then(|| rest.iter().position(|byte| *byte == b'\n'));
        let body = match from {
            Some(line) if found.len() > 1 || rest.len() > message.raw.len() => {
                &rest[line.map_or(rest.len(), |line| line + 1)..]
            }
            _ => rest,
        };
        assert!(
            body.starts_with(&message.raw),
            "bytes that are not the file's"
        );
        end = offset + rest.len() - body.len() + message.raw.len();
    }
}

/// Names and contents: a byte that says where, the name up to a NUL, a byte of length and so much content.
fn maildir(root: &Path, mut data: &[u8], options: Options) {
    for part in ["cur", "new", "tmp"] {
        fs::create_dir(root.join(part)).expect("the folder is made");
    }
    for _ in 0..8 {
        let Some((place, rest)) = data.split_first() else {
            break;
        };
        let end = rest
            .iter()
            .position(|byte| *byte == 0)
            .unwrap_or(rest.len());
        let name: String = String::from_utf8_lossy(&rest[..end]).replace('/', "_");
        let rest = rest.get(end + 1..).unwrap_or_default();
        let (len, rest) = rest.split_first().unwrap_or((&0, &[]));
        let (content, rest) = rest.split_at(rest.len().min(usize::from(*len)));
        data = rest;
        // What the system does not take as a name is no file.
        let _ = match place % 6 {
            0 | 1 => fs::write(root.join("cur").join(&name), content),
            2 => fs::write(root.join("new").join(&name), content),
            3 => fs::write(root.join(source::KEYWORDS_FILE), content),
            4 => fs::write(root.join(&name), content),
            _ => fs::create_dir_all(root.join(&name).join("cur"))
                .and_then(|()| fs::write(root.join(&name).join("cur/1"), content)),
        };
    }
    for found in read(root, options) {
        for flag in &found.flags {
            if !flag.starts_with('\\') {
                let _ = Keyword::new(flag);
            }
        }
        let _ = MailboxName::from_levels(&found.folder);
    }
}
