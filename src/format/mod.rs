//! What bytes mean: lines of text.

pub(crate) mod lines;
