//! Refusals of what a writer does: versions of the future, values without a meaning, lengths that lie, all under good
//! checksums.

use super::refusals::*;
use super::*;

/// `page` with the checksum at its end made good.
fn resealed(mut page: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    page[at..at + bytes.len()].copy_from_slice(bytes);
    let end = page.len() - 4;
    let crc = checksum(0, &page[..end]);
    page[end..].copy_from_slice(&crc.to_le_bytes());
    page
}

/// Goal: a newer version or an unknown must-know bit is never called damage; the other bits are kept.
#[test]
fn newer_is_not_damaged() {
    let (footer, ..) = sample_footer(1, 1);
    let trailer = footer[footer.len() - PAGE..].to_vec();
    let check = |page: &[u8], decode: &dyn Fn(&[u8]) -> Result<(), Fault>| {
        let newer = decode(&resealed(page.to_vec(), 8, &[2, 0])).unwrap_err();
        assert_eq!(
            newer,
            Fault::Version {
                found: 2,
                supported: 1
            }
        );
        let unknown = decode(&resealed(page.to_vec(), 12, &[8])).unwrap_err();
        assert_eq!(unknown, Fault::Features { unknown: 8 });
        assert!(newer.is_newer() && unknown.is_newer());
        assert_eq!(
            decode(&resealed(page.to_vec(), 16, &[1, 0, 0, 0, 1])),
            Ok(())
        );
        let reserved = decode(&resealed(page.to_vec(), PAGE - 5, &[1])).unwrap_err();
        assert_eq!(
            reserved,
            Fault::Reserved {
                at: PAGE as u64 - 5
            }
        );
    };
    check(&sample_header().encode(), &|page| {
        SegmentHeader::decode(page).map(drop)
    });
    check(&sample_manifest().encode(), &|page| {
        Manifest::decode(page).map(drop)
    });
    check(&trailer, &|page| Trailer::decode(page).map(drop));
    let head = resealed(segments::encode_head(STORE), 8, &[9, 0]);
    assert!(segments::decode_head(&head).unwrap_err().is_newer());
    let bits = Features {
        read_only_safe: 1,
        ..Features::default()
    };
    assert_eq!(
        (bits.writable(), Features::default().writable()),
        (Ok(false), Ok(true))
    );
}

/// Goal: values without a meaning are refused under a good checksum, each by its field.
#[test]
fn values_are_bounded() {
    let page = sample_header().encode();
    for (at, bytes) in [
        (10, &[2_u8][..]),
        (11, &[2]),
        (47, &[0x80]),
        (63, &[0x80]),
        (71, &[0x80]),
        (79, &[0x80]),
    ] {
        assert!(
            matches!(
                SegmentHeader::decode(&resealed(page.clone(), at, bytes)),
                Err(Fault::Range { .. })
            ),
            "{at}"
        );
    }
    let page = sample_manifest().encode();
    for (at, bytes) in [
        (10, &[2_u8][..]),
        (63, &[0x80]),
        (111, &[0x80]),
        (124, &[0]),
        (124, &[17]),
        (144, &[2]),
    ] {
        assert!(
            matches!(
                Manifest::decode(&resealed(page.clone(), at, bytes)),
                Err(Fault::Range { .. })
            ),
            "{at}"
        );
    }
    let tail = sample_tail().encode().to_vec();
    for at in [31, 39, 47, 55, 63, 71] {
        let tail = resealed(tail.clone(), at, &[0x80]);
        assert!(
            matches!(Tail::decode(STORE, &tail), Err(Fault::Range { .. })),
            "{at}"
        );
    }
    let (footer, ..) = sample_footer(1, 1);
    let trailer = footer[footer.len() - PAGE..].to_vec();
    for at in [&8191_u64.to_le_bytes(), &0_u64.to_le_bytes()] {
        let trailer = resealed(trailer.clone(), 72, at);
        assert!(matches!(
            Trailer::decode(&trailer),
            Err(Fault::Mismatch { .. })
        ));
    }
}

/// Goal: a length or a count is never believed beyond the bytes that are there.
#[test]
fn lengths_that_lie_are_refused() {
    let (header, change) = sample_record();
    let record = encoded_record(&header, &change);
    for len in [0_u32, 48, 57, 1 << 25, u32::MAX] {
        let mut bytes = record.clone();
        bytes[4..8].copy_from_slice(&len.to_le_bytes());
        assert!(
            matches!(Frame::decode(place(), &bytes), Err(Fault::Range { .. })),
            "{len}"
        );
    }
    let mut bytes = record.clone();
    bytes[4..8].copy_from_slice(&(1_u32 << 24).to_le_bytes());
    assert!(matches!(
        Frame::decode(place(), &bytes),
        Err(Fault::Short { .. })
    ));
    for kind in [5, 17, 18, 19, 20] {
        assert!(Change::decode(kind, &[0xff; 64]).is_err(), "{kind}");
    }
    let body = encoded_body(&sample_body());
    for len in [0_u32, 3, 8, 55, u32::MAX] {
        let mut bytes = body.clone();
        bytes[4..8].copy_from_slice(&len.to_le_bytes());
        assert!(
            matches!(
                BodyHeader::decode(place(), &bytes),
                Err(Fault::Range { .. })
            ),
            "{len}"
        );
    }
}

