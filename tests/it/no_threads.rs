//! A process that gets no more threads.
//!
//! Goal: an opening that cannot start all of its threads fails and leaves nothing behind: none of those that it has started,
//! and not the writer's lock, so that the store can be opened when there are threads again.

use std::process::Command;

use mailkeep::{Delivery, Error, Options, Store};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Set in the process that the test is made in.
const INSIDE: &str = "MAILKEEP_TEST_FEW_THREADS";
/// The stack of every thread there.
const STACK: u64 = 512 << 20;
/// More than an opening starts.
const THREADS: u64 = 8;

/// Number of threads of this process.
fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

/// Leaves so much of the address space that stacks of so many threads fit, and all but one more.
fn leave_room_for(count: u64) {
    let old = getrlimit(Resource::As);
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split(' ').next().unwrap().parse().unwrap();
    // Pages of that size, or larger ones: then there is room for fewer.
    let used = pages * 4096;
    let current = Some(used + count * STACK + STACK / 2);
    setrlimit(Resource::As, Rlimit { current, ..old }).unwrap();
}

fn inside() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mail");
    let alone = Options::new().background(false);
    let store = Store::open(&path, alone.clone()).unwrap();
    store.create_account("anna").unwrap();
    store.close().unwrap();
    let before = threads();
    let mut refused = 0;
    for count in 0..THREADS {
        leave_room_for(count);
        match Store::open(&path, Options::new()) {
            Ok(store) => store.close().unwrap(),
            Err(error) => {
                assert!(matches!(error, Error::Io { .. }), "{count}: {error}");
                assert_eq!(refused, count, "fewer threads were enough");
                refused += 1;
            }
        }
        assert_eq!(threads(), before, "{count}: threads are left");
        let store = Store::open(&path, alone.clone());
        let store = store.unwrap_or_else(|error| panic!("{count}: {error}"));
        let inbox = store.account("anna").unwrap().inbox().unwrap();
        let kept = store.deliver(b"Subject: kept\r\n\r\n", [Delivery::to(&inbox)]);
        kept.unwrap().wait().unwrap().remove(0).unwrap();
        store.close().unwrap();
    }
    println!("refused with up to {refused} threads less one");
    assert!(refused > 1 && refused < THREADS, "{refused}");
}

#[test]
fn an_opening_that_gets_too_few_threads_leaves_nothing_behind() {
    if std::env::var_os(INSIDE).is_some() {
        return inside();
    }
    let name = "no_threads::an_opening_that_gets_too_few_threads_leaves_nothing_behind";
    let inside = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--test-threads=1"])
        .env(INSIDE, "1")
        .env("RUST_MIN_STACK", STACK.to_string())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&inside.stdout);
    assert!(
        inside.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&inside.stderr)
    );
}
