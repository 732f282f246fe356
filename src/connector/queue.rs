//! `queue_stream`: batches from memory, one per batch interval. It is not replayable: a crash loses the batches in flight.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use serde::Serialize;

use crate::api::context::StreamingContext;
use crate::api::dstream::DStream;
use crate::connector::source::{Emit, ReaderContext, Sealed, Source, SourceReader, SplitEnumerator, SplitOffset, SplitRange};
use crate::core::data::{Data, FastMap, encoded};
use crate::core::error::{Error, Result};
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
    /// Whether a later run may continue the job. Only then are batches known by their fingerprints.
    saved: bool,
    /// Whether a live batch takes one batch of the queue, and not all of them.
    one_at_a_time: bool,
    /// The batch for a live batch that finds the queue empty.
    default: Vec<T>,
}

impl<T> State<T> {
    fn of(batches: VecDeque<Vec<T>>, total: Option<usize>) -> Self {
        State { batches, total, saved: true, one_at_a_time: true, default: Vec::new() }
    }
}

impl<T> Clone for QueueSource<T> {
    fn clone(&self) -> Self {
        QueueSource(self.0.clone())
    }
}

impl<T> Default for QueueSource<T> {
    fn default() -> Self {
        QueueSource(Arc::new(Mutex::new(State::of(VecDeque::new(), None))))
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
    /// With a checkpoint directory a batch is known by its rows: a later run skips as many equal batches as earlier runs have read. So
    /// a table from memory, `queue_stream(&table).accumulate()`, is in the state once, and a batch with other rows is added to it.
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
        QueueSource(Arc::new(Mutex::new(State::of(batches, total))))
    }

    /// Whether each batch of the job takes one batch of the queue. With `false` it takes all that are queued. Default: `true`. Spark's
    /// `oneAtATime`.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// let queue = QueueSource::from_batches([vec![1, 2], vec![3]]).one_at_a_time(false);
    /// let summary = StreamingContext::builder("at once", secs(3600)).run(move |ssc| {
    ///     ssc.queue_stream(&queue).to_memory(&MemorySink::new());
    ///     Ok(())
    /// })?;
    /// assert_eq!((summary.batches, summary.records), (1, 3));
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[doc(alias = "oneAtATime")]
    pub fn one_at_a_time(self, one: bool) -> Self {
        let mut state = self.lock();
        state.one_at_a_time = one;
        // A bounded queue is complete, so all of it is one batch.
        if let (false, Some(total)) = (one, state.total)
            && total > 1
        {
            let all = state.batches.drain(..).flatten().collect();
            state.batches.push_back(all);
            state.total = Some(1);
        }
        drop(state);
        self
    }

    /// The rows of a batch of the job that finds the queue empty. Default: none. Spark's `defaultRDD`. A queue of
    /// [`QueueSource::from_batches`] is never found empty, because its job ends.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// let (queue, rows) = (QueueSource::new().default_batch(vec![0]), MemorySink::new());
    /// let (feed, out) = (queue.clone(), rows.clone());
    /// feed.push(vec![1, 2]);
    /// let job = StreamingContext::builder("default", millis(5)).start(move |ssc| {
    ///     ssc.queue_stream(&queue).to_memory(&out);
    ///     Ok(())
    /// })?;
    /// while rows.rows().len() < 4 {
    ///     std::thread::yield_now();
    /// }
    /// job.stop_gracefully()?;
    /// assert_eq!(rows.rows()[..4], [1, 2, 0, 0]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[doc(alias = "defaultRDD")]
    pub fn default_batch(self, rows: Vec<T>) -> Self {
        self.lock().default = rows;
        self
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
    /// process. Batches of [`QueueSource::from_batches`] that are not in the last checkpoint are read again by the next run.
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
    pub fn queue_stream<T: Data + Send + Serialize>(&self, queue: &QueueSource<T>) -> DStream<'s, T> {
        queue.lock().saved = self.graph.config.runtime.checkpoint.is_some();
        self.read(&OperatorId::of("queue_stream"), queue.clone())
    }
}

impl<T: Data + Send + Serialize> Source for QueueSource<T> {
    type Item = T;

    fn name(&self) -> String {
        "queue".into()
    }

    fn enumerator(&self) -> Result<Box<dyn SplitEnumerator>> {
        let given = self.lock().total.map(|_| Given::default());
        let queue = self.clone();
        let batches = move || {
            let state = queue.lock();
            state.batches.iter().map(|rows| if state.saved { fingerprint(rows) } else { None }).collect()
        };
        Ok(Box::new(QueueEnumerator { given, batches: Box::new(batches), position: 0 }))
    }

    fn reader(&self, _: &ReaderContext) -> Result<Box<dyn SourceReader<T>>> {
        let live = self.lock().total.is_none();
        Ok(Box::new(QueueReader { queue: self.clone(), live, split_id: None, position: 0 }))
    }
}

fn split() -> Split {
    Split::Received { from: "queue".into() }
}

