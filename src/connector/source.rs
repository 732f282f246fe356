//! Where records come from. A [`Source`] makes its two halves, and neither knows timely.
//!
//! [`SplitEnumerator`] is the planner's half. It names the splits, where each begins, and what the next batch reads whole.
//! [`SourceReader`] is the worker's half. It reads the splits of its worker, in order, and never waits.
//! A live batch ends where [`SourceReader::seal`] stops; a given one ends at the end of its range. Nothing else differs.
//! `job/planner.rs` drives enumerators, `job/source_operator.rs` drives readers.
//!
//! # Order of the calls
//!
//! ```text
//!  planner's thread, process 0                    each worker's thread, all processes
//!
//!  Source::enumerator()                           Source::reader(context)
//!    |                                              |
//!  restore(read, snapshot)  only if restarted       |
//!  start() -> offsets --------------------------> assign(split_id, split, from)
//!    |                                            begin(run)  only with a checkpoint directory
//!    |                                            limit(limits)
//!    |                                              |
//!  +-- for each batch ------------------------+   +-- for each batch ------------------------------+
//!  | discover() -> offsets ---------------------> | assign(..)                                     |
//!  |                                          |   | read(emit)  again and again while it is open   |
//!  | plan() -> ranges, health()  when due ------> | read_range(id, range, emit)  until it is true  |
//!  | snapshot()  if a checkpoint is due       |   | seal(emit) -> how far each split is            |
//!  |                                      <------ | data_loss(), health()                          |
//!  | (plan is durable, the batch closes)      |   | limit(limits)  of the next batch               |
//!  | on_committed(ranges)  every output is done ---> on_committed(id, range)  if tells_readers()    |
//!  | on_checkpointed(ranges)  if              |   |                                                |
//!  |            awaits_checkpoints()          |   |                                                |
//!  +------------------------------------------+   +------------------------------------------------+
//!    |                                              |
//!  begin_drain()            graceful stop           |
//!  plan(), has_pending()    again while true ---> read_range(..), seal(..)
//!    |                      the last batch -----> read_range(..), seal_last(emit)
//!  drop                                           drop
//! ```
//!
//! Batches overlap: the next one may be sealed before `on_committed` of the previous one.
//!
//! # Errors and restarts
//!
//! An error of any call ends the job; no call is repeated. A temporary problem (such as an unreachable broker) is not an error.
//! Report it in `health`, give nothing, and retry on your own thread. A supervisor restarts the job with new halves. They
//! receive `restore`, then `start`. Every split read earlier is assigned at its old position. Planned but uncommitted
//! batches run again as given ones: `read_range`, no `seal`. They leave out splits that are not
//! [replayable](Split::replayable).

use std::any::{Any, TypeId};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use crate::core::data::Data;
use crate::core::error::Result;
use crate::core::lock::lock;
pub use crate::core::plan::{Limits, RunId, ShardSpan, Split, SplitOffset, SplitRange};
use crate::core::unplanned::Unplanned;
use crate::metrics::ReceiverEvent;

/// Wakes the worker that owns a reader. Calls are cheap, may come from any thread, and may be frequent.
pub type Waker = Arc<dyn Fn() + Send + Sync>;

/// What the readers of a process share, by source and type. A weak reference: it lives as long as a reader has it.
type Shared = Arc<Mutex<HashMap<(u32, TypeId), Weak<dyn Any + Send + Sync>>>>;

/// Where the readers of a process find what they share.
#[derive(Clone, Default)]
pub(crate) struct SharedPlaces {
    shared: Shared,
    /// What they have read that is in no plan.
    pub unplanned: Unplanned,
}

