//! Footers: a full segment gets one, and one that turned out to be bad is written again.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Shared;
use super::footing::{self, read_trailer};
use super::scan::digest;
use super::segment::Segment;
use super::spare::fill_from;
use super::walk::walk;
use super::writer::edit_of;
use crate::error::Result;
use crate::format::footer::{self, Merged, RecordAt, Sealing, Trailer};
use crate::format::segments::{Edit, What};
use crate::format::{PAGE, padded};
use crate::io::File;
use crate::mail::{AccountId, Digest};
use crate::switch::Switch;

/// A footer, ready to be written.
struct Built {
    bytes: Vec<u8>,
    trailer: Trailer,
}

impl Shared {
    /// Seals a segment. On an error it stays as it is: readable, scanned at the next opening, which tries again.
    pub(super) fn seal_or_leave(&self, segment: &Arc<Segment>) {
        if let Ok(Some(trailer)) = self.seal(segment) {
            segment.set_sealed(trailer);
        }
    }

    /// Writes a bad footer again. Where that cannot be, the segment stays readable without one.
    pub(super) fn heal_or_leave(&self, segment: &Arc<Segment>) {
        if let Ok(Some(trailer)) = self.heal(segment) {
            segment.set_sealed(trailer);
        }
    }

    /// Whether footers can be written.
    fn may_seal(&self) -> bool {
        !self.read_only.load(Ordering::Relaxed) && self.queue.lock().stopped().is_none()
    }

    fn seal(&self, segment: &Segment) -> Result<Option<Trailer>> {
        if !self.may_seal() {
            return Ok(None);
        }
        let places = segment.places()?;
        if let Some(refusal) = segment.refusal().filter(|_| Switch::SealGiven.on()) {
            return Err(refusal);
        }
        let end = segment.end();
        let footer_at = padded(usize::try_from(end).unwrap_or(usize::MAX), PAGE) as u64;
        let file = segment.file()?;
        fill_from(&*file, end, footer_at - end).map_err(segment.io("write"))?;
        let digest = digest_of(segment, &*file, footer_at)?;
        let built = self.build(segment, &places, footer_at, digest)?;
        file.write_at(&[&built.bytes], footer_at)
            .map_err(segment.io("write"))?;
        file.set_len(footer_at + built.bytes.len() as u64)
            .map_err(segment.io("cut"))?;
        Switch::SealSync
            .guard(|| file.sync())
            .map_err(segment.io("sync"))?;
        let edit = Edit {
            end: footer_at,
            next_record: segment.first_record() + places.len() as u64,
            ..edit_of(segment, What::Sealed)
        };
        self.ledger.lock().append(&[edit], |_| {})?;
        self.log_len
            .fetch_add(built.bytes.len() as u64, Ordering::Relaxed);
        Ok(Some(built.trailer))
    }

    /// The batches are not touched, and the file never becomes shorter: somebody may have it mapped. A power cut in
    /// between leaves a bad footer, as there was.
    fn heal(&self, segment: &Segment) -> Result<Option<Trailer>> {
        if !self.may_seal() || !segment.is_listed_sealed() {
            return Ok(None);
        }
        let places = segment.places()?;
        // A footer without what the disk did not give would hide it for good.
        if let Some(refusal) = segment.refusal().filter(|_| Switch::HealGiven.on()) {
            return Err(refusal);
        }
        let footer_at = segment.footer_at();
        let file = segment.file()?;
        // A sound trailer says what the batches were: they may have changed since.
        let digest = match read_trailer(&*file).filter(|trailer| segment.is_own(trailer, &*file)) {
            Some(trailer) => trailer.digest,
            None => digest_of(segment, &*file, footer_at)?,
        };
        let built = self.build(segment, &places, footer_at, digest)?;
        let len = footer_at + built.bytes.len() as u64;
        if file.len().map_err(segment.io("read"))? > len {
            return Ok(None);
        }
        file.write_at(&[&built.bytes], footer_at)
            .map_err(segment.io("write"))?;
        Switch::HealSync
            .guard(|| file.sync())
            .map_err(segment.io("sync"))?;
        // What the medium gives back is believed, not what was written.
        Ok(footing::read_sound(segment)?
            .filter(|trailer| *trailer == built.trailer)
            .or_else(|| Switch::HealReadBack.off(built.trailer)))
    }

    fn build(
        &self,
        segment: &Segment,
        places: &[RecordAt],
        footer_at: u64,
        digest: Digest,
    ) -> Result<Built> {
        let mut scanner = segment.scanner()?;
        let survey = scanner.survey(PAGE as u64);
        let first = segment.first_record();
        let mut owners: Vec<(AccountId, u32)> = Vec::new();
        let numbers = first..first + places.len() as u64;
        let _ = walk(&mut scanner, &survey, numbers, &mut |walked| {
            let header = walked.frame.header;
            let index = u32::try_from(header.number.saturating_sub(first)).unwrap_or(u32::MAX);
            owners.push((header.account, index));
            ControlFlow::Continue(())
        });
        if let Some(refusal) = scanner
            .refusal
            .as_ref()
            .filter(|_| Switch::FooterGiven.on())
        {
            return Err(segment.refused(refusal));
        }
        owners.sort_unstable();
        owners.dedup();
        let last = survey.batches.last();
        let before = segment.header.first_batch.saturating_sub(1);
        let sealing = Sealing {
            store: self.store,
            segment: segment.number(),
            generation: segment.header.generation,
            first_record: first,
            first_batch: segment.header.first_batch,
            last_batch: last.map_or(before, |found| found.head.batch),
            last_crc: last.map_or(0, |found| found.head.crc()),
            footer_at,
            digest,
            records: places,
            owners: &owners,
        };
        let table = self.merged_table(segment);
        let merged = Merged {
            segments: &table.segments,
            accounts: &table.accounts,
        };
        let bytes = footer::encode_merged(segment.place, &sealing, merged);
        let page = bytes.get(bytes.len() - PAGE..).unwrap_or_default();
        let trailer = Trailer::decode(page).map_err(|fault| segment.fault(footer_at, fault))?;
        Ok(Built { bytes, trailer })
    }
}

/// BLAKE3 of the file up to `footer_at`.
fn digest_of(segment: &Segment, file: &dyn File, footer_at: u64) -> Result<Digest> {
    let hash = digest(file, footer_at).map_err(segment.io("read"))?;
    Ok(Digest::from_bytes(*hash.as_bytes()))
}
