//! tidemill: the Spark Streaming model in Rust, on timely dataflow and differential dataflow.

// The demo runs the code of dataflows/tweets, which names the library as programs do.
extern crate self as tidemill;

pub mod api;
mod arrangement;
pub mod checkpoint;
#[doc(hidden)]
pub mod cli;
pub mod cluster;
pub mod connector;
pub mod core;
mod engine;
mod format;
pub mod job;
pub mod logging;
pub mod metrics;
pub mod operator;
mod replay;

#[cfg(any(test, doctest, feature = "testing"))]
pub mod testing;

/// The pages for users: every program in them is a doc test.
#[cfg(all(doctest, feature = "kafka"))]
mod pages {
    #[doc = include_str!("../README.md")]
    mod readme {}
    #[doc = include_str!("../docs/guide/coming-from-spark.md")]
    mod coming_from_spark {}
    #[doc = include_str!("../docs/guide/flat-map.md")]
    mod flat_map {}
    #[doc = include_str!("../docs/guide/writing-helpers.md")]
    mod writing_helpers {}
    #[doc = include_str!("../docs/guide/state-and-windows.md")]
    mod state_and_windows {}
    #[doc = include_str!("../docs/guide/checkpoints.md")]
    mod checkpoints {}
}

pub use core::error::{BoxError, Error, Result};

/// What a program needs: `use tidemill::prelude::*`.
pub mod prelude {
    pub use crate::api::config::{CatchUp, RuntimeArgs};
    pub use crate::api::context::StreamingContext;
    pub use crate::api::dstream::DStream;
    pub use crate::api::view::View;
    pub use crate::connector::files::source::TextFileSource;
    #[cfg(feature = "kafka")]
    pub use crate::connector::kafka::group_offsets::{CommitOffsets, GroupOffsets};
    #[cfg(feature = "kafka")]
    pub use crate::connector::kafka::sink::{KafkaSink, ProducerRecord};
    #[cfg(feature = "kafka")]
    pub use crate::connector::kafka::source::{KafkaSource, StartFrom, Tombstones};
    pub use crate::connector::memory::MemorySink;
    pub use crate::connector::message::Message;
    pub use crate::connector::queue::QueueSource;
    pub use crate::core::data::{BadRecord, Change, Data, Exchange, F64, Key};
    pub use crate::core::error::{BoxError, Error};
    pub use crate::core::plan::OffsetRange;
    pub use crate::core::rate::Backpressure;
    pub use crate::core::time::{BatchTime, millis, mins, secs};
    pub use crate::job::{JobHandle, Summary};
    pub use crate::metrics::{BatchInfo, Statistics, StreamingListener};
    pub use crate::operator::{Batch, Decode, Decoded, Json, KeyCounter};
}
