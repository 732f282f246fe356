//! `Batch`: a whole batch in memory, and Spark's verbs of an RDD on it. They run on one thread, and keep the order of the rows.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::iter::Sum;
use std::sync::Arc;

use crate::core::plan::OffsetRange;
use crate::core::time::BatchTime;

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
///     let sum: i32 = batch.clone().sum();
///     assert_eq!((sum, batch.clone().min(), batch.clone().max()), (8, Some(1), Some(4)));
///     assert_eq!(batch.clone().flat_map(|n| [n; 2]).distinct().collect(), [3, 1, 4]);
///     let odd = batch.clone().group_by(|n| n % 2 == 1);
///     assert_eq!(odd.collect(), [(true, vec![3, 1]), (false, vec![4])]);
///     assert_eq!(batch.with(["a", "b", "a"]).union(["b"]).count_by_value().collect(), [("a", 2), ("b", 2)]);
///     let pairs = batch.with([('a', 1), ('b', 2), ('a', 3)]);
///     assert_eq!(pairs.clone().group_by_key().collect(), [('a', vec![1, 3]), ('b', vec![2])]);
///     assert_eq!(pairs.clone().reduce_by_key(|a, b| a + b).collect(), [('a', 4), ('b', 2)]);
///     assert_eq!(pairs.join([('a', "x")]).collect(), [('a', (1, "x")), ('a', (3, "x"))]);
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

    /// The same batch, with other rows.
    pub fn with<U>(&self, rows: impl IntoIterator<Item = U>) -> Batch<U> {
        Batch { time: self.time, ranges: self.ranges.clone(), rows: rows.into_iter().collect() }
    }

    /// All rows that `f` returns for each row.
    #[doc(alias = "flatMap")]
    pub fn flat_map<U, I: IntoIterator<Item = U>>(self, f: impl FnMut(T) -> I) -> Batch<U> {
        Batch { time: self.time, ranges: self.ranges, rows: self.rows.into_iter().flat_map(f).collect() }
    }

    /// These rows, and then those of another batch. Time and ranges are those of this one.
    pub fn union(mut self, other: impl IntoIterator<Item = T>) -> Self {
        self.rows.extend(other);
        self
    }

    /// Each row once, at its first place.
    pub fn distinct(mut self) -> Self
    where
        T: Clone + Eq + Hash,
    {
        let mut seen = HashSet::new();
        self.rows.retain(|row| seen.insert(row.clone()));
        self
    }

    /// The rows of each key, in the order of the first row of each.
    #[doc(alias = "groupBy")]
    pub fn group_by<K: Clone + Eq + Hash>(self, mut key: impl FnMut(&T) -> K) -> Batch<(K, Vec<T>)> {
        self.map(|row| (key(&row), row)).group_by_key()
    }

    /// How often each row is there, in the order of the first of each.
    #[doc(alias = "countByValue")]
    pub fn count_by_value(self) -> Batch<(T, i64)>
    where
        T: Clone + Eq + Hash,
    {
        self.map(|row| (row, 1)).reduce_by_key(|a, b| a + b)
    }

    /// The sum of the rows.
    pub fn sum<S: Sum<T>>(self) -> S {
        self.rows.into_iter().sum()
    }

    /// The greatest row; `None` for an empty batch.
    pub fn max(self) -> Option<T>
    where
        T: Ord,
    {
        self.rows.into_iter().max()
    }

    /// The least row; `None` for an empty batch.
    pub fn min(self) -> Option<T>
    where
        T: Ord,
    {
        self.rows.into_iter().min()
    }
}

impl<K: Clone + Eq + Hash, V> Batch<(K, V)> {
    /// All values of each key, in order; keys in the order of their first row.
    #[doc(alias = "groupByKey")]
    pub fn group_by_key(self) -> Batch<(K, Vec<V>)> {
        let mut places: HashMap<K, usize> = HashMap::new();
        let mut groups: Vec<(K, Vec<V>)> = Vec::new();
        for (k, v) in self.rows {
            let place = *places.entry(k.clone()).or_insert(groups.len());
            if place == groups.len() {
                groups.push((k, Vec::new()));
            }
            groups[place].1.push(v);
        }
        Batch { time: self.time, ranges: self.ranges, rows: groups }
    }

    /// The values of each key reduced to one, in order; keys in the order of their first row.
    #[doc(alias = "reduceByKey")]
    pub fn reduce_by_key(self, mut f: impl FnMut(V, V) -> V) -> Batch<(K, V)> {
        self.group_by_key().flat_map(|(k, values)| values.into_iter().reduce(&mut f).map(|v| (k, v)))
    }

    /// A row `(key, (value, other value))` for each pair of values of a key, in the order of this batch, and then of the other.
    pub fn join<W: Clone>(self, other: impl IntoIterator<Item = (K, W)>) -> Batch<(K, (V, W))>
    where
        V: Clone,
    {
        let mut found: HashMap<K, Vec<W>> = HashMap::new();
        other.into_iter().for_each(|(k, w)| found.entry(k).or_default().push(w));
        self.flat_map(|(k, v)| {
            let of_key = found.get(&k).into_iter().flatten();
            of_key.map(|w| (k.clone(), (v.clone(), w.clone()))).collect::<Vec<_>>()
        })
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
