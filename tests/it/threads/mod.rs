//! Many threads at once.

mod burned;
mod closing;
mod disk;
mod gate;
mod names;
mod windows;
