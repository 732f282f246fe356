//! `foreach_batch_with` and `foreach_partition_with`: a function of two streams as an output operation.
//!
//! The rows of both streams travel as those of one, so that each batch comes to the function whole. Here they are two again.

use serde::{Deserialize, Serialize};

use crate::api::dstream::DStream;
use crate::connector::foreach::ForeachPartition;
use crate::connector::sink::{DEFAULT_SHARDS, Part, Sink, SinkBatch};
use crate::connector::sink_task::{json, parts};
use crate::core::data::{Exchange, Key};
use crate::core::error::BoxError;
use crate::core::time::BatchTime;
use crate::engine::operator_id::OperatorId;
use crate::engine::output::FIRST_ROWS;
use crate::operator::Batch;
use crate::operator::kernel::gather::lineage_ranges;

/// A row of one stream or of the other.
#[derive(Clone, Serialize, Deserialize)]
enum Side<T, W> {
    Left(T),
    Right(W),
}

impl<'s, T: Exchange> DStream<'s, T> {
    /// Calls `f` with the whole batches of two streams at the same time: that of this stream and that of the other, each in its order.
    /// `f` runs for each batch in order, also if both are empty, on the output thread of process 0. It may return early.
    ///
    /// If only one of the streams has a batch at a time, as of two windows that slide differently, the other batch is empty.
    ///
    /// Gathers both batches in one process, together at most [`gather_cap`](crate::api::context::Builder::gather_cap) bytes: a larger pair
    /// ends the job with [`crate::Error::GatherCap`]. [`DStream::foreach_partition_with`] does not gather. At least once, as
    /// [`DStream::foreach_batch`].
    ///
    /// # Errors
    /// As for [`DStream::foreach_batch`]: the engine calls `f` again with the same two batches.
    ///
    /// ```
    /// use std::sync::{Arc, Mutex};
    /// use tidemill::prelude::*;
    /// let queue = QueueSource::from_batches([vec![5, -1, 7], vec![2, 3]]);
    /// let log = Arc::new(Mutex::new(Vec::new()));
    /// let seen = log.clone();
    /// StreamingContext::builder("two", millis(100)).run(move |ssc| {
    ///     let (log, all) = (log.clone(), ssc.queue_stream(&queue));
    ///     let (good, bad) = (all.filter(|n| *n >= 0), all.filter(|n| *n < 0));
    ///     good.foreach_batch_with(&bad, move |good, bad| {
    ///         if bad.is_empty() {
    ///             return Ok(());
    ///         }
    ///         log.lock().unwrap().push((good.iter().sum::<i32>(), bad.len()));
    ///         Ok(())
    ///     });
    ///     Ok(())
    /// }).unwrap();
    /// assert_eq!(*seen.lock().unwrap(), [(12, 1)]);
    /// ```
    #[track_caller]
    pub fn foreach_batch_with<W: Exchange>(
        &self,
        other: &DStream<'s, W>,
        f: impl FnMut(&Batch<T>, &Batch<W>) -> Result<(), BoxError> + Send + 'static,
    ) {
        let operator = OperatorId::of("foreach_batch_with");
        let [left_lineage, right_lineage] = [&self.node.meta, &other.node.meta].map(|meta| meta.lineage.to_vec());
        let both = self.mapped(&operator, false, Side::Left).union(&other.mapped(&operator, false, Side::Right));
        if both.goes_elsewhere(&operator, self.node.graph.config.function_target()) {
            return;
        }
        // The sink's row is the two batches.
        let whole = move |batch: &SinkBatch, workers: Vec<Vec<Side<T, W>>>| {
            let (mut left, mut right) = (Vec::new(), Vec::new());
            for row in workers.into_iter().flatten() {
                match row {
                    Side::Left(row) => left.push(row),
                    Side::Right(row) => right.push(row),
                }
            }
            let left = Batch::new(batch.time(), lineage_ranges(&batch.tick, &left_lineage), left);
            let right = Batch::new(batch.time(), lineage_ranges(&batch.tick, &right_lineage), right);
            vec![Part { number: 0, rows: vec![(left, right)] }]
        };
        both.sink_gathered(&operator, ForeachBatches(f), whole, |batches| {
            batches.iter().flat_map(|(left, right)| first(left.iter(), right.iter())).collect()
        });
    }
}

