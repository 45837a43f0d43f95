//! Which of the benches' figures are shown, and how.

use std::fmt::Write as _;

use serde_json::Value;

/// What is between these marks is written by a program.
const BEGIN: &str = "<!-- numbers: sh benches/readme.sh -->";
const END: &str = "<!-- numbers end -->";

/// One row: what it is called, and which line of the benches it shows.
struct Row {
    title: &'static str,
    kind: &'static str,
    question: &'static str,
    ours: &'static str,
    /// What ours is compared with; empty where it stands by itself.
    raw: &'static str,
}

const fn row(kind: &'static str, [title, question, ours, raw]: [&'static str; 4]) -> Row {
    Row {
        title,
        kind,
        question,
        ours,
        raw,
    }
}

const fn ratio(
    title: &'static str,
    question: &'static str,
    ours: &'static str,
    raw: &'static str,
) -> Row {
    row("ratio", [title, question, ours, raw])
}

const fn limit(title: &'static str, question: &'static str, ours: &'static str) -> Row {
    row("limit", [title, question, ours, ""])
}

const fn time(title: &'static str, question: &'static str, ours: &'static str) -> Row {
    row("time", [title, question, ours, ""])
}

const fn value(title: &'static str, question: &'static str, ours: &'static str) -> Row {
    row("value", [title, question, ours, ""])
}

struct Part {
    head: &'static str,
    rows: &'static [Row],
}

