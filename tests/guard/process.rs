//! A test in a process of its own, and what the tests share.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use mailkeep::install_guard;

/// Names the test that this process is for.
const CHILD: &str = "MAILKEEP_GUARD_CHILD";

/// Runs `act` in a process of its own, which is this test again, and tells how that ended. `name` is the test's.
pub(crate) fn alone(name: &str, act: impl FnOnce()) -> ExitStatus {
    alone_as(name, name, act)
}

/// As [`alone`], for one of several processes of a test, which is told from the others by `child`.
fn alone_as(name: &str, child: &str, act: impl FnOnce()) -> ExitStatus {
    if is_child(|found| found == child) {
        act();
        std::process::exit(0);
    }
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, child)
        .spawn()
        .unwrap();
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        // A handler that does not help is called for ever.
        if start.elapsed() > Duration::from_secs(60 + seconds() * 4) {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("{name} did not end");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// As [`alone`], for an `act` that is to come to its end.
pub(crate) fn survives(name: &str, act: impl FnOnce()) {
    let status = alone(name, act);
    assert!(status.success(), "{name}: {status}");
}

/// As [`survives`], twice: in a process without the guard, and in one with it, which `act` is told.
pub(crate) fn survives_both(name: &str, act: impl Fn(bool)) {
    for (guarded, child) in [(false, "without the guard"), (true, "with the guard")] {
        let child = format!("{name} {child}");
        // The process of the one is not that of the other.
        if is_child(|found| found != child) {
            continue;
        }
        let status = alone_as(name, &child, || {
            if guarded {
                install_guard().unwrap();
            }
            act(guarded);
        });
        assert!(status.success(), "{child}: {status}");
    }
}

/// Whether this is a process that a test was given for itself, and that by its name.
fn is_child(by_name: impl Fn(&str) -> bool) -> bool {
    std::env::var(CHILD).is_ok_and(|found| by_name(&found))
}

/// As [`alone`], for an `act` that is to end by `SIGBUS`.
pub(crate) fn dies(name: &str, act: impl FnOnce()) {
    let status = alone(name, act);
    assert_eq!(status.signal(), Some(libc::SIGBUS), "{name}: {status}");
}

/// How long tests that go on for a while do so.
pub(crate) fn seconds() -> u64 {
    env("MAILKEEP_GUARD_SECONDS", 1)
}

/// A number from the environment.
pub(crate) fn env(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.map_or(default, |text| text.parse().expect("a number"))
}

/// A generator of numbers that a test can replay.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// One of the numbers below `n`, which is not 0.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16) as usize % n
    }
}
