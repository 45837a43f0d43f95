//! A fire drill for a store: harms scratch copies of it, one fault at a time, and says in plain words what the store did
//! about it.
//!
//! ```sh
//! cargo run --release --features cli --example drill                       # on a small store that it makes
//! cargo run --release --features cli --example drill -- /srv/mail          # on copies of yours
//! cargo run --release --features cli --example drill -- /srv/mail --faults bit,index --scratch /big/disk --json
//! ```
//!
//! **Your store is only read.** It is copied first, while a shared lock on its LOCK file keeps writers out; where a
//! writer has it open the drill says so and ends. Each fault gets a copy of its own, so the scratch folder needs twice
//! the store's size (`--scratch`, else the folder for temporary files). Copies are removed at the end, unless `--keep`.
//!
//! For each fault: what was done to the copy, how the opening went, how long it took, what was served as it was, what was
//! refused or lost *and said to be*, whether new mail was taken, and whether a promise was broken. Broken is: other bytes
//! than were stored; a message that is gone while the store says that it is whole; a loss where only derived files were
//! harmed; an acknowledged message gone after `kill -9`; a UID given twice; an opening refused without need.
//!
//! Exit code: 0 all promises held, 1 one was broken, 2 the drill could not be made.
//!
//! What it cannot show: a power cut (what was not synced cannot be told from a copy) and a full disk. The crate's own tests
//! do that on simulated disks.
//!
//! Reading order: `copy` (the original, and copies of it), `faults` (what is done), `exam` (what is there, before and
//! after), `report` (how it is told).

mod copy;
mod exam;
mod faults;
mod report;

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use clap::Parser;

use faults::Fault;

pub(crate) type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

/// Harms scratch copies of a store and reports what it did about it.
#[derive(Clone, Debug, Parser)]
struct Args {
    /// The store, which is only read; without it a small one is made.
    store: Option<PathBuf>,
    /// What to do.
    #[arg(long, value_delimiter = ',', default_values_t = Fault::ALL)]
    faults: Vec<Fault>,
    /// Where the copies go.
    #[arg(long)]
    scratch: Option<PathBuf>,
    /// What all random choices come from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A line of JSON for each fault.
    #[arg(long)]
    json: bool,
    /// Leaves the copies where they are.
    #[arg(long)]
    keep: bool,
    /// Delivers to this store until it is killed: the drill's other process.
    #[arg(long, hide = true)]
    victim: Option<PathBuf>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("drill: {error}");
            ExitCode::from(2)
        }
    }
}

/// Whether all promises held.
fn run(args: &Args) -> Result<bool> {
    if let Some(store) = &args.victim {
        faults::deliver_until_killed(store)?;
    }
    let mut scratch = tempfile::Builder::new();
    let scratch = scratch.prefix("mailkeep-drill-").disable_cleanup(args.keep);
    let scratch = match &args.scratch {
        Some(folder) => scratch.tempdir_in(folder)?,
        None => scratch.tempdir()?,
    };
    let own = std::env::current_exe()?;
    let victim = |store: &std::path::Path| {
        let mut command = Command::new(&own);
        command.arg("--victim").arg(store);
        command
    };
    let mut held = true;
    let mut tell = |outcome: &report::Outcome| {
        held &= outcome.broken.is_empty();
        match args.json {
            true => println!("{}", outcome.json()),
            false => println!("{outcome}"),
        }
    };
    let drill = faults::Drill {
        scratch: scratch.path(),
        seed: args.seed,
        victim: &victim,
    };
    drill.run(args.store.as_deref(), &args.faults, &mut tell)?;
    if !args.json {
        let end = if held {
            "all promises held"
        } else {
            "A PROMISE WAS BROKEN"
        };
        println!("{end}");
        if args.keep {
            println!("the copies are in {}", scratch.path().display());
        }
    }
    Ok(held)
}
