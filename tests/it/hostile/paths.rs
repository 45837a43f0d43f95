//! Hostile mail and hostile names through the doors that people use: the command's import, real collections of broken
//! mail, mailboxes with names that look like paths.

use mailkeep::{Delivery, Store};

use super::{Kept, check, keep};
use crate::harm::lose_all;
use crate::kit::{assert_whole, open, options};
use crate::sim::Sim;

/// Goal: a name is data: whatever accounts and mailboxes are called, files have the names that the store makes.
#[test]
fn names_never_become_paths() {
    let sim = Sim::new();
    let store = open(&sim, options(0)).unwrap();
    let plain = |store: &Store| store.create_account("anna").unwrap();
    let names = [
        "..",
        "../..",
        "../../etc/passwd",
        "/etc",
        "a/../../b",
        "a\\..\\b",
        "index/CHECKPOINT",
        "log",
        "LOCK",
        "CON",
        "a\u{202e}b",
        "~root",
        "$(id)",
        "`id`",
        "a;b",
        "|",
        "*",
        "%2e%2e%2f",
        "%s%n",
        "-rf",
        ".",
        "a//b",
        "",
        "a\0b",
        "a\nb",
        "\u{feff}",
        "\u{212b}",
    ];
    let account = plain(&store);
    let mut kept = 0;
    for name in names {
        if store.create_account(name).is_ok() {
            kept += 1;
        }
        if let Ok(mailbox) = account.create_mailbox(name) {
            kept += 1;
            let raw = name.as_bytes();
            let raw = if raw.is_empty() { b"x" } else { raw };
            store
                .deliver(raw, [Delivery::to(&mailbox)])
                .unwrap()
                .wait()
                .unwrap();
        }
    }
    assert!(kept > 20, "{kept} names are names");
    let whole = crate::kit::state(&store);
    store.close().unwrap();
    let made = |name: &str| {
        let hex =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        match name.split_once('/') {
            None => matches!(name, "LOCK" | "MANIFEST" | "SEGMENTS" | "TAIL"),
            Some(("log", file)) => file.strip_suffix(".seg").is_some_and(hex),
            Some(("index", "CHECKPOINT")) => true,
            Some(("index", file)) => {
                let number = file
                    .strip_suffix(".run")
                    .or_else(|| file.strip_suffix(".img"));
                number.is_some_and(hex)
            }
            Some(_) => false,
        }
    };
    for name in sim.files().keys() {
        assert!(made(name), "{name}");
    }
    lose_all(&sim);
    let store = open(&sim, options(1)).unwrap();
    assert!(crate::kit::state(&store) == whole);
    assert_whole(&store);
}

#[cfg(feature = "cli")]
mod command {
    use std::fs;
    use std::os::unix::process::ExitStatusExt as _;
    use std::path::Path;
    use std::process::{Command, Stdio};

    use mailkeep::{Digest, Options, Store};

    use super::super::monsters::{Monster, all};
    use super::{Kept, Sim, assert_whole, check, keep, lose_all, open, options};
    use crate::cli::{arg, corpora, files, run};

    /// All messages of a mailbox, in order.
    fn read(store: &Path, account: &str) -> Vec<Digest> {
        let store = Store::open(store, Options::new().read_only(true)).unwrap();
        let view = store
            .account(account)
            .unwrap()
            .inbox()
            .unwrap()
            .view()
            .unwrap();
        let digest =
            |row: mailkeep::Row<'_>| Digest::of(&view.message(row.uid).unwrap().bytes().unwrap());
        view.iter().map(digest).collect()
    }

