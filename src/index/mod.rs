//! index.

pub(crate) mod tree;
