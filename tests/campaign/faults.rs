//! Every call of the disk fails: call 1, 2, 3 and so on, once or from then on, with each error and each way a failed write
//! or sync may leave the page cache. What was acknowledged is there after a power cut, what was refused is shown by nobody.

use std::collections::BTreeMap;

use mailkeep::{Error, Store};

use crate::act::Act;
use crate::cuts::{Bounds, chosen, deliver_on, opened_after, tell, which};
use crate::dice::Dice;
use crate::look::{Look, Numbers, look};
use crate::model::{Mailbox, Token, World};
use crate::sim::{Call, ERRORS, Fault, Sim, SyncFails, WriteFails};
use crate::tally::{Only, Tally, campaign, replayable};
use crate::work::{Shown, Work};

/// What may fail in a run.
const CALLS: &[&[Call]] = &[
    Call::CHANGES,
    Call::CHANGES,
    &[Call::Write],
    &[Call::Sync],
    &[Call::SyncDir, Call::Rename],
    &[Call::Write, Call::SetLen],
    Call::READS,
    // All of them.
    &[],
];

/// What fails in all runs of a seed; each run has another call at which it begins.
fn plan(dice: &mut Dice) -> Fault {
    let calls = *dice.pick(CALLS);
    let syncs = [SyncFails::Kept, SyncFails::Dropped, SyncFails::Reverted];
    Fault {
        forever: dice.one_in(2),
        error: *dice.pick(&ERRORS),
        sync: *dice.pick(&syncs),
        write: *dice.pick(&[WriteFails::Nothing, WriteFails::Half]),
        ..Fault::once(calls, 0)
    }
}

/// Whether an error is one that a failing disk may cause.
fn is_of_the_disk(error: &Error) -> bool {
    matches!(
        error,
        Error::Io { .. } | Error::NoSpace { .. } | Error::Stopped { .. }
    )
}

/// What may fail half-way with one part of it done is not asked for: several commits at once, or a delivery to many of
/// whom one cannot be looked up.
fn single(act: Act, reads: bool) -> Option<Act> {
    match act {
        Act::Together(mut acts) => single(acts.remove(0), reads),
        Act::ByName { .. } if reads => None,
        Act::Deliver {
            message,
            mut to,
            marks,
            ..
        } => {
            if reads {
                to.truncate(1);
            }
            Some(Act::Deliver {
                message,
                to,
                marks,
                written: false,
            })
        }
        act => Some(act),
    }
}

/// UIDs that a change which failed would have given: they are not given again.
#[derive(Default)]
struct Burned(BTreeMap<(Token, Token), u32>);

impl Burned {
    fn add(&mut self, before: &World, failed: &World) {
        for (account, mailbox, now) in mailboxes(failed) {
            let before = before.accounts.get(&account);
            let before = before.and_then(|account| account.mailboxes.get(&mailbox));
            let given = now.uid_next - before.map_or(1, |before| before.uid_next);
            *self.0.entry((account, mailbox)).or_default() += given;
        }
    }

    /// Numbers what came since `seen` as the store does, where it skips no more than what was burned.
    fn skip(&self, found: &Look, seen: &World, world: &mut World) {
        if found.holds(world) {
            return;
        }
        let mut skipped = world.clone();
        found.number(seen, &mut skipped);
        let most = mailboxes(world).all(|(account, mailbox, was)| {
            let burned = self.0.get(&(account, mailbox)).copied().unwrap_or(0);
            let now = &skipped.accounts[&account].mailboxes[&mailbox];
            now.uid_next - was.uid_next <= burned
        });
        if most {
            *world = skipped;
        }
    }
}

fn mailboxes(world: &World) -> impl Iterator<Item = (Token, Token, &Mailbox)> {
    let accounts = world.accounts.iter();
    accounts.flat_map(|(account, its)| {
        let mailboxes = its.mailboxes.iter();
        mailboxes.map(move |(token, mailbox)| (*account, *token, mailbox))
    })
}

