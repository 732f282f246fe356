//! Sources and sinks: their traits, and one file or folder per system.

pub(crate) mod console;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub mod database;
mod dead_letters;
pub mod files;
mod foreach;
mod foreach_with;
#[cfg(feature = "http")]
pub mod http_receiver;
#[cfg(feature = "kafka")]
pub mod kafka;
#[cfg(feature = "kinesis")]
pub mod kinesis;
pub mod memory;
pub mod message;
#[cfg(feature = "mqtt")]
pub mod mqtt_receiver;
pub mod queue;
mod rate;
mod received;
pub mod receiver;
pub(crate) mod retry;
pub mod sink;
mod sink_task;
mod sink_to;
mod socket;
pub mod socket_receiver;
pub mod source;
mod spark_names;
mod views;
#[cfg(not(feature = "kafka"))]
pub(crate) mod without_kafka;

pub use dead_letters::DeadLetters;
