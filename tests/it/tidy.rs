//! Rules of the source tree that no compiler checks: who may name what, and what a file may look like.
//!
//! Every rule is a function of a path and a text, so that the tests below can show it a file that breaks it.

use std::fs;
use std::path::Path;

/// Where mapped pages become slices, and where a signal handler is.
const WITH_UNSAFE: [&str; 2] = ["src/io/map.rs", "src/io/map/guard/signal.rs"];
/// Longer files hold two ideas.
const LINES_MAX: usize = 600;

/// What the lower layers may name of this crate, besides nothing.
const MAY_NAME: [(&str, &[&str]); 3] = [
    ("mail", &["mail"]),
    ("format", &["format", "mail", "error", "switch"]),
    ("io", &["io", "mail", "switch"]),
];
/// What the log, which stands on them, and the directory above it may not: everything above themselves.
const MAY_NOT_NAME: [(&str, &[&str]); 2] = [
    (
        "log",
        &[
            "index",
            "store",
            "volume",
            "account",
            "mailbox",
            "message",
            "compact",
            "verify",
            "cli",
            "directory",
        ],
    ),
    (
        "directory",
        &[
            "index", "store", "volume", "account", "mailbox", "message", "compact", "verify", "cli",
        ],
    ),
];

/// Every rule that the file breaks, with the line where there is one.
fn broken(path: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let mut say = |what: String| found.push(format!("{path}:{}: {what}", at + 1));
        bare_todo(line).into_iter().for_each(&mut say);
        bare_ignore(line).into_iter().for_each(&mut say);
        if path.starts_with("src/") {
            not_ascii(line).into_iter().for_each(&mut say);
            misplaced_unsafe(path, line).into_iter().for_each(&mut say);
        }
    }
    if path.starts_with("src/") {
        let lines = text.lines().count();
        if lines > LINES_MAX {
            found.push(format!("{path}: {lines} lines, at most {LINES_MAX}"));
        }
        let code: String = text
            .lines()
            .map(|line| code_of(line).to_owned() + "\n")
            .collect();
        let of_code = misplaced_disk(path, &code)
            .into_iter()
            .chain(wrong_layer(path, &code));
        found.extend(of_code.map(|what| format!("{path}: {what}")));
    }
    found
}

/// A promise of work without the number of an issue where somebody keeps it.
fn bare_todo(line: &str) -> Option<String> {
    let words = [concat!("TO", "DO"), concat!("FIX", "ME")];
    let word = words.into_iter().find(|word| {
        words_of(line).any(|found| found == *word) && !line.contains(&format!("{word}(#"))
    })?;
    Some(format!("{word} without an issue number"))
}

/// A test that is switched off without saying why.
fn bare_ignore(line: &str) -> Option<String> {
    let rest = line.trim_start().strip_prefix(concat!("#[", "ignore"))?;
    let reason = rest.trim_start().strip_prefix('=').map(str::trim_start);
    let said = reason.is_some_and(|reason| reason.starts_with('"') && !reason.starts_with("\"\""));
    (!said).then(|| "a test is ignored without a reason".to_owned())
}

fn not_ascii(line: &str) -> Option<String> {
    let found = line.chars().find(|found| !found.is_ascii())?;
    Some(format!(
        "{} is not ASCII: write it as an escape",
        found.escape_unicode()
    ))
}

fn misplaced_unsafe(path: &str, line: &str) -> Option<String> {
    let found =
        !WITH_UNSAFE.contains(&path) && words_of(code_of(line)).any(|word| word == "unsafe");
    found.then(|| format!("`unsafe` belongs in {}", WITH_UNSAFE.join(" or ")))
}

/// Only `io` touches the disk. The command is excepted for `std::fs`, and its sink, which must not follow links, for
/// `rustix`: they read and write the user's own mail files, which are no part of a store.
fn misplaced_disk(path: &str, code: &str) -> Vec<String> {
    if path.starts_with("src/io/") {
        return Vec::new();
    }
    let mut found: Vec<String> = ["rustix", "memmap2", "libc"]
        .into_iter()
        .filter(|name| !(*name == "rustix" && path.starts_with("src/cli/sink/")))
        .filter(|name| words_of(code).any(|word| word == *name))
        .map(|name| format!("`{name}` belongs in src/io"))
        .collect();
    if !path.starts_with("src/cli/") {
        let disk = |name: &String| matches!(name.as_str(), "fs" | "os");
        found.extend(
            named_under(code, "std")
                .into_iter()
                .filter(disk)
                .map(|name| format!("`std::{name}` belongs in src/io")),
        );
    }
    found
}

