//! The progress of a stop: it was requested, sources still receive, the last batch is sealed.

use std::time::{Duration, Instant};

/// How long a graceful stop waits for a start. After that the job ends without a batch.
const START_GRACE: Duration = Duration::from_millis(500);

/// Whether and how a job stops.
#[derive(Default)]
pub(crate) struct Stopping {
    /// When the first request came.
    requested: Option<Instant>,
    aborted: bool,
    /// When the sources have received what belongs to the last batches of a graceful stop.
    drained_at: Option<Instant>,
    last_sealed: bool,
    open_left: bool,
}

impl Stopping {
    /// A request to end the job: after its last batches, or at once.
    pub fn request(&mut self, graceful: bool) {
        self.requested.get_or_insert_with(Instant::now);
        self.aborted |= !graceful;
    }

    /// The workers are gone, or the stop is not graceful.
    pub fn abort(&mut self) {
        self.aborted = true;
    }

    pub fn requested(&self) -> bool {
        self.requested.is_some()
    }

    /// Whether the job ends without further batches.
    pub fn aborted(&self) -> bool {
        self.aborted
    }

    /// Whether a start that is still waiting, for brokers for example, is given up.
    pub fn gives_up_start(&self) -> bool {
        self.aborted || self.requested.is_some_and(|at| at.elapsed() >= START_GRACE)
    }

    /// Whether a graceful stop can continue with the last batches. The first call asks the sources how long they still receive.
    pub fn drained(&mut self, begin_drain: impl FnOnce() -> Duration) -> bool {
        let at = *self.drained_at.get_or_insert_with(|| Instant::now() + begin_drain());
        Instant::now() >= at
    }

    /// How long the sources still receive, if a graceful stop waits for them.
    pub fn drain_left(&self) -> Option<Duration> {
        self.drained_at?.checked_duration_since(Instant::now())
    }

    /// The batch that is sealed now is the last one.
    pub fn seal_last(&mut self) {
        self.last_sealed = true;
    }

    /// The job ends without a batch of the records that it has received: the next run reads them again.
    pub fn leave_open(&mut self) {
        (self.open_left, self.last_sealed) = (true, true);
    }

    /// Whether the open batch is left to the next run.
    pub fn open_left(&self) -> bool {
        self.open_left
    }

    /// Whether no batch follows the ones that are sealed.
    pub fn last_sealed(&self) -> bool {
        self.last_sealed
    }
}
