//! The store's own threads, and how they know that they are.

use std::cell::Cell;
use std::thread::{Builder, JoinHandle};

thread_local! {
    static OWN: Cell<bool> = const { Cell::new(false) };
}

/// Starts one: `mailkeep-` and `name`.
pub(crate) fn spawn(
    name: &str,
    run: impl FnOnce() + Send + 'static,
) -> std::io::Result<JoinHandle<()>> {
    Builder::new()
        .name(format!("mailkeep-{name}"))
        .spawn(move || {
            OWN.set(true);
            run();
        })
}

/// Whether the caller is one. It calls wakers, and these may do anything; but whoever waits for such a thread to end is not
/// to be waited for.
pub(crate) fn is_own() -> bool {
    OWN.get()
}
