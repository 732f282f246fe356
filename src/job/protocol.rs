//! The messages between the planner and the workers, over the control dataflow: commands go to all workers, and events come back.
//!
//! All processes of a job run the same build, so the encoding may change between versions.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::checkpoint::{ChunkIndex, GroupChunks, Lease, PlanRecord};
use crate::core::correction::Correction;
use crate::core::plan::{BatchSpan, PlanStamp, Progress, Range, RateLimits, RunId, Split};
use crate::core::question::{Part, Question};
use crate::core::time::BatchTime;
use crate::engine::tick::SnapshotScope;
use crate::metrics::clients::Client;
use crate::metrics::held::WorkerHeld;
use crate::metrics::process::Process;
use crate::metrics::refused::Refused;
use crate::metrics::{Accumulators, EventTimeInfo, OperatorWork, ReceiverInfo};

/// What the planner tells every worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Command {
    /// A split has a split id; the worker that owns this id reads it.
    Assign {
        source: u32,
        split_id: u32,
        split: Split,
        /// Where reading starts. `None`: planned ranges will say.
        from: Option<i64>,
    },
    /// Opens the first batch. `live`: live sources read ahead; otherwise every range is planned.
    Open { time: BatchTime, live: bool, limits: RateLimits },
    /// Every source stops at a record and answers with [`Event::Sealed`]. The batch after the span is open from now on.
    Seal {
        span: BatchSpan,
        /// Ranges to read whole: planned, replayed or given.
        ranges: Vec<Range>,
        /// Whether live sources add what they have read.
        live: bool,
        /// Whether sources do not read into the batch that is open from now on: it is for a correction.
        hold: bool,
        /// Whether this is the last batch of a graceful stop.
        last: bool,
        /// The limits of the batch that is open from now on.
        limits: RateLimits,
    },
    /// The plan is made and durable: sources give up the capability, and the tick follows.
    Close {
        record: PlanRecord,
        /// There if the state after the last tick of this plan is saved.
        snapshot: Option<SnapshotScope>,
        stamp: Option<PlanStamp>,
    },
    /// The first command of a job with a checkpoint directory.
    Restore {
        /// The time of the checkpoint to load. `None`: states start empty.
        time: Option<BatchTime>,
        run: RunId,
        what: Restore,
    },
    /// Every output has written a batch with these ranges, whose readers want to know.
    Committed(Vec<Range>),
    /// A question to a view, as of a batch that is computed on all workers. Each worker answers with [`Event::Answer`].
    Ask { id: u64, at: BatchTime, question: Question },
    /// Nobody waits for the answer to this question, or follows a view since it.
    Forget { id: u64 },
    /// Build a computation that is complete as of `base`, the last batch that was closed; its result has this name.
    Add { name: String, text: String, base: BatchTime },
    /// End the computation of this name.
    Remove { name: String },
    /// All replayed batches are sealed: live sources read ahead from now on.
    Live,
    /// No batch follows.
    End,
    /// Drop everything now.
    Stop,
}

impl Command {
    /// The time of which the state is complete when this command has been obeyed: that of a batch that closes, or of the checkpoint that is
    /// restored. For an added computation, that from which on it is complete. `interval`: the batch interval in milliseconds.
    pub fn completes(&self, interval: u64) -> Option<BatchTime> {
        match self {
            Command::Close { record, .. } => Some(record.end(interval)),
            Command::Restore { time, .. } => *time,
            Command::Add { base, .. } => Some(*base),
            _ => None,
        }
    }
}

/// What every worker needs from the checkpoint directory.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Restore {
    /// The lease that process 0 holds: each process proves with it that it sees the same directory. `None`: the directory is
    /// only read.
    pub lease: Option<Lease>,
    /// The chunks to load, by operator.
    pub states: BTreeMap<String, GroupChunks>,
}

