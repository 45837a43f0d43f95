//! Record numbers that lie far apart: burned ones hide no others, and what only claims them costs no memory.

use std::ops::ControlFlow;

use super::sim::{Call, Fault, Sim};
use super::{Scribe, account, open, options, written};
use crate::format::batch::FIXED;
use crate::format::manifest::Manifest;
use crate::format::segment::SegmentHeader;
use crate::format::segments::{self, EDIT_LEN, Edit, What};
use crate::format::{PAGE, StoreId, record};
use crate::log::places::room;
use crate::log::{Log, NewRecord, segment_name};
use crate::options::Durability;

/// More than any machine has memory for.
const FAR: u64 = 1 << 55;

/// Burns `count` numbers: the batch that has them finds no room on the disk.
fn burn(sim: &Sim, log: &Log, count: usize) {
    sim.set_space(Some(0));
    let joined = log.join(Durability::Durable, &[], |group| {
        for _ in 0..count {
            let record = NewRecord {
                account: account(0),
                mailbox: 1,
                modseq: 1,
                previous: 0,
                change: &mut crate::format::change::Change::DeleteMailbox,
            };
            group.push(record, None);
        }
    });
    let (batch, ()) = joined.unwrap().unwrap();
    let error = log.shared.wait(batch).unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
    sim.set_space(None);
}

/// Goal: what lies behind burned numbers is found where only the batches say where it is, be they more numbers than the
/// file has room for as records.
#[test]
fn burned_numbers_hide_nothing() {
    let sim = Sim::new();
    // No segment gets a footer.
    sim.set_fault(Some(Fault::from(&[Call::SetLen], 0)));
    let opened = open(&sim, options(0), None).unwrap();
    let mut scribe = Scribe::new(3);
    let small = |scribe: &mut Scribe| scribe.write(&opened.log, Durability::Durable, 10);
    small(&mut scribe);
    burn(&sim, &opened.log, 3000);
    small(&mut scribe);
    assert_eq!(opened.log.segments().len(), 1);
    while opened.log.segments().len() < 3 {
        scribe.write(&opened.log, Durability::Durable, 4000);
    }
    let position = opened.log.position().unwrap().unwrap();
    let segments = opened.log.segments();
    assert!(!segments[0].sealed && segments[0].len / (record::HEADER as u64) < 3000);
    drop(opened);
    let opened = open(&sim, options(1), Some(&position)).unwrap();
    assert!(opened.log.fitted());
    scribe.check(&opened.log);
}

fn claim(sim: &Sim, next_record: u64) -> Sim {
    let mut files = sim.files();
    for slot in files.get_mut("MANIFEST").unwrap().chunks_mut(PAGE) {
        let mut manifest = Manifest::decode(slot).unwrap();
        manifest.next_record = next_record;
        slot.copy_from_slice(&manifest.encode());
    }
    Sim::from_files(files)
}

/// Goal: a store whose marks name a number far behind its last one is written to, and read, in memory by what is there.
#[test]
fn numbers_that_marks_claim_cost_nothing() {
    for (next, same_segment) in [(1 << 19, true), (1 << 21, false), (FAR, false)] {
        let (sim, mut scribe, _) = written(4, 30);
        let disk = claim(&sim, next);
        let opened = open(&disk, options(50), None).unwrap();
        let before = opened.log.segments();
        scribe.write_as(&opened.log, account(1));
        let after = opened.log.segments();
        // The fence of what is missing may have begun one.
        let last = after[after.len() - 1];
        assert_eq!(last.first_record < next, same_segment, "{next}: {last:?}");
        assert!(after.len() - before.len() <= 1);
        for _ in 0..20 {
            scribe.write_as(&opened.log, account(2));
        }
        for segment in opened.log.shared.segments.read().iter() {
            let places = segment.places().unwrap().len() as u64;
            assert!(places <= room(segment.end()), "{places}");
        }
        scribe.check(&opened.log);
        let position = opened.log.position().unwrap();
        drop(opened);
        for (run, from) in [(51, position.as_ref()), (52, None)] {
            let all = from.is_none();
            let opened = open(&disk, options(run).replay_all(all), from).unwrap();
            assert_eq!(opened.log.fitted(), !all);
            scribe.check(&opened.log);
        }
    }
}

