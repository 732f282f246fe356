//! `sort_by` of a view: the order in which it is presented.

use crate::api::view::View;
use crate::core::data::Key;

impl<'s, T: Key> View<'s, T> {
    /// The same view in a presentation order: by ascending `key`, rows with equal keys by encoding. `complete` returns all rows in this
    /// order, `update` the changed ones, `changes` first those that left, then those that entered.
    ///
    /// The output mode then gathers its rows on worker 0, as [`DStream::sort_by`](crate::prelude::DStream::sort_by) does. `map`,
    /// `map_values`, `filter` and `flat_map` keep the order: their functions run on worker 0, after the sort. Counts, reductions,
    /// joins, `top` and `top_by` make a view without this order. `union`, `distinct`, `wrap` and `wrap_codes` cannot keep it: the start fails
    /// if an output mode follows, unless another `sort_by` comes between. Keeps no state.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![1, 2], vec![3]], |s| s.accumulate().sort_by(|n| -n).complete(), [vec![2, 1], vec![3, 2, 1]]);
    /// check(
    ///     [vec![9, 10], vec![8]],
    ///     |s| s.accumulate().sort_by(|n| -n).map(|n| n.to_string()).complete(),
    ///     [vec!["10", "9"], vec!["10", "9", "8"]].map(|rows| rows.into_iter().map(str::to_owned).collect()),
    /// );
    /// ```
    #[doc(alias = "sortBy")]
    #[track_caller]
    pub fn sort_by<K: Ord + 'static>(&self, key: impl Fn(&T) -> K + 'static) -> View<'s, T> {
        let verb = self.operator::<T>("sort_by", "");
        self.presented(verb, key)
    }
}
