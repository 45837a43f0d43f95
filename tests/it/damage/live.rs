//! Damage below an open store: what it has verified it may go on showing, what it reads anew is verified, and a
//! verification or the next opening names everything.

use super::check::{Hit, places, served, verify};
use super::oracle::Unit;
use super::sample::{made, sample};
use mailkeep::io::Open;

use crate::harm::Dice;
use crate::kit::{deliver, env, open};
use crate::sim::Sim;

#[test]
fn bits_below_an_open_store() {
    let sample = sample(0, 6);
    let seed = env("MAILKEEP_SEED", 1);
    let mut dice = Dice::new(seed + 3);
    let mut refused = 0;
    for nth in 0..env("MAILKEEP_FLIPS", if super::all() { 20_000 } else { 80 }) {
        let sim = Sim::from_files(sample.files.clone());
        let store = open(&sim, made(50).cache_bytes(0)).unwrap();
        let what = format!("seed {seed}, {nth}");
        // Half of them have read it all before: what was verified is not verified again, but by a verification.
        let before = nth % 2 == 0;
        if before {
            served(&store, &sample.oracle, &sample.oracle.mail, &what);
        }
        let mut hits = Vec::new();
        for _ in 0..1 + dice.below(4) {
            let piece = &sample.oracle.pieces[dice.below(sample.oracle.pieces.len())];
            if piece.unit == Unit::Zeroes {
                continue;
            }
            let bit = 8 * piece.range.start + dice.below(8 * piece.range.len());
            sim.flip(&piece.file, bit);
            hits.push(Hit {
                file: piece.file.clone(),
                range: bit / 8..bit / 8 + 1,
            });
        }
        let flipped = sim.files();
        let at = |files: &super::Files, hit: &Hit| files[&hit.file][hit.range.clone()].to_vec();
        if !before {
            let (_, unreadable) = served(&store, &sample.oracle, &sample.oracle.mail, &what);
            refused += unreadable.len();
            // A footer that is found damaged is written again, and that is told.
            let (now, count) = (sim.files(), hits.len());
            hits.retain(|hit| at(&now, hit) == at(&flipped, hit));
            let told = store.health().index_damage > 0;
            assert!(told || hits.len() == count, "{what}");
        }
        places(&sample.oracle, &verify(&store), &hits, &what);
        let uid = deliver(&store, nth, 400).unwrap();
        assert!(uid > 0, "{what}");
        drop(store);
        // Also when the store is closed.
        let closed = sim.files();
        hits.retain(|hit| at(&closed, hit) == at(&flipped, hit));
        let store = open(&sim, made(51).replay_all(true)).unwrap();
        served(&store, &sample.oracle, &sample.oracle.mail, &what);
        let told = !store.recovery().is_whole() || !verify(&store).is_whole();
        assert!(told || hits.is_empty(), "{what}: {hits:?}");
    }
    println!("{refused} messages refused");
    assert!(refused > 0);
}

/// Goal: a verification reads the files that have the names, not those that are open still: one that is gone, or another's
/// file in its place, is named, although all was read before.
#[test]
fn files_exchanged_below_an_open_store() {
    let sample = sample(0, 6);
    let of_log = || sample.files.keys().filter(|name| name.starts_with("log/"));
    let mut tried = 0;
    for (name, other) in of_log().zip(of_log().cycle().skip(1)) {
        for exchanged in [false, true] {
            let what = format!("{name}, exchanged: {exchanged}");
            let sim = Sim::from_files(sample.files.clone());
            let store = open(&sim, made(50)).unwrap();
            served(&store, &sample.oracle, &sample.oracle.mail, &what);
            sim.lose(name);
            if exchanged {
                let file = sim.storage().open(name, Open::Create).unwrap();
                file.write_at(&[&sample.files[other]], 0).unwrap();
            }
            let report = verify(&store);
            let named = |damage: &mailkeep::Damage| damage.path.ends_with(name.as_str());
            assert!(!report.is_whole(), "{what}");
            assert!(report.damage.iter().all(named), "{what}: {report:?}");
            tried += 1;
        }
    }
    assert!(tried > 20, "{tried}");
}
