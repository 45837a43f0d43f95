//! What was found, as tables in Markdown for people and as JSON for programs.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::run::{Results, Run};
use crate::stores::Way;
use crate::targets::{Against, Better, Bound, ROWS, Row, Target};

/// A median with the smallest and largest.
#[derive(Clone, Copy)]
struct Spread {
    median: f64,
    min: f64,
    max: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let half = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[half]
        } else {
            f64::midpoint(values[half - 1], values[half])
        };
        Some(Self { median, min, max })
    }

    fn show(self) -> String {
        if (self.min - self.max).abs() < f64::EPSILON {
            return number(self.median);
        }
        let [median, min, max] = [self.median, self.min, self.max].map(number);
        format!("{median} [{min}-{max}]")
    }

    fn json(self) -> Value {
        json!({ "median": self.median, "min": self.min, "max": self.max })
    }
}

/// Three digits, or all before the point.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1000.0 => {
            let digits = format!("{value:.0}");
            let mut out = String::new();
            for (at, digit) in digits.chars().enumerate() {
                if at > 0 && (digits.len() - at) % 3 == 0 && !out.ends_with('-') {
                    out.push(',');
                }
                out.push(digit);
            }
            out
        }
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 || size == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// A run, and everything that is derived from it.
pub(crate) struct Report<'a> {
    pub(crate) run: &'a Run,
    pub(crate) results: &'a Results,
    pub(crate) machine: Vec<(&'static str, String)>,
}

/// Two figures of each round, divided.
struct Ratio {
    /// What is below the line.
    name: &'static str,
    spread: Spread,
}

