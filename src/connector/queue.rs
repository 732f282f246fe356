//! `queue_stream`: batches from memory, one a batch interval. Not replayable: a crash loses the batches in flight.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::api::context::StreamingContext;
use crate::api::dstream::DStream;
use crate::connector::source::{Emit, Sealed, Source, SourceReader, SplitEnumerator, SplitOffset, SplitRange, Waker};
use crate::core::data::Data;
use crate::core::error::Result;
use crate::core::lock::lock;
use crate::core::plan::Split;
use crate::engine::operator_id::OperatorId;

/// Batches for `queue_stream`. Make it outside the build closure and fill it at any time. It is read in process 0.
///
/// ```
/// use tidemill::prelude::*;
/// let (queue, rows) = (QueueSource::new(), MemorySink::new());
/// let (feed, sink) = (queue.clone(), rows.clone());
/// let job = StreamingContext::builder("fed", millis(5)).start(move |ssc| {
///     ssc.queue_stream(&queue).to_memory(&sink);
///     Ok(())
/// })?;
/// feed.push(vec!["a", "b"].into_iter().map(String::from).collect());
/// feed.push(vec![String::from("c")]);                 // the next batch
/// job.stop_gracefully()?;
/// assert_eq!(rows.rows(), ["a", "b", "c"]);
/// # Ok::<(), tidemill::Error>(())
/// ```
#[derive(Debug)]
pub struct QueueSource<T>(Arc<Mutex<State<T>>>);

#[derive(Debug)]
struct State<T> {
    batches: VecDeque<Vec<T>>,
    /// The number of batches in all; `None`: the queue is open.
    total: Option<usize>,
}

impl<T> Clone for QueueSource<T> {
    fn clone(&self) -> Self {
        QueueSource(self.0.clone())
    }
}

impl<T> Default for QueueSource<T> {
    fn default() -> Self {
        QueueSource(Arc::new(Mutex::new(State { batches: VecDeque::new(), total: None })))
    }
}

impl<T> QueueSource<T> {
    /// An empty queue. Push batches while the job runs.
    pub fn new() -> Self {
        QueueSource::default()
    }

    /// A bounded queue of these batches. A job with only such queues runs them one after another, without waiting for the
    /// clock, and ends.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// let queue = QueueSource::from_batches([vec![1, 2], vec![3]]);
    /// let summary = StreamingContext::builder("bounded", secs(3600)).run(move |ssc| {
    ///     ssc.queue_stream(&queue).to_memory(&MemorySink::new());
    ///     Ok(())
    /// })?;
    /// assert_eq!(summary.batches, 2);                     // at once, not after two hours
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn from_batches(batches: impl IntoIterator<Item = Vec<T>>) -> Self {
        let batches: VecDeque<_> = batches.into_iter().collect();
        let total = Some(batches.len());
        QueueSource(Arc::new(Mutex::new(State { batches, total })))
    }

    /// Adds the next batch. A queue made by [`QueueSource::from_batches`] never reads it.
    pub fn push(&self, batch: Vec<T>) {
        self.lock().batches.push_back(batch);
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        lock(&self.0)
    }
}

impl<'s> StreamingContext<'s> {
    /// The rows of one batch of the queue each batch interval; no rows while the queue is empty. A graceful stop puts all
    /// remaining rows into the last batch. Spark's `queueStream`.
    ///
    /// One worker reads; verbs that exchange by key spread later work. Delivery is at most once: a queue does not outlive its
    /// process.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// let queue = QueueSource::from_batches([vec!["a", "b"].into_iter().map(str::to_owned).collect::<Vec<_>>()]);
    /// let seen = MemorySink::new();
    /// let out = seen.clone();
    /// StreamingContext::builder("queue", millis(1)).run(move |ssc| {
    ///     ssc.queue_stream(&queue).to_memory(&out);
    ///     Ok(())
    /// }).unwrap();
    /// assert_eq!(seen.rows(), ["a", "b"]);
    /// ```
    #[doc(alias = "queueStream")]
    #[track_caller]
    pub fn queue_stream<T: Data + Send>(&self, queue: &QueueSource<T>) -> DStream<'s, T> {
        self.read(&OperatorId::of("queue_stream"), queue.clone())
    }
}

