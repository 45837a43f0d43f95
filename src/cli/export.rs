//! `mailkeep export`: mail from a store to files. Damage does not stop it.

use std::path::Path;
use std::time::Instant;

use mailkeep::{Account, Mailbox, MailboxInfo, Row, Store, View};
use serde_json::{Value, json};

use crate::args::{Export, Writing};
use crate::error::{CliError, Verdict, chain};
use crate::output::{Output, Progress, safe};
use crate::sink::{
    EmlSink, Fidelity, MaildirSink, MboxSink, MboxesSink, Outgoing, SinkError, Written,
};
use crate::store;

/// Exports a mailbox, or all of an account.
pub(crate) fn run(args: &Export, out: &mut Output) -> Result<Verdict, CliError> {
    let start = Instant::now();
    let store = store::open_to_read(&args.at)?;
    let account = store.account(args.account.as_str())?;
    let mailboxes = chosen(&account, args)?;
    let total = mailboxes.iter().map(|(info, _)| info.counters.bytes).sum();
    let mut run = Run {
        sink: create(args)?,
        progress: Progress::new(total),
        counts: Counts::default(),
        missing: Vec::new(),
        out,
    };
    for (info, mailbox) in &mailboxes {
        run.lost(&store, &account, info)?;
        run.mailbox(mailbox, &folder(args, &info.name))?;
    }
    run.sink.finish()?;
    run.progress.finish();
    let whole = run.missing.is_empty() && store::verdict(&store) == Verdict::Good;
    run.counts.mailboxes = mailboxes.len() as u64;
    run.counts
        .report(&store, &run.missing, args, start, run.out)?;
    Ok(Verdict::of(whole))
}

/// The mailboxes to export. Without a name all that can hold messages.
fn chosen(account: &Account, args: &Export) -> Result<Vec<(MailboxInfo, Mailbox)>, CliError> {
    if let Some(name) = &args.mailbox {
        // For the error of a missing one.
        account.mailbox(name.as_str())?;
    }
    let wanted = |info: &MailboxInfo| match &args.mailbox {
        Some(name) => info.name == name.as_str(),
        None => !info.noselect,
    };
    let found = account.mailboxes()?.into_iter().filter(wanted);
    found
        .map(|info| {
            let mailbox = account.mailbox(&info.name)?;
            Ok((info, mailbox))
        })
        .collect()
}

/// Where a mailbox goes in the output. One that was asked for by name is the top. In a Maildir so is INBOX, and its
/// other mailboxes lie beside it.
fn folder(args: &Export, name: &str) -> Vec<String> {
    let is_top = args.mailbox.is_some() || (args.format == Writing::Maildir && name == "INBOX");
    if is_top {
        Vec::new()
    } else {
        name.split('/').map(str::to_owned).collect()
    }
}

/// What is written to.
enum Sink {
    Mbox(MboxSink),
    Mboxes(MboxesSink),
    Maildir(MaildirSink),
    Eml(EmlSink),
}

fn create(args: &Export) -> Result<Sink, SinkError> {
    let path: &Path = &args.out;
    Ok(match (args.format, &args.mailbox) {
        (Writing::Mbox, Some(_)) => Sink::Mbox(MboxSink::create(path)?),
        (Writing::Mbox, None) => Sink::Mboxes(MboxesSink::create(path)?),
        (Writing::Maildir, _) => Sink::Maildir(MaildirSink::create(path, &host())?),
        (Writing::Eml, _) => Sink::Eml(EmlSink::create(path)?),
    })
}

/// The name of this machine, for the names of Maildir files.
fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

impl Sink {
    /// Begins a mailbox, so that an empty one leaves a trace where the format has one.
    fn begin(&mut self, folder: &[String]) -> Result<(), SinkError> {
        match self {
            Self::Mboxes(sink) => sink.begin(folder),
            Self::Maildir(sink) => sink.begin(folder),
            Self::Mbox(_) | Self::Eml(_) => Ok(()),
        }
    }

    fn put(&mut self, message: &Outgoing<'_>) -> Result<Written, SinkError> {
        match self {
            Self::Mbox(sink) => sink.put(message),
            Self::Mboxes(sink) => sink.put(message),
            Self::Maildir(sink) => sink.put(message),
            Self::Eml(sink) => sink.put(message),
        }
    }

    fn finish(self) -> Result<(), SinkError> {
        match self {
            Self::Mbox(sink) => sink.finish(),
            Self::Mboxes(sink) => sink.finish(),
            Self::Maildir(sink) => sink.finish(),
            Self::Eml(sink) => sink.finish(),
        }
    }
}

/// What was done.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    mailboxes: u64,
    messages: u64,
    bytes: u64,
    newline_added: u64,
    looks_like_other: u64,
    flags_lost: u64,
}

/// A message that is not in the output.
struct Missing {
    mailbox: String,
    uid: u32,
    why: String,
}