#[rustfmt::skip]
const PARTS: &[Part] = &[
    Part {
        head: "delivery (`deliver`): speed, ours / raw",
        rows: &[
            ratio("durable, 1 thread, 4 KiB, raw prewritten", "deliver/durable/1-thread/4KiB", "ours", "raw-prewritten"),
            ratio("raw growing", "deliver/durable/1-thread/4KiB", "ours", "raw-growing"),
            ratio("a new store, raw prewritten", "deliver/durable/1-thread/4KiB", "ours-new-store", "raw-prewritten"),
            ratio("durable, 1 thread, mail-sized, raw prewritten", "deliver/durable/1-thread/mail", "ours", "raw-prewritten"),
            ratio("raw growing", "deliver/durable/1-thread/mail", "ours", "raw-growing"),
            ratio("a new store, raw prewritten", "deliver/durable/1-thread/mail", "ours-new-store", "raw-prewritten"),
            ratio("durable, 16 threads sharing syncs, 4 KiB, raw prewritten", "deliver/durable/16-threads/4KiB", "ours", "raw-prewritten"),
            ratio("raw growing", "deliver/durable/16-threads/4KiB", "ours", "raw-growing"),
            ratio("durable, 16 threads sharing syncs, mail-sized, raw prewritten", "deliver/durable/16-threads/mail", "ours", "raw-prewritten"),
            ratio("raw growing", "deliver/durable/16-threads/mail", "ours", "raw-growing"),
            ratio("written, 1 thread, 4 KiB, raw growing", "deliver/written/1-thread/4KiB", "ours", "raw-growing"),
            ratio("a new store", "deliver/written/1-thread/4KiB", "ours-new-store", "raw-growing"),
            ratio("written, 1 thread, mail-sized, raw growing", "deliver/written/1-thread/mail", "ours", "raw-growing"),
            ratio("a new store", "deliver/written/1-thread/mail", "ours-new-store", "raw-growing"),
        ],
    },
    Part {
        head: "flags and copies (`flags`), durable",
        rows: &[
            ratio("one flag: time, ours / one small write and `fdatasync` on prewritten blocks", "flags/durable/1", "ours", "raw-prewritten"),
            limit("10,000 flags in one commit", "flags/durable/10000-in-1-commit", "ours"),
            limit("copy of 10,000 messages in one commit", "copy/durable/10000-in-1-commit", "ours"),
        ],
    },
    Part {
        head: "reading, warm, under the guard (`read`, `scan`)",
        rows: &[
            ratio("lookup and verified read: time, ours / CRC-32C of the same bytes, 1 MiB", "read/verify/warm/1MiB", "ours", "raw-crc32c"),
            ratio("64 KiB", "read/verify/warm/64KiB", "ours", "raw-crc32c"),
            ratio("8 KiB", "read/verify/warm/8KiB", "ours", "raw-crc32c"),
            ratio("300 B", "read/verify/warm/300B", "ours", "raw-crc32c"),
            limit("lookup and bytes of a message verified before, 300 B", "read/verified/warm/300B", "lookup+bytes"),
            limit("scan of 100,000 flags, each", "scan/flags/warm/100000", "ours-columns"),
        ],
    },
    Part {
        head: "opening 1,000,000 messages of 300 B in 1,000 accounts, warm (`open`, `recover`)",
        rows: &[
            limit("after a clean close", "open/clean/warm/1000000", "ours"),
            time("and the first message of an account", "open/clean/warm/1000000", "ours-first-message"),
            limit("after kill -9, with 8 MiB of tail of 300 B, each a batch", "recover/warm/1000000/tail-8MiB-of-300B", "ours"),
            limit("with 8 MiB of tail of 64 KiB", "recover/warm/1000000/tail-8MiB-of-64KiB", "ours"),
            value("the law: without a tail", "recover/warm/law", "without a tail"),
            value("and a record of the tail", "recover/warm/law", "a record of the tail"),
            value("and a MiB of it", "recover/warm/law", "a MiB of the tail"),
        ],
    },
    Part {
        head: "the index deleted (`rebuild`), 6,000 mail-sized messages; 300,000 of 300 B",
        rows: &[
            limit("first answer, the opening included, log cold", "rebuild/cold/100-accounts/6000x-mail", "first-answer"),
            ratio("full rebuild, log cold: speed, ours / reading the segments once", "rebuild/cold/100-accounts/6000x-mail", "rebuild", "raw-read"),
            limit("300 B: first answer, log cold", "rebuild/cold/100-accounts/300000x300B", "first-answer"),
            ratio("300 B: full rebuild, log cold", "rebuild/cold/100-accounts/300000x300B", "rebuild", "raw-read"),
        ],
    },
    Part {
        head: "memory with 1,000,000 messages of 300 B in 1,000 accounts (`memory`)",
        rows: &[
            value("after opening, anonymous", "memory/warm/1000000x300B/after opening", "anonymous"),
            value("1 % read, the newest of each account: mapped pages", "memory/warm/1000000x300B/after 1% read, newest", "mapped"),
            value("anonymous, all 1,000 accounts loaded", "memory/warm/1000000x300B/after 1% read, newest", "anonymous"),
            value("1 % read, scattered: mapped pages (the kernel maps 64 KiB a touch)", "memory/warm/1000000x300B/after 1% read, scattered", "mapped"),
            value("a plain map of the same files, touched as often", "memory/warm/1000000x300B/after 1% read, scattered", "raw-map"),
            value("1 % read, 10 whole accounts: anonymous", "memory/warm/1000000x300B/after 1% read, few-accounts", "anonymous"),
        ],
    },
    Part {
        head: "growth (`growth`): time at 100 times the size / at once",
        rows: &[
            ratio("mailbox of 100,000 / 1,000: view", "growth/mailbox/view/warm", "100x", "1x"),
            ratio("read", "growth/mailbox/read/warm", "100x", "1x"),
            ratio("flag, written: copies a node for each level of a tree", "growth/mailbox/flag/written/a-node-a-level", "100x", "1x"),
            ratio("deliver, written: the same law", "growth/mailbox/deliver/written/a-node-a-level", "100x", "1x"),
            ratio("open", "growth/mailbox/open/clean/warm", "100x", "1x"),
            ratio("first view after opening, by the message", "growth/mailbox/first-view-a-message/warm", "100x", "1x"),
            ratio("10,000 / 100 accounts: view", "growth/accounts/view/warm", "100x", "1x"),
            ratio("read", "growth/accounts/read/warm", "100x", "1x"),
            ratio("flag, written", "growth/accounts/flag/written", "100x", "1x"),
            ratio("deliver, written", "growth/accounts/deliver/written", "100x", "1x"),
            ratio("open", "growth/accounts/open/clean/warm", "100x", "1x"),
            ratio("1,000 / 10 segments: view", "growth/segments/view/warm", "100x", "1x"),
            ratio("read", "growth/segments/read/warm", "100x", "1x"),
            ratio("flag, written", "growth/segments/flag/written", "100x", "1x"),
            ratio("deliver, written", "growth/segments/deliver/written", "100x", "1x"),
            ratio("open: reads the name of each segment", "growth/segments/open/clean/warm/a-name-a-segment", "100x", "1x"),
        ],
    },
];

/// The section as Markdown, from the benches' JSON lines.
pub(crate) fn numbers(found: &str, machine: &str) -> Result<String, String> {
    let lines: Result<Vec<Value>, _> = found.lines().map(serde_json::from_str).collect();
    let lines = lines.map_err(|error| format!("not a line of JSON: {error}"))?;
    let mut rounds: Vec<u64> = lines
        .iter()
        .filter_map(|line| line["rounds"].as_u64())
        .collect();
    rounds.sort_unstable();
    rounds.dedup();
    let rounds: Vec<String> = rounds.iter().map(u64::to_string).collect();
    let rounds = rounds.join(", ");
    let mut text = format!(
        "Written by `sh benches/readme.sh` from one run: {machine}.\n\
         Medians of {rounds} rounds, in which ours and the raw loop take turns on the same file system, with the smallest and the\n\
         largest. The raw loop computes the same CRC-32C and BLAKE3, writes the same bytes in one call and, where durable, calls\n\
         `fdatasync`; that of 16 threads shares syncs among as many. *Mail-sized* is log-normal, median 8 KiB, mean 40 KB. Where\n\
         it does not say *a new store*, deliveries go into one of 512 MiB, the durable ones into a segment that was prepared. A new\n\
         store begins a segment often, and syncs the one before it; a raw file never does, and is never sealed.\n"
    );
    for part in PARTS {
        let _ = write!(
            text,
            "\n| {} | found | target |\n| --- | --- | --- |\n",
            part.head
        );
        for row in part.rows {
            let line = row.find(&lines)?;
            let _ = writeln!(text, "| {} | {} |", row.title, cells(row.kind, line)?);
        }
    }
    Ok(text)
}