/// Where a reader runs: what [`Source::reader`] is told. Flink's `SourceReaderContext`.
///
/// ```
/// use std::sync::{Arc, Mutex};
/// use tidemill::connector::source::{ReaderContext, Waker};
///
/// let waker: Waker = Arc::new(|| ());
/// let workers = ReaderContext::of_workers([waker.clone(), waker]);
/// let connections = |context: &ReaderContext| context.shared(|| tidemill::Result::Ok(Mutex::new(Vec::<u16>::new())));
/// let (first, second) = (connections(&workers[0])?, connections(&workers[1])?);
/// first.lock().unwrap().push(9092);
/// assert_eq!(*second.lock().unwrap(), [9092]);
/// assert_eq!((workers[1].worker(), workers[1].workers(), workers[1].process()), (1, 2, 0));
/// # Ok::<(), tidemill::Error>(())
/// ```
#[derive(Clone)]
pub struct ReaderContext {
    waker: Waker,
    worker: usize,
    workers: usize,
    process: usize,
    source: u32,
    places: SharedPlaces,
}

impl fmt::Debug for ReaderContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ReaderContext { worker, workers, process, source, .. } = self;
        write!(f, "source {source} on worker {worker} of {workers}, in process {process}")
    }
}

impl ReaderContext {
    /// Of source number `source`, on worker `worker` of `workers`, in process `process`.
    pub(crate) fn new(
        waker: Waker,
        (worker, workers): (usize, usize),
        process: usize,
        source: u32,
        places: SharedPlaces,
    ) -> Self {
        ReaderContext { waker, worker, workers, process, source, places }
    }

    /// The contexts of the workers of one process, one for each waker: to test readers without a job.
    pub fn of_workers(wakers: impl IntoIterator<Item = Waker>) -> Vec<Self> {
        let (places, wakers) = (SharedPlaces::default(), wakers.into_iter().collect::<Vec<_>>());
        let workers = wakers.len();
        let context = |(worker, waker)| ReaderContext::new(waker, (worker, workers), 0, 0, places.clone());
        wakers.into_iter().enumerate().map(context).collect()
    }

    /// Wakes the worker of this reader.
    pub fn waker(&self) -> &Waker {
        &self.waker
    }

    /// The worker of this reader, from 0: its index among the workers of all processes.
    pub fn worker(&self) -> usize {
        self.worker
    }

    /// The number of workers, in all processes.
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// The process of this reader, from 0.
    pub fn process(&self) -> usize {
        self.process
    }

    /// What all readers of this source in this process share, such as one connection: the first one to ask makes it, the others get the
    /// same. Two types are two things. It is dropped with the last reader that holds it, on the thread of its worker.
    ///
    /// Other workers wait while `make` runs, so it must not wait for external systems.
    ///
    /// # Errors
    /// The error of `make`. The next reader tries again.
    pub fn shared<T: Send + Sync + 'static, E>(&self, make: impl FnOnce() -> Result<T, E>) -> Result<Arc<T>, E> {
        let mut places = lock(&self.places.shared);
        let key = (self.source, TypeId::of::<T>());
        if let Some(known) = places.get(&key).and_then(Weak::upgrade)
            && let Ok(known) = known.downcast()
        {
            return Ok(known);
        }
        let new = Arc::new(make()?);
        let weak: Weak<T> = Arc::downgrade(&new);
        places.insert(key, weak);
        Ok(new)
    }
}

/// A source of records, for [`StreamingContext::from_source`](crate::api::context::StreamingContext::from_source). Flink's `Source`.
///
/// The build closure makes it once on each worker. `examples/custom_source.rs` is a complete source.
pub trait Source {
    /// The type of its rows.
    type Item: Data;

    /// The source's name in errors and logs: `kafka topic twitter`. It is part of the program's fingerprint, so every worker
    /// must return the same name.
    fn name(&self) -> String;

    /// Makes the planner's half. Called once in every process, before [`Builder::start`](crate::api::builder::Builder::start)
    /// returns, when the program is checked. The half of process 0 is used. Must not contact external systems:
    /// [`SplitEnumerator::start`] does.
    ///
    /// # Errors
    /// The description of the source is wrong. The error is reported with all other faults of the program.
    fn enumerator(&self) -> Result<Box<dyn SplitEnumerator>>;

