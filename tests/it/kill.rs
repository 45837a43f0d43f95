//! `kill -9` of a real process that delivers to a real folder: what it said was acknowledged is there.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use mailkeep::{Delivery, Options, Store};

use crate::kit::{assert_whole, env, message};

const CHILD: &str = "MAILKEEP_KILL_CHILD";

fn len_of(uid: u32) -> usize {
    [40, 900, 70_000, 12, 5_000, 1_200_000][uid as usize % 6]
}

fn open(path: &std::path::Path) -> Store {
    Store::open(path, Options::new().segment_len(1 << 20)).unwrap()
}

/// The process that will be killed; does nothing when it runs as a test among others.
#[test]
fn child() {
    let Some(path) = std::env::var_os(CHILD) else {
        return;
    };
    let store = open(path.as_ref());
    let inbox = match store.account("anna") {
        Ok(anna) => anna.inbox().unwrap(),
        Err(_) => store.create_account("anna").unwrap().inbox().unwrap(),
    };
    let mut next = inbox.status().unwrap().uid_next.unwrap().get();
    loop {
        let raw = message(next.into(), len_of(next));
        let kept = store.deliver(&raw, [Delivery::to(&inbox)]).unwrap();
        let uid = kept.wait().unwrap().remove(0).unwrap().uid.get();
        assert_eq!(uid, next, "UIDs follow one another");
        // The parent reads whole lines only: this is the acknowledgement.
        println!("\nacknowledged {uid}");
        std::io::stdout().flush().unwrap();
        next = uid + 1;
    }
}

/// Lets the child run for a while, kills it, and returns the last UID that it acknowledged.
fn run_and_kill(path: &std::path::Path, after: Duration) -> Option<u32> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::child", "--nocapture"])
        .env(CHILD, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let reader = std::thread::spawn(move || {
        let lines = out.lines().map_while(Result::ok);
        let uids = lines.filter_map(|line| line.strip_prefix("acknowledged ")?.parse().ok());
        uids.last()
    });
    std::thread::sleep(after);
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap()
}

#[test]
fn acknowledged_mail_survives_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mail");
    let mut acknowledged = 0;
    for round in 0..env("MAILKEEP_KILLS", 30) {
        let wait = Duration::from_millis(20 + round * 37 % 180);
        acknowledged = run_and_kill(&path, wait)
            .unwrap_or(acknowledged)
            .max(acknowledged);
        let store = open(&path);
        assert!(store.recovery().is_whole(), "{}", store.recovery());
        let Ok(anna) = store.account("anna") else {
            assert_eq!(acknowledged, 0);
            continue;
        };
        let view = anna.inbox().unwrap().view().unwrap();
        let found = u32::try_from(view.len()).unwrap();
        assert!(
            (acknowledged..=acknowledged + 1).contains(&found),
            "{acknowledged} of {found}"
        );
        for uid in view.uids().iter() {
            let bytes = view.message(uid).unwrap().bytes().unwrap();
            assert!(
                bytes == message(uid.get().into(), len_of(uid.get())),
                "UID {uid}"
            );
        }
        acknowledged = found;
    }
    assert_whole(&open(&path));
    println!("{acknowledged} messages acknowledged");
}
