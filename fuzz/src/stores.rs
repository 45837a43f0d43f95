// Whole stores of a few files, damaged as the input says, then opened and read, and written where they may be. What
// must hold:
//
// * nothing panics, loops, or allocates by what the bytes claim;
// * of a store whose files were damaged and not signed anew, a message that is served is the one that was stored under
//   its UID, or the UID is one that was never given out under that UIDVALIDITY;
// * what is delivered then is there, byte for byte, when such a store is opened again.

use std::ops::ControlFlow;

use mailkeep::{Delivery, Digest, Error, ModSeq, Options, Store};

use super::edits;
use super::input::Input;
use super::sample::{Files, Sample, message, options, sample};
use super::sign;
use crate::sim::Sim;

/// All targets of this file.
pub const STORES: [super::targets::Target; 5] = [
    ("checkpoint", checkpoint),
    ("image", image),
    ("images", images),
    ("run", run),
    ("store", store),
];

/// A whole store: every file may be damaged in any way.
pub fn store(data: &[u8]) {
    let sample = sample();
    let mut input = Input(data);
    let how = How::of(input.byte());
    let mut files = sample.files.clone();
    edits::apply(&mut files, &mut input, |_| true);
    if how.signs {
        sign::files(&mut files, true);
    }
    exercise(files, how, (!how.signs).then_some(sample));
}

/// The checkpoint: the input is the file, once as it is and once with its checksum made good.
pub fn checkpoint(data: &[u8]) {
    for signs in [false, true] {
        let mut input = Input(data);
        let how = How::of(input.byte());
        let mut files = sample().files.clone();
        let mut content = input.0.to_vec();
        if signs {
            sign::whole(&mut content);
        }
        files.insert("index/CHECKPOINT".to_owned(), content);
        exercise(files, How { signs, ..how }, None);
    }
}

/// The runs of the directory: edits to their files, signed.
pub fn run(data: &[u8]) {
    derived(data, ".run");
}

/// Images, as they are found: edits to their files, signed.
pub fn images(data: &[u8]) {
    derived(data, ".img");
}

fn derived(data: &[u8], kind: &str) {
    let mut input = Input(data);
    let how = How::of(input.byte());
    let mut files = sample().files.clone();
    edits::apply(&mut files, &mut input, |name| name.ends_with(kind));
    sign::files(&mut files, false);
    exercise(files, how, None);
}

/// One image: the input is a blob, a base or a piece, and takes the place of the newest blob of an account.
pub fn image(data: &[u8]) {
    let mut input = Input(data);
    let how = How::of(input.byte());
    let which = usize::from(input.byte());
    let mut blob = input.0.to_vec();
    sign::blob(&mut blob);
    let mut files = sample().files.clone();
    replace_blob(&mut files, which, &blob);
    exercise(files, how, None);
}

/// An image file's blobs: offset and length of each, without its head.
pub(crate) fn blobs(file: &[u8]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut at = 0;
    while file
        .get(at..)
        .is_some_and(|rest| rest.starts_with(b"MKIMAGE1"))
    {
        let len = super::targets::word(file, at + 12) as usize;
        found.push((at, len));
        at += (sign::BLOB_HEAD + len).next_multiple_of(8);
    }
    found
}

