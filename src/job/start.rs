//! How a program starts its job: `Builder::run` and `Builder::start`. A replay with `--verify` runs two jobs.

use std::sync::Arc;

use crate::api::config::Config;
use crate::api::context::{Build, Builder, StreamingContext};
use crate::api::stopper::Stopper;
use crate::core::clock::{Clock, ManualClock};
use crate::core::error::{BoxError, Result};
use crate::core::time_zone;
use crate::job::handle::JobHandle;
use crate::job::run::launch;
use crate::job::shared::{Summary, active};
use crate::replay::find_poison::find_poison;
use crate::replay::verify::verify;

impl StreamingContext<'_> {
    /// What ends the job that this process started last, if one runs. Spark's `getActive` returns the context itself, of which only `stop` is
    /// useful then.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// let queue = QueueSource::<i64>::new();
    /// let job = StreamingContext::builder("last", millis(5)).without_checkpoint().start(move |ssc| {
    ///     ssc.queue_stream(&queue).print(1);
    ///     Ok(())
    /// })?;
    /// StreamingContext::get_active().expect("it runs").stop_now();
    /// job.await_termination()?;
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[doc(alias = "getActive")]
    pub fn get_active() -> Option<Stopper> {
        active().map(|job| job.stopper())
    }
}

impl Builder {
    /// Starts the job and waits for its end: a signal stops it, it fails, or its finite sources are read. Returns how many
    /// batches and records the job has processed.
    ///
    /// `build` runs once on every worker. Before that it runs once in each process to check the graph; sources read nothing
    /// then. So clone what the closure uses, then move the clone into it. It must build the same graph each time: do not
    /// iterate over a `HashMap` in it, and do not read a clock.
    ///
    /// # Errors
    /// A wrong setting or graph, before any data is read; the error that ended the job. A stop is not an error.
    pub fn run<F>(self, build: F) -> Result<Summary>
    where
        F: for<'s> Fn(&StreamingContext<'s>) -> Result<(), BoxError> + Send + Sync + 'static,
    {
        self.start(build)?.await_termination()
    }

    /// Starts the job and returns its handle. For the rules of `build` see [`Builder::run`].
    ///
    /// # Errors
    /// A wrong setting or graph, before any data is read; processes that do not find one another within
    /// `--connect-timeout`.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// let queue = QueueSource::from_batches([vec![1], vec![2]]);
    /// let job = StreamingContext::builder("started", millis(5)).start(move |ssc| {
    ///     ssc.queue_stream(&queue).to_memory(&MemorySink::new());
    ///     Ok(())
    /// })?;
    /// assert_eq!(job.await_termination()?.batches, 2);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn start<F>(self, build: F) -> Result<JobHandle>
    where
        F: for<'s> Fn(&StreamingContext<'s>) -> Result<(), BoxError> + Send + Sync + 'static,
    {
        self.start_at(Clock::System, Arc::new(build))
    }

    /// Like [`Builder::start`], on a clock that a test moves.
    ///
    /// # Errors
    /// Like [`Builder::start`].
    ///
    /// ```
    /// use tidemill::{job::ManualClock, prelude::*};
    /// use std::time::Duration;
    /// let (queue, clock) = (QueueSource::new(), ManualClock::at(10_000));
    /// let (feed, rows) = (queue.clone(), MemorySink::new());
    /// let sink = rows.clone();
    /// let job = StreamingContext::builder("on-a-clock", secs(5)).start_on_clock(clock.clone(), move |ssc| {
    ///     ssc.queue_stream(&queue).to_memory(&sink);
    ///     Ok(())
    /// })?;
    /// feed.push(vec!['a']);
    /// clock.set(15_000);                                  // the first batch is due
    /// while rows.rows().is_empty() {
    ///     assert!(!job.await_termination_or_timeout(Duration::from_millis(1))?);
    /// }
    /// assert_eq!(rows.batches(), [(BatchTime::from_millis(15_000), vec!['a'])]);
    /// job.stop_now()?;
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn start_on_clock<F>(self, clock: ManualClock, build: F) -> Result<JobHandle>
    where
        F: for<'s> Fn(&StreamingContext<'s>) -> Result<(), BoxError> + Send + Sync + 'static,
    {
        self.start_at(Clock::Manual(clock), Arc::new(build))
    }

    fn start_at(self, clock: Clock, build: Arc<Build>) -> Result<JobHandle> {
        let config = Arc::new(Config { clock, ..self.config()? });
        crate::logging::write_lines(config.runtime.log, config.runtime.quiet);
        if config.logs {
            crate::logging::init_for_job();
        }
        if let Some(warning) = time_zone::of_job(config.runtime.time_zone.as_ref()) {
            tracing::warn!("{warning}");
        }
        match &config.replay {
            Some(replay) if replay.verify => verify(&config, replay, build),
            Some(replay) if replay.find_poison => find_poison(&config, replay, &build),
            _ => launch(config, build, Ok),
        }
    }
}
