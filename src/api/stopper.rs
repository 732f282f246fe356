//! `Stopper`: asks a job to end, from inside or outside.

use std::sync::Arc;

use crate::api::context::StreamingContext;

/// Asks a job to end, from any thread: an output, a listener, a thread of the program. Cheap to clone.
///
/// [`StreamingContext::stopper`] has it while the program is built, [`JobHandle::stopper`](crate::job::JobHandle::stopper) afterwards,
/// and [`StreamingContext::get_active`] anywhere. It works in every process of a job. After the end of the job it does nothing.
///
/// ```
/// use tidemill::prelude::*;
/// let queue = QueueSource::<i64>::new();
/// let job = StreamingContext::builder("stopped", millis(5)).without_checkpoint().start(move |ssc| {
///     ssc.queue_stream(&queue).print(1);
///     Ok(())
/// })?;
/// let stopper = job.stopper();
/// let other = std::thread::spawn(move || stopper.stop_now());
/// job.await_termination()?;
/// other.join().unwrap();
/// # Ok::<(), tidemill::Error>(())
/// ```
#[derive(Clone)]
pub struct Stopper(Arc<dyn Fn(bool) + Send + Sync>);

impl Stopper {
    /// `stop` gets whether the stop is graceful.
    pub(crate) fn new(stop: impl Fn(bool) + Send + Sync + 'static) -> Self {
        Stopper(Arc::new(stop))
    }

    /// Asks for a stop after the data that the job has received, as [`JobHandle::stop_gracefully`](crate::job::JobHandle::stop_gracefully)
    /// does. Returns at once: an output could not wait for its own batch.
    pub fn stop_gracefully(&self) {
        (self.0)(true);
    }

    /// Asks for a stop without the batches that are not written, as [`JobHandle::stop_now`](crate::job::JobHandle::stop_now) does. Returns
    /// at once.
    pub fn stop_now(&self) {
        (self.0)(false);
    }
}

impl std::fmt::Debug for Stopper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stopper")
    }
}

impl StreamingContext<'_> {
    /// What ends this job from the inside: for an output that has seen enough. Spark's `ssc.stop(..)` in `foreachRDD`.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// let (queue, seen) = (QueueSource::new(), MemorySink::new());
    /// (0..100).for_each(|n| queue.push(vec![n]));
    /// let out = seen.clone();
    /// StreamingContext::builder("enough", millis(5)).without_checkpoint().run(move |ssc| {
    ///     let (numbers, stopper) = (ssc.queue_stream(&queue), ssc.stopper());
    ///     numbers.to_memory(&out);
    ///     numbers.foreach_batch(move |batch| {
    ///         if batch.iter().any(|n| *n >= 3) {
    ///             stopper.stop_now();
    ///         }
    ///         Ok(())
    ///     });
    ///     Ok(())
    /// })?;
    /// assert!(seen.rows().starts_with(&[0, 1, 2, 3]));
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn stopper(&self) -> Stopper {
        self.graph.stopper.clone()
    }
}
