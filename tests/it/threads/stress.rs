//! Everything at once, by seeds.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::Ordering;
use std::time::Duration;

use mailkeep::Result;

use super::history::Histories;
use super::oracle::{alive, survives, uids_are_given_once};
use super::reader::Reader;
use super::worker::Worker;
use super::world::{Plan, World};
use crate::harm::{Dice, harm};
use crate::kit::{assert_whole, env};
use crate::sim::{Call, Fault, Sim, SyncFails, WriteFails};

/// Accounts that all threads use, and threads that change them.
const ACCOUNTS: usize = 3;
const WORKERS: u64 = 4;

/// Calls that fail in runs with faults. Not those that read: what a disk does not give for a while is shown again later,
/// which is another test's.
const FAIL: [&[Call]; 5] = [
    &[Call::Write],
    &[Call::Sync],
    &[Call::Write, Call::Sync, Call::SetLen],
    &[Call::Rename, Call::SyncDir],
    &[Call::Sync, Call::SyncDir],
];

/// What nobody does often: saving, verifying, bases, rebuilding; harm to the index.
fn meddle(world: &World) {
    let mut dice = Dice::new(world.plan.seed ^ 77);
    let mut harmed = 0;
    while !world.stopped() {
        let done: Result<()> = match dice.below(8) {
            0 => world.store.sync(),
            1 => world
                .shared(dice.below(ACCOUNTS))
                .and_then(|account| account.write_base()),
            2 => world.store.wait_rebuilt(&mut |_| ControlFlow::Continue(())),
            3 => world
                .store
                .verify(&mut |_| ControlFlow::Continue(()))
                .map(|report| {
                    assert!(
                        report.is_whole() || world.plan.mixed || world.plan.faults,
                        "{report:?}"
                    )
                }),
            4 if world.plan.harm && harmed < 6 => {
                harmed += 1;
                harm(&world.sim, dice.next());
                Ok(())
            }
            5 if world.plan.faults => {
                world.sim.set_fault(Some(fault(&mut dice)));
                Ok(())
            }
            _ => {
                let _ = (world.store.health(), world.store.stat());
                std::thread::sleep(Duration::from_millis(3));
                Ok(())
            }
        };
        if let Err(error) = done {
            world.expect(&error, "meddling");
        }
    }
    world.sim.set_fault(None);
}

fn fault(dice: &mut Dice) -> Fault {
    let calls = FAIL[dice.below(FAIL.len())];
    let full = dice.below(2) == 0;
    Fault {
        error: match full {
            true => || std::io::Error::from_raw_os_error(28),
            false => || std::io::Error::from_raw_os_error(5),
        },
        sync: [SyncFails::Kept, SyncFails::Dropped, SyncFails::Reverted][dice.below(3)],
        write: [WriteFails::Nothing, WriteFails::Half][dice.below(2)],
        ..Fault::once(calls, dice.below(20))
    }
}

/// Runs all threads of a seed; what they know.
fn run(world: &World, turns: usize) -> Histories {
    let mut known = Histories::default();
    std::thread::scope(|scope| {
        let _stop = StopWhenDropped(world);
        let workers = (0..WORKERS)
            .map(|number| scope.spawn(move || Worker::new(world, number, ACCOUNTS).run(turns)));
        let workers: Vec<_> = workers.collect();
        let readers = (0..2).map(|number| {
            let reader = Reader::new(world, number, ACCOUNTS);
            scope.spawn(move || {
                // One that fails ends the run.
                let _stop = StopWhenDropped(world);
                reader.run()
            })
        });
        let readers: Vec<_> = readers.collect();
        let meddler = scope.spawn(|| {
            let _stop = StopWhenDropped(world);
            meddle(world);
        });
        let mut failed = None;
        for worker in workers {
            match worker.join() {
                Ok(histories) => known.join(histories),
                Err(panic) => failed = Some(panic),
            }
        }
        world.stop.store(true, Ordering::Relaxed);
        for reader in readers {
            match reader.join() {
                Ok(histories) => known.join(histories),
                Err(panic) => failed = Some(panic),
            }
        }
        if let Err(panic) = meddler.join() {
            failed = Some(panic);
        }
        if let Some(panic) = failed {
            resume_unwind(panic);
        }
    });
    known
}

struct StopWhenDropped<'a>(&'a World);

impl Drop for StopWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }
}

/// One seed: the run, what the open store shows, and crashes at many of its moments.
fn seed(plan: Plan, turns: usize, crashes: u64) -> usize {
    let world = World::new(plan, ACCOUNTS);
    let first = world.sim.ops_len();
    let known = run(&world, turns);
    uids_are_given_once(&known);
    let stopped = world.store.health().stopped.is_some();
    if !plan.mixed || !plan.faults {
        alive(&world, &known);
    }
    if !stopped && !plan.mixed && !plan.faults {
        assert_whole(&world.store);
    }
    if !plan.harm && !plan.faults {
        let health = world.store.health();
        assert_eq!(health.index_damage, 0, "nothing was harmed");
        assert!(health.index_error.is_none(), "{health}");
    }
    let last = world.sim.ops_len();
    let mut dice = Dice::new(plan.seed ^ 0xc4a5);
    let mut points: Vec<usize> = (0..crashes)
        .map(|_| first + dice.below(last - first))
        .collect();
    // Right after acknowledgements too: what is just done is what is lost most easily.
    let steps = known.messages.values().flat_map(|history| &history.0);
    let ends: Vec<usize> = steps
        .map(|step| step.after)
        .filter(|at| *at <= last)
        .collect();
    points.extend((0..crashes).filter_map(|_| ends.get(dice.below(ends.len())).copied()));
    if !plan.mixed || !plan.faults {
        for (at, n) in points.iter().zip(0..) {
            survives(&world, &known, *at, n % 5 == 0);
        }
    }
    let World { store, sim, .. } = world;
    let closed = store.close();
    assert!(closed.is_ok() || plan.faults, "{closed:?}");
    drop(Sim::clone(&sim));
    points.len()
}

fn seeds(first: u64, count: u64, turns: usize, crashes: u64) {
    let only = std::env::var("MAILKEEP_SEED").ok();
    let mut states = 0;
    for n in 0..count {
        let at = only
            .as_ref()
            .map_or(first + n, |seed| seed.parse().unwrap());
        let plan = Plan::of(at);
        let run = || seed(plan, turns, crashes);
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(count) => states += count,
            Err(panic) => {
                eprintln!("MAILKEEP_SEED={at} MAILKEEP_THREADS=200: {plan:?}");
                resume_unwind(panic);
            }
        }
    }
    println!("{count} runs, {states} crashes");
}

#[test]
fn everything_at_once() {
    seeds(env("MAILKEEP_FIRST", 1), env("MAILKEEP_THREADS", 12), 60, 8);
}
