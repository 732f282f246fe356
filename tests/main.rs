//! What is promised, tried: one binary, since each one links timely and librdkafka again. Its modules mirror `src/`.
//!
//! `cargo test --features testing --test main`, or `scripts/test`.

mod api_docs;
mod batch;
mod connector;
mod harness;
mod operator;
mod pages;
mod tidy;
#[cfg(feature = "kafka")]
mod tutorials;
