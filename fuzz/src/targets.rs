// Raw bytes into every decoder of the format. Each function panics where a promise is broken:
//
// * no decoder panics, loops or allocates by what the bytes claim;
// * what decodes is written as the same bytes again.
//
// The bytes go in twice: as they are, and with their checksums made good, so that the code behind the checksums is
// reached. `tests/it/fuzz_seeds.rs` includes this file.

use mailkeep::format::batch::{self, BatchHead, Facts};
use mailkeep::format::body::{self, BodyCheck, BodyHeader};
use mailkeep::format::footer::{self, AccountRun, RecordAt, Sealing, Trailer};
use mailkeep::format::manifest::Manifest;
use mailkeep::format::record::{self, Class, Frame};
use mailkeep::format::segment::{Behind, Holds, Place, SegmentHeader};
use mailkeep::format::segments::{self, EDIT_LEN, Edit};
use mailkeep::format::tail::Tail;
use mailkeep::format::{Features, PAGE, SECTOR, StoreId, checksum};
use mailkeep::mail::AccountId;

/// A target and its name, which is that of its seeds' folder.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 8] = [
    ("batch", batch),
    ("body", body),
    ("footer", footer),
    ("manifest", manifest),
    ("record", record),
    ("segment_header", segment_header),
    ("segments", segments),
    ("tail", tail),
];

/// The store that all inputs are read in.
pub const STORE: StoreId = StoreId(*b"0123456789abcdef");

/// Where the batch of an input lies in its segment.
pub const BATCH_AT: u64 = 4096;

/// The place of the segment that all inputs are read in: the one of FORMAT.md.
#[must_use]
pub fn place() -> Place {
    SegmentHeader {
        store: STORE,
        segment: 17,
        generation: 0,
        salt: 0x1122_3344_5566_7788,
        first_record: 1001,
        first_batch: 501,
        epoch: 3,
        created_ms: 0,
        holds: Holds::Batches,
        behind: Behind::Zeroes,
        features: Features::default(),
    }
    .place()
}

/// Runs `check` over the bytes as they are, and once more after `sign`.
fn twice(data: &[u8], sign: impl Fn(&mut [u8]), check: impl Fn(&[u8])) {
    check(data);
    let mut signed = data.to_vec();
    sign(&mut signed);
    check(&signed);
}

/// Makes the checksum good that ends the first `len` bytes.
pub(crate) fn seal(bytes: &mut [u8], len: usize) {
    if let Some((covered, crc)) = bytes
        .get_mut(..len)
        .and_then(<[u8]>::split_last_chunk_mut::<4>)
    {
        *crc = checksum(0, covered).to_le_bytes();
    }
}

pub(crate) fn word(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..at + 4)
        .map_or(0, |word| u32::from_le_bytes(word.try_into().unwrap()))
}

pub(crate) fn long(bytes: &[u8], at: usize) -> u64 {
    bytes
        .get(at..at + 8)
        .map_or(0, |long| u64::from_le_bytes(long.try_into().unwrap()))
}

/// The header page of a segment.
pub fn segment_header(data: &[u8]) {
    twice(
        data,
        |bytes| seal(bytes, PAGE),
        |bytes| {
            if let Ok(header) = SegmentHeader::decode(bytes) {
                assert_eq!(header.encode(), bytes[..PAGE]);
            }
        },
    );
}

/// A slot of MANIFEST.
pub fn manifest(data: &[u8]) {
    twice(
        data,
        |bytes| seal(bytes, PAGE),
        |bytes| {
            if let Ok(manifest) = Manifest::decode(bytes) {
                assert_eq!(manifest.encode(), bytes[..PAGE]);
            }
        },
    );
}

/// A slot of TAIL.
pub fn tail(data: &[u8]) {
    twice(
        data,
        |bytes| seal(bytes, SECTOR),
        |bytes| {
            if let Ok(tail) = Tail::decode(STORE, bytes) {
                assert_eq!(tail.encode()[..], bytes[..SECTOR]);
            }
        },
    );
}

/// Makes the checksums of all edits of SEGMENTS good.
pub(crate) fn sign_edits(bytes: &mut [u8], store: StoreId) {
    let store = checksum(0, &store.0);
    for (index, edit) in (0_u64..).zip(bytes.chunks_exact_mut(EDIT_LEN).skip(1)) {
        let crc = checksum(checksum(store, &index.to_le_bytes()), &edit[4..]);
        edit[..4].copy_from_slice(&crc.to_le_bytes());
    }
}

