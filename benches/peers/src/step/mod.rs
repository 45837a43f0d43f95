//! One step of the work, in a process of its own: the store is opened, the work is timed and its result checked.

mod deliver;
mod flags;
mod open;
mod read;

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::{Map, Value};

use crate::corpus::{Corpus, Size};
use crate::plan::{Scale, Step, Workload};
use crate::store::{Place, Result, Store};
use crate::stores::{Setup, Way};

/// What a process is started for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Role {
    /// The work itself.
    Work,
    /// Reads everything that was acknowledged.
    Check,
    /// Delivers until it is killed.
    Writer,
}

/// What a process is told. The parent writes these as arguments.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Task {
    #[arg(long, value_enum)]
    pub(crate) role: Role,
    #[arg(long)]
    pub(crate) workload: String,
    #[arg(long)]
    pub(crate) store: String,
    /// Of the store.
    #[arg(long)]
    pub(crate) dir: PathBuf,
    /// Where acknowledged messages are listed.
    #[arg(long)]
    pub(crate) acks: PathBuf,
    /// `stat` of the device that the store is on.
    #[arg(long)]
    pub(crate) device: Option<PathBuf>,
    #[arg(long)]
    pub(crate) quick: bool,
}

impl Task {
    /// Its arguments.
    pub(crate) fn words(&self) -> Vec<String> {
        let role = match self.role {
            Role::Work => "work",
            Role::Check => "check",
            Role::Writer => "writer",
        };
        let mut words = vec!["step".to_owned()];
        let mut put = |name: &str, value: String| words.extend([format!("--{name}"), value]);
        put("role", role.to_owned());
        put("workload", self.workload.clone());
        put("store", self.store.clone());
        put("dir", self.dir.display().to_string());
        put("acks", self.acks.display().to_string());
        if let Some(device) = &self.device {
            put("device", device.display().to_string());
        }
        if self.quick {
            words.push("--quick".to_owned());
        }
        words
    }

    /// Acknowledged by the process that was killed.
    pub(crate) fn killed_acks(&self) -> PathBuf {
        self.acks.with_extension("killed")
    }
}

/// Named numbers that a step has found.
#[derive(Default)]
pub(crate) struct Figures(Map<String, Value>);

impl Figures {
    fn put(&mut self, name: &str, value: f64) {
        self.0.insert(name.to_owned(), value.into());
    }
}

/// Everything a step needs.
struct Context {
    task: Task,
    workload: Workload,
    way: Way,
    scale: Scale,
}

impl Context {
    fn open(&self, durable: bool, room: u64) -> Result<Box<dyn Store>> {
        let dir: &Path = &self.task.dir;
        let setup = Setup { dir, durable, room };
        self.way.open(setup)
    }

    fn corpus(&self) -> Corpus {
        Corpus::new(self.workload.size())
    }
}

/// The mailbox with very many messages.
const LARGE: Place = Place(0);

/// What the writer that is killed delivers, and the number of its first.
const KILLED: Size = Size::Fixed(4096);
const KILLED_FIRST: u64 = 1 << 40;

/// Does the step and prints what it found as one line of JSON.
pub(crate) fn run(task: Task) -> Result<()> {
    let workload = Workload::named(&task.workload).ok_or("no such workload")?;
    let way = Way::named(&task.store).ok_or("no such store")?;
    let context = Context {
        scale: Scale::of(task.quick),
        task,
        workload,
        way,
    };
    let figures = match context.task.role {
        Role::Check => read::check(&context)?,
        Role::Writer => open::write_until_killed(&context)?,
        Role::Work => match workload.step {
            Step::Deliver {
                threads, durable, ..
            } => deliver::one_by_one(&context, threads, durable)?,
            Step::Bulk => deliver::bulk(&context)?,
            Step::Read { threads } => read::random(&context, threads)?,
            Step::Scan => flags::scan(&context)?,
            Step::FlagOne => flags::one_by_one(&context)?,
            Step::FlagMany { scattered } => flags::many(&context, scattered)?,
            Step::Copy => flags::copy(&context)?,
            Step::Open { killed } => open::open(&context, killed)?,
        },
    };
    println!("{}", Value::Object(figures.0));
    Ok(())
}

/// How long `work` takes, in nanoseconds, and what it returns.
fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<(f64, T)> {
    let start = Instant::now();
    let done = work()?;
    Ok((start.elapsed().as_nanos() as f64, done))
}

/// That which `part` (0 to 1) of the values are below.
fn quantile(sorted: &[f64], part: f64) -> f64 {
    let at = (sorted.len().saturating_sub(1)) as f64 * part;
    sorted.get(at as usize).copied().unwrap_or(f64::NAN)
}

/// Median, 99 of 100, and largest of some times, in `unit`s of so many nanoseconds.
fn put_times(figures: &mut Figures, mut times: Vec<f64>, unit: &str, nanos: f64) {
    times.sort_by(f64::total_cmp);
    for (name, part) in [("p50", 0.5), ("p99", 0.99), ("max", 1.0)] {
        figures.put(&format!("{name}_{unit}"), quantile(&times, part) / nanos);
    }
    let mean = times.iter().sum::<f64>() / times.len() as f64;
    figures.put(&format!("mean_{unit}"), mean / nanos);
}

/// Stops where a store is not as it has to be.
fn expect<T: PartialEq + std::fmt::Debug>(what: &str, found: T, expected: T) -> Result<()> {
    if found == expected {
        Ok(())
    } else {
        Err(format!("{what}: found {found:?}, expected {expected:?}").into())
    }
}
