//! Tests with a real Kafka, whose address is in `TIDEMILL_KAFKA`. Each test has its own topics.

mod broker;
#[path = "../programs/child.rs"]
#[allow(dead_code, reason = "the test binary programs uses the rest")]
mod child;
mod fixture;
#[path = "../http_client.rs"]
#[allow(dead_code, reason = "the test binary main uses the rest")]
mod http_client;
mod proxy;
mod recorder;

mod broker_outage;
mod clients;
mod cluster;
mod compacted;
mod exactly_once;
mod groups;
mod job;
mod mock;
mod offsets;
mod overload;
mod poison;
mod reader;
mod records;
mod replay;
mod retention;
mod sasl;
mod several_topics;
mod shared_client;
mod sink;
mod slow_output;
mod splits;
mod starts;
mod statistics;
#[cfg(feature = "ssl")]
mod tls;
mod topics;
mod txn_timeout;
mod wire;
