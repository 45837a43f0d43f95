//! What is lost, and what that costs: a process that is killed while it delivers, and everything derived.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mailkeep::{Delivery, Durability, Options, Rebuild, Store};
use parking_lot::Mutex;

use crate::build::{bar, find, put_times};
use crate::figures::{Sheet, Shown, Target, Times};
use crate::machine::{Memory, drop_caches, sequential_rate, warmth};
use crate::population::{Place, Population, Random, message};
use crate::{Args, Result, Role, answers};

/// A process is killed when the log has this much behind its last checkpoint: nearly all that it may have.
const TAIL: u64 = 56 << 20;
/// Milliseconds until the first answer when the index is lost.
const FIRST_ANSWER_MAX: f64 = 1000.0;
/// The rebuild runs at no less than this part of the speed at which the log's files can be read.
const RATE_MIN: f64 = 0.5;
/// So much of the log is read to learn that speed.
const PROBE: u64 = 2 << 30;
/// Accounts asked during the rebuild.
const ANSWERS: u64 = 20;
/// A rebuild begins within this time, or there is nothing to rebuild.
const BEGINS: Duration = Duration::from_millis(500);

/// Kills a process that delivers, then opens the store.
pub(crate) fn kill(args: &Args, shown: &mut Shown) -> Result<()> {
    let mut child = args
        .command(Role::Deliver)?
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    if let Some(out) = child.stdout.take() {
        BufReader::new(out).read_line(&mut line)?;
    }
    child.kill()?;
    child.wait()?;
    let tail: u64 = line
        .trim()
        .parse()
        .map_err(|_| "the process that delivers has failed")?;
    let mib = tail as f64 / f64::from(1 << 20);
    shown.put(
        "kill",
        "log behind the checkpoint when killed",
        mib,
        "MiB",
        Target::None,
    );
    shown.say("kill", warmth());
    shown.run("kill", &mut args.command(Role::Open)?)
}

/// Delivers to random accounts for ever. Says so once the log has grown enough since the last checkpoint.
pub(crate) fn deliver_until_killed(args: &Args) -> Result<()> {
    let store = Store::open(args.store(), Options::new().create(false))?;
    let mut said = false;
    let mut random = Random::new(u64::from(std::process::id()));
    loop {
        let mut commits = Vec::new();
        for _ in 0..64 {
            commits.push(deliver_lively(args, &store, &mut random)?);
        }
        for commit in commits {
            commit.wait()?;
        }
        let tail = store.stat().tail_bytes;
        if tail > TAIL && !said {
            said = true;
            println!("{tail}");
        }
    }
}

/// Starts a delivery to one of the accounts that are left out when receipts are compared.
fn deliver_lively(
    args: &Args,
    store: &Store,
    random: &mut Random,
) -> Result<mailkeep::Commit<Vec<mailkeep::Result<mailkeep::Delivered>>>> {
    let account = args.population().lively(random);
    let inbox = find(
        store,
        &Place {
            account,
            mailbox: None,
        },
    )?;
    let text = message(random);
    Ok(store.deliver_with(&text, [Delivery::to(&inbox)], Durability::Written)?)
}

/// Removes everything derived, uses the store while it is made again, and compares receipts of before and after.
pub(crate) fn lose_the_index(args: &Args, shown: &mut Shown) -> Result<()> {
    let before = take_receipts(args, shown, "receipts-before")?;
    fs::remove_dir_all(args.store().join("index"))?;
    drop_caches();
    let rate = sequential_rate(&args.store().join("log"), PROBE)?;
    shown.say("rebuild", warmth());
    let mib = rate / f64::from(1 << 20);
    shown.put(
        "rebuild",
        "reading the log's files in sequence",
        mib,
        "MiB/s",
        Target::None,
    );
    let mut command = args.command(Role::Rebuild)?;
    shown.run("rebuild", command.env("SEQUENTIAL_RATE", rate.to_string()))?;
    let after = take_receipts(args, shown, "receipts-after")?;
    let names = before
        .keys()
        .chain(after.keys().filter(|name| !before.contains_key(*name)));
    let other = names
        .filter(|name| before.get(*name) != after.get(*name))
        .count();
    shown.put(
        "rebuild",
        "receipts compared",
        before.len() as f64,
        "",
        Target::None,
    );
    shown.put(
        "rebuild",
        "receipts that differ",
        other as f64,
        "",
        Target::Most(0.0),
    );
    Ok(())
}

fn take_receipts(args: &Args, shown: &mut Shown, name: &str) -> Result<BTreeMap<String, String>> {
    let mut args = args.clone();
    let path = args.dir().join(name);
    args.receipts = Some(path.clone());
    shown.run(name, &mut args.command(Role::Receipts)?)?;
    let text = fs::read_to_string(path)?;
    let pairs = text.lines().filter_map(|line| line.split_once(' '));
    Ok(pairs
        .map(|(name, receipt)| (name.to_owned(), receipt.to_owned()))
        .collect())
}

