//! `mailkeep stat`: sizes, counts, health.

use serde_json::json;

use crate::args::Stat;
use crate::error::{CliError, Verdict};
use crate::output::{Output, safe};
use crate::store;

/// Says how large the store is and how it is doing.
pub(crate) fn run(args: &Stat, out: &mut Output) -> Result<Verdict, CliError> {
    let store = store::open_to_read(&args.store)?;
    let stat = store.stat()?;
    let recovery = store.recovery();
    let id: String = store
        .id()
        .0
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let rows = [
        ("accounts", stat.accounts),
        ("mailboxes", stat.mailboxes),
        ("messages", stat.messages),
        ("message_bytes", stat.message_bytes),
        ("segments", stat.segments),
        ("sealed", stat.sealed),
        ("log_bytes", stat.log_bytes),
        ("live_bytes", stat.live_bytes),
        ("dead_bytes", stat.dead_bytes),
        ("records", stat.records),
        ("batches", stat.batches),
    ];
    if out.is_json() {
        let mut object = json!({
            "path": args.store.display().to_string(),
            "store_id": id,
        });
        if let Some(fields) = object.as_object_mut() {
            fields.extend(rows.map(|(name, value)| (name.to_owned(), value.into())));
            fields.insert("recovery".to_owned(), store::recovery(recovery));
        }
        out.value(&object)?;
    } else {
        let path = args.store.display().to_string();
        out.line(format_args!("{:16}{}", "path", safe(&path)))?;
        out.line(format_args!("{:16}{id}", "store id"))?;
        for (name, value) in rows {
            out.line(format_args!("{:16}{value}", name.replace('_', " ")))?;
        }
        let whole = if recovery.is_whole() { "yes" } else { "no" };
        let clean = if recovery.clean { "yes" } else { "no" };
        out.line(format_args!("{:16}{whole}", "whole"))?;
        out.line(format_args!("{:16}{clean}", "closed cleanly"))?;
    }
    Ok(store::verdict(&store))
}