/// The hash of a batch's rows; `None`: they cannot be encoded, so the batch is never known again.
fn fingerprint<T: Serialize>(rows: &Vec<T>) -> Option<u128> {
    Some(xxhash_rust::xxh3::xxh3_128(&postcard::to_stdvec(rows).ok()?))
}

/// The batches of a bounded queue.
#[derive(Default)]
struct Given {
    /// The new batches that are not planned: how many known ones stand before each, and its fingerprint.
    next: VecDeque<(i64, Option<u128>)>,
    /// The fingerprints of all batches that this and earlier runs have read.
    read: Vec<u128>,
}

impl Given {
    /// Tells batches that earlier runs have read from new ones.
    fn start(&mut self, batches: Vec<Option<u128>>) {
        let (mut earlier, mut known) = (FastMap::<u128, usize>::default(), 0);
        self.read.iter().for_each(|batch| *earlier.entry(*batch).or_default() += 1);
        for batch in batches {
            match batch.and_then(|batch| earlier.get_mut(&batch)).filter(|left| **left > 0) {
                Some(left) => (*left, known) = (*left - 1, known + 1),
                None => self.next.push_back((std::mem::take(&mut known), batch)),
            }
        }
    }

    /// Plans the next new batch. Returns how many positions its range has: the known batches before it, and itself.
    fn plan(&mut self) -> i64 {
        let Some((known, batch)) = self.next.pop_front() else { return 0 };
        self.read.extend(batch);
        known + 1
    }
}

/// A bounded queue is planned: positions count batches. A range ends with the batch that it reads; earlier runs have read the
/// batches before that one. An open queue is sealed live, and positions count records.
struct QueueEnumerator {
    given: Option<Given>,
    batches: Box<dyn Fn() -> Vec<Option<u128>> + Send>,
    /// The position of the next batch, counted over all runs.
    position: i64,
}

impl SplitEnumerator for QueueEnumerator {
    /// The queue of this run continues after those of earlier runs.
    fn restore(&mut self, read: Vec<SplitOffset>, snapshot: &[u8]) -> Result<()> {
        self.position = read.iter().map(|s| s.from).max().unwrap_or(0);
        // Directories of older versions have no snapshot of a queue: its batches are read again.
        if let (Some(given), false) = (&mut self.given, snapshot.is_empty()) {
            given.read =
                postcard::from_bytes(snapshot).map_err(|e| Error::source("queue", format!("its snapshot is damaged: {e}")))?;
        }
        Ok(())
    }

    fn snapshot(&self) -> Vec<u8> {
        self.given.as_ref().filter(|given| !given.read.is_empty()).map_or_else(Vec::new, |given| encoded(&given.read))
    }

    fn start(&mut self) -> Result<Vec<SplitOffset>> {
        if let Some(given) = &mut self.given {
            given.start((self.batches)());
        }
        Ok(vec![SplitOffset { split: split(), from: 0 }])
    }

    fn plan(&mut self) -> Result<Vec<SplitRange>> {
        let Some(given) = &mut self.given else { return Ok(Vec::new()) };
        let from = self.position;
        self.position += given.plan();
        Ok(vec![SplitRange { split: split(), from, until: self.position }])
    }

    fn planned(&self) -> bool {
        self.given.is_some()
    }

    fn replayable(&self) -> bool {
        false
    }

    fn bounded(&self) -> bool {
        self.given.is_some()
    }

    fn finished(&self) -> bool {
        self.given.as_ref().is_some_and(|given| given.next.is_empty())
    }
}

struct QueueReader<T> {
    queue: QueueSource<T>,
    /// Whether batches are sealed live, not planned.
    live: bool,
    split_id: Option<u32>,
    position: i64,
}

impl<T: Data> QueueReader<T> {
    /// What a live batch takes: one batch of the queue or all of them, or the default.
    fn live_batch(&mut self, emit: &mut Emit<'_, T>) {
        let (queued, one, default) = {
            let state = self.queue.lock();
            let empty = state.batches.is_empty() && !state.default.is_empty();
            (state.batches.len(), state.one_at_a_time, empty.then(|| state.default.clone()))
        };
        if let Some(rows) = default {
            self.queue.lock().batches.push_front(rows);
        }
        for _ in 0..if one { 1 } else { queued.max(1) } {
            self.next_batch(emit);
        }
    }

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
            self.live_batch(emit);
        }
        Ok(self.sealed(from))
    }

    fn seal_last(&mut self, emit: &mut Emit<'_, T>) -> Result<Sealed> {
        let from = self.position;
        if self.live {
            self.live_batch(emit);
        }
        while self.live && self.split_id.is_some() && !self.queue.lock().batches.is_empty() {
            self.next_batch(emit);
        }
        Ok(self.sealed(from))
    }

    fn read_range(&mut self, _split_id: u32, range: &SplitRange, emit: &mut Emit<'_, T>) -> Result<bool> {
        for _ in range.from + 1..range.until {
            self.queue.lock().batches.pop_front();
        }
        if range.from < range.until {
            self.next_batch(emit);
        }
        Ok(true)
    }
}
