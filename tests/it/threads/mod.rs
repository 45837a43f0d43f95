//! Many threads at once on a simulated disk that holds them up at seeded calls.
//!
//! Goal: whatever writers, readers, eviction and background passes do to each other, a crash at any moment of it leaves
//! what was acknowledged by then, and nothing that was begun later; what a reader was shown stays; a UID is given once,
//! also across the crash.
//!
//! The seed decides what each thread does and where it is held up; which thread is quicker decides the machine. So a
//! seed that fails is likely, not certain, to fail again: `MAILKEEP_SEED=n MAILKEEP_THREADS=200 cargo test --test it
//! threads::stress` runs that one so many times, and with `MAILKEEP_DUMP=folder` the disk that a crash left is kept.
//! `MAILKEEP_THREADS` alone is the number of seeds, `MAILKEEP_FIRST` the first of them.

mod burned;
mod closing;
mod disk;
mod gate;
mod history;
mod names;
mod oracle;
mod reader;
mod stress;
mod windows;
mod worker;
mod world;
