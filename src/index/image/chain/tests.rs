use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::testing::{
    ACCOUNT, create_account, deliver, flag, fold_of, record, records, seen, steps, uid,
};
use super::*;
use crate::format::record;
use crate::mail::Flags;

/// Blobs in memory.
#[derive(Default)]
struct Memory {
    blobs: RefCell<BTreeMap<u64, (ImageAt, Bytes)>>,
    written: Cell<u64>,
    reads: Cell<u64>,
}

impl Blobs for Memory {
    fn read(&self, at: &ImageAt) -> Result<Bytes> {
        self.reads.set(self.reads.get() + 1);
        let blobs = self.blobs.borrow();
        let found = blobs.get(&at.offset).filter(|(found, _)| found == at);
        found
            .map(|(_, bytes)| bytes.clone())
            .ok_or_else(|| self.damaged(at, Fault::Lost))
    }

    fn damaged(&self, at: &ImageAt, what: Fault) -> Error {
        Error::fault("memory", at.offset, what)
    }
}

impl Memory {
    fn keep(&self, grown: Grown) -> ImageAt {
        let mut blobs = self.blobs.borrow_mut();
        let at = ImageAt {
            file: 1,
            len: u32::try_from(grown.bytes.len()).unwrap(),
            offset: self.written.get(),
            record: grown.record,
        };
        self.written
            .set(self.written.get() + grown.bytes.len() as u64);
        for gone in grown.replaced {
            assert!(blobs.remove(&gone.offset).is_some(), "replaced once");
        }
        blobs.insert(at.offset, (at, grown.bytes.into()));
        at
    }

    fn grow(
        &self,
        fold: &Fold,
        newest: Option<ImageAt>,
        records: &[(RecordHeader, Change)],
    ) -> Option<ImageAt> {
        let grown = grow(self, fold, newest.as_ref(), records);
        grown.map(|grown| self.keep(grown))
    }
}

fn account(count: u32) -> Fold {
    let mut all = vec![record(1, 0, create_account())];
    all.extend((1..=count).map(|n| record(u64::from(n) + 1, 1, deliver(n, n.into()))));
    fold_of(&all)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Goal: wherever an image is grown, it gives the account as it was then, and keeps no blob it does not need.
    #[test]
    fn an_image_is_the_account(steps in steps(250), every in 1..40_usize) {
        let all = records(&steps);
        let (memory, mut fold) = (Memory::default(), Fold::new(ACCOUNT));
        let mut newest = None;
        for part in all.chunks(every) {
            part.iter().for_each(|(header, change)| fold.apply(header, change));
            newest = memory.grow(&fold, newest, part).or(newest);
            let at = newest.unwrap();
            prop_assert_eq!(at.record, base::covered(&fold));
            prop_assert_eq!(seen(&load(&memory, ACCOUNT, &at).unwrap()), seen(&fold));
            let mut kept = blobs_of(&memory, ACCOUNT, &at).unwrap();
            kept.reverse();
            let all: Vec<_> = memory.blobs.borrow().values().map(|(at, _)| *at).collect();
            prop_assert_eq!(kept, all);
        }
    }
}

/// Goal: the law. Small changes of a large account cost some times their own length, not the account's.
#[test]
fn growing_costs_by_the_records() {
    let (count, flags, every) = (100_000, 10_000_u32, 32);
    let mut fold = account(count);
    let memory = Memory::default();
    let mut newest = memory.grow(&fold, None, &[]).unwrap();
    let base = memory.written.take();
    let (mut encoded, mut deepest) = (0, 0);
    let numbers: Vec<u32> = (0..flags).collect();
    for part in numbers.chunks(every) {
        let made: Vec<_> = part
            .iter()
            .map(|n| {
                let target = n.wrapping_mul(2_654_435_761) % count + 1;
                let uids = [uid(target)].into_iter().collect();
                let change = flag(uids, Flags::FLAGGED, Flags::EMPTY, Vec::new());
                record(u64::from(count + 2 + n), 1, change)
            })
            .collect();
        for (header, change) in &made {
            encoded += record::encode(header, change, &mut Vec::new()) as u64;
            fold.apply(header, change);
        }
        // Written from where the base ends.
        memory.written.set(memory.written.get().max(base));
        newest = memory.grow(&fold, Some(newest), &made).unwrap();
        let depth = memory.blobs.borrow().len();
        deepest = deepest.max(depth);
    }
    let written = memory.written.get() - base;
    println!("{encoded} bytes of records, {written} of images, {deepest} blobs");
    assert!(written < 8 * encoded, "{written} bytes for {encoded}");
    assert!(deepest <= 12, "{deepest} blobs");
    assert_eq!(seen(&load(&memory, ACCOUNT, &newest).unwrap()), seen(&fold));
    assert!(memory.reads.get() < 2_500, "{} reads", memory.reads.get());
}

