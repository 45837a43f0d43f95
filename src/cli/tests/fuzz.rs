//! The fuzz targets of the command over their seeds, cut and changed: what fuzzing once found stays found.

#[allow(unreachable_pub, reason = "public where the fuzzer uses it")]
#[path = "../../../fuzz/src/command.rs"]
mod command;

use std::fs;
use std::path::Path;

/// Goal: each target has seeds, all of which keep its promises.
#[test]
fn seeds_pass() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    for (name, target) in command::COMMAND {
        let mut count = 0;
        for seed in fs::read_dir(folder.join(name)).unwrap() {
            let mut bytes = fs::read(seed.unwrap().path()).unwrap();
            target(&bytes);
            target(&bytes[..bytes.len() / 2]);
            for at in (0..bytes.len()).step_by(11) {
                bytes[at] ^= 1 << (at % 8);
                target(&bytes);
            }
            count += 1;
        }
        assert!(count > 5, "{name} has {count} seeds");
    }
}
