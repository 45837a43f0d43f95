//! The rules of mail, one test each, with the section that demands it. The model tests check the same over random
//! programs; these are to be read.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mailkeep::{
    Account, Delivery, Error, FlagChange, Flags, InternalDate, Keyword, Mailbox, ModSeq, Options,
    Outcome, Store, Uid, UidSet,
};

use crate::sim::{Call, Fault, Op, Sim, SimHost};

const NOON: i64 = 1_700_000_000;
const TEXT: &[u8] = b"Subject: rules\r\n\r\nbody\r\n";

/// A store on a simulated disk, and its clock.
struct Bench {
    sim: Sim,
    host: Arc<SimHost>,
    store: Store,
    opening: u64,
}

impl Bench {
    fn new() -> Self {
        Self::on(Sim::new(), 1)
    }

    fn on(sim: Sim, opening: u64) -> Self {
        Self::with(sim, opening, Options::new())
    }

    /// Reads all of the log at opening.
    fn replayed(sim: Sim, opening: u64) -> Self {
        Self::with(sim, opening, Options::new().replay_all(true))
    }

    fn with(sim: Sim, opening: u64, options: Options) -> Self {
        let host = Arc::new(SimHost::new(NOON * 1000, opening << 32));
        let clock = Arc::clone(&host);
        let options = options.background(false).host(clock);
        let store = Store::open_on(sim.storage(), options).unwrap();
        Self {
            sim,
            host,
            store,
            opening,
        }
    }

    fn reopened(self) -> Self {
        self.store.close().unwrap();
        Self::on(self.sim, self.opening + 1)
    }

    fn account(&self) -> Account {
        match self.store.account("anna") {
            Ok(account) => account,
            Err(_) => self.store.create_account("anna").unwrap(),
        }
    }

    fn inbox(&self) -> Mailbox {
        self.account().inbox().unwrap()
    }
}

fn append(mailbox: &Mailbox) -> u32 {
    let commit = mailbox.append(TEXT, Delivery::to(mailbox)).unwrap();
    commit.wait().unwrap().uid.get()
}

fn uids(mailbox: &Mailbox) -> Vec<u32> {
    let view = mailbox.view().unwrap();
    view.iter().map(|row| row.uid.get()).collect()
}

fn one(uid: u32) -> UidSet {
    Uid::new(uid).unwrap().into()
}

fn modseq(mailbox: &Mailbox) -> u64 {
    mailbox.status().unwrap().highest_modseq.get()
}

fn uid_validity(mailbox: &Mailbox) -> u32 {
    mailbox.status().unwrap().uid_validity.get()
}

fn flag(mailbox: &Mailbox, uid: u32, flags: Flags) {
    let change = FlagChange::add(flags);
    mailbox
        .flag(&one(uid), &change, None)
        .unwrap()
        .wait()
        .unwrap();
}

/// RFC 9051 2.3.1.1: a UID is never given again, even if the message with the highest one was expunged.
#[test]
fn uid_is_never_reused_after_expunge_and_reopen() {
    let bench = Bench::new();
    assert_eq!([append(&bench.inbox()), append(&bench.inbox())], [1, 2]);
    flag(&bench.inbox(), 2, Flags::DELETED);
    bench
        .inbox()
        .expunge(&UidSet::full())
        .unwrap()
        .wait()
        .unwrap();
    let bench = bench.reopened();
    assert_eq!(bench.inbox().status().unwrap().uid_next, Uid::new(3));
    assert_eq!(append(&bench.inbox()), 3);
    assert_eq!(uids(&bench.inbox()), [1, 3]);
}

