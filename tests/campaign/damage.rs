//! A power cut, and besides one sector of what had been made durable, or up to a page of them, is not what it was: zeroes, half
//! zeroes, or what it held before; the index is there or is made again. All that the sectors do not hold is there and equal; what
//! is missing is told; no number is given twice.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{ControlFlow, Range};

use mailkeep::format::PAGE;
use mailkeep::{AccountId, Delivery, Error, Store};

use crate::cuts::{Bounds, choices, chosen, late, tell};
use crate::dice::Dice;
use crate::hit::{Hit, hit};
use crate::look::{AccountLook, Look, Numbers, UNREADABLE, look_at_damaged};
use crate::model::{Account, World};
use crate::sim::{CrashPoint, Image, SECTOR, Sim};
use crate::tally::{Only, Tally, campaign, replayable};
use crate::work::Work;

/// Messages that wait for their account.
type Late = BTreeSet<usize>;

/// Account, mailbox, its UIDVALIDITY, UID.
type Key = (AccountId, u32, u32, u32);

/// Which message each UID is in the states up to one, or only in those that somebody had seen by `op`.
fn shown(work: &Work, upto: usize, op: Option<usize>) -> BTreeMap<Key, usize> {
    let states = work.shown[..=upto].iter();
    let states = states.filter(|shown| op.is_none_or(|op| shown.seen <= op));
    states.flat_map(|shown| keys(&shown.look)).collect()
}

fn keys(look: &Look) -> impl Iterator<Item = (Key, usize)> {
    look.accounts.iter().flat_map(|account| {
        account.mailboxes.iter().flat_map(|mailbox| {
            let of = (account.id, mailbox.id, mailbox.uid_validity);
            let rows = mailbox.rows.iter();
            rows.map(move |row| ((of.0, of.1, of.2, row.uid), row.message))
        })
    })
}

/// What there may be where the last thing that was asked for was done in part.
fn between(work: &Work, bounds: Bounds) -> impl Iterator<Item = &World> {
    let under_way = work.shown[bounds.least + 1..=bounds.most].iter();
    under_way.flat_map(|shown| &shown.between)
}

/// A disk with sectors that are not what they were.
struct Damaged {
    disk: Image,
    hit: Hit,
    /// Whether the index is made again, too.
    rebuild: bool,
    what: String,
}

/// Damages sectors that were durable here and that nothing undecided touches.
fn damaged(point: &CrashPoint, disk: Image, older: &[Image], dice: &mut Dice) -> Option<Damaged> {
    let (durable, all) = (point.image(&mut |_| false), point.image(&mut |_| true));
    let segments = dice.below(4) > 0;
    let names = durable
        .names()
        .filter(|name| name.ends_with(".seg") == segments);
    let names: Vec<&str> = names.collect();
    let name = *names.get(dice.below(names.len()))?;
    let content = durable.content(name)?;
    let written = content.iter().rposition(|byte| *byte != 0)?;
    let sector = dice.below(written / SECTOR + 1);
    let more = if dice.below(4) == 0 {
        dice.below(PAGE / SECTOR)
    } else {
        0
    };
    let sectors = sector..(sector + more).min(written / SECTOR) + 1;
    let range = sector * SECTOR..content.len().min(sectors.end * SECTOR);
    let sector_of = |disk: &Image| Some(disk.content(name)?.get(range.clone())?.to_vec());
    let before = sector_of(&durable)?;
    if [&disk, &all].map(|disk| sector_of(disk).as_ref() == Some(&before)) != [true, true] {
        return None;
    }
    let half = |range: Range<usize>| {
        let mut torn = before.clone();
        torn[range].fill(0);
        torn
    };
    let middle = before.len() / 2;
    let (how, after) = match dice.below(4) {
        0 => ("zeroed", vec![0; before.len()]),
        1 => ("torn behind", half(middle..before.len())),
        2 => ("torn in front", half(0..middle)),
        _ => {
            let mut known = older.iter().rev().filter_map(sector_of);
            ("older", known.find(|known| *known != before)?)
        }
    };
    let hit = Hit::of(sectors.clone().map(|sector| hit(&durable, name, sector)));
    let rebuild = dice.below(4) == 0;
    let mut disk = disk;
    disk.edit(name)[range].copy_from_slice(&after);
    (after != before).then(|| Damaged {
        disk,
        what: format!("{name} sectors {sectors:?} {how}, rebuild {rebuild}: {hit:?}"),
        hit,
        rebuild,
    })
}

/// Whether anything says that something is missing.
fn is_told(store: &Store) -> bool {
    let report = store.recovery();
    let verified = store.verify(&mut |_| ControlFlow::Continue(())).unwrap();
    !report.is_whole()
        || !report.accounts_hit.is_empty()
        || report.cut.is_some()
        || store.health().lost_records > 0
        || !verified.is_whole()
}

