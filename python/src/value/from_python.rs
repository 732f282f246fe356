//! Python's objects as values.

use num_bigint::BigInt;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyByteArray, PyBytes, PyDict, PyFloat, PyFrozenSet, PyInt, PyList, PySet, PyString, PyTuple};
use tidemill::prelude::F64;

use super::{Object, Value};

/// A nested value may be this deep. A deeper one, or one that contains itself, is an error.
const DEEPEST: usize = 200;

impl Value {
    /// Scalars and tuples as values, and any other object by reference.
    pub fn from_python(object: &Bound<'_, PyAny>) -> PyResult<Value> {
        if let Some(scalar) = scalar(object)? {
            return Ok(scalar);
        }
        if let Ok(tuple) = object.cast_exact::<PyTuple>() {
            return Ok(Value::Tuple(tuple.iter().map(|part| Value::from_python(&part)).collect::<PyResult<_>>()?));
        }
        Ok(Value::Object(Object::new(object.clone().unbind())))
    }

    /// The value without references to objects of Python: what can be a key, move to another process, and be saved.
    ///
    /// # Errors
    /// A `TypeError` that names the type.
    pub fn plain_of(object: &Bound<'_, PyAny>) -> PyResult<Value> {
        plain(object, 0)
    }

    /// As [`Value::plain_of`], for a value.
    pub fn plain(self) -> PyResult<Value> {
        match self {
            Value::Object(object) => Python::attach(|py| Value::plain_of(object.bind(py))),
            Value::Tuple(parts) => Ok(Value::Tuple(parts.into_iter().map(Value::plain).collect::<PyResult<_>>()?)),
            Value::List(parts) => Ok(Value::List(parts.into_iter().map(Value::plain).collect::<PyResult<_>>()?)),
            plain => Ok(plain),
        }
    }
}

/// A value of a type that is not a container. `None`: it has another type, or is a subclass.
fn scalar(object: &Bound<'_, PyAny>) -> PyResult<Option<Value>> {
    let value = if let Ok(text) = object.cast_exact::<PyString>() {
        // A str with half of a surrogate pair has no UTF-8: it stays an object.
        match text.to_str() {
            Ok(text) => Value::Str(text.into()),
            Err(_) => return Ok(None),
        }
    } else if object.is_exact_instance_of::<PyInt>() {
        match object.extract::<i64>() {
            Ok(n) => Value::Int(n),
            Err(_) => Value::Big(object.extract::<BigInt>()?),
        }
    } else if object.is_none() {
        Value::None
    } else if let Ok(float) = object.cast_exact::<PyFloat>() {
        // A negative zero stays an object, so that it is printed as one. As a key it is zero.
        let x = float.value();
        if x == 0.0 && x.is_sign_negative() {
            return Ok(None);
        }
        Value::Float(F64::from(x))
    } else if let Ok(flag) = object.cast_exact::<PyBool>() {
        Value::Bool(flag.is_true())
    } else if let Ok(bytes) = object.cast_exact::<PyBytes>() {
        Value::Bytes(bytes.as_bytes().into())
    } else {
        return Ok(None);
    };
    Ok(Some(value))
}

fn plain(object: &Bound<'_, PyAny>, depth: usize) -> PyResult<Value> {
    if depth > DEEPEST {
        return Err(PyTypeError::new_err(format!("a value that is nested more than {DEEPEST} levels deep cannot be saved")));
    }
    let all = |parts: &mut dyn Iterator<Item = Bound<'_, PyAny>>| {
        parts.map(|part| plain(&part, depth + 1)).collect::<PyResult<Vec<_>>>()
    };
    if let Some(scalar) = scalar(object)? {
        return Ok(scalar);
    }
    if let Ok(tuple) = object.cast_exact::<PyTuple>() {
        return Ok(Value::Tuple(all(&mut tuple.iter())?));
    }
    if let Ok(list) = object.cast_exact::<PyList>() {
        return Ok(Value::List(all(&mut list.iter())?));
    }
    if let Ok(dict) = object.cast_exact::<PyDict>() {
        let parts = dict.iter().map(|(k, v)| Ok((plain(&k, depth + 1)?, plain(&v, depth + 1)?)));
        return Ok(Value::Dict(parts.collect::<PyResult<_>>()?));
    }
    let set = object.cast_exact::<PySet>().is_ok();
    if set || object.cast_exact::<PyFrozenSet>().is_ok() {
        let mut parts = object.try_iter()?.map(|part| plain(&part?, depth + 1)).collect::<PyResult<Vec<_>>>()?;
        parts.sort();
        return Ok(if set { Value::Set(parts) } else { Value::Record("frozenset".into(), parts) });
    }
    if let Ok(bytes) = object.cast_exact::<PyByteArray>() {
        return Ok(Value::Record("bytearray".into(), vec![Value::Bytes(bytes.to_vec().into())]));
    }
    if let Ok(float) = object.cast_exact::<PyFloat>() {
        return Ok(Value::Float(F64::from(float.value())));
    }
    let record = object.py().import("tidemill._records")?.call_method1("parts_of", (object,))?;
    let (name, parts): (String, Vec<Bound<'_, PyAny>>) = record.extract()?;
    Ok(Value::Record(name.into(), all(&mut parts.into_iter())?))
}
