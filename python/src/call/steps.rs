//! [`Steps`]: narrow verbs that follow one another. A batch goes through all of them at once, so its rows are objects of Python between two
//! lambdas, and never leave Rust between two functions that Rust knows.

use std::sync::Arc;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyIterator, PyTuple};
use tidemill::prelude::BatchTime;

use super::{Failure, Function, Site};
use crate::native::Native;
use crate::value::Value;

/// What a step does with the result of its function.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// It is the row.
    Map,
    /// Its items are rows.
    FlatMap,
    /// It says whether the row stays.
    Filter,
    /// It is the value of a pair.
    MapValues,
    /// Its items are values of a pair.
    FlatMapValues,
}

impl Kind {
    /// By the name of the verb.
    pub fn of(verb: &str) -> Option<Self> {
        Some(match verb {
            "map" => Kind::Map,
            "flatMap" => Kind::FlatMap,
            "filter" => Kind::Filter,
            "mapValues" => Kind::MapValues,
            "flatMapValues" => Kind::FlatMapValues,
            _ => return None,
        })
    }
}

/// A verb that makes rows of one row.
pub struct Step {
    /// What the verb does.
    pub kind: Kind,
    /// Its function.
    pub function: Function,
    /// Where it is.
    pub site: Site,
}

impl Step {
    /// The rows of a row, if Rust knows the function. `None`: ask Python.
    fn by_rust(&self, row: &Value, out: &mut Vec<Value>) -> Option<()> {
        let native = self.function.native()?;
        if let (Kind::FlatMap, Value::Str(text)) = (self.kind, row)
            && native.split(text, |part| out.push(Value::text(part))).is_some()
        {
            return Some(());
        }
        match self.kind {
            Kind::Map => out.push(native.apply(row)?),
            Kind::FlatMap => match native.apply(row)? {
                Value::List(rows) | Value::Tuple(rows) => out.extend(rows),
                _ => return None,
            },
            Kind::Filter => match native.apply(row)? {
                Value::Bool(true) => out.push(row.clone()),
                Value::Bool(false) => {}
                _ => return None,
            },
            Kind::MapValues | Kind::FlatMapValues => {
                let Value::Tuple(parts) = row else { return None };
                let [key, value] = &**parts else { return None };
                match (self.kind, native.apply(value)?) {
                    (Kind::MapValues, value) => out.push(Value::pair(key.clone(), value)),
                    (_, Value::List(rows) | Value::Tuple(rows)) => {
                        out.extend(rows.into_iter().map(|value| Value::pair(key.clone(), value)));
                    }
                    _ => return None,
                }
            }
        }
        Some(())
    }
}

/// Narrow verbs that follow one another.
#[derive(Clone)]
pub struct Steps {
    steps: Vec<Arc<Step>>,
    failure: Failure,
}

/// What was raised, by which step, and the row that its function got.
type Raised = (PyErr, usize, String);

impl Steps {
    /// No step yet.
    pub fn new(failure: &Failure) -> Self {
        Steps { steps: Vec::new(), failure: failure.clone() }
    }

    /// Whether there are no steps.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Whether it is one verb, which makes pairs of a row and the number 1.
    pub fn is_pair_with_one(&self) -> bool {
        let [step] = &*self.steps else { return false };
        step.kind == Kind::Map && step.function.native().is_some_and(Native::is_pair_with_one)
    }

    /// One more at the end.
    pub fn push(&mut self, step: Arc<Step>) {
        self.steps.push(step);
    }

    /// The verbs, for the name of the operator.
    pub fn name(&self) -> String {
        let sites: Vec<_> = self.steps.iter().map(|step| step.site.text()).collect();
        sites.join(", ")
    }

    /// The rows that become of these. An exception ends the job.
    pub fn run(&self, batch: BatchTime, mut rows: Vec<Value>) -> Vec<Value> {
        let mut steps = &*self.steps;
        while let Some(first) = steps.first() {
            let native = first.function.native().is_some();
            let same = steps.iter().take_while(|step| step.function.native().is_some() == native).count();
            let (now, later) = steps.split_at(same);
            rows = if native {
                now.iter().fold(rows, |rows, step| self.by_rust(batch, step, rows))
            } else {
                self.by_python(batch, now, rows)
            };
            steps = later;
        }
        rows
    }

