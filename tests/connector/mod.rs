//! Sources and sinks, as programs use them.

mod custom_sink;
mod custom_source;
mod dead_letters;
mod object_files;
mod receiver;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(feature = "sqlite")]
mod sums;
