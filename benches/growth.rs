//! What an operation costs at 1, 10 and 100 times of a mailbox (1,000, 10,000, 100,000 messages), of the accounts (100,
//! 1,000, 10,000 of 10 messages) and of the segments (10, 100, 1,000 of 64 KiB); in test mode all is a tenth and less. Asked
//! is that it stays the same within 10 %, or else the law is in the name: a change in a mailbox copies a node for each level
//! of the tree that its rows are in (leaves of 128, nodes of 32); opening reads the name of each segment; the first view of a mailbox after opening reads all of it, so
//! that one is counted by the message.
//!
//! The messages read are the same number, spread over all there are and read in no order; the limit beside it is CRC-32C
//! at as many places of a plain slice of as many bytes: what it grows by is the processor's caches. Nothing is synced; all
//! is warm.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a bench that meets the unexpected stops"
)]

#[allow(dead_code, reason = "each bench uses a part")]
mod support;

use std::hint::black_box;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use mailkeep::format::checksum;
use mailkeep::{Durability, FlagChange, Flags, Mailbox, Options, Store, Uid, View};
use support::mail::{Seed, accounts, deliver_now, fill_accounts, name};
use support::{Plan, Report, Side, Target, folder, side, smoke, timed};

const LEN: usize = 300;
const TIMES: [&str; 3] = ["1x", "10x", "100x"];
const RAW: [&str; 3] = ["raw-1x", "raw-10x", "raw-100x"];
/// Mailboxes and messages that are asked, in each store alike.
const ASKED: usize = 1_000;
const BOXES: usize = 100;

/// A store, and what is asked of it.
struct Place {
    _dir: tempfile::TempDir,
    path: PathBuf,
    options: Options,
    open: Option<(Store, Vec<Mailbox>)>,
    /// Messages that are read: the mailbox's place in the list, and its UID.
    asked: Vec<(usize, Uid)>,
    /// Messages of one mailbox, and of all together.
    each: usize,
    all: usize,
}

impl Place {
    /// A store of so many accounts with so many messages each, and then other mail until there are so many segments.
    fn new(options: Options, count: usize, each: usize, segments: u64) -> Self {
        let dir = folder();
        let path = dir.path().join("store");
        let options = options.durability(Durability::Written);
        let store = Store::open(&path, options.clone()).unwrap();
        let inboxes = accounts(&store, count);
        let other = store.create_account("other@example.it").unwrap();
        let other = other.inbox().unwrap();
        let (mut seed, parts) = (Seed(8), 10);
        // In turn with the other mail, so that what is asked is spread over all segments.
        for part in 1..=parts {
            fill_accounts(&store, &inboxes, each / parts, LEN);
            while store.stat().segments < segments * part as u64 / parts as u64 {
                deliver_now(&store, &other, &seed.message(4096), Durability::Written);
            }
        }
        store.sync().unwrap();
        let boxes = spread(BOXES, count);
        let of_each = ASKED / boxes.len();
        let mut asked: Vec<(usize, Uid)> = spread(of_each, each)
            .flat_map(|at| (0..boxes.len()).map(move |inbox| (inbox, at)))
            .map(|(inbox, at)| (inbox, Uid::new(at as u32 + 1).unwrap()))
            .collect();
        seed.shuffle(&mut asked);
        let inboxes = boxes.map(|at| inboxes[at].clone()).collect();
        Self {
            _dir: dir,
            path,
            options,
            open: Some((store, inboxes)),
            asked,
            each,
            all: count * each,
        }
    }

    fn store(&self) -> &Store {
        &self.open.as_ref().unwrap().0
    }

    fn inboxes(&self) -> &[Mailbox] {
        &self.open.as_ref().unwrap().1
    }

    /// Closes it when what is due has been written: whether an account was opened from an image is no accident then.
    fn close(&mut self) {
        let (store, inboxes) = self.open.take().unwrap();
        store.sync().unwrap();
        while store.health().images_waiting > 0 {
            std::thread::sleep(Duration::from_millis(10));
        }
        drop(inboxes);
        store.close().unwrap();
    }
}

/// So many numbers below `of`, evenly; all where there are not more.
fn spread(count: usize, of: usize) -> impl ExactSizeIterator<Item = usize> {
    let count = count.min(of);
    (0..count).map(move |number| number * of / count)
}

fn plan(steps: usize, ops: usize) -> Plan {
    Plan {
        rounds: 15,
        steps,
        bytes: 0,
        ops: ops as u64,
    }
}

const FLAT: [(&str, &str, Target); 2] = [
    ("10x", "1x", Target::Time(1.1)),
    ("100x", "1x", Target::Time(1.1)),
];

const LAW: [(&str, &str, Target); 2] = [("10x", "1x", Target::Law), ("100x", "1x", Target::Law)];

/// The name and what is asked of an operation that changes a mailbox.
fn change(axis: &str, operation: &str) -> (String, [(&'static str, &'static str, Target); 2]) {
    let question = format!("growth/{axis}/{operation}/written");
    match axis {
        "mailbox" => (question + "/a-node-a-level", LAW),
        _ => (question, FLAT),
    }
}

fn sides<'a, Step: FnMut() + 'a>(
    places: &'a [Place],
    step: impl Fn(&'a Place) -> Step,
) -> Vec<Side<'a>> {
    let pairs = TIMES.iter().zip(places);
    pairs.map(|(name, place)| side(name, step(place))).collect()
}

