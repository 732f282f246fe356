//! tidemill: the Spark Streaming model in Rust, on timely dataflow and differential dataflow.

pub mod cluster;
pub mod data;
pub mod error;
pub mod plan;
pub mod sink;
pub mod source;
pub mod time;

pub use error::{BoxError, Error, Result};

/// What a program needs: `use tidemill::prelude::*`.
pub mod prelude {
    pub use crate::data::{BadRecord, Change, Data, Exchange, F64, Key};
    pub use crate::error::{BoxError, Error};
    pub use crate::plan::OffsetRange;
    pub use crate::time::{BatchTime, millis, mins, secs};
}
