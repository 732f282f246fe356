//! `count_by_value_and_window`: how often each row was there in the last batches.

use std::time::Duration;

use crate::api::dstream::DStream;
use crate::api::view::{Form, View};
use crate::arrangement::count::counted;
use crate::core::data::Key;
use crate::engine::flow::Site;

impl<'s, T: Key> DStream<'s, T> {
    /// Each distinct row of the last `length` with how often it was there, every `slide`; rows that left the window are gone.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check;
    /// check(
    ///     [vec!['a', 'a'], vec!['b', 'a'], vec![]],
    ///     |s| s.count_by_value_and_window(millis(2), millis(1)).complete(),
    ///     [vec![('a', 2)], vec![('a', 3), ('b', 1)], vec![('a', 1), ('b', 1)]],
    /// );
    /// ```
    #[doc(alias = "countByValueAndWindow")]
    #[track_caller]
    pub fn count_by_value_and_window(&self, length: Duration, slide: Duration) -> View<'s, (T, i64)> {
        let site = Site::of("count_by_value_and_window");
        let rows = self.window_view(&site, "count_by_value_and_window", length, slide);
        rows.counts(&site)
    }
}

impl<'s, T: Key> View<'s, T> {
    /// Each distinct row with its count.
    pub(crate) fn counts(&self, site: &Site) -> View<'s, (T, i64)> {
        let counts = counted(&self.keyed(), &self.node.graph);
        self.derive_as(Form::Rendered(counts), Some(&site.name()))
    }
}
