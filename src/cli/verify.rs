//! `mailkeep verify`: reads everything, changes nothing.

use std::ops::ControlFlow;
use std::time::Instant;

use mailkeep::{Damage, Store, VerifyReport};
use serde_json::{Value, json};

use crate::args::Verify;
use crate::error::{CliError, Verdict, chain};
use crate::output::{Output, Progress, safe};
use crate::store;

/// Checks a store, or the messages of one account.
pub(crate) fn run(args: &Verify, out: &mut Output) -> Result<Verdict, CliError> {
    let start = Instant::now();
    let store = store::open_to_read(&args.at)?;
    let bar = Progress::new(1);
    let mut tell = |at: mailkeep::Progress| {
        bar.show_of(at.done_bytes, at.total_bytes);
        ControlFlow::Continue(())
    };
    let report = match &args.account {
        Some(name) => store.account(name.as_str())?.verify(&mut tell)?,
        None => store.verify(&mut tell)?,
    };
    bar.finish();
    let whole = report.is_whole() && store.health().whole;
    if out.is_json() {
        let mut object = json(&report);
        if let Some(fields) = object.as_object_mut() {
            fields.insert("whole".to_owned(), whole.into());
            fields.insert("lost".to_owned(), store::lost(&store.lost()));
            fields.insert("recovery".to_owned(), store::recovery(store.recovery()));
            fields.insert("seconds".to_owned(), start.elapsed().as_secs_f64().into());
        }
        out.value(&object)?;
    } else {
        text(&report, &store, whole, out)?;
    }
    Ok(Verdict::of(whole))
}

fn json(report: &VerifyReport) -> Value {
    let damage = report.damage.iter().map(|damage| {
        json!({
            "path": damage.path,
            "from": damage.from,
            "to": damage.to,
            "what": what(damage),
        })
    });
    let bad_messages = report.bad_messages.iter().map(|bad| {
        json!({
            "account": bad.account,
            "mailbox": bad.mailbox,
            "uid": bad.uid.get(),
            "error": chain(&bad.error),
        })
    });
    let bad_receipts = report.bad_receipts.iter().map(|bad| {
        json!({
            "account": bad.account,
            "mailbox": bad.mailbox,
            "recorded": bad.recorded.to_string(),
            "found": bad.found.to_string(),
        })
    });
    let returned = report.returned.iter().map(|returned| {
        json!({
            "account": returned.account.to_string(),
            "mailbox": returned.mailbox,
            "uid": returned.uid.map(mailkeep::Uid::get),
            "record": returned.record,
            "segment": returned.segment,
        })
    });
    json!({
        "whole": true,
        "segments": report.segments,
        "log_bytes": report.log_bytes,
        "messages": report.messages,
        "message_bytes": report.message_bytes,
        "damage": damage.collect::<Vec<_>>(),
        "bad_messages": bad_messages.collect::<Vec<_>>(),
        "bad_receipts": bad_receipts.collect::<Vec<_>>(),
        "returned": returned.collect::<Vec<_>>(),
    })
}

fn text(
    report: &VerifyReport,
    store: &Store,
    whole: bool,
    out: &mut Output,
) -> Result<(), CliError> {
    for damage in &report.damage {
        let path = safe(&damage.path);
        let (from, to) = (damage.from, damage.to);
        out.line(format_args!(
            "damage: {path} bytes {from} to {to}: {}",
            what(damage)
        ))?;
    }
    for bad in &report.bad_messages {
        out.line(format_args!(
            "bad message: account {} mailbox {} uid {}: {}",
            safe(&bad.account),
            safe(&bad.mailbox),
            bad.uid,
            safe(&chain(&bad.error)),
        ))?;
    }
    for bad in &report.bad_receipts {
        out.line(format_args!(
            "bad receipt: account {} mailbox {}: recorded {}, found {}",
            safe(&bad.account),
            safe(&bad.mailbox),
            bad.recorded,
            bad.found,
        ))?;
    }
    for returned in &report.returned {
        out.line(format_args!(
            "returned: record {} of account {} mailbox {}, in no mailbox: its account went on without it, in segment {}",
            returned.record, returned.account, returned.mailbox, returned.segment,
        ))?;
    }
    if let Some(cut) = &store.recovery().cut {
        out.line(format_args!(
            "note: a torn tail of {} bytes, never acknowledged as durable, at {} in {}",
            cut.len,
            cut.offset,
            safe(&cut.segment),
        ))?;
    }
    let verdict = if whole { "whole" } else { "not whole" };
    out.line(format_args!(
        "{verdict}: {} segments, {} bytes of log; {} messages, {} bytes",
        report.segments, report.log_bytes, report.messages, report.message_bytes
    ))
}

fn what(damage: &Damage) -> String {
    match &damage.what {
        Some(fault) => fault.to_string(),
        None => "the disk does not give the bytes".to_owned(),
    }
}