/// RFC 9051 2.3.1.1: what was given out for a commit that failed is not given again; UIDNEXT moves only with a message.
#[test]
fn burned_uids_after_a_failed_commit_are_not_given_again() {
    let bench = Bench::new();
    let inbox = bench.inbox();
    append(&inbox);
    let before = (inbox.status().unwrap(), modseq(&inbox));
    bench.sim.set_space(Some(0));
    let refuse = Fault::from(&[Call::Write], 0);
    bench.sim.set_fault(Some(Fault {
        error: || std::io::Error::from_raw_os_error(28),
        ..refuse
    }));
    let failed = inbox
        .append(TEXT, Delivery::to(&inbox))
        .and_then(mailkeep::Commit::wait);
    assert!(matches!(failed, Err(Error::NoSpace { .. })), "{failed:?}");
    assert_eq!(
        (inbox.status().unwrap(), modseq(&inbox)),
        before,
        "nothing shows"
    );
    bench.sim.set_space(None);
    bench.sim.set_fault(None);
    let kept = inbox
        .append(TEXT, Delivery::to(&inbox))
        .unwrap()
        .wait()
        .unwrap();
    assert_eq!(kept.uid.get(), 3, "2 was burned");
    assert!(kept.modseq.get() > before.1 + 1, "and so was its MODSEQ");
    assert_eq!(uids(&bench.reopened().inbox()), [1, 3]);
}

/// RFC 9051 2.3.1.1: a mailbox that is made again under its name has a greater UIDVALIDITY, whatever the clock says.
#[test]
fn recreated_mailbox_has_greater_uidvalidity() {
    let bench = Bench::new();
    let first = uid_validity(&bench.account().create_mailbox("a").unwrap());
    bench.account().delete_mailbox("a").unwrap();
    let bench = bench.reopened();
    bench.host.set_now_ms(0);
    let second = uid_validity(&bench.account().create_mailbox("a").unwrap());
    assert!(second > first, "{second} after {first}");
    // A mailbox that comes to the name by a rename keeps its UIDVALIDITY only where it is greater.
    bench.account().create_mailbox("b").unwrap();
    bench.account().rename_mailbox("a", "c").unwrap();
    bench.account().rename_mailbox("c", "a").unwrap();
    let third = uid_validity(&bench.account().mailbox("a").unwrap());
    assert!(third > second, "{third} after {second}");
    bench.account().delete_mailbox("a").unwrap();
    bench.account().rename_mailbox("b", "a").unwrap();
    let fourth = uid_validity(&bench.account().mailbox("a").unwrap());
    assert!(
        fourth > third,
        "{fourth} of the older mailbox, after {third}"
    );
}

/// RFC 9051 2.3.1.1, for all mailboxes of an account's name.
#[test]
fn recreated_account_has_greater_uidvalidity() {
    let bench = Bench::new();
    let first = uid_validity(&bench.inbox());
    bench.account().delete().unwrap();
    let bench = bench.reopened();
    bench.host.set_now_ms(0);
    let second = uid_validity(&bench.inbox());
    assert!(second > first, "{second} after {first}");
}

/// RFC 9051 2.3.1.1: an account that gets the name of one that is gone does not show its mail under UIDVALIDITYs that
/// clients know with other messages.
#[test]
fn account_renamed_onto_a_former_name_has_greater_uidvalidity() {
    let bench = Bench::new();
    let former = uid_validity(&bench.inbox());
    let bob = bench.store.create_account("bob").unwrap();
    assert_eq!(
        uid_validity(&bob.inbox().unwrap()),
        former,
        "made in the same second"
    );
    append(&bob.inbox().unwrap());
    bench.account().delete().unwrap();
    bob.rename("anna").unwrap();
    let now = uid_validity(&bench.inbox());
    assert!(now > former, "{now} after {former}");
    let bench = bench.reopened();
    assert_eq!(
        (uid_validity(&bench.inbox()), uids(&bench.inbox())),
        (now, vec![1])
    );
}

/// RFC 9051 6.3.6: renaming INBOX moves its messages and leaves it empty, those below it stay.
#[test]
fn rename_inbox_moves_messages_and_leaves_inbox() {
    let bench = Bench::new();
    let account = bench.account();
    append(&bench.inbox());
    account.create_mailbox("inbox/below").unwrap();
    let before = bench.inbox().status().unwrap();
    account.rename_mailbox("InBox", "old").unwrap();
    let after = bench.inbox().status().unwrap();
    assert_eq!(
        (after.counters.messages, after.uid_next),
        (0, before.uid_next)
    );
    assert_eq!(after.uid_validity, before.uid_validity);
    assert_eq!(uids(&account.mailbox("old").unwrap()), [1]);
    let names: Vec<String> = account
        .mailboxes()
        .unwrap()
        .into_iter()
        .map(|info| info.name)
        .collect();
    assert_eq!(names, ["INBOX", "INBOX/below", "old"]);
}

