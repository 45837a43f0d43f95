//! Goal: whatever happens to bytes at rest is noticed or harmless. Never wrong bytes, never a panic; the reports name
//! exactly what is hit, held against an oracle that reads the files by itself (`oracle`); all else is served, before and
//! after more mail has come.
//!
//! The store (`sample`) holds every kind of record, sealed segments, an unsealed one, a large body and an index.
//! `MAILKEEP_DAMAGE=all` tries everything: every bit, sector, truncation and lost write; without it, a sample that
//! `MAILKEEP_SEED` chooses. `MAILKEEP_DAMAGE_PART=2/8` tries the second of eight parts.

mod bent;
mod check;
mod each_bit;
mod files;
mod flips;
mod inbox;
mod live;
mod lost_writes;
mod oracle;
mod sample;
mod sectors;

use std::collections::BTreeMap;

type Files = BTreeMap<String, Vec<u8>>;

/// Whether everything is to be tried.
fn all() -> bool {
    std::env::var("MAILKEEP_DAMAGE").is_ok_and(|what| what == "all")
}

/// Whether the item of that number belongs to the part that is asked for.
fn in_part(nth: usize) -> bool {
    let Ok(part) = std::env::var("MAILKEEP_DAMAGE_PART") else {
        return true;
    };
    let (which, of) = part.split_once('/').expect("such as 2/8");
    let (which, of): (usize, usize) = (which.parse().unwrap(), of.parse().unwrap());
    nth % of == which % of
}
