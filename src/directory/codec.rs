//! The pages of rows and of their first keys, as bytes.
//!
//! A page of rows: their count (16 bits, and 16 zero bits), the rows by ascending key in [`WIDTH`] bytes each, then
//! their names one behind the other. A row says how long its name is, so a name costs no pointer and no further read.
//! A page of the page index: count as above, the first key of the next such page, the keys.

use bytes::Bytes;

use super::page::CONTENT;
use super::row::{ImageAt, Inbox, Kind, Row, U32_NEXT_MAX};
use crate::format::Fault;
use crate::format::bytes::{Put, Take, within};
use crate::mail::{AccountId, AccountName};

/// Bytes of a row, without its name.
pub(super) const WIDTH: usize = 116;
/// Bytes before the first row.
const HEAD: usize = 4;
/// Where a row has the length of its name: its last two bytes.
const NAME_LEN_AT: usize = WIDTH - 2;
const KEY: usize = 16;
/// Keys in a page of the page index.
pub(super) const INDEX_KEYS: u32 = ((CONTENT - HEAD - KEY) / KEY) as u32;

const _: () = assert!(HEAD + WIDTH + AccountName::LEN_MAX <= CONTENT);

const KIND: u16 = 0b11;
const ALIAS: u16 = 1;
const DEFERRED: u16 = 2;
const COMPLETE: u16 = 1 << 2;
const EXISTENCE_KNOWN: u16 = 1 << 3;
const EXISTS: u16 = 1 << 4;
const OPAQUE: u16 = 1 << 5;
const NAMED: u16 = 1 << 6;
const IMAGED: u16 = 1 << 7;
const UIDS_SPENT: u16 = 1 << 8;
const MAILBOXES_SPENT: u16 = 1 << 9;
const FLAGS: u16 = (1 << 10) - 1;

/// A page of rows under construction.
#[derive(Debug, Default)]
pub(super) struct RowsOut {
    rows: Vec<u8>,
    names: Vec<u8>,
    count: u16,
}

impl RowsOut {
    /// How many rows it has.
    pub(super) fn count(&self) -> u16 {
        self.count
    }

    /// Adds a row; false, and nothing is changed, where the page is full. An empty page takes any row.
    pub(super) fn push(&mut self, row: &Row) -> bool {
        let name = stored_name(row);
        let len = HEAD + self.rows.len() + WIDTH + self.names.len() + name.len();
        if len > CONTENT {
            return false;
        }
        put_row(row, &mut self.rows);
        self.names.put(name.as_bytes());
        self.count += 1;
        true
    }

    /// The content of the page; none is left here.
    pub(super) fn take(&mut self) -> Vec<u8> {
        let mut out = Vec::with_capacity(CONTENT + 4);
        out.put_u16(self.count);
        out.put_u16(0);
        out.append(&mut self.rows);
        out.append(&mut self.names);
        self.count = 0;
        out
    }
}

/// The name as far as a page takes it: rows are made with no longer one.
fn stored_name(row: &Row) -> &str {
    let name = row.name.as_deref().unwrap_or_default();
    if name.len() <= AccountName::LEN_MAX {
        name
    } else {
        ""
    }
}

fn put_row(row: &Row, out: &mut Vec<u8>) {
    out.put(row.key.as_bytes());
    for number in [
        row.last_record,
        row.modseq,
        row.next_email,
        row.fence,
        row.skipped,
        row.assigned,
    ] {
        out.put_u64(number);
    }
    put_place(row, out);
    out.put_u32(low(row.inbox.uid_next));
    out.put_u32(row.inbox.uid_validity);
    out.put_u32(row.uid_validity_mark);
    out.put_u32(row.past_floor);
    out.put_u32(low(row.next_mailbox));
    out.put_u32(row.records);
    out.put_u16(flags_of(row));
    let name_len = stored_name(row).len();
    out.put_u16(u16::try_from(name_len).unwrap_or(0));
}

/// An alias has its target where others have their image.
fn put_place(row: &Row, out: &mut Vec<u8>) {
    match (row.kind, row.image) {
        (Kind::Alias { target }, _) => {
            out.put(target.as_bytes());
            out.put_u64(0);
        }
        (_, Some(image)) => {
            out.put_u64(image.offset);
            out.put_u64(image.record);
            out.put_u32(image.file);
            out.put_u32(image.len);
        }
        (_, None) => out.put(&[0; 24]),
    }
}

