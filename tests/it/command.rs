//! The command as it is run: what it says, how it ends, what it refuses.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use mailkeep::format::PAGE;
use mailkeep::format::manifest::Manifest;
use mailkeep::{Options, Store};
use serde_json::{Value, json};

use crate::cli::{arg, command, files, run, split_mbox};

const MBOX: &str = "\
From anna@example.it Thu Jan  1 02:00:00 2004 +0200\n\
From: Anna <anna@example.it>\nSubject: =?utf-8?q?caf=C3=A9?=\nDate: Wed, 31 Dec 2003 23:00:00 +0000\n\n\
>From here on\n\n\
From bob@example.it Fri Jan  2 00:00:00 2004\n\
Subject: \u{1b}[31mred\n\ntwo\n\n\
From bob@example.it Fri Jan  2 00:00:00 2004\n\
Subject: \u{1b}[31mred\n\ntwo\n\n";

/// A folder with a store in it that holds the mbox above twice: in INBOX and in `Lists/a`.
struct Case {
    dir: tempfile::TempDir,
}

impl Case {
    fn empty() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("in.mbox"), MBOX).unwrap();
        Self { dir }
    }

    fn new() -> Self {
        let case = Self::empty();
        run(case.import(&[])).well();
        run(case.import(&["--mailbox", "Lists/a"])).well();
        case
    }

    fn path(&self, name: &str) -> String {
        arg(&self.dir.path().join(name)).to_owned()
    }

    /// The arguments of an import of the mbox.
    fn import(&self, more: &[&str]) -> Vec<String> {
        let mbox = self.path("in.mbox");
        self.args("import", &[&["--account", "anna", &mbox], more].concat())
    }

    fn args(&self, verb: &str, more: &[&str]) -> Vec<String> {
        let fixed = [verb.to_owned(), self.path("store")];
        fixed
            .into_iter()
            .chain(more.iter().map(ToString::to_string))
            .collect()
    }

    /// Writes a file and gives its path.
    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        self.path(name)
    }

    fn messages(&self, mailbox: &str) -> Vec<Value> {
        let args = ["--json", "--account", "anna", "--mailbox", mailbox];
        run(self.args("list", &args)).well().lines()
    }
}

fn bodies() -> Vec<Vec<u8>> {
    let quoted = split_mbox(MBOX.as_bytes());
    assert_eq!(quoted.len(), 3);
    quoted
}

#[test]
fn import_says_what_it_did() {
    let case = Case::empty();
    let ran = run(case.import(&["--json"])).well();
    let mut found = ran.json();
    let bytes: usize = bodies().iter().map(Vec::len).sum();
    assert!(found["seconds"].take().as_f64().unwrap() > 0.0);
    let memory = found["anon_peak_bytes"].take();
    assert!(memory.is_null() || memory.as_u64().unwrap() > 0);
    let expected = json!({
        "account": "anna", "messages": 3, "bytes": bytes, "skipped": 0, "failed": 0, "flags_dropped": 0,
        "passed_over": 0, "seconds": null, "anon_peak_bytes": null,
    });
    assert_eq!(found, expected);
    let text = run(case.import(&["--durability", "written"])).well();
    assert!(text.text().starts_with("imported 3 messages, "));
    assert_eq!(case.messages("INBOX").len(), 6);
}

#[test]
fn standard_input_is_an_mbox() {
    let case = Case::empty();
    let mut child = command(case.args("import", &["--account", "anna", "-"]))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(MBOX.as_bytes())
        .unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(case.messages("INBOX").len(), 3);
}

#[test]
fn existing_messages_are_skipped_as_often_as_they_are_held() {
    let case = Case::empty();
    // Two of three are equal. After the first alone, and after one of the equal ones, a second run completes it.
    let second = MBOX.find("From bob").unwrap();
    let third = MBOX.rfind("From bob").unwrap();
    for cut in [second, third, MBOX.len()] {
        let part = case.write("part.mbox", &MBOX[..cut]);
        let args = ["--json", "--account", "anna", "--skip-existing", &part];
        let ran = run(case.args("import", &args)).well().json();
        assert_eq!(ran["messages"], 1);
    }
    let again = run(case.import(&["--json", "--skip-existing"]))
        .well()
        .json();
    assert_eq!(
        (&again["messages"], &again["skipped"]),
        (&json!(0), &json!(3))
    );
    assert_eq!(case.messages("INBOX").len(), 3);
    // Another mailbox holds nothing.
    let other = run(case.import(&["--json", "--skip-existing", "--mailbox", "B"]));
    assert_eq!(other.well().json()["messages"], 3);
}