    /// A step that Rust knows. Rows that it does not know go to Python one by one.
    fn by_rust(&self, batch: BatchTime, step: &Arc<Step>, rows: Vec<Value>) -> Vec<Value> {
        let mut out = Vec::with_capacity(rows.len());
        for row in rows {
            if step.by_rust(&row, &mut out).is_none() {
                out.extend(self.by_python(batch, std::slice::from_ref(step), vec![row]));
            }
        }
        out
    }

    fn by_python(&self, batch: BatchTime, steps: &[Arc<Step>], rows: Vec<Value>) -> Vec<Value> {
        let mut out = Vec::with_capacity(rows.len());
        let ended = Python::attach(|py| {
            rows.iter().find_map(|row| {
                let object = row.to_python(py).map_err(|e| (e, 0, row.repr()));
                object.and_then(|object| push(steps, 0, &object, &mut out)).err()
            })
        });
        if let Some((error, step, record)) = ended {
            self.failure.end(error, &steps[step].site, Some(batch), Some(record));
        }
        out
    }
}

/// Takes an object through the steps from `at` on. Its rows are added to `out`.
fn push(steps: &[Arc<Step>], at: usize, object: &Bound<'_, PyAny>, out: &mut Vec<Value>) -> Result<(), Raised> {
    let Some(step) = steps.get(at) else {
        out.push(Value::from_python(object).map_err(|e| (e, at - 1, shown(object)))?);
        return Ok(());
    };
    let function = step.function.bind(object.py());
    let raised = |e| (e, at, shown(object));
    match step.kind {
        Kind::Map => push(steps, at + 1, &function.call1((object,)).map_err(raised)?, out),
        Kind::Filter => {
            let stays = function.call1((object,)).and_then(|result| result.is_truthy()).map_err(raised)?;
            if stays { push(steps, at + 1, object, out) } else { Ok(()) }
        }
        Kind::FlatMap => {
            for row in items(function, object, &step.site).map_err(raised)? {
                push(steps, at + 1, &row.map_err(raised)?, out)?;
            }
            Ok(())
        }
        Kind::MapValues => {
            let (key, value) = pair(object).map_err(raised)?;
            let value = function.call1((value,)).map_err(raised)?;
            push(steps, at + 1, &tuple(&key, &value).map_err(raised)?, out)
        }
        Kind::FlatMapValues => {
            let (key, value) = pair(object).map_err(raised)?;
            for value in items(function, &value, &step.site).map_err(raised)? {
                let value = value.map_err(raised)?;
                push(steps, at + 1, &tuple(&key, &value).map_err(raised)?, out)?;
            }
            Ok(())
        }
    }
}

/// The items of the result of a function.
fn items<'py>(function: &Bound<'py, PyAny>, object: &Bound<'py, PyAny>, site: &Site) -> PyResult<Bound<'py, PyIterator>> {
    let result = function.call1((object,))?;
    site.check_order(&result)?;
    result.try_iter()
}

/// The row, for a message.
fn shown(object: &Bound<'_, PyAny>) -> String {
    object.repr().map_or_else(|e| e.to_string(), |text| text.to_string_lossy().into_owned())
}

/// The two parts of a pair.
fn pair<'py>(object: &Bound<'py, PyAny>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    object.extract().map_err(|_| not_a_pair(&object.get_type().to_string()))
}

/// The error of a row that is not a pair.
pub fn not_a_pair(kind: &str) -> PyErr {
    PyTypeError::new_err(format!("this verb needs pairs, tuples (key, value), and the row is a {kind}; make pairs by map first"))
}

fn tuple<'py>(first: &Bound<'py, PyAny>, second: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    Ok(PyTuple::new(first.py(), [first, second])?.into_any())
}
