//! `mailkeep import`: mail from files into a store.
//!
//! Three threads: one reads files (`read`), this one hashes and delivers, one waits for the disk. Deliveries go on
//! while those before are being synced, so that the import is bound by the processor and not by the disk's flushes.
//! What is under way is bounded, so memory does not grow with the source.

mod read;
mod target;

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Instant;

use mailkeep::mail::{FieldName, Summary};
use mailkeep::{Commit, Delivered, Delivery, Error, Flags, InternalDate, Keyword, Options, Store};
use serde_json::json;

use self::read::Batch;
use self::target::Targets;
use crate::args::Import;
use crate::error::{CliError, Verdict, chain};
use crate::output::{self, Output, Progress, safe};
use crate::source::{self, Found, SourceError};
use crate::store;

/// Bytes of messages that are handed to the waiting thread at once. Up to three such windows are under way.
const WINDOW_LEN: usize = 4 << 20;

/// Small messages that make a window.
const WINDOW_COUNT: usize = 8192;

/// Imports all paths.
pub(crate) fn run(args: &Import, out: &mut Output) -> Result<Verdict, CliError> {
    let start = Instant::now();
    for path in args.path.iter().filter(|path| *path != Path::new("-")) {
        // A path that is mistyped must not make a store.
        std::fs::metadata(path).map_err(|source| missing(path, source))?;
    }
    let store = open(args)?;
    let account = match store.account(args.account.as_str()) {
        Err(Error::NoSuchAccount { .. }) => store.create_account(args.account.as_str())?,
        found => found?,
    };
    let targets = Targets::new(account, args.mailbox.clone(), args.skip_existing);
    let mut import = Run::new(targets, read::total_bytes(&args.path));
    let done = import.all(args);
    import.progress.finish();
    store::warn_of_lost(&store);
    let closed = store.close();
    done?;
    closed?;
    import.sample_memory();
    import.report(args, start, out)?;
    Ok(Verdict::of(import.counts.failed == 0))
}

fn missing(path: &Path, source: std::io::Error) -> SourceError {
    SourceError::Io {
        op: "open",
        path: path.to_path_buf(),
        offset: 0,
        source,
    }
}

fn open(args: &Import) -> Result<Store, CliError> {
    let options = Options::new()
        .create(!args.no_create)
        .durability(args.durability.into())
        .message_max(args.message_max);
    let store = store::open(&args.store, options)?;
    let recovery = store.recovery();
    if !(recovery.clean && recovery.is_whole()) {
        output::warn(&format!("recovered: {recovery}"));
    }
    Ok(store)
}

/// What was done.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    messages: u64,
    bytes: u64,
    skipped: u64,
    failed: u64,
    flags_dropped: u64,
    passed_over: u64,
}

/// An import under way.
struct Run {
    targets: Targets,
    progress: Progress,
    counts: Counts,
    anon_peak_bytes: Option<u64>,
}

/// Deliveries under way.
type Window = Vec<Commit<Delivered>>;

impl Run {
    fn new(targets: Targets, total_bytes: u64) -> Self {
        Self {
            targets,
            progress: Progress::new(total_bytes),
            counts: Counts::default(),
            anon_peak_bytes: None,
        }
    }

    /// Runs the three threads.
    fn all(&mut self, args: &Import) -> Result<(), Error> {
        let options = source::Options {
            message_max: args.message_max,
            format: args.format.into(),
            quoting: args.quoting.into(),
        };
        thread::scope(|scope| {
            let (batch_sender, batches) = sync_channel(1);
            let (windows, window_receiver) = sync_channel(1);
            scope.spawn(move || read::read_all(&args.path, options, &batch_sender));
            let waiting = scope.spawn(move || wait_all(&window_receiver));
            let delivered = self.deliver_all(batches, windows);
            let waited = waiting
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            // The waiting thread met the cause, if both failed.
            waited.and(delivered)
        })
    }

    /// Delivers what is read. Both channels are closed when this returns, which ends the other threads.
    fn deliver_all(
        &mut self,
        batches: Receiver<Batch>,
        windows: SyncSender<Window>,
    ) -> Result<(), Error> {
        let (mut window, mut window_len) = (Window::new(), 0);
        for batch in batches {
            for item in batch.items {
                match item {
                    Ok(found) => {
                        if let Some(commit) = self.deliver(&found)? {
                            window.push(commit);
                            window_len += found.raw.len();
                        }
                    }
                    // Counted by the source, and no failure: nobody said that it is mail.
                    Err(error @ SourceError::PassedOver { .. }) => self.warn(&chain(&error)),
                    Err(error) => self.fail(&chain(&error)),
                }
                if window_len >= WINDOW_LEN || window.len() >= WINDOW_COUNT {
                    self.sample_memory();
                    window_len = 0;
                    if windows.send(std::mem::take(&mut window)).is_err() {
                        return Ok(());
                    }
                }
            }
            self.counts.passed_over = batch.passed_over;
            let done = self.counts.messages + self.counts.skipped;
            self.progress.show(batch.read_bytes, done);
        }
        // Nobody takes it when waiting has failed; that is told there.
        let _ = windows.send(window);
        Ok(())
    }

