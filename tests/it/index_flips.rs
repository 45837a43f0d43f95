//! Bytes of `index/` change, files of it are cut, emptied, exchanged, older, another store's, or gone. All that is
//! shown, and every receipt, stays what it was; mail is delivered; and after the next closing all is well.
//!
//! `MAILKEEP_FLIPS` says how many flips are tried.

use std::collections::{BTreeMap, BTreeSet};

use mailkeep::{Delivery, FlagChange, Flags, Receipt, Store, UidSet};

use crate::harm::{Dice, lose_all};
use crate::kit::{env, message, open, receipts, state, tried};
use crate::sim::Sim;

type Files = BTreeMap<String, Vec<u8>>;

const CHECKPOINT: &str = "index/CHECKPOINT";

/// A store with several runs, images of bases and pieces, and a checkpoint.
struct Sample {
    files: Files,
    /// Of an earlier closing.
    older: Files,
    receipts: BTreeMap<String, Receipt>,
    state: String,
}

fn name(account: u64) -> String {
    format!("account-{account}@example.it")
}

/// One round of everything in every account.
fn round(store: &Store, round: u64) {
    for number in 0..10 {
        let account = match store.account(&name(number)) {
            Ok(account) => account,
            Err(_) => store.create_account(&name(number)).unwrap(),
        };
        let inbox = account.inbox().unwrap();
        for nth in 0..1 + number % 3 {
            let body = message(round << 20 | number << 8 | nth, 300 + 900 * nth as usize);
            let kept = store.deliver(&body, [Delivery::to(&inbox)]).unwrap();
            kept.wait().unwrap().remove(0).unwrap();
        }
        let all = UidSet::full();
        match (number + round) % 4 {
            0 => {
                let change = FlagChange::add(Flags::SEEN);
                inbox.flag(&all, &change, None).unwrap().wait().unwrap();
            }
            1 => {
                let to = account.create_mailbox(&format!("Kept/{round}")).unwrap();
                inbox.copy_to(&all, &to).unwrap().wait().unwrap();
            }
            2 if number % 5 == 0 => {
                account
                    .rename(&format!("renamed-{round}-{number}"))
                    .unwrap();
            }
            _ => account.subscribe("Kept", round.is_multiple_of(2)).unwrap(),
        }
    }
}

fn sample(first_run: u64) -> Sample {
    let sim = Sim::new();
    let mut older = Files::new();
    for n in 0..5 {
        let store = open(&sim, tried(first_run + n).chain_max(2)).unwrap();
        round(&store, n);
        store.close().unwrap();
        if n == 2 {
            older = sim.files();
        }
    }
    let files = sim.files();
    let store = open(&sim, tried(first_run + 10)).unwrap();
    assert_eq!(store.health().index_damage, 0);
    let stat = store.stat();
    assert!(stat.runs > 1 && stat.image_bytes > 0, "{stat:?}");
    Sample {
        receipts: receipts(&store),
        state: state(&store),
        files,
        older,
    }
}

/// Opens the files, and holds what is shown against what was. Returns whether health says that something was wrong.
fn bears(sample: &Sample, files: Files, what: &str) -> bool {
    let sim = Sim::from_files(files);
    let store = open(&sim, tried(50)).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(store.recovery().is_whole(), "{what}: {}", store.recovery());
    assert!(receipts(&store) == sample.receipts, "{what}: receipts");
    assert_eq!(state(&store), sample.state, "{what}");
    for name in sample.receipts.keys().take(3) {
        let inbox = store.account(name).unwrap().inbox().unwrap();
        let next = inbox.status().unwrap().uid_next;
        let kept = store.deliver(message(1, 90), [Delivery::to(&inbox)]);
        let kept = kept.unwrap().wait().unwrap().remove(0).unwrap();
        assert_eq!(Some(kept.uid), next, "{what}");
    }
    let health = store.health();
    assert!(
        health.whole && health.index_error.is_none(),
        "{what}: {health}"
    );
    let said = health.index_damage > 0 || health.rebuild.is_some();
    let after = (receipts(&store), state(&store));
    store.close().unwrap();
    let store = open(&sim, tried(51)).unwrap();
    assert!(
        (receipts(&store), state(&store)) == after,
        "{what}: reopened"
    );
    assert!(store.recovery().clean && store.health().whole, "{what}");
    said
}

fn derived(files: &Files) -> Vec<String> {
    let names = files.keys().filter(|name| name.starts_with("index/"));
    names.cloned().collect()
}

