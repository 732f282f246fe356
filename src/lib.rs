//! tidemill: the Spark Streaming model in Rust, on timely dataflow and differential dataflow.

// The demo runs the code of dataflows/tweets, which names the library as programs do.
extern crate self as tidemill;

pub mod cluster;
pub mod data;
mod dict;
pub mod error;
pub(crate) mod fault;
mod flow;
mod launcher;
mod output;
mod pane;
pub mod plan;
mod rate;
mod replay;
mod spark;
mod state;
pub mod time;

pub(crate) mod clock;
pub mod config;
pub mod context;
pub mod dstream;
pub mod view;

pub mod checkpoint;
pub mod metrics;

#[cfg(feature = "kafka")]
mod kafka;

mod arrangement;
pub mod batch;
pub mod operator;
pub mod sink;
pub mod source;

#[doc(hidden)]
pub mod cli;
pub mod logging;

#[cfg(any(test, doctest, feature = "testing"))]
pub mod testing;

#[cfg(any(test, feature = "testing"))]
mod fuzz;

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

pub use error::{BoxError, Error, Result};

/// What a program needs: `use tidemill::prelude::*`.
pub mod prelude {
    pub use crate::batch::{JobHandle, Summary};
    pub use crate::config::{CatchUp, RuntimeArgs};
    pub use crate::context::StreamingContext;
    pub use crate::data::{BadRecord, Change, Data, Exchange, F64, Key};
    pub use crate::dstream::DStream;
    pub use crate::error::{BoxError, Error};
    pub use crate::metrics::{BatchInfo, Statistics, StreamingListener};
    pub use crate::operator::{Batch, Decode, Decoded, Json, Out};
    pub use crate::plan::OffsetRange;
    pub use crate::rate::Backpressure;
    #[cfg(feature = "kafka")]
    pub use crate::sink::kafka::{KafkaSink, Record};
    pub use crate::sink::memory::Memory;
    #[cfg(feature = "kafka")]
    pub use crate::source::kafka_direct::{Kafka, StartFrom, Tombstones};
    #[cfg(feature = "kafka")]
    pub use crate::source::kafka_offsets::{CommitOffsets, GroupOffsets};
    pub use crate::source::message::Message;
    pub use crate::source::queue::Queue;
    pub use crate::source::text_files::TextFiles;
    pub use crate::time::{BatchTime, millis, mins, secs};
    pub use crate::view::View;
}
