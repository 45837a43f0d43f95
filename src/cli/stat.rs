//! `mailkeep stat`: sizes, counts, health.

use std::ops::ControlFlow;

use mailkeep::{Counts, Store};
use serde_json::json;

use crate::args::Stat;
use crate::error::{CliError, Verdict};
use crate::output::{Output, Progress, safe};
use crate::store;

/// Columns of a line before its value: one more than the longest name has.
const WIDTH: usize = 25;

/// Says how large the store is and how it is doing.
pub(crate) fn run(args: &Stat, out: &mut Output) -> Result<Verdict, CliError> {
    let store = store::open_to_read(&args.at)?;
    let stat = store.stat();
    let recovery = store.recovery();
    let id: String = store
        .id()
        .0
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let counts = args.count.then(|| count(&store)).transpose()?;
    let rows = rows(&stat, counts.as_ref());
    if out.is_json() {
        let mut object = json!({
            "path": args.at.store.display().to_string(),
            "store_id": id,
        });
        if let Some(fields) = object.as_object_mut() {
            fields.extend(
                rows.iter()
                    .map(|(name, value)| ((*name).to_owned(), (*value).into())),
            );
            fields.insert("recovery".to_owned(), store::recovery(recovery));
        }
        out.value(&object)?;
    } else {
        let path = args.at.store.display().to_string();
        out.line(format_args!("{:WIDTH$}{}", "path", safe(&path)))?;
        out.line(format_args!("{:WIDTH$}{id}", "store id"))?;
        for (name, value) in rows {
            out.line(format_args!("{:WIDTH$}{value}", name.replace('_', " ")))?;
        }
        let whole = if recovery.is_whole() { "yes" } else { "no" };
        let clean = if recovery.clean { "yes" } else { "no" };
        out.line(format_args!("{:WIDTH$}{whole}", "whole"))?;
        out.line(format_args!("{:WIDTH$}{clean}", "closed cleanly"))?;
    }
    Ok(store::verdict(&store))
}

/// Counts what the store holds, account by account, and says how far it is.
fn count(store: &Store) -> Result<Counts, CliError> {
    let bar = Progress::new(0);
    let counts = store.count(&mut |so_far| {
        bar.show(so_far.message_bytes, so_far.messages);
        ControlFlow::Continue(())
    })?;
    bar.finish();
    Ok(counts)
}

/// What is said, in order: sizes from memory, and what was counted where that was asked for.
fn rows(stat: &mailkeep::Stat, counts: Option<&Counts>) -> Vec<(&'static str, u64)> {
    let mut rows = vec![
        ("segments", stat.segments),
        ("sealed", stat.sealed),
        ("log_bytes", stat.log_bytes),
        ("records", stat.records),
        ("batches", stat.batches),
        ("tail_bytes", stat.tail_bytes),
        ("runs", stat.runs),
        ("rows", stat.rows),
        ("run_bytes", stat.run_bytes),
        ("image_bytes", stat.image_bytes),
        ("image_dead_bytes", stat.image_dead_bytes),
        ("cached_accounts", stat.cached_accounts),
        ("cache_bytes", stat.cache_bytes),
        ("unsaved_bytes", stat.unsaved_bytes),
    ];
    if let Some(counts) = counts {
        let index = stat.run_bytes + stat.image_bytes;
        rows.extend([
            ("accounts", counts.accounts),
            ("mailboxes", counts.mailboxes),
            ("messages", counts.messages),
            ("message_bytes", counts.message_bytes),
            ("live_bytes", counts.live_bytes),
            (
                "dead_bytes",
                stat.log_bytes.saturating_sub(counts.live_bytes),
            ),
            ("index_bytes_per_account", index / counts.accounts.max(1)),
            ("index_bytes_per_message", index / counts.messages.max(1)),
        ]);
    }
    rows
}
