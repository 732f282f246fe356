//! Where records come from: a [`Source`] gives the two halves of itself, and neither knows timely.
//!
//! [`SplitEnumerator`] is the planner's half: which splits there are, where each begins, what the next batch reads whole.
//! [`SourceReader`] is the worker's half: it reads the splits of its worker, in order, and never waits.
//! A live batch ends where [`SourceReader::seal`] stops; a given one ends where its range says. Nothing else differs.
//! `job/planner.rs` drives enumerators, `job/source_operator.rs` drives readers.
//!
//! # Order of the calls
//!
//! ```text
//!  planner's thread, process 0                    each worker's thread, all processes
//!
//!  Source::enumerator()                           Source::reader(waker)
//!    |                                              |
//!  restore(read, snapshot)  only if restarted       |
//!  start() -> offsets --------------------------> assign(split_id, split, from)
//!    |                                            limit(limits)
//!    |                                              |
//!  +-- for each batch ------------------------+   +-- for each batch ------------------------------+
//!  | discover() -> offsets ---------------------> | assign(..)                                     |
//!  |                                          |   | read(emit)  again and again while it is open   |
//!  | plan() -> ranges, health()  when due ------> | read_range(id, range, emit)  until it is true  |
//!  | snapshot()  if a checkpoint is due       |   | seal(emit) -> how far each split is            |
//!  |                                      <------ | data_loss(), health()                          |
//!  | (plan is durable, the batch closes)      |   | limit(limits)  of the next batch               |
//!  | on_committed(ranges)  every output is done   |                                                |
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
//! An error of any call ends the job; no call is repeated. What passes by itself (a broker that is away) is not an error: say it
//! in `health`, give nothing, and try again on a thread of your own. A supervisor starts the job again with new halves. They
//! get `restore`, then `start`; every split that was read before is assigned at its old position. Batches that were planned and
//! not committed run again as given ones: `read_range`, no `seal`. What is not [replayable](Split::replayable) is left out of
//! them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::core::data::Data;
use crate::core::error::Result;
pub use crate::core::plan::{Limits, Split, SplitOffset, SplitRange};

/// Wakes the worker that owns a reader. Cheap, from any thread, as often as you like.
pub type Waker = Arc<dyn Fn() + Send + Sync>;

/// A source of records, for [`StreamingContext::from_source`](crate::api::context::StreamingContext::from_source). Flink's `Source`.
///
/// It is made once on each worker, by the build closure. `examples/custom_source.rs` is a whole one.
pub trait Source {
    /// The rows it gives.
    type Item: Data;

    /// What errors and logs call it: `kafka topic twitter`. Part of the program's fingerprint, so it must be the same on every
    /// worker.
    fn name(&self) -> String;

    /// The planner's half. Called once on worker 0, and once in the rehearsal that checks the program in every process. Contacts
    /// nothing: that is for [`SplitEnumerator::start`].
    ///
    /// # Errors
    /// What is wrong with the description of the source. It is reported with all other faults of the program.
    fn enumerator(&self) -> Result<Box<dyn SplitEnumerator>>;

    /// The half of this worker. Contacts nothing: that is for [`SourceReader::assign`].
    ///
    /// # Errors
    /// As for `enumerator`.
    fn reader(&self, waker: Waker) -> Result<Box<dyn SourceReader<Self::Item>>>;

    /// How fast it may be read. Default: no limit.
    fn max_rate(&self) -> MaxRate {
        MaxRate::default()
    }
}

/// How fast a source may be read; `None`: no limit. Readers get it as [`SourceReader::limit`], batch by batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MaxRate {
    /// Records a second from each split.
    pub per_second: Option<u64>,
    /// Records from each split in the first batch, which may find a long log.
    pub first_batch: Option<u64>,
}

/// The planner's half of a source, on the planner's thread in process 0. The [module](self) draws the order of the calls.
///
/// A call may block where its text says so. The planner plans nothing meanwhile, so batches come late.
pub trait SplitEnumerator: Send {
    /// The job goes on where an earlier run stopped. `read` is how far each split was planned; `snapshot` is what
    /// [`SplitEnumerator::snapshot`] gave for the checkpoint that was loaded, and may be older than `read`. It is empty if the job
    /// ended before its first checkpoint. Called once, before `start`. May block for seconds.
    ///
    /// # Errors
    /// What makes it impossible to go on: a split that is not there any more.
    fn restore(&mut self, read: Vec<SplitOffset>, snapshot: &[u8]) -> Result<()>;

    /// What this source wants back in `restore`, besides how far its splits were read. Called for the batch of a checkpoint,
    /// after its `plan`. Must not block. Default: nothing.
    fn snapshot(&self) -> Vec<u8> {
        Vec::new()
    }

    /// The splits to read, and where each begins. After `restore` only those that are not among the restored ones. Called once,
    /// before the first batch. May block for seconds.
    ///
    /// # Errors
    /// What makes the source useless: no such topic, an unreachable broker, an offset outside the log.
    fn start(&mut self) -> Result<Vec<SplitOffset>>;

    /// Checks that splits are there whose ranges are given (`--plans`, `--replay`). Called once, instead of `restore` and `start`.
    /// May block for seconds. Default: every split is there.
    ///
    /// # Errors
    /// A split that is not there: a reader would wait for it for ever.
    fn check(&mut self, _given: &[Split]) -> Result<()> {
        Ok(())
    }

    /// Splits that appeared since `start`. Called between batches, a few times a second. Must not block for more than a few
    /// milliseconds: look for splits on a thread of your own. Default: none.
    ///
    /// # Errors
    /// What must end the job.
    fn discover(&mut self) -> Result<Vec<SplitOffset>> {
        Ok(Vec::new())
    }

