//! A thread that reads, compares each view with the one before, and writes down what it was shown.

use std::collections::BTreeMap;

use mailkeep::{Account, AccountId, Digest, ModSeq, Result, Uid, UidSet, View};

use super::history::{Histories, Numbers, Place, Seen};
use super::world::{BOXES, World, shared_name};
use crate::harm::Dice;

pub(super) struct Reader<'a> {
    world: &'a World,
    accounts: usize,
    dice: Dice,
    before: BTreeMap<(AccountId, u32), View>,
    known: Histories,
}

impl<'a> Reader<'a> {
    pub(super) fn new(world: &'a World, number: u64, accounts: usize) -> Self {
        Self {
            world,
            accounts,
            dice: Dice::new(world.plan.seed ^ (number + 1) << 40),
            before: BTreeMap::new(),
            known: Histories::default(),
        }
    }

    pub(super) fn run(mut self) -> Histories {
        while !self.world.stopped() {
            let read = match self.dice.below(8) {
                0 => self.list(),
                1 => self.receipt(),
                _ => self.look(),
            };
            if let Err(error) = read {
                self.world.expect(&error, "reading");
            }
        }
        self.known
    }

    fn account(&mut self) -> Result<Account> {
        self.world.shared(self.dice.below(self.accounts))
    }

    /// Goal: who is there all the time is listed all the time.
    fn list(&mut self) -> Result<()> {
        let (mut names, mut after) = (Vec::new(), None);
        loop {
            let page = self.world.store.accounts(after.as_deref(), 3)?;
            let Some(last) = page.last() else { break };
            after = Some(last.clone());
            names.extend(page);
        }
        for account in 0..self.accounts {
            let name = shared_name(account);
            let listed = names.iter().filter(|other| **other == name).count();
            assert_eq!(listed, 1, "{name} in {names:?}, {:?}", self.world.plan);
        }
        Ok(())
    }

    /// Goal: a receipt that is taken beside writers is of one moment.
    fn receipt(&mut self) -> Result<()> {
        let account = self.account()?;
        let receipt = account.inbox()?.receipt()?;
        let again = account.inbox()?.receipt()?;
        assert!(
            receipt == again || receipt.exact != again.exact,
            "{receipt:?} {again:?}"
        );
        account.receipt().map(|_| ())
    }

    fn look(&mut self) -> Result<()> {
        let account = self.account()?;
        let mailbox = account.mailbox(BOXES[self.dice.below(3)])?;
        let key = (account.id(), mailbox.id().get());
        let status = mailbox.status()?;
        let view = mailbox.view()?;
        self.known.numbers.push(Numbers {
            shown: self.world.sim.ops_len(),
            mailbox: key,
            uid_validity: status.uid_validity.get(),
            uid_next: status.uid_next.map_or(u32::MAX, Uid::get),
            modseq: status.highest_modseq.get(),
        });
        assert!(view.highest_modseq() >= status.highest_modseq);
        self.sample(&view, key)?;
        if let Some(before) = self.before.insert(key, view.clone()) {
            compare(&before, &view);
        }
        Ok(())
    }

    /// Reads a few messages.
    fn sample(&mut self, view: &View, (account, mailbox): (AccountId, u32)) -> Result<()> {
        for _ in 0..4 {
            let at = u32::try_from(self.dice.below(view.len() + 1)).unwrap();
            let Some(row) = view.at(at) else { continue };
            let message = view.message(row.uid)?;
            let digest = message.digest()?;
            if self.dice.below(3) == 0 {
                assert_eq!(Digest::of(&message.bytes()?), digest, "wrong bytes");
            }
            self.known.seen.push(Seen {
                shown: self.world.sim.ops_len(),
                digest,
                place: Place {
                    account,
                    mailbox,
                    uid: row.uid.get(),
                    flags: row.flags,
                },
            });
        }
        Ok(())
    }
}

/// Goal: numbers only grow, what is new is above what was there, and what a client is told has changed leads from one
/// view to the next.
fn compare(before: &View, now: &View) {
    assert_eq!(before.uid_validity(), now.uid_validity());
    assert!(before.highest_modseq() <= now.highest_modseq());
    let changes = now.changes_since(before.highest_modseq());
    let rows = |view: &View| -> BTreeMap<Uid, (ModSeq, String)> {
        let marks = |row: &mailkeep::Row<'_>| format!("{} {:?}", row.flags, row.keywords);
        view.iter()
            .map(|row| (row.uid, (row.modseq, marks(&row))))
            .collect()
    };
    let (old, new) = (rows(before), rows(now));
    let last = old.keys().next_back();
    for (uid, row) in &new {
        assert!(row.0 <= now.highest_modseq());
        match old.get(uid) {
            Some(old) => {
                assert!(old.0 <= row.0, "the MODSEQ of {uid} went down");
                assert!(old == row || changes.changed.contains(*uid), "{uid}");
            }
            None => {
                assert!(Some(uid) > last, "{uid} came below {last:?}");
                assert!(changes.changed.contains(*uid), "{uid}");
            }
        }
    }
    let gone: UidSet = old
        .keys()
        .filter(|uid| !new.contains_key(*uid))
        .copied()
        .collect();
    assert!(
        gone.difference(&changes.vanished).is_empty(),
        "{gone} went, {} vanished",
        changes.vanished
    );
}
