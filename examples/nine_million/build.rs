//! Building the store: all accounts, then all messages, in random order of accounts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use mailkeep::io::Directory;
use mailkeep::{Delivery, Durability, Mailbox, Options, Store};
use parking_lot::Mutex;

use crate::counting::Counting;
use crate::figures::{Sheet, Target, Times};
use crate::machine::{Memory, len_of};
use crate::population::{Place, Population, Random, message};
use crate::{Args, Result};

/// Commits that a thread has under way.
const WINDOW: u64 = 64;
/// No delivery may take longer, whatever goes on beside it.
const STALL_MAX: f64 = 100.0;
/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// What was highest while something ran.
#[derive(Clone, Copy, Debug, Default)]
struct Peak {
    memory: Memory,
    cache: u64,
    unsaved: u64,
    tail: u64,
    runs: u64,
    images_waiting: u64,
}

/// Creates the store with its accounts and messages, and closes it.
pub(crate) fn build(args: &Args, sheet: &mut Sheet) -> Result<()> {
    let population = args.population();
    let (storage, written) = Counting::new(Directory::create_or_open(&args.store(), true)?);
    let store = Store::open_on(Arc::new(storage), Options::default())?;

    let begin = Instant::now();
    let create = |range| create_accounts(&store, range);
    let (times, created) = side_by_side(args, &store, population.accounts, "accounts", &create)?;
    store.sync()?;
    put_rate(
        sheet,
        "accounts created",
        population.accounts,
        begin.elapsed(),
    );
    put_times(sheet, "creating an account", &times);

    let begin = Instant::now();
    let deliver = |range| deliver_range(&store, &population, range);
    let (times, delivered) =
        side_by_side(args, &store, population.deliveries, "messages", &deliver)?;
    store.sync()?;
    put_rate(
        sheet,
        "messages delivered",
        population.deliveries,
        begin.elapsed(),
    );
    put_times(sheet, "a delivery", &times);

    for (when, peak) in [("while creating", created), ("while delivering", delivered)] {
        peak.memory.put(sheet, when);
        sheet.mib(&format!("cache {when}, most"), peak.cache, Target::None);
        sheet.mib(
            &format!("directory in memory {when}, most"),
            peak.unsaved,
            Target::None,
        );
        sheet.mib(
            &format!("tail of the log {when}, most"),
            peak.tail,
            Target::None,
        );
        sheet.put(&format!("runs {when}, most"), peak.runs as f64, "");
        sheet.put(
            &format!("images waiting {when}, most"),
            peak.images_waiting as f64,
            "",
        );
    }
    let begin = Instant::now();
    let log = store.stat().log_bytes;
    store.close()?;
    sheet.time("close", begin.elapsed(), Target::None);
    let index = len_of(&args.store().join("index"));
    sheet.mib("log", log, Target::None);
    sheet.mib(
        "log, bytes written",
        written.log.load(Ordering::Relaxed),
        Target::None,
    );
    sheet.mib("index", index, Target::None);
    sheet.mib(
        "index, bytes written",
        written.index.load(Ordering::Relaxed),
        Target::None,
    );
    sheet.put(
        "index, files made",
        written.index_files.load(Ordering::Relaxed) as f64,
        "",
    );
    Ok(())
}

/// The accounts of a range of numbers, with the mailboxes that some have.
fn create_accounts(store: &Store, range: std::ops::Range<u64>) -> Result<Times> {
    let mut times = Times::default();
    let mut commits = Vec::new();
    for account in range.clone() {
        let begin = Instant::now();
        commits.push(store.create_account_with(&Population::name(account), Durability::Written)?);
        times.add(begin.elapsed());
    }
    for (number, commit) in range.zip(commits) {
        let account = commit.wait()?;
        for mailbox in 0..Population::mailboxes(number) {
            account.create_mailbox(&Population::mailbox_name(mailbox))?;
        }
    }
    Ok(times)
}

