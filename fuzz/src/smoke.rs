//! Inputs that are made from the seeds by a number: the same number is the same input on every machine. What libFuzzer
//! tries depends on what it has seen, and that on where things lie in memory: its run cannot be had again.

use crate::harm::Dice;

/// Input `nth` of a target with these seeds: one of them, changed in a few places.
#[must_use]
pub fn input(seeds: &[Vec<u8>], nth: u64) -> Vec<u8> {
    let mut dice = Dice::new(nth);
    let mut bytes = seeds[dice.below(seeds.len())].clone();
    for _ in 0..=dice.below(6) {
        let at = dice.below(bytes.len());
        match dice.below(7) {
            0 | 1 => put(&mut bytes, at, &[dice.next() as u8]),
            2 => {
                let number = [0, 1, 0x7f, 0xff, 0x7fff_ffff, u64::MAX, dice.next()][dice.below(7)];
                let len = 1 << dice.below(4);
                put(&mut bytes, at, &number.to_le_bytes()[..len]);
            }
            3 => bytes.truncate(at),
            4 => {
                let more = dice.next().to_le_bytes();
                bytes.splice(at..at, more[..dice.below(8)].iter().copied());
            }
            // How another one goes on, at the same place or at any.
            5 => {
                let other = &seeds[dice.below(seeds.len())];
                let from = [at, dice.below(other.len())][dice.below(2)];
                bytes.truncate(at);
                bytes.extend(other.get(from..).unwrap_or_default());
            }
            _ => {
                let bit = dice.below(8);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << bit;
                }
            }
        }
    }
    bytes
}

/// Overwrites, never beyond the end.
fn put(bytes: &mut [u8], at: usize, new: &[u8]) {
    for (to, from) in bytes.iter_mut().skip(at).zip(new) {
        *to = *from;
    }
}
