//! The waits of the planner before the first batch: for brokers of sources and outputs, and for exactly-once sinks. A stop ends them.

use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use crate::api::context::SourceHalf;
use crate::core::detached;
use crate::core::error::Result;
use crate::job::planner::Planner;

/// How often a start that waits looks whether the job is stopped.
const START_LOOK: Duration = Duration::from_millis(50);

impl Planner {
    /// Waits until the exactly-once sinks of every process have reported their progress. No batch is planned before that.
    pub(super) fn await_sinks(&mut self) -> Result<()> {
        while self.unready > 0 && !self.stopping.aborted() {
            match self.events.recv_timeout(START_LOOK) {
                Ok(event) => self.take(event)?,
                Err(RecvTimeoutError::Timeout) if self.stopping.gives_up_start() => self.stopping.abort(),
                Err(RecvTimeoutError::Timeout) => {}
                // The workers are gone, and have reported why.
                Err(RecvTimeoutError::Disconnected) => self.stopping.abort(),
            }
        }
        Ok(())
    }

    /// Does work of the start that may wait for brokers. `None`: the job was stopped meanwhile, and ends without a batch.
    pub(super) fn unless_stopped<R: Send + 'static>(&mut self, work: impl FnOnce() -> R + Send + 'static) -> Result<Option<R>> {
        let mut taken = Ok(());
        let given_up = || {
            while let (true, Ok(event)) = (taken.is_ok(), self.events.try_recv()) {
                taken = self.take(event);
            }
            taken.is_err() || self.stopping.gives_up_start()
        };
        let done = detached::run("tm-start", given_up, work)?;
        taken?;
        if done.is_none() {
            tracing::info!("the job was stopped while its start waited for a source or an output; it ends without a batch");
            self.stopping.abort();
        }
        Ok(done)
    }

    /// Like `unless_stopped`, with the sources.
    pub(super) fn with_sources<R: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut [SourceHalf]) -> Result<R> + Send + 'static,
    ) -> Result<Option<R>> {
        let mut halves = self.sources.take();
        let work = move || {
            let done = work(&mut halves);
            (halves, done)
        };
        let Some((halves, done)) = self.unless_stopped(work)? else { return Ok(None) };
        self.sources.put_back(halves);
        done.map(Some)
    }
}
