//! Many threads at once.

mod gate;
mod windows;
