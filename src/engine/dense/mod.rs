//! The trace of a view: a differential arrangement whose keys are dictionary codes and whose times are batch times.
//!
//! Codes are dense and batch times are totally ordered. So all compacted times are one array of sums by code, and each newer batch time
//! is one sorted batch. If no reader holds back compaction, this is a plain table. It implements differential's traits, so
//! `join_core`, `reduce_core`, `count_total`, `threshold` and `import` run over it.
//!
//! `arrange.rs` makes the batches of a view with `builder.rs` and inserts them. `trace.rs` holds and compacts them. Differential reads
//! them through `batch.rs` and `cursor.rs`. This crate reads them by index, through `sums.rs`.

mod arrange;
mod batch;
mod builder;
mod cursor;
mod sums;
mod tap;
#[cfg(test)]
mod tests;
mod trace;

pub(crate) use arrange::{Dense, arrange};
pub use batch::DenseBatch;
pub use cursor::DenseCursor;
pub(crate) use sums::SumsBefore;
pub(crate) use tap::{RowOf, Tap};
pub use trace::DenseTrace;