impl Row {
    /// Its line: the last one, and one with a target where there is one.
    fn find<'a>(&self, lines: &'a [Value]) -> Result<&'a Value, String> {
        let ours = if self.kind == "ratio" { "ours" } else { "side" };
        let fits = |line: &&Value| {
            line["kind"] == self.kind
                && line["question"] == self.question
                && line[ours] == self.ours
                && (self.raw.is_empty() || line["raw"] == self.raw)
        };
        let all = || lines.iter().rev().filter(fits);
        let found = all()
            .find(|line| !line["met"].is_null())
            .or_else(|| all().next());
        found.ok_or_else(|| {
            let Self {
                kind,
                question,
                ours,
                raw,
                ..
            } = self;
            format!("no {kind} {question} {ours} {raw} was found: did its bench run?")
        })
    }
}

/// What was found, and what is asked, as two cells.
fn cells(kind: &str, line: &Value) -> Result<String, String> {
    let number = |name: &str| {
        let value = line[name].as_f64();
        value.ok_or_else(|| format!("no number {name} in {line}"))
    };
    let (found, target) = match kind {
        "ratio" => {
            let (low, high) = (number("min")?, number("max")?);
            let target = line["target"].as_str().unwrap_or_default();
            let target =
                target.trim_start_matches(|letter: char| letter.is_alphabetic() || letter == ' ');
            let target = if line["met"].is_null() { "" } else { target };
            (
                format!("{:.2} ({low:.2} to {high:.2})", number("median")?),
                target.to_owned(),
            )
        }
        "limit" => {
            let (low, high) = (human(number("min_ns")?), human(number("max_ns")?));
            let found = format!("{} ({low} to {high})", human(number("median_ns")?));
            (found, format!("<= {}", human(number("most_ns")?)))
        }
        "time" => (human(number("median_ns")?), String::new()),
        _ => {
            let unit = line["unit"].as_str().unwrap_or_default();
            let target = number("most").map_or(String::new(), |most| format!("<= {most} {unit}"));
            (format!("{:.1} {unit}", number("value")?), target)
        }
    };
    let missed = if line["met"] == false { ", missed" } else { "" };
    Ok(format!("{found} | {target}{missed}"))
}

/// A time for people.
fn human(ns: f64) -> String {
    match ns {
        ns if ns < 1e3 => format!("{ns:.1} ns"),
        ns if ns < 1e6 => format!("{:.1} us", ns / 1e3),
        ns if ns < 1e9 => format!("{:.2} ms", ns / 1e6),
        ns => format!("{:.2} s", ns / 1e9),
    }
}

/// The file with that text between the marks.
pub(crate) fn put(readme: &str, text: &str) -> Result<String, String> {
    let once = |mark: &str| match readme.matches(mark).count() {
        1 => Ok(readme.find(mark).unwrap_or_default()),
        count => Err(format!("the mark {mark} is there {count} times, not once")),
    };
    let (begin, end) = (once(BEGIN)? + BEGIN.len(), once(END)?);
    if begin > end {
        return Err(format!("{END} is before {BEGIN}"));
    }
    let (before, after) = (&readme[..begin], &readme[end..]);
    Ok(format!("{before}\n{text}{after}"))
}

/// A run in which each row was found with these figures, for tests.
#[cfg(test)]
pub(crate) fn made_up(met: bool) -> String {
    let rows = PARTS.iter().flat_map(|part| part.rows);
    let line = |row: &Row| {
        serde_json::json!({
            "kind": row.kind, "question": row.question, "ours": row.ours, "side": row.ours, "raw": row.raw,
            "median": 1.25, "min": 1.0, "max": 1.5, "target": "time <= 1.2", "met": met, "rounds": 15,
            "median_ns": 1250.0, "min_ns": 1000.0, "max_ns": 1500.0, "most_ns": 2e6, "value": 3.5, "unit": "MiB", "most": 4,
        })
    };
    rows.map(|row| format!("{}\n", line(row))).collect()
}
