//! A workload: what follows from a seed, done to a store on a simulated disk and to the model. After each act the two
//! agree in all that can be seen; what the store then showed is what crashes are held against.

use std::collections::BTreeSet;
use std::sync::Arc;

use mailkeep::{Accepted, Error, Options, Recipient, Stat, Store};

use crate::act::{Act, Marks, Place, rule_delivery};
use crate::dice::Dice;
use crate::kinds;
use crate::look::{Look, look, message};
use crate::model::{Account, Ledger, Now, Token, World};
use crate::sim::{Call, Fault, Sim, SimHost};
use crate::tally::Tally;

/// How the stores of a workload are opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    prepare: bool,
    /// Whether the index is saved at every turn, and nothing is kept in memory.
    tried: bool,
    chain_max: u32,
}

impl Setup {
    pub(crate) fn of(seed: u64) -> Self {
        let mut dice = Dice::of(&[seed, 1]);
        Self {
            prepare: dice.one_in(3),
            tried: !dice.one_in(3),
            chain_max: *dice.pick(&[1, 1, 3]),
        }
    }

    /// Each opening on one disk needs a number of its own.
    pub(crate) fn options(self, run: u64) -> Options {
        let host = SimHost::new(1_700_000_000_000 + run as i64 * 1000, (run + 1) << 32);
        let options = Options::new()
            .background(false)
            // None of these disks is full, and the file's changes would only be more points to be cut at: `full_disk` in
            // the integration tests fills disks, and cuts the power there.
            .reserve(0)
            .prepare(self.prepare)
            .segment_len(64 << 10)
            .chain_max(self.chain_max)
            .host(Arc::new(host));
        match self.tried {
            true => options.tail_max(64 << 10).cache_bytes(0),
            false => options,
        }
    }
}

/// What the store showed once `op` changes of the disk had been made.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    pub(crate) op: usize,
    pub(crate) durable: bool,
    pub(crate) look: Look,
    /// Where several things were asked for at once: what there is when only the first few are done. They may take several
    /// batches.
    pub(crate) between: Vec<World>,
    /// How many changes of the disk there were when it was looked at: mail that waits has no UID before.
    pub(crate) seen: usize,
    /// What was done.
    pub(crate) what: String,
}

impl Shown {
    /// What was looked at as soon as it was done, on a disk that gives what it holds.
    pub(crate) fn at_once(
        op: usize,
        durable: bool,
        look: Look,
        between: Vec<World>,
        what: String,
    ) -> Self {
        Self {
            op,
            durable,
            look,
            between,
            seen: op,
            what,
        }
    }
}

/// A workload under way.
pub(crate) struct Work {
    pub(crate) seed: u64,
    pub(crate) setup: Setup,
    pub(crate) sim: Sim,
    pub(crate) store: Option<Store>,
    pub(crate) shown: Vec<Shown>,
    pub(crate) messages: Vec<Vec<u8>>,
    /// How many messages of 1 MiB and more there may be.
    pub(crate) large: usize,
    /// A write may have ended inside a sector. If nothing on the medium says that it was not acknowledged, it is reported.
    pub(crate) torn: bool,
    pub(crate) world: World,
    /// Up to how many changes of the disk the power is cut. Behind it numbers skip ahead, and it is not known at which one.
    pub(crate) until: usize,
    /// What came to be done.
    pub(crate) kinds: Tally,
    stat: Stat,
    tokens: Token,
    ledger: Ledger,
    dice: Dice,
    openings: u64,
    names: usize,
}

/// A delivery by name that was accepted.
struct Arrived {
    message: usize,
    at: Place,
    deferred: bool,
}

/// Calls without which nothing is read.
const GIVES: &[Call] = &[Call::Read, Call::Bytes];

const MAILBOXES: [&str; 4] = ["INBOX", "a", "a/b", "c"];
const KEYWORDS: [&str; 2] = ["$work", "junk"];

