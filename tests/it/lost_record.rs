//! Records that say more than one thing are damaged. The one that gave an account its name, and the index still knows the
//! name: mail for it is not refused. The one that gave out many UIDs: none of them is given again.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use mailkeep::format::{PAGE, SECTOR};
use mailkeep::{
    Accepted, Delivery, Mailbox, MailboxStatus, ModSeq, Options, Recipient, Store, Uid, UidSet,
    UidValidity,
};

use crate::kit::{message, open, options};
use crate::sim::{Call, Fault, Op, Pending, Sim};

/// The disk without one of its log's sectors behind the header, for each of them that was written, and which one it is.
fn each_lost_sector(sim: &Sim, mut check: impl FnMut(&Sim, usize)) {
    let files = sim.files();
    let name = files.keys().find(|name| name.ends_with(".seg")).unwrap();
    let written = files[name].iter().rposition(|byte| *byte != 0).unwrap();
    for sector in PAGE / SECTOR..=written / SECTOR {
        let sim = Sim::from_files(files.clone());
        sim.zero_sector(name, sector);
        check(&sim, sector);
    }
}

/// Goal: whichever sector of the log is lost, an account that is found by its name when the store is opened is found by it
/// after it was loaded, and mail by name is delivered to it.
/// Fails when: what is left of the records has an older name, and that one is believed.
#[test]
fn an_account_keeps_the_name_that_the_index_knows() {
    let plain = |run| options(run).chain_max(1000).cache_bytes(64 << 20);
    let sim = Sim::new();
    let store = open(&sim, plain(0)).unwrap();
    let account = store.create_account("anna").unwrap();
    for seed in 0..3 {
        let to = [Delivery::to(&account.inbox().unwrap())];
        let kept = store.deliver(message(seed, 700), to).unwrap();
        kept.wait().unwrap().remove(0).unwrap();
    }
    account.rename("berta").unwrap();
    account.create_mailbox("Lists").unwrap();
    store.close().unwrap();
    let mut lost = 0;
    each_lost_sector(&sim, |sim, sector| {
        let store = open(sim, plain(1)).unwrap();
        let Ok(account) = store.account("berta") else {
            return;
        };
        account.mailboxes().unwrap();
        lost += store.health().lost_records;
        assert!(store.account("berta").is_ok(), "sector {sector}");
        let to = [Recipient::new("berta", "INBOX")];
        let kept = store.deliver_to(message(9, 300), to).unwrap();
        let kept = kept.wait().unwrap().remove(0);
        assert!(
            matches!(kept, Ok(Accepted::Delivered(_))),
            "sector {sector}: {kept:?}"
        );
    });
    assert!(lost > 3, "{lost} records were lost");
}

/// How many messages are copied by one record.
const COPIED: u32 = 40;

/// Options under which no account's state is written between the records.
fn plain(run: u64) -> Options {
    options(run).chain_max(1000)
}

/// A store whose account `anna` has a mailbox `Lists` with copies of all that INBOX has.
fn with_a_copy(sim: &Sim) -> (Store, Mailbox) {
    let store = open(sim, plain(0)).unwrap();
    let account = store.create_account("anna").unwrap();
    let lists = account.create_mailbox("Lists").unwrap();
    let inbox = account.inbox().unwrap();
    for seed in 0..COPIED {
        deliver(&store, &inbox, seed.into(), 100);
    }
    let copied = inbox.copy_to(&UidSet::full(), &lists).unwrap();
    copied.wait().unwrap();
    (store, inbox)
}

/// Delivers a message; its UID.
fn deliver(store: &Store, to: &Mailbox, seed: u64, len: usize) -> u32 {
    let kept = store.deliver(message(seed, len), [Delivery::to(to)]);
    kept.unwrap().wait().unwrap().remove(0).unwrap().uid.get()
}

/// Delivers to what is left of `Lists`: none of the copies' UIDs is given again. Whether they are lost.
fn gives_new_uids(store: &Store, what: &str) -> bool {
    let Ok(lists) = store.account("anna").unwrap().mailbox("Lists") else {
        return false;
    };
    let lost = lists.view().unwrap().is_empty();
    let uid = deliver(store, &lists, 100, 100);
    assert!(uid > COPIED, "{what}: {uid}");
    lost
}

