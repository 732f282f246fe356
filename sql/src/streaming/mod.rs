//! Queries over streams: a table without end, and the result of a query over all rows so far, kept up to date.
//!
//! ```text
//! DStream of structs ──▶ record batches ──▶ narrow: filter, project ──▶ rows that never change ──▶ output
//!                                                  │ rows as bytes, or partial results by key
//!                                                  ▼ exchange by key
//! output modes ◀── having, project, order, limit ◀── View of results by key
//! ```

mod accumulator;
mod aggregate;
mod bad_rows;
mod batches;
mod beside;
mod broadcast_file;
mod changing;
mod codec;
mod conditional_join;
mod dedup;
mod each_batch;
mod empty;
mod exact_sum;
mod explain;
mod frame;
mod from_rows;
mod grouped_window;
mod grouping_sets;
mod groups;
mod held;
mod identity;
mod join;
mod join_time;
mod moments;
mod narrow;
mod output_modes;
mod over;
mod place;
mod recursive;
mod register_view;
mod render;
mod scalar_subquery;
mod sink;
mod sort;
mod source;
pub(crate) mod span;
mod static_join;
mod stream_join;
mod tables;
mod time_window;
mod union;
mod unnest;
mod verbs;
mod watermark;
mod window_origin;
mod windowed;
mod within;

pub use each_batch::BatchSql;
pub use frame::StreamingDataFrame;
pub use output_modes::OutputMode;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) use render::Windows;
pub use sink::{
    DataStreamWriter, IntoOutputMode, SinkProgress, SourceProgress, StreamingQueries, StreamingQuery, StreamingQueryProgress,
    StreamingQueryStatus, Trigger,
};
pub(crate) use sink::{Definitions, MemoryTables};
pub use source::DataStreamReader;
pub use tables::StreamTables;
pub(crate) use time_window::functions;
pub use verbs::StreamingGroupedData;
pub use watermark::Watermark;
