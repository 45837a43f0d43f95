//! More of an account that was loaded in part: what the disk did not give then it may give later.
//!
//! A fold of which something was not given is used as it is, by who has no need of more. Who asks for the whole account
//! has it read again, at most one caller at a time, the others go on with what there is. As long as that is in vain, at
//! most a fifth of the time goes into it: a failing disk may take seconds to say no. Only the whole takes the place of a
//! part: what was shown does not vanish because the disk now fails elsewhere.

use std::sync::Arc;

use super::Index;
use super::cell::{Cell, State};

/// A read that was in vain is not made again for so many times as long as it took.
const PAUSE: i64 = 4;

/// When more is asked for of a fold that is not whole.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Again {
    /// Somebody asks.
    asking: bool,
    /// When it was last asked for in vain, and how long that took, in milliseconds.
    vain: Option<(i64, i64)>,
}

impl Again {
    fn is_due(self, now: i64) -> bool {
        // A clock that was put back is no reason to wait for it.
        let over = |(at, took): (i64, i64)| {
            now < at || now.saturating_sub(at) >= took.saturating_mul(PAUSE)
        };
        !self.asking && self.vain.is_none_or(over)
    }
}

impl State {
    /// Whether the fold is loaded, and not all of it.
    pub(super) fn is_partial(&self) -> bool {
        let fold = self.durable().fold.as_ref();
        fold.is_some_and(|fold| fold.partial)
    }

    /// Whether it is loaded in part, and without one of these mailboxes.
    pub(super) fn lacks(&self, mailboxes: &[u32]) -> bool {
        let fold = self.durable().fold.as_ref();
        fold.filter(|fold| fold.partial)
            .is_some_and(|fold| mailboxes.iter().any(|id| fold.mailbox(*id).is_none()))
    }
}

impl Index {
    /// Reads an account again that is loaded in part; whether all of it is there now. Not where somebody does so, or it was
    /// in vain a moment ago.
    pub(super) fn ask_again(&self, cell: &Arc<Cell>) -> bool {
        let now = || self.log.options().host.now_ms();
        let began = now();
        let row = {
            let mut state = cell.peek(&self.log);
            if !state.is_partial() || state.loading || !state.again.is_due(began) {
                return false;
            }
            (state.loading, state.again.asking) = (true, true);
            state.durable().row.clone()
        };
        let whole = self.load_row(cell, &row).unwrap_or(false);
        if whole {
            self.loaded(cell, &row);
        }
        let ended = now();
        cell.peek(&self.log).again = Again {
            asking: false,
            vain: (!whole).then(|| (ended, ended.saturating_sub(began).max(0))),
        };
        whole
    }
}

#[cfg(test)]
mod tests {
    use super::Again;

    /// Goal: a disk that takes long to refuse is asked a fifth of the time, one that refuses at once is asked each time, and a
    /// clock that was put back keeps nobody from asking.
    #[test]
    fn a_disk_that_fails_is_not_asked_all_the_time() {
        let vain = |took| Again {
            asking: false,
            vain: Some((10_000, took)),
        };
        assert!(Again::default().is_due(0));
        assert!(vain(0).is_due(10_000));
        assert!(!vain(500).is_due(11_999));
        assert!(vain(500).is_due(12_000));
        assert!(vain(500).is_due(9_000));
        let asking = Again {
            asking: true,
            vain: None,
        };
        assert!(!asking.is_due(20_000));
    }
}
