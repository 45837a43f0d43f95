//! Refusals of what a medium does: cut anywhere, changed in any bit, moved.

use super::*;

/// Goal: `decode` takes `whole`, and neither any beginning of it nor `whole` with any one bit changed.
fn every_byte_counts<T>(whole: &[u8], decode: impl Fn(&[u8]) -> Result<T, Fault>) {
    assert!(decode(whole).is_ok());
    for len in 0..whole.len() {
        assert!(decode(&whole[..len]).is_err(), "cut at {len}");
    }
    let mut bytes = whole.to_vec();
    for bit in 0..whole.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(decode(&bytes).is_err(), "bit {bit}");
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
}

pub(super) fn sample_manifest() -> Manifest {
    let member = Member {
        volume: [4; 16],
        state: MemberState::Stale,
        since_batch: 9,
    };
    Manifest {
        store: STORE,
        volume: [4; 16],
        generation: 8,
        epoch: 3,
        nonce: [9; 16],
        next_record: 1001,
        durable_batch: 500,
        edits: 2,
        edits_chain: 77,
        created_ms: 1,
        clean: true,
        features: Features::default(),
        members: vec![member; 3],
    }
}

pub(super) fn sample_edit() -> Edit {
    Edit {
        what: What::Sealed,
        segment: 17,
        generation: 2,
        first_record: 1001,
        first_batch: 501,
        end: 8192,
        next_record: 1002,
        salt: 0x1122_3344_5566_7788,
    }
}

pub(super) fn sample_record() -> (RecordHeader, Change) {
    let header = RecordHeader {
        number: 1001,
        previous: 998,
        account: AccountId::from_bytes([1; 16]),
        mailbox: 1,
        modseq: 77,
    };
    let mut uids = UidSet::new();
    uids.insert_range(Uid::MIN, Uid::new(3).unwrap());
    (header, Change::Expunge { uids })
}

pub(super) fn sample_body() -> BodyHeader<'static> {
    BodyHeader {
        number: 1001,
        account: AccountId::from_bytes([1; 16]),
        mailbox: 1,
        uid: 4,
        stored_len: 70_000,
        raw_len: 70_000,
        key: 0,
        codec: Codec::Plain,
        owners: vec![AccountId::from_bytes([2; 16])].into(),
        chunks: body::chunk_checksums(&[7; 70_000]).into(),
    }
}

pub(super) fn sample_tail() -> Tail {
    Tail {
        store: STORE,
        epoch: 3,
        written: 501,
        durable: 501,
        segment: 17,
        end: 4608,
        next_record: 1002,
    }
}

/// Goal: no byte of any structure can be missing or changed.
#[test]
fn no_byte_is_without_a_guard() {
    every_byte_counts(&sample_header().encode(), SegmentHeader::decode);
    every_byte_counts(&sample_manifest().encode(), Manifest::decode);
    every_byte_counts(&segments::encode_head(STORE), segments::decode_head);
    every_byte_counts(&sample_edit().encode(STORE, 5), |bytes| {
        Edit::decode(STORE, 5, bytes)
    });
    every_byte_counts(&sample_tail().encode(), |bytes| Tail::decode(STORE, bytes));
    every_byte_counts(&encoded_body(&sample_body()), |bytes| {
        BodyHeader::decode(place(), bytes)
    });
    let (header, change) = sample_record();
    every_byte_counts(&encoded_record(&header, &change), |bytes| {
        Frame::decode(place(), bytes).map(|frame| frame.len)
    });
}

/// Goal: no byte of a batch can be missing or changed: head, table, payload and padding.
#[test]
fn no_byte_of_a_batch_is_without_a_guard() {
    let (header, change) = sample_record();
    let records = encoded_record(&header, &change);
    let whole = encoded_batch(4096, &facts(1), &records, &[7; 600]);
    every_byte_counts(&whole, |bytes| {
        let head = BatchHead::decode(place(), 4096, bytes)?;
        head.verify_table(place(), 4096, bytes)?;
        match head.bad_sectors(place(), 4096, bytes).first() {
            None if bytes.len() == head.len as usize => Ok(()),
            _ => Err(Fault::Lost),
        }
    });
}