#[test]
fn lists_in_json() {
    let case = Case::new();
    let accounts = run(case.args("list", &["--json"])).well().lines();
    assert_eq!(accounts.len(), 1);
    assert_eq!(accounts[0]["account"], "anna");
    assert_eq!(
        (&accounts[0]["mailboxes"], &accounts[0]["messages"]),
        (&json!(3), &json!(6))
    );

    let mailboxes = run(case.args("list", &["--json", "--account", "anna"]))
        .well()
        .lines();
    let names: Vec<_> = mailboxes
        .iter()
        .map(|mailbox| mailbox["mailbox"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["INBOX", "Lists", "Lists/a"]);
    assert_eq!(
        (&mailboxes[2]["uid_next"], &mailboxes[2]["unseen"]),
        (&json!(4), &json!(3))
    );

    let messages = case.messages("INBOX");
    assert_eq!(messages.len(), 3);
    let first = &messages[0];
    for (field, expected) in [
        ("uid", json!(1)),
        ("flags", json!([])),
        ("keywords", json!([])),
        ("internal_date", json!("2004-01-01T02:00:00+02:00")),
        ("raw_size", json!(bodies()[0].len())),
        ("size", json!(bodies()[0].len() + 5)),
        ("sent", json!(1_072_911_600)),
        ("from", json!("Anna <anna@example.it>")),
        ("subject", json!("caf\u{e9}")),
        (
            "digest",
            json!(mailkeep::Digest::of(&bodies()[0]).to_string()),
        ),
    ] {
        assert_eq!(first[field], expected, "{field}");
    }
    assert_eq!(messages[1]["digest"], messages[2]["digest"]);
    assert_ne!(messages[1]["email_id"], messages[2]["email_id"]);
    assert!(messages[2]["modseq"].as_u64() > messages[1]["modseq"].as_u64());
}

#[test]
fn lists_for_people_are_safe_for_terminals() {
    let case = Case::new();
    let accounts = run(case.args("list", &[])).well();
    assert_eq!(accounts.text().lines().count(), 2);
    assert!(accounts.text().ends_with("  anna\n"));
    let mailboxes = run(case.args("list", &["--account", "anna"])).well();
    assert!(mailboxes.text().ends_with("  Lists/a\n"));
    let messages = run(case.args("list", &["--account", "anna", "--mailbox", "inbox"])).well();
    let lines: Vec<_> = messages.text().lines().collect();
    assert_eq!(lines.len(), 4);
    assert!(
        lines[1].contains("Anna <anna@example.it>    caf\u{e9}"),
        "{}",
        lines[1]
    );
    assert!(lines[2].ends_with("\\u{1b}[31mred"), "{}", lines[2]);
    assert!(!messages.out.contains(&0x1b));
}

#[test]
fn show_gives_the_bytes() {
    let case = Case::new();
    for (at, body) in bodies().iter().enumerate() {
        let uid = (at + 1).to_string();
        let shown = run(case.args("show", &["--account", "anna", "--uid", &uid])).well();
        assert_eq!(&shown.out, body);
    }
    let args = [
        "--json",
        "--account",
        "anna",
        "--mailbox",
        "Lists/a",
        "--uid",
        "2",
    ];
    let json = run(case.args("show", &args)).well().json();
    assert_eq!(
        (&json["uid"], &json["subject"]),
        (&json!(2), &json!("\u{1b}[31mred"))
    );
}

#[test]
fn verify_and_stat_of_a_sound_store() {
    let case = Case::new();
    let verified = run(case.args("verify", &["--json"])).well().json();
    assert_eq!(
        (&verified["whole"], &verified["messages"]),
        (&json!(true), &json!(6))
    );
    assert_eq!(
        (&verified["damage"], &verified["bad_messages"]),
        (&json!([]), &json!([]))
    );
    assert_eq!(verified["recovery"]["clean"], true);
    let one = run(case.args("verify", &["--json", "--account", "anna"]))
        .well()
        .json();
    assert_eq!((&one["messages"], &one["segments"]), (&json!(6), &json!(0)));
    assert!(
        run(case.args("verify", &[]))
            .well()
            .text()
            .starts_with("whole: ")
    );

    let stat = run(case.args("stat", &["--count", "--json"])).well().json();
    assert_eq!(
        (&stat["accounts"], &stat["mailboxes"], &stat["messages"]),
        (&json!(1), &json!(3), &json!(6))
    );
    assert_eq!(stat["recovery"]["whole"], true);
    let text = run(case.args("stat", &["--count"])).well();
    assert!(
        text.text().contains("\nmessages                 6\n"),
        "{}",
        text.text()
    );
    assert!(text.text().ends_with("closed cleanly           yes\n"));
}

/// Goal: lines that can be compared: with those of another time, and as far as content goes of another store.
#[test]
fn receipts_are_lines_to_compare() {
    let case = Case::new();
    run(case.args("import", &["--account", "bob", &case.path("in.mbox")])).well();
    let all = run(case.args("receipt", &[])).well();
    let mut whose: Vec<&str> = all
        .text()
        .lines()
        .map(|line| line.split_once("  ").unwrap().1)
        .collect();
    whose.sort_unstable();
    assert_eq!(whose, ["account anna", "account bob"]);

    let anna = run(case.args("receipt", &["--account", "anna"])).well();
    let lines: Vec<&str> = anna.text().lines().collect();
    assert_eq!(lines.len(), 4, "the account, INBOX, Lists, Lists/a");
    assert!(all.text().lines().any(|line| line == lines[0]));
    let store = Store::open(case.path("store"), Options::new().read_only(true)).unwrap();
    let account = store.account("anna").unwrap();
    let inbox = account.inbox().unwrap().receipt().unwrap();
    assert_eq!(
        lines[0],
        format!("{}  account anna", account.receipt().unwrap())
    );
    assert!(lines.contains(&format!("{inbox}  account anna mailbox INBOX").as_str()));

    let one = ["--json", "--account", "anna", "--mailbox", "Lists/a"];
    let found = run(case.args("receipt", &one)).well().json();
    let fields = ["content", "state", "exact", "messages", "bytes"].map(|name| found[name].clone());
    let text = fields
        .map(|field| field.to_string().trim_matches('"').to_owned())
        .join(":");
    assert_eq!(found["receipt"], json!(text));
    assert_eq!(
        (&found["account"], &found["mailbox"]),
        (&json!("anna"), &json!("Lists/a"))
    );
    assert_eq!(
        found["content"],
        json!(inbox.content.to_string()),
        "the same mail"
    );
    assert!(text.parse::<mailkeep::Receipt>().is_ok());

    let other = Case::new();
    let again = run(other.args("receipt", &["--json", "--account", "anna"])).well();
    let first = run(case.args("receipt", &["--json", "--account", "anna"])).well();
    for (again, first) in again.lines().iter().zip(first.lines()) {
        assert_eq!(again["content"], first["content"]);
    }
    // Of the account itself also its id is part of that.
    assert_ne!(again.lines()[0]["exact"], first.lines()[0]["exact"]);
}

/// Goal: what is derived is made anew whatever was there, and no mail is touched.
#[test]
fn rebuild_makes_the_index_anew() {
    let case = Case::new();
    let before = run(case.args("receipt", &["--account", "anna"])).well();
    case.write("store/index/CHECKPOINT", "nonsense");
    case.write("store/index/00000001.run", "nonsense");
    let foreign = case.write("store/index/left.over", "x");
    let text = run(case.args("rebuild", &[])).well();
    assert!(
        text.text().starts_with("rebuilt the index of "),
        "{}",
        text.text()
    );
    assert!(!Path::new(&foreign).exists());

    let done = run(case.args("rebuild", &["--json"])).well().json();
    assert!(
        done["rows"].as_u64().unwrap() >= 1 && done["runs"].as_u64().unwrap() >= 1,
        "{done}"
    );
    assert!(done["run_bytes"].as_u64().unwrap() > 0 && done["log_bytes"].as_u64().unwrap() > 0);
    assert!(done["seconds"].as_f64().unwrap() > 0.0);
    assert_eq!(done["recovery"]["whole"], true);
    let after = run(case.args("receipt", &["--account", "anna"])).well();
    assert_eq!(after.text(), before.text());

    let store = Store::open(case.path("store"), Options::default()).unwrap();
    let refused = run(case.args("rebuild", &[])).ended(2);
    assert!(refused.err.contains("is in use by"), "{}", refused.err);
    assert!(refused.out.is_empty());
    assert_eq!(
        store
            .account("anna")
            .unwrap()
            .inbox()
            .unwrap()
            .status()
            .unwrap()
            .counters
            .messages,
        3
    );
}

/// All files below a directory with their bytes, in order of their names.
fn contents(root: &Path) -> Vec<(String, Vec<u8>)> {
    let named = |path: PathBuf| {
        let name = arg(path.strip_prefix(root).unwrap()).to_owned();
        (name, fs::read(&path).unwrap())
    };
    let mut found: Vec<_> = files(root).into_iter().map(named).collect();
    found.sort();
    found
}

#[test]
fn reading_changes_nothing() {
    let case = Case::new();
    let store = case.dir.path().join("store");
    let before = contents(&store);
    for (verb, more) in [
        ("list", &["--account", "anna", "--mailbox", "INBOX"][..]),
        ("show", &["--account", "anna", "--uid", "1"]),
        ("verify", &[]),
        ("stat", &[]),
        ("stat", &["--count"]),
        ("receipt", &[]),
        ("receipt", &["--account", "anna"]),
    ] {
        run(case.args(verb, more)).well();
    }
    run(case.args(
        "export",
        &["--account", "anna", "--format", "mbox", &case.path("out")],
    ))
    .well();
    assert!(contents(&store) == before);
}

#[test]
fn export_to_mbox() {
    let case = Case::new();
    let (one, all) = (case.path("one"), case.path("all"));
    let args = ["--json", "--account", "anna", "--format", "mbox", &all];
    let mut json = run(case.args("export", &args)).well().json();
    json["seconds"].take();
    assert_eq!(json["recovery"].take()["whole"], true);
    let bytes: usize = bodies().iter().map(Vec::len).sum();
    let expected = json!({
        "account": "anna", "mailboxes": 3, "messages": 6, "bytes": 2 * bytes, "missing": [], "newline_added": 0,
        "looks_like_other": 0, "flags_lost": 0, "recovery": null, "seconds": null,
    });
    assert_eq!(json, expected);
    let found = contents(Path::new(&all));
    let names: Vec<_> = found.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["INBOX.mbox", "Lists.mbox", "Lists/a.mbox"]);
    assert_eq!(split_mbox(&found[0].1), bodies());
    assert_eq!(found[1].1, b"");

    let args = [
        "--account",
        "anna",
        "--mailbox",
        "Lists/a",
        "--format",
        "mbox",
        &one,
    ];
    let text = run(case.args("export", &args)).well();
    assert!(
        text.text()
            .starts_with("exported 3 messages of 1 mailboxes, ")
    );
    assert_eq!(fs::read(&one).unwrap(), found[2].1);
    assert!(
        found[2]
            .1
            .starts_with(b"From MAILER-DAEMON Thu Jan  1 00:00:00 2004\n")
    );
    // Nothing is replaced.
    assert!(
        run(case.args("export", &args))
            .ended(2)
            .err
            .contains("cannot create")
    );
    assert!(
        run(case.args("export", &["--account", "anna", "--format", "eml", &all]))
            .ended(2)
            .err
            .contains("not empty")
    );
}

