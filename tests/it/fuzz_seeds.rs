//! Every fuzz seed through its target, so that what fuzzing once found stays found where there is no fuzzer. The targets
//! of the command are run by its own tests.
//!
//! `MAILKEEP_WRITE_SEEDS=1 cargo test --test it seeds_are_made` makes those seeds anew that are made from a store.

#[path = "../../fuzz/src/edits.rs"]
mod edits;
#[path = "../../fuzz/src/input.rs"]
mod input;
#[path = "../../fuzz/src/sample.rs"]
mod sample;
#[path = "../../fuzz/src/sign.rs"]
mod sign;
#[allow(unreachable_pub, reason = "public where the fuzzer uses it")]
#[path = "../../fuzz/src/stores.rs"]
mod stores;
#[allow(unreachable_pub, reason = "public where the fuzzer uses it")]
#[path = "../../fuzz/src/targets.rs"]
pub(crate) mod targets;

use std::fs;
use std::path::{Path, PathBuf};

use crate::harm::Dice;

/// The targets that only the command's own tests and the fuzzer can run.
const OF_THE_COMMAND: [&str; 2] = ["args", "import"];

fn all() -> Vec<targets::Target> {
    let ops: targets::Target = ("ops", crate::model::run_bytes);
    [&targets::TARGETS[..], &stores::STORES, &[ops]].concat()
}

