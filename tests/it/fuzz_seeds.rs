//! Every fuzz seed through its target, so that what fuzzing once found stays found where there is no fuzzer.

#[allow(unreachable_pub, reason = "public where the fuzzer uses it")]
#[path = "../../fuzz/src/targets.rs"]
pub(crate) mod targets;

use std::fs;
use std::path::Path;

/// Goal: each target has seeds, all of which keep the targets' promises, cut and changed as well.
#[test]
fn seeds_pass() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    for (name, target) in targets::TARGETS {
        let seeds: Vec<_> = fs::read_dir(folder.join(name)).unwrap().collect();
        assert!(!seeds.is_empty(), "{name} has no seeds");
        for seed in seeds {
            let mut bytes = fs::read(seed.unwrap().path()).unwrap();
            target(&bytes);
            target(&bytes[..bytes.len() / 2]);
            for at in (0..bytes.len().min(512)).step_by(3) {
                bytes[at] ^= 1 << (at % 8);
                target(&bytes);
            }
        }
    }
}

/// Goal: the folder of seeds, the list of targets, their binaries and the table in the README are the same.
#[test]
fn targets_are_listed_everywhere() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let names = |folder: &str| {
        let mut names: Vec<String> = fs::read_dir(fuzz.join(folder))
            .unwrap()
            .map(|entry| {
                entry
                    .unwrap()
                    .path()
                    .file_stem()
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned()
            })
            .collect();
        names.sort();
        names
    };
    let listed: Vec<_> = targets::TARGETS
        .iter()
        .map(|(name, _)| (*name).to_owned())
        .collect();
    assert_eq!(names("seeds"), listed);
    assert_eq!(names("fuzz_targets"), listed);
    let readme = fs::read_to_string(fuzz.join("README.md")).unwrap();
    let rows = readme
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    assert_eq!(rows.map(str::to_owned).collect::<Vec<_>>(), listed);
}