/// The messages of a range of numbers.
fn deliver_range(
    store: &Store,
    population: &Population,
    range: std::ops::Range<u64>,
) -> Result<Times> {
    let mut times = Times::default();
    let mut random = Random::new(range.start);
    let mut commits = Vec::new();
    for at in range {
        let begin = Instant::now();
        let mailbox = find(store, &population.place(at))?;
        let delivery = [Delivery::to(&mailbox)];
        commits.push(store.deliver_with(message(&mut random), delivery, Durability::Written)?);
        times.add(begin.elapsed());
    }
    let begin = Instant::now();
    for commit in commits {
        for kept in commit.wait()? {
            kept?;
        }
    }
    times.add(begin.elapsed());
    Ok(times)
}

/// The mailbox that a message goes to, found by its account's name.
pub(crate) fn find(store: &Store, place: &Place) -> Result<Mailbox> {
    let account = store.account(&Population::name(place.account))?;
    Ok(match place.mailbox {
        None => account.inbox()?,
        Some(mailbox) => account.mailbox(&Population::mailbox_name(mailbox))?,
    })
}

/// Has several threads work on 0 to `count`, and looks at the store's memory meanwhile.
fn side_by_side(
    args: &Args,
    store: &Store,
    count: u64,
    what: &str,
    work: &(dyn Fn(std::ops::Range<u64>) -> Result<Times> + Sync),
) -> Result<(Times, Peak)> {
    let (next, running) = (AtomicU64::new(0), AtomicUsize::new(args.threads));
    let all = Mutex::new(Times::default());
    let bar = bar(count, what);
    let mut peak = Peak::default();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..args.threads)
            .map(|_| {
                scope.spawn(|| {
                    let done = take_ranges(&next, count, &all, work);
                    running.fetch_sub(1, Ordering::Release);
                    done
                })
            })
            .collect();
        while running.load(Ordering::Acquire) > 0 {
            thread::sleep(LOOK);
            peak.look(store);
            bar.set_position(next.load(Ordering::Relaxed).min(count));
        }
        bar.finish_and_clear();
        threads.into_iter().try_for_each(|thread| {
            let done = thread.join();
            done.unwrap_or_else(|_| Err("a thread has panicked".into()))
        })
    })?;
    let times = all.lock().clone();
    Ok((times, peak))
}

fn take_ranges(
    next: &AtomicU64,
    count: u64,
    all: &Mutex<Times>,
    work: &(dyn Fn(std::ops::Range<u64>) -> Result<Times> + Sync),
) -> Result<()> {
    loop {
        let from = next.fetch_add(WINDOW, Ordering::Relaxed);
        if from >= count {
            return Ok(());
        }
        let times = work(from..(from + WINDOW).min(count))?;
        all.lock().join(&times);
    }
}

impl Peak {
    fn look(&mut self, store: &Store) {
        let (stat, health) = (store.stat(), store.health());
        *self = Self {
            memory: self.memory.most(Memory::glance()),
            cache: self.cache.max(stat.cache_bytes),
            unsaved: self.unsaved.max(stat.unsaved_bytes),
            tail: self.tail.max(stat.tail_bytes),
            runs: self.runs.max(stat.runs),
            images_waiting: self.images_waiting.max(health.images_waiting),
        };
    }
}

/// How far something is; drawn on a terminal only.
pub(crate) fn bar(count: u64, what: &str) -> ProgressBar {
    let bar = ProgressBar::new(count);
    let style = ProgressStyle::with_template(
        "{elapsed_precise} {wide_bar} {human_pos}/{human_len} {msg} ({per_sec}, {eta} left)",
    );
    // The template is ours: were it wrong, the default would be drawn.
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar.with_message(what.to_owned())
}

fn put_rate(sheet: &mut Sheet, what: &str, count: u64, time: Duration) {
    sheet.put(what, count as f64, "");
    sheet.put(
        &format!("{what}, a second"),
        count as f64 / time.as_secs_f64(),
        "/s",
    );
}

pub(crate) fn put_times(sheet: &mut Sheet, what: &str, times: &Times) {
    sheet.time(&format!("{what}, median"), times.part(0.5), Target::None);
    sheet.time(&format!("{what}, 99 %"), times.part(0.99), Target::None);
    sheet.time(
        &format!("{what}, longest"),
        times.longest(),
        Target::Most(STALL_MAX),
    );
}