/// RFC 9051 6.3.5, 6.3.6: what trees refuse.
#[test]
fn trees_refuse_what_would_lose_or_hide_mail() {
    let account = Bench::new().account();
    account.create_mailbox("a/b").unwrap();
    assert!(matches!(
        account.delete_mailbox("a"),
        Err(Error::HasChildren { .. })
    ));
    assert!(matches!(
        account.delete_mailbox("inbox"),
        Err(Error::NotAllowed { .. })
    ));
    assert!(matches!(
        account.create_mailbox("a"),
        Err(Error::MailboxExists { .. })
    ));
    assert!(matches!(
        account.rename_mailbox("a", "a/b/c"),
        Err(Error::NotAllowed { .. })
    ));
    assert!(matches!(
        account.rename_mailbox("a", "INBOX"),
        Err(Error::MailboxExists { .. })
    ));
    assert!(matches!(
        account.rename_mailbox("x", "y"),
        Err(Error::NoSuchMailbox { .. })
    ));
}

/// RFC 7162 3.1.3: each message by itself; those that changed since are listed and left alone.
#[test]
fn unchangedsince_is_atomic_per_message() {
    let inbox = Bench::new().inbox();
    (0..3).for_each(|_| assert_ne!(append(&inbox), 0));
    let since = ModSeq::new(modseq(&inbox)).unwrap();
    flag(&inbox, 2, Flags::FLAGGED);
    let change = FlagChange::add(Flags::SEEN);
    let done = inbox
        .flag(&UidSet::full(), &change, Some(since))
        .unwrap()
        .wait()
        .unwrap();
    assert_eq!(
        (done.changed.to_string(), done.modified.to_string()),
        ("1,3".into(), "2".into())
    );
    let flags: Vec<Flags> = inbox.view().unwrap().iter().map(|row| row.flags).collect();
    assert_eq!(flags, [Flags::SEEN, Flags::FLAGGED, Flags::SEEN]);
}

/// RFC 7162 3.1: a change that changes nothing raises nothing.
#[test]
fn noop_store_raises_nothing() {
    let inbox = Bench::new().inbox();
    append(&inbox);
    let work = FlagChange::add(Flags::SEEN).with(Keyword::new("$Work").unwrap());
    inbox
        .flag(&UidSet::full(), &work, None)
        .unwrap()
        .wait()
        .unwrap();
    let before = modseq(&inbox);
    let replace = FlagChange::replace(Flags::SEEN).with(Keyword::new("$WORK").unwrap());
    for change in [work, replace, FlagChange::remove(Flags::DRAFT)] {
        let done = inbox
            .flag(&UidSet::full(), &change, None)
            .unwrap()
            .wait()
            .unwrap();
        assert_eq!((done.changed, done.modseq), (UidSet::new(), None));
    }
    inbox.expunge(&UidSet::full()).unwrap().wait().unwrap();
    assert_eq!(modseq(&inbox), before);
}

/// What is acknowledged is durable, also where the answer is that nothing had to be done: it rests on a change that
/// somebody else has not waited for yet.
#[test]
fn noop_is_acknowledged_only_with_what_it_rests_on() {
    let bench = Bench::new();
    let inbox = bench.inbox();
    append(&inbox);
    let seen = FlagChange::add(Flags::SEEN);
    let first = inbox.flag(&one(1), &seen, None).unwrap();
    inbox.flag(&one(1), &seen, None).unwrap().wait().unwrap();
    assert!(first.is_finished());
    let crashed = bench.sim.crash(bench.sim.ops_len(), &mut |_| false);
    assert_eq!(
        Bench::on(crashed, 2)
            .inbox()
            .status()
            .unwrap()
            .counters
            .unseen,
        0
    );
}

