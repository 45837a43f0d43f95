//! What a store shows, held against the histories of a run.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;

use mailkeep::{AccountId, Delivery, Digest, Options, Store, Uid};

use super::history::{Histories, History, NEVER, Place, same_places};
use super::world::{BOXES, World};
use crate::harm::Dice;
use crate::kit::{self, assert_whole, message};
use crate::sim::Sim;

/// All that a store shows.
#[derive(Default, Debug, PartialEq)]
struct Found {
    messages: BTreeMap<Digest, Vec<Place>>,
    mailboxes: BTreeMap<(AccountId, u32), String>,
    accounts: BTreeMap<AccountId, String>,
    /// UIDVALIDITY, UIDNEXT, highest MODSEQ.
    numbers: BTreeMap<(AccountId, u32), (u32, u32, u64)>,
}

impl Found {
    fn of(store: &Store) -> Self {
        let mut found = Self::default();
        for name in store.accounts(None, 10_000).unwrap() {
            let account = store.account(&name).unwrap();
            let other = found.accounts.insert(account.id(), name);
            assert_eq!(other, None, "listed twice");
            for info in account.mailboxes().unwrap() {
                let key = (account.id(), info.id.get());
                let mailbox = account.mailbox(&info.name).unwrap();
                found.mailboxes.insert(key, info.name);
                let status = mailbox.status().unwrap();
                let next = status.uid_next.map_or(u32::MAX, Uid::get);
                let numbers = (status.uid_validity.get(), next, status.highest_modseq.get());
                found.numbers.insert(key, numbers);
                let view = mailbox.view().unwrap();
                for row in view.iter() {
                    assert!(row.uid.get() < next && row.modseq <= status.highest_modseq);
                    let message = view.message(row.uid).unwrap();
                    let digest = Digest::of(&message.bytes().unwrap());
                    assert_eq!(digest, message.digest().unwrap(), "wrong bytes");
                    let (account, mailbox) = key;
                    let (uid, flags) = (row.uid.get(), row.flags);
                    found.messages.entry(digest).or_default().push(Place {
                        account,
                        mailbox,
                        uid,
                        flags,
                    });
                }
            }
        }
        found
    }
}

/// Holds what is found after a crash at `at` (or, for [`NEVER`] - 1, without one) against the histories.
fn check(known: &Histories, found: &Found, at: usize, readers_count: bool) {
    let mut shown: BTreeMap<Digest, usize> = BTreeMap::new();
    for seen in known.seen.iter().filter(|seen| seen.shown <= at) {
        assert!(
            !known.failed.contains(&seen.digest),
            "shown, and its delivery failed: {seen:?}"
        );
        let history = &known.messages.get(&seen.digest);
        let steps = &history.expect("a message that somebody delivered").0;
        let is_it = |place: &Place| place.is_entry(&seen.place);
        let step = steps.iter().position(|step| step.value.iter().any(is_it));
        let step = step.unwrap_or_else(|| panic!("{seen:?} of {steps:?}"));
        let least = shown.entry(seen.digest).or_default();
        *least = step.max(*least);
    }
    for digest in found.messages.keys() {
        let is_known = known.messages.contains_key(digest) || known.failed.contains(digest);
        assert!(is_known, "{digest} was never delivered");
    }
    for (digest, history) in &known.messages {
        let shown = shown.get(digest).filter(|_| readers_count);
        let allowed = history.allowed(at, shown.copied().unwrap_or(0));
        let places = found.messages.get(digest).map_or(&[][..], Vec::as_slice);
        let fits = |expected: &Vec<Place>| same_places(expected, places);
        assert!(
            allowed.iter().any(|step| fits(&step.value)),
            "message {digest} at {at}: found {places:?}, allowed {allowed:?}, of {history:?}"
        );
    }
    for (id, history) in &known.accounts {
        named(history, at, found.accounts.get(id));
    }
    for (id, history) in &known.mailboxes {
        named(history, at, found.mailboxes.get(id));
    }
}

fn named(history: &History<Option<String>>, at: usize, found: Option<&String>) {
    let allowed = history.allowed(at, 0);
    let fits = allowed.iter().any(|step| step.value.as_ref() == found);
    assert!(fits, "found {found:?}, allowed {allowed:?} at {at}");
}

/// Goal: one UID, one message: in all that was acknowledged and all that was shown.
pub(super) fn uids_are_given_once(known: &Histories) {
    let mut given: BTreeMap<(AccountId, u32, u32), Digest> = BTreeMap::new();
    let mut give = |digest: &Digest, place: &Place| {
        if place.uid != 0 {
            let at = (place.account, place.mailbox, place.uid);
            let other = *given.entry(at).or_insert(*digest);
            assert_eq!(other, *digest, "{place:?} was given twice");
        }
    };
    for (digest, history) in &known.messages {
        let steps = history.0.iter().filter(|step| step.after != NEVER);
        let places = steps.flat_map(|step| &step.value);
        places.for_each(|place| give(digest, place));
    }
    known
        .seen
        .iter()
        .for_each(|seen| give(&seen.digest, &seen.place));
}

/// Goal: the store that is still open shows what was acknowledged, also once it was closed and opened again.
pub(super) fn alive(world: &World, known: &Histories) {
    let found = Found::of(&world.store);
    check(known, &found, NEVER - 1, true);
}