impl<T: Data + Send> Source for QueueSource<T> {
    type Item = T;

    fn name(&self) -> String {
        "queue".into()
    }

    fn enumerator(&self) -> Result<Box<dyn SplitEnumerator>> {
        Ok(Box::new(QueueEnumerator { total: self.lock().total, planned: 0, before: 0 }))
    }

    fn reader(&self, _: Waker) -> Result<Box<dyn SourceReader<T>>> {
        let live = self.lock().total.is_none();
        Ok(Box::new(QueueReader { queue: self.clone(), live, split_id: None, position: 0 }))
    }
}

fn split() -> Split {
    Split::Received { from: "queue".into() }
}

/// A bounded queue is planned: batch i is the range [i, i + 1) of batches. An open one is sealed live.
struct QueueEnumerator {
    total: Option<usize>,
    planned: usize,
    /// Batches of earlier runs.
    before: i64,
}

impl SplitEnumerator for QueueEnumerator {
    /// The queue of this run continues after those of earlier runs.
    fn restore(&mut self, read: Vec<SplitOffset>, _: &[u8]) -> Result<()> {
        self.before = read.iter().map(|s| s.from).max().unwrap_or(0);
        Ok(())
    }

    fn start(&mut self) -> Result<Vec<SplitOffset>> {
        Ok(vec![SplitOffset { split: split(), from: 0 }])
    }

    fn plan(&mut self) -> Result<Vec<SplitRange>> {
        if !self.planned() {
            return Ok(Vec::new());
        }
        let from = self.before + self.planned as i64;
        self.planned += 1;
        Ok(vec![SplitRange { split: split(), from, until: from + 1 }])
    }

    fn planned(&self) -> bool {
        self.total.is_some()
    }

    fn replayable(&self) -> bool {
        false
    }

    fn bounded(&self) -> bool {
        self.total.is_some()
    }

    fn finished(&self) -> bool {
        self.total.is_some_and(|n| self.planned >= n)
    }
}

struct QueueReader<T> {
    queue: QueueSource<T>,
    /// Whether batches are sealed live, not planned.
    live: bool,
    split_id: Option<u32>,
    position: i64,
}

impl<T> QueueReader<T> {
    fn next_batch(&mut self, emit: &mut Emit<'_, T>) {
        let Some(split_id) = self.split_id else { return };
        let batch = self.queue.lock().batches.pop_front();
        if let Some(batch) = batch {
            let bytes = std::mem::size_of_val(&batch[..]);
            self.position += batch.len() as i64;
            emit(split_id, batch, bytes);
        }
    }

    fn sealed(&self, from: i64) -> Sealed {
        let ranges = self.split_id.filter(|_| self.live).map(|id| (id, from..self.position));
        Sealed { ranges: ranges.into_iter().collect(), ..Sealed::default() }
    }
}

impl<T: Data> SourceReader<T> for QueueReader<T> {
    fn assign(&mut self, split_id: u32, _split: &Split, from: Option<i64>) -> Result<()> {
        (self.split_id, self.position) = (Some(split_id), from.unwrap_or(self.position));
        Ok(())
    }

    fn read(&mut self, _emit: &mut Emit<'_, T>) -> Result<bool> {
        Ok(false)
    }

    fn seal(&mut self, emit: &mut Emit<'_, T>) -> Result<Sealed> {
        let from = self.position;
        if self.live {
            self.next_batch(emit);
        }
        Ok(self.sealed(from))
    }

    fn seal_last(&mut self, emit: &mut Emit<'_, T>) -> Result<Sealed> {
        let from = self.position;
        while self.live && self.split_id.is_some() && !self.queue.lock().batches.is_empty() {
            self.next_batch(emit);
        }
        Ok(self.sealed(from))
    }

    fn read_range(&mut self, _split_id: u32, _range: &SplitRange, emit: &mut Emit<'_, T>) -> Result<bool> {
        self.next_batch(emit);
        Ok(true)
    }
}
