//! A run: an immutable file with the rows of a range of record numbers, sorted by key.
//!
//! Header page, pages of rows, pages with the first key of each of them, pages of a filter. A key that is not there
//! costs the read of one page of the filter; one that is there, two more: keys are digests, so their place in the page
//! index can be computed. The file is derived: what does not verify is dropped, never repaired.

mod write;

use std::ops::Range;
use std::sync::Arc;

pub(crate) use self::write::write_run;

use super::codec::{At, INDEX_KEYS, RowsPage, index_search};
use super::filter;
use super::page::{AHEAD, Pages};
use super::row::{Row, key_of, prefix_of};
use crate::Result;
use crate::format::bytes::{NUMBER_MAX, Put, Take, within};
use crate::format::{Fault, PAGE, StoreId, VERSION};
use crate::io::Storage;
use crate::mail::AccountId;

const MAGIC: u64 = u64::from_le_bytes(*b"MKDIRUN1");

/// The folder of all that is derived.
pub(super) const FOLDER: &str = "index";

/// Name of a run's file.
pub(super) fn path_of(number: u32) -> String {
    format!("{FOLDER}/{number:08x}.run")
}

/// What the checkpoint keeps of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RunInfo {
    /// Number of its file.
    pub(crate) number: u32,
    /// Its nonce, see [`FileId`](super::FileId).
    pub(crate) nonce: [u8; 16],
    /// The first record number it covers.
    pub(crate) lo: u64,
    /// The first record number behind those it covers.
    pub(crate) hi: u64,
    /// Its rows.
    pub(crate) rows: u64,
    /// Length of the file in bytes.
    pub(crate) len: u64,
}

impl RunInfo {
    /// The record numbers it covers.
    pub(crate) fn range(&self) -> Range<u64> {
        self.lo..self.hi
    }
}

/// The header page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    lo: u64,
    hi: u64,
    rows: u64,
    row_pages: u32,
    filter_blocks: u32,
    first: AccountId,
    last: AccountId,
    nonce: [u8; 16],
}

impl Head {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(PAGE);
        out.put_u64(MAGIC);
        out.put_u16(VERSION);
        out.put(&[0; 6]);
        out.put_u64(self.lo);
        out.put_u64(self.hi);
        out.put_u64(self.rows);
        out.put_u32(self.row_pages);
        out.put_u32(self.filter_blocks);
        out.put(self.first.as_bytes());
        out.put(self.last.as_bytes());
        out.put(&self.nonce);
        out
    }

    fn decode(content: &[u8]) -> Result<Self, Fault> {
        let mut take = Take::new(content);
        take.magic(MAGIC)?;
        match take.u16()? {
            VERSION => {}
            found => {
                return Err(Fault::Version {
                    found,
                    supported: VERSION,
                });
            }
        }
        take.zeroes(6)?;
        let lo = take.number("record number")?;
        let hi = take.u64()?;
        within("record number", hi, lo, NUMBER_MAX)?;
        let head = Self {
            lo,
            hi,
            rows: take.number("count of rows")?,
            row_pages: take.u32()?,
            filter_blocks: take.u32()?,
            first: AccountId::from_bytes(take.array()?),
            last: AccountId::from_bytes(take.array()?),
            nonce: take.array()?,
        };
        take.end()?;
        within(
            "count of filter blocks",
            head.filter_blocks.into(),
            1,
            u32::MAX.into(),
        )?;
        within("count of row pages", head.row_pages.into(), 0, head.rows)?;
        Ok(head)
    }

    fn index_page_count(&self) -> u32 {
        self.row_pages.div_ceil(INDEX_KEYS)
    }

    /// Number of the first page of the page index.
    fn index_start(&self) -> u64 {
        1 + u64::from(self.row_pages)
    }

    fn filter_start(&self) -> u64 {
        self.index_start() + u64::from(self.index_page_count())
    }

    fn page_count(&self) -> u64 {
        self.filter_start() + u64::from(filter::page_count(self.filter_blocks))
    }
}

/// An open run.
#[derive(Debug)]
pub(crate) struct Run {
    pages: Pages,
    head: Head,
}

