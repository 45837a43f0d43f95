//! What is done to a copy, and what is asked of it afterwards.

use std::fmt;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use mailkeep::format::PAGE;
use mailkeep::format::footer::Trailer;
use mailkeep::{Delivery, Digest, Error, Store};

use super::Result;
use super::copy::{self, message, segments};
use super::exam::{Comparison, Content, options, read};
use super::report::Outcome;

/// One kind of harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Fault {
    /// A process that delivers is killed, three times.
    Kill,
    /// One bit of the log is inverted.
    Bit,
    /// A sector of the log reads as zeroes.
    Sector,
    /// Everything derived is deleted.
    Index,
    /// The checkpoint of the index is damaged.
    Checkpoint,
    /// The footer of a sealed segment is damaged.
    Footer,
    /// One of the two slots of MANIFEST is damaged.
    Manifest,
    /// A segment of the log is cut in half.
    Truncate,
    /// A segment of the log is gone.
    Segment,
}

impl Fault {
    pub(crate) const ALL: [Self; 9] = [
        Self::Kill,
        Self::Bit,
        Self::Sector,
        Self::Index,
        Self::Checkpoint,
        Self::Footer,
        Self::Manifest,
        Self::Truncate,
        Self::Segment,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Bit => "bit",
            Self::Sector => "sector",
            Self::Index => "index",
            Self::Checkpoint => "checkpoint",
            Self::Footer => "footer",
            Self::Manifest => "manifest",
            Self::Truncate => "truncate",
            Self::Segment => "segment",
        }
    }

    /// Whether mail itself is harmed, so that some of it may be lost.
    fn harms_mail(self) -> bool {
        matches!(
            self,
            Self::Bit | Self::Sector | Self::Truncate | Self::Segment
        )
    }

    /// Whether a store must not be opened for writing as if nothing had happened.
    fn cuts(self) -> bool {
        matches!(self, Self::Truncate | Self::Segment)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The drill: where it takes place, and how its other process is begun.
pub(crate) struct Drill<'a> {
    pub(crate) scratch: &'a Path,
    pub(crate) seed: u64,
    pub(crate) victim: &'a dyn Fn(&Path) -> Command,
}

impl Drill<'_> {
    /// Does each of `faults` to a copy of its own; tells what came of it.
    pub(crate) fn run(
        &self,
        store: Option<&Path>,
        faults: &[Fault],
        tell: &mut dyn FnMut(&Outcome),
    ) -> Result<()> {
        let first = self.scratch.join("original");
        match store {
            Some(store) => drop(copy::take(store, &first)?),
            None => copy::make(&first)?,
        }
        // Read from a copy too: even an opening writes.
        let compared = self.scratch.join("compared");
        copy::copy(&first, &compared)?;
        let before = read(&compared)?;
        for fault in faults {
            let path = self.scratch.join(fault.name());
            copy::copy(&first, &path)?;
            tell(&self.one(*fault, &path, &before)?);
        }
        Ok(())
    }

    fn one(&self, fault: Fault, path: &Path, before: &Content) -> Result<Outcome> {
        let mut acknowledged = Vec::new();
        let done = match fault {
            Fault::Kill => self.kill(path, &mut acknowledged)?,
            _ => match harm(fault, path, self.seed)? {
                Ok(done) => done,
                Err(why) => return Ok(Outcome::skipped(fault.name(), why)),
            },
        };
        let mut outcome = Outcome {
            fault: fault.name(),
            done,
            ..Outcome::default()
        };
        examine(fault, path, before, &mut outcome);
        if fault == Fault::Kill {
            missing(path, &acknowledged, &mut outcome);
        }
        Ok(outcome)
    }

    /// Begins the other process and kills it, three times; what it acknowledged.
    fn kill(&self, path: &Path, acknowledged: &mut Vec<Digest>) -> Result<String> {
        let mut times = Vec::new();
        for round in 0..3 {
            let mut child = (self.victim)(path).stdout(Stdio::piped()).spawn()?;
            let out = child.stdout.take().ok_or("no output")?;
            let lines = std::thread::spawn(move || {
                let lines = BufReader::new(out).lines().map_while(Result::<_, _>::ok);
                let said = lines.filter_map(|line| {
                    let text = line.strip_prefix("acknowledged ")?;
                    text.parse::<Digest>().ok()
                });
                said.collect::<Vec<_>>()
            });
            let after = Duration::from_millis(400 + (self.seed * 131 + round * 277) % 600);
            std::thread::sleep(after);
            child.kill()?;
            child.wait()?;
            times.push(format!("{} ms", after.as_millis()));
            acknowledged.extend(lines.join().map_err(|_| "the reader ended early")?);
        }
        let (count, times) = (acknowledged.len(), times.join(", "));
        Ok(format!(
            "a process that delivered was killed with SIGKILL after {times}; it had acknowledged {count} messages"
        ))
    }
}

