//! The operator's drill (`examples/drill`): it finds that all promises hold, it would find that one does not, and it
//! leaves the original alone.

#[path = "../../examples/drill/copy.rs"]
mod copy;
#[path = "../../examples/drill/exam.rs"]
mod exam;
#[path = "../../examples/drill/faults.rs"]
mod faults;
#[path = "../../examples/drill/report.rs"]
mod report;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use mailkeep::{Delivery, Digest, Options, Store};

use exam::{Comparison, Content};
use faults::{Drill, Fault};

type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

const VICTIM: &str = "MAILKEEP_DRILL_VICTIM";

/// The process that the drill kills; does nothing when it runs as a test among others.
#[test]
fn victim() {
    if let Some(path) = std::env::var_os(VICTIM) {
        faults::deliver_until_killed(path.as_ref()).unwrap();
    }
}

fn begin(path: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "drill::victim", "--nocapture"]);
    command.env(VICTIM, path);
    command
}

fn bytes_of(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for folder in ["", "log", "index"] {
        for entry in fs::read_dir(path.join(folder)).unwrap().flatten() {
            if entry.file_type().unwrap().is_file() {
                let name = format!("{folder}/{}", entry.file_name().to_string_lossy());
                found.insert(name, fs::read(entry.path()).unwrap());
            }
        }
    }
    found
}

/// Goal: on a sound store all promises hold, whatever is done to its copies, and the original stays as it is.
#[test]
fn all_promises_hold() {
    let (dir, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = dir.path().join("mail");
    copy::make(&path).unwrap();
    let before = bytes_of(&path);
    let mut told = Vec::new();
    let drill = Drill {
        scratch: scratch.path(),
        seed: crate::kit::env("MAILKEEP_SEED", 1),
        victim: &begin,
    };
    let mut tell = |outcome: &report::Outcome| {
        println!("{outcome}");
        told.push(outcome.clone());
    };
    drill.run(Some(&path), &Fault::ALL, &mut tell).unwrap();
    for outcome in &told {
        assert!(outcome.broken.is_empty() && !outcome.skipped, "{outcome}");
        assert!(outcome.compared.same > 0, "{outcome}");
        assert_eq!(outcome.json()["fault"], outcome.fault);
    }
    let of = |fault: Fault| told.iter().find(|told| told.fault == fault.name()).unwrap();
    // It does harm: what was done is noticed.
    for fault in [Fault::Bit, Fault::Sector, Fault::Truncate, Fault::Segment] {
        assert!(!of(fault).said.is_empty(), "{}", of(fault));
    }
    assert!(of(Fault::Segment).compared.same < of(Fault::Index).compared.same);
    assert_eq!(before, bytes_of(&path), "the original was touched");
}

/// Goal: a store that a writer has open is not copied.
#[test]
fn a_store_in_use_is_left_alone() {
    let (dir, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = dir.path().join("mail");
    let store = Store::open(&path, Options::new()).unwrap();
    let refused = copy::take(&path, &scratch.path().join("copy")).unwrap_err();
    assert!(
        refused.to_string().contains("open for writing"),
        "{refused}"
    );
    store.close().unwrap();
    copy::take(&path, &scratch.path().join("copy")).unwrap();
}

/// Goal: a message that has other bytes, is gone, or is refused is found to be so.
#[test]
fn a_broken_promise_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mail");
    let store = Store::open(&path, Options::new()).unwrap();
    let inbox = store.create_account("anna").unwrap().inbox().unwrap();
    for n in 0..3 {
        let raw = copy::message("anna", n, 200);
        let kept = store.deliver(&raw, [Delivery::to(&inbox)]).unwrap();
        kept.wait().unwrap();
    }
    let before = Content::of(&store);
    assert!(Comparison::new(&before, &before).is_equal());
    let keys: Vec<_> = before.messages.keys().cloned().collect();
    let mut after = before.clone();
    after
        .messages
        .insert(keys[0].clone(), Ok(Digest::of(b"other")));
    after.messages.insert(keys[1].clone(), Err("bad".into()));
    after.messages.remove(&keys[2]);
    let compared = Comparison::new(&before, &after);
    assert!(!compared.is_equal());
    assert_eq!((compared.same, compared.refused, compared.gone), (0, 1, 1));
    assert_eq!(compared.wrong, [keys[0].clone()]);
}
