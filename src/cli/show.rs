//! `mailkeep show`: one message.

use crate::args::Show;
use crate::error::{CliError, Verdict};
use crate::output::Output;
use crate::{list, store};

/// Writes the bytes of a message, or says in JSON what is known of it.
pub(crate) fn run(args: &Show, out: &mut Output) -> Result<Verdict, CliError> {
    let store = store::open_to_read(&args.at)?;
    let account = store.account(args.account.as_str())?;
    let view = store::mailbox(&account, &args.mailbox)?.view()?;
    // Verified as a whole before the first byte goes out, which no later failure of the disk changes.
    let bytes = view
        .message(args.uid)
        .and_then(|message| message.to_vec())
        .map_err(CliError::Message)?;
    match view.row(args.uid) {
        Some(row) if out.is_json() => {
            let listed = list::Listed::of(&view, row);
            out.value(&listed.json())?;
        }
        _ => out.bytes(&bytes)?,
    }
    Ok(Verdict::Good)
}
