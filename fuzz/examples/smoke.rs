//! The seeds of every target, and a fixed number of inputs that are made from them: always the same ones, so that a commit
//! passes always or never. `cargo run --release --manifest-path fuzz/Cargo.toml --no-default-features --example smoke`.
//!
//! With `-- TARGET NUMBER` that input alone, which is written to the file TARGET-NUMBER first.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use mailkeep_fuzz::{AT, Target, all, input};

/// How many inputs of each target: some seconds of each.
const INPUTS: [(&str, u64); 16] = [
    ("args", 50_000),
    ("batch", 500_000),
    ("body", 500_000),
    ("checkpoint", 1000),
    ("footer", 500_000),
    ("image", 1500),
    ("images", 1500),
    ("import", 10_000),
    ("manifest", 500_000),
    ("ops", 300),
    ("record", 500_000),
    ("run", 1500),
    ("segment_header", 500_000),
    ("segments", 500_000),
    ("store", 2000),
    ("tail", 500_000),
];

/// No input takes so long, on any machine.
const SECONDS: u64 = 60;

fn main() -> std::io::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    std::thread::spawn(watch);
    for (target, count) in all().into_iter().zip(INPUTS) {
        assert_eq!(target.0, count.0, "the targets, in order");
        match &words[..] {
            [] => run(target, count.1)?,
            [name, number] if *name == target.0 => again(target, number)?,
            _ => {}
        }
    }
    Ok(())
}

fn seeds(name: &str) -> std::io::Result<Vec<(PathBuf, Vec<u8>)>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("seeds")
        .join(name);
    let entries = std::fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path()));
    let mut paths = entries.collect::<std::io::Result<Vec<_>>>()?;
    paths.sort();
    let named = paths
        .into_iter()
        .map(|path| Ok((path.clone(), std::fs::read(path)?)));
    named.collect()
}

fn run((name, target): Target, count: u64) -> std::io::Result<()> {
    let began = std::time::Instant::now();
    print!("{name}: ");
    std::io::stdout().flush()?;
    let named = seeds(name)?;
    for (path, seed) in &named {
        if std::panic::catch_unwind(|| target(seed)).is_err() {
            eprintln!("the seed {}", path.display());
            std::process::exit(1);
        }
    }
    let seeds: Vec<_> = named.into_iter().map(|(_, seed)| seed).collect();
    for nth in 0..count {
        AT.store(nth, Ordering::Relaxed);
        let told = std::panic::catch_unwind(|| target(&input(&seeds, nth)));
        if told.is_err() {
            eprintln!("to see it again: smoke {name} {nth}");
            std::process::exit(1);
        }
    }
    let (seeds, took) = (seeds.len(), began.elapsed());
    println!("{seeds} seeds and {count} inputs in {took:.1?}");
    Ok(())
}

/// One input, kept for the fuzzer and the seeds.
fn again((name, target): Target, number: &str) -> std::io::Result<()> {
    let seeds: Vec<_> = seeds(name)?.into_iter().map(|(_, seed)| seed).collect();
    let bytes = input(&seeds, number.parse().expect("a number"));
    std::fs::write(format!("{name}-{number}"), &bytes)?;
    target(&bytes);
    Ok(())
}

/// Ends the process where one input goes on for ever.
fn watch() {
    let mut last = (u64::MAX, 0);
    loop {
        std::thread::sleep(Duration::from_secs(1));
        let at = AT.load(Ordering::Relaxed);
        last = if at == last.0 {
            (at, last.1 + 1)
        } else {
            (at, 0)
        };
        if last.1 >= SECONDS {
            eprintln!("input {at} of the target behind the last line takes above {SECONDS} s");
            std::process::exit(1);
        }
    }
}
