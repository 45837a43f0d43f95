//! Messages by number: the same in every run and in every process.

use std::f64::consts::TAU;
use std::io::Write as _;

use crate::store::{Mail, Place};

/// SplitMix64.
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

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// Between 0 and 1, neither included.
    fn unit(&mut self) -> f64 {
        ((self.next() >> 12) as f64 + 0.5) / (1_u64 << 52) as f64
    }

    /// A length as mail has it: log-normal, median 8 KiB, mean 40 KB before the cap of 1 MiB.
    fn mail_len(&mut self) -> usize {
        let normal = (-2.0 * self.unit().ln()).sqrt() * (TAU * self.unit()).cos();
        let sigma = (2.0 * (40_000.0_f64 / 8192.0).ln()).sqrt();
        (8192.0 * (sigma * normal).exp()).clamp(400.0, 1_048_576.0) as usize
    }
}

/// How long the messages are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    Fixed(usize),
    Mail,
}

/// Makes messages of one kind.
pub(crate) struct Corpus {
    size: Size,
    text: Vec<u8>,
}

impl Corpus {
    /// Distinct text that bodies are pieces of.
    const TEXT: usize = 4 << 20;

    pub(crate) fn new(size: Size) -> Self {
        let mut seed = Seed(42);
        let mut text = Vec::with_capacity(Self::TEXT + 80);
        while text.len() < Self::TEXT {
            let mut word = seed.next();
            for _ in 0..12 {
                if text.len() % 78 == 76 {
                    text.extend(b"\r\n");
                }
                text.push(b'a' + (word % 26) as u8);
                word /= 26;
            }
        }
        Self { size, text }
    }

    /// Writes message `number` into `out`, which is emptied first.
    pub(crate) fn message(&self, number: u64, out: &mut Vec<u8>) {
        let mut seed = Seed(number);
        let len = match self.size {
            Size::Fixed(len) => len,
            Size::Mail => seed.mail_len(),
        };
        let id = seed.next();
        out.clear();
        // Writing to memory does not fail.
        let _ = write!(
            out,
            "From: Anna <anna@example.it>\r\nTo: Bert <bert@example.it>\r\nSubject: Note {number}\r\n\
             Date: Fri, 21 Nov 1997 09:55:06 -0600\r\nMessage-ID: <{id:016x}@example.it>\r\n\r\n"
        );
        let rest = len.saturating_sub(out.len());
        let from = seed.below(self.text.len() - rest);
        out.extend_from_slice(&self.text[from..from + rest]);
    }

    /// Message `number` on its way to `place`. Its bytes are never freed: the process is a short one.
    pub(crate) fn mail(&self, number: u64, place: Place) -> Mail {
        let mut body = Vec::new();
        self.message(number, &mut body);
        Mail {
            place,
            seen: number.is_multiple_of(3),
            body: body.leak(),
        }
    }
}