/// RFC 8474 5.1: a copy is the same Email; an Email is in a mailbox once, so a second copy there is another.
#[test]
fn copy_shares_the_email_unless_destination_holds_it() {
    let bench = Bench::new();
    let (inbox, other) = (
        bench.inbox(),
        bench.account().create_mailbox("other").unwrap(),
    );
    let date = InternalDate::new(1_000_000, 60).unwrap();
    let marked = Delivery::to(&inbox).internal_date(date).flags(Flags::DRAFT);
    inbox.append(TEXT, marked).unwrap().wait().unwrap();
    bench.host.set_now_ms((NOON + 50) * 1000);
    for _ in 0..2 {
        inbox.copy_to(&one(1), &other).unwrap().wait().unwrap();
    }
    let (from, to) = (inbox.view().unwrap(), other.view().unwrap());
    let (from, to) = (from.at(1).unwrap(), to.rows(..));
    assert_eq!(to[0].email, from.email);
    assert_ne!(to[1].email, from.email);
    for copy in to {
        // RFC 9051 6.4.7: flags and internal date stay. RFC 8514 2: the save date is that of the copy.
        assert_eq!((copy.flags, copy.internal_date), (Flags::DRAFT, date));
        assert_eq!((from.save_date, copy.save_date), (NOON, NOON + 50));
    }
}

/// RFC 6851 3.1: a message is never in neither mailbox and never in both; onto itself it gets a new UID.
#[test]
fn move_leaves_one_entry() {
    let bench = Bench::new();
    let (inbox, other) = (
        bench.inbox(),
        bench.account().create_mailbox("other").unwrap(),
    );
    append(&inbox);
    let email = inbox.view().unwrap().at(1).unwrap().email;
    let done = inbox
        .move_to(&UidSet::full(), &other)
        .unwrap()
        .wait()
        .unwrap();
    assert_eq!(done.uids, [(Uid::MIN, Uid::MIN)]);
    other
        .move_to(&UidSet::full(), &other)
        .unwrap()
        .wait()
        .unwrap();
    assert_eq!((uids(&inbox), uids(&other)), (vec![], vec![2]));
    assert_eq!(other.view().unwrap().at(1).unwrap().email, email);
}

/// RFC 2033 4.2: one result for each recipient.
#[test]
fn one_recipients_failure_is_not_anothers() {
    let bench = Bench::new();
    let (anna, bob) = (bench.account(), bench.store.create_account("bob").unwrap());
    let gone = anna.create_mailbox("gone").unwrap();
    anna.delete_mailbox("gone").unwrap();
    let to = [
        &gone,
        &anna.inbox().unwrap(),
        &bob.inbox().unwrap(),
        &anna.inbox().unwrap(),
    ];
    let results = bench
        .store
        .deliver(TEXT, to.map(Delivery::to))
        .unwrap()
        .wait()
        .unwrap();
    assert!(matches!(results[0], Err(Error::NoSuchMailbox { .. })));
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 3);
    assert_eq!(uids(&anna.inbox().unwrap()), [1, 2]);
    assert_eq!(uids(&bob.inbox().unwrap()), [1]);
}

/// RFC 3502 6.3.11: several messages or none.
#[test]
fn multi_append_is_all_or_nothing() {
    let bench = Bench::new();
    let (account, inbox) = (bench.account(), bench.inbox());
    let before = (inbox.status().unwrap(), bench.sim.ops_len());
    let mut transaction = account.transaction();
    transaction.append(TEXT, Delivery::to(&inbox)).unwrap();
    transaction.delete_mailbox("no such").unwrap();
    assert!(matches!(
        transaction.commit(),
        Err(Error::NoSuchMailbox { .. })
    ));
    assert_eq!((inbox.status().unwrap(), bench.sim.ops_len()), before);

    let mut transaction = account.transaction();
    (0..2).for_each(|_| transaction.append(TEXT, Delivery::to(&inbox)).unwrap());
    let start = bench.sim.ops_len();
    let outcomes = transaction.commit().unwrap().wait().unwrap();
    assert!(matches!(
        outcomes[..],
        [Outcome::Appended(_), Outcome::Appended(_)]
    ));
    for at in start..=bench.sim.ops_len() {
        let point = bench.sim.crash_point(at);
        for (n, disk) in point.states(4, 6, at as u64).enumerate() {
            let count = Bench::on(disk, 2 + n as u64).inbox().view().unwrap().len();
            assert!(
                count == 2 || (count == 0 && at < bench.sim.ops_len()),
                "{count} at {at}"
            );
        }
    }
}

