//! A group: the records and bodies that will become one batch, in the layout of the batch.
//!
//! What depends on where the batch goes (all signatures) is done by [`Group::finish`], when that is known, and again
//! when the batch has to go elsewhere.

use std::borrow::Cow;

use crate::format::batch::{self, Facts};
use crate::format::body::{self, BodyHeader, Codec};
use crate::format::change::{BodyAt, Change};
use crate::format::footer::RecordAt;
use crate::format::padded;
use crate::format::record::{self, RecordHeader};
use crate::format::segment::Place;
use crate::mail::AccountId;
use crate::options::Durability;

/// A record to be written; its number is given by the group.
#[derive(Debug)]
pub(crate) struct NewRecord<'a> {
    pub(crate) account: AccountId,
    pub(crate) mailbox: u32,
    pub(crate) modseq: u64,
    /// The account's record before it; 0 for its first.
    pub(crate) previous: u64,
    /// A delivery is told here where its body went.
    pub(crate) change: &'a mut Change,
}

/// A message body to be written, checksums already computed from the caller's bytes.
#[derive(Clone, Debug)]
pub(crate) struct NewBody<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) chunks: &'a [u32],
    pub(crate) account: AccountId,
    pub(crate) mailbox: u32,
    pub(crate) uid: u32,
    pub(crate) owners: Vec<AccountId>,
}

impl NewBody<'_> {
    pub(crate) fn header(&self, number: u64) -> BodyHeader<'_> {
        // Longer messages are refused before they come here.
        let len = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        BodyHeader {
            number,
            account: self.account,
            mailbox: self.mailbox,
            uid: self.uid,
            stored_len: len,
            raw_len: len,
            key: 0,
            codec: Codec::Plain,
            owners: Cow::Borrowed(&self.owners),
            chunks: Cow::Borrowed(self.chunks),
        }
    }
}

/// Where a record of the group lies in its buffers.
#[derive(Clone, Copy, Debug)]
struct Entry {
    frame_at: usize,
    frame_len: usize,
    /// Offset and length of the body's header in `bodies`.
    body: Option<(usize, usize)>,
}

/// The batch that fills.
#[derive(Debug)]
pub(crate) struct Group {
    pub(super) batch: u64,
    pub(super) first_record: u64,
    pub(super) durability: Durability,
    /// Whether all that it has removes mail.
    pub(super) removes: bool,
    records: Vec<u8>,
    bodies: Vec<u8>,
    entries: Vec<Entry>,
}

/// Capacity that a group's buffers keep for the next one, in bytes.
const KEEP: usize = 1 << 20;

impl Group {
    pub(super) fn new(batch: u64, first_record: u64) -> Self {
        Self {
            batch,
            first_record,
            durability: Durability::Written,
            removes: true,
            records: Vec::new(),
            bodies: Vec::new(),
            entries: Vec::new(),
        }
    }

    /// Makes a written group ready to be filled again.
    pub(super) fn recycle(mut self, batch: u64, first_record: u64) -> Self {
        self.batch = batch;
        self.first_record = first_record;
        self.durability = Durability::Written;
        self.removes = true;
        for buffer in [&mut self.records, &mut self.bodies] {
            buffer.clear();
            buffer.shrink_to(KEEP);
        }
        self.entries.clear();
        self
    }

    pub(super) fn next_number(&self) -> u64 {
        self.first_record + self.entries.len() as u64
    }

    pub(super) fn payload_len(&self) -> usize {
        self.records.len() + self.bodies.len()
    }

    pub(super) fn record_count(&self) -> u32 {
        u32::try_from(self.entries.len()).unwrap_or(u32::MAX)
    }

    /// Signs everything for `place` and builds the head. Returns the head, the length of the whole batch and the
    /// head's checksum.
    pub(super) fn finish(
        &mut self,
        place: Place,
        offset: u64,
        facts: &Facts,
    ) -> (Vec<u8>, usize, u32) {
        for (number, entry) in (self.first_record..).zip(&self.entries) {
            if let Some(frame) = self
                .records
                .get_mut(entry.frame_at..entry.frame_at + entry.frame_len)
            {
                record::sign(place, number, frame);
            }
            if let Some((at, len)) = entry.body
                && let Some(header) = self.bodies.get_mut(at..at + len)
            {
                body::sign(place, number, header);
            }
        }
        batch::encode_head(place, offset, facts, &self.records, &self.bodies)
    }

    /// The bytes behind the head.
    pub(super) fn payload(&self) -> [&[u8]; 2] {
        [&self.records, &self.bodies]
    }

    /// Where the records lie once the batch is at `offset` with a head of `head_len` bytes.
    pub(super) fn places(&self, offset: u64, head_len: usize) -> impl Iterator<Item = RecordAt> {
        let records_at = offset + head_len as u64;
        let bodies_at = records_at + self.records.len() as u64;
        let narrow = |at: u64| u32::try_from(at).unwrap_or(0);
        self.entries.iter().map(move |entry| RecordAt {
            frame: narrow(records_at + entry.frame_at as u64),
            body: entry
                .body
                .map_or(0, |(at, _)| narrow(bodies_at + at as u64)),
        })
    }
}

/// Fills a group: what a call of `Log::join` gets.
#[derive(Debug)]
pub(crate) struct GroupWriter<'a> {
    pub(super) group: &'a mut Group,
}

impl GroupWriter<'_> {
    /// The number that the next record gets.
    pub(crate) fn next_number(&self) -> u64 {
        self.group.next_number()
    }

    /// The batch that the records go into.
    pub(crate) fn batch(&self) -> u64 {
        self.group.batch
    }

    /// Adds a record; returns its number.
    pub(crate) fn push(&mut self, new: NewRecord<'_>, body: Option<&NewBody<'_>>) -> u64 {
        let number = self.next_number();
        let body = body.map(|body| self.push_body(number, body));
        if let (Some((at, _)), Some(place)) = (body, new.change.body_mut()) {
            *place = BodyAt::Here(u32::try_from(at).unwrap_or(u32::MAX));
        }
        let header = RecordHeader {
            number,
            previous: new.previous,
            account: new.account,
            mailbox: new.mailbox,
            modseq: new.modseq,
        };
        let frame_at = self.group.records.len();
        let frame_len = record::encode(&header, new.change, &mut self.group.records);
        self.group.entries.push(Entry {
            frame_at,
            frame_len,
            body,
        });
        number
    }

    fn push_body(&mut self, number: u64, body: &NewBody<'_>) -> (usize, usize) {
        let bodies = &mut self.group.bodies;
        let at = bodies.len();
        let header = body.header(number);
        header.encode(bodies);
        let header_len = bodies.len() - at;
        bodies.extend_from_slice(body.bytes);
        bodies.resize(padded(bodies.len(), 8), 0);
        (at, header_len)
    }
}
