//! `transform`: any function of a whole batch. Also `Batch`, its argument.

use std::sync::Arc;

use crate::api::dstream::DStream;
use crate::core::data::Exchange;
use crate::core::plan::OffsetRange;
use crate::core::time::BatchTime;
use crate::operator::kernel::gather::lineage_ranges;

/// A whole batch in order, on worker 0: Spark's RDD inside `transform` and `foreachRDD`.
///
/// ```
/// use tidemill::testing::check;
/// check([vec![3, 1, 4]], |s| s.transform(|batch| {
///     assert_eq!((batch.len(), batch.is_empty(), batch.first()), (3, false, Some(&3)));
///     assert_eq!((batch.time().millis(), batch.iter().sum::<i32>()), (1, 8));
///     assert!(!batch.offset_ranges().is_empty());
///     batch.foreach(|n| assert!(*n > 0));
///     assert_eq!(batch.clone().sort_by(|n| *n).take(2).collect(), [1, 3]);
///     assert_eq!(batch.clone().top_by(1, |n| *n).reduce(|a, b| a + b), Some(4));
///     batch.filter(|n| *n < 4).map(|n| n * 10)
/// }), [vec![30, 10]]);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Batch<T> {
    time: BatchTime,
    ranges: Arc<[OffsetRange]>,
    rows: Vec<T>,
}

impl<T> Batch<T> {
    pub(crate) fn new(time: BatchTime, ranges: Arc<[OffsetRange]>, rows: Vec<T>) -> Self {
        Batch { time, ranges, rows }
    }

    /// The batch time: when the batch closed.
    pub fn time(&self) -> BatchTime {
        self.time
    }

    /// What the sources of this stream read for this batch, wherever they are in the program. Contains empty ranges too.
    #[doc(alias = "offsetRanges")]
    pub fn offset_ranges(&self) -> &[OffsetRange] {
        &self.ranges
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The rows, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, T> {
        self.rows.iter()
    }

    /// The first row; `None` in an empty batch.
    pub fn first(&self) -> Option<&T> {
        self.rows.first()
    }

    /// The rows as a vector, in order.
    pub fn collect(self) -> Vec<T> {
        self.rows
    }

    /// Calls `f` with each row, on this thread: rows are not distributed over the workers again.
    pub fn foreach(&self, f: impl FnMut(&T)) {
        self.rows.iter().for_each(f);
    }

    /// The result of `f` for each row.
    pub fn map<U>(self, f: impl FnMut(T) -> U) -> Batch<U> {
        Batch { time: self.time, ranges: self.ranges, rows: self.rows.into_iter().map(f).collect() }
    }

    /// The rows for which `test` is true.
    pub fn filter(mut self, test: impl FnMut(&T) -> bool) -> Self {
        self.rows.retain(test);
        self
    }

    /// The rows by ascending key. Rows with equal keys keep their order.
    #[doc(alias = "sortBy")]
    pub fn sort_by<K: Ord>(mut self, key: impl FnMut(&T) -> K) -> Self {
        self.rows.sort_by_cached_key(key);
        self
    }

    /// The first `n` rows.
    pub fn take(mut self, n: usize) -> Self {
        self.rows.truncate(n);
        self
    }

    /// The `n` rows with the largest key, largest first. Rows with equal keys keep their order.
    pub fn top_by<K: Ord>(self, n: usize, mut key: impl FnMut(&T) -> K) -> Self {
        self.sort_by(|r| std::cmp::Reverse(key(r))).take(n)
    }

    /// All rows reduced to one by `f`; `None` for an empty batch.
    pub fn reduce(self, f: impl FnMut(T, T) -> T) -> Option<T> {
        self.rows.into_iter().reduce(f)
    }
}

impl<T> IntoIterator for Batch<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;
    fn into_iter(self) -> Self::IntoIter {
        self.rows.into_iter()
    }
}

impl<'a, T> IntoIterator for &'a Batch<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;
    fn into_iter(self) -> Self::IntoIter {
        self.rows.iter()
    }
}

impl<'s, T: 'static> DStream<'s, T> {
    /// The rows that `f` returns for each whole batch, in its order: a [`Batch`], a vector, or another iterator. `f` runs once per batch
    /// on worker 0, in batch order, also for an empty batch. Keeps no state.
    ///
    /// All rows of the batch go to worker 0, at most [`gather_cap`](crate::api::context::Builder::gather_cap) bytes: a larger batch ends
    /// the job with [`crate::Error::GatherCap`]. Most programs use `sort_by`, `take` and `top_by`, which are verbs of their own.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![3, 1, 2]], |s| s.transform(|b| b.sort_by(|n| *n).take(1)), [vec![1]]);
    /// ```
    #[track_caller]
    pub fn transform<U: Exchange, I: IntoIterator<Item = U>>(&self, mut f: impl FnMut(Batch<T>) -> I + 'static) -> DStream<'s, U>
    where
        T: Exchange,
    {
        let operator = self.operator::<U>("transform", "");
        let lineage = self.node.meta.lineage.clone();
        self.gather_ordered(&operator, move |plan, rows| {
            f(Batch::new(plan.time, lineage_ranges(plan, &lineage), rows)).into_iter().collect()
        })
    }
}
