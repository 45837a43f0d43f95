//! `examples/dump.py`, which was written from FORMAT.md alone, against what the store itself says.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use mailkeep::mail::{FlagChange, Flags, InternalDate, Keyword, UidSet};
use mailkeep::{Delivery, Options, SEGMENT_LEN_MIN, Store};

type Mail = BTreeMap<(String, String, u32), (String, Vec<u8>)>;

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/dump.py")
}

fn run(store: &Path, out: &Path) -> Output {
    let mut command = Command::new("python3");
    command
        .arg(script())
        .arg(store)
        .arg("--out")
        .arg(out)
        .arg("--verify");
    command.output().unwrap()
}

/// What the script says of a store: marks, date and size as text, and the bytes.
fn dumped(store: &Path) -> Mail {
    let out = tempfile::tempdir().unwrap();
    let output = run(store, out.path());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    let mut mail = Mail::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let columns: Vec<&str> = line.split('\t').collect();
        let [account, mailbox, uid, marks, date, size] = columns[..] else {
            panic!("{line}");
        };
        let folder = mailbox.replace("percorsi & altro", "percorsi %26 altro");
        let file = out
            .path()
            .join(account)
            .join(folder)
            .join(format!("{uid}.eml"));
        let key = (account.to_owned(), mailbox.to_owned(), uid.parse().unwrap());
        mail.insert(
            key,
            (format!("{marks} {date} {size}"), fs::read(file).unwrap()),
        );
    }
    mail
}

/// What the store says of itself.
fn kept(store: &Store) -> Mail {
    let mut mail = Mail::new();
    let mut names = store.accounts(None, 100).unwrap();
    names.sort();
    for name in names {
        let account = store.account(&name).unwrap();
        for info in account.mailboxes().unwrap() {
            let view = account.mailbox(&info.name).unwrap().view().unwrap();
            for row in view.iter() {
                let keywords = row
                    .keywords
                    .iter()
                    .map(|keyword| keyword.as_str().to_owned());
                let marks: Vec<_> = row
                    .flags
                    .names()
                    .map(str::to_owned)
                    .chain(keywords)
                    .collect();
                let date = iso(row.internal_date);
                let bytes = view.message(row.uid).unwrap().bytes().unwrap().to_vec();
                let key = (name.clone(), info.name.clone(), row.uid.get());
                mail.insert(
                    key,
                    (format!("{} {date} {}", marks.join(" "), row.size), bytes),
                );
            }
        }
    }
    mail
}

/// The dates that [`fill`] gives, as the script writes them.
fn iso(date: InternalDate) -> String {
    let (minute, zone) = (date.seconds() / 60 % 60, date.zone_minutes());
    let local = date.seconds() + i64::from(zone) * 60;
    let (hour, second) = (local / 3600 % 24, date.seconds() % 60);
    assert_eq!(date.seconds() / 86_400, 20_000, "all dates are of one day");
    format!("2024-10-04T{hour:02}:{minute:02}:{second:02}+02:00")
}

fn date(second: u32) -> InternalDate {
    InternalDate::new(20_000 * 86_400 + 3600 + i64::from(second), 120).unwrap()
}

fn uids(text: &str) -> UidSet {
    UidSet::parse(text, None).unwrap()
}

/// Every kind of change, in segments so small that there are several of each state.
fn fill(store: &Store) {
    let anna = store.create_account("anna@example.it").unwrap();
    let bruno = store.create_account("bruno").unwrap();
    let (inbox, other) = (anna.inbox().unwrap(), bruno.inbox().unwrap());
    for number in 0..60_u32 {
        let raw = format!(
            "Subject: {number}\n\n{}\n",
            "x".repeat(number as usize * 100)
        );
        let work = Keyword::new("work").unwrap();
        let first = Delivery::to(&inbox)
            .flags(Flags::SEEN)
            .keyword(work)
            .internal_date(date(number));
        let second = Delivery::to(&other).internal_date(date(number));
        for result in store
            .deliver(raw.as_bytes(), [first, second])
            .unwrap()
            .wait()
            .unwrap()
        {
            result.unwrap();
        }
    }
    let large = vec![b'L'; 1_300_000];
    inbox
        .append(&large, Delivery::to(&inbox).internal_date(date(7)))
        .unwrap()
        .wait()
        .unwrap();
    let lists = anna.create_mailbox("lists/percorsi & altro").unwrap();
    let change = FlagChange::add(Flags::FLAGGED).with(Keyword::new("$junk").unwrap());
    inbox
        .flag(&uids("3:9,20"), &change, None)
        .unwrap()
        .wait()
        .unwrap();
    inbox
        .flag(&uids("5"), &FlagChange::replace(Flags::DRAFT), None)
        .unwrap()
        .wait()
        .unwrap();
    inbox
        .copy_to(&uids("1:10,61"), &lists)
        .unwrap()
        .wait()
        .unwrap();
    inbox
        .move_to(&uids("11:15"), &lists)
        .unwrap()
        .wait()
        .unwrap();
    lists.expunge(&uids("2")).unwrap().wait().unwrap();
    lists.destroy(&uids("4:5")).unwrap().wait().unwrap();
    inbox.destroy(&uids("40:50")).unwrap().wait().unwrap();
    anna.rename_mailbox("lists", "altre").unwrap();
    anna.create_mailbox("away").unwrap();
    inbox
        .copy_to(&uids("1"), &anna.mailbox("away").unwrap())
        .unwrap()
        .wait()
        .unwrap();
    anna.delete_mailbox("away").unwrap();
    anna.subscribe("altre", true).unwrap();
    bruno.rename("bruno.b").unwrap();
    let gone = store.create_account("gone").unwrap();
    let to = Delivery::to(&gone.inbox().unwrap());
    store.deliver(b"x", [to]).unwrap().wait().unwrap();
    gone.delete().unwrap();
}

