//! What may be done to a store, as plain values: made by proptest here, by a fuzzer elsewhere.
//!
//! Numbers are wishes: the runner takes them modulo what there is, so that every value is a possible program.

/// Names of accounts.
pub(crate) const ACCOUNTS: [&str; 3] = ["anna@example.it", "bob", "carla"];

/// Names of mailboxes as a client may spell them, and what they mean: levels in NFC, INBOX in upper case at the
/// root only (RFC 9051 5.1); `None` where a name is none.
pub(crate) const NAMES: [(&str, Option<&str>); 14] = [
    ("INBOX", Some("INBOX")),
    ("inBox", Some("INBOX")),
    ("inbox/x", Some("INBOX/x")),
    ("a", Some("a")),
    ("A", Some("A")),
    ("a/b", Some("a/b")),
    ("a/b/c", Some("a/b/c")),
    ("a/inbox", Some("a/inbox")),
    ("caf\u{e9}", Some("caf\u{e9}")),
    ("cafe\u{301}", Some("caf\u{e9}")),
    ("cafe\u{301}/y", Some("caf\u{e9}/y")),
    ("d", Some("d")),
    ("", None),
    ("a//b", None),
];

/// Keywords as given, and as kept.
pub(crate) const KEYWORDS: [(&str, &str); 3] = [
    ("$Work", "$work"),
    ("$work", "$work"),
    ("NonJunk", "nonjunk"),
];

/// A mailbox of an account.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    /// By the names of both, as they are now.
    Named { account: u8, mailbox: u8 },
    /// By a handle that was got earlier: its mailbox may have another name now, or be gone.
    Kept(u8),
}

/// Which UIDs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Uids {
    All,
    One(u8),
    Range(u8, u8),
    Two(u8, u8),
}

/// How a message is marked as it comes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Marked {
    pub(crate) flags: u8,
    /// Bit n: keyword n.
    pub(crate) keywords: u8,
    pub(crate) date: Option<(i32, i8)>,
}

/// A change of flags.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Marking {
    Add { flags: u8, keywords: u8 },
    Remove { flags: u8, keywords: u8 },
    Replace { flags: u8, keywords: u8 },
}

/// One step of a transaction, and what most single calls do too. Mailboxes of `Kept` places may belong to another
/// account than the transaction.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    Append {
        to: Place,
        message: u8,
        marked: Marked,
    },
    Flag {
        mailbox: Place,
        uids: Uids,
        marking: Marking,
        /// UNCHANGEDSINCE: the MODSEQ of the entry of that number, or HIGHESTMODSEQ.
        unchanged_since: Option<u8>,
    },
    Copy {
        from: Place,
        uids: Uids,
        to: Place,
    },
    Move {
        from: Place,
        uids: Uids,
        to: Place,
    },
    Expunge {
        mailbox: Place,
        uids: Uids,
    },
    Destroy {
        mailbox: Place,
        uids: Uids,
    },
    Create {
        name: u8,
        noselect: bool,
    },
    Rename {
        from: u8,
        to: u8,
    },
    Delete {
        name: u8,
    },
}

/// What a power cut keeps of what was not synced.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Keeps {
    Nothing,
    All,
    /// Each thing as a generator with this seed says.
    Some(u64),
}

/// One call, or something that happens to the store.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    CreateAccount(u8),
    RenameAccount {
        from: u8,
        to: u8,
    },
    DeleteAccount(u8),
    Subscribe {
        account: u8,
        name: u8,
        on: bool,
    },
    Properties {
        mailbox: Place,
        noselect: bool,
        sort_order: u8,
    },
    /// One message to many; `wait` says whether the commit is waited for.
    Deliver {
        message: u8,
        to: Vec<(Place, Marked)>,
        wait: bool,
        written: bool,
    },
    /// A step alone, by its own call. Creations, renames and deletions always wait.
    Single {
        account: u8,
        step: Step,
        wait: bool,
    },
    Transaction {
        account: u8,
        steps: Vec<Step>,
        wait: bool,
    },
    Sync,
    /// Moves the clock, in seconds.
    Clock(i32),
    /// Takes a view that is held from now on.
    Hold(Place),
    /// Closes and opens again.
    Reopen,
    /// A power cut, `back` changes of the disk before the end of the last step, then a new opening.
    Crash {
        back: u8,
        keeps: Keeps,
    },
    /// The death of the process, then a new opening.
    Kill,
    /// Writes the state of an account to the log.
    WriteBase(u8),
    /// Something happens to the files of `index/`, as the seed says: while the store is open, or while it is closed.
    Harm {
        seed: u64,
        open: bool,
    },
}