/// Delivers to an account of its own until the process is killed.
pub(crate) fn deliver_until_killed(path: &Path) -> Result<()> {
    const NAME: &str = "drill@mailkeep.invalid";
    let store = Store::open(path, options())?;
    let account = match store.account(NAME) {
        Ok(account) => account,
        Err(_) => store.create_account(NAME)?,
    };
    let inbox = account.inbox()?;
    let first = inbox.status()?.uid_next.map_or(1, |uid| uid.get());
    for n in first.. {
        let raw = message("drill", n, 300 + (n as usize % 3) * 30_000);
        for kept in store.deliver(&raw, [Delivery::to(&inbox)])?.wait()? {
            kept?;
        }
        println!("\nacknowledged {}", Digest::of(&raw));
        std::io::stdout().flush()?;
    }
    Ok(())
}

/// Goal: what the killed process acknowledged is there.
fn missing(path: &Path, acknowledged: &[Digest], outcome: &mut Outcome) {
    let found = match read(path) {
        Ok(content) => content.messages,
        Err(error) => {
            return outcome
                .broken
                .push(format!("it does not open again: {error}"));
        }
    };
    let there = |digest: &Digest| found.values().any(|found| found.as_ref() == Ok(digest));
    let lost = acknowledged.iter().filter(|digest| !there(digest)).count();
    if lost > 0 {
        outcome
            .broken
            .push(format!("{lost} acknowledged messages are gone"));
    }
}

/// Does something to the files; in words. The inner error: why it cannot be done to this store.
fn harm(fault: Fault, path: &Path, seed: u64) -> Result<Result<String, &'static str>> {
    let mixed = (seed ^ (fault as u64) << 32).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut dice = Dice(mixed | 1);
    let log = segments(path)?;
    let shown = |file: &Path| {
        file.strip_prefix(path)
            .unwrap_or(file)
            .display()
            .to_string()
    };
    Ok(match fault {
        Fault::Kill => Err("another process does it"),
        Fault::Index => {
            fs::remove_dir_all(path.join("index"))?;
            Ok("everything in index/ was deleted".into())
        }
        Fault::Checkpoint => match fs::read(path.join("index/CHECKPOINT")) {
            Ok(bytes) if !bytes.is_empty() => {
                let at = dice.below(bytes.len() as u64);
                let byte = bytes.get(at as usize).copied().unwrap_or_default();
                change(&path.join("index/CHECKPOINT"), at, &[!byte])?;
                Ok(format!("byte {at} of index/CHECKPOINT was inverted"))
            }
            _ => Err("there is no checkpoint"),
        },
        Fault::Manifest => {
            let at = dice.below(2) * PAGE as u64;
            change(&path.join("MANIFEST"), at, &[0; 512])?;
            Ok(format!("a sector of MANIFEST was zeroed, at byte {at}"))
        }
        Fault::Footer => {
            let sealed = log.iter().find(|(file, _)| is_sealed(file));
            match sealed {
                Some((file, len)) => {
                    change(file, len - 100, &[0xff; 8])?;
                    Ok(format!(
                        "8 bytes of the footer of {} were overwritten",
                        shown(file)
                    ))
                }
                None => Err("no segment has a footer yet"),
            }
        }
        Fault::Bit | Fault::Sector => match somewhere(&log, &mut dice)? {
            Some((file, at, byte)) if fault == Fault::Bit => {
                let bit = dice.below(8);
                change(&file, at, &[byte ^ 1 << bit])?;
                Ok(format!(
                    "bit {bit} of byte {at} of {} was inverted",
                    shown(&file)
                ))
            }
            Some((file, at, _)) => {
                let at = at / 512 * 512;
                change(&file, at, &[0; 512])?;
                Ok(format!(
                    "512 bytes of {} were zeroed, from {at} on",
                    shown(&file)
                ))
            }
            None => Err("the log is empty"),
        },
        Fault::Truncate | Fault::Segment => {
            let Some((file, len)) = log.get(dice.below(log.len() as u64) as usize) else {
                return Ok(Err("the log is empty"));
            };
            if fault == Fault::Segment {
                fs::remove_file(file)?;
                Ok(format!("{} was deleted ({len} bytes)", shown(file)))
            } else {
                fs::OpenOptions::new()
                    .write(true)
                    .open(file)?
                    .set_len(len / 2)?;
                Ok(format!(
                    "{} was cut from {len} to {} bytes",
                    shown(file),
                    len / 2
                ))
            }
        }
    })
}