/// Goal: no byte of a footer can be missing or changed.
#[test]
fn no_byte_of_a_footer_is_without_a_guard() {
    let (whole, ..) = sample_footer(2, 2);
    let decode = |bytes: &[u8]| {
        let at = bytes.len().checked_sub(PAGE).ok_or(Fault::Lost)?;
        let trailer = Trailer::decode(&bytes[at..])?;
        let table = bytes
            .get(trailer.checksums_at()..trailer.trailer_at())
            .ok_or(Fault::Lost)?;
        trailer.verify_checksums(table)?;
        let mut pages = bytes[..trailer.checksums_at()].chunks(PAGE).enumerate();
        pages.try_for_each(|(number, page)| footer::verify_page(place(), table, number, page))
    };
    assert_eq!(decode(&whole), Ok(()));
    let mut bytes = whole.clone();
    // Every byte with another bit: all bits would only repeat what a CRC does.
    for at in 0..whole.len() {
        bytes[at] ^= 1 << (at % 8);
        assert!(decode(&bytes).is_err(), "byte {at}");
        bytes[at] = whole[at];
    }
}

/// Goal: what is sound is refused in every other place: segment, generation, salt, store, offset, number, index.
#[test]
fn nothing_passes_elsewhere() {
    let (header, change) = sample_record();
    let record = encoded_record(&header, &change);
    let batch = encoded_batch(4096, &facts(0), &[], b"body");
    let body = encoded_body(&sample_body());
    let sample = sample_header();
    let others = [
        SegmentHeader {
            segment: 18,
            ..sample.clone()
        },
        SegmentHeader {
            generation: 3,
            ..sample.clone()
        },
        SegmentHeader {
            salt: 1,
            ..sample.clone()
        },
        SegmentHeader {
            store: StoreId([0; 16]),
            ..sample.clone()
        },
    ];
    for other in others.map(|header| header.place()) {
        assert!(matches!(
            Frame::decode(other, &record),
            Err(Fault::Checksum { .. })
        ));
        assert!(matches!(
            BatchHead::decode(other, 4096, &batch),
            Err(Fault::Checksum { .. })
        ));
        assert!(matches!(
            BodyHeader::decode(other, &body),
            Err(Fault::Checksum { .. })
        ));
    }
    let same = SegmentHeader {
        epoch: 9,
        created_ms: 9,
        ..sample
    };
    assert_eq!(same.place(), place());
    assert!(BatchHead::decode(place(), 4608, &batch).is_err());
    let edit = sample_edit().encode(STORE, 5);
    assert!(Edit::decode(STORE, 6, &edit).is_err());
    assert!(Edit::decode(StoreId([0; 16]), 5, &edit).is_err());
}

/// Goal: bytes where the trailer's table, or the body, belongs to another batch or length are found.
#[test]
fn tables_and_bodies_are_checked_apart() {
    let whole = encoded_batch(4096, &facts(0), &[], &[7; 2000]);
    let head = BatchHead::decode(place(), 4096, &whole).unwrap();
    let mut bytes = whole.clone();
    bytes[1024..1536].fill(0);
    assert_eq!(head.bad_sectors(place(), 4096, &bytes), [2]);
    assert_eq!(head.bad_sectors(place(), 4096, &whole[..1100]), [2]);
    bytes[100] ^= 1;
    assert_eq!(head.bad_sectors(place(), 4096, &bytes), [0]);
    let header = encoded_body(&sample_body());
    let body = BodyCheck::new(place(), &header).unwrap();
    let mut stored = vec![7; 70_000];
    assert!(matches!(
        body.verify(&stored[1..], 0..1),
        Err(Fault::Short { .. })
    ));
    stored[69_999] = 8;
    assert_eq!(body.verify(&stored, 0..CHUNK), Ok(()));
    assert!(matches!(
        body.verify(&stored, 0..CHUNK + 1),
        Err(Fault::Checksum { .. })
    ));
}
