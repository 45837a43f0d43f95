//! Runs every step of every store, each in a new process, round by round. In a round all stores do a workload before any
//! does the next one, and another store begins each time: what disturbs the machine for a while disturbs them all.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::acks;
use crate::device::Device;
use crate::plan::{Scale, Step, WORKLOADS, Workload};
use crate::step::{Role, Task};
use crate::store::Result;
use crate::stores::Way;

/// After so long a step has failed.
const PATIENCE: Duration = Duration::from_secs(1800);

/// What is to be run.
pub(crate) struct Run {
    pub(crate) dir: PathBuf,
    pub(crate) rounds: usize,
    pub(crate) quick: bool,
    pub(crate) realtime: bool,
    pub(crate) ways: Vec<Way>,
    pub(crate) workloads: Vec<Workload>,
    /// Why no device is watched, if so.
    pub(crate) no_device: Option<String>,
}

/// What one step has found.
pub(crate) struct Found {
    pub(crate) workload: Workload,
    pub(crate) way: Way,
    pub(crate) round: usize,
    pub(crate) figures: BTreeMap<String, f64>,
}

/// What a whole run has found.
#[derive(Default)]
pub(crate) struct Results {
    pub(crate) found: Vec<Found>,
    /// Steps that have failed, and why.
    pub(crate) failed: Vec<String>,
}

impl Results {
    /// A figure of each round.
    pub(crate) fn of(&self, workload: &str, way: Way, figure: &str) -> Vec<(usize, f64)> {
        let found = self.found.iter();
        let found = found.filter(|found| found.workload.name == workload && found.way == way);
        found
            .filter_map(|found| Some((found.round, *found.figures.get(figure)?)))
            .collect()
    }
}

/// How long the disk is left alone before each step.
const SETTLE: Duration = Duration::from_secs(1);

impl Run {
    pub(crate) fn go(&self) -> Result<Results> {
        let mut results = Results::default();
        for round in 0..self.rounds {
            let mut chains: Vec<&str> = Vec::new();
            for workload in WORKLOADS {
                let wanted = self.workloads.iter().any(|one| one.name == workload.name);
                if wanted && !chains.contains(&workload.chain) {
                    chains.push(workload.chain);
                }
            }
            for chain in chains {
                self.chain(chain, round, &mut results)?;
            }
        }
        Ok(results)
    }

    /// All workloads of a chain, on files that are removed behind it.
    fn chain(&self, chain: &str, round: usize, results: &mut Results) -> Result<()> {
        let folder = self.dir.join(chain);
        let of_chain = WORKLOADS.into_iter().filter(|one| one.chain == chain);
        for workload in of_chain {
            let wanted = self.workloads.iter().any(|one| one.name == workload.name);
            if !wanted && !workload.makes() {
                continue;
            }
            if let (true, Some(reason)) = (workload.on_device(), &self.no_device) {
                eprintln!("skipped: {}: {reason}", workload.name);
                continue;
            }
            for turn in 0..self.ways.len() {
                let way = self.ways[(round + turn) % self.ways.len()];
                if workload.is_of(way) {
                    self.step(&folder, workload, way, round, results);
                }
                // There is no room for those of all stores.
                if workload.is_long() && folder.exists() {
                    fs::remove_dir_all(&folder)?;
                }
            }
        }
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        Ok(())
    }

    /// Lets the disk do what is left of the step before: what it wrote goes out, and what was removed is discarded.
    fn settle(&self) {
        rustix::fs::sync();
        if !self.quick {
            std::thread::sleep(SETTLE);
        }
    }