impl Work {
    pub(crate) fn new(seed: u64) -> Self {
        let mut dice = Dice::of(&[seed, 2]);
        Self {
            seed,
            setup: Setup::of(seed),
            sim: Sim::new(),
            store: None,
            shown: vec![Shown::at_once(
                0,
                true,
                Look::default(),
                Vec::new(),
                "nothing".to_owned(),
            )],
            messages: Vec::new(),
            large: usize::from(dice.one_in(12)),
            torn: false,
            world: World::default(),
            until: usize::MAX,
            kinds: Tally::default(),
            stat: Stat::default(),
            tokens: 0,
            ledger: Ledger::default(),
            dice,
            openings: 0,
            names: 0,
        }
    }

    /// The whole of it.
    pub(crate) fn of(seed: u64) -> Self {
        let mut work = Self::new(seed);
        work.open();
        for _ in 0..14 + seed % 20 {
            if work.dice.one_in(8) {
                work.reopen();
            } else if work.dice.one_in(16) && !work.world.accounts.is_empty() {
                if work.late() {
                    break;
                }
            } else {
                let act = work.next();
                work.must(&act);
            }
        }
        kinds::of_disk(&work.sim, &mut work.kinds);
        work.store = None;
        work
    }

    pub(crate) fn open(&mut self) {
        let mut options = self.options();
        match self.dice.below(6) {
            0 => {
                self.kinds.add("Did: rebuild the index");
                options = options.rebuild(true);
            }
            1 => {
                self.kinds.add("Did: replay all");
                options = options.replay_all(true);
            }
            _ => {}
        }
        let store = Store::open_on(self.sim.storage(), options).unwrap();
        assert!(store.recovery().is_whole(), "{}", store.recovery());
        self.stat = store.stat();
        self.store = Some(store);
    }

    fn reopen(&mut self) {
        self.store.take().unwrap().close().unwrap();
        // Closed is durable.
        let op = self.sim.ops_len();
        let last = self.shown.last_mut().unwrap();
        if !last.durable {
            (last.op, last.durable) = (op, true);
        }
        self.open();
        self.kinds.add("Did: close and open");
        let found = look(self.store.as_ref().unwrap(), &self.messages).unwrap();
        let shown = &self.shown.last().unwrap().look;
        assert!(
            found == *shown,
            "an opening changed\n{}",
            found.against(shown)
        );
    }

    /// Does what the rules allow; the store must do it too, and show what they say.
    fn must(&mut self, act: &Act) {
        let (mut world, seconds) = (self.world.clone(), 1_700_000_000 + self.openings as i64);
        let mut now = Now {
            seconds,
            tokens: &mut self.tokens,
        };
        act.rule(&mut world, &mut now)
            .unwrap_or_else(|why| panic!("{act:?}: {why:?}"));
        let between = self.between(act, seconds);
        let store = self.store.clone().unwrap();
        let before = self.sim.ops_len();
        act.run(&store, &self.messages)
            .unwrap_or_else(|why| panic!("{act:?}: {why}"));
        self.world = world;
        let op = self.sim.ops_len();
        if op > before {
            kinds::of_act(act, &self.messages, &mut self.kinds);
        }
        self.stat = kinds::between(&self.stat, &store, &mut self.kinds);
        let what = format!("{act:?}");
        let look = self.now_shown(&store, &what);
        // One that is durable makes those before it durable, unless it changes nothing and so writes nothing.
        let last = self.shown.last().unwrap();
        let durable = act.is_durable() && (op > last.op || last.durable);
        self.shown
            .push(Shown::at_once(op, durable, look, between, what));
    }

