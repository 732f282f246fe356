//! The path of rows to the output thread of a process: a typed queue for each output, and messages about its content.
//!
//! Workers put rows into the queue of an output, and send the time of the batch and its bytes. Invariant: the thread never sees rows.
//! The task of the output takes them from its queue.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::connector::sink::SinkBatch;
use crate::core::data::PartitionId;
use crate::core::error::{BoxError, Result};
use crate::core::lock::lock;
use crate::core::plan::{Progress, RunId};
use crate::core::time::BatchTime;
use crate::engine::tick::Tick;
use crate::metrics::Accumulators;

/// How many rows of a batch an output shows.
pub(crate) const FIRST_ROWS: usize = 5;

/// A message to the output thread of this process.
pub(crate) enum Delivery {
    /// A worker has built its graph. `outputs`: in program order.
    Built {
        outputs: Vec<OutputSpec>,
        /// Whether the totals of accumulators follow for each batch time.
        accumulates: bool,
    },
    /// The totals of the accumulators after a batch time, before any output writes it.
    Accumulated { time: BatchTime, accumulators: Accumulators },
    /// The job has its checkpoint directory, so exactly-once outputs can begin.
    Begin(RunId),
    /// A worker has put its rows of a batch into the queue of an output, or has no rows at this time.
    Rows { output: usize, tick: Arc<Tick>, bytes: usize },
}

/// One output operation, as one worker registers it.
pub(crate) struct OutputSpec {
    pub name: String,
    /// How many workers of this process send rows of each batch. 0 if another process writes this output.
    pub senders: usize,
    pub task: Box<dyn OutputTask>,
    /// Set if the output is exactly once.
    pub transactional: Option<TransactionalSpec>,
}

/// The task that a verb creates for the queue of its output.
pub(crate) struct NewOutput {
    pub task: Box<dyn OutputTask>,
    pub transactional: Option<TransactionalSpec>,
}

/// Rows of a partition, and the part of the batch that they belong to.
pub(crate) struct PartRows<T> {
    pub part: PartitionId,
    pub partition: PartitionId,
    pub rows: Vec<T>,
}

/// The properties of an exactly-once output that the job needs before it runs.
#[derive(Clone, Debug)]
pub(crate) struct TransactionalSpec {
    /// The sink's name, unique in the program.
    pub sink: String,
    pub shards: u32,
    /// The maximum number of batches in one commit.
    pub max_batches: usize,
}

/// An output, as the output thread calls it: a sink with the queue of its rows.
pub(crate) trait OutputTask: Send {
    /// Writes the rows of a batch: the same rows at each call, until they are released. Does nothing without rows.
    ///
    /// # Errors
    /// Like [`Sink::write`](crate::connector::sink::Sink::write).
    fn write(&mut self, batch: &SinkBatch) -> Result<(), BoxError>;

    /// Whether all rows up to this batch have arrived. Does not block.
    ///
    /// # Errors
    /// Like [`Sink::flush`](crate::connector::sink::Sink::flush).
    fn flush(&mut self, time: BatchTime) -> Result<bool, BoxError>;

    /// How many rows a batch has that was written, or failed, and was not released. 0 without rows.
    fn row_count(&self, time: BatchTime) -> u64;

    /// The first rows of a batch that was written and not released, as texts; long ones are cut off. Empty without rows.
    fn first_rows(&mut self, time: BatchTime) -> Vec<String> {
        let _ = time;
        Vec::new()
    }

    /// Drops the rows of a batch, which will not be written again.
    fn release(&mut self, time: BatchTime);

    /// Begins an exactly-once output; returns the progress of its shards.
    ///
    /// # Errors
    /// Like [`TransactionalSink::begin`](crate::connector::sink::TransactionalSink::begin).
    fn begin(&mut self, run: RunId, stop: &Arc<AtomicBool>) -> Result<Vec<Progress>> {
        let _ = (run, stop);
        Ok(Vec::new())
    }

    /// Commits all batches of an exactly-once output up to this one.
    ///
    /// # Errors
    /// Like [`TransactionalSink::commit`](crate::connector::sink::TransactionalSink::commit).
    fn commit(&mut self, last: &SinkBatch, checkpoint: bool) -> Result<(), BoxError> {
        let _ = (last, checkpoint);
        Ok(())
    }
}

/// The rows that wait for one output, by batch; each worker puts one entry.
pub(crate) struct RowQueue<R>(Arc<Mutex<BTreeMap<BatchTime, Vec<R>>>>);

impl<R> Clone for RowQueue<R> {
    fn clone(&self) -> Self {
        RowQueue(self.0.clone())
    }
}

impl<R> Default for RowQueue<R> {
    fn default() -> Self {
        RowQueue(Arc::default())
    }
}

impl<R> RowQueue<R> {
    fn batches(&self) -> MutexGuard<'_, BTreeMap<BatchTime, Vec<R>>> {
        lock(&self.0)
    }

    pub fn push(&self, time: BatchTime, rows: R) {
        self.batches().entry(time).or_default().push(rows);
    }

    /// Takes the entry of each worker for this batch. `None`: there are no entries.
    pub fn take(&self, time: BatchTime) -> Option<Vec<R>> {
        self.batches().remove(&time)
    }
}

/// Connects the workers of a process to its output thread. All workers share it.
#[derive(Clone)]
pub(crate) struct OutputChannel {
    deliveries: Sender<Delivery>,
    /// Bytes that were sent to outputs and are not written.
    pub waiting: Arc<AtomicUsize>,
    /// The queue of each output, in program order. The first worker that builds the output creates it, for its type of rows.
    queues: Arc<Mutex<Vec<Box<dyn Any + Send>>>>,
}

impl OutputChannel {
    pub fn new() -> (Self, Receiver<Delivery>) {
        let (deliveries, delivered) = channel();
        (OutputChannel { deliveries, waiting: Arc::default(), queues: Arc::default() }, delivered)
    }

    pub fn send(&self, delivery: Delivery) {
        // The thread has ended only if the job has failed.
        let _ = self.deliveries.send(delivery);
    }

    /// The queue of an output. `None` if another worker has built another program.
    pub fn queue<R: Send + 'static>(&self, output: usize) -> Option<RowQueue<R>> {
        let mut queues = lock(&self.queues);
        if queues.len() == output {
            queues.push(Box::new(RowQueue::<R>::default()));
        }
        queues.get(output)?.downcast_ref::<RowQueue<R>>().cloned()
    }

    /// Delivers the rows of a batch to an output. `bytes`: their approximate size. `None`: the stream has no batch at this time.
    pub fn deliver<R>(&self, output: usize, queue: &RowQueue<R>, tick: &Arc<Tick>, rows: Option<R>, bytes: usize) {
        if tick.restored {
            return;
        }
        let rows = rows.filter(|_| tick.shown);
        let bytes = if rows.is_some() { bytes } else { 0 };
        self.waiting.fetch_add(bytes, Ordering::Relaxed);
        if let Some(rows) = rows {
            queue.push(tick.time, rows);
        }
        self.send(Delivery::Rows { output, tick: tick.clone(), bytes });
    }
}
