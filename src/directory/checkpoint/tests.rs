use proptest::prelude::*;

use super::*;
use crate::io::Directory as Volume;

const STORE: StoreId = StoreId([4; 16]);

fn volume() -> (tempfile::TempDir, Volume) {
    let above = tempfile::tempdir().unwrap();
    let volume = Volume::create_or_open(&above.path().join("mail"), true).unwrap();
    volume.create_folder(FOLDER).unwrap();
    (above, volume)
}

fn checkpoint() -> Checkpoint {
    let run = |number| RunInfo {
        number,
        nonce: [6; 16],
        lo: 2,
        hi: 3,
        rows: 4,
        len: 5,
    };
    Checkpoint {
        store: STORE,
        generation: 6,
        position: Position {
            segment: 7,
            generation: 22,
            offset: 8,
            last: 23,
            next_record: 9,
            batch: 10,
            crc: 11,
            highest_segment: 20,
        },
        runs: vec![run(1), run(u32::MAX)],
        images: vec![ImageFile {
            number: 12,
            len: 13,
            dead: 14,
        }],
        fences: vec![FenceAt {
            number: 15,
            bound: 16,
            first_lost: 17,
            last_lost: 18,
        }],
        next_file: 19,
        uid_validity_max: 21,
        uid_validity_floor: 24,
        deferred: vec![(AccountId::from_bytes([25; 16]), 26)],
    }
}

#[test]
fn a_checkpoint_comes_back_and_replaces_the_one_before() {
    let (_above, volume) = volume();
    assert_eq!(Checkpoint::load(&volume).unwrap(), None);
    let mut saved = checkpoint();
    saved.save(&volume).unwrap();
    assert_eq!(Checkpoint::load(&volume).unwrap(), Some(saved.clone()));
    (saved.runs, saved.images, saved.fences) = (Vec::new(), Vec::new(), Vec::new());
    // What a crash left is no obstacle.
    volume.open(PATH_NEW, Open::Create).unwrap();
    saved.save(&volume).unwrap();
    assert_eq!(Checkpoint::load(&volume).unwrap(), Some(saved));
    assert_eq!(volume.list(FOLDER).unwrap().len(), 1);
}

#[test]
fn every_changed_byte_and_every_cut_is_refused() {
    let sound = checkpoint().encode();
    assert_eq!(Checkpoint::decode(&sound).unwrap(), checkpoint());
    for at in 0..sound.len() {
        let mut bytes = sound.clone();
        bytes[at] ^= 1 << (at % 8);
        assert!(Checkpoint::decode(&bytes).is_err(), "byte {at}");
        assert!(Checkpoint::decode(&sound[..at]).is_err(), "cut at {at}");
    }
}

/// The bytes with another byte at a place, and the checksum put right.
fn changed(at: usize, value: u8) -> Vec<u8> {
    let mut bytes = checkpoint().encode();
    bytes.truncate(bytes.len() - 4);
    bytes[at] = value;
    let crc = checksum(0, &bytes);
    bytes.put_u32(crc);
    bytes
}

#[test]
fn numbers_under_a_good_checksum_are_bounded_too() {
    let fault = |at, value| Checkpoint::decode(&changed(at, value)).unwrap_err();
    let counts = 16 + 16 + 8 + 6 * 8 + 5 * 4;
    assert!(matches!(fault(0, 0), Fault::Magic { .. }));
    assert!(fault(8, 9).is_newer());
    assert!(matches!(fault(10, 1), Fault::Reserved { .. }));
    assert!(matches!(fault(39, 0x80), Fault::Range { .. }));
    // Four thousand million runs: refused by what is there, not by trying.
    assert!(matches!(fault(counts + 3, 0xff), Fault::Short { .. }));
    assert!(matches!(fault(counts, 1), Fault::Range { .. }));
    assert!(matches!(fault(counts + 16, 1), Fault::Reserved { .. }));
}

#[test]
fn a_file_of_another_length_is_refused() {
    let (_above, volume) = volume();
    checkpoint().save(&volume).unwrap();
    let file = volume.open(PATH, Open::Write).unwrap();
    for len in [LEN_MAX + 1, 3, 0] {
        file.set_len(len).unwrap();
        let refused = Checkpoint::load(&volume);
        assert!(matches!(refused, Err(Error::Damaged { .. })), "{len}");
    }
}

proptest! {
    /// Goal: no bytes make reading panic, also with a good checksum.
    #[test]
    fn any_bytes_are_survived(mut bytes in prop::collection::vec(any::<u8>(), 0..400), head: bool) {
        if head {
            let sound = checkpoint().encode();
            let len = bytes.len().min(16);
            bytes[..len].copy_from_slice(&sound[..len]);
        }
        let crc = checksum(0, &bytes);
        bytes.put_u32(crc);
        let _ = Checkpoint::decode(&bytes);
    }
}
