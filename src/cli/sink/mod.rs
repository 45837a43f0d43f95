//! Writing mail to files, byte for byte.
//!
//! Names of mailboxes and keywords are data: no name leads out of the directory that was given, no
//! link is followed below it, nothing that exists is replaced. `finish` makes all of it durable;
//! what is there before it may be lost with the power.

mod directory;
mod eml;
mod maildir;
mod mbox;
mod mboxes;

use std::io;
use std::path::{Path, PathBuf};

pub(crate) use eml::EmlSink;
pub(crate) use maildir::MaildirSink;
pub(crate) use mbox::MboxSink;
pub(crate) use mboxes::MboxesSink;

/// A message to write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outgoing<'a> {
    /// The message byte for byte.
    pub(crate) raw: &'a [u8],
    /// When it was received, in seconds since the epoch. No format keeps the zone.
    pub(crate) received: i64,
    /// IMAP system flags with their backslash, and keywords. Only Maildir keeps them.
    pub(crate) flags: &'a [String],
    /// Levels of its mailbox; empty for the one that is exported to the top. Only an mbox, which is
    /// one mailbox, has no use for it.
    pub(crate) folder: &'a [String],
    /// Its UID, which names its file in the `eml` format.
    pub(crate) uid: u32,
}

/// A message as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    /// Its file. Long or odd names of mailboxes are spelled differently there.
    pub(crate) path: PathBuf,
    /// What reading it back takes.
    pub(crate) fidelity: Fidelity,
    /// Flags and keywords that the format has, but cannot keep for this message.
    pub(crate) lost_flags: Vec<String>,
}

/// What a reader makes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fidelity {
    /// Any reader of the format gives the message back byte for byte.
    Exact,
    /// The message does not end in a newline and an mbox must: other readers see one at its end.
    /// Ours takes it off.
    NewlineAdded,
    /// The file starts as an mbox or compressed data does, and a reader that looks at that will take
    /// it for one; ours gives it back byte for byte when told that it is a message (`Format::Eml`).
    LooksLikeOther,
}

/// Why a message cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum SinkError {
    /// The system refused. What was written before is still there: free space or fix rights, and
    /// export again to a new place.
    #[error("cannot {op} {}", path.display())]
    Io {
        /// What was tried.
        op: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The directory to write to holds something. Choose another.
    #[error("{} is not empty", path.display())]
    NotEmpty {
        /// The directory.
        path: PathBuf,
    },
}

impl SinkError {
    /// Makes an error of the system's, for `map_err`.
    fn io<E: Into<io::Error>>(op: &'static str, path: &Path) -> impl FnOnce(E) -> Self {
        move |source| Self::Io {
            op,
            path: path.to_path_buf(),
            source: source.into(),
        }
    }
}
