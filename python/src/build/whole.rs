//! Verbs of whole partitions and whole batches.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyList;
use tidemill::prelude::{Batch, BatchTime, OffsetRange};

use super::{Build, Stream};
use crate::call::{Failure, Function, Site};
use crate::program::{Node, Verb};
use crate::value::Value;

impl<'s> Build<'_, 's> {
    /// The stream of a verb of whole partitions or batches.
    pub(super) fn whole(&mut self, node: &Node) -> Stream<'s> {
        let rows = self.rows(node.inputs[0]);
        let (site, failure) = (node.site.clone(), self.failure.clone());
        let rows = match &node.verb {
            Verb::MapPartitions(function, numbered) => {
                let (function, numbered) = (function.clone(), *numbered);
                rows.map_partitions_with_index(move |number, rows| {
                    let made = Python::attach(|py| {
                        let rows = PyList::new(py, objects(py, &rows)?)?.try_iter()?;
                        let f = function.bind(py);
                        values(&site, &if numbered { f.call1((number, rows))? } else { f.call1((rows,))? })
                    });
                    made.unwrap_or_else(|e| failure.end(e, &site, None, None))
                })
            }
            Verb::Glom => rows.glom().map(Value::List),
            Verb::Union => rows.union(&self.rows(node.inputs[1])),
            Verb::Repartition(n) => rows.repartition(*n),
            Verb::Count => rows.count().map(Value::Int),
            Verb::Transform(function) => {
                let function = function.clone();
                rows.transform(move |batch| {
                    let time = batch.time();
                    let made = Python::attach(|py| values(&site, &function.bind(py).call1(whole(py, &batch)?)?));
                    made.unwrap_or_else(|e| failure.end(e, &site, Some(time), None))
                })
            }
            Verb::TransformWith(function) => {
                let (function, other) = (function.clone(), self.rows(node.inputs[1]));
                rows.transform_with(&other, move |one, other| {
                    let made = Python::attach(|py| {
                        let ((time, one, ranges), (_, other, others)) = (whole(py, &one)?, whole(py, &other)?);
                        values(&site, &function.bind(py).call1((time, one, ranges, other, others))?)
                    });
                    made.unwrap_or_else(|e| failure.end(e, &site, Some(one.time()), None))
                })
            }
            _ => unreachable!("a verb of whole partitions or batches"),
        };
        self.plain(rows)
    }
}

/// Topic, partition, first offset and the offset behind the last one.
pub(super) type Range = (String, i32, i64, i64);

/// A batch, as Python's half takes it: its time in milliseconds, its rows, and the ranges that its sources read.
pub(super) fn whole<'py>(py: Python<'py>, batch: &Batch<Value>) -> PyResult<(u64, Bound<'py, PyList>, Vec<Range>)> {
    let ranges = batch
        .offset_ranges()
        .iter()
        .map(|OffsetRange { topic, partition, from, until }| (topic.to_string(), *partition, *from, *until));
    let rows = batch.iter().map(|row| row.to_python(py)).collect::<PyResult<Vec<_>>>()?;
    Ok((batch.time().millis(), PyList::new(py, rows)?, ranges.collect()))
}

/// Calls the function of an output. An exception is noted, and the output fails.
pub(super) fn call_output(
    function: &Arc<Function>,
    site: &Site,
    failure: &Failure,
    time: BatchTime,
    call: impl for<'py> FnOnce(&Bound<'py, PyAny>) -> PyResult<()>,
) -> Result<(), tidemill::BoxError> {
    let done = Python::attach(|py| call(function.bind(py)));
    done.map_err(|e| failure.note(e, site, Some(time), None).into())
}

fn objects<'py>(py: Python<'py>, rows: &[Value]) -> PyResult<Vec<Bound<'py, PyAny>>> {
    rows.iter().map(|row| row.to_python(py)).collect()
}

fn values(site: &Site, rows: &Bound<'_, PyAny>) -> PyResult<Vec<Value>> {
    site.check_order(rows)?;
    rows.try_iter()?.map(|row| Value::from_python(&row?)).collect()
}
