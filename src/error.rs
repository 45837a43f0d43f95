//! What can go wrong, split by what the caller would do about it.

use std::io;
use std::sync::Arc;

use crate::format::Fault;
use crate::mail::{AccountNameError, KeywordError, NameError, Uid};
use crate::witness::Witness;

/// The result of this crate's calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call failed.
///
/// Messages name the file, the offset, what was found and what was expected; the cause, where there is one, is in
/// [`source`](std::error::Error::source). Each variant says what to do.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The system refused. Nothing was acknowledged that is not durable. Look at the cause; a write may be tried
    /// again unless the store has become read-only.
    #[error("cannot {op} {path}")]
    Io {
        /// What was tried.
        op: &'static str,
        /// On which file.
        path: String,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The disk or the quota is full. Nothing of the call was kept; reads go on. Make room and call again: the
    /// store resumes by itself.
    #[error("no space left to {op} {path}")]
    NoSpace {
        /// What was tried.
        op: &'static str,
        /// On which file.
        path: String,
    },
    /// Bytes on disk are not what was written. Only what lies there is affected. Run `verify` for the whole list,
    /// restore from a copy.
    #[error("{path} is damaged at byte {offset}: {what}")]
    Damaged {
        /// The file.
        path: String,
        /// Offset in the file, in bytes.
        offset: u64,
        /// What was found and expected.
        what: Fault,
    },
    /// The file is sound, and newer than this build. Use a newer build; nothing was changed.
    #[error("{path} is in a newer format: {what}")]
    UnsupportedFormat {
        /// The file.
        path: String,
        /// What is not known.
        what: Fault,
    },
    /// There is no store here, and none was to be created. Check the path; an empty folder is not an empty store.
    #[error("{path} holds no store: {what}")]
    NotAStore {
        /// The path.
        path: String,
        /// What is there instead.
        what: &'static str,
    },
    /// A file of another store lies here. Put the right one back; nothing was changed.
    #[error("{path} belongs to another store")]
    Foreign {
        /// The file.
        path: String,
    },
    /// Files are missing or shorter than they were: a copy that was not finished, or an older one. Restore them, or
    /// open read-only; to go on without what is missing, say so with `accept_loss`.
    #[error("{path} is incomplete: {what}")]
    Incomplete {
        /// The store, or the file in it.
        path: String,
        /// What is missing.
        what: String,
    },
    /// The log does not have the batch that [`Options::witness`](crate::Options::witness) names: an older copy of the store
    /// was put back, or another history of it, or that very batch is damaged. Nothing of the log was changed. Restore what
    /// is newer; opening without the witness gives up what was acknowledged since, and may give UIDs again.
    #[error("{path} {}: found {found}, expected {expected}", .found.instead_of(.expected))]
    NotWitnessed {
        /// The store.
        path: String,
        /// The witness.
        expected: Box<Witness>,
        /// What the log has in its place: the batch of that number, or else the last one.
        found: Box<Witness>,
    },
    /// Another process (or another handle of this one) has the store open for writing. Close that one, or open
    /// read-only.
    #[error("{path} is in use by {owner}")]
    Locked {
        /// The store.
        path: String,
        /// Who holds it, as written in its lock file.
        owner: String,
    },
    /// The store was opened read-only.
    #[error("the store is open read-only")]
    ReadOnly,
    /// Writing stopped after a failure that could not be contained. Everything acknowledged is safe, reads go on.
    /// Mend the cause and open the store again.
    #[error("writing has stopped")]
    Stopped {
        /// The failure.
        source: Arc<Error>,
    },
    /// The store was closed, or this batch was never written because of it.
    #[error("the store is closed")]
    Closed,
    /// There is no account of that name. Create it first.
    #[error("there is no account {name:?}")]
    NoSuchAccount {
        /// The name.
        name: String,
    },
    /// An account of that name exists.
    #[error("account {name:?} exists")]
    AccountExists {
        /// The name.
        name: String,
    },
    /// There is no mailbox of that name (any more).
    #[error("there is no mailbox {name:?}")]
    NoSuchMailbox {
        /// The name.
        name: String,
    },
    /// A mailbox of that name exists.
    #[error("mailbox {name:?} exists")]
    MailboxExists {
        /// The name.
        name: String,
    },
    /// INBOX cannot be deleted, and nothing can be put below a name inside itself.
    #[error("mailbox {name:?} cannot be {verb}")]
    NotAllowed {
        /// The mailbox.
        name: String,
        /// What was asked: deleted, renamed, selected.
        verb: &'static str,
    },
    /// The mailbox has mailboxes below it (RFC 9051 6.3.5). Delete those first.
    #[error("mailbox {name:?} has mailboxes below it")]
    HasChildren {
        /// The mailbox.
        name: String,
    },
    /// There is no message of that UID in the mailbox.
    #[error("there is no message {uid} in mailbox {mailbox:?}")]
    NoSuchMessage {
        /// The mailbox.
        mailbox: String,
        /// The UID.
        uid: Uid,
    },
    /// A name outside the rules. Fix the call.
    #[error("the name is not valid")]
    InvalidName(#[from] NameError),
    /// An account name outside the rules. Fix the call.
    #[error("the account name is not valid")]
    InvalidAccountName(#[from] AccountNameError),
    /// A keyword outside the grammar. Fix the call.
    #[error("the keyword is not valid")]
    InvalidKeyword(#[from] KeywordError),
    /// Something is larger than its limit. Raise the option, or refuse the mail.
    #[error("{what} has {len} bytes, the limit is {max}")]
    TooLarge {
        /// What.
        what: &'static str,
        /// Its size.
        len: u64,
        /// The limit.
        max: u64,
    },
    /// An option outside its range. Fix the call.
    #[error("option {option} is {found}, outside {min} to {max}")]
    InvalidOption {
        /// Which option.
        option: &'static str,
        /// Its value.
        found: u64,
        /// The smallest allowed.
        min: u64,
        /// The largest allowed.
        max: u64,
    },
    /// The mailbox has given out its last UID (or the account its last MODSEQ). Move the mail to a new mailbox.
    #[error("mailbox {name:?} has no {what} left")]
    Exhausted {
        /// The mailbox.
        name: String,
        /// UIDs or MODSEQs.
        what: &'static str,
    },
    /// An empty message: no server accepts one. Refuse it.
    #[error("the message is empty")]
    EmptyMessage,
}

impl Error {
    /// An error of the system on `path`, with lack of space told apart.
    pub(crate) fn io(op: &'static str, path: impl Into<String>, source: io::Error) -> Self {
        let path = path.into();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace { op, path },
            _ => Self::Io {
                op,
                path,
                source: Arc::new(source),
            },
        }
    }

    /// A fault in the bytes of `path`, with newer formats and foreign files told apart.
    pub(crate) fn fault(path: impl Into<String>, offset: u64, what: Fault) -> Self {
        let path = path.into();
        match what {
            Fault::Foreign => Self::Foreign { path },
            what if what.is_newer() => Self::UnsupportedFormat { path, what },
            what => Self::Damaged { path, offset, what },
        }
    }

    /// Whether the same call may succeed later without anything being mended by hand: only for lack of space.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::NoSpace { .. })
    }
}
