//! Text files: a directory as a source, and a directory for each batch as an output.

mod broadcast_file;
mod content;
mod exactly_once;
mod identity;
mod object_files;
mod saved;
pub mod sink;
pub mod source;
pub(crate) mod watch;

#[cfg(test)]
mod tests;
