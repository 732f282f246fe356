//! Bytes of a record as a str, as Python decodes them.

use pyo3::exceptions::PyUnicodeDecodeError;
use pyo3::prelude::*;
use tidemill::prelude::BatchTime;

use crate::call::{Failure, Site};
use crate::value::Value;

/// The text. Bytes that are no UTF-8 end the job with Python's exception; `place` names the record.
pub(super) fn text(bytes: &[u8], place: impl FnOnce() -> String, batch: BatchTime, site: &Site, failure: &Failure) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => Value::text(text),
        Err(e) => {
            let raised = Python::attach(|py| {
                PyUnicodeDecodeError::new_utf8(py, bytes, e).map_or_else(|e| e, |e| PyErr::from_value(e.into_any()))
            });
            failure.end(raised, site, Some(batch), Some(place()))
        }
    }
}
