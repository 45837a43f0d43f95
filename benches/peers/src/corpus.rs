//! Messages by number: the same in every run and in every process.

#[path = "../../support/seed.rs"]
mod seed;

use std::io::Write as _;

pub(crate) use self::seed::Seed;
use crate::store::{Mail, Place};

impl Seed {
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
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
