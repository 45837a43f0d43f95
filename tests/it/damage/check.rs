//! One damaged store: opened, read, verified, and held against the oracle.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{ControlFlow, Range};

use mailkeep::format::Fault;
use mailkeep::{AccountId, Damage, Delivery, Options, Store, VerifyReport};

use super::Files;
use super::oracle::{BodyKey, Key, Mail, Oracle, Unit};
use super::sample::{Sample, made};
use crate::kit::{message, open};
use crate::sim::Sim;

/// Bytes of a file that are not what they were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hit {
    pub(super) file: String,
    pub(super) range: Range<usize>,
}

/// What hits come to, by the oracle.
#[derive(Debug, Default)]
pub(super) struct Expected {
    pub(super) lost: BTreeSet<u64>,
    pub(super) bad: BTreeSet<BodyKey>,
    /// Whether only the log's segments are hit.
    pub(super) readable: Mail,
    pub(super) unreadable: BTreeSet<Key>,
    /// Deferred messages whose assignment is lost: they get another UID in that mailbox.
    pub(super) again: Vec<(AccountId, u32, BodyKey)>,
    /// Entries that a base still has, whose records are lost: their digests are.
    pub(super) undigested: BTreeSet<Key>,
}

impl Expected {
    pub(super) fn of(oracle: &Oracle, hits: &[Hit]) -> Self {
        let mut expected = Self::default();
        for hit in hits {
            for piece in oracle.touched(&hit.file, &hit.range) {
                match piece.unit {
                    Unit::Record(number) => drop(expected.lost.insert(number)),
                    Unit::Body(number) => drop(expected.bad.insert(BodyKey::Record(number))),
                    Unit::Large(segment) => drop(expected.bad.insert(BodyKey::Large(segment))),
                    // Nothing vouches for a large body without its header.
                    Unit::Header => {
                        let number = hit.file["log/".len()..][..16].parse().unwrap();
                        if oracle.bodies.contains_key(&BodyKey::Large(number)) {
                            expected.bad.insert(BodyKey::Large(number));
                        }
                    }
                    Unit::Frame | Unit::Footer | Unit::Zeroes => {}
                }
            }
        }
        let lost = expected.lost.iter();
        expected.again = lost.filter_map(|number| oracle.assigned(*number)).collect();
        let mail = match expected.lost.is_empty() {
            true => oracle.mail.clone(),
            false => oracle.fold(&expected.lost),
        };
        for (key, entry) in mail {
            // Only the record says whose body it shares.
            let lost = expected.lost.contains(&entry.record);
            let shares = entry.body != BodyKey::Record(entry.record);
            if lost {
                expected.undigested.insert(key);
            }
            if expected.bad.contains(&entry.body) || (lost && shares) {
                expected.unreadable.insert(key);
            } else {
                expected.readable.insert(key, entry);
            }
        }
        expected
    }
}

/// Where the files differ, sector by sector, within files that both have at the same length.
pub(super) fn hits(before: &Files, after: &Files) -> Vec<Hit> {
    let mut hits = Vec::new();
    for (name, old) in before {
        let Some(new) = after.get(name).filter(|new| *new != old) else {
            continue;
        };
        let mut from = None;
        for (at, (a, b)) in old.iter().zip(new).enumerate() {
            match (a == b, from) {
                (false, None) => from = Some(at),
                (true, Some(start)) => {
                    hits.push(Hit {
                        file: name.clone(),
                        range: start..at,
                    });
                    from = None;
                }
                _ => {}
            }
        }
        if let Some(start) = from {
            hits.push(Hit {
                file: name.clone(),
                range: start..old.len().min(new.len()),
            });
        }
    }
    hits
}

/// What a store serves: each entry's bytes are held against those of the oracle.
pub(super) fn served(
    store: &Store,
    oracle: &Oracle,
    known: &Mail,
    what: &str,
) -> (Mail, BTreeSet<Key>) {
    let (mut readable, mut unreadable) = (Mail::new(), BTreeSet::new());
    // By id: what is left of an account whose name was lost is reached by that.
    for id in oracle.accounts() {
        let Ok(account) = store.account_by_id(id) else {
            continue;
        };
        for info in account.mailboxes().unwrap() {
            let view = account.mailbox(&info.name).unwrap().view().unwrap();
            for row in view.iter() {
                let key = (account.id(), info.id.get(), row.uid.get());
                let read = view.message(row.uid).and_then(|message| message.bytes());
                let bytes = match read {
                    Ok(bytes) => bytes,
                    Err(error) => {
                        if std::env::var_os("MAILKEEP_SHOW").is_some() {
                            println!("{key:?}: {error}");
                        }
                        unreadable.insert(key);
                        continue;
                    }
                };
                let assigned_again = || oracle.assigned_again(key, &bytes);
                let known = known.get(&key).or_else(|| oracle.ever.get(&key));
                let Some(entry) = known.cloned().or_else(assigned_again) else {
                    panic!(
                        "{what}: {key:?} is served and should not be there\n{}",
                        store.recovery()
                    );
                };
                assert!(
                    oracle.bodies[&entry.body] == bytes,
                    "{what}: wrong bytes of {key:?}"
                );
                let entry = super::oracle::Entry {
                    flags: row.flags.bits(),
                    ..entry
                };
                readable.insert(key, entry);
            }
        }
    }
    (readable, unreadable)
}

