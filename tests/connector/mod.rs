//! Sources and sinks, as programs use them.

#[cfg(feature = "avro")]
mod avro;
mod custom_sink;
mod custom_source;
mod dead_letters;
mod files;
#[cfg(feature = "http")]
mod http;
mod object_files;
mod rates;
mod receiver;
mod sockets;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(feature = "sqlite")]
mod sums;
