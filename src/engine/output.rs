//! The way of rows to the output thread of a process: a typed queue for each output, and messages that say what is in it.
//!
//! Workers put rows into the queue of an output and send the batch's time and bytes. The thread hears nothing of rows: the
//! output's task takes them out of its own queue.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::connector::sink::SinkBatch;
use crate::core::data::PartitionId;
use crate::core::error::{BoxError, Result};
use crate::core::plan::{Progress, RunId};
use crate::core::time::BatchTime;
use crate::engine::tick::Tick;

/// A message to the output thread of this process.
pub(crate) enum Delivery {
    /// One worker has built its graph: these are the outputs, in program order.
    Built { outputs: Vec<OutputSpec> },
    /// The job has its checkpoint directory: exactly-once outputs begin.
    Begin(RunId),
    /// One worker has put its rows of a batch into the queue of an output; or has none at this time.
    Rows { output: usize, tick: Arc<Tick>, bytes: usize },
}

/// One output operation, as one worker registers it.
pub(crate) struct OutputSpec {
    pub name: String,
    /// How many workers of this process send rows of each batch. 0: another process writes this output.
    pub senders: usize,
    pub task: Box<dyn OutputTask>,
    /// There if the output is exactly once.
    pub transactional: Option<TransactionalSpec>,
}

/// What a verb makes of the queue of its output.
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

/// What the job knows of an exactly-once output before it runs.
#[derive(Clone, Debug)]
pub(crate) struct TransactionalSpec {
    /// The sink's name, unique in the program.
    pub sink: String,
    pub shards: u32,
    /// The most batches that one commit may hold.
    pub max_batches: usize,
}

/// What the output thread calls: a sink with the queue of its rows.
pub(crate) trait OutputTask: Send {
    /// Writes the rows of a batch, the same ones at each call until they are released. Nothing happens if there are none.
    ///
    /// # Errors
    /// As [`Sink::write`](crate::connector::sink::Sink::write).
    fn write(&mut self, batch: &SinkBatch) -> Result<(), BoxError>;

    /// Whether all rows up to this batch have arrived. Does not block.
    ///
    /// # Errors
    /// As [`Sink::flush`](crate::connector::sink::Sink::flush).
    fn flush(&mut self, time: BatchTime) -> Result<bool, BoxError>;

    /// Drops the rows of a batch: it will not be written again.
    fn release(&mut self, time: BatchTime);

    /// Begins an exactly-once output; returns the progress of its shards.
    ///
    /// # Errors
    /// As [`TransactionalSink::begin`](crate::connector::sink::TransactionalSink::begin).
    fn begin(&mut self, run: RunId, stop: &Arc<AtomicBool>) -> Result<Vec<Progress>> {
        let _ = (run, stop);
        Ok(Vec::new())
    }

    /// Commits all batches of an exactly-once output up to this one.
    ///
    /// # Errors
    /// As [`TransactionalSink::commit`](crate::connector::sink::TransactionalSink::commit).
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
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn push(&self, time: BatchTime, rows: R) {
        self.batches().entry(time).or_default().push(rows);
    }

    /// What each worker has put for this batch. `None`: nobody has.
    pub fn take(&self, time: BatchTime) -> Option<Vec<R>> {
        self.batches().remove(&time)
    }
}

/// What the workers of a process share to reach its output thread.
#[derive(Clone)]
pub(crate) struct OutputChannel {
    deliveries: Sender<Delivery>,
    /// Bytes that outputs have been sent and have not written.
    pub waiting: Arc<AtomicUsize>,
    /// The queue of each output, in program order. Made by the first worker that builds the output, of the type it writes.
    queues: Arc<Mutex<Vec<Box<dyn Any + Send>>>>,
}

impl OutputChannel {
    pub fn new() -> (Self, Receiver<Delivery>) {
        let (deliveries, delivered) = channel();
        (OutputChannel { deliveries, waiting: Arc::default(), queues: Arc::default() }, delivered)
    }

    pub fn send(&self, delivery: Delivery) {
        // The thread is gone only if the job has failed.
        let _ = self.deliveries.send(delivery);
    }

    /// The queue of an output. `None`: another worker has built another program.
    pub fn queue<R: Send + 'static>(&self, output: usize) -> Option<RowQueue<R>> {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        if queues.len() == output {
            queues.push(Box::new(RowQueue::<R>::default()));
        }
        queues.get(output)?.downcast_ref::<RowQueue<R>>().cloned()
    }

    /// Hands the rows of a batch to an output, about so many bytes. `None`: the stream has no batch at this time.
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