/// A transaction is of one account: a mailbox of another one is none of its own, whatever its number.
#[test]
fn transaction_never_touches_another_accounts_mailbox() {
    let bench = Bench::new();
    let (anna, bob) = (bench.account(), bench.store.create_account("bob").unwrap());
    append(&anna.inbox().unwrap());
    let foreign = bob.inbox().unwrap();
    let mut transaction = anna.transaction();
    transaction.destroy(&foreign, UidSet::full());
    assert!(matches!(
        transaction.commit(),
        Err(Error::NoSuchMailbox { .. })
    ));
    assert_eq!(uids(&anna.inbox().unwrap()), [1]);
}

/// RFC 9051 2.3.2, RFC 8621 4.1.1: keywords have no case.
#[test]
fn keywords_are_caseless_and_kept_in_lower_case() {
    let bench = Bench::new();
    let marked = Delivery::to(&bench.inbox()).keyword(Keyword::new("$Junk").unwrap());
    let inbox = bench.inbox();
    inbox
        .append(TEXT, marked.keyword(Keyword::new("$JUNK").unwrap()))
        .unwrap()
        .wait()
        .unwrap();
    let bench = bench.reopened();
    let view = bench.inbox().view().unwrap();
    assert_eq!(
        view.at(1).unwrap().keywords,
        [Keyword::new("$junk").unwrap()]
    );
}

/// RFC 9051 2.3.1.2: sequence numbers run from 1 without gaps; inside a view nothing moves.
#[test]
fn sequence_numbers_are_stable_inside_a_view() {
    let inbox = Bench::new().inbox();
    (0..300).for_each(|_| assert_ne!(append(&inbox), 0));
    let before = inbox.view().unwrap();
    inbox
        .destroy(&UidSet::parse("2:200", None).unwrap())
        .unwrap()
        .wait()
        .unwrap();
    flag(&inbox, 201, Flags::SEEN);
    let after = inbox.view().unwrap();
    assert_eq!((before.len(), after.len()), (300, 101));
    assert_eq!(before.at(2).unwrap().uid.get(), 2);
    assert_eq!(after.at(2).unwrap().uid.get(), 201);
    assert_eq!(after.row(Uid::new(201).unwrap()).unwrap().sequence, 2);
    assert_eq!(before.unseen().len(), 300);
    assert_eq!(after.with_flags(Flags::SEEN).to_string(), "201");
    assert_eq!(
        &before
            .message(Uid::new(7).unwrap())
            .unwrap()
            .bytes()
            .unwrap()[..],
        TEXT
    );
}

