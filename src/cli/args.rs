//! What can be asked for.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use mailkeep::mail::{AccountName, MailboxName};
use mailkeep::{Durability, Uid};

use crate::source;

/// Keep mail in a store: bring it in, take it out, look at it, check it.
///
/// Exit codes: 0 all is well; 1 damage was found or something was left out; 2 it could not be done. Results are on
/// standard output; warnings, errors and progress on standard error. docs/COMMAND.md describes every JSON field.
#[derive(Debug, Parser)]
#[command(name = "mailkeep", version)]
pub(crate) struct Args {
    /// Answer in JSON: one object, or one a line for lists
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// What to do
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The subcommands. Each says in its arguments what it does: words here would replace those in the help.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Import(Import),
    Export(Export),
    List(List),
    Show(Show),
    Verify(Verify),
    Stat(Stat),
    Receipt(Receipt),
    Witness(Witness),
    Rebuild(Rebuild),
}

/// Bring mail in from mbox files, Maildirs and message files.
///
/// A PATH is looked at, not its name: a file that starts with a From_ line that has a date is an mbox (mboxo, mboxrd,
/// LF or CRLF), any other file is one message; a directory with cur, or with new and tmp, is a Maildir with its
/// folders; any other directory is searched for such files and Maildirs. Files may be compressed with zstd or gzip.
/// `-` is an mbox on standard input.
///
/// The received date is that of the From_ line or of the Maildir name; else that of the Date field; else now. System
/// flags and keywords come from Maildirs.
///
/// It may be interrupted at any moment (Ctrl-C, kill, power): what is in the store stays whole. Run it again with
/// --skip-existing to go on.
#[derive(Debug, clap::Args)]
pub(crate) struct Import {
    /// The store's directory; created with the account and the mailboxes as needed
    pub(crate) store: PathBuf,
    /// The account's name
    #[arg(long, value_parser = account)]
    pub(crate) account: AccountName,
    /// The mailbox; folders of a Maildir become mailboxes below it. Without it, mail goes to INBOX and folders of a
    /// Maildir become mailboxes beside INBOX
    #[arg(long, value_parser = mailbox)]
    pub(crate) mailbox: Option<MailboxName>,
    /// Fail when there is no store
    #[arg(long)]
    pub(crate) no_create: bool,
    /// Leave out what the mailbox holds already, by content. Of equal messages, as many are left out as it holds
    #[arg(long)]
    pub(crate) skip_existing: bool,
    /// What files are
    #[arg(long, value_enum, default_value_t = Reading::Auto)]
    pub(crate) format: Reading,
    /// How an mbox quotes lines that look like separators
    #[arg(long, value_enum, default_value_t = Quoting::Mboxrd)]
    pub(crate) quoting: Quoting,
    /// Largest message, in bytes; K, M and G may follow (1024, its square, its cube). Larger ones are left out
    #[arg(long, value_name = "BYTES", value_parser = size, default_value = "256M")]
    pub(crate) message_max: u64,
    /// What imported mail survives when the command has ended
    #[arg(long, value_enum, default_value_t = Survives::Durable)]
    pub(crate) durability: Survives,
    /// Files and directories, or - for standard input
    #[arg(required = true)]
    pub(crate) path: Vec<PathBuf>,
}

// Which store, and how it is held against what is known of it. (No doc comment: it would replace that of each command.)
#[derive(Debug, clap::Args)]
pub(crate) struct At {
    /// The store's directory
    pub(crate) store: PathBuf,
    /// Refuse the store unless it got as far as this line of `mailkeep witness` says
    #[arg(long, value_name = "LINE")]
    pub(crate) witness: Option<mailkeep::Witness>,
}

/// Write mail to an mbox, a Maildir or message files, byte for byte.
///
/// Damage does not stop it: what cannot be read is listed, the rest is written, and the exit code is 1.
#[derive(Debug, clap::Args)]
pub(crate) struct Export {
    #[command(flatten)]
    pub(crate) at: At,
    /// The account's name
    #[arg(long, value_parser = account)]
    pub(crate) account: AccountName,
    /// The mailbox; without it, all mailboxes of the account
    #[arg(long, value_parser = mailbox)]
    pub(crate) mailbox: Option<MailboxName>,
    /// What to write
    #[arg(long, value_enum)]
    pub(crate) format: Writing,
    /// What to create. mbox: the file, or without --mailbox a directory with one file for each mailbox. maildir: the
    /// Maildir. eml: a directory, OUT/MAILBOX/UID.eml. Nothing that exists is replaced; a directory must be empty
    pub(crate) out: PathBuf,
}

/// List accounts, the mailboxes of one, or the messages of one mailbox.
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    #[command(flatten)]
    pub(crate) at: At,
    /// List the mailboxes of this account
    #[arg(long, value_parser = account)]
    pub(crate) account: Option<AccountName>,
    /// List the messages of this mailbox
    #[arg(long, value_parser = mailbox, requires = "account")]
    pub(crate) mailbox: Option<MailboxName>,
}

/// Write one message to standard output, byte for byte.
///
/// With --json: its marks, dates, sizes and digest, not its bytes.
#[derive(Debug, clap::Args)]
pub(crate) struct Show {
    #[command(flatten)]
    pub(crate) at: At,
    /// The account's name
    #[arg(long, value_parser = account)]
    pub(crate) account: AccountName,
    /// The mailbox
    #[arg(long, value_parser = mailbox, default_value = "INBOX")]
    pub(crate) mailbox: MailboxName,
    /// The message's UID
    #[arg(long, value_parser = uid)]
    pub(crate) uid: Uid,
}