/// Whether an account is as it was in one of the states that may be found; those of its messages that cannot be read are
/// among the damaged.
fn is_there(found: &AccountLook, work: &Work, bounds: Bounds, hit: &Hit, late: &Late) -> bool {
    let mut states = work.shown[bounds.least..=bounds.most].iter();
    let is_it = states.any(|state| {
        let mut shown = state.look.accounts.iter();
        let shown = shown.find(|shown| shown.id == found.id);
        shown.is_some_and(|shown| {
            let mut found = found.clone();
            let mut fits = true;
            for (found, shown) in found.mailboxes.iter_mut().zip(&shown.mailboxes) {
                for (found, shown) in found.rows.iter_mut().zip(&shown.rows) {
                    if found.message == UNREADABLE {
                        fits &= hit.messages.contains(&shown.message);
                        found.message = shown.message;
                    }
                    // It has no UID yet.
                    if late.contains(&found.message) && found.message == shown.message {
                        fits &= found.uid >= shown.uid;
                        *found = shown.clone();
                    }
                }
            }
            fits && found.is_raised(shown)
        })
    });
    let mut models = between(work, bounds).flat_map(|world| world.accounts.values());
    is_it
        || models.any(|model| {
            model.name == found.name && filled(found, model, hit).holds(model, Numbers::NotLess)
        })
}

/// An account with the messages of the model in place of the damaged ones.
fn filled(found: &AccountLook, model: &Account, hit: &Hit) -> AccountLook {
    let mut found = found.clone();
    for mailbox in &mut found.mailboxes {
        let mut models = model.mailboxes.values();
        let Some(model) = models.find(|model| model.name == mailbox.name) else {
            continue;
        };
        for row in &mut mailbox.rows {
            let meant = model.entries.get(&row.uid).map(|entry| entry.message);
            let meant = meant.filter(|meant| hit.messages.contains(meant));
            if let (UNREADABLE, Some(meant)) = (row.message, meant) {
                row.message = meant;
            }
        }
    }
    found
}

/// What is found is right, and what is not found was hit.
fn compare(
    work: &Work,
    found: &Look,
    (op, bounds): (usize, Bounds),
    hit: &Hit,
) -> Result<(), String> {
    let seen = shown(work, bounds.most, Some(op));
    let ever = shown(work, bounds.most, None);
    let partly = between(work, bounds).next().is_some();
    let waiting = late(work, bounds.most, op);
    // Where the record that gave it a UID is hit, it gets another one: in the account that has the name now.
    let once_late = late(work, bounds.most, 0);
    let name = |id: &AccountId| id.as_bytes()[..8].to_vec();
    let is_namesake = |id: &AccountId| hit.accounts.iter().any(|one| name(one) == name(id));
    for (key, message) in keys(found) {
        let again = is_namesake(&key.0) && once_late.contains(&message);
        let anew = again || waiting.contains(&message);
        // A mailbox whose creation is hit may get a greater UIDVALIDITY.
        let (id, mailbox, validity, uid) = key;
        let older = ever.range((id, mailbox, 0, 0)..(id, mailbox, validity, 0));
        let mut older = older.filter(|(key, was)| key.3 == uid && **was == message);
        let raised = hit.accounts.contains(&id) && older.next().is_some();
        let right = match (seen.get(&key), ever.get(&key)) {
            (Some(was), _) => *was == message,
            (None, Some(will)) => *will == message || anew || raised,
            (None, None) => partly || anew || raised,
        };
        if message != UNREADABLE && !right {
            return Err(format!("{key:?} is message {message}"));
        }
    }
    if hit.anybody || hit.unsure {
        return Ok(());
    }
    let given = |id: &AccountId| !once_late.is_empty() && is_namesake(id);
    let is_hit = |id: &AccountId| hit.accounts.contains(id) || given(id);
    for account in found.accounts.iter().filter(|found| !is_hit(&found.id)) {
        if !is_there(account, work, bounds, hit, &waiting) {
            return Err(format!("{} is not as it was", account.name));
        }
    }
    // Who is in all states that may be found is found.
    let states = work.shown[bounds.least..=bounds.most].iter();
    let states = states.map(|shown| shown.look.accounts.iter().map(|account| account.id));
    let always = states.map(BTreeSet::from_iter).reduce(|a, b| &a & &b);
    let is_found = |id: &AccountId| found.accounts.iter().any(|account| account.id == *id);
    match always
        .unwrap()
        .iter()
        .find(|id| !is_hit(id) && !is_found(id))
    {
        Some(gone) => Err(format!("{gone} is gone")),
        None => Ok(()),
    }
}