/// A run that was hurt.
struct Hurt {
    work: Work,
    hits: usize,
    stopped: bool,
}

/// Runs a workload whose disk fails from call `after` on. `None` where the store says that it lost something: records
/// that the disk did not give when an account was loaded.
fn hurt(seed: u64, fault: Fault) -> Option<Hurt> {
    let mut work = Work::new(seed);
    let mut dice = Dice::of(&[seed, 11]);
    let only = Only::from_env();
    work.large = 0;
    work.torn = fault.write == WriteFails::Half;
    work.open();
    let reads = fault.calls.is_empty() || fault.calls == Call::READS;
    let begin = dice.below(6);
    let mut failed = Vec::new();
    let (mut burned, mut seen) = (Burned::default(), work.world.clone());
    let mut hits = 0;
    for step in 0..begin + 8 {
        if step == begin {
            work.sim.set_fault(Some(fault));
        }
        if step > begin && dice.one_in(10) {
            hits += reopen(&mut work, &mut failed, (&mut burned, &seen))?;
            seen = work.world.clone();
        }
        let Some(act) = single(work.next(), reads) else {
            continue;
        };
        if only.is_one() {
            eprintln!("{} calls failed, {act:?}", work.sim.fault_hits());
        }
        let before = work.world.clone();
        let done = work.may(&act);
        if reads && work.store().health().lost_records > 0 {
            return None;
        }
        match done {
            Ok(()) => {
                let op = work.sim.ops_len();
                // The disk may fail the look too: then the next one tells.
                let Ok(found) = look(work.store(), &work.messages) else {
                    let what = format!("unseen {act:?}");
                    failed.push((what, work.world.clone()));
                    continue;
                };
                if reads && work.store().health().lost_records > 0 {
                    return None;
                }
                burned.skip(&found, &seen, &mut work.world);
                assert!(found.holds(&work.world), "{act:?}: {found:?}");
                seen = work.world.clone();
                if work.shown.last().is_some_and(|last| last.look == found) {
                    // Nothing to do is nothing written: what failed before may still be on the disk.
                    continue;
                }
                let between = failed.drain(..).map(|(_, world)| world).collect();
                work.shown
                    .push(Shown::at_once(op, true, found, between, format!("{act:?}")));
            }
            Err((error, world)) => {
                assert!(is_of_the_disk(&error), "{act:?}: {error:?}");
                if let Some(world) = world {
                    burned.add(&before, &world);
                    failed.push((format!("failed {act:?}"), world));
                }
                let found = look(work.store(), &work.messages);
                if reads && work.store().health().lost_records > 0 {
                    return None;
                }
                if let Ok(found) = found {
                    burned.skip(&found, &seen, &mut work.world);
                    seen = work.world.clone();
                    assert!(
                        found.holds(&work.world),
                        "shown though {act:?} failed: {found:?}"
                    );
                }
            }
        }
    }
    hits += work.sim.fault_hits();
    work.sim.set_fault(None);
    if reads && work.store().health().lost_records > 0 {
        return None;
    }
    let stopped = work.store().health().stopped.is_some();
    let may_stop = fault.forever || reads;
    assert!(
        !stopped || may_stop,
        "one failure stops nothing: {}",
        work.store().health()
    );
    let found = look(work.store(), &work.messages).unwrap();
    burned.skip(&found, &seen, &mut work.world);
    assert!(found.holds(&work.world), "after all failures {found:?}");
    let between = failed.into_iter().map(|(_, world)| world).collect();
    // Never acknowledged: what failed last may be on the disk.
    work.shown.push(Shown::at_once(
        usize::MAX,
        true,
        found,
        between,
        "the disk is well again".to_owned(),
    ));
    Some(Hurt {
        work,
        hits,
        stopped,
    })
}