fn read(report: &mut Report, axis: &str, places: &[Place]) {
    let mut all = sides(places, |place| {
        let views: Vec<View> = place
            .inboxes()
            .iter()
            .map(|inbox| inbox.view().unwrap())
            .collect();
        move || {
            for (inbox, uid) in &place.asked {
                let message = views[*inbox].message(*uid).unwrap();
                assert_eq!(black_box(message.bytes().unwrap()).len(), LEN);
            }
        }
    });
    for (name, place) in RAW.iter().zip(places) {
        let bytes = vec![7; place.all * LEN];
        let mut asked: Vec<usize> = spread(place.asked.len(), place.all).collect();
        Seed(9).shuffle(&mut asked);
        all.push(side(name, move || {
            for at in &asked {
                black_box(checksum(0, &bytes[at * LEN..][..LEN]));
            }
        }));
    }
    let raw = [
        ("raw-10x", "raw-1x", Target::Tell),
        ("raw-100x", "raw-1x", Target::Tell),
    ];
    let ratios = [FLAT, raw].concat();
    let plan = plan(5, places[0].asked.len());
    report.contest(&format!("growth/{axis}/read/warm"), plan, &mut all, &ratios);
}

fn view(report: &mut Report, axis: &str, places: &[Place]) {
    let mut all = sides(places, |place| {
        move || {
            for inbox in place.inboxes().iter().cycle().take(ASKED) {
                assert_eq!(black_box(inbox.view().unwrap()).len(), place.each);
            }
        }
    });
    let question = format!("growth/{axis}/view/warm");
    report.contest(&question, plan(5, ASKED), &mut all, &FLAT);
}

/// One flag of each message that is asked, on and off in turn.
fn flag(report: &mut Report, axis: &str, places: &[Place]) {
    let mut all = sides(places, |place| {
        let (mut turn, mut on) = (place.asked.iter().step_by(10), false);
        move || {
            let (inbox, uid) = turn.next().unwrap_or_else(|| {
                on = !on;
                turn = place.asked.iter().step_by(10);
                turn.next().unwrap()
            });
            let change = if on {
                FlagChange::remove(Flags::FLAGGED)
            } else {
                FlagChange::add(Flags::FLAGGED)
            };
            let inbox = &place.inboxes()[*inbox];
            let changed = inbox.flag(&(*uid).into(), &change, None).unwrap().wait();
            assert!(changed.unwrap().modified.is_empty());
        }
    });
    let (question, asked) = change(axis, "flag");
    report.contest(&question, plan(50, 1), &mut all, &asked);
}

/// One message to each mailbox that is asked, in turn.
fn deliver(report: &mut Report, axis: &str, places: &[Place]) {
    let message = &Seed(11).message(LEN);
    let mut all = sides(places, |place| {
        let mut number = 0;
        move || {
            let inboxes = place.inboxes();
            let uid = deliver_now(
                place.store(),
                &inboxes[number % inboxes.len()],
                message,
                Durability::Written,
            );
            let before = place.each + number / inboxes.len();
            assert_eq!(uid as usize, before + 1);
            number += 1;
        }
    });
    let (question, asked) = change(axis, "deliver");
    report.contest(&question, plan(50, 1), &mut all, &asked);
}

/// Opening, and what the first view of one mailbox takes after it.
fn open(report: &mut Report, axis: &str, places: &[Place]) {
    let law = if axis == "mailbox" {
        "first-view-a-message"
    } else {
        "first-view"
    };
    let part = |place: &Place| {
        if axis == "mailbox" {
            place.each as u32
        } else {
            1
        }
    };
    let mut opens: Vec<Side<'_>> = Vec::new();
    let mut views: Vec<Side<'_>> = Vec::new();
    for (name, place) in TIMES.iter().zip(places) {
        let again = || Store::open(&place.path, place.options.clone().create(false)).unwrap();
        opens.push(timed(name, move || {
            let start = Instant::now();
            let store = again();
            let took = start.elapsed();
            assert!(store.recovery().is_whole());
            store.close().unwrap();
            took
        }));
        views.push(timed(name, move || {
            let store = again();
            let start = Instant::now();
            let inbox = store.account(&self::name(0)).unwrap().inbox().unwrap();
            let messages = inbox.view().unwrap().len();
            let took = start.elapsed();
            assert!(messages >= place.each);
            store.close().unwrap();
            took / part(place)
        }));
    }
    let question = format!("growth/{axis}/open/clean/warm");
    let (question, asked) = match axis {
        "segments" => (question + "/a-name-a-segment", LAW),
        _ => (question, FLAT),
    };
    report.contest(&question, plan(5, 1), &mut opens, &asked);
    let question = format!("growth/{axis}/{law}/warm");
    report.contest(&question, plan(5, 1), &mut views, &FLAT);
}

fn axis(report: &mut Report, axis: &str, new: impl Fn(usize) -> Place) {
    let mut places: Vec<Place> = [1, 10, 100].map(new).into();
    read(report, axis, &places);
    view(report, axis, &places);
    flag(report, axis, &places);
    deliver(report, axis, &places);
    places.iter_mut().for_each(Place::close);
    open(report, axis, &places);
}

fn main() {
    if support::listing() {
        return;
    }
    let small = smoke();
    let mut report = Report::default();
    axis(&mut report, "mailbox", |times| {
        let each = if small { 10 * times } else { 1_000 * times };
        Place::new(Options::new(), 1, each, 0)
    });
    axis(&mut report, "accounts", |times| {
        let count = if small { times } else { 100 * times };
        Place::new(Options::new(), count, 10, 0)
    });
    axis(&mut report, "segments", |times| {
        let count = if small {
            times as u64
        } else {
            10 * times as u64
        };
        let options = Options::new().segment_len(64 << 10);
        Place::new(options, 1, if small { 10 } else { 1_000 }, count)
    });
    report.finish();
}
