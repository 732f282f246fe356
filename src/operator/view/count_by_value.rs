//! `count_by_value` of a view: how often each row is in it.

use crate::api::view::View;
use crate::core::data::Key;

impl<'s, T: Key> View<'s, T> {
    /// A view with a row `(row, count)` for each distinct row of this view.
    ///
    /// A batch costs the changes of this view. Each worker keeps a count for each distinct row that it owns.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check(
    ///     [vec!['a'], vec!['a', 'b']],
    ///     |s| s.accumulate().count_by_value().complete(),
    ///     [vec![('a', 1)], vec![('a', 2), ('b', 1)]],
    /// );
    /// ```
    #[doc(alias = "countByValue")]
    #[track_caller]
    pub fn count_by_value(&self) -> View<'s, (T, i64)> {
        let operator = self.operator::<T>("count_by_value", "");
        self.counted(&operator)
    }
}