/// Names of modules above the file's own.
fn wrong_layer(path: &str, code: &str) -> Vec<String> {
    let layer = path
        .trim_start_matches("src/")
        .split(['/', '.'])
        .next()
        .unwrap_or_default();
    let listed = |table: &[(&str, &'static [&'static str])]| {
        table
            .iter()
            .find(|(name, _)| *name == layer)
            .map(|(_, names)| *names)
    };
    let (may, may_not) = (listed(&MAY_NAME), listed(&MAY_NOT_NAME));
    let wrong = |name: &String| {
        // `crate::Error` is the error module's, re-exported at the root.
        let module = if matches!(name.as_str(), "Error" | "Result") {
            "error"
        } else {
            name.as_str()
        };
        may.is_some_and(|may| !may.contains(&module))
            || may_not.is_some_and(|not| not.contains(&module))
    };
    let named = named_under(code, "crate")
        .into_iter()
        .chain(through_super(path, code));
    named
        .filter(wrong)
        .map(|name| format!("`{layer}` may not name `{name}`"))
        .collect()
}

/// Modules that the file reaches by climbing to the root of the crate with `super::`.
fn through_super(path: &str, code: &str) -> Vec<String> {
    let inside = path
        .trim_start_matches("src/")
        .trim_end_matches(".rs")
        .trim_end_matches("/mod");
    let climb = "super::".repeat(inside.split('/').count());
    let modules = MAY_NAME
        .iter()
        .map(|(name, _)| *name)
        .chain(MAY_NOT_NAME[0].1.iter().copied())
        .chain(["log"]);
    modules
        .filter(|name| code.contains(&format!("{climb}{name}::")))
        .map(str::to_owned)
        .collect()
}

/// The first names after `root::`, also those in braces: of `root::{a::b, c}` they are `a` and `c`.
fn named_under(code: &str, root: &str) -> Vec<String> {
    let start = format!("{root}::");
    let mut found = Vec::new();
    for (at, _) in code.match_indices(&start) {
        if code[..at]
            .chars()
            .next_back()
            .is_some_and(|before| before.is_alphanumeric() || before == '_')
        {
            continue; // the end of a longer name
        }
        let rest = &code[at + start.len()..];
        match rest.strip_prefix('{') {
            Some(group) => found.extend(first_names(group)),
            None => found.extend(words_of(rest).next().map(str::to_owned)),
        }
    }
    found
}

/// The first name of each item of a group whose opening brace was read.
fn first_names(group: &str) -> Vec<String> {
    let mut depth = 0;
    let mut items = vec![String::new()];
    for letter in group.chars() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => items.push(String::new()),
            _ => {}
        }
        if let Some(item) = items.last_mut() {
            item.push(letter);
        }
    }
    items
        .iter()
        .filter_map(|item| words_of(item).next().map(str::to_owned))
        .collect()
}

fn words_of(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !letter.is_alphanumeric() && letter != '_')
        .filter(|word| !word.is_empty())
}

/// The line without its comment. A string that holds two slashes is cut short, which hides nothing that these
/// rules look for at the beginning of a path.
fn code_of(line: &str) -> &str {
    line.split_once("//").map_or(line, |(code, _)| code)
}

/// Every Rust file below a folder, as path from the root of the repository and text, but for what a build left.
fn sources(root: &Path, folder: &str, found: &mut Vec<(String, String)>) {
    let Ok(entries) = fs::read_dir(root.join(folder)) else {
        return;
    };
    for entry in entries {
        let entry = entry.unwrap();
        let path = format!("{folder}/{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            if entry.file_name() != "target" {
                sources(root, &path, found);
            }
        } else if path.ends_with(".rs") {
            let text = fs::read_to_string(entry.path()).unwrap();
            found.push((path, text));
        }
    }
}

#[test]
fn the_source_tree_keeps_its_rules() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["src", "tests", "benches", "examples"] {
        sources(root, folder, &mut files);
    }
    assert!(
        files.iter().any(|(path, _)| path == WITH_UNSAFE[0]),
        "the tree was not found"
    );
    let found: Vec<String> = files
        .iter()
        .flat_map(|(path, text)| broken(path, text))
        .collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn what_a_build_left_is_not_looked_at() {
    let root = tempfile::tempdir().unwrap();
    for folder in ["benches/peers/target/debug", "benches/peers/src"] {
        fs::create_dir_all(root.path().join(folder)).unwrap();
        fs::write(root.path().join(folder).join("made.rs"), "").unwrap();
    }
    let mut files = Vec::new();
    sources(root.path(), "benches", &mut files);
    assert_eq!(
        files,
        [("benches/peers/src/made.rs".to_owned(), String::new())]
    );
}

