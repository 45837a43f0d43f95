//! A whole store of format version 1, written once and never again: it opens with what it held then.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use mailkeep::mail::{FlagChange, Flags, InternalDate, Keyword, UidSet};
use mailkeep::{Delivery, Options, Store};

use crate::sim::{Sim, SimHost};

const FILES: [&str; 4] = ["MANIFEST", "SEGMENTS", "TAIL", "log/0000000000000001.seg"];

const SEEN: [&str; 8] = [
    "[\"news\"]",
    "INBOX 1790000000 12",
    "1 \\Seen [Keyword(\"work\")] 9 1 31-Dec-1969 22:30:01 -0130 36 \"Subject: message 1\\r\\n\\r\\nHow are you?\\n\"",
    "3 \\Seen [Keyword(\"work\")] 9 3 31-Dec-1969 22:30:03 -0130 36 \"Subject: message 3\\r\\n\\r\\nHow are you?\\n\"",
    "perch\u{e9} 1790000001 3",
    "perch\u{e9}/inviate 1790000002 11",
    "1 \\Seen [Keyword(\"work\")] 10 1 31-Dec-1969 22:30:01 -0130 36 \"Subject: message 1\\r\\n\\r\\nHow are you?\\n\"",
    "2  [Keyword(\"work\")] 11 2 31-Dec-1969 22:30:02 -0130 36 \"Subject: message 2\\r\\n\\r\\nHow are you?\\n\"",
];

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1/store")
}

fn options() -> Options {
    let host = SimHost::new(1_790_000_000_000, 1000);
    Options::new()
        .background(false)
        .prepare(false)
        .host(Arc::new(host))
}

/// What the old store was filled with, in the same order.
fn fill(store: &Store) {
    let anna = store.create_account("anna@example.it").unwrap();
    let inbox = anna.inbox().unwrap();
    let sent = anna.create_mailbox("perch\u{e9}/inviate").unwrap();
    let work = Keyword::new("work").unwrap();
    let date = |seconds| InternalDate::new(seconds, -90).unwrap();
    for number in 1..=4 {
        let raw = format!("Subject: message {number}\r\n\r\nHow are you?\n");
        let to = Delivery::to(&inbox)
            .keyword(work.clone())
            .internal_date(date(number));
        inbox.append(raw.as_bytes(), to).unwrap().wait().unwrap();
    }
    let some = |text| UidSet::parse(text, None).unwrap();
    inbox
        .flag(&some("1,3"), &FlagChange::add(Flags::SEEN), None)
        .unwrap()
        .wait()
        .unwrap();
    inbox.copy_to(&some("1"), &sent).unwrap().wait().unwrap();
    inbox.move_to(&some("2"), &sent).unwrap().wait().unwrap();
    inbox.destroy(&some("4")).unwrap().wait().unwrap();
    anna.subscribe("news", true).unwrap();
}

/// All that can be seen of it.
fn seen(store: &Store) -> Vec<String> {
    let anna = store.account("anna@example.it").unwrap();
    let mut seen = vec![format!("{:?}", anna.subscriptions().unwrap())];
    for info in anna.mailboxes().unwrap() {
        let view = anna.mailbox(&info.name).unwrap().view().unwrap();
        seen.push(format!(
            "{} {} {}",
            info.name,
            view.uid_validity(),
            view.highest_modseq()
        ));
        for row in view.iter() {
            let text = view.message(row.uid).unwrap().bytes().unwrap();
            let text = String::from_utf8(text.to_vec()).unwrap();
            seen.push(format!(
                "{} {} {:?} {} {} {} {} {text:?}",
                row.uid,
                row.flags,
                row.keywords,
                row.modseq,
                row.email,
                row.internal_date,
                row.size
            ));
        }
    }
    seen
}

/// Goal: the old store opens, whole and clean, for reading and for writing, and shows what it held.
#[test]
fn a_store_of_version_1_opens() {
    let files: BTreeMap<String, Vec<u8>> = FILES
        .iter()
        .map(|name| ((*name).to_owned(), fs::read(folder().join(name)).unwrap()))
        .collect();
    for read_only in [true, false] {
        let disk = Sim::from_files(files.clone());
        let store = Store::open_on(disk.storage(), options().read_only(read_only)).unwrap();
        assert!(store.recovery().is_whole() && store.recovery().clean);
        assert_eq!(seen(&store), SEEN);
    }
}

/// Goal: the same calls make a store that shows the same today.
#[test]
fn the_same_calls_show_the_same() {
    let disk = Sim::new();
    let store = Store::open_on(disk.storage(), options()).unwrap();
    fill(&store);
    assert_eq!(seen(&store), SEEN);
}
