//! Real mail, with counts and digests that other tools gave.
//!
//! The corpora are not part of the crate: `MAILKEEP_CORPORA` names their directory, else
//! `../shared/corpora` beside the crate is taken. Without them these tests say so and pass.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use sha1::{Digest, Sha1};

use super::round_trip::{raws, write_eml, write_maildir, write_mbox};
use crate::source::{self, Format, Found, Options, Quoting, SourceError};

/// The directory of the corpora, or a word that there is none.
fn corpora() -> Option<PathBuf> {
    let root = std::env::var_os("MAILKEEP_CORPORA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpora"),
        PathBuf::from,
    );
    let is_there = root.join("README.md").is_file();
    if !is_there {
        eprintln!(
            "skipped: no corpora at {} (set MAILKEEP_CORPORA)",
            root.display()
        );
    }
    is_there.then_some(root)
}

/// All messages of a path.
fn read(path: &Path) -> Vec<Found> {
    source::open(path, Options::default())
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap()
}

/// The id that git gives a file of these bytes.
fn git_blob(raw: &[u8]) -> String {
    let mut hasher = Sha1::new();
    hasher.update(format!("blob {}\0", raw.len()));
    hasher.update(raw);
    hasher
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Checks each message of an mbox against its manifest; the count of messages.
fn check_manifest(mbox: &Path, manifest: &Path) -> usize {
    let manifest = zstd::Decoder::new(File::open(manifest).unwrap()).unwrap();
    let mut lines = BufReader::new(manifest).lines().skip(1);
    let source = source::open(mbox, Options::default()).unwrap();
    let mut count = 0;
    for found in source {
        let found = found.unwrap();
        count += 1;
        let line = lines
            .next()
            .expect("more messages than the manifest has")
            .unwrap();
        let fields: Vec<&str> = line.split('\t').collect();
        let (blob, len) = (git_blob(&found.raw), found.raw.len().to_string());
        let offset = found.origin.offset.to_string();
        assert_eq!(
            [&count.to_string(), &blob, &len, &offset],
            [fields[0], fields[1], fields[2], fields[4]]
        );
        assert!(found.received.is_some());
    }
    assert!(
        lines.next().is_none(),
        "fewer messages than the manifest has"
    );
    count
}

#[test]
fn linux_man_is_byte_for_byte_as_its_manifest() {
    let Some(root) = corpora() else { return };
    let manifest = root.join("linux-man.manifest.tsv.zst");
    assert_eq!(
        check_manifest(&root.join("linux-man.mboxrd.zst"), &manifest),
        15_000
    );
}

/// The SHA-256 of bytes by the program `sha256sum`, where there is one.
fn sha256(bytes: &[u8]) -> Option<String> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    let output = Command::new("sha256sum").arg(file.path()).output().ok()?;
    String::from_utf8(output.stdout)
        .ok()?
        .split(' ')
        .next()
        .map(str::to_owned)
}

#[test]
fn imagej_devel_is_byte_for_byte_as_its_truths() {
    let Some(root) = corpora() else { return };
    let mbox = root.join("imagej-devel.pipermail.mbox.zst");
    // The truths left `>From ` as pipermail served it.
    let options = Options {
        quoting: Quoting::None,
        ..Options::default()
    };
    let found: Vec<Vec<u8>> = source::open(&mbox, options)
        .unwrap()
        .map(|found| found.unwrap().raw)
        .collect();
    assert_eq!(found.len(), 2_718);
    assert_eq!(found.iter().map(Vec::len).max(), Some(53_803));
    let joined = found.concat();
    assert_eq!(joined.len(), 11_106_371);
    match sha256(&joined) {
        Some(digest) => assert_eq!(
            digest,
            "cbf90ff05d30b3e07031e311f1c8beaf5ae5d6dde5f584d45789e093493430bb"
        ),
        None => eprintln!("skipped: no sha256sum, the messages were counted only"),
    }
    // By default each of the 70 quoted lines loses a byte.
    let unquoted: usize = read(&mbox).iter().map(|found| found.raw.len()).sum();
    assert_eq!(unquoted, joined.len() - 70);
}