#[test]
fn export_to_files() {
    let case = Case::new();
    let out = case.path("out");
    run(case.args("export", &["--account", "anna", "--format", "eml", &out])).well();
    let found = contents(Path::new(&out));
    let names: Vec<_> = found.iter().map(|(name, _)| name.as_str()).collect();
    let expected = [
        "INBOX/1.eml",
        "INBOX/2.eml",
        "INBOX/3.eml",
        "Lists/a/1.eml",
        "Lists/a/2.eml",
        "Lists/a/3.eml",
    ];
    assert_eq!(names, expected);
    let bytes: Vec<_> = found.into_iter().map(|(_, bytes)| bytes).collect();
    assert_eq!(bytes, [bodies(), bodies()].concat());
}

/// What there is of all mailboxes, but for what an import gives anew.
fn shown(case: &Case) -> Vec<(String, Vec<Value>)> {
    let mailboxes = run(case.args("list", &["--json", "--account", "anna"]))
        .well()
        .lines();
    let names = mailboxes
        .iter()
        .map(|mailbox| mailbox["mailbox"].as_str().unwrap().to_owned());
    names
        .map(|name| {
            let mut messages = case.messages(&name);
            for message in &mut messages {
                for field in ["modseq", "email_id", "save_date"] {
                    message[field].take();
                }
            }
            (name, messages)
        })
        .collect()
}

