//! The functions that are fuzzed, shared by libFuzzer, the `seeds` binary and the tests of the crate.

// What is shared with the crate is used in part only, here or there.
#![allow(dead_code, unused_imports)]

#[path = "../../src/cli/args.rs"]
mod args;
#[path = "../../src/cli/civil.rs"]
mod civil;
mod command;
mod edits;
#[path = "../../tests/it/harm.rs"]
mod harm;
mod input;
mod memory;
mod model;
mod sample;
mod sign;
#[path = "../../tests/it/sim.rs"]
mod sim;
mod smoke;
#[path = "../../src/cli/source/mod.rs"]
mod source;
mod stores;
mod targets;
#[path = "../../src/cli/utf7.rs"]
mod utf7;

pub use command::{COMMAND, args, import};
pub use memory::AT;
pub use smoke::input;
pub use stores::*;
pub use targets::*;

/// Bytes as a program for the model and the store.
pub fn ops(data: &[u8]) {
    model::run_bytes(data);
}

/// All targets by name.
#[must_use]
pub fn all() -> Vec<Target> {
    let mut all = [
        &TARGETS[..],
        &STORES,
        &COMMAND,
        &[("ops", ops as fn(&[u8]))],
    ]
    .concat();
    all.sort_by_key(|(name, _)| *name);
    all
}
