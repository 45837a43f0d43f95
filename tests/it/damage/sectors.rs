//! Sectors become something else: zeroes, another sector of the file, of another segment, of another store, or what they
//! were at an earlier closing; and files end early.

use super::check::{exact, hits, lenient, refused_or};
use super::oracle::Unit;
use super::sample::{Sample, made, sample};
use super::{Files, all, in_part};
use crate::harm::Dice;
use crate::kit::env;
use crate::sim::SECTOR;

/// The segments with batches, and the large body's.
fn segments(files: &Files) -> Vec<&String> {
    files.keys().filter(|name| name.ends_with(".seg")).collect()
}

fn range(file: &[u8], sector: usize) -> std::ops::Range<usize> {
    sector * SECTOR..file.len().min((sector + 1) * SECTOR)
}

/// Tries one change for each sector of each segment, or for a sample of them; exactly what is hit is named.
fn each_sector(
    sample: &Sample,
    usual: usize,
    change: impl Fn(&str, usize, &mut Dice) -> Option<Vec<u8>>,
) {
    let seed = env("MAILKEEP_SEED", 1);
    let mut dice = Dice::new(seed);
    let (mut tried, start) = (0, std::time::Instant::now());
    let places: Vec<(&String, usize)> = segments(&sample.files)
        .into_iter()
        .flat_map(|name| {
            (0..sample.files[name].len().div_ceil(SECTOR)).map(move |sector| (name, sector))
        })
        .collect();
    let chosen: Vec<usize> = match all() {
        true => (0..places.len()).filter(|nth| in_part(*nth)).collect(),
        false => (0..usual).map(|_| dice.below(places.len())).collect(),
    };
    for nth in chosen {
        let (name, sector) = places[nth];
        let Some(content) = change(name, sector, &mut dice) else {
            continue;
        };
        let mut files = sample.files.clone();
        let file = files.get_mut(name).unwrap();
        let range = range(file, sector);
        let len = range.len().min(content.len());
        file[range.start..range.start + len].copy_from_slice(&content[..len]);
        let hits = hits(&sample.files, &files);
        if hits.is_empty() {
            continue;
        }
        // The whole sector is what happened, whatever bytes of it are the same by chance.
        let what = format!("seed {seed}: {name} sector {sector}");
        tried += 1;
        exact(sample, files, &hits, &what, tried % 8 == 0);
    }
    println!("{tried} sectors, {:?}", start.elapsed());
}

#[test]
fn zeroed() {
    each_sector(&sample(0, 6), 60, |_, _, _| Some(vec![0; SECTOR]));
}

#[test]
fn another_of_the_file() {
    let sample = sample(0, 6);
    each_sector(&sample, 60, |name, _, dice| {
        let file = &sample.files[name];
        let other = dice.below(file.len() / SECTOR);
        Some(file[range(file, other)].to_vec())
    });
}

#[test]
fn another_of_another_segment() {
    let sample = sample(0, 6);
    each_sector(&sample, 60, |name, sector, dice| {
        let others = segments(&sample.files);
        let other = others[dice.below(others.len())];
        let file = &sample.files[other];
        // At the same place as often as anywhere.
        let other_sector = if dice.below(2) == 0 {
            sector
        } else {
            dice.below(file.len() / SECTOR)
        };
        let there = other != name
            && range(file, other_sector).end <= file.len()
            && other_sector < file.len() / SECTOR;
        there.then(|| file[range(file, other_sector)].to_vec())
    });
}

#[test]
fn another_of_another_store() {
    let (sample, other) = (sample(0, 6), sample(5000, 6));
    each_sector(&sample, 60, |name, sector, _| {
        let file = other.files.get(name)?;
        (sector < file.len() / SECTOR).then(|| file[range(file, sector)].to_vec())
    });
}

/// What a segment held at an earlier closing: zeroes, mostly, where batches were written since.
#[test]
fn an_older_one() {
    let sample = sample(0, 6);
    let mut differ = 0;
    for name in segments(&sample.files) {
        let (new, old) = (&sample.files[name], sample.older.get(name));
        for sector in 0..new.len().div_ceil(SECTOR) {
            let range = range(new, sector);
            let before = old.map_or(&[][..], |old| old.get(range.clone()).unwrap_or_default());
            let before: Vec<u8> = before
                .iter()
                .copied()
                .chain(std::iter::repeat(0))
                .take(range.len())
                .collect();
            if before == new[range.clone()] || (!all() && sector % 7 != 0) {
                continue;
            }
            differ += 1;
            let mut files = sample.files.clone();
            files.get_mut(name).unwrap()[range].copy_from_slice(&before);
            let hits = hits(&sample.files, &files);
            exact(
                &sample,
                files,
                &hits,
                &format!("{name} sector {sector} older"),
                differ % 8 == 0,
            );
        }
    }
    println!("{differ} sectors");
    assert!(differ > 20);
}

/// By the index, as a server opens: what is not served was hit, and is named.
#[test]
fn by_the_index() {
    let sample = sample(0, 6);
    let seed = env("MAILKEEP_SEED", 1);
    let mut dice = Dice::new(seed + 9);
    let pieces: Vec<_> = sample
        .oracle
        .pieces
        .iter()
        .filter(|piece| !matches!(piece.unit, Unit::Zeroes))
        .collect();
    let mut missing = 0;
    for nth in 0..env("MAILKEEP_SECTORS", if all() { 20_000 } else { 150 }) {
        let piece = pieces[dice.below(pieces.len())];
        let mut files = sample.files.clone();
        let file = files.get_mut(&piece.file).unwrap();
        let sector = (piece.range.start + dice.below(piece.range.len())) / SECTOR;
        let range = range(file, sector);
        match dice.below(3) {
            0 => file[range].fill(0),
            1 => file[range.start + dice.below(range.len())] ^= 1 << dice.below(8),
            _ => file[range].fill(0xA5),
        }
        let hits = hits(&sample.files, &files);
        if hits.is_empty() {
            continue;
        }
        let what = format!("seed {seed}, {nth}: {} sector {sector}", piece.file);
        let options = made(60).rebuild(nth % 4 == 0).read_only(nth % 5 == 0);
        missing += lenient(&sample, files, &hits, &what, options);
    }
    println!("{missing} messages not served in all");
    assert!(missing > 0);
}

/// Files of the log that end early: refused, or with the loss accepted exactly the rest is served.
#[test]
fn cut() {
    let sample = sample(0, 6);
    let mut dice = Dice::new(env("MAILKEEP_SEED", 1));
    let mut refused = 0;
    for name in segments(&sample.files) {
        let len = sample.files[name].len();
        let sectors = len.div_ceil(SECTOR);
        let cuts: Vec<usize> = match all() {
            true => (0..sectors).collect(),
            false => (0..6).map(|_| dice.below(sectors)).collect(),
        };
        for sector in cuts {
            let mut files = sample.files.clone();
            files.get_mut(name).unwrap().truncate(sector * SECTOR);
            let what = format!("{name} cut to {}", sector * SECTOR);
            refused += usize::from(refused_or(&sample, files, &what));
        }
    }
    println!("{refused} cuts refused");
    assert!(refused > 20);
}
