//! Builds the tests with the switches in them, turns one after the other off, and holds what fails against the table.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::kit::env;
use crate::switch::Switch;
use crate::table::{By, TABLE};

/// Who hangs without a protection misses it too: so much longer than all tests took with nothing off.
const PATIENCE: Duration = Duration::from_secs(60);

/// The test binaries, by the name of their target.
type Built = BTreeMap<String, PathBuf>;

fn build() -> Built {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let flags = std::env::var("RUSTFLAGS").unwrap_or_default();
    let out = Command::new(env!("CARGO"))
        .args(["test", "--locked", "--no-run", "--message-format=json"])
        .args(["--lib", "--test", "it", "--test", "switches"])
        .current_dir(root)
        .env("RUSTFLAGS", format!("{flags} --cfg mailkeep_switches"))
        .env("CARGO_TARGET_DIR", root.join("target/switches"))
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(out.status.success(), "the tests do not build with switches");
    let lines = String::from_utf8(out.stdout).unwrap();
    let built = lines.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let file = message["executable"].as_str()?.into();
        Some((message["target"]["name"].as_str()?.to_owned(), file))
    });
    built.collect()
}

/// Which binary has the test, and its name there.
fn place(by: By) -> Option<(&'static str, &'static str)> {
    match by {
        By::Lib(test) => Some(("mailkeep", test)),
        By::It(test) => Some(("it", test)),
        By::Here(test) => Some(("switches", test)),
        By::Needless(_) => None,
    }
}

/// How a run of tests ended.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    Passed(usize),
    Failed,
    Hung,
    /// Not by the tests: no such switch, say.
    Otherwise,
}

fn run(binary: &Path, tests: &[&str], off: Option<Switch>, patience: Duration) -> Ended {
    let mut command = Command::new(binary);
    command.args(tests).arg("--exact").arg("--test-threads=1");
    command
        .env_remove("MAILKEEP_SWITCHES")
        .env_remove("MAILKEEP_OFF");
    if let Some(off) = off {
        command.env("MAILKEEP_OFF", format!("{off:?}"));
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out");
    let out = std::fs::File::create(&path).unwrap();
    command
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .stdout(out);
    let mut child = command.spawn().unwrap();
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if off.is_some() && start.elapsed() > patience {
            child.kill().unwrap();
            child.wait().unwrap();
            return Ended::Hung;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let said = std::fs::read_to_string(&path).unwrap();
    let passed = said.lines().find_map(|line| {
        let rest = line.strip_prefix("test result: ok. ")?;
        rest.split(' ').next()?.parse().ok()
    });
    match (status.code(), passed) {
        (Some(0), Some(passed)) => Ended::Passed(passed),
        (Some(101), None) => Ended::Failed,
        // A panic while panicking, or a stack that overflows: the test noticed.
        (None, _) => Ended::Failed,
        _ => Ended::Otherwise,
    }
}

/// The rows to be tried.
fn chosen() -> Option<Vec<(Switch, By)>> {
    let wish = std::env::var("MAILKEEP_SWITCHES").ok()?;
    let mut rows = TABLE.to_vec();
    if let Ok(many) = wish.parse::<usize>() {
        let mut state = env("MAILKEEP_SEED", 1) | 1;
        let mut order: Vec<(u64, (Switch, By))> = Vec::new();
        for row in rows {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            order.push((state >> 16, row));
        }
        order.sort_by_key(|(at, _)| *at);
        rows = order.into_iter().take(many).map(|(_, row)| row).collect();
    } else if wish != "all" {
        rows.retain(|(switch, _)| format!("{switch:?}") == wish);
        assert!(!rows.is_empty(), "there is no switch {wish}");
    }
    Some(rows)
}

/// With nothing turned off all tests of these rows pass, each of them once.
fn all_pass(built: &Built, rows: &[(Switch, By)]) {
    let mut tests = BTreeMap::<&str, BTreeSet<&str>>::new();
    for (binary, test) in rows.iter().filter_map(|(_, by)| place(*by)) {
        tests.entry(binary).or_default().insert(test);
    }
    for (binary, tests) in tests {
        let names: Vec<&str> = tests.into_iter().collect();
        let ended = run(&built[binary], &names, None, PATIENCE);
        assert_eq!(ended, Ended::Passed(names.len()), "{binary}: {names:?}");
    }
}

#[test]
fn each_switch_is_missed() {
    let Some(rows) = chosen() else {
        return println!(
            "skipped: MAILKEEP_SWITCHES=all turns each protection off, or a number of them"
        );
    };
    let start = Instant::now();
    let built = build();
    println!("built in {:.0?}", start.elapsed());
    let start = Instant::now();
    all_pass(&built, &rows);
    let patience = PATIENCE + start.elapsed();
    println!("nothing off: all pass, in {:.0?}", start.elapsed());
    let work = Mutex::new(rows.iter());
    let survivors = Mutex::new(Vec::new());
    let needless = rows
        .iter()
        .filter(|(_, by)| matches!(by, By::Needless(_)))
        .count();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let next = work.lock().unwrap().next();
                    let Some((switch, by)) = next else { return };
                    let Some((binary, test)) = place(*by) else {
                        continue;
                    };
                    let start = Instant::now();
                    let ended = run(&built[binary], &[test], Some(*switch), patience);
                    println!("{switch:?}: {test}: {ended:?}, {:.1?}", start.elapsed());
                    if !matches!(ended, Ended::Failed | Ended::Hung) {
                        survivors.lock().unwrap().push((*switch, test, ended));
                    }
                }
            });
        }
    });
    let survivors = survivors.into_inner().unwrap();
    println!(
        "{} switches: {} missed, {needless} needless, {} survive, in {:.0?}",
        rows.len(),
        rows.len() - needless - survivors.len(),
        survivors.len(),
        start.elapsed()
    );
    assert!(survivors.is_empty(), "nobody misses {survivors:#?}");
}

/// `cargo test --test switches the_table -- --nocapture` prints it, as Markdown.
#[test]
fn the_table() {
    println!("| switch | what holds while it is on | missed by |\n| --- | --- | --- |");
    for (switch, sentence) in Switch::ALL.iter().zip(Switch::SENTENCES) {
        let row = TABLE.iter().find(|(of, _)| of == switch);
        let by = match row.unwrap().1 {
            By::Lib(test) => format!("`src`, `{test}`"),
            By::It(test) => format!("`tests/it`, `{test}`"),
            By::Here(test) => format!("`tests/switches`, `{test}`"),
            By::Needless(proof) => format!("nobody: {proof}"),
        };
        println!("| {switch:?} | {} | {by} |", sentence.trim());
    }
}
