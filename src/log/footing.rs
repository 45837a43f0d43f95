//! The footer of a sealed segment as it is read: page by page, each verified once.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::segment::Segment;
use crate::error::Result;
use crate::format::footer::{self, AccountRun, MergedRun, RecordAt, Trailer};
use crate::format::{Fault, PAGE};
use crate::io::File;
use crate::mail::AccountId;

/// A footer, read page by page, each verified once.
#[derive(Debug)]
pub(super) struct Footer {
    pub(super) trailer: Trailer,
    verified: Vec<AtomicU64>,
}

/// A table of a footer that is sorted by account; its entries have one length.
#[derive(Clone, Copy)]
struct Entries {
    /// From the start of the footer.
    at: usize,
    count: usize,
}

const _: () = assert!(footer::ACCOUNT_ENTRY == footer::MERGED_ENTRY);

impl Entries {
    fn accounts(trailer: &Trailer) -> Self {
        Self {
            at: trailer.accounts_at(),
            count: trailer.account_count as usize,
        }
    }

    fn merged(trailer: &Trailer) -> Self {
        Self {
            at: trailer.merged_at(),
            count: trailer.merged_count as usize,
        }
    }
}

impl Footer {
    pub(super) fn new(trailer: Trailer) -> Self {
        let pages = trailer.checksums_at() / PAGE + 1;
        let verified = std::iter::repeat_with(AtomicU64::default)
            .take(pages.div_ceil(64))
            .collect();
        Self { trailer, verified }
    }

    /// The places of all records, every page verified.
    pub(super) fn places(&self, segment: &Segment) -> Result<Vec<RecordAt>> {
        let mut places = Vec::new();
        for index in 0..self.trailer.record_count as usize {
            places.push(self.place(segment, index)?.unwrap_or_default());
        }
        Ok(places)
    }

    /// The place of the record at `index`, its page verified.
    pub(super) fn place(&self, segment: &Segment, index: usize) -> Result<Option<RecordAt>> {
        if index >= self.trailer.record_count as usize {
            return Ok(None);
        }
        let at = index * footer::RECORD_ENTRY;
        self.verify_page(segment, at / PAGE)?;
        let entry: [u8; footer::RECORD_ENTRY] =
            segment.array(self.trailer.footer_at + at as u64)?;
        RecordAt::decode(&entry)
            .map(Some)
            .map_err(|fault| segment.fault(self.trailer.footer_at + at as u64, fault))
    }

    /// The numbers of `account`'s records in the segment, ascending.
    pub(super) fn numbers(&self, segment: &Segment, account: &AccountId) -> Result<Vec<u64>> {
        let index = self.lower_bound(segment, Entries::accounts(&self.trailer), account)?;
        match self.run(segment, index)? {
            Some(run) if run.account == *account => self.list(segment, &run),
            _ => Ok(Vec::new()),
        }
    }

    /// Up to `limit` accounts of `keys` with records in the segment, ascending, each with the number of its newest.
    pub(super) fn accounts(
        &self,
        segment: &Segment,
        keys: &RangeInclusive<AccountId>,
        limit: usize,
    ) -> Result<Vec<(AccountId, u64)>> {
        let mut found = Vec::new();
        let mut index =
            self.lower_bound(segment, Entries::accounts(&self.trailer), keys.start())?;
        while let Some(run) = self.run(segment, index)? {
            if run.account > *keys.end() || found.len() >= limit {
                break;
            }
            if let Some(newest) = self.list(segment, &run)?.last() {
                found.push((run.account, *newest));
            }
            index += 1;
        }
        Ok(found)
    }

    /// In which of the segments that the merged table covers an account of `keys` may have records, as bits; `None` if
    /// there is no such table, or too much of it to read.
    pub(super) fn merged(
        &self,
        segment: &Segment,
        keys: &RangeInclusive<AccountId>,
    ) -> Result<Option<u64>> {
        /// Entries that are read at most: a wider search asks each segment.
        const ENTRIES_MAX: usize = 4096;
        if self.trailer.merged.is_empty() {
            return Ok(None);
        }
        let table = Entries::merged(&self.trailer);
        let first = self.lower_bound(segment, table, keys.start())?;
        let mut bits = 0;
        for index in first..first + ENTRIES_MAX {
            let Some(entry) = self.entry(segment, table, index)? else {
                return Ok(Some(bits));
            };
            let run = MergedRun::decode(&entry).map_err(|fault| segment.fault(0, fault))?;
            if run.account > *keys.end() {
                return Ok(Some(bits));
            }
            bits |= run.segments;
        }
        Ok(None)
    }