/// The highest UIDs that were given for good when the power went at `at`.
fn given(known: &Histories, at: usize, readers_count: bool) -> BTreeMap<(AccountId, u32), u32> {
    let mut highest = BTreeMap::new();
    let mut give = |place: &Place| {
        let most: &mut u32 = highest.entry((place.account, place.mailbox)).or_default();
        *most = place.uid.max(*most);
    };
    for history in known.messages.values() {
        let steps = history.0.iter();
        let durable = steps.filter(|step| step.durable && step.after <= at);
        durable.flat_map(|step| &step.value).for_each(&mut give);
    }
    if readers_count {
        let seen = known.seen.iter().filter(|seen| seen.shown <= at);
        seen.for_each(|seen| give(&seen.place));
    }
    highest
}

/// What a reopening is made with: the index is saved at every turn, or hardly ever.
fn options(seed: u64) -> Options {
    let run = 1 << 20 | seed & 0xffff;
    match seed % 3 {
        0 => kit::tried(run),
        _ => kit::options(run),
    }
}

/// Goal: a crash right after `at` changes leaves what it may leave; what is delivered then has new UIDs, and stays.
pub(super) fn survives(world: &World, known: &Histories, at: usize, killed: bool) {
    let disk = if killed {
        world.sim.killed(at)
    } else {
        let point = world.sim.crash_point(at);
        let mut dice = Dice::new(world.plan.seed ^ at as u64);
        let odds = [0, 1, 4, 7, 8][dice.below(5)];
        point.state(&mut |_| dice.below(8) < odds)
    };
    let left = disk.files();
    let checked = catch_unwind(AssertUnwindSafe(|| opened(world, known, at, &disk)));
    if let Err(panic) = checked {
        keep(&left, at);
        resume_unwind(panic);
    }
}

/// Keeps the disk of a failure for whoever looks into it, in the folder that MAILKEEP_DUMP names.
fn keep(files: &BTreeMap<String, Vec<u8>>, at: usize) {
    let Some(folder) = std::env::var_os("MAILKEEP_DUMP") else {
        return;
    };
    let folder = PathBuf::from(folder).join(at.to_string());
    for (name, content) in files {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    eprintln!("kept in {}", folder.display());
}

fn opened(world: &World, known: &Histories, at: usize, disk: &Sim) {
    let readers_count = !world.plan.mixed;
    let store = kit::open(disk, options(at as u64)).unwrap();
    if !world.plan.mixed {
        assert!(store.recovery().is_whole(), "{}", store.recovery());
    }
    let found = Found::of(&store);
    check(known, &found, at, readers_count);
    if readers_count {
        numbers_stay(known, &found, at);
    }
    let highest = given(known, at, readers_count);
    let more = deliver_more(&store, &world.ids, at, &highest);
    reopened(disk, store, found, more, at);
}

fn numbers_stay(known: &Histories, found: &Found, at: usize) {
    for seen in known.numbers.iter().filter(|seen| seen.shown <= at) {
        let (validity, next, modseq) = found.numbers[&seen.mailbox];
        assert!(
            seen.uid_validity == validity && seen.uid_next <= next && seen.modseq <= modseq,
            "{seen:?} was shown, found {validity} {next} {modseq} after a crash at {at}"
        );
    }
}

/// Delivers to all shared mailboxes, twice.
fn deliver_more(
    store: &Store,
    ids: &[AccountId],
    at: usize,
    highest: &BTreeMap<(AccountId, u32), u32>,
) -> BTreeMap<Digest, Vec<Place>> {
    let mut more = BTreeMap::new();
    let mut seed = 1 << 60 | at as u64;
    for (id, _) in ids.iter().zip(0..2).flat_map(|(id, _)| [(id, 0), (id, 1)]) {
        let Ok(account) = store.account_by_id(*id) else {
            continue;
        };
        for name in BOXES {
            let Ok(mailbox) = account.mailbox(name) else {
                continue;
            };
            seed += 1 << 40;
            let raw = message(seed, 300);
            let kept = store.deliver(&raw, [Delivery::to(&mailbox)]).unwrap();
            let kept = kept.wait().unwrap().remove(0).unwrap();
            let key = (*id, mailbox.id().get());
            let most = highest.get(&key).copied().unwrap_or(0);
            assert!(kept.uid.get() > most, "{key:?}: {most} was given before");
            let place = Place {
                account: *id,
                mailbox: key.1,
                uid: kept.uid.get(),
                flags: mailkeep::Flags::default(),
            };
            more.insert(Digest::of(&raw), vec![place]);
        }
    }
    more
}

/// Goal: what was shown after the crash, and what came since, is there after another opening, and is whole.
fn reopened(
    disk: &Sim,
    store: Store,
    mut before: Found,
    more: BTreeMap<Digest, Vec<Place>>,
    at: usize,
) {
    before.messages.extend(more);
    store.close().unwrap();
    let store = kit::open(disk, kit::options(1 << 30)).unwrap();
    let after = Found::of(&store);
    let places = |found: &Found| -> BTreeSet<(Digest, String)> {
        let all = found.messages.iter();
        all.flat_map(|(digest, places)| places.iter().map(|place| (*digest, format!("{place:?}"))))
            .collect()
    };
    let (old, new) = (places(&before), places(&after));
    let gone: Vec<_> = old.difference(&new).collect();
    let come: Vec<_> = new.difference(&old).collect();
    assert!(
        gone.is_empty() && come.is_empty(),
        "after a crash at {at}, opened, delivered to, closed and opened: {gone:?} are gone, {come:?} have come"
    );
    assert_eq!(before.mailboxes, after.mailboxes);
    assert_eq!(before.accounts, after.accounts);
    assert_whole(&store);
}