#[test]
fn a_bit_of_the_index_flips() {
    let sample = sample(0);
    let names = derived(&sample.files);
    let sizes: usize = names.iter().map(|name| sample.files[name].len()).sum();
    let mut dice = Dice::new(env("MAILKEEP_SEED", 1));
    let flips = env("MAILKEEP_FLIPS", 250);
    let mut said = BTreeMap::<&str, [u64; 2]>::new();
    for nth in 0..flips {
        // Each file as often as another, or each byte.
        let file = match nth % 2 {
            0 => dice.below(names.len()),
            _ => {
                let mut at = dice.below(sizes);
                let of = names.iter().position(|name| {
                    let len = sample.files[name].len();
                    let here = at < len;
                    at = at.saturating_sub(len);
                    here
                });
                of.unwrap()
            }
        };
        let name = &names[file];
        let mut files = sample.files.clone();
        let content = files.get_mut(name).unwrap();
        let bit = dice.below(8 * content.len());
        content[bit / 8] ^= 1 << (bit % 8);
        let told = bears(&sample, files, &format!("{name}, bit {bit}"));
        assert!(told || name != CHECKPOINT, "{name}, bit {bit}: not said");
        let kind = name.rsplit('.').next().unwrap();
        said.entry(kind).or_default()[usize::from(told)] += 1;
    }
    println!(
        "{flips} flips in {} files of {sizes} bytes; [silent, said]: {said:?}",
        names.len()
    );
}

#[test]
fn files_of_the_index_are_cut_emptied_or_gone() {
    let sample = sample(100);
    assert!(!bears(&sample, sample.files.clone(), "nothing"));
    for name in derived(&sample.files) {
        let len = sample.files[&name].len();
        for to in [0, 1, len / 3, len - 1] {
            let mut files = sample.files.clone();
            files.get_mut(&name).unwrap().truncate(to);
            bears(&sample, files, &format!("{name} cut to {to}"));
        }
        let mut files = sample.files.clone();
        files.get_mut(&name).unwrap().extend([0; 700]);
        bears(&sample, files, &format!("{name} is longer"));
        let mut files = sample.files.clone();
        files.remove(&name);
        bears(&sample, files, &format!("{name} gone"));
    }
    let sim = Sim::from_files(sample.files.clone());
    lose_all(&sim);
    bears(&sample, sim.files(), "all gone");
}

#[test]
fn files_of_the_index_are_exchanged() {
    let sample = sample(200);
    let names = derived(&sample.files);
    for (at, one) in names.iter().enumerate() {
        for other in &names[at + 1..] {
            let mut files = sample.files.clone();
            files.insert(one.clone(), sample.files[other].clone());
            files.insert(other.clone(), sample.files[one].clone());
            bears(&sample, files, &format!("{one} and {other} exchanged"));
        }
    }
}

#[test]
fn the_index_is_older_or_another_stores() {
    let sample = sample(300);
    let log = |name: &String| !name.starts_with("index/");
    let with = |derived: &Files| -> Files {
        let log = sample.files.iter().filter(|(name, _)| log(name));
        let derived = derived.iter().filter(|(name, _)| !log_file(name));
        log.chain(derived)
            .map(|(name, content)| (name.clone(), content.clone()))
            .collect()
    };
    bears(
        &sample,
        with(&sample.older),
        "the whole of an earlier closing",
    );
    let mut files = sample.files.clone();
    files.insert(CHECKPOINT.to_owned(), sample.older[CHECKPOINT].clone());
    bears(&sample, files, "an older checkpoint beside newer files");
    // And the reverse: what the checkpoint names is not there, or is what an earlier process had there.
    let mut files = with(&sample.older);
    files.insert(CHECKPOINT.to_owned(), sample.files[CHECKPOINT].clone());
    bears(&sample, files, "a newer checkpoint beside older files");
    let mut other = self::sample(400);
    bears(&sample, with(&other.files), "another store's");
    let both: BTreeSet<String> = derived(&other.files).into_iter().collect();
    other
        .files
        .retain(|name, _| both.contains(name) && name != CHECKPOINT);
    other
        .files
        .insert(CHECKPOINT.to_owned(), sample.files[CHECKPOINT].clone());
    bears(
        &sample,
        with(&other.files),
        "another store's under this one's checkpoint",
    );
}

fn log_file(name: &str) -> bool {
    !name.starts_with("index/")
}

/// Names that a person or another program left there are no reason to fail.
#[test]
fn strange_names_lie_in_the_index() {
    let sample = sample(500);
    let mut files = sample.files.clone();
    for name in [
        "ffffffff.run",
        "99999999.img",
        "fffffffe.img",
        "x.run",
        "CHECKPOINT.new",
        "lost+found",
    ] {
        files.insert(format!("index/{name}"), b"junk".to_vec());
    }
    bears(&sample, files, "strange names");
}