/// Goal: when pieces outgrow their share the account is written whole, and a small account is not each time.
#[test]
fn a_base_is_due_when_pieces_outgrow_it() {
    let mut fold = account(1);
    let memory = Memory::default();
    let mut newest = memory.grow(&fold, None, &[]).unwrap();
    let mut bases = 0;
    for number in 10..1010 {
        let change = flag(
            [uid(1)].into_iter().collect(),
            Flags::SEEN,
            Flags::EMPTY,
            Vec::new(),
        );
        let one = record(number, 1, change);
        fold.apply(&one.0, &one.1);
        newest = memory.grow(&fold, Some(newest), &[one]).unwrap();
        bases += usize::from(is_base(&memory.read(&newest).unwrap()));
        let kept: u64 = memory
            .blobs
            .borrow()
            .values()
            .map(|(at, _)| u64::from(at.len))
            .sum();
        assert!(kept < PIECES_LEN_MIN + 2_000);
    }
    assert!((5..100).contains(&bases), "{bases} bases");
}

/// Goal: records that the image covers are not kept twice.
#[test]
fn records_are_kept_once() {
    let mut fold = account(3);
    let memory = Memory::default();
    let newest = memory.grow(&fold, None, &[]).unwrap();
    assert!(memory.grow(&fold, Some(newest), &[]).is_none());
    let old = record(4, 1, deliver(9, 9));
    assert!(
        memory
            .grow(&fold, Some(newest), std::slice::from_ref(&old))
            .is_none()
    );
    let new = record(5, 1, deliver(5, 5));
    fold.apply(&new.0, &new.1);
    let newest = memory.grow(&fold, Some(newest), &[old, new]).unwrap();
    assert_eq!(seen(&load(&memory, ACCOUNT, &newest).unwrap()), seen(&fold));
}

/// Goal: an account that is written whole in the log is so in its image, once all parts are there.
#[test]
fn a_base_in_the_log_is_one_in_the_image() {
    use crate::format::change::Base;
    let mut fold = account(20);
    let memory = Memory::default();
    let newest = memory.grow(&fold, None, &[]).unwrap();
    // A record is missing, so that the base is taken.
    let bytes = base::encode(&fold);
    fold.chain_breaks = 1;
    let mut made = Vec::new();
    for (part, bytes) in (0..).zip(bytes.chunks(bytes.len() / 2 + 1)) {
        let base = Base {
            part,
            parts: 2,
            bytes: bytes.to_vec(),
        };
        let one = record(fold.last_record + 1, 0, Change::Base(base));
        fold.apply(&one.0, &one.1);
        made.push(one);
        let grown = grow(&memory, &fold, Some(&newest), &made);
        assert_eq!(grown.is_some(), part == 1, "part {part}");
        if let Some(grown) = grown {
            assert!(is_base(&grown.bytes));
            let newest = memory.keep(grown);
            assert_eq!(seen(&load(&memory, ACCOUNT, &newest).unwrap()), seen(&fold));
        }
    }
}

/// Goal: a damaged, foreign or missing blob is an error at its place when loading, and no obstacle when growing.
#[test]
fn damage_is_told_and_grown_over() {
    let mut fold = account(300);
    let memory = Memory::default();
    let base = memory.grow(&fold, None, &[]).unwrap();
    let one = record(400, 1, deliver(400, 400));
    fold.apply(&one.0, &one.1);
    let piece = memory.grow(&fold, Some(base), &[one]).unwrap();
    assert_eq!(memory.blobs.borrow().len(), 2);
    assert!(load(&memory, AccountId::from_bytes([8; 16]), &piece).is_err());
    let elsewhere = ImageAt { record: 9, ..base };
    let bytes = memory.read(&base).unwrap();
    memory
        .blobs
        .borrow_mut()
        .insert(base.offset, (elsewhere, bytes));
    assert!(
        load(&memory, ACCOUNT, &elsewhere).is_err(),
        "covers something else"
    );
    memory
        .blobs
        .borrow_mut()
        .insert(base.offset, (base, Bytes::from_static(b"none")));
    let error = load(&memory, ACCOUNT, &piece).unwrap_err();
    assert!(matches!(error, Error::Damaged { offset, .. } if offset == base.offset));
    let two = record(401, 1, deliver(401, 401));
    fold.apply(&two.0, &two.1);
    memory.blobs.borrow_mut().remove(&piece.offset);
    let grown = grow(&memory, &fold, Some(&piece), &[two]).unwrap();
    assert!(is_base(&grown.bytes));
    assert_eq!(grown.replaced, [piece]);
    memory
        .blobs
        .borrow_mut()
        .insert(piece.offset, (piece, Bytes::new()));
    let newest = memory.keep(grown);
    assert_eq!(seen(&load(&memory, ACCOUNT, &newest).unwrap()), seen(&fold));
}
