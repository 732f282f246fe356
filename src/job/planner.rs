//! The planner: a thread of process 0. *Invariant:* only the planner advances time.
//!
//! For each batch it waits until the batch is due and there is room, and seals it. It makes a plan of the answers of the sources, and
//! closes the batch. At most `in_flight` closed batches are not computed, and the bytes that wait at outputs are bounded. Until there
//! is room, the open batch stays open. `recovery.rs` decides where a job begins; `checkpoint_coordinator.rs` makes plans durable.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use crate::api::config::{CatchUp, Config, SEALS_AHEAD};
use crate::api::context::SourceHalf;
use crate::checkpoint::{LossRecord, PlanRecord, without};
use crate::connector::console;
use crate::core::clock::Time;
use crate::core::error::Result;
use crate::core::fault::{FaultPoint, point};
use crate::core::plan::{BatchSpan, Plan, Progress, Range};
use crate::core::time::{BatchTime, counted};
use crate::job::checkpoint_coordinator::{CheckpointCoordinator, Opened};
use crate::job::control::CommandSender;
use crate::job::in_flight::{BatchInFlight, InFlight, SealedPart};
use crate::job::planner_inputs::PlannerInputs;
use crate::job::protocol::{Command, Event};
use crate::job::rate_controller::RateController;
use crate::job::recovery;
use crate::job::reporter::{self, Reporter};
use crate::job::resumed::{Resumed, TOTALS, check_progress};
use crate::job::sources::{self, Sources};
use crate::job::stopping::Stopping;
use crate::job::waits::Waits;
use crate::metrics::{BatchInfo, Metrics, OperatorInfo, OperatorWork};

pub(crate) struct Planner {
    pub(super) config: Arc<Config>,
    pub(super) inputs: PlannerInputs,
    pub(super) workers: CommandSender,
    pub(super) sources: Sources,
    pub(super) events: Receiver<Event>,
    pub(super) time: Time,
    pub(super) metrics: Metrics,
    /// The checkpoint directory, if it was opened before the processes met.
    opened: Option<Result<Opened>>,
    /// Set if the job has a checkpoint directory.
    pub(super) coordinator: Option<CheckpointCoordinator>,
    in_flight: InFlight,
    /// The time of the next batch.
    pub(super) next: BatchTime,
    /// Whether the first batch of this run is more than a batch interval away, because the previous run stopped within an interval.
    ahead: bool,
    pub(super) given: Option<VecDeque<Plan>>,
    /// Batches of the previous run that are replayed, with their ranges.
    replay: VecDeque<PlanRecord>,
    /// Ranges of them that the sources no longer had.
    losses: Vec<LossRecord>,
    pub(super) stopping: Stopping,
    /// Processes whose exactly-once sinks are not ready, and the progress of the others' shards.
    pub(super) unready: usize,
    progress: Vec<Progress>,
    rates: RateController,
    /// Bytes that wait at the outputs of each process.
    waiting: BTreeMap<usize, u64>,
    reporter: Reporter,
    waits: Waits,
}

impl Planner {
    pub fn new(
        config: Arc<Config>,
        inputs: PlannerInputs,
        sources: Vec<SourceHalf>,
        (commands, events): (Sender<Command>, Receiver<Event>),
        time: Time,
        metrics: Metrics,
        opened: Option<Result<Opened>>,
    ) -> Self {
        let workers = CommandSender { commands, wake: inputs.wake.clone() };
        let sources = Sources::new(sources, workers.clone());
        let in_flight = InFlight::new(config.peers());
        Planner {
            reporter: Reporter::new(&config),
            rates: RateController::new(&config, sources.live()),
            unready: config.runtime.processes.into(),
            progress: Vec::new(),
            workers,
            sources,
            config,
            inputs,
            events,
            time,
            metrics,
            opened,
            coordinator: None,
            in_flight,
            next: BatchTime::default(),
            ahead: false,
            given: None,
            replay: VecDeque::new(),
            losses: Vec::new(),
            stopping: Stopping::default(),
            waiting: BTreeMap::new(),
            waits: Waits::default(),
        }
    }

    /// Runs the batches of the job until it is asked to stop, or all finite sources are read.
    pub fn run(mut self, plans: Option<Vec<Plan>>) -> Result<()> {
        self.start(plans)?;
        let end = self.run_batches();
        while let Ok(event) = self.events.try_recv() {
            if let Event::BadRecords { stream, time, records, first, taken } = event {
                self.bad_records(stream, time, records, first, taken);
            }
        }
        self.reporter.log_bad_records(true);
        end
    }

