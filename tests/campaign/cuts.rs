//! Power cuts at every point of a workload, in the recovery from them, and after a kill.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use mailkeep::{Delivery, Store};

use crate::dice::Dice;
use crate::kinds::all_came;
use crate::look::{Look, Numbers, look};
use crate::sim::{CrashPoint, Fault, Image, Pending, Sim};
use crate::tally::{Only, Tally, campaign, replayable};
use crate::work::{Shown, Work};

/// Undecided things of which all subsets are tried; of more, the extremes and samples.
const EXHAUSTIVE: usize = 5;
const SAMPLES: usize = 12;

/// What a choice of what reached the medium leaves: choice `n` of those at a point.
pub(crate) fn chosen(point: &CrashPoint, n: usize, dice: &mut Dice) -> Image {
    let count = point.pending_len();
    if count <= EXHAUSTIVE {
        let mut bit = 0;
        return point.image(&mut |_| {
            bit += 1;
            n >> (bit - 1) & 1 == 1
        });
    }
    // Half, nearly nothing, nearly everything: a single loss among many is a case of its own.
    let odds = [16, 2, 30][n % 3];
    point.image(&mut |what| match n {
        0 => false,
        1 => true,
        2 => matches!(what, Pending::Name { .. }),
        3 => !matches!(what, Pending::Sector { .. }),
        _ => dice.below(32) < odds,
    })
}

pub(crate) fn choices(point: &CrashPoint, samples: usize) -> usize {
    let count = point.pending_len();
    if count <= EXHAUSTIVE {
        1 << count
    } else {
        4 + samples
    }
}

/// Which shown states a disk may hold: not older than the last that was acknowledged as durable, not newer than the one
/// under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) least: usize,
    pub(crate) most: usize,
}

impl Bounds {
    /// For a power cut after `op` changes of the disk, or with `killed` the death of the process.
    pub(crate) fn of(work: &Work, op: usize, killed: bool) -> Self {
        let over = work.shown.partition_point(|shown| shown.op <= op);
        let mut done = work.shown[..over].iter();
        let least = done.rposition(|shown| shown.durable || killed).unwrap();
        let most = over.min(work.shown.len() - 1);
        Self { least, most }
    }

    /// With the state before the last change that was acknowledged as durable.
    fn but_the_last(self, work: &Work) -> Self {
        let last = &work.shown[self.least].look;
        let before = |shown: &Shown| shown.durable && shown.look != *last;
        let before = work.shown[..self.least].iter().rposition(before);
        Self {
            least: before.unwrap_or(self.least),
            ..self
        }
    }

    fn allow(self, at: usize) -> bool {
        (self.least..=self.most).contains(&at)
    }
}

/// Messages that wait for their account at `op`: nobody knows yet which UIDs they get.
pub(crate) fn late(work: &Work, upto: usize, op: usize) -> BTreeSet<usize> {
    let messages = |look: &Look| -> BTreeSet<usize> {
        let mailboxes = look.accounts.iter().flat_map(|account| &account.mailboxes);
        let rows = mailboxes.flat_map(|mailbox| &mailbox.rows);
        rows.map(|row| row.message).collect()
    };
    let pairs = work.shown[..=upto].windows(2);
    let waited = pairs.filter(|pair| pair[1].seen > pair[1].op && pair[1].seen > op);
    waited
        .flat_map(|pair| &messages(&pair[1].look) - &messages(&pair[0].look))
        .collect()
}

