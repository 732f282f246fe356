//! `count_by_window`: how many rows the last batches held.

use std::time::Duration;

use crate::api::dstream::DStream;
use crate::api::view::View;
use crate::core::data::Data;
use crate::engine::flow::Site;

impl<'s, T: Data> DStream<'s, T> {
    /// How many rows there were in the last `length`, every `slide`: no row until something was seen, then always one, 0
    /// included. Falls as batches leave the window.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check;
    /// check(
    ///     [vec![], vec!["a", "b"], vec!["c"], vec![], vec![]].map(|b: Vec<&str>| b.into_iter().map(str::to_owned).collect()),
    ///     |s| s.count_by_window(millis(2), millis(1)).complete(),
    ///     [vec![], vec![2], vec![3], vec![1], vec![0]],
    /// );
    /// ```
    #[doc(alias = "countByWindow")]
    #[track_caller]
    pub fn count_by_window(&self, length: Duration, slide: Duration) -> View<'s, i64> {
        let site = Site::of("count_by_window");
        self.map(|_| ()).window_view(&site, "count_by_window", length, slide).counted_rows(&site)
    }
}