    fn run_batches(&mut self) -> Result<()> {
        loop {
            if console::stdout_closed() && !self.stopping.requested() {
                tracing::info!("nobody reads stdout any more: the job stops after a last batch");
                self.stopping.request(true);
            }
            if self.stopping.aborted() {
                self.workers.send(Command::Stop);
                return Ok(());
            }
            if self.given.is_none() {
                self.sources.discover(&mut self.rates)?;
            }
            self.seal_if_due()?;
            self.close_if_sealed()?;
            let due = !self.back_to_back() && self.time.now() >= self.next.millis();
            let held = self.held_by().filter(|_| due);
            self.metrics.update(|s| s.held_by = held);
            if self.finished() {
                // The rows of an open batch that is left belong to no plan: workers drop them.
                self.workers.send(if self.stopping.open_left() { Command::Stop } else { Command::End });
                return Ok(());
            }
            let wait = self.wait();
            match self.events.recv_timeout(wait) {
                Ok(event) => self.take(event)?,
                Err(RecvTimeoutError::Timeout) => {}
                // The workers are gone, and have reported why.
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            while let Ok(event) = self.events.try_recv() {
                self.take(event)?;
            }
            self.reporter.log_bad_records(false);
        }
    }

    /// Takes the checkpoint directory if there is one, assigns every split, and opens the first batch.
    fn start(&mut self, plans: Option<Vec<Plan>>) -> Result<()> {
        let checks = std::mem::take(&mut self.inputs.checks);
        match self.unless_stopped(move || checks.into_iter().try_for_each(|check| check()))? {
            Some(checked) => checked?,
            None => return Ok(()),
        }
        let mut resumed = self.resume()?;
        self.sources.resume(&resumed, &mut self.rates);
        let mut starts = Vec::new();
        // A replay has given batches only, and all of them are in the plan log.
        if let Some(plans) = plans.or_else(|| self.config.replay.as_ref().map(|_| Vec::new())) {
            let plans = plans.into_iter().filter(|p| p.time > resumed.planned).collect();
            let given = self.sources.number(plans, &mut self.rates)?;
            let splits = self.sources.splits(given.iter().chain(resumed.replay.iter().map(|r| &r.plan)));
            if self.with_sources(move |halves| sources::check(halves, &splits))?.is_none() {
                return Ok(());
            }
            self.given = Some(given);
        } else {
            self.sources.restore(&resumed)?;
            let Some(found) = self.with_sources(sources::start)? else { return Ok(()) };
            starts = self.sources.started(found, &mut self.rates)?;
        }
        let reads = self.sources.origins(&starts, &resumed.positions);
        let first = self.given.as_ref().and_then(|g| g.front()).map(|p| p.time);
        self.next = first.unwrap_or_else(|| self.config.interval.at_or_after(self.time.anchor() + 1));
        if resumed.planned > BatchTime::default() {
            self.next = first.unwrap_or_else(|| self.config.interval.after(resumed.planned));
            if self.given.is_none() && !self.sources.finite() {
                let now = self.time.now();
                recovery::check_clock(&resumed, self.config.interval, now)?;
                self.ahead = self.next.millis() > now + self.config.interval.millis();
            }
        }
        let open = resumed.replay.front().map_or(self.next, |r| r.plan.time);
        let live = self.given.is_none() && resumed.replay.is_empty();
        if let Some(coordinator) = &mut self.coordinator {
            coordinator.begin(starts, resumed.known, open)?;
            let (run, what) = coordinator.restore()?;
            self.workers.send(Command::Restore { time: resumed.time, run, what });
            if !self.inputs.shards.is_empty() {
                self.await_sinks()?;
                if self.stopping.aborted() {
                    return Ok(());
                }
                check_progress(run, self.config.interval.millis(), &resumed, &self.inputs.shards, &self.progress)?;
            }
        }
        if let Some(coordinator) = &self.coordinator {
            coordinator.runs();
            self.metrics.save(coordinator.made(), coordinator.saved());
        }
        self.inputs.questions.begin(resumed.time);
        self.metrics.connect(&self.inputs.edges);
        self.begin_added(resumed.time)?;
        let totals = resumed.memory.get(TOTALS).map(Vec::as_slice);
        self.metrics.begin(open, self.sources.names(), &self.inputs.outputs, &self.inputs.operators, totals);
        reporter::started(&self.config, &reads, self.inputs.outputs.len(), &resumed, self.ahead.then_some(self.next));
        self.replay = std::mem::take(&mut resumed.replay);
        self.losses = std::mem::take(&mut resumed.losses);
        self.workers.send(Command::Open { time: open, live, limits: self.rates.limits(open) });
        Ok(())
    }

    fn resume(&mut self) -> Result<Resumed> {
        let states = std::mem::take(&mut self.inputs.states);
        if let Some(replay) = &self.config.replay {
            let (resumed, restore) = recovery::resume_replay(&self.config, replay, &states)?;
            self.workers.send(restore);
            return Ok(resumed);
        }
        let PlannerInputs { checkpoint_every, shards, .. } = &self.inputs;
        let (coordinator, resumed) = recovery::resume(&self.config, self.opened.take(), *checkpoint_every, states, shards)?;
        self.coordinator = coordinator;
        Ok(resumed)
    }

    /// Whether batches follow one another without waiting for the clock, because all of them are given.
    pub(super) fn back_to_back(&self) -> bool {
        self.given.is_some() || !self.replay.is_empty() || self.sources.finite()
    }

    /// Whether no batch follows the sealed ones.
    fn exhausted(&self) -> bool {
        if !self.replay.is_empty() || self.inputs.corrections.held() {
            return false;
        }
        if let Some(given) = &self.given {
            return given.is_empty();
        }
        self.back_to_back() && self.sources.finished()
    }

    fn finished(&self) -> bool {
        let idle = self.coordinator.as_ref().is_none_or(CheckpointCoordinator::idle);
        let ends = self.stopping.last_sealed() || self.exhausted();
        self.in_flight.is_empty() && ends && idle
    }

    fn has_room(&self) -> bool {
        self.held_by().is_none()
    }

    /// Why the open batch stays open although it may be due.
    fn held_by(&self) -> Option<&'static str> {
        let ahead = if self.back_to_back() { SEALS_AHEAD } else { 1 };
        let full = self.waiting.values().any(|bytes| *bytes >= self.config.batch_bytes as u64);
        self.in_flight.held_by(ahead, self.config.in_flight).or(full.then_some("bytes that outputs have not written"))
    }

