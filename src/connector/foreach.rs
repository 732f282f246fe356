//! `foreach_batch` and `foreach_partition`: a function of the program as an output operation.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use crate::api::dstream::DStream;
use crate::connector::sink::{DEFAULT_SHARDS, Distribution, Part, Sink, SinkBatch};
use crate::connector::sink_task::json;
use crate::core::data::Exchange;
use crate::core::error::BoxError;
use crate::core::time::BatchTime;
use crate::engine::operator_id::OperatorId;
use crate::engine::output::FIRST_ROWS;
use crate::operator::Batch;
use crate::operator::kernel::gather::lineage_ranges;

impl<'s, T: 'static> DStream<'s, T> {
    /// Calls `f` with each whole batch, including empty ones, in order, on the output thread of process 0. Spark's
    /// `foreachRDD`, with or without its time.
    ///
    /// Gathers the batch in one process; [`DStream::foreach_partition`] does not. At least once: after a restart `f` receives
    /// the batches since the last checkpoint again, with the same rows and batch time.
    ///
    /// # Errors
    /// If `f` fails, the engine calls it again with the same batch, after 100 ms, 400 ms and so on, for the time of
    /// `--output-retry` (default: 30 seconds). Then the job stops with this batch not written. Effects of `f` before it failed stay: only `f` can undo them.
    ///
    /// ```
    /// use std::sync::{Arc, Mutex};
    /// use tidemill::prelude::*;
    /// let queue = QueueSource::from_batches([vec![1, 2], vec![]]);
    /// let log = Arc::new(Mutex::new(Vec::new()));
    /// let seen = log.clone();
    /// StreamingContext::builder("batches", millis(100)).run(move |ssc| {
    ///     let log = log.clone();
    ///     ssc.queue_stream(&queue).foreach_batch(move |batch| {
    ///         let mut log = log.lock().unwrap();
    ///         log.push(batch.iter().sum::<i32>());
    ///         // The first call fails: it is made again with the same batch.
    ///         if log.len() == 1 { Err("the database is away".into()) } else { Ok(()) }
    ///     });
    ///     Ok(())
    /// }).unwrap();
    /// assert_eq!(*seen.lock().unwrap(), [3, 3, 0]);
    /// ```
    #[doc(alias = "foreachRDD")]
    #[doc(alias = "foreach_rdd")]
    #[track_caller]
    pub fn foreach_batch(&self, f: impl FnMut(&Batch<T>) -> Result<(), BoxError> + Send + 'static)
    where
        T: Exchange,
    {
        let operator = OperatorId::of("foreach_batch");
        if self.goes_elsewhere(&operator, self.node.graph.config.function_target()) {
            return;
        }
        let lineage = self.node.meta.lineage.to_vec();
        // The sink's row is the batch.
        let whole = move |batch: &SinkBatch, workers: Vec<Vec<T>>| {
            let ranges = lineage_ranges(&batch.tick, &lineage);
            let rows = workers.into_iter().next().unwrap_or_default();
            vec![Part { number: 0, rows: vec![Batch::new(batch.time(), ranges, rows)] }]
        };
        let texts =
            |batches: &[&Batch<T>]| json(&batches.iter().flat_map(|batch| batch.iter()).take(FIRST_ROWS).collect::<Vec<_>>());
        self.sink_gathered(&operator, ForeachBatch(f), whole, texts);
    }

    /// Calls `f` with the rows of each part of each batch, on the output thread of the process that holds them. A part is a
    /// source's partition, a shard of an exchanged stream (8 of them), or a whole ordered stream. Parts without rows are left
    /// out. `init` makes what `f` works with, such as a connection. It runs once for each part number, when its first rows
    /// arrive.
    ///
    /// At least once. Batch time and part number form a key that stays the same when the batch runs again after a
    /// crash. If `f` writes the key in one transaction with the rows, as `examples/once.rs` does, the output is exactly once.
    ///
    /// # Errors
    /// If `init` or `f` fails, the engine calls it again with the same rows, for the time of `--output-retry` (default: 30
    /// seconds). Then the job stops. Parts of the batch that succeeded are not given again, except after a restart.
    ///
    /// ```
    /// use std::sync::{Arc, Mutex};
    /// use tidemill::prelude::*;
    /// let queue = QueueSource::from_batches([vec!["a", "b", "a"]].map(|b| b.into_iter().map(String::from).collect::<Vec<_>>()));
    /// let log = Arc::new(Mutex::new(Vec::new()));
    /// let seen = log.clone();
    /// StreamingContext::builder("parts", millis(100)).run(move |ssc| {
    ///     let log = log.clone();
    ///     let connect = || Ok("a connection");
    ///     ssc.queue_stream(&queue).count_by_value().foreach_partition(connect, move |connection, _time, _part, rows| {
    ///         assert_eq!(*connection, "a connection");
    ///         log.lock().unwrap().extend_from_slice(rows);
    ///         Ok(())
    ///     });
    ///     Ok(())
    /// }).unwrap();
    /// let mut counts = seen.lock().unwrap().clone();
    /// counts.sort();
    /// assert_eq!(counts, [("a".to_owned(), 2), ("b".to_owned(), 1)]);
    /// ```
    #[doc(alias = "foreachPartition")]
    #[track_caller]
    pub fn foreach_partition<C: Send + 'static>(
        &self,
        init: impl Fn() -> Result<C, BoxError> + Send + 'static,
        f: impl FnMut(&mut C, BatchTime, u32, &[T]) -> Result<(), BoxError> + Send + 'static,
    ) where
        T: Exchange,
    {
        let operator = OperatorId::of("foreach_partition");
        if self.goes_elsewhere(&operator, self.node.graph.config.function_target()) {
            return;
        }
        self.sink_rows(&operator, ForeachPartition::new(init, f), Distribution::Parts(DEFAULT_SHARDS));
    }
}

