//! Windows of batches. Rows that a window keeps are plain, so that they can be saved.

use pyo3::prelude::*;

use super::input::Input;
use super::{Build, Stream, containers};
use crate::call::Site;
use crate::program::{Node, Verb};
use crate::value::Value;

impl<'s> Build<'_, 's> {
    /// The stream of a window.
    pub(super) fn windowed(&mut self, node: &Node) -> Stream<'s> {
        let (input, site) = (node.inputs[0], &node.site);
        match &node.verb {
            Verb::Window(length, slide) => {
                let rows = self.plain_rows(input, site).window(*length, slide.clone());
                self.plain(rows)
            }
            Verb::CountByWindow(length, slide) => {
                let counts = self.rows(input).count_by_window(*length, slide.clone()).complete();
                self.plain(counts.map(Value::Int))
            }
            Verb::CountByValueAndWindow(length, slide) => {
                let counts = self.plain_rows(input, site).count_by_value_and_window(*length, slide.clone()).complete();
                self.of(Input::Counts(counts))
            }
            Verb::ReduceByWindow(function, inverse, length, slide) => {
                let rows = self.plain_rows(input, site);
                let f = self.binary(function, site, true);
                let reduced = match inverse {
                    None => rows.reduce_by_window(f, *length, slide.clone()),
                    Some(inverse) => rows.reduce_by_window_inverse(f, self.binary(inverse, site, true), *length, slide.clone()),
                };
                self.plain(reduced.complete())
            }
            Verb::ReduceByKeyAndWindow(function, inverse, filter, length, slide) => {
                let pairs = self.pairs(input, site, true);
                // A lambda is called for all rows of a container at once, and then only for what the containers gave.
                let pairs =
                    if function.is_binary() { pairs } else { self.saved_pairs(&self.reduced(&pairs, function, site), site) };
                let f = self.binary(function, site, true);
                let reduced = match (inverse, filter) {
                    (None, _) => pairs.reduce_by_key_and_window(f, *length, slide.clone()),
                    (Some(inverse), None) => {
                        pairs.reduce_by_key_and_window_inverse(f, self.binary(inverse, site, true), *length, slide.clone())
                    }
                    (Some(inverse), Some(filter)) => {
                        let shown = self.shown(filter, site);
                        let inverse = self.binary(inverse, site, true);
                        pairs.reduce_by_key_and_window_inverse_filter(f, inverse, shown, *length, slide.clone())
                    }
                };
                self.of_pairs(reduced.complete())
            }
            Verb::GroupByKeyAndWindow(length, slide) => {
                let groups = self.pairs(input, site, true).group_by_key_and_window(*length, slide.clone());
                self.of_pairs(groups.map(|(key, values)| (key, Value::List(values))))
            }
            _ => unreachable!("a window"),
        }
    }

    /// Pairs whose values are plain.
    fn saved_pairs(&self, pairs: &super::Pairs<'s>, site: &Site) -> super::Pairs<'s> {
        let (site, failure) = (site.clone(), self.failure.clone());
        containers(pairs, site.clone().text(), move |batch, pairs| {
            let saved = |value: Value| if value.is_plain() { value } else { super::saved(value, batch, &site, &failure) };
            pairs.into_iter().map(|(key, value)| (key, saved(value))).collect()
        })
    }

    /// Which pairs a window shows: PySpark's `filterFunc` gets a pair.
    fn shown(&self, filter: &std::sync::Arc<crate::call::Function>, site: &Site) -> impl Fn(&(Value, Value)) -> bool + 'static {
        let (filter, site, failure) = (filter.clone(), site.clone(), self.failure.clone());
        move |(key, value)| {
            let pair = Value::pair(key.clone(), value.clone());
            let shown = Python::attach(|py| filter.bind(py).call1((pair.to_python(py)?,))?.is_truthy());
            shown.unwrap_or_else(|e| failure.end(e, &site, None, Some(pair.repr())))
        }
    }
}