/// Goal: a batch head under a good checksum is refused where its lengths, counts or numbers cannot be.
#[test]
fn batch_heads_are_plausible() {
    let whole = encoded_batch(4096, &facts(1), &[0; 56], &[]);
    let refused = |at: usize, value: &[u8]| {
        let mut bytes = whole.clone();
        bytes[at..at + value.len()].copy_from_slice(value);
        let crc = place().checksum(4096, &bytes[12..batch::FIXED]);
        bytes[8..12].copy_from_slice(&crc.to_le_bytes());
        BatchHead::decode(place(), 4096, &bytes).unwrap_err()
    };
    for (at, value) in [
        (72, 0_u32),
        (72, 513),
        (72, (1 << 30) + 512),
        (72, u32::MAX),
        (80, 409),
        (84, 2),
        (84, u32::MAX),
    ] {
        assert!(
            matches!(refused(at, &value.to_le_bytes()), Fault::Range { .. }),
            "{at} {value}"
        );
    }
    assert!(matches!(
        refused(72, &2048_u32.to_le_bytes()),
        Fault::Mismatch { .. }
    ));
    assert!(matches!(
        refused(76, &96_u32.to_le_bytes()),
        Fault::Mismatch { .. }
    ));
    assert_eq!(refused(92, &[1]), Fault::Reserved { at: 92 });
    for at in [23, 31, 55, 63] {
        assert!(matches!(refused(at, &[0x80]), Fault::Range { .. }), "{at}");
    }
}

/// Goal: each change has one spelling: what would be written differently is refused.
#[test]
fn changes_have_one_spelling() {
    let uids = |ranges: &[u32]| {
        let mut bytes = (u32::try_from(ranges.len() / 2).unwrap())
            .to_le_bytes()
            .to_vec();
        bytes.extend(ranges.iter().flat_map(|uid| uid.to_le_bytes()));
        Change::decode(20, &bytes)
    };
    assert!(uids(&[1, 3, 5, 5, u32::MAX, u32::MAX]).is_ok());
    for ranges in [
        [0, 1, 5, 5],
        [3, 1, 5, 5],
        [1, 3, 4, 5],
        [1, 3, 3, 5],
        [5, 5, 1, 3],
        [1, u32::MAX, 1, 1],
    ] {
        assert!(
            matches!(uids(&ranges), Err(Fault::Range { .. })),
            "{ranges:?}"
        );
    }
    let flag = |keyword: &[u8]| {
        let mut bytes = vec![0; 20];
        bytes[6] = 1;
        bytes.push(u8::try_from(keyword.len()).unwrap());
        bytes.push(0);
        bytes.extend_from_slice(keyword);
        Change::decode(17, &bytes)
    };
    assert!(flag(b"work").is_ok());
    for keyword in [&b"Work"[..], b"", b"a b", b"\xff", b"\\seen"] {
        assert_eq!(flag(keyword), Err(Fault::Text { field: "keyword" }));
    }
    assert!(Change::decode(6, &[0; 7]).is_ok());
    assert!(matches!(
        Change::decode(6, &[0; 8]),
        Err(Fault::Range { .. })
    ));
    assert_eq!(Change::decode(6, &[0, 1]), Err(Fault::Reserved { at: 1 }));
    for kind in [0, 9, 15, 21, 31, 36, 37, 39, 255] {
        assert_eq!(Change::decode(kind, &[]), Err(Fault::Kind { kind }));
        assert_eq!(change::kind_name(kind), "unknown");
    }
}

/// Goal: a part of a base is one of those that it says there are, and no longer than its record.
#[test]
fn parts_are_bounded() {
    let base = |part: u32, parts: u32, len: u32, bytes: usize| {
        let mut payload: Vec<u8> = [part, parts, len, 0]
            .iter()
            .flat_map(|number| number.to_le_bytes())
            .collect();
        payload.resize(16 + bytes, 7);
        Change::decode(33, &payload)
    };
    assert!(base(0, 1, 0, 0).is_ok());
    assert!(base(65_535, 65_536, 9, 9).is_ok());
    for (part, parts) in [(0, 0), (1, 1), (0, 65_537), (u32::MAX, u32::MAX)] {
        assert!(
            matches!(base(part, parts, 0, 0), Err(Fault::Range { .. })),
            "{part} of {parts}"
        );
    }
    for len in [1, 9, u32::MAX] {
        assert!(matches!(base(0, 1, len, 0), Err(Fault::Short { .. })));
    }
    assert!(matches!(base(0, 1, 0, 8), Err(Fault::Range { .. })));
}

