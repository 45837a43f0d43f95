//! Goal: no protection is there that no test would miss. Each sync, checksum, mark, refusal and order of writes has a
//! switch (src/switch.rs); turned off, one at a time, a test must fail. The table says which, or why none can.
//!
//! `MAILKEEP_SWITCHES=all cargo test --test switches -- --nocapture` builds the tests once more with the switches in
//! them (into target/switches) and tries them all; a number instead of `all` tries so many, chosen by
//! `MAILKEEP_SEED`; a name tries that one. Without it only the table itself is held against the source.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets the unexpected stops"
)]
// The simulated disk and its kit offer more than these tests use.
#![allow(dead_code)]

mod damage;
mod decided;
mod derived;
mod failed;
mod given;
#[path = "../it/kit.rs"]
mod kit;
mod marks;
mod medium;
mod runner;
#[path = "../it/seam.rs"]
mod seam;
#[path = "../it/sim.rs"]
mod sim;
mod source;
#[path = "../../src/switch.rs"]
mod switch;
mod system;
mod table;
