//! The caller's vocabulary: what mail is made of, before anything is stored.
//!
//! Pure values. Nothing here opens a file, reads a clock, takes a lock or knows how a value is laid out on disk, and
//! nothing else of the crate is used. No value of these types is invalid: what cannot be is refused when it is made,
//! by an error that says which byte is at fault.
//!
//! Read in this order: [`Uid`] and the other numbers (`id`), [`Flags`] and [`FlagChange`] (`flags`), [`MailboxName`]
//! (`name`), [`AccountName`] (`account`), [`NameKey`] (`key`), [`UidSet`] (`uidset`), [`InternalDate`] (`date`), [`SpecialUse`] (`special`),
//! [`Shape`] (`shape`), and last [`Summary`] (`summary`), which uses the others.

mod account;
mod bits;
mod date;
mod flags;
mod id;
mod key;
mod name;
mod shape;
mod special;
mod summary;
mod uidset;

pub use account::{AccountName, AccountNameError};
pub use date::{DateError, InternalDate};
pub use flags::{FlagChange, Flags, Keyword, KeywordError};
pub use id::{AccountId, Digest, EmailId, HexError, MailboxId, ModSeq, ThreadId, Uid, UidValidity};
pub use key::NameKey;
pub use name::{MailboxName, NameError};
pub use shape::{LineEnds, Shape, crlf};
pub use special::SpecialUse;
pub use summary::{Field, FieldName, Summary};
pub use uidset::{UidSet, UidSetError};