/// Goal: an assignment brings no body of its own, and a deferred delivery has nothing that its account would give.
#[test]
fn later_deliveries_are_bounded() {
    let message = b"\r\n";
    let deferred = Deferred {
        account: "anna".into(),
        mailbox: "INBOX".into(),
        flags: Flags::EMPTY,
        keywords: Vec::new(),
        internal_date: InternalDate::utc(0).unwrap(),
        save_date: 0,
        raw_len: 2,
        shape: Shape::of(message),
        digest: Digest::of(message),
        body: BodyAt::Record(9),
        summary: Summary::of(message),
    };
    let mut bytes = Vec::new();
    Change::Deferred(Box::new(deferred)).encode(&mut bytes);
    assert!(Change::decode(35, &bytes).is_ok());
    for at in [0, 4, 32, 40] {
        let mut given = bytes.clone();
        given[at] = 1;
        assert!(matches!(
            Change::decode(35, &given),
            Err(Fault::Range { .. })
        ));
    }
    // As an assignment: behind a record number, with a UID and a UIDVALIDITY, without the names.
    let mut assign = vec![9, 0, 0, 0, 0, 0, 0, 0];
    assign.extend_from_slice(&bytes[..bytes.len() - 13]);
    (assign[8], assign[12]) = (1, 1);
    assert!(Change::decode(34, &assign).is_ok());
    let mut here = assign.clone();
    here[22] = 0;
    assert!(matches!(
        Change::decode(34, &here),
        Err(Fault::Range {
            field: "body place",
            ..
        })
    ));
    let mut negative = assign.clone();
    negative[7] = 0x80;
    assert!(matches!(
        Change::decode(34, &negative),
        Err(Fault::Range { .. })
    ));
}

/// Goal: a deliver record is refused at each field that has no meaning.
#[test]
fn deliveries_are_bounded() {
    let message = b"Date: Sat, 21 Nov 2026 20:00:00 +0000\r\n\r\n";
    let deliver = Change::Deliver(Box::new(Deliver {
        uid: Uid::MIN,
        uid_validity: UidValidity::MIN,
        flags: Flags::SEEN,
        keywords: Vec::new(),
        internal_date: InternalDate::utc(0).unwrap(),
        save_date: 0,
        email: 1,
        thread: 0,
        raw_len: 41,
        shape: Shape::of(message),
        digest: Digest::of(message),
        body: BodyAt::Here(0),
        summary: Summary::of(message),
    }));
    let mut bytes = Vec::new();
    deliver.encode(&mut bytes);
    assert_eq!(Change::decode(16, &bytes).as_ref(), Ok(&deliver));
    let bad: [(usize, &[u8]); 14] = [
        (0, &[0; 4]),
        (4, &[0; 4]),
        (8, &[32]),
        (10, &1440_i16.to_le_bytes()),
        (12, &[1]),
        (14, &[3]),
        (16, &i64::MAX.to_le_bytes()),
        (60, &[64]),
        (62, &[9]),
        (100, &[1]),
        (125, &[2]),
        (125, &[0]),
        (126, &[1]),
        (128, &[12]),
    ];
    for (at, value) in bad {
        let mut bytes = bytes.clone();
        bytes[at..at + value.len()].copy_from_slice(value);
        assert!(Change::decode(16, &bytes).is_err(), "{at}");
    }
    for len in 0..bytes.len() {
        assert!(Change::decode(16, &bytes[..len]).is_err(), "cut at {len}");
    }
}

/// Goal: a body header is refused where its counts, codec or lengths cannot be.
#[test]
fn body_headers_are_bounded() {
    let whole = encoded_body(&sample_body());
    let signed = |at: usize, value: &[u8]| {
        let mut bytes = whole.clone();
        bytes[at..at + value.len()].copy_from_slice(value);
        body::sign(place(), 1001, &mut bytes);
        BodyHeader::decode(place(), &bytes)
    };
    assert!(signed(48, &[1]).is_ok());
    assert!(matches!(signed(40, &[1]), Err(Fault::Mismatch { .. })));
    assert!(matches!(signed(40, &[0xff; 8]), Err(Fault::Range { .. })));
    assert!(matches!(signed(52, &[1]), Err(Fault::Range { .. })));
    assert_eq!(signed(53, &[1]), Err(Fault::Reserved { at: 53 }));
    assert!(matches!(signed(54, &[2]), Err(Fault::Mismatch { .. })));
    assert!(matches!(signed(54, &[1, 16]), Err(Fault::Range { .. })));
    assert!(body::header_len(body::LEN_MAX as usize, body::OWNERS_MAX) < record::LEN_MAX);
}
