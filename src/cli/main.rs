//! The `mailkeep` command.
//!
//! `source` reads mail from files, `sink` writes it to files; both know nothing of the store.

mod civil;
mod utf7;

#[cfg(test)]
mod tests;

#[cfg_attr(
    not(test),
    allow(
        dead_code,
        unused_imports,
        reason = "the commands are built on top of it"
    )
)]
mod sink;
#[cfg_attr(
    not(test),
    allow(
        dead_code,
        unused_imports,
        reason = "the commands are built on top of it"
    )
)]
mod source;

fn main() {}
