//! `to_memory`: keeps batches in a vector of the program that started the job.

use std::sync::{Arc, Mutex};

use crate::api::dstream::DStream;
use crate::connector::sink::{Distribution, Part, Sink, SinkBatch};
use crate::core::data::Exchange;
use crate::core::error::BoxError;
use crate::core::lock::lock;
use crate::core::time::BatchTime;
use crate::engine::operator_id::OperatorId;

/// Where `to_memory` puts batches. Make it outside the build closure, pass it in, and read it at any time. Filled in process 0
/// only.
///
/// ```
/// use tidemill::prelude::*;
/// let (queue, rows) = (QueueSource::from_batches([vec![1], vec![], vec![2]]), MemorySink::new());
/// let sink = rows.clone();
/// StreamingContext::builder("kept", millis(5)).run(move |ssc| {
///     ssc.queue_stream(&queue).to_memory(&sink);
///     Ok(())
/// })?;
/// assert_eq!(rows.rows(), [1, 2]);
/// assert_eq!(rows.batches().len(), 3);                // the empty batch too
/// # Ok::<(), tidemill::Error>(())
/// ```
#[derive(Debug)]
pub struct MemorySink<T>(Arc<Mutex<Batches<T>>>);

type Batches<T> = Vec<(BatchTime, Vec<T>)>;

impl<T> Clone for MemorySink<T> {
    fn clone(&self) -> Self {
        MemorySink(self.0.clone())
    }
}

impl<T> Default for MemorySink<T> {
    fn default() -> Self {
        MemorySink(Arc::default())
    }
}

impl<T: Clone> MemorySink<T> {
    /// An empty memory.
    pub fn new() -> Self {
        MemorySink::default()
    }

    /// All batches until now, including empty ones: each with its rows in order.
    pub fn batches(&self) -> Batches<T> {
        lock(&self.0).clone()
    }

    /// The rows of all batches until now.
    pub fn rows(&self) -> Vec<T> {
        self.batches().into_iter().flat_map(|(_, rows)| rows).collect()
    }
}

impl<T: Clone + Send> Sink<T> for MemorySink<T> {
    fn write(&mut self, batch: &SinkBatch, parts: &[Part<T>]) -> Result<(), BoxError> {
        let rows = parts.iter().flat_map(|p| &p.rows).cloned().collect();
        lock(&self.0).push((batch.time(), rows));
        Ok(())
    }
}

impl<'s, T: 'static> DStream<'s, T> {
    /// Keeps each batch in `memory`, including empty ones, with rows in order. Rows of a counted or shuffled stream are ordered
    /// by their encoding.
    ///
    /// Keeping does not fail. It is at least once: after a restart in one process, `memory` may hold a batch twice.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// let queue = QueueSource::from_batches([vec![3, 1, 3], vec![]]);
    /// let memory = MemorySink::new();
    /// let to = memory.clone();
    /// StreamingContext::builder("memory", millis(100)).run(move |ssc| {
    ///     ssc.queue_stream(&queue).count_by_value().to_memory(&to);
    ///     Ok(())
    /// }).unwrap();
    /// assert_eq!(memory.rows(), [(1, 1), (3, 2)]);
    /// assert_eq!(memory.batches().len(), 2);
    /// ```
    #[track_caller]
    pub fn to_memory(&self, memory: &MemorySink<T>)
    where
        T: Exchange,
    {
        self.sink_rows(&OperatorId::of("to_memory"), memory.clone(), Distribution::Gathered);
    }
}
