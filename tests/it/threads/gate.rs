//! A place where a thread waits until it is told to go on, and says that it has come there.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use mailkeep::io::Host;

use crate::sim::SimHost;

/// Stops the thread of one name, once, when it is armed.
#[derive(Debug)]
pub(super) struct Gate {
    thread: &'static str,
    armed: AtomicBool,
    reached: Mutex<Sender<()>>,
    go: Mutex<Receiver<()>>,
}

/// The other side of a gate.
#[derive(Debug)]
pub(super) struct Keeper {
    pub(super) gate: Arc<Gate>,
    reached: Receiver<()>,
    go: Sender<()>,
}

impl Gate {
    pub(super) fn of(thread: &'static str) -> Keeper {
        let (reached, is_reached) = channel();
        let (go, may_go) = channel();
        let gate = Gate {
            thread,
            armed: AtomicBool::new(true),
            reached: Mutex::new(reached),
            go: Mutex::new(may_go),
        };
        Keeper {
            gate: Arc::new(gate),
            reached: is_reached,
            go,
        }
    }

    /// Whether this is the gate's thread.
    pub(super) fn is_here(&self) -> bool {
        std::thread::current().name() == Some(self.thread)
    }

    pub(super) fn pass(&self) {
        if self.is_here() && self.armed.swap(false, Ordering::SeqCst) {
            self.reached.lock().unwrap().send(()).unwrap();
            self.go.lock().unwrap().recv().unwrap();
        }
    }
}

impl Keeper {
    /// Waits until the thread has come to the gate.
    pub(super) fn await_arrival(&self) {
        self.reached.recv().unwrap();
    }

    pub(super) fn open(&self) {
        self.go.send(()).unwrap();
    }
}

/// A host whose clock is a gate. It is asked while an account is locked, after it was looked at and before its records
/// are handed over.
#[derive(Debug)]
pub(super) struct GatedHost {
    pub(super) host: SimHost,
    pub(super) gate: Arc<Gate>,
}

impl Host for GatedHost {
    fn now_ms(&self) -> i64 {
        self.gate.pass();
        self.host.now_ms()
    }
    fn unique(&self) -> [u8; 16] {
        self.host.unique()
    }
    fn identity(&self) -> String {
        self.host.identity()
    }
}

/// Runs something on a thread of that name.
pub(super) fn on<'scope, T: Send + 'scope>(
    scope: &'scope std::thread::Scope<'scope, '_>,
    name: &str,
    run: impl FnOnce() -> T + Send + 'scope,
) -> std::thread::ScopedJoinHandle<'scope, T> {
    let thread = std::thread::Builder::new().name(name.into());
    thread.spawn_scoped(scope, run).unwrap()
}
