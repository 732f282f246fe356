//! How functions of Python are called: per batch under the GIL, and with an error that names the verb, the batch and the record.

mod failure;
mod keyed;
mod steps;

pub use failure::{Failure, Site};
pub use keyed::{Combiner, Fold};
pub use steps::{Kind, Step, Steps, not_a_pair};

use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::native::{Binary, Native};
use crate::value::Value;

/// A function of the program, with its Rust half if it has one.
pub struct Function {
    callable: Py<PyAny>,
    native: Option<Native>,
    binary: Option<Binary>,
}

impl Function {
    /// Of what Python's half says: the callable, and `None`, the name of a function of two values, or the tuple of a function of one.
    pub fn new(callable: &Bound<'_, PyAny>, said: &Bound<'_, PyAny>) -> PyResult<Self> {
        let binary = said.extract::<String>().ok().and_then(|name| Binary::named(&name));
        let native = said.cast::<PyTuple>().ok().map(Native::parse).transpose()?;
        Ok(Function { callable: callable.clone().unbind(), native, binary })
    }

    /// The callable.
    pub fn bind<'py>(&self, py: Python<'py>) -> &Bound<'py, PyAny> {
        self.callable.bind(py)
    }

    /// The Rust half for one value.
    pub fn native(&self) -> Option<&Native> {
        self.native.as_ref()
    }

    /// Whether it adds two values.
    pub fn adds(&self) -> bool {
        self.binary == Some(Binary::Add)
    }

    /// Whether Rust knows the function of two values.
    pub fn is_binary(&self) -> bool {
        self.binary.is_some()
    }

    /// The result for two values: by Rust if it can, otherwise under the GIL.
    pub fn of_two(&self, a: &Value, b: &Value) -> PyResult<Value> {
        if let Some(value) = self.binary.and_then(|f| f.apply(a, b)) {
            return Ok(value);
        }
        Python::attach(|py| Value::from_python(&self.bind(py).call1((a.to_python(py)?, b.to_python(py)?))?))
    }
}
