//! A store whose files are cut, or whose disk fails, under its readers: right bytes or an error that says what, and
//! nothing of it ends the process.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mailkeep::io::faults;
use mailkeep::{
    Delivery, Error, FlagChange, Flags, Mailbox, Options, Store, Uid, View, install_guard,
    still_good,
};

use crate::process::{Dice, env, seconds, survives, survives_both};

fn options() -> Options {
    Options::new()
        .background(false)
        .prepare(false)
        .segment_len(1 << 20)
}

/// A message like no other, without a byte that is 0.
fn mail(seed: u64, len: usize) -> Vec<u8> {
    let mut text = format!("Subject: {seed}\r\n\r\n").into_bytes();
    let mut dice = Dice::new(seed);
    while text.len() < len {
        text.push(b' ' + dice.below(95) as u8);
    }
    text
}

/// A store of `count` messages of all sizes, and what they are.
fn filled(path: &Path, count: u64) -> (Store, Mailbox, BTreeMap<Uid, Vec<u8>>) {
    let store = Store::open(path, options()).unwrap();
    let inbox = store.create_account("anna").unwrap().inbox().unwrap();
    let mut dice = Dice::new(count);
    let mut mails = BTreeMap::new();
    for seed in 0..count {
        let len = [30, 700, 5_000, 40_000, 200_000][dice.below(5)];
        let text = mail(seed, 20 + dice.below(len));
        let kept = store.deliver(&text[..], [Delivery::to(&inbox)]).unwrap();
        mails.insert(kept.wait().unwrap()[0].as_ref().unwrap().uid, text);
    }
    (store, inbox, mails)
}

/// The files of a folder of the store that are of a kind, by name.
fn files(path: &Path, folder: &str, kind: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(path.join(folder)).unwrap();
    let mut found: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.extension().is_some_and(|found| found == kind));
    found.sort();
    found
}

fn cut(path: &Path, len: u64) {
    let file = File::options().write(true).open(path).unwrap();
    file.set_len(len).unwrap();
}

/// Every message of the view, twice: right bytes, or an error of its file. How many are right.
fn read_all(view: &View, mails: &BTreeMap<Uid, Vec<u8>>) -> usize {
    let right = mails.iter().filter(|(uid, text)| {
        let read = || view.message(**uid).and_then(|message| message.bytes());
        match (read(), read()) {
            (Ok(first), Ok(second)) => {
                assert!(
                    first == text[..] && second == text[..],
                    "wrong bytes of {uid}"
                );
                true
            }
            (Err(error), _) | (_, Err(error)) => {
                told(&error);
                false
            }
        }
    });
    right.count()
}

/// An error that says where and what.
fn told(error: &Error) {
    let (Error::Io { path, .. } | Error::Damaged { path, .. }) = error else {
        panic!("{error:?}");
    };
    assert!(path.contains("/log/"), "{error}");
}

/// What eight readers met.
#[derive(Default)]
struct Tally {
    right: AtomicU64,
    refused: AtomicU64,
    turned: AtomicU64,
    done: AtomicBool,
}

/// Reads at random until it is told to stop. What it is given is right, or is known to be doubtful when it has looked.
fn read_at_random(seed: u64, view: &View, mails: &BTreeMap<Uid, Vec<u8>>, tally: &Tally) {
    let uids: Vec<Uid> = mails.keys().copied().collect();
    let mut dice = Dice::new(seed);
    let count = |which: &AtomicU64| which.fetch_add(1, Ordering::Relaxed);
    while !tally.done.load(Ordering::Relaxed) {
        let uid = uids[dice.below(uids.len())];
        let text = &mails[&uid][..];
        let from = dice.below(text.len());
        let end = text.len().min(from + 5_000);
        let read = view.message(uid).and_then(|message| match dice.below(3) {
            0 => message.bytes().map(|bytes| (bytes, text)),
            1 => message.crlf().map(|bytes| (bytes, text)),
            _ => message
                .range(from..end)
                .map(|bytes| (bytes, &text[from..end])),
        });
        match read {
            Ok((bytes, expected)) if bytes == expected => count(&tally.right),
            Ok((bytes, _)) => {
                assert!(!still_good(&bytes), "wrong bytes of {uid}, seed {seed}");
                count(&tally.turned)
            }
            Err(error) => {
                told(&error);
                count(&tally.refused)
            }
        };
    }
}