impl Run {
    /// Opens a run.
    ///
    /// # Errors
    /// What the system says; [`Error::Damaged`](crate::Error::Damaged) where the header is not one of this store and number, or the file has
    /// another length than it says.
    pub(crate) fn open(storage: &dyn Storage, number: u32, store: StoreId) -> Result<Self> {
        let pages = Pages::open(storage, path_of(number), store, number)?;
        let content = pages.read(0)?;
        let head = Head::decode(&content).map_err(|fault| pages.fault(0, fault))?;
        let pages = pages.with_nonce(head.nonce);
        let (found, expected) = (pages.len()?, head.page_count().saturating_mul(PAGE as u64));
        if found != expected {
            let field = "length of the file";
            return Err(pages.fault(
                0,
                Fault::Mismatch {
                    field,
                    found,
                    expected,
                },
            ));
        }
        within("count of pages", head.page_count(), 1, u32::MAX.into())
            .map_err(|fault| pages.fault(0, fault))?;
        // What every search looks at, behind the rows: some 14 bits for a row. Asking for it now, at once, leaves a search
        // of a run that nobody has asked yet with the page of its row.
        let behind = head.page_count().saturating_sub(head.index_start());
        let first = u32::try_from(head.index_start()).unwrap_or(u32::MAX);
        pages.read_ahead(first, u32::try_from(behind).unwrap_or(u32::MAX));
        Ok(Self { pages, head })
    }

    /// Its nonce.
    pub(crate) fn nonce(&self) -> [u8; 16] {
        self.head.nonce
    }

    /// The first record number it covers.
    pub(crate) fn lo(&self) -> u64 {
        self.head.lo
    }

    /// The first record number behind those it covers.
    pub(crate) fn hi(&self) -> u64 {
        self.head.hi
    }

    /// How many rows it has.
    pub(crate) fn rows(&self) -> u64 {
        self.head.rows
    }

    /// Length of the file in bytes.
    pub(crate) fn len(&self) -> u64 {
        self.head.page_count() * PAGE as u64
    }

    /// The row of a key.
    ///
    /// # Errors
    /// [`Error::Damaged`](crate::Error::Damaged) where a page that was asked does not verify, or what the system says.
    ///
    /// # Cost
    /// One page for a key that is not there, three for one that is; seldom one more, where keys are not spread evenly
    /// a logarithmic number.
    pub(crate) fn get(&self, key: &AccountId) -> Result<Option<Row>> {
        if self.head.rows == 0 || *key < self.head.first || *key > self.head.last {
            return Ok(None);
        }
        if !self.may_hold(prefix_of(key))? {
            return Ok(None);
        }
        let number = self.row_page_of(key)?;
        let found = self.with_rows(number, |page| {
            let at = page.rank(key)?;
            (at < page.count()).then(|| page.row(at)).transpose()
        })?;
        Ok(found.filter(|row| row.key == *key))
    }

    /// The rows whose key has that first half.
    ///
    /// # Errors
    /// As [`Run::get`].
    pub(crate) fn prefix(self: &Arc<Self>, prefix: [u8; 8]) -> Result<Vec<Row>> {
        let (first, last) = (key_of(prefix, [0; 8]), key_of(prefix, [0xff; 8]));
        if last < self.head.first || first > self.head.last || !self.may_hold(prefix)? {
            return Ok(Vec::new());
        }
        let same = |row: &Result<Row>| row.as_ref().map_or(true, |row| row.key <= last);
        self.iter_from(first).take_while(same).collect()
    }

    /// The rows from a key on, in order. A page is read when its first row is asked for. Ends behind an error.
    pub(crate) fn iter_from(self: &Arc<Self>, key: AccountId) -> Rows {
        Rows {
            run: Arc::clone(self),
            state: State::Seek(key),
            last: None,
            batch: Vec::new().into_iter(),
        }
    }

    fn may_hold(&self, prefix: [u8; 8]) -> Result<bool> {
        if self.head.rows == 0 {
            return Ok(false);
        }
        let blocks = self.head.filter_blocks;
        let number = self.head.filter_start() + u64::from(filter::page_of(prefix, blocks));
        let page = self.pages.read(page_number(number))?;
        Ok(filter::may_hold(prefix, blocks, &page))
    }

    /// Acts on a page of rows.
    fn with_rows<T>(
        &self,
        number: u32,
        act: impl FnOnce(&RowsPage) -> Result<T, Fault>,
    ) -> Result<T> {
        let content = self.pages.read(number)?;
        RowsPage::new(content)
            .and_then(|page| act(&page))
            .map_err(|fault| self.pages.fault(number, fault))
    }

