//! The Python door: PySpark Streaming's API over tidemill.
//!
//! `lib/tidemill` is the Python half. It describes a program verb by verb; [`program`] keeps the description. When the job starts, every worker
//! builds its own dataflow of it ([`build`]), so Python runs the program once a process, and lambdas are shared. Rows are [`value::Value`]s.
//! Functions of the program are called per batch under the GIL ([`call`]), unless Rust knows them ([`native`]).

mod broker;
mod build;
mod call;
mod job;
mod listener;
mod native;
mod program;
mod value;

use std::sync::OnceLock;

use pyo3::exceptions::{PyImportError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// A regular expression, as `tidemill.regex` searches with it.
#[pyclass(frozen)]
struct Regex(regex::Regex);

#[pymethods]
impl Regex {
    #[new]
    fn new(pattern: &str) -> PyResult<Self> {
        native::pattern(pattern).map(Regex)
    }

    /// The groups of the first match, or `None`.
    fn search<'py>(&self, py: Python<'py>, text: &str) -> PyResult<Bound<'py, PyAny>> {
        native::groups(&self.0, text).to_python(py)
    }
}

/// The bytes of a plain value, as checkpoints have them.
#[pyfunction]
fn encoded<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    let bytes = tidemill::core::data::encoded(&value::Value::plain_of(value)?);
    Ok(PyBytes::new(value.py(), &bytes))
}

/// The value of these bytes.
#[pyfunction]
fn decoded<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let value: value::Value = postcard::from_bytes(bytes).map_err(|e| PyValueError::new_err(e.to_string()))?;
    value.to_python(py)
}

/// Objects of one interpreter must not reach another one, and threads of a job attach to the main one.
fn refuse_subinterpreters(py: Python<'_>) -> PyResult<()> {
    static FIRST: OnceLock<usize> = OnceLock::new();
    // Every interpreter has a module `sys` of its own.
    let own = py.import("sys")?.as_ptr() as usize;
    if *FIRST.get_or_init(|| own) == own {
        return Ok(());
    }
    // CPython 3.12 and later refuse it themselves. Python's half has the words for the user.
    Err(PyImportError::new_err("no subinterpreter can load this module"))
}

#[pymodule]
fn _engine(module: &Bound<'_, PyModule>) -> PyResult<()> {
    refuse_subinterpreters(module.py())?;
    module.add_class::<program::Program>()?;
    module.add_class::<job::Job>()?;
    module.add_class::<broker::Broker>()?;
    module.add_class::<Regex>()?;
    module.add("JobError", module.py().get_type::<job::JobError>())?;
    module.add_function(wrap_pyfunction!(job::start, module)?)?;
    module.add_function(wrap_pyfunction!(encoded, module)?)?;
    module.add_function(wrap_pyfunction!(decoded, module)?)?;
    Ok(())
}