/// Goal: segments are cut under eight readers. What they are given is right, or is known to be doubtful when they have
/// looked at it; errors name the file; the writer goes on; when the files are whole again, the next opening has all mail.
#[test]
fn segments_are_cut_under_eight_readers() {
    survives("store::segments_are_cut_under_eight_readers", || {
        install_guard().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mail");
        let (store, inbox, mut mails) = filled(&path, 200);
        drop((store, inbox));
        let segments = files(&path, "log", "seg");
        assert!(segments.len() > 3, "{segments:?}");
        // The last one is written to: it is not for others to cut.
        let whole: Vec<_> = segments[..segments.len() - 1]
            .iter()
            .map(|path| (path, std::fs::read(path).unwrap()))
            .collect();
        let (mut tally, mut dice) = (Tally::default(), Dice::new(9));
        let (start, mut rounds) = (Instant::now(), 0);
        while start.elapsed() < Duration::from_secs(seconds()) || rounds < 20 {
            let store = Store::open(&path, options()).unwrap();
            let inbox = store.account("anna").unwrap().inbox().unwrap();
            let view = inbox.view().unwrap();
            tally.done = AtomicBool::new(false);
            std::thread::scope(|threads| {
                for thread in 0..8 {
                    let (view, mails, tally) = (&view, &mails, &tally);
                    threads.spawn(move || read_at_random(rounds * 8 + thread, view, mails, tally));
                }
                for _ in 0..whole.len() {
                    std::thread::sleep(Duration::from_millis(5));
                    let (path, bytes) = &whole[dice.below(whole.len())];
                    cut(path, dice.below(bytes.len()) as u64);
                }
                std::thread::sleep(Duration::from_millis(5));
                tally.done.store(true, Ordering::Relaxed);
            });
            let text = mail(rounds << 32, 900);
            let kept = store.deliver(&text[..], [Delivery::to(&inbox)]).unwrap();
            let uid = kept.wait().unwrap()[0].as_ref().unwrap().uid;
            let read = inbox.view().unwrap().message(uid).unwrap().bytes().unwrap();
            assert_eq!(read, text[..]);
            mails.insert(uid, text);
            drop((view, inbox, store));
            for (path, bytes) in &whole {
                std::fs::write(path, bytes).unwrap();
            }
            rounds += 1;
        }
        let [right, refused, turned] = [&tally.right, &tally.refused, &tally.turned]
            .map(|count| count.load(Ordering::Relaxed));
        println!(
            "{rounds} rounds: {right} reads right, {refused} refused, {turned} turned while they were looked at; {} pages",
            faults()
        );
        assert!(right > 0 && refused > 0 && faults() > rounds);
        let store = Store::open(&path, options()).unwrap();
        let view = store
            .account("anna")
            .unwrap()
            .inbox()
            .unwrap()
            .view()
            .unwrap();
        assert_eq!(read_all(&view, &mails), mails.len());
    });
}

/// Goal: a message that was verified is not handed out again once its pages are gone, and nobody has looked at them
/// since: with the guard, without it, whole, in part and as CRLF.
#[test]
fn a_verified_message_that_is_gone_is_refused() {
    survives_both("store::a_verified_message_that_is_gone_is_refused", gone);
}

