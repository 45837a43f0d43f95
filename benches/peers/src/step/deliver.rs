//! Messages go in: one by one from one thread or several, or in batches.

use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::{Context, Figures, put_times, timed};
use crate::acks::{self, Ack};
use crate::group::Group;
use crate::machine;
use crate::store::{Mail, Place, Result, Store};

/// Bytes beside a body that a raw file needs, generously.
const HEAD: u64 = 128;

/// Messages are taken in turn by the threads, and go to the accounts in turn.
pub(super) fn one_by_one(context: &Context, threads: usize, durable: bool) -> Result<Figures> {
    let scale = &context.scale;
    let count = if context.workload.on_device() {
        scale.device_messages
    } else {
        scale.messages
    };
    let corpus = context.corpus();
    let inbox = |number: u64| Place::inbox((number % u64::from(scale.accounts)) as u32);
    let mails: Vec<Mail> = (0..count)
        .map(|number| corpus.mail(number, inbox(number)))
        .collect();
    let passes = if context.workload.is_long() {
        scale.passes
    } else {
        1
    };
    let (count, bytes) = (count * passes, bytes_of(&mails) * passes);
    let store = context.open(durable, bytes + HEAD * count)?;
    let places: Vec<Place> = (0..scale.accounts).map(Place::inbox).collect();
    store.create(&places)?;
    let wrote = Wrote::begin(context)?;
    let (seconds, times, acked) = race(&*store, &mails, (count, threads))?;
    let mut figures = Figures::default();
    figures.put("per_s", count as f64 / seconds);
    figures.put("mib_s", bytes as f64 / seconds / f64::from(1 << 20));
    put_times(&mut figures, times, "us", 1e3);
    finish(context, store, &wrote, bytes, count, &mut figures)?;
    acks::save(&context.task.acks, &acked)?;
    Ok(figures)
}

fn bytes_of(mails: &[Mail]) -> u64 {
    mails.iter().map(|mail| mail.body.len() as u64).sum()
}

/// Seconds that all took, nanoseconds of each, and where each is.
type Race = (f64, Vec<f64>, Vec<Ack>);

/// `count` deliveries: all of `mails` in turn, and again from the first.
fn race(store: &dyn Store, mails: &[Mail], (count, threads): (u64, usize)) -> Result<Race> {
    let group = (threads > 1 && !store.shares_commits()).then(Group::new);
    let (next, ready) = (AtomicUsize::new(0), Barrier::new(threads + 1));
    let deliver = |mail: &Mail| match &group {
        Some(group) => group.commit(*mail, |mails| store.deliver(mails)),
        None => store
            .deliver(&[*mail])?
            .pop()
            .ok_or_else(|| "no UID".into()),
    };
    let runner = || -> Result<(Vec<f64>, Vec<Ack>)> {
        let (mut times, mut acked) = (Vec::new(), Vec::new());
        ready.wait();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at as u64 >= count {
                return Ok((times, acked));
            }
            let number = at % mails.len();
            let mail = &mails[number];
            let (nanos, uid) = timed(|| deliver(mail))?;
            times.push(nanos);
            acked.push(Ack {
                place: mail.place,
                uid,
                number: number as u64,
            });
        }
    };
    std::thread::scope(|scope| {
        let runners: Vec<_> = (0..threads).map(|_| scope.spawn(runner)).collect();
        ready.wait();
        let start = Instant::now();
        let (mut times, mut acked) = (Vec::new(), Vec::new());
        for runner in runners {
            let found = runner.join().map_err(|_| "a thread panicked")??;
            times.extend(found.0);
            acked.extend(found.1);
        }
        Ok((start.elapsed().as_secs_f64(), times, acked))
    })
}

/// What had been written before the work.
struct Wrote {
    process: u64,
    device: Option<u64>,
}

impl Wrote {
    fn begin(context: &Context) -> Result<Self> {
        machine::sync(&context.task.dir)?;
        Self::now(context)
    }

    fn now(context: &Context) -> Result<Self> {
        let device = context.task.device.as_deref();
        Ok(Self {
            process: machine::bytes_written(),
            device: device.map(machine::device_bytes_written).transpose()?,
        })
    }
}

/// Closes the store; then what it has written and how much room it takes.
fn finish(
    context: &Context,
    store: Box<dyn Store>,
    before: &Wrote,
    bytes: u64,
    count: u64,
    figures: &mut Figures,
) -> Result<()> {
    let (nanos, ()) = timed(|| store.close())?;
    figures.put("close_ms", nanos / 1e6);
    machine::sync(&context.task.dir)?;
    let after = Wrote::now(context)?;
    let raw = bytes as f64;
    figures.put("process_amp", (after.process - before.process) as f64 / raw);
    if let (Some(after), Some(before)) = (after.device, before.device) {
        figures.put("device_amp", (after - before) as f64 / raw);
    }
    let spaces = [
        ("space", machine::space(&context.task.dir)?),
        ("filled", machine::filled(&context.task.dir)?),
    ];
    for (name, space) in spaces {
        let space = space as f64;
        figures.put(name, space / raw);
        figures.put(&format!("{name}_beside"), (space - raw) / count as f64);
    }
    Ok(())
}

/// Every batch is for one mailbox: first the large one's, then those of each account.
pub(super) fn bulk(context: &Context) -> Result<Figures> {
    let (scale, corpus) = (&context.scale, context.corpus());
    let bytes = 300 * scale.million;
    let store = context.open(true, bytes + HEAD * scale.million)?;
    let places: Vec<Place> = (0..=scale.accounts).map(Place::inbox).collect();
    store.create(&places)?;
    let wrote = Wrote::begin(context)?;
    let each = (scale.million - scale.large) / u64::from(scale.accounts);
    let (mut times, mut acked, mut number) = (Vec::new(), Vec::new(), 0);
    for place in places {
        let mut left = if place == super::LARGE {
            scale.large
        } else {
            each
        };
        while left > 0 {
            let now = left.min(scale.batch as u64);
            let numbers = number..number + now;
            let mails: Vec<Mail> = numbers.clone().map(|n| corpus.mail(n, place)).collect();
            let (nanos, uids) = timed(|| store.deliver(&mails))?;
            super::expect("UIDs of a batch", uids.len(), mails.len())?;
            times.push(nanos);
            let acks = numbers.zip(uids);
            acked.extend(acks.map(|(number, uid)| Ack { place, uid, number }));
            (number, left) = (number + now, left - now);
        }
    }
    let seconds = times.iter().sum::<f64>() / 1e9;
    let mut figures = Figures::default();
    figures.put("per_s", number as f64 / seconds);
    put_times(&mut figures, times, "ms", 1e6);
    finish(context, store, &wrote, bytes, number, &mut figures)?;
    acks::save(&context.task.acks, &acked)?;
    Ok(figures)
}