    /// Delivers a message, unless it is skipped or refused.
    fn deliver(&mut self, found: &Found) -> Result<Option<Commit<Delivered>>, Error> {
        let (progress, raw) = (&self.progress, &found.raw);
        let mut warn = |text: String| progress.warn(&format!("warning: {text}"));
        let Some(target) = self.targets.find(&found.folder, &mut warn)? else {
            self.counts.failed += 1;
            return Ok(None);
        };
        if target.takes_as_held(raw) {
            self.counts.skipped += 1;
            return Ok(None);
        }
        let (delivery, dropped) = delivery(found, Delivery::to(&target.mailbox));
        self.counts.flags_dropped += dropped.len() as u64;
        for why in dropped {
            warn(format!("{}: {why}", place(found)));
        }
        match target.mailbox.append(raw, delivery) {
            Ok(commit) => {
                self.counts.messages += 1;
                self.counts.bytes += raw.len() as u64;
                Ok(Some(commit))
            }
            Err(error) if is_about_message(&error) => {
                self.fail(&format!("{}: {}", place(found), chain(&error)));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn fail(&mut self, why: &str) {
        self.counts.failed += 1;
        self.warn(why);
    }

    fn warn(&self, why: &str) {
        self.progress.warn(&format!("warning: {why}"));
    }

    fn sample_memory(&mut self) {
        self.anon_peak_bytes = self.anon_peak_bytes.max(anon_bytes());
    }

    fn report(&self, args: &Import, start: Instant, out: &mut Output) -> Result<(), CliError> {
        let counts = &self.counts;
        let seconds = start.elapsed().as_secs_f64();
        if out.is_json() {
            return out.value(&json!({
                "account": args.account.as_str(),
                "messages": counts.messages,
                "bytes": counts.bytes,
                "skipped": counts.skipped,
                "failed": counts.failed,
                "flags_dropped": counts.flags_dropped,
                "passed_over": counts.passed_over,
                "seconds": seconds,
                "anon_peak_bytes": self.anon_peak_bytes,
            }));
        }
        out.line(format_args!(
            "imported {} messages, {} bytes in {seconds:.1} s; skipped {}, failed {}, \
             flags dropped {}, files passed over {}",
            counts.messages,
            counts.bytes,
            counts.skipped,
            counts.failed,
            counts.flags_dropped,
            counts.passed_over,
        ))
    }
}

/// Waits for the deliveries of all windows, in order.
fn wait_all(windows: &Receiver<Window>) -> Result<(), Error> {
    for window in windows {
        for commit in window {
            commit.wait()?;
        }
    }
    Ok(())
}

/// Whether an error concerns one message, and the import goes on after it.
fn is_about_message(error: &Error) -> bool {
    matches!(
        error,
        Error::EmptyMessage
            | Error::TooLarge { .. }
            | Error::NotAllowed { .. }
            | Error::NoSuchMailbox { .. }
            | Error::Exhausted { .. }
    )
}

/// Where a message was found, for people.
fn place(found: &Found) -> String {
    let path = found.origin.path.display().to_string();
    format!("{} at byte {}", safe(&path), found.origin.offset)
}

/// The delivery with date and marks, and why marks were dropped.
fn delivery(found: &Found, mut delivery: Delivery) -> (Delivery, Vec<String>) {
    if let Some(date) = received(found) {
        delivery = delivery.internal_date(date);
    }
    let (mut flags, mut dropped) = (Flags::default(), Vec::new());
    for name in &found.flags {
        if let Some(flag) = Flags::from_name(name) {
            flags |= flag;
            continue;
        }
        match Keyword::new(name) {
            Ok(keyword) => delivery = delivery.keyword(keyword),
            Err(error) => dropped.push(format!("flag {name:?} is dropped: {error}")),
        }
    }
    (delivery.flags(flags), dropped)
}

/// When a message was received: as its source says, else the date of its Date field; `None` is now.
fn received(found: &Found) -> Option<InternalDate> {
    let stated = |(seconds, zone)| InternalDate::new(seconds, zone);
    found.received.and_then(stated).or_else(|| {
        let value = Summary::of(&found.raw).field(FieldName::Date, &found.raw)?;
        InternalDate::rfc5322(&String::from_utf8_lossy(value))
    })
}

/// Memory of this process that is not mapped from files, where the system tells.
fn anon_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn found(raw: &[u8], received: Option<(i64, i16)>) -> Found {
        Found {
            raw: raw.to_vec(),
            received,
            flags: Vec::new(),
            folder: Vec::new(),
            origin: source::Origin {
                path: PathBuf::from("m"),
                offset: 0,
            },
        }
    }

    #[test]
    fn the_source_dates_a_message_then_its_date_field() {
        let raw = b"Date: Fri, 21 Nov 1997 09:55:06 -0600\n\n";
        let field = InternalDate::new(880_127_706, -360);
        assert_eq!(
            received(&found(raw, Some((7, 60)))),
            InternalDate::new(7, 60)
        );
        assert_eq!(received(&found(raw, None)), field);
        // A date that cannot be.
        assert_eq!(received(&found(raw, Some((i64::MAX, 0)))), field);
        assert_eq!(received(&found(b"Date: soon\n\n", None)), None);
        assert_eq!(received(&found(b"x", None)), None);
    }
}
