//! Goal: a sync of the store is one of the system. The simulated disk cannot see that: `strace` does.
//!
//! Without `strace`, or where it may not trace, the test says so and shows nothing.

use std::path::Path;
use std::process::Command;

use mailkeep::{Delivery, Options, Store};

const CHILD: &str = "MAILKEEP_SYNCS_CHILD";

/// The process that is watched; does nothing when it runs as a test among others.
#[test]
fn child() {
    let Some(path) = std::env::var_os(CHILD) else {
        return;
    };
    let options = Options::new().background(false);
    let store = Store::open(Path::new(&path), options).unwrap();
    let inbox = store.create_account("anna").unwrap().inbox().unwrap();
    let kept = store.deliver(b"Subject: x\r\n\r\n", [Delivery::to(&inbox)]);
    kept.unwrap().wait().unwrap();
    // Without closing: what was acknowledged was synced before.
    std::process::exit(0);
}

#[test]
fn syncs_reach_the_system() {
    let dir = tempfile::tempdir().unwrap();
    let above = dir.path().canonicalize().unwrap();
    let path = above.join("mail");
    let trace = above.join("trace");
    let traced = Command::new("strace")
        .args(["-f", "-y", "-e", "trace=fsync,fdatasync", "-o"])
        .arg(&trace)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "system::child"])
        .env(CHILD, &path)
        .output();
    let traced = match traced {
        Ok(output) if output.status.success() => {
            // strace fills its columns with spaces.
            let read = std::fs::read_to_string(&trace).unwrap();
            let lines = read
                .lines()
                .map(|line| line.split_whitespace().collect::<Vec<_>>());
            let lines: Vec<String> = lines.map(|words| words.join(" ")).collect();
            lines.join("\n")
        }
        other => return println!("skipped: strace does not trace here: {other:?}"),
    };
    let path = path.display();
    let log = format!("{path}/log/0000000000000001.seg>) = 0");
    let of_log = |line: &&str| line.contains("fdatasync(") && line.contains(&log);
    assert!(
        traced.lines().filter(of_log).count() >= 3,
        "a header and two batches:\n{traced}"
    );
    for folder in [
        format!("{path}/log"),
        format!("{path}"),
        above.display().to_string(),
    ] {
        let synced = format!("<{folder}>) = 0");
        let found = |line: &str| line.contains("fsync(") && line.contains(&synced);
        assert!(
            traced.lines().any(found),
            "{folder} is not synced:\n{traced}"
        );
    }
}
