//! A thread that changes the store and writes down what was acknowledged. It changes what it made itself, in accounts
//! that all share.

use mailkeep::{
    Accepted, AccountId, Delivery, Digest, Durability, FlagChange, Flags, Mailbox, Outcome,
    Recipient, Result, Uid, UidSet,
};

use super::history::{Histories, History, NEVER, Place, Step};
use super::world::{BOXES, World, shared_name};
use crate::harm::Dice;
use crate::kit::message;

const MARKS: [Flags; 4] = [Flags::SEEN, Flags::FLAGGED, Flags::ANSWERED, Flags::DRAFT];

/// A mailbox or an account that this thread made.
struct Owned {
    account: AccountId,
    /// 0 for the account itself.
    mailbox: u32,
    account_name: String,
    name: String,
}

pub(super) struct Worker<'a> {
    world: &'a World,
    accounts: usize,
    dice: Dice,
    number: u64,
    made: u64,
    pub(super) known: Histories,
    /// Messages that may be changed: no change of theirs has failed.
    mine: Vec<Digest>,
    mailbox: Option<Owned>,
    account: Option<Owned>,
}

/// What was done, if it is known.
type Done<T> = (usize, usize, Option<T>);

impl<'a> Worker<'a> {
    pub(super) fn new(world: &'a World, number: u64, accounts: usize) -> Self {
        Self {
            dice: Dice::new(world.plan.seed ^ (number + 1) << 32),
            world,
            accounts,
            number,
            made: 0,
            known: Histories::default(),
            mine: Vec::new(),
            mailbox: None,
            account: None,
        }
    }

    pub(super) fn run(mut self, turns: usize) -> Histories {
        for _ in 0..turns {
            if self.world.store.health().stopped.is_some() {
                break;
            }
            match self.dice.below(16) {
                0..=3 => self.deliver(),
                4 | 5 => self.deliver_by_name(),
                6 | 7 => self.flag(),
                8 => self.transfer(true),
                9 => self.transfer(false),
                10 => self.destroy(),
                11 => self.transact(),
                12 | 13 => self.change_mailbox(),
                _ => self.change_account(),
            }
        }
        self.known
    }

    fn new_message(&mut self) -> (Vec<u8>, Digest) {
        self.made += 1;
        let seed = (self.world.plan.seed << 24) ^ (self.number + 1) << 16 ^ self.made;
        let len = match self.dice.below(200) {
            0 => (1 << 20) + 7,
            1..=10 => 20_000,
            11..=40 => 5_000,
            n => 60 + 7 * n,
        };
        let raw = message(seed, len);
        let digest = Digest::of(&raw);
        (raw, digest)
    }

    /// Makes a change; when it was begun and acknowledged, and its result if it has one.
    fn timed<T>(&self, what: &str, change: impl FnOnce(&Self) -> Result<T>) -> Done<T> {
        let before = self.world.sim.ops_len();
        match change(self) {
            Ok(value) => (before, self.world.sim.ops_len(), Some(value)),
            Err(error) => {
                self.world.expect(&error, what);
                (before, NEVER, None)
            }
        }
    }

    /// Writes down where a message is now.
    fn note(&mut self, digest: Digest, durable: bool, done: (usize, usize), value: Vec<Place>) {
        let (before, after) = done;
        let history = self.known.messages.entry(digest);
        let history = history.or_insert_with(History::new);
        if after == NEVER || value.is_empty() {
            self.mine.retain(|mine| *mine != digest);
        } else if history.0.len() == 1 {
            self.mine.push(digest);
        }
        history.0.push(Step {
            before,
            after,
            durable,
            value,
        });
    }

    fn pick(&mut self) -> Option<(Digest, Vec<Place>, usize)> {
        let digest = *self.mine.get(self.dice.below(self.mine.len()))?;
        let places = self.known.messages[&digest].now().clone();
        let at = self.dice.below(places.len());
        // Those that wait for their account have no UID that one could name.
        (!places.is_empty() && places.iter().all(|place| place.uid != 0))
            .then_some((digest, places, at))
    }

