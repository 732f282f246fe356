//! `count_by_value` of a view: how often each row is in it.

use crate::api::view::View;
use crate::core::data::Key;
use crate::engine::flow::Site;

impl<'s, T: Key> View<'s, T> {
    /// Each distinct row of the view with how often it is there.
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
        let site = Site::of("count_by_value");
        self.node.graph.note::<T>("view count_by_value", "");
        self.counts(&site)
    }
}