/// RFC 7162 3.1.2.2: after a loss that nobody can repair, clients are made to ask again, and no UID comes twice. Every
/// other message is as it was.
#[test]
fn fence_after_unrepairable_loss_skips_ahead() {
    let bench = Bench::new();
    let bob = bench.store.create_account("bob").unwrap();
    append(&bob.inbox().unwrap());
    (0..6).for_each(|_| assert_ne!(append(&bench.inbox()), 0));
    let before = bench.inbox().status().unwrap();
    const LOG: &str = "log/0000000000000001.seg";
    let log = bench.sim.files()[LOG].clone();
    let bodies = log.windows(TEXT.len()).enumerate();
    let bodies: Vec<usize> = bodies
        .filter(|(_, window)| *window == TEXT)
        .map(|(at, _)| at)
        .collect();
    let Bench { sim, store, .. } = bench;
    store.close().unwrap();
    // The batch that brought UID 4, the fifth body: it begins in a sector of its own, behind that of the fourth.
    (bodies[3] / 512 + 1..=bodies[4] / 512).for_each(|sector| sim.zero_sector(LOG, sector));
    let bench = Bench::replayed(sim, 77);
    assert!(
        !bench.store.recovery().is_whole(),
        "{:?}",
        bench.store.recovery()
    );
    let after = bench.inbox().status().unwrap();
    let view = bench.inbox().view().unwrap();
    assert_eq!(after.uid_validity, before.uid_validity);
    assert!(after.uid_next > before.uid_next, "{after:?}");
    assert!(after.highest_modseq > before.highest_modseq);
    assert_eq!(view.modseq_floor(), after.highest_modseq.get());
    assert!(view.iter().all(|row| row.modseq == after.highest_modseq));
    assert_eq!(uids(&bench.inbox()), [1, 2, 3, 5, 6]);
    for mailbox in [
        bench.inbox(),
        bench.store.account("bob").unwrap().inbox().unwrap(),
    ] {
        let view = mailbox.view().unwrap();
        for row in view.iter() {
            assert_eq!(&view.message(row.uid).unwrap().bytes().unwrap()[..], TEXT);
        }
    }
    let next = after.uid_next.unwrap().get();
    assert_eq!(append(&bench.inbox()), next);
    let bench = bench.reopened();
    assert_eq!(
        uids(&bench.inbox()),
        [1, 2, 3, 5, 6, next],
        "one fence for one loss"
    );
}

/// Where the record of an account's deletion is lost, the account that was made after it under the name is still the one
/// that the name means, in this opening and in later ones.
#[test]
fn account_is_found_by_name_though_the_deletion_before_it_is_lost() {
    let bench = Bench::new();
    bench.account();
    let len = |bench: &Bench| {
        // Batches begin in a sector of their own; what follows the last is zeroes.
        let log = bench.sim.files()["log/0000000000000001.seg"].clone();
        log.iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |last| last / 512 + 1)
    };
    let before = len(&bench);
    bench.account().delete().unwrap();
    let after = len(&bench);
    append(&bench.inbox());
    let Bench { sim, store, .. } = bench;
    store.close().unwrap();
    (before..after).for_each(|sector| sim.zero_sector("log/0000000000000001.seg", sector));
    let bench = Bench::replayed(sim, 2);
    assert_eq!(bench.store.recovery().holes.len(), 1);
    assert_eq!(uids(&bench.inbox()), [1]);
    let bench = bench.reopened();
    assert_eq!(uids(&bench.inbox()), [1]);
    // Both are filed under the name; a listing by pages passes it once, and ends.
    let mut listed: Vec<String> = Vec::new();
    while let Some(name) = bench
        .store
        .accounts(listed.last().map(String::as_str), 1)
        .unwrap()
        .pop()
    {
        assert!(!listed.contains(&name), "{name} is listed again");
        listed.push(name);
    }
    assert_eq!(listed.len(), 1);
}

/// Time of the fastest of several runs.
fn fastest(mut run: impl FnMut()) -> Duration {
    let timed = (0..30).map(|_| {
        let start = Instant::now();
        run();
        start.elapsed()
    });
    timed.min().unwrap_or_default()
}

