//! `sum_by_key` of a view: the sum of the values of each key.

use crate::api::view::{Form, View};
use crate::arrangement::totals::{Total, totals};
use crate::core::data::{F64, Key};
use crate::core::error::Error;
use crate::core::sum::TOO_LARGE;

impl<'s, K: Key> View<'s, (K, i64)> {
    /// A view with a row `(key, sum)` for each key in this view, also with the sum 0. A row that occurs twice counts twice.
    ///
    /// A batch costs the changes of this view, however many values a key has. Each worker keeps a sum for each key that it owns. A sum
    /// that does not fit into 64 bits ends the job with [`Error::SumTooLarge`], which names the key and the batch.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check;
    /// check(
    ///     [vec![('a', 3), ('b', 1)], vec![('a', 4), ('a', 4)], vec![('a', -8)], vec![]],
    ///     |s| s.over(millis(2), millis(1)).sum_by_key().complete(),
    ///     [vec![('a', 3), ('b', 1)], vec![('a', 11), ('b', 1)], vec![('a', 0)], vec![('a', -8)]],
    /// );
    /// ```
    #[track_caller]
    pub fn sum_by_key(&self) -> View<'s, (K, i64)> {
        let operator = self.operator::<(K, i64)>("sum_by_key", "");
        let (view, verb) = (self.clone(), operator.clone());
        let sums = Form::rows(move || {
            let (fail, name) = (view.node.graph.fail.clone(), verb.to_string());
            totals(&view.node.graph, &verb, view.rows(), move |k: &K, time, total: Total| {
                let sum = i64::try_from(total.sum).ok().filter(|sum| *sum != TOO_LARGE);
                if sum.is_none() {
                    fail(Error::SumTooLarge { operator: name.clone(), key: format!("{k:?}"), time });
                }
                sum
            })
        });
        self.derive(sums, Some(&operator.to_string())).co_located(true).view()
    }
}

impl<'s, K: Key> View<'s, (K, F64)> {
    /// A view with a row `(key, sum)` for each key in this view. A row that occurs twice counts twice.
    ///
    /// When the rows of a key change, all its values are added again, in ascending order. So a sum has no rounding errors of values that
    /// left, and is the same on any number of workers. Each worker keeps the rows whose keys it owns.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check;
    /// check(
    ///     [vec![('a', 0.5)], vec![('a', 0.25), ('a', 0.25)], vec![]],
    ///     |s| s.map_values(F64::from).over(millis(2), millis(1)).sum_by_key().complete().map_values(f64::from),
    ///     [vec![('a', 0.5)], vec![('a', 1.0)], vec![('a', 0.5)]],
    /// );
    /// ```
    #[track_caller]
    pub fn sum_by_key(&self) -> View<'s, (K, F64)> {
        let operator = self.operator::<(K, F64)>("sum_by_key", "");
        self.folded(&operator, |values| Some(sum(values).0))
    }
}

/// The sum of values with their counts, and the number of values.
pub(super) fn sum(values: &[(&F64, i64)]) -> (F64, i64) {
    values.iter().fold((F64::default(), 0), |(sum, count), (x, n)| (sum + **x * *n as f64, count + n))
}
