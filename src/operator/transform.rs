//! `transform`: any function of a whole batch. And `Batch`, what it sees.

use std::sync::Arc;

use crate::api::dstream::DStream;
use crate::core::data::Exchange;
use crate::core::plan::OffsetRange;
use crate::core::time::BatchTime;
use crate::engine::flow::Site;
use crate::operator::kernel::gather::lineage_ranges;

/// A whole batch in its order, where it is gathered: Spark's RDD inside `transform` and `foreachRDD`.
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

    /// When the batch closed.
    pub fn time(&self) -> BatchTime {
        self.time
    }

    /// What the sources of this stream read for this batch, at any depth of the program, empty ranges included.
    #[doc(alias = "offsetRanges")]
    pub fn offset_ranges(&self) -> &[OffsetRange] {
        &self.ranges
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The rows, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, T> {
        self.rows.iter()
    }

    /// The first row.
    pub fn first(&self) -> Option<&T> {
        self.rows.first()
    }

    /// The rows as a vector.
    pub fn collect(self) -> Vec<T> {
        self.rows
    }

    /// Does something with each row, here: not spread over the workers.
    pub fn foreach(&self, f: impl FnMut(&T)) {
        self.rows.iter().for_each(f);
    }

    /// Each row through `f`.
    pub fn map<U>(self, f: impl FnMut(T) -> U) -> Batch<U> {
        Batch { time: self.time, ranges: self.ranges, rows: self.rows.into_iter().map(f).collect() }
    }

    /// The rows for which `test` is true.
    pub fn filter(mut self, test: impl FnMut(&T) -> bool) -> Self {
        self.rows.retain(test);
        self
    }

    /// By ascending key; rows with equal keys keep their order.
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

    /// The `n` rows with the largest key, largest first; rows with equal keys keep their order.
    pub fn top_by<K: Ord>(self, n: usize, mut key: impl FnMut(&T) -> K) -> Self {
        self.sort_by(|r| std::cmp::Reverse(key(r))).take(n)
    }

    /// All rows into one; nothing of nothing.
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

impl<'s, T: Exchange> DStream<'s, T> {
    /// Each batch, whole, through `f`: once a batch, at home, in order, also when the batch is empty. Gathers the batch; most
    /// programs do not need it, since `sort_by`, `take` and `top_by` are verbs of their own.
    ///
    /// ```
    /// use tidemill::testing::check;
    /// check([vec![3, 1, 2]], |s| s.transform(|b| b.sort_by(|n| *n).take(1)), [vec![1]]);
    /// ```
    #[track_caller]
    pub fn transform<U: Exchange>(&self, mut f: impl FnMut(Batch<T>) -> Batch<U> + 'static) -> DStream<'s, U> {
        let site = Site::of("transform");
        self.node.graph.note::<U>("transform", "");
        let lineage = self.node.lineage.clone();
        self.sequence(&site, move |plan, rows| f(Batch::new(plan.time, lineage_ranges(plan, &lineage).into(), rows)).collect())
    }
}
