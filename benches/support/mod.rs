//! What the benches share: interleaved rounds of two or more ways to do the same, messages from a seed, places to
//! write to.
//!
//! A disk that others use as well is fast in one second and slow in the next. So each round runs every side, the
//! order turns from round to round, and what is reported is the median of the rounds' ratios.

pub(crate) mod files;
pub(crate) mod mail;
pub(crate) mod memory;
pub(crate) mod process;
pub(crate) mod raw;
pub(crate) mod seed;

use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use criterion::Criterion;
use tempfile::TempDir;

/// Whether only a smoke test or a list is asked for: then no ratio is measured.
pub(crate) fn smoke() -> bool {
    std::env::args().any(|arg| arg == "--test" || arg == "--list")
}

/// Rounds to run: as many as planned, or fewer where `MAILKEEP_BENCH_ROUNDS` says so, to see that it runs.
fn rounds(planned: usize) -> usize {
    let asked = std::env::var("MAILKEEP_BENCH_ROUNDS").ok();
    let asked: Option<usize> = asked.map(|text| text.parse().unwrap());
    asked.map_or(planned, |asked| asked.clamp(1, planned))
}

/// Whether only a list is asked for: then nothing is run at all.
pub(crate) fn listing() -> bool {
    std::env::args().any(|arg| arg == "--list")
}

/// Whether the filter on the command line, if there is one, lets `ratio/NAME` pass.
pub(crate) fn wanted(name: &str) -> bool {
    let mut filters = std::env::args()
        .skip(1)
        .filter(|arg| !arg.starts_with('-'))
        .peekable();
    let id = format!("ratio/{name}");
    filters.peek().is_none() || filters.any(|filter| id.contains(&filter))
}

/// An empty folder on the file system that is measured: below `MAILKEEP_BENCH_DIR`, or below Cargo's target folder. Files
/// are mapped, unless `MAILKEEP_BENCH_UNGUARDED` is set.
pub(crate) fn folder() -> TempDir {
    if std::env::var_os("MAILKEEP_BENCH_UNGUARDED").is_none() {
        mailkeep::install_guard().unwrap();
    }
    let base = std::env::var_os("MAILKEEP_BENCH_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    std::fs::create_dir_all(&base).unwrap();
    tempfile::tempdir_in(base).unwrap()
}

/// Criterion with short runs: the disk is measured, not the processor's last percent.
pub(crate) fn criterion() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1500))
        .configure_from_args()
}

/// One way to do the work.
pub(crate) struct Side<'a> {
    name: &'static str,
    /// Does one piece of it, and says how long that took.
    step: Box<dyn FnMut() -> Duration + 'a>,
}

/// A side of a [`contest`](Report::contest).
pub(crate) fn side<'a>(name: &'static str, mut step: impl FnMut() + 'a) -> Side<'a> {
    timed(name, move || {
        let start = Instant::now();
        step();
        start.elapsed()
    })
}

/// A side that takes its own time: what it needs before and after the work is not in it.
pub(crate) fn timed<'a>(name: &'static str, step: impl FnMut() -> Duration + 'a) -> Side<'a> {
    Side {
        name,
        step: Box::new(step),
    }
}

/// How much a contest runs, and what one step is.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    /// Rounds; each runs all sides.
    pub(crate) rounds: usize,
    /// Steps of each side in a round.
    pub(crate) steps: usize,
    /// Bytes of mail that one step handles on average; 0 where bytes are not the measure.
    pub(crate) bytes: u64,
    /// Operations in one step.
    pub(crate) ops: u64,
}

/// What is asked of a ratio.
#[derive(Clone, Copy)]
pub(crate) enum Target {
    /// Speed, ours over raw: at least this.
    Speed(f64),
    /// Time, ours over raw: at most this.
    Time(f64),
    /// Time of one operation in nanoseconds: at most this.
    Nanos(f64),
    /// Speed, ours over raw, for information.
    Tell,
    /// Time, ours over raw, which grows by a law that the name of the question states.
    Law,
}