    /// The disk gives nothing that it holds, of a store that has just been opened, and mail comes by name. What cannot be
    /// delivered waits; it gets its UID when the disk is well again and somebody asks. Returns whether numbers skipped ahead:
    /// then the ledger knows them no more.
    fn late(&mut self) -> bool {
        self.reopen();
        let began = self.sim.ops_len();
        let store = self.store.clone().unwrap();
        let (mut arrived, mut acknowledged) = (Vec::new(), Vec::new());
        self.sim.set_fault(Some(Fault::from(GIVES, 0)));
        for _ in 0..1 + self.dice.below(3) {
            let (message, to) = (self.new_message(), self.places());
            let recipients = to
                .iter()
                .map(|(account, name)| Recipient::new(account, name));
            let kept = store.deliver_to(&self.messages[message], recipients);
            let kept = kept.unwrap().wait().unwrap();
            for (at, accepted) in to.into_iter().zip(kept) {
                let deferred = matches!(accepted.unwrap(), Accepted::Deferred(_));
                if deferred {
                    self.kinds.add("Did: defer a delivery");
                }
                arrived.push(Arrived {
                    message,
                    at,
                    deferred,
                });
            }
            let skips = store.health().lost_records > 0;
            acknowledged.push((self.sim.ops_len(), arrived.len(), skips));
        }
        self.sim.set_fault(None);
        let first = self.shown.len();
        let (last, _, skips) = acknowledged.pop().unwrap();
        let mut before = 0;
        for (op, count, skips) in acknowledged {
            let between = self.at_once(&arrived[..count], before);
            before = count;
            // Nobody looked then; this is what would have been shown.
            let mut world = self.with_arrived(&arrived[..count], &mut self.tokens.clone());
            let disk = self.sim.killed(op);
            let options = self.setup.options(900 + op as u64);
            let asked = Store::open_on(disk.storage(), options).unwrap();
            let look = look(&asked, &self.messages).unwrap();
            if skips {
                look.number(&self.world, &mut world);
            }
            assert!(look.holds(&world), "{look:?} is not {world:?}");
            let what = "mail by name, unread".to_owned();
            self.shown
                .push(Shown::at_once(op, true, look, between, what));
        }
        let between = self.at_once(&arrived, before);
        let mut tokens = self.tokens;
        let mut world = self.with_arrived(&arrived, &mut tokens);
        self.tokens = tokens;
        let waited = store.health().deferred;
        let what = "mail by name to be read".to_owned();
        let look = if skips {
            let look = look(&store, &self.messages).unwrap();
            look.number(&self.world, &mut world);
            assert!(look.holds(&world), "{look:?} is not {world:?}");
            self.kinds.add("Did: skip ahead of what was not given");
            look
        } else {
            self.world = world;
            self.now_shown(&store, &what)
        };
        assert_eq!(store.health().deferred, 0);
        (0..waited).for_each(|_| self.kinds.add("Did: assign a deferred one"));
        self.stat = kinds::between(&self.stat, &store, &mut self.kinds);
        self.shown
            .push(Shown::at_once(last, true, look, between, what));
        let seen = self.sim.ops_len();
        self.shown[first..]
            .iter_mut()
            .for_each(|shown| shown.seen = seen);
        if skips {
            self.until = began;
        }
        skips
    }

    /// What there is when the last of these calls, from `before` on, has delivered to those who could be read, and not yet to those
    /// who wait: that may take another batch.
    fn at_once(&self, arrived: &[Arrived], before: usize) -> Vec<World> {
        let numbered = arrived.iter().enumerate();
        let some = numbered.filter(|(at, one)| *at < before || !one.deferred);
        vec![self.with_arrived(some.map(|(_, one)| one), &mut self.tokens.clone())]
    }