/// What workers, output threads and snapshot writers tell the planner.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Event {
    /// One source on one worker is sealed at `time`.
    Sealed {
        worker: usize,
        source: u32,
        time: BatchTime,
        ranges: Vec<Range>,
        /// Ranges that the source no longer had.
        lost: Vec<Range>,
        /// What each split gave, and what it has left.
        read: BTreeMap<u32, SplitRead>,
        trouble: Option<String>,
        /// Bytes that wait at the outputs of the worker's process.
        waiting: u64,
    },
    /// One worker knows that, on all workers, the rows of all batches before this time have reached the outputs.
    Computed {
        worker: usize,
        before: BatchTime,
        /// What its operators did for each of these batches since its previous event of this kind.
        work: Vec<(BatchTime, Vec<OperatorWork>)>,
    },
    /// What one worker holds in memory.
    Held { worker: usize, held: WorkerHeld },
    /// What one process uses, and who was refused at its port of the cluster.
    Process { process: usize, used: Process, refused: Refused },
    /// The clients of Kafka in one process.
    Clients { process: usize, clients: Vec<Client> },
    /// Something has happened to a receiver on one worker.
    Receiver { info: ReceiverInfo },
    /// The totals of the accumulators after the batch time.
    Accumulated { time: BatchTime, accumulators: Accumulators },
    /// The event time of a stream after the batch time.
    Watermark { time: BatchTime, info: EventTimeInfo },
    /// Every output of one process has written the batch of `time`.
    Written {
        process: usize,
        time: BatchTime,
        /// Bytes that still wait at its outputs.
        waiting: u64,
        /// Time since the first output began this batch.
        ago: Duration,
        /// Busy time of the output thread since its previous event of this kind.
        worked: Duration,
        /// The outputs that this process writes.
        outputs: Vec<OutputReport>,
    },
    /// The exactly-once sinks of one process have fenced off earlier runs; `progress` says how far their shards are.
    SinksReady { progress: Vec<Progress> },
    /// One worker has written its part of the snapshot of `time`, or could not.
    Snapshot { worker: usize, time: BatchTime, written: Result<WorkerSnapshot, String> },
    /// One worker has read bad records of a batch; `first` says where one of them is from, and why it is bad.
    BadRecords {
        stream: String,
        time: BatchTime,
        records: u64,
        first: String,
        /// Whether an output operation reads them.
        taken: bool,
    },
    /// Somebody asks views, all as of one batch; the askers wait in process 0.
    Ask { asked: Vec<(u64, Question)> },
    /// Who asked this has gone.
    Forget { id: u64 },
    /// Somebody adds a computation; who waits is in process 0.
    Add { id: u64, text: String, keep: bool },
    /// Somebody removes the computation of this name.
    Remove { id: u64, name: String },
    /// Somebody gives bad records back; who waits is in process 0.
    Correct { id: u64, correction: Correction },
    /// What one worker answers.
    Answer { id: u64, worker: usize, part: Result<Part, String> },
    /// Somebody asked the job to end.
    Stop { graceful: bool },
}

/// What one split gave to one batch, and what it has left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SplitRead {
    pub records: u64,
    /// About how many bytes they have.
    pub bytes: u64,
    /// Records that it has left. `None`: the source does not know.
    pub lag: Option<u64>,
    /// The timestamp of the oldest of them, if the source knows it.
    pub oldest: Option<u64>,
}

/// What one output of a process did with one batch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OutputReport {
    /// Its place in program order.
    pub output: usize,
    /// How often the batch was tried, the successful try included.
    pub tries: u32,
    /// Time spent on it, with retries and the commit of its group.
    pub time: Duration,
    /// The part of it after the batch was written, until it was committed.
    pub commit_time: Duration,
    pub rows: u64,
    pub bytes: u64,
    /// The first rows as texts, if somebody may ask for them.
    pub first_rows: Vec<String>,
}

/// The chunks that one worker wrote for a snapshot.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct WorkerSnapshot {
    /// Where they lie.
    pub index: ChunkIndex,
    /// What they replace: all chunks of this worker, for this operator and key group, that are newer than the time.
    pub replaced: Vec<(String, u32, BatchTime)>,
    /// Chunks of the operator up to this time have expired.
    pub expired: Vec<(String, BatchTime)>,
}
