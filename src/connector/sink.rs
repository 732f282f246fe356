//! 5. Where results go: the traits of sinks. Every output of the library is a sink, and a program may define its own.
//!
//! Operators never do I/O. The rows of a closed batch go to the output thread of their process, which calls the sinks. It calls
//! them for batch t before t+1, and within t in program order. Each process has one instance of each sink, and only this thread
//! calls it.
//!
//! A [`Sink`] is at least once:
//!
//! ```text
//! engine                                        sink
//!   | write(t, parts) ------------------------->|  Err: flush is not called; the engine waits (100 ms, then 4 times as long,
//!   |                                           |       at most 5 s) and writes t again, with the same rows
//!   | flush(t) -------------------------------->|  Ok(true): all rows up to t have arrived; they are dropped here
//!   |                                           |  Ok(false): rows are on their way; t+1 is written meanwhile
//!   | write(t+1, parts) ----------------------->|
//!   | flush(t) -------------------------------->|  Err: every batch that has not arrived is written again, in order
//!   | write(t, parts), write(t+1, parts) ------>|
//!   | flush(t), flush(t+1) -------------------->|  until each is Ok(true)
//! ```
//!
//! The job stops with [`Error::Output`](crate::Error::Output) when the output has failed for the time of `--output-retry`
//! (default: 30 seconds), after `Builder::output_tries` failures in a row, or at once after a [`FatalError`]. A job with a
//! checkpoint directory then writes batches again when it restarts. These are the failed batch and those since the last
//! checkpoint, with the same rows under the same batch time.
//!
//! A [`TransactionalSink`] is exactly once. It stores the [`BatchId`] of a shard's last batch in the transaction that makes
//! the rows visible. At the next start it returns this id to the engine:
//!
//! ```text
//! engine                                        sink
//!   | begin(context) -------------------------->|  1. fences earlier runs  2. discards their uncommitted rows
//!   |<------------------------- Committed ------|  3. returns the last committed batch of each shard of this process
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
//! `to_kafka`, `save_as_text_files`, `to_memory`, `foreach_batch`, `foreach_partition` and `print` implement these traits.
//! `examples/custom_sink.rs` is an exactly-once sink of a program.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

use crate::core::error::BoxError;
use crate::core::plan::{PlanStamp, RunId};
use crate::core::time::BatchTime;
use crate::engine::tick::Tick;
use crate::metrics::Accumulators;

/// The number of shards of an exchanged stream, where a verb does not set it.
pub(crate) const DEFAULT_SHARDS: u32 = 8;

/// One part of a batch: the rows of a source partition or of a shard.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Part<T> {
    /// The partition or shard, the same when the batch runs again. 0 if the batch is one part. Rows of the second stream of a
    /// `union` have numbers from 65,536, those of the third from 131,072. With [`Distribution::Shards`] the streams of a `union`
    /// share the shards' numbers.
    pub number: u32,
    /// The part's rows: those of a source partition in the source's order, those of a shard in the order of their encoding.
    pub rows: Vec<T>,
}

/// How the rows of a batch are distributed to the processes that write them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distribution {
    /// The whole batch in process 0, as one part. One process must have memory for the rows of a batch.
    Gathered,
    /// Rows stay in their process. A part is a source partition, or the rows of an exchanged stream in this process.
    Local,
    /// A part is a source partition, or a shard by row or key of an exchanged stream. The number of shards: 1 to
    /// `max_parallelism`, by default 128.
    Parts(u32),
    /// A part is a shard, also of rows of a source. A key, or a source partition, is always in one shard. The number of shards:
    /// 1 to `max_parallelism`, by default 128.
    Shards(u32),
}

impl Distribution {
    /// The distribution's word in a program's fingerprint. It stays when a variant is renamed.
    pub(crate) fn fingerprint(self) -> String {
        match self {
            Distribution::Gathered => String::new(),
            Distribution::Local => "Local".into(),
            Distribution::Parts(n) => format!("Bags({n})"),
            Distribution::Shards(n) => format!("All({n})"),
        }
    }
}

/// Identifies a batch permanently. The same batch, written again after a restart, has the same time and plan, and a later run.
///
/// Serializable, so that a sink can store it. The fields are public, so that a sink can store each in its own column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchId {
    /// The batch time.
    pub time: BatchTime,
    /// The run of the checkpoint directory that writes it.
    pub run: RunId,
    /// The checksum of the batch's plan: the offsets of each of its splits.
    pub plan: u64,
}

/// The batch that a sink writes.
#[derive(Clone, Debug)]
pub struct SinkBatch {
    pub(crate) tick: Arc<Tick>,
    pub(crate) run: Option<RunId>,
    pub(crate) accumulators: Accumulators,
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
        SinkBatch { tick: Arc::new(Tick { plan, ..Tick::default() }), run: None, accumulators: Accumulators::default() }
    }

    /// A batch of a job with a checkpoint directory. For tests of a sink.
    pub fn with_id(id: BatchId) -> Self {
        let plan = crate::core::plan::Plan { time: id.time, ranges: Vec::new(), shown: true };
        let stamp = Some(PlanStamp { generation: id.run.generation, plan: id.plan });
        SinkBatch {
            tick: Arc::new(Tick { plan, stamp, ..Tick::default() }),
            run: Some(id.run),
            accumulators: Accumulators::default(),
        }
    }

    /// The batch time.
    pub fn time(&self) -> BatchTime {
        self.tick.time
    }

    /// The program's accumulators after the batch.
    pub fn accumulators(&self) -> &Accumulators {
        &self.accumulators
    }

    /// The permanent identity of the batch. `None`: the job has no checkpoint directory.
    pub fn id(&self) -> Option<BatchId> {
        let (stamp, run) = (self.tick.stamp?, self.run?);
        Some(BatchId { time: self.tick.time, run: RunId { generation: stamp.generation, ..run }, plan: stamp.plan })
    }
}