/// Goal: whichever sector of the log is lost, also that of a copy that gave out forty UIDs in one record: no UID is given
/// again.
/// Fails when: a lost record is taken for one that gave out a single UID.
#[test]
fn no_uid_of_a_lost_copy_is_given_again() {
    let sim = Sim::new();
    let (store, inbox) = with_a_copy(&sim);
    deliver(&store, &inbox, 99, 100);
    store.close().unwrap();
    let mut lost = 0;
    each_lost_sector(&sim, |sim, sector| {
        let store = open(sim, plain(1)).unwrap();
        lost += u32::from(gives_new_uids(&store, &format!("sector {sector}")));
    });
    assert!(lost > 0, "the copy was never lost");
}

/// Goal: the end of a segment reads as zeroes, or is cut off: of the copy that gave out forty UIDs nothing is left, with mail
/// in a later segment or without. No UID is given again.
/// Fails when: what was lost is taken for no longer than what is left of it.
#[test]
fn no_uid_is_given_again_where_nothing_is_left_of_a_copy() {
    for (later, cut) in [(false, false), (false, true), (true, false), (true, true)] {
        let sim = Sim::new();
        let (store, inbox) = with_a_copy(&sim);
        if later {
            deliver(&store, &inbox, 99, 60_000);
        }
        let files = sim.killed(sim.ops_len()).files();
        let mut segments = files.keys().filter(|name| name.ends_with(".seg"));
        let name = segments.next().unwrap();
        assert_eq!(segments.count(), usize::from(later));
        let written = files[name].iter().rposition(|byte| *byte != 0).unwrap();
        let mut lost = 0;
        for sector in 9..=written / SECTOR {
            let sim = Sim::from_files(files.clone());
            sim.damage_if_there(name, |bytes| match cut {
                true => bytes.truncate(sector * SECTOR),
                false => bytes[sector * SECTOR..].fill(0),
            });
            let store = open(&sim, plain(1).accept_loss(cut)).unwrap();
            let what = format!("{later} {cut}, from sector {sector}");
            lost += u32::from(gives_new_uids(&store, &what));
        }
        assert!(lost > 0, "{later} {cut}: the copy was never lost");
    }
}

/// Where the last batch of a segment begins.
fn last_batch(segment: &[u8]) -> usize {
    let mut heads = (PAGE..segment.len()).step_by(SECTOR);
    let is_head = |at: &usize| segment[*at..].starts_with(b"MKBATCH1");
    heads.rfind(is_head).unwrap()
}

/// Goal: of the last batch of a segment that is not the last one nothing is left but zeroes; it is sealed, its footer is bad, or
/// it could not be sealed; and the index is made again. The loss is told, also by `verify`, and no UID is given again.
/// Fails when: the segment is read from its batches, and what they do not say was never there.
#[test]
fn the_last_batch_of_a_segment_is_missed() {
    for (sealed, sound) in [(true, true), (true, false), (false, true)] {
        for delivered in 1..3 {
            misses_the_last_batch(sealed, sound, delivered);
        }
    }
}