/// No operation's work under a lock grows with the store: with a thousand times the messages it takes about the same.
#[test]
fn no_operations_work_under_a_lock_grows_with_the_store() {
    let times = [10, 20_000].map(|count| {
        let bench = Bench::new();
        let (account, inbox) = (bench.account(), bench.inbox());
        for _ in 0..count / 10 {
            let mut transaction = account.transaction();
            (0..10).for_each(|_| transaction.append(b"x", Delivery::to(&inbox)).unwrap());
            drop(transaction.commit().unwrap());
        }
        bench.store.sync().unwrap();
        assert_eq!(inbox.status().unwrap().counters.messages, count);
        let looking = fastest(|| {
            for _ in 0..100 {
                assert_eq!(inbox.view().unwrap().len() as u64, count);
                assert!(inbox.status().is_ok() && bench.store.account("anna").is_ok());
            }
        });
        let mut seen = true;
        let changing = fastest(|| {
            seen = !seen;
            let change = if seen {
                FlagChange::add(Flags::SEEN)
            } else {
                FlagChange::remove(Flags::SEEN)
            };
            (0..10).for_each(|n| drop(inbox.flag(&one(n + 1), &change, None).unwrap()));
        });
        [looking, changing]
    });
    let grown = |at: usize| times[1][at].as_secs_f64() / times[0][at].as_secs_f64();
    assert!(grown(0) < 10.0, "looking: {times:?}");
    assert!(grown(1) < 20.0, "changing: {times:?}");
}

/// RFC 9051 2.3.1.1: what was only written and then lost by a power cut is no damage, and yet nothing that it gave out
/// is given again. The opening that finds it out says so, and no later one.
#[test]
fn skipped_numbers_are_no_damage_at_a_later_opening() {
    let bench = Bench::new();
    let inbox = bench.inbox();
    append(&inbox);
    let written = mailkeep::Durability::Written;
    let commit = bench
        .store
        .deliver_with(TEXT, [Delivery::to(&inbox)], written);
    commit.unwrap().wait().unwrap();
    let shown = inbox.status().unwrap();
    let tail = bench.sim.inode("TAIL");
    let only_tail =
        &mut |what| matches!(what, crate::sim::Pending::Sector { inode, .. } if inode == tail);
    let crashed = bench.sim.crash(bench.sim.ops_len(), only_tail);
    let bench = Bench::on(crashed, 2);
    let report = bench.store.recovery();
    let lost = report.unsynced.expect("TAIL knows");
    assert_eq!(lost.first_lost, lost.last_lost);
    assert!(report.is_whole(), "{report}");
    assert!(report.to_string().contains("not synced"), "{report}");
    let status = bench.inbox().status().unwrap();
    assert!(status.uid_next >= shown.uid_next, "{status:?}");
    assert!(status.highest_modseq > shown.highest_modseq, "{status:?}");
    let bench = bench.reopened();
    let report = bench.store.recovery();
    assert_eq!((report.unsynced, report.is_whole()), (None, true));
    assert_eq!(
        bench.inbox().status().unwrap(),
        status,
        "a clean close and opening change nothing"
    );
    assert!(append(&bench.inbox()) > 2);
    let bench = bench.reopened();
    assert!(bench.store.recovery().is_whole());
    assert_eq!(bench.store.recovery().unsynced, None);
}

/// Behind the last byte that is not zero: where the next batch goes.
fn log_end(bench: &Bench) -> usize {
    let log = bench.sim.files()["log/0000000000000001.seg"].clone();
    let last = log.iter().rposition(|byte| *byte != 0);
    last.map_or(0, |last| (last + 1).next_multiple_of(512))
}

/// RFC 9051 6.3.6: a mailbox or an account that comes to a name by a rename has a greater UIDVALIDITY than any that had
/// the name, also where the records of that one are lost.
#[test]
fn renamed_onto_a_name_of_lost_history_has_greater_uidvalidity() {
    let bench = Bench::new();
    bench.account().create_mailbox("old").unwrap();
    bench.store.create_account("bob").unwrap();
    let start = log_end(&bench);
    let lost = uid_validity(&bench.account().create_mailbox("new").unwrap());
    bench.account().delete_mailbox("new").unwrap();
    let carol = bench.store.create_account("carol").unwrap();
    let carols = uid_validity(&carol.inbox().unwrap());
    carol.delete().unwrap();
    let end = log_end(&bench);
    append(&bench.inbox());
    let Bench { sim, store, .. } = bench;
    store.close().unwrap();
    (start / 512..end / 512).for_each(|at| sim.zero_sector("log/0000000000000001.seg", at));
    let bench = Bench::on(sim, 2).reopened();
    let old = uid_validity(&bench.account().mailbox("old").unwrap());
    assert!(old < lost, "or this shows nothing");
    bench.account().rename_mailbox("old", "new").unwrap();
    let new = uid_validity(&bench.account().mailbox("new").unwrap());
    assert!(new > lost, "{new} after {lost}");
    bench.store.account("bob").unwrap().rename("carol").unwrap();
    let carol = bench.store.account("carol").unwrap();
    let new = uid_validity(&carol.inbox().unwrap());
    assert!(new > carols, "{new} after {carols}");
}

