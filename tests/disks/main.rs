//! The store on real file systems: ext4, xfs and btrfs on loop devices whose medium is a fault injector.
//!
//! Goal: no mail that was acknowledged is lost or garbled, whatever the device below does: power cuts at any moment of a
//! live writer, reads, writes and flushes that fail, a device that dies, one that is full. Where limits of the system are
//! the fault (space, quota, open files), the errors are typed, the store goes on reading and resumes by itself.
//!
//! Reading order: `medium` (what the device holds, and what a power cut leaves of it), `rack` (FUSE: the device and its
//! faults), `volume` (a file system on it), `stage` (a private namespace that takes everything away at its end), `lanes`
//! (what a writer does, as a model), `worker` (the process that has the store), `power`, `faults`, `space`, `mapped`.
//!
//! Needs root, /dev/fuse, loop devices and the file systems' tools; without them each test says what is missing in one line
//! and passes. `MAILKEEP_CUTS` sets how many power cuts each file system gets, `MAILKEEP_FAULTS` how many rounds of faults,
//! `MAILKEEP_DISKS_SEED` where the seeds begin. The order in which threads and the kernel run is not replayed: an image that
//! shows a violation is kept, and its path is printed with the command that checks it again.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets the unexpected stops"
)]

mod faults;
mod lanes;
mod mapped;
mod medium;
mod power;
mod rack;
mod space;
mod stage;
mod volume;
mod worker;

/// A number from the environment.
fn env(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.map_or(default, |text| text.parse().expect("a number"))
}

/// Numbers that look random and are the same for the same seed.
#[derive(Clone, Debug)]
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    fn below(&mut self, end: u64) -> u64 {
        self.roll() % end.max(1)
    }

    fn coin(&mut self) -> bool {
        self.below(2) == 0
    }
}

/// A message of `len` bytes that is like no other.
fn message(seed: u64, len: usize) -> Vec<u8> {
    let mut text = marker(seed).into_bytes();
    let mut dice = Dice(seed);
    while text.len() < len {
        let more = dice.roll().to_le_bytes();
        text.extend(more.map(|byte| b' ' + byte % 95));
    }
    text.truncate(len);
    text
}

/// What the message of that seed begins with, by which it is found on a medium.
fn marker(seed: u64) -> String {
    format!("Subject: mailkeep-disks {seed:016x}\r\n\r\n")
}