fn is_sealed(file: &Path) -> bool {
    let bytes = fs::read(file).unwrap_or_default();
    let page = bytes.len().checked_sub(PAGE).and_then(|at| bytes.get(at..));
    page.is_some_and(|page| Trailer::decode(page).is_ok())
}

/// A byte of the log that is not one of the zeroes that fill it up.
fn somewhere(
    log: &[(std::path::PathBuf, u64)],
    dice: &mut Dice,
) -> Result<Option<(std::path::PathBuf, u64, u8)>> {
    for _ in 0..64 {
        let Some((file, _)) = log.get(dice.below(log.len() as u64) as usize) else {
            break;
        };
        let bytes = fs::read(file)?;
        for _ in 0..64 {
            let at = dice.below(bytes.len() as u64);
            match bytes.get(at as usize) {
                Some(byte) if *byte != 0 && at >= PAGE as u64 => {
                    return Ok(Some((file.clone(), at, *byte)));
                }
                _ => {}
            }
        }
    }
    Ok(None)
}

fn change(file: &Path, at: u64, bytes: &[u8]) -> Result<()> {
    use std::os::unix::fs::FileExt;
    let file = fs::OpenOptions::new().write(true).open(file)?;
    Ok(file.write_all_at(bytes, at)?)
}

/// Opens the copy, reads all of it, verifies and heals it, delivers to it, and judges.
fn examine(fault: Fault, path: &Path, before: &Content, outcome: &mut Outcome) {
    let began = Instant::now();
    let opened = Store::open(path, options());
    outcome.open_time = began.elapsed();
    let store = match opened {
        Ok(store) => store,
        Err(error @ Error::Incomplete { .. }) if fault.cuts() => {
            outcome.opening = format!("refused for writing, as it must be: {error}");
            outcome.said.push("the store is incomplete".into());
            let read_only = Store::open(path, options().read_only(true));
            match read_only {
                Ok(store) => judge(fault, before, &Content::of(&store), true, outcome),
                Err(error) => outcome.broken.push(format!("not even to be read: {error}")),
            }
            match Store::open(path, options().accept_loss(true)) {
                Ok(store) => store,
                Err(error) => {
                    let text = format!("it does not open with the loss accepted: {error}");
                    return outcome.broken.push(text);
                }
            }
        }
        Err(error) => {
            outcome.opening = format!("refused: {error}");
            return outcome.broken.push("it does not open".into());
        }
    };
    if outcome.opening.is_empty() {
        let whole = store.recovery().is_whole();
        let found = if whole {
            "nothing missing"
        } else {
            "damage reported"
        };
        outcome.opening = format!("opened, {found}");
    }
    let content = Content::of(&store);
    let said = listen(&store, outcome);
    judge(fault, before, &content, said, outcome);
    heal(&store, outcome);
    if !fault.harms_mail() && !outcome.whole_after {
        outcome
            .broken
            .push("mail is reported damaged, and none was harmed".into());
    }
    if let Err(error) = deliver_more(&store, before, outcome) {
        outcome
            .broken
            .push(format!("new mail is not taken: {error}"));
    }
    if let Err(error) = store.close() {
        outcome.broken.push(format!("it does not close: {error}"));
    }
}