    fn step(&self, folder: &Path, workload: Workload, way: Way, round: usize, to: &mut Results) {
        self.settle();
        let name = format!("round {}, {}, {}", round + 1, workload.name, way.name());
        let start = Instant::now();
        match self.try_step(folder, workload, way) {
            Ok(figures) => {
                let shown = [
                    "per_s",
                    "p50_ns",
                    "p50_us",
                    "p50_ms",
                    "open_ms",
                    "device_amp",
                ];
                let mut shown = shown.iter().filter_map(|name| figures.get_key_value(*name));
                let shown = shown
                    .next()
                    .map(|(name, found)| format!("{name} {found:.2}, "));
                let seconds = start.elapsed().as_secs_f64();
                eprintln!("{name}: {}{seconds:.1} s in all", shown.unwrap_or_default());
                to.found.push(Found {
                    workload,
                    way,
                    round,
                    figures,
                });
            }
            Err(error) => {
                eprintln!("{name}: FAILED: {error}");
                to.failed.push(format!("{name}: {error}"));
            }
        }
    }

    fn try_step(
        &self,
        folder: &Path,
        workload: Workload,
        way: Way,
    ) -> Result<BTreeMap<String, f64>> {
        let files = way.files().name();
        fs::create_dir_all(folder)?;
        let device = workload.on_device().then(|| Device::new(folder, 4 << 30));
        let device = device.transpose()?;
        let task = Task {
            role: Role::Work,
            workload: workload.name.to_owned(),
            store: way.name().to_owned(),
            dir: device.as_ref().map_or(folder, Device::folder).join(files),
            acks: folder.join(format!("{files}.acks")),
            device: device.as_ref().map(Device::stat),
            quick: self.quick,
        };
        fs::create_dir_all(&task.dir)?;
        if workload.step == (Step::Open { killed: true }) {
            self.kill_a_writer(&task)?;
        }
        let figures = self.child(&task)?;
        if workload.makes() {
            let role = Role::Check;
            self.child(&Task { role, ..task })?;
        }
        Ok(figures)
    }

    fn command(&self, task: &Task) -> Result<Command> {
        let mut words = Vec::new();
        if task.role != Role::Writer {
            words.extend(["timeout".to_owned(), PATIENCE.as_secs().to_string()]);
        }
        if self.realtime {
            words.extend(["chrt", "-f", "1"].map(str::to_owned));
        }
        words.push(std::env::current_exe()?.display().to_string());
        words.extend(task.words());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdin(Stdio::null());
        Ok(command)
    }

    /// Runs a step to its end.
    fn child(&self, task: &Task) -> Result<BTreeMap<String, f64>> {
        let done = self.command(task)?.stderr(Stdio::piped()).output()?;
        if !done.status.success() {
            let said = String::from_utf8_lossy(&done.stderr).into_owned();
            return Err(format!(
                "{:?} ended with {}: {}",
                task.role,
                done.status,
                said.trim()
            )
            .into());
        }
        let Value::Object(figures) = serde_json::from_slice(&done.stdout)? else {
            return Err("no figures were printed".into());
        };
        let figure = |(name, value): (String, Value)| Some((name, value.as_f64()?));
        Ok(figures.into_iter().filter_map(figure).collect())
    }

    /// Has a process deliver until so many bytes are acknowledged, then kills it.
    fn kill_a_writer(&self, task: &Task) -> Result<()> {
        let role = Role::Writer;
        let task = Task {
            role,
            ..task.clone()
        };
        let enough = Scale::of(self.quick).tail / 4096 * acks::LEN as u64;
        let mut child = self.command(&task)?.stdout(Stdio::null()).spawn()?;
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            let len = fs::metadata(task.killed_acks()).map_or(0, |data| data.len());
            if len >= enough {
                // SIGKILL; `chrt` has become the writer.
                child.kill()?;
                child.wait()?;
                return Ok(());
            }
            if let Some(status) = child.try_wait()? {
                return Err(format!("the writer ended by itself with {status}").into());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill()?;
        child.wait()?;
        Err("the writer has not delivered enough in time".into())
    }
}

/// Whether this user may give a process real-time priority.
pub(crate) fn may_be_realtime() -> bool {
    let tried = Command::new("chrt").args(["-f", "1", "true"]).output();
    tried.is_ok_and(|done| done.status.success())
}
