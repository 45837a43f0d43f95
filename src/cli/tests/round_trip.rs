//! What a sink writes, the source gives back: any bytes, in any order.

use std::path::Path;

use proptest::prelude::*;

use crate::sink::{EmlSink, Fidelity, MaildirSink, MboxSink, Outgoing};
use crate::source::{self, Format, Found, Options};

/// Bytes made of what formats care about, and of anything.
fn message() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"\n".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b"\r".to_vec()),
        Just(b">".to_vec()),
        Just(b"From ".to_vec()),
        Just(b"\n>>From ".to_vec()),
        Just(b"From a@b Thu Jan  1 00:00:00 2004".to_vec()),
        Just(b"From NO-FINAL-NEWLINE Thu Jan  1 00:00:00 2004\n".to_vec()),
        Just(b"\x28\xb5\x2f\xfd".to_vec()),
        Just(b"\x1f\x8b\x08".to_vec()),
        Just(b"Subject: x\n".to_vec()),
        prop::collection::vec(any::<u8>(), 0..8),
        prop::collection::vec(Just(b'x'), 4080..4110),
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

/// Everything below a path.
fn read(path: &Path, format: Format) -> Vec<Found> {
    source::open(
        path,
        Options {
            format,
            ..Options::default()
        },
    )
    .unwrap()
    .collect::<Result<_, _>>()
    .unwrap()
}

/// A message to write, the first in the mailbox at the top.
fn outgoing(raw: &[u8], uid: u32) -> Outgoing<'_> {
    let received = 1_072_915_200 + i64::from(uid);
    Outgoing {
        raw,
        received,
        flags: &[],
        folder: &[],
        uid,
    }
}

/// Writes an mbox; the fidelity of each message.
pub(super) fn write_mbox(path: &Path, messages: &[Vec<u8>]) -> Vec<Fidelity> {
    let mut sink = MboxSink::create(path).unwrap();
    let fidelity = (1..)
        .zip(messages)
        .map(|(uid, raw)| sink.put(&outgoing(raw, uid)).unwrap().fidelity)
        .collect();
    sink.finish().unwrap();
    fidelity
}

/// Writes a Maildir.
pub(super) fn write_maildir(path: &Path, messages: &[Vec<u8>]) {
    let mut sink = MaildirSink::create(path, "host").unwrap();
    for (uid, raw) in (1..).zip(messages) {
        assert_eq!(
            sink.put(&outgoing(raw, uid)).unwrap().fidelity,
            Fidelity::Exact
        );
    }
    sink.finish().unwrap();
}

/// Writes single files with UIDs that sort as their names do; the fidelity of each message.
pub(super) fn write_eml(path: &Path, messages: &[Vec<u8>]) -> Vec<Fidelity> {
    let mut sink = EmlSink::create(path).unwrap();
    let fidelity = (100_000..)
        .zip(messages)
        .map(|(uid, raw)| sink.put(&outgoing(raw, uid)).unwrap().fidelity)
        .collect();
    sink.finish().unwrap();
    fidelity
}

/// The bytes alone.
pub(super) fn raws(path: &Path, format: Format) -> Vec<Vec<u8>> {
    read(path, format)
        .into_iter()
        .map(|found| found.raw)
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn mbox(messages in prop::collection::vec(message(), 0..6)) {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("mbox");
        let fidelity = write_mbox(&path, &messages);
        let found = read(&path, Format::Mbox);
        prop_assert_eq!(found.len(), messages.len());
        for ((found, raw), number) in found.iter().zip(&messages).zip(1..) {
            prop_assert_eq!(&found.raw, raw);
            prop_assert_eq!(found.received, Some((1_072_915_200 + number, 0)));
        }
        for (raw, fidelity) in messages.iter().zip(fidelity) {
            let is_exact = raw.is_empty() || raw.ends_with(b"\n");
            prop_assert_eq!(fidelity == Fidelity::Exact, is_exact);
        }
    }

    #[test]
    fn maildir(messages in prop::collection::vec(message(), 0..6)) {
        let root = tempfile::tempdir().unwrap();
        write_maildir(root.path(), &messages);
        prop_assert_eq!(raws(root.path(), Format::Auto), messages);
    }

    #[test]
    fn eml(messages in prop::collection::vec(message(), 0..6)) {
        let root = tempfile::tempdir().unwrap();
        let fidelity = write_eml(root.path(), &messages);
        prop_assert_eq!(&raws(root.path(), Format::Eml), &messages);
        if fidelity.iter().all(|fidelity| *fidelity == Fidelity::Exact) {
            prop_assert_eq!(raws(root.path(), Format::Auto), messages);
        }
    }

    #[test]
    fn flags_and_folders(
        folder in prop::collection::vec("[^\\x00]{1,12}", 0..4),
        keyword in "[a-z$]{1,8}",
    ) {
        let root = tempfile::tempdir().unwrap();
        let flags = ["\\Seen".to_owned(), keyword];
        let mut sink = MaildirSink::create(root.path(), "host").unwrap();
        sink.put(&Outgoing { flags: &flags, folder: &folder, ..outgoing(b"x", 1) }).unwrap();
        sink.finish().unwrap();
        let found = read(root.path(), Format::Auto);
        prop_assert_eq!(&found[0].folder, &folder);
        prop_assert_eq!(&found[0].flags[..], &flags);
    }

    #[test]
    fn any_file_is_read_without_a_panic(bytes in message()) {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("f"), &bytes).unwrap();
        for format in [Format::Auto, Format::Mbox, Format::Eml] {
            let options = Options { message_max: 20, format, ..Options::default() };
            if let Ok(source) = source::open(&root.path().join("f"), options) {
                for found in source.flatten() {
                    prop_assert!(found.raw.len() <= 20);
                }
            }
        }
    }
}
