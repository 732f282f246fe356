//! `distinct` inside a loop.

use crate::api::loop_view::LoopView;
use crate::arrangement::rounds::counted;
use crate::core::data::Key;

impl<'i, T: Key> LoopView<'i, T> {
    /// Each row once. Each worker keeps a count for each distinct row that it owns, of all rounds.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![2, 2]], |s| s.accumulate().iterate(|v| v.union(v).distinct()).complete(), [vec![2]]);
    /// ```
    #[track_caller]
    pub fn distinct(&self) -> LoopView<'i, T> {
        let operator = self.operator::<T>("distinct");
        self.derive(|rows| counted(rows, &operator, |_, n| i64::from(n > 0))).consolidated()
    }
}