#[test]
fn each_rule_finds_what_breaks_it() {
    let cases = [
        ("src/store.rs", "use std::fs;"),
        ("src/store.rs", "let file = ::std::fs::File::open(path);"),
        ("src/store.rs", "use std::{io, fs::File};"),
        ("src/store.rs", "use std::{\n    fmt,\n    fs,\n};"),
        ("src/log/mod.rs", "use std::os::unix::fs::FileExt;"),
        ("src/cli/main.rs", "rustix::fs::fsync(fd);"),
        ("src/log/mod.rs", "use memmap2::Mmap;"),
        ("src/io/fs.rs", "unsafe { read() }"),
        ("src/io/map/guard.rs", "unsafe { read() }"),
        ("src/log/mod.rs", "let _ = libc::getpid();"),
        ("src/store.rs", "unsafe fn read() {}"),
        ("src/mail/uid.rs", "use crate::format::frame;"),
        ("src/mail/uid.rs", "use crate::Error;"),
        ("src/mail/mod.rs", "use super::format::frame;"),
        ("src/mail/uid.rs", "use super::super::format::frame;"),
        ("src/format/frame.rs", "use crate::io::File;"),
        ("src/format/frame.rs", "use crate::{mail::Uid, log::Log};"),
        (
            "src/log/writer.rs",
            "use crate::{io::{self, File}, index::Index};",
        ),
        ("src/log.rs", "fn of(store: &crate::store::Store) {}"),
        ("src/io/mod.rs", "use crate::format::Fault;"),
        ("src/log/mod.rs", "use crate::directory::Row;"),
        ("src/directory/mod.rs", "use crate::index::Index;"),
        ("src/io/mod.rs", "pub(crate) use crate::Options;"),
        ("src/store.rs", "// na\u{ef}ve"),
        ("src/store.rs", concat!("// TO", "DO: later")),
        ("tests/it/api.rs", concat!("// FIX", "ME later")),
        ("tests/it/api.rs", concat!("    #[", "ignore]")),
        ("tests/it/api.rs", concat!("#[", "ignore = \"\"]")),
    ];
    for (path, text) in cases {
        assert_eq!(
            broken(path, text).len(),
            1,
            "{path}: {text}: {:?}",
            broken(path, text)
        );
    }
    assert_eq!(broken("src/store.rs", &"\n".repeat(LINES_MAX + 1)).len(), 1);
}

#[test]
fn no_rule_finds_what_is_allowed() {
    let cases = [
        ("src/io/fs.rs", "use std::fs;\nuse rustix::fs::openat;"),
        ("src/cli/mbox.rs", "use std::fs::File;"),
        ("src/cli/sink/directory.rs", "use rustix::fs::openat;"),
        ("src/io/map.rs", "unsafe { read() }"),
        ("src/io/map/guard/signal.rs", "unsafe { libc::raise(7) }"),
        (
            "src/store.rs",
            "#![deny(unsafe_code)] // no unsafe, no std::fs, no rustix\n//! `memmap2`",
        ),
        (
            "src/store.rs",
            "use std::{io, sync::Arc};\nuse crate::{index::Index, log::Log};",
        ),
        ("src/store.rs", "use my_std::fs;"),
        (
            "src/mail/uid.rs",
            "use crate::mail::Flags;\nuse super::flags;",
        ),
        (
            "src/format/frame.rs",
            "use crate::{Error, Result, error::What, mail::Uid};",
        ),
        (
            "src/log/writer.rs",
            "use crate::{Error, io::{File, Storage}, format::frame};\nuse super::index_of;",
        ),
        (
            "src/io/mod.rs",
            "use crate::{io::File, mail::Flags};\n#[cfg(test)] mod tests { use super::*; }",
        ),
        ("src/store.rs", concat!("// TO", "DO(#12): later")),
        (
            "tests/it/api.rs",
            concat!(
                "#[",
                "ignore = \"takes an hour\"]\n// na\u{ef}ve\nuse std::fs;"
            ),
        ),
    ];
    for (path, text) in cases {
        assert_eq!(broken(path, text), Vec::<String>::new());
    }
    assert!(broken("src/store.rs", &"\n".repeat(LINES_MAX)).is_empty());
}
