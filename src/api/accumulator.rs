//! `accumulator`: a value to which the functions of verbs add on all workers.

use std::sync::Arc;

use crate::api::context::StreamingContext;
use crate::core::data::type_name;
use crate::core::monoid::Monoid;
use crate::engine::accumulators::{Accumulating, Parts};
use crate::engine::operator_id::CurrentOperator;
use crate::metrics::Accumulators;

/// A value to which functions add on all workers: Spark's accumulator. See [`StreamingContext::accumulator`].
///
/// Cheap to clone: each closure that adds or reads has a clone.
///
/// ```
/// use tidemill::prelude::*;
/// let lines = QueueSource::from_batches([vec!["GET /", "PUT /a"], vec!["GET /b"]]);
/// StreamingContext::builder("methods", millis(5)).without_checkpoint().run(move |ssc| {
///     let methods: Accumulator<Set<String>> = ssc.accumulator("methods");
///     let found = methods.clone();
///     let counted = ssc.queue_stream(&lines).map(move |line| found.add(line[..3].to_owned())).count();
///     counted.foreach_batch(move |_| {
///         assert!(methods.value().contains("GET"));
///         Ok(())
///     });
///     Ok(())
/// })?;
/// # Ok::<(), tidemill::Error>(())
/// ```
pub struct Accumulator<A> {
    name: Arc<str>,
    parts: Arc<Parts<A>>,
}

impl<A> Clone for Accumulator<A> {
    fn clone(&self) -> Self {
        Accumulator { name: self.name.clone(), parts: self.parts.clone() }
    }
}

impl<A: Monoid> Accumulator<A> {
    /// Adds an item in the function of a verb of a [`DStream`](crate::prelude::DStream). It counts for the batch of the row.
    ///
    /// A function that `map`, `filter` or `flat_map` calls runs once for each row. A function that combines rows, as that of `reduce`, runs as
    /// often as workers combine: the number of workers decides.
    ///
    /// # Panics
    /// Anywhere else: in the functions of a View or of a loop, which must be pure; in an output; on a thread of the program.
    pub fn add(&self, item: A::Item) {
        let Some(time) = CurrentOperator::batch() else {
            panic!(
                "add to the accumulator \"{}\" in the function of a stream's verb, such as map or filter; functions of a View must be pure, and \
                 outputs can only read it",
                self.name
            );
        };
        self.parts.add(time, item);
    }

    /// The value after the batch that the output writes: all items of this batch and of those before it, from all workers.
    ///
    /// # Panics
    /// Anywhere else than in the function of an output operation, such as `foreach_batch`, on its thread. Other readers are
    /// [`BatchInfo`](crate::metrics::BatchInfo) of a listener, [`Statistics`](crate::metrics::Statistics) and
    /// [`Summary`](crate::job::Summary).
    pub fn value(&self) -> A::Value {
        Accumulators::written().get(&self.name).unwrap_or_else(|| {
            panic!(
                "read the accumulator \"{}\" in the function of an output operation, such as foreach_batch; its value is not known before \
                 all workers have computed the batch",
                self.name
            )
        })
    }
}

impl StreamingContext<'_> {
    /// An accumulator of this name: functions of verbs add to it, on any worker, and outputs read it. Spark's `longAccumulator` and its like.
    ///
    /// [`Sum`](crate::prelude::Sum), [`Min`](crate::prelude::Min), [`Max`](crate::prelude::Max) and [`Set`](crate::prelude::Set) are what it
    /// may hold; a program may define its own [`Monoid`].
    ///
    /// It is exact. What the functions of a batch add counts once, also if the batch runs again after a failure. With a checkpoint
    /// directory it continues after a restart, which Spark's accumulators do not. An output that reads it waits until all workers have computed
    /// the batch.
    ///
    /// Constraints: the name is unique among the verbs that keep state. A later version of the program that leaves it out starts only with
    /// `--drop-state`, as for every state. Totals are kept by one worker and copied when they change, so they should be small.
    ///
    /// ```
    /// use std::sync::{Arc, Mutex};
    /// use tidemill::prelude::*;
    /// let words = QueueSource::from_batches([vec!["to", "be", "a"], vec!["a", "mill"], vec![]]);
    /// let seen = Arc::new(Mutex::new(Vec::new()));
    /// let log = seen.clone();
    /// let summary = StreamingContext::builder("exclude", millis(5)).without_checkpoint().workers(2).run(move |ssc| {
    ///     let (dropped, log) = (ssc.accumulator::<Sum>("dropped"), log.clone());
    ///     let counter = dropped.clone();
    ///     let kept = ssc.queue_stream(&words).filter(move |word| {
    ///         counter.add(i64::from(*word == "a"));
    ///         *word != "a"
    ///     });
    ///     kept.map(str::to_owned).foreach_batch(move |batch| {
    ///         log.lock().unwrap().push((batch.len(), dropped.value()));
    ///         Ok(())
    ///     });
    ///     Ok(())
    /// })?;
    /// assert_eq!(*seen.lock().unwrap(), [(2, 1), (1, 2), (0, 2)]);
    /// assert_eq!(summary.accumulators.get("dropped"), Some(2_i64));
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[doc(alias = "longAccumulator")]
    #[doc(alias = "doubleAccumulator")]
    #[track_caller]
    pub fn accumulator<A: Monoid>(&self, name: &str) -> Accumulator<A> {
        let accumulator = Accumulator { name: name.into(), parts: Arc::default() };
        let operator = self.graph.operator::<A>("accumulator", type_name::<A::Value>());
        let accumulating = Accumulating::new(&accumulator.name, &accumulator.parts, |total| {
            let (number, state) = self.graph.register_state(&operator, total);
            self.graph.rename_state(&operator, Some(number), name);
            state
        });
        self.graph.accumulates(accumulating);
        accumulator
    }
}
