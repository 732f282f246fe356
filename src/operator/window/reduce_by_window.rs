//! `reduce_by_window`: all rows of the last batches, reduced to one.

use std::time::Duration;

use super::two_stacks::{Invertible, TwoStacks};
use super::windowed_reduce::{ReduceSpec, WindowFold};
use crate::api::dstream::DStream;
use crate::api::view::{Form, View};
use crate::core::data::Key;
use crate::core::slide::Slide;
use crate::engine::flow::map_containers;
use crate::engine::operator_id::OperatorId;

impl<'s, T: 'static> DStream<'s, T> {
    /// A view of one row: all rows of the last `length` reduced by `f`, kept up to date every `slide`. An empty window has no row.
    ///
    /// `f` must be associative and commutative: each worker combines the rows of a batch and sends one row. No inverse is needed: a
    /// batch costs its rows, however long the window. State: a row for each batch in the window, saved in checkpoints.
    ///
    /// A `+` in `f` wraps round in a release build, if the sum does not fit: [`DStream::reduce_by_key`] says what helps.
    ///
    /// The largest row of a window, in two ways:
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
    pub fn reduce_by_window(
        &self,
        f: impl Fn(T, T) -> T + Clone + 'static,
        length: Duration,
        slide: impl Into<Slide>,
    ) -> View<'s, T>
    where
        T: Key,
    {
        let fold = TwoStacks(f.clone());
        self.one_row(&OperatorId::of("reduce_by_window"), f, fold, length, slide.into())
    }

    /// As [`DStream::reduce_by_window`], where `inv` undoes `f`: `inv(f(a, b), b) == a`. As in Spark, there is a row for ever after the
    /// first: when all rows have left, it has what remains when `inv` has removed them.
    ///
    /// If `inv` does not undo `f`, values are wrong. Builds with debug assertions check samples, and warn once.
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
        slide: impl Into<Slide>,
    ) -> View<'s, T>
    where
        T: Key,
    {
        let fold = Invertible::new(f.clone(), inv);
        self.one_row(&OperatorId::of("reduce_by_window_inverse"), f, fold, length, slide.into())
    }

    /// All rows under one key.
    pub(super) fn one_row<F: WindowFold<T>>(
        &self,
        operator: &OperatorId,
        f: impl Fn(T, T) -> T + Clone + 'static,
        fold: F,
        length: Duration,
        slide: Slide,
    ) -> View<'s, T>
    where
        T: Key,
    {
        let reduce = ReduceSpec { length, slide, fold, show: |_: &((), T)| true };
        let keyed = self.map(|row| ((), row)).windowed_reduce(operator, f, reduce);
        // One row lies on one worker.
        let row = keyed.operator::<T>("map", "");
        let reduced = keyed.clone();
        let rows = Form::rows(move || {
            map_containers(&reduced.node.graph.flow, &row, reduced.rows(), |_, changes: Vec<(((), T), _, _)>, emit| {
                emit(changes.into_iter().map(|(((), row), t, n)| (row, t, n)).collect());
            })
        });
        keyed.derive(rows, None).co_located(true).view()
    }
}
