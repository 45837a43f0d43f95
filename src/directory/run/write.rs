//! Writing a run: pages as they fill, then what tells where they are, the header last.

use std::ops::Range;

use super::{FOLDER, Head, RunInfo, path_of};
use crate::directory::codec::{RowsOut, index_pages};
use crate::directory::filter::Filter;
use crate::directory::page::{FileId, PageWriter};
use crate::directory::row::{Row, prefix_of};
use crate::format::Fault;
use crate::io::Storage;
use crate::mail::AccountId;
use crate::switch::Switch;
use crate::{Error, Result};

/// Writes the run with the rows of the records in `range`; `expected` is about how many they are, for the size of the
/// filter. Rows come in strictly ascending order of their keys. On an error no file is left.
///
/// # Errors
/// Those of the rows; what the system says; [`Error::Damaged`] where the rows are not in order.
///
/// # Durability
/// The file and its name are durable when this returns.
///
/// # Cost
/// Reads and writes each row once, a megabyte at a time. Holds the filter (10 bits for an expected row) and the first
/// key of each page (about half a byte for a row) in memory.
pub(crate) fn write_run<E: From<Error>>(
    storage: &dyn Storage,
    id: FileId,
    range: Range<u64>,
    expected: u64,
    rows: impl Iterator<Item = Result<Row, E>>,
) -> Result<RunInfo, E> {
    let path = path_of(id.number);
    let written = RunWriter::create(storage, id, expected)
        .map_err(E::from)
        .and_then(|writer| writer.write(range, rows));
    let synced = written.and_then(|info| {
        let synced = Switch::RunNameSync.guard(|| storage.sync_dir(FOLDER));
        synced.map_err(|error| Error::io("sync", FOLDER, error))?;
        Ok(info)
    });
    if synced.is_err() {
        // It is not named anywhere: what cannot be removed now is removed with the next files not in use.
        let _ = storage.remove(&path);
    }
    synced
}

struct RunWriter {
    id: FileId,
    pages: PageWriter,
    page: RowsOut,
    filter: Filter,
    /// First key of each page of rows.
    first_keys: Vec<AccountId>,
    last: Option<AccountId>,
    rows: u64,
}

impl RunWriter {
    fn create(storage: &dyn Storage, id: FileId, expected: u64) -> Result<Self> {
        Ok(Self {
            id,
            pages: PageWriter::create(storage, path_of(id.number), id)?,
            page: RowsOut::default(),
            filter: Filter::sized(expected),
            first_keys: Vec::new(),
            last: None,
            rows: 0,
        })
    }

    fn write<E: From<Error>>(
        mut self,
        range: Range<u64>,
        rows: impl Iterator<Item = Result<Row, E>>,
    ) -> Result<RunInfo, E> {
        for row in rows {
            self.push(&row?)?;
        }
        Ok(self.finish(range)?)
    }

    fn push(&mut self, row: &Row) -> Result<()> {
        if self.last.is_some_and(|last| row.key <= last) {
            let fault = Fault::Mismatch {
                field: "order of keys",
                found: u64::from_le_bytes(row.prefix()).swap_bytes(),
                expected: self
                    .last
                    .map_or(0, |last| u64::from_le_bytes(prefix_of(&last)).swap_bytes()),
            };
            return Err(Error::fault(path_of(self.id.number), 0, fault));
        }
        if !self.page.push(row) {
            self.end_page()?;
            self.page.push(row);
        }
        if self.page.count() == 1 {
            self.first_keys.push(row.key);
        }
        self.filter.insert(row.prefix());
        self.last = Some(row.key);
        self.rows += 1;
        Ok(())
    }

    fn end_page(&mut self) -> Result<()> {
        if self.page.count() == 0 {
            return Ok(());
        }
        self.pages.append(&mut self.page.take())
    }

    fn finish(mut self, range: Range<u64>) -> Result<RunInfo> {
        self.end_page()?;
        let row_pages = self.pages.next() - 1;
        for mut page in index_pages(&self.first_keys) {
            self.pages.append(&mut page)?;
        }
        for mut page in self.filter.pages() {
            self.pages.append(&mut page)?;
        }
        let nothing = AccountId::from_bytes([0; 16]);
        let head = Head {
            lo: range.start,
            hi: range.end,
            rows: self.rows,
            row_pages,
            filter_blocks: self.filter.block_count(),
            first: self.first_keys.first().copied().unwrap_or(nothing),
            last: self.last.unwrap_or(nothing),
            nonce: self.id.nonce,
        };
        let len = self.pages.finish(head.encode())?;
        Ok(RunInfo {
            number: self.id.number,
            nonce: self.id.nonce,
            lo: range.start,
            hi: range.end,
            rows: self.rows,
            len,
        })
    }
}