impl Expected {
    /// Takes the deferred messages that were assigned once more out of what is served: those whose assignment is lost,
    /// each at most once, under a UID that was never given.
    fn take_again(&self, oracle: &Oracle, readable: &mut Mail, what: &str) -> usize {
        let mut taken = 0;
        for (account, mailbox, body) in &self.again {
            let of_mailbox = |key: &Key| (key.0, key.1) == (*account, *mailbox);
            let given = oracle.ever.keys().filter(|key| of_mailbox(key));
            let last = given.map(|key| key.2).max().unwrap();
            let new = |key: &Key| of_mailbox(key) && key.2 > last;
            let mut again = readable
                .iter()
                .filter(|(key, entry)| new(key) && entry.body == *body);
            let found = again.next().map(|(key, _)| *key);
            assert!(again.next().is_none(), "{what}: {body:?} is there twice");
            taken += usize::from(found.and_then(|key| readable.remove(&key)).is_some());
        }
        taken
    }
}

pub(super) fn verify(store: &Store) -> VerifyReport {
    store.verify(&mut |_| ControlFlow::Continue(())).unwrap()
}

/// Every place that was hit is named by the verification, and no other.
pub(super) fn places(oracle: &Oracle, report: &VerifyReport, hits: &[Hit], what: &str) {
    let mut by_file = BTreeMap::<&str, Vec<&Damage>>::new();
    for damage in &report.damage {
        let hit = hits.iter().find(|hit| damage.path.ends_with(&hit.file));
        let hit = hit.unwrap_or_else(|| panic!("{what}: {damage:?} is not damaged"));
        let (from, to) = (damage.from as usize, damage.to as usize);
        let meets = |at: &Hit| at.file == hit.file && from < at.range.end && at.range.start < to;
        // A file, or a place between two batches.
        assert!(
            from == to || hits.iter().any(meets),
            "{what}: {damage:?} is not damaged"
        );
        by_file.entry(&hit.file).or_default().push(damage);
    }
    let is_footer = |hit: &Hit| {
        let touched = oracle.touched(&hit.file, &hit.range);
        touched.iter().any(|piece| piece.unit == Unit::Footer)
    };
    // Without its head's table, or its trailer, nothing else of a batch or a footer is told apart.
    let tells = |hit: &Hit, from: usize, to: usize| {
        let domain = oracle.touched(&hit.file, &hit.range)[0].domain;
        let mut pieces = oracle.touched(&hit.file, &(0..usize::MAX));
        pieces.retain(|piece| piece.domain == domain);
        let (first, last) = (pieces[0], pieces[pieces.len() - 1]);
        let head = first.unit == Unit::Frame && from == first.range.start;
        head || last.unit == Unit::Footer && to == last.range.end
    };
    // Whether no batch follows.
    let is_last = |hit: &Hit| {
        let domain = oracle.touched(&hit.file, &hit.range)[0].domain;
        let behind = oracle.touched(&hit.file, &(hit.range.start..usize::MAX));
        let mut others = behind.iter().filter(|piece| piece.domain != domain);
        others.all(|piece| matches!(piece.unit, Unit::Footer | Unit::Zeroes))
    };
    for hit in hits.iter().filter(|hit| hit.file.starts_with("log/")) {
        let of_file = by_file.get(hit.file.as_str()).map_or(&[][..], |of| of);
        let named = of_file.iter().any(|damage| {
            let (from, to) = (damage.from as usize, damage.to as usize);
            // That all of a segment has another digest does not say where.
            let digest = matches!(damage.what, Some(Fault::SegmentDigest { .. }));
            // A footer that the opening found damaged is written again at once.
            let footer = (from, to) == (0, 0) && is_footer(hit);
            let here = (from < hit.range.end && hit.range.start < to) || tells(hit, from, to);
            // Nothing at all is left from there up to the footer.
            let wiped = from == to && from > 0 && from <= hit.range.start && is_last(hit);
            (here && !digest) || footer || wiped
        });
        assert!(
            named,
            "{what}: {hit:?} is not named: {of_file:?}; all were {hits:?}"
        );
    }
}

