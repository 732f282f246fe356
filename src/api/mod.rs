//! The API of a program: the context, its settings, and the two handles, `DStream` and `View`.

pub mod backpressure;
pub mod builder;
pub mod config;
pub mod context;
pub mod dstream;
pub(crate) mod meta;
mod replay;
pub mod spark_conf;
pub mod view;