/// Mail comes to each mailbox: nothing that it is given was ever shown.
fn deliver(
    work: &Work,
    store: &Store,
    found: &Look,
    given: &BTreeMap<Key, usize>,
) -> Result<(), String> {
    let Some(message) = work.messages.last() else {
        return Ok(());
    };
    for account in &found.accounts {
        let handle = store.account(&account.name);
        let handle = handle.map_err(|error| format!("{}: {error}", account.name))?;
        for mailbox in account.mailboxes.iter().filter(|one| !one.noselect) {
            let to = handle.mailbox(&mailbox.name).unwrap();
            let kept = store.deliver(message, [Delivery::to(&to)]).unwrap();
            let kept = kept.wait().unwrap().remove(0).unwrap();
            let validity = kept.uid_validity.get();
            let key = (account.id, mailbox.id, validity, kept.uid.get());
            if given.contains_key(&key) || kept.modseq.get() <= mailbox.modseq {
                return Err(format!("{kept:?} is given twice"));
            }
        }
    }
    Ok(())
}

/// Opens a damaged disk and looks at all of it.
fn opens(work: &Work, damaged: Damaged, op: usize, tally: &mut Tally) {
    let bounds = Bounds::of(work, op, false);
    let Damaged {
        disk,
        hit,
        rebuild,
        what,
    } = damaged;
    let disk = Sim::from_image(disk);
    let options = work.setup.options(1000).rebuild(rebuild);
    let store = match Store::open_on(disk.storage(), options) {
        Ok(store) => store,
        Err(error) => {
            let typed = matches!(error, Error::Damaged { .. } | Error::Incomplete { .. });
            assert!(typed && hit.list, "{what}: {error:?}");
            tally.add("a damaged disk, refused");
            return;
        }
    };
    if rebuild {
        let rebuilt = store.wait_rebuilt(&mut |_| ControlFlow::Continue(()));
        rebuilt.unwrap_or_else(|error| panic!("{what}: {error:?}"));
    }
    let found = look_at_damaged(&store, &work.messages);
    let found = found.unwrap_or_else(|error| panic!("{what}: {error:?}"));
    let compared = compare(work, &found, (op, bounds), &hit);
    let mut states = work.shown[bounds.least..=bounds.most].iter();
    let shown_once = states.any(|shown| found.is(&shown.look, Numbers::NotLess));
    let whole = shown_once || between(work, bounds).any(|world| found.holds(world));
    // Of what was synced last nothing else on the medium may tell yet that it ever was.
    let least = &work.shown[bounds.least].look;
    // Of what was under way, some may be there and some not.
    let missing = !whole && !found.has(least);
    let told = !missing || hit.unsure || is_told(&store);
    let report = store.recovery();
    assert!(told, "{what}: not told\n{}", found.against(least));
    if let Err(why) = compared {
        // A list that is older than it was says so, or nothing is missing.
        assert!(
            hit.list && told,
            "{what}: {why}\n{report}{}",
            found.against(least)
        );
    }
    tally.add(match whole {
        true => "a damaged disk, nothing missing",
        false => "a damaged disk, the loss told",
    });
    // Models have names and no ids: what looks like one may be an earlier account of the name.
    if !hit.unsure || shown_once {
        let given = shown(work, bounds.least, Some(op));
        let why = deliver(work, &store, &found, &given);
        assert!(
            why.is_ok(),
            "{what}: {why:?}\n{report}\n{}",
            found.against(least)
        );
    }
    let after = look_at_damaged(&store, &work.messages).unwrap();
    store.close().unwrap();
    let store = Store::open_on(disk.storage(), work.setup.options(1001)).unwrap();
    let again = look_at_damaged(&store, &work.messages).unwrap();
    let same = again.is(&after, Numbers::NotLess);
    assert!(same, "{what}: later\n{}", again.against(&after));
    tally.add("a damaged disk, opened again");
}

fn cuts(seed: u64, tally: &mut Tally) {
    let only = Only::from_env();
    let work = replayable("damaged_cuts", seed, 0, 0, || Work::of(seed));
    tally.add("Workloads");
    let mut older = Vec::new();
    work.sim.walk(&mut |op, point| {
        if op % 16 == 0 {
            older.push(point.image(&mut |_| false));
        }
        if !only.at(op) || op > work.until {
            return;
        }
        if only.is_one() {
            tell(&work, op, point);
        }
        for n in (0..8).filter(|n| only.state(*n)) {
            let mut dice = Dice::of(&[seed, op as u64, n as u64, 13]);
            let which = dice.below(choices(point, 12));
            let disk = chosen(point, which, &mut dice);
            replayable("damaged_cuts", seed, op, n, || {
                if let Some(damaged) = damaged(point, disk, &older, &mut dice) {
                    opens(&work, damaged, op, tally);
                }
            });
        }
    });
}

#[test]
fn damaged_cuts() {
    campaign("damaged_cuts", (100_000, 1_000), cuts);
}
