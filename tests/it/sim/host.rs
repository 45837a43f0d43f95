//! A host whose clock stands still until told, and whose unique numbers count.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use mailkeep::io::Host;

/// A [`Host`] that a test can replay.
#[derive(Debug, Default)]
pub(crate) struct SimHost {
    now_ms: AtomicI64,
    unique: AtomicU64,
}

impl SimHost {
    /// A host whose clock shows `now_ms` and whose first unique number is `first`. Hosts of one test that stand
    /// for runs after each other need different ones: no run may return what an earlier one did.
    pub(crate) fn new(now_ms: i64, first: u64) -> Self {
        Self {
            now_ms: AtomicI64::new(now_ms),
            unique: AtomicU64::new(first),
        }
    }

    /// Sets the clock, forwards or backwards.
    pub(crate) fn set_now_ms(&self, now_ms: i64) {
        self.now_ms.store(now_ms, Ordering::SeqCst);
    }
}

impl Host for SimHost {
    fn now_ms(&self) -> i64 {
        self.now_ms.load(Ordering::SeqCst)
    }

    fn unique(&self) -> [u8; 16] {
        let number = self.unique.fetch_add(1, Ordering::SeqCst);
        // Spread over the bytes, so that none of them is the same in every test.
        let spread = number.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
        (u128::from(spread) << 64 | u128::from(number)).to_le_bytes()
    }

    fn identity(&self) -> String {
        "1@simulated".to_owned()
    }
}
