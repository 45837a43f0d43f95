//! A store with everything in it.

use mailkeep::format::PAGE;
use mailkeep::format::change::MailboxProperties;
use mailkeep::{
    Accepted, Delivery, Durability, FlagChange, Flags, Keyword, Mailbox, Options, Recipient, Store,
    UidSet,
};

use super::Files;
use super::oracle::Oracle;
use crate::harm::Dice;
use crate::kit::{message, open, options};
use crate::sim::Sim;

/// A store that was written and closed, and what is known of it.
pub(super) struct Sample {
    pub(super) files: Files,
    /// As an earlier closing left it.
    pub(super) older: Files,
    pub(super) oracle: Oracle,
}

/// Small segments, an index that is saved at every turn.
pub(super) fn made(run: u64) -> Options {
    options(run).tail_max(64 << 10).chain_max(2)
}

fn name(number: u64) -> String {
    format!("account-{number}")
}

fn uids(mailbox: &Mailbox, select: impl Fn(u32) -> bool) -> UidSet {
    let view = mailbox.view().unwrap();
    view.uids().iter().filter(|uid| select(uid.get())).collect()
}

/// One round of every kind of change.
fn round(store: &Store, nth: u64, dice: &mut Dice) {
    let mut seed = nth << 16;
    let mut body = || {
        seed += 1;
        message(seed, 200 + dice.below(3300))
    };
    for number in 0..6 {
        let account = match store.account(&name(number)) {
            Ok(account) => account,
            Err(_) => store.create_account(&name(number)).unwrap(),
        };
        let inbox = account.inbox().unwrap();
        let lists = match account.mailbox("Lists") {
            Ok(lists) => lists,
            Err(_) => account.create_mailbox("Lists").unwrap(),
        };
        // Several batches of one message, one of several, and one message for many.
        for _ in 0..3 {
            let to = [Delivery::to(&inbox).flags(Flags::FLAGGED)];
            store.deliver(body(), to).unwrap().wait().unwrap();
        }
        for _ in 0..3 {
            let to = [Delivery::to(&lists).keyword(Keyword::new("$Work").unwrap())];
            drop(store.deliver_with(body(), to, Durability::Written).unwrap());
        }
        store.sync().unwrap();
        let other = store.account(&name(0)).unwrap().inbox().unwrap();
        let many = [
            Delivery::to(&inbox),
            Delivery::to(&lists),
            Delivery::to(&other),
        ];
        let many = if number == 0 { &many[..2] } else { &many[..] };
        store
            .deliver(body(), many.iter().cloned())
            .unwrap()
            .wait()
            .unwrap();
        let change = FlagChange::add(Flags::SEEN);
        let every_third = uids(&inbox, |uid| uid % 3 == 0);
        inbox
            .flag(&every_third, &change, None)
            .unwrap()
            .wait()
            .unwrap();
        match (nth + number) % 6 {
            0 => {
                let few = uids(&inbox, |uid| uid % 4 == 1);
                inbox.copy_to(&few, &lists).unwrap().wait().unwrap();
            }
            1 => {
                let few = uids(&inbox, |uid| uid % 5 == 2);
                inbox.move_to(&few, &lists).unwrap().wait().unwrap();
            }
            2 => {
                let few = uids(&lists, |uid| uid % 6 == 3);
                lists.expunge(&few).unwrap().wait().unwrap();
            }
            3 => {
                let made = account.create_mailbox(&format!("Lists/{nth}")).unwrap();
                store
                    .deliver(body(), [Delivery::to(&made)])
                    .unwrap()
                    .wait()
                    .unwrap();
                let renamed =
                    account.rename_mailbox(&format!("Lists/{nth}"), &format!("Old {nth}"));
                let properties = MailboxProperties {
                    sort_order: 7,
                    ..MailboxProperties::default()
                };
                renamed.unwrap().set_properties(properties).unwrap();
            }
            4 => {
                let made = account.create_mailbox(&format!("Gone {nth}")).unwrap();
                store
                    .deliver(body(), [Delivery::to(&made)])
                    .unwrap()
                    .wait()
                    .unwrap();
                account.delete_mailbox(&format!("Gone {nth}")).unwrap();
                account.subscribe("Lists", nth.is_multiple_of(2)).unwrap();
            }
            _ => account.write_base().unwrap(),
        }
    }
    let short = store.create_account(&format!("short-{nth}")).unwrap();
    store
        .deliver(body(), [Delivery::to(&short.inbox().unwrap())])
        .unwrap()
        .wait()
        .unwrap();
    if nth.is_multiple_of(2) {
        short.rename(&format!("renamed-{nth}")).unwrap();
    } else {
        short.delete().unwrap();
    }
}

/// Mail for an account that cannot be read, which gets its UID later.
fn deferred(sim: &Sim, run: u64) {
    let names: Vec<String> = sim.files().into_keys().collect();
    let old = names
        .iter()
        .filter(|name| name.ends_with(".seg") || name.starts_with("index/"));
    let mut old: Vec<&String> = old.collect();
    old.retain(|name| !name.ends_with("CHECKPOINT"));
    let last = names
        .iter()
        .rev()
        .find(|name| name.ends_with(".seg"))
        .unwrap();
    old.retain(|name| *name != last);
    let store = open(sim, made(run)).unwrap();
    for name in old {
        sim.fail_reads(name, PAGE..usize::MAX);
    }
    let to = [Recipient::new(&name(1), "INBOX")];
    let kept = store
        .deliver_to(message(run, 900), to)
        .unwrap()
        .wait()
        .unwrap();
    assert!(matches!(kept[0], Ok(Accepted::Deferred(_))), "{kept:?}");
    sim.heal_reads();
    drop(store);
    let store = open(sim, made(run + 1)).unwrap();
    store
        .account(&name(1))
        .unwrap()
        .inbox()
        .unwrap()
        .view()
        .unwrap();
    store.close().unwrap();
}

/// The store: `rounds` of everything; `run` tells stores apart.
pub(super) fn sample(run: u64, rounds: u64) -> Sample {
    let sim = Sim::new();
    let mut dice = Dice::new(run + 77);
    let mut older = Files::new();
    for nth in 0..rounds {
        let store = open(&sim, made(run + 2 * nth)).unwrap();
        round(&store, nth, &mut dice);
        if nth == rounds / 2 {
            let to = [name(2), name(3)]
                .map(|name| Delivery::to(&store.account(&name).unwrap().inbox().unwrap()));
            let large = message(5, (1 << 20) + 777);
            store.deliver(large, to).unwrap().wait().unwrap();
        }
        store.close().unwrap();
        if nth + 2 == rounds {
            older = sim.files();
            deferred(&sim, run + 1000);
        }
    }
    // A last segment that was not sealed, and a tail that the checkpoint does not have.
    let store = open(&sim, made(run + 2000).tail_max(1 << 40)).unwrap();
    round(&store, rounds, &mut dice);
    store.sync().unwrap();
    let mut files = sim.files();
    store.close().unwrap();
    // Closed as far as the log goes; the index is one of before.
    let closed = sim.files();
    for (name, content) in closed {
        if !name.starts_with("index/") {
            files.insert(name, content);
        }
    }
    let oracle = Oracle::read(&files);
    Sample {
        files,
        older,
        oracle,
    }
}
