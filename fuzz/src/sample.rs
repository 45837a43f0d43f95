//! The store that the targets damage: small, with several segments, runs, bases, pieces, an alias and a tail that no
//! checkpoint covers. Always the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use mailkeep::mail::MailboxId;
use mailkeep::{
    AccountId, Delivery, Digest, Durability, FlagChange, Flags, Keyword, Options, Store, UidSet,
};

use crate::sim::{Sim, SimHost};

pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// What was stored, and as what.
pub(crate) struct Sample {
    pub(crate) files: Files,
    /// Which message a UID of an account's mailbox means, under a UIDVALIDITY.
    pub(crate) meant: BTreeMap<(AccountId, MailboxId, u32, u32), Digest>,
    /// All messages that an account was ever given.
    pub(crate) given: BTreeMap<AccountId, BTreeSet<Digest>>,
}

/// Options without threads and without chance; each opening of one disk needs a number of its own.
pub(crate) fn options(run: u64) -> Options {
    let host = SimHost::new(1_700_000_000_000, (run + 1) << 32);
    Options::new()
        .background(false)
        .reserve(0)
        .prepare(false)
        .segment_len(64 << 10)
        .tail_max(64 << 10)
        .chain_max(1)
        .cache_bytes(0)
        .host(Arc::new(host))
}

/// A message of `len` bytes or a few more, with some structure.
pub(crate) fn message(number: u32, len: usize) -> Vec<u8> {
    let mut text = format!("Subject: {number}\r\nMessage-ID: <{number}@example.it>\r\n\r\n");
    while text.len() < len {
        text += &format!("line {} of message {number}\r\n", text.len());
    }
    text.into_bytes()
}

/// The sample, made once in a process.
pub(crate) fn sample() -> &'static Sample {
    static SAMPLE: OnceLock<Sample> = OnceLock::new();
    SAMPLE.get_or_init(|| make().expect("the sample is made"))
}

fn send(store: &Store, to: &[(&str, &str)], number: u32, len: usize) -> mailkeep::Result<()> {
    let mut deliveries = Vec::new();
    for (account, mailbox) in to {
        let mailbox = store.account(account)?.mailbox(mailbox)?;
        let delivery = Delivery::to(&mailbox).flags(Flags::FLAGGED);
        deliveries.push(delivery.keyword(Keyword::new("$Work")?));
    }
    let how = Durability::Durable;
    let kept = store.deliver_with(message(number, len), deliveries, how)?;
    kept.wait()?.into_iter().try_for_each(|kept| kept.map(drop))
}

fn make() -> mailkeep::Result<Sample> {
    let sim = Sim::new();
    let mut found = Sample {
        files: Files::new(),
        meant: BTreeMap::new(),
        given: BTreeMap::new(),
    };
    for run in 0..4 {
        let store = Store::open_on(sim.storage(), options(run))?;
        round(&store, u32::try_from(run).unwrap_or(0), &mut found)?;
        if run < 3 {
            store.close()?;
        } else {
            // As a killed process leaves it, with a tail.
            found.files = sim.files();
        }
    }
    Ok(found)
}

/// Some of everything. What is there is noted again and again: later changes take some of it away.
fn round(store: &Store, round: u32, found: &mut Sample) -> mailkeep::Result<()> {
    if round == 0 {
        store.create_account("anna")?.create_mailbox("Lists/a")?;
        store.create_account("bruno")?.create_mailbox("Old")?;
        store.create_account("gone")?;
    }
    let number = |nth: u32| round * 100 + nth;
    let (anna, bruno) = (("anna", "INBOX"), ("bruno", "INBOX"));
    send(store, &[anna], number(0), 10)?;
    send(store, &[anna, bruno, ("anna", "Lists/a")], number(1), 900)?;
    send(store, &[bruno], number(2), 3000)?;
    if round < 2 {
        send(store, &[anna], number(3), 30_000)?;
    }
    note(store, found)?;
    let anna = store.account("anna")?;
    let inbox = anna.inbox()?;
    let uids = inbox.view()?.uids();
    let change = FlagChange::add(Flags::SEEN | Flags::DELETED);
    let first: UidSet = uids.iter().take(2).collect();
    inbox.flag(&first, &change, None)?.wait()?;
    inbox.copy_to(&uids, &anna.mailbox("Lists/a")?)?.wait()?;
    note(store, found)?;
    match round {
        1 => {
            let some: UidSet = uids.iter().skip(1).take(1).collect();
            inbox.move_to(&some, &anna.mailbox("Lists/a")?)?.wait()?;
            inbox.expunge(&UidSet::full())?.wait()?;
            anna.write_base()?;
            send(store, &[("gone", "INBOX")], 1000, 100)?;
            note(store, found)?;
        }
        2 => {
            store.account("bruno")?.rename("carla")?;
            store.create_account("bruno")?;
            store.account("carla")?.rename("carla@example.it")?;
            store.account("bruno")?.delete()?;
            store.account("carla@example.it")?.rename("bruno")?;
            store.account("gone")?.delete()?;
            anna.rename_mailbox("Lists/a", "Kept/b")?;
            anna.create_mailbox("Lists/a")?;
            anna.subscribe("Kept/b", true)?;
        }
        _ => {}
    }
    note(store, found)
}

fn note(store: &Store, found: &mut Sample) -> mailkeep::Result<()> {
    for name in store.accounts(None, 1000)? {
        let account = store.account(&name)?;
        for info in account.mailboxes()? {
            let view = account.mailbox(&info.name)?.view()?;
            for row in view.iter() {
                let digest = view.message(row.uid)?.digest()?;
                let key = (
                    account.id(),
                    info.id,
                    view.uid_validity().get(),
                    row.uid.get(),
                );
                let before = found.meant.insert(key, digest);
                assert!(before.is_none_or(|before| before == digest));
                found.given.entry(account.id()).or_default().insert(digest);
            }
        }
    }
    Ok(())
}
