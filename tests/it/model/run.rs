//! Runs operations on a store over a simulated disk and on the model, and compares after each.
//!
//! Three worlds: `head` has all that was accepted, `shown` all that is written, and each of `left` is one that a
//! power cut may leave. A call that is not waited for moves only the head.

use std::collections::BTreeSet;
use std::sync::Arc;

use mailkeep::{
    Changes, Commit, Delivered, Durability, Error, Flagged, Mailbox as Handle, MailboxProperties,
    ModSeq, Options, Outcome, Receipt, Store, Transferring, Uid, UidSet, View,
};

use super::ledger::Ledger;
use super::mail::{Account, Answer, Mailbox, Now, Refusal, Ruled, Token, World};
use super::op::{ACCOUNTS, Keeps, Marked, NAMES, Op, Place, Step};
use super::resolve::*; // both halves of one translation
use crate::harm::harm;
use crate::sim::{Sim, SimHost};

type Checked<T = ()> = Result<T, String>;

/// A mailbox by both of its names: the model's, and the store's handle.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) account: Token,
    pub(super) mailbox: Token,
    pub(super) handle: Handle,
}

/// A commit that may not have been waited for, of any type.
trait Waiting {
    fn is_finished(&self) -> bool;
    fn wait(self: Box<Self>) -> Vec<Result<Given, Refusal>>;
}

struct Wait<T> {
    commit: Commit<T>,
    give: fn(T) -> Vec<Result<Given, Refusal>>,
}

impl<T> Waiting for Wait<T> {
    fn is_finished(&self) -> bool {
        self.commit.is_finished()
    }

    fn wait(self: Box<Self>) -> Vec<Result<Given, Refusal>> {
        self.commit
            .wait()
            .map_or_else(|e| vec![Err(refusal(&e))], self.give)
    }
}

/// What a call of the store gave.
#[derive(Clone, Debug)]
pub(super) enum Given {
    Delivered(Delivered),
    Flagged(Flagged),
    Transferred(Transferring),
    Expunged(UidSet),
    Done,
}

struct Pending {
    commit: Box<dyn Waiting>,
    expected: Vec<(Token, Ruled<Answer>)>,
}

/// How stores are opened, and how much they hold.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Setup {
    pub(crate) segment_len: Option<u64>,
    /// Whether the index is saved at every turn, nothing is kept in memory, and its files are harmed.
    pub(crate) tried: bool,
    /// Whether an opening may find that something was lost: what was only written, after a power cut.
    pub(crate) may_lose: bool,
}

pub(crate) struct Runner {
    setup: Setup,
    sim: Sim,
    host: Arc<SimHost>,
    store: Option<Store>,
    openings: u64,
    now: i64,
    tokens: Token,
    head: World,
    shown: World,
    /// Worlds that a power cut now may leave, oldest first, with the tokens that were given by then.
    left: Vec<(World, Token)>,
    /// The same before the last step, and how many changes the disk had seen by then.
    left_before: Vec<(World, Token)>,
    changes_before: usize,
    /// Whether the commits that wait ask for more than the page cache.
    durable: bool,
    pending: Vec<Pending>,
    ledger: Ledger,
    kept: Vec<Found>,
    views: Vec<(Token, View, Mailbox)>,
    messages: Vec<Vec<u8>>,
}

fn refusal(error: &Error) -> Refusal {
    match error {
        Error::NoSuchAccount { .. } => Refusal::NoSuchAccount,
        Error::AccountExists { .. } => Refusal::AccountExists,
        Error::NoSuchMailbox { .. } => Refusal::NoSuchMailbox,
        Error::MailboxExists { .. } => Refusal::MailboxExists,
        Error::NotAllowed { .. } => Refusal::NotAllowed,
        Error::HasChildren { .. } => Refusal::HasChildren,
        Error::InvalidName(_) => Refusal::InvalidName,
        other => {
            eprintln!("unexpected: {other} ({other:?})");
            Refusal::Other
        }
    }
}

/// Small messages of every kind of line end, and one longer than a chunk.
fn messages() -> Vec<Vec<u8>> {
    let long: Vec<u8> = b"Subject: long\r\n\r\n"
        .iter()
        .copied()
        .cycle()
        .take(70_001)
        .collect();
    let middle: Vec<u8> = b"Subject: middle\n\nabc\n"
        .iter()
        .copied()
        .cycle()
        .take(9000)
        .collect();
    let small = [
        &b"x"[..],
        b"Subject: a\r\n\r\nbody\r\n",
        b"Subject: a\n\nbody\nno end",
        b"\n",
        b"Subject: a\r\n\nmixed\n\r\n",
    ];
    let small = small.into_iter().map(<[u8]>::to_vec);
    small.chain([middle, long]).collect()
}

