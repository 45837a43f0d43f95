//! Harm to what is derived: files of `index/` that go missing, are cut, emptied, swapped or flipped. None of it may be
//! seen in what a store shows.

use crate::sim::Sim;

/// A generator of numbers that a test can replay.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }

    /// One of the numbers below `n`, or 0.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

/// The files of `index/`.
pub(crate) fn derived(sim: &Sim) -> Vec<String> {
    let names = sim.files().into_keys();
    names.filter(|name| name.starts_with("index/")).collect()
}

/// Takes away all of `index/`.
pub(crate) fn lose_all(sim: &Sim) {
    derived(sim).iter().for_each(|name| sim.lose(name));
}

/// Does one thing to the files of `index/`, as the seed says; tells what.
pub(crate) fn harm(sim: &Sim, seed: u64) -> String {
    let mut dice = Dice::new(seed);
    let names = derived(sim);
    let Some(name) = names.get(dice.below(names.len())) else {
        return "nothing there".to_owned();
    };
    let kind = dice.below(12);
    let at = dice.next() as usize;
    match kind {
        0 | 1 => lose_all(sim),
        2 | 3 => sim.lose(name),
        // The store may be at work: the file may be gone or another one meanwhile.
        4 => {
            sim.damage_if_there(name, |content| content.truncate(at % content.len().max(1)));
        }
        _ => {
            let flip = |content: &mut Vec<u8>| {
                let bit = at % (8 * content.len()).max(1);
                if let Some(byte) = content.get_mut(bit / 8) {
                    *byte ^= 1 << (bit % 8);
                }
            };
            sim.damage_if_there(name, flip);
        }
    }
    format!("{name}, {kind}, {at}")
}
