//! What a record says happened: one change of one account, or of the store. FORMAT.md section 8.
//!
//! A change is self-contained wherever that keeps damage small: keywords are names, not numbers of a table, and a
//! delivery carries all that is known of its message.

mod codec;
mod delivery;

use crate::mail::{
    AccountId, Digest, Flags, InternalDate, Keyword, Shape, SpecialUse, Summary, Uid, UidSet,
    UidValidity,
};

/// One change. The account and the mailbox it is about are in the record's header.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// An account was created.
    CreateAccount {
        /// Its name.
        name: String,
        /// UIDVALIDITYs of this account lie above this: the mark of an earlier account of the name.
        uid_validity_mark: u32,
    },
    /// The account has another name.
    RenameAccount {
        /// The new name.
        name: String,
        /// UIDVALIDITYs given from now on lie above this: the mark of an earlier account of the name.
        uid_validity_mark: u32,
    },
    /// The account and all in it are gone.
    DeleteAccount {
        /// Highest UIDVALIDITY it ever gave, for a later account of the name.
        uid_validity_mark: u32,
    },
    /// A mailbox was created.
    CreateMailbox(CreateMailbox),
    /// A mailbox (and with it those below) has another place or name.
    RenameMailbox {
        /// The new parent; 0 is the root.
        parent: u32,
        /// The new leaf name.
        name: String,
        /// Mailboxes that need a greater UIDVALIDITY under their new name, with it.
        uid_validity: Vec<(u32, u32)>,
    },
    /// A mailbox and its entries are gone.
    DeleteMailbox,
    /// A mailbox has other properties.
    UpdateMailbox(MailboxProperties),
    /// A name was subscribed or unsubscribed.
    Subscribe {
        /// Who subscribes; 0 is the owner.
        principal: u32,
        /// The mailbox name, which need not exist.
        name: String,
        /// Whether it is subscribed now.
        on: bool,
    },
    /// A message arrived. Boxed: it is by far the largest.
    Deliver(Box<Deliver>),
    /// Flags or keywords of entries changed.
    Flag(Flag),
    /// Entries were copied here from another mailbox of the account.
    Copy(Transfer),
    /// Entries were moved here from a mailbox of the account.
    Move(Transfer),
    /// Entries were removed.
    Expunge {
        /// Their UIDs.
        uids: UidSet,
    },
    /// Records were lost for good: all accounts skip ahead. About the store, not an account.
    Fence(Fence),
    /// A part of the account's state as its records up to this one have made it: who has all parts needs none before.
    Base(Base),
    /// A deferred delivery became an entry. Boxed, as deliveries are.
    Assign(Box<Assign>),
    /// A message arrived for an account whose state could not be read. Filed under the key of deferred deliveries for
    /// the name ([`NameKey::deferred`](crate::mail::NameKey::deferred)).
    Deferred(Box<Deferred>),
    /// The account `target` has another name. Filed under the id that it would have, had it been created with it
    /// ([`AccountId::alias`]).
    Alias {
        /// The account.
        target: AccountId,
    },
}

/// Payload of [`Change::CreateMailbox`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateMailbox {
    /// The parent mailbox; 0 is the root.
    pub parent: u32,
    /// The leaf name.
    pub name: String,
    /// The mailbox's UIDVALIDITY.
    pub uid_validity: UidValidity,
    /// The rest.
    pub properties: MailboxProperties,
}

/// What can be changed of a mailbox besides its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MailboxProperties {
    /// Special uses (RFC 6154).
    pub special_use: SpecialUse,
    /// A name only: holds no messages.
    pub noselect: bool,
    /// JMAP sort order (RFC 8621 2).
    pub sort_order: u32,
    /// Which quota root counts it; 0 is the account's.
    pub quota_root: u32,
}

/// Where the bytes of a delivered message are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyAt {
    /// In this record's batch, this many bytes behind its records.
    Here(u32),
    /// With the record of this number: one body for many.
    Record(u64),
    /// Alone in the segment of this number.
    Segment(u64),
}