/// Closes and opens again while calls fail; then the disk is well. Returns how many calls failed, `None` where the opening
/// reports a loss: what could not be read is for other tests.
fn reopen(
    work: &mut Work,
    failed: &mut Vec<(String, World)>,
    (burned, seen): (&mut Burned, &World),
) -> Option<usize> {
    if let Err(error) = work.store.take().unwrap().close() {
        assert!(is_of_the_disk(&error), "{error:?}");
    }
    let opened = Store::open_on(work.sim.storage(), work.options());
    let hits = work.sim.fault_hits();
    work.sim.set_fault(None);
    let refused = opened.is_err();
    let store = opened.unwrap_or_else(|error| {
        assert!(is_of_the_disk(&error), "{error:?}");
        Store::open_on(work.sim.storage(), work.options()).unwrap()
    });
    if !store.recovery().is_whole() {
        return None;
    }
    let found = look(&store, &work.messages).unwrap();
    work.store = Some(store);
    burned.skip(&found, seen, &mut work.world);
    // What failed may be there after all, as after a power cut.
    if !found.holds(&work.world) {
        let done = failed.iter().find(|(_, world)| found.holds(world));
        let Some((_, world)) = done else {
            // An opening that failed may have logged that it was not given something: then numbers skip ahead, no more.
            let mut worlds = failed.iter().map(|(_, world)| world).chain([&work.world]);
            let skipped = worlds.any(|world| found.holds_but(world, Numbers::NotLess));
            let store = work.store();
            assert!(
                refused && skipped,
                "opened, and found {found:?}, not {:?}\n{}",
                work.world,
                store.recovery()
            );
            return None;
        };
        work.world = world.clone();
    }
    work.shown.push(Shown::at_once(
        work.sim.ops_len(),
        true,
        found,
        failed.drain(..).map(|(_, world)| world).collect(),
        "opened again".to_owned(),
    ));
    Some(hits)
}

/// A power cut after it: what is found is what was shown last, or before an act that failed, or that act done.
fn recovers(run: &Hurt, at: usize, n: usize, dice: &mut Dice) -> Look {
    let work = &run.work;
    let point = work.sim.crash_point(at);
    let disk = Sim::from_image(chosen(&point, n, dice));
    let found = opened_after(work, &disk);
    let bounds = Bounds::of(work, at, false);
    which(work, &found.look, bounds, found.numbers);
    let _ = deliver_on(work, &found, dice);
    found.look
}

fn faults(seed: u64, tally: &mut Tally) {
    let only = Only::from_env();
    let fault = plan(&mut Dice::of(&[seed, 9]));
    tally.add("Plans");
    for after in 0..400 {
        if !only.at(after) {
            continue;
        }
        let hits = replayable("failing_calls", seed, after, 0, || {
            if only.is_one() {
                eprintln!("{fault:?}");
            }
            let run = hurt(seed, Fault { after, ..fault });
            let Some(run) = run else {
                tally.add("Runs that ended with a loss reported");
                return 1;
            };
            tally.add("Runs");
            let mut dice = Dice::of(&[seed, after as u64]);
            let end = run.work.sim.ops_len();
            let _telling = Telling(&run.work);
            for n in 0..6 {
                let at = if n < 3 {
                    end
                } else {
                    end - dice.below(end.min(40))
                };
                recovers(&run, at, n, &mut dice);
                tally.add("a power cut after a failed call");
            }
            if run.stopped {
                tally.add("Runs that ended reading only");
            }
            run.hits
        });
        if hits == 0 {
            break;
        }
    }
}

/// What led to a failure, for who looks into one.
struct Telling<'a>(&'a Work);

impl Drop for Telling<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() && Only::from_env().is_one() {
            let end = self.0.sim.ops_len();
            tell(self.0, end, &self.0.sim.crash_point(end));
        }
    }
}

#[test]
fn failing_calls() {
    campaign("failing_calls", (100_000, 1_500), faults);
}
