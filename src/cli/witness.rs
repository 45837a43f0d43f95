//! `mailkeep witness`: how far the store certainly got, in one line to be kept elsewhere.

use serde_json::json;

use crate::args::Witness;
use crate::error::{CliError, Verdict};
use crate::output::Output;
use crate::store;

/// Writes the store's witness.
pub(crate) fn run(args: &Witness, out: &mut Output) -> Result<Verdict, CliError> {
    let store = store::open_to_read(&args.at)?;
    let witness = store.witness();
    if out.is_json() {
        out.value(&json!({
            "witness": witness.to_string(),
            "batch": witness.batch,
            "next_record": witness.next_record,
        }))?;
    } else {
        out.line(format_args!("{witness}"))?;
    }
    Ok(store::verdict(&store))
}
