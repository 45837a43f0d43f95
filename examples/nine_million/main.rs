//! A store of millions of accounts, told in figures: building it, opening it after a clean close and after a kill, the
//! first answer of cold accounts, and what happens when everything derived is lost.
//!
//! ```sh
//! cargo run --release --features cli --example nine_million                      # 10,000 accounts, a minute
//! cargo run --release --features cli --example nine_million -- \
//!     --accounts 9000000 --dir /srv/nine_million                                 # the real thing: about 25 GB
//! cargo run --release --features cli --example nine_million -- \
//!     --dir /srv/nine_million --steps open,cold                                  # parts of it again
//! ```
//!
//! Each part runs in a process of its own, so that its memory is its own and nothing is warm that should be cold; as root
//! the page cache is dropped in between. Figures with a target say whether it is met; the exit code is 1 if one is not
//! (`--json`: a line of JSON for each figure). The store stays in DIR/store.
//!
//! Reading order: `population` (who gets which message), `build`, `answers` (opening, cold answers), `loss` (killed, and
//! rebuilt), `machine` and `figures` (what is measured, and how it is shown).

mod answers;
mod build;
mod counting;
mod figures;
mod loss;
mod machine;
mod population;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::{Parser, ValueEnum};

use figures::{Sheet, Shown};
use population::Population;

pub(crate) type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

/// Builds a store of many accounts and measures it.
#[derive(Clone, Debug, Parser)]
pub(crate) struct Args {
    /// How many accounts.
    #[arg(long, default_value_t = 10_000)]
    accounts: u64,
    /// Messages of an account on average, 1 or more. One account of a thousand gets half of what is more than one.
    #[arg(long, default_value_t = 1.5)]
    messages_per_account: f64,
    /// What all random choices come from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where; a folder for temporary files by default, which is removed.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// What to do; a store that is there is not built again.
    #[arg(long, value_delimiter = ',', default_values = ["build", "open", "kill", "cold", "rebuild"])]
    steps: Vec<Step>,
    /// Threads that create accounts and deliver.
    #[arg(long, default_value_t = 4)]
    threads: usize,
    /// Random accounts that are asked, and whose receipts are compared.
    #[arg(long, default_value_t = 1000)]
    sample: u64,
    /// Compares the receipts of all accounts (those that are delivered to meanwhile left out).
    #[arg(long)]
    all_receipts: bool,
    /// Also builds a store of a hundredth of the accounts, and compares their openings.
    #[arg(long)]
    growth: bool,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
    /// What this process is for; set by the one that starts it.
    #[arg(long, hide = true)]
    role: Option<Role>,
    /// Where receipts go; as `role`.
    #[arg(long, hide = true)]
    receipts: Option<PathBuf>,
}

/// A part of the story.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Step {
    /// Creates the accounts and delivers.
    Build,
    /// Opens the store after a clean close.
    Open,
    /// Kills a process that delivers, and opens the store after that.
    Kill,
    /// Asks random accounts that nobody has touched.
    Cold,
    /// Removes everything derived, and uses the store while it is made again.
    Rebuild,
}

/// What a process is for.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Role {
    Build,
    Open,
    Deliver,
    Cold,
    Rebuild,
    Receipts,
}

impl Args {
    pub(crate) fn population(&self) -> Population {
        Population::new(self.accounts, self.messages_per_account, self.seed)
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.dir().join("store")
    }

    fn dir(&self) -> &Path {
        self.dir.as_deref().unwrap_or(Path::new("."))
    }

    /// The command that runs this program in another role on the same store.
    pub(crate) fn command(&self, role: Role) -> Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        let role = role
            .to_possible_value()
            .map(|role| role.get_name().to_owned());
        command
            .arg("--dir")
            .arg(self.dir())
            .args(["--role", &role.unwrap_or_default()])
            .args(["--accounts", &self.accounts.to_string()])
            .args([
                "--messages-per-account",
                &self.messages_per_account.to_string(),
            ])
            .args(["--seed", &self.seed.to_string()])
            .args(["--threads", &self.threads.to_string()])
            .args(["--sample", &self.sample.to_string()]);
        if let Some(receipts) = &self.receipts {
            command.arg("--receipts").arg(receipts);
        }
        if self.all_receipts {
            command.arg("--all-receipts");
        }
        Ok(command)
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    // Where there is no guard, mail is read without mapping it.
    let _ = mailkeep::install_guard();
    let done = match args.role {
        Some(role) => play(role, &args).map(|()| true),
        None => tell(args),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("nine_million: {error}");
            ExitCode::from(2)
        }
    }
}

/// The part of a process that was started for one thing. Its figures go to standard output.
fn play(role: Role, args: &Args) -> Result<()> {
    let mut sheet = Sheet::default();
    match role {
        Role::Build => build::build(args, &mut sheet),
        Role::Open => answers::open(args, &mut sheet),
        Role::Cold => answers::cold(args, &mut sheet),
        Role::Deliver => loss::deliver_until_killed(args),
        Role::Rebuild => loss::rebuild(args, &mut sheet),
        Role::Receipts => loss::receipts(args, &mut sheet),
    }
}

/// The whole story; whether all targets were met.
fn tell(mut args: Args) -> Result<bool> {
    let temporary = match &args.dir {
        Some(dir) => {
            fs::create_dir_all(dir)?;
            None
        }
        None => Some(tempfile::tempdir()?),
    };
    if let Some(temporary) = &temporary {
        args.dir = Some(temporary.path().to_owned());
    }
    args.messages_per_account = args.messages_per_account.max(1.0);
    remember(&mut args)?;
    let mut shown = Shown::new(args.json);
    for step in &args.steps {
        match step {
            Step::Build if args.store().exists() => {}
            Step::Build => shown.run("build", &mut args.command(Role::Build)?)?,
            Step::Open => {
                shown.say("open", machine::warmth());
                shown.run("open", &mut args.command(Role::Open)?)?;
            }
            Step::Kill => loss::kill(&args, &mut shown)?,
            Step::Cold => {
                shown.say("cold", machine::warmth());
                machine::drop_caches();
                shown.run("cold", &mut args.command(Role::Cold)?)?;
            }
            Step::Rebuild => loss::lose_the_index(&args, &mut shown)?,
        }
    }
    if args.growth {
        grow(&args, &mut shown)?;
    }
    Ok(shown.all_met())
}

/// The population of a store is kept beside it, so that later steps mean the same accounts.
fn remember(args: &mut Args) -> Result<()> {
    let path = args.dir().join("population");
    if !args.store().exists() {
        let told = format!(
            "{} {} {}\n",
            args.accounts, args.messages_per_account, args.seed
        );
        return Ok(fs::write(path, told)?);
    }
    let text = fs::read_to_string(path)?;
    let fields: Vec<&str> = text.split_whitespace().collect();
    let [accounts, mean, seed] = fields[..] else {
        return Err("the file population beside the store is not one of this program".into());
    };
    args.accounts = accounts.parse()?;
    args.messages_per_account = mean.parse()?;
    args.seed = seed.parse()?;
    Ok(())
}

/// Opens this store and one of a hundredth of its accounts.
fn grow(args: &Args, shown: &mut Shown) -> Result<()> {
    let mut small = args.clone();
    small.dir = Some(args.dir().join("hundredth"));
    small.accounts = (args.accounts / 100).max(1);
    fs::create_dir_all(small.dir())?;
    if !small.store().exists() {
        shown.run("hundredth: build", &mut small.command(Role::Build)?)?;
    }
    shown.run("hundredth: open", &mut small.command(Role::Open)?)?;
    shown.run("all: open", &mut args.command(Role::Open)?)
}