fn gone(guarded: bool) {
    type Read = fn(&mailkeep::Message) -> mailkeep::Result<usize>;
    let reads: [Read; 5] = [
        |message| message.bytes().map(|bytes| bytes.len()),
        |message| message.range(70_000..80_000).map(|bytes| bytes.len()),
        |message| message.crlf().map(|bytes| bytes.len()),
        |message| message.check().map(|()| 1),
        |message| message.digest().map(|_| 1),
    ];
    for (at, read) in reads.iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mail");
        let (_store, inbox, mails) = filled(&path, 60);
        let (view, before) = (inbox.view().unwrap(), faults());
        let large = mails.iter().find(|(_, text)| text.len() > 100_000).unwrap();
        let message = view.message(*large.0).unwrap();
        let held = message.bytes().unwrap();
        assert_eq!(held, large.1[..]);
        assert!(read(&message).unwrap() > 0);
        for path in files(&path, "log", "seg") {
            cut(&path, 4096);
        }
        // Not `read_all`: this is the first look since.
        told(&read(&message).unwrap_err());
        told(&read(&message).unwrap_err());
        assert_eq!(still_good(&held), !guarded, "read {at}");
        assert_eq!(faults() > before, guarded, "read {at}");
    }
}

/// Goal: a file that ends in the middle of a message while it is mapped: the message is refused by file and offset, whether
/// it was verified before or not; a part of it that is still there is right or refused; those in front of it are served.
#[test]
fn a_file_is_cut_in_the_middle_of_a_mapped_message() {
    survives(
        "store::a_file_is_cut_in_the_middle_of_a_mapped_message",
        || {
            install_guard().unwrap();
            for verified_before in [false, true] {
                for part in 1..16 {
                    cut_in_the_middle(verified_before, part);
                }
            }
        },
    );
}

fn cut_in_the_middle(verified_before: bool, part: usize) {
    let what = format!("verified before: {verified_before}, cut at {part}/16");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mail");
    let (store, inbox, mails) = filled(&path, 0);
    let texts = [mail(1, 9_000), mail(2, 300_000), mail(3, 9_000)];
    let uids: Vec<Uid> = texts
        .iter()
        .map(|text| {
            let kept = store.deliver(&text[..], [Delivery::to(&inbox)]).unwrap();
            kept.wait().unwrap()[0].as_ref().unwrap().uid
        })
        .collect();
    assert!(mails.is_empty());
    let view = inbox.view().unwrap();
    let segment = &files(&path, "log", "seg")[0];
    let bytes = std::fs::read(segment).unwrap();
    let at = bytes
        .windows(999)
        .position(|found| found == &texts[1][..999]);
    let (at, len) = (at.unwrap(), texts[1].len());
    let message = view.message(uids[1]).unwrap();
    // The file is mapped by now, whichever was read.
    assert_eq!(
        view.message(uids[0]).unwrap().bytes().unwrap(),
        texts[0][..]
    );
    let held = verified_before.then(|| message.bytes().unwrap());
    let end = at + len * part / 16;
    cut(segment, end as u64);
    for _ in 0..2 {
        let error = message.bytes().unwrap_err();
        told(&error);
        let text = error.to_string();
        assert!(text.contains(segment.to_str().unwrap()), "{what}: {text}");
        if let Error::Damaged { offset, .. } = &error {
            assert!((1..=end as u64).contains(offset), "{what}: {text}");
        }
        for range in [0..70, len / 2..len / 2 + 70, len - 70..len] {
            match message.range(range.clone()) {
                Ok(part) => assert!(part == texts[1][range] || !still_good(&part), "{what}"),
                Err(error) => told(&error),
            }
        }
        told(&message.crlf().unwrap_err());
        told(&message.check().unwrap_err());
        told(
            &view
                .message(uids[2])
                .and_then(|message| message.bytes())
                .unwrap_err(),
        );
        // What lies in front of the cut is there, if from another read.
        let first = view.message(uids[0]).unwrap().bytes();
        assert!(first.is_ok_and(|bytes| bytes == texts[0][..]), "{what}");
    }
    // The cut page keeps its beginning, and the rest of it is zeroes, not the file's.
    if let Some(held) = held {
        assert!(held != texts[1][..] && !still_good(&held), "{what}");
    }
}

/// Goal: lengths in the header of a body are not believed, with a wrong checksum or with a good one: the message is refused
/// as damaged there, and nothing beyond the file is touched.
#[test]
fn lengths_in_a_header_are_not_believed() {
    survives_both("store::lengths_in_a_header_are_not_believed", |_| lengths());
}

