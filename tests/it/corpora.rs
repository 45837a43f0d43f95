//! Real mail through the command: what goes in comes out, byte for byte, also after a reopening and a crash.
//!
//! The corpora are not part of the crate: `MAILKEEP_CORPORA` names their directory, else `../shared/corpora` beside
//! the crate is taken. Without them these tests say so and pass.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mailkeep::{Options, Store};
use serde_json::{Value, json};

use crate::cli::{arg, command, corpora, files, git_blob, run, split_mbox, unzstd};

/// A store in a folder of its own.
struct Case {
    dir: tempfile::TempDir,
    store: String,
}

impl Case {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = arg(&dir.path().join("store")).to_owned();
        Self { dir, store }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Imports and gives the counts.
    fn import(&self, account: &str, more: &[&str]) -> Value {
        let args = ["--json", "import", &self.store, "--account", account];
        run([&args[..], more].concat()).well().json()
    }

    fn export(&self, account: &str, mailbox: &str, format: &str, out: &Path) {
        let from = ["--account", account, "--mailbox", mailbox];
        let to = ["--format", format, arg(out)];
        run([&["export", &self.store], &from[..], &to[..]].concat()).well();
    }

    /// All messages of a mailbox as an export gives them, by UID.
    fn export_eml(&self, account: &str, mailbox: &str, count: usize) -> Vec<Vec<u8>> {
        let out = tempfile::tempdir_in(self.dir.path()).unwrap();
        self.export(account, mailbox, "eml", out.path());
        assert_eq!(fs::read_dir(out.path()).unwrap().count(), count);
        let file = |uid| fs::read(out.path().join(format!("{uid}.eml"))).unwrap();
        (1..=count).map(file).collect()
    }

    fn export_mbox(&self, account: &str, mailbox: &str) -> Vec<Vec<u8>> {
        let out = self.path("out.mbox");
        self.export(account, mailbox, "mbox", &out);
        let messages = split_mbox(&fs::read(&out).unwrap());
        fs::remove_file(&out).unwrap();
        messages
    }

    /// All messages of a mailbox through the library, in a store that is opened anew.
    fn read(&self, account: &str, mailbox: &str) -> Vec<Vec<u8>> {
        let store = Store::open(&self.store, Options::new().read_only(true)).unwrap();
        let view = store
            .account(account)
            .unwrap()
            .mailbox(mailbox)
            .unwrap()
            .view()
            .unwrap();
        view.iter()
            .map(|row| view.message(row.uid).unwrap().bytes().unwrap().to_vec())
            .collect()
    }

    fn list(&self, account: &str, mailbox: &str) -> Vec<Value> {
        let args = [
            "--json",
            "list",
            &self.store,
            "--account",
            account,
            "--mailbox",
            mailbox,
        ];
        run(args).well().lines()
    }
}

/// The git blob ids of a manifest, in order.
fn manifest(path: &Path) -> Vec<String> {
    let text = String::from_utf8(unzstd(path)).unwrap();
    let lines = text.lines().skip(1);
    lines
        .map(|line| line.split('\t').nth(1).unwrap().to_owned())
        .collect()
}

fn blobs(messages: &[Vec<u8>]) -> Vec<String> {
    messages.iter().map(|message| git_blob(message)).collect()
}

#[test]
fn linux_man_comes_back_byte_for_byte() {
    let Some(root) = corpora() else { return };
    let expected = manifest(&root.join("linux-man.manifest.tsv.zst"));
    assert_eq!(expected.len(), 15_000);
    let case = Case::new();
    let packed = root.join("linux-man.mboxrd.zst");
    let counts = case.import("a", &[arg(&packed)]);
    assert_eq!(
        (&counts["messages"], &counts["bytes"]),
        (&json!(15_000), &json!(113_643_826))
    );
    assert_eq!(
        (&counts["failed"], &counts["flags_dropped"]),
        (&json!(0), &json!(0))
    );
    assert!(blobs(&case.read("a", "INBOX")) == expected, "the library");
    assert!(
        blobs(&case.export_mbox("a", "INBOX")) == expected,
        "an mbox"
    );
    assert!(
        blobs(&case.export_eml("a", "INBOX", 15_000)) == expected,
        "files"
    );

    let mbox = unzstd(&packed);
    kill_in_the_middle(&case, &mbox);
    // What was acknowledged before is whole, whatever became of the import.
    assert!(
        blobs(&case.read("a", "INBOX")) == expected,
        "the first account after the crash"
    );
    let before = case.list("b", "INBOX").len() as u64;
    let file = case.path("linux-man.mbox");
    fs::write(&file, &mbox).unwrap();
    let args = [
        "--json",
        "import",
        &case.store,
        "--account",
        "b",
        "--skip-existing",
        arg(&file),
    ];
    let ran = run(args).ended(0);
    assert!(
        ran.err.starts_with("recovered: not closed; "),
        "{}",
        ran.err
    );
    let again = ran.json();
    // Memory does not grow with the mbox.
    let memory = again["anon_peak_bytes"].as_u64();
    assert!(
        memory.is_none_or(|bytes| bytes < 100 << 20),
        "{memory:?} bytes"
    );
    assert_eq!(
        (&again["skipped"], &again["messages"]),
        (&json!(before), &json!(15_000 - before))
    );
    assert!(
        blobs(&case.read("b", "INBOX")) == expected,
        "the second account"
    );
    let verified = run(["--json", "verify", &case.store]).well().json();
    assert_eq!(
        (&verified["whole"], &verified["messages"]),
        (&json!(true), &json!(30_000))
    );
}

