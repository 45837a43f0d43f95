//! Writing an mbox, in the form mboxrd.
//!
//! A message is a line `From MAILER-DAEMON Thu Jan  1 00:00:00 2004` (the date received, in UTC), its
//! bytes with one more `>` before each line that matches `^>*From `, and a blank line. Lines end in
//! LF; the message's own line ends stay as they are.
//!
//! # What can be reversed
//!
//! Through our own reader, every message: any bytes at all come back. Lines are what LF ends for both
//! sides, so quoting is undone exactly. A message that ends in LF, or has no bytes, is followed by
//! exactly one blank line, which every reader takes off: `a CR LF` gives `a CR LF LF`, and `LF` is the
//! blank line.
//!
//! A message that does not end in LF (also one that ends in CR) must get one, or the blank line would
//! not be blank. No arrangement of line ends can say so: each of them is already what some other
//! message looks like in an mbox from elsewhere. So its From_ line says it, where no other program
//! looks: the sender is `NO-FINAL-NEWLINE` in place of `MAILER-DAEMON`. Our reader takes the LF off;
//! for others the message has an LF more, which [`Fidelity::NewlineAdded`] reports.
//!
//! Years that have not four digits are written as the nearest that has (see `civil`).

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::{Fidelity, Outgoing, SinkError, Written, directory};
use crate::civil;
use crate::source::NO_FINAL_NEWLINE;

/// An mbox that is being written.
pub(crate) struct MboxSink {
    out: BufWriter<File>,
    path: PathBuf,
}

impl MboxSink {
    /// Creates the file.
    ///
    /// # Errors
    ///
    /// `Io`, also when there is anything of that name, be it a link to nothing.
    pub(crate) fn create(path: &Path) -> Result<Self, SinkError> {
        let file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(SinkError::io("create", path))?;
        Ok(Self::on(file, path.to_path_buf()))
    }

    /// Writes to a file that was just created.
    pub(super) fn on(file: File, path: PathBuf) -> Self {
        Self {
            out: BufWriter::with_capacity(256 << 10, file),
            path,
        }
    }

    /// Appends a message.
    ///
    /// # Errors
    ///
    /// `Io`: then the file ends somewhere in this message, and no more can be written to it.
    pub(crate) fn put(&mut self, message: &Outgoing<'_>) -> Result<Written, SinkError> {
        let fidelity = write_message(&mut self.out, message.raw, message.received)
            .map_err(SinkError::io("write", &self.path))?;
        Ok(Written {
            path: self.path.clone(),
            fidelity,
            lost_flags: Vec::new(),
        })
    }

    /// Writes what is buffered and makes the file durable.
    ///
    /// # Errors
    ///
    /// `Io`: then the file must not be relied on.
    pub(crate) fn finish(self) -> Result<(), SinkError> {
        let file = self
            .out
            .into_inner()
            .map_err(|error| SinkError::io("write", &self.path)(error.into_error()))?;
        file.sync_all().map_err(SinkError::io("sync", &self.path))?;
        directory::sync_parent(&self.path)
    }
}

/// Writes one message with its From_ line and blank line.
fn write_message(out: &mut impl Write, raw: &[u8], received: i64) -> io::Result<Fidelity> {
    let is_whole = raw.is_empty() || raw.ends_with(b"\n");
    let sender = if is_whole {
        "MAILER-DAEMON"
    } else {
        NO_FINAL_NEWLINE
    };
    writeln!(out, "From {sender} {}", civil::asctime(received))?;
    for line in raw.split_inclusive(|byte| *byte == b'\n') {
        if is_from(line) {
            out.write_all(b">")?;
        }
        out.write_all(line)?;
    }
    out.write_all(if is_whole { b"\n" } else { b"\n\n" })?;
    Ok(if is_whole {
        Fidelity::Exact
    } else {
        Fidelity::NewlineAdded
    })
}

/// Whether a line matches `^>*From `.
fn is_from(line: &[u8]) -> bool {
    let depth = line.iter().take_while(|byte| **byte == b'>').count();
    line.get(depth..)
        .is_some_and(|rest| rest.starts_with(b"From "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(raw: &[u8]) -> (String, Fidelity) {
        let mut out = Vec::new();
        let fidelity = write_message(&mut out, raw, 1_072_915_200).unwrap();
        (String::from_utf8(out).unwrap(), fidelity)
    }

    #[test]
    fn a_message_is_quoted_and_followed_by_a_blank_line() {
        let from = "From MAILER-DAEMON Thu Jan  1 00:00:00 2004\n";
        for (raw, body) in [
            ("", "\n"),
            ("\n", "\n\n"),
            ("a\r\n", "a\r\n\n"),
            (
                "From a\n>From b\n>>From c\n",
                ">From a\n>>From b\n>>>From c\n\n",
            ),
            (
                "From:\n> From\nfrom \nx From \n\rFrom \n",
                "From:\n> From\nfrom \nx From \n\rFrom \n\n",
            ),
        ] {
            assert_eq!(
                written(raw.as_bytes()),
                (format!("{from}{body}"), Fidelity::Exact)
            );
        }
    }

    #[test]
    fn a_message_without_a_final_newline_is_marked() {
        let from = "From NO-FINAL-NEWLINE Thu Jan  1 00:00:00 2004\n";
        for (raw, body) in [("a", "a\n\n"), ("\r", "\r\n\n"), ("a\n\r", "a\n\r\n\n")] {
            assert_eq!(
                written(raw.as_bytes()),
                (format!("{from}{body}"), Fidelity::NewlineAdded)
            );
        }
    }

    #[test]
    fn nothing_is_replaced() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("mbox");
        MboxSink::create(&path).unwrap().finish().unwrap();
        assert!(matches!(
            MboxSink::create(&path),
            Err(SinkError::Io { op: "create", .. })
        ));
        std::os::unix::fs::symlink("nowhere", root.path().join("link")).unwrap();
        assert!(MboxSink::create(&root.path().join("link")).is_err());
        assert!(!root.path().join("nowhere").exists());
    }
}