    /// How long to wait for the next event.
    fn wait(&mut self) -> Duration {
        let idle = sources::DISCOVERY;
        if let Some(left) = self.stopping.drain_left() {
            return left.clamp(Duration::from_millis(1), idle);
        }
        if self.stopping.requested() || self.back_to_back() || !self.has_room() {
            return idle;
        }
        self.time.until(self.next.millis()).min(idle)
    }

    fn seal_if_due(&mut self) -> Result<()> {
        while !self.stopping.last_sealed() && !self.exhausted() && self.has_room() {
            if let Some(record) = self.replay.pop_front() {
                self.replay_batch(record);
            } else if self.inputs.corrections.held() {
                if !self.seal_correction() {
                    return Ok(());
                }
            } else if self.stopping.requested() && self.back_to_back() {
                self.stopping.seal_last();
            } else if let Some(plan) = self.given.as_mut().and_then(VecDeque::pop_front) {
                let after = self.given.as_ref().and_then(|g| g.front());
                let run = after.map_or(0, |p| (p.time.millis() - plan.time.millis()) / self.config.interval.millis() - 1);
                self.seal(BatchSpan { first: plan.time, overdue: run as u32 }, plan.ranges, false, None);
            } else {
                let now = self.time.now();
                let stop = self.stopping.requested();
                if stop && !self.drained() || !stop && !self.back_to_back() && now < self.next.millis() {
                    return Ok(());
                }
                if stop && self.leaves_open_batch(now) && !self.sources.has_pending() {
                    self.stopping.leave_open();
                    return Ok(());
                }
                let overdue = now.saturating_sub(self.next.millis()) / self.config.interval.millis();
                let overdue = if stop || self.back_to_back() { 0 } else { overdue as u32 };
                let ranges = self.sources.plan(&mut self.rates)?;
                if stop && !self.sources.has_pending() {
                    self.stopping.seal_last();
                }
                self.seal(BatchSpan { first: self.next, overdue }, ranges, true, None);
            }
        }
        Ok(())
    }

    /// Whether a graceful stop can seal its last batches.
    fn drained(&mut self) -> bool {
        self.stopping.drained(|| self.sources.begin_drain())
    }

    /// Whether a graceful stop leaves the open batch to the next run. Its batch interval has not begun: the previous run stopped
    /// within the interval before it. A plan for it would delay the next run by one more interval. The next run reads its records
    /// again.
    fn leaves_open_batch(&self, now_ms: u64) -> bool {
        let begins = self.next.millis() - self.config.interval.millis();
        self.coordinator.is_some() && self.sources.replayable() && now_ms < begins
    }

