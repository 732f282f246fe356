//! Text files: a directory as a source, and a directory for each batch as an output.

mod exactly_once;
pub(crate) mod sink;
pub mod source;
pub(crate) mod watch;
