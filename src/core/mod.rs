//! The types that every other module may use. They use no other module.

pub(crate) mod clock;
pub mod correction;
pub mod data;
pub(crate) mod detached;
pub mod error;
pub mod event_time;
pub(crate) mod fault;
mod float;
pub mod key_groups;
pub(crate) mod letter;
pub(crate) mod local_clock;
pub(crate) mod lock;
pub(crate) mod monoid;
pub(crate) mod origin;
pub(crate) mod path;
pub mod plan;
pub mod question;
pub(crate) mod schedule;
pub mod shard_span;
pub(crate) mod signals;
pub mod slide;
pub(crate) mod sum;
pub(crate) mod thread;
pub mod time;
pub(crate) mod time_zone;
pub(crate) mod unplanned;
pub(crate) mod window_shape;