/// The lower half of a number that is at most 2^32; the flags say when it is that.
fn low(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(0)
}

fn flags_of(row: &Row) -> u16 {
    let is_alias = matches!(row.kind, Kind::Alias { .. });
    let named = row.name.as_ref();
    let bits = [
        (COMPLETE, row.complete),
        (EXISTENCE_KNOWN, row.exists.is_some()),
        (EXISTS, row.exists == Some(true)),
        (OPAQUE, row.opaque),
        (
            NAMED,
            named.is_some_and(|name| name.len() <= AccountName::LEN_MAX),
        ),
        (IMAGED, row.image.is_some() && !is_alias),
        (UIDS_SPENT, row.inbox.uid_next >= U32_NEXT_MAX),
        (MAILBOXES_SPENT, row.next_mailbox >= U32_NEXT_MAX),
    ];
    let kind = match row.kind {
        Kind::Account => 0,
        Kind::Alias { .. } => ALIAS,
        Kind::Deferred => DEFERRED,
    };
    let set = bits.iter().filter(|(_, on)| *on);
    set.fold(kind, |flags, (bit, _)| flags | bit)
}

/// A page of rows, verified by its checksum.
#[derive(Debug)]
pub(super) struct RowsPage {
    content: Bytes,
    count: usize,
}