#[test]
fn a_maildir_comes_back_with_flags_dates_and_folders() {
    let case = Case::empty();
    case.write("md/cur/1300000000.a:2,FSa", "Subject: 1\n\n");
    case.write("md/new/1300000001.b", "Subject: 2\r\n\r\n");
    case.write("md/dovecot-keywords", "0 $Work\n");
    case.write("md/.Sent.Old &- New/cur/1300000002.c:2,DRT", "Subject: 3");
    fs::create_dir_all(case.path("md/.Sent.Old &- New/new")).unwrap();
    let md = case.path("md");
    run(case.args("import", &["--account", "anna", &md])).well();
    let first = shown(&case);
    let names: Vec<_> = first.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["INBOX", "Sent", "Sent/Old & New"]);
    let message = &first[0].1[0];
    assert_eq!(
        (&message["flags"], &message["keywords"]),
        (&json!(["\\Seen", "\\Flagged"]), &json!(["$work"]))
    );
    assert_eq!(message["internal_date"], "2011-03-13T07:06:40Z");
    assert_eq!(
        first[2].1[0]["flags"],
        json!(["\\Answered", "\\Deleted", "\\Draft"])
    );
    let listed = run(case.args("list", &["--account", "anna", "--mailbox", "INBOX"])).well();
    assert!(listed.text().contains("  -F-S-  "), "{}", listed.text());
    assert!(listed.text().contains("  [$work] 1\n"), "{}", listed.text());

    let out = case.path("out");
    run(case.args(
        "export",
        &["--account", "anna", "--format", "maildir", &out],
    ))
    .well();
    let again = Case::empty();
    run(again.args("import", &["--account", "anna", &out])).well();
    assert_eq!(shown(&again), first);

    // Below a mailbox that is named.
    run(case.args(
        "import",
        &["--account", "anna", "--mailbox", "Old/Mail", &md],
    ))
    .well();
    let names: Vec<_> = shown(&case).into_iter().map(|(name, _)| name).collect();
    assert_eq!(
        names[1..5],
        [
            "Old",
            "Old/Mail",
            "Old/Mail/Sent",
            "Old/Mail/Sent/Old & New"
        ]
    );
}