fn lengths() {
    use mailkeep::format::body::{BodyHeader, sign};
    use mailkeep::format::segment::SegmentHeader;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mail");
    let (store, inbox, _) = filled(&path, 0);
    let text = mail(1, 150_000);
    for _ in 0..2 {
        let kept = store.deliver(&text[..], [Delivery::to(&inbox)]).unwrap();
        kept.wait().unwrap();
    }
    store.close().unwrap();
    let segment = &files(&path, "log", "seg")[0];
    let whole = std::fs::read(segment).unwrap();
    let place = SegmentHeader::decode(&whole[..4096]).unwrap().place();
    let body_at = whole.windows(999).position(|found| found == &text[..999]);
    let body_at = body_at.unwrap();
    // The header lies right in front, padded to 8 bytes.
    let header_at = (0..body_at)
        .rev()
        .find(|at| BodyHeader::decode(place, &whole[*at..]).is_ok())
        .unwrap();
    let header = BodyHeader::decode(place, &whole[header_at..]).unwrap();
    assert_eq!(header_at + header.encoded_len(), body_at);
    let encoded = &whole[header_at..body_at];
    let numbers: Vec<usize> = (4..56)
        .filter(|at| {
            let field = u32::from_le_bytes(encoded[*at..at + 4].try_into().unwrap());
            [header.encoded_len(), text.len()].contains(&(field as usize))
        })
        .collect();
    assert!(
        numbers.len() >= 3,
        "the header's, the stored and the raw length: {numbers:?}"
    );
    let mut tried = 0;
    for at in numbers {
        for wrong in [
            0,
            1,
            55,
            56,
            149_999,
            150_001,
            1 << 20,
            1 << 31,
            u32::MAX - 7,
            u32::MAX,
        ] {
            for signed in [false, true] {
                let mut bytes = whole.clone();
                let header_bytes = &mut bytes[header_at..body_at];
                header_bytes[at..at + 4].copy_from_slice(&u32::to_le_bytes(wrong));
                if signed {
                    sign(place, header.number, header_bytes);
                }
                std::fs::write(segment, bytes).unwrap();
                let store = Store::open(&path, options()).unwrap();
                let view = store
                    .account("anna")
                    .unwrap()
                    .inbox()
                    .unwrap()
                    .view()
                    .unwrap();
                let reads: [fn(&mailkeep::Message) -> mailkeep::Result<bytes::Bytes>; 3] = [
                    |message| message.bytes(),
                    |message| message.range(149_000..149_010),
                    |message| message.crlf(),
                ];
                for read in reads {
                    let read = view.message(Uid::MIN).and_then(|message| read(&message));
                    let error = read.unwrap_err();
                    told(&error);
                    let Error::Damaged { offset, .. } = &error else {
                        panic!("{at} {wrong} {signed}: {error:?}");
                    };
                    let there = [header_at as u64, body_at as u64];
                    assert!(there.contains(offset), "{at} {wrong}: {error}");
                }
                let other = view.message(Uid::new(2).unwrap()).unwrap().bytes().unwrap();
                assert_eq!(other, text[..]);
                tried += 1;
            }
        }
    }
    assert_eq!(faults(), 0, "nothing beyond the file was touched");
    println!("{tried} wrong lengths");
}

/// Goal: without the guard bytes are read anew each time, so they are verified each time.
#[test]
fn what_is_read_again_is_verified_again() {
    survives("store::what_is_read_again_is_verified_again", || {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mail");
        let (_store, inbox, mails) = filled(&path, 5);
        let view = inbox.view().unwrap();
        let (uid, text) = mails.last_key_value().unwrap();
        let message = view.message(*uid).unwrap();
        assert_eq!(message.bytes().unwrap(), text[..]);
        let segment = &files(&path, "log", "seg")[0];
        let bytes = std::fs::read(segment).unwrap();
        let at = bytes
            .windows(text.len())
            .position(|found| found == &text[..]);
        let file = File::options().write(true).open(segment).unwrap();
        file.write_all_at(b"!", at.unwrap() as u64 + 3).unwrap();
        let refused = [
            message.bytes().unwrap_err(),
            message.range(0..10).unwrap_err(),
            message.crlf().unwrap_err(),
        ];
        for error in refused {
            assert!(matches!(error, Error::Damaged { .. }), "{error:?}");
        }
    });
}

