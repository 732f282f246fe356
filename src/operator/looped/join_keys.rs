//! `join_keys` inside a loop.

use crate::api::loop_view::LoopView;
use crate::arrangement::rounds::joined_keys;
use crate::core::data::Key;

impl<'i, K: Key, V: Key> LoopView<'i, (K, V)> {
    /// The pairs whose key is a row of `keys`. A pair that occurs n times, with a key that occurs m times, is there n·m times.
    /// Differential's `semijoin`. Each worker keeps the pairs whose keys it owns, and these keys, of all rounds.
    ///
    /// ```
    /// use tidemill::{prelude::*, testing::check};
    /// // The pairs of keys that have a large value.
    /// check(
    ///     [vec![('a', 1), ('a', 10), ('b', 2)]],
    ///     |s| {
    ///         let pairs = s.accumulate();
    ///         pairs.iterate_with(Rounds::Exactly(1), |v| v.join_keys(&v.filter(|(_, n)| *n > 9).map(|(k, _)| k))).complete()
    ///     },
    ///     [vec![('a', 1), ('a', 10)]],
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