#[test]
fn what_cannot_be_imported_is_said_and_the_rest_goes_on() {
    let case = Case::empty();
    let good = case.write("z.eml", "Subject: good\n\n");
    let empty = case.write("a.eml", "");
    let large = case.write("b.eml", "Subject: large\n\n1234567890");
    let folder = case.write("md/cur/1.a:2,ab", "Subject: k\n\n");
    let folder = Path::new(&folder).ancestors().nth(2).unwrap();
    fs::create_dir(folder.join("new")).unwrap();
    case.write("md/dovecot-keywords", "0 bad(word\n1 fine\n");
    case.write("md/.bad\u{1}name/cur/1.a", "Subject: lost\n\n");
    fs::create_dir(folder.join(".bad\u{1}name/new")).unwrap();
    let args = [
        "--json",
        "--account",
        "anna",
        "--message-max",
        "20",
        &empty,
        &large,
        arg(folder),
        &good,
    ];
    let ran = run(case.args("import", &args)).ended(1);
    let found = ran.json();
    assert_eq!(
        (
            &found["messages"],
            &found["failed"],
            &found["flags_dropped"]
        ),
        (&json!(2), &json!(3), &json!(1))
    );
    for said in [
        "a.eml at byte 0: the message is empty",
        "b.eml at byte 0 is too large: found at least 26 bytes, expected at most 20",
        "flag \"bad(word\" is dropped: ",
        "folder bad\\u{1}name: the name is not valid: ",
    ] {
        assert!(ran.err.contains(said), "{said} in {}", ran.err);
    }
    assert_eq!(case.messages("INBOX")[0]["keywords"], json!(["fine"]));

    let not_mbox = run(case.args(
        "import",
        &[
            "--account",
            "anna",
            "--format",
            "mbox",
            &good,
            &case.path("in.mbox"),
        ],
    ));
    assert!(
        not_mbox
            .ended(1)
            .err
            .contains("z.eml is not an mbox: found \"Subject: good\" at its start")
    );
    assert_eq!(case.messages("INBOX").len(), 5);
}

#[test]
fn files_of_a_folder_that_are_no_mail_are_named() {
    let case = Case::empty();
    let plain = case.write("mail/a.txt", "no header\n");
    let odd = case.write("mail/b/c\u{1b}", "nor here\n");
    case.write("mail/d.txt", "Subject: mail\n\n");
    let folder = case.path("mail");
    let args = ["--json", "--account", "anna", &folder];
    let ran = run(case.args("import", &args)).ended(0);
    let why = "is passed over: it does not start with the header of a message";
    let odd = odd.replace('\u{1b}', "\\u{1b}");
    let said = format!("warning: {plain} {why}\nwarning: {odd} {why}\n");
    assert_eq!(ran.err, said);
    let found = ran.json();
    assert_eq!(
        (&found["messages"], &found["failed"], &found["passed_over"]),
        (&json!(1), &json!(0), &json!(2))
    );

    // Where it is said that each file is a message, each is.
    let args = [&args[..], &["--mailbox", "All", "--format", "eml"]].concat();
    let found = run(case.args("import", &args)).well().json();
    assert_eq!(
        (&found["messages"], &found["passed_over"]),
        (&json!(3), &json!(0))
    );
    let uid = ["--account", "anna", "--mailbox", "All", "--uid", "1"];
    assert_eq!(run(case.args("show", &uid)).well().text(), "no header\n");
}

#[test]
fn dates_of_messages_without_a_received_date() {
    let case = Case::empty();
    let dated = case.write("a.eml", "Date: Fri, 21 Nov 1997 09:55:06 -0600\n\n");
    let undated = case.write("b.eml", "Subject: x\n\n");
    run(case.args("import", &["--account", "anna", &dated, &undated])).well();
    let messages = case.messages("INBOX");
    assert_eq!(messages[0]["internal_date"], "1997-11-21T09:55:06-06:00");
    assert!(messages[1]["internal_date"].as_str().unwrap() > "2024");
}

