//! `count_by_window`: the number of rows in the last batches.

use std::time::Duration;

use crate::api::dstream::DStream;
use crate::api::view::View;
use crate::core::data::Data;
use crate::core::slide::Slide;
use crate::engine::operator_id::OperatorId;

impl<'s, T: Data> DStream<'s, T> {
    /// A view of one row: the number of rows in the last `length`, kept up to date every `slide`. There is no row until a row was seen,
    /// then always one, also 0.
    ///
    /// A batch costs one number per worker. State: a number for each batch in the window, saved in checkpoints.
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
    pub fn count_by_window(&self, length: Duration, slide: impl Into<Slide>) -> View<'s, i64> {
        let operator = OperatorId::of("count_by_window");
        self.map(|_| ()).window_view(&operator, length, slide.into()).counted_rows(&operator)
    }
}
