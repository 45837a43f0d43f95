use std::io::ErrorKind;
use std::os::unix::fs::FileExt;

use super::*;

fn file_of(content: &[u8]) -> File {
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(content, 0).unwrap();
    file
}

/// The map of a file in a process with the guard.
fn mapped() -> Map {
    install_guard().unwrap();
    Map::default()
}

fn address(bytes: &Bytes) -> usize {
    bytes.as_ptr().addr()
}

/// Goal: a cast gives every number, in place, or nothing.
#[test]
fn bytes_are_seen_as_numbers_where_they_lie_right() {
    let numbers = [0x0201_u16, 0x0403, 0x0605, 0x0807].map(u16::to_le);
    let file = file_of(&[1, 2, 3, 4, 5, 6, 7, 8]);
    let mapped = mapped().held(&file, 0, 8).unwrap();
    assert_eq!(
        cast::<u16>(&mapped).unwrap().as_ptr().addr(),
        address(&mapped)
    );
    assert_eq!(cast::<u16>(&mapped).unwrap(), numbers);
    assert_eq!(
        cast::<u64>(&mapped).unwrap(),
        [0x0807_0605_0403_0201_u64.to_le()]
    );
    assert_eq!(cast::<u8>(&mapped[1..]).unwrap().len(), 7);
    assert!(cast::<u16>(&mapped[1..7]).is_none(), "an odd address");
    assert!(
        cast::<u32>(&mapped[..6]).is_none(),
        "not a whole number of them"
    );
    assert!(cast::<i64>(&mapped[4..]).is_none());
    assert_eq!(cast::<i64>(&mapped[..0]).map(<[i64]>::len), Some(0));
}

/// Goal: a flag set takes any bits: to be refused by who casts.
#[test]
fn flags_are_their_bits() {
    let file = file_of(&[1, 0, 31, 0]);
    let mapped = mapped().held(&file, 0, 4).unwrap();
    let flags = cast::<Flags>(&mapped).unwrap();
    if cfg!(target_endian = "little") {
        assert_eq!(flags[0], Flags::SEEN);
        assert_eq!(flags[1].bits(), 31);
    }
    assert_eq!((size_of::<Flags>(), align_of::<Flags>()), (2, 2));
}

#[test]
fn many_calls_share_one_mapping() {
    let (file, map) = (file_of(b"0123456789"), mapped());
    let whole = map.held(&file, 0, 10).unwrap();
    assert!(whole.is_mapped() && whole.is_readable());
    let part = map.held(&file, 3, 4).unwrap();
    assert_eq!(&part[..], b"3456");
    assert_eq!(address(&part), address(&whole) + 3);
}

#[test]
fn one_mapping_serves_a_file_that_grows_to_its_expected_length() {
    let (file, map) = (file_of(b"first"), mapped());
    map.expect_len(1 << 20);
    let first = map.held(&file, 0, 5).unwrap();
    for at in [5_u64, 4096, 70_000, (1 << 20) - 4] {
        file.write_all_at(b"more", at).unwrap();
        let more = map.held(&file, at, 4).unwrap();
        assert_eq!(&more[..], b"more");
        assert_eq!(
            address(&more),
            address(&first) + usize::try_from(at).unwrap()
        );
    }
    assert_eq!(&first[..], b"first");
}

#[test]
fn a_file_that_outgrows_its_mapping_is_mapped_again_and_old_bytes_stay() {
    let (file, map) = (file_of(b"old"), mapped());
    let old = map.held(&file, 0, 3).unwrap();
    file.write_all_at(b"new", 1 << 20).unwrap();
    let new = map.held(&file, 1 << 20, 3).unwrap();
    let again = map.held(&file, 0, 3).unwrap();
    assert_eq!(
        (&old[..], &new[..], &again[..]),
        (&b"old"[..], &b"new"[..], &b"old"[..])
    );
    assert_eq!(address(&new), address(&again) + (1 << 20));
    drop(map);
    assert_eq!(&old[..], b"old");
}

#[test]
fn a_range_past_the_end_is_refused_also_inside_the_mapping() {
    let (file, map) = (file_of(b"12345"), mapped());
    map.expect_len(1 << 20);
    map.held(&file, 0, 5).unwrap();
    for (offset, len) in [
        (0, 6),
        (5, 1),
        (4, 2),
        (4096, 1),
        (u64::MAX, 1),
        (1, usize::MAX),
    ] {
        let error = map.held(&file, offset, len).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{len} at {offset}");
    }
    assert!(map.held(&file, 5, 0).unwrap().is_empty());
    assert_eq!(
        map.held(&file, 6, 0).unwrap_err().kind(),
        ErrorKind::UnexpectedEof
    );
}

