//! Figures: how a process tells them, and how they are shown.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::Result;

/// What a figure should be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    None,
    Most(f64),
    Least(f64),
}

/// Where a process writes its figures: standard output, a line of JSON for each.
#[derive(Debug, Default)]
pub(crate) struct Sheet(());

impl Sheet {
    pub(crate) fn put(&mut self, what: &str, value: f64, unit: &str) {
        self.aim(what, value, unit, Target::None);
    }

    /// A figure with a target.
    pub(crate) fn aim(&mut self, what: &str, value: f64, unit: &str, target: Target) {
        println!("{}", figure(what, value, unit, target));
    }

    /// A time, in milliseconds.
    pub(crate) fn time(&mut self, what: &str, time: Duration, target: Target) {
        self.aim(what, time.as_secs_f64() * 1e3, "ms", target);
    }

    /// Bytes, in MiB.
    pub(crate) fn mib(&mut self, what: &str, bytes: u64, target: Target) {
        self.aim(what, bytes as f64 / f64::from(1 << 20), "MiB", target);
    }
}

fn figure(what: &str, value: f64, unit: &str, target: Target) -> Value {
    let mut figure = json!({ "what": what, "value": value, "unit": unit });
    let (key, bound, met) = match target {
        Target::None => return figure,
        Target::Most(most) => ("at_most", most, value <= most),
        Target::Least(least) => ("at_least", least, value >= least),
    };
    if let Some(fields) = figure.as_object_mut() {
        fields.insert(key.into(), bound.into());
        fields.insert("met".into(), met.into());
    }
    figure
}

/// What the program shows of all processes' figures.
#[derive(Debug)]
pub(crate) struct Shown {
    json: bool,
    missed: u64,
}

impl Shown {
    pub(crate) fn new(json: bool) -> Self {
        Self { json, missed: 0 }
    }

    pub(crate) fn all_met(&self) -> bool {
        self.missed == 0
    }

    /// Runs a process and shows its figures as they come.
    pub(crate) fn run(&mut self, step: &str, command: &mut Command) -> Result<()> {
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        if let Some(out) = child.stdout.take() {
            for line in BufReader::new(out).lines() {
                self.show(step, serde_json::from_str(&line?)?);
            }
        }
        let status = child.wait()?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("{step}: {status}").into())
        }
    }

    /// A figure of this process.
    pub(crate) fn put(&mut self, step: &str, what: &str, value: f64, unit: &str, target: Target) {
        self.show(step, figure(what, value, unit, target));
    }

    /// A remark, for people.
    pub(crate) fn say(&self, step: &str, text: &str) {
        if !self.json {
            println!("{step:<16} {text}");
        }
    }

    fn show(&mut self, step: &str, mut figure: Value) {
        let met = figure.get("met").and_then(Value::as_bool);
        self.missed += u64::from(met == Some(false));
        if self.json {
            if let Some(fields) = figure.as_object_mut() {
                fields.insert("step".into(), step.into());
            }
            println!("{figure}");
            return;
        }
        let text = |key: &str| figure.get(key).and_then(Value::as_str).unwrap_or_default();
        let number = |key: &str| figure.get(key).and_then(Value::as_f64);
        let value = number("value").unwrap_or(f64::NAN);
        let (digits, word) = (
            places(value),
            if met == Some(false) { "MISSED" } else { "met" },
        );
        let target = match (number("at_most"), number("at_least")) {
            (Some(most), _) => format!("  (at most {most}: {word})"),
            (_, Some(least)) => format!("  (at least {least}: {word})"),
            _ => String::new(),
        };
        let (what, unit) = (text("what"), text("unit"));
        println!("{step:<16} {what:<52} {value:>12.digits$} {unit}{target}");
    }
}

/// Three figures that count.
fn places(value: f64) -> usize {
    match value.abs() {
        0.0 => 0,
        small if small < 1.0 => 3,
        middle if middle < 100.0 => 2,
        _ => 0,
    }
}

/// Times, counted in steps of a sixteenth: of any number of them in a few kilobytes.
#[derive(Clone, Debug)]
pub(crate) struct Times {
    counts: Vec<u64>,
    total: u64,
    longest: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            counts: vec![0; 64 * 16],
            total: 0,
            longest: Duration::ZERO,
        }
    }
}

impl Times {
    pub(crate) fn add(&mut self, time: Duration) {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).max(16);
        let top = 63 - ns.leading_zeros();
        let at = top * 16 + ((ns >> (top - 4)) & 15) as u32;
        if let Some(count) = self.counts.get_mut(at as usize) {
            *count += 1;
        }
        self.total += 1;
        self.longest = self.longest.max(time);
    }

    pub(crate) fn join(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.total += other.total;
        self.longest = self.longest.max(other.longest);
    }

    pub(crate) fn count(&self) -> u64 {
        self.total
    }

    pub(crate) fn longest(&self) -> Duration {
        self.longest
    }

    /// The time that this part of all was not longer than.
    pub(crate) fn part(&self, part: f64) -> Duration {
        let rank = (self.total as f64 * part).ceil() as u64;
        let mut seen = 0;
        for (at, count) in (0_u64..).zip(&self.counts) {
            seen += count;
            if seen >= rank {
                let top = (at / 16).max(4);
                return Duration::from_nanos((16 + at % 16 + 1) << (top - 4)).min(self.longest);
            }
        }
        self.longest
    }
}
