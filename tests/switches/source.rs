//! The table against the source: every switch has a row and a place, and no sync and no checksum is without a switch.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::switch::Switch;
use crate::table::{By, TABLE};

/// The code of each source file: no tests, no comments.
fn sources() -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = BTreeMap::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(&root).unwrap().display().to_string();
            let test = name.ends_with("tests.rs") || name.ends_with("/tests") || name == "cli";
            if path.is_dir() && !test {
                folders.push(path);
            } else if name.ends_with(".rs") && !test && name != "switch.rs" {
                let text = fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
                let lines = code.lines().map(|line| line.split("//").next().unwrap());
                found.insert(name, lines.collect::<Vec<_>>().join("\n"));
            }
        }
    }
    found
}

#[test]
fn every_switch_has_a_row_and_a_place() {
    let sources = sources();
    let rows: BTreeSet<String> = TABLE
        .iter()
        .map(|(switch, _)| format!("{switch:?}"))
        .collect();
    assert_eq!(rows.len(), TABLE.len(), "a switch has two rows");
    for switch in Switch::ALL {
        let name = format!("{switch:?}");
        assert!(rows.contains(&name), "{name} has no row");
        let used = format!("Switch::{name}");
        let ends = |code: &str| {
            let mut places = code.match_indices(&used);
            places.any(|(at, _)| !code[at + used.len()..].starts_with(char::is_alphanumeric))
        };
        assert!(
            sources.values().any(|code| ends(code)),
            "{name} turns nothing off"
        );
    }
    for (switch, by) in TABLE {
        let said = match by {
            By::Lib(text) | By::It(text) | By::Here(text) => text.contains("::"),
            By::Needless(proof) => proof.len() > 40,
        };
        assert!(said, "{switch:?}: {by:?}");
    }
}

/// Calls that pass a sync or a comparison on; the switch is where they are called, or behind them.
const PASSED_ON: [(&str, &str); 8] = [
    ("log/writer.rs", "active.syncing.sync()"),
    ("log/syncing.rs", "self.file.sync()"),
    ("log/syncing.rs", "syncing.sync()"),
    ("index/tender.rs", "self.images.sync()"),
    ("directory/page.rs", "self.file.sync()"),
    ("store.rs", "self.inner.log.sync()"),
    ("index/rebuild.rs", "storage.sync_dir(FOLDER)"),
    ("log/recovery/finish.rs", "self.storage.sync_dir(folder)"),
];

#[test]
fn no_sync_and_no_checksum_is_without_a_switch() {
    let mut bare = Vec::new();
    let mut guarded = 0;
    for (name, code) in sources() {
        for call in [".sync()", ".sync_dir(", "check(", "check_sum("] {
            for (at, _) in code.match_indices(call) {
                let before = &code[at.saturating_sub(160)..at];
                let line = code[..at].rsplit('\n').next().unwrap().trim_start();
                let end = code[at..]
                    .find(['\n', ';'])
                    .map_or(code.len(), |end| at + end);
                let whole = format!("{line}{}", &code[at..end]);
                let other = line.starts_with("use ")
                    || line.contains("fn ")
                    || line.ends_with(|last: char| last.is_alphanumeric() || last == '_')
                    || (call == "check(" && line.ends_with(['.', ':']));
                let passed = PASSED_ON
                    .iter()
                    .any(|(file, text)| *file == name && whole.contains(text));
                let near = before.rfind("guard(").is_some_and(|guard| {
                    !before[guard..].contains(';') || before[guard..].contains("|| {")
                });
                if near {
                    guarded += 1;
                } else if !other && !passed {
                    bare.push(format!("src/{name}: {whole}"));
                }
            }
        }
    }
    assert!(bare.is_empty(), "\n{}", bare.join("\n"));
    assert!(
        guarded > 35,
        "{guarded} were found: are they searched right?"
    );
}
