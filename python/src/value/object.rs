//! [`Object`]: an object of Python that a row holds by reference.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use pyo3::prelude::*;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Value;

/// An object of Python, shared by reference: cloning it needs no GIL. It is compared, hashed and saved by its plain value.
#[derive(Clone)]
pub struct Object(Arc<Py<PyAny>>);

impl Object {
    /// Holds an object.
    pub fn new(object: Py<PyAny>) -> Self {
        Object(Arc::new(object))
    }

    /// The object.
    pub fn bind<'py>(&self, py: Python<'py>) -> &Bound<'py, PyAny> {
        self.0.bind(py)
    }

    /// The name of its type.
    pub fn type_name(&self) -> String {
        Python::attach(|py| self.bind(py).get_type().qualname().map(|name| name.to_string()).unwrap_or_else(|_| "object".into()))
    }

    /// Its plain value, for traits that cannot fail. Verbs make rows plain before, with an error that names the line.
    fn plain(&self) -> Value {
        let plain = Python::attach(|py| Value::plain_of(self.bind(py)).map_err(|e| e.to_string()));
        plain.unwrap_or_else(|e| panic!("{e}"))
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Python::attach(|py| self.bind(py).repr().map(|text| text.to_string()).unwrap_or_else(|e| e.to_string())))
    }
}

impl PartialEq for Object {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.plain() == other.plain()
    }
}

impl Eq for Object {}

impl PartialOrd for Object {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Object {
    fn cmp(&self, other: &Self) -> Ordering {
        self.plain().cmp(&other.plain())
    }
}

impl Hash for Object {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.plain().hash(state);
    }
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let plain = Python::attach(|py| Value::plain_of(self.bind(py)).map_err(|e| e.to_string()));
        plain.map_err(serde::ser::Error::custom)?.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let plain = Value::deserialize(deserializer)?;
        let object = Python::attach(|py| plain.to_python(py).map(Bound::unbind).map_err(|e| e.to_string()));
        Ok(Object::new(object.map_err(serde::de::Error::custom)?))
    }
}