/// A log that was closed is read up to its end and no further, however much is prepared behind it.
#[test]
fn clean_opening_reads_nothing_behind_the_end() {
    const LOG: &str = "log/0000000000000001.seg";
    let bench = Bench::new();
    append(&bench.inbox());
    let end = log_end(&bench);
    bench.store.close().unwrap();
    let mut files = bench.sim.files();
    let len = 1 << 20;
    files.get_mut(LOG).unwrap().resize(len, 0);
    let closed = |hurt: bool| {
        let sim = Sim::from_files(files.clone());
        if hurt {
            sim.fail_reads(LOG, end + (64 << 10)..len);
        }
        sim
    };
    let bench = Bench::on(closed(true), 2);
    assert_eq!(bench.store.recovery().unreadable, 0);
    assert_eq!(append(&bench.inbox()), 2);
    // Not closed: all of it may hold batches.
    let killed = bench.sim.killed(bench.sim.ops_len());
    killed.fail_reads(LOG, len - 4096..len);
    assert!(Bench::on(killed, 3).store.recovery().unreadable > 0);
    // MANIFEST and TAIL put back from an older copy: what was committed since is found.
    let bench = Bench::on(closed(false), 4);
    assert_eq!(append(&bench.inbox()), 2);
    bench.store.close().unwrap();
    let mut mixed = bench.sim.files();
    for name in ["MANIFEST", "TAIL"] {
        mixed.insert(name.into(), files[name].clone());
    }
    let bench = Bench::on(Sim::from_files(mixed), 5);
    assert_eq!(uids(&bench.inbox()), [1, 2]);
}

/// Of commits that are only written TAIL alone tells after a power cut: it gets to the medium though they never cease.
#[test]
fn marks_of_written_commits_are_synced_without_a_rest() {
    let sim = Sim::new();
    let host = Arc::new(SimHost::new(NOON * 1000, 1 << 32));
    let store = Store::open_on(sim.storage(), Options::new().host(host)).unwrap();
    let inbox = store.create_account("anna").unwrap().inbox().unwrap();
    let tail = sim.inode("TAIL");
    let (start, mut seen) = (Instant::now(), sim.ops_len());
    let synced = |op: &Op| matches!(op, Op::Sync { inode } if *inode == tail);
    loop {
        for _ in 0..200 {
            let written = mailkeep::Durability::Written;
            let commit = store.deliver_with(TEXT, [Delivery::to(&inbox)], written);
            commit.unwrap().wait().unwrap();
        }
        let ops = sim.ops();
        if ops[seen..].iter().any(synced) {
            break;
        }
        seen = ops.len();
        assert!(start.elapsed() < Duration::from_secs(3), "never synced");
    }
}

/// Goal: a store that was opened for reading stays as it is, whatever size of message it is handed.
/// Fails when: a large body, which is written ahead of its record, is written before the refusal.
#[test]
fn a_store_opened_for_reading_takes_no_large_message() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Options::new()).unwrap();
    store.create_account("anna").unwrap();
    store.close().unwrap();
    let files = || std::fs::read_dir(dir.path().join("log")).unwrap().count();
    let before = files();

    let store = Store::open(dir.path(), Options::new().read_only(true)).unwrap();
    let inbox = store.account("anna").unwrap().inbox().unwrap();
    for len in [1, 2 << 20] {
        let refused = inbox
            .append(vec![b'x'; len], Delivery::to(&inbox))
            .unwrap_err();
        assert!(matches!(refused, Error::ReadOnly), "{refused:?}");
    }
    assert_eq!(files(), before);
}