impl<'s, K: Key, V: Exchange> DStream<'s, (K, V)> {
    /// Calls `f` with the rows of two streams that have the same keys, part by part, on the output thread of the process that holds the
    /// part. The rows of a key are in the same one of 8 parts in both streams, and in all batches. A part without rows of either stream is
    /// left out; if only one has rows, the other slice is empty. Rows are by key, in the order of encoded keys; those of a key are in the
    /// order of their stream. `init` makes what `f` works with, such as a connection, once for each part.
    ///
    /// Rows move to the workers that own their keys, and are not gathered in one process. At least once. Batch time and part number are a
    /// key that stays the same when the batch runs again, as for [`DStream::foreach_partition`].
    ///
    /// # Errors
    /// As for [`DStream::foreach_partition`]: the engine calls `init` or `f` again with the same rows.
    ///
    /// ```
    /// use std::sync::{Arc, Mutex};
    /// use tidemill::prelude::*;
    /// let orders = QueueSource::from_batches([vec![("ann".to_owned(), 3), ("bob".to_owned(), 4)]]);
    /// let log = Arc::new(Mutex::new(Vec::new()));
    /// let seen = log.clone();
    /// StreamingContext::builder("parts", millis(100)).run(move |ssc| {
    ///     let (log, orders) = (log.clone(), ssc.queue_stream(&orders));
    ///     let large = orders.filter(|(_, n)| *n > 3).map_values(|_| "large".to_owned());
    ///     orders.foreach_partition_with(&large, || Ok(()), move |(), _time, _part, orders, large| {
    ///         for (name, n) in orders {
    ///             log.lock().unwrap().push((name.clone(), *n, large.iter().any(|(of, _)| of == name)));
    ///         }
    ///         Ok(())
    ///     });
    ///     Ok(())
    /// }).unwrap();
    /// let mut orders = seen.lock().unwrap().clone();
    /// orders.sort();
    /// assert_eq!(orders, [("ann".to_owned(), 3, false), ("bob".to_owned(), 4, true)]);
    /// ```
    #[track_caller]
    pub fn foreach_partition_with<W: Exchange, C: Send + 'static>(
        &self,
        other: &DStream<'s, (K, W)>,
        init: impl Fn() -> Result<C, BoxError> + Send + 'static,
        mut f: impl FnMut(&mut C, BatchTime, u32, &[(K, V)], &[(K, W)]) -> Result<(), BoxError> + Send + 'static,
    ) {
        let operator = OperatorId::of("foreach_partition_with");
        let grouped = self.cogrouped(other, &operator, |left, right| vec![(left, right)]);
        if grouped.goes_elsewhere(&operator, self.node.graph.config.function_target()) {
            return;
        }
        let each = move |c: &mut C, time, part, rows: &[TwoSides<K, V, W>]| {
            rows.iter().try_for_each(|(left, right)| f(c, time, part, left, right))
        };
        let orders = grouped.node.orders.to_vec();
        // The sink's row is a part.
        let halves = move |_: &SinkBatch, workers| {
            let both = |part: Part<OfKey<K, V, W>>| Part { number: part.number, rows: vec![two_sides(part.rows)] };
            parts(&orders, workers).into_iter().map(both).collect()
        };
        let sink = ForeachParts(ForeachPartition::new(init, each));
        grouped.sink_parts(&operator, sink, DEFAULT_SHARDS, halves, |parts| {
            parts.iter().flat_map(|(left, right)| first(left.iter(), right.iter())).collect()
        });
    }
}

/// The first rows of both streams, as the page of the job shows them.
fn first<'a, T: Serialize + 'a, W: Serialize + 'a>(
    left: impl Iterator<Item = &'a T>,
    right: impl Iterator<Item = &'a W>,
) -> Vec<String> {
    [json(&left.take(FIRST_ROWS).collect::<Vec<_>>()), json(&right.take(FIRST_ROWS).collect::<Vec<_>>())].concat()
}

/// A key with its values in both streams.
type OfKey<K, V, W> = (K, (Vec<V>, Vec<W>));

/// The rows of a part in both streams.
type TwoSides<K, V, W> = (Vec<(K, V)>, Vec<(K, W)>);

/// The rows that were grouped by key.
fn two_sides<K: Clone, V, W>(groups: Vec<OfKey<K, V, W>>) -> TwoSides<K, V, W> {
    let (mut left, mut right) = (Vec::new(), Vec::new());
    for (key, (vs, ws)) in groups {
        left.extend(vs.into_iter().map(|v| (key.clone(), v)));
        right.extend(ws.into_iter().map(|w| (key.clone(), w)));
    }
    (left, right)
}

/// Calls a function with the two batches. A row of this sink is both.
struct ForeachBatches<F>(F);

impl<T, W, F> Sink<(Batch<T>, Batch<W>)> for ForeachBatches<F>
where
    F: FnMut(&Batch<T>, &Batch<W>) -> Result<(), BoxError> + Send,
{
    fn write(&mut self, _: &SinkBatch, parts: &[Part<(Batch<T>, Batch<W>)>]) -> Result<(), BoxError> {
        parts.iter().flat_map(|part| &part.rows).try_for_each(|(left, right)| (self.0)(left, right))
    }

    fn row_count(&self, parts: &[Part<(Batch<T>, Batch<W>)>]) -> u64 {
        parts.iter().flat_map(|part| &part.rows).map(|(left, right)| (left.len() + right.len()) as u64).sum()
    }
}

/// Calls a function with the two sides of each part. A row of this sink is both.
struct ForeachParts<S>(S);

impl<K, V, W, S: Sink<TwoSides<K, V, W>>> Sink<TwoSides<K, V, W>> for ForeachParts<S> {
    fn write(&mut self, batch: &SinkBatch, parts: &[Part<TwoSides<K, V, W>>]) -> Result<(), BoxError> {
        self.0.write(batch, parts)
    }

    fn row_count(&self, parts: &[Part<TwoSides<K, V, W>>]) -> u64 {
        parts.iter().flat_map(|part| &part.rows).map(|(left, right)| (left.len() + right.len()) as u64).sum()
    }
}