/// The same for one case; the first mail after it comes in at opening `delivered`.
fn misses_the_last_batch(sealed: bool, sound: bool, delivered: u64) {
    let sim = Sim::new();
    let store = open(&sim, options(0)).unwrap();
    let inbox = store.create_account("anna").unwrap().inbox().unwrap();
    let other = store.create_account("berta").unwrap().inbox().unwrap();
    let last = [1, 2, 3].map(|seed| deliver(&store, &inbox, seed, 100))[2];
    let before = sim.files();
    let name = before.keys().find(|name| name.ends_with(".seg")).unwrap();
    let head = last_batch(&before[name]);
    // What comes next begins another segment.
    if !sealed {
        sim.set_fault(Some(Fault::from(&[Call::SetLen], 0)));
    }
    deliver(&store, &other, 9, 60_000);
    assert_eq!(store.stat().sealed > 0, sealed);
    sim.set_fault(None);
    deliver(&store, &other, 10, 60_000);
    drop((inbox, other));
    // The checkpoint behind it says that the opening need not read it.
    store.close().unwrap();
    let len = before[name].len();
    sim.damage_if_there(name, |bytes| {
        bytes[head..len].fill(0);
        if !sealed {
            bytes.truncate(len);
        }
        if !sound {
            let trailer = bytes.len() - PAGE;
            bytes[trailer..].fill(0);
        }
    });
    // With its checkpoint left the opening begins behind the segment.
    let mut files = sim.files();
    files.retain(|name, _| sealed || !name.ends_with(".run"));
    let sim = Sim::from_files(files);
    // The second time it has a footer, whatever it had before.
    for (run, rebuild) in [(1, sealed), (2, true)] {
        let what =
            format!("sealed {sealed}, sound {sound}, delivered at {delivered}, opening {run}");
        let store = open(&sim, options(run).rebuild(rebuild)).unwrap();
        store
            .wait_rebuilt(&mut |_| ControlFlow::Continue(()))
            .unwrap();
        let inbox = store.account("anna").unwrap().inbox().unwrap();
        assert_eq!(
            inbox.view().unwrap().len(),
            2 + usize::from(run > delivered)
        );
        if run == delivered {
            let uid = deliver(&store, &inbox, 10, 100);
            assert!(uid > last, "{what}: {uid}");
        }
        let told = store.recovery().holes.len() as u64 + store.health().lost_records;
        assert!(told > 0, "{what}: {:?}", store.recovery());
        let verified = store.verify(&mut |_| ControlFlow::Continue(()));
        assert!(!verified.unwrap().damage.is_empty(), "{what}");
        drop(inbox);
        store.close().unwrap();
    }
}

/// Goal: the last batch of a sealed segment and the first one of the next are zeroes, and the index is made again: both are told.
/// Fails when: only the next batch is asked whether there was one before it.
#[test]
fn the_last_batch_is_missed_where_the_next_is_lost_too() {
    let sim = Sim::new();
    let store = open(&sim, options(0)).unwrap();
    let inbox = store.create_account("anna").unwrap().inbox().unwrap();
    let other = store.create_account("berta").unwrap().inbox().unwrap();
    deliver(&store, &inbox, 1, 100);
    deliver(&store, &inbox, 2, 100);
    let first = sim.files();
    let name = first.keys().find(|name| name.ends_with(".seg")).unwrap();
    let head = last_batch(&first[name]);
    for seed in 10..13 {
        deliver(&store, &other, seed, 60_000);
    }
    drop((inbox, other));
    store.close().unwrap();
    let files = sim.files();
    let next = files.keys().filter(|name| name.ends_with(".seg")).nth(1);
    let lost = |sim: &Sim| {
        let store = open(sim, options(1).rebuild(true)).unwrap();
        let rebuilt = store.wait_rebuilt(&mut |_| ControlFlow::Continue(()));
        rebuilt.unwrap();
        store.health().lost_records
    };
    let len = files[next.unwrap()].len();
    sim.damage_if_there(next.unwrap(), |bytes| bytes[PAGE..len - 2 * PAGE].fill(0));
    let of_the_next = lost(&Sim::from_files(sim.files()));
    sim.damage_if_there(name, |bytes| bytes[head..first[name].len()].fill(0));
    assert_eq!((of_the_next, lost(&sim)), (1, 2));
}

/// Goal: none of the segments could be sealed, and nothing is lost: `verify` says so, also where it is the first to read them.
/// Fails when: one that was not read yet is taken for an empty one, and what follows it for what follows the one before.
#[test]
fn segments_without_footer_are_whole() {
    let sim = Sim::new();
    let store = open(&sim, options(0)).unwrap();
    let inbox = store.create_account("anna").unwrap().inbox().unwrap();
    let unsealed = || sim.set_fault(Some(Fault::from(&[Call::SetLen], 0)));
    unsealed();
    for seed in 0..4 {
        deliver(&store, &inbox, seed, 60_000);
    }
    sim.set_fault(None);
    drop(inbox);
    store.close().unwrap();
    unsealed();
    let store = open(&sim, options(1)).unwrap();
    let verified = store.verify(&mut |_| ControlFlow::Continue(())).unwrap();
    assert!(verified.is_whole(), "{verified:?}");
    assert_eq!((verified.segments, store.stat().sealed), (4, 0));
}