#[test]
fn an_empty_file_has_the_empty_range_only() {
    let (file, map) = (file_of(b""), mapped());
    assert!(map.held(&file, 0, 0).unwrap().is_empty());
    assert_eq!(
        map.held(&file, 0, 1).unwrap_err().kind(),
        ErrorKind::UnexpectedEof
    );
}

#[test]
fn a_cut_file_is_not_read_past_its_new_end() {
    let (file, map) = (file_of(&[7; 10_000]), mapped());
    map.held(&file, 9_999, 1).unwrap();
    map.set_len(100, || file.set_len(100)).unwrap();
    assert_eq!(
        map.held(&file, 9_999, 1).unwrap_err().kind(),
        ErrorKind::UnexpectedEof
    );
    assert_eq!(map.held(&file, 99, 1).unwrap()[..], [7]);
    map.set_len(200, || file.set_len(200)).unwrap();
    assert_eq!(map.held(&file, 99, 2).unwrap()[..], [7, 0]);
}

#[test]
fn an_expectation_that_cannot_be_mapped_does_no_harm() {
    let (file, map) = (file_of(b"mail"), mapped());
    map.expect_len(u64::MAX);
    assert_eq!(&map.held(&file, 0, 4).unwrap()[..], b"mail");
}

#[test]
fn readers_on_many_threads_follow_a_writer() {
    let (file, map) = (file_of(b""), mapped());
    std::thread::scope(|threads| {
        for _ in 0..3 {
            threads.spawn(|| {
                let mut at = 0;
                while at < 3_000 {
                    match map.held(&file, at * 8, 8) {
                        Ok(found) => assert_eq!(found[..], at.to_le_bytes()),
                        Err(error) if error.kind() == ErrorKind::UnexpectedEof => continue,
                        Err(error) => panic!("{error}"),
                    }
                    at += 1;
                }
            });
        }
        for at in 0..3_000_u64 {
            file.write_all_at(&at.to_le_bytes(), at * 8).unwrap();
        }
    });
}

/// Goal: a copy is the same bytes at another address, refuses the same ranges, and maps nothing.
#[test]
fn copies_are_in_memory_of_their_own() {
    let (file, map) = (file_of(b"0123456789"), mapped());
    for round in 0..2 {
        assert_eq!(map.copied(&file, 3, 4).unwrap(), "3456");
        assert!(map.copied(&file, 10, 0).unwrap().is_empty());
        for (offset, len) in [(0, 11), (10, 1), (u64::MAX, 1), (1, usize::MAX)] {
            let error = map.copied(&file, offset, len).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{len} at {offset}");
        }
        assert_eq!(map.state.read().mapped.is_some(), round == 1);
        let held = map.held(&file, 0, 10).unwrap();
        let copy = map.copied(&file, 0, 10).unwrap();
        assert_ne!(address(&held), address(&copy));
        assert!(still_good(&held) && still_good(&copy));
    }
}

/// Goal: what is copied into a caller's memory is the file's, mapped or not, and a range that leaves the file is refused.
#[test]
fn copies_go_into_memory_that_is_there() {
    let (file, map) = (file_of(b"0123456789"), mapped());
    for is_mapped in [false, true] {
        assert_eq!(map.state.read().mapped.is_some(), is_mapped);
        for (offset, len) in [(0, 10), (3, 4), (9, 1), (10, 0)] {
            let mut buf = vec![b'x'; len];
            map.copy_to(&file, &mut buf, offset).unwrap();
            let from = usize::try_from(offset).unwrap();
            assert_eq!(buf, b"0123456789"[from..from + len], "{len} at {offset}");
        }
        for (offset, len) in [(0, 11), (9, 2), (10, 1), (4096, 1), (u64::MAX, 1)] {
            let refused = map.copy_to(&file, &mut vec![0; len], offset);
            let kind = refused.unwrap_err().kind();
            assert_eq!(kind, ErrorKind::UnexpectedEof, "{len} at {offset}");
        }
        map.held(&file, 0, 10).unwrap();
    }
}

/// Goal: the page that the mapping does not give is asked of the system, by the very copy that meets it: its zeroes are no
/// answer. From then on the file is read, also where the page is there again.
#[test]
fn a_copy_that_meets_a_bad_page_is_read() {
    const PAGE: usize = 4096;
    let content = large(3 * PAGE);
    let (file, map) = (file_of(&content), mapped());
    let held = map.held(&file, 0, 3 * PAGE).unwrap();
    assert!(held.is_mapped());
    // Another program cuts the file: what was known of its length is not true any more.
    file.set_len(PAGE as u64 + 1).unwrap();
    let mut buf = [7; 16];
    let behind = 2 * PAGE as u64 + 100;
    let met = map.copy_to(&file, &mut buf, behind);
    assert_eq!(met.unwrap_err().kind(), ErrorKind::UnexpectedEof);
    assert!(!held.is_good(), "a page was met that is not there");
    assert!(!held.copy_to(&mut vec![0; 3 * PAGE]));
    map.copy_to(&file, &mut buf, 100).unwrap();
    assert_eq!(buf, content[100..116]);
    file.write_all_at(&content, 0).unwrap();
    map.copy_to(&file, &mut buf, behind).unwrap();
    assert_eq!(buf, content[2 * PAGE + 100..2 * PAGE + 116]);
}

