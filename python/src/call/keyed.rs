//! What verbs by key call: a [`Combiner`] makes one value of all values of a key, before rows move and after; a [`Fold`] updates a state.

use std::collections::HashMap;
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyList;
use tidemill::prelude::BatchTime;

use super::{Failure, Function, Site};
use crate::value::Value;

/// Values of a key combined by Python, a container at a time. Keys are compared as the engine compares them.
#[derive(Clone)]
pub struct Combiner {
    /// Makes a combined value of the first value of a key; `None`: it is the value itself.
    pub create: Option<Arc<Function>>,
    /// Adds a value to a combined value.
    pub add: Arc<Function>,
    /// Merges two combined values.
    pub merge: Arc<Function>,
    /// Where the verb is.
    pub site: Site,
    /// Where exceptions go.
    pub failure: Failure,
}

impl Combiner {
    /// One row for each key of a container, in the order of the first row of each.
    pub fn combine(&self, batch: BatchTime, rows: Vec<(Value, Value)>) -> Vec<(Value, Value)> {
        let mut record = None;
        let combined = Python::attach(|py| {
            let (create, add) = (self.create.as_ref().map(|f| f.bind(py)), self.add.bind(py));
            let mut places: HashMap<Value, usize> = HashMap::with_capacity(rows.len() / 4);
            let mut combined: Vec<(Value, Bound<'_, PyAny>)> = Vec::new();
            for (key, value) in rows {
                let object = value.to_python(py)?;
                let known = places.get(&key).copied();
                let result = match (known, create) {
                    (Some(at), _) => add.call1((&combined[at].1, object)),
                    (None, Some(create)) => create.call1((object,)),
                    (None, None) => Ok(object),
                };
                let result = result.inspect_err(|_| record = Some(Value::pair(key.clone(), value)))?;
                match known {
                    Some(at) => combined[at].1 = result,
                    None => {
                        places.insert(key.clone(), combined.len());
                        combined.push((key, result));
                    }
                }
            }
            combined.into_iter().map(|(key, value)| Ok((key, Value::from_python(&value)?))).collect::<PyResult<Vec<_>>>()
        });
        combined.unwrap_or_else(|e| self.failure.end(e, &self.site, Some(batch), record.as_ref().map(Value::repr)))
    }

    /// Merges what all workers have combined: the values of each key to one.
    pub fn merge(&self, batch: BatchTime, rows: Vec<(Value, Vec<Value>)>) -> Vec<(Value, Value)> {
        let mut record = None;
        let merged = Python::attach(|py| {
            let merge = self.merge.bind(py);
            let mut merged = Vec::with_capacity(rows.len());
            for (key, values) in rows {
                let mut values = values.into_iter();
                let Some(mut value) = values.next() else { continue };
                if values.len() > 0 {
                    let mut all = value.to_python(py)?;
                    for other in values {
                        all = merge.call1((all, other.to_python(py)?)).inspect_err(|_| record = Some(key.clone()))?;
                    }
                    value = Value::from_python(&all)?;
                }
                merged.push((key, value));
            }
            Ok(merged)
        });
        merged.unwrap_or_else(|e: PyErr| self.failure.end(e, &self.site, Some(batch), record.as_ref().map(Value::repr)))
    }
}

/// The function of `updateStateByKey`.
#[derive(Clone)]
pub struct Fold {
    /// The function: new values, and the state or `None`. It returns the state, or `None`.
    pub function: Arc<Function>,
    /// Where the verb is.
    pub site: Site,
    /// Where exceptions go.
    pub failure: Failure,
}

impl Fold {
    /// The state of a key after a batch; `None`: the key is forgotten.
    pub fn update(&self, batch: Option<BatchTime>, key: &Value, values: &[Value], state: Option<Value>) -> Option<Value> {
        let updated = Python::attach(|py| {
            let values = values.iter().map(|value| value.to_python(py)).collect::<PyResult<Vec<_>>>()?;
            let state = state.as_ref().map(|state| state.to_python(py)).transpose()?;
            let new = self.function.bind(py).call1((PyList::new(py, values)?, state))?;
            // The state is saved later, on another thread: nobody may change it meanwhile.
            if new.is_none() { Ok(None) } else { Value::plain_of(&new).map(Some) }
        });
        updated.unwrap_or_else(|e| self.failure.end(e, &self.site, batch, Some(key.repr())))
    }
}