/// Counts that are not ours, where `git mailsplit` fails: the first From_ line has no date, so by our
/// rule the file is no mbox but one message, and From_ lines with a date inside do not matter.
const NO_MBOX: [&str; 4] = [
    "mimekit/content-length.mbox.txt",
    "mimekit/issue1189.mbox.txt",
    "mimekit/simple.mbox.txt",
    "mimekit/unmunged.mbox.txt",
];

/// Files where `formail -e -s` counts otherwise than `git mailsplit` and we do.
const NOT_AS_FORMAIL: [&str; 5] = [
    // The blank lines before the first From_ line are a message to formail, git skips them.
    "git/sample.mbox",
    // formail wants a header field after a From_ line; messages here have none, or no header at all.
    "imaptest/search-partial.mbox",
    "imaptest/sort-arrival.mbox",
    "imaptest/sort-subject.mbox",
    // No mbox to us; formail splits it at From_ lines with a date.
    "mimekit/content-length.mbox.txt",
];

#[test]
fn mbox_counts_are_those_of_git_mailsplit_and_formail() {
    let Some(root) = corpora() else { return };
    let table = fs::read_to_string(root.join("torture/MBOX-COUNTS.tsv")).unwrap();
    let mut lines = table
        .lines()
        .map(|line| line.split('\t').map(str::trim).collect::<Vec<_>>());
    let header = lines.next().unwrap();
    let column = |start: &str| {
        header
            .iter()
            .position(|name| name.starts_with(start))
            .unwrap()
    };
    let (git, formail) = (column("git mailsplit"), column("formail -e -s"));
    let mut not_as_formail = Vec::new();
    for fields in lines {
        let file = fields[0];
        let expected = if NO_MBOX.contains(&file) {
            "1"
        } else {
            fields[git]
        };
        let found = read(&root.join("torture/mbox").join(file))
            .len()
            .to_string();
        assert_eq!(found, expected, "{file}");
        if found != fields[formail] {
            not_as_formail.push(file.to_owned());
        }
    }
    assert_eq!(not_as_formail, NOT_AS_FORMAIL);
}

#[test]
fn crlf_stays() {
    let Some(root) = corpora() else { return };
    let found = read(&root.join("torture/mbox/gluon/dovecot-crlf"));
    assert_eq!(found.len(), 100);
    for found in found {
        assert!(found.raw.ends_with(b"\r\n"), "{}", found.raw.escape_ascii());
        assert!(
            found
                .raw
                .split(|byte| *byte == b'\n')
                .rev()
                .skip(1)
                .all(|line| line.ends_with(b"\r"))
        );
    }
}

/// All files below a directory.
fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            files(&entry.path(), found);
        } else {
            found.push(entry.path());
        }
    }
}

#[test]
fn each_odd_message_is_read_and_written_as_it_is() {
    let Some(root) = corpora() else { return };
    let mut paths = Vec::new();
    files(&root.join("torture/eml"), &mut paths);
    let mut messages = Vec::new();
    for path in &paths {
        let whole = fs::read(path).unwrap();
        let found = read(path);
        assert!(!found.is_empty(), "{}", path.display());
        // Either the whole file, or what follows its From_ line.
        let is_whole = found[0].raw == whole;
        assert!(
            is_whole || source::looks_like_other(&whole),
            "{}",
            path.display()
        );
        messages.push(whole);
    }
    assert!(messages.len() > 400);

    let out = tempfile::tempdir().unwrap();
    write_mbox(&out.path().join("mbox"), &messages);
    write_maildir(&out.path().join("maildir"), &messages);
    write_eml(&out.path().join("eml"), &messages);
    assert!(raws(&out.path().join("mbox"), Format::Auto) == messages);
    assert!(raws(&out.path().join("maildir"), Format::Auto) == messages);
    assert!(raws(&out.path().join("eml"), Format::Eml) == messages);
}

