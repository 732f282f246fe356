//! The arguments of a verb, as Python's half gives them.

use std::sync::Arc;
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyTuple;
use tidemill::prelude::Slide;

use crate::call::Function;
use crate::value::Value;

/// The arguments of a verb.
pub struct Arguments<'py>(pub Bound<'py, PyTuple>);

impl<'py> Arguments<'py> {
    /// An object.
    pub fn object(&self, i: usize) -> PyResult<Bound<'py, PyAny>> {
        self.0.get_item(i)
    }

    /// A text.
    pub fn text(&self, i: usize) -> PyResult<String> {
        self.object(i)?.extract()
    }

    /// A number.
    pub fn number(&self, i: usize) -> PyResult<u64> {
        self.object(i)?.extract()
    }

    /// A flag.
    pub fn flag(&self, i: usize) -> PyResult<bool> {
        self.object(i)?.extract()
    }

    /// A function: a callable, and what Rust knows of it.
    pub fn function(&self, i: usize) -> PyResult<Arc<Function>> {
        let (callable, said): (Bound<'py, PyAny>, Bound<'py, PyAny>) = self.object(i)?.extract()?;
        Ok(Arc::new(Function::new(&callable, &said)?))
    }

    /// A function, or `None`.
    pub fn some_function(&self, i: usize) -> PyResult<Option<Arc<Function>>> {
        if self.object(i)?.is_none() { Ok(None) } else { self.function(i).map(Some) }
    }

    /// A time in milliseconds.
    pub fn time(&self, i: usize) -> PyResult<Duration> {
        Ok(Duration::from_millis(self.number(i)?))
    }

    /// A slide in milliseconds; `None` is every batch.
    pub fn slide(&self, i: usize) -> PyResult<Slide> {
        let every = self.object(i)?.extract::<Option<u64>>()?;
        Ok(every.map_or_else(Slide::every_batch, |ms| Slide::every(Duration::from_millis(ms))))
    }

    /// Rows that outlive their objects.
    pub fn rows(&self, i: usize) -> PyResult<Vec<Value>> {
        self.object(i)?.try_iter()?.map(|row| Value::plain_of(&row?)).collect()
    }
}
