//! Sinks by the names of formats, and the queries that they make: `write_stream`.

#[cfg(any(feature = "kafka", feature = "postgres", feature = "sqlite"))]
mod by_key;
mod files;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod jdbc;
#[cfg(feature = "kafka")]
mod kafka;
mod memory;
#[cfg(feature = "parquet")]
mod parquet;
mod progress;
mod queries;
mod query;
mod table_sink;
mod writer;

pub(crate) use memory::MemoryTables;
pub use progress::{SinkProgress, SourceProgress, StreamingQueryProgress, StreamingQueryStatus};
pub use queries::StreamingQueries;
pub(crate) use query::Definitions;
pub(super) use query::Started;
pub use query::{StreamingQuery, Trigger};
pub(super) use table_sink::TableSink;
pub use writer::{DataStreamWriter, IntoOutputMode};
