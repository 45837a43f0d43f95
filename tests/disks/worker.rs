//! The process that has the store. It is not the one that answers for the devices: if it waits for a device, or dies of
//! one, that one goes on.
//!
//! It is told what to do by lines on its standard input and answers by lines of its own, each begun with `> `, the last one
//! of an answer `> end`.

use std::io::{BufRead as _, BufReader, Write as _};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use mailkeep::{Delivery, Error, Options, Store, Uid, UidSet};

use crate::lanes::{LANES, Lane};
use crate::{marker, message};

const HERE: &str = "MAILKEEP_DISKS_WORKER";
/// A store that takes longer than this for one answer hangs.
const PATIENCE: Duration = Duration::from_secs(120);
/// Steps that a lane can be ahead of what was read of it.
const AHEAD: u64 = 3000;

/// A worker, from outside. Dropping it kills it.
pub(crate) struct Worker {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

impl Worker {
    pub(crate) fn new() -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "worker::worker",
                "--nocapture",
                "--test-threads=1",
            ])
            .env(HERE, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if let Some(line) = line.strip_prefix("> ")
                    && sender.send(line.to_owned()).is_err()
                {
                    return;
                }
            }
        });
        let input = child.stdin.take().unwrap();
        Self {
            child,
            input,
            lines,
        }
    }

    /// Tells it something, and does not wait for the answer.
    pub(crate) fn tell(&mut self, what: &str) {
        // If it is gone the missing answer tells.
        let _ = writeln!(self.input, "{what}");
    }

    /// The lines of the answer, without the last.
    pub(crate) fn answer(&mut self) -> Result<Vec<String>, String> {
        let mut answer = Vec::new();
        let until = Instant::now() + PATIENCE;
        loop {
            match self
                .lines
                .recv_timeout(until.saturating_duration_since(Instant::now()))
            {
                Ok(line) if line == "end" => return Ok(answer),
                Ok(line) => answer.push(line),
                Err(RecvTimeoutError::Timeout) => return Err(format!("hangs, after {answer:?}")),
                Err(RecvTimeoutError::Disconnected) => {
                    let status = self.child.wait().unwrap();
                    return Err(format!("died: {status}, after {answer:?}"));
                }
            }
        }
    }

    /// Tells it something and waits for the answer.
    pub(crate) fn ask(&mut self, what: &str) -> Result<Vec<String>, String> {
        self.tell(what);
        self.answer()
    }

    /// What it said since it was last asked; an error once it is gone.
    pub(crate) fn heard(&mut self) -> Result<Vec<String>, String> {
        let lines: Vec<String> = self.lines.try_iter().collect();
        match self.child.try_wait().unwrap() {
            Some(status) if lines.is_empty() => Err(format!("died: {status}")),
            _ => Ok(lines),
        }
    }

    /// Stops it where it is, or lets it go on.
    pub(crate) fn hold(&self, still: bool) {
        use rustix::process::{Pid, Signal, kill_process};
        let signal = if still { Signal::STOP } else { Signal::CONT };
        // One that is dead is found to be so when it is heard next.
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }

    pub(crate) fn kill(&mut self) -> ExitStatus {
        let _ = self.child.kill();
        self.child.wait().unwrap()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.kill();
    }
}

fn say(line: &str) {
    // In one piece: the harness writes there too, and the parent may be gone.
    let mut out = std::io::stdout().lock();
    let said = out.write_all(format!("\n> {}\n", line.replace('\n', "\\n")).as_bytes());
    if said.and_then(|()| out.flush()).is_err() {
        std::process::exit(1);
    }
}

/// The worker, from inside; does nothing when it runs as a test among others.
#[test]
fn worker() {
    if std::env::var_os(HERE).is_none() {
        return;
    }
    let mut hands = Hands { store: None };
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        hands.obey(&words);
        say("end");
    }
    // Nobody is there any more: no closing.
    std::process::exit(0);
}

fn options() -> Options {
    Options::new()
        .segment_len(1 << 20)
        .tail_max(256 << 10)
        .chain_max(2)
}

