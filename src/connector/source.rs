//! 1. Where records come from. A source has two halves, and neither knows timely.
//!
//! [`SplitEnumerator`] is the planner's half: where does it start, what is new, which files are ready.
//! [`SourceReader`] is the worker's half: it reads the splits of its partitions, in order, without ever waiting.
//! Live and given batches differ only in who says `until`: a live batch ends where [`SourceReader::seal`] stops, a given one
//! where its [`Range`] says. `job/source_operator.rs` drives a reader; `job/planner.rs` asks the splits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::core::error::Result;
use crate::core::plan::{Limits, Range, Split};
pub use crate::core::plan::{SplitOffset, SplitRange};

/// Wakes the worker that owns a reader. Cheap, from any thread, as often as one likes.
pub type Waker = Arc<dyn Fn() + Send + Sync>;

/// The planner's half of a source, on the planner's thread in process 0. May block, within reason.
pub trait SplitEnumerator: Send {
    /// The job goes on where an earlier run stopped: these splits were read up to here, and this is what `memory` gave then.
    /// Said before `start`, which gives only splits that are not among them.
    ///
    /// # Errors
    /// What makes it impossible: a split that is gone.
    fn resume(&mut self, read: Vec<SplitOffset>, memory: &[u8]) -> Result<()>;

    /// What this source wants back after a restart, beside how far its splits were read; asked after `plan`.
    fn memory(&self) -> Vec<u8> {
        Vec::new()
    }

    /// The splits to read and where each begins; asked once, before the first batch.
    ///
    /// # Errors
    /// Whatever makes the source useless: no such topic, an unreachable broker, an offset outside the log.
    fn start(&mut self) -> Result<Vec<SplitOffset>>;

    /// Whether splits are there whose ranges are given (`--plans`): asked once, before the first batch, instead of `start`.
    ///
    /// # Errors
    /// One that is not there: a reader would wait for it for ever.
    fn check(&mut self, _given: &[Split]) -> Result<()> {
        Ok(())
    }

    /// SplitEnumerator that appeared since: asked between batches; must not block the planner for more than a few milliseconds.
    ///
    /// # Errors
    /// Only what should end the job.
    fn discover(&mut self) -> Result<Vec<SplitOffset>> {
        Ok(Vec::new())
    }

    /// What the next batch reads whole, for sources that are planned before they are read (files); asked once a batch.
    ///
    /// # Errors
    /// Only what should end the job.
    fn plan(&mut self) -> Result<Vec<SplitRange>> {
        Ok(Vec::new())
    }

    /// Every output is through a batch with these ranges of this source: said of each batch, in order.
    fn out(&mut self, _ranges: &[Range]) {}

    /// What is wrong at the moment, if something is: asked after each plan.
    fn trouble(&self) -> Option<String> {
        None
    }

    /// The job is being stopped in order: what is there now goes into its last batches, and nothing that comes later. Returns
    /// how long it takes until all of that is ready; asked once, before the next plan.
    fn close(&mut self) -> Duration {
        Duration::ZERO
    }

    /// After `close` and a plan: whether another batch is needed for what is ready.
    fn more(&mut self) -> bool {
        false
    }

    /// Whether everything there will ever be is known: a job of such sources runs its batches one after another and ends.
    fn finite(&self) -> bool {
        false
    }

    /// For finite sources: whether everything has been planned.
    fn finished(&self) -> bool {
        false
    }
}

/// Takes rows of one partition, and roughly how many bytes they hold.
pub type Emit<'a, T> = dyn FnMut(u32, Vec<T>, usize) + 'a;

/// How far a live batch got, said once by each reader for each batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sealed {
    /// For each split of this reader, `[from, until)` since the last seal; empty ranges too.
    pub ranges: Vec<Range>,
    /// Records known to be in each split and not read yet, by partition, where the source can say.
    pub lag: BTreeMap<u32, u64>,
    /// What is wrong at the moment, if something is (a broker that is away): batches go on, empty.
    pub trouble: Option<String>,
}

/// The worker's half of a source. Never waits: threads of its own do, and use the [`Waker`].
pub trait SourceReader<T> {
    /// A split of this worker: read it from `from` on (`None`: wait for [`SourceReader::read_range`] to say what to read).
    ///
    /// # Errors
    /// Only what should end the job.
    fn assign(&mut self, split_id: u32, split: &Split, from: Option<i64>) -> Result<()>;

    /// At most so many records of each split in the batch that is open now. Said after each seal.
    fn limit(&mut self, _limits: Limits) {}

    /// Gives what is ready, up to a few thousand rows. `true`: more is ready now. `false`: the waker will say.
    ///
    /// # Errors
    /// Only what should end the job.
    fn read(&mut self, emit: &mut Emit<'_, T>) -> Result<bool>;

    /// Ends the open batch at a record and says how far it went; may give rows that belong to it first.
    ///
    /// # Errors
    /// Only what should end the job.
    fn seal(&mut self, emit: &mut Emit<'_, T>) -> Result<Sealed>;

    /// As `seal`, for the last batch of a graceful stop: what was received must be in it.
    ///
    /// # Errors
    /// Only what should end the job.
    fn seal_last(&mut self, emit: &mut Emit<'_, T>) -> Result<Sealed> {
        self.seal(emit)
    }

    /// Gives rows of a given range, a few thousand a call, and calls again until it returns `true`: the range is complete.
    /// Ranges of one split come in order; where `from` is not where the last one ended, the reader seeks.
    ///
    /// # Errors
    /// A range that cannot be read as given: offsets the log does not hold any more, a file that changed.
    fn read_range(&mut self, range: &Range, emit: &mut Emit<'_, T>) -> Result<bool>;

    /// What of the batch that ends now was not in the source any more and has been passed over, because the user allows that:
    /// asked once at the end of each batch.
    fn lost(&mut self) -> Vec<Range> {
        Vec::new()
    }
}