/// Writes the receipts of some or all accounts, a line for each.
pub(crate) fn receipts(args: &Args, sheet: &mut Sheet) -> Result<()> {
    let path = args
        .receipts
        .as_ref()
        .ok_or("no file for receipts is named")?;
    let store = Store::open(args.store(), Options::new().create(false))?;
    let population = args.population();
    let count = if args.all_receipts {
        population.accounts
    } else {
        args.sample
    };
    let accounts: Vec<u64> = population
        .sample(count)
        .filter(|account| !Population::is_lively(*account))
        .collect();
    let out = Mutex::new(BufWriter::new(fs::File::create(path)?));
    let (next, bar) = (AtomicU64::new(0), bar(accounts.len() as u64, "receipts"));
    let begin = Instant::now();
    let take = || -> Result<()> {
        while let Some(account) = accounts.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
            let name = Population::name(*account);
            let receipt = store.account(&name)?.receipt()?;
            writeln!(out.lock(), "{name} {receipt}")?;
            bar.inc(1);
        }
        Ok(())
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..args.threads).map(|_| scope.spawn(take)).collect();
        threads.into_iter().try_for_each(|thread| {
            let done = thread.join();
            done.unwrap_or_else(|_| Err("a thread has panicked".into()))
        })
    })?;
    bar.finish_and_clear();
    out.into_inner().flush()?;
    let rate = accounts.len() as f64 / begin.elapsed().as_secs_f64();
    sheet.put("receipts, a second", rate, "/s");
    store.close()?;
    Ok(())
}

/// Uses a store whose index is gone, until it is rebuilt.
pub(crate) fn rebuild(args: &Args, sheet: &mut Sheet) -> Result<()> {
    let begin = Instant::now();
    let store = Store::open(args.store(), Options::new().create(false))?;
    sheet.time("open", begin.elapsed(), Target::None);
    let mut sample = args.population().sample(ANSWERS + 1);
    answers::answer(&store, sample.next().unwrap_or(0))?;
    let first = begin.elapsed();
    sheet.time(
        "first answer, the opening included",
        first,
        Target::Most(FIRST_ANSWER_MAX),
    );
    let rebuilt = AtomicBool::new(false);
    let (deliveries, later, watched) = thread::scope(|scope| {
        let deliver = scope.spawn(|| deliver_until(args, &store, &rebuilt));
        let ask = scope.spawn(|| ask_all(&store, sample));
        let watched = watch(&store, begin);
        rebuilt.store(true, Ordering::Release);
        let panicked = || Err("a thread has panicked".into());
        (
            deliver.join().unwrap_or_else(|_| panicked()),
            ask.join().unwrap_or_else(|_| panicked()),
            watched,
        )
    });
    let (deliveries, later) = (deliveries?, later?);
    put_rebuild(sheet, &watched);
    sheet.time(
        "answers during the rebuild, median",
        later.part(0.5),
        Target::None,
    );
    sheet.time(
        "answers during the rebuild, longest",
        later.longest(),
        Target::None,
    );
    sheet.put(
        "deliveries during the rebuild",
        deliveries.count() as f64,
        "",
    );
    put_times(sheet, "a delivery during the rebuild", &deliveries);
    watched.memory.put(sheet, "during the rebuild");
    store.close()?;
    Ok(())
}

/// What was seen of a rebuild.
#[derive(Debug, Default)]
struct Watched {
    last: Option<Rebuild>,
    time: Duration,
    memory: Memory,
}

/// Looks at a store until it is rebuilt.
fn watch(store: &Store, begin: Instant) -> Watched {
    let (bar, opened) = (bar(0, "bytes of the log"), Instant::now());
    let mut seen = Watched::default();
    loop {
        seen.memory = seen.memory.most(Memory::glance());
        match store.health().rebuild {
            Some(rebuild) => {
                bar.set_length(rebuild.total_bytes);
                bar.set_position(rebuild.done_bytes);
                seen.last = Some(rebuild);
            }
            None if seen.last.is_some() || opened.elapsed() > BEGINS => break,
            None => {}
        }
        thread::sleep(Duration::from_millis(2));
    }
    bar.finish_and_clear();
    seen.time = begin.elapsed();
    seen
}

fn put_rebuild(sheet: &mut Sheet, watched: &Watched) {
    let Some(rebuild) = &watched.last else {
        sheet.put(
            "rebuilt: the log is one segment, which the opening read",
            0.0,
            "MiB",
        );
        return;
    };
    let rate = rebuild.total_bytes as f64 / watched.time.as_secs_f64();
    let sequential = std::env::var("SEQUENTIAL_RATE").ok();
    let sequential = sequential.and_then(|text| text.parse::<f64>().ok());
    sheet.time("rebuilt after", watched.time, Target::None);
    sheet.mib("rebuilt from", rebuild.total_bytes, Target::None);
    let target = sequential.map_or(Target::None, |rate| {
        Target::Least((rate * RATE_MIN / f64::from(1 << 20)).round())
    });
    sheet.aim(
        "rebuilt, a second",
        rate / f64::from(1 << 20),
        "MiB/s",
        target,
    );
}

/// Delivers until the store is rebuilt, one message after the other.
fn deliver_until(args: &Args, store: &Store, rebuilt: &AtomicBool) -> Result<Times> {
    let (mut times, mut random) = (Times::default(), Random::new(2));
    while !rebuilt.load(Ordering::Acquire) {
        let begin = Instant::now();
        deliver_lively(args, store, &mut random)?.wait()?;
        times.add(begin.elapsed());
        thread::sleep(Duration::from_millis(1));
    }
    Ok(times)
}

fn ask_all(store: &Store, accounts: impl Iterator<Item = u64>) -> Result<Times> {
    let mut times = Times::default();
    for account in accounts {
        let begin = Instant::now();
        answers::answer(store, account)?;
        times.add(begin.elapsed());
    }
    Ok(times)
}