/// Goal: the power goes while a batch is written, and the acknowledged one before it loses its head: that loss is told, and its
/// UID is not given again, at the first opening and at the next.
/// Fails when: the torn batch is cut off, and nobody looks at what lies in front of it.
#[test]
fn damage_in_front_of_a_torn_batch_is_told() {
    let sim = Sim::new();
    let store = open(&sim, options(0)).unwrap();
    let inbox = store.create_account("anna").unwrap().inbox().unwrap();
    let lost = [1, 2].map(|seed| deliver(&store, &inbox, seed, 100))[1];
    deliver(&store, &inbox, 3, 5000);
    drop((inbox, store));
    let ops = sim.ops();
    let is_batch =
        |op: &Op| matches!(op, Op::Write { bytes, .. } if bytes.starts_with(b"MKBATCH1"));
    let mut batches = (0..ops.len()).filter(|at| is_batch(&ops[*at]));
    let (torn, before) = (batches.next_back().unwrap(), batches.next_back().unwrap());
    let Op::Write { offset, .. } = ops[before] else {
        unreachable!()
    };
    let mut pending = 0;
    let sim = sim.crash(torn + 1, &mut |what| {
        let its = matches!(what, Pending::Sector { op, .. } if op == torn);
        pending += u32::from(its);
        !its || pending == 1
    });
    let files = sim.files();
    let name = files.keys().find(|name| name.ends_with(".seg")).unwrap();
    sim.zero_sector(name, offset / SECTOR);
    let mut given = BTreeSet::from([lost]);
    for run in 1..4 {
        let store = open(&sim, options(run)).unwrap();
        let account = store.account("anna").unwrap();
        assert!(
            !store.recovery().is_whole() || run > 1,
            "{}",
            store.recovery()
        );
        let inbox = account.inbox().unwrap();
        assert_eq!(inbox.view().unwrap().len(), run as usize);
        assert!(given.insert(deliver(&store, &inbox, 10 + run, 100)));
    }
}

/// Goal: an account was renamed, and another one has its first name since. Where the record of the renaming is lost there are
/// two of that name: the later one is found by it, and mail for it is its own.
/// Fails when: the older one is found, because it has made more mailboxes.
#[test]
fn the_later_account_of_a_name_keeps_it() {
    let sim = Sim::new();
    let store = open(&sim, options(0)).unwrap();
    let old = store.create_account("anna").unwrap();
    old.rename("berta").unwrap();
    store.create_account("carla").unwrap();
    let new = store.create_account("anna").unwrap().id();
    for name in ["a", "b", "c"] {
        old.create_mailbox(name).unwrap();
    }
    let sim = sim.killed(sim.ops_len());
    drop((old, store));
    let mut lost = 0;
    each_lost_sector(&sim, |sim, sector| {
        let store = open(sim, options(1)).unwrap();
        let names = store.accounts(None, 10).unwrap();
        let gone = store.account_by_id(new).is_err();
        if names.iter().any(|name| name == "berta") || gone {
            return;
        }
        lost += 1;
        let found = store.account("anna").unwrap();
        assert_eq!(found.id(), new, "sector {sector}");
    });
    assert!(lost > 0, "the renaming was never lost");
}

/// Goal: a record's length becomes one that leads behind the end of the file: it is lost like another, and mail for the account by
/// name gets its UID.
/// Fails when: the file's end is taken for a disk that does not give what it has, and the account waits for that for ever.
#[test]
fn a_length_that_leads_behind_the_file_is_damage() {
    let sim = Sim::new();
    let store = open(&sim, plain(0)).unwrap();
    let account = store.create_account("anna").unwrap();
    account.create_mailbox("Lists").unwrap();
    for seed in 0..3 {
        deliver(&store, &account.inbox().unwrap(), seed, 700);
    }
    drop(account);
    let files = sim.files();
    let name = files.keys().find(|name| name.ends_with(".seg")).unwrap();
    let written = files[name].iter().rposition(|byte| *byte != 0).unwrap();
    // Where a record lies a footer tells, so that its length is read before anything else of it.
    let other = store.create_account("berta").unwrap().inbox().unwrap();
    for seed in 10..12 {
        deliver(&store, &other, seed, 60_000);
    }
    drop(other);
    store.close().unwrap();
    let files = sim.files();
    let mut lost = 0;
    for at in (PAGE..written).step_by(8) {
        let sim = Sim::from_files(files.clone());
        // Of whatever is there, be it a length or not.
        sim.flip(name, 8 * (at + 6) + 4);
        let store = open(&sim, plain(1)).unwrap();
        let to = [Recipient::new("anna", "None/such")];
        let kept = store.deliver_to(message(9, 300), to).unwrap();
        let kept = kept.wait().unwrap().remove(0);
        assert!(matches!(kept, Ok(Accepted::Delivered(_))), "{at}: {kept:?}");
        lost += store.health().lost_records;
    }
    assert!(lost > 3, "{lost} records were lost");
}