fn has_python() -> bool {
    Command::new("python3")
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success())
}

/// Goal: the script finds every message with its marks, dates, sizes and bytes, without TAIL and footers too.
#[test]
fn the_script_reads_what_the_store_wrote() {
    if !has_python() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mail");
    let options = Options::new()
        .segment_len(SEGMENT_LEN_MIN)
        .background(false);
    let store = Store::open(&path, options).unwrap();
    fill(&store);
    let kept = kept(&store);
    assert!(kept.len() > 110 && store.stat().segments > 3);
    assert_eq!(dumped(&path), kept, "while it is open");
    store.close().unwrap();
    assert_eq!(dumped(&path), kept, "closed");
    fs::remove_file(path.join("TAIL")).unwrap();
    for entry in fs::read_dir(path.join("log")).unwrap() {
        let file = fs::OpenOptions::new()
            .write(true)
            .open(entry.unwrap().path())
            .unwrap();
        // The trailer of a sealed segment, or what lies behind the end of another.
        let len = file.metadata().unwrap().len();
        if len.is_multiple_of(4096) {
            file.set_len(len - 100).unwrap();
        }
    }
    assert_eq!(dumped(&path), kept, "without TAIL and footers");
}

/// Goal: damage costs the script one message, and it says so.
#[test]
fn the_script_reports_damage() {
    if !has_python() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mail");
    let store = Store::open(&path, Options::new().background(false)).unwrap();
    fill(&store);
    let kept = kept(&store);
    store.close().unwrap();
    let segment = path.join("log/0000000000000001.seg");
    let mut bytes = fs::read(&segment).unwrap();
    let needle = b"Subject: 30\n";
    let at = bytes
        .windows(needle.len())
        .position(|window| window == needle)
        .unwrap();
    bytes[at] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let out = tempfile::tempdir().unwrap();
    let output = run(&path, out.path());
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.lines().count(), 2, "{said}");
    assert!(
        said.contains("message 31 of INBOX of anna@example.it: its checksum is wrong"),
        "{said}"
    );
    let listed = String::from_utf8(output.stdout).unwrap().lines().count();
    assert_eq!(listed, kept.len());
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Goal: a torn tail is where the script and the store both stop, wherever it is torn.
#[test]
fn the_script_stops_at_a_torn_tail() {
    if !has_python() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mail");
    let options = || Options::new().background(false).prepare(false);
    let store = Store::open(&path, options()).unwrap();
    fill(&store);
    let whole = kept(&store);
    let inbox = store.account("anna@example.it").unwrap().inbox().unwrap();
    let raw = vec![b'T'; 1500];
    inbox
        .append(&raw, Delivery::to(&inbox).internal_date(date(9)))
        .unwrap()
        .wait()
        .unwrap();
    for sector in 1..=4 {
        let torn = folder.path().join(format!("torn-{sector}"));
        copy(&path, &torn);
        fs::remove_file(torn.join("TAIL")).unwrap();
        let segment = torn.join("log/0000000000000001.seg");
        let mut bytes = fs::read(&segment).unwrap();
        let end = bytes.len();
        bytes[end - sector * 512..end - (sector - 1) * 512].fill(0);
        fs::write(&segment, bytes).unwrap();
        assert_eq!(dumped(&torn), whole, "sector {sector} from the end");
        let recovered = Store::open(&torn, options()).unwrap();
        assert!(recovered.recovery().cut.is_some());
        assert_eq!(kept(&recovered), whole);
    }
}
