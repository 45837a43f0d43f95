//! Scanning the flags of a mailbox beside scanning a slice of as many flags.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a bench that meets the unexpected stops"
)]

#[allow(dead_code, reason = "each bench uses a part")]
mod support;

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use mailkeep::{FlagChange, Flags, Options, Uid, UidSet, View};
use support::mail::{fill, store};
use support::{Plan, Report, Target, folder, side};

const fn count() -> usize {
    100_000
}

fn unseen_by_columns(view: &View) -> usize {
    let unseen = |flags: &[Flags]| {
        flags
            .iter()
            .filter(|flags| !flags.contains(Flags::SEEN))
            .count()
    };
    view.columns().map(|columns| unseen(columns.flags())).sum()
}

fn unseen_by_rows(view: &View) -> usize {
    view.iter()
        .filter(|row| !row.flags.contains(Flags::SEEN))
        .count()
}

fn unseen_of_slice(flags: &[Flags]) -> usize {
    flags
        .iter()
        .filter(|flags| !flags.contains(Flags::SEEN))
        .count()
}

fn groups(criterion: &mut Criterion, view: &View, flags: &[Flags]) {
    let mut group = criterion.benchmark_group("scan/flags/warm/100000");
    group.throughput(Throughput::Elements(count() as u64));
    group.bench_function("ours-columns", |bench| {
        bench.iter(|| unseen_by_columns(black_box(view)))
    });
    group.bench_function("ours-rows", |bench| {
        bench.iter(|| unseen_by_rows(black_box(view)))
    });
    group.bench_function("raw-slice", |bench| {
        bench.iter(|| unseen_of_slice(black_box(flags)))
    });
    group.finish();
}

fn main() {
    let dir = folder();
    let (store, inbox) = store(&dir.path().join("store"), Options::new());
    fill(&store, &inbox, count(), 300);
    let third: UidSet = (1..=count() as u32)
        .step_by(3)
        .filter_map(Uid::new)
        .collect();
    let seen = FlagChange::add(Flags::SEEN);
    inbox.flag(&third, &seen, None).unwrap().wait().unwrap();
    let view = inbox.view().unwrap();
    let flags: Vec<Flags> = view.iter().map(|row| row.flags).collect();
    let unseen = count() - count().div_ceil(3);
    assert_eq!(unseen_of_slice(&flags), unseen);

    let mut criterion = support::criterion();
    groups(&mut criterion, &view, &flags);
    criterion.final_summary();

    let mut report = Report::default();
    let plan = Plan {
        rounds: 25,
        steps: 20,
        bytes: 0,
        ops: count() as u64,
    };
    let sides = &mut [
        side("ours-columns", || {
            assert_eq!(unseen_by_columns(black_box(&view)), unseen)
        }),
        side("ours-rows", || {
            assert_eq!(unseen_by_rows(black_box(&view)), unseen)
        }),
        side("raw-slice", || {
            assert_eq!(unseen_of_slice(black_box(&flags)), unseen)
        }),
    ];
    let ratios = [
        ("ours-columns", "raw-slice", Target::Nanos(1.0)),
        ("ours-columns", "raw-slice", Target::Tell),
        ("ours-rows", "raw-slice", Target::Tell),
    ];
    report.contest("scan/flags/warm/100000", plan, sides, &ratios);
    report.finish();
}
