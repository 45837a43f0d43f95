//! Delivery never waits on old data: by name it is accepted and durable although nothing old can be read, at once or by
//! the deadline, and what was accepted is there once, with a UID, when the disk gives its data again.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use mailkeep::io::Storage;
use mailkeep::{Accepted, Delivery, Digest, Error, Options, Recipient, Result, Store};

use crate::kit::{env, message, open, options};
use crate::seam::Seam;
use crate::sim::{Call, Sim};

/// How much longer than its deadline a delivery may take on a busy machine.
const SLACK: Duration = Duration::from_millis(1500);

/// A disk with a store that was closed: accounts with mail in several sealed segments, none of them in memory when it is
/// opened.
fn old_store() -> Sim {
    let sim = Sim::new();
    let store = open(&sim, options(0)).unwrap();
    for account in 0..8 {
        let account = store.create_account(&format!("old{account}")).unwrap();
        account.create_mailbox("Lists").unwrap();
    }
    for seed in 0..40 {
        let account = store.account(&format!("old{}", seed % 8)).unwrap();
        let to = [Delivery::to(&account.inbox().unwrap())];
        let kept = store.deliver(message(seed, 12_000), to).unwrap();
        kept.wait().unwrap().remove(0).unwrap();
    }
    store.close().unwrap();
    sim
}

/// All segments but the last one: those that are sealed.
fn sealed(sim: &Sim) -> Vec<String> {
    let files = sim.files().into_keys();
    let mut segments: Vec<String> = files.filter(|name| name.ends_with(".seg")).collect();
    segments.pop();
    assert!(segments.len() > 3, "{segments:?}");
    segments
}

fn index(sim: &Sim) -> Vec<String> {
    let files = sim.files().into_keys();
    files.filter(|name| name.starts_with("index/")).collect()
}

fn make_unreadable(sim: &Sim) {
    for name in sealed(sim).into_iter().chain(index(sim)) {
        sim.fail_reads(&name, 0..usize::MAX);
    }
}

fn accept(store: &Store, seed: u64, account: &str, mailbox: &str) -> Result<Accepted> {
    let to = [Recipient::new(account, mailbox)];
    store.deliver_to(message(seed, 300), to)?.wait()?.remove(0)
}

fn is_deferred(accepted: &Result<Accepted>) -> bool {
    matches!(accepted, Ok(Accepted::Deferred(_)))
}

/// Where a message is: account, mailbox, UID.
type Places = BTreeMap<Digest, Vec<(String, String, u32)>>;

/// Every message of a store, verified; asserts that no mailbox has a UID twice and none is at or above UIDNEXT.
fn everything(store: &Store) -> Places {
    let mut places = Places::new();
    for name in store.accounts(None, 1000).unwrap() {
        let account = store.account(&name).unwrap();
        for info in account.mailboxes().unwrap() {
            let mailbox = account.mailbox(&info.name).unwrap();
            let next = mailbox.status().unwrap().uid_next;
            let view = mailbox.view().unwrap();
            let mut seen = BTreeSet::new();
            for row in view.iter() {
                assert!(seen.insert(row.uid) && next.is_none_or(|next| row.uid < next));
                let digest = Digest::of(&view.message(row.uid).unwrap().bytes().unwrap());
                let place = (name.clone(), info.name.clone(), row.uid.get());
                places.entry(digest).or_default().push(place);
            }
        }
    }
    places
}

/// The one place of the message.
fn place_of(places: &Places, seed: u64, len: usize) -> (String, String, u32) {
    let found = places.get(&Digest::of(&message(seed, len)));
    let found = found.unwrap_or_else(|| panic!("message {seed} is not there"));
    assert_eq!(
        found.len(),
        1,
        "message {seed} is there more than once: {found:?}"
    );
    found[0].clone()
}

/// What old mail there is, each message once.
fn assert_old_mail(places: &Places) {
    for seed in 0..40 {
        let (account, ..) = place_of(places, seed, 12_000);
        assert_eq!(account, format!("old{}", seed % 8));
    }
}

/// The old mail, and what eight accounts were sent since: nothing waits any more.
fn assert_all_there(store: &Store) {
    let places = everything(store);
    assert_old_mail(&places);
    for seed in 100..108 {
        let (account, mailbox, _) = place_of(&places, seed, 300);
        assert_eq!((account, &*mailbox), (format!("old{}", seed % 8), "Lists"));
    }
    assert_eq!(store.health().deferred, 0);
}

