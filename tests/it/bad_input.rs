//! What is not a store, not the right one, not whole, or not a valid call; and what each error says, word by word.

use std::collections::BTreeMap;
use std::error::Error as _;

use mailkeep::format::manifest::Manifest;
use mailkeep::{Delivery, Error, Keyword, Options, Store};

use crate::kit::{deliver, open, options};
use crate::sim::{Call, Fault, Sim};

type Files = BTreeMap<String, Vec<u8>>;

/// An error and its causes, one after the other.
fn told(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// What a call that must fail says.
fn refusal<T>(result: mailkeep::Result<T>) -> String {
    result
        .err()
        .map_or_else(|| "it worked".to_owned(), |error| told(&error))
}

fn good_files(run: u64) -> Files {
    let sim = Sim::new();
    let store = open(&sim, options(run)).unwrap();
    deliver(&store, 1, 500).unwrap();
    deliver(&store, 2, 2 << 20).unwrap();
    store.close().unwrap();
    sim.files()
}

fn opening(files: Files, options: Options) -> String {
    refusal(open(&Sim::from_files(files), options))
}

/// The files with every slot of MANIFEST changed.
fn with_manifest(change: impl Fn(&mut Manifest)) -> Files {
    let mut files = good_files(0);
    for page in files.get_mut("MANIFEST").unwrap().chunks_mut(4096) {
        if let Ok(mut manifest) = Manifest::decode(page) {
            change(&mut manifest);
            page.copy_from_slice(&manifest.encode());
        }
    }
    files
}

#[test]
fn what_is_no_store() {
    let holds_others = Files::from([("notes.txt".to_owned(), Vec::new())]);
    let no_create = || options(1).create(false);
    let refused = [
        (
            opening(Files::new(), no_create()),
            "simulated disk holds no store: the folder is empty",
        ),
        (
            opening(Files::new(), options(1).read_only(true)),
            "simulated disk holds no store: the folder is empty",
        ),
        (
            opening(holds_others, options(1)),
            "simulated disk holds no store: the folder holds other files",
        ),
    ];
    for (found, expected) in refused {
        assert_eq!(found, expected);
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, b"From x").unwrap();
    let missing = dir.path().join("missing");
    assert_eq!(
        refusal(Store::open(&file, Options::new())),
        format!("{} holds no store: it is no directory", file.display())
    );
    assert_eq!(
        refusal(Store::open(&missing, Options::new().create(false))),
        format!("{} holds no store: it does not exist", missing.display())
    );
}

#[test]
fn what_is_newer() {
    let version = |files: Files| {
        let mut files = files;
        for page in files.get_mut("MANIFEST").unwrap().chunks_mut(4096) {
            page[8..10].copy_from_slice(&9_u16.to_le_bytes());
            let crc = mailkeep::format::checksum(0, &page[..4092]);
            page[4092..].copy_from_slice(&crc.to_le_bytes());
        }
        files
    };
    let must_know = |manifest: &mut Manifest| manifest.features.must_know = 4;
    let read_only = |manifest: &mut Manifest| manifest.features.read_only_safe = 2;
    let ignorable = |manifest: &mut Manifest| manifest.features.ignorable = 1;
    let newer = "simulated disk/MANIFEST is in a newer format: ";
    let reading = || options(1).read_only(true);
    let rows = [
        (
            opening(version(good_files(0)), options(1)),
            format!("{newer}format version is 9, this build reads up to 1"),
        ),
        (
            opening(with_manifest(must_know), options(1)),
            format!("{newer}feature bits 00000004 are not known to this build"),
        ),
        (
            opening(with_manifest(must_know), reading()),
            format!("{newer}feature bits 00000004 are not known to this build"),
        ),
        (
            opening(with_manifest(read_only), options(1)),
            format!("{newer}feature bits 00000002 are not known to this build"),
        ),
        (
            opening(with_manifest(read_only), reading()),
            "it worked".to_owned(),
        ),
        (
            opening(with_manifest(ignorable), options(1)),
            "it worked".to_owned(),
        ),
    ];
    for (found, expected) in rows {
        assert_eq!(found, expected);
    }
}

#[test]
fn what_is_half_copied_or_foreign() {
    let without = |name: &str| {
        let mut files = good_files(0);
        files.remove(name);
        files
    };
    let (small, large) = ("log/0000000000000001.seg", "log/0000000000000002.seg");
    let foreign = |name: &str| {
        let mut files = good_files(0);
        files.insert(name.to_owned(), good_files(7)[name].clone());
        files
    };
    let is = "simulated disk is incomplete: simulated disk/";
    let rows = [
        (
            without("MANIFEST"),
            "simulated disk is incomplete: MANIFEST is missing".to_owned(),
        ),
        (
            without("SEGMENTS"),
            "simulated disk is incomplete: SEGMENTS is missing".to_owned(),
        ),
        (without(small), format!("{is}{small}")),
        (without(large), format!("{is}{large}")),
        (without("TAIL"), "it worked".to_owned()),
        (without("LOCK"), "it worked".to_owned()),
        (
            foreign("SEGMENTS"),
            "simulated disk/SEGMENTS belongs to another store".to_owned(),
        ),
        (
            foreign(small),
            format!("simulated disk/{small} belongs to another store"),
        ),
        (foreign("TAIL"), "it worked".to_owned()),
    ];
    for (files, expected) in rows {
        assert_eq!(opening(files, options(1)), expected);
    }
}

#[test]
fn calls_outside_the_rules() {
    let sim = Sim::new();
    let store = open(&sim, options(0).message_max(1_000)).unwrap();
    let anna = store.create_account("anna").unwrap();
    let inbox = anna.inbox().unwrap();
    let send = |raw: &[u8]| refusal(store.deliver(raw, [Delivery::to(&inbox)]));
    let level = "x".repeat(256);
    let deep = vec!["x"; 1_000].join("/");
    let create = |name: &str| refusal(anna.create_mailbox(name));
    let keyword = |name: &str| refusal(Keyword::new(name).map_err(Error::from));
    let account = |name: &str| refusal(store.create_account(name));
    let option = |options: Options| refusal(open(&Sim::new(), options));
    let uid = mailkeep::Uid::new(7).unwrap();
    anna.create_mailbox("a/b").unwrap();
    let rows = [
        (send(b""), "the message is empty"),
        (
            send(&[b'x'; 1_001]),
            "the message has 1001 bytes, the limit is 1000",
        ),
        (create(""), "the name is not valid: mailbox name is empty"),
        (
            create("a\0b"),
            "the name is not valid: level 0 of the mailbox name has control character U+0000 at byte 1",
        ),
        (
            create("a/\u{7f}"),
            "the name is not valid: level 1 of the mailbox name has control character U+007F at byte 0",
        ),
        (
            create("a//b"),
            "the name is not valid: level 1 of the mailbox name is empty",
        ),
        (
            create(&level),
            "the name is not valid: level 0 of the mailbox name has 256 bytes, at most 255 are allowed",
        ),
        (
            create(&deep),
            "the name is not valid: mailbox name has 1000 levels, at most 64 are allowed",
        ),
        (create("INBOX"), "mailbox \"INBOX\" exists"),
        (keyword(""), "the keyword is not valid: keyword is empty"),
        (
            keyword("a b"),
            "the keyword is not valid: keyword has byte 0x20 at index 1, which an atom cannot hold",
        ),
        (
            account(""),
            "the account name is not valid: account name is empty",
        ),
        (account("anna"), "account \"anna\" exists"),
        (refusal(store.account("bob")), "there is no account \"bob\""),
        (
            refusal(anna.mailbox("None")),
            "there is no mailbox \"None\"",
        ),
        (
            refusal(anna.delete_mailbox("INBOX")),
            "mailbox \"INBOX\" cannot be deleted",
        ),
        (
            refusal(anna.delete_mailbox("a")),
            "mailbox \"a\" has mailboxes below it",
        ),
        (
            refusal(inbox.view().unwrap().message(uid)),
            "there is no message 7 in mailbox \"INBOX\"",
        ),
        (
            option(options(1).segment_len(100)),
            "option segment_len is 100, outside 65536 to 2147483648",
        ),
        (
            option(options(1).message_max(0)),
            "option message_max is 0, outside 1 to 4294901760",
        ),
        (
            refusal(open(&sim, options(1))),
            "simulated disk is in use by another process",
        ),
    ];
    for (found, expected) in rows {
        assert_eq!(found, expected);
    }
}

#[test]
fn what_a_disk_or_a_closed_store_says() {
    let sim = Sim::new();
    let store = open(&sim, options(0)).unwrap();
    deliver(&store, 1, 100).unwrap();
    let name = "log/0000000000000001.seg";
    sim.set_fault(Some(Fault::from(&[Call::Write], 0)));
    let failed = refusal(deliver(&store, 2, 100));
    assert_eq!(
        failed,
        format!("cannot write simulated disk/{name}: Input/output error (os error 5)")
    );
    let after = refusal(deliver(&store, 2, 100));
    assert_eq!(after, format!("writing has stopped: {failed}"));
    sim.set_fault(None);
    let mut full = Fault::from(&[Call::Write], 0);
    full.error = || std::io::Error::from_raw_os_error(28);
    let sim = Sim::new();
    let store = open(&sim, options(0)).unwrap();
    deliver(&store, 1, 100).unwrap();
    sim.set_fault(Some(full));
    let refused = refusal(deliver(&store, 2, 100));
    assert!(
        refused.starts_with("no space left to write simulated disk/log/"),
        "{refused}"
    );
    sim.set_fault(None);
    let other = store.clone();
    store.close().unwrap();
    assert_eq!(refusal(deliver(&other, 2, 100)), "the store is closed");
    drop(other);
    let reader = open(&sim, options(1).read_only(true)).unwrap();
    assert_eq!(
        refusal(deliver(&reader, 2, 100)),
        "the store is open read-only"
    );
    let mut files = sim.files();
    files.get_mut("MANIFEST").unwrap().fill(1);
    let broken = opening(files, options(2));
    assert_eq!(
        broken,
        "simulated disk/MANIFEST is damaged at byte 0: magic number is 0101010101010101, expected 3146494e414d4b4d"
    );
}