/// The head of SEGMENTS and its edits.
pub fn segments(data: &[u8]) {
    let sign = |bytes: &mut [u8]| {
        seal(bytes, EDIT_LEN);
        sign_edits(bytes, STORE);
    };
    twice(data, sign, |bytes| {
        if let Ok(store) = segments::decode_head(bytes) {
            assert_eq!(segments::encode_head(store), bytes[..EDIT_LEN]);
        }
        for (index, bytes) in (0..).zip(bytes.chunks(EDIT_LEN).skip(1)) {
            if let Ok(edit) = Edit::decode(STORE, index, bytes) {
                assert_eq!(edit.encode(STORE, index), bytes);
            }
        }
    });
}

/// A record and its change.
pub fn record(data: &[u8]) {
    let sign = |bytes: &mut [u8]| {
        let (len, number) = (word(bytes, 4) as usize, long(bytes, 16));
        if let Some(frame) = bytes.get_mut(..len).filter(|frame| frame.len() >= 4) {
            record::sign(place(), number, frame);
        }
    };
    twice(data, sign, |bytes| {
        let Ok(frame) = Frame::decode(place(), bytes) else {
            return;
        };
        let Ok(change) = frame.change() else { return };
        let mut again = Vec::new();
        assert_eq!(
            record::encode(&frame.header, &change, &mut again),
            frame.len
        );
        record::sign(place(), frame.header.number, &mut again);
        // The class belongs to kinds that this build does not know: it writes 0.
        if frame.class == Class::MustKnow {
            assert_eq!(again, bytes[..frame.len]);
        }
    });
}

/// A body header and the body behind it.
pub fn body(data: &[u8]) {
    let sign = |bytes: &mut [u8]| {
        let (len, number) = (word(bytes, 4) as usize, long(bytes, 8));
        if let Some(header) = bytes.get_mut(..len).filter(|header| header.len() >= 4) {
            body::sign(place(), number, header);
        }
    };
    twice(data, sign, |bytes| {
        let Ok(header) = BodyHeader::decode(place(), bytes) else {
            return;
        };
        let mut again = Vec::new();
        header.encode(&mut again);
        body::sign(place(), header.number, &mut again);
        assert_eq!(again, bytes[..header.encoded_len()]);
        let rest = &bytes[header.encoded_len()..];
        let stored = &rest[..rest.len().min(header.stored_len as usize)];
        let check = BodyCheck::new(place(), bytes).expect("what decodes is sound");
        for range in [0..stored.len(), 1..usize::MAX, 65_536..65_537] {
            let _ = check.verify(stored, range);
        }
    });
}

/// A batch at [`BATCH_AT`].
pub fn batch(data: &[u8]) {
    let sign_head = |bytes: &mut [u8]| {
        if bytes.len() >= batch::FIXED {
            let crc = place().checksum(BATCH_AT, &bytes[12..batch::FIXED]);
            bytes[8..12].copy_from_slice(&crc.to_le_bytes());
        }
    };
    twice(data, sign_head, check_batch);
    let sign_all = |bytes: &mut [u8]| {
        sign_head(bytes);
        if let Ok(head) = BatchHead::decode(place(), BATCH_AT, bytes)
            && bytes.len() >= head.len as usize
        {
            sign_table(&head, place(), BATCH_AT, bytes);
            sign_head(bytes);
        }
    };
    twice(data, sign_all, check_batch);
}

/// Makes the sector table fit the bytes.
pub(crate) fn sign_table(head: &BatchHead, place: Place, at: u64, bytes: &mut [u8]) {
    let head_len = head.head_len();
    for sector in 0..head.len as usize / SECTOR {
        let from = head_len.max(sector * SECTOR);
        let covered = bytes.get(from..(sector + 1) * SECTOR).unwrap_or_default();
        let crc = checksum(0, covered).to_le_bytes();
        let at = batch::FIXED + sector * 4;
        bytes[at..at + 4].copy_from_slice(&crc);
    }
    let crc = place.checksum(at, &bytes[batch::FIXED..head_len]);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
}

fn check_batch(bytes: &[u8]) {
    let Ok(head) = BatchHead::decode(place(), BATCH_AT, bytes) else {
        return;
    };
    assert!(head.bodies_at() <= head.len as usize);
    let whole = head.verify_table(place(), BATCH_AT, bytes).is_ok()
        && head.bad_sectors(place(), BATCH_AT, bytes).is_empty();
    let Some(bytes) = bytes.get(..head.len as usize).filter(|_| whole) else {
        return;
    };
    let facts = Facts {
        batch: head.batch,
        epoch: head.epoch,
        nonce: head.nonce,
        first_record: head.first_record,
        durable: head.durable,
        commit_ms: head.commit_ms,
        count: head.count,
        previous: head.previous,
    };
    let (records, bodies) = bytes[head.head_len()..].split_at(head.records_len as usize);
    let (again, len, crc) = batch::encode_head(place(), BATCH_AT, &facts, records, bodies);
    assert_eq!((len, crc), (bytes.len(), head.crc()));
    assert_eq!(again, bytes[..head.head_len()]);
}