/// Goal: with every sealed segment and all of the index unreadable each delivery by name is accepted as durable, and
/// is there, once and in order, when the disk gives its data again; whatever of the index is left then.
#[test]
fn nothing_old_can_be_read() {
    for (background, lose_index) in [(false, false), (false, true), (true, false), (true, true)] {
        let sim = old_store();
        let store = open(&sim, options(1).background(background)).unwrap();
        make_unreadable(&sim);
        let mut deferred = 0;
        for seed in 100..124 {
            let mailbox = ["INBOX", "Lists", "None/such"][seed as usize % 3];
            let began = Instant::now();
            let kept = accept(&store, seed, &format!("old{}", seed % 8), mailbox);
            assert!(began.elapsed() < Duration::from_secs(2) + SLACK);
            deferred += u64::from(is_deferred(&kept));
            kept.unwrap();
        }
        assert_eq!(deferred, 24, "nothing is in memory");
        assert_eq!(store.health().deferred, deferred);
        // What was acknowledged is on the medium: the power goes, and the disk is mended.
        let sim = sim.crash(sim.ops_len(), &mut |_| false);
        drop(store);
        if lose_index {
            index(&sim).iter().for_each(|name| sim.lose(name));
        }
        for run in 2..4 {
            let store = open(&sim, options(run).background(background)).unwrap();
            assert!(store.recovery().is_whole(), "{}", store.recovery());
            let places = everything(&store);
            assert_old_mail(&places);
            let mut last = BTreeMap::new();
            for seed in 100..124 {
                let (account, mailbox, uid) = place_of(&places, seed, 300);
                assert_eq!(account, format!("old{}", seed % 8));
                assert_eq!(mailbox, ["INBOX", "Lists", "INBOX"][seed as usize % 3]);
                let before = last.insert((account, mailbox), uid);
                assert!(before.is_none_or(|before| before < uid), "in order");
            }
            assert_eq!(store.health().deferred, 0);
            store.close().unwrap();
        }
    }
}

/// Goal: deliveries that have their UIDs wait no more, also where the rebuild of a lost index meets their records only after
/// those of the assignments were saved: nothing is counted as waiting that is not, for whoever is never looked at again.
#[test]
fn a_rebuild_meets_what_was_assigned_before() {
    let sim = old_store();
    let store = open(&sim, options(1)).unwrap();
    make_unreadable(&sim);
    for seed in 100..400 {
        let name = format!("old{}", seed % 8);
        assert!(is_deferred(&accept(&store, seed, &name, "Lists")));
    }
    assert!(is_deferred(&accept(&store, 400, "nobody", "INBOX")));
    drop(store);
    sim.heal_reads();
    index(&sim).iter().for_each(|name| sim.lose(name));
    // Who is renamed takes what waits along; the rest is assigned when it is looked at.
    let store = open(&sim, options(2)).unwrap();
    store.account("old1").unwrap().rename("new1").unwrap();
    everything(&store);
    store.create_account("old1").unwrap();
    store.close().unwrap();
    let store = open(&sim, options(3)).unwrap();
    let mut steps = 0;
    store
        .wait_rebuilt(&mut |_| {
            steps += 1;
            ControlFlow::Continue(())
        })
        .unwrap();
    assert!(
        steps > 2,
        "{steps}: the deferred ones lie in what is rebuilt"
    );
    assert_eq!(store.health().deferred, 1, "nobody's");
    let places = everything(&store);
    for seed in 100..400 {
        let (account, ..) = place_of(&places, seed, 300);
        let now = format!("old{}", seed % 8).replace("old1", "new1");
        assert_eq!(account, now);
    }
    assert_eq!(store.health().deferred, 1);
    store.create_account("nobody").unwrap();
    assert_eq!(place_of(&everything(&store), 400, 300).0, "nobody");
    assert_eq!(store.health().deferred, 0);
}

