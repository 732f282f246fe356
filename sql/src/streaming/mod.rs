//! Queries over streams: a table without end, and the result of a query over all rows so far, kept up to date.
//!
//! ```text
//! DStream of structs ──▶ record batches ──▶ narrow: filter, project ──▶ rows as bytes, or partial results by key
//!                                                                              │ exchange by key
//! output modes ◀── having, project, order, limit ◀── View of results by key ◀──┘
//! ```

mod accumulator;
mod changing;
mod codec;
mod frame;
mod join;
mod narrow;
mod render;
mod sink;
mod source;
mod static_join;
mod tables;
mod unnest;
mod verbs;

pub use frame::{OutputMode, StreamingDataFrame};
pub(crate) use sink::Definitions;
pub use sink::{
    DataStreamWriter, IntoOutputMode, SinkProgress, SourceProgress, StreamingQueries, StreamingQuery, StreamingQueryProgress,
    StreamingQueryStatus, Trigger,
};
pub use source::DataStreamReader;
pub use tables::StreamTables;
pub use verbs::StreamingGroupedData;