impl Runner {
    pub(crate) fn new(setup: Setup) -> Self {
        let mut runner = Self {
            setup,
            sim: Sim::new(),
            host: Arc::default(),
            store: None,
            openings: 0,
            now: 1_700_000_000,
            tokens: 0,
            head: World::default(),
            shown: World::default(),
            left: vec![(World::default(), 0)],
            left_before: Vec::new(),
            changes_before: 0,
            durable: false,
            pending: Vec::new(),
            ledger: Ledger::default(),
            kept: Vec::new(),
            views: Vec::new(),
            messages: messages(),
        };
        runner.open();
        runner.begin_step();
        runner
    }

    fn open(&mut self) {
        self.openings += 1;
        self.host = Arc::new(SimHost::new(self.now * 1000, self.openings << 32));
        let mut options = Options::new()
            .background(false)
            .host(Arc::clone(&self.host) as _);
        if let Some(len) = self.setup.segment_len {
            options = options.segment_len(len);
        }
        if self.setup.tried {
            options = options.tail_max(64 << 10).chain_max(1).cache_bytes(0);
        }
        let store = Store::open_on(self.sim.storage(), options).expect("the store opens");
        let whole = store.recovery().is_whole() || self.setup.may_lose;
        assert!(whole, "{:?}", store.recovery());
        self.store = Some(store);
    }

    fn store(&self) -> &Store {
        self.store.as_ref().expect("between steps a store is open")
    }

    fn begin_step(&mut self) {
        self.left_before = self.left.clone();
        self.changes_before = self.sim.ops_len();
    }

    /// Runs one operation and compares all that can be seen.
    pub(crate) fn step(&mut self, op: &Op) -> Checked {
        if !matches!(op, Op::Crash { .. }) {
            self.begin_step();
        }
        self.step_over(op)
    }

    fn step_over(&mut self, op: &Op) -> Checked {
        self.act(op)?;
        self.settle()?;
        let store = self.store().clone();
        let checked = self.ledger.check(&store, &self.shown, &self.messages);
        if checked.is_err() && !self.pending.is_empty() {
            // Loading an account waits for what is pending of it: the look itself may have written it.
            self.settle()?;
            self.ledger.check(&store, &self.shown, &self.messages)?;
        } else {
            checked?;
        }
        for (account, view, mailbox) in &self.views {
            self.ledger
                .check_view(*account, view, mailbox, &self.messages)
                .map_err(|why| format!("a view changed: {why}"))?;
        }
        Ok(())
    }

    fn act(&mut self, op: &Op) -> Checked {
        match op {
            Op::CreateAccount(name) => self.create_account(ACCOUNTS[*name as usize % 3]),
            Op::RenameAccount { from, to } => {
                self.rename_account(ACCOUNTS[*from as usize % 3], ACCOUNTS[*to as usize % 3])
            }
            Op::DeleteAccount(name) => self.delete_account(ACCOUNTS[*name as usize % 3]),
            Op::Subscribe { account, name, on } => self.subscribe(*account, *name, *on),
            Op::Properties {
                mailbox,
                noselect,
                sort_order,
            } => self.properties(*mailbox, *noselect, (*sort_order).into()),
            Op::Deliver {
                message,
                to,
                wait,
                written,
            } => self.deliver(*message, to, *wait, *written),
            Op::Single {
                account,
                step,
                wait,
            } => self.single(*account, step, *wait),
            Op::Transaction {
                account,
                steps,
                wait,
            } => self.transaction(*account, steps, *wait),
            Op::Sync => {
                self.store().sync().map_err(|e| e.to_string())?;
                self.settle()?;
                self.left = vec![(self.head.clone(), self.tokens)];
                Ok(())
            }
            Op::Clock(seconds) => {
                self.now += i64::from(*seconds);
                self.host.set_now_ms(self.now * 1000 + 999);
                Ok(())
            }
            Op::Hold(place) => self.hold(*place),
            Op::Reopen => self.reopen(None),
            Op::Crash { back, keeps } => self.crash(*back, *keeps),
            Op::WriteBase(account) => self.write_base(*account),
            Op::Harm { seed, open: true } => {
                harm(&self.sim, *seed);
                Ok(())
            }
            Op::Harm { seed, open: false } => self.reopen(Some(*seed)),
            Op::Kill => {
                let sim = self.sim.killed(self.sim.ops_len());
                let last = self.left.last().cloned().ok_or("no world")?;
                self.survive(sim, vec![last])
            }
        }
    }

