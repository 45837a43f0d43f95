//! Bits flip at rest.
//!
//! In segments one in each batch (in each of its bodies), header and footer (in each of its pages) at a time: they do not meet, and each has to be
//! named at its own place, with exactly the messages that it costs.

use std::collections::BTreeMap;

use mailkeep::format::PAGE;
use mailkeep::format::change::Change;
use mailkeep::format::footer::Trailer;

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

/// A batch, a header, a footer, or what was not written behind the last batch.
#[derive(Default)]
struct Domain<'a> {
    /// One bit flips at a time in all of these.
    own: Vec<&'a Piece>,
    /// After that, one bit in each of these at a time: bodies, pages of a footer's tables, pages that were not written.
    apart: Vec<&'a Piece>,
}

fn bits(piece: &Piece) -> usize {
    8 * piece.range.len()
}

impl Domain<'_> {
    /// How many flips it takes until each bit has been another one.
    fn rounds(&self) -> usize {
        let own: usize = self.own.iter().map(|piece| bits(piece)).sum();
        own + self
            .apart
            .iter()
            .map(|piece| bits(piece))
            .max()
            .unwrap_or(0)
    }

    /// What flips in that round, as file and bit.
    fn flips(&self, mut round: usize) -> Vec<(&str, usize)> {
        let at = |piece: &'_ &Piece, bit| 8 * piece.range.start + bit;
        for piece in &self.own {
            if round < bits(piece) {
                return vec![(piece.file.as_str(), at(piece, round))];
            }
            round -= bits(piece);
        }
        let long = self.apart.iter().filter(|piece| round < bits(piece));
        long.map(|piece| (piece.file.as_str(), at(piece, round)))
            .collect()
    }
}

/// Where a sealed segment's table of checksums is, and its trailer behind it.
fn sums_at(file: &[u8]) -> usize {
    let trailer = Trailer::decode(&file[file.len() - PAGE..]).unwrap();
    trailer.footer_at as usize + trailer.checksums_at()
}

/// All of segments, but for large bodies: those are read anew each time, one at a time (see `each_bit`).
fn domains(sample: &Sample) -> Vec<Domain<'_>> {
    let oracle = &sample.oracle;
    let mut domains = BTreeMap::<usize, Domain<'_>>::new();
    // What a lost assignment costs depends on the deferred delivery: they are one.
    let mut same = BTreeMap::new();
    let batch_of = |number: u64| {
        let of = oracle.pieces.iter();
        let mut of = of.filter(|piece| piece.unit == Unit::Record(number));
        of.next().map(|piece| piece.domain)
    };
    for number in oracle.numbers() {
        if let Some(Change::Assign(assign)) = oracle.change(number) {
            same.insert(
                batch_of(number).unwrap(),
                batch_of(assign.deferred).unwrap(),
            );
        }
    }
    assert!(!same.is_empty(), "the sample has deferred mail");
    for piece in &oracle.pieces {
        let domain = same.get(&piece.domain).copied().unwrap_or(piece.domain);
        let domain = domains.entry(domain).or_default();
        let apart = match piece.unit {
            Unit::Large(_) => continue,
            Unit::Body(_) | Unit::Zeroes => true,
            // Without these nothing is said of the pages in front.
            Unit::Footer => piece.range.start < sums_at(&sample.files[&piece.file]),
            _ => false,
        };
        if apart {
            domain.apart.push(piece);
        } else {
            domain.own.push(piece);
        }
    }
    domains.retain(|_, domain| domain.rounds() > 0);
    domains.into_values().collect()
}

/// Flips one bit of each domain at a time. Of all rounds, those from `MAILKEEP_FROM` on.
#[test]
fn a_bit_of_each_batch() {
    let sample = sample(0, 6);
    let domains = domains(&sample);
    let most = domains.iter().map(Domain::rounds).max().unwrap();
    let seed = env("MAILKEEP_SEED", 1);
    let mut dice = Dice::new(seed);
    let rounds: Vec<usize> = match all() {
        true => (env("MAILKEEP_FROM", 0) as usize..most).collect(),
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
        for domain in &domains {
            // Where all are tried, none is tried twice.
            let round = if all() {
                round
            } else {
                round % domain.rounds()
            };
            for (file, bit) in domain.flips(round) {
                files.get_mut(file).unwrap()[bit / 8] ^= 1 << (bit % 8);
                hits.push(Hit {
                    file: file.to_owned(),
                    range: bit / 8..bit / 8 + 1,
                });
            }
        }
        flips += hits.len();
        let what = format!("seed {seed}, MAILKEEP_ROUND={round}");
        exact(&sample, files, &hits, &what, nth % 16 == 0);
    }
    println!(
        "{flips} flips in {most} rounds at most, {:?}",
        start.elapsed()
    );
}

/// One bit at a time, anywhere in segments.
#[test]
fn a_bit() {
    let sample = sample(0, 6);
    let mut domains = BTreeMap::<usize, Vec<&Piece>>::new();
    for piece in &sample.oracle.pieces {
        domains.entry(piece.domain).or_default().push(piece);
    }
    let domains: Vec<Vec<&Piece>> = domains.into_values().collect();
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
