//! What bytes mean: a record of one of these formats. A connector brings bytes; which format they have is another question.
//!
//! A format is a [`Decode`]: a file here, which names no connector. `operator/decode.rs` has the verbs that apply it.

mod decode;
mod json;
pub(crate) mod lines;
pub(crate) mod row_text;

pub use decode::Decode;
pub use json::Json;
