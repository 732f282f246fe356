//! What is promised about Kafka, on a real one: its address is in `TIDEMILL_KAFKA`. Each test has topics of its own.

mod broker;
#[path = "../programs/child.rs"]
#[allow(dead_code, reason = "the test binary programs uses the rest")]
mod child;
mod noted;
mod proxy;
mod rig;

mod aged;
mod away;
mod cluster;
mod compacted;
mod job;
mod mock;
mod offsets;
mod once;
mod overload;
mod reader;
mod records;
mod replay;
mod sasl;
mod sink;
mod slow;
mod splits;
mod stopped;
#[cfg(feature = "ssl")]
mod tls;
mod topics;
mod wire;