    /// Makes the half of this worker. Must not contact external systems: [`SourceReader::assign`] may. Readers in one process can share a
    /// connection: [`ReaderContext::shared`].
    ///
    /// # Errors
    /// The same as for `enumerator`.
    fn reader(&self, context: &ReaderContext) -> Result<Box<dyn SourceReader<Self::Item>>>;

    /// The maximum rate. Default: no limit.
    fn max_rate(&self) -> MaxRate {
        MaxRate::default()
    }
}

/// The maximum rate of a source; `None`: no limit. Readers get it as [`SourceReader::limit`], batch by batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MaxRate {
    /// Records a second from each split.
    pub per_second: Option<u64>,
    /// Records from each split in the first batch, which may find a long log.
    pub first_batch: Option<u64>,
}

/// The planner's half of a source, on the planner's thread in process 0. The [module](self) draws the order of the calls.
///
/// A call may block where its text allows it. The planner plans nothing meanwhile, so batches come late.
pub trait SplitEnumerator: Send {
    /// Continues where an earlier run stopped. `read` is how far each split was planned. `snapshot` is the result of
    /// [`SplitEnumerator::snapshot`] in the loaded checkpoint; it may be older than `read`. It is empty if the job ended before
    /// its first checkpoint. Called once, before `start`. May block for seconds.
    ///
    /// # Errors
    /// The source cannot continue, because a split no longer exists.
    fn restore(&mut self, read: Vec<SplitOffset>, snapshot: &[u8]) -> Result<()>;

    /// The state that this source needs in `restore`, besides how far its splits were read. Called for the batch of a
    /// checkpoint, after its `plan`. Must not block. Default: nothing.
    fn snapshot(&self) -> Vec<u8> {
        Vec::new()
    }

    /// The splits to read, and where each begins. After `restore`, only splits that were not restored. Called once, before the
    /// first batch. May block for seconds.
    ///
    /// # Errors
    /// The source is unusable: no such topic, an unreachable broker, an offset outside the log.
    fn start(&mut self) -> Result<Vec<SplitOffset>>;

    /// Checks that the splits of given ranges exist (`--plans`, `--replay`). Called once, instead of `restore` and `start`. May
    /// block for seconds. Default: every split exists.
    ///
    /// # Errors
    /// A split does not exist. A reader would wait for it forever.
    fn check(&mut self, _given: &[Split]) -> Result<()> {
        Ok(())
    }

    /// The splits that appeared since `start`. Called between batches, a few times a second. Must not block for more than a few
    /// milliseconds, so look for splits on your own thread. Default: none.
    ///
    /// # Errors
    /// An error that must end the job.
    fn discover(&mut self) -> Result<Vec<SplitOffset>> {
        Ok(Vec::new())
    }

    /// The ranges that the next batch reads whole. Called once a batch, when the batch is due. May block for milliseconds.
    /// Consecutive ranges of a split leave no gaps. Default: nothing.
    ///
    /// # Errors
    /// An error that must end the job.
    fn plan(&mut self) -> Result<Vec<SplitRange>> {
        Ok(Vec::new())
    }

    /// Whether `plan` alone determines what is read (files, given ranges). The readers of such a source give nothing in `read`,
    /// `seal` and `seal_last`, and back-pressure does not apply to it. Constant. Default: `false`, readers read ahead.
    fn planned(&self) -> bool {
        false
    }

    /// Whether all its splits are [replayable](Split::replayable). Asked while the program is built, because exactly-once
    /// outputs refuse other sources. A split that contradicts this ends the job. Constant. Default: `true`.
    fn replayable(&self) -> bool {
        true
    }

    /// Every output has written a batch with these ranges of this source. Called for each batch, in order, and again for a
    /// batch that runs again after a restart. Must not block. Default: nothing.
    fn on_committed(&mut self, _ranges: &[SplitRange]) {}

