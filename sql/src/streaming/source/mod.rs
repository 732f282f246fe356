//! Sources by the names of formats: `read_stream`.

mod files;
#[cfg(feature = "kafka")]
mod kafka;
mod lines;
mod parquet;
mod reader;

pub use reader::DataStreamReader;