    /// Takes over what has been written meanwhile.
    fn settle(&mut self) -> Checked {
        if !self
            .pending
            .iter()
            .all(|pending| pending.commit.is_finished())
        {
            return Ok(());
        }
        for pending in std::mem::take(&mut self.pending) {
            self.answer(pending.commit.wait(), &pending.expected)?;
        }
        if self.shown != self.head {
            self.shown = self.head.clone();
            let world = (self.head.clone(), self.tokens);
            if self.durable {
                self.left.clear();
            }
            self.left.push(world);
        } else if self.durable {
            self.left = vec![(self.head.clone(), self.tokens)];
        }
        self.durable = false;
        Ok(())
    }

    /// Compares what calls gave with what the model says.
    fn answer(
        &mut self,
        given: Vec<Result<Given, Refusal>>,
        expected: &[(Token, Ruled<Answer>)],
    ) -> Checked {
        if given.len() != expected.len() {
            return Err(format!("given {given:?}, expected {expected:?}"));
        }
        for (given, (account, expected)) in given.into_iter().zip(expected) {
            let wrong = format!("given {given:?}, expected {expected:?}");
            let fits = match (given, expected) {
                (Err(given), Err(expected)) => given == *expected,
                (Ok(given), Ok(expected)) => self.fits(*account, &given, expected)?,
                _ => false,
            };
            if !fits {
                return Err(wrong);
            }
        }
        Ok(())
    }

    fn fits(&mut self, account: Token, given: &Given, expected: &Answer) -> Checked<bool> {
        let numbers = self.ledger.account(account);
        let plain = |set: &UidSet| -> BTreeSet<u32> { set.iter().map(|uid| uid.get()).collect() };
        Ok(match (given, expected) {
            (
                Given::Delivered(given),
                Answer::Delivered {
                    uid,
                    uid_validity,
                    modseq,
                    email,
                },
            ) => {
                numbers.check_delivered(given, *uid, *uid_validity, *modseq, *email)?;
                true
            }
            (
                Given::Flagged(given),
                Answer::Flagged {
                    changed,
                    modified,
                    modseq,
                },
            ) => {
                if let (Some(given), Some(token)) = (given.modseq, modseq) {
                    numbers.check_modseq(*token, given.get())?;
                }
                plain(&given.changed) == *changed
                    && plain(&given.modified) == *modified
                    && given.modseq.is_some() == modseq.is_some()
            }
            (
                Given::Transferred(given),
                Answer::Transferred {
                    uid_validity,
                    pairs,
                },
            ) => {
                if let (Some(given), Some(token)) = (given.uid_validity, uid_validity) {
                    numbers.uid_validity(*token, given.get())?;
                }
                let found: Vec<_> = given.uids.iter().map(|(a, b)| (a.get(), b.get())).collect();
                found == *pairs && given.uid_validity.is_some() == uid_validity.is_some()
            }
            (Given::Expunged(given), Answer::Expunged(expected)) => plain(given) == *expected,
            (Given::Done, Answer::Done) => true,
            _ => false,
        })
    }

