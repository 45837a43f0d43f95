//! Writing images: an account whose chain of records has grown is saved, so that loading it stays a few reads.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::sync::Arc;

use super::Index;
use super::cell::Cell;
use super::image::chain::{self, Grown};
use super::sources::is_base;
use crate::directory::{ImageAt, Row};
use crate::error::{Error, Result};
use crate::mail::AccountId;

use super::fold::Fold;
use crate::switch::Switch;

/// Images that one checkpoint waits for.
const CAUGHT_UP_MAX: usize = 64;

impl Index {
    /// Whether there are records that no run covers. Where an image lies is saved with their rows: without any, an image
    /// would be written for nothing.
    pub(super) fn rows_are_to_be_saved(&self) -> bool {
        self.log.next_record() > self.directory.tail()
    }

    /// Saves accounts that have changed since their image was made: their last change was not durable then, and it was
    /// nobody's turn since. Not too many: whoever closes the store waits for it.
    pub(super) fn catch_up_images(&self) {
        let touched = self.touched.lock().clone();
        let behind = |cell: &Arc<Cell>| {
            let state = self.lock(cell);
            let head = state.durable();
            head.fold.is_some() && head.row.records > self.log.options().chain_max
        };
        let cells = touched.into_iter().filter_map(|id| self.cells.get(id));
        for cell in cells.filter(behind).take(CAUGHT_UP_MAX) {
            // Derived: without it a load reads more.
            self.tried(self.save_image(&cell).map(|()| false));
        }
    }

    /// Saves the account as it is durable, if its chain has grown enough. Reads what the image lacks from the log.
    pub(super) fn save_image(&self, cell: &Arc<Cell>) -> Result<()> {
        let (fold, row) = {
            let state = self.lock_loaded(cell)?;
            let head = state.durable();
            match &head.fold {
                Some(fold) => (fold.clone(), head.row.clone()),
                None => return Ok(()),
            }
        };
        if Switch::ImageGiven.on() && fold.partial {
            return Ok(());
        }
        if row.records <= self.log.options().chain_max {
            return Ok(());
        }
        let Some(grown) = self.grown(&fold, &row)? else {
            return Ok(());
        };
        let at = self.images.append(cell.id, grown.record, &grown.bytes)?;
        for old in &grown.replaced {
            self.images.release(old);
        }
        let mut state = self.lock(cell);
        state.imaged(at, row.records);
        self.list(&mut state, cell.id);
        Ok(())
    }

    /// The blob that brings the account's image up to the fold.
    fn grown(&self, fold: &Fold, row: &Row) -> Result<Option<Grown>> {
        // Pieces hold records of the account only: over a fence it is written whole.
        let fenced = |at: &ImageAt| self.last_fence() > at.record;
        let newest = row
            .image
            .filter(|at| !fenced(at) || !Switch::ImageFenced.on());
        let records = match &newest {
            Some(at) => {
                let below = fold.last_record + 1;
                let chain = self
                    .log
                    .account_records(fold.id, below, at.record, &is_base)?;
                chain.records
            }
            None => Vec::new(),
        };
        let mut grown = chain::grow(&self.images, fold, newest.as_ref(), &records);
        if let (Some(grown), None, Some(old)) = (&mut grown, &newest, &row.image) {
            grown.replaced = chain::blobs_of(&self.images, fold.id, old).unwrap_or_default();
        }
        Ok(grown)
    }

    /// Moves what is needed out of an image file that is mostly dead; whether there was one.
    pub(super) fn reclaim_step(&self) -> Result<bool> {
        let _one = self.work.step.lock();
        if !self.rows_are_to_be_saved() {
            return Ok(false);
        }
        let files = self.images.files();
        let worn = files.iter().find(|file| {
            file.dead < file.len && file.dead > file.len / 2 && !self.images.is_active(file.number)
        });
        let Some(worn) = worn else { return Ok(false) };
        let mut moved = true;
        for id in self.accounts_in(worn.number)? {
            moved &= self.move_image(id, worn.number)?;
        }
        if moved {
            self.images.forget(worn.number);
        }
        Ok(moved)
    }

    /// The accounts that have or had a part of their image in that file.
    fn accounts_in(&self, file: u32) -> Result<BTreeSet<AccountId>> {
        let mut found = BTreeSet::new();
        let walked = self.images.walk(file, |blob| {
            found.insert(blob.account);
            Ok(())
        });
        match walked {
            // Given up: its accounts are folded from the log.
            Err(error @ Error::Damaged { .. }) => self.note_damage(&error),
            // Removed behind the checkpoint that names it.
            Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {}
            // It may be read another time.
            other => other?,
        }
        Ok(found)
    }

    /// The blobs of the account's image, if one of them is in that file.
    fn image_in(&self, cell: &Arc<Cell>, file: u32) -> Result<Option<Vec<ImageAt>>> {
        let Some(at) = self.lock(cell).durable().row.image else {
            return Ok(None);
        };
        let blobs = match chain::blobs_of(&self.images, cell.id, &at) {
            Err(Error::Damaged { .. }) => vec![at],
            other => other?,
        };
        Ok(blobs.iter().any(|blob| blob.file == file).then_some(blobs))
    }

    /// The blobs in a file that images need.
    pub(super) fn needed_of(&self, file: u32) -> Result<Vec<ImageAt>> {
        let mut needed = Vec::new();
        for id in self.accounts_in(file)? {
            if let Some(cell) = self.by_id(id)? {
                needed.extend(self.image_in(&cell, file)?.unwrap_or_default());
            }
        }
        needed.retain(|blob| blob.file == file);
        Ok(needed)
    }

    /// Writes an account's image anew if it has a part in that file; whether it has none there now. An account that the disk
    /// does not give keeps what its image has.
    fn move_image(&self, id: AccountId, file: u32) -> Result<bool> {
        let Some(cell) = self.by_id(id)? else {
            return Ok(true);
        };
        let Some(blobs) = self.image_in(&cell, file)? else {
            return Ok(true);
        };
        let fold = self.fold(&cell)?;
        if Switch::ImageGiven.on() && fold.partial {
            return Ok(false);
        }
        let (whole, records) = {
            let state = self.lock(&cell);
            (
                chain::grow(&self.images, &fold, None, &[]),
                state.durable().row.records,
            )
        };
        let Some(grown) = whole else { return Ok(false) };
        let new = self.images.append(id, grown.record, &grown.bytes)?;
        blobs.iter().for_each(|blob| self.images.release(blob));
        let mut state = self.lock(&cell);
        let covered = if grown.record == fold.last_record {
            records
        } else {
            0
        };
        state.imaged(new, covered);
        self.list(&mut state, id);
        Ok(true)
    }
}
