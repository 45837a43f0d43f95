//! Bits flip at rest.
//!
//! One at a time in the small files; in segments one in each batch, header and footer at a time: they do not meet, and each
//! has to be named at its own place, with exactly the messages that it costs.

use std::collections::BTreeMap;

use mailkeep::format::change::Change;

use super::check::{Hit, exact};
use super::oracle::{Piece, Unit};
use super::sample::{Sample, sample};
use super::{all, in_part};
use crate::harm::Dice;
use crate::kit::env;

#[test]
fn the_sample_has_everything() {
    let sample = sample(0, 6);
    let oracle = &sample.oracle;
    let bytes: usize = sample.files.values().map(Vec::len).sum();
    let index = sample
        .files
        .keys()
        .filter(|name| name.starts_with("index/"))
        .count();
    println!(
        "{bytes} bytes in {} files, {index} of the index; {} records {:?}; {} entries, {} bodies, {} sealed",
        sample.files.len(),
        oracle.numbers().count(),
        oracle.kinds,
        oracle.mail.len(),
        oracle.bodies.len(),
        oracle.sealed,
    );
    assert!(bytes >= 1 << 20 && oracle.sealed > 4 && index > 3);
    exact(&sample, sample.files.clone(), &[], "nothing", true);
}

/// The pieces of segments by domain.
fn domains(sample: &Sample) -> Vec<Vec<&Piece>> {
    let mut domains = BTreeMap::<usize, Vec<&Piece>>::new();
    for piece in &sample.oracle.pieces {
        domains.entry(piece.domain).or_default().push(piece);
    }
    // A deferred message whose assignment is lost gets another UID, which the oracle does not foretell.
    let assigns = |piece: &&Piece| match piece.unit {
        Unit::Record(number) => matches!(sample.oracle.change(number), Some(Change::Assign(_))),
        _ => false,
    };
    domains.retain(|_, pieces| !pieces.iter().any(assigns));
    domains.into_values().collect()
}

fn bit_of(pieces: &[&Piece], mut bit: usize) -> Option<(String, usize)> {
    for piece in pieces {
        let bits = 8 * piece.range.len();
        if bit < bits {
            return Some((piece.file.clone(), 8 * piece.range.start + bit));
        }
        bit -= bits;
    }
    None
}

/// Flips one bit of each domain at a time.
#[test]
fn a_bit_of_each_batch() {
    let sample = sample(0, 6);
    let mut domains = domains(&sample);
    domains.retain(|pieces| !matches!(pieces[0].unit, Unit::Large(_)));
    let bits = |pieces: &[&Piece]| {
        pieces
            .iter()
            .map(|piece| 8 * piece.range.len())
            .sum::<usize>()
    };
    let most = domains.iter().map(|pieces| bits(pieces)).max().unwrap();
    let seed = env("MAILKEEP_SEED", 1);
    let mut dice = Dice::new(seed);
    let rounds: Vec<usize> = match all() {
        true => (0..most).collect(),
        false if env("MAILKEEP_ROUND", u64::MAX) != u64::MAX => {
            vec![env("MAILKEEP_ROUND", 0) as usize]
        }
        false => (0..env("MAILKEEP_FLIPS", 60))
            .map(|_| dice.below(most))
            .collect(),
    };
    let (mut flips, start) = (0, std::time::Instant::now());
    for (nth, round) in rounds.into_iter().enumerate() {
        if !in_part(nth) {
            continue;
        }
        let mut files = sample.files.clone();
        let mut hits = Vec::new();
        for pieces in &domains {
            // Where all are tried, none is tried twice.
            let bit = if all() { round } else { round % bits(pieces) };
            let Some((file, bit)) = bit_of(pieces, bit) else {
                continue;
            };
            files.get_mut(&file).unwrap()[bit / 8] ^= 1 << (bit % 8);
            hits.push(Hit {
                file,
                range: bit / 8..bit / 8 + 1,
            });
        }
        flips += hits.len();
        exact(
            &sample,
            files,
            &hits,
            &format!("seed {seed}, round {round}"),
            nth % 16 == 0,
        );
    }
    println!("{flips} flips, {:?}", start.elapsed());
}

/// One bit at a time, anywhere in segments.
#[test]
fn a_bit() {
    let sample = sample(0, 6);
    let domains = domains(&sample);
    let seed = env("MAILKEEP_SEED", 1);
    let mut dice = Dice::new(seed);
    for nth in 0..env("MAILKEEP_FLIPS", 150) {
        let pieces = &domains[dice.below(domains.len())];
        let piece = pieces[dice.below(pieces.len())];
        let bit = 8 * piece.range.start + dice.below(8 * piece.range.len());
        let mut files = sample.files.clone();
        files.get_mut(&piece.file).unwrap()[bit / 8] ^= 1 << (bit % 8);
        let hit = Hit {
            file: piece.file.clone(),
            range: bit / 8..bit / 8 + 1,
        };
        let what = format!(
            "seed {seed}, {nth}: {} bit {bit} of {:?}",
            piece.file, piece.unit
        );
        exact(&sample, files, &[hit], &what, nth % 8 == 0);
    }
}