fn seeds(target: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    let entries = fs::read_dir(folder.join(target)).unwrap();
    let mut found: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

/// Goal: each decoder has seeds, all of which keep the targets' promises, cut and changed as well.
#[test]
fn seeds_pass() {
    for (name, target) in targets::TARGETS {
        let seeds = seeds(name);
        assert!(!seeds.is_empty(), "{name} has no seeds");
        for seed in seeds {
            let mut bytes = fs::read(seed).unwrap();
            target(&bytes);
            target(&bytes[..bytes.len() / 2]);
            for at in (0..bytes.len().min(512)).step_by(3) {
                bytes[at] ^= 1 << (at % 8);
                target(&bytes);
            }
        }
    }
}

/// Goal: the same of whole stores and of programs, which take longer: each seed, its first half, and a few changes.
#[test]
fn seeds_of_stores_and_programs_pass() {
    for (name, target) in all().split_off(targets::TARGETS.len()) {
        let seeds = seeds(name);
        assert!(!seeds.is_empty(), "{name} has no seeds");
        for seed in seeds {
            let mut bytes = fs::read(&seed).unwrap();
            target(&bytes);
            target(&bytes[..bytes.len() / 2]);
            let mut dice = Dice::new(bytes.len() as u64);
            for _ in 0..8 {
                let at = dice.below(bytes.len());
                bytes[at] ^= 1 << dice.below(8);
                target(&bytes);
            }
        }
    }
}

/// Goal: stores that are damaged at random are read without harm, with checksums as they fall and made good.
/// `MAILKEEP_DAMAGES` says how many, `MAILKEEP_SEED` which.
#[test]
fn random_damage_does_no_harm() {
    let seed = crate::kit::env("MAILKEEP_SEED", 1);
    let count = crate::kit::env("MAILKEEP_DAMAGES", 300);
    for nth in 0..count {
        let mut dice = Dice::new(seed << 32 | nth);
        let len = 8 + dice.below(80);
        let bytes: Vec<u8> = (0..len).map(|_| dice.next() as u8).collect();
        let target = [stores::store, stores::run, stores::images][dice.below(3)];
        let told = std::panic::catch_unwind(|| target(&bytes));
        assert!(
            told.is_ok(),
            "MAILKEEP_SEED={seed}, number {nth}: {bytes:?}"
        );
    }
}

/// Seeds that are made from the sample store, by target and name.
fn made() -> Vec<(&'static str, String, Vec<u8>)> {
    let files = &sample::sample().files;
    let mut all = Vec::new();
    let checkpoint = &files["index/CHECKPOINT"];
    all.push((
        "checkpoint",
        "of_the_sample".into(),
        [&[0], &checkpoint[..]].concat(),
    ));
    all.push((
        "checkpoint",
        "read_only".into(),
        [&[1], &checkpoint[..]].concat(),
    ));
    let images: Vec<_> = files.keys().filter(|name| name.ends_with(".img")).collect();
    for (at, name) in images.iter().enumerate() {
        for (nth, (from, len)) in stores::blobs(&files[*name]).into_iter().enumerate() {
            let which = u8::try_from(at + nth * images.len()).unwrap();
            let from = from + sign::BLOB_HEAD;
            let blob = &files[*name][from..from + len];
            all.push((
                "image",
                format!("file_{at}_blob_{nth}"),
                [&[0, which], blob].concat(),
            ));
        }
    }
    // How the store is opened, then edits: a kind, a file, a place, and what the kind needs.
    let edit = |kind: u8, file: u8, at: u32, more: &[u8]| {
        [&[kind, file], &at.to_le_bytes()[..], more].concat()
    };
    let count = u8::try_from(files.len()).unwrap();
    for file in 0..count {
        let bytes = [
            edit(0, file, 40_001, &[]),
            edit(3, file, 3, &[]),
            edit(7, file, 2, &[file + 1, 1, 0, 0, 0]),
        ];
        all.push((
            "store",
            format!("file_{file}_hit"),
            [&[4], &bytes.concat()[..]].concat(),
        ));
        let signed = edit(2, file, 77, b"\x03\xff\xff\x7f");
        all.push((
            "store",
            format!("file_{file}_signed"),
            [&[16], &signed[..]].concat(),
        ));
        all.push((
            "store",
            format!("file_{file}_gone"),
            [&[2], &edit(6, file, 0, &[])[..]].concat(),
        ));
    }
    for kind in 0..12 {
        let more = b"\x04\x01\x00\x00\x00\xff\xff\xff";
        let bytes = [edit(kind, 3, 4100, more), edit(kind, 0, 60, more)].concat();
        all.push((
            "store",
            format!("kind_{kind}"),
            [&[kind], &bytes[..]].concat(),
        ));
    }
    for (target, name) in [("run", "number"), ("images", "number")] {
        for at in [24, 40, 48, 4096, 4112, 4180, 8200] {
            let bytes = edit(11, 0, at, b"\xff\xff\xff\xff\x00");
            all.push((target, format!("{name}_{at}"), [&[0], &bytes[..]].concat()));
        }
    }
    for seed in 0..24 {
        let mut dice = Dice::new(seed);
        let len = 60 + dice.below(300);
        let mut bytes: Vec<u8> = (0..len).map(|_| dice.next() as u8).collect();
        bytes[0] = seed as u8;
        all.push(("ops", format!("program_{seed:02}"), bytes));
    }
    all
}

/// Goal: the seeds that are made from a store are there; told so, this test makes them.
#[test]
fn seeds_are_made() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    let writes = std::env::var_os("MAILKEEP_WRITE_SEEDS").is_some();
    let mut bytes = 0;
    for (target, name, content) in made() {
        let path = folder.join(target).join(&name);
        if writes {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &content).unwrap();
        }
        assert!(path.is_file(), "{} is missing", path.display());
        bytes += content.len();
    }
    assert!(bytes < 150 << 10, "{bytes} bytes of seeds");
}

/// Goal: the folder of seeds, the list of targets, their binaries and the table in the README are the same.
#[test]
fn targets_are_listed_everywhere() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let names = |folder: &str| {
        let mut names: Vec<String> = fs::read_dir(fuzz.join(folder))
            .unwrap()
            .map(|entry| {
                let path = entry.unwrap().path();
                path.file_stem().unwrap().to_str().unwrap().to_owned()
            })
            .collect();
        names.sort();
        names
    };
    let mut listed: Vec<_> = all().iter().map(|(name, _)| (*name).to_owned()).collect();
    listed.extend(OF_THE_COMMAND.map(str::to_owned));
    listed.sort();
    assert_eq!(names("seeds"), listed);
    assert_eq!(names("fuzz_targets"), listed);
    let readme = fs::read_to_string(fuzz.join("README.md")).unwrap();
    let rows = readme
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    assert_eq!(rows.map(str::to_owned).collect::<Vec<_>>(), listed);
}
