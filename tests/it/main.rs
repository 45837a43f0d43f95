//! The integration tests: one binary.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets the unexpected stops"
)]

mod bad_input;
mod base_rows;
mod changes;
#[cfg(feature = "cli")]
mod cli;
#[cfg(feature = "cli")]
mod command;
#[cfg(feature = "cli")]
mod corpora;
mod corruption;
mod crash;
mod damage;
mod deferral;
#[cfg(feature = "cli")]
mod drill;
mod dump;
mod failed_sync;
mod full_disk;
mod fuzz_seeds;
mod golden;
mod golden_store;
mod harm;
mod hostile;
mod index_cache;
mod index_files;
mod index_flips;
mod index_rebuild;
mod index_writes;
mod io_errors;
mod kill;
mod kit;
mod listing;
mod lost_record;
mod model;
mod no_threads;
mod numbers;
mod partial_account;
mod races;
mod rebuild;
mod rules;
mod seam;
#[allow(
    dead_code,
    reason = "a simulator offers more than any one state of the tests uses"
)]
mod sim;
mod sim_tests;
mod threads;
mod tidy;
mod unread_account;
mod unreadable;
mod witness;
