//! Entries are looked at, marked and copied, in the mailbox with very many messages.

use super::{Context, Figures, LARGE, expect, put_times, timed};
use crate::acks::{self, Ack};
use crate::corpus::Seed;
use crate::store::{Place, Result, Scan, Store};

/// Room for what these steps write: a raw file has a head for each entry.
const ROOM: u64 = 64 << 20;

/// The messages of the large mailbox, by UID.
fn entries(context: &Context) -> Result<Vec<Ack>> {
    let mut acks = acks::load(&context.task.acks)?;
    acks.retain(|ack| ack.place == LARGE);
    acks.sort_by_key(|ack| ack.uid);
    Ok(acks)
}

fn found(store: &dyn Store, place: Place) -> Result<Scan> {
    store.session()?.scan(place)
}

pub(super) fn scan(context: &Context) -> Result<Figures> {
    let entries = entries(context)?;
    let expected = Scan {
        messages: entries.len() as u64,
        seen: entries
            .iter()
            .filter(|ack| ack.number.is_multiple_of(3))
            .count() as u64,
        flagged: 0,
    };
    let store = context.open(true, 0)?;
    let mut session = store.session()?;
    expect("flags", session.scan(LARGE)?, expected)?;
    let mut times = Vec::new();
    for _ in 0..9 {
        let (nanos, scan) = timed(|| session.scan(LARGE))?;
        expect("flags", scan, expected)?;
        times.push(nanos / expected.messages as f64);
    }
    drop(session);
    store.close()?;
    let mut figures = Figures::default();
    put_times(&mut figures, times, "ns", 1.0);
    Ok(figures)
}

/// Random messages, each durable by itself.
pub(super) fn one_by_one(context: &Context) -> Result<Figures> {
    let mut uids: Vec<u32> = entries(context)?.iter().map(|ack| ack.uid).collect();
    let mut seed = Seed(5);
    for at in 0..context.scale.singles {
        let other = at + seed.below(uids.len() - at);
        uids.swap(at, other);
    }
    uids.truncate(context.scale.singles);
    let store = context.open(true, ROOM)?;
    let mut times = Vec::new();
    for uid in &uids {
        times.push(timed(|| store.flag(LARGE, &[*uid], true))?.0);
    }
    expect("flagged", found(&*store, LARGE)?.flagged, uids.len() as u64)?;
    store.flag(LARGE, &uids, false)?;
    expect("flagged", found(&*store, LARGE)?.flagged, 0)?;
    store.close()?;
    let mut figures = Figures::default();
    put_times(&mut figures, times, "us", 1e3);
    Ok(figures)
}

/// The first ones, or every so many that as many come together.
fn choose(entries: &[Ack], count: usize, scattered: bool) -> Vec<&Ack> {
    let step = if scattered { entries.len() / count } else { 1 };
    entries.iter().step_by(step).take(count).collect()
}

pub(super) fn many(context: &Context, scattered: bool) -> Result<Figures> {
    let entries = entries(context)?;
    let chosen = choose(&entries, context.scale.many, scattered);
    let uids: Vec<u32> = chosen.iter().map(|ack| ack.uid).collect();
    let store = context.open(true, ROOM)?;
    let mut times = Vec::new();
    for on in [true, false, true, false, true, false] {
        times.push(timed(|| store.flag(LARGE, &uids, on))?.0);
        let expected = if on { uids.len() as u64 } else { 0 };
        expect("flagged", found(&*store, LARGE)?.flagged, expected)?;
    }
    store.close()?;
    let mut figures = Figures::default();
    put_times(&mut figures, times, "ms", 1e6);
    Ok(figures)
}

pub(super) fn copy(context: &Context) -> Result<Figures> {
    let entries = entries(context)?;
    let chosen = choose(&entries, context.scale.many, false);
    let uids: Vec<u32> = chosen.iter().map(|ack| ack.uid).collect();
    let corpus = context.corpus();
    let store = context.open(true, ROOM)?;
    let mut times = Vec::new();
    for number in 1..=3 {
        let to = LARGE.beside(number);
        store.create(&[to])?;
        times.push(timed(|| store.copy(LARGE, &uids, to))?.0);
        let scan = found(&*store, to)?;
        expect("copies", scan.messages, uids.len() as u64)?;
        // They are in the order of the originals, the first has UID 1.
        let copies = chosen.iter().zip(1..).map(|(ack, uid)| Ack {
            place: to,
            uid,
            number: ack.number,
        });
        super::read::compare(&*store, &corpus, &copies.collect::<Vec<_>>())?;
    }
    store.close()?;
    let mut figures = Figures::default();
    put_times(&mut figures, times, "ms", 1e6);
    Ok(figures)
}
