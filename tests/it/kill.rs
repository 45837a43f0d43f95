//! `kill -9` of a real process whose threads change a real folder: what each said was acknowledged is there, what it was
//! at is there or not, and no UID is given twice.
//!
//! `MAILKEEP_KILLS=1000 cargo test --test it kill::` is the drill; `MAILKEEP_SEED` chooses other times.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mailkeep::{
    Account, Delivery, Digest, FlagChange, Flags, Options, Recipient, Result, Store, UidSet,
};

use crate::harm::Dice;
use crate::kit::{assert_whole, env, message};

const CHILD: &str = "MAILKEEP_KILL_CHILD";
/// Changes that each thread has made so far.
const MADE: &str = "MAILKEEP_KILL_MADE";
const THREADS: usize = 4;
/// An account that every thread delivers to.
const SHARED: &str = "all";

fn own(thread: usize) -> String {
    format!("own{thread}")
}

/// The index is saved, merged and imaged all the time, and accounts do not stay in memory.
fn open(path: &Path) -> Store {
    let options = Options::new()
        .segment_len(1 << 20)
        .tail_max(128 << 10)
        .chain_max(2)
        .cache_bytes(64 << 10);
    Store::open(path, options).unwrap()
}

/// What a thread does as its change number `n`, from 1 on. Each is one commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    /// To INBOX; by name; to INBOX of the shared account too.
    Deliver,
    ByName,
    Both,
    /// The message of change `n - 1` is seen.
    Flag,
    /// The message of change `n - 4` goes to "Kept".
    Move,
    /// That of change `n - 6` is removed.
    Destroy,
}

fn act(n: u64) -> Act {
    use Act::{Both, ByName, Deliver, Destroy, Flag, Move};
    [Deliver, ByName, Flag, Both, Move, Deliver, Both, Destroy][(n % 8) as usize]
}

fn raw(thread: usize, n: u64) -> Vec<u8> {
    let len = match n % 64 {
        13 => (1 << 20) + 9,
        n => [40, 900, 70_000, 12, 5_000, 300][n as usize % 6],
    };
    // Every message begins with its own number, also one of 12 bytes.
    let mut raw = format!("{thread}-{n}\n").into_bytes();
    raw.extend(message(n << 8 | thread as u64, len));
    raw
}

/// The messages that a thread's changes leave, by mailbox: number of the change that delivered it, and whether it is seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Expected {
    inbox: BTreeMap<u64, bool>,
    kept: BTreeMap<u64, bool>,
    shared: Vec<u64>,
}

fn expected(made: u64) -> Expected {
    let mut all = Expected::default();
    for n in 1..=made {
        match act(n) {
            Act::Deliver | Act::ByName => {
                all.inbox.insert(n, false);
            }
            Act::Both => {
                all.inbox.insert(n, false);
                all.shared.push(n);
            }
            Act::Flag => {
                all.inbox.entry(n - 1).and_modify(|seen| *seen = true);
            }
            Act::Move => {
                let seen = all.inbox.remove(&(n - 4));
                all.kept.extend(seen.map(|seen| (n - 4, seen)));
            }
            Act::Destroy => {
                all.inbox.remove(&(n.wrapping_sub(6)));
            }
        }
    }
    all
}

/// The UIDs of a thread's message in INBOX.
fn find(account: &Account, thread: usize, n: u64) -> Result<UidSet> {
    let (view, digest) = (account.inbox()?.view()?, Digest::of(&raw(thread, n)));
    let mut found = UidSet::default();
    for row in view.iter() {
        if view.message(row.uid)?.digest()? == digest {
            found.insert(row.uid);
        }
    }
    Ok(found)
}

fn make(store: &Store, thread: usize, n: u64) -> Result<()> {
    // By name each time: nothing keeps the account in memory.
    let account = store.account(&own(thread))?;
    let inbox = account.inbox()?;
    match act(n) {
        Act::Deliver => {
            let kept = store
                .deliver(raw(thread, n), [Delivery::to(&inbox)])?
                .wait()?;
            kept.into_iter().try_for_each(|kept| kept.map(|_| ()))
        }
        Act::ByName => {
            let to = [Recipient::new(&own(thread), "INBOX")];
            let kept = store.deliver_to(raw(thread, n), to)?.wait()?;
            kept.into_iter().try_for_each(|kept| kept.map(|_| ()))
        }
        Act::Both => {
            let shared = store.account(SHARED)?.inbox()?;
            let to = [Delivery::to(&inbox), Delivery::to(&shared)];
            let kept = store.deliver(raw(thread, n), to)?.wait()?;
            kept.into_iter().try_for_each(|kept| kept.map(|_| ()))
        }
        Act::Flag => {
            let uids = find(&account, thread, n - 1)?;
            let seen = FlagChange::add(Flags::SEEN);
            inbox.flag(&uids, &seen, None)?.wait().map(|_| ())
        }
        Act::Move => {
            let uids = find(&account, thread, n.saturating_sub(4))?;
            let kept = account.mailbox("Kept")?;
            inbox.move_to(&uids, &kept)?.wait().map(|_| ())
        }
        Act::Destroy => {
            let uids = find(&account, thread, n.saturating_sub(6))?;
            inbox.destroy(&uids)?.wait().map(|_| ())
        }
    }
}

/// The process that will be killed; does nothing when it runs as a test among others.
#[test]
fn child() {
    let Some(path) = std::env::var_os(CHILD) else {
        return;
    };
    let store = open(path.as_ref());
    let made = std::env::var(MADE).unwrap();
    std::thread::scope(|scope| {
        for (thread, made) in made.split(',').enumerate() {
            let (store, made) = (&store, made.parse::<u64>().unwrap());
            scope.spawn(move || {
                for n in made + 1.. {
                    make(store, thread, n).unwrap();
                    // The parent reads whole lines only: this is the acknowledgement.
                    println!("\nacknowledged {thread} {n}");
                    std::io::stdout().flush().unwrap();
                }
            });
        }
    });
}

