//! 5. Where results go: the traits of sinks. Every output of the library is one, and so may be a program's own.
//!
//! Operators never do I/O. The rows of a closed batch go to the output thread of their process, which calls the sinks: batch t
//! before t+1, and within t in program order. Each process has one instance of each sink, and only this thread calls it.
//!
//! A [`Sink`] is at least once:
//!
//! ```text
//! engine                                        sink
//!   | write(t, parts) ------------------------->|  Err: flush is not called; the engine waits (100 ms, then 4 times as long,
//!   |                                           |       at most 60 s) and writes t again, with the same rows
//!   | flush(t) -------------------------------->|  Ok(true): all rows up to t have arrived; they are dropped here
//!   |                                           |  Ok(false): rows are on their way; t+1 is written meanwhile
//!   | write(t+1, parts) ----------------------->|
//!   | flush(t) -------------------------------->|  Err: every batch that has not arrived is written again, in order
//!   | write(t, parts), write(t+1, parts) ------>|
//!   | flush(t), flush(t+1) -------------------->|  until each is Ok(true)
//! ```
//!
//! After `--output-tries` failures in a row (default: 3), or at once after a [`FatalError`], the job stops with
//! [`Error::Output`](crate::Error::Output). A job with a checkpoint directory writes the failed batch, and those since the last
//! checkpoint, again when it starts again: with the same rows under the same batch time.
//!
//! A [`TransactionalSink`] is exactly once. It stores the [`BatchId`] of the last batch of a shard in the transaction that makes
//! the rows visible, and tells it at the next start:
//!
//! ```text
//! engine                                        sink
//!   | begin(context) -------------------------->|  1. shuts out earlier runs  2. discards what they left uncommitted
//!   |<------------------------- Committed ------|  3. says which batch each shard of this process has committed
//!   |     (the engine compares this with its plan log, and skips rows that are committed)
//!   | write(t, parts) ------------------------->|  keeps the rows; Err: written again, so half of t must not be kept
//!   | write(t+1, parts) ----------------------->|
//!   | commit(t+1) ----------------------------->|  makes the rows of t and t+1 visible, and stores t+1 as the progress
//!   |                                           |  Err: called again with the same group, without a write before it.
//!   |                                           |       The sink must find out whether the failed commit took effect
//!   | write(t+2, parts) ----------------------->|
//!   |     (crash: t+2 is not committed)
//! next run
//!   | begin(context) -------------------------->|  the progress of each shard is t+1
//!   | write(t+2, parts) ----------------------->|  the same rows as before the crash
//! ```
//!
//! `to_kafka`, `save_as_text_files`, `to_memory`, `foreach_batch`, `foreach_partition` and `print` are sinks of these traits.
//! `examples/custom_sink.rs` is one of a program, exactly once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

use crate::core::error::BoxError;
use crate::core::plan::{PlanStamp, RunId};
use crate::core::time::BatchTime;
use crate::engine::tick::Tick;

/// How many shards an exchanged stream has where a verb does not ask for a number.
pub(crate) const DEFAULT_SHARDS: u32 = 8;

/// One part of a batch: the rows of a source partition or of a shard.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Part<T> {
    /// The partition or shard, the same when the batch runs again. 0 where the batch is one part. Rows of the second stream of a
    /// `union` have numbers from 65,536, those of the third from 131,072, unless parts are [`Distribution::Shards`].
    pub number: u32,
    /// Its rows: of a source in its order, of a shard in the order of their encoding.
    pub rows: Vec<T>,
}

/// How the rows of a batch are distributed to the processes that write them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distribution {
    /// The whole batch in process 0, as one part. The rows of a batch must fit into the memory of one process.
    Gathered,
    /// Rows stay in their process. A part is a source partition, or the rows of an exchanged stream that are here.
    Local,
    /// A part is a source partition, or a shard by row or key of an exchanged stream. So many shards: 1 to 128.
    Parts(u32),
    /// A part is a shard, also of rows of a source; a key, or a source partition, is always in one shard. So many: 1 to 128.
    Shards(u32),
}

