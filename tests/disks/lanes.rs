//! What a live writer does: some lanes, each a thread with mailboxes of its own, whose every step follows from the seed.
//!
//! So the state of a lane after any number of steps is known without having watched it: an image is right when each lane
//! is found in exactly the state after some step, not before the last one that was acknowledged.

use std::collections::BTreeMap;
use std::fmt;

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

/// A mailbox as a store shows it: UIDNEXT; and of each message its UID, whether it is flagged, what it is.
#[derive(Debug, PartialEq, Eq)]
struct Shown {
    name: String,
    next: u32,
    rows: Vec<(u32, bool, Digest)>,
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} next {}", self.name, self.next)?;
        self.rows
            .iter()
            .try_for_each(|(uid, flagged, digest)| writeln!(f, "  {uid} {flagged} {digest}"))
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

    /// What the store must show.
    fn expected(&self) -> [Shown; 2] {
        [0, 1].map(|at| {
            let folder = &self.folders[at];
            let rows = folder.kept.iter().map(|(uid, kept)| {
                let digest = Digest::of(&message(kept.message, kept.len));
                (*uid, kept.flagged, digest)
            });
            Shown {
                name: self.mailbox_name(at),
                next: folder.given + 1,
                rows: rows.collect(),
            }
        })
    }

    /// What it shows. Its bytes are those that its digests say, or it is an error.
    fn found(&self, store: &Store) -> mailkeep::Result<[Shown; 2]> {
        let account = store.account(self.account())?;
        Ok([self.shown(&account, 0)?, self.shown(&account, 1)?])
    }

    fn shown(&self, account: &Account, at: usize) -> mailkeep::Result<Shown> {
        let name = self.mailbox_name(at);
        let mailbox = account.mailbox(&name)?;
        let next = mailbox.status()?.uid_next.map_or(0, Uid::get);
        let view = mailbox.view()?;
        let mut rows = Vec::new();
        for row in view.iter() {
            let digest = Digest::of(&view.message(row.uid)?.bytes()?);
            let flagged = row.flags.contains(Flags::FLAGGED);
            rows.push((row.uid.get(), flagged, digest));
        }
        Ok(Shown { name, next, rows })
    }

    /// Moves on to the state that the store shows, at most `most` steps ahead; returns how far its UIDs were lifted.
    /// Only where it may be `fenced` are they.
    pub(crate) fn catch_up(
        &mut self,
        store: &Store,
        most: u64,
        fenced: bool,
    ) -> Result<u32, String> {
        let said = |error| format!("lane {}: {error:?}", self.number);
        let found = self.found(store).map_err(said)?;
        let first = self.clone();
        let mut before = None;
        for _ in 0..=most {
            let lifted = fenced
                .then(|| self.lifted(before.as_ref(), &found))
                .flatten();
            if let Some((lifted, by)) = lifted {
                *self = lifted;
                return Ok(by);
            }
            if self.shows(&found) {
                return Ok(0);
            }
            before = Some(self.clone());
            self.advance();
        }
        let (number, steps) = (first.number, first.steps);
        let [wanted, wanted_too] = first.expected();
        let [found, found_too] = found;
        Err(format!(
            "lane {number} is in no state from step {steps} on\nthen:\n{wanted}{wanted_too}found:\n{found}{found_too}"
        ))
    }

    /// Whether that is this state. The bytes last: they are made again to be compared.
    fn shows(&self, found: &[Shown; 2]) -> bool {
        self.folders.iter().zip(found).all(|(folder, shown)| {
            let row = |((uid, flagged, _), kept): (&(u32, bool, _), (&u32, &Kept))| {
                uid == kept.0 && *flagged == kept.1.flagged
            };
            shown.next == folder.given + 1
                && shown.rows.len() == folder.kept.len()
                && shown.rows.iter().zip(&folder.kept).all(row)
        }) && self.expected() == *found
    }

    /// This state as it is behind fences: one that followed on its last step, and one in front of that step, for whoever
    /// was cut off twice. What a fence lifts it lifts in both mailboxes alike.
    fn lifted(&self, before: Option<&Self>, found: &[Shown; 2]) -> Option<(Self, u32)> {
        let by = found[0].next.checked_sub(self.folders[0].given + 1)?;
        let mut behind = self.clone();
        behind.lift(by);
        if by > 0 && behind.shows(found) {
            return Some((behind, by));
        }
        // What the last step gave tells how far it was lifted.
        let last = |(folder, shown): (&Folder, &Shown)| {
            let (own, (uid, ..)) = (folder.kept.last_key_value()?.0, shown.rows.last()?);
            uid.checked_sub(*own)
        };
        let in_front = self.folders.iter().zip(found).filter_map(last).max()?;
        let mut twice = before?.clone();
        twice.lift(in_front);
        twice.advance();
        twice.lift(by.checked_sub(in_front)?);
        (by > 0 && twice.shows(found)).then_some((twice, by))
    }

    fn lift(&mut self, by: u32) {
        self.folders
            .iter_mut()
            .for_each(|folder| folder.given += by);
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
            .catch_up(&store, 1, false)
            .unwrap();
        assert!(
            empty.clone().catch_up(&store, 100, true).is_err(),
            "50 steps are missing"
        );
    }
}

/// Goal: a state that fences lifted is known, behind the last step and in front of it too; one whose mailboxes were lifted
/// differently is not.
#[test]
fn a_lifted_lane_is_known() {
    for steps in 20..120 {
        let before = Lane::after(7, 0, steps);
        let mut now = before.clone();
        now.advance();
        for (first, then) in [(0, 66), (66, 0), (66, 3)] {
            let mut lifted = before.clone();
            lifted.lift(first);
            lifted.advance();
            lifted.lift(then);
            let mut found = lifted.expected();
            let known = now.lifted(Some(&before), &found);
            let (known, by) = known.expect("it is known");
            assert_eq!((known.expected(), by), (lifted.expected(), first + then));
            found[1].next += 1;
            assert!(now.lifted(Some(&before), &found).is_none());
        }
        assert!(now.lifted(Some(&before), &now.expected()).is_none());
    }
}