/// Payload of [`Change::Deliver`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deliver {
    /// UID of the entry.
    pub uid: Uid,
    /// UIDVALIDITY of the mailbox, so that the record stands alone.
    pub uid_validity: UidValidity,
    /// System flags.
    pub flags: Flags,
    /// Keywords, sorted.
    pub keywords: Vec<Keyword>,
    /// INTERNALDATE.
    pub internal_date: InternalDate,
    /// When it came into this mailbox, seconds since 1970 (RFC 8514).
    pub save_date: i64,
    /// The Email's id.
    pub email: u64,
    /// The Email's thread; 0 while it is open.
    pub thread: u64,
    /// Length of the message in bytes as given.
    pub raw_len: u32,
    /// Wire size and line ends.
    pub shape: Shape,
    /// BLAKE3 of the message as given.
    pub digest: Digest,
    /// Where its bytes are.
    pub body: BodyAt,
    /// What was read from its header.
    pub summary: Summary,
}

/// Payload of [`Change::Base`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// Which part it is, from 0. Part follows part, without another record of the account between them.
    pub part: u32,
    /// How many parts there are.
    pub parts: u32,
    /// Its slice of the saved state.
    pub bytes: Vec<u8>,
}

impl Base {
    /// Most parts of a state.
    pub const PARTS_MAX: u32 = 1 << 16;
    /// Most bytes that writers put in one part.
    pub const PART_LEN_MAX: usize = 8 << 20;
}

/// Payload of [`Change::Assign`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assign {
    /// Number of the deferred delivery's record.
    pub deferred: u64,
    /// The entry, as if it had been delivered now. Its body is never [`BodyAt::Here`].
    pub deliver: Deliver,
}

/// Payload of [`Change::Deferred`]: a [`Deliver`] without what only the account can give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deferred {
    /// Name of the account.
    pub account: String,
    /// Full name of the mailbox.
    pub mailbox: String,
    /// System flags.
    pub flags: Flags,
    /// Keywords, sorted.
    pub keywords: Vec<Keyword>,
    /// INTERNALDATE.
    pub internal_date: InternalDate,
    /// When it arrived, seconds since 1970.
    pub save_date: i64,
    /// Length of the message in bytes as given.
    pub raw_len: u32,
    /// Wire size and line ends.
    pub shape: Shape,
    /// BLAKE3 of the message as given.
    pub digest: Digest,
    /// Where its bytes are.
    pub body: BodyAt,
    /// What was read from its header.
    pub summary: Summary,
}

/// Payload of [`Change::Flag`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// The entries that changed.
    pub uids: UidSet,
    /// System flags set.
    pub add: Flags,
    /// System flags cleared.
    pub remove: Flags,
    /// Keywords set.
    pub add_keywords: Vec<Keyword>,
    /// Keywords cleared.
    pub remove_keywords: Vec<Keyword>,
    /// Whether all keywords were cleared first.
    pub replace_keywords: bool,
    /// For whom; 0 is the owner.
    pub principal: u32,
}

/// Payload of [`Change::Copy`] and [`Change::Move`]. The record's mailbox is the destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// The mailbox they come from.
    pub source: u32,
    /// UIDVALIDITY of the destination.
    pub uid_validity: UidValidity,
    /// When they came into the destination, seconds since 1970.
    pub save_date: i64,
    /// The entries, by ascending destination UID.
    pub entries: Vec<Transferred>,
}

/// One entry of a [`Transfer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transferred {
    /// UID in the source.
    pub from: Uid,
    /// UID in the destination.
    pub to: Uid,
    /// Email of the new entry: the source's, or a new one where the destination already holds it.
    pub email: u64,
}

/// Payload of [`Change::Fence`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fence {
    /// First record number lost.
    pub first_lost: u64,
    /// Last record number lost.
    pub last_lost: u64,
    /// No account lost more UIDs, MODSEQs or ids than this.
    pub bound: u32,
}

/// Defines the record kinds once: number, and name for people.
macro_rules! kinds {
    ($($number:literal $constant:ident $name:literal)*) => {
        $(const $constant: u8 = $number;)*
        /// Name of a record kind, for people.
        #[must_use]
        pub fn kind_name(kind: u8) -> &'static str {
            match kind { $($number => $name,)* _ => "unknown" }
        }
    };
}

kinds! {
    1 CREATE_ACCOUNT "create account"
    2 RENAME_ACCOUNT "rename account"
    3 DELETE_ACCOUNT "delete account"
    4 CREATE_MAILBOX "create mailbox"
    5 RENAME_MAILBOX "rename mailbox"
    6 DELETE_MAILBOX "delete mailbox"
    7 UPDATE_MAILBOX "update mailbox"
    8 SUBSCRIBE "subscribe"
    16 DELIVER "deliver"
    17 FLAG "flag"
    18 COPY "copy"
    19 MOVE "move"
    20 EXPUNGE "expunge"
    32 FENCE "fence"
    33 BASE "base"
    34 ASSIGN "assign"
    35 DEFERRED "deferred delivery"
    38 ALIAS "alias"
}