/// How an error is told: its kind, and all of it.
fn told(error: &Error) -> String {
    let debug = format!("{error:?}");
    let kind: String = debug.chars().take_while(|c| c.is_alphanumeric()).collect();
    format!("{kind} {debug}")
}

/// A message that was acknowledged, as told on the command line: `uid:seed:len:validity`.
fn entries(list: &str) -> impl Iterator<Item = (Uid, u64, usize)> {
    list.split(',')
        .filter(|entry| !entry.is_empty())
        .map(|entry| {
            let mut numbers = entry
                .split(':')
                .map(|number| number.parse::<u64>().unwrap());
            let mut next = || numbers.next().unwrap();
            (Uid::new(next() as u32).unwrap(), next(), next() as usize)
        })
}

struct Hands {
    store: Option<Store>,
}

impl Hands {
    fn obey(&mut self, words: &[&str]) {
        let number = |at: usize| words[at].parse::<u64>().unwrap();
        let done = match words[0] {
            "write" => write(words[1], number(2), words[3], words[4] == "lies"),
            "check" | "check-again" => {
                let again = words[0] == "check-again";
                let path = Path::new(words[4]).join(words[1]);
                let done = check(&path, number(2), words[3], again);
                done.map(|fine| say(&format!("fine {fine}")))
            }
            "open" => self.open(words[1], options(), false),
            "open-hurt" => self.open(words[1], options(), true),
            "open-anew" => self.open(words[1], options().replay_all(true).rebuild(true), true),
            "guard" => mailkeep::install_guard().map_err(|error| error.to_string()),
            "close" => self.close(),
            "deliver" => self.deliver(number(1), number(2), number(3), number(4) as usize),
            "read" => self.read(words[1]),
            "check-all" => self.check_all(words[1]),
            "destroy" => self.destroy(words[1]),
            "verify" => self.verify(),
            "files" => files(words[1].parse().ok()),
            other => Err(format!("what is {other}?")),
        };
        if let Err(why) = done {
            say(&format!("bad {why}"));
        }
    }

    fn store(&self) -> Result<&Store, String> {
        self.store.as_ref().ok_or_else(|| "no store is open".into())
    }

