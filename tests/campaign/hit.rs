//! What a sector of a disk is, read by the format alone: whose loss its damage may be.

use std::collections::BTreeSet;

use mailkeep::AccountId;
use mailkeep::format::batch::BatchHead;
use mailkeep::format::body::BodyHeader;
use mailkeep::format::change::{BodyAt, Change};
use mailkeep::format::record::Frame;
use mailkeep::format::segment::{Holds, Place, SegmentHeader};
use mailkeep::format::{PAGE, SECTOR};

use crate::sim::Image;

/// What the damage of a sector, or of several, may take.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hit {
    /// A file that is kept once and that the store may have to refuse: MANIFEST, SEGMENTS, TAIL.
    pub(crate) list: bool,
    /// It is in a batch of which no later one says that it was synced: with it damaged, it and those behind it look as a
    /// power cut leaves what was never acknowledged.
    pub(crate) unsure: bool,
    /// Accounts whose records are there.
    pub(crate) accounts: BTreeSet<AccountId>,
    /// Any account may be meant.
    pub(crate) anybody: bool,
    /// Messages whose bytes are there.
    pub(crate) messages: BTreeSet<usize>,
}

impl Hit {
    /// Of all of these.
    pub(crate) fn of(hits: impl Iterator<Item = Self>) -> Self {
        hits.fold(Self::default(), |mut all, one| {
            all.list |= one.list;
            all.unsure |= one.unsure;
            all.anybody |= one.anybody;
            all.accounts.extend(one.accounts);
            all.messages.extend(one.messages);
            all
        })
    }
}

/// What the sector at `sector * 512` of a file is, before it is damaged.
pub(crate) fn hit(disk: &Image, name: &str, sector: usize) -> Hit {
    let mut hit = Hit {
        list: ["MANIFEST", "SEGMENTS", "TAIL"].contains(&name),
        ..Hit::default()
    };
    let content = disk.content(name).unwrap();
    let header = content.get(..PAGE).map(SegmentHeader::decode);
    let (true, Some(Ok(header))) = (name.ends_with(".seg"), header) else {
        return hit;
    };
    let (place, from) = (header.place(), sector * SECTOR);
    if header.holds == Holds::Body {
        // Of one that was just made no more than the header may be there.
        if let Ok(body) = BodyHeader::decode(place, &content[PAGE..]) {
            hit.messages
                .extend(number_in(&content[PAGE + body.encoded_len()..]));
        }
        return hit;
    }
    let its = batches(content)
        .into_iter()
        .find(|(at, head)| (*at..*at + head.len as usize).contains(&from));
    if let Some((at, head)) = its {
        batch(&mut hit, place, &head, &content[at..], from - at);
        let segments = disk.names().filter(|name| name.ends_with(".seg"));
        let heads = segments.flat_map(|name| batches(disk.content(name).unwrap()));
        let acknowledged = heads.map(|(_, head)| head.durable).max();
        hit.unsure = Some(head.batch) > acknowledged;
    }
    hit
}

/// The heads of a segment's batches and where they are, up to one that is not whole.
fn batches(content: &[u8]) -> Vec<(usize, BatchHead)> {
    let mut found = Vec::new();
    let Some(Ok(header)) = content.get(..PAGE).map(SegmentHeader::decode) else {
        return found;
    };
    let mut at = PAGE;
    while let Some(rest) = content.get(at..)
        && let Ok(head) = BatchHead::decode(header.place(), at as u64, rest)
        && rest.len() >= head.len as usize
    {
        let len = head.len as usize;
        found.push((at, head));
        at += len;
    }
    found
}

fn number_in(message: &[u8]) -> Option<usize> {
    let digits = message.get(9..15)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn batch(hit: &mut Hit, place: Place, head: &BatchHead, batch: &[u8], from: usize) {
    let meets = |start: usize, end: usize| start < from + SECTOR && from < end;
    let mut at = head.head_len();
    while at < head.bodies_at() {
        let frame = Frame::decode(place, &batch[at..]).unwrap();
        let change = frame.change().unwrap();
        if meets(at, at + frame.len) {
            hit.accounts.insert(frame.header.account);
            // Filed under a name, or for the whole store.
            hit.anybody |= matches!(change, Change::Deferred(_) | Change::Fence(_));
        }
        if let Some(BodyAt::Here(offset)) = change.body() {
            let start = head.bodies_at() + offset as usize;
            let body = BodyHeader::decode(place, &batch[start..]).unwrap();
            let stored = start + body.encoded_len();
            if meets(start, stored + body.stored_len as usize) {
                hit.messages.extend(number_in(&batch[stored..]));
            }
        }
        at += frame.len;
    }
}