    /// Number of the last page of rows that does not begin behind the key; the first one for a key before all.
    ///
    /// Begins where the key would be if keys were spread evenly. From there it gallops to the right side, then halves.
    fn row_page_of(&self, key: &AccountId) -> Result<u32> {
        let (mut low, mut high) = (0, self.head.index_page_count());
        let mut at = spread(key, &self.head.first, &self.head.last, high);
        let mut step = 1;
        while low < high {
            let guess = at.clamp(low, high - 1);
            match self.search_index_page(guess, key)? {
                At::Here(offset) => return Ok(1 + guess * INDEX_KEYS + offset),
                At::Before if guess == 0 => return Ok(1),
                At::Before => {
                    high = guess;
                    at = guess.saturating_sub(step);
                }
                At::Behind => {
                    low = guess + 1;
                    at = guess.saturating_add(step);
                }
            }
            // Halving bounds the steps for keys that lie in heaps.
            if step > 4 {
                at = low + (high.saturating_sub(low)) / 2;
            }
            step = step.saturating_mul(2);
        }
        let (found, expected) = (u64::from(low), u64::from(low) + 1);
        let field = "place in the page index";
        let page = page_number(self.head.index_start() + found);
        Err(self.pages.fault(
            page,
            Fault::Mismatch {
                field,
                found,
                expected,
            },
        ))
    }

    fn search_index_page(&self, at: u32, key: &AccountId) -> Result<At> {
        let number = page_number(self.head.index_start() + u64::from(at));
        let content = self.pages.read(number)?;
        let count = (self.head.row_pages - at * INDEX_KEYS).min(INDEX_KEYS);
        let is_last = at + 1 == self.head.index_page_count();
        index_search(&content, count, is_last, key).map_err(|fault| self.pages.fault(number, fault))
    }
}

/// Page numbers of an open run fit: [`Run::open`] has checked the last.
fn page_number(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Which of `many` equal parts of the keys from `first` to `last` a key falls into.
fn spread(key: &AccountId, first: &AccountId, last: &AccountId, many: u32) -> u32 {
    let number = |key: &AccountId| u64::from_le_bytes(prefix_of(key)).swap_bytes();
    let (low, high) = (number(first), number(last));
    let width = u128::from(high.saturating_sub(low)) + 1;
    let part = u128::from(number(key).saturating_sub(low)) * u128::from(many) / width;
    u32::try_from(part).unwrap_or(u32::MAX)
}

/// Rows of a run in order, see [`Run::iter_from`].
#[derive(Debug)]
pub(crate) struct Rows {
    run: Arc<Run>,
    state: State,
    /// The key of the last row that was read.
    last: Option<AccountId>,
    batch: std::vec::IntoIter<Row>,
}

#[derive(Debug)]
enum State {
    /// Nothing was read; the first row is not below this key.
    Seek(AccountId),
    /// The next page to read.
    Page(u32),
}

impl Rows {
    /// Reads the next page; false behind the last.
    fn fill(&mut self) -> Result<bool> {
        let head = &self.run.head;
        let (number, key) = match self.state {
            State::Seek(key) if head.rows == 0 || key > head.last => (head.row_pages + 1, None),
            State::Seek(key) => (self.run.row_page_of(&key)?, Some(key)),
            State::Page(number) => {
                if number.is_multiple_of(AHEAD) && number <= head.row_pages {
                    self.run.pages.read_ahead(number, AHEAD);
                }
                (number, None)
            }
        };
        if number > head.row_pages {
            return Ok(false);
        }
        let rows = self.run.with_rows(number, |page| {
            let from = key.map_or(Ok(0), |key| page.rank(&key))?;
            let rows = page.rows_from(from)?;
            check_order(&rows, key, self.last)?;
            Ok(rows)
        })?;
        self.last = rows.last().map(|row| row.key).or(self.last);
        self.state = State::Page(number + 1);
        self.batch = rows.into_iter();
        Ok(true)
    }
}

/// Refuses rows whose keys do not ascend: who goes on behind the last one would come to the first again, and for ever.
fn check_order(
    rows: &[Row],
    from: Option<AccountId>,
    last: Option<AccountId>,
) -> Result<(), Fault> {
    let begins = rows.first().is_none_or(|first| {
        from.is_none_or(|from| from <= first.key) && last.is_none_or(|last| last < first.key)
    });
    let ascends = begins && rows.is_sorted_by(|row, next| row.key < next.key);
    within("rows out of order", u64::from(!ascends), 0, 0)
}

impl Iterator for Rows {
    type Item = Result<Row>;

    fn next(&mut self) -> Option<Result<Row>> {
        loop {
            if let Some(row) = self.batch.next() {
                return Some(Ok(row));
            }
            match self.fill() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => {
                    self.state = State::Page(u32::MAX);
                    return Some(Err(error));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