/// Opens a store with these hits in segments, reading all of it, and holds what is shown and said against the oracle.
pub(super) fn exact(sample: &Sample, files: Files, hits: &[Hit], what: &str, heal: bool) {
    let oracle = &sample.oracle;
    let expected = Expected::of(oracle, hits);
    let sim = Sim::from_files(files);
    let store =
        open(&sim, made(50).replay_all(true)).unwrap_or_else(|error| panic!("{what}: {error:?}"));
    let (mut readable, unreadable) = served(&store, oracle, &expected.readable, what);
    let again = expected.take_again(oracle, &mut readable, what);
    assert_eq!(again, expected.again.len(), "{what}: assigned again");
    same(
        oracle,
        &expected.readable,
        &readable,
        &expected.lost,
        what,
        &store,
    );
    let differ: Vec<_> = unreadable
        .symmetric_difference(&expected.unreadable)
        .filter(|key| !oracle.is_nameless(key.0, &expected.lost))
        .collect();
    let differ: Vec<_> = differ
        .iter()
        .map(|key| (*key, oracle.mail.get(*key)))
        .collect();
    assert!(
        differ.is_empty(),
        "{what}: unreadable: {differ:?}, lost {:?}",
        expected.lost
    );
    let report = verify(&store);
    places(oracle, &report, hits, what);
    named(&store, oracle, &report, &expected, what);
    assert_eq!(
        store.recovery().is_whole() && report.is_whole(),
        hits.is_empty(),
        "{what}"
    );
    if heal {
        let after = heals(&store, what);
        drop(store);
        let store = open(&sim, made(51)).unwrap_or_else(|error| panic!("{what}: {error:?}"));
        assert!(
            crate::kit::state(&store) == after,
            "{what}: after a delivery"
        );
    }
}

/// Those of `mail` in accounts that have a name.
fn named_only(oracle: &Oracle, mail: &Mail, lost: &BTreeSet<u64>) -> Mail {
    let mail = mail
        .iter()
        .filter(|(key, _)| !oracle.is_nameless(key.0, lost));
    mail.map(|(key, entry)| (*key, entry.clone())).collect()
}

fn same(
    oracle: &Oracle,
    expected: &Mail,
    found: &Mail,
    lost: &BTreeSet<u64>,
    what: &str,
    store: &Store,
) {
    if named_only(oracle, expected, lost) == named_only(oracle, found, lost) {
        return;
    }
    let gone: Vec<_> = expected
        .iter()
        .filter(|(key, _)| !found.contains_key(*key))
        .collect();
    let more: Vec<_> = found
        .iter()
        .filter(|(key, _)| !expected.contains_key(*key))
        .collect();
    let other: Vec<_> = expected
        .iter()
        .filter(|(key, entry)| found.get(*key).is_some_and(|found| found != *entry))
        .collect();
    let lost: Vec<_> = lost
        .iter()
        .map(|number| (number, oracle.account_of(*number), oracle.change(*number)))
        .collect();
    for name in store.accounts(None, 1000).unwrap() {
        let account = store.account(&name).unwrap();
        let boxes = account.mailboxes().unwrap();
        let boxes: Vec<_> = boxes
            .iter()
            .map(|info| (info.id.get(), &info.name))
            .collect();
        println!("{name} {} {boxes:?}", account.id());
    }
    panic!(
        "{what}: not served {gone:?}\nserved and unexpected {more:?}\nother {other:?}\nlost {lost:?}\n{}",
        store.recovery()
    );
}

/// The reports name exactly what is hit.
fn named(store: &Store, oracle: &Oracle, report: &VerifyReport, expected: &Expected, what: &str) {
    let recovery = store.recovery();
    let holes = recovery
        .holes
        .iter()
        .flat_map(|hole| hole.first_lost..=hole.last_lost);
    let holes: BTreeSet<u64> = holes.collect();
    assert_eq!(
        holes, expected.lost,
        "{what}: records named as lost\n{recovery}"
    );
    let bad = report.bad_messages.iter().map(|bad| {
        let account = store.account_by_id(bad.account_id).unwrap();
        let mailbox = account.mailbox(&bad.mailbox).unwrap();
        (bad.account_id, mailbox.id().get(), bad.uid.get())
    });
    let bad: BTreeSet<Key> = bad.collect();
    let to_be_named = &expected.unreadable | &expected.undigested;
    // What is left of an account without a name is not looked through by a verification: the hole is named.
    let mut differ = bad.symmetric_difference(&to_be_named);
    let nameless = |key: &&Key| oracle.is_nameless(key.0, &expected.lost);
    assert!(
        differ.all(|key| nameless(&key)),
        "{what}: messages named as bad: {bad:?}, expected {to_be_named:?}"
    );
    let told: BTreeMap<u64, Key> = store
        .lost()
        .iter()
        .map(|lost| (lost.record, (lost.account, lost.mailbox, lost.uid)))
        .collect();
    for number in &expected.lost {
        let body_is_there =
            oracle.has_body(*number) && !expected.bad.contains(&BodyKey::Record(*number));
        assert!(
            !body_is_there || told.contains_key(number),
            "{what}: record {number} had a body, which does not say whose"
        );
    }
    for number in told.keys() {
        assert!(
            expected.lost.contains(number),
            "{what}: {number} is named and not lost"
        );
    }
}

