//! A sink with the queue of its rows. The output thread calls it without knowing the type of the rows.
//!
//! The task orders the rows here, outside the workers, once a batch, so that retried writes see the same rows. It drops them
//! when the thread releases the batch.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde::Serialize;

use crate::api::dstream::{RowOrder, in_order};
use crate::connector::sink::{BatchId, CommitGroup, Committed, Part, Sink, SinkBatch, SinkContext, TransactionalSink};
use crate::core::data::{Exchange, PartitionId, sort_by_encoded};
use crate::core::error::{BoxError, Error, Result};
use crate::core::plan::{Progress, RunId};
use crate::core::time::BatchTime;
use crate::engine::output::{FIRST_ROWS, OutputTask, PartRows, RowQueue};

/// Puts the rows of one batch of all workers into numbered parts.
pub(crate) trait Arrange<R, T>: FnMut(&SinkBatch, Vec<R>) -> Vec<Part<T>> + Send {}

impl<R, T, F: FnMut(&SinkBatch, Vec<R>) -> Vec<Part<T>> + Send> Arrange<R, T> for F {}

/// The rows of process 0, already whole and in order: one part.
pub(crate) fn one_part<T>(_: &SinkBatch, workers: Vec<Vec<T>>) -> Vec<Part<T>> {
    workers.into_iter().map(|rows| Part { number: 0, rows }).collect()
}

/// Groups rows into numbered parts. The left side of a union comes before the right one; unordered rows are put in encoded
/// order.
///
/// It takes all workers' rows together: unordered rows without key groups have the same partition on each worker.
pub(crate) fn parts<T: Exchange>(orders: &[RowOrder], workers: Vec<Vec<PartRows<T>>>) -> Vec<Part<T>> {
    let mut by_part: BTreeMap<PartitionId, Vec<(PartitionId, Vec<T>)>> = BTreeMap::new();
    for PartRows { part, partition, rows } in workers.into_iter().flatten() {
        by_part.entry(part).or_default().push((partition, rows));
    }
    let part =
        |(part, rows): (PartitionId, Vec<_>)| Part { number: part.number(), rows: in_order(orders, rows, sort_by_encoded) };
    by_part.into_iter().map(part).collect()
}

/// The characters of a row that are shown.
const SHOWN: usize = 300;

/// The rows of a sink as texts, unless the sink says them itself.
pub(crate) type Texts<T> = fn(&[&T]) -> Vec<String>;

/// Rows as JSON.
pub(crate) fn json<T: Serialize>(rows: &[&T]) -> Vec<String> {
    rows.iter().map(|row| serde_json::to_string(row).unwrap_or_else(|e| format!("a row without JSON: {e}"))).collect()
}

/// A sink of `T` whose queue holds `R`.
pub(crate) struct SinkTask<R, T, A, S> {
    queue: RowQueue<R>,
    arrange: A,
    sink: S,
    texts: Texts<T>,
    /// Batches that may be written again, with their rows.
    held: VecDeque<Held<T>>,
}

/// A batch with its rows.
struct Held<T> {
    time: BatchTime,
    parts: Vec<Part<T>>,
    /// How many rows it has, also those that were committed before this run.
    rows: u64,
}

impl<R, T, A: Arrange<R, T>, S: Sink<T>> SinkTask<R, T, A, S> {
    pub fn new(queue: RowQueue<R>, arrange: A, sink: S, texts: Texts<T>) -> Self {
        SinkTask { queue, arrange, sink, texts, held: VecDeque::new() }
    }

    /// Takes the rows of a batch from the queue, if they have not been taken already.
    fn rows(&mut self, batch: &SinkBatch) -> Option<usize> {
        let time = batch.time();
        if let Some(at) = self.held.iter().position(|held| held.time == time) {
            return Some(at);
        }
        let parts = (self.arrange)(batch, self.queue.take(time)?);
        let rows = self.sink.row_count(&parts);
        self.held.push_back(Held { time, parts, rows });
        Some(self.held.len() - 1)
    }
}

