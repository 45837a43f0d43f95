//! What the reliability tests share: options, a workload, and a store's state as text to be compared.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::ControlFlow;
use std::sync::Arc;

use mailkeep::{
    Account, Delivery, Digest, Durability, FlagChange, Flags, Keyword, Options, Receipt, Store,
    UidSet,
};

use crate::sim::{Sim, SimHost};

/// Options of a test: no threads, small segments, a clock that stands still. Each run of one test needs a number.
pub(crate) fn options(run: u64) -> Options {
    let host = SimHost::new(1_700_000_000_000, (run + 1) << 32);
    Options::new()
        .background(false)
        .prepare(false)
        .reserve(0)
        .segment_len(64 << 10)
        .host(Arc::new(host))
}

/// A number from the environment.
pub(crate) fn env(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.map_or(default, |text| text.parse().expect("a number"))
}

/// A message of `len` bytes that is like no other.
pub(crate) fn message(seed: u64, len: usize) -> Vec<u8> {
    let mut text =
        format!("Subject: {seed}\r\nMessage-ID: <{seed}@example.it>\r\n\r\n").into_bytes();
    text.truncate(len);
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    while text.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        text.push(b' ' + (state >> 32) as u8 % 95);
    }
    text
}

/// All that a store shows, as text: one line an account, a mailbox, a message. Wrong
/// bytes panic, bytes that are refused are shown as such.
pub(crate) fn state(store: &Store) -> String {
    let mut out = String::new();
    let mut names = store.accounts(None, 1000).unwrap();
    names.sort();
    for name in names {
        let account = store.account(&name).unwrap();
        writeln!(out, "{name} {:?}", account.subscriptions().unwrap()).unwrap();
        for info in account.mailboxes().unwrap() {
            mailbox_state(&account, &info.name, &mut out);
        }
    }
    out
}

fn mailbox_state(account: &Account, name: &str, out: &mut String) {
    let mailbox = account.mailbox(name).unwrap();
    let status = mailbox.status().unwrap();
    let (validity, next) = (status.uid_validity, status.uid_next);
    let modseq = status.highest_modseq;
    writeln!(out, "  {name} {validity:?} {next:?} {modseq:?}").unwrap();
    let view = mailbox.view().unwrap();
    for row in view.iter() {
        let digest = match view.message(row.uid).and_then(|message| {
            let digest = Digest::of(&message.bytes()?);
            assert_eq!(digest, message.digest()?, "wrong bytes");
            Ok(digest)
        }) {
            Ok(digest) => digest.to_string(),
            Err(error) => format!("unreadable: {error}"),
        };
        let (uid, flags, modseq) = (row.uid, row.flags, row.modseq);
        let (keywords, email) = (row.keywords, row.email);
        writeln!(
            out,
            "    {uid} {flags} {keywords:?} {modseq:?} {email:?} {digest}"
        )
        .unwrap();
    }
}

/// Asserts that a verification finds nothing.
pub(crate) fn assert_whole(store: &Store) {
    let report = store.verify(&mut |_| ControlFlow::Continue(())).unwrap();
    assert!(report.is_whole(), "{report:?}");
}

/// Delivers to "anna", who is created if need be.
pub(crate) fn deliver(store: &Store, seed: u64, len: usize) -> mailkeep::Result<u32> {
    let anna = match store.account("anna") {
        Ok(anna) => anna,
        Err(_) => store.create_account("anna")?,
    };
    let kept = store.deliver(message(seed, len), [Delivery::to(&anna.inbox()?)])?;
    kept.wait()?.remove(0).map(|kept| kept.uid.get())
}

/// A step of the workload: one batch, as durable as it says.
pub(crate) struct Step {
    pub(crate) durability: Durability,
    /// Whether it changes or removes what is there.
    pub(crate) changes: bool,
    pub(crate) run: fn(&Store, Durability) -> mailkeep::Result<()>,
}

fn uids(store: &Store, from: &str, select: impl Fn(u32) -> bool) -> mailkeep::Result<UidSet> {
    let view = store.account("anna")?.mailbox(from)?.view()?;
    Ok(view.uids().iter().filter(|uid| select(uid.get())).collect())
}

fn send(store: &Store, to: &[(&str, &str)], len: usize, how: Durability) -> mailkeep::Result<()> {
    let mut deliveries = Vec::new();
    for (account, mailbox) in to {
        let mailbox = store.account(account)?.mailbox(mailbox)?;
        let delivery = Delivery::to(&mailbox).flags(Flags::FLAGGED);
        deliveries.push(delivery.keyword(Keyword::new("$Work")?));
    }
    let seed = store.health().next_record;
    let kept = store
        .deliver_with(message(seed, len), deliveries, how)?
        .wait()?;
    kept.into_iter().try_for_each(|kept| kept.map(|_| ()))
}

