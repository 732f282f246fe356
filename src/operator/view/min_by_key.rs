//! `min_by_key` of a view: the least value of each key.

use crate::api::view::View;
use crate::arrangement::pairs::least;
use crate::core::data::Key;

impl<'s, K: Key, V: Key> View<'s, (K, V)> {
    /// A view with a row `(key, value)` for each key: its least value in this view. When that value leaves, the next one takes its place.
    ///
    /// When the rows of a key change, all its values are read again. Each worker keeps the rows whose keys it owns. For a window,
    /// [`DStream::reduce_by_key_and_window`](crate::prelude::DStream::reduce_by_key_and_window) costs less.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check;
    /// check(
    ///     [vec![('a', 3), ('b', 1)], vec![('a', 4)], vec![]],
    ///     |s| s.over(millis(2), millis(1)).min_by_key().complete(),
    ///     [vec![('a', 3), ('b', 1)], vec![('a', 3), ('b', 1)], vec![('a', 4)]],
    /// );
    /// ```
    #[track_caller]
    pub fn min_by_key(&self) -> View<'s, (K, V)> {
        let operator = self.operator::<(K, V)>("min_by_key", "");
        self.folded(&operator, least)
    }
}