    /// Opens the store, which may be `hurt`.
    fn open(&mut self, path: &str, options: Options, hurt: bool) -> Result<(), String> {
        match Store::open(path, options) {
            Ok(store) => {
                if let Err(error) = store.wait_rebuilt(&mut |_| ControlFlow::Continue(())) {
                    say(&format!("not rebuilt: {}", told(&error)));
                }
                let recovery = store.recovery();
                if !recovery.is_whole() || !store.lost().is_empty() {
                    let why = format!("not whole: {recovery}");
                    if !hurt {
                        return Err(why);
                    }
                    say(&why);
                }
                self.store = Some(store);
                say("opened");
            }
            Err(error) => say(&format!("refused {}", told(&error))),
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), String> {
        match self.store.take().map_or(Ok(()), Store::close) {
            Ok(()) => say("closed"),
            Err(error) => say(&format!("refused {}", told(&error))),
        }
        Ok(())
    }

    /// Delivers messages with seeds from `from` on to one mailbox, from several threads, each waiting for each of its own.
    fn deliver(&self, from: u64, count: u64, threads: u64, len: usize) -> Result<(), String> {
        let store = self.store()?;
        let account = match store.account("anna") {
            Err(Error::NoSuchAccount { .. }) => store.create_account("anna"),
            account => account,
        };
        let inbox = match account.and_then(|account| account.inbox()) {
            Ok(inbox) => inbox,
            Err(error) => {
                say(&format!("refused {}", told(&error)));
                return Ok(());
            }
        };
        let one = |seed: u64| {
            let kept = store.deliver(message(seed, len), [Delivery::to(&inbox)])?;
            kept.wait()?.remove(0)
        };
        std::thread::scope(|scope| {
            for thread in 0..threads {
                scope.spawn(move || {
                    for seed in (from..from + count).filter(|seed| seed % threads == thread) {
                        match one(seed) {
                            Ok(kept) => {
                                let validity = kept.uid_validity;
                                say(&format!("acked {}:{seed}:{len}:{validity}", kept.uid));
                            }
                            Err(error) => say(&format!("refused {}", told(&error))),
                        }
                    }
                });
            }
        });
        Ok(())
    }

    /// Reads messages that were acknowledged: as they were given, or an error.
    fn read(&self, list: &str) -> Result<(), String> {
        let account = self.store()?.account("anna");
        let view = match account.and_then(|account| account.inbox()?.view()) {
            Ok(view) => view,
            Err(error) => {
                say(&format!("unread - {}", told(&error)));
                return Ok(());
            }
        };
        for (uid, seed, len) in entries(list) {
            match view.message(uid).and_then(|found| found.bytes()) {
                Ok(bytes) if bytes == message(seed, len) => say(&format!("good {uid}")),
                Ok(_) => return Err(format!("wrong bytes of UID {uid}")),
                Err(error) => say(&format!("unread {uid} {}", told(&error))),
            }
        }
        Ok(())
    }

    /// All that was acknowledged is there as it was given, and the rest is whole.
    fn check_all(&self, list: &str) -> Result<(), String> {
        let store = self.store()?;
        let account = store.account("anna").map_err(|error| told(&error))?;
        let inbox = account.inbox().map_err(|error| told(&error))?;
        let view = inbox.view().map_err(|error| told(&error))?;
        let (mut count, mut last) = (0, 0);
        for (uid, seed, len) in entries(list) {
            let bytes = view.message(uid).and_then(|found| found.bytes());
            let bytes = bytes.map_err(|error| format!("lost UID {uid}: {}", told(&error)))?;
            if bytes != message(seed, len) {
                return Err(format!("UID {uid} is another message"));
            }
            (count, last) = (count + 1, last.max(uid.get()));
        }
        for row in view.iter() {
            let bytes = view.message(row.uid).and_then(|found| found.bytes());
            let bytes = bytes.map_err(|error| format!("UID {}: {}", row.uid, told(&error)))?;
            let seed = String::from_utf8_lossy(&bytes[..marker(0).len()]).into_owned();
            let seed = seed
                .split([' ', '\r'])
                .nth(2)
                .and_then(|seed| u64::from_str_radix(seed, 16).ok());
            if seed.is_none_or(|seed| bytes != message(seed, bytes.len())) {
                return Err(format!("UID {} was never given", row.uid));
            }
        }
        let next = inbox.status().map_err(|error| told(&error))?.uid_next;
        if next.is_some_and(|next| next.get() <= last) {
            return Err(format!("UIDNEXT {next:?}, and {last} was given"));
        }
        say(&format!("whole {count} of {}", view.len()));
        Ok(())
    }

    fn destroy(&self, list: &str) -> Result<(), String> {
        let uids: UidSet = entries(list).map(|(uid, ..)| uid).collect();
        let inbox = self
            .store()?
            .account("anna")
            .and_then(|account| account.inbox());
        match inbox.and_then(|inbox| inbox.destroy(&uids)?.wait()) {
            Ok(uids) => say(&format!("destroyed {}", uids.len())),
            Err(error) => say(&format!("refused {}", told(&error))),
        }
        Ok(())
    }

    fn verify(&self) -> Result<(), String> {
        let report = self.store()?.verify(&mut |_| ControlFlow::Continue(()));
        let report = report.map_err(|error| told(&error))?;
        for damage in &report.damage {
            say(&format!("damage {damage:?}"));
        }
        for bad in &report.bad_messages {
            say(&format!("unread {} {}", bad.uid, told(&bad.error)));
        }
        for bad in &report.bad_receipts {
            say(&format!("receipt {bad:?}"));
        }
        Ok(())
    }
}

/// Limits the open files of this process to so many more than it has now, or takes the limit away.
fn files(more: Option<u64>) -> Result<(), String> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let old = getrlimit(Resource::Nofile);
    let current = match more {
        // Counting takes a file too, and there may be none.
        None => old.maximum,
        Some(more) => {
            let open = std::fs::read_dir("/proc/self/fd").map_err(|error| error.to_string())?;
            Some(open.count() as u64 - 1 + more)
        }
    };
    let limit = Rlimit {
        current,
        maximum: old.maximum,
    };
    setrlimit(Resource::Nofile, limit).map_err(|error| error.to_string())
}

