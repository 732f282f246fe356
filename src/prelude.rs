//! What a program needs: `use tidemill::prelude::*`.

pub use crate::api::accumulator::Accumulator;
pub use crate::api::backpressure::Backpressure;
pub use crate::api::config::{CatchUp, RuntimeArgs};
pub use crate::api::context::StreamingContext;
pub use crate::api::dstream::DStream;
pub use crate::api::loop_view::LoopView;
pub use crate::api::stopper::Stopper;
pub use crate::api::view::View;
pub use crate::connector::DeadLetters;
pub use crate::connector::files::sink::TextFileSink;
pub use crate::connector::files::source::{CleanSource, TextFileSource};
#[cfg(feature = "kafka")]
pub use crate::connector::kafka::group_offsets::{CommitOffsets, GroupOffsets};
#[cfg(feature = "kafka")]
pub use crate::connector::kafka::producer_record::ProducerRecord;
#[cfg(feature = "kafka")]
pub use crate::connector::kafka::sink::KafkaSink;
#[cfg(feature = "kafka")]
pub use crate::connector::kafka::source::{KafkaSource, StartFrom, Tombstones};
#[cfg(feature = "kinesis")]
pub use crate::connector::kinesis::source::{InitialPosition, KinesisSource};
pub use crate::connector::memory::MemorySink;
pub use crate::connector::message::Message;
pub use crate::connector::queue::QueueSource;
pub use crate::connector::socket_receiver::{SocketSource, raw_block};
#[cfg(not(feature = "kafka"))]
#[doc(hidden)]
pub use crate::connector::without_kafka::{KafkaSink, KafkaSource, StartFrom};
pub use crate::core::data::{BadRecord, Change, Data, Exchange, F64, Key};
pub use crate::core::error::{BoxError, Error};
pub use crate::core::event_time::{EventTime, Late, Timestamped, WatermarkStrategy, Windowed};
pub use crate::core::monoid::{Max, Min, Monoid, Set, Sum};
pub use crate::core::plan::OffsetRange;
pub use crate::core::slide::Slide;
pub use crate::core::time::{BatchTime, days, hours, millis, mins, secs};
pub use crate::format::{Csv, Decode, Json};
pub use crate::job::{JobHandle, Summary};
pub use crate::metrics::{BatchInfo, Statistics, StreamingListener};
pub use crate::operator::{
    Batch, Broadcast, Decoded, KeyCounter, MapWithStateDStream, Queryable, Rounds, State, StateSpec, Table,
};
pub use crate::operator::{
    DistinctWithin, EventTimeJoin, EventTimeStream, EventTimeWindows, SessionWindows, SortedByTime, WindowedView,
};
