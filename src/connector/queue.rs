//! `queue_stream`: batches from memory, one a batch interval. Not replayable: what a crash lost is lost.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::api::context::{Pace, SourceSpec, StreamingContext};
use crate::api::dstream::DStream;
use crate::connector::source::{Emit, Sealed, SourceReader, SplitEnumerator, SplitOffset, SplitRange, Waker};
use crate::core::data::Data;
use crate::core::error::Result;
use crate::core::plan::{Range, Split};
use crate::engine::operator_id::OperatorId;

/// Batches for `queue_stream`: made outside the build closure, filled at any time, read in process 0.
#[derive(Debug)]
pub struct QueueSource<T>(Arc<Mutex<State<T>>>);

#[derive(Debug)]
struct State<T> {
    batches: VecDeque<Vec<T>>,
    /// How many batches there will ever be, if that is known.
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
    /// An empty queue: batches are pushed while the job runs.
    pub fn new() -> Self {
        QueueSource::default()
    }

    /// All batches there will be: a job of such queues runs them one after another, without waiting for the clock, and ends.
    pub fn from_batches(batches: impl IntoIterator<Item = Vec<T>>) -> Self {
        let batches: VecDeque<_> = batches.into_iter().collect();
        let total = Some(batches.len());
        QueueSource(Arc::new(Mutex::new(State { batches, total })))
    }

    /// Adds the next batch. On a queue made by [`QueueSource::from_batches`] it is never read.
    pub fn push(&self, batch: Vec<T>) {
        self.lock().batches.push_back(batch);
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'s> StreamingContext<'s> {
    /// One batch of the queue a batch interval, nothing while it is empty; at a graceful stop, all that is left.
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
        let site = OperatorId::of("queue_stream");
        let total = queue.lock().total;
        let read = QueueReader { queue: queue.clone(), split_id: None, position: 0 };
        self.read(
            &site,
            "queue_stream",
            SourceSpec {
                name: "queue".into(),
                splits: Box::new(move || Ok(Box::new(QueueSplits { total, planned: 0, before: 0 }))),
                reader: Box::new(move |_: Waker| Ok(Box::new(read))),
                planned: total.is_some(),
                replayable: false,
                pace: Pace::default(),
            },
        )
    }
}

fn split() -> Split {
    Split::Received { from: "queue".into() }
}

/// A finite queue is planned: batch i is the range [i, i + 1) of batches. An open one is sealed live.
struct QueueSplits {
    total: Option<usize>,
    planned: usize,
    /// Batches of queues before a restart.
    before: i64,
}

impl SplitEnumerator for QueueSplits {
    /// What is in the queue now comes after what was in it.
    fn resume(&mut self, read: Vec<SplitOffset>, _: &[u8]) -> Result<()> {
        self.before = read.iter().map(|s| s.from).max().unwrap_or(0);
        Ok(())
    }

    fn start(&mut self) -> Result<Vec<SplitOffset>> {
        Ok(vec![SplitOffset { split: split(), from: 0 }])
    }

    fn plan(&mut self) -> Result<Vec<SplitRange>> {
        let from = self.before + self.planned as i64;
        self.planned += 1;
        Ok(vec![SplitRange { split: split(), from, until: from + 1 }])
    }

    fn finite(&self) -> bool {
        self.total.is_some()
    }

    fn finished(&self) -> bool {
        self.total.is_some_and(|n| self.planned >= n)
    }
}

struct QueueReader<T> {
    queue: QueueSource<T>,
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
}

impl<T> QueueReader<T> {
    fn sealed(&self, from: i64) -> Sealed {
        let range = |split_id| Range { source: 0, split_id, split: split(), from, until: self.position };
        Sealed { ranges: self.split_id.map(range).into_iter().collect(), ..Sealed::default() }
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
        self.next_batch(emit);
        Ok(self.sealed(from))
    }

    fn seal_last(&mut self, emit: &mut Emit<'_, T>) -> Result<Sealed> {
        let from = self.position;
        while !self.queue.lock().batches.is_empty() && self.split_id.is_some() {
            self.next_batch(emit);
        }
        Ok(self.sealed(from))
    }

    fn read_range(&mut self, _range: &Range, emit: &mut Emit<'_, T>) -> Result<bool> {
        self.next_batch(emit);
        Ok(true)
    }
}
