//! Commits of many threads that become one: whoever comes first writes for all that have come meanwhile.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, PoisonError};

use crate::store::Result;

/// What threads hand to a leader. The store behind it is written to by one thread at a time.
pub(crate) struct Group<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    waiting: Vec<(u64, T)>,
    next: u64,
    led: bool,
    /// UIDs, or why there is none, of those whose thread has not fetched it yet.
    done: HashMap<u64, std::result::Result<u32, String>>,
}

impl<T> Group<T> {
    pub(crate) fn new() -> Self {
        let state = State {
            waiting: Vec::new(),
            next: 0,
            led: false,
            done: HashMap::new(),
        };
        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    /// Has `item` written by `write`, together with others, by this thread or another; its UID.
    pub(crate) fn commit(&self, item: T, write: impl Fn(&[T]) -> Result<Vec<u32>>) -> Result<u32> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let ticket = state.next;
        state.next += 1;
        state.waiting.push((ticket, item));
        loop {
            if let Some(done) = state.done.remove(&ticket) {
                return done.map_err(Into::into);
            }
            if state.led {
                let woken = self.changed.wait(state);
                state = woken.unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.led = true;
            let (tickets, items): (Vec<u64>, Vec<T>) =
                std::mem::take(&mut state.waiting).into_iter().unzip();
            drop(state);
            let written = write(&items).map_err(|error| error.to_string());
            state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            for (at, ticket) in tickets.into_iter().enumerate() {
                let uid = match &written {
                    Ok(uids) => uids.get(at).copied().ok_or_else(|| "no UID".to_owned()),
                    Err(error) => Err(error.clone()),
                };
                state.done.insert(ticket, uid);
            }
            state.led = false;
            self.changed.notify_all();
        }
    }
}