impl Distribution {
    /// Its word in the fingerprint of a program, which outlives names.
    pub(crate) fn fingerprint(self) -> String {
        match self {
            Distribution::Gathered => String::new(),
            Distribution::Local => "Local".into(),
            Distribution::Parts(n) => format!("Bags({n})"),
            Distribution::Shards(n) => format!("All({n})"),
        }
    }
}

/// Identifies a batch for good. The same batch, written again after a restart, has the same time and plan, and a later run.
///
/// Serializable, so that a sink can store it; the fields are public, so that it can store them in columns of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchId {
    /// The batch time.
    pub time: BatchTime,
    /// The run of the checkpoint directory that writes it.
    pub run: RunId,
    /// The checksum of the batch's plan: which offsets of which splits it has.
    pub plan: u64,
}

/// The batch that a sink writes.
#[derive(Clone, Debug)]
pub struct SinkBatch {
    pub(crate) tick: Arc<Tick>,
    pub(crate) run: Option<RunId>,
}

impl SinkBatch {
    /// A batch of a job without a checkpoint directory. For tests of a sink.
    ///
    /// ```
    /// use tidemill::connector::sink::SinkBatch;
    /// use tidemill::prelude::*;
    /// let batch = SinkBatch::new(BatchTime::from_millis(5_000));
    /// assert_eq!((batch.time().millis(), batch.id()), (5_000, None));
    /// ```
    pub fn new(time: BatchTime) -> Self {
        let plan = crate::core::plan::Plan { time, ranges: Vec::new(), shown: true };
        SinkBatch { tick: Arc::new(Tick { plan, ..Tick::default() }), run: None }
    }

    /// A batch of a job with a checkpoint directory. For tests of a sink.
    pub fn with_id(id: BatchId) -> Self {
        let plan = crate::core::plan::Plan { time: id.time, ranges: Vec::new(), shown: true };
        let stamp = Some(PlanStamp { generation: id.run.generation, plan: id.plan });
        SinkBatch { tick: Arc::new(Tick { plan, stamp, ..Tick::default() }), run: Some(id.run) }
    }

    /// The batch time.
    pub fn time(&self) -> BatchTime {
        self.tick.time
    }

    /// What identifies the batch for good. `None`: the job has no checkpoint directory.
    pub fn id(&self) -> Option<BatchId> {
        let (stamp, run) = (self.tick.stamp?, self.run?);
        Some(BatchId { time: self.tick.time, run: RunId { generation: stamp.generation, ..run }, plan: stamp.plan })
    }
}

/// Where rows of a stream go: at least once. The order of calls is drawn [above](self).
///
/// Attach one by [`DStream::sink_to`](crate::prelude::DStream::sink_to). All calls are on the output thread of a process, which
/// has one instance. A panic stops the job.
///
/// ```
/// use std::io::Write;
/// use tidemill::connector::sink::{Distribution, Part, Sink, SinkBatch};
/// use tidemill::prelude::*;
///
/// struct Append(std::path::PathBuf);
///
/// impl Sink<String> for Append {
///     fn write(&mut self, batch: &SinkBatch, parts: &[Part<String>]) -> Result<(), BoxError> {
///         let mut file = std::fs::File::options().append(true).create(true).open(&self.0)?;
///         let text: String = parts.iter().flat_map(|p| &p.rows).map(|row| format!("{row}\n")).collect();
///         Ok(file.write_all(text.as_bytes())?)
///     }
/// }
///
/// let path = std::env::temp_dir().join(format!("tidemill-doc-sink-{}", std::process::id()));
/// let (queue, to) = (QueueSource::from_batches([vec!["to".to_owned()], vec!["be".to_owned()]]), path.clone());
/// StreamingContext::builder("append", millis(100)).run(move |ssc| {
///     ssc.queue_stream(&queue).sink_to(Append(to.clone()), Distribution::Gathered);
///     Ok(())
/// }).unwrap();
/// assert_eq!(std::fs::read_to_string(&path).unwrap(), "to\nbe\n");
/// # std::fs::remove_file(path).unwrap();
/// ```
pub trait Sink<T>: Send {
    /// Writes one batch. An empty batch has no parts, or parts without rows. Not called at times at which the stream has no
    /// batch, as between the slides of a window.
    ///
    /// May block: no later batch is written meanwhile, and the job slows down when 64 MiB of rows wait.
    ///
    /// # Errors
    /// Anything. The engine calls it again with the same batch and the same rows; after a [`FatalError`] it does not.
    fn write(&mut self, batch: &SinkBatch, parts: &[Part<T>]) -> Result<(), BoxError>;