/// The lines of the summary, printed at the end of a bench.
#[derive(Default)]
pub(crate) struct Report {
    lines: Vec<String>,
    json: Vec<serde_json::Value>,
}

/// Times in nanoseconds of one side: of each round the median of its steps, and the sum of all steps.
#[derive(Clone, Default)]
struct Times {
    rounds: Vec<f64>,
    total: f64,
}

impl Report {
    /// Runs the sides of one question in turn; then adds a line for each of `ratios`: name of ours, of raw, target. The
    /// median times of one operation in nanoseconds, by side. A smoke test runs each side once, for what it asserts.
    pub(crate) fn contest(
        &mut self,
        question: &str,
        mut plan: Plan,
        sides: &mut [Side<'_>],
        ratios: &[(&str, &str, Target)],
    ) -> Option<Vec<f64>> {
        if smoke() {
            if !listing() {
                sides.iter_mut().for_each(|side| drop(run(side, 1)));
            }
            return None;
        }
        if !wanted(question) {
            return None;
        }
        plan.rounds = rounds(plan.rounds);
        let mut times = vec![Times::default(); sides.len()];
        for round in 0..=plan.rounds {
            for turn in 0..sides.len() {
                let at = (round + turn) % sides.len();
                let found = run(&mut sides[at], plan.steps);
                // The first round warms up.
                if round > 0 {
                    times[at].rounds.push(median(&found));
                    times[at].total += found.iter().sum::<f64>();
                }
            }
        }
        for (side, times) in sides.iter().zip(&times) {
            self.tell(question, side.name, plan, times);
        }
        for (ours, raw, target) in ratios {
            let find = |name: &str| sides.iter().position(|side| side.name == name).unwrap();
            self.ratio(
                question,
                (ours, &times[find(ours)]),
                (raw, &times[find(raw)]),
                plan,
                *target,
            );
        }
        let each = |times: &Times| median(&times.rounds) / plan.ops as f64;
        Some(times.iter().map(each).collect())
    }

    /// A measure that is no time: bytes, say. `most` is what is asked of it.
    pub(crate) fn value(
        &mut self,
        question: &str,
        side: &str,
        value: f64,
        unit: &str,
        most: Option<f64>,
    ) {
        if smoke() {
            return;
        }
        let met = most.map(|most| value <= most);
        let verdict = match (most, met) {
            (Some(most), Some(true)) => format!(", target <= {most} {unit}: met"),
            (Some(most), _) => format!(", target <= {most} {unit}: MISSED"),
            (None, _) => String::new(),
        };
        self.line(format!(
            "value {question} {side} = {value:.2} {unit}{verdict}"
        ));
        self.json.push(serde_json::json!({
            "kind": "value", "question": question, "side": side, "value": value, "unit": unit, "most": most, "met": met,
        }));
    }

    /// One side alone: its time and throughput.
    fn tell(&mut self, question: &str, side: &str, plan: Plan, times: &Times) {
        let ns = median(&times.rounds) / plan.ops as f64;
        let mean = times.total / (plan.rounds * plan.steps) as f64 / plan.ops as f64;
        let mib_s = plan.bytes as f64 / plan.ops as f64 / ns * 1e9 / f64::from(1 << 20);
        let bytes = match plan.bytes {
            0 => String::new(),
            _ => format!(", {mib_s:.1} MiB/s"),
        };
        self.line(format!(
            "time {question} {side} = {} (mean {}), {:.0}/s{bytes}",
            human(ns),
            human(mean),
            1e9 / ns
        ));
        self.json.push(serde_json::json!({
            "kind": "time", "question": question, "side": side, "median_ns": ns, "mean_ns": mean,
            "bytes": plan.bytes, "ops": plan.ops,
        }));
    }

    fn ratio(
        &mut self,
        question: &str,
        ours: (&str, &Times),
        raw: (&str, &Times),
        plan: Plan,
        target: Target,
    ) {
        let speed = matches!(target, Target::Speed(_) | Target::Tell);
        let of = |ours: f64, raw: f64| if speed { raw / ours } else { ours / raw };
        let pairs = ours.1.rounds.iter().zip(&raw.1.rounds);
        let mut found: Vec<f64> = match target {
            Target::Nanos(_) => ours
                .1
                .rounds
                .iter()
                .map(|ns| ns / plan.ops as f64)
                .collect(),
            _ => pairs.map(|(ours, raw)| of(*ours, *raw)).collect(),
        };
        found.sort_by(f64::total_cmp);
        let (middle, least, most) = (median(&found), found[0], found[found.len() - 1]);
        let total = of(ours.1.total, raw.1.total);
        let of_target = target;
        let (target, met) = match target {
            Target::Speed(least) => (format!("speed >= {least}"), Some(middle >= least)),
            Target::Time(most) => (format!("time <= {most}"), Some(middle <= most)),
            Target::Nanos(most) => (format!("<= {most} ns"), Some(middle <= most)),
            Target::Tell => ("none (speed)".to_owned(), None),
            Target::Law => ("none (time)".to_owned(), None),
        };
        let verdict = match met {
            Some(true) => ": met",
            Some(false) => ": MISSED",
            None => "",
        };
        if let Target::Nanos(most) = of_target {
            self.limit(question, ours.0, &found, most);
            return;
        }
        self.line(format!(
            "ratio {question} {}/{} = {middle:.3} (median of {} rounds, {least:.3}..{most:.3}; of totals {total:.3}), \
             target {target}{verdict}",
            ours.0,
            raw.0,
            found.len()
        ));
        self.json.push(serde_json::json!({
            "kind": "ratio", "question": question, "ours": ours.0, "raw": raw.0, "median": middle, "min": least,
            "max": most, "totals": total, "rounds": found.len(), "target": target, "met": met,
        }));
    }

    /// A bound on the time of one operation, by itself.
    fn limit(&mut self, question: &str, side: &str, sorted: &[f64], most: f64) {
        let (middle, rounds) = (median(sorted), sorted.len());
        let met = middle <= most;
        self.line(format!(
            "limit {question} {side} = {middle:.1} ns (median of {rounds} rounds, {:.1}..{:.1}), target <= {most} ns: {}",
            sorted[0],
            sorted[rounds - 1],
            if met { "met" } else { "MISSED" }
        ));
        self.json.push(serde_json::json!({
            "kind": "limit", "question": question, "side": side, "median_ns": middle, "min_ns": sorted[0],
            "max_ns": sorted[rounds - 1], "rounds": rounds, "most_ns": most, "met": met,
        }));
    }

    /// A line of its own, for what is no ratio.
    pub(crate) fn line(&mut self, line: String) {
        if smoke() {
            return;
        }
        eprintln!("{line}");
        self.lines.push(line);
    }

    /// Prints the summary; adds it to the file that `MAILKEEP_BENCH_JSON` names, one JSON object a line.
    pub(crate) fn finish(self) {
        if self.lines.is_empty() {
            return;
        }
        println!("\nSummary");
        if cfg!(feature = "lock-order") {
            println!(
                "note: built with `lock-order` (--all-features): every lock is watched, and ours is slower for it"
            );
        }
        for line in &self.lines {
            println!("{line}");
        }
        if let Some(path) = std::env::var_os("MAILKEEP_BENCH_JSON") {
            let mut file = std::fs::OpenOptions::new()
                .create(true)
                .append(true)
                .open(path)
                .unwrap();
            for value in self.json {
                writeln!(file, "{value}").unwrap();
            }
        }
    }
}

/// Times in nanoseconds of `steps` steps.
fn run(side: &mut Side<'_>, steps: usize) -> Vec<f64> {
    (0..steps)
        .map(|_| (side.step)().as_nanos() as f64)
        .collect()
}

pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    match sorted.len() % 2 {
        1 => sorted[half],
        _ => f64::midpoint(sorted[half - 1], sorted[half]),
    }
}

/// A time for people.
pub(crate) fn human(ns: f64) -> String {
    match ns {
        ns if ns < 1e4 => format!("{ns:.1} ns"),
        ns if ns < 1e7 => format!("{:.1} us", ns / 1e3),
        ns => format!("{:.1} ms", ns / 1e6),
    }
}