/// What the store says is wrong; whether it says anything.
fn listen(store: &Store, outcome: &mut Outcome) -> bool {
    let before = outcome.said.len();
    if !store.recovery().is_whole() {
        outcome.said.push(store.recovery().to_string());
    }
    match store.verify(&mut |_| ControlFlow::Continue(())) {
        Ok(report) => {
            for bad in &report.damage {
                let what = bad
                    .what
                    .map_or("cannot be read".into(), |what| what.to_string());
                outcome.said.push(format!(
                    "{} from {} to {}: {what}",
                    bad.path, bad.from, bad.to
                ));
            }
            for bad in &report.bad_messages {
                let (account, mailbox, uid) = (&bad.account, &bad.mailbox, bad.uid);
                outcome.said.push(format!(
                    "message {uid} in {mailbox} of {account}: {}",
                    bad.error
                ));
            }
        }
        Err(error) => outcome.said.push(format!("verifying: {error}")),
    }
    for lost in store.lost() {
        let (account, mailbox, uid) = (lost.account, lost.mailbox, lost.uid);
        outcome.said.push(format!(
            "lost: message {uid} in mailbox {mailbox} of account {account}"
        ));
    }
    outcome.said.len() > before
}

/// Holds what is served against what was there.
fn judge(fault: Fault, before: &Content, after: &Content, said: bool, outcome: &mut Outcome) {
    let compared = Comparison::new(before, after);
    let kept = |key: &super::exam::Key| {
        let receipt = before.receipts.get(&key.0);
        receipt.is_some() && receipt == after.receipts.get(&key.0)
    };
    if !compared.wrong.is_empty() {
        let wrong = &compared.wrong;
        outcome
            .broken
            .push(format!("other bytes than were stored: {wrong:?}"));
    }
    let missing = compared.gone + compared.refused + compared.accounts.len() as u64;
    if missing > 0 && !said {
        outcome
            .broken
            .push("something is missing, and the store says nothing".into());
    }
    // A killed process has added an account of its own; all others are as they were.
    let equal = compared.is_equal()
        || fault == Fault::Kill && missing == 0 && before.messages.keys().all(kept);
    if !fault.harms_mail() && !equal {
        outcome
            .broken
            .push("no mail was harmed, and not all of it is as it was".into());
    }
    outcome.compared = compared;
}

fn heal(store: &Store, outcome: &mut Outcome) {
    let began = Instant::now();
    let rebuilt = store.wait_rebuilt(&mut |_| ControlFlow::Continue(()));
    outcome.heal_time = began.elapsed();
    if let Err(error) = rebuilt {
        outcome.said.push(format!("rebuilding the index: {error}"));
    }
    let again = store.verify(&mut |_| ControlFlow::Continue(()));
    outcome.whole_after = again.is_ok_and(|report| report.is_whole());
}

/// Delivers to INBOX of some accounts: with UIDs that were never given.
fn deliver_more(store: &Store, before: &Content, outcome: &mut Outcome) -> mailkeep::Result<()> {
    for name in store.accounts(None, 50)? {
        let account = store.account(&name)?;
        let inbox = account.inbox()?;
        let kept = store.deliver(message("after", 1, 500), [Delivery::to(&inbox)])?;
        for kept in kept.wait()? {
            let (uid, id) = (kept?.uid.get(), account.id().to_string());
            let given = |key: &&super::exam::Key| key.0 == id && key.1 == inbox.id().get();
            let highest = before.messages.keys().filter(given).map(|key| key.2).max();
            if highest.is_some_and(|highest| uid <= highest) {
                outcome
                    .broken
                    .push(format!("{name}: UID {uid} was given before"));
            }
        }
    }
    Ok(())
}

/// Numbers that a seed repeats.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16) % bound.max(1)
    }
}
