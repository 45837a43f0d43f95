//! Who gets which message: all of it computed from a seed, none of it kept.

use std::fmt::Write as _;

/// One account of so many is a busy one, with mailboxes of its own and many messages.
const BUSY_EVERY: u64 = 1000;
/// Mailboxes of a busy account besides INBOX.
const MAILBOXES: u64 = 6;
/// One account of so many is delivered to while receipts of the others are compared.
const LIVELY_EVERY: u64 = 16;

/// The accounts of a store and their mail.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Population {
    pub(crate) accounts: u64,
    /// Messages of all accounts.
    pub(crate) deliveries: u64,
    seed: u64,
}

/// Where a message goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) account: u64,
    /// `None`: INBOX.
    pub(crate) mailbox: Option<u64>,
}

impl Population {
    pub(crate) fn new(accounts: u64, mean: f64, seed: u64) -> Self {
        let accounts = accounts.max(1);
        Self {
            accounts,
            deliveries: ((accounts as f64 * mean) as u64).max(accounts),
            seed,
        }
    }

    pub(crate) fn name(account: u64) -> String {
        format!("user{account:07}@example.it")
    }

    pub(crate) fn mailbox_name(mailbox: u64) -> String {
        format!("Lists/{mailbox}")
    }

    /// Mailboxes of the account besides INBOX.
    pub(crate) fn mailboxes(account: u64) -> u64 {
        if account.is_multiple_of(BUSY_EVERY) {
            MAILBOXES
        } else {
            0
        }
    }

    /// Where message `at` goes. Every account gets one, in random order; of the rest, one half is spread over all, and
    /// the other over the busy ones.
    pub(crate) fn place(&self, at: u64) -> Place {
        let at = shuffled(at, self.deliveries, self.seed);
        if at < self.accounts {
            return Place {
                account: at,
                mailbox: None,
            };
        }
        let mut random = Random::new(self.seed ^ at.rotate_left(32));
        if random.below(2) == 0 {
            let account = random.below(self.accounts);
            return Place {
                account,
                mailbox: None,
            };
        }
        let busy = self.accounts.div_ceil(BUSY_EVERY);
        Place {
            account: random.below(busy) * BUSY_EVERY,
            mailbox: Some(random.below(MAILBOXES)),
        }
    }

    /// Whether the account may be delivered to while receipts of the others are compared.
    pub(crate) fn is_lively(account: u64) -> bool {
        account % LIVELY_EVERY == LIVELY_EVERY - 1
    }

    /// An account to deliver to while receipts of the others are compared; the only one of a store that has no other.
    pub(crate) fn lively(&self, random: &mut Random) -> u64 {
        let account = random.below(self.accounts.div_ceil(LIVELY_EVERY)) * LIVELY_EVERY;
        (account + LIVELY_EVERY - 1).min(self.accounts - 1)
    }

    /// `count` random accounts.
    pub(crate) fn sample(&self, count: u64) -> impl Iterator<Item = u64> + use<> {
        let population = *self;
        let many = count.min(population.accounts);
        (0..many).map(move |at| shuffled(at, population.accounts, !population.seed))
    }
}

/// A message of 512 bytes to 2 KiB.
pub(crate) fn message(random: &mut Random) -> Vec<u8> {
    let len = 512 + random.below(1537) as usize;
    let (id, from) = (random.next(), random.below(1_000_000));
    let mut text = String::with_capacity(len + 80);
    // A String takes all that is written to it.
    let _ = write!(
        text,
        "From: Sender {from} <sender{from}@example.org>\r\nTo: You <you@example.it>\r\n\
         Subject: Note {id:016x}\r\nDate: Sat, 21 Nov 2026 09:55:06 +0100\r\nMessage-ID: <{id:016x}@example.org>\r\n\r\n"
    );
    let mut bytes = text.into_bytes();
    while bytes.len() < len {
        let mut word = random.next();
        for _ in 0..9 {
            for _ in 0..8 {
                bytes.push(b'a' + (word % 26) as u8);
                word /= 26;
            }
            word ^= random.next();
        }
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.truncate(len);
    bytes
}

/// SplitMix64: enough for sizes and letters.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed(self.0)
    }

    /// Below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }
}

fn mixed(number: u64) -> u64 {
    let mut mixed = number;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The number at `at` of 0 to `count` in random order: a Feistel network over the next power of four, walked until it
/// comes back into the range.
fn shuffled(at: u64, count: u64, seed: u64) -> u64 {
    let half = (64 - count.leading_zeros()).div_ceil(2).max(1);
    let mask = (1_u64 << half) - 1;
    let mut number = at;
    loop {
        let (mut left, mut right) = (number >> half, number & mask);
        for round in 0..4 {
            let next = left ^ (mixed(right ^ seed.wrapping_add(round)) & mask);
            (left, right) = (right, next);
        }
        number = left << half | right;
        if number < count {
            return number;
        }
    }
}
