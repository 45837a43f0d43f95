//! Opening a store for the command, and what its opening found.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use mailkeep::mail::MailboxName;
use mailkeep::{Account, Error, Mailbox, Options, RecoveryReport, Store};
use serde_json::{Value, json};

use crate::args::At;
use crate::error::{CliError, Verdict};
use crate::output;

/// Opens a store, and says what its path has to do with it when it is not to be had.
pub(crate) fn open(path: &Path, options: Options) -> Result<Store, CliError> {
    Store::open(path, options).map_err(|source| not_opened(path, source))
}

fn not_opened(path: &Path, source: Error) -> CliError {
    if !matches!(source, Error::NotAStore { .. }) {
        return source.into();
    }
    // Without a trailing slash, which would have the system follow a link; the library takes it off too.
    let path: PathBuf = path.components().collect();
    if fs::symlink_metadata(&path).is_ok_and(|found| found.is_symlink()) {
        CliError::StoreIsLink { path, source }
    } else if path.parent().is_some_and(is_missing) {
        CliError::NothingAbove { path, source }
    } else {
        source.into()
    }
}

/// Whether nothing is there. The directory above a plain name is this one, which is.
fn is_missing(above: &Path) -> bool {
    let found = || fs::metadata(above);
    !above.as_os_str().is_empty() && found().is_err_and(|why| why.kind() == ErrorKind::NotFound)
}

/// The options, with the witness if there is one.
pub(crate) fn witnessed(options: Options, at: &At) -> Options {
    match at.witness {
        Some(witness) => options.witness(witness),
        None => options,
    }
}

/// Opens a store to look at: takes no lock, changes nothing, not even a torn tail. Says on standard error when it is
/// not whole.
pub(crate) fn open_to_read(at: &At) -> Result<Store, CliError> {
    let store = open(&at.store, witnessed(Options::new().read_only(true), at))?;
    if !store.recovery().is_whole() {
        output::warn(&format!("warning: {}", store.health()));
        output::warn(&store.recovery().to_string());
    }
    Ok(store)
}

/// `Differences` when the opening found that something acknowledged is missing: what is shown may not be all.
pub(crate) fn verdict(store: &Store) -> Verdict {
    Verdict::of(store.health().whole)
}

/// Says on standard error which messages were found lost since the opening, which has told of its own.
pub(crate) fn warn_of_lost(store: &Store) {
    let told = &store.recovery().lost;
    for lost in store.lost().iter().filter(|lost| !told.contains(lost)) {
        let (account, mailbox, uid) = (lost.account, lost.mailbox, lost.uid);
        output::warn(&format!(
            "lost: account {account} mailbox {mailbox} UID {uid}"
        ));
    }
}

/// How many records are known to be lost: found by the opening, or since.
pub(crate) fn lost_records(store: &Store) -> u64 {
    let holes = store.recovery().holes.iter();
    let at_opening: u64 = holes
        .map(|hole| hole.last_lost.saturating_sub(hole.first_lost) + 1)
        .sum();
    at_opening + store.health().lost_records
}

/// Accounts that are asked for at once.
const PAGE: usize = 1000;

/// Shows the names of all accounts to `each`, page by page.
pub(crate) fn each_account(
    store: &Store,
    mut each: impl FnMut(&str) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let mut after: Option<String> = None;
    loop {
        let page = store.accounts(after.as_deref(), PAGE)?;
        for name in &page {
            each(name)?;
        }
        match page.into_iter().next_back() {
            Some(last) => after = Some(last),
            None => return Ok(()),
        }
    }
}

/// A mailbox by its name.
pub(crate) fn mailbox(account: &Account, name: &MailboxName) -> Result<Mailbox, CliError> {
    Ok(account.mailbox(name.as_str())?)
}

/// Messages that are in no mailbox, as JSON.
pub(crate) fn lost(lost: &[mailkeep::LostMessage]) -> Value {
    let lost = lost.iter().map(|lost| {
        json!({
            "account_id": lost.account.to_string(),
            "mailbox_id": lost.mailbox,
            "uid": lost.uid,
        })
    });
    Value::Array(lost.collect())
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
    let lost = lost(&report.lost);
    let accounts_hit = report.accounts_hit.iter().map(ToString::to_string);
    json!({
        "clean": report.clean,
        "whole": report.is_whole(),
        "torn_tail": cut,
        "holes": holes.collect::<Vec<_>>(),
        "lost": lost,
        "accounts_hit": accounts_hit.collect::<Vec<_>>(),
        "missing": report.missing,
        "unlisted": report.unlisted,
        "bad_footers": report.bad_footers,
        "bad_edits": report.bad_edits,
        "unreadable_pages": report.unreadable,
    })
}
