//! Running the command, and real mail to run it on.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use sha1::{Digest as _, Sha1};

/// What a run gave.
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: Vec<u8>,
    pub(crate) err: String,
}

/// The command with its arguments, not started.
pub(crate) fn command<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mailkeep"));
    command.args(args).stdin(Stdio::null());
    command
}

/// Runs the command to its end.
pub(crate) fn run<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Ran {
    let output = command(args).output().unwrap();
    Ran {
        code: output.status.code(),
        out: output.stdout,
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

impl Ran {
    /// Checks how it ended.
    pub(crate) fn ended(self, code: i32) -> Self {
        let (out, err) = (String::from_utf8_lossy(&self.out), &self.err);
        assert_eq!(
            self.code,
            Some(code),
            "standard output: {out}\nstandard error: {err}"
        );
        self
    }

    /// Checks that all was well and that nothing else was said.
    pub(crate) fn well(self) -> Self {
        let ran = self.ended(0);
        assert_eq!(ran.err, "");
        ran
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.out).unwrap()
    }

    /// The one JSON object that was written.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.out).unwrap()
    }

    /// The JSON objects that were written, one a line.
    pub(crate) fn lines(&self) -> Vec<Value> {
        let lines = self.text().lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

/// A path as an argument.
pub(crate) fn arg(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The directory of the corpora, or a word that there is none.
pub(crate) fn corpora() -> Option<PathBuf> {
    let root = std::env::var_os("MAILKEEP_CORPORA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpora"),
        PathBuf::from,
    );
    let is_there = root.join("README.md").is_file();
    if !is_there {
        let root = root.display();
        eprintln!("skipped: no corpora at {root} (set MAILKEEP_CORPORA)");
    }
    is_there.then_some(root)
}

/// The id that git gives a file of these bytes.
pub(crate) fn git_blob(raw: &[u8]) -> String {
    let mut hasher = Sha1::new();
    hasher.update(format!("blob {}\0", raw.len()));
    hasher.update(raw);
    let digest = hasher.finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// All of a file that zstd compressed.
pub(crate) fn unzstd(path: &Path) -> Vec<u8> {
    let mut decoder = zstd::Decoder::new(File::open(path).unwrap()).unwrap();
    decoder.window_log_max(27).unwrap();
    let mut whole = Vec::new();
    decoder.read_to_end(&mut whole).unwrap();
    whole
}

/// The messages of an mbox that this command wrote. A reader of its own: every line that starts with `From_`
/// separates, as all others are quoted.
pub(crate) fn split_mbox(mbox: &[u8]) -> Vec<Vec<u8>> {
    let mut messages: Vec<(bool, Vec<u8>)> = Vec::new();
    for line in mbox.split_inclusive(|byte| *byte == b'\n') {
        if line.starts_with(b"From ") {
            messages.push((line.starts_with(b"From NO-FINAL-NEWLINE "), Vec::new()));
            continue;
        }
        let quotes = line.iter().take_while(|byte| **byte == b'>').count();
        let is_quoted = quotes > 0 && line[quotes..].starts_with(b"From ");
        let (_, message) = messages.last_mut().expect("a From_ line at the start");
        message.extend_from_slice(&line[usize::from(is_quoted)..]);
    }
    let unwrap = |(is_cut, mut message): (bool, Vec<u8>)| {
        assert_eq!(
            message.pop(),
            Some(b'\n'),
            "a blank line after each message"
        );
        if is_cut {
            assert_eq!(message.pop(), Some(b'\n'), "a newline that was added");
        }
        message
    };
    messages.into_iter().map(unwrap).collect()
}

/// All files below a directory, in order.
pub(crate) fn files(directory: &Path) -> Vec<PathBuf> {
    let (mut found, mut rest) = (Vec::new(), vec![directory.to_path_buf()]);
    while let Some(path) = rest.pop() {
        if path.is_dir() {
            rest.extend(
                std::fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}