/// Goal: what is held goes into memory of its length, and is said to be there only then.
#[test]
fn what_is_held_is_copied_into_memory_of_its_length() {
    let (file, map) = (file_of(b"0123456789"), mapped());
    let mapped = map.held(&file, 2, 4).unwrap();
    for held in [mapped, Held::owned(Bytes::from_static(b"2345"))] {
        let mut buf = *b"xxxx";
        assert!(held.copy_to(&mut buf));
        assert_eq!(&buf, b"2345");
        assert!(!held.copy_to(&mut [0; 3]) && !held.copy_to(&mut [0; 5]));
        assert!(held.slice(0..0).copy_to(&mut []));
    }
}

/// Goal: a part of what is held is that part, and knows as much of its mapping.
#[test]
fn parts_of_what_is_held() {
    let (file, map) = (file_of(b"0123456789"), mapped());
    let held = map.held(&file, 2, 6).unwrap();
    let part = held.slice(1..3);
    assert_eq!(&part[..], b"34");
    assert!(part.is_mapped());
    assert!(held.slice(5..7).is_empty() && held.slice(2..2).is_empty());
    assert!(Held::from(part.into_bytes()).is_mapped());
    assert!(!Held::from(Bytes::from_static(b"x")).is_mapped());
}

/// Bytes of which no two pieces of the file are alike: each word is its own place.
fn large(len: usize) -> Vec<u8> {
    let words = (0_u32..).flat_map(u32::to_le_bytes);
    words.take(len).collect()
}

/// Goal: a range that two threads read is the file's, byte by byte, wherever it begins and ends; and so it is mapped.
#[test]
fn large_ranges_are_read_whole() {
    let content = large(HALVED + STEP + 13);
    let file = file_of(&content);
    // The last length that one thread reads, the first that two do, odd ones, and all there is.
    for (offset, len) in [
        (0, HALVED - 1),
        (3, HALVED),
        (1, HALVED + 1),
        (5, HALVED + STEP + 8),
        (0, HALVED + STEP + 13),
    ] {
        let from = usize::try_from(offset).unwrap();
        let expected = &content[from..from + len];
        // Not `assert_eq`: it would print all of it.
        let copied = Map::default().copied(&file, offset, len).unwrap();
        assert!(copied == expected, "{len} at {offset}");
        assert!(still_good(&copied));
        let held = mapped().held(&file, offset, len).unwrap();
        assert!(held[..] == *expected, "{len} at {offset}, mapped");
    }
}

/// Goal: a large range that leaves the file is refused, also where the file was cut behind our back: in its front half,
/// between the halves, in its back half.
#[test]
fn a_large_range_past_the_end_is_refused() {
    let len = HALVED + 77;
    let file = file_of(&large(len));
    let refused = |map: &Map, offset, len| {
        // Without what was read: it would be printed.
        let error = map.copied(&file, offset, len).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{len} at {offset}");
    };
    refused(&Map::default(), 0, len + 1);
    refused(&Map::default(), 1, len);
    refused(&Map::default(), HALVED as u64 * 2, len);
    for cut in [len - 1, HALVED / 2 + STEP, HALVED / 2, 100, 0] {
        file.set_len(len as u64).unwrap();
        let map = Map::default();
        map.copied(&file, 0, len).unwrap();
        file.set_len(cut as u64).unwrap();
        refused(&map, 0, len);
    }
}

/// Goal: a process that gets no thread more reads large ranges all the same. This test once more, in a process of which
/// every new thread would need more stack than there is.
#[test]
fn a_large_range_is_read_where_no_thread_is_to_be_had() {
    const INSIDE: &str = "MAILKEEP_TEST_NO_THREADS";
    if std::env::var_os(INSIDE).is_some() {
        std::thread::Builder::new().spawn(|| ()).unwrap_err();
        let content = large(HALVED + 1);
        let read = Map::default().copied(&file_of(&content), 1, HALVED);
        assert!(read.unwrap() == content[1..]);
        return;
    }
    let name = "io::map::tests::a_large_range_is_read_where_no_thread_is_to_be_had";
    let inside = std::process::Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--test-threads=1"])
        .env(INSIDE, "1")
        .env("RUST_MIN_STACK", (1_u64 << 60).to_string())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&inside.stdout);
    assert!(
        inside.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&inside.stderr)
    );
}
