//! `Accumulators`: the values of a job's accumulators after a batch. Typed programs read them by name.

use std::cell::RefCell;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::core::data::{Exchange, encoded, type_name};

/// The accumulators of a job after a batch, in program order: in [`BatchInfo`](crate::metrics::BatchInfo),
/// [`Statistics`](crate::metrics::Statistics) and [`Summary`](crate::job::Summary).
///
/// ```
/// use tidemill::prelude::*;
/// let numbers = QueueSource::from_batches([vec![1, -2], vec![-3]]);
/// let job = StreamingContext::builder("negative", millis(5)).without_checkpoint().start(move |ssc| {
///     let negative = ssc.accumulator::<Sum>("negative");
///     let positive = move |n: &i32| {
///         negative.add(i64::from(*n < 0));
///         *n >= 0
///     };
///     ssc.queue_stream(&numbers).filter(positive).print(10);
///     Ok(())
/// })?;
/// assert!(job.await_termination_or_timeout(mins(5))?);
/// let last = job.statistics().last.unwrap();
/// assert_eq!(last.accumulators.get("negative"), Some(2_i64));
/// let texts: Vec<String> = last.accumulators.iter().map(|a| format!("{} = {}", a.name, a.text)).collect();
/// assert_eq!(texts, ["negative = 2"]);
/// # Ok::<(), tidemill::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accumulators(Arc<[AccumulatorInfo]>);

/// One accumulator after a batch: Spark's `AccumulableInfo`.
///
/// ```
/// use tidemill::prelude::*;
/// let words = QueueSource::from_batches([vec!["mill", "tide"]]);
/// let summary = StreamingContext::builder("longest", millis(5)).without_checkpoint().run(move |ssc| {
///     let longest = ssc.accumulator::<Max<usize>>("longest");
///     ssc.queue_stream(&words).map(move |word| longest.add(word.len())).count().print(1);
///     Ok(())
/// })?;
/// let longest = summary.accumulators.iter().next().unwrap();
/// assert_eq!((&*longest.name, &*longest.text), ("longest", "Some(4)"));
/// # Ok::<(), tidemill::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccumulatorInfo {
    /// The name that the program gave it.
    pub name: Arc<str>,
    /// The value as text: `{:?}`.
    pub text: Arc<str>,
    /// The type of the value, and the value encoded.
    kind: Arc<str>,
    value: Arc<[u8]>,
}

thread_local!(static WRITTEN: RefCell<Accumulators> = RefCell::default());

impl Accumulators {
    /// The value of the accumulator of this name: `get::<i64>("dropped")`. `None`: there is none.
    ///
    /// # Panics
    /// The value is of another type, such as an `i64` that is read as an `i32`.
    pub fn get<V: DeserializeOwned>(&self, name: &str) -> Option<V> {
        let AccumulatorInfo { kind, value, .. } = self.0.iter().find(|a| *a.name == *name)?;
        let asked = type_name::<V>();
        assert!(**kind == *asked, "the value of the accumulator \"{name}\" is of type {kind}, and it was read as {asked}");
        Some(postcard::from_bytes(value).expect("it was encoded from a value of this type"))
    }

    /// All of them, in program order.
    pub fn iter(&self) -> std::slice::Iter<'_, AccumulatorInfo> {
        self.0.iter()
    }

    /// Does the work of an output on the batch after which these are the values.
    pub(crate) fn during<R>(&self, work: impl FnOnce() -> R) -> R {
        let before = WRITTEN.replace(self.clone());
        let done = work();
        WRITTEN.set(before);
        done
    }

    /// The values after the batch that an output writes on this thread; empty if there is none.
    pub(crate) fn written() -> Accumulators {
        WRITTEN.with_borrow(Clone::clone)
    }
}

impl FromIterator<AccumulatorInfo> for Accumulators {
    fn from_iter<I: IntoIterator<Item = AccumulatorInfo>>(all: I) -> Self {
        Accumulators(all.into_iter().collect())
    }
}

impl AccumulatorInfo {
    pub(crate) fn new<V: Exchange + std::fmt::Debug>(name: &Arc<str>, value: &V) -> Self {
        let (text, kind) = (format!("{value:?}").into(), type_name::<V>().into());
        AccumulatorInfo { name: name.clone(), text, kind, value: encoded(value).into() }
    }
}