/// Read and check everything, change nothing.
///
/// Every byte of the log against its checksums, every message against its digest. Exit code 1 when anything is not as
/// it was written.
#[derive(Debug, clap::Args)]
pub(crate) struct Verify {
    #[command(flatten)]
    pub(crate) at: At,
    /// Check only the messages of this account
    #[arg(long, value_parser = account)]
    pub(crate) account: Option<AccountName>,
}

/// Sizes, counts and health.
#[derive(Debug, clap::Args)]
pub(crate) struct Stat {
    #[command(flatten)]
    pub(crate) at: At,
    /// Also count accounts, mailboxes and messages: looks at every account
    #[arg(long)]
    pub(crate) count: bool,
}

/// Say what accounts and mailboxes hold, as digests to compare.
///
/// One line for each account; with --account one for it and one for each of its mailboxes. Equal lines mean equal mail.
/// The order is the store's own: sort before comparing two stores.
#[derive(Debug, clap::Args)]
pub(crate) struct Receipt {
    #[command(flatten)]
    pub(crate) at: At,
    /// Only this account, with its mailboxes
    #[arg(long, value_parser = account)]
    pub(crate) account: Option<AccountName>,
    /// Only this mailbox
    #[arg(long, value_parser = mailbox, requires = "account")]
    pub(crate) mailbox: Option<MailboxName>,
}

/// Say how far the store certainly got, in one line to be kept elsewhere.
///
/// With that line, --witness of the other commands and of the library refuse an older copy of the store, which is sound in
/// itself and shows by nothing else that newer mail was acknowledged.
#[derive(Debug, clap::Args)]
pub(crate) struct Witness {
    #[command(flatten)]
    pub(crate) at: At,
}

/// Drop what is derived and make it again from the log.
///
/// Never needed: damage to the index is found and mended as it is met. For who wants to be sure, and for drills. The
/// store must not be open elsewhere for writing; no mail is touched, and it may be interrupted at any moment.
#[derive(Debug, clap::Args)]
pub(crate) struct Rebuild {
    #[command(flatten)]
    pub(crate) at: At,
}

/// What files are taken for.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Reading {
    /// Look and see
    Auto,
    /// Mbox files; others are errors when named, and passed over in directories
    Mbox,
    /// Each file is one message as it is, whatever it starts with
    Eml,
}

impl From<Reading> for source::Format {
    fn from(reading: Reading) -> Self {
        match reading {
            Reading::Auto => Self::Auto,
            Reading::Mbox => Self::Mbox,
            Reading::Eml => Self::Eml,
        }
    }
}

/// How an mbox was quoted.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Quoting {
    /// Lines that match ^>+From_ lose one >
    Mboxrd,
    /// Lines that start with >From_ lose the >
    Mboxo,
    /// Nothing was quoted
    None,
}

impl From<Quoting> for source::Quoting {
    fn from(quoting: Quoting) -> Self {
        match quoting {
            Quoting::Mboxrd => Self::Rd,
            Quoting::Mboxo => Self::O,
            Quoting::None => Self::None,
        }
    }
}

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Writing {
    /// mboxrd: keeps received dates, loses flags
    Mbox,
    /// Maildir++: keeps received dates, flags and up to 26 keywords a folder
    Maildir,
    /// One file a message, named by its UID: loses flags
    Eml,
}

/// What a commit survives.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Survives {
    /// The death of the process; power cuts once the command has ended well
    Written,
    /// Power cuts, as it goes on
    Durable,
}

impl From<Survives> for Durability {
    fn from(survives: Survives) -> Self {
        match survives {
            Survives::Written => Self::Written,
            Survives::Durable => Self::Durable,
        }
    }
}

fn account(text: &str) -> Result<AccountName, String> {
    AccountName::new(text).map_err(|error| error.to_string())
}

fn mailbox(text: &str) -> Result<MailboxName, String> {
    MailboxName::new(text).map_err(|error| error.to_string())
}

fn uid(text: &str) -> Result<Uid, String> {
    let number = text.parse().map_err(|_| "not a number of 32 bits");
    let uid = number.map(Uid::new)?;
    uid.ok_or_else(|| "UIDs begin at 1".to_owned())
}

/// Bytes, with an optional K, M or G.
fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(['K', 'M', 'G', 'k', 'm', 'g']);
    let shift = match text.get(digits.len()..).unwrap_or_default() {
        "" => 0,
        "K" | "k" => 10,
        "M" | "m" => 20,
        "G" | "g" => 30,
        _ => return Err("more than one unit".to_owned()),
    };
    let number: u64 = digits.parse().map_err(|_| "not a number of bytes")?;
    number
        .checked_mul(1 << shift)
        .ok_or_else(|| "too large".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_declaration_is_sound() {
        use clap::CommandFactory as _;
        Args::command().debug_assert();
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", Ok(0)),
            ("17", Ok(17)),
            ("3k", Ok(3 << 10)),
            ("256M", Ok(256 << 20)),
            ("4G", Ok(4 << 30)),
            ("", Err(())),
            ("M", Err(())),
            ("1KM", Err(())),
            ("-1", Err(())),
            ("1.5M", Err(())),
            ("99999999999G", Err(())),
        ] {
            assert_eq!(size(text).map_err(|_| ()), bytes, "{text:?}");
        }
    }

    #[test]
    fn uids() {
        assert_eq!(uid("4294967295").map(Uid::get), Ok(u32::MAX));
        for text in ["0", "4294967296", "", "x", "-1"] {
            assert!(uid(text).is_err(), "{text:?}");
        }
    }
}
