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

use crate::process::{Dice, env, seconds, survives};

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
    survives("store::a_verified_message_that_is_gone_is_refused", || {
        gone(false)
    });
}

/// Goal: as above, mapped.
#[test]
fn a_verified_and_mapped_message_that_is_gone_is_refused() {
    let name = "store::a_verified_and_mapped_message_that_is_gone_is_refused";
    survives(name, || gone(true));
}

fn gone(guarded: bool) {
    if guarded {
        install_guard().unwrap();
    }
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
    survives("store::images_are_cut_under_a_view", || images(false));
}

/// Goal: as above, in a process that maps.
#[test]
fn images_are_cut_under_a_view_with_the_guard() {
    survives("store::images_are_cut_under_a_view_with_the_guard", || {
        images(true)
    });
}

fn images(guarded: bool) {
    if guarded {
        install_guard().unwrap();
    }
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
