//! `max_by_key` of a view: the largest value of each key.

use crate::api::view::View;
use crate::arrangement::pairs::largest;
use crate::core::data::Key;

impl<'s, K: Key, V: Key> View<'s, (K, V)> {
    /// A view with a row `(key, value)` for each key: its largest value in this view. When that value leaves, the next one takes its
    /// place. Cost and memory are those of [`View::min_by_key`].
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check;
    /// check(
    ///     [vec![('a', 4), ('b', 1)], vec![('a', 3)], vec![]],
    ///     |s| s.over(millis(2), millis(1)).max_by_key().complete(),
    ///     [vec![('a', 4), ('b', 1)], vec![('a', 4), ('b', 1)], vec![('a', 3)]],
    /// );
    /// ```
    #[track_caller]
    pub fn max_by_key(&self) -> View<'s, (K, V)> {
        let operator = self.operator::<(K, V)>("max_by_key", "");
        self.folded(&operator, largest)
    }
}
