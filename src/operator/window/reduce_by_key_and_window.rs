//! `reduce_by_key_and_window`: without an inverse, with an inverse, and with an inverse and a filter.

use std::time::Duration;

use super::two_stacks::{Invertible, TwoStacks};
use super::windowed_reduce::ReduceSpec;
use crate::api::dstream::DStream;
use crate::api::view::View;
use crate::core::data::Key;
use crate::core::slide::Slide;
use crate::engine::operator_id::OperatorId;

impl<'s, K: 'static, V: 'static> DStream<'s, (K, V)> {
    /// A view with a row `(key, value)` for each key in the last `length`: its values reduced by `f`, kept up to date every `slide`. A
    /// key without a value in the window has no row.
    ///
    /// `f` must be associative and commutative: each worker combines values before they move. No inverse is needed: a batch costs the
    /// keys in it and the keys of the batch that leaves, however long the window. State: a value for each key and batch in the window,
    /// saved in checkpoints.
    ///
    /// A `+` in `f` wraps round in a release build, if the sum does not fit: [`DStream::reduce_by_key`] says what helps.
    ///
    /// The largest value of each key, and of all rows (which [`DStream::reduce_by_window`] returns too):
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check;
    /// check(
    ///     [vec![('a', 4), ('b', 1)], vec![('a', 2)], vec![], vec![]],
    ///     |s| s.reduce_by_key_and_window(i32::max, millis(2), millis(1)).complete(),
    ///     [vec![('a', 4), ('b', 1)], vec![('a', 4), ('b', 1)], vec![('a', 2)], vec![]],
    /// );
    /// check(
    ///     [vec![4, 1], vec![2], vec![], vec![]],
    ///     |s| s.map(|x| ((), x)).reduce_by_key_and_window(i32::max, millis(2), millis(1)).complete(),
    ///     [vec![((), 4)], vec![((), 4)], vec![((), 2)], vec![]],
    /// );
    /// ```
    #[doc(alias = "reduceByKeyAndWindow")]
    #[track_caller]
    pub fn reduce_by_key_and_window(
        &self,
        f: impl Fn(V, V) -> V + Clone + 'static,
        length: Duration,
        slide: impl Into<Slide>,
    ) -> View<'s, (K, V)>
    where
        K: Key,
        V: Key,
    {
        let fold = TwoStacks(f.clone());
        let spec = ReduceSpec { length, slide: slide.into(), fold, show: |_: &(K, V)| true };
        self.windowed_reduce(&OperatorId::of("reduce_by_key_and_window"), f, spec)
    }

    /// As [`DStream::reduce_by_key_and_window`], where `inv` undoes `f`: `inv(f(a, b), b) == a`. As in Spark, a key has a row for ever:
    /// after its values have left, the row has what remains when `inv` has removed them all. Memory grows with the number of keys.
    /// [`DStream::reduce_by_key_and_window_inverse_filter`] and the form without an inverse forget keys.
    ///
    /// If `inv` does not undo `f`, values are wrong. Builds with debug assertions check samples, and warn once.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check;
    /// check(
    ///     [vec![('a', 4)], vec![('a', 2)], vec![], vec![], vec![]],
    ///     |s| s.reduce_by_key_and_window_inverse(|a, b| a + b, |a, b| a - b, millis(2), millis(1)).complete(),
    ///     [vec![('a', 4)], vec![('a', 6)], vec![('a', 2)], vec![('a', 0)], vec![('a', 0)]],
    /// );
    /// ```
    #[doc(alias = "reduceByKeyAndWindow")]
    #[track_caller]
    pub fn reduce_by_key_and_window_inverse(
        &self,
        f: impl Fn(V, V) -> V + Clone + 'static,
        inv: impl Fn(V, V) -> V + 'static,
        length: Duration,
        slide: impl Into<Slide>,
    ) -> View<'s, (K, V)>
    where
        K: Key,
        V: Key,
    {
        let fold = Invertible::new(f.clone(), inv);
        let spec = ReduceSpec { length, slide: slide.into(), fold, show: |_: &(K, V)| true };
        self.windowed_reduce(&OperatorId::of("reduce_by_key_and_window_inverse"), f, spec)
    }

    /// As [`DStream::reduce_by_key_and_window_inverse`], without the rows for which `filter` is false. A key whose row is hidden is
    /// forgotten when none of its values is left in the window. (Spark forgets it immediately, and later subtracts its values from
    /// nothing.)
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check;
    /// check(
    ///     [vec![('a', 4)], vec![('a', -4)], vec![], vec![]],
    ///     |s| {
    ///         s.reduce_by_key_and_window_inverse_filter(|a, b| a + b, |a, b| a - b, |(_, n)| *n != 0, millis(2), millis(1))
    ///             .complete()
    ///     },
    ///     [vec![('a', 4)], vec![], vec![('a', -4)], vec![]],
    /// );
    /// ```
    #[doc(alias = "reduceByKeyAndWindow")]
    #[track_caller]
    pub fn reduce_by_key_and_window_inverse_filter(
        &self,
        f: impl Fn(V, V) -> V + Clone + 'static,
        inv: impl Fn(V, V) -> V + 'static,
        filter: impl Fn(&(K, V)) -> bool + 'static,
        length: Duration,
        slide: impl Into<Slide>,
    ) -> View<'s, (K, V)>
    where
        K: Key,
        V: Key,
    {
        let fold = Invertible::new(f.clone(), inv);
        let spec = ReduceSpec { length, slide: slide.into(), fold, show: filter };
        self.windowed_reduce(&OperatorId::of("reduce_by_key_and_window_inverse_filter"), f, spec)
    }
}
