//! What a live writer does: some lanes, each a thread with mailboxes of its own, whose every step follows from the seed.
//!
//! So the state of a lane after any number of steps is known without having watched it: an image is right when each lane
//! is found in exactly the state after some step, not before the last one that was acknowledged.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use mailkeep::{
    Account, Delivery, Digest, Durability, FlagChange, Flags, Mailbox, Store, Uid, UidSet,
};

use crate::{Dice, message};

/// Lanes of a writer. The first two share an account; the last one has mail that is only written.
pub(crate) const LANES: usize = 4;
const ACCOUNTS: [&str; LANES] = ["anna", "anna", "bruno", "carla"];
const WRITTEN: usize = 3;
const FOLDERS: [&str; 2] = ["in", "out"];

/// One message of a mailbox, as it must be found.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Kept {
    flagged: bool,
    message: u64,
    len: usize,
}

/// A mailbox, as it must be found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Folder {
    given: u32,
    kept: BTreeMap<u32, Kept>,
}

impl Folder {
    fn add(&mut self, kept: Kept) {
        self.given += 1;
        self.kept.insert(self.given, kept);
    }
}

/// What one step does.
#[derive(Clone, Debug)]
enum Act {
    Deliver {
        folder: usize,
        message: u64,
        len: usize,
        durability: Durability,
    },
    Flag {
        uids: Vec<u32>,
        on: bool,
    },
    Transfer {
        uids: Vec<u32>,
        moves: bool,
    },
    Destroy {
        folder: usize,
        uids: Vec<u32>,
    },
    Sync,
}

/// A lane after some number of steps.
#[derive(Clone, Debug)]
pub(crate) struct Lane {
    number: usize,
    seed: u64,
    pub(crate) steps: u64,
    /// Whether it calls durable what is only written: such a writer has to be caught.
    pub(crate) lies: bool,
    folders: [Folder; 2],
}

impl Lane {
    pub(crate) fn new(seed: u64, number: usize) -> Self {
        Self {
            number,
            seed,
            steps: 0,
            lies: false,
            folders: Default::default(),
        }
    }

    /// A lane after that many steps.
    pub(crate) fn after(seed: u64, number: usize, steps: u64) -> Self {
        let mut lane = Self::new(seed, number);
        while lane.steps < steps {
            lane.advance();
        }
        lane
    }