/// Which of the shown states this is.
pub(crate) fn which(work: &Work, found: &Look, bounds: Bounds, numbers: Numbers) -> usize {
    let mut allowed = (bounds.least..=bounds.most).rev();
    let at = allowed.find(|at| found.is(&work.shown[*at].look, numbers));
    let between = || {
        let mut open = bounds.least + 1..=bounds.most;
        let found = open.find(|at| {
            let between = &work.shown[*at].between;
            between.iter().any(|world| found.holds_but(world, numbers))
        });
        found.map(|at| at - 1)
    };
    // A write that ended inside a sector looks like damage to what may have been acknowledged: what is whole of it is kept, and
    // the rest reported.
    let in_part = || {
        let torn = work.torn && numbers == Numbers::NotLess;
        let mut allowed = (bounds.least..=bounds.most).rev();
        allowed.find(|at| torn && found.has(&work.shown[*at].look))
    };
    at.or_else(between).or_else(in_part).unwrap_or_else(|| {
        let mut text = format!("found what was not shown, {numbers:?}, {bounds:?}");
        for shown in &work.shown[bounds.least..=bounds.most] {
            text += &format!("\nagainst {}:\n{}", shown.what, found.against(&shown.look));
        }
        panic!("{text}")
    })
}

/// The process dies: nothing that its store does from here on, such as to close itself, reaches the disk.
pub(crate) struct Dies(Sim);

impl Drop for Dies {
    fn drop(&mut self) {
        self.0.set_fault(Some(Fault::from(&[], 0)));
    }
}

/// An opening of a disk in which nothing acknowledged may be missing.
pub(crate) struct Opened {
    /// Before the store goes.
    dies: Dies,
    pub(crate) store: Store,
    pub(crate) look: Look,
    pub(crate) numbers: Numbers,
}

/// Ways to open a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Plain,
    Rebuild,
    ReplayAll,
    ReadOnly,
}

fn opened(work: &Work, disk: &Sim, run: u64, way: Way) -> Opened {
    let options = work.setup.options(run);
    let options = match way {
        Way::Plain => options,
        Way::Rebuild => options.rebuild(true),
        Way::ReplayAll => options.replay_all(true),
        Way::ReadOnly => options.read_only(true),
    };
    let store = Store::open_on(disk.storage(), options).unwrap();
    let report = store.recovery();
    assert!(report.is_whole() || work.torn, "{report}");
    let numbers = match report.unsynced {
        None if report.is_whole() => Numbers::Same,
        _ => Numbers::NotLess,
    };
    let look = look(&store, &work.messages).unwrap();
    Opened {
        dies: Dies(disk.clone()),
        store,
        look,
        numbers,
    }
}

pub(crate) fn opened_after(work: &Work, disk: &Sim) -> Opened {
    opened(work, disk, 1000, Way::Plain)
}

/// Delivers to a mailbox that is there, or to a new account: the numbers it gets were never given. What is shown then; the
/// next opening tells whether another account was touched.
pub(crate) fn deliver_on(work: &Work, opened: &Opened, dice: &mut Dice) -> Look {
    let look = &opened.look;
    let store = &opened.store;
    let Some(message) = work.messages.last() else {
        return look.clone();
    };
    if look.accounts.is_empty() {
        let account = store.create_account("after").unwrap();
        let to = [Delivery::to(&account.inbox().unwrap())];
        store
            .deliver(message, to)
            .unwrap()
            .wait()
            .unwrap()
            .remove(0)
            .unwrap();
        return look.after(store, &work.messages, "after").unwrap();
    }
    let account = dice.pick(&look.accounts);
    let mailbox = dice.pick(&account.mailboxes);
    let handle = store
        .account(&account.name)
        .unwrap()
        .mailbox(&mailbox.name)
        .unwrap();
    let to = [Delivery::to(&handle)];
    let kept = store
        .deliver(message, to)
        .unwrap()
        .wait()
        .unwrap()
        .remove(0)
        .unwrap();
    let mailboxes = account.mailboxes.iter();
    let modseq = mailboxes.map(|mailbox| mailbox.modseq).max().unwrap();
    assert!(kept.uid.get() >= mailbox.uid_next, "a UID is given again");
    assert_eq!(kept.uid_validity.get(), mailbox.uid_validity);
    assert!(kept.modseq.get() > modseq, "a MODSEQ is given again");
    look.after(store, &work.messages, &account.name).unwrap()
}

/// What was looked at of one workload.
struct Cuts<'a> {
    work: &'a Work,
    tally: &'a mut Tally,
    /// Disks that were looked at: which shown state each holds.
    known: BTreeMap<u64, usize>,
    /// Disks of later points, by what they had to hold.
    known_later: BTreeSet<(u64, usize)>,
}

