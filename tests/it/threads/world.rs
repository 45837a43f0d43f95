//! What the threads of one run share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mailkeep::{Account, AccountId, Durability, Error, Options, Store};

use super::disk::{Pauses, Slow, SlowHost};
use crate::harm::Dice;
use crate::kit;
use crate::sim::{Sim, SimHost};

/// Mailboxes that every shared account has, by id from 1 on.
pub(super) const BOXES: [&str; 3] = ["INBOX", "Work", "Keep"];

/// What kind of run a seed is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) background: bool,
    /// Some commits are only written.
    pub(super) mixed: bool,
    /// Calls of the disk fail.
    pub(super) faults: bool,
    /// Files of the index are harmed.
    pub(super) harm: bool,
    cache_bytes: usize,
    chain_max: u32,
    load_deadline: Duration,
    prepare: bool,
    one_of: u64,
}

impl Plan {
    pub(super) fn of(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let mut one_in = |n: usize| dice.below(n) == 0;
        Self {
            seed,
            background: !one_in(3),
            mixed: one_in(4),
            faults: one_in(4),
            harm: one_in(4),
            prepare: one_in(3),
            load_deadline: Duration::from_millis(if one_in(3) { 0 } else { 2000 }),
            chain_max: if one_in(3) { 8 } else { 1 },
            cache_bytes: [0, 0, 8 << 10, 256 << 20][dice.below(4)],
            one_of: [6, 20, 60][dice.below(3)],
        }
    }

    fn options(&self) -> Options {
        let host = SimHost::new(1_700_000_000_000, (self.seed + 1) << 32);
        let pauses = Pauses::new(!self.seed, 4 * self.one_of);
        let durability = match self.mixed {
            true => Durability::Written,
            false => Durability::Durable,
        };
        kit::options(0)
            .background(self.background)
            .prepare(self.prepare)
            .tail_max(64 << 10)
            .chain_max(self.chain_max)
            .cache_bytes(self.cache_bytes)
            .load_deadline(self.load_deadline)
            .durability(durability)
            .host(Arc::new(SlowHost { host, pauses }))
    }

    /// What the changes of flags, copies and so on are, which take the store's durability.
    pub(super) fn changes_are_durable(&self) -> bool {
        !self.mixed
    }
}

/// One run's store.
pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) sim: Sim,
    pub(super) store: Store,
    pub(super) stop: AtomicBool,
    /// Of the accounts that all threads use.
    pub(super) ids: Vec<AccountId>,
}

impl World {
    /// A new store with the accounts that all threads use.
    pub(super) fn new(plan: Plan, accounts: usize) -> Self {
        let sim = Sim::new();
        let pauses = Pauses::new(plan.seed, plan.one_of);
        let store = Store::open_on(Slow::over(sim.storage(), &pauses), plan.options()).unwrap();
        let mut ids = Vec::new();
        for account in 0..accounts {
            let account = store.create_account(&shared_name(account)).unwrap();
            for (name, id) in BOXES[1..].iter().zip(2..) {
                assert_eq!(account.create_mailbox(name).unwrap().id().get(), id);
            }
            ids.push(account.id());
        }
        Self {
            plan,
            sim,
            store,
            stop: AtomicBool::new(false),
            ids,
        }
    }

    pub(super) fn shared(&self, account: usize) -> mailkeep::Result<Account> {
        self.store.account(&shared_name(account))
    }

    pub(super) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// An error that this kind of run brings about.
    pub(super) fn expect(&self, error: &Error, what: &str) {
        let of_the_disk = matches!(
            error,
            Error::Io { .. }
                | Error::NoSpace { .. }
                | Error::Stopped { .. }
                | Error::Damaged { .. }
                // Of an account whose deletion or renaming failed.
                | Error::AccountExists { .. }
        );
        assert!(
            self.plan.faults && of_the_disk,
            "{what}: {error:?}, {:?}",
            self.plan
        );
    }
}

/// The name of an account that all threads use.
pub(super) fn shared_name(account: usize) -> String {
    format!("shared{account}@example.it")
}
