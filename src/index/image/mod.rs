//! Images: accounts saved, so that they need not be folded from the log again.
//!
//! An image is a chain of blobs. The first is a `base`: the whole fold, with entries in columns that are used as
//! they were read. Each other is a `piece`: the records since, without what a fold does not keep. Blobs never change;
//! they are appended to files (`store`) and merged as the account grows (`chain`).
//!
//! Everything here is derived from the log, and nothing is trusted without its checksum: what does not verify, or
//! could not have been written, is a [`Fault`](crate::format::Fault), and the account is folded from the log instead.
//!
//! Reading order: `base`, `root`, `check`, then `piece`, `chain`, `store`.

pub(crate) mod base;
pub(crate) mod chain;
mod check;
pub(crate) mod piece;
mod root;
pub(crate) mod store;
#[cfg(test)]
mod testing;

pub(crate) use crate::directory::ImageAt;