fn floors(list: &str) -> Vec<u64> {
    list.split(',')
        .map(|floor| floor.parse().unwrap())
        .collect()
}

/// Takes steps on all lanes until the process is killed. Each step that is acknowledged is told: `did LANE STEP`, with
/// `durable` where all that the lane did so far survives a power cut.
fn write(path: &str, seed: u64, list: &str, lies: bool) -> Result<(), String> {
    let store = Store::open(path, options()).map_err(|error| told(&error))?;
    let recovery = store.recovery();
    if !recovery.is_whole() || !store.lost().is_empty() {
        return Err(format!("not whole: {recovery}"));
    }
    let mut lanes = Vec::new();
    for (number, floor) in floors(list).into_iter().enumerate() {
        let mut lane = Lane::after(seed, number, floor);
        lane.prepare(&store).map_err(|error| told(&error))?;
        lane.catch_up(&store, AHEAD, false)?;
        lane.lies = lies;
        // What was recovered and shown must not vanish.
        say(&format!("did {number} {} durable", lane.steps));
        lanes.push(lane);
    }
    say("ready");
    std::thread::scope(|scope| {
        for (number, mut lane) in lanes.into_iter().enumerate() {
            let store = store.clone();
            scope.spawn(move || {
                loop {
                    match lane.step(&store) {
                        Ok(true) => say(&format!("did {number} {} durable", lane.steps)),
                        Ok(false) => say(&format!("did {number} {} written", lane.steps)),
                        Err(error) => break say(&format!("bad lane {number}: {}", told(&error))),
                    }
                }
            });
        }
    });
    Ok(())
}

/// Checks a store that a power cut has left: each lane is in the state after some step, none before its floor; it can be
/// written to; and it is the same once it was closed and all that is derived was made again. Where something that was
/// written did not survive, nothing that it gave out is given again; `again`: the check was cut off before, and that may have
/// been found then.
fn check(path: &Path, seed: u64, list: &str, again: bool) -> Result<String, String> {
    let store = Store::open(path, options().create(list == "new")).map_err(|error| told(&error))?;
    let shown = store.recovery().to_string();
    let whole = |store: &Store| {
        let recovery = store.recovery();
        if !recovery.is_whole() || !store.lost().is_empty() {
            return Err(format!("not whole: {recovery}"));
        }
        let report = store.verify(&mut |_| ControlFlow::Continue(()));
        let report = report.map_err(|error| told(&error))?;
        if report.is_whole() {
            Ok(())
        } else {
            Err(format!("verify: {report:?}"))
        }
    };
    whole(&store)?;
    let mut lanes = Vec::new();
    if list != "new" {
        let unsynced = store.recovery().unsynced.is_some();
        let mut lifted = Vec::new();
        for (number, floor) in floors(list).into_iter().enumerate() {
            let mut lane = Lane::after(seed, number, floor);
            let by = lane
                .catch_up(&store, AHEAD, unsynced || again)
                .map_err(|why| format!("{why}after {shown}"))?;
            lifted.push(by);
            lane.step(&store).map_err(|error| told(&error))?;
            lanes.push(lane);
        }
        assert_eq!(lanes.len(), LANES, "all of them");
        // Of a check again whether any is due is not known, but that it is the same for all.
        lifted.dedup();
        if lifted.len() > 1 || (unsynced && lifted == [0]) {
            return Err(format!("UIDs lifted by {lifted:?} after {shown}"));
        }
    }
    store.close().map_err(|error| told(&error))?;
    let again = options().create(false).replay_all(true).rebuild(true);
    let store = Store::open(path, again).map_err(|error| told(&error))?;
    store
        .wait_rebuilt(&mut |_| ControlFlow::Continue(()))
        .map_err(|error| told(&error))?;
    whole(&store)?;
    for lane in &mut lanes {
        lane.catch_up(&store, 0, false)
            .map_err(|why| format!("after a rebuild: {why}"))?;
    }
    store.close().map_err(|error| told(&error))?;
    let steps: Vec<String> = lanes.iter().map(|lane| lane.steps.to_string()).collect();
    Ok(format!("{} {shown}", steps.join(",")))
}