    /// Whether readers are told of committed ranges too, by [`SourceReader::on_committed`]. That costs a command to all workers for
    /// each batch. Constant. Default: `false`.
    fn tells_readers(&self) -> bool {
        false
    }

    /// No restart reads these ranges again: they are of batches before all checkpoints that are kept. Called after a checkpoint is made, if
    /// [`SplitEnumerator::awaits_checkpoints`] is `true`, with the ranges of the batches since the last call, in order; perhaps with none. The
    /// first call also stands for all ranges before the snapshot that `restore` got. Without a checkpoint directory it follows
    /// `on_committed`. Must not block. Flink's `notifyCheckpointComplete`. Default: nothing.
    fn on_checkpointed(&mut self, _ranges: &[SplitRange]) {}

    /// Whether the planner keeps the ranges of batches until `on_checkpointed`. Constant. Default: `false`.
    fn awaits_checkpoints(&self) -> bool {
        false
    }

    /// The current trouble, shown in [`Statistics::trouble`](crate::metrics::Statistics::trouble). Asked after each plan.
    ///
    /// # Errors
    /// The trouble, in words. The job continues.
    fn health(&self) -> Result<(), String> {
        Ok(())
    }

    /// A graceful stop began. Data available now goes into the last batches; data that arrives later does not. Returns the time
    /// until all of it is ready. Called once, before a `plan`. Must not block. Default: everything is ready.
    fn begin_drain(&mut self) -> Duration {
        Duration::ZERO
    }

    /// After `begin_drain`: whether there is data for another batch that no `plan` has had. Default: `false`.
    fn has_pending(&mut self) -> bool {
        false
    }

    /// Whether the source is bounded, so that it ends by itself. A job with only such sources runs its batches one after
    /// another, without waiting for the clock, and ends. Constant. Default: `false`.
    fn bounded(&self) -> bool {
        false
    }

    /// For bounded sources: whether everything has been planned. Default: `false`.
    fn finished(&self) -> bool {
        false
    }
}

/// Takes rows of one split: its split id, the rows, and roughly the bytes they hold.
pub type Emit<'a, T> = dyn FnMut(u32, Vec<T>, usize) + 'a;

/// The positions of a reader's splits when a live batch ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sealed {
    /// For each split id: `from..until` since the previous seal. Empty ranges too.
    pub ranges: BTreeMap<u32, Range<i64>>,
    /// For each split id: records known to exist and not read yet. A source leaves out a lag that it does not know.
    pub lag: BTreeMap<u32, u64>,
    /// For each split id: the timestamp of the oldest record that is not read yet, in milliseconds since the epoch. A source leaves out
    /// what it does not know. If it knows its lag only in time, it leaves out `lag`, and a split without a lag has the time of the seal.
    pub oldest: BTreeMap<u32, u64>,
}

/// The worker's half of a source, on a worker's thread. The [module](self) draws the order of the calls.
///
/// No call may block, because the worker does nothing else meanwhile. Wait on your own threads, and call the [`Waker`] when
/// rows are ready.
pub trait SourceReader<T> {
    /// Adds a split of this worker. `Some(from)`: read it from there on. `None`: [`SourceReader::read_range`] will name the
    /// ranges. A split that is [read at once](Split::read_at_once) reuses an earlier id.
    ///
    /// # Errors
    /// An error that must end the job.
    fn assign(&mut self, split_id: u32, split: &Split, from: Option<i64>) -> Result<()>;

    /// The run of the checkpoint directory, which a source needs that keeps data there. Called once, before the first batch opens; the
    /// splits that are known by then are assigned. Not called without a checkpoint directory. Default: ignored.
    ///
    /// # Errors
    /// An error that must end the job.
    fn begin(&mut self, _run: RunId) -> Result<()> {
        Ok(())
    }

