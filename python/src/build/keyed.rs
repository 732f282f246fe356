//! Verbs by key within a batch, and `updateStateByKey`.
//!
//! A function that Rust knows is called where rows are. Any other one combines the values of each container under the GIL, before they move,
//! and what all workers have combined afterwards.

use std::sync::Arc;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

use super::input::Input;
use super::{Build, Pairs, Stream, containers};
use crate::call::{Combiner, Fold, Function, Site};
use crate::program::{Node, Verb};
use crate::value::Value;

impl<'s> Build<'_, 's> {
    /// The stream of a verb by key.
    pub(super) fn keyed(&mut self, node: &Node) -> Stream<'s> {
        let (input, site) = (node.inputs[0], &node.site);
        match &node.verb {
            Verb::CountByValue => {
                let counted = self.counted(input, false);
                let counts = counted.unwrap_or_else(|| self.plain_rows(input, site).count_by_value());
                self.of(Input::Counts(counts))
            }
            Verb::Reduce(function) => {
                let rows = self.rows(input);
                let pairs = containers(&rows, site.text(), |_, rows| rows.into_iter().map(|row| (Value::None, row)).collect());
                let reduced = self.reduced(&pairs, function, site);
                self.plain(containers(&reduced, "values", |_, pairs| pairs.into_iter().map(|(_, value)| value).collect()))
            }
            Verb::ReduceByKey(function) => {
                if function.adds()
                    && let Some(counts) = self.counted(input, true)
                {
                    return self.of(Input::Counts(counts));
                }
                let pairs = self.pairs(input, site, false);
                self.of_pairs(self.reduced(&pairs, function, site))
            }
            Verb::CombineByKey(create, add, merge) => {
                let pairs = self.pairs(input, site, false);
                let combiner = Combiner {
                    create: Some(create.clone()),
                    add: add.clone(),
                    merge: merge.clone(),
                    site: site.clone(),
                    failure: self.failure.clone(),
                };
                self.of_pairs(combined(&pairs, combiner))
            }
            Verb::GroupByKey => {
                let groups = self.pairs(input, site, false).group_by_key();
                self.of_pairs(groups.map(|(key, values)| (key, Value::List(values))))
            }
            Verb::PartitionBy(n) => {
                let pairs = self.pairs(input, site, false);
                self.of_pairs(pairs.partition_by(*n))
            }
            Verb::SumByKey => {
                if let Stream::Of(Input::Counts(counts), steps) = &self.streams[input]
                    && steps.is_empty()
                {
                    return self.of(Input::Counts(counts.sum_by_key().update()));
                }
                let pairs = self.pairs(input, site, false);
                let (name, failure) = (site.clone(), self.failure.clone());
                let numbers = containers(&pairs, site.text(), move |batch, pairs| {
                    let number = |(key, value)| match value {
                        Value::Int(n) => (key, n),
                        other => failure.end(no_number(&other), &name, Some(batch), Some(Value::pair(key, other).repr())),
                    };
                    pairs.into_iter().map(number).collect()
                });
                self.of(Input::Counts(numbers.sum_by_key().update()))
            }
            Verb::UpdateStateByKey(function, initial) => {
                let pairs = self.pairs(input, site, false);
                let fold = Fold { function: function.clone(), site: site.clone(), failure: self.failure.clone() };
                let states = pairs
                    .update_state_by_key_with(initial.clone(), move |batch, key: &Value, values: &[Value], state| {
                        fold.update(Some(batch), key, values, state)
                    });
                self.of_pairs(states)
            }
            _ => unreachable!("a verb by key"),
        }
    }

    /// The values of each key as one.
    pub(super) fn reduced(&self, pairs: &Pairs<'s>, function: &Arc<Function>, site: &Site) -> Pairs<'s> {
        if function.is_binary() {
            return pairs.reduce_by_key(self.binary(function, site, false));
        }
        let (site, failure) = (site.clone(), self.failure.clone());
        combined(pairs, Combiner { create: None, add: function.clone(), merge: function.clone(), site, failure })
    }

    /// A function of two values for verbs of tidemill. `keep`: its results are plain.
    pub(super) fn binary(
        &self,
        function: &Arc<Function>,
        site: &Site,
        keep: bool,
    ) -> impl Fn(Value, Value) -> Value + Clone + 'static {
        let (function, site, failure) = (function.clone(), site.clone(), self.failure.clone());
        move |a, b| {
            let value =
                function.of_two(&a, &b).and_then(|value| if !keep || value.is_plain() { Ok(value) } else { value.plain() });
            value.unwrap_or_else(|e| failure.end(e, &site, None, Some(Value::pair(a, b).repr())))
        }
    }
}

fn no_number(value: &Value) -> PyErr {
    PyTypeError::new_err(format!(
        "sum_by_key adds ints of 64 bits, and the value is a {}; use updateStateByKey for others",
        value.type_name()
    ))
}

fn combined<'s>(pairs: &Pairs<'s>, combiner: Combiner) -> Pairs<'s> {
    let merger = combiner.clone();
    let name = combiner.site.clone();
    let partial = containers(pairs, name.text(), move |batch, rows| combiner.combine(batch, rows));
    containers(&partial.group_by_key(), name.text(), move |batch, rows| merger.merge(batch, rows))
}
