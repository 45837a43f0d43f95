//! A process of its own: its memory knows nothing of what built the store, and it may be killed.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};

const ROLE: &str = "MAILKEEP_BENCH_ROLE";

/// What this process was started for by [`start`]; `None` where it is the bench itself.
pub(crate) fn role() -> Option<Vec<String>> {
    let text = std::env::var(ROLE).ok()?;
    Some(serde_json::from_str(&text).unwrap())
}

/// Starts this program once more, with that role.
fn start(role: &[&str]) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(std::env::args().skip(1))
        .env(ROLE, serde_json::json!(role).to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What a process with that role says in its one line, which is waited for.
fn heard(child: &mut Child) -> serde_json::Value {
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap()
}

/// Runs a process with that role to its end.
pub(crate) fn ask(role: &[&str]) -> serde_json::Value {
    let mut child = start(role);
    let said = heard(&mut child);
    assert!(child.wait().unwrap().success());
    said
}

/// Runs a process with that role until it has said its line, then kills it.
pub(crate) fn ask_and_kill(role: &[&str]) -> serde_json::Value {
    let mut child = start(role);
    let said = heard(&mut child);
    child.kill().unwrap();
    assert!(!child.wait().unwrap().success(), "it ended by itself");
    said
}

/// Says the one line of this process.
pub(crate) fn say(value: &serde_json::Value) {
    println!("{value}");
}

/// Says it and waits to be killed.
pub(crate) fn say_and_wait(value: &serde_json::Value) {
    say(value);
    // Ends only if whoever started this process has died.
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}
