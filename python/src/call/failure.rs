//! What a function of the program raised, and where.

use std::ffi::CString;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use pyo3::exceptions::PyRuntimeWarning;
use pyo3::prelude::*;
use pyo3::types::{PyFrozenSet, PySet};
use tidemill::prelude::BatchTime;

/// The verb that calls a function, and the line of the program that called the verb: `map (words.py:12)`.
#[derive(Clone, Debug)]
pub struct Site(Arc<(Box<str>, AtomicBool)>);

impl Site {
    /// A place in the program.
    pub fn new(place: String) -> Self {
        Site(Arc::new((place.into(), AtomicBool::new(false))))
    }

    /// Its text.
    pub fn text(&self) -> &str {
        &self.0.0
    }

    /// Warns, once, of rows that are the items of a set: their order is another one in each process and in each run.
    pub fn check_order(&self, rows: &Bound<'_, PyAny>) -> PyResult<()> {
        let is_set = rows.is_instance_of::<PySet>() || rows.is_instance_of::<PyFrozenSet>();
        if !is_set || self.0.1.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        let text = format!(
            "{}: the function returns a set, whose order is another one in each run; return sorted(...) of it",
            self.text()
        );
        let category = rows.py().get_type::<PyRuntimeWarning>();
        PyErr::warn(rows.py(), &category, &CString::new(text)?, 1)
    }
}

/// The first failure of a job's functions. All workers and outputs of a process share it.
#[derive(Clone, Default)]
pub struct Failure(Arc<Mutex<Option<(PyErr, String)>>>);

impl Failure {
    /// Notes what was raised, and returns the text of it. Only the first one stays.
    pub fn note(&self, error: PyErr, site: &Site, batch: Option<BatchTime>, record: Option<String>) -> String {
        let mut text = site.text().to_owned();
        if let Some(batch) = batch {
            text += &format!(", batch {batch}");
        }
        if let Some(mut record) = record {
            if record.len() > 400 {
                let end = (0..=400).rev().find(|at| record.is_char_boundary(*at)).unwrap_or(0);
                record.truncate(end);
                record += "...";
            }
            text += &format!(", record {record}");
        }
        text += &Python::attach(|py| {
            let kind = error.get_type(py).name().map(|name| name.to_string()).unwrap_or_default();
            format!(": {kind}: {}", error.value(py))
        });
        let mut first = self.0.lock().unwrap_or_else(|e| e.into_inner());
        first.get_or_insert((error, text.clone()));
        text
    }

    /// Ends the worker: the engine stops the job. The panic hook stays silent, because Python's traceback says more.
    pub fn end(&self, error: PyErr, site: &Site, batch: Option<BatchTime>, record: Option<String>) -> ! {
        resume_unwind(Box::new(self.note(error, site, batch, record)))
    }

    /// What was raised first, with its text.
    pub fn take(&self) -> Option<(PyErr, String)> {
        self.0.lock().unwrap_or_else(|e| e.into_inner()).take()
    }
}
