//! Makes checksums good again, so that what damage left is read as if it had been written so.

use mailkeep::format::batch::BatchHead;
use mailkeep::format::segment::{Place, SegmentHeader};
use mailkeep::format::segments::{self, EDIT_LEN};
use mailkeep::format::{PAGE, SECTOR, StoreId, checksum, record};

use super::sample::Files;
use super::targets::{seal, sign_table, word};

/// Length of a head in front of a blob.
pub(crate) const BLOB_HEAD: usize = 40;
const BASE: &[u8] = b"MKIBASE1";
const CHUNK: usize = 64 << 10;

/// Signs all that is derived, or with `log` the log too.
pub(crate) fn files(files: &mut Files, log: bool) {
    let store = store_of(files);
    for (name, content) in files.iter_mut() {
        let number = name
            .strip_prefix("index/")
            .and_then(|name| u32::from_str_radix(name.split('.').next()?, 16).ok());
        match (name.as_str(), number) {
            ("index/CHECKPOINT", _) => whole(content),
            (name, Some(number)) if name.ends_with(".run") => run(content, store, number),
            (name, Some(number)) if name.ends_with(".img") => images(content, store, number),
            (name, _) if log && name.ends_with(".seg") => segment(content),
            ("SEGMENTS", _) if log => edits(content, store),
            ("MANIFEST", _) if log => content.chunks_mut(PAGE).for_each(|page| seal(page, PAGE)),
            ("TAIL", _) if log => {
                for at in [0, PAGE] {
                    if let Some(slot) = content.get_mut(at..at + SECTOR) {
                        seal(slot, SECTOR);
                    }
                }
            }
            _ => {}
        }
    }
}

/// The store's id, as SEGMENTS has it.
pub(crate) fn store_of(files: &Files) -> StoreId {
    let head = files.get("SEGMENTS").map_or(&[][..], Vec::as_slice);
    segments::decode_head(head.get(..EDIT_LEN).unwrap_or_default()).unwrap_or(StoreId([0; 16]))
}

/// A checksum over all before it.
pub(crate) fn whole(content: &mut [u8]) {
    seal(content, content.len());
}

/// The pages of a run of the directory.
pub(crate) fn run(content: &mut [u8], store: StoreId, number: u32) {
    let first = checksum(checksum(0, &store.0), &number.to_le_bytes());
    let nonce = content.get(80..96).unwrap_or_default();
    let behind = checksum(first, nonce);
    for (at, page) in (0_u32..).zip(content.chunks_exact_mut(PAGE)) {
        let salt = if at == 0 { first } else { behind };
        let crc = checksum(checksum(salt, &at.to_le_bytes()), &page[..PAGE - 4]);
        page[PAGE - 4..].copy_from_slice(&crc.to_le_bytes());
    }
}

/// A file of images: heads and blobs, as far as lengths lead from one to the next.
pub(crate) fn images(content: &mut [u8], store: StoreId, number: u32) {
    let mut at = 0;
    while let Some(rest) = content.get_mut(at..).filter(|rest| rest.len() >= BLOB_HEAD) {
        let len = word(rest, 12) as usize;
        let crc = checksum(0, &store.0);
        let crc = checksum(crc, &number.to_le_bytes());
        let crc = checksum(crc, &(at as u64).to_le_bytes());
        let crc = checksum(crc, &rest[12..BLOB_HEAD]);
        rest[8..12].copy_from_slice(&crc.to_le_bytes());
        let end = (BLOB_HEAD + len).min(rest.len());
        blob(&mut rest[BLOB_HEAD..end]);
        at += (BLOB_HEAD + len).next_multiple_of(8).max(8);
    }
}

/// A base or a piece.
pub(crate) fn blob(blob: &mut [u8]) {
    if !blob.starts_with(BASE) {
        return whole(blob);
    }
    let len = word(blob, 12) as usize;
    let columns = len.next_multiple_of(8).min(blob.len());
    let sums: Vec<u32> = blob[columns..]
        .chunks(CHUNK)
        .map(|piece| checksum(0, piece))
        .collect();
    for (at, sum) in sums.iter().enumerate() {
        if let Some(to) = blob.get_mut(32 + at * 4..36 + at * 4) {
            to.copy_from_slice(&sum.to_le_bytes());
        }
    }
    seal(blob, len);
}

fn edits(content: &mut [u8], store: StoreId) {
    seal(content, EDIT_LEN);
    super::targets::sign_edits(content, store);
}

/// The header of a segment, and its batches as far as lengths lead from one to the next.
fn segment(content: &mut [u8]) {
    seal(content, PAGE);
    let Some(header) = content
        .get(..PAGE)
        .and_then(|page| SegmentHeader::decode(page).ok())
    else {
        return;
    };
    let place = header.place();
    let mut at = PAGE;
    while at < content.len() {
        at += batch(&mut content[at..], place, at as u64).max(SECTOR);
    }
}

/// Signs a batch and its records; its length, or 0.
fn batch(bytes: &mut [u8], place: Place, at: u64) -> usize {
    const FIXED: usize = mailkeep::format::batch::FIXED;
    if !bytes.starts_with(b"MKBATCH1") || bytes.len() < FIXED {
        return 0;
    }
    let sign_head = |bytes: &mut [u8]| {
        let crc = place.checksum(at, &bytes[12..FIXED]);
        bytes[8..12].copy_from_slice(&crc.to_le_bytes());
    };
    sign_head(bytes);
    let Ok(head) = BatchHead::decode(place, at, bytes) else {
        return 0;
    };
    let len = head.len as usize;
    if let Some(bytes) = bytes.get_mut(..len) {
        let records = head.head_len()..head.bodies_at();
        let mut rest = &mut bytes[records];
        while rest.len() >= record::HEADER {
            let (len, number) = (word(rest, 4) as usize, super::targets::long(rest, 16));
            let len = len.clamp(record::HEADER, rest.len());
            let (frame, behind) = rest.split_at_mut(len);
            record::sign(place, number, frame);
            rest = behind;
        }
        sign_table(&head, place, at, bytes);
        sign_head(bytes);
    }
    len
}
