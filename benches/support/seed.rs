//! Numbers and lengths of messages from a seed: the same in every run.

use std::f64::consts::TAU;

/// SplitMix64: enough for sizes and letters.
#[derive(Clone)]
pub(crate) struct Seed(pub(crate) u64);

impl Seed {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Between 0 and 1, neither included.
    fn unit(&mut self) -> f64 {
        ((self.next() >> 12) as f64 + 0.5) / (1_u64 << 52) as f64
    }

    /// A length as mail has it: log-normal, median 8 KiB, mean 40 KB before the cap of 1 MiB.
    pub(crate) fn mail_len(&mut self) -> usize {
        let normal = (-2.0 * self.unit().ln()).sqrt() * (TAU * self.unit()).cos();
        let sigma = (2.0 * (40_000.0_f64 / 8192.0).ln()).sqrt();
        (8192.0 * (sigma * normal).exp()).clamp(400.0, 1_048_576.0) as usize
    }
}
