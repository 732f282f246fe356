//! `reduce_by_key_and_window`, plain, with an inverse, and with an inverse and a filter.

use std::time::Duration;

use super::folded::Spec;
use super::two_stacks::{Inverse, Stacks};
use crate::api::dstream::DStream;
use crate::api::view::View;
use crate::core::data::Key;
use crate::engine::flow::Site;

impl<'s, K: Key, V: Key> DStream<'s, (K, V)> {
    /// The values each key had in the last `length` through `f`, every `slide`. A key without a value in the window has no row,
    /// an empty window none at all.
    ///
    /// `f` must be associative and commutative; values are combined on every worker before they move. No inverse is needed:
    /// a batch costs the keys in it and the keys of the batch that leaves, however long the window.
    ///
    /// The highest value of a key, or of all rows (as [`DStream::reduce_by_window`] also gives it):
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
        slide: Duration,
    ) -> View<'s, (K, V)> {
        let fold = Stacks(f.clone());
        let spec = Spec { verb: "reduce_by_key_and_window", length, slide, fold, show: |_: &(K, V)| true };
        self.folded(&Site::of("reduce_by_key_and_window"), f, spec)
    }

    /// As [`DStream::reduce_by_key_and_window`], where `inv` undoes `f`: `inv(f(a, b), b) == a`. As in Spark a key once seen has
    /// a row for ever, at last with what is left when everything is taken away; memory grows with the keys ever seen.
    /// [`DStream::reduce_by_key_and_window_inverse_filter`] lets them go, and so does the form without an inverse.
    ///
    /// An inverse that is none gives wrong values. Builds with debug assertions look for that now and then, and warn once.
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
        slide: Duration,
    ) -> View<'s, (K, V)> {
        let fold = Inverse::new(f.clone(), inv);
        let spec = Spec { verb: "reduce_by_key_and_window_inverse", length, slide, fold, show: |_: &(K, V)| true };
        self.folded(&Site::of("reduce_by_key_and_window_inverse"), f, spec)
    }

    /// As [`DStream::reduce_by_key_and_window_inverse`], without the rows for which `filter` is false. Such a row is hidden; its
    /// key is forgotten only when none of its records is left in the window. (Spark forgets it at once and then takes what
    /// leaves from nothing.)
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
        slide: Duration,
    ) -> View<'s, (K, V)> {
        let fold = Inverse::new(f.clone(), inv);
        let spec = Spec { verb: "reduce_by_key_and_window_inverse_filter", length, slide, fold, show: filter };
        self.folded(&Site::of("reduce_by_key_and_window_inverse_filter"), f, spec)
    }
}
