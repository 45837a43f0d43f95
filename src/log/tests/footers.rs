//! Footers that are sound and not the segment's own, and footers that are not sound: the batches are asked instead.

use std::ops::ControlFlow;

use super::given::{heads, middle};
use super::sim::Sim;
use super::{Scribe, open, options, written};
use crate::Error;
use crate::format::segment::SegmentHeader;
use crate::format::{PAGE, checksum};
use crate::log::{Position, segment_name};
use crate::options::Durability;

/// A store, its last position, and its last sealed segment: the file's name, where the footer begins, a record.
fn store() -> (Sim, Scribe, Position, (String, usize, u64)) {
    let (sim, scribe, positions) = written(4, 60);
    let (_, last) = positions[positions.len() - 1];
    let segments = open(&sim, options(40), Some(&last)).unwrap().log.segments();
    let sealed = segments.iter().rfind(|segment| segment.sealed).unwrap();
    let name = segment_name(sealed.number);
    let footer_at = usize::try_from(sealed.len).unwrap();
    let first = sealed.first_record;
    (sim, scribe, last, (name, footer_at, first))
}

/// Changes a file's trailer, and signs it again.
fn alter(file: &mut [u8], change: impl FnOnce(&mut [u8])) {
    let at = file.len() - PAGE;
    let page = &mut file[at..];
    change(page);
    let crc = checksum(0, &page[..PAGE - 4]);
    page[PAGE - 4..].copy_from_slice(&crc.to_le_bytes());
}

/// Makes a file longer by its last page once more.
fn lengthen(file: &mut Vec<u8>) {
    let trailer = file[file.len() - PAGE..].to_vec();
    file.extend(trailer);
}

/// Each field by which a trailer says of what it is, wrong under a right checksum.
#[test]
fn a_footer_of_something_else_is_not_believed() {
    type Alter = fn(&mut Vec<u8>, usize);
    let cases: [(&str, Alter); 6] = [
        ("store", |file, _| alter(file, |page| page[24] ^= 1)),
        ("segment", |file, _| alter(file, |page| page[40] ^= 1)),
        ("generation", |file, _| alter(file, |page| page[80] ^= 1)),
        ("first record", |file, _| alter(file, |page| page[48] ^= 1)),
        ("place", |file, footer_at| {
            file.splice(footer_at..footer_at, [0; PAGE]);
            let moved = (footer_at + PAGE) as u64;
            alter(file, |page| {
                page[72..80].copy_from_slice(&moved.to_le_bytes());
            });
        }),
        ("length", |file, _| lengthen(file)),
    ];
    let (sim, scribe, _, (name, footer_at, _)) = store();
    for (field, change) in cases {
        let mut files = sim.files();
        change(files.get_mut(&name).unwrap(), footer_at);
        let disk = Sim::from_files(files);
        let opened = open(&disk, options(50).replay_all(true), None).unwrap();
        let bad = &opened.report.bad_footers;
        assert!(
            bad.len() == 1 && bad[0].ends_with(&name),
            "{field}: {bad:?}"
        );
        scribe.check(&opened.log);
    }
}

/// One bad page of a footer is noticed by the opening, which reads the batches in front of its start then.
#[test]
fn a_footer_with_a_bad_page_is_told_by_the_opening() {
    let (sim, scribe, _, (name, footer_at, _)) = store();
    sim.flip(&name, footer_at * 8);
    for all in [false, true] {
        let disk = Sim::from_files(sim.files());
        let opened = open(&disk, options(50).replay_all(all), None).unwrap();
        let bad = &opened.report.bad_footers;
        assert!(bad.len() == 1 && bad[0].ends_with(&name), "{all}: {bad:?}");
        scribe.check(&opened.log);
    }
}

/// Nothing in the file is this store's, and the trailer says so: it is neither read nor written to.
#[test]
fn a_file_with_a_foreign_trailer_is_left_alone() {
    let (sim, _, last, (name, _, first)) = store();
    let mut files = sim.files();
    let file = files.get_mut(&name).unwrap();
    let trailer_at = file.len() - PAGE;
    file[..trailer_at].fill(0);
    alter(file, |page| page[24] ^= 1);
    let foreign = file.clone();
    let disk = Sim::from_files(files);
    let opened = open(&disk, options(50), Some(&last)).unwrap();
    let read = opened.log.record(first);
    assert!(matches!(read, Err(Error::Foreign { .. })), "{read:?}");
    Scribe::new(8).write(&opened.log, Durability::Durable, 10);
    assert!(disk.files()[&name] == foreign, "it was written to");
}

#[test]
fn a_footer_that_is_not_as_long_as_it_says_is_told_by_verify() {
    let (sim, _, last, (name, ..)) = store();
    for hurt in [false, true] {
        let mut files = sim.files();
        if hurt {
            lengthen(files.get_mut(&name).unwrap());
        }
        let disk = Sim::from_files(files);
        let opened = open(&disk, options(50), Some(&last)).unwrap();
        let mut damage = Vec::new();
        let go_on = &mut |_| ControlFlow::Continue(());
        opened.log.verify(&mut damage, go_on);
        let told = damage.iter().any(|damage| damage.path.ends_with(&name));
        assert_eq!((told, damage.len()), (hurt, usize::from(hurt)));
    }
}

/// A batch of a sealed segment was changed and its checksums were made to fit: the digest of the whole tells.
#[test]
fn a_forged_batch_is_told_by_verify() {
    let (sim, _, last, (name, ..)) = store();
    let mut files = sim.files();
    let file = files.get_mut(&name).unwrap();
    let place = SegmentHeader::decode(&file[..PAGE]).unwrap().place();
    assert!(file[PAGE..].starts_with(b"MKBATCH1"));
    let head = &mut file[PAGE..][..96];
    // When it was committed.
    head[64] ^= 1;
    let crc = place.checksum(PAGE as u64, &head[12..]);
    head[8..12].copy_from_slice(&crc.to_le_bytes());
    let opened = open(&Sim::from_files(files), options(50), Some(&last)).unwrap();
    let mut damage = Vec::new();
    let go_on = &mut |_| ControlFlow::Continue(());
    opened.log.verify(&mut damage, go_on);
    assert_eq!(damage.len(), 1, "{damage:?}");
}

/// Of the last batch nothing is left, and the footer is made again: its records are as lost as before.
#[test]
fn a_footer_that_is_made_again_knows_of_a_lost_end() {
    let (sim, scribe, last, _) = store();
    let (name, segment) = middle(&sim, &last);
    let mut files = sim.files();
    let file = files.get_mut(&name).unwrap();
    let head = heads(file).pop().unwrap();
    file[head..usize::try_from(segment.len).unwrap()].fill(0);
    let trailer_at = file.len() - PAGE;
    file[trailer_at..].fill(0);
    let disk = Sim::from_files(files);
    let opened = open(&disk, options(50), Some(&last)).unwrap();
    let lost = || {
        let mut each = |_: &_, _: &_| ControlFlow::Continue(());
        let all = 0..u64::MAX;
        let scan = opened.log.scan_segment(segment.number, all, &mut each);
        scan.unwrap().lost
    };
    let before = lost();
    let end = scribe.written.range(..segment.next_record).next_back();
    assert_eq!(before.last(), end.map(|(number, _)| number));
    // Asking for a record shows that the footer is bad; the next commit has it made again.
    opened.log.record(segment.first_record).unwrap();
    Scribe::new(8).write(&opened.log, Durability::Durable, 10);
    let healed = disk.files().remove(&name).unwrap();
    assert!(healed[trailer_at..].iter().any(|byte| *byte != 0));
    assert_eq!(lost(), before);
}
