//! `reduce_by_window`: all rows of the last batches into one.

use std::time::Duration;

use super::folded::{Fold, Spec};
use super::two_stacks::{Inverse, Stacks};
use crate::api::dstream::DStream;
use crate::api::view::View;
use crate::core::data::Key;
use crate::engine::flow::Site;

impl<'s, T: Key> DStream<'s, T> {
    /// One row: all rows of the last `length` through `f`, every `slide`. An empty window has no row.
    ///
    /// `f` must be associative and commutative: rows are combined on every worker, and a row of each moves a batch. No inverse
    /// is needed; a batch costs its rows, however long the window. The highest row of a window is this, or `over(..).top(1)`.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check;
    /// check(
    ///     [vec![3, 9], vec![4], vec![], vec![]],
    ///     |s| s.reduce_by_window(i32::max, millis(2), millis(1)).complete(),
    ///     [vec![9], vec![9], vec![4], vec![]],
    /// );
    /// check(
    ///     [vec![3, 9], vec![4], vec![], vec![]],
    ///     |s| s.over(millis(2), millis(1)).top(1).complete(),
    ///     [vec![9], vec![9], vec![4], vec![]],
    /// );
    /// ```
    #[doc(alias = "reduceByWindow")]
    #[track_caller]
    pub fn reduce_by_window(&self, f: impl Fn(T, T) -> T + Clone + 'static, length: Duration, slide: Duration) -> View<'s, T> {
        let fold = Stacks(f.clone());
        self.one_row(&Site::of("reduce_by_window"), f, "reduce_by_window", fold, length, slide)
    }

    /// As [`DStream::reduce_by_window`], where `inv` undoes `f`: `inv(f(a, b), b) == a`. As in Spark there is a row for ever
    /// once something was seen, at last with what is left when everything is taken away.
    /// An inverse that is none gives wrong values; builds with debug assertions look for that now and then, and warn once.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check;
    /// check(
    ///     [vec![], vec![3, 9], vec![4], vec![], vec![]],
    ///     |s| s.reduce_by_window_inverse(|a, b| a + b, |a, b| a - b, millis(2), millis(1)).complete(),
    ///     [vec![], vec![12], vec![16], vec![4], vec![0]],
    /// );
    /// ```
    #[doc(alias = "reduceByWindow")]
    #[track_caller]
    pub fn reduce_by_window_inverse(
        &self,
        f: impl Fn(T, T) -> T + Clone + 'static,
        inv: impl Fn(T, T) -> T + 'static,
        length: Duration,
        slide: Duration,
    ) -> View<'s, T> {
        let fold = Inverse::new(f.clone(), inv);
        self.one_row(&Site::of("reduce_by_window_inverse"), f, "reduce_by_window_inverse", fold, length, slide)
    }

    /// All rows under one key.
    fn one_row<F: Fold<T>>(
        &self,
        site: &Site,
        f: impl Fn(T, T) -> T + Clone + 'static,
        verb: &str,
        fold: F,
        length: Duration,
        slide: Duration,
    ) -> View<'s, T> {
        let keyed = self.map(|row| ((), row)).folded(site, f, Spec { verb, length, slide, fold, show: |_: &((), T)| true });
        keyed.map(|((), row)| row).with(|node| node.placed = true)
    }
}
