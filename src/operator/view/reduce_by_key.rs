//! `reduce_by_key` of a view: all values of a key in it, reduced to one.

use crate::api::view::{Form, View};
use crate::arrangement::pairs::{reduced, reduced_copies};
use crate::core::data::Key;
use crate::engine::operator_id::OperatorId;

impl<'s, K: Key, V: Key> View<'s, (K, V)> {
    /// A view with a row `(key, value)` for each key: all its values in this view reduced by `f`. A row that occurs twice counts twice;
    /// a key without rows has none.
    ///
    /// `f` must be pure, associative and commutative. When the rows of a key change, all its values are reduced again, in ascending
    /// order. For keys with many values, [`crate::prelude::DStream::sum_by_key`] and
    /// [`crate::prelude::DStream::reduce_by_key_and_window`] cost less. Each worker keeps the rows whose keys it owns.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check;
    /// check(
    ///     [vec![('a', 3), ('b', 1)], vec![('a', 4), ('a', 4)], vec![]],
    ///     |s| s.over(millis(2), millis(1)).reduce_by_key(|a, b| a + b).complete(),
    ///     [vec![('a', 3), ('b', 1)], vec![('a', 11), ('b', 1)], vec![('a', 8)]],
    /// );
    /// ```
    #[doc(alias = "reduceByKey")]
    #[track_caller]
    pub fn reduce_by_key(&self, f: impl Fn(V, V) -> V + 'static) -> View<'s, (K, V)> {
        let operator = self.operator::<(K, V)>("reduce_by_key", "");
        let current = operator.clone();
        let fold = move |values: &[(&V, i64)]| {
            // A panic of `f` names this verb. Differential does not tell the batch.
            current.enter(None);
            reduced_copies(values, &f)
        };
        self.folded(&operator, fold)
    }

    /// The kernel: what `fold` makes of the values of each key, which are ascending, each with its count.
    pub(super) fn folded<U: Key>(
        &self,
        operator: &OperatorId,
        fold: impl Fn(&[(&V, i64)]) -> Option<U> + 'static,
    ) -> View<'s, (K, U)> {
        let view = self.clone();
        let values = Form::rows(move || reduced(&view, fold));
        self.derive(values, Some(&operator.to_string())).co_located(true).view()
    }
}