/// Goal: a batch that gives itself such numbers under right checksums is a hole, and costs what it holds.
#[test]
fn numbers_that_a_batch_claims_cost_nothing() {
    let (sim, mut scribe, _) = written(4, 30);
    let log = open(&sim, options(40).read_only(true), None).unwrap().log;
    for segment in log.segments() {
        let mut files = sim.files();
        let name = segment_name(segment.number);
        let file = files.get_mut(&name).unwrap();
        let place = SegmentHeader::decode(&file[..PAGE]).unwrap().place();
        let mut heads = (PAGE..file.len()).step_by(512);
        let at = heads.rfind(|at| file[*at..].starts_with(b"MKBATCH1"));
        let at = at.unwrap();
        let word =
            |file: &[u8], at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
        let (head_len, count) = (word(file, at + 76) as usize, word(file, at + 84));
        let head = &mut file[at..at + FIXED];
        let first = u64::from_le_bytes(head[48..56].try_into().unwrap());
        head[48..56].copy_from_slice(&FAR.to_le_bytes());
        let crc = place.checksum(at as u64, &head[12..]);
        head[8..12].copy_from_slice(&crc.to_le_bytes());
        let len = word(file, at + head_len + 4) as usize;
        let frame = &mut file[at + head_len..][..len];
        frame[16..24].copy_from_slice(&FAR.to_le_bytes());
        record::sign(place, FAR, frame);
        let kept: Vec<_> = scribe.written.keys().copied().collect();
        let forged = first..first + u64::from(count);
        let disk = Sim::from_files(files);
        for run in 50..52 {
            let opened = open(&disk, options(run).replay_all(true), None).unwrap();
            for number in kept.iter().filter(|number| !forged.contains(number)) {
                let (header, change, _) = &scribe.written[number];
                let found = opened.log.record(*number).unwrap();
                assert_eq!(found, (*header, change.clone()), "{name}");
            }
            let holes = &opened.report.holes;
            assert!(
                holes.iter().any(|hole| hole.first_lost == first),
                "{holes:?}"
            );
            let before = scribe.written.len();
            scribe.write(&opened.log, Durability::Durable, 10);
            let new: Vec<_> = scribe.written.keys().skip(before).copied().collect();
            assert!(new.iter().all(|number| *number < FAR), "{new:?}");
            for number in new {
                opened.log.record(number).unwrap();
                scribe.written.remove(&number);
            }
        }
    }
}

/// Goal: where the list of segments claims such numbers and a batch is damaged, what is lost is what the file had room for.
#[test]
fn numbers_that_the_list_claims_cost_nothing() {
    let (sim, _, positions) = written(4, 60);
    let (_, last) = positions[positions.len() - 1];
    let mut files = sim.files();
    let store = Manifest::decode(&files["MANIFEST"][..PAGE]).unwrap().store;
    let claimed = claim_in_list(files.get_mut("SEGMENTS").unwrap(), store);
    assert!(claimed.len() > 2);
    for number in &claimed {
        let file = files.get_mut(&segment_name(*number)).unwrap();
        let heads: Vec<_> = (PAGE..file.len())
            .step_by(512)
            .filter(|at| file[*at..].starts_with(b"MKBATCH1"))
            .collect();
        // The last batch, and the footer.
        file[heads[heads.len() - 1]] ^= 1;
        let end = file.len() - 1;
        file[end] ^= 1;
    }
    for from in [Some(&last), None] {
        let all = from.is_none();
        let disk = Sim::from_files(files.clone());
        let opened = open(&disk, options(50).replay_all(all), from).unwrap();
        for segment in opened.log.segments() {
            let each = &mut |_: &_, _: &_| ControlFlow::Continue(());
            let found = opened.log.scan_segment(segment.number, 0..u64::MAX, each);
            let lost = found.unwrap().lost.len() as u64;
            assert!(lost <= room(segment.len), "{lost}");
            let _ = opened.log.record(segment.first_record);
            opened.log.numbers_of(account(0), 0..u64::MAX).unwrap();
        }
        Scribe::new(8).write(&opened.log, Durability::Durable, 10);
    }
}

/// Has the edits of sealed segments end at number [`FAR`]; which they are.
fn claim_in_list(list: &mut [u8], store: StoreId) -> Vec<u64> {
    let mut claimed = Vec::new();
    let edits = list[segments::offset(0) as usize..].chunks_exact_mut(EDIT_LEN);
    for (index, bytes) in (0..).zip(edits) {
        let mut edit = Edit::decode(store, index, bytes).unwrap();
        if edit.what == What::Sealed {
            edit.next_record = FAR;
            bytes.copy_from_slice(&edit.encode(store, index));
            claimed.push(edit.segment);
        }
    }
    claimed
}
