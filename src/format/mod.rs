//! Formats: each decodes bytes into records. A connector reads the bytes and does not know their format.
//!
//! A format implements [`Decode`] in a file here, which names no connector. `operator/decode.rs` has the verbs that apply it.

#[cfg(feature = "avro")]
mod avro;
mod csv;
mod decode;
mod json;
pub(crate) mod lines;
pub(crate) mod object;
#[cfg(feature = "protobuf")]
mod protobuf;
pub(crate) mod row_text;

#[cfg(feature = "avro")]
pub use avro::{Avro, SchemaRegistry};
pub use csv::Csv;
pub use decode::{Decode, Unavailable};
pub use json::Json;
pub use object::Object;
#[cfg(feature = "protobuf")]
pub use protobuf::Protobuf;