/// A whole footer.
pub fn footer(data: &[u8]) {
    let sign = |bytes: &mut [u8]| {
        let Some(at) = bytes.len().checked_sub(PAGE) else {
            return;
        };
        seal(&mut bytes[at..], PAGE);
        let Some(trailer) = Trailer::decode(&bytes[at..])
            .ok()
            .filter(|trailer| trailer.trailer_at() == at)
        else {
            return;
        };
        for number in 0..trailer.checksums_at() / PAGE {
            let crc = place().checksum(number as u64, &bytes[number * PAGE..(number + 1) * PAGE]);
            let at = trailer.checksums_at() + number * 4;
            bytes[at..at + 4].copy_from_slice(&crc.to_le_bytes());
        }
        let crc = checksum(0, &bytes[trailer.checksums_at()..at]);
        bytes[at + 100..at + 104].copy_from_slice(&crc.to_le_bytes());
        seal(&mut bytes[at..], PAGE);
    };
    twice(data, sign, |bytes| {
        let Some(at) = bytes.len().checked_sub(PAGE) else {
            return;
        };
        let Ok(trailer) = Trailer::decode(&bytes[at..]) else {
            return;
        };
        assert!(trailer.file_len() > trailer.footer_at);
        if trailer.trailer_at() == at
            && let Some((records, owners)) = read_footer(&trailer, bytes)
        {
            assert_eq!(write_footer(&trailer, &records, &owners), *bytes);
        }
    });
}

type Parts = (Vec<RecordAt>, Vec<(AccountId, u32)>);

/// What a footer says, if it is one that is written so: verified, in order, its padding zero, without feature bits.
fn read_footer(trailer: &Trailer, bytes: &[u8]) -> Option<Parts> {
    let table = &bytes[trailer.checksums_at()..trailer.trailer_at()];
    trailer.verify_checksums(table).ok()?;
    for (number, page) in bytes[..trailer.checksums_at()].chunks(PAGE).enumerate() {
        footer::verify_page(place(), table, number, page).ok()?;
    }
    let part = |from: usize, to: usize, used: usize| {
        let (entries, padding) = bytes[from..to].split_at(used);
        padding.iter().all(|byte| *byte == 0).then_some(entries)
    };
    part(
        trailer.checksums_at(),
        trailer.trailer_at(),
        trailer.checksums_at() / PAGE * 4,
    )?;
    let records = part(
        0,
        trailer.accounts_at(),
        trailer.record_count as usize * footer::RECORD_ENTRY,
    )?;
    let records = records
        .chunks(footer::RECORD_ENTRY)
        .map(|entry| RecordAt::decode(entry).unwrap())
        .collect();
    let lists = part(
        trailer.lists_at(),
        trailer.checksums_at(),
        trailer.list_count as usize * 4,
    )?;
    let accounts = part(
        trailer.accounts_at(),
        trailer.lists_at(),
        trailer.account_count as usize * footer::ACCOUNT_ENTRY,
    )?;
    let mut owners = Vec::new();
    for entry in accounts.chunks(footer::ACCOUNT_ENTRY) {
        let run = AccountRun::decode(entry).unwrap();
        let numbers = lists
            .get(run.first as usize * 4..)?
            .get(..run.count as usize * 4)?;
        let ordered = run.first as usize == owners.len() && run.count > 0;
        let last = owners.last().map(|(account, _)| *account);
        if !ordered || last.is_some_and(|last| last >= run.account) {
            return None;
        }
        owners.extend(
            numbers
                .chunks(4)
                .map(|number| (run.account, word(number, 0))),
        );
    }
    let written = trailer.features == Features::default()
        && owners.len() == trailer.list_count as usize
        && owners.is_sorted();
    written.then_some((records, owners))
}

fn write_footer(trailer: &Trailer, records: &[RecordAt], owners: &[(AccountId, u32)]) -> Vec<u8> {
    let sealing = Sealing {
        store: trailer.store,
        segment: trailer.segment,
        generation: trailer.generation,
        first_record: trailer.first_record,
        first_batch: trailer.first_batch,
        last_batch: trailer.last_batch,
        last_crc: trailer.last_crc,
        footer_at: trailer.footer_at,
        digest: trailer.digest,
        records,
        owners,
    };
    footer::encode(place(), &sealing)
}
