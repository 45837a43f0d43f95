//! Which pages of a mapping the system was asked to read lately: asking again for what is in memory costs as much as checking it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::io::direct::PAGE;

/// Seconds after which the system is asked again: pages may have left memory since.
const AGAIN: u64 = 5;

/// A bit for each page of a mapping. Whoever races here asks once more, or once less: it is a hint.
#[derive(Debug)]
pub(super) struct Asked {
    began: Instant,
    /// When the bits were cleared, in seconds since.
    cleared: AtomicU64,
    pages: Box<[AtomicU64]>,
}

impl Asked {
    /// Of a mapping of so many bytes.
    pub(super) fn new(len: usize) -> Self {
        let words = len.div_ceil(PAGE).div_ceil(64);
        Self {
            began: Instant::now(),
            cleared: AtomicU64::new(0),
            pages: std::iter::repeat_with(AtomicU64::default)
                .take(words)
                .collect(),
        }
    }

    /// Whether the system is to be asked for the bytes from `from` to `to`, which are not none; notes that it was.
    pub(super) fn is_due(&self, from: usize, to: usize) -> bool {
        self.is_due_at(from, to, self.began.elapsed().as_secs())
    }

    fn is_due_at(&self, from: usize, to: usize, now: u64) -> bool {
        let cleared = self.cleared.load(Ordering::Relaxed);
        if now.saturating_sub(cleared) >= AGAIN {
            self.cleared.store(now, Ordering::Relaxed);
            let clear = |word: &AtomicU64| word.store(0, Ordering::Relaxed);
            self.pages.iter().for_each(clear);
        }
        let (first, last) = (from / PAGE, to.saturating_sub(1) / PAGE);
        let mut due = false;
        for (at, word) in (first / 64..=last / 64).zip(self.pages.iter().skip(first / 64)) {
            let low = if at == first / 64 { first % 64 } else { 0 };
            let high = if at == last / 64 { last % 64 } else { 63 };
            let bits = (u64::MAX << low) & (u64::MAX >> (63 - high));
            if word.load(Ordering::Relaxed) & bits != bits {
                word.fetch_or(bits, Ordering::Relaxed);
                due = true;
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: each page is asked for once, whatever ranges it is in, and again after a while.
    #[test]
    fn a_page_is_asked_for_once_in_a_while() {
        let pages = |from: usize, to: usize| (from * PAGE + 1, to * PAGE - 1);
        let asked = Asked::new(300 * PAGE);
        let due = |(from, to): (usize, usize), now| asked.is_due_at(from, to, now);
        assert!(due(pages(60, 70), 0));
        assert!(!due(pages(60, 70), 1) && !due(pages(63, 65), 1));
        assert!(due(pages(59, 61), 1) && due(pages(69, 71), 1) && !due(pages(59, 71), 1));
        assert!(due(pages(0, 300), 2) && !due(pages(0, 300), 2));
        assert!(due(pages(128, 192), AGAIN) && !due(pages(128, 192), AGAIN + 1));
        assert!(due(pages(127, 129), AGAIN + 1) && due(pages(191, 193), AGAIN + 1));
    }
}