    /// Index of the first entry whose account is not below `key`. Ids are as good as random, so that guessing from the
    /// first eight bytes comes close; each second step halves what is left, whatever the ids are.
    fn lower_bound(&self, segment: &Segment, table: Entries, key: &AccountId) -> Result<usize> {
        let (mut low, mut high) = (0, table.count);
        let (mut from, mut to) = (0, u64::MAX);
        let wanted = prefix(key);
        let mut guess = true;
        while low < high {
            let span = (high - low - 1) as u128;
            let share = u128::from(wanted.saturating_sub(from)) * span;
            let guessed = share / u128::from(to.saturating_sub(from)).max(1);
            let guessed = usize::try_from(guessed.min(span)).unwrap_or(0);
            let probe = low + if guess { guessed } else { (high - low) / 2 };
            guess = !guess;
            let Some(entry) = self.entry(segment, table, probe)? else {
                break;
            };
            let account = AccountId::from_bytes(entry.first_chunk().copied().unwrap_or_default());
            if account < *key {
                (low, from) = (probe + 1, prefix(&account));
            } else {
                (high, to) = (probe, prefix(&account));
            }
        }
        Ok(low)
    }

    /// The entry at `index` of a table by account.
    fn entry(&self, segment: &Segment, table: Entries, index: usize) -> Result<Option<Bytes>> {
        if index >= table.count {
            return Ok(None);
        }
        let at = table.at + index * footer::ACCOUNT_ENTRY;
        self.read(segment, at, footer::ACCOUNT_ENTRY).map(Some)
    }

    /// The entry of the account at `index`.
    pub(super) fn run(&self, segment: &Segment, index: usize) -> Result<Option<AccountRun>> {
        let entry = self.entry(segment, Entries::accounts(&self.trailer), index)?;
        let run = entry.map(|entry| AccountRun::decode(&entry));
        run.transpose()
            .map_err(|fault| segment.fault(self.trailer.footer_at, fault))
    }

    /// The record numbers of a run.
    fn list(&self, segment: &Segment, run: &AccountRun) -> Result<Vec<u64>> {
        let at = self.trailer.lists_at() + run.first as usize * 4;
        let end = u64::from(run.first) + u64::from(run.count);
        if end > u64::from(self.trailer.list_count) {
            // Sound and yet not what a writer writes.
            let (found, max) = (end, self.trailer.list_count.into());
            let fault = Fault::Range {
                field: "end of an account's list",
                found,
                min: 0,
                max,
            };
            return Err(segment.fault(self.trailer.footer_at + at as u64, fault));
        }
        let bytes = self.read(segment, at, run.count as usize * 4)?;
        let index = |entry: &[u8]| entry.try_into().map_or(0, u32::from_le_bytes);
        let numbers = bytes.chunks_exact(4).map(|entry| u64::from(index(entry)));
        Ok(numbers
            .map(|index| segment.first_record() + index)
            .collect())
    }

    /// `len` bytes at `at` of the footer, all pages that they touch verified.
    fn read(&self, segment: &Segment, at: usize, len: usize) -> Result<Bytes> {
        for page in at / PAGE..(at + len).div_ceil(PAGE) {
            self.verify_page(segment, page)?;
        }
        segment.bytes(self.trailer.footer_at + at as u64, len)
    }

    fn verify_page(&self, segment: &Segment, page: usize) -> Result<()> {
        let word = self.verified.get(page / 64);
        let bit = 1 << (page % 64);
        if word.is_some_and(|word| word.load(Ordering::Relaxed) & bit != 0) {
            return Ok(());
        }
        let start = self.trailer.footer_at;
        let table_at = start + self.trailer.checksums_at() as u64;
        let table = segment.bytes(
            table_at,
            self.trailer.trailer_at() - self.trailer.checksums_at(),
        )?;
        self.trailer
            .verify_checksums(&table)
            .map_err(|fault| segment.fault(table_at, fault))?;
        let page_at = start + (page * PAGE) as u64;
        let content = segment.bytes(page_at, PAGE)?;
        footer::verify_page(segment.place, &table, page, &content)
            .map_err(|fault| segment.fault(page_at, fault))?;
        if let Some(word) = word {
            word.fetch_or(bit, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// The first eight bytes of an id as a number that orders as they do.
fn prefix(id: &AccountId) -> u64 {
    let bytes = id.as_bytes().iter().take(8);
    bytes.fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// The last page of a file, if it is a sound trailer.
pub(super) fn read_trailer(file: &dyn File) -> Option<Trailer> {
    let at = file.len().ok()?.checked_sub(PAGE as u64)?;
    let mut page = vec![0; PAGE];
    file.read_at(&mut page, at).ok()?;
    Trailer::decode(&page).ok()
}

/// The trailer of a sealed segment, if every page of its footer is as it was written.
pub(super) fn read_sound(segment: &Segment) -> Result<Option<Trailer>> {
    let file = segment.file()?;
    let trailer = read_trailer(&*file).filter(|trailer| segment.is_own(trailer, &*file));
    Ok(trailer.filter(|trailer| is_sound(segment, &*file, trailer)))
}

fn is_sound(segment: &Segment, file: &dyn File, trailer: &Trailer) -> bool {
    let mut footer = vec![0; trailer.trailer_at()];
    let read = file.read_at(&mut footer, trailer.footer_at).ok();
    let (pages, table) = footer.split_at(trailer.checksums_at());
    read == Some(footer.len())
        && trailer.verify_checksums(table).is_ok()
        && pages
            .chunks(PAGE)
            .enumerate()
            .all(|(number, page)| footer::verify_page(segment.place, table, number, page).is_ok())
}
