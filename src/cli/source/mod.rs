//! Reading mail from files: one message at a time, whatever the files are.
//!
//! [`open`] looks at what is there, not at names:
//!
//! - a directory is walked, in the order of names (see `tree`): a folder with `cur` or with `new`
//!   and `tmp` is a Maildir, the files of any other are taken when they are mail (see `eml`), or all
//!   of them where [`Format::Eml`] says that they are;
//! - a file whose first line that is not blank is a From_ line is an mbox (see `mbox`), any other is one message;
//! - `-` is an mbox on standard input;
//! - a file that starts as zstd or gzip data is any of these, compressed (see `compress`).
//!
//! Memory is bounded by [`Options::message_max`], one folder's list of names and the window of the
//! decompressor; the size of files does not matter. A message over the limit is an item
//! [`SourceError::TooLarge`] and is never held; the messages after it follow.

mod compress;
mod eml;
mod from_line;
mod maildir;
mod mbox;
mod tree;

use std::io::{self, Read};
use std::path::{Path, PathBuf};

pub(crate) use from_line::NO_FINAL_NEWLINE;
pub(crate) use maildir::{FLAGS as MAILDIR_FLAGS, KEYWORDS_FILE};
pub(crate) use mbox::Quoting;

/// A message as found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// The message byte for byte, line ends as they were.
    pub(crate) raw: Vec<u8>,
    /// When it was received: seconds since the epoch and the zone in minutes east of UTC. From the
    /// From_ line of an mbox or the name in a Maildir; a plain file says nothing that can be relied
    /// on (its time is that of the last copy), there it is `None`.
    pub(crate) received: Option<(i64, i16)>,
    /// IMAP system flags with their backslash, and keywords. Only Maildir has them.
    pub(crate) flags: Vec<String>,
    /// Levels of the mailbox below the one imported to; empty for that mailbox itself. Only Maildir
    /// has folders.
    pub(crate) folder: Vec<String>,
    /// Where it was.
    pub(crate) origin: Origin,
}

/// Where a message was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The file; `-` is standard input.
    pub(crate) path: PathBuf,
    /// Bytes before it in the file: in an mbox, before its From_ line; else 0. In a compressed file
    /// they are counted after decompression.
    pub(crate) offset: u64,
}

/// What a path is taken for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Format {
    /// Look and see.
    #[default]
    Auto,
    /// An mbox. A file that does not start with a From_ line is an error.
    Mbox,
    /// Each file is one message exactly as it is, whatever it starts with. It is decompressed only
    /// when its name ends in `.zst` or `.gz` too.
    Eml,
}

/// How to read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// Longest message in bytes, default 256 MiB.
    pub(crate) message_max: u64,
    /// What to take files for, default [`Format::Auto`].
    pub(crate) format: Format,
    /// How an mbox quotes lines that look like separators, default [`Quoting::Rd`].
    pub(crate) quoting: Quoting,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            message_max: 256 << 20,
            format: Format::Auto,
            quoting: Quoting::Rd,
        }
    }
}

/// Why a message, or the rest of a file, cannot be had.
///
/// Each is one item of [`Source`]; what can be read after it follows.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum SourceError {
    /// The system refused. The rest of that file is left out: check the path and its rights; data
    /// that does not decompress is reported as this too.
    #[error("cannot {op} {} at byte {offset}", path.display())]
    Io {
        /// What was tried.
        op: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Bytes before the message that cannot be read.
        offset: u64,
        /// What the system said.
        source: io::Error,
    },
    /// A message is longer than allowed and was left out. Raise the limit to import it.
    #[error(
        "a message of {} at byte {offset} is too large: found at least {found} bytes, \
         expected at most {message_max}",
        path.display()
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Bytes before the message in the file.
        offset: u64,
        /// Bytes of it that were seen. In an mbox all were, and quoting is counted.
        found: u64,
        /// The limit.
        message_max: u64,
    },
    /// An mbox was asked for and the file does not start with a From_ line. Read it as something
    /// else, or see what it is.
    #[error("{} is not an mbox: found {found:?} at its start, expected a From_ line with a date", path.display())]
    NotMbox {
        /// The file.
        path: PathBuf,
        /// The start of its first line, with bytes that are not UTF-8 replaced.
        found: String,
    },
    /// A file met in a directory does not start as mail does and is not taken. Name it, or import its
    /// directory with [`Format::Eml`], if it is mail.
    #[error("{} is passed over: it does not start with {expected}", path.display())]
    PassedOver {
        /// The file.
        path: PathBuf,
        /// What files of the format start with.
        expected: &'static str,
    },
}

impl SourceError {
    /// Makes an error of the system's, for `map_err`.
    fn io(op: &'static str, path: &Path, offset: u64) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            op,
            path: path.to_path_buf(),
            offset,
            source,
        }
    }
}

/// Messages one by one; see [`open`].
pub(crate) struct Source {
    tree: tree::Tree,
}

impl Source {
    /// Files that were seen in directories and not taken for mail so far: each is an item
    /// [`SourceError::PassedOver`], but for those that lie loose in a Maildir, which are programs' own.
    pub(crate) fn passed_over(&self) -> u64 {
        self.tree.passed_over()
    }

    /// Bytes read of files so far, before decompression (in a Maildir, after).
    pub(crate) fn read_bytes(&self) -> u64 {
        self.tree.read_bytes()
    }
}

impl Iterator for Source {
    type Item = Result<Found, SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.tree.next()
    }
}

/// Opens a file or a directory of mail, or standard input for `-`.
///
/// An empty file is an mbox without messages, unless its name ends in `.eml`, `.eml.zst` or
/// `.eml.gz`, or the format is [`Format::Eml`]: then it is a message of no bytes.
///
/// # Errors
///
/// `Io` when the path cannot be opened, `NotMbox` when an mbox was asked for (`-` always asks for
/// one) and this is none, `TooLarge` when the one message of the file is.
pub(crate) fn open(path: &Path, options: Options) -> Result<Source, SourceError> {
    Ok(Source {
        tree: tree::Tree::open(path, options)?,
    })
}

/// Whether [`Format::Auto`] takes a file of these bytes for something else than a message: an mbox,
/// or compressed data.
pub(crate) fn looks_like_other(raw: &[u8]) -> bool {
    compress::detect(raw).is_some() || from_line::starts_mbox(raw)
}

/// Reads all of `input`, at most `message_max` bytes.
fn read_message(input: impl Read, path: &Path, options: Options) -> Result<Vec<u8>, SourceError> {
    let mut raw = Vec::new();
    input
        .take(options.message_max.saturating_add(1))
        .read_to_end(&mut raw)
        .map_err(SourceError::io("read", path, 0))?;
    check_len(raw.len() as u64, path, 0, options)?;
    Ok(raw)
}

/// Refuses a message over the limit.
fn check_len(found: u64, path: &Path, offset: u64, options: Options) -> Result<(), SourceError> {
    let message_max = options.message_max;
    if found > message_max {
        return Err(SourceError::TooLarge {
            path: path.to_path_buf(),
            offset,
            found,
            message_max,
        });
    }
    Ok(())
}