    /// What there is once all of these have their UIDs: those that were delivered at once, then those that waited.
    fn with_arrived<'a>(
        &self,
        arrived: impl IntoIterator<Item = &'a Arrived>,
        tokens: &mut Token,
    ) -> World {
        let mut world = self.world.clone();
        let mut now = Now {
            seconds: 1_700_000_000 + self.openings as i64,
            tokens,
        };
        let (late, there): (Vec<_>, Vec<_>) = arrived.into_iter().partition(|one| one.deferred);
        // Those that were delivered by one call may share an Email; each that waited is one.
        let calls = there.chunk_by(|one, other| one.message == other.message);
        for arrived in calls.chain(late.chunks(1)) {
            let to: Vec<Place> = arrived.iter().map(|one| one.at.clone()).collect();
            let (message, marks) = (arrived[0].message, Marks::default());
            rule_delivery(&mut world, message, &to, &marks, &mut now).unwrap();
        }
        world
    }

    fn between(&self, act: &Act, seconds: i64) -> Vec<World> {
        let Act::Together(acts) = act else {
            return Vec::new();
        };
        let (mut world, mut tokens) = (self.world.clone(), self.tokens);
        let steps = acts[1..].iter().zip(acts).map(|(_, act)| {
            let mut now = Now {
                seconds,
                tokens: &mut tokens,
            };
            act.rule(&mut world, &mut now).unwrap();
            world.clone()
        });
        steps.collect()
    }

    fn now_shown(&mut self, store: &Store, what: &str) -> Look {
        let agrees = self.ledger.check(store, &self.world, &self.messages);
        agrees.unwrap_or_else(|why| panic!("after {what}: {why}"));
        look(store, &self.messages).unwrap()
    }

    /// Does it to a store whose disk may fail. Where it fails, what there would be if it had been done.
    pub(crate) fn may(&mut self, act: &Act) -> std::result::Result<(), (Error, Option<World>)> {
        let mut world = self.world.clone();
        let mut now = Now {
            seconds: 0,
            tokens: &mut self.tokens,
        };
        let ruled = act.rule(&mut world, &mut now);
        let done = act.run(self.store.as_ref().unwrap(), &self.messages);
        match (ruled, done) {
            (Ok(()), Ok(())) => {
                self.world = world;
                Ok(())
            }
            (ruled, Err(error)) => Err((error, ruled.ok().map(|()| world))),
            (Err(refusal), Ok(())) => panic!("{act:?} was done against {refusal:?}"),
        }
    }

    pub(crate) fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    /// Options for the next opening of this disk.
    pub(crate) fn options(&mut self) -> Options {
        self.openings += 1;
        self.setup.options(self.openings)
    }

    /// A change that the rules allow now.
    pub(crate) fn next(&mut self) -> Act {
        loop {
            let act = self.guess();
            let mut tokens = self.tokens;
            let mut now = Now {
                seconds: 0,
                tokens: &mut tokens,
            };
            if act.rule(&mut self.world.clone(), &mut now).is_ok() {
                return act;
            }
        }
    }

    fn guess(&mut self) -> Act {
        let account = self.account();
        match self.dice.below(40) {
            0..=2 => self.create_account(),
            _ if self.world.accounts.is_empty() => self.create_account(),
            3 => {
                self.names += 1;
                Act::RenameAccount(account, format!("renamed{}", self.names))
            }
            4 => Act::DeleteAccount(account),
            5..=7 => Act::CreateMailbox(self.any_place()),
            8 => {
                let to = (*self.dice.pick(&MAILBOXES)).to_owned();
                Act::RenameMailbox(self.any_place(), to)
            }
            9 => Act::DeleteMailbox(self.any_place()),
            10 => Act::Subscribe(self.any_place(), self.dice.one_in(2)),
            11 => Act::SortOrder(self.any_place(), self.dice.below(3) as u32),
            12 => Act::Base(account),
            13 => Act::Sync,
            14..=16 => {
                let mut acts: Vec<Act> = (0..2 + self.dice.below(3))
                    .map(|_| self.small(None))
                    .collect();
                for act in &mut acts {
                    if let Act::Deliver { written, .. } = act {
                        *written = false;
                    }
                }
                Act::Together(acts)
            }
            17..=18 => {
                let acts = (0..1 + self.dice.below(4)).map(|_| self.small(Some(&account)));
                let acts = acts.collect();
                Act::Transaction(account, acts)
            }
            19..=20 => Act::ByName {
                message: self.new_message(),
                to: self.places(),
            },
            _ => self.small(None),
        }
    }

    /// A change within mailboxes.
    fn small(&mut self, within: Option<&str>) -> Act {
        let at = match within {
            Some(account) => (account.to_owned(), self.mailbox_of(account)),
            None => self.place(),
        };
        match self.dice.below(10) {
            0..=4 => {
                let message = self.new_message();
                let to = match within {
                    Some(_) => vec![at],
                    None => self.places(),
                };
                Act::Deliver {
                    message,
                    to,
                    marks: self.marks(),
                    written: within.is_none() && self.dice.one_in(5),
                }
            }
            5..=6 => Act::Flag {
                uids: self.uids(&at),
                at,
                on: self.dice.below(3) > 0,
                marks: self.marks(),
            },
            7..=8 => Act::Transfer {
                uids: self.uids(&at),
                to: self.mailbox_of(&at.0),
                from: at,
                moved: self.dice.one_in(2),
            },
            _ => Act::Destroy {
                uids: self.uids(&at),
                at,
            },
        }
    }

    fn create_account(&mut self) -> Act {
        let names = ["anna", "bruno", "carla"];
        Act::CreateAccount((*self.dice.pick(&names)).to_owned())
    }

    fn account(&mut self) -> String {
        let accounts: Vec<&Account> = self.world.accounts.values().collect();
        let account = accounts.get(self.dice.below(accounts.len()));
        account.map_or(String::new(), |account| account.name.clone())
    }

    /// A place that may not be there.
    fn any_place(&mut self) -> Place {
        (self.account(), (*self.dice.pick(&MAILBOXES)).to_owned())
    }

    fn mailbox_of(&mut self, account: &str) -> String {
        let Ok(token) = self.world.by_name(account) else {
            return "INBOX".to_owned();
        };
        let mailboxes = &self.world.accounts[&token].mailboxes;
        let names: Vec<&String> = mailboxes.values().map(|mailbox| &mailbox.name).collect();
        (*self.dice.pick(&names)).clone()
    }

    fn place(&mut self) -> Place {
        let account = self.account();
        let mailbox = self.mailbox_of(&account);
        (account, mailbox)
    }

    fn places(&mut self) -> Vec<Place> {
        let count = *self.dice.pick(&[1, 1, 1, 2, 3]);
        (0..count).map(|_| self.place()).collect()
    }

    fn uids(&mut self, at: &Place) -> BTreeSet<u32> {
        let account = self.world.by_name(&at.0).ok();
        let account = account.and_then(|token| self.world.accounts.get(&token));
        let mailbox = account.and_then(|account| {
            let token = account.find(&at.1).ok()?;
            account.mailboxes.get(&token)
        });
        let all: Vec<u32> = mailbox.map_or(Vec::new(), |mailbox| {
            mailbox.entries.keys().copied().collect()
        });
        match self.dice.below(3) {
            0 => all.into_iter().collect(),
            1 if !all.is_empty() => BTreeSet::from([*self.dice.pick(&all)]),
            _ => all.into_iter().filter(|_| self.dice.one_in(2)).collect(),
        }
    }

    fn marks(&mut self) -> Marks {
        let flags = self.dice.below(32) as u16;
        let keywords = KEYWORDS.iter().filter(|_| self.dice.one_in(3));
        let keywords = keywords.map(|keyword| (*keyword).to_owned()).collect();
        Marks { flags, keywords }
    }

    /// Most are small, some take a good part of a segment.
    fn new_message(&mut self) -> usize {
        let number = self.messages.len();
        let len = match self.dice.below(20) {
            0 if self.large > 0 => {
                self.large -= 1;
                (1 << 20) + 1 + self.dice.below(999)
            }
            0..=7 => 17 + self.dice.below(60),
            8..=14 => 300 + self.dice.below(2_000),
            15..=17 => 6_000 + self.dice.below(5_000),
            _ => 20_000 + self.dice.below(30_000),
        };
        self.messages.push(message(number, len));
        number
    }
}
