//! `join` inside a loop.

use crate::api::loop_view::LoopView;
use crate::arrangement::rounds::joined;
use crate::core::data::Key;

impl<'i, K: Key, V: Key> LoopView<'i, (K, V)> {
    /// A row `(key, (left, right))` for each key in both: every value of this one with every value of the other. A row that occurs n
    /// times meets a row that occurs m times n·m times. Each worker keeps the rows of both whose keys it owns, of all rounds.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// // Pairs that follow from pairs.
    /// check(
    ///     [vec![(1, 2), (2, 3)], vec![(3, 4)]],
    ///     |s| {
    ///         let closed = s.accumulate().iterate(|pairs| {
    ///             let back = pairs.map(|(a, b)| (b, a));
    ///             back.join(pairs).map(|(_, (a, c))| (a, c)).union(pairs).distinct()
    ///         });
    ///         closed.complete()
    ///     },
    ///     [vec![(1, 2), (1, 3), (2, 3)], vec![(1, 2), (1, 3), (1, 4), (2, 3), (2, 4), (3, 4)]],
    /// );
    /// ```
    #[track_caller]
    pub fn join<W: Key>(&self, other: &LoopView<'i, (K, W)>) -> LoopView<'i, (K, (V, W))> {
        let operator = self.operator::<(K, V, W)>("join");
        let rows = self.rows.clone().zip(other.rows.clone()).map(|(left, right)| joined(left, right, &operator));
        LoopView { lap: self.lap.clone(), rows, consolidated: false }
    }
}
