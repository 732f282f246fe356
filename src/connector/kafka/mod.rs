//! Kafka: the direct stream, the stream of a consumer group, and the sink. Only this folder names rdkafka.

pub(crate) mod client;
#[cfg(any(test, feature = "cli"))]
pub(crate) mod embedded_broker;
#[cfg(feature = "cli")]
pub(crate) mod dead_letter_topic;
pub mod enumerator;
mod fetcher;
mod ffi;
pub mod group_offsets;
mod group_receiver;
mod member;
mod own_output;
mod partition_buffer;
mod producer;
pub mod producer_record;
mod progress;
pub mod reader;
mod receiver_stream;
mod reports;
pub mod sink;
pub mod source;
mod start_from;
mod stream;
mod topic_ids;
#[cfg(feature = "cli")]
pub(crate) mod topic_tools;
#[cfg(feature = "cli")]
pub(crate) mod topic_writer;
mod topics;
mod transactions;
mod watermarks;