impl Cuts<'_> {
    /// One disk as a power cut at this point leaves it.
    fn cut(&mut self, op: usize, n: usize, image: Image) {
        let (work, bounds) = (self.work, Bounds::of(self.work, op, false));
        let mark = image.mark();
        if self.known.get(&mark).is_some_and(|at| bounds.allow(*at)) {
            self.tally.add("Disks seen before");
            return;
        }
        let mut dice = Dice::of(&[work.seed, op as u64, n as u64]);
        let disk = Sim::from_image(image);
        let way = match dice.below(16) {
            0 => Way::Rebuild,
            1 => Way::ReplayAll,
            2 => Way::ReadOnly,
            _ => Way::Plain,
        };
        let readable =
            !(way == Way::ReadOnly && self.work.shown[bounds.least].look.accounts.is_empty());
        let way = if readable { way } else { Way::Plain };
        let found = opened(work, &disk, 1000, way);
        if way == Way::ReadOnly && found.store.health().deferred > 0 {
            // A reader gives no UIDs: what waits for one is not shown.
            assert_eq!(disk.ops_len(), 0, "a reader writes nothing");
            self.tally.add("a reader of a store in which mail waits");
            return;
        }
        // A reader shows what is known to have been acknowledged: of the last batch nothing on the medium may say so yet.
        let known = if way == Way::ReadOnly {
            bounds.but_the_last(work)
        } else {
            bounds
        };
        let at = which(work, &found.look, known, found.numbers);
        self.tally.add("a power cut");
        if way == Way::ReadOnly {
            assert_eq!(disk.ops_len(), 0, "a reader writes nothing");
            return;
        }
        self.known.insert(mark, at);
        let shown = disk.ops_len();
        let after = deliver_on(work, &found, &mut dice);
        if dice.one_in(12) {
            let verified = found
                .store
                .verify(&mut |_| ControlFlow::Continue(()))
                .unwrap();
            assert!(verified.is_whole(), "{verified:?}");
        }
        let delivered = disk.ops_len();
        if dice.one_in(2) {
            found.store.close().unwrap();
            let again = opened(work, &disk, 1001, Way::Plain);
            assert!(again.store.recovery().clean);
            let same = again.look == after;
            assert!(same, "closing changed\n{}", again.look.against(&after));
            self.tally.add("closed after recovery");
        } else {
            // Nothing of the closing is on the medium; the delivery was acknowledged.
            let disk = disk.crash(delivered, &mut |_| dice.one_in(2));
            drop((found.dies, found.store));
            let again = opened(work, &disk, 1001, Way::Plain);
            let same = again.look.is(&after, again.numbers);
            assert!(same, "after recovery\n{}", again.look.against(&after));
            self.tally.add("cut after recovery");
        }
        if dice.one_in(6) {
            let numbers = found.numbers;
            self.cuts_within(
                &disk,
                (shown, delivered),
                bounds,
                (&found.look, &after, numbers),
                &mut dice,
            );
        }
    }

    /// The power goes again at each point of a recovery: until something was shown, what may be found is what might
    /// have been before; then it is what was shown, and the delivery that came after or not.
    fn cuts_within(
        &mut self,
        disk: &Sim,
        (shown, delivered): (usize, usize),
        bounds: Bounds,
        (found, after, numbers): (&Look, &Look, Numbers),
        dice: &mut Dice,
    ) {
        let work = self.work;
        disk.walk(&mut |op, point| {
            if op == 0 || op > delivered {
                return;
            }
            for n in 0..choices(point, 2).min(6) {
                // The last ones, where there are many: 0 and 1 are the extremes either way.
                let image = chosen(point, n, dice);
                if !self.known_later.insert((image.mark(), op.min(shown))) {
                    self.tally.add("Disks seen before");
                    continue;
                }
                let _telling = Telling(disk, op, point);
                let again = opened(work, &Sim::from_image(image), 2000, Way::Plain);
                self.tally.add("a cut in recovery");
                let numbers = numbers.max(again.numbers);
                if op < shown {
                    which(work, &again.look, bounds, numbers);
                } else {
                    let held = again.look.is(found, numbers) || again.look.is(after, numbers);
                    let fresh = found.accounts.is_empty();
                    assert!(
                        held || fresh,
                        "shown and gone\n{}",
                        again.look.against(found)
                    );
                }
            }
        });
    }

    /// The process dies here, the store is opened, and then the power goes: what was shown is still there.
    fn killed(&mut self, op: usize, point: &CrashPoint) {
        let work = self.work;
        let mut dice = Dice::of(&[work.seed, op as u64, 1 << 40]);
        let disk = point.killed();
        let found = opened(work, &disk, 1000, Way::Plain);
        which(work, &found.look, Bounds::of(work, op, true), found.numbers);
        self.tally.add("a kill");
        let mut kept = &found.look;
        let after;
        if dice.one_in(2) {
            after = deliver_on(work, &found, &mut dice);
            kept = &after;
        }
        let point = disk.crash_point(disk.ops_len());
        let mut marks = BTreeSet::new();
        for n in 0..choices(&point, 3).min(8) {
            let image = chosen(&point, n, &mut dice);
            if !marks.insert(image.mark()) {
                self.tally.add("Disks seen before");
                continue;
            }
            let again = opened(work, &Sim::from_image(image), 2000, Way::Plain);
            self.tally.add("a kill, then a power cut");
            let same = again.look.is(kept, again.numbers);
            assert!(same, "shown and gone\n{}", again.look.against(kept));
        }
    }
}

