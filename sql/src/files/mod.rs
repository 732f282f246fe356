//! Rows of files as columns: schemas in Spark's words, the values of a row, and the formats of lines.
//!
//! ```text
//! line ──▶ csv, json: the values of a row, or why there are none ──▶ values: columns
//! ```

pub(crate) mod csv;
pub(crate) mod ddl;
pub(crate) mod infer;
pub(crate) mod json;
pub(crate) mod json_shape;
pub(crate) mod line_format;
pub(crate) mod options;
pub(crate) mod read;
pub(crate) mod times;
pub(crate) mod values;
pub(crate) mod write;