/// Runs that must not be possible: the arguments and a part of what is said.
#[test]
fn what_could_not_run() {
    let case = Case::new();
    let file = case.write("file", "x");
    let empty = case.path("empty");
    fs::create_dir(&empty).unwrap();
    let foreign = case
        .write("foreign/x", "x")
        .trim_end_matches("/x")
        .to_owned();
    let (none, store, mbox) = (case.path("none"), case.path("store"), case.path("in.mbox"));
    let (none, store, mbox, out) = (
        none.as_str(),
        store.as_str(),
        mbox.as_str(),
        case.path("out"),
    );
    let anna = ["--account", "anna"];
    let with = |first: &[&str], more: &[&str]| -> Vec<String> {
        [first, &anna, more]
            .concat()
            .iter()
            .map(ToString::to_string)
            .collect()
    };
    let strings = |args: &[&str]| -> Vec<String> { args.iter().map(ToString::to_string).collect() };
    for (args, said) in [
        (
            strings(&["list", none]),
            "holds no store: it does not exist",
        ),
        (strings(&["verify", &empty]), "holds no store"),
        (strings(&["stat", &foreign]), "holds no store"),
        (
            strings(&["stat", &file]),
            "holds no store: it is no directory",
        ),
        (with(&["show", none], &["--uid", "1"]), "does not exist"),
        (
            with(&["export", none], &["--format", "eml", &out]),
            "does not exist",
        ),
        (
            with(&["import", none], &["--no-create", mbox]),
            "holds no store",
        ),
        (
            with(&["import", none], &["/nowhere/x.mbox"]),
            "cannot open /nowhere/x.mbox at byte 0: No such file",
        ),
        (with(&["import", &foreign], &[mbox]), "holds no store"),
        (with(&["import", &file], &[mbox]), "holds no store"),
        (
            with(&["import", store], &["--mailbox", "a//b", mbox]),
            "invalid value",
        ),
        (
            with(&["import", store], &["--mailbox", "a\u{1}", mbox]),
            "invalid value",
        ),
        (
            with(&["import", store], &["--message-max", "lots", mbox]),
            "invalid value",
        ),
        (
            with(&["import", store], &["--message-max", "0", mbox]),
            "option message_max is 0",
        ),
        (with(&["import", store], &[]), "required"),
        (
            strings(&["import", store, "--account", "", mbox]),
            "invalid value",
        ),
        (
            strings(&["list", store, "--account", "bob"]),
            "there is no account \"bob\"",
        ),
        (strings(&["list", store, "--mailbox", "INBOX"]), "--account"),
        (
            with(&["list", store], &["--mailbox", "x"]),
            "there is no mailbox \"x\"",
        ),
        (
            with(&["show", store], &["--uid", "9"]),
            "there is no message 9 in mailbox \"INBOX\"",
        ),
        (with(&["show", store], &["--uid", "0"]), "UIDs begin at 1"),
        (
            with(
                &["export", store],
                &["--mailbox", "x", "--format", "eml", &out],
            ),
            "no mailbox",
        ),
        (
            with(&["export", store], &["--format", "pst", &out]),
            "invalid value",
        ),
        (
            strings(&["verify", store, "--account", "bob"]),
            "no account",
        ),
        (strings(&["rebuild", none]), "holds no store"),
        (strings(&["receipt", none]), "holds no store"),
        (
            strings(&["receipt", store, "--mailbox", "INBOX"]),
            "--account",
        ),
        (
            with(&["receipt", store], &["--mailbox", "x"]),
            "there is no mailbox \"x\"",
        ),
        (strings(&["destroy", store]), "unrecognized subcommand"),
        (strings(&[]), "Usage"),
    ] {
        let ran = run(&args).ended(2);
        assert!(ran.err.contains(said), "{args:?}: {said} in {}", ran.err);
        assert!(ran.out.is_empty(), "{args:?}");
    }
    assert!(!Path::new(none).exists(), "a store was made by mistake");
    assert!(!Path::new(&out).exists());
    assert_eq!(fs::read_dir(&empty).unwrap().count(), 0);
}

#[test]
fn a_store_in_use_can_be_read() {
    let case = Case::new();
    let store = Store::open(case.path("store"), Options::default()).unwrap();
    let ran = run(case.import(&[])).ended(2);
    assert!(ran.err.contains("is in use by"), "{}", ran.err);
    assert_eq!(case.messages("INBOX").len(), 3);
    store.close().unwrap();
    run(case.import(&[])).well();
}

#[test]
fn the_path_of_a_store_that_is_not_to_be_had() {
    let case = Case::new();
    let (link, store) = (case.path("link"), case.path("store"));
    std::os::unix::fs::symlink(&store, &link).unwrap();
    let (slash, deep) = (format!("{link}/"), case.path("missing/a/b"));
    let mbox = case.path("in.mbox");
    let is_link =
        format!("error: {link} is a symbolic link: {link} holds no store: it is no directory\n");
    let nothing_above = format!(
        "error: {deep}: the directory above it does not exist: {deep} holds no store: it does not exist\n"
    );
    for (path, said) in [
        (&link, &is_link),
        (&slash, &is_link),
        (&deep, &nothing_above),
    ] {
        for args in [
            &["import", path, "--account", "anna", &mbox][..],
            &["stat", path],
        ] {
            let ran = run(args).ended(2);
            // The store's own words keep the path as it was given.
            assert_eq!(ran.err.replace(&slash, &link), *said, "{args:?}");
        }
    }
    assert!(!Path::new(&case.path("missing")).exists());
    assert_eq!(case.messages("INBOX").len(), 3);
    // A plain name lies in the directory that the command runs in.
    let ran = command(["stat", "none"])
        .current_dir(case.dir.path())
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8(ran.stderr).unwrap(),
        "error: none holds no store: it does not exist\n"
    );
}

