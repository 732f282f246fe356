//! What a program holds in its hands: the context, its settings, and the two handles.

pub mod backpressure;
pub mod builder;
pub mod config;
pub mod context;
pub mod dstream;
pub(crate) mod meta;
mod replay;
pub mod spark_conf;
pub mod view;
