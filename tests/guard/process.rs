//! A test in a process of its own, and what the tests share.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

/// Names the test that this process is for.
const CHILD: &str = "MAILKEEP_GUARD_CHILD";

/// Runs `act` in a process of its own, which is this test again, and tells how that ended. `name` is the test's.
pub(crate) fn alone(name: &str, act: impl FnOnce()) -> ExitStatus {
    if std::env::var(CHILD).is_ok_and(|child| child == name) {
        act();
        std::process::exit(0);
    }
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, name)
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