    fn some_marks(&mut self) -> Flags {
        let two = [self.dice.below(4), self.dice.below(4)];
        MARKS[two[0]] | MARKS[two[1]]
    }

    fn durability(&mut self) -> Durability {
        if self.world.plan.mixed && self.dice.below(2) == 0 {
            Durability::Written
        } else {
            Durability::Durable
        }
    }

    /// One to three mailboxes of shared accounts, or the one that is this thread's.
    fn deliver(&mut self) {
        let (raw, digest) = self.new_message();
        let flags = self.some_marks();
        let mut targets = Vec::new();
        for _ in 0..1 + self.dice.below(3) {
            let target = (self.dice.below(self.accounts), self.dice.below(3));
            if !targets.contains(&target) {
                targets.push(target);
            }
        }
        let own = self.mailbox.as_ref().filter(|_| raw.len() % 3 == 0);
        let own = own.map(|own| (own.account_name.clone(), own.name.clone()));
        let durability = self.durability();
        let (before, after, done) = self.timed("a delivery", |own_self| {
            let mut mailboxes = Vec::new();
            match &own {
                Some((account, name)) => {
                    mailboxes.push(own_self.world.store.account(account)?.mailbox(name)?);
                }
                None => {
                    for (account, name) in &targets {
                        let account = own_self.world.shared(*account)?;
                        mailboxes.push(account.mailbox(BOXES[*name])?);
                    }
                }
            }
            let deliveries = mailboxes
                .iter()
                .map(|mailbox| Delivery::to(mailbox).flags(flags));
            let store = &own_self.world.store;
            let kept = store.deliver_with(&raw, deliveries, durability)?.wait()?;
            Ok(mailboxes.into_iter().zip(kept).collect::<Vec<_>>())
        });
        let durable = durability == Durability::Durable;
        let mut places = Vec::new();
        for (mailbox, kept) in done.iter().flatten() {
            match kept {
                Ok(kept) => places.push(Place {
                    account: mailbox.account().id(),
                    mailbox: mailbox.id().get(),
                    uid: kept.uid.get(),
                    flags,
                }),
                Err(error) => self.world.expect(error, "a recipient"),
            }
        }
        if done.is_none() {
            self.known.failed.insert(digest);
            return;
        }
        self.note(digest, durable, (before, after), places);
    }

    fn deliver_by_name(&mut self) {
        let (raw, digest) = self.new_message();
        let flags = self.some_marks();
        let own = self.account.as_ref().filter(|_| raw.len() % 2 == 0);
        let (name, mailbox, account) = match own {
            Some(own) => (own.account_name.clone(), 1, own.account),
            None => {
                let account = self.dice.below(self.accounts);
                let id = self.world.ids[account];
                (shared_name(account), 1 + self.dice.below(3), id)
            }
        };
        let to = Recipient::new(&name, BOXES[mailbox - 1]).flags(flags);
        let durability = self.durability();
        let (before, after, done) = self.timed("a delivery by name", |own_self| {
            let store = &own_self.world.store;
            let kept = store.deliver_to_with(&raw, [to], durability)?.wait()?;
            kept.into_iter().next().unwrap()
        });
        let Some(accepted) = done else {
            self.known.failed.insert(digest);
            return;
        };
        let uid = match accepted {
            Accepted::Delivered(kept) => kept.uid.get(),
            Accepted::Deferred(_) => 0,
            other => panic!("{other:?}"),
        };
        let place = Place {
            account,
            mailbox: u32::try_from(mailbox).unwrap(),
            uid,
            flags,
        };
        let durable = durability == Durability::Durable;
        self.note(digest, durable, (before, after), vec![place]);
    }

    fn mailbox_of(&self, place: &Place) -> Result<Mailbox> {
        let account = self.world.store.account_by_id(place.account)?;
        let all = account.mailboxes()?;
        let info = all.iter().find(|info| info.id.get() == place.mailbox);
        account.mailbox(&info.expect("a mailbox of mine").name)
    }

