//! Runs every seed, and each with every byte changed once, through its target. For machines without cargo-fuzz:
//! `cargo run --manifest-path fuzz/Cargo.toml --no-default-features --example seeds`.

use std::path::Path;

fn main() -> std::io::Result<()> {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    for (name, target) in mailkeep_fuzz::all() {
        let mut inputs = 0_u64;
        for seed in std::fs::read_dir(seeds.join(name))? {
            let mut bytes = std::fs::read(seed?.path())?;
            target(&bytes);
            inputs += 1;
            for at in 0..bytes.len() {
                let kept = bytes[at];
                for changed in [kept ^ 1, kept ^ 0x80, 0, 0xff] {
                    bytes[at] = changed;
                    target(&bytes);
                    inputs += 1;
                }
                bytes[at] = kept;
                if at % 7 == 0 {
                    target(&bytes[..at]);
                    inputs += 1;
                }
            }
        }
        println!("{name}: {inputs} inputs");
    }
    Ok(())
}
