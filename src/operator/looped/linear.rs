//! `map`, `filter`, `flat_map`, `map_values`, `union`, `negate` and `times` inside a loop, row by row without state.

use crate::api::loop_view::LoopView;
use crate::core::data::Key;
use crate::engine::rounds::each;

impl<'i, T: Key> LoopView<'i, T> {
    /// The result of `f` for each row. `f` must be pure: it runs again when a row leaves.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// // Halve what is even, until all are odd.
    /// check([vec![12, 5]], |s| s.accumulate().iterate(|v| v.map(|n| if n % 2 == 0 { n / 2 } else { n })).complete(), [vec![3, 5]]);
    /// ```
    #[track_caller]
    pub fn map<U: Key>(&self, f: impl Fn(T) -> U + 'static) -> LoopView<'i, U> {
        let operator = self.operator::<U>("map");
        self.derive(|rows| each(rows, operator, move |row, _, n| Some((f(row), n))))
    }

    /// The rows for which `test` is true. `test` must be pure.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![1, 20]], |s| s.accumulate().iterate(|v| v.filter(|n| *n < 10)).complete(), [vec![1]]);
    /// ```
    #[track_caller]
    pub fn filter(&self, test: impl Fn(&T) -> bool + 'static) -> LoopView<'i, T> {
        let operator = self.operator::<T>("filter");
        let kept = self.derive(|rows| each(rows, operator, move |row, _, n| test(&row).then_some((row, n))));
        LoopView { consolidated: self.consolidated, ..kept }
    }

    /// All rows that `f` returns for each row. `f` must be pure.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// // The halves of each number, and their halves.
    /// check([vec![8]], |s| s.accumulate().iterate(|v| v.flat_map(|n| [n, n / 2]).distinct()).complete(), [vec![0, 1, 2, 4, 8]]);
    /// ```
    #[doc(alias = "flatMap")]
    #[track_caller]
    pub fn flat_map<U: Key, I: IntoIterator<Item = U> + 'static>(&self, f: impl Fn(T) -> I + 'static) -> LoopView<'i, U> {
        let operator = self.operator::<U>("flat_map");
        self.derive(|rows| each(rows, operator, move |row, _, n| f(row).into_iter().map(move |u| (u, n))))
    }

    /// The rows of both, each as often as in both together.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![3]], |s| s.accumulate().iterate(|v| v.map(|n: u32| n.max(1) - 1).union(v).distinct()).complete(), [vec![0, 1, 2, 3]]);
    /// ```
    #[track_caller]
    pub fn union(&self, other: &LoopView<'i, T>) -> LoopView<'i, T> {
        self.operator::<T>("union");
        let rows = self.rows.clone().zip(other.rows.clone()).map(|(left, right)| left.concat(right));
        LoopView { lap: self.lap.clone(), rows, consolidated: false }
    }

    /// The same rows, each taken away as often as it is there: `a.union(&b.negate())` is what is in `a` and not in `b`.
    ///
    /// ```
    /// use tidemill::{prelude::*, testing::check};
    /// // What is added in the first round is taken away.
    /// check(
    ///     [vec![1, 2]],
    ///     |s| s.accumulate().iterate_with(Rounds::Exactly(1), |v| v.union(&v.map(|n| n + 1)).union(&v.negate())).complete(),
    ///     [vec![2, 3]],
    /// );
    /// ```
    #[track_caller]
    pub fn negate(&self) -> LoopView<'i, T> {
        self.operator::<T>("negate");
        let rows = self.derive(|rows| rows.negate());
        LoopView { consolidated: self.consolidated, ..rows }
    }

    /// Each row `n` times as often. A row that is then in the view more than `i64::MAX` times ends the job.
    ///
    /// ```
    /// use tidemill::{prelude::*, testing::check};
    /// check([vec!['a']], |s| s.accumulate().iterate_with(Rounds::Exactly(3), |v| v.times(2)).count().complete(), [vec![8]]);
    /// ```
    #[track_caller]
    pub fn times(&self, n: i64) -> LoopView<'i, T> {
        let operator = self.operator::<T>("times");
        let often = move |row, _, copies: i64| {
            let all = copies.checked_mul(n);
            let all = all.unwrap_or_else(|| panic!("{n} times {copies} copies of a row do not fit into 64 bits"));
            (all != 0).then_some((row, all))
        };
        let rows = self.derive(|rows| each(rows, operator, often));
        LoopView { consolidated: self.consolidated, ..rows }
    }
}

impl<'i, K: Key, V: Key> LoopView<'i, (K, V)> {
    /// The result of `f` for the value of each pair; keys stay. `f` must be pure.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![('a', 7)]], |s| s.accumulate().iterate(|v| v.map_values(|n| n / 2)).complete(), [vec![('a', 0)]]);
    /// ```
    #[doc(alias = "mapValues")]
    #[track_caller]
    pub fn map_values<U: Key>(&self, f: impl Fn(V) -> U + 'static) -> LoopView<'i, (K, U)> {
        self.map(move |(k, v)| (k, f(v)))
    }
}
