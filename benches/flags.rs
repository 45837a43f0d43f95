//! Changing flags and copying, beside one write and one `fdatasync` of as many bytes on blocks written before.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a bench that meets the unexpected stops"
)]

#[allow(dead_code, reason = "each bench uses a part")]
mod support;

use criterion::Criterion;
use mailkeep::{FlagChange, Flags, Mailbox, Options, Store, Uid, UidSet};
use support::mail::{fill, store};
use support::raw::RawLog;
use support::{Plan, Report, Target, folder, side};

const COUNT: u32 = 10_000;

/// Switches `\Flagged` of `uids` on and off in turn.
fn switch<'a>(inbox: &'a Mailbox, uids: &'a UidSet) -> impl FnMut() + 'a {
    let mut on = false;
    move || {
        on = !on;
        let change = if on {
            FlagChange::add(Flags::FLAGGED)
        } else {
            FlagChange::remove(Flags::FLAGGED)
        };
        let changed = inbox.flag(uids, &change, None).unwrap().wait().unwrap();
        assert_eq!(changed.modified.len(), 0);
    }
}

/// How many bytes the log grows by in one step.
fn grows(store: &Store, mut step: impl FnMut()) -> usize {
    let before = store.stat().log_bytes;
    step();
    (store.stat().log_bytes - before) as usize
}

fn write_and_sync(log: &mut RawLog, len: usize) {
    log.put(len);
    log.sync();
}

fn groups(
    criterion: &mut Criterion,
    inbox: &Mailbox,
    log: &mut RawLog,
    one: &UidSet,
    all: &UidSet,
) {
    let mut group = criterion.benchmark_group("flags/durable");
    group.bench_function("1/ours", |bench| bench.iter(switch(inbox, one)));
    group.bench_function("10000/ours", |bench| bench.iter(switch(inbox, all)));
    group.bench_function("1/raw-prewritten", |bench| {
        bench.iter(|| write_and_sync(log, 512))
    });
    group.finish();
}

fn main() {
    let dir = folder();
    // Segments small enough that all but the first are prepared.
    let (store, inbox) = store(
        &dir.path().join("store"),
        Options::new().segment_len(4 << 20),
    );
    fill(&store, &inbox, COUNT as usize, 300);
    let one: UidSet = Uid::new(COUNT / 2).into_iter().collect();
    let all: UidSet = (1..=COUNT).filter_map(Uid::new).collect();
    let mut log = RawLog::prewritten(&dir.path().join("raw"), 16 << 20);

    let mut criterion = support::criterion();
    groups(&mut criterion, &inbox, &mut log, &one, &all);
    criterion.final_summary();

    let mut report = Report::default();
    for (name, uids, steps, target) in [
        ("1", &one, 64, Target::Time(1.2)),
        ("10000-in-1-commit", &all, 8, Target::Nanos(1e6)),
    ] {
        let len = grows(&store, switch(&inbox, uids));
        switch(&inbox, uids)();
        report_of(
            &mut report,
            &format!("flags/durable/{name}"),
            steps,
            len,
            &mut log,
            switch(&inbox, uids),
            target,
        );
    }
    if !support::smoke() {
        copies(&mut report, &inbox, &all, &mut log, &store);
    }
    report.finish();
}

fn report_of(
    report: &mut Report,
    question: &str,
    steps: usize,
    len: usize,
    log: &mut RawLog,
    ours: impl FnMut(),
    target: Target,
) {
    let plan = Plan {
        rounds: 25,
        steps,
        bytes: len as u64,
        ops: 1,
    };
    let sides = &mut [
        side("ours", ours),
        side("raw-prewritten", || write_and_sync(log, len)),
    ];
    report.contest(
        question,
        plan,
        sides,
        &[
            ("ours", "raw-prewritten", target),
            ("ours", "raw-prewritten", Target::Tell),
        ],
    );
}

/// Each step copies 10,000 entries to another new mailbox, which is not timed apart: it is one more small commit.
fn copies(report: &mut Report, inbox: &Mailbox, all: &UidSet, log: &mut RawLog, store: &Store) {
    let account = inbox.account();
    let plan = Plan {
        rounds: 10,
        steps: 1,
        bytes: 0,
        ops: 1,
    };
    // One for each round, one that warms up, one that is measured.
    let mut targets: Vec<Mailbox> = (0..plan.rounds + 2)
        .map(|number| account.create_mailbox(&format!("copy{number}")).unwrap())
        .collect();
    let mut ours = || {
        let target = targets.pop().unwrap();
        let moved = inbox.copy_to(all, &target).unwrap().wait().unwrap();
        assert_eq!(target.view().unwrap().len() as u32, COUNT);
        drop(moved);
    };
    let len = grows(store, &mut ours);
    let sides = &mut [
        side("ours", ours),
        side("raw-prewritten", || write_and_sync(log, len)),
    ];
    let ratios = [
        ("ours", "raw-prewritten", Target::Nanos(3e6)),
        ("ours", "raw-prewritten", Target::Tell),
    ];
    report.contest("copy/durable/10000-in-1-commit", plan, sides, &ratios);
    report.line(format!(
        "note copy/durable/10000-in-1-commit: {len} bytes of log"
    ));
}