const D: Durability = Durability::Durable;
const W: Durability = Durability::Written;

/// Every kind of change, mixed: small, middling and large bodies, rotation, both durabilities.
pub(crate) fn steps() -> Vec<Step> {
    let step = |durability, run| Step {
        durability,
        changes: false,
        run,
    };
    let change = |run| Step {
        durability: D,
        changes: true,
        run,
    };
    vec![
        step(D, |store, _| store.create_account("anna").map(|_| ())),
        step(D, |store, how| send(store, &[("anna", "INBOX")], 10, how)),
        step(W, |store, how| send(store, &[("anna", "INBOX")], 700, how)),
        step(W, |store, how| {
            send(store, &[("anna", "INBOX")], 5_000, how)
        }),
        step(D, |store, how| send(store, &[("anna", "INBOX")], 30, how)),
        step(D, |store, _| store.create_account("bruno").map(|_| ())),
        step(D, |store, _| {
            store.account("anna")?.create_mailbox("Lists/a").map(|_| ())
        }),
        step(D, |store, how| {
            send(
                store,
                &[("anna", "INBOX"), ("bruno", "INBOX"), ("anna", "Lists/a")],
                9_000,
                how,
            )
        }),
        change(|store, _| {
            let anna = store.account("anna")?;
            let change = FlagChange::add(Flags::SEEN | Flags::DELETED);
            anna.inbox()?
                .flag(&uids(store, "INBOX", |uid| uid < 3)?, &change, None)?
                .wait()
                .map(|_| ())
        }),
        step(W, |store, how| {
            send(store, &[("anna", "Lists/a")], 20_000, how)
        }),
        step(D, |store, _| {
            let anna = store.account("anna")?;
            let set = uids(store, "INBOX", |uid| uid < 4)?;
            anna.inbox()?
                .copy_to(&set, &anna.mailbox("Lists/a")?)?
                .wait()
                .map(|_| ())
        }),
        step(D, |store, how| {
            send(store, &[("bruno", "INBOX")], 40_000, how)
        }),
        step(D, |store, how| {
            send(store, &[("anna", "INBOX")], 200 << 10, how)
        }),
        step(W, |store, how| send(store, &[("anna", "INBOX")], 60, how)),
        change(|store, _| {
            let anna = store.account("anna")?;
            let set = uids(store, "INBOX", |uid| uid == 3)?;
            anna.inbox()?
                .move_to(&set, &anna.mailbox("Lists/a")?)?
                .wait()
                .map(|_| ())
        }),
        change(|store, _| {
            let set = uids(store, "INBOX", |_| true)?;
            store
                .account("anna")?
                .inbox()?
                .expunge(&set)?
                .wait()
                .map(|_| ())
        }),
        step(D, |store, how| {
            send(
                store,
                &[("anna", "INBOX"), ("bruno", "INBOX")],
                (1 << 20) + 1,
                how,
            )
        }),
        change(|store, _| {
            store
                .account("anna")?
                .rename_mailbox("Lists/a", "Old")
                .map(|_| ())
        }),
        step(D, |store, _| store.account("anna")?.subscribe("Old", true)),
        change(|store, _| store.account("bruno")?.rename("carla")),
        step(W, |store, how| send(store, &[("anna", "Old")], 61_000, how)),
        step(D, |store, how| send(store, &[("anna", "INBOX")], 600, how)),
        change(|store, _| store.account("anna")?.delete_mailbox("Old")),
        change(|store, _| store.account("carla")?.delete()),
        step(W, |store, how| send(store, &[("anna", "INBOX")], 900, how)),
    ]
}

/// Opens a store on a simulated disk.
pub(crate) fn open(sim: &Sim, options: Options) -> mailkeep::Result<Store> {
    Store::open_on(sim.storage(), options)
}

/// Options that try the index: it is saved at every turn, images are written after every change, nothing stays in
/// memory.
pub(crate) fn tried(run: u64) -> Options {
    options(run).tail_max(64 << 10).chain_max(1).cache_bytes(0)
}

/// The receipts of all accounts by name.
pub(crate) fn receipts(store: &Store) -> BTreeMap<String, Receipt> {
    let names = store.accounts(None, 10_000).unwrap();
    let all = names.into_iter().map(|name| {
        let receipt = store.account(&name).unwrap().receipt().unwrap();
        (name, receipt)
    });
    all.collect()
}