impl Report<'_> {
    fn spread(&self, row: &Row, way: Way) -> Option<Spread> {
        let values = self.results.of(row.workload, way, row.figure);
        Spread::of(values.into_iter().map(|(_, value)| value).collect())
    }

    /// The best of `ways` by its median.
    fn best(&self, row: &Row, ways: &[Way]) -> Option<Way> {
        let medians = ways
            .iter()
            .filter_map(|way| Some((*way, self.spread(row, *way)?.median)));
        let order = |a: &(Way, f64), b: &(Way, f64)| a.1.total_cmp(&b.1);
        let best = match row.better {
            Better::More => medians.max_by(order),
            Better::Less => medians.min_by(order),
        };
        best.map(|(way, _)| way)
    }

    /// Median of the rounds' ratios: what disturbs a round disturbs both.
    fn ratio(&self, row: &Row, of: Way, against: Against) -> Option<Ratio> {
        let ours = self.results.of(row.workload, of, row.figure);
        let (name, theirs) = match against {
            Against::Nothing => ("", Vec::new()),
            Against::Best(ways) => {
                let best = self.best(row, ways)?;
                (best.name(), self.results.of(row.workload, best, row.figure))
            }
            Against::Workload(other) => (other, self.results.of(other, of, row.figure)),
        };
        let ratios = ours.into_iter().filter_map(|(round, ours)| {
            if let Against::Nothing = against {
                return Some(ours);
            }
            let theirs = theirs.iter().find(|(other, _)| *other == round)?;
            Some(ours / theirs.1)
        });
        // Nothing is a multiple of no memory at all.
        let ratios = ratios.filter(|ratio| ratio.is_finite());
        let spread = Spread::of(ratios.collect())?;
        Some(Ratio { name, spread })
    }

    pub(crate) fn markdown(&self) -> String {
        let mut out = String::new();
        // Writing to a string does not fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let (run, results) = (self.run, self.results);
        writeln!(out, "# mailkeep beside its peers\n")?;
        if run.quick {
            writeln!(
                out,
                "**Sizes of --quick: these figures say only that everything works.**\n"
            )?;
        }
        for (name, value) in &self.machine {
            writeln!(out, "- {name}: {value}")?;
        }
        writeln!(out, "- rounds: {}", run.rounds)?;
        let priority = if run.realtime {
            "real-time (`chrt -f 1`)"
        } else {
            "ordinary: on a busy machine every sync waits for a tick of the scheduler"
        };
        writeln!(out, "- priority: {priority}")?;
        if let Some(reason) = &run.no_device {
            writeln!(out, "- device write amplification was skipped: {reason}")?;
        }
        if !Way::Rocksdb.is_built() {
            writeln!(
                out,
                "- RocksDB was left out: this program was built without the feature `rocksdb`"
            )?;
        }
        for failed in &results.failed {
            writeln!(out, "- FAILED: {failed}")?;
        }
        writeln!(out, "\n| store | version and settings |\n| --- | --- |")?;
        for way in &run.ways {
            writeln!(out, "| {} | {} |", way.name(), way.settings())?;
        }
        self.write_figures(out)?;
        self.write_ratios(out)
    }

    /// The rows of which there is a figure.
    fn rows(&self) -> impl Iterator<Item = &'static Row> {
        let found = |row: &&Row| {
            let ways = &self.run.ways;
            ways.iter().any(|way| self.spread(row, *way).is_some())
        };
        ROWS.iter().filter(found)
    }

    fn write_figures(&self, out: &mut String) -> std::fmt::Result {
        writeln!(
            out,
            "\n## Figures: median [smallest-largest] of the rounds\n"
        )?;
        let names = self.run.ways.iter().map(|way| way.name());
        writeln!(out, "| | {} |", names.collect::<Vec<_>>().join(" | "))?;
        writeln!(out, "| --- |{}", " --- |".repeat(self.run.ways.len()))?;
        for row in self.rows() {
            let cells = self.run.ways.iter().map(|way| {
                let spread = self.spread(row, *way);
                spread.map_or_else(|| "-".to_owned(), Spread::show)
            });
            let unit = if row.unit.is_empty() {
                String::new()
            } else {
                format!(", {}", row.unit)
            };
            let cells = cells.collect::<Vec<_>>().join(" | ");
            writeln!(out, "| {}{unit} | {cells} |", row.label)?;
        }
        Ok(())
    }

    fn write_ratios(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "\n## Ratios: median of those of the rounds\n")?;
        writeln!(
            out,
            "Of rates more is better, of times less. `/ NAME` is mailkeep's figure divided by that store's; a bound without a \
             slash is one of mailkeep's figure itself.\n"
        )?;
        writeln!(
            out,
            "| | mailkeep / best peer | mailkeep / raw-zero | target: found |\n| --- | --- | --- | --- |"
        )?;
        let mut workload = "";
        for row in self.rows() {
            let ratio = |ways| self.ratio(row, Way::Mailkeep, Against::Best(ways));
            let (peer, raw) = (ratio(&Way::PEERS), ratio(&[Way::RawZero]));
            if peer.is_none() && raw.is_none() && row.targets.is_empty() {
                continue;
            }
            let peer = peer.map(|ratio| format!("{} ({})", ratio.spread.show(), ratio.name));
            let raw = raw.map(|ratio| ratio.spread.show());
            let targets = row
                .targets
                .iter()
                .filter_map(|target| self.judge(row, target));
            let targets = targets.collect::<Vec<_>>().join("; ");
            // Rows that begin with a dash belong to the one before; not so when that one is missing.
            let of = if row.label.starts_with("- ") && workload != row.workload {
                format!("{} ", row.workload)
            } else {
                String::new()
            };
            workload = row.workload;
            let dash = || "-".to_owned();
            let (peer, raw) = (peer.unwrap_or_else(dash), raw.unwrap_or_else(dash));
            writeln!(out, "| {of}{} | {peer} | {raw} | {targets} |", row.label)?;
        }
        Ok(())
    }

    /// A target with what was found; nothing where that is not known.
    fn judge(&self, row: &Row, target: &Target) -> Option<String> {
        let ratio = self.ratio(row, target.of, target.against)?;
        let over = match ratio.name {
            "" => String::new(),
            name => format!("/ {name} "),
        };
        let (sign, bound) = match target.bound {
            Bound::AtLeast(bound) => (">=", bound),
            Bound::AtMost(bound) => ("<=", bound),
        };
        let of = match target.of {
            Way::Mailkeep => String::new(),
            other => format!("{}: ", other.name()),
        };
        let found = number(ratio.spread.median);
        let verdict = match (self.run.quick, target.bound.holds(ratio.spread.median)) {
            (true, _) => "",
            (false, true) => ", met",
            (false, false) => ", **missed**",
        };
        Some(format!(
            "{of}{over}{sign} {}: {found}{verdict}",
            number(bound)
        ))
    }

    pub(crate) fn json(&self) -> Value {
        let machine = self
            .machine
            .iter()
            .map(|(name, value)| json!([name, value]));
        let stores = self.run.ways.iter();
        let stores = stores.map(|way| json!({ "store": way.name(), "settings": way.settings() }));
        let found = self.results.found.iter().map(|found| {
            json!({
                "workload": found.workload.name, "store": found.way.name(), "round": found.round + 1,
                "figures": found.figures,
            })
        });
        let rows = self.rows().map(|row| self.json_row(row));
        json!({
            "machine": machine.collect::<Vec<_>>(),
            "rounds": self.run.rounds,
            "quick": self.run.quick,
            "realtime": self.run.realtime,
            "no_device": self.run.no_device,
            "stores": stores.collect::<Vec<_>>(),
            "found": found.collect::<Vec<_>>(),
            "failed": self.results.failed,
            "rows": rows.collect::<Vec<_>>(),
        })
    }

    fn json_row(&self, row: &Row) -> Value {
        let ratio = |of, against| {
            let ratio = self.ratio(row, of, against)?;
            Some(json!({ "against": ratio.name, "ratio": ratio.spread.json() }))
        };
        let targets = row.targets.iter().filter_map(|target| {
            let found = self.ratio(row, target.of, target.against)?;
            let (bound, limit) = match target.bound {
                Bound::AtLeast(limit) => ("at least", limit),
                Bound::AtMost(limit) => ("at most", limit),
            };
            Some(json!({
                "store": target.of.name(), "against": found.name, "bound": bound, "limit": limit,
                "found": found.spread.json(),
                "met": (!self.run.quick).then(|| target.bound.holds(found.spread.median)),
            }))
        });
        json!({
            "workload": row.workload, "figure": row.figure, "label": row.label, "unit": row.unit,
            "over_best_peer": ratio(Way::Mailkeep, Against::Best(&Way::PEERS)),
            "over_raw_zero": ratio(Way::Mailkeep, Against::Best(&[Way::RawZero])),
            "targets": targets.collect::<Vec<_>>(),
        })
    }
}
