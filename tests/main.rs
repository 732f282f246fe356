//! Tests of the public API. They are one binary, because each binary links timely and librdkafka again. A folder here tests the
//! folder of `src/` with the same name.
//!
//! `cargo test --features testing --test main`, or `scripts/test`.

mod api_docs;
mod checkpoint;
mod compiler;
mod connector;
mod graph;
mod harness;
mod http_client;
mod job;
mod operator;
mod pages;
mod rust_files;
#[path = "../src/testing/temp_dir.rs"]
mod temp_dir;
mod tidy;
#[cfg(feature = "kafka")]
mod tutorials;