/// Imports half of an mbox into account `b` and kills the process as soon as some of it can be seen, while the other
/// half has not been given to it yet.
fn kill_in_the_middle(case: &Case, mbox: &[u8]) {
    let mut child = command(["import", &case.store, "--account", "b", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(&mbox[..mbox.len() / 2]).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let seen = run([
            "--json",
            "list",
            &case.store,
            "--account",
            "b",
            "--mailbox",
            "INBOX",
        ]);
        if seen.code == Some(0) && seen.lines().len() > 1000 {
            break;
        }
        assert!(
            Instant::now() < deadline,
            "nothing to be seen: {}",
            seen.err
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let left = case.list("b", "INBOX").len();
    assert!((1000..15_000).contains(&left), "{left} messages were left");
}

#[test]
fn imagej_devel_has_all_its_messages() {
    let Some(root) = corpora() else { return };
    let case = Case::new();
    let mbox = root.join("imagej-devel.pipermail.mbox.zst");
    // As pipermail served it, with `>From ` as it is.
    let counts = case.import("a", &["--quoting", "none", arg(&mbox)]);
    assert_eq!(
        (&counts["messages"], &counts["bytes"]),
        (&json!(2_718), &json!(11_106_371))
    );
    let messages = case.read("a", "INBOX");
    make_up(&unzstd(&mbox), &messages, &mbox);
    assert!(case.export_mbox("a", "INBOX") == messages);
    assert!(case.export_eml("a", "INBOX", 2_718) == messages);
}

#[test]
fn each_odd_message_comes_back() {
    let Some(root) = corpora() else { return };
    let paths = files(&root.join("torture/eml"));
    assert_eq!(paths.len(), 412);
    let case = Case::new();
    let fixed = ["--format", "eml"];
    let args: Vec<&str> = fixed
        .into_iter()
        .chain(paths.iter().map(|path| arg(path)))
        .collect();
    assert_eq!(case.import("a", &args)["messages"], 412);
    let expected: Vec<Vec<u8>> = paths.iter().map(|path| fs::read(path).unwrap()).collect();
    for (name, found) in [
        ("library", case.read("a", "INBOX")),
        ("eml", case.export_eml("a", "INBOX", 412)),
        ("mbox", case.export_mbox("a", "INBOX")),
    ] {
        assert_eq!(found.len(), 412, "{name}");
        for ((path, expected), found) in paths.iter().zip(&expected).zip(&found) {
            assert!(found == expected, "{} through {name}", path.display());
        }
    }
    // Listing decodes what it can and escapes the rest.
    let text = run(["list", &case.store, "--account", "a", "--mailbox", "INBOX"]).well();
    assert_eq!(text.text().lines().count(), 413);
    assert!(!text.text().contains(|c: char| c.is_control() && c != '\n'));
    assert_eq!(case.list("a", "INBOX").len(), 412);
}

#[test]
fn each_odd_mbox_comes_back() {
    let Some(root) = corpora() else { return };
    let paths = files(&root.join("torture/mbox"));
    assert_eq!(paths.len(), 54);
    let case = Case::new();
    for (number, path) in paths.iter().enumerate() {
        let mailbox = format!("m{number}");
        let ran = run([
            "--json",
            "import",
            &case.store,
            "--account",
            "a",
            "--mailbox",
            &mailbox,
            arg(path),
        ]);
        let counts = ran.well().json();
        let messages = case.read("a", &mailbox);
        assert_eq!(counts["messages"], messages.len(), "{}", path.display());
        let whole = fs::read(path).unwrap();
        if messages != [whole.clone()] {
            make_up(&whole, &messages, path);
        }
    }
}

/// Checks that an mbox is nothing but these messages: each after a From_ line, its lines quoted or not, with at most
/// one blank line behind.
fn make_up(mbox: &[u8], messages: &[Vec<u8>], path: &Path) {
    let mut lines = mbox.split_inclusive(|byte| *byte == b'\n').peekable();
    let is_blank = |line: &[u8]| line.trim_ascii().is_empty();
    while lines.next_if(|line| is_blank(line)).is_some() {}
    for (number, message) in messages.iter().enumerate() {
        let place = format!("message {number} of {}", path.display());
        let from = lines.next().unwrap_or_default();
        assert!(
            from.starts_with(b"From "),
            "{place}: {}",
            from.escape_ascii()
        );
        for line in message.split_inclusive(|byte| *byte == b'\n') {
            let found = lines.next().unwrap_or_default();
            let unquoted = found.strip_prefix(b">").unwrap_or(found);
            assert!(
                line == found || line == unquoted,
                "{place}: {}",
                found.escape_ascii()
            );
        }
        lines.next_if(|line| is_blank(line));
    }
    assert!(
        lines.next().is_none(),
        "more than its messages in {}",
        path.display()
    );
}

/// The Maildir trees, unpacked, or a word that it could not be done.
fn maildirs() -> Option<tempfile::TempDir> {
    let root = corpora()?;
    let out = tempfile::tempdir().unwrap();
    let archive = root.join("maildir.tar.xz");
    let status = Command::new("tar")
        .args(["-xJf", arg(&archive), "-C", arg(out.path())])
        .status();
    let is_unpacked = status.is_ok_and(|status| status.success());
    if !is_unpacked {
        eprintln!("skipped: tar and xz are needed to unpack the Maildir trees");
    }
    is_unpacked.then_some(out)
}

/// Bytes of all messages of an account, with their mailboxes, flags and dates, in no order.
fn marks(case: &Case, account: &str) -> Vec<(String, Vec<u8>, String)> {
    let mut found = Vec::new();
    for mailbox in run(["--json", "list", &case.store, "--account", account])
        .well()
        .lines()
    {
        let name = mailbox["mailbox"].as_str().unwrap();
        for (raw, row) in case
            .read(account, name)
            .into_iter()
            .zip(case.list(account, name))
        {
            let marks = format!(
                "{} {} {}",
                row["flags"], row["keywords"], row["internal_date"]
            );
            found.push((name.to_owned(), raw, marks));
        }
    }
    found.sort();
    found
}

#[test]
fn maildirs_come_back_with_their_flags() {
    let Some(trees) = maildirs() else { return };
    let case = Case::new();
    for (tree, count, bytes, mailboxes) in [
        (
            "notmuch-default",
            43,
            97_347,
            &["INBOX", "bar", "bar/baz", "foo", "foo/baz"][..],
        ),
        ("notmuch-lkml", 210, 861_383, &["INBOX"]),
        (
            "stalwart-maildirpp",
            6,
            12,
            &["INBOX", "My Folder", "My Folder/Nested Folder"],
        ),
    ] {
        let path = trees.path().join(tree);
        let counts = case.import(tree, &[arg(&path)]);
        assert_eq!(
            (&counts["messages"], &counts["bytes"]),
            (&json!(count), &json!(bytes)),
            "{tree}"
        );
        let first = marks(&case, tree);
        let mut names: Vec<_> = first.iter().map(|(name, ..)| name.as_str()).collect();
        names.dedup();
        assert_eq!(names, mailboxes, "{tree}");
        // Equal messages are counted: 34 of notmuch-lkml are copies.
        let again = case.import(tree, &["--skip-existing", arg(&path)]);
        assert_eq!(
            (&again["messages"], &again["skipped"]),
            (&json!(0), &json!(count)),
            "{tree}"
        );

        let out = case.path(tree);
        run([
            "export",
            &case.store,
            "--account",
            tree,
            "--format",
            "maildir",
            arg(&out),
        ])
        .well();
        let copy = format!("{tree}, copied");
        assert_eq!(
            case.import(&copy, &[arg(&out)])["messages"],
            count,
            "{tree}"
        );
        assert!(marks(&case, &copy) == first, "{tree}");
    }
    let flags = |mailbox: &str| -> Vec<Value> {
        let rows = case.list("stalwart-maildirpp", mailbox);
        rows.iter()
            .map(|row| json!([row["flags"], row["keywords"]]))
            .collect()
    };
    let nested = flags("My Folder/Nested Folder");
    assert!(
        nested.contains(&json!([["\\Flagged"], ["$forwarded"]])),
        "{nested:?}"
    );
    assert!(
        nested.contains(&json!([["\\Answered", "\\Flagged", "\\Draft"], []])),
        "{nested:?}"
    );
}
