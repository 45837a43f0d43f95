//! Why the command could not do what was asked, and how it ends.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::sink::SinkError;
use crate::source::SourceError;

/// How a run ended that did what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing is wrong: exit 0.
    Good,
    /// Damage was found, or something was left out: exit 1.
    Differences,
}

impl Verdict {
    /// `Good` if `good`.
    pub(crate) fn of(good: bool) -> Self {
        if good { Self::Good } else { Self::Differences }
    }
}

impl From<Verdict> for ExitCode {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Good => Self::SUCCESS,
            Verdict::Differences => Self::from(1),
        }
    }
}

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// The store refused.
    #[error(transparent)]
    Store(#[from] mailkeep::Error),
    /// The message that was asked for cannot be read; everything else was done.
    #[error(transparent)]
    Message(mailkeep::Error),
    /// The store is named by a symbolic link, and those are not followed.
    #[error("{} is a symbolic link", path.display())]
    StoreIsLink {
        /// The link.
        path: PathBuf,
        /// What the store said.
        source: mailkeep::Error,
    },
    /// A store is made in a directory that is there, and this one is not.
    #[error("{}: the directory above it does not exist", path.display())]
    NothingAbove {
        /// The store.
        path: PathBuf,
        /// What the store said.
        source: mailkeep::Error,
    },
    /// A file of mail cannot be read at all.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A file of mail cannot be written.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// Standard output does not take what is written.
    #[error("cannot write to standard output")]
    Stdout(#[source] io::Error),
}

impl CliError {
    /// Whether the reader of standard output has gone: `mailkeep list ... | head`. That is no error.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Stdout(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// 1 for a damaged message in a store that was read; 2 for everything else, also for a store so damaged that it
    /// does not open: nothing was done.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Message(mailkeep::Error::Damaged { .. }) => ExitCode::from(1),
            _ => ExitCode::from(2),
        }
    }
}

/// An error and all its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_chain_in_one_line() {
        let error = CliError::Store(
            mailkeep::MailboxName::new("a//b")
                .map_err(mailkeep::Error::from)
                .unwrap_err(),
        );
        let text = chain(&error);
        assert!(text.starts_with("the name is not valid: "), "{text}");
    }

    #[test]
    fn only_a_broken_pipe_is_forgiven() {
        let stdout = |kind: io::ErrorKind| CliError::Stdout(kind.into());
        assert!(stdout(io::ErrorKind::BrokenPipe).is_broken_pipe());
        assert!(!stdout(io::ErrorKind::StorageFull).is_broken_pipe());
    }
}
