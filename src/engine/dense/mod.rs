//! The trace of a view: a differential arrangement whose keys are dictionary codes and whose times are batch times.
//!
//! Codes are dense and batch times are totally ordered. So everything that readers no longer tell apart is one array of sums by code,
//! and what is newer is one sorted batch for each batch time. With no reader behind, this is a plain table. It implements
//! differential's own traits, so `join_core`, `reduce_core`, `count_total`, `threshold` and `import` run over it.
//!
//! `arrange.rs` makes the batches of a view with `builder.rs` and inserts them; `trace.rs` holds and compacts them; `batch.rs` and
//! `cursor.rs` are how differential reads them; `sums.rs` is how this crate reads them, by index.

mod arrange;
mod batch;
mod builder;
mod cursor;
mod sums;
#[cfg(test)]
mod tests;
mod trace;

pub(crate) use arrange::{Dense, arrange};
pub use batch::DenseBatch;
pub use cursor::DenseCursor;
pub(crate) use sums::SumsBefore;
pub use trace::DenseTrace;
