//! Messages from a seed: the same in every run.

use std::path::Path;

use mailkeep::{Delivery, Durability, Mailbox, Options, Store};

use super::files;
pub(crate) use super::seed::Seed;

impl Seed {
    /// A message of exactly `len` bytes with a usual header and lines of 76 letters.
    pub(crate) fn message(&mut self, len: usize) -> Vec<u8> {
        let id = self.next();
        let mut message = format!(
            "From: Anna <anna@example.it>\r\nTo: Bert <bert@example.it>\r\nSubject: Note {id:016x}\r\n\
             Date: Fri, 21 Nov 1997 09:55:06 -0600\r\nMessage-ID: <{id:016x}@example.it>\r\n\r\n"
        )
        .into_bytes();
        while message.len() < len {
            let mut word = self.next();
            for _ in 0..8 {
                if message.len() % 78 == 76 {
                    message.extend(b"\r\n");
                }
                message.push(b'a' + (word % 26) as u8);
                word /= 26;
            }
        }
        message.truncate(len);
        message
    }

    /// Puts them into an order of no meaning.
    pub(crate) fn shuffle<Item>(&mut self, items: &mut [Item]) {
        for at in (1..items.len()).rev() {
            items.swap(at, (self.next() % (at as u64 + 1)) as usize);
        }
    }

    /// `count` messages of one length.
    pub(crate) fn messages(&mut self, count: usize, len: usize) -> Vec<Vec<u8>> {
        (0..count).map(|_| self.message(len)).collect()
    }

    /// `count` messages of the lengths of mail.
    pub(crate) fn mail(&mut self, count: usize) -> Vec<Vec<u8>> {
        (0..count)
            .map(|_| {
                let len = self.mail_len();
                self.message(len)
            })
            .collect()
    }
}

/// A new store with one account.
pub(crate) fn store(path: &Path, options: Options) -> (Store, Mailbox) {
    let store = Store::open(path, options).unwrap();
    let inbox = store
        .create_account("anna@example.it")
        .unwrap()
        .inbox()
        .unwrap();
    (store, inbox)
}

/// Delivers `count` messages of `len` bytes as fast as it goes, durable at the end.
pub(crate) fn fill(store: &Store, inbox: &Mailbox, count: usize, len: usize) {
    let mut seed = Seed(count as u64);
    let mut left = count;
    while left > 0 {
        let now = left.min(256);
        let commits: Vec<_> = (0..now)
            .map(|_| deliver(store, inbox, &seed.message(len), Durability::Written))
            .collect();
        for commit in commits {
            commit.wait().unwrap();
        }
        left -= now;
    }
    store.sync().unwrap();
    assert_eq!(inbox.view().unwrap().len(), count);
}

/// Name of an account of [`fill_accounts`].
pub(crate) fn name(account: usize) -> String {
    format!("a{account}@example.it")
}

/// Creates accounts in a store that is empty yet; their inboxes.
pub(crate) fn accounts(store: &Store, count: usize) -> Vec<Mailbox> {
    let new = |account| store.create_account(&name(account)).unwrap();
    (0..count)
        .map(|account| new(account).inbox().unwrap())
        .collect()
}

/// A new store of so many accounts that was filled and closed, all of its log in memory; the bytes of that.
pub(crate) fn closed(
    path: &Path,
    options: Options,
    count: usize,
    fill: impl FnOnce(&Store, &[Mailbox]),
) -> u64 {
    let store = Store::open(path, options.durability(Durability::Written)).unwrap();
    let inboxes = accounts(&store, count);
    fill(&store, &inboxes);
    store.sync().unwrap();
    drop(inboxes);
    store.close().unwrap();
    files::read_all(&files::log_files(path), false)
}

/// Delivers a message to each inbox in turn, `each` times, as fast as it goes; durable at the end.
pub(crate) fn fill_accounts(store: &Store, inboxes: &[Mailbox], each: usize, len: usize) {
    let mut seed = Seed((inboxes.len() * each) as u64);
    let mut commits = Vec::new();
    for number in 0..inboxes.len() * each {
        let inbox = &inboxes[number % inboxes.len()];
        commits.push(deliver(
            store,
            inbox,
            &seed.message(len),
            Durability::Written,
        ));
        if commits.len() == 256 {
            commits.drain(..).for_each(|commit| kept(&commit.wait()));
        }
    }
    commits.into_iter().for_each(|commit| kept(&commit.wait()));
    store.sync().unwrap();
}

/// Stops the bench where a message was not kept.
fn kept(found: &mailkeep::Result<Vec<mailkeep::Result<mailkeep::Delivered>>>) {
    assert!(found.as_ref().unwrap().iter().all(Result::is_ok));
}

/// Starts the delivery of one message to one mailbox.
pub(crate) fn deliver(
    store: &Store,
    inbox: &Mailbox,
    message: &[u8],
    durability: Durability,
) -> mailkeep::Commit<Vec<mailkeep::Result<mailkeep::Delivered>>> {
    store
        .deliver_with(message, [Delivery::to(inbox)], durability)
        .unwrap()
}

/// Delivers one message and waits for it; its UID.
pub(crate) fn deliver_now(
    store: &Store,
    inbox: &Mailbox,
    message: &[u8],
    durability: Durability,
) -> u32 {
    let kept = deliver(store, inbox, message, durability).wait().unwrap();
    kept[0].as_ref().unwrap().uid.get()
}

/// How many bytes the log grows by when each of `messages` is delivered by itself.
pub(crate) fn batch_lens(messages: &[Vec<u8>]) -> Vec<usize> {
    let dir = super::folder();
    let options = Options::new().prepare(false).background(false);
    let (store, inbox) = store(&dir.path().join("store"), options);
    let mut len_of = |message: &Vec<u8>| {
        loop {
            let before = store.stat();
            deliver_now(&store, &inbox, message, Durability::Written);
            let after = store.stat();
            // Where a segment began or ended, its header or footer is in the difference: once more.
            if (before.segments, before.sealed) == (after.segments, after.sealed) {
                return (after.log_bytes - before.log_bytes) as usize;
            }
        }
    };
    messages.iter().map(&mut len_of).collect()
}
