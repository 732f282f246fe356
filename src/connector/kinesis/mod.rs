//! Kinesis: the direct stream. Only this folder names the SDK of AWS.

mod aggregated;
mod client;
mod cursor;
mod enumerator;
mod fetcher;
mod lineage;
mod number;
mod reader;
mod shard_buffer;
pub mod source;
mod stream;
#[cfg(feature = "cli")]
pub(crate) mod stream_writer;
