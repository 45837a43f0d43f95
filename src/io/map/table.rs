//! Which addresses are mappings of ours, and of which of them a page could not be read.
//!
//! A fixed table of atomics: the handler of a signal looks things up here while any thread may be anywhere, so nothing
//! is locked and nothing is allocated. A slot is written by one thread at a time (who has claimed it) and read by all
//! under a turn counter that is odd while it is written, as in a seqlock.
//!
//! *Why a look-up is exact.* A mapping is entered before anything of it is handed out, and taken out before it is
//! unmapped, when nobody can hold anything of it. So whoever faults on one of its pages, or holds a slice of it, finds
//! it entered from before to after the look-up: its turn is even and does not change. A slot whose turn is odd or
//! changes is some other mapping's, and is passed over. Two halves of two mappings are never taken for one.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};

/// Mappings at a time, at most: a file beyond that is read without one.
pub(crate) const SLOTS: usize = 4096;

static TABLE: [Slot; SLOTS] = [const { Slot::new() }; SLOTS];

/// No slot from here on was ever used.
static USED: AtomicUsize = AtomicUsize::new(0);

/// Pages that could not be read, of all mappings there were.
static FAULTS: AtomicU64 = AtomicU64::new(0);

/// Pages that are replaced one by one now, and how many may be, of all mappings together. Each may split a mapping in the
/// kernel, which has room for some 65,000 parts in a process and then refuses to replace even a whole one; behind that
/// whole mappings are replaced, which makes each of them one part again.
static PATCHES: AtomicUsize = AtomicUsize::new(0);
const PATCHES_MAX: usize = 4096;

/// One mapping's place in the table.
#[derive(Debug)]
pub(super) struct Slot {
    claimed: AtomicBool,
    /// Odd while the range is written.
    turn: AtomicUsize,
    /// The first address, and the first one behind the last.
    start: AtomicUsize,
    end: AtomicUsize,
    /// Pages of it that could not be read and were replaced by zeroes. Never goes down while the mapping lives.
    poison: AtomicUsize,
    /// Those of them that were replaced one by one and count as [`PATCHES`].
    patches: AtomicUsize,
}

impl Slot {
    const fn new() -> Self {
        Self {
            claimed: AtomicBool::new(false),
            turn: AtomicUsize::new(0),
            start: AtomicUsize::new(0),
            end: AtomicUsize::new(0),
            poison: AtomicUsize::new(0),
            patches: AtomicUsize::new(0),
        }
    }

    /// Enters a mapping; `None` where the table is full.
    pub(super) fn enter(start: usize, len: usize) -> Option<&'static Self> {
        let end = start.checked_add(len)?;
        let (at, slot) = TABLE.iter().enumerate().find(|(_, slot)| slot.claim())?;
        slot.poison.store(0, Ordering::Relaxed);
        slot.write(start, end);
        USED.fetch_max(at + 1, Ordering::Release);
        Some(slot)
    }

    fn claim(&self) -> bool {
        let (free, taken) = (Ordering::Acquire, Ordering::Relaxed);
        !self.claimed.load(Ordering::Relaxed)
            && self
                .claimed
                .compare_exchange(false, true, free, taken)
                .is_ok()
    }

    /// Takes the mapping out. Nobody may hold anything of it any more, and it may not be unmapped yet.
    pub(super) fn leave(&self) {
        self.write(0, 0);
        self.give_back();
        self.claimed.store(false, Ordering::Release);
    }

    fn write(&self, start: usize, end: usize) {
        self.turn.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::Release);
        self.start.store(start, Ordering::Relaxed);
        self.end.store(end, Ordering::Relaxed);
        self.turn.fetch_add(1, Ordering::Release);
    }

    /// The range, unless it is being written.
    fn range(&self) -> Option<(usize, usize)> {
        let turn = self.turn.load(Ordering::Acquire);
        let range = (
            self.start.load(Ordering::Relaxed),
            self.end.load(Ordering::Relaxed),
        );
        fence(Ordering::Acquire);
        let settled = turn & 1 == 0 && self.turn.load(Ordering::Relaxed) == turn;
        settled.then_some(range)
    }

    /// The mapping that has this address, and its range. For the handler too: no lock, no allocation, no panic.
    pub(super) fn find(address: usize) -> Option<(&'static Self, usize, usize)> {
        let used = USED.load(Ordering::Acquire);
        TABLE.iter().take(used).find_map(|slot| {
            let (start, end) = slot.range()?;
            (address >= start && address < end).then_some((slot, start, end))
        })
    }

    /// Notes that a page could not be read, before it becomes zeroes.
    pub(super) fn poison(&self) {
        FAULTS.fetch_add(1, Ordering::Relaxed);
        self.poison.fetch_add(1, Ordering::SeqCst);
    }

    /// Whether one more page may be replaced alone.
    pub(super) fn may_patch(&self) -> bool {
        let may = PATCHES.fetch_add(1, Ordering::Relaxed) < PATCHES_MAX;
        if may {
            self.patches.fetch_add(1, Ordering::Relaxed);
        } else {
            PATCHES.fetch_sub(1, Ordering::Relaxed);
        }
        may
    }

    /// No page of it is replaced alone any more.
    pub(super) fn give_back(&self) {
        let patches = self.patches.swap(0, Ordering::Relaxed);
        PATCHES.fetch_sub(patches, Ordering::Relaxed);
    }

    /// Whether every page that was looked at before this call was the file's. Whoever has read a zero that stands for a
    /// page finds it counted: it was counted first.
    pub(super) fn is_good(&self) -> bool {
        fence(Ordering::AcqRel);
        self.poison.load(Ordering::Acquire) == 0
    }
}

/// Pages of mapped files that could not be read since the process began, and were kept from ending it. Each thread that
/// met such a page counts.
#[must_use]
pub fn faults() -> u64 {
    FAULTS.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: while ranges come and go, an address is found in its own range or in none, never in one made of two.
    #[test]
    fn a_range_is_never_half_one_and_half_another() {
        // Far from anything that is mapped; each thread has ranges of its own, with holes between them.
        const BASE: usize = usize::MAX / 4 * 3;
        let rounds = 20_000;
        std::thread::scope(|threads| {
            let writers: Vec<_> = (0..3_usize)
                .map(|thread| {
                    threads.spawn(move || {
                        for round in 0..rounds {
                            let start = BASE + (thread * 64 + round % 64) * 0x10_000;
                            let slot = Slot::enter(start, 0x1000).unwrap();
                            let (found, from, to) = Slot::find(start + 0xfff).unwrap();
                            assert!(std::ptr::eq(found, slot));
                            assert_eq!((from, to), (start, start + 0x1000));
                            assert!(slot.is_good(), "poison of whoever had the slot before");
                            slot.poison();
                            assert!(!slot.is_good());
                            slot.leave();
                        }
                    })
                })
                .collect();
            while !writers.iter().all(|writer| writer.is_finished()) {
                for hole in 0..192 {
                    let hole = BASE + hole * 0x10_000 + 0x8000;
                    assert!(Slot::find(hole).is_none(), "{hole:x} is nobody's");
                }
            }
        });
        assert!(faults() >= 3 * rounds as u64);
    }
}
