//! What the system says of this process's memory.

use std::fs;

/// Memory of this process, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    pub(crate) anon: u64,
    pub(crate) file: u64,
}

impl Memory {
    pub(crate) fn now() -> Self {
        // The sums in status lag behind by some pages of each thread.
        let rollup = fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
        let (all, anon) = (field(&rollup, "Rss:"), field(&rollup, "Anonymous:"));
        Self {
            anon: 1024 * anon,
            file: 1024 * all.saturating_sub(anon),
        }
    }
}

/// The number behind the name that a line of a file of `/proc` begins with; 0 where there is none.
pub(crate) fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let word = line.and_then(|rest| rest.split_whitespace().next());
    word.and_then(|word| word.parse().ok()).unwrap_or(0)
}
