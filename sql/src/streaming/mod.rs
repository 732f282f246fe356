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
mod static_join;
mod tables;

pub use frame::{OutputMode, StreamingDataFrame};
pub use tables::StreamTables;
