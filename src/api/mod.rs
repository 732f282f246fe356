//! The API of a program: the context, its settings, and the handles `DStream`, `View` and `LoopView`.

pub mod accumulator;
pub(crate) mod alignment;
pub mod backpressure;
mod bad_limits;
pub mod builder;
mod built_graph;
mod calls;
pub mod config;
pub mod context;
pub mod dstream;
mod fingerprint;
pub mod loop_view;
pub mod max_bad;
pub(crate) mod meta;
pub(crate) mod port;
mod replay;
pub mod spark_conf;
mod states;
pub mod stopper;
pub mod view;
