//! mailkeep: an embeddable mail store.

pub mod format;
pub mod io;
pub mod mail;

mod index;
