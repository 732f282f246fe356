//! What bytes mean, and rows as text.

pub(crate) mod lines;
pub(crate) mod row_text;