    fn flag(&mut self) {
        let Some((digest, mut places, at)) = self.pick() else {
            return;
        };
        let marks = self.some_marks();
        let change = match self.dice.below(2) {
            0 => FlagChange::add(marks),
            _ => FlagChange::remove(marks),
        };
        let place = places[at];
        let (before, after, _) = self.timed("a flag", |own| {
            let set = uids(place.uid);
            let flagged = own.mailbox_of(&place)?.flag(&set, &change, None)?.wait()?;
            assert!(flagged.modified.is_empty());
            Ok(())
        });
        places[at].flags = change.apply(place.flags, &[]).0;
        let durable = self.world.plan.changes_are_durable();
        self.note(digest, durable, (before, after), places);
    }

    /// To another of the mailboxes that every account has.
    fn transfer(&mut self, moved: bool) {
        let Some((digest, mut places, at)) = self.pick() else {
            return;
        };
        let place = places[at];
        let to = (place.mailbox as usize + 1 + self.dice.below(2)) % 3;
        if place.mailbox > 3 || self.known.accounts.contains_key(&place.account) {
            return;
        }
        let (before, after, done) = self.timed("a transfer", |own| {
            let from = own.mailbox_of(&place)?;
            let to = from.account().mailbox(BOXES[to])?;
            let set = uids(place.uid);
            let commit = match moved {
                true => from.move_to(&set, &to)?,
                false => from.copy_to(&set, &to)?,
            };
            let done = commit.wait()?;
            assert_eq!(done.uids.len(), 1, "{place:?} is there");
            Ok(done.uids[0].1.get())
        });
        let new = Place {
            mailbox: u32::try_from(to).unwrap() + 1,
            uid: done.unwrap_or(0),
            ..place
        };
        match moved {
            true => places[at] = new,
            false => places.push(new),
        }
        let durable = self.world.plan.changes_are_durable();
        self.note(digest, durable, (before, after), places);
    }

    fn destroy(&mut self) {
        let Some((digest, mut places, at)) = self.pick() else {
            return;
        };
        let place = places.swap_remove(at);
        let (before, after, _) = self.timed("a removal", |own| {
            let set = uids(place.uid);
            let gone = own.mailbox_of(&place)?.destroy(&set)?.wait()?;
            assert_eq!(gone.len(), 1, "{place:?} is there");
            Ok(())
        });
        let durable = self.world.plan.changes_are_durable();
        self.note(digest, durable, (before, after), places);
    }

    /// Two messages at once, one of them marked.
    fn transact(&mut self) {
        let ((first, one), (second, two)) = (self.new_message(), self.new_message());
        let account = self.dice.below(self.accounts);
        let marks = self.some_marks();
        let (before, after, done) = self.timed("a transaction", |own| {
            let account = own.world.shared(account)?;
            let work = account.mailbox("Work")?;
            let mut transaction = account.transaction();
            transaction.append(&first, Delivery::to(&work).flags(marks))?;
            transaction.append(&second, Delivery::to(&work))?;
            let outcomes = transaction.commit()?.wait()?;
            let uids = outcomes.iter().map(|outcome| match outcome {
                Outcome::Appended(kept) => kept.uid.get(),
                other => panic!("{other:?}"),
            });
            Ok((work.account().id(), uids.collect::<Vec<_>>()))
        });
        let Some((account, uids)) = done else {
            self.known.failed.extend([one, two]);
            return;
        };
        let durable = self.world.plan.changes_are_durable();
        for (digest, uid, flags) in [(one, uids[0], marks), (two, uids[1], Flags::default())] {
            let place = Place {
                account,
                mailbox: 2,
                uid,
                flags,
            };
            self.note(digest, durable, (before, after), vec![place]);
        }
    }

