//! Programs out of raw bytes: each byte is a choice, and all bytes are a program. For a fuzzer, which then finds
//! programs that no dice throw.

use super::op::{ACCOUNTS, Keeps, Marked, Marking, NAMES, Op, Place, Step, Uids};
use super::run::{Runner, Setup};

/// Operations of a program, at most.
const OPS_MAX: usize = 80;

/// Runs the program that the bytes are.
///
/// # Panics
/// Where store and model differ.
pub(crate) fn run_bytes(data: &[u8]) {
    let (setup, ops) = program(data);
    let mut runner = Runner::new(setup);
    for (at, op) in ops.iter().chain([&Op::Reopen]).enumerate() {
        if let Err(why) = runner.step(op) {
            panic!("step {at}, {op:?}: {why}\nof {setup:?} {ops:#?}");
        }
    }
}

/// The program that the bytes are.
fn program(data: &[u8]) -> (Setup, Vec<Op>) {
    let mut bytes = Bytes(data.iter());
    let choice = bytes.next();
    let setup = Setup {
        segment_len: (choice & 1 == 0).then_some(64 << 10),
        tried: choice & 2 != 0,
        may_lose: choice & 4 != 0,
    };
    let mut ops = vec![Op::CreateAccount(0), Op::CreateAccount(1)];
    while !bytes.0.as_slice().is_empty() && ops.len() < OPS_MAX {
        ops.push(bytes.op(setup));
    }
    (setup, ops)
}

struct Bytes<'a>(std::slice::Iter<'a, u8>);

impl Bytes<'_> {
    fn next(&mut self) -> u8 {
        self.0.next().copied().unwrap_or(0)
    }

    fn below(&mut self, n: usize) -> u8 {
        (usize::from(self.next()) % n) as u8
    }

    fn bool(&mut self) -> bool {
        self.next() & 1 == 1
    }

    fn long(&mut self) -> u64 {
        (0..3).fold(0, |all, _| all << 8 | u64::from(self.next()))
    }

    fn name(&mut self) -> u8 {
        self.below(NAMES.len())
    }

    fn account(&mut self) -> u8 {
        self.below(ACCOUNTS.len())
    }

    fn place(&mut self) -> Place {
        match self.next() {
            choice @ 0..=199 => Place::Named {
                account: choice / 100,
                mailbox: choice % NAMES.len() as u8,
            },
            choice => Place::Kept(choice - 200),
        }
    }

    fn uids(&mut self) -> Uids {
        match self.next() {
            0..=99 => Uids::All,
            choice @ 100..=149 => Uids::One(1 + choice % 7),
            choice @ 150..=199 => Uids::Range(1 + choice % 7, 1 + self.below(11)),
            choice => Uids::Two(1 + choice % 7, 1 + self.below(11)),
        }
    }

    fn marked(&mut self) -> Marked {
        let (flags, more) = (self.below(32), self.next());
        Marked {
            flags,
            keywords: more & 7,
            date: (more & 0xc0 == 0xc0).then(|| (self.long() as i32, (more & 0x3f) as i8)),
        }
    }

    fn marking(&mut self) -> Marking {
        let (verb, flags, keywords) = (self.next(), self.below(32), self.below(8));
        match verb % 3 {
            0 => Marking::Add { flags, keywords },
            1 => Marking::Remove { flags, keywords },
            _ => Marking::Replace { flags, keywords },
        }
    }

    fn step(&mut self) -> Step {
        match self.below(14) {
            0..=2 => Step::Append {
                to: self.place(),
                message: self.next(),
                marked: self.marked(),
            },
            3 | 4 => Step::Flag {
                mailbox: self.place(),
                uids: self.uids(),
                marking: self.marking(),
                unchanged_since: Some(self.next()).filter(|nth| *nth < 6),
            },
            5 => Step::Copy {
                from: self.place(),
                uids: self.uids(),
                to: self.place(),
            },
            6 | 7 => Step::Move {
                from: self.place(),
                uids: self.uids(),
                to: self.place(),
            },
            8 => Step::Expunge {
                mailbox: self.place(),
                uids: self.uids(),
            },
            9 => Step::Destroy {
                mailbox: self.place(),
                uids: self.uids(),
            },
            10 | 11 => Step::Create {
                name: self.name(),
                noselect: self.below(10) == 1,
            },
            12 => Step::Rename {
                from: self.name(),
                to: self.name(),
            },
            _ => Step::Delete { name: self.name() },
        }
    }

    fn op(&mut self, setup: Setup) -> Op {
        match self.next() {
            0..=9 => Op::CreateAccount(self.account()),
            10..=14 => Op::RenameAccount {
                from: self.account(),
                to: self.account(),
            },
            15..=19 => Op::DeleteAccount(self.account()),
            20..=27 => Op::Subscribe {
                account: self.account(),
                name: self.name(),
                on: self.bool(),
            },
            28..=31 => Op::Properties {
                mailbox: self.place(),
                noselect: self.bool(),
                sort_order: self.below(3),
            },
            choice @ 32..=71 => {
                let message = self.next();
                let count = 1 + choice % 4;
                let to = (0..count).map(|_| (self.place(), self.marked())).collect();
                let how = self.next();
                Op::Deliver {
                    message,
                    to,
                    wait: how & 1 == 0,
                    written: setup.may_lose && how & 2 != 0,
                }
            }
            72..=159 => Op::Single {
                account: self.account(),
                step: self.step(),
                wait: self.next() & 3 != 3,
            },
            choice @ 160..=183 => {
                let account = self.account();
                let steps = (0..choice % 5).map(|_| self.step()).collect();
                Op::Transaction {
                    account,
                    steps,
                    wait: self.bool(),
                }
            }
            184..=188 => Op::Sync,
            189..=195 => Op::Clock(self.next() as i8 as i32 * if self.bool() { 1000 } else { 1 }),
            196..=203 => Op::Hold(self.place()),
            204..=212 => Op::Reopen,
            213..=228 => Op::Crash {
                back: self.below(12),
                keeps: match self.below(6) {
                    0 => Keeps::Nothing,
                    1 => Keeps::All,
                    _ => Keeps::Some(self.long()),
                },
            },
            229..=235 => Op::Kill,
            236..=243 => Op::WriteBase(self.account()),
            _ if setup.tried => Op::Harm {
                seed: self.long(),
                open: self.bool(),
            },
            _ => Op::Reopen,
        }
    }
}