/// Puts a blob behind the last one of a file, and has everything that named the old one name it.
fn replace_blob(files: &mut Files, which: usize, blob: &[u8]) {
    let store = sign::store_of(files);
    let images: Vec<String> = files
        .keys()
        .filter(|name| name.ends_with(".img"))
        .cloned()
        .collect();
    let Some(name) = images.get(which % images.len().max(1)) else {
        return;
    };
    let Some(number) = name
        .strip_prefix("index/")
        .and_then(|name| u32::from_str_radix(name.strip_suffix(".img")?, 16).ok())
    else {
        return;
    };
    let content = files.get_mut(name).expect("it was listed");
    let all = blobs(content);
    let (at, len) = all[which / images.len() % all.len()];
    let new_at = content.len().next_multiple_of(8);
    let mut head = content[at..at + sign::BLOB_HEAD].to_vec();
    head[12..16].copy_from_slice(&u32::try_from(blob.len()).unwrap_or(0).to_le_bytes());
    let record: [u8; 8] = head[32..40].try_into().expect("eight bytes");
    content.resize(new_at, 0);
    content.extend_from_slice(&head);
    content.extend_from_slice(blob);
    let padded = content.len().next_multiple_of(8);
    content.resize(padded, 0);
    let file_len = padded as u64;
    sign::images(content, store, number);

    let place = |at: usize, len: usize| {
        let mut place = (at as u64).to_le_bytes().to_vec();
        place.extend_from_slice(&record);
        place.extend_from_slice(&number.to_le_bytes());
        place.extend_from_slice(&u32::try_from(len).unwrap_or(0).to_le_bytes());
        place
    };
    let (old, new) = (place(at, len), place(new_at, blob.len()));
    for (name, content) in files.iter_mut() {
        if name.ends_with(".run") && replace(content, &old, &new) {
            let number = u32::from_str_radix(&name["index/".len()..name.len() - 4], 16);
            sign::run(content, store, number.expect("a number"));
        }
    }
    let checkpoint = files
        .get_mut("index/CHECKPOINT")
        .expect("the sample has one");
    let needle = number.to_le_bytes();
    let old_len = (new_at as u64).to_le_bytes();
    let known = [&needle[..], &old_len[..]].concat();
    replace(
        checkpoint,
        &known,
        &[&needle[..], &file_len.to_le_bytes()[..]].concat(),
    );
    sign::whole(checkpoint);
}

fn replace(content: &mut [u8], old: &[u8], new: &[u8]) -> bool {
    let mut found = false;
    let mut at = 0;
    while let Some(here) = content
        .get(at..)
        .and_then(|rest| rest.windows(old.len()).position(|window| window == old))
    {
        at += here;
        content[at..at + new.len()].copy_from_slice(new);
        at += new.len();
        found = true;
    }
    found
}

/// How a store is opened.
#[derive(Clone, Copy, Debug)]
struct How {
    read_only: bool,
    accept_loss: bool,
    replay_all: bool,
    rebuild: bool,
    signs: bool,
    /// A verification takes longer than all else.
    verifies: bool,
}

impl How {
    fn of(byte: u8) -> Self {
        let bit = |at: u8| byte >> at & 1 == 1;
        Self {
            read_only: bit(0),
            accept_loss: bit(1),
            replay_all: bit(2),
            rebuild: bit(3),
            signs: bit(4),
            verifies: bit(5),
        }
    }

    fn options(self, run: u64) -> Options {
        options(run)
            .create(false)
            .read_only(self.read_only)
            .accept_loss(self.accept_loss)
            .replay_all(self.replay_all)
            .rebuild(self.rebuild)
    }
}

/// Opens, reads everything, writes, opens again.
fn exercise(files: Files, how: How, truth: Option<&Sample>) {
    let sim = Sim::from_files(files);
    let Ok(store) = Store::open_on(sim.storage(), how.options(10)) else {
        return;
    };
    read(&store, truth, &[]);
    if how.verifies {
        let report = store.verify(&mut |_| ControlFlow::Continue(()));
        let _ = report.map(|report| report.is_whole());
    }
    if how.read_only {
        return;
    }
    let mut kept = write(&store);
    let _ = store.close();
    if truth.is_none() {
        // What somebody wrote and signed may contradict itself as it likes.
        kept.clear();
    }
    let again = options(11).create(false).accept_loss(how.accept_loss);
    let again = Store::open_on(sim.storage(), again);
    match again {
        Ok(again) => {
            for (account, mailbox, uid, digest) in &kept {
                let found = look(&again, account, mailbox, *uid);
                assert_eq!(
                    found.as_ref().ok(),
                    Some(digest),
                    "{account} {mailbox} {uid}: {found:?}"
                );
            }
            read(&again, truth, &kept);
        }
        // What was acknowledged a moment ago cannot be had.
        Err(error) => assert!(kept.is_empty(), "{error}"),
    }
}

