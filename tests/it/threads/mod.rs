//! Many threads at once.

mod gate;
mod names;
mod windows;