/// Goal: mail that waited got its UID, the index was made anew, and the power goes before anything but the log says that the
/// UID was given. A reader, who shows no batch that nothing vouches for, shows the message or knows that it waits.
/// Fails when: the checkpoint that names the new runs leaves out what waited where its tail begins.
#[test]
fn a_reader_knows_of_mail_that_got_its_uid_last() {
    let sim = old_store();
    let store = open(&sim, options(1).tail_max(64 << 10)).unwrap();
    make_unreadable(&sim);
    // So much that the index is saved behind it.
    for seed in 100..104 {
        let to = [Recipient::new("old1", "INBOX")];
        let kept = store.deliver_to(message(seed, 30_000), to).unwrap();
        assert!(is_deferred(&kept.wait().unwrap().remove(0)));
    }
    sim.heal_reads();
    let runs = index(&sim)
        .into_iter()
        .filter(|name| name.ends_with(".run"));
    runs.for_each(|name| sim.lose(&name));
    let shown = |store: &Store| everything(store).contains_key(&Digest::of(&message(103, 30_000)));
    assert!(shown(&store));
    store
        .wait_rebuilt(&mut |_| ControlFlow::Continue(()))
        .unwrap();
    let sim = sim.crash(sim.ops_len(), &mut |_| false);
    drop(store);
    let reader = open(&sim, options(2).read_only(true)).unwrap();
    assert!(reader.health().deferred == 4 || shown(&reader));
}

/// Goal: what could not be read while a store was open, or when it was opened, is not saved as not being there; and a
/// disk that is mended while the store is open serves again without an opening.
#[test]
fn nothing_is_saved_of_what_could_not_be_read() {
    for (background, opened) in [(false, false), (false, true), (true, false), (true, true)] {
        let sim = old_store();
        // Without an index the background would rebuild it from what it can read.
        index(&sim).iter().for_each(|name| sim.lose(name));
        let refuse = || {
            for segment in sealed(&sim) {
                sim.fail_reads(&segment, 0..usize::MAX);
            }
        };
        if !opened {
            refuse();
        }
        let store = open(&sim, options(1)).unwrap();
        refuse();
        let store = if background && !opened {
            drop(store);
            open(&sim, options(2).background(true)).unwrap()
        } else {
            store
        };
        for seed in 100..108 {
            let kept = accept(&store, seed, &format!("old{}", seed % 8), "Lists");
            assert!(is_deferred(&kept), "{kept:?}");
        }
        if !opened {
            let refused = store.create_account("old1");
            assert!(matches!(refused, Err(Error::Damaged { .. })), "{refused:?}");
        }
        std::thread::sleep(Duration::from_millis(if background { 100 } else { 0 }));
        sim.heal_reads();
        if opened {
            let kept = accept(&store, 108, "old0", "INBOX");
            assert!(matches!(kept, Ok(Accepted::Delivered(_))), "{kept:?}");
        }
        store.close().unwrap();
        let store = open(&sim, options(3).background(background)).unwrap();
        assert_all_there(&store);
    }
}

/// Goal: where older segments, or parts of them, cannot be read while the index is made anew, who may be in them is not
/// said to be missing or shown without what is there; and the next opening finds all of it.
#[test]
fn a_rebuild_leaves_out_what_the_disk_does_not_give() {
    for (background, from) in [(false, 0), (false, 20_000), (true, 0), (true, 20_000)] {
        let sim = old_store();
        index(&sim).iter().for_each(|name| sim.lose(name));
        let mut segments = sealed(&sim);
        segments.pop();
        for segment in segments {
            sim.fail_reads(&segment, from..usize::MAX);
        }
        let wait = || std::thread::sleep(Duration::from_millis(if background { 150 } else { 0 }));
        let store = open(&sim, options(1).background(background)).unwrap();
        wait();
        for seed in 100..108 {
            let kept = accept(&store, seed, &format!("old{}", seed % 8), "Lists");
            assert!(is_deferred(&kept), "{kept:?}");
        }
        store.close().unwrap();
        sim.heal_reads();
        let store = open(&sim, options(2).background(background)).unwrap();
        wait();
        assert_all_there(&store);
    }
}

/// Goal: a name that nobody has is refused where that is certain, and waits where it is not, until somebody has it.
#[test]
fn a_name_that_nobody_has() {
    let sim = old_store();
    let store = open(&sim, options(1)).unwrap();
    let refused = accept(&store, 100, "nobody", "INBOX");
    assert!(
        matches!(refused, Err(Error::NoSuchAccount { .. })),
        "{refused:?}"
    );
    let invalid = accept(&store, 100, "", "INBOX");
    assert!(
        matches!(invalid, Err(Error::InvalidAccountName(_))),
        "{invalid:?}"
    );
    let invalid = accept(&store, 100, "old1", "a//b");
    assert!(matches!(invalid, Err(Error::InvalidName(_))), "{invalid:?}");
    make_unreadable(&sim);
    assert!(is_deferred(&accept(&store, 101, "nobody", "INBOX")));
    drop(store);
    sim.heal_reads();
    for run in 2..4 {
        let store = open(&sim, options(run)).unwrap();
        assert_eq!(everything(&store).len(), 40);
        assert_eq!(store.health().deferred, 1);
        assert!(store.health().to_string().contains("1 deliveries wait"));
        store.close().unwrap();
    }
    let store = open(&sim, options(4)).unwrap();
    store.create_account("nobody").unwrap();
    assert_eq!(place_of(&everything(&store), 101, 300).0, "nobody");
    assert_eq!(store.health().deferred, 0);
}

