//! Records that are read by way of a page that others of them lie in, too.

use std::ops::Range;
use std::sync::Arc;

use super::sim::Sim;
use super::{Opened, Scribe, open, options, written};
use crate::error::Error;
use crate::format::PAGE;
use crate::log::segment::Segment;
use crate::log::segment_name;
use crate::log::window::Window;

const SECTOR: usize = 512;

/// A record that is there, and its bytes in the file.
struct Known {
    segment: Arc<Segment>,
    number: u64,
    bytes: Range<usize>,
}

impl Known {
    fn name(&self) -> String {
        segment_name(self.segment.number())
    }

    fn page(&self) -> usize {
        self.bytes.start / PAGE
    }

    fn crosses(&self) -> bool {
        (self.bytes.end - 1) / PAGE > self.page()
    }

    /// What reading it by way of `window` comes to is what was written, or that the disk does not give it.
    fn is_read(&self, window: &mut Window, scribe: &Scribe) -> bool {
        match self.segment.record_in(window, self.number) {
            Ok(found) => {
                let (header, change, _) = &scribe.written[&self.number];
                assert_eq!(found, (*header, change.clone()));
                true
            }
            Err(error) => {
                let refused = matches!(error, Error::Io { op: "read", .. });
                assert!(refused, "record {}: {error}", self.number);
                false
            }
        }
    }
}

/// A store of sealed segments and one that is written to, with all of its records, each one's place in memory or its footer.
fn known() -> (Sim, Scribe, Opened, Vec<Known>) {
    let (sim, scribe, _) = written(11, 150);
    let opened = open(&sim, options(50), None).unwrap();
    let files = sim.files();
    let mut known = Vec::new();
    for segment in opened.log.shared.segments.read().iter() {
        let file = &files[&segment_name(segment.number())];
        let places = segment.places().unwrap();
        for (number, place) in (segment.first_record()..).zip(places) {
            let at = usize::try_from(place.frame).unwrap();
            if at > 0 {
                let len = u32::from_le_bytes(file[at + 4..at + 8].try_into().unwrap());
                known.push(Known {
                    segment: Arc::clone(segment),
                    number,
                    bytes: at..at + usize::try_from(len).unwrap(),
                });
            }
        }
    }
    assert_eq!(known.len(), scribe.written.len());
    (sim, scribe, opened, known)
}

/// Goal: one window over records in any order, of any segment, gives each of them as it was written, those too that reach
/// into the next page.
#[test]
fn a_window_gives_every_record() {
    let (_sim, scribe, _opened, known) = known();
    let crossing = known.iter().filter(|record| record.crosses()).count();
    assert!(crossing > 5, "{crossing}");
    // From one segment to the other, so that pages of one place of them follow one another.
    let mut by_page: Vec<&Known> = known.iter().collect();
    by_page.sort_by_key(|record| record.bytes.start);
    let same_place = |pair: &[&Known]| {
        pair[0].page() == pair[1].page() && pair[0].segment.number() != pair[1].segment.number()
    };
    assert!(by_page.windows(2).any(same_place));
    let mut window = Window::default();
    let up = known.iter();
    let all = up.clone().chain(up.rev()).chain(by_page);
    all.for_each(|record| assert!(record.is_read(&mut window, &scribe)));
}

/// Goal: where the disk does not give a block, each record is read that has no byte in it, whatever lies beside it; the others
/// are told as not given. In whatever order they are read by one window.
#[test]
fn a_bad_block_keeps_no_other_record_from_being_read() {
    let (sim, scribe, _opened, known) = known();
    let (mut beside, mut hit) = (0, 0);
    let of_segment = |number: u64| {
        let own = known.iter();
        own.filter(move |record| record.segment.number() == number)
    };
    let mut numbers: Vec<u64> = known.iter().map(|known| known.segment.number()).collect();
    numbers.dedup();
    assert!(numbers.len() > 2);
    for number in [numbers[0], numbers[numbers.len() - 1]] {
        let records: Vec<&Known> = of_segment(number).collect();
        let sectors = records.iter().flat_map(|record| {
            let touched = record.bytes.start / SECTOR..=(record.bytes.end - 1) / SECTOR;
            touched.into_iter()
        });
        let mut sectors: Vec<usize> = sectors.collect();
        sectors.dedup();
        for sector in sectors {
            let bad = sector * SECTOR..(sector + 1) * SECTOR;
            sim.fail_reads(&records[0].name(), bad.clone());
            let mut window = Window::default();
            for record in records.iter().rev().chain(&records) {
                let touches = record.bytes.start < bad.end && bad.start < record.bytes.end;
                let read = record.is_read(&mut window, &scribe);
                assert_eq!(read, !touches, "record {}, sector {sector}", record.number);
                let near = record.page() == bad.start / PAGE;
                (beside, hit) = (beside + u64::from(near && read), hit + u64::from(touches));
            }
            sim.heal_reads();
        }
    }
    assert!(beside > 100 && hit > 100, "{beside} {hit}");
}

/// Goal: it is for something: a record that lies in the page of the one before it costs no read.
#[test]
fn a_record_in_the_same_page_costs_no_read() {
    let (sim, scribe, _opened, known) = known();
    // In the segment that is written to, where records lie is in memory.
    let last = known[known.len() - 1].segment.number();
    let active = known.iter().filter(|one| one.segment.number() == last);
    let active: Vec<&Known> = active.filter(|record| !record.crosses()).collect();
    let mut tried = 0;
    for pair in active.windows(2) {
        let mut window = Window::default();
        assert!(pair[1].is_read(&mut window, &scribe));
        sim.fail_reads(&pair[0].name(), 0..usize::MAX);
        let same = pair[0].page() == pair[1].page();
        assert_eq!(pair[0].is_read(&mut window, &scribe), same);
        sim.heal_reads();
        tried += u64::from(same);
    }
    assert!(tried > 5, "{tried}");
}
