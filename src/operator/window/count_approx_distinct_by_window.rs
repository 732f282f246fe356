//! `count_approx_distinct_by_window`: an estimate of the number of distinct rows in the last batches, by HyperLogLog.

use std::time::Duration;

use super::two_stacks::TwoStacks;
use crate::api::dstream::DStream;
use crate::api::view::View;
use crate::core::data::Exchange;
use crate::core::slide::Slide;
use crate::engine::operator_id::OperatorId;
use crate::operator::kernel::hyperloglog::Sketch;

impl<'s, T: Exchange> DStream<'s, T> {
    /// A view of one row: an estimate of the number of distinct rows in the last `length`, kept up to date every `slide`. An empty window
    /// has no row. [`DStream::count_approx_distinct`] says what `relative_sd` is.
    ///
    /// A batch costs its rows, and a sketch per worker, however long the window. State: a sketch for each batch in the window, of
    /// 512 bytes for a `relative_sd` of 0.05, saved in checkpoints. `over(length, slide).distinct().count()` is exact, and keeps each
    /// distinct row.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check;
    /// check(
    ///     [vec!['a', 'b'], vec!['b', 'c'], vec![], vec![]],
    ///     |s| s.count_approx_distinct_by_window(0.05, millis(2), millis(1)).complete(),
    ///     [vec![2], vec![3], vec![2], vec![]],
    /// );
    /// ```
    #[doc(alias = "countApproxDistinct")]
    #[track_caller]
    pub fn count_approx_distinct_by_window(&self, relative_sd: f64, length: Duration, slide: impl Into<Slide>) -> View<'s, i64> {
        let operator = OperatorId::of("count_approx_distinct_by_window");
        let sketches = self.sketched(&operator, relative_sd, |sketch| sketch);
        let window = sketches.one_row(&operator, Sketch::merge, TwoStacks(Sketch::merge), length, slide.into());
        window.map(|sketch| sketch.estimate())
    }
}