fn look(store: &Store, account: &str, mailbox: &str, uid: mailkeep::Uid) -> Result<Digest, Error> {
    let view = store.account(account)?.mailbox(mailbox)?.view()?;
    Ok(Digest::of(&view.message(uid)?.bytes()?))
}

type Kept = (String, String, mailkeep::Uid, Digest);

/// Delivers to every account, and makes one; what was acknowledged.
fn write(store: &Store) -> Vec<Kept> {
    let mut kept = Vec::new();
    let names = store.accounts(None, 20).unwrap_or_default();
    let new = store.create_account("zoe").is_ok();
    let all = names.into_iter().chain(new.then(|| "zoe".to_owned()));
    for (number, name) in (5000..).zip(all) {
        let raw = message(number, 100);
        let sent = store.account(&name).and_then(|account| {
            let inbox = account.inbox()?;
            let commit = store.deliver(&raw, [Delivery::to(&inbox)])?;
            commit.wait()?.remove(0)
        });
        if let Ok(sent) = sent {
            kept.push((name, "INBOX".to_owned(), sent.uid, Digest::of(&raw)));
        }
    }
    kept
}

/// Reads all there is. With a truth, holds it against that, and what was `kept` since.
fn read(store: &Store, truth: Option<&Sample>, kept: &[Kept]) {
    let _ = store.recovery().to_string();
    let _ = store.health().to_string();
    let _ = store.stat();
    for name in store.accounts(None, 1000).unwrap_or_default() {
        let _ = read_account(store, &name, truth, kept);
    }
}

fn read_account(
    store: &Store,
    name: &str,
    truth: Option<&Sample>,
    kept: &[Kept],
) -> Result<(), Error> {
    let account = store.account(name)?;
    let _ = account.receipt();
    let _ = account.subscriptions()?;
    for info in account.mailboxes()? {
        let mailbox = account.mailbox(&info.name)?;
        let _ = mailbox.status()?;
        let _ = mailbox.changes_since(ModSeq::MIN)?;
        let view = mailbox.view()?;
        for row in view.iter() {
            let Ok(message) = view.message(row.uid) else {
                continue;
            };
            let _ = (message.summary(), message.shape(), message.header());
            // Of large ones it would take most of the time there is.
            if message.len() < 1000 {
                let _ = message.crlf();
            }
            let Ok(bytes) = message.bytes() else { continue };
            let found = Digest::of(&bytes);
            let new = kept.iter().any(|(.., digest)| *digest == found);
            if let Some(truth) = truth.filter(|_| !new) {
                let id = account.id();
                let key = (id, info.id, view.uid_validity().get(), row.uid.get());
                match truth.meant.get(&key) {
                    Some(meant) => assert_eq!(*meant, found, "{name} {} {}", info.name, row.uid),
                    None => assert!(
                        truth
                            .given
                            .get(&id)
                            .is_some_and(|given| given.contains(&found)),
                        "{name} {} {} was never given that message",
                        info.name,
                        row.uid
                    ),
                }
                match message.digest() {
                    Ok(digest) => assert_eq!(digest, found),
                    // The digest lies in the record, which may be damaged where the body, with checksums of its own, is
                    // not: then the bytes are served, and the digest is said to be damaged.
                    Err(error) => assert!(
                        matches!(&error, Error::Damaged { path, .. } if path.ends_with(".seg")),
                        "{name} {} {}: {error:?}",
                        info.name,
                        row.uid
                    ),
                }
            }
        }
    }
    Ok(())
}