/// An export under way.
struct Run<'a> {
    sink: Sink,
    progress: Progress,
    counts: Counts,
    missing: Vec<Missing>,
    out: &'a mut Output,
}

impl Run<'_> {
    /// Lists the messages of a mailbox of which the records are lost: they are in no view.
    fn lost(
        &mut self,
        store: &Store,
        account: &Account,
        info: &MailboxInfo,
    ) -> Result<(), CliError> {
        let ours = |lost: &&mailkeep::LostMessage| {
            lost.account == account.id() && lost.mailbox == info.id.get()
        };
        for lost in store.lost().iter().filter(ours) {
            self.miss(&info.name, lost.uid, "its record is lost".to_owned())?;
        }
        Ok(())
    }

    fn mailbox(&mut self, mailbox: &Mailbox, folder: &[String]) -> Result<(), CliError> {
        let view = mailbox.view()?;
        self.sink.begin(folder)?;
        for row in view.iter() {
            // A copy: what goes out was verified, and cannot change while it does.
            match view.message(row.uid).and_then(|message| message.to_vec()) {
                Ok(raw) => self.message(&view, &row, &raw, folder)?,
                Err(error) => self.miss(view.name(), row.uid.get(), chain(&error))?,
            }
        }
        Ok(())
    }

    fn message(
        &mut self,
        view: &View,
        row: &Row<'_>,
        raw: &[u8],
        folder: &[String],
    ) -> Result<(), CliError> {
        let mut flags: Vec<String> = row.flags.names().map(str::to_owned).collect();
        flags.extend(
            row.keywords
                .iter()
                .map(|keyword| keyword.as_str().to_owned()),
        );
        let outgoing = Outgoing {
            raw,
            received: row.internal_date.seconds(),
            flags: &flags,
            folder,
            uid: row.uid.get(),
        };
        let written = match self.sink.put(&outgoing) {
            Ok(written) => written,
            // Two mailboxes that share a directory, where file names have no case.
            Err(SinkError::Io {
                op: "create",
                path,
                source,
            }) if source.kind() == std::io::ErrorKind::AlreadyExists => {
                let why = format!("{} exists", path.display());
                return self.miss(view.name(), row.uid.get(), why);
            }
            Err(error) => return Err(error.into()),
        };
        let counts = &mut self.counts;
        counts.messages += 1;
        counts.bytes += raw.len() as u64;
        counts.flags_lost += written.lost_flags.len() as u64;
        match written.fidelity {
            Fidelity::Exact => {}
            Fidelity::NewlineAdded => counts.newline_added += 1,
            Fidelity::LooksLikeOther => counts.looks_like_other += 1,
        }
        self.progress.show(counts.bytes, counts.messages);
        Ok(())
    }

    /// Keeps what is missing for the report; as text it is said at once.
    fn miss(&mut self, mailbox: &str, uid: u32, why: String) -> Result<(), CliError> {
        if !self.out.is_json() {
            let mailbox = safe(mailbox);
            self.out.line(format_args!(
                "missing: mailbox {mailbox} uid {uid}: {}",
                safe(&why)
            ))?;
        }
        self.missing.push(Missing {
            mailbox: mailbox.to_owned(),
            uid,
            why,
        });
        Ok(())
    }
}

impl Counts {
    fn report(
        &self,
        store: &Store,
        missing: &[Missing],
        args: &Export,
        start: Instant,
        out: &mut Output,
    ) -> Result<(), CliError> {
        let seconds = start.elapsed().as_secs_f64();
        if out.is_json() {
            let missing: Vec<Value> = missing.iter().map(Missing::json).collect();
            return out.value(&json!({
                "account": args.account.as_str(),
                "mailboxes": self.mailboxes,
                "messages": self.messages,
                "bytes": self.bytes,
                "missing": missing,
                "newline_added": self.newline_added,
                "looks_like_other": self.looks_like_other,
                "flags_lost": self.flags_lost,
                "recovery": store::recovery(store.recovery()),
                "seconds": seconds,
            }));
        }
        out.line(format_args!(
            "exported {} messages of {} mailboxes, {} bytes in {seconds:.1} s; missing {}",
            self.messages,
            self.mailboxes,
            self.bytes,
            missing.len()
        ))?;
        for (count, note) in [
            (
                store::lost_records(store),
                "records of the store are lost; what they said may be missing and is not always known",
            ),
            (
                self.newline_added,
                "messages have no newline at their end; other programs see one there",
            ),
            (
                self.looks_like_other,
                "messages start as an mbox or as compressed data; import them with --format eml",
            ),
            (
                self.flags_lost,
                "flags have no letter left in their Maildir folder",
            ),
        ] {
            if count > 0 {
                out.line(format_args!("note: {count} {note}"))?;
            }
        }
        Ok(())
    }
}

impl Missing {
    fn json(&self) -> Value {
        json!({ "mailbox": self.mailbox, "uid": self.uid, "error": self.why })
    }
}
