//! Many threads at once.

mod closing;
mod disk;
mod gate;
mod names;
mod windows;