/// Goal: mail for a name that nobody has just now is that of the account which takes the name again, also where it was given
/// later mail for its other name meanwhile, and once, also when the index is lost.
/// Fails when: all that came before the last mail that was given counts as given.
#[test]
fn mail_for_a_name_that_was_left_and_taken_again() {
    for lose_index in [false, true] {
        let sim = old_store();
        let store = open(&sim, options(1)).unwrap();
        let account = store.account("old1").unwrap();
        account.rename("new1").unwrap();
        drop((account, store));
        let store = open(&sim, options(2)).unwrap();
        make_unreadable(&sim);
        assert!(is_deferred(&accept(&store, 100, "old1", "INBOX")));
        assert!(is_deferred(&accept(&store, 101, "new1", "INBOX")));
        assert!(is_deferred(&accept(&store, 102, "old1", "INBOX")));
        sim.heal_reads();
        assert_eq!(place_of(&everything(&store), 101, 300).0, "new1");
        assert_eq!(store.health().deferred, 2);
        store.account("new1").unwrap().rename("old1").unwrap();
        drop(store);
        for run in 3..5 {
            if lose_index {
                index(&sim).iter().for_each(|name| sim.lose(name));
            }
            let store = open(&sim, options(run)).unwrap();
            for seed in 100..103 {
                assert_eq!(place_of(&everything(&store), seed, 300).0, "old1");
            }
            assert_eq!(store.health().deferred, 0);
        }
    }
}

/// Goal: what was deferred for a name is that of the account that had it, also where it is renamed or deleted before it
/// is found; the next account of the name gets none of it, also when the index is lost.
#[test]
fn renamed_and_deleted_accounts_take_their_mail_along() {
    for lose_index in [false, true] {
        let sim = old_store();
        let store = open(&sim, options(1)).unwrap();
        // Their rows are in memory, which tell nothing of the mailbox that is asked for.
        let (renamed, deleted) = (
            store.account("old1").unwrap(),
            store.account("old2").unwrap(),
        );
        make_unreadable(&sim);
        for (seed, name) in [(100, "old1"), (101, "old2"), (102, "old1")] {
            assert!(is_deferred(&accept(&store, seed, name, "Lists")));
        }
        sim.heal_reads();
        renamed.rename("new1").unwrap();
        deleted.delete().unwrap();
        store.create_account("old1").unwrap();
        store.create_account("old2").unwrap();
        // All of that lies in sealed segments.
        for seed in 200..220 {
            let kept = accept(&store, seed, "old3", "INBOX").unwrap();
            assert!(kept.delivered().is_some());
            let to = [Recipient::new("old4", "INBOX")];
            store
                .deliver_to(message(seed + 100, 12_000), to)
                .unwrap()
                .wait()
                .unwrap();
        }
        store.close().unwrap();
        if lose_index {
            index(&sim).iter().for_each(|name| sim.lose(name));
        }
        let store = open(&sim, options(4)).unwrap();
        let places = everything(&store);
        for seed in [100, 102] {
            assert_eq!(place_of(&places, seed, 300).0, "new1");
        }
        assert!(!places.contains_key(&Digest::of(&message(101, 300))));
        for name in ["old1", "old2"] {
            let inbox = store.account(name).unwrap().inbox().unwrap();
            assert_eq!(inbox.view().unwrap().uids().len(), 0, "{name} is new");
        }
        assert_eq!(store.health().deferred, 0);
    }
}