/// Where rows of a stream go, at least once. The [module](self) draws the order of the calls.
///
/// Attach one by [`DStream::sink_to`](crate::prelude::DStream::sink_to). The output thread makes all calls; each process has
/// one such thread and one instance. A panic stops the job.
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
    /// Writes one batch. An empty batch has no parts, or parts without rows. Not called at times without a batch of the stream,
    /// as between the slides of a window.
    ///
    /// May block. No later batch is written meanwhile, and the job slows down when 64 MiB of rows wait.
    ///
    /// # Errors
    /// Any error. The engine calls it again with the same batch and the same rows, except after a [`FatalError`].
    fn write(&mut self, batch: &SinkBatch, parts: &[Part<T>]) -> Result<(), BoxError>;

    /// Whether all rows up to the batch of this time have arrived. Must not block. Default: `true`, for a sink whose `write`
    /// returns after the rows have arrived.
    ///
    /// Not called for a [`TransactionalSink`].
    ///
    /// # Errors
    /// A row is lost. The engine writes each batch that has not arrived again, in order.
    fn flush(&mut self, time: BatchTime) -> Result<bool, BoxError> {
        let _ = time;
        Ok(true)
    }

    /// How many rows these parts are, in the figures of the job: [`OutputInfo::rows`](crate::metrics::OutputInfo::rows). Default: all of them. A
    /// sink says it if its row is something else, such as a number of rows that were counted before. Called once a batch.
    fn row_count(&self, parts: &[Part<T>]) -> u64 {
        parts.iter().map(|part| part.rows.len() as u64).sum()
    }

    /// Rows of the last written batch as people read them: the page of the job shows the first ones. Default: `None`, which shows each as
    /// JSON. A text that is JSON is shown by its parts.
    fn shown(&mut self, rows: &[&T]) -> Option<Vec<String>> {
        let _ = rows;
        None
    }
}

/// A sink that writes each batch exactly once. The [module](self) draws the order of the calls.
///
/// Attach one by [`DStream::sink_to_exactly_once`](crate::prelude::DStream::sink_to_exactly_once). Parts are shards. A shard
/// commits by itself, has its own progress record, and is always written by one process.
pub trait TransactionalSink<T>: Sink<T> {
    /// The sink's name, the same in every run. Preferably it says where the sink writes. Progress belongs to this name.
    fn name(&self) -> String;

    /// The number of shards, 1 to `max_parallelism`, by default 128. Fixed when the checkpoint directory is made. Default: 1.
    fn shards(&self) -> u32 {
        1
    }

    /// Called once, before the first batch. When it returns, earlier runs can no longer commit, and their uncommitted rows are
    /// discarded. Returns the last committed batch of each of [`SinkContext::shards`]; a shard that never committed is absent.
    ///
    /// The engine compares this with its plan log. Four findings stop the job before it writes anything. The sink is behind the
    /// checkpoint; it is ahead of the plans; another directory wrote it; a newer run wrote it.
    ///
    /// # Errors
    /// The sink cannot be exactly once. Not retried: the job does not start.
    fn begin(&mut self, context: &SinkContext) -> Result<Vec<Committed>, BoxError>;

    /// Makes the rows of all batches since the last commit visible, durably, together with the progress. Each shard with rows
    /// stores `group.last` in the same transaction. If `group.checkpoint`, each shard of this process stores it, with or
    /// without rows. Shards may commit one after the other; `begin` repairs a crash between two of them.
    ///
    /// The sink has been given the batches of the group and no later one, also if other outputs of the job are ahead or behind.
    ///
    /// If a newer run has taken over, the sink must write nothing and return a [`FatalError`].
    ///
    /// # Errors
    /// The commit is not known to have succeeded. The engine calls it again with the same group, and writes nothing in between.
    /// So the sink must keep the rows, and must find out which shards are already committed. After a [`FatalError`] the job
    /// stops.
    fn commit(&mut self, group: &CommitGroup) -> Result<(), BoxError>;
}

/// What a transactional sink receives before the first batch.
#[derive(Clone, Debug)]
pub struct SinkContext {
    /// The job's name.
    pub job: String,
    /// [`TransactionalSink::name`], with `#2` and so on if several sinks of the program have the same name.
    pub sink: String,
    /// This run. A later run of the same directory has a larger generation.
    pub run: RunId,
    /// The shards that this process writes.
    pub shards: Vec<u32>,
    /// The number of shards that all processes write.
    pub shard_count: u32,
    pub(crate) stop: Arc<AtomicBool>,
}

impl SinkContext {
    /// Whether the job is over. Code that waits should then return soon.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// The progress of one shard: its last committed batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The shard.
    pub shard: u32,
    /// The batch that the commit stored.
    pub batch: BatchId,
}

/// The batches that one commit makes visible: all since the last commit, up to `last`.
#[derive(Clone, Copy, Debug)]
pub struct CommitGroup {
    /// The last batch of the group.
    pub last: BatchId,
    /// Whether a checkpoint is made of the last batch. If so, each shard stores its progress, with or without rows.
    pub checkpoint: bool,
}

/// An error that is not retried: the job stops.
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
