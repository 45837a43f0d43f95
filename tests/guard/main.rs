//! The guard: pages of mapped files that cannot be read end no process, and are never taken for mail.
//!
//! A handler of a signal is a process's, so each test runs in a process of its own: the test starts this binary again,
//! for itself alone, and looks at how that ended. `cargo test --test guard NAME` runs one. The long run:
//! `MAILKEEP_GUARD_PAGES=10000000 MAILKEEP_GUARD_SECONDS=60 cargo test --release --test guard`.
#![cfg(all(target_os = "linux", target_pointer_width = "64"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets the unexpected stops"
)]

mod files;
mod process;
mod signals;
mod store;
