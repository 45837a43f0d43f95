//! A private place for one test: its own mount and process namespace, so that nothing is left behind however it ends.
//!
//! The test calls itself again as the first process of the namespace. When that one dies the kernel ends all others in it,
//! unmounts what they mounted, and the loop devices go with their last user.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const INSIDE: &str = "MAILKEEP_DISKS_INSIDE";

/// What a test may need besides the namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Need {
    program: &'static str,
    package: &'static str,
}

/// A program and the Debian package that has it.
pub(crate) const fn need(program: &'static str, package: &'static str) -> Need {
    Need { program, package }
}

/// Runs `body` on a stage of its own, in a folder that is gone afterwards, or says in one line why it cannot.
///
/// `name` is the test's own path, by which the second process finds it.
pub(crate) fn on_stage(name: &str, needs: &[Need], body: impl FnOnce(&Path)) {
    if let Some(folder) = std::env::var_os(INSIDE) {
        end_with_the_parent();
        body(&PathBuf::from(folder));
        return;
    }
    if let Some(missing) = missing(needs) {
        // Past the harness, which shows nothing of tests that pass.
        let line = format!("\nskipped {name}: {missing}\n");
        let _ = std::io::stderr().write_all(line.as_bytes());
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let deadline = Duration::from_secs(crate::env("MAILKEEP_DISKS_SECONDS", 1200));
    let mut child = Command::new("unshare")
        .args(["--mount", "--pid", "--fork", "--kill-child"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(INSIDE, folder.path())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let began = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if began.elapsed() > deadline {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("{name}: not done after {deadline:?}");
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(status.success(), "{name}: {status}, see above");
}

/// Ends this process when the one that holds the other end of its standard input is gone.
fn end_with_the_parent() {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(1);
    });
}

/// What keeps these tests from running here, and how to get it.
fn missing(needs: &[Need]) -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("it mounts file systems: run it as root".into());
    }
    for (path, how) in [
        (
            "/dev/fuse",
            "`modprobe fuse`, or give the container that device",
        ),
        (
            "/dev/loop-control",
            "`modprobe loop`, or give the container the loop devices",
        ),
    ] {
        if let Err(error) = std::fs::File::options().read(true).write(true).open(path) {
            return Some(format!("{path}: {error}: {how}"));
        }
    }
    let usual = [
        need("unshare", "util-linux"),
        need("losetup", "mount"),
        need("mount", "mount"),
    ];
    for Need { program, package } in usual.iter().chain(needs) {
        let found = Command::new(program).arg("-V").output();
        if found.is_err() {
            return Some(format!("no {program}: `apt-get install {package}`"));
        }
    }
    let mut try_out = Command::new("unshare");
    try_out.args(["--mount", "--pid", "--fork", "--kill-child", "true"]);
    let tried = try_out.output().ok()?;
    let why = String::from_utf8_lossy(&tried.stderr);
    (!tried.status.success()).then(|| format!("no namespaces here: {}", why.trim()))
}

/// Runs a program and returns what it prints.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        let said = String::from_utf8_lossy(&output.stderr);
        Err(format!(
            "{program} {arguments:?}: {}: {}",
            output.status,
            said.trim()
        ))
    }
}