/// Lets the child run for a while, kills it, and returns what each thread acknowledged last.
fn run_and_kill(path: &Path, made: &[u64], after: Duration) -> Vec<u64> {
    let list: Vec<String> = made.iter().map(ToString::to_string).collect();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::child", "--nocapture"])
        .env(CHILD, path)
        .env(MADE, list.join(","))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let mut last = made.to_vec();
    let reader = std::thread::spawn(move || {
        for line in out.lines().map_while(Result::<_, std::io::Error>::ok) {
            let said = line.strip_prefix("acknowledged ");
            let said = said.and_then(|said| said.split_once(' '));
            if let Some((thread, Ok(n))) = said.map(|(thread, n)| (thread, n.parse())) {
                last[thread.parse::<usize>().unwrap()] = n;
            }
        }
        last
    });
    std::thread::sleep(after);
    assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap()
}

/// By account and mailbox: UID, digest, whether it is seen.
type Found = BTreeMap<(String, &'static str), Vec<(u32, Digest, bool)>>;

/// What the store has of all threads.
fn found(store: &Store) -> Found {
    let mut all = BTreeMap::new();
    let places = (0..THREADS).flat_map(|thread| [(own(thread), "INBOX"), (own(thread), "Kept")]);
    for (name, mailbox) in places.chain([(SHARED.to_owned(), "INBOX")]) {
        let account = store.account(&name).unwrap();
        let view = account.mailbox(mailbox).unwrap().view().unwrap();
        let rows = view.iter().map(|row| {
            let message = view.message(row.uid).unwrap();
            let digest = Digest::of(&message.bytes().unwrap());
            (row.uid.get(), digest, row.flags.contains(Flags::SEEN))
        });
        all.insert((name, mailbox), rows.collect());
    }
    all
}

/// How many changes of a thread the store has: those acknowledged, or the one after them too.
fn made_of(thread: usize, acknowledged: u64, found: &Found) -> u64 {
    let of = |mailbox| {
        let rows: &Vec<_> = &found[&(own(thread), mailbox)];
        let mut rows: Vec<_> = rows
            .iter()
            .map(|(_, digest, seen)| (*digest, *seen))
            .collect();
        rows.sort();
        rows
    };
    let here = (of("INBOX"), of("Kept"));
    let digests = |messages: &BTreeMap<u64, bool>| {
        let all = messages.iter();
        let mut all: Vec<_> = all
            .map(|(n, seen)| (Digest::of(&raw(thread, *n)), *seen))
            .collect();
        all.sort();
        all
    };
    let made = (acknowledged..=acknowledged + 1).find(|made| {
        let all = expected(*made);
        let shared: Vec<_> = found[&(SHARED.to_owned(), "INBOX")].iter().collect();
        let shared_is = |n: &u64| {
            shared
                .iter()
                .any(|row| row.1 == Digest::of(&raw(thread, *n)))
        };
        here == (digests(&all.inbox), digests(&all.kept)) && all.shared.iter().all(shared_is)
    });
    made.unwrap_or_else(|| panic!("thread {thread}, {acknowledged} acknowledged, found {here:?}"))
}

/// Kills of one store: after so many it is large, and looking at all of it takes long.
const KILLS: u64 = 40;

/// A new store that is killed so often; what each thread has made of it, and the longest opening.
fn store_that_is_killed(kills: u64, dice: &mut Dice) -> (Vec<u64>, Duration) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mail");
    let store = open(&path);
    store.create_account(SHARED).unwrap();
    for thread in 0..THREADS {
        let account = store.create_account(&own(thread)).unwrap();
        account.create_mailbox("Kept").unwrap();
    }
    store.close().unwrap();
    let (mut made, mut longest) = (vec![0; THREADS], Duration::ZERO);
    let mut given: BTreeMap<(String, &str, u32), Digest> = BTreeMap::new();
    for _ in 0..kills {
        let after = Duration::from_micros(10_000 + dice.below(250_000) as u64);
        let acknowledged = run_and_kill(&path, &made, after);
        let began = Instant::now();
        let store = open(&path);
        longest = longest.max(began.elapsed());
        assert!(store.recovery().is_whole(), "{}", store.recovery());
        let found = found(&store);
        made = (0..THREADS)
            .map(|thread| made_of(thread, acknowledged[thread], &found))
            .collect();
        let shared = made.iter().map(|made| expected(*made).shared.len());
        let there = found[&(SHARED.to_owned(), "INBOX")].len();
        assert_eq!(shared.sum::<usize>(), there, "each is there, once");
        for ((account, mailbox), rows) in found {
            for (uid, digest, _) in rows {
                let place = (account.clone(), mailbox, uid);
                let other = *given.entry(place).or_insert(digest);
                assert_eq!(other, digest, "UID {uid} of {account} {mailbox} again");
            }
        }
        store.close().unwrap();
    }
    assert_whole(&open(&path));
    (made, longest)
}

#[test]
fn acknowledged_changes_survive_kill_9() {
    let mut dice = Dice::new(env("MAILKEEP_SEED", 1));
    let all = env("MAILKEEP_KILLS", 20);
    let (mut left, mut changes, mut longest) = (all, 0, Duration::ZERO);
    while left > 0 {
        let (made, opening) = store_that_is_killed(left.min(KILLS), &mut dice);
        changes += made.iter().sum::<u64>();
        longest = longest.max(opening);
        left = left.saturating_sub(KILLS);
    }
    println!("{all} kills, {changes} changes acknowledged, longest opening {longest:?}");
}
