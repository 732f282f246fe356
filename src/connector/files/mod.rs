//! Files: directories as a source of lines or records, and a directory for each batch as an output.

mod binary_files;
mod binary_records;
mod broadcast_file;
#[cfg(feature = "object-store")]
mod bucket_listing;
#[cfg(feature = "object-store")]
mod bucket_sink;
mod claim;
mod cleaner;
mod content;
mod cut;
mod durable;
mod enumerator;
mod exactly_once;
mod file_view;
mod identity;
mod listing;
#[cfg(feature = "object-store")]
mod object_fetch;
mod object_files;
mod options;
mod pattern;
mod place;
mod reader;
mod saved;
pub mod sink;
pub mod sink_log;
mod sink_log_reader;
pub mod source;
mod target;
pub(crate) mod watch;

#[cfg(test)]
mod tests;
