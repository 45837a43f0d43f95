//! Property tests of the rules of mail: random programs, run on a store over a simulated disk and on a model of plain
//! maps, agree in everything that can be seen, after every step, reopening and crash.
//!
//! `MAILKEEP_CASES` sets how many programs each test runs.

mod ledger;
mod mail;
mod op;
mod program;
mod resolve;
mod run;
mod strategy;

use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestRunner};

use self::op::Op;
pub(crate) use self::program::run_bytes;
use self::run::{Runner, Setup};

fn cases(default: u32) -> ProptestConfig {
    let asked = std::env::var("MAILKEEP_CASES").ok();
    ProptestConfig {
        cases: asked
            .and_then(|cases| cases.parse().ok())
            .unwrap_or(default),
        failure_persistence: None,
        max_shrink_iters: 3000,
        ..ProptestConfig::default()
    }
}

fn run(setup: Setup, ops: &[Op]) -> Result<(), String> {
    let mut runner = Runner::new(setup);
    for (at, op) in ops.iter().enumerate() {
        runner
            .step(op)
            .map_err(|why| format!("step {at}, {op:?}: {why}"))?;
    }
    runner.step(&Op::Reopen)
}

fn agrees(setup: Setup, written: bool, default_cases: u32) {
    let mut runner = TestRunner::new(cases(default_cases));
    let found = runner.run(&strategy::ops(written, setup.tried, 60), |ops| {
        run(setup, &ops).map_err(TestCaseError::fail)
    });
    if let Err(why) = found {
        panic!("{why}");
    }
}

/// Goal: the store does what the RFCs say, also after every reopening, crash and kill.
#[test]
fn store_agrees_with_the_model() {
    agrees(Setup::default(), false, 300);
}

/// Goal: the same when segments fill up and are sealed every few messages.
#[test]
fn store_agrees_with_the_model_over_small_segments() {
    let setup = Setup {
        segment_len: Some(64 << 10),
        ..Setup::default()
    };
    agrees(setup, false, 300);
}

/// Goal: a commit that is only written survives the process; a power cut takes it whole, with all that came after.
#[test]
fn written_commits_are_lost_from_the_end_only() {
    let setup = Setup {
        segment_len: Some(64 << 10),
        may_lose: true,
        ..Setup::default()
    };
    agrees(setup, true, 300);
}

/// Goal: the same with nothing in memory, an index that is saved and read at every turn, and its files cut, flipped and
/// taken away, also while they are in use.
#[test]
fn store_agrees_with_the_model_whatever_befalls_the_index() {
    let setup = Setup {
        segment_len: Some(64 << 10),
        tried: true,
        ..Setup::default()
    };
    agrees(setup, false, 300);
}

/// Goal: the same with commits that are only written.
#[test]
fn written_commits_are_found_whatever_befalls_the_index() {
    let setup = Setup {
        segment_len: Some(64 << 10),
        may_lose: true,
        tried: true,
    };
    agrees(setup, true, 150);
}
