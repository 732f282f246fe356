//! `join_keys` inside a loop.

use crate::api::loop_view::LoopView;
use crate::arrangement::rounds::joined_keys;
use crate::core::data::Key;

impl<'i, K: Key, V: Key> LoopView<'i, (K, V)> {
    /// The pairs whose key is a row of `keys`. A pair that occurs n times, with a key that occurs m times, is there n·m times.
    /// Differential's `semijoin`. Each worker keeps the pairs whose keys it owns, and these keys, of all rounds.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// // Which numbers are reached from 1 along pairs?
    /// check(
    ///     [vec![(1, 2), (3, 4)], vec![(2, 3)]],
    ///     |s| {
    ///         let pairs = s.accumulate();
    ///         let start = pairs.filter(|(from, _)| *from == 1).map(|(from, _)| from);
    ///         start.iterate(move |reached| reached.enter(&pairs).join_keys(reached).map(|(_, to)| to).union(reached).distinct())
    ///             .complete()
    ///     },
    ///     [vec![1, 2], vec![1, 2, 3, 4]],
    /// );
    /// ```
    #[doc(alias = "semijoin")]
    #[track_caller]
    pub fn join_keys(&self, keys: &LoopView<'i, K>) -> LoopView<'i, (K, V)> {
        let operator = self.operator::<(K, V)>("join_keys");
        let rows = self.rows.clone().zip(keys.rows.clone()).map(|(pairs, keys)| joined_keys(pairs, keys, &operator));
        LoopView { lap: self.lap.clone(), rows, consolidated: false }
    }
}
