//! The functions that are fuzzed, shared by libFuzzer, the `seeds` binary and the tests of the crate.

mod targets;

pub use targets::*;
