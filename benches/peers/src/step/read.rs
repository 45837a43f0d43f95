//! Messages come out: all of them, compared with what went in; then some at random.

use std::collections::HashMap;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use super::{Context, Figures, expect, put_times};
use crate::acks::{self, Ack};
use crate::corpus::{Corpus, Seed};
use crate::store::{Place, Result, Scan, Session, Store};

/// Whether every acknowledged message is there, and no other, and every byte of it is right.
pub(super) fn check(context: &Context) -> Result<Figures> {
    let acks = acks::load(&context.task.acks)?;
    let store = context.open(true, 0)?;
    compare(&*store, &context.corpus(), &acks)?;
    let mut expected: HashMap<Place, Scan> = HashMap::new();
    for ack in &acks {
        let scan = expected.entry(ack.place).or_default();
        scan.messages += 1;
        scan.seen += u64::from(ack.number.is_multiple_of(3));
    }
    let mut session = store.session()?;
    for (place, expected) in expected {
        expect("messages of a mailbox", session.scan(place)?, expected)?;
    }
    drop(session);
    store.close()?;
    let mut figures = Figures::default();
    figures.put("checked", acks.len() as f64);
    Ok(figures)
}

/// Reads all of `acks` and compares every byte.
pub(super) fn compare(store: &dyn Store, corpus: &Corpus, acks: &[Ack]) -> Result<()> {
    let (mut session, mut expected) = (store.session()?, Vec::new());
    for ack in acks {
        corpus.message(ack.number, &mut expected);
        let mut same = false;
        session.read(ack.place, ack.uid, &mut |bytes| same = bytes == expected)?;
        if !same {
            return Err(format!("{ack:?} has other bytes than were delivered").into());
        }
    }
    Ok(())
}

/// Brings every byte to the processor: one load from each line of its cache.
fn touch(bytes: &[u8]) -> u64 {
    let lines = bytes.iter().step_by(64);
    lines.fold(0, |sum: u64, byte| sum.wrapping_add(u64::from(*byte)))
}

/// Messages chosen at random, drawn ahead and read in that order for ever.
fn draw(acks: &[Ack], seed: u64) -> Vec<(Place, u32)> {
    let mut seed = Seed(seed);
    let picks = (0..1 << 20).filter_map(|_| acks.get(seed.below(acks.len())));
    picks.map(|ack| (ack.place, ack.uid)).collect()
}

/// What one thread has found.
struct Found {
    reads: u64,
    bytes: u64,
    seconds: f64,
    /// Nanoseconds of each sixteenth.
    times: Vec<f64>,
}

fn read_for(session: &mut dyn Session, picks: &[(Place, u32)], time: Duration) -> Result<Found> {
    let mut found = Found {
        reads: 0,
        bytes: 0,
        seconds: 0.0,
        times: Vec::with_capacity(1 << 16),
    };
    let (mut picks, mut sum) = (picks.iter().cycle(), 0_u64);
    let start = Instant::now();
    while start.elapsed() < time {
        let begin = Instant::now();
        for turn in 0..16 {
            let Some((place, uid)) = picks.next() else {
                return Err("nothing to read".into());
            };
            let bytes = &mut found.bytes;
            session.read(*place, *uid, &mut |body| {
                sum = sum.wrapping_add(touch(body));
                *bytes += body.len() as u64;
            })?;
            if turn == 0 {
                found.times.push(begin.elapsed().as_nanos() as f64);
            }
        }
        found.reads += 16;
    }
    found.seconds = start.elapsed().as_secs_f64();
    std::hint::black_box(sum);
    Ok(found)
}

/// Warm: all messages were read, and compared, by this process before.
pub(super) fn random(context: &Context, threads: usize) -> Result<Figures> {
    let acks = acks::load(&context.task.acks)?;
    let store = context.open(true, 0)?;
    compare(&*store, &context.corpus(), &acks)?;
    let (store, acks) = (&*store, &acks);
    let time = Duration::from_millis(context.scale.read_millis);
    let ready = &Barrier::new(threads);
    let runner = move |thread: usize| -> Result<Found> {
        let picks = draw(acks, thread as u64);
        let session = store.session().and_then(|mut session| {
            // It finds its mailboxes.
            read_for(&mut *session, &picks, time / 10)?;
            Ok(session)
        });
        ready.wait();
        read_for(&mut *session?, &picks, time)
    };
    let found: Vec<Found> = std::thread::scope(|scope| {
        let runners: Vec<_> = (0..threads)
            .map(|thread| scope.spawn(move || runner(thread)))
            .collect();
        let found = runners
            .into_iter()
            .map(|runner| runner.join().map_err(|_| "a thread panicked")?);
        found.collect::<Result<_>>()
    })?;
    let mut figures = Figures::default();
    let rate = |found: &Found| found.reads as f64 / found.seconds;
    figures.put("per_s", found.iter().map(rate).sum());
    let reads: u64 = found.iter().map(|found| found.reads).sum();
    let bytes: u64 = found.iter().map(|found| found.bytes).sum();
    let seconds: f64 = found.iter().map(|found| found.seconds).sum();
    figures.put("bytes", bytes as f64 / reads as f64);
    let times = found.into_iter().flat_map(|found| found.times).collect();
    put_times(&mut figures, times, "ns", 1.0);
    // Of all reads; the clock is in those that are timed one by one.
    figures.put("mean_ns", seconds * 1e9 / reads as f64);
    Ok(figures)
}