    /// Seals a batch of the previous run with the ranges it had. Received records cannot be read again: they are lost.
    fn replay_batch(&mut self, record: PlanRecord) {
        point(FaultPoint::ReplayBefore);
        let span = record.span();
        let PlanRecord { plan, fill, .. } = record;
        let (lost, ranges): (Vec<Range>, Vec<Range>) = plan.ranges.iter().cloned().partition(|r| !r.split.replayable());
        for r in lost.iter().filter(|r| r.from < r.until) {
            let (from, records) = (r.split.name(), counted(r.until.abs_diff(r.from), "record"));
            let batch = plan.time;
            tracing::warn!("batch of {batch}: lost when the job ended: {records} received from {from}");
        }
        self.sources.assign_files(&ranges);
        let ranges = without(ranges, plan.time, &self.losses);
        self.seal(span, ranges, false, Some((plan, fill)));
        if self.replay.is_empty() && self.given.is_none() {
            self.workers.send(Command::Live);
        }
    }

    pub(super) fn seal(&mut self, span: BatchSpan, ranges: Vec<Range>, live: bool, replayed: Option<(Plan, bool)>) {
        let BatchSpan { first: time, overdue } = span;
        let end = span.end(self.config.interval.millis());
        self.next = self.config.interval.after(end);
        let now = self.time.now();
        let limits = self.rates.limits(self.next);
        if live {
            self.rates.seal(time, Duration::from_millis(now.saturating_sub(end.millis())));
        }
        let on_clock = live && !self.back_to_back();
        let scheduling_delay = Duration::from_millis(now.saturating_sub(time.millis()));
        let info = BatchInfo { time, overdue, scheduling_delay, on_clock, ..BatchInfo::default() };
        let rate = self.rates.rate();
        self.metrics.update(|s| s.rate = rate);
        self.metrics.tell(|l| l.on_batch_started(&info));
        let hold = live && !self.stopping.last_sealed() && self.inputs.corrections.hold();
        let last = self.stopping.last_sealed() || self.exhausted();
        let snapshot = self.coordinator.as_ref().and_then(|c| c.due(end, last));
        if snapshot.is_some() {
            let sources = self.sources.snapshot();
            if let Some(coordinator) = &mut self.coordinator {
                coordinator.start_snapshot(end, sources, now);
            }
        }
        let (replayed, fill) = replayed.unzip();
        let fill = fill.unwrap_or(self.config.runtime.catch_up == CatchUp::Fill);
        let unsealed = self.sources.count() * self.config.peers();
        let mut batch = BatchInFlight::new(info, span, end, unsealed);
        batch.info.operators = self.operators();
        (batch.fill, batch.replayed, batch.snapshot) = (fill, replayed, snapshot);
        self.in_flight.push(batch);
        let last = self.stopping.last_sealed();
        self.workers.send(Command::Seal { span, ranges, live, hold, last, limits });
    }

    /// The operators, before a worker has told what it did.
    fn operators(&self) -> Vec<OperatorInfo> {
        let workers = vec![OperatorWork::default(); self.config.peers()];
        self.inputs.operators.iter().map(|name| OperatorInfo { name: name.clone(), workers: workers.clone() }).collect()
    }

    fn close_if_sealed(&mut self) -> Result<()> {
        while let Some(batch) = self.in_flight.next_to_close() {
            let replayed = batch.replayed.is_some();
            let record = batch.close();
            let lost = &batch.lost;
            let stamp = self.coordinator.as_mut().map(|c| c.log_plan(&record, replayed, lost)).transpose()?;
            batch.info.planning_time = batch.elapsed();
            self.rates.closed(batch.info.time);
            self.metrics.tell(|l| l.on_batch_planned(&batch.info));
            self.inputs.questions.closed(record.end(self.config.interval.millis()));
            self.inputs.additions.closed(record.end(self.config.interval.millis()));
            self.inputs.corrections.closed(record.plan.time);
            self.workers.send(Command::Close { record, snapshot: batch.snapshot, stamp });
        }
        Ok(())
    }