/// Calls a function with each batch. A row of this sink is a batch.
struct ForeachBatch<F>(F);

impl<T, F: FnMut(&Batch<T>) -> Result<(), BoxError> + Send> Sink<Batch<T>> for ForeachBatch<F> {
    fn write(&mut self, _: &SinkBatch, parts: &[Part<Batch<T>>]) -> Result<(), BoxError> {
        parts.iter().flat_map(|p| &p.rows).try_for_each(&mut self.0)
    }

    fn row_count(&self, parts: &[Part<Batch<T>>]) -> u64 {
        parts.iter().flat_map(|p| &p.rows).map(|batch| batch.len() as u64).sum()
    }
}

/// Calls a function with each part.
pub(super) struct ForeachPartition<C, I, F> {
    init: I,
    f: F,
    made: BTreeMap<u32, C>,
    /// The parts of the last batch that are written. They are not given again when a later part fails.
    written: Option<(BatchTime, BTreeSet<u32>)>,
}

impl<C, I, F> ForeachPartition<C, I, F> {
    pub fn new(init: I, f: F) -> Self {
        ForeachPartition { init, f, made: BTreeMap::new(), written: None }
    }
}

impl<T, C, I, F> Sink<T> for ForeachPartition<C, I, F>
where
    C: Send,
    I: Fn() -> Result<C, BoxError> + Send,
    F: FnMut(&mut C, BatchTime, u32, &[T]) -> Result<(), BoxError> + Send,
{
    fn write(&mut self, batch: &SinkBatch, parts: &[Part<T>]) -> Result<(), BoxError> {
        let time = batch.time();
        let written = match &mut self.written {
            Some((t, written)) if *t == time => written,
            other => &mut other.insert((time, BTreeSet::new())).1,
        };
        for part in parts.iter().filter(|p| !p.rows.is_empty()) {
            if written.contains(&part.number) {
                continue;
            }
            let c = match self.made.entry(part.number) {
                Entry::Occupied(e) => e.into_mut(),
                Entry::Vacant(e) => e.insert((self.init)()?),
            };
            (self.f)(c, time, part.number, &part.rows)?;
            written.insert(part.number);
        }
        Ok(())
    }
}
