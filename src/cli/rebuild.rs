//! `mailkeep rebuild`: drops what is derived and waits until it is made again.

use std::ops::ControlFlow;
use std::time::Instant;

use mailkeep::Options;
use serde_json::json;

use crate::args::Rebuild;
use crate::error::{CliError, Verdict};
use crate::output::{Output, Progress, warn};
use crate::store;

/// Rebuilds the index of a store.
pub(crate) fn run(args: &Rebuild, out: &mut Output) -> Result<Verdict, CliError> {
    let start = Instant::now();
    let options = Options::new().create(false).rebuild(true);
    let store = store::open(&args.at.store, store::witnessed(options, &args.at))?;
    let bar = Progress::told();
    store.wait_rebuilt(&mut |at| {
        bar.show_rebuild(at);
        ControlFlow::Continue(())
    })?;
    bar.finish();
    // The log's tail becomes a run too, and a handle that is left says how many there are.
    store.clone().close()?;
    let (stat, verdict) = (store.stat(), store::verdict(&store));
    if verdict != Verdict::Good {
        warn(&format!("warning: {}", store.health()));
        warn(&store.recovery().to_string());
    }
    let seconds = start.elapsed().as_secs_f64();
    if out.is_json() {
        out.value(&json!({
            "log_bytes": stat.log_bytes,
            "runs": stat.runs,
            "rows": stat.rows,
            "run_bytes": stat.run_bytes,
            "recovery": store::recovery(store.recovery()),
            "seconds": seconds,
        }))?;
    } else {
        out.line(format_args!(
            "rebuilt the index of {} bytes of log in {seconds:.1} s: {} runs, {} rows, {} bytes",
            stat.log_bytes, stat.runs, stat.rows, stat.run_bytes
        ))?;
    }
    Ok(verdict)
}