    /// Takes an event, and completes the batches that every output has written.
    pub(super) fn take(&mut self, event: Event) -> Result<()> {
        match event {
            Event::Sealed { worker, source, time, ranges, lost, read, trouble, waiting } => {
                let lag: BTreeMap<u32, u64> = read.iter().filter_map(|(id, split)| Some((*id, split.lag?))).collect();
                let records = read.values().map(|split| split.records).sum();
                let found = (!lag.is_empty()).then(|| records + lag.values().sum::<u64>());
                self.sources.set_trouble(worker, source, trouble, found);
                self.rates.sealed(source, time, records, &ranges, &lag);
                let lag_times = self.waits.sealed(self.time.now(), &ranges, &read);
                self.in_flight.sealed(time, SealedPart { ranges, lost, read, lag_times });
                self.waiting.insert(worker / self.config.runtime.workers as usize, waiting);
                let (lag, trouble) = (self.rates.lag(), self.sources.trouble());
                self.metrics.update(|s| (s.lag, s.trouble) = (lag, trouble));
            }
            Event::Computed { worker, before, work } => {
                // Worker 0 speaks for all. A worker that is busy may tell much later what it did.
                if worker == 0 {
                    self.rates.computed(before);
                    self.inputs.questions.computed(before).into_iter().for_each(|command| self.workers.send(command));
                    self.in_flight.computed(before);
                }
                self.in_flight.worked(worker, before, work);
            }
            Event::Held { worker, held } => self.metrics.held(worker, held),
            Event::Process { process, used, refused } => self.metrics.process(process, used, refused),
            Event::Clients { process, clients } => self.metrics.clients(process, clients),
            Event::Receiver { info } => self.metrics.receiver(&info),
            Event::Accumulated { time, accumulators } => self.in_flight.accumulated(time, accumulators),
            Event::Watermark { time, info } => self.in_flight.event_time(time, info),
            Event::Written { process, time, waiting, ago, worked, outputs } => {
                if let Some(first) = self.in_flight.written(time, outputs) {
                    self.rates.written(process, first, ago, worked);
                }
                self.waiting.insert(process, waiting);
            }
            Event::Snapshot { worker, time, written } => {
                self.coordinator.as_mut().map_or(Ok(()), |c| c.snapshot_written(worker, time, written))?;
            }
            Event::SinksReady { progress } => {
                self.progress.extend(progress);
                self.unready -= 1;
            }
            Event::BadRecords { stream, time, records, first, taken } => self.bad_records(stream, time, records, first, taken),
            Event::Ask { asked } => {
                let commands = asked.into_iter().filter_map(|(id, question)| self.inputs.questions.ask(id, question));
                commands.for_each(|command| self.workers.send(command));
            }
            Event::Forget { id } => self.workers.send(self.inputs.questions.forget(id)),
            Event::Add { id, text, keep } => self.add(id, &text, keep),
            Event::Remove { id, name } => self.remove(id, &name),
            Event::Correct { id, correction } => self.correct(id, correction),
            Event::Answer { id, worker: _, part } => self.inputs.questions.answered(id, part),
            Event::Stop { graceful } => self.stopping.request(graceful),
        }
        while let Some(batch) = self.in_flight.pop_written(self.inputs.writers) {
            self.complete(batch)?;
        }
        let (in_flight, waiting) = (self.in_flight.closed(), self.waiting.values().sum());
        self.metrics.update(|s| (s.in_flight, s.waiting_bytes) = (in_flight, waiting));
        if let Some(coordinator) = &self.coordinator {
            self.metrics.save(coordinator.made(), coordinator.saved());
        }
        // Without a checkpoint directory no restart runs a batch again.
        self.sources.checkpointed(self.coordinator.as_ref().map_or(Some(BatchTime::MAX), CheckpointCoordinator::oldest_kept));
        Ok(())
    }

    /// One worker has read bad records. Those that an output reads are not logged.
    fn bad_records(&mut self, stream: String, time: BatchTime, records: u64, first: String, taken: bool) {
        self.in_flight.bad(time, records);
        self.metrics.add_bad(stream.clone(), time, records, &first, taken);
        if !taken {
            self.reporter.bad_records(stream, records, first);
        }
    }

    /// Every output has written this batch.
    fn complete(&mut self, mut b: BatchInFlight) -> Result<()> {
        b.finish(&self.inputs.outputs);
        if b.info.on_clock {
            let late = self.time.now().saturating_sub(b.end.millis());
            self.reporter.written(b.end, Duration::from_millis(late));
        }
        self.rates.completed(b.info.time);
        self.metrics.came_out(b.info.time, b.first_rows());
        self.metrics.complete(&b.info, &b.ranges);
        if let Some(coordinator) = &mut self.coordinator {
            coordinator.committed(b.end, || self.metrics.totals())?;
        }
        self.sources.committed(b.end, &b.ranges);
        Ok(())
    }
}