    fn account(&self) -> &'static str {
        ACCOUNTS[self.number]
    }

    fn mailbox_name(&self, folder: usize) -> String {
        format!("lane{}/{}", self.number, FOLDERS[folder])
    }

    /// The next step; the lane is as it leaves it. Whether all that it did so far is durable once this is acknowledged: a
    /// change of nothing writes nothing, so it syncs nothing either.
    fn advance(&mut self) -> (Act, bool) {
        let mut dice = Dice(self.seed ^ (self.number as u64) << 56 ^ self.steps << 20);
        self.steps += 1;
        let act = self.choose(&mut dice);
        let before = self.folders.clone();
        self.apply(&act);
        let durable = match &act {
            Act::Deliver { durability, .. } => *durability == Durability::Durable,
            Act::Sync => true,
            Act::Flag { .. } | Act::Transfer { .. } | Act::Destroy { .. } => self.folders != before,
        };
        (act, durable)
    }

    fn choose(&self, dice: &mut Dice) -> Act {
        let crowded = self
            .folders
            .iter()
            .position(|folder| folder.kept.len() > 40);
        if let Some(folder) = crowded {
            let uids = self.uids(folder, 25, |_| true);
            return Act::Destroy { folder, uids };
        }
        let written = self.number == WRITTEN;
        let kind = dice.below(if written { 40 } else { 16 });
        match kind {
            0 | 1 => Act::Flag {
                uids: self.uids(0, 40, |uid| u64::from(uid) % 3 == dice.0 % 3),
                on: kind == 0,
            },
            2 | 3 => Act::Transfer {
                uids: self.uids(0, 3, |_| true),
                moves: kind == 2,
            },
            4 if self.folders[1].kept.len() > 4 => Act::Destroy {
                folder: 1,
                uids: self.uids(1, 2, |_| true),
            },
            5 => Act::Sync,
            _ => Act::Deliver {
                folder: usize::from(kind == 6),
                message: dice.roll(),
                len: self.len(dice),
                durability: if written {
                    Durability::Written
                } else {
                    Durability::Durable
                },
            },
        }
    }

    fn len(&self, dice: &mut Dice) -> usize {
        let lengths = [70, 300, 900, 900, 3000, 5000, 12_000, 40_000];
        match dice.below(60) {
            0 => 150 << 10,
            // A segment of its own.
            1 if self.number == 2 => (1 << 20) + 77,
            other => lengths[other as usize % lengths.len()],
        }
    }

    /// The first UIDs of a folder that are chosen.
    fn uids(&self, folder: usize, most: usize, choose: impl Fn(u32) -> bool) -> Vec<u32> {
        let uids = self.folders[folder].kept.keys().copied();
        uids.filter(|uid| choose(*uid)).take(most).collect()
    }

    fn apply(&mut self, act: &Act) {
        match act {
            Act::Deliver {
                folder,
                message,
                len,
                ..
            } => self.folders[*folder].add(Kept {
                flagged: false,
                message: *message,
                len: *len,
            }),
            Act::Flag { uids, on } => {
                for uid in uids {
                    self.folders[0].kept.get_mut(uid).expect("chosen").flagged = *on;
                }
            }
            Act::Transfer { uids, moves } => {
                for uid in uids {
                    let kept = self.folders[0].kept[uid].clone();
                    self.folders[1].add(kept);
                    if *moves {
                        self.folders[0].kept.remove(uid);
                    }
                }
            }
            Act::Destroy { folder, uids } => {
                for uid in uids {
                    self.folders[*folder].kept.remove(uid);
                }
            }
            Act::Sync => {}
        }
    }

    /// What the store must show, as text: a line a mailbox, a line a message.
    pub(crate) fn expected(&self) -> String {
        let mut out = String::new();
        for (at, folder) in self.folders.iter().enumerate() {
            writeln!(out, "{} next {}", self.mailbox_name(at), folder.given + 1).unwrap();
            for (uid, kept) in &folder.kept {
                let digest = Digest::of(&message(kept.message, kept.len));
                writeln!(out, "  {uid} {} {digest}", kept.flagged).unwrap();
            }
        }
        out
    }

    /// The same, of a store. Its bytes are those that its digests say, or it is an error.
    pub(crate) fn found(&self, store: &Store) -> mailkeep::Result<String> {
        let account = store.account(self.account())?;
        let mut out = String::new();
        for at in 0..FOLDERS.len() {
            let mailbox = account.mailbox(&self.mailbox_name(at))?;
            let next = mailbox.status()?.uid_next.map_or(0, Uid::get);
            writeln!(out, "{} next {next}", self.mailbox_name(at)).unwrap();
            let view = mailbox.view()?;
            for row in view.iter() {
                let digest = Digest::of(&view.message(row.uid)?.bytes()?);
                let flagged = row.flags.contains(Flags::FLAGGED);
                writeln!(out, "  {} {flagged} {digest}", row.uid).unwrap();
            }
        }
        Ok(out)
    }

    /// Moves on to the state that the store shows, at most `most` steps ahead.
    pub(crate) fn catch_up(&mut self, store: &Store, most: u64) -> Result<(), String> {
        let said = |error| format!("lane {}: {error:?}", self.number);
        let found = self.found(store).map_err(said)?;
        let first = self.clone();
        for _ in 0..=most {
            if self.matches_shape(&found) && self.expected() == found {
                return Ok(());
            }
            self.advance();
        }
        let (number, steps, wanted) = (first.number, first.steps, first.expected());
        Err(format!(
            "lane {number} is in no state from step {steps} on\nthen:\n{wanted}found:\n{found}"
        ))
    }

    /// A cheap look, before all messages are made again to be compared.
    fn matches_shape(&self, found: &str) -> bool {
        let rows: usize = self
            .folders
            .iter()
            .map(|folder| 1 + folder.kept.len())
            .sum();
        let heads = found.lines().filter(|line| !line.starts_with(' '));
        let mut wanted = (0..).zip(&self.folders);
        found.lines().count() == rows
            && heads.zip(&mut wanted).all(|(line, (at, folder))| {
                line == format!("{} next {}", self.mailbox_name(at), folder.given + 1)
            })
    }

    /// Makes the account and the mailboxes that are not there yet.
    pub(crate) fn prepare(&self, store: &Store) -> mailkeep::Result<()> {
        let account = match store.account(self.account()) {
            Err(mailkeep::Error::NoSuchAccount { .. }) => store.create_account(self.account())?,
            account => account?,
        };
        for at in 0..FOLDERS.len() {
            match account.create_mailbox(&self.mailbox_name(at)) {
                Ok(_) | Err(mailkeep::Error::MailboxExists { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Takes the next step on the store. Whether all that this lane did so far is durable now.
    pub(crate) fn step(&mut self, store: &Store) -> mailkeep::Result<bool> {
        let account = store.account(self.account())?;
        let (act, durable) = self.advance();
        self.perform(store, &account, &act)?;
        Ok(durable)
    }

    fn mailbox(&self, account: &Account, folder: usize) -> mailkeep::Result<Mailbox> {
        account.mailbox(&self.mailbox_name(folder))
    }

    fn perform(&self, store: &Store, account: &Account, act: &Act) -> mailkeep::Result<()> {
        match act {
            Act::Deliver {
                folder,
                message: seed,
                len,
                durability,
            } => {
                let to = Delivery::to(&self.mailbox(account, *folder)?);
                let durability = if self.lies {
                    Durability::Written
                } else {
                    *durability
                };
                let commit = store.deliver_with(message(*seed, *len), [to], durability)?;
                let uid = commit.wait()?.remove(0)?.uid.get();
                assert_eq!(uid, self.folders[*folder].given, "UIDs follow one another");
            }
            Act::Flag { uids, on } => {
                let change = if *on {
                    FlagChange::add(Flags::FLAGGED)
                } else {
                    FlagChange::remove(Flags::FLAGGED)
                };
                let mailbox = self.mailbox(account, 0)?;
                mailbox.flag(&set(uids), &change, None)?.wait()?;
            }
            Act::Transfer { uids, moves } => {
                let (from, to) = (self.mailbox(account, 0)?, self.mailbox(account, 1)?);
                let done = if *moves {
                    from.move_to(&set(uids), &to)?.wait()?
                } else {
                    from.copy_to(&set(uids), &to)?.wait()?
                };
                assert_eq!(done.uids.len(), uids.len(), "all of them");
            }
            Act::Destroy { folder, uids } => {
                let mailbox = self.mailbox(account, *folder)?;
                mailbox.destroy(&set(uids))?.wait()?;
            }
            Act::Sync => store.sync()?,
        }
        Ok(())
    }
}

fn set(uids: &[u32]) -> UidSet {
    uids.iter().filter_map(|uid| Uid::new(*uid)).collect()
}

/// Goal: a lane's steps on a store lead to what the model expects, and a store that is behind is not taken for it.
#[test]
fn a_lane_and_its_model_agree() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("mail"), mailkeep::Options::new()).unwrap();
    for mut lane in (0..LANES).map(|number| Lane::new(7, number)) {
        lane.prepare(&store).unwrap();
        let empty = lane.clone();
        for _ in 0..150 {
            lane.step(&store).unwrap();
        }
        assert_eq!(lane.found(&store).unwrap(), lane.expected());
        Lane::after(7, lane.number, 149)
            .catch_up(&store, 1)
            .unwrap();
        assert!(
            empty.clone().catch_up(&store, 100).is_err(),
            "50 steps are missing"
        );
    }
}
