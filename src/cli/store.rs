//! Opening a store for the command, and what its opening found.

use std::path::Path;

use mailkeep::mail::MailboxName;
use mailkeep::{Account, Mailbox, Options, RecoveryReport, Store};
use serde_json::{Value, json};

use crate::error::{CliError, Verdict};
use crate::output;

/// Opens a store to look at: takes no lock, changes nothing, not even a torn tail. Says on standard error when it is
/// not whole.
pub(crate) fn open_to_read(path: &Path) -> Result<Store, CliError> {
    let store = Store::open(path, Options::new().read_only(true))?;
    if !store.recovery().is_whole() {
        output::warn(&format!("warning: {}", store.health()));
        output::warn(&store.recovery().to_string());
    }
    Ok(store)
}

/// `Differences` when the opening found that something acknowledged is missing: what is shown may not be all.
pub(crate) fn verdict(store: &Store) -> Verdict {
    Verdict::of(store.recovery().is_whole())
}

/// A mailbox by its name.
pub(crate) fn mailbox(account: &Account, name: &MailboxName) -> Result<Mailbox, CliError> {
    Ok(account.mailbox(name.as_str())?)
}

/// What the opening found, as JSON.
pub(crate) fn recovery(report: &RecoveryReport) -> Value {
    let cut = report.cut.as_ref().map(|cut| {
        json!({
            "segment": cut.segment,
            "offset": cut.offset,
            "bytes": cut.len,
            "quarantine": cut.quarantine,
        })
    });
    let holes = report.holes.iter().map(|hole| {
        json!({
            "segment": hole.segment,
            "from": hole.from,
            "to": hole.to,
            "first_lost": hole.first_lost,
            "last_lost": hole.last_lost,
        })
    });
    let lost = report.lost.iter().map(|lost| {
        json!({
            "account_id": lost.account.to_string(),
            "mailbox_id": lost.mailbox,
            "uid": lost.uid,
        })
    });
    let accounts_hit = report.accounts_hit.iter().map(ToString::to_string);
    json!({
        "clean": report.clean,
        "whole": report.is_whole(),
        "torn_tail": cut,
        "holes": holes.collect::<Vec<_>>(),
        "lost": lost.collect::<Vec<_>>(),
        "accounts_hit": accounts_hit.collect::<Vec<_>>(),
        "missing": report.missing,
        "unlisted": report.unlisted,
        "bad_footers": report.bad_footers,
        "bad_edits": report.bad_edits,
        "unreadable_pages": report.unreadable,
    })
}
