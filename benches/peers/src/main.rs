//! mailkeep beside what people keep mail in today, on the same work, on the same machine, in the same hour.
//!
//! To read: `store.rs` (what a store has to do), `stores/` (how each does it), `plan.rs` (the workloads), `step/` (a
//! workload, in a process of its own), `run.rs` (which process when), `targets.rs` and `report.rs` (what it comes to).

mod acks;
mod corpus;
mod device;
mod group;
mod machine;
mod plan;
mod record;
mod report;
mod run;
mod step;
mod store;
mod stores;
mod targets;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use plan::{WORKLOADS, Workload};
use report::Report;
use run::{Run, may_be_realtime};
use store::Result;
use stores::Way;

/// Measures mailkeep beside Maildir, SQLite, LMDB, redb, fjall, RocksDB and a bare log file.
///
/// Prints tables in Markdown. Ends with 1 where a store failed or gave back something else than it was given; a target
/// that is missed is only shown.
#[derive(Parser)]
struct Args {
    /// Small sizes and one round: to see that everything works, in seconds.
    #[arg(long)]
    quick: bool,
    /// How often everything is done [default: 3, with --quick 1].
    #[arg(long)]
    rounds: Option<usize>,
    /// Only these stores: mailkeep, raw-zero, raw, maildir, sqlite, lmdb, redb, fjall, rocksdb.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Only these workloads; with --list they are printed.
    #[arg(long, value_delimiter = ',')]
    workload: Vec<String>,
    /// Prints the names of the workloads.
    #[arg(long)]
    list: bool,
    /// Where the stores are made, in a folder that is removed at the end [default: beside this program].
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Everything that was found goes to this file, too.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Takes no real-time priority, also where it may: for a machine on which others work.
    #[arg(long)]
    no_realtime: bool,
    #[command(subcommand)]
    step: Option<Internal>,
}

#[derive(Subcommand)]
enum Internal {
    /// One step, as the program starts it itself.
    #[command(hide = true)]
    Step(step::Task),
}

fn main() -> ExitCode {
    let args = Args::parse();
    let done = match args.step {
        Some(Internal::Step(task)) => step::run(task).map(|()| true),
        None if args.list => {
            for workload in WORKLOADS {
                println!("{}", workload.name);
            }
            Ok(true)
        }
        None => compare(&args),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether no step has failed.
fn compare(args: &Args) -> Result<bool> {
    let (ways, workloads) = (ways(&args.only)?, workloads(&args.workload)?);
    let base = match &args.dir {
        Some(dir) => dir.clone(),
        None => {
            let this = std::env::current_exe()?;
            this.parent().ok_or("this program is nowhere")?.to_owned()
        }
    };
    let dir = base.join(format!("peers-{}", std::process::id()));
    fs::create_dir_all(&dir)?;
    let dir = dir.canonicalize()?;
    let is_root = rustix::process::geteuid().is_root();
    let run = Run {
        rounds: args.rounds.unwrap_or(if args.quick { 1 } else { 3 }),
        quick: args.quick,
        realtime: !args.no_realtime && may_be_realtime(),
        no_device: (!is_root).then(|| "only root may make a loop device".to_owned()),
        dir,
        ways,
        workloads,
    };
    if !Way::Rocksdb.is_built() {
        eprintln!(
            "RocksDB is left out: built without the feature `rocksdb` (run.sh says what it needs)"
        );
    }
    let mut machine = machine::describe(&run.dir);
    let ran = run.go();
    fs::remove_dir_all(&run.dir)?;
    let results = ran?;
    machine.push(("load at the end", machine::load()));
    let report = Report {
        run: &run,
        results: &results,
        machine,
    };
    print!("{}", report.markdown());
    if let Some(path) = &args.json {
        fs::write(path, format!("{:#}\n", report.json()))?;
    }
    Ok(results.failed.is_empty())
}

/// The stores of these names, each in all its ways; all that are built in, where none is named.
fn ways(names: &[String]) -> Result<Vec<Way>> {
    for name in names {
        match Way::named(name) {
            Some(way) if !way.is_built() => return Err(format!("{name} is not built in").into()),
            Some(way) if way.store() == way => {}
            _ => return Err(format!("there is no store {name}: see --help").into()),
        }
    }
    let wanted =
        |way: &Way| names.is_empty() || names.iter().any(|name| name == way.store().name());
    let built = Way::ALL.into_iter().filter(|way| way.is_built());
    Ok(built.filter(wanted).collect())
}

/// The workloads of these names; all but the long one, where none is named.
fn workloads(names: &[String]) -> Result<Vec<Workload>> {
    if names.is_empty() {
        let all = WORKLOADS.into_iter();
        return Ok(all.filter(|workload| !workload.is_long()).collect());
    }
    let find = |name: &String| {
        Workload::named(name)
            .ok_or_else(|| format!("there is no workload {name}: see --list").into())
    };
    names.iter().map(find).collect()
}
