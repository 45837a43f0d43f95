//! How an image grows, and is loaded: a base, and pieces on it.
//!
//! A new piece takes in the pieces right before it that are at most twice its size, so that each piece is more than
//! twice as long as the next: a chain has a logarithm of pieces, and a record is written again as often. When all
//! pieces together would exceed a quarter of their base, the account is written whole. So a flag set in a mailbox of a
//! million entries costs some hundred bytes, and a load reads little more than the account.

use bytes::Bytes;

use super::ImageAt;
use super::base;
use super::piece::{self, Head, Records};
use crate::error::{Error, Result};
use crate::format::Fault;
use crate::format::bytes::{Take, within};
use crate::format::change::Change;
use crate::format::record::RecordHeader;
use crate::index::Fold;
use crate::mail::AccountId;
use crate::switch::Switch;

/// Pieces of a chain, at most: more than doubling sizes can be.
const PIECES_MAX: u64 = 64;
/// Pieces may take this share of their base,
const SHARE: u64 = 4;
/// or this many bytes, if that is more.
const PIECES_LEN_MIN: u64 = 4 << 10;

/// Where blobs are read from.
pub(crate) trait Blobs {
    /// The bytes of a blob, of which nothing but their place is verified.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Damaged`] where there is no such blob.
    fn read(&self, at: &ImageAt) -> Result<Bytes>;

    /// The error that says what is wrong with a blob.
    fn damaged(&self, at: &ImageAt, what: Fault) -> Error;
}

/// A new blob for an image.
#[derive(Debug)]
pub(crate) struct Grown {
    pub(crate) bytes: Vec<u8>,
    /// What it covers: for its [`ImageAt`].
    pub(crate) record: u64,
    /// The blobs of the image that it takes the place of.
    pub(crate) replaced: Vec<ImageAt>,
}

/// The account as its image has it.
///
/// # Errors
/// [`Error::Damaged`] where a blob does not verify, or is not the account's; [`Error::Io`].
///
/// # Cost
/// As [`base::decode`], and applying the records of the pieces.
pub(crate) fn load(blobs: &dyn Blobs, account: AccountId, newest: &ImageAt) -> Result<Fold> {
    let chain = Chain::read(blobs, account, newest)?;
    let mut fold = match &chain.base {
        None => Fold::new(account),
        Some((at, bytes)) => {
            let fold = base::decode(bytes).and_then(|fold| check_base(fold, account, at));
            fold.map_err(|what| blobs.damaged(at, what))?
        }
    };
    for (at, head, records) in chain.pieces.iter().rev() {
        let records = records
            .decode(head)
            .map_err(|what| blobs.damaged(at, what))?;
        records
            .iter()
            .for_each(|(header, change)| fold.apply(header, change));
    }
    Ok(fold)
}

/// The blobs of an image, newest first: what must be kept of its files.
///
/// # Errors
/// As [`load`].
pub(crate) fn blobs_of(
    blobs: &dyn Blobs,
    account: AccountId,
    newest: &ImageAt,
) -> Result<Vec<ImageAt>> {
    Ok(Chain::read(blobs, account, newest)?.places())
}

/// The next blob of the image that ends in `newest`: `fold` is the account after `records`. Those that the image
/// covers already are passed over. `None` where none is left, or where the last of them is a part of a base record whose
/// other parts are still to come: the records then go with the next call.
///
/// An image that cannot be read is no error: the account is written whole.
///
/// # Cost
/// By what is written: amortised, some times the length of the records.
pub(crate) fn grow(
    blobs: &dyn Blobs,
    fold: &Fold,
    newest: Option<&ImageAt>,
    records: &[(RecordHeader, Change)],
) -> Option<Grown> {
    if fold.gathering.is_some() {
        return None;
    }
    let Some(newest) = newest else {
        return Some(whole(fold, Vec::new()));
    };
    let rebased = records
        .iter()
        .any(|(_, change)| matches!(change, Change::Base(_)));
    let records = Records::of(records, newest.record);
    if records.is_empty() {
        return None;
    }
    // A piece that repeats the account would be longer than the account.
    if !rebased && let Ok(Some(grown)) = next_piece(blobs, fold, newest, records) {
        return Some(grown);
    }
    let replaced = blobs_of(blobs, fold.id, newest).unwrap_or_else(|_| vec![*newest]);
    Some(whole(fold, replaced))
}

