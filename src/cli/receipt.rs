//! `mailkeep receipt`: what accounts and mailboxes hold, as digests to compare.

use mailkeep::{Account, Receipt, Store};
use serde_json::json;

use crate::args;
use crate::error::{CliError, Verdict, chain};
use crate::output::{Output, safe, warn};
use crate::store;

/// Writes the receipts that the arguments ask for.
pub(crate) fn run(args: &args::Receipt, out: &mut Output) -> Result<Verdict, CliError> {
    let store = store::open_to_read(&args.at)?;
    let all_read = match (&args.account, &args.mailbox) {
        (None, _) => accounts(&store, out)?,
        (Some(name), None) => {
            let account = store.account(name.as_str())?;
            let itself = one(name.as_str(), None, account.receipt(), out)?;
            mailboxes(name.as_str(), &account, out)? && itself
        }
        (Some(name), Some(mailbox)) => {
            let found = store::mailbox(&store.account(name.as_str())?, mailbox)?;
            one(name.as_str(), Some(mailbox.as_str()), found.receipt(), out)?
        }
    };
    Ok(if all_read {
        store::verdict(&store)
    } else {
        Verdict::Differences
    })
}

fn accounts(store: &Store, out: &mut Output) -> Result<bool, CliError> {
    let mut all_read = true;
    store::each_account(store, |name| {
        let receipt = store.account(name).and_then(|account| account.receipt());
        all_read &= one(name, None, receipt, out)?;
        Ok(())
    })?;
    Ok(all_read)
}

fn mailboxes(name: &str, account: &Account, out: &mut Output) -> Result<bool, CliError> {
    let mut all_read = true;
    for info in account.mailboxes()? {
        let receipt = account.mailbox(&info.name)?.receipt();
        all_read &= one(name, Some(&info.name), receipt, out)?;
    }
    Ok(all_read)
}

/// Writes one receipt; whether there is one. Why there is none goes to standard error: only receipts are compared.
fn one(
    account: &str,
    mailbox: Option<&str>,
    receipt: Result<Receipt, mailkeep::Error>,
    out: &mut Output,
) -> Result<bool, CliError> {
    let of_mailbox = mailbox.map(|name| format!(" mailbox {}", safe(name)));
    let whose = format!(
        "account {}{}",
        safe(account),
        of_mailbox.unwrap_or_default()
    );
    let receipt = match receipt {
        Ok(receipt) => receipt,
        Err(error) => {
            warn(&format!("no receipt: {whose}: {}", chain(&error)));
            return Ok(false);
        }
    };
    if out.is_json() {
        out.value(&json!({
            "account": account,
            "mailbox": mailbox,
            "receipt": receipt.to_string(),
            "content": receipt.content.to_string(),
            "state": receipt.state.to_string(),
            "exact": receipt.exact.to_string(),
            "messages": receipt.messages,
            "bytes": receipt.bytes,
        }))?;
    } else {
        out.line(format_args!("{receipt}  {whose}"))?;
    }
    Ok(true)
}