/// All that a view shows of its entries.
fn shown(view: &View) -> String {
    let columns: Vec<_> = view
        .columns()
        .map(|part| {
            (
                part.uid(),
                part.flags(),
                part.modseq(),
                part.size(),
                part.email(),
            )
        })
        .collect();
    format!(
        "{:?} {columns:?} {:?}",
        view.iter().collect::<Vec<_>>(),
        view.uids()
    )
}

/// Goal: image files go while views of accounts that were loaded from them are held: views, changes made on them, and
/// what the next opening finds, are as if nothing had happened.
#[test]
fn images_are_cut_under_a_view() {
    survives_both("store::images_are_cut_under_a_view", |_| images());
}

fn images() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mail");
    let count = env("MAILKEEP_GUARD_MESSAGES", 400);
    let options = || options().chain_max(1).tail_max(64 << 10);
    {
        let store = Store::open(&path, options()).unwrap();
        let inbox = store.create_account("anna").unwrap().inbox().unwrap();
        for seed in 0..count {
            let kept = store
                .deliver(mail(seed, 60), [Delivery::to(&inbox)])
                .unwrap();
            kept.wait().unwrap();
        }
        store.close().unwrap();
    }
    let images = files(&path, "index", "img");
    let len = |path: &PathBuf| std::fs::metadata(path).unwrap().len();
    assert!(
        images.iter().map(len).sum::<u64>() > 20 * count,
        "{images:?}"
    );
    let store = Store::open(&path, options()).unwrap();
    let inbox = store.account("anna").unwrap().inbox().unwrap();
    let view = inbox.view().unwrap();
    let before = shown(&view);
    for image in &images {
        cut(image, 0);
    }
    assert_eq!(shown(&view), before);
    let change = FlagChange::add(Flags::SEEN);
    let flagging = inbox.flag(&view.uids(), &change, None).unwrap();
    assert!(flagging.wait().is_ok());
    let after = inbox.view().unwrap();
    assert_eq!(after.unseen().iter().count(), 0);
    assert_eq!(after.counters().messages, count);
    assert_eq!(shown(&view), before);
    let now = shown(&after);
    store.close().unwrap();
    let store = Store::open(&path, options()).unwrap();
    let inbox = store.account("anna").unwrap().inbox().unwrap();
    assert_eq!(shown(&inbox.view().unwrap()), now);
    assert_eq!(faults(), 0);
}

/// Goal: an index whose files are cut under an open store is passed over: every account is found, and has its mail.
#[test]
fn an_index_that_is_cut_is_passed_over() {
    survives("store::an_index_that_is_cut_is_passed_over", || {
        install_guard().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mail");
        let options = || options().tail_max(64 << 10).cache_bytes(0);
        let store = Store::open(&path, options()).unwrap();
        let names: Vec<String> = (0..200).map(|number| format!("account {number}")).collect();
        for name in &names {
            let inbox = store.create_account(name).unwrap().inbox().unwrap();
            let kept = store
                .deliver(name.as_bytes(), [Delivery::to(&inbox)])
                .unwrap();
            kept.wait().unwrap();
        }
        store.close().unwrap();
        let store = Store::open(&path, options()).unwrap();
        let found = |name: &String| {
            let view = store
                .account(name)
                .unwrap()
                .inbox()
                .unwrap()
                .view()
                .unwrap();
            let bytes = view.message(Uid::MIN).unwrap().bytes().unwrap();
            assert_eq!(bytes, name.as_bytes());
        };
        names[..100].iter().for_each(found);
        let runs = files(&path, "index", "run");
        assert!(!runs.is_empty());
        for run in runs {
            cut(&run, 4096);
        }
        names.iter().for_each(found);
    });
}
