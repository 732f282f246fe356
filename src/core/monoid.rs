//! `Monoid`: how the parts of an accumulator add up. Also the monoids that most programs need.

use std::collections::BTreeSet;
use std::fmt::Debug;

use serde::{Deserialize, Serialize};

use crate::core::data::{Exchange, Key};

/// What an accumulator holds: Spark's `AccumulatorV2`. [`Sum`], [`Min`], [`Max`] and [`Set`] are monoids; a program may define its own.
///
/// Each worker begins each batch with the default value, and adds its items. `merge` puts these parts together, in any order. So `merge`
/// must be commutative and associative, the default value must change nothing, and the result must not depend on which worker
/// added an item. A checkpoint has the encoded value.
///
/// ```
/// use tidemill::prelude::*;
///
/// /// The mean of all items.
/// #[derive(Clone, Default, serde::Serialize, serde::Deserialize)]
/// struct Mean { sum: i64, items: i64 }
///
/// impl Monoid for Mean {
///     type Item = i64;
///     type Value = Option<i64>;
///     fn add(&mut self, item: i64) {
///         self.merge(Mean { sum: item, items: 1 });
///     }
///     fn merge(&mut self, other: Mean) {
///         (self.sum, self.items) = (self.sum + other.sum, self.items + other.items);
///     }
///     fn value(&self) -> Option<i64> {
///         self.sum.checked_div(self.items)
///     }
/// }
///
/// let lengths = QueueSource::from_batches([vec![3, 5], vec![10]]);
/// let summary = StreamingContext::builder("lengths", millis(5)).without_checkpoint().run(move |ssc| {
///     let mean = ssc.accumulator::<Mean>("mean length");
///     ssc.queue_stream(&lengths).map(move |n| mean.add(n)).count().print(1);
///     Ok(())
/// })?;
/// assert_eq!(summary.accumulators.get("mean length"), Some(Some(6_i64)));
/// # Ok::<(), tidemill::Error>(())
/// ```
#[doc(alias = "AccumulatorV2")]
#[doc(alias = "AccumulatorParam")]
pub trait Monoid: Exchange + Default {
    /// What is added.
    type Item;
    /// What is read.
    type Value: Exchange + Debug;
    /// Adds one item.
    fn add(&mut self, item: Self::Item);
    /// Adds all items of another part.
    fn merge(&mut self, other: Self);
    /// The value of all items so far.
    fn value(&self) -> Self::Value;
}

/// The sum of integers: Spark's `longAccumulator`.
///
/// # Panics
/// A batch after which the sum does not fit into 64 bits ends the job.
///
/// ```
/// use tidemill::prelude::*;
/// let mut sum = Sum::default();
/// sum.add(2);
/// sum.add(-5);
/// assert_eq!(sum.value(), -3);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum(
    /// Wider than its items, so that the order of the parts does not decide whether it fits.
    i128,
);

impl Monoid for Sum {
    type Item = i64;
    type Value = i64;

    fn add(&mut self, item: i64) {
        self.0 += i128::from(item);
    }

    fn merge(&mut self, other: Sum) {
        self.0 += other.0;
    }

    fn value(&self) -> i64 {
        i64::try_from(self.0).expect("the sum of an accumulator does not fit into 64 bits; add smaller numbers")
    }
}

/// The least item; `None` before the first one.
///
/// ```
/// use tidemill::prelude::*;
/// let mut least = Min::default();
/// ["tide", "mill"].map(|word| least.add(word.to_owned()));
/// assert_eq!(least.value().as_deref(), Some("mill"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Min<T>(Option<T>);

/// The greatest item; `None` before the first one. Of floats: `Max<F64>`.
///
/// ```
/// use tidemill::prelude::*;
/// let mut slowest = Max::default();
/// [0.5, 1.25].map(|seconds| slowest.add(F64::from(seconds)));
/// assert_eq!(slowest.value(), Some(F64::from(1.25)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Max<T>(Option<T>);

/// The set of all items. It is copied in each batch that adds to it, so it should stay small.
///
/// ```
/// use tidemill::prelude::*;
/// let mut hosts = Set::default();
/// ["b", "a", "b"].map(|host| hosts.add(host.to_owned()));
/// assert!(hosts.value().into_iter().eq(["a", "b"]));
/// ```
#[doc(alias = "collectionAccumulator")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound(deserialize = "T: Ord + Deserialize<'de>"))]
pub struct Set<T>(BTreeSet<T>);

// Not derived: `derive` would ask for a default item.
impl<T> Default for Min<T> {
    fn default() -> Self {
        Min(None)
    }
}

impl<T> Default for Max<T> {
    fn default() -> Self {
        Max(None)
    }
}

impl<T> Default for Set<T> {
    fn default() -> Self {
        Set(BTreeSet::new())
    }
}

impl<T: Key> Monoid for Min<T> {
    type Item = T;
    type Value = Option<T>;

    fn add(&mut self, item: T) {
        self.merge(Min(Some(item)));
    }

    fn merge(&mut self, other: Self) {
        self.0 = self.0.take().into_iter().chain(other.0).min();
    }

    fn value(&self) -> Option<T> {
        self.0.clone()
    }
}

impl<T: Key> Monoid for Max<T> {
    type Item = T;
    type Value = Option<T>;

    fn add(&mut self, item: T) {
        self.merge(Max(Some(item)));
    }

    fn merge(&mut self, other: Self) {
        self.0 = self.0.take().into_iter().chain(other.0).max();
    }

    fn value(&self) -> Option<T> {
        self.0.clone()
    }
}

impl<T: Key> Monoid for Set<T> {
    type Item = T;
    type Value = BTreeSet<T>;

    fn add(&mut self, item: T) {
        self.0.insert(item);
    }

    fn merge(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    fn value(&self) -> BTreeSet<T> {
        self.0.clone()
    }
}