    /// Makes a mailbox, renames it, or deletes it with what is in it. All of that is durable.
    fn change_mailbox(&mut self) {
        let Some(mut own) = self.mailbox.take() else {
            return self.create_mailbox();
        };
        let key = (own.account, own.mailbox);
        let renamed = (self.dice.below(3) > 0).then(|| format!("{}.", own.name));
        let (before, after, done) = self.timed("a mailbox", |worker| {
            let account = worker.world.store.account(&own.account_name)?;
            match &renamed {
                Some(name) => account.rename_mailbox(&own.name, name).map(|_| ()),
                None => account.delete_mailbox(&own.name),
            }
        });
        let step = Step {
            before,
            after,
            durable: true,
            value: renamed.clone(),
        };
        self.known.mailboxes.get_mut(&key).unwrap().0.push(step);
        match renamed {
            Some(name) if done.is_some() => {
                own.name = name;
                self.mailbox = Some(own);
            }
            Some(_) => {}
            None => self.lose(before, after, |place| (place.account, place.mailbox) == key),
        }
    }

    fn create_mailbox(&mut self) {
        let account = self.dice.below(self.accounts);
        self.made += 1;
        let name = format!("of{}-{}", self.number, self.made);
        let (before, after, done) = self.timed("a new mailbox", |own| {
            let account = own.world.shared(account)?;
            Ok((account.id(), account.create_mailbox(&name)?.id().get()))
        });
        let Some((id, mailbox)) = done else { return };
        let history = self.known.mailboxes.entry((id, mailbox));
        let history = history.or_insert_with(History::new);
        history.begin(before, after, &name);
        self.mailbox = Some(Owned {
            account: id,
            mailbox,
            account_name: shared_name(account),
            name,
        });
    }

    /// Messages in a place that is deleted are gone from there.
    fn lose(&mut self, before: usize, after: usize, is_lost: impl Fn(&Place) -> bool) {
        let hit: Vec<_> = self
            .known
            .messages
            .iter()
            .filter(|(_, history)| history.now().iter().any(&is_lost))
            .map(|(digest, history)| (*digest, history.now().clone()))
            .collect();
        for (digest, mut places) in hit {
            places.retain(|place| !is_lost(place));
            self.note(digest, true, (before, after), places);
        }
    }

    /// Makes an account, renames it, or deletes it with what is in it. All of that is durable.
    fn change_account(&mut self) {
        let Some(mut own) = self.account.take() else {
            return self.create_account();
        };
        let next = format!("own{}-{}", self.number, self.dice.below(4));
        let renamed = (self.dice.below(3) > 0 && next != own.name).then_some(next);
        let (before, after, done) = self.timed("an account", |worker| {
            let account = worker.world.store.account(&own.name)?;
            assert_eq!(account.id(), own.account);
            match &renamed {
                Some(name) => account.rename(name),
                None => account.delete(),
            }
        });
        let step = Step {
            before,
            after,
            durable: true,
            value: renamed.clone(),
        };
        let history = self.known.accounts.get_mut(&own.account).unwrap();
        history.0.push(step);
        match renamed {
            Some(name) if done.is_some() => {
                (own.account_name, own.name) = (name.clone(), name);
                self.account = Some(own);
            }
            Some(_) => {}
            None => {
                let id = own.account;
                self.lose(before, after, |place| place.account == id);
            }
        }
    }

    /// Under a name that an earlier one may have had.
    fn create_account(&mut self) {
        let mut name = format!("own{}-{}", self.number, self.dice.below(4));
        if self.world.plan.faults {
            // One whose deletion failed may have the name yet.
            self.made += 1;
            name = format!("{name}-{}", self.made);
        }
        let (before, after, done) = self.timed("a new account", |own| {
            Ok(own.world.store.create_account(&name)?.id())
        });
        let Some(account) = done else { return };
        let history = self.known.accounts.entry(account);
        let history = history.or_insert_with(History::new);
        history.begin(before, after, &name);
        self.account = Some(Owned {
            account,
            mailbox: 0,
            account_name: name.clone(),
            name,
        });
    }
}

pub(super) fn uids(uid: u32) -> UidSet {
    Uid::new(uid).unwrap().into()
}