/// Tells what led to a second cut, if that cut ends in a panic.
struct Telling<'a>(&'a Sim, usize, &'a CrashPoint);

impl Drop for Telling<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() && Only::from_env().is_one() {
            eprintln!("in the recovery:");
            tell_ops(self.0, self.1, self.2);
        }
    }
}

fn tell_ops(disk: &Sim, op: usize, point: &CrashPoint) {
    let ops = disk.ops();
    for (at, change) in ops[..op].iter().enumerate().skip(op.saturating_sub(40)) {
        let mut text = format!("{change:?}");
        text.truncate(120);
        eprintln!("{at}: {text}");
    }
    eprintln!("not durable: {:?}", point.pending().collect::<Vec<_>>());
}

/// What led to a point, for who looks into a failure.
pub(crate) fn tell(work: &Work, op: usize, point: &CrashPoint) {
    tell_ops(&work.sim, op, point);
    for shown in &work.shown {
        let (at, durable, what) = (shown.op, shown.durable, &shown.what);
        eprintln!("by {at}, durable {durable}: {what}");
    }
}

fn cuts(seed: u64, tally: &mut Tally) {
    let only = Only::from_env();
    let work = replayable("power_cuts", seed, 0, 0, || Work::of(seed));
    tally.add("Workloads");
    tally.take(work.kinds.clone());
    let mut cuts = Cuts {
        work: &work,
        tally,
        known: BTreeMap::new(),
        known_later: BTreeSet::new(),
    };
    work.sim.walk(&mut |op, point| {
        if !only.at(op) || op > work.until {
            return;
        }
        cuts.tally.add("Crash points");
        if only.is_one() {
            tell(&work, op, point);
        }
        for n in 0..choices(point, SAMPLES) {
            if only.state(n) {
                let mut dice = Dice::of(&[seed, op as u64, n as u64, 7]);
                let image = chosen(point, n, &mut dice);
                replayable("power_cuts", seed, op, n, || cuts.cut(op, n, image));
            }
        }
        if op % 4 == seed as usize % 4 {
            replayable("power_cuts", seed, op, usize::MAX, || {
                cuts.killed(op, point)
            });
        }
    });
}

#[test]
fn power_cuts() {
    let tally = campaign("power_cuts", (900_000, 4_000), cuts);
    // Few states are of few workloads.
    if tally.states() >= 500_000 {
        all_came(&tally);
    }
}
