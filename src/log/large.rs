//! Large bodies: each in a segment of its own, durable before the small record that commits it.
//!
//! A group never holds them, so what a delivery keeps in memory stays bounded, and others' commits do not wait for
//! them. A segment whose record was never committed is dropped at the next opening.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Shared;
use super::body::Body;
use super::group::NewBody;
use super::ledger::Ledger;
use super::segment::Segment;
use super::writer::{edit_of, make_file};
use super::{join_path, segment_name};
use crate::error::{Error, Result};
use crate::format::body;
use crate::format::segment::{Holds, SegmentHeader};
use crate::format::segments::{Edit, What};
use crate::format::{Fault, PAGE};
use crate::io::{Open, Storage};
use crate::switch::Switch;

/// Bodies longer than this get a segment of their own, in bytes.
pub(crate) const LARGE: u64 = 1 << 20;

/// Segments of large bodies that stay open after a read; the oldest gives way.
const OPEN_MAX: usize = 64;

impl Shared {
    /// Writes `body` into a new segment, syncs it and lists it. Returns the segment's number, under which the record
    /// names it.
    pub(super) fn write_large(&self, body: &NewBody<'_>) -> Result<u64> {
        // The record is refused too, but only after this.
        if self.read_only.load(Ordering::Relaxed) {
            return Err(Error::ReadOnly);
        }
        let _held = self.hold()?;
        let (number, header) = {
            let mut writer = self.writer.lock();
            let number = writer.next_segment;
            writer.next_segment += 1;
            (number, writer.header(self, number, 0, 0, Holds::Body))
        };
        let name = segment_name(number);
        let segment = self.write_body(&name, header, body).inspect_err(|_| {
            let _ = self.storage.remove(&name);
        })?;
        let edit = edit_of(&segment, What::Body);
        Switch::LargeEdit.guard(|| self.ledger.lock().append(&[edit], |_| {}))?;
        self.log_len
            .fetch_add(body.bytes.len() as u64, Ordering::Relaxed);
        Ok(number)
    }

    /// Drops a large body that no record names.
    pub(super) fn drop_large(&self, number: u64) {
        let Ok(_held) = self.hold() else { return };
        let dropped = drop_segment(&*self.storage, &mut self.ledger.lock(), number);
        // What fails here is tried again at the next opening.
        let _ = dropped;
    }

    fn write_body(&self, name: &str, header: SegmentHeader, body: &NewBody<'_>) -> Result<Segment> {
        let number = header.segment;
        let file = make_file(self, name, &header, false)?;
        let path = self.path(name);
        let segment = Segment::new(
            header,
            path,
            name.to_owned(),
            Arc::clone(&file),
            &self.files,
        );
        let mut encoded = Vec::new();
        body.header(number).encode(&mut encoded);
        body::sign(segment.place, number, &mut encoded);
        file.write_at(&[&encoded, body.bytes], PAGE as u64)
            .map_err(segment.io("write"))?;
        Switch::LargeSync
            .guard(|| file.sync())
            .map_err(segment.io("sync"))?;
        Ok(segment)
    }

    /// The large body in segment `number`.
    pub(super) fn large_body(&self, number: u64, missing: &dyn Fn() -> Error) -> Result<Body> {
        let open = self
            .large
            .lock()
            .iter()
            .find(|segment| segment.number() == number)
            .cloned();
        let segment = match open {
            Some(segment) => segment,
            None => self.keep_large(self.open_large(number, missing)?),
        };
        segment.body_at(number, PAGE as u64)
    }

    /// The segment of a large body, opened anew.
    pub(super) fn open_large(
        &self,
        number: u64,
        missing: &dyn Fn() -> Error,
    ) -> Result<Arc<Segment>> {
        let name = segment_name(number);
        let path = join_path(&self.storage.describe(), &name);
        let file = self
            .storage
            .open(&name, Open::Read)
            .map_err(|source| match source.kind() {
                std::io::ErrorKind::NotFound => missing(),
                _ => Error::io("open", &path, source),
            })?;
        let mut page = vec![0; PAGE];
        file.read_at(&mut page, 0)
            .map_err(|source| Error::io("read", &path, source))?;
        let header = SegmentHeader::decode(&page).map_err(|fault| Error::fault(&path, 0, fault))?;
        if Switch::LargeIdentity.on() && (header.store != self.store || header.segment != number) {
            return Err(Error::fault(&path, 0, Fault::Foreign));
        }
        // The record number that binds this body is the segment's own.
        let header = SegmentHeader {
            first_record: number,
            ..header
        };
        let segment = Segment::new(header, path, name, file, &self.files);
        Ok(Arc::new(segment))
    }

    fn keep_large(&self, segment: Arc<Segment>) -> Arc<Segment> {
        let mut open = self.large.lock();
        if open.len() >= OPEN_MAX {
            open.remove(0);
        }
        open.push(Arc::clone(&segment));
        segment
    }
}

/// Says in SEGMENTS that the segment of a large body is gone, then removes it.
pub(super) fn drop_segment(storage: &dyn Storage, ledger: &mut Ledger, number: u64) -> Result<()> {
    let name = segment_name(number);
    let edit = Edit {
        what: What::Dropped,
        segment: number,
        generation: 0,
        first_record: 0,
        first_batch: 0,
        end: 0,
        next_record: 0,
        salt: 0,
    };
    Switch::DroppedEdit.guard(|| ledger.append(&[edit], |_| {}))?;
    match storage.remove(&name) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            let path = join_path(&storage.describe(), &name);
            Err(Error::io("remove", path, error))
        }
        _ => Ok(()),
    }
}