#[test]
fn a_store_too_damaged_to_open_could_not_be_used() {
    let case = Case::new();
    let path = case.dir.path().join("store/MANIFEST");
    let len = fs::read(&path).unwrap().len();
    fs::write(&path, vec![0x55; len]).unwrap();
    let anna = ["--account", "anna"];
    let out = case.path("out");
    for args in [
        case.import(&[]),
        case.args("export", &[&anna[..], &["--format", "eml", &out]].concat()),
        case.args("list", &[]),
        case.args("show", &[&anna[..], &["--uid", "1"]].concat()),
        case.args("verify", &[]),
        case.args("stat", &[]),
    ] {
        let ran = run(&args).ended(2);
        assert!(
            ran.err.contains("MANIFEST is damaged at byte "),
            "{}",
            ran.err
        );
        assert!(ran.out.is_empty(), "{args:?}");
    }
}

#[test]
fn a_newer_store_is_left_alone() {
    let case = Case::new();
    let path = case.dir.path().join("store/MANIFEST");
    let mut bytes = fs::read(&path).unwrap();
    for slot in bytes.chunks_mut(PAGE) {
        if let Ok(mut manifest) = Manifest::decode(slot) {
            manifest.features.must_know |= 1 << 31;
            let newer = manifest.encode();
            slot[..newer.len()].copy_from_slice(&newer);
        }
    }
    fs::write(&path, &bytes).unwrap();
    for args in [case.import(&[]), case.args("stat", &[])] {
        let ran = run(args).ended(2);
        assert!(ran.err.contains("is in a newer format"), "{}", ran.err);
    }
    assert!(fs::read(&path).unwrap() == bytes);
}

/// Flips one bit of the log, at the place that is chosen in a segment; the last segment that has one counts.
fn damage(case: &Case, choose: impl Fn(&[u8]) -> Option<usize>) {
    let log = case.dir.path().join("store/log");
    let mut segments: Vec<PathBuf> = fs::read_dir(log)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    segments.sort();
    let places = segments.iter().filter_map(|path| {
        let bytes = fs::read(path).unwrap();
        choose(&bytes).map(|at| (path, bytes, at))
    });
    let (path, mut bytes, at) = places.last().expect("a place in the log");
    bytes[at] ^= 1;
    fs::write(path, &bytes).unwrap();
}

/// Where `needle` lies last.
fn last_place(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).rposition(|part| part == needle)
}

#[test]
fn a_lost_record_is_missing_by_name() {
    let case = Case::empty();
    for number in 1..=3 {
        let body = format!(
            "Subject: {number}\n\nbody {number}\n{}",
            "line\n".repeat(1000)
        );
        let path = case.write("a.eml", body);
        run(case.args("import", &["--account", "anna", &path])).well();
    }
    // The record of the second message, behind the head of its batch (96 bytes) and a checksum for each of its 11
    // sectors. It is gone; its body says whose it was.
    damage(&case, |bytes| {
        let body = last_place(bytes, b"body 2\n")?;
        Some(last_place(&bytes[..body], b"MKBATCH1")? + 96 + 11 * 4 + 40)
    });
    let out = case.path("out");
    let args = ["--account", "anna", "--format", "mbox", &out];
    let text = run(case.args("export", &args)).ended(1);
    let lines: Vec<_> = text.text().lines().collect();
    assert_eq!(lines[0], "missing: mailbox INBOX uid 2: its record is lost");
    assert!(lines[1].ends_with("missing 1"), "{}", lines[1]);
    assert!(
        lines[2].starts_with("note: 1 records of the store are lost"),
        "{}",
        lines[2]
    );

    let verified = run(case.args("verify", &["--json"])).ended(1).json();
    assert_eq!(verified["lost"][0]["uid"], 2);
    assert_eq!(verified["damage"].as_array().unwrap().len(), 1);
    let one = run(case.args("verify", &["--account", "anna"])).ended(1);
    assert!(one.text().starts_with("not whole: "), "{}", one.text());
    for (verb, more) in [("stat", &["--count"][..]), ("list", &[])] {
        run(case.args(verb, more)).ended(1);
    }
    // What is there can be had, and written to.
    run(case.args("show", &["--account", "anna", "--uid", "3"])).ended(0);
    let path = case.path("a.eml");
    let ran = run(case.args("import", &["--account", "anna", &path])).ended(0);
    assert!(ran.err.contains("lost: account "), "{}", ran.err);
}