/// Goal: whichever sector of the log is lost, each account that is listed has an INBOX, its mailboxes have one name each, and
/// each of them is found by it and takes mail.
/// Fails when: a mailbox hangs below one whose creation is lost, keeps a name that another one has now, or an account keeps
/// nothing because all that made it is lost.
#[test]
fn what_is_listed_is_found_by_its_name() {
    let sim = Sim::new();
    let store = open(&sim, plain(0)).unwrap();
    let account = store.create_account("anna").unwrap();
    for name in ["a", "a/b", "a/b/c", "d"] {
        let made = account.create_mailbox(name).unwrap();
        deliver(&store, &made, 1, 100);
    }
    account.create_mailbox("x").unwrap();
    account.create_mailbox("x/y").unwrap();
    account.delete_mailbox("d").unwrap();
    account.create_mailbox("d").unwrap();
    account.rename_mailbox("d", "e").unwrap();
    for name in ["p", "p/q"] {
        account.create_mailbox(name).unwrap();
    }
    for name in ["p/q", "p"] {
        account.delete_mailbox(name).unwrap();
    }
    account.create_mailbox("d").unwrap();
    account.rename_mailbox("a", "f").unwrap();
    store.create_account("berta").unwrap();
    store.close().unwrap();
    let mut lost = 0;
    each_lost_sector(&sim, |sim, sector| {
        let store = open(sim, plain(1)).unwrap();
        for name in store.accounts(None, 10).unwrap() {
            let account = store.account(&name).unwrap();
            account.inbox().unwrap();
            let mut names: Vec<_> = account.mailboxes().unwrap();
            names.sort_unstable_by(|a, b| a.name.cmp(&b.name));
            assert!(names.iter().any(|one| one.name == "INBOX"), "{sector}");
            let twice = names.windows(2).find(|pair| pair[0].name == pair[1].name);
            assert!(twice.is_none(), "sector {sector}: {twice:?}");
            for listed in names.iter().filter(|listed| !listed.noselect) {
                let found = account.mailbox(&listed.name);
                let found = found.unwrap_or_else(|error| panic!("sector {sector}: {error}"));
                let kept = store.deliver(message(2, 100), [Delivery::to(&found)]);
                kept.unwrap().wait().unwrap().remove(0).unwrap();
            }
        }
        lost += store.health().lost_records;
    });
    assert!(lost > 10, "{lost} records were lost");
}

/// Name, UIDVALIDITY, UIDNEXT and HIGHESTMODSEQ of each INBOX, by name.
fn told(store: &Store) -> Vec<(String, UidValidity, Option<Uid>, ModSeq)> {
    let mut names = store.accounts(None, 10).unwrap();
    names.sort_unstable();
    let inbox = |name: &String| store.account(name).unwrap().inbox().unwrap();
    let status = |name: &String| inbox(name).status().unwrap();
    let told = |name: String| {
        let MailboxStatus {
            uid_validity,
            uid_next,
            highest_modseq,
            ..
        } = status(&name);
        (name, uid_validity, uid_next, highest_modseq)
    };
    names.into_iter().map(told).collect()
}

/// Goal: whichever sectors of the log are lost, what was told once of an INBOX is not lower later, nor at the next opening.
/// Fails when: what is lost raises its numbers in memory only.
#[test]
fn what_was_told_does_not_fall() {
    let sim = Sim::new();
    let store = open(&sim, plain(0)).unwrap();
    for name in ["anna", "berta", "carla"] {
        let account = store.create_account(name).unwrap();
        account.create_mailbox("Lists").unwrap();
    }
    store.close().unwrap();
    let mut lost = 0;
    for more in 0..4 {
        each_lost_sector(&sim, |sim, sector| {
            let files = sim.files();
            let name = files.keys().find(|name| name.ends_with(".seg")).unwrap();
            let behind = sector + 1..=sector + more;
            let end = files[name].len() / SECTOR;
            behind
                .filter(|at| *at < end)
                .for_each(|at| sim.zero_sector(name, at));
            let store = open(sim, plain(1)).unwrap();
            // What one account has lost lifts those that were looked at before.
            let looks = [told(&store), told(&store)];
            lost += store.health().lost_records;
            store.close().unwrap();
            let later = told(&open(sim, plain(2)).unwrap());
            for (before, after) in looks[0]
                .iter()
                .zip(&looks[1])
                .chain(looks[1].iter().zip(&later))
            {
                let rises = before.0 == after.0
                    && (before.1 < after.1
                        || before.1 == after.1 && before.2 <= after.2 && before.3 <= after.3);
                assert!(rises, "sector {sector} and {more}: {before:?}, {after:?}");
            }
        });
    }
    assert!(lost > 10, "{lost} records were lost");
}