fn whole(fold: &Fold, replaced: Vec<ImageAt>) -> Grown {
    Grown {
        bytes: base::encode(fold),
        record: base::covered(fold),
        replaced,
    }
}

/// A piece of the records and those of the pieces it takes in; `None` where a base is due.
fn next_piece(
    blobs: &dyn Blobs,
    fold: &Fold,
    newest: &ImageAt,
    mut records: Records,
) -> Result<Option<Grown>> {
    let mut replaced = Vec::new();
    let mut previous = Some(*newest);
    let (mut base_len, mut before) = (0, 0);
    // Reads no further back than it takes in: what lies before is known from the last head.
    while let Some(at) = previous {
        let bytes = blobs.read(&at)?;
        if is_base(&bytes) {
            (base_len, before) = (at.len.into(), 0);
            break;
        }
        let (head, earlier) = open_piece(blobs, fold.id, &at, &bytes)?;
        if earlier.piece_len() > records.piece_len().saturating_mul(2) {
            (base_len, before) = (head.base_len, head.pieces_len);
            break;
        }
        records.prepend(earlier);
        replaced.push(at);
        previous = head.previous;
    }
    let len = records.piece_len() as u64;
    let most = (base_len / SHARE).max(PIECES_LEN_MIN);
    if len > piece::LEN_MAX || len.saturating_add(before) > most {
        return Ok(None);
    }
    let head = Head {
        account: fold.id,
        after: previous.map_or(0, |at| at.record),
        upto: base::covered(fold),
        previous,
        base_len,
        pieces_len: before,
    };
    Ok(Some(Grown {
        bytes: piece::encode(&head, &records),
        record: head.upto,
        replaced,
    }))
}

/// The blobs of an image.
struct Chain {
    /// Newest first.
    pieces: Vec<(ImageAt, Head, Records)>,
    /// Not decoded yet. `None` where the account began with a piece.
    base: Option<(ImageAt, Bytes)>,
}

impl Chain {
    fn read(blobs: &dyn Blobs, account: AccountId, newest: &ImageAt) -> Result<Self> {
        let mut chain = Self {
            pieces: Vec::new(),
            base: None,
        };
        let mut next = Some(*newest);
        while let Some(at) = next {
            let bytes = blobs.read(&at)?;
            if is_base(&bytes) {
                chain.base = Some((at, bytes));
                break;
            }
            let depth = chain.pieces.len() as u64;
            within("pieces of an image", depth, 0, PIECES_MAX)
                .map_err(|what| blobs.damaged(&at, what))?;
            let (head, records) = open_piece(blobs, account, &at, &bytes)?;
            next = head.previous;
            chain.pieces.push((at, head, records));
        }
        Ok(chain)
    }

    fn places(&self) -> Vec<ImageAt> {
        let pieces = self.pieces.iter().map(|(at, ..)| *at);
        pieces.chain(self.base.iter().map(|(at, _)| *at)).collect()
    }
}

fn is_base(bytes: &[u8]) -> bool {
    Take::new(bytes).magic(base::MAGIC).is_ok()
}

/// A piece, verified to be the account's and to cover what its place says.
fn open_piece(
    blobs: &dyn Blobs,
    account: AccountId,
    at: &ImageAt,
    bytes: &[u8],
) -> Result<(Head, Records)> {
    let opened = piece::open(bytes).and_then(|(head, records)| {
        check_place(head.account, head.upto, account, at)?;
        Ok((head, records))
    });
    opened.map_err(|what| blobs.damaged(at, what))
}

fn check_base(fold: Fold, account: AccountId, at: &ImageAt) -> Result<Fold, Fault> {
    check_place(fold.id, base::covered(&fold), account, at)?;
    Ok(fold)
}

/// Refuses a sound blob that lies where another one is looked for.
fn check_place(
    found: AccountId,
    covers: u64,
    account: AccountId,
    at: &ImageAt,
) -> Result<(), Fault> {
    if Switch::BlobAccount.on() && found != account {
        let first = |id: AccountId| Take::new(id.as_bytes()).u64();
        return Err(Fault::Mismatch {
            field: "account of a blob (its first 8 bytes)",
            found: first(found)?,
            expected: first(account)?,
        });
    }
    Switch::BlobCovers.guard(|| within("last record of a blob", covers, at.record, at.record))
}

#[cfg(test)]
mod tests;