    /// What the next batch reads whole. Called once a batch, when the batch is due. May block for milliseconds. Ranges of one
    /// split follow one another without gaps. Default: nothing.
    ///
    /// # Errors
    /// What must end the job.
    fn plan(&mut self) -> Result<Vec<SplitRange>> {
        Ok(Vec::new())
    }

    /// Whether `plan` alone says what is read (files, given ranges). The readers of such a source give nothing in `read`,
    /// `seal` and `seal_last`, and back-pressure leaves it alone. Constant. Default: `false`, readers read ahead.
    fn planned(&self) -> bool {
        false
    }

    /// Whether all its splits are [replayable](Split::replayable). Asked while the program is built: exactly-once outputs refuse a
    /// source that is not. A split that says otherwise ends the job. Constant. Default: `true`.
    fn replayable(&self) -> bool {
        true
    }

    /// Every output has written a batch with these ranges of this source. Called for each batch, in order, and again for a
    /// batch that runs again after a restart. Must not block. Default: nothing.
    fn on_committed(&mut self, _ranges: &[SplitRange]) {}

    /// What is wrong at the moment: shown in [`Statistics::trouble`](crate::metrics::Statistics::trouble). Asked after each plan.
    ///
    /// # Errors
    /// The trouble, in words. The job goes on.
    fn health(&self) -> Result<(), String> {
        Ok(())
    }

    /// A graceful stop began: what is there now goes into the last batches, nothing that comes later does. Returns how long it
    /// takes until all of that is ready. Called once, before a `plan`. Must not block. Default: everything is ready.
    fn begin_drain(&mut self) -> Duration {
        Duration::ZERO
    }

    /// After `begin_drain` and a `plan`: whether another batch is needed for what is left. Default: `false`.
    fn has_pending(&mut self) -> bool {
        false
    }

    /// Whether the source is bounded: it ends by itself. A job of such sources runs its batches one after another, without
    /// waiting for the clock, and ends. Constant. Default: `false`.
    fn bounded(&self) -> bool {
        false
    }

    /// For bounded sources: whether everything has been planned. Default: `false`.
    fn finished(&self) -> bool {
        false
    }
}

/// Takes rows of one split: its split id, the rows, and roughly how many bytes they hold.
pub type Emit<'a, T> = dyn FnMut(u32, Vec<T>, usize) + 'a;

/// Where the splits of a reader stood when a live batch ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sealed {
    /// For each split by its id: `from..until` since the previous seal. Empty ranges too.
    pub ranges: BTreeMap<u32, Range<i64>>,
    /// For each split by its id: records known to be there and not read yet. A source that does not know leaves it out.
    pub lag: BTreeMap<u32, u64>,
}

/// The worker's half of a source, on a worker's thread. The [module](self) draws the order of the calls.
///
/// No call may block: the worker does nothing else meanwhile. Threads of your own wait, and call the [`Waker`] when there are rows.
pub trait SourceReader<T> {
    /// A split of this worker. `Some(from)`: read it from there on. `None`: [`SourceReader::read_range`] will say what to read.
    /// A split that is [read at once](Split::read_at_once) gets the id of an earlier one.
    ///
    /// # Errors
    /// What must end the job.
    fn assign(&mut self, split_id: u32, split: &Split, from: Option<i64>) -> Result<()>;

    /// At most this many records of each split may go into the batch that is open now. Called when a batch opens. Default:
    /// ignored.
    fn limit(&mut self, _limits: Limits) {}

    /// Gives what is ready into the open batch, at most a few thousand rows a call. Returns `true` if more is ready now; after
    /// `false` the next call comes when the waker was called, or a batch opens. Not called before all given batches are read, and not while
    /// the batch holds [`batch_bytes`](crate::api::context::Builder::batch_bytes).
    ///
    /// # Errors
    /// What must end the job.
    fn read(&mut self, emit: &mut Emit<'_, T>) -> Result<bool>;

    /// Ends the open batch at a record, and says how far it went. May first give rows that belong to it. The ranges of a split
    /// follow one another without gaps.
    ///
    /// # Errors
    /// What must end the job.
    fn seal(&mut self, emit: &mut Emit<'_, T>) -> Result<Sealed>;

    /// As `seal`, for the last batch of a graceful stop: everything that was received must be in it. Default: `seal`.
    ///
    /// # Errors
    /// What must end the job.
    fn seal_last(&mut self, emit: &mut Emit<'_, T>) -> Result<Sealed> {
        self.seal(emit)
    }

    /// Gives the rows of a given range, at most a few thousand a call. Called again with the same range until it returns
    /// `true`: the range is complete. After a call that gave no row, the next one comes when the waker was called. Ranges of one
    /// split come in order; where `from` is not where the previous one ended, the reader seeks.
    ///
    /// # Errors
    /// A range that cannot be read as given: offsets the log does not hold any more, a file that changed.
    fn read_range(&mut self, split_id: u32, range: &SplitRange, emit: &mut Emit<'_, T>) -> Result<bool>;

    /// What is wrong at the moment, as [`SplitEnumerator::health`]. Asked after each `seal`: batches go on, empty.
    ///
    /// # Errors
    /// The trouble, in words. The job goes on.
    fn health(&self) -> Result<(), String> {
        Ok(())
    }

    /// What of the batch that ends now was not in the source any more, and has been passed over because the user allows
    /// that: split ids and positions. Asked once at the end of each batch. Default: nothing.
    fn data_loss(&mut self) -> Vec<(u32, Range<i64>)> {
        Vec::new()
    }
}
