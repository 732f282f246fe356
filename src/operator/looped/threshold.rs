//! `threshold` inside a loop.

use crate::api::loop_view::LoopView;
use crate::arrangement::rounds::counted;
use crate::core::data::Key;

impl<'i, T: Key> LoopView<'i, T> {
    /// Each row as often as `f` says: it gets the row, and how often it is there, never 0. `f` must be pure. Each worker keeps a count
    /// for each distinct row that it owns, of all rounds.
    ///
    /// ```
    /// use tidemill::{prelude::*, testing::check};
    /// // Rows that are there twice.
    /// check(
    ///     [vec!['a', 'b'], vec!['a']],
    ///     |s| s.accumulate().iterate_with(Rounds::Exactly(1), |v| v.threshold(|_, n| i64::from(n >= 2))).complete(),
    ///     [vec![], vec!['a']],
    /// );
    /// ```
    #[track_caller]
    pub fn threshold(&self, f: impl Fn(&T, i64) -> i64 + 'static) -> LoopView<'i, T> {
        let operator = self.operator::<T>("threshold");
        self.derive(|rows| counted(rows, &operator, f)).consolidated()
    }
}
