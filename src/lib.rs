//! mailkeep: an embeddable mail store.

pub mod format;
pub mod io;
pub mod mail;

mod error;
mod index;
mod log;
mod options;
