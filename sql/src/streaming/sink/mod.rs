//! Sinks by the names of formats, and the queries that they make: `write_stream`.

mod files;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "parquet")]
mod parquet;
mod progress;
mod queries;
mod query;
mod writer;

pub use progress::{SinkProgress, SourceProgress, StreamingQueryProgress, StreamingQueryStatus};
pub use queries::StreamingQueries;
pub(crate) use query::Definitions;
pub(super) use query::Started;
pub use query::{StreamingQuery, Trigger};
pub use writer::{DataStreamWriter, IntoOutputMode};
