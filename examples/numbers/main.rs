//! Writes the numbers of README.md from what the benches found: see benches/readme.sh, which runs them.
//!
//! `cargo run --example numbers -- FOUND README.md MACHINE`: a file of JSON lines, the file to change, and what it ran on.

mod table;

use std::error::Error;
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = env::args().skip(1).collect();
    let [found, readme, machine] = args.as_slice() else {
        return Err("FOUND README MACHINE".into());
    };
    let text = table::numbers(&fs::read_to_string(found)?, machine)?;
    // Nothing is written where a figure is missing.
    let changed = table::put(&fs::read_to_string(readme)?, &text)?;
    fs::write(readme, changed)?;
    Ok(())
}