impl Change {
    /// The record kind.
    #[must_use]
    pub fn kind(&self) -> u8 {
        match self {
            Self::CreateAccount { .. } => CREATE_ACCOUNT,
            Self::RenameAccount { .. } => RENAME_ACCOUNT,
            Self::DeleteAccount { .. } => DELETE_ACCOUNT,
            Self::CreateMailbox(_) => CREATE_MAILBOX,
            Self::RenameMailbox { .. } => RENAME_MAILBOX,
            Self::DeleteMailbox => DELETE_MAILBOX,
            Self::UpdateMailbox(_) => UPDATE_MAILBOX,
            Self::Subscribe { .. } => SUBSCRIBE,
            Self::Deliver(_) => DELIVER,
            Self::Flag(_) => FLAG,
            Self::Copy(_) => COPY,
            Self::Move(_) => MOVE,
            Self::Expunge { .. } => EXPUNGE,
            Self::Fence(_) => FENCE,
            Self::Base(_) => BASE,
            Self::Assign(_) => ASSIGN,
            Self::Deferred(_) => DEFERRED,
            Self::Alias { .. } => ALIAS,
        }
    }

    /// Where the message's bytes are, of a change by which one arrived.
    #[must_use]
    pub fn body(&self) -> Option<BodyAt> {
        match self {
            Self::Deliver(deliver) => Some(deliver.body),
            Self::Assign(assign) => Some(assign.deliver.body),
            Self::Deferred(deferred) => Some(deferred.body),
            _ => None,
        }
    }

    /// BLAKE3 of the message as given, of a change by which one arrived.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        match self {
            Self::Deliver(deliver) => Some(deliver.digest),
            Self::Assign(assign) => Some(assign.deliver.digest),
            Self::Deferred(deferred) => Some(deferred.digest),
            _ => None,
        }
    }

    /// The same place, of a change that may bring the bytes: its writer says there where they went.
    pub(crate) fn body_mut(&mut self) -> Option<&mut BodyAt> {
        match self {
            Self::Deliver(deliver) => Some(&mut deliver.body),
            Self::Deferred(deferred) => Some(&mut deferred.body),
            _ => None,
        }
    }
    /// About how many bytes the record takes, never less: for bounds, before it is encoded.
    #[must_use]
    pub fn rough_len(&self) -> u64 {
        const FIXED: usize = 256;
        let keywords = |list: &[Keyword]| -> usize {
            list.iter().map(|keyword| keyword.as_str().len() + 2).sum()
        };
        // The header of the body is counted here too.
        let message = |marks: &[Keyword], summary: &Summary, raw_len: u32| -> usize {
            keywords(marks) + 6 * summary.fields.len() + raw_len as usize / 1024
        };
        let delivery =
            |deliver: &Deliver| message(&deliver.keywords, &deliver.summary, deliver.raw_len);
        let variable = match self {
            Self::CreateAccount { name, .. } | Self::RenameAccount { name, .. } => name.len(),
            Self::DeleteAccount { .. }
            | Self::DeleteMailbox
            | Self::UpdateMailbox(_)
            | Self::Fence(_)
            | Self::Alias { .. } => 0,
            Self::CreateMailbox(create) => create.name.len(),
            Self::RenameMailbox {
                name, uid_validity, ..
            } => name.len() + 8 * uid_validity.len(),
            Self::Subscribe { name, .. } => name.len(),
            Self::Deliver(deliver) => delivery(deliver),
            Self::Assign(assign) => delivery(&assign.deliver),
            Self::Deferred(deferred) => {
                message(&deferred.keywords, &deferred.summary, deferred.raw_len)
                    + deferred.account.len()
                    + deferred.mailbox.len()
            }
            Self::Base(base) => base.bytes.len(),
            Self::Flag(flag) => {
                keywords(&flag.add_keywords)
                    + keywords(&flag.remove_keywords)
                    + 8 * flag.uids.ranges().len()
            }
            Self::Copy(transfer) | Self::Move(transfer) => 16 * transfer.entries.len(),
            Self::Expunge { uids } => 8 * uids.ranges().len(),
        };
        (FIXED + variable) as u64
    }
}