/// Goal: large and shared bodies, some delivered and some deferred by one call: each recipient reads the same bytes.
#[test]
fn one_message_for_those_who_can_be_read_and_those_who_cannot() {
    for len in [5_000, (1 << 20) + 7] {
        let sim = old_store();
        let store = open(&sim, options(1)).unwrap();
        store
            .account("old0")
            .unwrap()
            .mailbox("Lists")
            .unwrap()
            .view()
            .unwrap();
        make_unreadable(&sim);
        let to = ["old0", "old1", "old2", "old1"].map(|name| Recipient::new(name, "Lists"));
        let before: usize = sim.files().values().map(Vec::len).sum();
        let kept = store
            .deliver_to(message(100, len), to)
            .unwrap()
            .wait()
            .unwrap();
        let after: usize = sim.files().values().map(Vec::len).sum();
        let deferred = kept.iter().map(is_deferred).collect::<Vec<_>>();
        assert_eq!(deferred, [false, true, true, true], "{kept:?}");
        assert!(
            after - before < 2 * len + (len / 2).max(70_000),
            "once for each kind"
        );
        drop(store);
        sim.heal_reads();
        let store = open(&sim, options(2)).unwrap();
        let places = everything(&store);
        let places = &places[&Digest::of(&message(100, len))];
        let mut names: Vec<&str> = places.iter().map(|(name, ..)| &**name).collect();
        names.sort_unstable();
        assert_eq!(names, ["old0", "old1", "old1", "old2"]);
        assert!(places.iter().all(|(_, mailbox, _)| mailbox == "Lists"));
        crate::kit::assert_whole(&store);
    }
}

/// Goal: a power cut at every write from the first deferral to after the last assign: what was acknowledged is there,
/// once, after the disk is mended, and no UID that was shown is another message's.
#[test]
fn power_cuts_around_deferrals_and_assigns() {
    let sim = old_store();
    let options = |run| options(run).tail_max(64 << 10);
    let store = open(&sim, options(1)).unwrap();
    let first = sim.ops_len();
    make_unreadable(&sim);
    for seed in 100..106 {
        let name = format!("old{}", seed % 3);
        let kept = accept(&store, seed, &name, ["INBOX", "Lists"][seed as usize % 2]);
        assert!(is_deferred(&kept));
        sim.note(&format!("{seed}"));
    }
    drop(store);
    sim.heal_reads();
    let store = open(&sim, options(2)).unwrap();
    for seed in 106..112 {
        // The first finds what waits; between the others there is room for a checkpoint.
        accept(&store, seed, &format!("old{}", seed % 3), "INBOX").unwrap();
        sim.note(&format!("{seed}"));
        for (digest, places) in everything(&store) {
            let (account, mailbox, uid) = &places[0];
            sim.note(&format!("{digest} {account} {mailbox} {uid}"));
        }
    }
    store.close().unwrap();
    let (points, budget) = (first..=sim.ops_len(), env("MAILKEEP_STATES", 4000) / 10);
    let each = (budget as usize / points.clone().count()).clamp(2, 16);
    let mut states = 0;
    for at in points {
        let notes = sim.notes_before(at);
        for (n, disk) in sim
            .crash_point(at)
            .states(1, each, at as u64)
            .enumerate()
            .take(each)
        {
            states += 1;
            if n % 3 == 2 {
                index(&disk).iter().for_each(|name| disk.lose(name));
            }
            let store = open(&disk, options(3)).unwrap();
            assert!(store.recovery().is_whole(), "{}", store.recovery());
            let places = everything(&store);
            assert_old_mail(&places);
            let fresh = accept(&store, 200, "old1", "INBOX");
            assert!(matches!(fresh, Ok(Accepted::Delivered(_))), "{fresh:?}");
            assert!(
                places.values().all(|places| places.len() == 1),
                "twice, at {at}"
            );
            for note in &notes {
                match note.parse() {
                    Ok(seed) => drop(place_of(&places, seed, 300)),
                    Err(_) => {
                        let shown = |(digest, places): (&Digest, &Vec<(String, String, u32)>)| {
                            let (account, mailbox, uid) = &places[0];
                            format!("{digest} {account} {mailbox} {uid}") == *note
                        };
                        assert!(places.iter().any(shown), "{note} was shown, at {at}");
                    }
                }
            }
            assert_eq!(store.health().deferred, 0);
            store.close().unwrap();
            let store = open(&disk, options(4)).unwrap();
            assert_eq!(everything(&store).len(), places.len() + 1);
        }
    }
    println!("{states} states");
}

/// A disk whose reads wait while it hangs. Writes go on.
#[derive(Clone, Debug, Default)]
struct Hanging {
    gate: Arc<(Mutex<Gate>, Condvar)>,
}

#[derive(Debug, Default)]
struct Gate {
    hangs: bool,
    waiting: usize,
}

impl Hanging {
    fn over(&self, sim: &Sim) -> Arc<dyn Storage> {
        let disk = self.clone();
        Seam::over(sim.storage(), move |call, _| {
            if matches!(call, Call::Read | Call::Bytes) {
                disk.pass();
            }
            Ok(())
        })
    }