/// Mail comes to every account; the state afterwards.
fn heals(store: &Store, what: &str) -> String {
    for name in store.accounts(None, 1000).unwrap() {
        let inbox = store
            .account(&name)
            .unwrap()
            .inbox()
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        let next = inbox.status().unwrap().uid_next;
        let kept = store.deliver(message(1 << 40, 90), [Delivery::to(&inbox)]);
        let kept = kept.unwrap().wait().unwrap().remove(0).unwrap();
        assert_eq!(Some(kept.uid), next, "{what}");
        let view = inbox.view().unwrap();
        assert!(
            view.message(kept.uid).unwrap().bytes().unwrap() == message(1 << 40, 90),
            "{what}"
        );
    }
    crate::kit::state(store)
}

/// Opens a store with whatever is wrong with it as a server does, by its index: nothing is wrong of what is served, and
/// what is not is named. Returns how many are not served.
pub(super) fn lenient(
    sample: &Sample,
    files: Files,
    hits: &[Hit],
    what: &str,
    options: Options,
) -> usize {
    let oracle = &sample.oracle;
    let expected = Expected::of(oracle, hits);
    let sim = Sim::from_files(files);
    let store = open(&sim, options).unwrap_or_else(|error| panic!("{what}: {error:?}"));
    let (mut readable, _) = served(&store, oracle, &expected.readable, what);
    expected.take_again(oracle, &mut readable, what);
    for key in readable
        .keys()
        .filter(|key| !oracle.mail.contains_key(*key))
    {
        assert!(
            expected.readable.contains_key(key),
            "{what}: {key:?} is back without a reason"
        );
    }
    let report = verify(&store);
    let mut missing = 0;
    for key in oracle
        .mail
        .keys()
        .filter(|key| !readable.contains_key(*key))
    {
        missing += 1;
        assert!(
            !expected.readable.contains_key(key),
            "{what}: {key:?} is not hit and not served\n{}",
            store.recovery()
        );
    }
    places(oracle, &report, hits, what);
    missing
}

/// Opens a store of which a file is gone or cut: it is refused by name, or what is served is right and what is missing is
/// told. Refused ones are opened with the loss accepted, too. Returns whether it was refused.
pub(super) fn refused_or(sample: &Sample, files: Files, what: &str) -> bool {
    let whole = |store: &Store| {
        let oracle = &sample.oracle;
        let (readable, _) = served(store, oracle, &oracle.mail, what);
        let missing = oracle
            .mail
            .keys()
            .filter(|key| !readable.contains_key(*key))
            .count();
        let told = !store.recovery().is_whole() || !verify(store).is_whole();
        assert!(
            missing == 0 || told,
            "{what}: {missing} messages are gone and nothing says so"
        );
    };
    let sim = Sim::from_files(files.clone());
    match open(&sim, made(70)) {
        Ok(store) => whole(&store),
        Err(mailkeep::Error::Incomplete { .. }) => {
            let kept_once = ["MANIFEST", "SEGMENTS"]
                .iter()
                .any(|name| what.contains(name));
            let store = match open(&sim, made(71).accept_loss(true)) {
                Err(mailkeep::Error::Incomplete { .. }) if kept_once => return true,
                store => store,
            };
            let store = store.unwrap_or_else(|error| panic!("{what}: {error:?}"));
            assert!(!store.recovery().missing.is_empty(), "{what}");
            whole(&store);
            heals(&store, what);
            return true;
        }
        Err(error) => {
            let named = matches!(
                error,
                mailkeep::Error::NotAStore { .. }
                    | mailkeep::Error::Foreign { .. }
                    | mailkeep::Error::Damaged { .. }
            );
            assert!(named, "{what}: {error:?}");
            return true;
        }
    }
    false
}