    /// Whether all rows up to the batch of this time have arrived. Must not block. Default: `true`, for a sink whose `write`
    /// returns when the rows have arrived.
    ///
    /// Not called for a [`TransactionalSink`].
    ///
    /// # Errors
    /// A row is lost. The engine writes each batch again, in order, that has not arrived.
    fn flush(&mut self, time: BatchTime) -> Result<bool, BoxError> {
        let _ = time;
        Ok(true)
    }
}

/// A sink that writes each batch exactly once. The order of calls is drawn [above](self).
///
/// Attach one by [`DStream::sink_to_exactly_once`](crate::prelude::DStream::sink_to_exactly_once). Parts are shards: a shard
/// commits by itself, has a progress record of its own, and is always written by one process.
pub trait TransactionalSink<T>: Sink<T> {
    /// The sink's name, the same in every run: best, where it writes to. Progress belongs to this name.
    fn name(&self) -> String;

    /// In how many shards it writes, 1 to 128. Fixed when the checkpoint directory is made. Default: 1.
    fn shards(&self) -> u32 {
        1
    }

    /// Called once, before the first batch. When it returns, an earlier run can commit no more, and what one left uncommitted is
    /// gone. Returns the last committed batch of each of [`SinkContext::shards`]; a shard that never committed is absent.
    ///
    /// The engine compares this with its plan log. A sink that is behind the checkpoint or ahead of the plans, or that another
    /// directory or a newer run wrote, stops the job before it writes anything.
    ///
    /// # Errors
    /// The sink cannot be exactly once. Not tried again: the job does not start.
    fn begin(&mut self, context: &SinkContext) -> Result<Vec<Committed>, BoxError>;

    /// Makes the rows of all batches since the last commit visible, durably, together with the progress: each shard with rows
    /// stores `group.last` in the same transaction. If `group.checkpoint`, each shard of this process stores it, rows or not.
    /// Shards may commit one after the other: a crash between two of them is mended by `begin`.
    ///
    /// If a newer run has taken over, nothing may be written: return a [`FatalError`].
    ///
    /// # Errors
    /// It is not known to be committed. The engine calls it again with the same group, and writes nothing in between; so the
    /// sink must keep the rows, and must find out which shards are committed already. After a [`FatalError`] the job stops.
    fn commit(&mut self, group: &CommitGroup) -> Result<(), BoxError>;
}

/// What a transactional sink is told before the first batch.
#[derive(Clone, Debug)]
pub struct SinkContext {
    /// The job's name.
    pub job: String,
    /// [`TransactionalSink::name`], with `#2` and so on where several sinks of the program have the same.
    pub sink: String,
    /// This run. A later run of the same directory has a larger generation.
    pub run: RunId,
    /// The shards that this process writes.
    pub shards: Vec<u32>,
    /// How many shards all processes write.
    pub shard_count: u32,
    pub(crate) stop: Arc<AtomicBool>,
}

impl SinkContext {
    /// Whether the job is over: what waits should give up soon.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// The progress of one shard: its last batch that is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The shard.
    pub shard: u32,
    /// What was stored at the commit.
    pub batch: BatchId,
}

/// What one commit makes visible: all batches since the last commit, up to `last`.
#[derive(Clone, Copy, Debug)]
pub struct CommitGroup {
    /// The last batch of the group.
    pub last: BatchId,
    /// Whether a checkpoint is made of the last batch: then each shard stores its progress, rows or not.
    pub checkpoint: bool,
}

/// An error after which nothing is tried again: the job stops.
///
/// ```
/// use tidemill::connector::sink::FatalError;
/// use tidemill::prelude::*;
/// let commit = |newest: u64, ours: u64| -> Result<(), BoxError> {
///     if newest > ours { Err(FatalError(format!("generation {newest} of this job writes here now")).into()) } else { Ok(()) }
/// };
/// assert!(commit(3, 2).unwrap_err().is::<FatalError>());
/// ```
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct FatalError(pub String);