#[test]
fn folders_of_odd_messages_are_mail_but_for_three() {
    let Some(root) = corpora() else { return };
    let mut paths = Vec::new();
    files(&root.join("torture/eml"), &mut paths);
    let mut source = source::open(&root.join("torture/eml"), Options::default()).unwrap();
    let (mut origins, mut named) = (Vec::<PathBuf>::new(), Vec::<PathBuf>::new());
    for item in source.by_ref() {
        match item {
            Err(SourceError::PassedOver { path, .. }) => named.push(path),
            item => origins.push(item.unwrap().origin.path),
        }
    }
    origins.dedup();
    assert_eq!(source.passed_over(), 3);
    paths.retain(|path| !origins.contains(path));
    paths.sort_unstable();
    assert_eq!(named, paths);
    let mut left: Vec<_> = paths
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap())
        .collect();
    left.sort_unstable();
    // None of them starts with a header; named on their own they are read.
    assert_eq!(
        left,
        [
            "msg_19.txt",
            "testmsgs__malformedHeader-noheader.msg",
            "yenc__state-changes.ntx"
        ]
    );
}

/// The Maildir trees, unpacked, or a word that it could not be done.
fn maildirs() -> Option<tempfile::TempDir> {
    let root = corpora()?;
    let out = tempfile::tempdir().unwrap();
    let status = Command::new("tar")
        .arg("-xJf")
        .arg(root.join("maildir.tar.xz"))
        .arg("-C")
        .arg(out.path())
        .status();
    let is_unpacked = status.is_ok_and(|status| status.success());
    if !is_unpacked {
        eprintln!("skipped: tar and xz are needed to unpack the Maildir trees");
    }
    is_unpacked.then_some(out)
}

#[test]
fn maildirs_have_all_their_messages() {
    let Some(out) = maildirs() else { return };
    for (tree, count, bytes, folders) in [
        (
            "notmuch-default",
            43,
            97_347,
            &["", "bar", "bar/baz", "foo", "foo/baz"][..],
        ),
        ("notmuch-lkml", 210, 861_383, &[""]),
        (
            "stalwart-maildirpp",
            6,
            12,
            &["", "My Folder", "My Folder/Nested Folder"],
        ),
    ] {
        let found = read(&out.path().join(tree));
        assert_eq!(found.len(), count, "{tree}");
        assert_eq!(
            found.iter().map(|found| found.raw.len()).sum::<usize>(),
            bytes,
            "{tree}"
        );
        let mut found_folders: Vec<_> = found.iter().map(|found| found.folder.join("/")).collect();
        found_folders.dedup();
        assert_eq!(found_folders, folders, "{tree}");
    }
}

#[test]
fn maildir_names_say_flags_and_dates() {
    let Some(out) = maildirs() else { return };
    let found = read(&out.path().join("stalwart-maildirpp"));
    let by_place: BTreeMap<_, _> = found
        .iter()
        .map(|found| {
            let part = found
                .origin
                .path
                .parent()
                .unwrap()
                .file_name()
                .unwrap()
                .to_str()
                .unwrap();
            (
                (found.folder.join("/"), part),
                (found.received.unwrap().0, found.flags.join(" ")),
            )
        })
        .collect();
    let expected = [
        (("", "cur"), 1_491_941_793, "\\Seen \\Deleted"),
        (("", "new"), 1_234_567_890, "\\Seen"),
        (
            ("My Folder", "cur"),
            1_035_478_339,
            "\\Deleted \\Draft \\Answered",
        ),
        (("My Folder", "new"), 1_276_528_487, ""),
        (
            ("My Folder/Nested Folder", "cur"),
            1_276_533_073,
            "\\Flagged $Forwarded",
        ),
        (
            ("My Folder/Nested Folder", "new"),
            1_035_478_339,
            "\\Answered \\Draft \\Flagged",
        ),
    ];
    assert_eq!(by_place.len(), expected.len());
    for ((folder, part), received, flags) in expected {
        assert_eq!(
            by_place[&(folder.to_owned(), part)],
            (received, flags.to_owned())
        );
    }
}