#[test]
fn damage_is_found_and_stops_nothing() {
    let case = Case::empty();
    run(case.import(&[])).well();
    // The body of the third message; what its record says stays readable.
    damage(&case, |bytes| last_place(bytes, b"two\n"));
    let verified = run(case.args("verify", &["--json"])).ended(1).json();
    assert_eq!(verified["whole"], false);
    assert_eq!(verified["bad_messages"].as_array().unwrap().len(), 1);
    let bad = &verified["bad_messages"][0];
    assert_eq!(
        (&bad["account"], &bad["mailbox"], &bad["uid"]),
        (&json!("anna"), &json!("INBOX"), &json!(3))
    );
    assert!(!verified["damage"].as_array().unwrap().is_empty());
    let text = run(case.args("verify", &[])).ended(1);
    assert!(
        text.text()
            .contains("bad message: account anna mailbox INBOX uid 3: "),
        "{}",
        text.text()
    );
    assert!(text.text().contains("\nnot whole: "));
    run(case.args("verify", &["--account", "anna"])).ended(1);

    for format in ["mbox", "maildir", "eml"] {
        let out = case.path(format);
        let ran = run(case.args(
            "export",
            &["--json", "--account", "anna", "--format", format, &out],
        ))
        .ended(1);
        let json = ran.json();
        assert_eq!(json["messages"], 2, "{format}");
        let missing = json["missing"].as_array().unwrap();
        assert_eq!(missing.len(), 1);
        assert_eq!(
            (&missing[0]["mailbox"], &missing[0]["uid"]),
            (&json!("INBOX"), &json!(3))
        );
    }
    let out = case.path("text");
    let ran = run(case.args("export", &["--account", "anna", "--format", "eml", &out])).ended(1);
    assert!(
        ran.text().starts_with("missing: mailbox INBOX uid 3: "),
        "{}",
        ran.text()
    );

    let shown = run(case.args("show", &["--account", "anna", "--uid", "3"])).ended(1);
    assert!(shown.out.is_empty());
    assert!(shown.err.contains(" is damaged at byte "), "{}", shown.err);
    run(case.args("show", &["--account", "anna", "--uid", "2"])).ended(0);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let case = Case::empty();
    let many = MBOX.repeat(2000);
    let mbox = case.write("many.mbox", many);
    run(case.args(
        "import",
        &["--account", "anna", "--durability", "written", &mbox],
    ))
    .well();
    let mut child = command(case.args(
        "list",
        &["--json", "--account", "anna", "--mailbox", "INBOX"],
    ))
    .stdout(Stdio::piped())
    .stderr(Stdio::piped())
    .spawn()
    .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert!(line.starts_with("{\"uid\":1,"), "{line}");
    let ended = child.wait_with_output().unwrap();
    assert_eq!(
        (ended.status.code(), ended.stderr.as_slice()),
        (Some(0), &b""[..])
    );
}

#[test]
fn an_import_that_cannot_write_says_so_and_can_go_on() {
    let case = Case::new();
    let message = |number| {
        let from = "From a@b Thu Jan  1 00:00:00 2004";
        format!("{from}\nSubject: {number}\n\n{}\n", "line\n".repeat(2000))
    };
    let mbox: String = (0..800).map(message).collect();
    let mbox = case.write("big.mbox", mbox);
    let args = case.args(
        "import",
        &["--json", "--account", "anna", "--skip-existing", &mbox],
    );
    // Files may have 1 or 2 MiB (shells count in different blocks); the mail has 8.
    let limited = std::process::Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 2048; exec \"$0\" \"$@\""])
        .arg(env!("CARGO_BIN_EXE_mailkeep"))
        .args(&args)
        .output()
        .unwrap();
    let said = String::from_utf8(limited.stderr).unwrap();
    assert_eq!(limited.status.code(), Some(2), "{said}");
    assert!(limited.stdout.is_empty(), "no success is reported");
    assert!(said.contains("error: "), "{said}");
    assert!(said.contains("File too large"), "{said}");

    let before = case.messages("INBOX").len();
    assert!((3..803).contains(&before), "{before}");
    let again = run(&args).ended(0).json();
    assert_eq!(again["messages"], 803 - before);
    assert_eq!(case.messages("INBOX").len(), 803);
    run(case.args("verify", &[])).well();
}

#[test]
fn help_says_what_is_promised() {
    let help = run(["import", "--help"]).well();
    for said in ["--skip-existing", "Ctrl-C", "Date field", "--durability"] {
        assert!(help.text().contains(said), "{said}");
    }
    let help = run(["--help"]).well();
    assert!(help.text().contains("docs/COMMAND.md"));
}