impl<R: Send, T: Send, A: Arrange<R, T>, S: Sink<T>> OutputTask for SinkTask<R, T, A, S> {
    fn write(&mut self, batch: &SinkBatch) -> Result<(), BoxError> {
        match self.rows(batch) {
            Some(at) => batch.accumulators.during(|| self.sink.write(batch, &self.held[at].parts)),
            None => Ok(()),
        }
    }

    fn flush(&mut self, time: BatchTime) -> Result<bool, BoxError> {
        self.sink.flush(time)
    }

    fn row_count(&self, time: BatchTime) -> u64 {
        self.held.iter().find(|held| held.time == time).map_or(0, |held| held.rows)
    }

    fn first_rows(&mut self, time: BatchTime) -> Vec<String> {
        let Some(held) = self.held.iter().find(|held| held.time == time) else { return Vec::new() };
        let rows: Vec<&T> = held.parts.iter().flat_map(|part| &part.rows).take(FIRST_ROWS).collect();
        let mut texts = self.sink.shown(&rows).unwrap_or_else(|| (self.texts)(&rows));
        texts.truncate(FIRST_ROWS);
        for text in &mut texts {
            if let Some((end, _)) = text.char_indices().nth(SHOWN) {
                text.replace_range(end.., "…");
            }
        }
        texts
    }

    fn release(&mut self, time: BatchTime) {
        self.held.retain(|held| held.time != time);
    }
}

/// A transactional sink. Rows committed before the restart do not reach it.
pub(crate) struct TransactionalTask<R, T, A, S> {
    task: SinkTask<R, T, A, S>,
    context: SinkContext,
    /// The last batch that each shard had committed when this run began.
    committed: BTreeMap<u32, BatchTime>,
}

impl<R, T, A: Arrange<R, T>, S: TransactionalSink<T>> TransactionalTask<R, T, A, S> {
    pub fn new(queue: RowQueue<R>, arrange: A, sink: S, context: SinkContext) -> Self
    where
        T: Serialize,
    {
        let task = SinkTask::new(queue, arrange, sink, json);
        TransactionalTask { task, context, committed: BTreeMap::new() }
    }

    fn progress(&self, Committed { shard, batch }: Committed) -> Progress {
        let SinkContext { job, sink, shard_count, .. } = &self.context;
        let BatchId { time, run: RunId { directory, generation }, plan } = batch;
        Progress { job: job.clone(), sink: sink.clone(), shard, shards: *shard_count, directory, generation, time, plan }
    }
}

impl<R: Send, T: Send, A: Arrange<R, T>, S: TransactionalSink<T>> OutputTask for TransactionalTask<R, T, A, S> {
    fn write(&mut self, batch: &SinkBatch) -> Result<(), BoxError> {
        let (time, committed) = (batch.time(), &self.committed);
        let Some(at) = self.task.rows(batch) else { return Ok(()) };
        let parts = &mut self.task.held[at].parts;
        parts.retain(|part| committed.get(&part.number).is_none_or(|through| *through < time));
        batch.accumulators.during(|| self.task.sink.write(batch, parts))
    }

    fn flush(&mut self, _: BatchTime) -> Result<bool, BoxError> {
        Ok(true)
    }

    fn row_count(&self, time: BatchTime) -> u64 {
        self.task.row_count(time)
    }

    fn first_rows(&mut self, time: BatchTime) -> Vec<String> {
        self.task.first_rows(time)
    }

    fn release(&mut self, time: BatchTime) {
        self.task.release(time);
    }

    fn begin(&mut self, run: RunId, stop: &Arc<AtomicBool>) -> Result<Vec<Progress>> {
        (self.context.run, self.context.stop) = (run, stop.clone());
        let found = self.task.sink.begin(&self.context).map_err(|e| match e.downcast::<Error>() {
            Ok(ours) => *ours,
            Err(e) => Error::config(format!("the sink {} cannot begin: {e}", self.context.sink)),
        })?;
        self.committed = found.iter().map(|c| (c.shard, c.batch.time)).collect();
        Ok(found.into_iter().map(|c| self.progress(c)).collect())
    }

    fn commit(&mut self, last: &SinkBatch, checkpoint: bool) -> Result<(), BoxError> {
        match last.id() {
            Some(last) => self.task.sink.commit(&CommitGroup { last, checkpoint }),
            None => Ok(()),
        }
    }
}
