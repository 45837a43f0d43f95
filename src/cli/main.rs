//! The `mailkeep` command.
//!
//! `args` says what can be asked for; a module for each subcommand does it; `output` says how results, warnings and
//! progress are shown. `source` reads mail from files, `sink` writes it to files; both know nothing of the store.

mod args;
mod civil;
mod error;
mod export;
mod import;
mod list;
mod output;
mod rebuild;
mod receipt;
mod show;
mod sink;
mod source;
mod stat;
mod store;
mod utf7;
mod verify;
mod witness;

#[cfg(test)]
mod tests;

use std::process::ExitCode;

use clap::Parser as _;

use crate::args::{Args, Command};
use crate::error::{CliError, Verdict};
use crate::output::Output;

fn main() -> ExitCode {
    // Usage errors end here, with exit code 2.
    let args = Args::parse();
    // Where there is no guard, mail is read without mapping it.
    let _ = mailkeep::install_guard();
    match run(&args) {
        Ok(verdict) => verdict.into(),
        Err(error) if error.is_broken_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            output::warn(&format!("error: {}", error::chain(&error)));
            error.exit_code()
        }
    }
}

fn run(args: &Args) -> Result<Verdict, CliError> {
    let mut out = Output::new(args.json);
    let verdict = match &args.command {
        Command::Import(args) => import::run(args, &mut out),
        Command::Export(args) => export::run(args, &mut out),
        Command::List(args) => list::run(args, &mut out),
        Command::Show(args) => show::run(args, &mut out),
        Command::Verify(args) => verify::run(args, &mut out),
        Command::Stat(args) => stat::run(args, &mut out),
        Command::Receipt(args) => receipt::run(args, &mut out),
        Command::Witness(args) => witness::run(args, &mut out),
        Command::Rebuild(args) => rebuild::run(args, &mut out),
    }?;
    out.finish()?;
    Ok(verdict)
}
