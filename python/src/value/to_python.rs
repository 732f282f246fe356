//! Values as objects of Python.

use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyFrozenSet, PyList, PySet, PyTuple};

use super::Value;

impl Value {
    /// The object of Python. An [`Object`](super::Object) is the same object again.
    pub fn to_python<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match self {
            Value::None => Ok(py.None().into_bound(py)),
            Value::Bool(b) => b.into_bound_py_any(py),
            Value::Int(n) => n.into_bound_py_any(py),
            Value::Big(n) => n.into_bound_py_any(py),
            Value::Float(x) => (**x).into_bound_py_any(py),
            Value::Str(text) => text.into_bound_py_any(py),
            Value::Bytes(bytes) => PyBytes::new(py, bytes).into_bound_py_any(py),
            Value::Tuple(parts) => PyTuple::new(py, objects(parts, py)?)?.into_bound_py_any(py),
            Value::List(parts) => PyList::new(py, objects(parts, py)?)?.into_bound_py_any(py),
            Value::Set(parts) => PySet::new(py, objects(parts, py)?)?.into_bound_py_any(py),
            Value::Dict(parts) => {
                let dict = PyDict::new(py);
                for (k, v) in parts {
                    dict.set_item(k.to_python(py)?, v.to_python(py)?)?;
                }
                dict.into_bound_py_any(py)
            }
            Value::Record(name, parts) => match &**name {
                "frozenset" => PyFrozenSet::new(py, objects(parts, py)?)?.into_bound_py_any(py),
                name => py.import("tidemill._records")?.call_method1("of_parts", (name, objects(parts, py)?)),
            },
            Value::Object(object) => Ok(object.bind(py).clone()),
        }
    }
}

fn objects<'py>(parts: &[Value], py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
    parts.iter().map(|part| part.to_python(py)).collect()
}