    /// A call of one account that was accepted: the model's head moves, and the call's answer is due.
    fn accepted<T: 'static>(
        &mut self,
        commit: Commit<T>,
        give: fn(T) -> Vec<Result<Given, Refusal>>,
        head: World,
        expected: Vec<(Token, Ruled<Answer>)>,
        (wait, durable): (bool, bool),
    ) -> Checked {
        let wrote = head != self.head;
        self.durable |= wrote && durable;
        self.head = head;
        let commit = Box::new(Wait { commit, give });
        if !wait {
            self.pending.push(Pending { commit, expected });
            return Ok(());
        }
        let given = commit.wait();
        self.settle()?;
        self.answer(given, &expected)?;
        for (account, _) in &expected {
            if self.head.accounts.get(account) != self.shown.accounts.get(account) {
                return Err("acknowledged before what it rests on".into());
            }
        }
        Ok(())
    }

    /// A call that waits by itself, already made: `given` is what came of it.
    fn waited(&mut self, given: Result<(), Error>, ruled: Ruled<World>) -> Checked {
        match (given.map_err(|e| refusal(&e)), ruled) {
            (Ok(()), Ok(head)) => {
                self.durable |= head != self.head;
                self.head = head;
                self.settle()?;
                if self.shown == self.head || !self.pending.is_empty() {
                    Ok(())
                } else {
                    Err("acknowledged and not shown".into())
                }
            }
            (Err(given), Err(expected)) if given == expected => Ok(()),
            (given, ruled) => Err(format!("given {given:?}, expected {:?}", ruled.map(drop))),
        }
    }

    /// Rules over a copy of the head.
    fn rule<T>(
        &mut self,
        rules: impl FnOnce(&mut World, &mut Now<'_>) -> Ruled<T>,
    ) -> (Ruled<T>, World) {
        let mut head = self.head.clone();
        let mut now = Now {
            seconds: self.now,
            tokens: &mut self.tokens,
        };
        let ruled = rules(&mut head, &mut now);
        match ruled {
            Ok(_) => (ruled, head),
            Err(_) => (ruled, self.head.clone()),
        }
    }

    fn rule_world(
        &mut self,
        rules: impl FnOnce(&mut World, &mut Now<'_>) -> Ruled<()>,
    ) -> Ruled<World> {
        let (ruled, head) = self.rule(rules);
        ruled.map(|()| head)
    }

    fn create_account(&mut self, name: &str) -> Checked {
        let ruled = self.rule_world(|world, now| world.create_account(name, now));
        let given = self.store().create_account(name).map(drop);
        self.waited(given, ruled)
    }

    fn rename_account(&mut self, from: &str, to: &str) -> Checked {
        // What the numbers were before has to be known: see `adopt`.
        self.step_over(&Op::Sync)?;
        self.begin_step();
        let ruled = self.rule_world(|world, _| {
            let account = world.by_name(from)?;
            world.rename_account(account, to)
        });
        let given = self
            .store()
            .account(from)
            .and_then(|account| account.rename(to));
        let renamed = given.is_ok();
        self.waited(given, ruled)?;
        if renamed { self.adopt(to) } else { Ok(()) }
    }

    /// After a rename onto a name that an account had, UIDVALIDITYs may be greater; whether they had to be is checked
    /// with the names.
    fn adopt(&mut self, name: &str) -> Checked {
        let token = self.head.by_name(name).map_err(|e| format!("{e:?}"))?;
        let account = self.store().account(name).map_err(|e| e.to_string())?;
        let mut risen = Vec::new();
        for (mailbox, model) in &self.head.accounts[&token].mailboxes {
            let handle = account.mailbox(&model.name).map_err(|e| e.to_string())?;
            let found = handle.status().map_err(|e| e.to_string())?;
            let numbers = self.ledger.account(token);
            let known = numbers.known_uid_validity(model.uid_validity);
            if known.is_some_and(|known| known < found.uid_validity.get().into()) {
                risen.push((found.uid_validity, found.highest_modseq, *mailbox));
            }
        }
        risen.sort_unstable();
        for (_, modseq, mailbox) in risen {
            self.tokens += 1;
            let known = |world: &World| world.accounts[&token].mailboxes[&mailbox].modseq;
            let known = self.ledger.account(token).modseq(known(&self.head));
            let changed = known.is_some_and(|known| known < modseq.get());
            let worlds = self.left.iter_mut().map(|(world, _)| world).rev().take(1);
            for world in worlds.chain([&mut self.head, &mut self.shown]) {
                let account = world.account(token).map_err(|e| format!("{e:?}"))?;
                if let Some(mailbox) = account.mailboxes.get_mut(&mailbox) {
                    mailbox.uid_validity = self.tokens;
                    mailbox.modseq = if changed { self.tokens } else { mailbox.modseq };
                }
            }
        }
        if let Some((_, mark)) = self.left.last_mut() {
            *mark = self.tokens;
        }
        Ok(())
    }

    fn delete_account(&mut self, name: &str) -> Checked {
        let ruled = self.rule_world(|world, _| {
            let account = world.by_name(name)?;
            world.accounts.remove(&account);
            Ok(())
        });
        let given = self
            .store()
            .account(name)
            .and_then(mailkeep::Account::delete);
        self.waited(given, ruled)
    }

    /// The account, in both worlds; a call on one that is missing must say so.
    fn account(&self, number: u8) -> Checked<Option<(Token, mailkeep::Account)>> {
        let name = ACCOUNTS[number as usize % ACCOUNTS.len()];
        match (self.shown.by_name(name), self.store().account(name)) {
            (Ok(token), Ok(account)) => Ok(Some((token, account))),
            (Err(_), Err(Error::NoSuchAccount { .. })) => Ok(None),
            (ruled, given) => Err(format!("account {name}: {ruled:?}, {given:?}")),
        }
    }

    /// The mailbox of a place, `None` where the place is none; what the store says is checked.
    fn find(&mut self, place: Place) -> Checked<Option<Found>> {
        let (account, mailbox) = match place {
            Place::Kept(n) if self.kept.is_empty() => (0, n % 2),
            Place::Kept(n) => return Ok(Some(self.kept[n as usize % self.kept.len()].clone())),
            Place::Named { account, mailbox } => (account, mailbox),
        };
        let Some((account, found)) = self.account(account)? else {
            return Ok(None);
        };
        let (spelled, name) = NAMES[mailbox as usize % NAMES.len()];
        let ruled = match name {
            None => Err(Refusal::InvalidName),
            Some(name) => self.shown.accounts[&account].find(name),
        };
        match (ruled, found.mailbox(spelled)) {
            (Ok(mailbox), Ok(handle)) => {
                let found = Found {
                    account,
                    mailbox,
                    handle,
                };
                if self.kept.len() < 40 {
                    self.kept.push(found.clone());
                }
                Ok(Some(found))
            }
            (Err(ruled), Err(given)) if ruled == refusal(&given) => Ok(None),
            (ruled, given) => Err(format!("mailbox {spelled}: {ruled:?}, {given:?}")),
        }
    }

    fn subscribe(&mut self, account: u8, name: u8, on: bool) -> Checked {
        let Some((token, account)) = self.account(account)? else {
            return Ok(());
        };
        let (spelled, name) = NAMES[name as usize % NAMES.len()];
        let ruled = self.rule_world(|world, _| {
            let name = name.ok_or(Refusal::InvalidName)?;
            world.account(token)?.subscribe(name, on);
            Ok(())
        });
        self.waited(account.subscribe(spelled, on), ruled)
    }

    fn properties(&mut self, place: Place, noselect: bool, sort_order: u32) -> Checked {
        let Some(found) = self.find(place)? else {
            return Ok(());
        };
        let ruled = self.rule_world(|world, now| {
            let account = world
                .account(found.account)
                .map_err(|_| Refusal::NoSuchMailbox)?;
            account.properties(found.mailbox, noselect, sort_order, now)
        });
        let properties = MailboxProperties {
            noselect,
            sort_order,
            ..MailboxProperties::default()
        };
        self.waited(found.handle.set_properties(properties), ruled)
    }

    fn deliver(
        &mut self,
        message: u8,
        to: &[(Place, Marked)],
        wait: bool,
        written: bool,
    ) -> Checked {
        let message = message as usize % self.messages.len();
        let (mut deliveries, mut targets) = (Vec::new(), Vec::new());
        for (place, marked) in to {
            if let Some(found) = self.find(*place)? {
                deliveries.push(delivery(&found.handle, marked));
                targets.push((found.account, found.mailbox, arriving(message, marked)));
            }
        }
        let (answers, head) = self.rule(|world, now| Ok(world.deliver(&targets, now)));
        let accounts = targets.iter().map(|(account, ..)| *account);
        let expected = accounts.zip(answers.unwrap_or_default()).collect();
        let durability = if written {
            Durability::Written
        } else {
            Durability::Durable
        };
        let commit = self
            .store()
            .deliver_with(&self.messages[message], deliveries, durability)
            .map_err(|e| e.to_string())?;
        let give = |all: Vec<Result<Delivered, Error>>| {
            let one = |given: Result<Delivered, Error>| {
                given.map(Given::Delivered).map_err(|e| refusal(&e))
            };
            all.into_iter().map(one).collect()
        };
        self.accepted(commit, give, head, expected, (wait, !written))
    }

    fn single(&mut self, account: u8, step: &Step, wait: bool) -> Checked {
        if let Step::Create { .. } | Step::Rename { .. } | Step::Delete { .. } = step {
            return self.single_tree(account, step);
        }
        let Some(step) = self.resolve(step)? else {
            return Ok(());
        };
        let account = step.account();
        let (ruled, head) = self.rule(|world, now| {
            let mut none = Account::default();
            step.rule(
                account,
                world.accounts.get_mut(&account).unwrap_or(&mut none),
                now,
            )
        });
        let expected = vec![(account, ruled)];
        let how = (wait, true);
        let refused = match &step {
            Resolved::Append {
                to,
                message,
                marked,
            } => {
                let delivery = delivery(&to.handle, marked);
                match to.handle.append(&self.messages[*message], delivery) {
                    Ok(commit) => {
                        let give = |given| vec![Ok(Given::Delivered(given))];
                        return self.accepted(commit, give, head, expected, how);
                    }
                    Err(error) => error,
                }
            }
            Resolved::Flag {
                mailbox,
                uids,
                marking,
                since,
            } => {
                let since = since.and_then(|since| ModSeq::new(since.1));
                match mailbox
                    .handle
                    .flag(&uid_set(*uids), &flag_change(marking), since)
                {
                    Ok(commit) => {
                        let give = |given| vec![Ok(Given::Flagged(given))];
                        return self.accepted(commit, give, head, expected, how);
                    }
                    Err(error) => error,
                }
            }
            Resolved::Transfer {
                from,
                uids,
                to,
                moved,
            } => {
                let uids = uid_set(*uids);
                let given = if *moved {
                    from.handle.move_to(&uids, &to.handle)
                } else {
                    from.handle.copy_to(&uids, &to.handle)
                };
                match given {
                    Ok(commit) => {
                        let give = |given| vec![Ok(Given::Transferred(given))];
                        return self.accepted(commit, give, head, expected, how);
                    }
                    Err(error) => error,
                }
            }
            Resolved::Expunge {
                mailbox,
                uids,
                only_deleted,
            } => {
                let uids = uid_set(*uids);
                let given = if *only_deleted {
                    mailbox.handle.expunge(&uids)
                } else {
                    mailbox.handle.destroy(&uids)
                };
                match given {
                    Ok(commit) => {
                        let give = |given| vec![Ok(Given::Expunged(given))];
                        return self.accepted(commit, give, head, expected, how);
                    }
                    Err(error) => error,
                }
            }
            Resolved::Tree(_) => return Ok(()),
        };
        self.answer(vec![Err(refusal(&refused))], &expected)
    }

    fn single_tree(&mut self, account: u8, step: &Step) -> Checked {
        let Some((token, account)) = self.account(account)? else {
            return Ok(());
        };
        let ruled = self.rule_world(|world, now| rule_tree(world.account(token)?, step, now));
        let spelled = |name: &u8| NAMES[*name as usize % NAMES.len()].0;
        let given = match step {
            Step::Create { name, noselect } => account
                .create_mailbox_with(spelled(name), only_name(*noselect))
                .map(drop),
            Step::Rename { from, to } => {
                account.rename_mailbox(spelled(from), spelled(to)).map(drop)
            }
            Step::Delete { name } => account.delete_mailbox(spelled(name)),
            _ => return Ok(()),
        };
        self.waited(given, ruled)
    }

    fn transaction(&mut self, account: u8, steps: &[Step], wait: bool) -> Checked {
        let Some((token, account)) = self.account(account)? else {
            return Ok(());
        };
        let mut transaction = account.transaction();
        let mut resolved = Vec::new();
        for step in steps {
            let Some(step) = self.resolve(step)? else {
                continue;
            };
            let added = add(&mut transaction, &step, &self.messages);
            match (added.map_err(|e| refusal(&e)), step.refused_at_once(token)) {
                (Ok(()), None) => resolved.push(step),
                (Err(given), Some(expected)) if given == expected => {}
                (given, expected) => return Err(format!("{step:?}: {given:?}, {expected:?}")),
            }
        }
        let (ruled, head) = self.rule(|world, now| {
            let mut none = Account::default();
            let account = world.accounts.get_mut(&token).unwrap_or(&mut none);
            let answers = resolved.iter().map(|step| step.rule(token, account, now));
            answers.collect::<Ruled<Vec<Answer>>>()
        });
        match (transaction.commit(), ruled) {
            (Ok(commit), Ok(answers)) => {
                let expected = answers
                    .into_iter()
                    .map(|answer| (token, Ok(answer)))
                    .collect();
                let give =
                    |all: Vec<Outcome>| all.into_iter().map(|one| Ok(of_outcome(one))).collect();
                self.accepted(commit, give, head, expected, (wait, true))
            }
            (Err(given), Err(expected)) if refusal(&given) == expected => Ok(()),
            (given, expected) => Err(format!(
                "given {:?}, expected {expected:?}",
                given.map(drop)
            )),
        }
    }

    fn hold(&mut self, place: Place) -> Checked {
        let Some(found) = self.find(place)? else {
            return Ok(());
        };
        let shown = self.shown.accounts.get(&found.account);
        let mailbox = shown.and_then(|account| account.mailboxes.get(&found.mailbox));
        match (found.handle.view(), mailbox) {
            (Ok(view), Some(mailbox)) => {
                // What it hashes is kept, for the ones later to go by.
                found.handle.receipt().map_err(|e| e.to_string())?;
                if self.views.len() == 3 {
                    self.views.remove(0);
                }
                self.views.push((found.account, view, mailbox.clone()));
                Ok(())
            }
            (Err(Error::NoSuchMailbox { .. }), None) => Ok(()),
            (given, mailbox) => Err(format!("a view: {given:?}, expected {mailbox:?}")),
        }
    }

    fn write_base(&mut self, account: u8) -> Checked {
        let Some((_, account)) = self.account(account)? else {
            return Ok(());
        };
        account.write_base().map_err(|e| e.to_string())?;
        self.settle()?;
        self.left = vec![(self.head.clone(), self.tokens)];
        Ok(())
    }

    /// Closes and opens again; in between the files of the index are harmed, if so.
    fn reopen(&mut self, harmed: Option<u64>) -> Checked {
        self.kept.clear();
        let store = self.store.take().ok_or("no store")?;
        let left = store.clone();
        store.close().map_err(|e| e.to_string())?;
        self.settle()?;
        if !self.pending.is_empty() {
            return Err("closed, and a commit still waits".into());
        }
        // By what was kept while it ran.
        let before = told(&left).map_err(|e| e.to_string())?;
        drop(left);
        if let Some(seed) = harmed {
            harm(&self.sim, seed);
        }
        self.open();
        let recovery = self.store().recovery();
        if recovery.is_whole() && recovery.unsynced.is_none() {
            let after = told(self.store()).map_err(|e| e.to_string())?;
            if after != before {
                return Err(format!("an opening changed {before:?} to {after:?}"));
            }
        }
        let mut world = self.head.clone();
        self.adopt_fence(&mut world)?;
        self.head = world.clone();
        self.shown = world.clone();
        self.left = vec![(world, self.tokens)];
        Ok(())
    }

    /// After a loss UIDNEXT and MODSEQs may skip ahead; they never go back (RFC 7162 3.1.2.2).
    fn adopt_fence(&mut self, world: &mut World) -> Checked {
        let report = self.store().recovery();
        if report.holes.is_empty() && report.unsynced.is_none() {
            return Ok(());
        }
        self.tokens += 1;
        for account in world.accounts.values_mut() {
            let Ok(shown) = self.store().account(&account.name) else {
                continue;
            };
            for mailbox in account.mailboxes.values_mut() {
                let Ok(handle) = shown.mailbox(&mailbox.name) else {
                    continue;
                };
                let status = handle.status().map_err(|e| e.to_string())?;
                let uid_next = status.uid_next.map_or(0, Uid::get);
                if uid_next < mailbox.uid_next {
                    return Err(format!("UIDNEXT fell to {uid_next}: {}", mailbox.name));
                }
                let floor = handle.view().map_err(|e| e.to_string())?.modseq_floor();
                mailbox.uid_next = uid_next;
                if floor == status.highest_modseq.get() {
                    mailbox.modseq = self.tokens;
                    for entry in mailbox.entries.values_mut() {
                        (entry.modseq, entry.created) = (self.tokens, self.tokens);
                    }
                }
            }
        }
        Ok(())
    }

    fn crash(&mut self, back: u8, keeps: Keeps) -> Checked {
        let end = self.sim.ops_len();
        let at = end
            .saturating_sub(back.into())
            .max(self.changes_before.min(end));
        let mut worlds = self.left.clone();
        if at < end {
            worlds.extend(self.left_before.clone());
        }
        let mut state = match keeps {
            Keeps::Some(seed) => seed | 1,
            _ => 0,
        };
        let sim = self.sim.crash(at, &mut |_| match keeps {
            Keeps::Nothing => false,
            Keeps::All => true,
            Keeps::Some(seed) => {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                // Half, nearly nothing or nearly everything.
                state >> 32 & 7 < [4, 1, 7][(seed % 3) as usize]
            }
        });
        self.survive(sim, worlds)
    }

    /// Goes on with another disk, whose store must be one of these worlds.
    fn survive(&mut self, sim: Sim, worlds: Vec<(World, Token)>) -> Checked {
        self.kept.clear();
        self.views.clear();
        self.pending.clear();
        self.durable = false;
        self.store = None;
        self.sim = sim;
        self.open();
        let store = self.store().clone();
        let mut refused = Vec::new();
        for (mut world, mark) in worlds.into_iter().rev() {
            if let Err(why) = self.adopt_fence(&mut world) {
                refused.push(why);
                continue;
            }
            let mut ledger = self.ledger.clone();
            if world != self.shown || self.setup.may_lose {
                ledger.forget_above(mark);
            }
            match ledger.check(&store, &world, &self.messages) {
                Ok(()) => {
                    self.ledger = ledger;
                    self.head = world.clone();
                    self.shown = world.clone();
                    self.left = vec![(world, self.tokens)];
                    self.begin_step();
                    return Ok(());
                }
                Err(why) => refused.push(why),
            }
        }
        Err(format!("after a crash none of the worlds: {refused:#?}"))
    }

    fn resolve(&mut self, step: &Step) -> Checked<Option<Resolved>> {
        Ok(Some(match *step {
            Step::Append {
                to,
                message,
                marked,
            } => {
                let Some(to) = self.find(to)? else {
                    return Ok(None);
                };
                let message = message as usize % self.messages.len();
                Resolved::Append {
                    to,
                    message,
                    marked,
                }
            }
            Step::Flag {
                mailbox,
                uids,
                marking,
                unchanged_since,
            } => {
                let Some(mailbox) = self.find(mailbox)? else {
                    return Ok(None);
                };
                let since = unchanged_since.and_then(|nth| self.since(&mailbox, nth));
                Resolved::Flag {
                    mailbox,
                    uids,
                    marking,
                    since,
                }
            }
            Step::Copy { from, uids, to } | Step::Move { from, uids, to } => {
                let (from, to) = (self.find(from)?, self.find(to)?);
                let (Some(from), Some(to)) = (from, to) else {
                    return Ok(None);
                };
                let moved = matches!(step, Step::Move { .. });
                Resolved::Transfer {
                    from,
                    uids,
                    to,
                    moved,
                }
            }
            Step::Expunge { mailbox, uids } | Step::Destroy { mailbox, uids } => {
                let Some(mailbox) = self.find(mailbox)? else {
                    return Ok(None);
                };
                let only_deleted = matches!(step, Step::Expunge { .. });
                Resolved::Expunge {
                    mailbox,
                    uids,
                    only_deleted,
                }
            }
            tree => Resolved::Tree(tree),
        }))
    }

    /// A MODSEQ that was shown, and its token.
    fn since(&mut self, found: &Found, nth: u8) -> Option<(Token, u64)> {
        let mailbox = self
            .shown
            .accounts
            .get(&found.account)?
            .mailboxes
            .get(&found.mailbox)?;
        let entry = mailbox.entries.values().nth(nth.into());
        let token = entry.map_or(mailbox.modseq, |entry| entry.modseq);
        let number = self.ledger.account(found.account).modseq(token)?;
        Some((token, number))
    }
}

/// Receipts of all accounts, and what a client that was never there is told of each mailbox.
fn told(store: &Store) -> Result<Vec<(String, Receipt, Vec<Changes>)>, Error> {
    let mut names = store.accounts(None, 1000)?;
    names.sort();
    let told = names.into_iter().map(|name| {
        let account = store.account(&name)?;
        let mailboxes = account.mailboxes()?.into_iter();
        let changes = mailboxes.map(|info| account.mailbox(&info.name)?.changes_since(ModSeq::MIN));
        Ok((name, account.receipt()?, changes.collect::<Result<_, _>>()?))
    });
    told.collect()
}