    fn set(&self, hangs: bool) {
        self.gate.0.lock().unwrap().hangs = hangs;
        self.gate.1.notify_all();
    }

    fn waiting(&self) -> usize {
        self.gate.0.lock().unwrap().waiting
    }

    fn pass(&self) {
        let mut gate = self.gate.0.lock().unwrap();
        gate.waiting += 1;
        while gate.hangs {
            gate = self.gate.1.wait(gate).unwrap();
        }
        gate.waiting -= 1;
    }
}

fn hanging(deadline: Duration) -> (Hanging, Store, Sim) {
    let sim = old_store();
    let disk = Hanging::default();
    // Large segments: sealing one reads it, on a thread that is none of the deliveries'.
    let options = options(1).segment_len(8 << 20).background(true);
    let options: Options = options.load_deadline(deadline);
    let store = Store::open_on(disk.over(&sim), options).unwrap();
    (disk, store, sim)
}

/// Goal: with reads that hang the first delivery is deferred at the deadline, later ones at once; who is in memory is
/// delivered to; it recovers by itself; and all of it is in order.
#[test]
fn reads_hang() {
    let deadline = Duration::from_millis(300);
    let (disk, store, _) = hanging(deadline);
    assert!(!is_deferred(&accept(&store, 100, "old7", "INBOX")));
    disk.set(true);
    let began = Instant::now();
    let to = (0..7).map(|n| Recipient::new(&format!("old{n}"), "INBOX"));
    let kept = store
        .deliver_to(message(101, 300), to)
        .unwrap()
        .wait()
        .unwrap();
    assert!(kept.iter().all(is_deferred), "{kept:?}");
    let took = began.elapsed();
    assert!(took >= deadline && took < deadline + SLACK, "{took:?}");
    let began = Instant::now();
    for seed in 102..152 {
        assert!(is_deferred(&accept(
            &store,
            seed,
            &format!("old{}", seed % 7),
            "Lists"
        )));
    }
    assert!(began.elapsed() < SLACK, "at once: {:?}", began.elapsed());
    // In memory is in memory.
    assert!(!is_deferred(&accept(&store, 152, "old7", "INBOX")));
    disk.set(false);
    let began = Instant::now();
    while is_deferred(&accept(
        &store,
        1000 + began.elapsed().as_nanos() as u64,
        "old1",
        "INBOX",
    )) {
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "it recovers by itself"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    let places = everything(&store);
    assert_old_mail(&places);
    assert_eq!(places[&Digest::of(&message(101, 300))].len(), 7);
    let mut last = BTreeMap::new();
    for seed in 102..152 {
        let (account, mailbox, uid) = place_of(&places, seed, 300);
        assert_eq!(
            (&*account, &*mailbox),
            (&*format!("old{}", seed % 7), "Lists")
        );
        assert!(
            last.insert(account, uid).is_none_or(|before| before < uid),
            "in order"
        );
    }
    assert_eq!(store.health().deferred, 0);
}

/// Goal: closing does not wait for a read that hangs; what was deferred is in the store that is opened next, while the
/// old read is still under way.
#[test]
fn closing_does_not_wait_for_a_read_that_hangs() {
    let (disk, store, sim) = hanging(Duration::from_millis(50));
    disk.set(true);
    assert!(is_deferred(&accept(&store, 100, "old1", "INBOX")));
    // On a busy machine the reading thread may begin only after the deadline.
    let began = Instant::now();
    while disk.waiting() == 0 {
        assert!(began.elapsed() < SLACK, "nobody reads");
        std::thread::yield_now();
    }
    let began = Instant::now();
    store.close().unwrap();
    assert!(began.elapsed() < SLACK, "{:?}", began.elapsed());
    let store = open(&sim, options(2)).unwrap();
    let places = everything(&store);
    assert_eq!(place_of(&places, 100, 300).0, "old1");
    disk.set(false);
    assert_eq!(everything(&store), places);
}

/// Goal: with no time at all whatever is not in memory is deferred.
#[test]
fn a_deadline_of_zero() {
    let (_, store, _) = hanging(Duration::ZERO);
    assert!(is_deferred(&accept(&store, 100, "old1", "INBOX")));
    store.account("old1").unwrap();
    assert!(!is_deferred(&accept(&store, 101, "old1", "INBOX")));
    assert_eq!(store.health().deferred, 0);
}
