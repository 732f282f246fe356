//! `average_by_key` of a view: the average of the values of each key.

use super::sum_by_key::sum;
use crate::api::view::{Form, View};
use crate::arrangement::totals::{Total, totals};
use crate::core::data::{F64, Key};

impl<'s, K: Key> View<'s, (K, i64)> {
    /// A view with a row `(key, average)` for each key in this view. A row that occurs twice counts twice.
    ///
    /// A batch costs the changes of this view, however many values a key has. Each worker keeps a sum, which is exact, and a number for
    /// each key that it owns.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check;
    /// check(
    ///     [vec![('a', 3), ('b', 1)], vec![('a', 4), ('a', 4), ('a', 3)], vec![]],
    ///     |s| s.over(millis(2), millis(1)).average_by_key().complete().map_values(f64::from),
    ///     [vec![('a', 3.0), ('b', 1.0)], vec![('a', 3.5), ('b', 1.0)], vec![('a', 11.0 / 3.0)]],
    /// );
    /// ```
    #[track_caller]
    pub fn average_by_key(&self) -> View<'s, (K, F64)> {
        let operator = self.operator::<(K, i64)>("average_by_key", "");
        let (view, verb) = (self.clone(), operator.clone());
        let average = |_: &K, _, total: Total| Some(F64::from(total.sum as f64 / total.count as f64));
        let averages = Form::rows(move || totals(&view.node.graph, &verb, view.rows(), average));
        self.derive(averages, Some(&operator.to_string())).co_located(true).view()
    }
}

impl<'s, K: Key> View<'s, (K, F64)> {
    /// A view with a row `(key, average)` for each key in this view. A row that occurs twice counts twice. Cost and memory are those of
    /// the sum of floats: all values of a key are added again when one changes.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check;
    /// check(
    ///     [vec![('a', 0.5)], vec![('a', 1.5)], vec![]],
    ///     |s| s.map_values(F64::from).over(millis(2), millis(1)).average_by_key().complete().map_values(f64::from),
    ///     [vec![('a', 0.5)], vec![('a', 1.0)], vec![('a', 1.5)]],
    /// );
    /// ```
    #[track_caller]
    pub fn average_by_key(&self) -> View<'s, (K, F64)> {
        let operator = self.operator::<(K, F64)>("average_by_key", "");
        self.folded(&operator, |values| {
            let (sum, count) = sum(values);
            (count > 0).then(|| sum / count as f64)
        })
    }
}
