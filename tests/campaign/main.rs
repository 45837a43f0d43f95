//! The fault campaign: a disk that may leave anything a power cut can leave, and a store that must have lost nothing.
//!
//! A *state* is one disk as a crash or a fault may leave it, opened by the crate, and all in it compared: what was
//! acknowledged is there and equal, what was not is whole or absent, no UID comes twice, UIDVALIDITY and MODSEQ never
//! fall, what was shown once stays, and opening it again shows the same. Disks that are equal count once.
//!
//! | test | disks |
//! | --- | --- |
//! | `power_cuts` | after every change of the disk: all subsets of what was not synced, or samples of them; the same again inside the recovery; kill -9 and then a power cut |
//! | `damaged_cuts` | after a power cut one sector of what was durable is damaged: all else is there, what is missing is told; with `--ignored`, as it still finds something |
//! | `failing_calls` | every call that changes the disk fails, once or from then on, with each error; then a power cut |
//!
//! Everything follows from seeds that are printed. A test that fails prints the command that runs the one disk again.
//!
//! * `MAILKEEP_STATES`: how many states each test looks at. A million in all by default, few in a debug build.
//! * `MAILKEEP_SEED`: only this workload. `MAILKEEP_AT`, `MAILKEEP_STATE`: only this point of it, this disk.
//! * `MAILKEEP_FROM`: the first seed. `MAILKEEP_THREADS`: how many threads.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets the unexpected stops"
)]

mod act;
mod cuts;
mod damage;
mod dice;
mod faults;
mod hit;
mod kinds;
mod look;
mod model;
#[allow(
    dead_code,
    reason = "a simulator offers more than any one state of the tests uses"
)]
#[path = "../it/sim.rs"]
mod sim;
mod tally;
mod work;