/// Goal: a run of the index is gone, and the newest record of an account is lost in the segment that has no footer yet: the
/// loss is told, and what that record gave out is not given again.
/// Fails when: rows are made of what is left of the log, and nobody hears that there was more.
#[test]
fn the_newest_record_is_lost_where_no_run_has_its_row() {
    let sim = Sim::new();
    let plain = |run| options(run).chain_max(1000);
    let store = open(&sim, plain(0)).unwrap();
    let inbox = store.create_account("anna").unwrap().inbox().unwrap();
    for seed in 0..3 {
        let kept = store.deliver(message(seed, 100), [Delivery::to(&inbox)]);
        kept.unwrap().wait().unwrap().remove(0).unwrap();
    }
    let given = inbox.status().unwrap().uid_next.unwrap().get();
    store.close().unwrap();
    let mut files = sim.files();
    files.retain(|name, _| !name.ends_with(".run"));
    let log = files.iter_mut().find(|(name, _)| name.ends_with(".seg"));
    let log = log.unwrap().1;
    let mut starts = (8..log.len() / SECTOR).rev().map(|sector| sector * SECTOR);
    let last = starts.find(|at| log[*at..].starts_with(b"MKBATCH1"));
    // In the record: the head in front of it still says that there was one.
    log[last.unwrap() + 250] ^= 1;
    let sim = Sim::from_files(files);
    let store = open(&sim, plain(1)).unwrap();
    let inbox = store.account("anna").unwrap().inbox().unwrap();
    let kept = store.deliver(message(9, 100), [Delivery::to(&inbox)]);
    let uid = kept.unwrap().wait().unwrap().remove(0).unwrap().uid.get();
    assert!(uid >= given, "{uid}, and {given} was next");
    assert!(store.health().lost_records > 0);
}

/// Goal: whichever sector of the log is lost, the opening names the accounts of which a record is missing in front of one
/// that is there, and no other account.
/// Fails when: the record before the one that is read is taken for another.
#[test]
fn accounts_that_lost_a_record_are_named() {
    const EACH: u32 = 4;
    let names = ["anna", "bruno"];
    let sim = Sim::new();
    let store = open(&sim, plain(0)).unwrap();
    let accounts = names.map(|name| store.create_account(name).unwrap());
    let inboxes = accounts.each_ref().map(|account| account.inbox().unwrap());
    for seed in 0..EACH.into() {
        for inbox in &inboxes {
            deliver(&store, inbox, seed, 700);
        }
    }
    // Not closed: all of it is read when it is opened.
    let left = Sim::from_files(sim.files());
    let whole = open(&left, plain(1)).unwrap();
    assert_eq!(whole.recovery().accounts_hit, []);
    let mut named = 0;
    each_lost_sector(&sim, |sim, sector| {
        let store = open(sim, plain(1)).unwrap();
        let hit = &store.recovery().accounts_hit;
        for (name, account) in names.iter().zip(&accounts) {
            let Ok(found) = store.account(name) else {
                continue;
            };
            let view = found.inbox().unwrap().view().unwrap();
            let uids: Vec<u32> = view.iter().map(|row| row.uid.get()).collect();
            let last = uids.last().map_or(0, |last| *last as usize);
            if hit.contains(&account.id()) {
                assert!(
                    uids.len() < EACH as usize,
                    "sector {sector}: {name} is whole"
                );
                named += 1;
            } else {
                assert_eq!(uids.len(), last, "sector {sector}: {name} has {uids:?}");
            }
        }
    });
    assert!(named > 3, "{named} were named");
}
