//! Opening a store with a million messages, after a clean close or after its process was killed.

use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::{Context, Figures, KILLED, KILLED_FIRST, read};
use crate::acks::{self, Ack};
use crate::corpus::{Corpus, Seed};
use crate::group::Group;
use crate::machine::Memory;
use crate::store::{Place, Result, Session};

const MIB: f64 = 1_048_576.0;

/// Times and memory of an opening, of the first read, and of reads of one message in a hundred.
pub(super) fn open(context: &Context, killed: bool) -> Result<Figures> {
    let acks = acks::load(&context.task.acks)?;
    let mut seed = Seed(11);
    let picks = (0..(acks.len() / 100).max(1)).filter_map(|_| acks.get(seed.below(acks.len())));
    let picks: Vec<Ack> = picks.copied().collect();
    let (corpus, mut buffer) = (context.corpus(), Vec::with_capacity(1 << 20));
    let base = Memory::now();
    let start = Instant::now();
    let store = context.open(true, 0)?;
    let open = start.elapsed();
    let opened = Memory::now();
    let start = Instant::now();
    let mut session = store.session()?;
    same(&mut *session, &corpus, &picks[0], &mut buffer)?;
    let first = start.elapsed();
    for pick in &picks {
        same(&mut *session, &corpus, pick, &mut buffer)?;
    }
    let touched = Memory::now();
    let mib = |now: u64, before: u64| (now as f64 - before as f64) / MIB;
    let mut figures = Figures::default();
    figures.put("open_ms", open.as_secs_f64() * 1e3);
    figures.put("ready_ms", (open + first).as_secs_f64() * 1e3);
    figures.put("open_anon_mib", mib(opened.anon, base.anon));
    figures.put("touched_anon_mib", mib(touched.anon, base.anon));
    figures.put("touched_file_mib", mib(touched.file, base.file));
    drop(session);
    read::compare(&*store, &corpus, &acks)?;
    if killed {
        let acks = acks::load(&context.task.killed_acks())?;
        read::compare(&*store, &Corpus::new(KILLED), &acks)?;
        figures.put("killed_after", acks.len() as f64);
    }
    store.close()?;
    Ok(figures)
}

fn same(
    session: &mut dyn Session,
    corpus: &Corpus,
    ack: &Ack,
    expected: &mut Vec<u8>,
) -> Result<()> {
    corpus.message(ack.number, expected);
    let mut same = false;
    session.read(ack.place, ack.uid, &mut |bytes| same = bytes == *expected)?;
    super::expect("the bytes of a message are right", same, true)
}

/// Delivers durably from four threads and writes down what was acknowledged, until it is killed.
pub(super) fn write_until_killed(context: &Context) -> Result<Figures> {
    const THREADS: usize = 4;
    let (corpus, log) = (Corpus::new(KILLED), acks::log(&context.task.killed_acks())?);
    let store = context.open(true, 4 * context.scale.tail)?;
    let group = (!store.shares_commits()).then(Group::new);
    let next = AtomicU64::new(KILLED_FIRST);
    let (store, log): (_, &File) = (&*store, &log);
    let runner = || -> Result<()> {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let account = 1 + (number % u64::from(context.scale.accounts)) as u32;
            let mail = corpus.mail(number, Place::inbox(account));
            let uid = match &group {
                Some(group) => group.commit(mail, |mails| store.deliver(mails))?,
                None => store.deliver(&[mail])?[0],
            };
            let place = mail.place;
            acks::add(log, &Ack { place, uid, number })?;
        }
    };
    std::thread::scope(|scope| {
        let runners: Vec<_> = (0..THREADS).map(|_| scope.spawn(runner)).collect();
        for runner in runners {
            runner.join().map_err(|_| "a thread panicked")??;
        }
        Err("deliveries ended before the process was killed".into())
    })
}
