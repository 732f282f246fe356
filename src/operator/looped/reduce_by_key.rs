//! `reduce_by_key`, `min_by_key`, `max_by_key` and `sum_by_key` inside a loop.

use crate::api::loop_view::LoopView;
use crate::arrangement::pairs::{largest, least, reduced_copies};
use crate::arrangement::rounds::{Panics, reduced};
use crate::core::data::Key;
use crate::engine::rounds::each;

impl<'i, K: Key, V: Key> LoopView<'i, (K, V)> {
    /// A row `(key, value)` for each key: all its values reduced by `f`. A row that occurs twice counts twice.
    ///
    /// `f` must be pure, associative and commutative. When the rows of a key change, all its values are reduced again, in ascending
    /// order. Each worker keeps the rows whose keys it owns, of all rounds.
    ///
    /// ```
    /// use tidemill::{prelude::*, testing::check};
    /// check(
    ///     [vec![('a', 2), ('a', 3)]],
    ///     |s| s.accumulate().iterate_with(Rounds::Exactly(1), |v| v.reduce_by_key(|a, b| a * b)).complete(),
    ///     [vec![('a', 6)]],
    /// );
    /// ```
    #[doc(alias = "reduceByKey")]
    #[track_caller]
    pub fn reduce_by_key(&self, f: impl Fn(V, V) -> V + 'static) -> LoopView<'i, (K, V)> {
        let operator = self.operator::<(K, V)>("reduce_by_key");
        let panics = Panics::default();
        let caught = panics.clone();
        let fold =
            move |values: &[(&V, i64)]| caught.of(|| reduced_copies(values, &f)).map_or(Some(None), |value| value.map(Some));
        let made = move |(k, value): (K, Option<V>), _, n| Some(((k, value.unwrap_or_else(|| panics.raise())), n));
        self.derive(|pairs| each(reduced(pairs, &operator, fold), operator, made)).consolidated()
    }

    /// A row `(key, value)` for each key, with its least value. Each worker keeps the rows whose keys it owns, of all rounds.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![('a', 2), ('a', 1)]], |s| s.accumulate().iterate(|v| v.min_by_key()).complete(), [vec![('a', 1)]]);
    /// ```
    #[track_caller]
    pub fn min_by_key(&self) -> LoopView<'i, (K, V)> {
        let operator = self.operator::<(K, V)>("min_by_key");
        self.derive(|pairs| reduced(pairs, &operator, least)).consolidated()
    }

    /// A row `(key, value)` for each key, with its largest value. Each worker keeps the rows whose keys it owns, of all rounds.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![('a', 2), ('a', 1)]], |s| s.accumulate().iterate(|v| v.max_by_key()).complete(), [vec![('a', 2)]]);
    /// ```
    #[track_caller]
    pub fn max_by_key(&self) -> LoopView<'i, (K, V)> {
        let operator = self.operator::<(K, V)>("max_by_key");
        self.derive(|pairs| reduced(pairs, &operator, largest)).consolidated()
    }
}

impl<'i, K: Key> LoopView<'i, (K, i64)> {
    /// A row `(key, sum)` for each key that has rows, also with the sum 0. Each worker keeps the rows whose keys it owns, of all rounds.
    ///
    /// A sum that does not fit into 64 bits ends the job with an error that names key, round and batch.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![('a', 2), ('a', 1)]], |s| s.accumulate().iterate(|v| v.sum_by_key()).complete(), [vec![('a', 3)]]);
    /// ```
    #[track_caller]
    pub fn sum_by_key(&self) -> LoopView<'i, (K, i64)> {
        let operator = self.operator::<(K, i64)>("sum_by_key");
        // A product of two 64 bit numbers fits into 128 bits. Differences of rows are far fewer than those that add up to more.
        let sum = |values: &[(&i64, i64)]| {
            let sum = values.iter().map(|(v, n)| i128::from(**v) * i128::from(*n)).sum::<i128>();
            Some(i64::try_from(sum).ok())
        };
        let fits = |(k, sum): (K, Option<i64>), _, n| {
            let sum = sum.unwrap_or_else(|| panic!("the sum of {k:?} does not fit into 64 bits"));
            Some(((k, sum), n))
        };
        self.derive(|pairs| each(reduced(pairs, &operator, sum), operator, fits)).consolidated()
    }
}