    /// The maximum number of records of each split in the open batch. Called when a batch opens. Default: ignored.
    fn limit(&mut self, _limits: Limits) {}

    /// These splits give nothing in `read`, and all others do, until the next call. They are ahead of the others in event time:
    /// [`WatermarkStrategy::max_drift`](crate::prelude::WatermarkStrategy::max_drift). Called before a `read` when they change, and once
    /// without any, which tells that the rows of each `read` should be few. Flink's `pauseOrResumeSplits`. Default: ignored, so that its
    /// splits drift apart.
    fn pause(&mut self, _split_ids: &BTreeSet<u32>) {}

    /// Gives ready rows to the open batch, at most a few thousand a call. Returns `true` if more are ready now. After `false`
    /// the next call comes after a call of the waker, or when a batch opens. Not called before all given batches are read. Not
    /// called while the batch holds [`batch_bytes`](crate::api::context::Builder::batch_bytes).
    ///
    /// # Errors
    /// An error that must end the job.
    fn read(&mut self, emit: &mut Emit<'_, T>) -> Result<bool>;

    /// For each split id: what the open batch has of it so far. Called after a `read` that gave rows, if the job has a checkpoint
    /// directory. If it fails before the batch is planned, `tidemill replay --find-poison` looks for its record there. Default: unknown.
    fn read_so_far(&self) -> BTreeMap<u32, Range<i64>> {
        BTreeMap::new()
    }

    /// The sequence numbers at these positions of a [`Split::Shard`]: of the open batch, or of the one that the last `seal` has ended. Plans
    /// and checkpoints have them in the split. `assign` and `read_range` get it back. Default: those of the split as it was assigned.
    fn span(&self, _split_id: u32, _positions: &Range<i64>) -> Option<ShardSpan> {
        None
    }

    /// Ends the open batch at a record, and returns its ranges. May first give rows that belong to it. Consecutive ranges of a
    /// split leave no gaps.
    ///
    /// # Errors
    /// An error that must end the job.
    fn seal(&mut self, emit: &mut Emit<'_, T>) -> Result<Sealed>;

    /// Like `seal`, for the last batch of a graceful stop. It must contain everything received. Default: `seal`.
    ///
    /// # Errors
    /// An error that must end the job.
    fn seal_last(&mut self, emit: &mut Emit<'_, T>) -> Result<Sealed> {
        self.seal(emit)
    }

    /// Gives the rows of a given range, at most a few thousand a call. Called again with the same range until it returns
    /// `true`: the range is complete. After a call that gave no row, the next call comes after a call of the waker. Ranges of a
    /// split come in order. If `from` is not the end of the previous range, the reader seeks.
    ///
    /// # Errors
    /// The range cannot be read as given: the log no longer holds its offsets, or a file changed.
    fn read_range(&mut self, split_id: u32, range: &SplitRange, emit: &mut Emit<'_, T>) -> Result<bool>;

    /// The current trouble, like [`SplitEnumerator::health`]. Asked after each `seal`. Batches continue, empty.
    ///
    /// # Errors
    /// The trouble, in words. The job continues.
    fn health(&self) -> Result<(), String> {
        Ok(())
    }

    /// What has happened to the receiver behind this source since the previous call, in order: for the listeners of the job. Asked after each
    /// `seal`. Default: nothing, for a source without one.
    fn receiver_events(&mut self) -> Vec<ReceiverEvent> {
        Vec::new()
    }

    /// Every output has written a batch with this range of a split of this worker. Called for each batch, in order, if
    /// [`SplitEnumerator::tells_readers`] is `true`; for the last batch too. Default: ignored.
    fn on_committed(&mut self, _split_id: u32, _range: &SplitRange) {}

    /// Records of the ending batch that the source no longer had and the reader skipped, because the user allows that. Returns
    /// split ids and positions. Asked once at the end of each batch. Default: nothing.
    fn data_loss(&mut self) -> Vec<(u32, Range<i64>)> {
        Vec::new()
    }
}