    /// Goal: files of monsters are imported as they are, from single files and from an mbox that quotes them; what is
    /// written out again is the same.
    #[test]
    fn monsters_are_imported_and_exported_byte_for_byte() {
        let dir = tempfile::tempdir().unwrap();
        let (store, files, out) = (
            dir.path().join("s"),
            dir.path().join("f"),
            dir.path().join("o"),
        );
        fs::create_dir(&files).unwrap();
        let mut expected = Vec::new();
        for (nth, (_, raw)) in all().iter().enumerate() {
            fs::write(files.join(format!("{nth:04}.eml")), raw).unwrap();
            expected.push(Digest::of(raw));
        }
        let import = |account: &str, format: &str, path: &Path| {
            let name = ["import", arg(&store), "--account", account];
            run([&name[..], &["--format", format, arg(path)]].concat()).well();
        };
        import("first", "eml", &files);
        assert!(read(&store, "first") == expected);
        fs::create_dir_all(&out).unwrap();
        for format in ["eml", "mbox", "maildir"] {
            let to = out.join(format);
            let from = [
                "export",
                arg(&store),
                "--account",
                "first",
                "--mailbox",
                "INBOX",
            ];
            let ran = run([&from[..], &["--format", format, arg(&to)]].concat());
            assert_eq!(ran.code, Some(0), "{}", ran.err);
            import(format, if format == "eml" { "eml" } else { "auto" }, &to);
            let mut found = read(&store, format);
            let mut expected = expected.clone();
            if format != "mbox" {
                // By name (1.eml, 10.eml, 100.eml), or by the dates that some have.
                found.sort_unstable_by_key(|digest| *digest.as_bytes());
                expected.sort_unstable_by_key(|digest| *digest.as_bytes());
            }
            assert!(found == expected, "{format}");
        }
        assert_whole(&Store::open(&store, Options::new()).unwrap());
    }

    /// Runs an import that may have so many KiB of memory of its own (files that are mapped do not count).
    fn import_in(limit_kib: usize, store: &Path, files: &Path) -> std::process::Output {
        let script = format!("ulimit -d {limit_kib} && exec \"$0\" \"$@\"");
        let import = ["import", arg(store), "--account", "a", "--format", "eml"];
        Command::new("sh")
            .args(["-c", &script, env!("CARGO_BIN_EXE_mailkeep")])
            .args(import)
            .arg(files)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// Goal: importing a monster takes memory by its length, not by what it is made of.
    #[test]
    fn a_monster_takes_memory_by_its_length() {
        let dir = tempfile::tempdir().unwrap();
        let monsters = super::super::monsters::large();
        let longest = monsters.iter().map(|(_, raw)| raw.len()).max().unwrap();
        for (nth, (what, raw)) in monsters.iter().enumerate() {
            let (store, file) = (
                dir.path().join(format!("s{nth}")),
                dir.path().join(format!("f{nth}")),
            );
            fs::write(&file, raw).unwrap();
            // What the command needs for any message, threads' stacks included, and four times the longest one.
            let limit = (40 << 20) + 4 * longest;
            let ran = import_in(limit >> 10, &store, &file);
            let said = String::from_utf8_lossy(&ran.stderr);
            assert_eq!(
                ran.status.code(),
                Some(0),
                "{what}: {said} {:?}",
                ran.status.signal()
            );
            assert_eq!(read(&store, "a"), [Digest::of(raw)], "{what}");
        }
        // The limit is one: with less than the message it fails.
        let (store, file) = (dir.path().join("s"), dir.path().join("f"));
        fs::write(&file, vec![b'x'; 64 << 20]).unwrap();
        assert_ne!(import_in(32 << 10, &store, &file).status.code(), Some(0));
        let ran = import_in(256 << 10, &store, &file);
        let said = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.status.code(), Some(0), "64 MiB: {said}");
    }

    /// Goal: every message of the collections of broken mail comes back by every way in, after a reopening, a crash
    /// and the loss of the index.
    #[test]
    fn torture_mail_comes_back() {
        let Some(root) = corpora() else { return };
        let mut messages: Vec<Monster> = Vec::new();
        for path in files(&root.join("torture")) {
            let raw = fs::read(&path).unwrap();
            if !raw.is_empty() {
                messages.push((arg(&path).to_owned(), raw));
            }
        }
        messages.sort();
        assert!(messages.len() > 100, "{} messages", messages.len());
        let sim = Sim::new();
        let store = open(&sim, options(0)).unwrap();
        let kept: Kept<'_> = keep(&store, &messages);
        check(&store, &kept, "at once");
        let killed = Sim::from_files(sim.files());
        store.close().unwrap();
        for (when, sim, options) in [
            ("reopened", &sim, options(1)),
            ("after a kill", &killed, options(2)),
            ("without the index", &killed, options(3)),
        ] {
            if when == "without the index" {
                lose_all(sim);
            }
            let store = open(sim, options).unwrap();
            assert!(store.recovery().is_whole(), "{when}");
            check(&store, &kept, when);
            assert_whole(&store);
        }
        println!("{} messages", messages.len());
    }
}
