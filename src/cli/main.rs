//! The `mailkeep` command.

fn main() {}
