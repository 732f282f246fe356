//! Tests with a server that speaks the protocol of Kinesis. `scripts/kinesis` installs and starts it.
//!
//! `cargo test --features testing,http,kinesis --test kinesis`, or `scripts/test`.

mod faults;
#[allow(dead_code, reason = "the test binary main uses the rest")]
#[path = "../harness.rs"]
mod harness;
mod once;
mod packed;
mod proxy;
mod reading;
mod resharding;
mod server;
#[path = "../../src/testing/temp_dir.rs"]
mod temp_dir;