impl RowsPage {
    /// # Errors
    /// A [`Fault`] where the count does not fit the page.
    pub(super) fn new(content: Bytes) -> Result<Self, Fault> {
        let max = (content.len().saturating_sub(HEAD) / WIDTH) as u64;
        let count = count_of(&content, 1, max)?;
        Ok(Self { content, count })
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    fn fixed(&self, at: usize) -> Result<&[u8], Fault> {
        let mut take = Take::new(self.content.get(HEAD + at * WIDTH..).unwrap_or_default());
        take.slice(WIDTH)
    }

    fn key(&self, at: usize) -> Result<AccountId, Fault> {
        Take::new(self.fixed(at)?)
            .array()
            .map(AccountId::from_bytes)
    }

    /// Position of the first row whose key is not below this one.
    ///
    /// # Errors
    /// None on a page that [`RowsPage::new`] took.
    pub(super) fn rank(&self, key: &AccountId) -> Result<usize, Fault> {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.key(middle)? < *key {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// The row at a position below [`RowsPage::count`].
    ///
    /// # Errors
    /// A [`Fault`] where it contradicts itself.
    pub(super) fn row(&self, at: usize) -> Result<Row, Fault> {
        let mut names = HEAD + self.count * WIDTH;
        for before in 0..at {
            names += self.name_len(before)?;
        }
        let name =
            Take::new(self.content.get(names..).unwrap_or_default()).slice(self.name_len(at)?)?;
        take_row(self.fixed(at)?, name)
    }

    fn name_len(&self, at: usize) -> Result<usize, Fault> {
        let len = Take::new(self.fixed(at)?.get(NAME_LEN_AT..).unwrap_or_default()).u16()?;
        within("name length", len.into(), 0, AccountName::LEN_MAX as u64)?;
        Ok(len.into())
    }

    /// All rows from a position on.
    ///
    /// # Errors
    /// As [`RowsPage::row`].
    pub(super) fn rows_from(&self, at: usize) -> Result<Vec<Row>, Fault> {
        (at..self.count).map(|at| self.row(at)).collect()
    }
}

fn count_of(content: &[u8], min: u64, max: u64) -> Result<usize, Fault> {
    let mut take = Take::new(content);
    let count = take.u16()?;
    within("count of a page", count.into(), min, max)?;
    take.zeroes(2)?;
    Ok(count.into())
}

fn take_row(fixed: &[u8], name: &[u8]) -> Result<Row, Fault> {
    let mut take = Take::new(fixed);
    let mut row = Row::new(AccountId::from_bytes(take.array()?));
    row.last_record = take.number("record number")?;
    row.modseq = take.number("MODSEQ")?;
    row.next_email = take.u64()?;
    row.fence = take.number("record number")?;
    row.skipped = take.u64()?;
    row.assigned = take.number("record number")?;
    let place = take.slice(24)?;
    row.inbox = Inbox {
        uid_next: take.u32()?.into(),
        uid_validity: take.u32()?,
    };
    row.uid_validity_mark = take.u32()?;
    row.past_floor = take.u32()?;
    row.next_mailbox = take.u32()?.into();
    row.records = take.u32()?;
    let flags = take.u16()?;
    within("flags of a row", flags.into(), 0, FLAGS.into())?;
    take_flags(&mut row, flags)?;
    take_place(&mut row, flags, place)?;
    if flags & NAMED != 0 {
        let name = std::str::from_utf8(name).map_err(|_| Fault::Text {
            field: "account name",
        })?;
        row.name = Some(name.into());
    }
    Ok(row)
}

fn take_flags(row: &mut Row, flags: u16) -> Result<(), Fault> {
    row.complete = flags & COMPLETE != 0;
    row.exists = (flags & EXISTENCE_KNOWN != 0).then_some(flags & EXISTS != 0);
    row.opaque = flags & OPAQUE != 0;
    for (bit, number) in [
        (UIDS_SPENT, &mut row.inbox.uid_next),
        (MAILBOXES_SPENT, &mut row.next_mailbox),
    ] {
        if flags & bit != 0 {
            within("the lower half of 2^32", *number, 0, 0)?;
            *number = U32_NEXT_MAX;
        }
    }
    Ok(())
}

fn take_place(row: &mut Row, flags: u16, place: &[u8]) -> Result<(), Fault> {
    let mut take = Take::new(place);
    row.kind = match flags & KIND {
        0 => Kind::Account,
        ALIAS => Kind::Alias {
            target: AccountId::from_bytes(take.array()?),
        },
        DEFERRED => Kind::Deferred,
        kind => return within("kind of a row", kind.into(), 0, DEFERRED.into()),
    };
    if flags & IMAGED != 0 && flags & KIND != ALIAS {
        row.image = Some(take_image(&mut take)?);
    }
    take.end()
}

fn take_image(take: &mut Take<'_>) -> Result<ImageAt, Fault> {
    let offset = take.number("offset of an image")?;
    let record = take.number("record number")?;
    Ok(ImageAt {
        offset,
        record,
        file: take.u32()?,
        len: take.u32()?,
    })
}

/// The pages of the page index, given the first key of each page of rows.
pub(super) fn index_pages(first_keys: &[AccountId]) -> impl Iterator<Item = Vec<u8>> {
    let chunks = first_keys.chunks(INDEX_KEYS as usize);
    let nexts = first_keys.chunks(INDEX_KEYS as usize).skip(1);
    let nexts = nexts.map(|keys| keys.first()).chain([None]);
    chunks.zip(nexts).map(|(keys, next)| {
        let mut out = Vec::with_capacity(CONTENT + 4);
        out.put_u16(u16::try_from(keys.len()).unwrap_or(u16::MAX));
        out.put_u16(0);
        out.put(next.map_or(&[0; KEY], |key| key.as_bytes()));
        keys.iter().for_each(|key| out.put(key.as_bytes()));
        out
    })
}

/// Where a key is, as a page of the page index says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    /// In an earlier page.
    Before,
    /// In the page of rows with this position among those of this page.
    Here(u32),
    /// In a later page.
    Behind,
}

/// Looks a key up in a page of the page index that has `count` keys, and others behind it but for the last.
///
/// # Errors
/// A [`Fault`] where the page has another count.
pub(super) fn index_search(
    content: &[u8],
    count: u32,
    is_last: bool,
    key: &AccountId,
) -> Result<At, Fault> {
    count_of(content, count.into(), count.into())?;
    let next = Take::new(content.get(HEAD..).unwrap_or_default()).array::<KEY>()?;
    let mut keys = Take::new(content.get(HEAD + KEY..).unwrap_or_default());
    let (keys, _) = keys.slice(count as usize * KEY)?.as_chunks::<KEY>();
    let up_to = keys.partition_point(|first| first <= key.as_bytes());
    Ok(match u32::try_from(up_to).unwrap_or(count) {
        0 => At::Before,
        up_to if up_to == count && !is_last && *key.as_bytes() >= next => At::Behind,
        up_to => At::Here(up_to - 1),
    })
}

#[cfg(test)]
mod tests;
