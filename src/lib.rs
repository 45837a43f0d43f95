//! mailkeep: an embeddable mail store. An append-only, checksummed message log with indexes, that mail
//! servers, archivers and clients link directly.
//!
//! ```
//! use mailkeep::{Delivery, FlagChange, Flags, Options, Store};
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("mail");
//!
//! let store = Store::open(&path, Options::default())?;
//! let anna = store.create_account("anna@example.it")?;
//! let inbox = anna.inbox()?;
//!
//! let kept = store.deliver(b"Subject: hello\r\n\r\nworld\r\n", [Delivery::to(&inbox)])?.wait()?;
//! let uid = kept[0].as_ref().map_err(Clone::clone)?.uid;          // durable now
//!
//! let view = inbox.view()?;                                         // a snapshot
//! assert_eq!(&view.message(uid)?.bytes()?[..14], b"Subject: hello"); // verified; under the guard not copied
//! inbox.flag(&view.unseen(), &FlagChange::add(Flags::SEEN), None)?.wait()?;
//! assert_eq!(inbox.status()?.counters.unseen, 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What may be shared
//!
//! | type | `Send` | `Sync` | `Clone` | may block |
//! | --- | --- | --- | --- | --- |
//! | [`Store`], [`Account`], [`Mailbox`] | yes | yes | a reference count | writes: never; see [`Commit`]; [`deliver_to`](Store::deliver_to) up to the [`load_deadline`](Options::load_deadline) |
//! | [`View`], [`Message`] | yes | yes | a few reference counts | reads of pages that are not in memory |
//! | [`Commit`] | if its value is | if its value is | no | `wait()` for the disk; `.await` never |
//! | [`Transaction`] | yes | yes | no | `commit()` like a write |
//!
//! A process that wants messages without a copy calls [`install_guard`] first, which says what that means.
//!
//! Creating, renaming and deleting accounts and mailboxes waits for the disk inside the call.
//!
//! # How to read the source
//!
//! FORMAT.md (the documentation of [`format`](mod@format)), `format/batch.rs`, `format/record.rs`, `format/change.rs`, `log/group.rs`,
//! `log/queue.rs`, `log/writer.rs`, `log/recovery.rs`, `directory/row.rs`, `directory/mod.rs`, `index/fold.rs`,
//! `index/plan.rs`, `index/cell.rs`, `index/load.rs`, `index/opening.rs`, `index/tender.rs`, `store.rs`, `deliver.rs`,
//! `deliver/by_name.rs`, `view.rs`. Each makes sense knowing only the ones before it. Modules use only those to their right:
//! `cli` > `store`, `account`, `mailbox`, `view`, `changes`, `receipt`, `stat`, `verify` > `index` > `directory` > `log` > `format`, `io` >
//! `mail`, `options`, `error`.
//!
//! # Features
//!
//! `cli`: the command `mailkeep`. Off by default; the library is the same with it.
//!
//! `lock-order`: for this crate's own tests. Every lock is watched, and the process stops where two are taken in both orders.

// Unit tests share the simulated disk of the integration tests, which names the crate.
#[cfg(test)]
extern crate self as mailkeep;

mod account;
mod changes;
mod deliver;
#[cfg(test)]
mod dice;
mod directory;
mod error;
pub mod format;
mod index;
pub mod io;
mod log;
pub mod mail;
mod mailbox;
mod message;
mod options;
mod receipt;
mod stat;
mod store;
mod switch;
mod sync;
mod threads;
mod transaction;
mod verify;
mod view;
mod witness;

pub use account::{Account, MailboxInfo};
pub use changes::Changes;
pub use deliver::{Accepted, Deferral, Delivery, Raw, Recipient};
pub use error::{Error, Result};
pub use index::{Counters, Delivered, Flagged, Returned, Transferring};
pub use io::{install_guard, still_good};
pub use log::{Break, Commit, Cut, Damage, Hole, LostMessage, RecoveryReport, Unsynced};
pub use mail::{
    AccountId, Digest, EmailId, FlagChange, Flags, InternalDate, Keyword, MailboxName, ModSeq,
    SpecialUse, Uid, UidSet, UidValidity,
};
pub use mailbox::{Mailbox, MailboxProperties, MailboxStatus};
pub use message::Message;
pub use options::{Durability, Options, SEGMENT_LEN_MAX, SEGMENT_LEN_MIN};
pub use receipt::{Receipt, ReceiptError};
pub use stat::{Counts, Health, Rebuild, Stat};
pub use store::Store;
pub use transaction::{Outcome, Transaction};
pub use verify::{BadMessage, BadReceipt, Progress, VerifyReport};
pub use view::{Columns, Row, View};
pub use witness::{Witness, WitnessError};
