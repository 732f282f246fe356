//! The planner: a thread of process 0, and the only thing that moves time.
//!
//! For each batch: wait until it is due and there is room, seal, put the plan together from what the sources say, close.
//! At most K closed batches are not computed, and the outputs' waiting bytes are bounded; until then the open batch stays open.
//! Where a job begins is in `begin.rs`, what of it is durable in `ledger.rs`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use timely::scheduling::SyncActivator;

use crate::api::config::{CatchUp, Config};
use crate::api::context::{Check, SourceHalf};
use crate::checkpoint::{LossRecord, PlanRecord, StateId, without};
use crate::connector::source::{SplitEnumerator, SplitOffset};
use crate::core::clock::Time;
use crate::core::error::Result;
use crate::core::plan::{Cut, Order, Plan, Progress, Range, Report, Split};
use crate::core::time::BatchTime;
use crate::job::checkpoint_coordinator::{Ledger, Opened, Shards, Standing};
use crate::job::rate_controller::Paces;
use crate::job::split_ids::SplitIds;
use crate::metrics::{BatchInfo, Metrics};

/// Batches that may be sealed ahead of the one that is being closed, where ranges are given: hides the way to the workers and back.
const SEALS_AHEAD: usize = 4;
/// Batches that are computed and not out, at most: beside the bound in bytes.
const UNWRITTEN: usize = 16;
/// How often sources are asked for new splits.
const DISCOVERY: Duration = Duration::from_millis(500);

/// What the first worker hands over when its graph is built.
pub(crate) struct Kit {
    pub sources: Vec<SourceHalf>,
    pub wake: SyncActivator,
    /// Processes whose output thread reports each batch.
    pub writers: usize,
    /// The operators that keep state.
    pub states: Vec<StateId>,
    /// The exactly-once sinks.
    pub shards: Shards,
    /// Milliseconds from checkpoint to checkpoint.
    pub checkpoint_every: u64,
    pub checks: Vec<Check>,
}

/// A batch between its seal and its last output.
struct Batch {
    info: BatchInfo,
    /// The last time this batch stands for: its own, or the last overdue one after it.
    end: BatchTime,
    run: u32,
    fill: bool,
    /// What is known of it from before the job was started again.
    replayed: Option<Plan>,
    cut: Option<Cut>,
    /// Sources that have not said how far they are.
    unsealed: usize,
    /// What sources said; once it is closed, those of the plan.
    ranges: Vec<Range>,
    /// What of them was not in the sources any more.
    lost: Vec<Range>,
    began: Instant,
    closed: bool,
    computed: bool,
    /// Processes that are through.
    out: usize,
}

pub(crate) struct Planner {
    pub(crate) config: Arc<Config>,
    pub(crate) kit: Kit,
    orders: Sender<Order>,
    pub(crate) reports: Receiver<Report>,
    pub(crate) time: Time,
    metrics: Metrics,
    pub(crate) split_ids: SplitIds,
    /// The checkpoint directory, where it was opened before the processes met.
    pub(crate) opened: Option<Result<Opened>>,
    pub(crate) ledger: Option<Ledger>,
    /// From the first seal to the last output, in order.
    batches: VecDeque<Batch>,
    pub(crate) next: BatchTime,
    pub(crate) given: Option<VecDeque<Plan>>,
    /// Batches of before a restart that run again, with their ranges.
    pub(crate) replay: VecDeque<PlanRecord>,
    /// What of them was not in the sources when they ran.
    pub(crate) losses: Vec<LossRecord>,
    stop: bool,
    pub(crate) aborted: bool,
    /// Processes whose exactly-once sinks are not ready, and what the others found.
    pub(crate) unready: usize,
    pub(crate) progress: Vec<Progress>,
    /// When the sources have what belongs to the last batches of a graceful stop.
    ready: Option<Instant>,
    /// Whether the last batch of a graceful stop has been sealed.
    ended: bool,
    asked: Instant,
    trouble: BTreeMap<(usize, u32), String>,
    pub(crate) paces: Paces,
    /// Bytes that wait at the outputs of each process.
    waiting: BTreeMap<usize, u64>,
}

impl Planner {
    pub fn new(
        config: Arc<Config>,
        kit: Kit,
        orders: Sender<Order>,
        reports: Receiver<Report>,
        time: Time,
        metrics: Metrics,
    ) -> Self {
        let read = kit
            .sources
            .iter()
            .zip(0..)
            .filter(|(half, _)| half.enumerator.as_ref().is_some_and(|e| !e.planned()))
            .map(|(_, source)| source);
        Planner {
            paces: Paces::new(&config, read),
            unready: config.runtime.processes.into(),
            progress: Vec::new(),
            config,
            kit,
            orders,
            reports,
            time,
            metrics,
            split_ids: SplitIds::default(),
            opened: None,
            ledger: None,
            batches: VecDeque::new(),
            next: BatchTime::default(),
            given: None,
            replay: VecDeque::new(),
            losses: Vec::new(),
            stop: false,
            aborted: false,
            ready: None,
            ended: false,
            asked: Instant::now(),
            trouble: BTreeMap::new(),
            waiting: BTreeMap::new(),
        }
    }

    /// Runs the job's batches until it is asked to stop, or given ones are all done.
    pub fn run(mut self, plans: Option<Vec<Plan>>) -> Result<()> {
        self.start(plans)?;
        loop {
            if self.aborted {
                self.send(Order::Stop);
                return Ok(());
            }
            self.discover()?;
            self.seal_if_due()?;
            self.close_if_sealed()?;
            if self.finished() {
                self.send(Order::End);
                return Ok(());
            }
            let wait = self.wait();
            match self.reports.recv_timeout(wait) {
                Ok(report) => self.take(report)?,
                Err(RecvTimeoutError::Timeout) => {}
                // The workers are gone: they have said why.
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            while let Ok(report) = self.reports.try_recv() {
                self.take(report)?;
            }
        }
    }

    pub(crate) fn send(&self, order: Order) {
        if self.orders.send(order).is_ok() {
            let _ = self.kit.wake.activate();
        }
    }

    /// The split id of a split; a new one is told to all workers.
    pub(crate) fn split_id(&mut self, source: u32, split: &Split, from: Option<i64>) -> u32 {
        let (split_id, new) = self.split_ids.of(source, split);
        if new {
            self.paces.split(source, split_id);
            self.send(Order::Assign { source, split_id, split: split.clone(), from });
        }
        split_id
    }

    /// Gives new splits their split ids; returns them in order.
    pub(crate) fn assign(&mut self, source: u32, mut starts: Vec<SplitOffset>) -> Result<Vec<SplitOffset>> {
        starts.sort_by(|a, b| a.split.cmp(&b.split));
        for s in &starts {
            self.kit.sources[source as usize].check(&s.split)?;
            self.split_id(source, &s.split, Some(s.from));
        }
        Ok(starts)
    }

    fn discover(&mut self) -> Result<()> {
        if self.given.is_some() || self.asked.elapsed() < DISCOVERY {
            return Ok(());
        }
        self.asked = Instant::now();
        for source in 0..self.kit.sources.len() {
            if let Some(enumerator) = &mut self.kit.sources[source].enumerator {
                let new = enumerator.discover()?;
                self.assign(source as u32, new)?;
            }
        }
        Ok(())
    }

    /// Whether all batches are given: then they follow one another without waiting for the clock.
    fn back_to_back(&self) -> bool {
        self.given.is_some()
            || !self.replay.is_empty()
            || self.kit.sources.iter().all(|s| s.enumerator.as_ref().is_some_and(|e| e.bounded()))
    }

    /// Whether no batch will follow the ones that are sealed.
    fn exhausted(&self) -> bool {
        if !self.replay.is_empty() {
            return false;
        }
        if let Some(given) = &self.given {
            return given.is_empty();
        }
        self.back_to_back() && self.kit.sources.iter().all(|s| s.enumerator.as_ref().is_none_or(|e| e.finished()))
    }

    fn finished(&self) -> bool {
        self.batches.is_empty() && (self.ended || self.exhausted()) && self.ledger.as_ref().is_none_or(Ledger::idle)
    }

    fn has_room(&self) -> bool {
        let uncomputed = self.batches.iter().filter(|b| !b.computed).count();
        let unclosed = self.batches.iter().filter(|b| !b.closed).count();
        let ahead = if self.back_to_back() { SEALS_AHEAD } else { 1 };
        unclosed < ahead
            && uncomputed < self.config.in_flight + ahead - 1
            && self.batches.len() < UNWRITTEN
            && self.waiting.values().all(|bytes| *bytes < self.config.batch_bytes as u64)
    }

    fn wait(&mut self) -> Duration {
        if let Some(left) = self.ready.and_then(|ready| ready.checked_duration_since(Instant::now())) {
            return left.clamp(Duration::from_millis(1), DISCOVERY);
        }
        if self.stop || self.back_to_back() || !self.has_room() {
            return DISCOVERY;
        }
        self.time.until(self.next.millis()).min(DISCOVERY)
    }

    fn seal_if_due(&mut self) -> Result<()> {
        while !self.ended && !self.exhausted() && self.has_room() {
            if let Some(record) = self.replay.pop_front() {
                self.again(record);
            } else if self.stop && self.back_to_back() {
                self.ended = true;
            } else if let Some(plan) = self.given.as_mut().and_then(VecDeque::pop_front) {
                let after = self.given.as_ref().and_then(|g| g.front());
                let run = after.map_or(0, |p| (p.time.millis() - plan.time.millis()) / self.config.interval.millis() - 1);
                self.next = plan.time;
                self.seal(run as u32, plan.ranges, false, None);
            } else {
                let now = self.time.now();
                if self.stop && !self.ready() || !self.stop && !self.back_to_back() && now < self.next.millis() {
                    return Ok(());
                }
                let overdue = now.saturating_sub(self.next.millis()) / self.config.interval.millis();
                let run = if self.stop || self.back_to_back() { 0 } else { overdue as u32 };
                let pieces = self.pieces()?;
                self.ended = self.stop && !self.enumerators().any(|e| e.has_pending());
                self.seal(run, pieces, true, None);
            }
        }
        Ok(())
    }

    fn enumerators(&mut self) -> impl Iterator<Item = &mut Box<dyn SplitEnumerator>> {
        self.kit.sources.iter_mut().filter_map(|half| half.enumerator.as_mut())
    }

    /// Whether a graceful stop can go on to the last batches. Says so to the sources when it is first asked.
    fn ready(&mut self) -> bool {
        let ready = match self.ready {
            Some(ready) => ready,
            None => Instant::now() + self.enumerators().map(|e| e.begin_drain()).max().unwrap_or_default(),
        };
        self.ready = Some(ready);
        Instant::now() >= ready
    }

    /// What the sources plan for the next batch.
    fn pieces(&mut self) -> Result<Vec<Range>> {
        let mut ranges = Vec::new();
        self.split_ids.batch();
        for source in 0..self.kit.sources.len() {
            let half = &mut self.kit.sources[source];
            let Some(enumerator) = &mut half.enumerator else { continue };
            let planned = enumerator.plan()?;
            let trouble = enumerator.health().err();
            note(&mut self.trouble, (usize::MAX, source as u32), trouble.map(|t| format!("{}: {t}", half.name)));
            for range in planned {
                self.kit.sources[source].check(&range.split)?;
                let split_id = self.split_id(source as u32, &range.split, None);
                ranges.push(Range::new(source as u32, split_id, range));
            }
        }
        Ok(ranges)
    }

    /// A batch of before the restart, with the ranges it had. What nobody can send again is lost, which is said.
    fn again(&mut self, record: PlanRecord) {
        crate::core::fault::point(crate::core::fault::FaultPoint::ReplayBefore);
        let PlanRecord { plan, run, fill } = record;
        self.next = plan.time;
        let (lost, ranges): (Vec<Range>, Vec<Range>) = plan.ranges.iter().cloned().partition(|r| !r.split.replayable());
        for r in lost.iter().filter(|r| r.from < r.until) {
            let (from, records) = (r.split.name(), r.until - r.from);
            tracing::warn!("batch {}: {records} records received from {from} were lost when the job ended", plan.time);
        }
        for r in ranges.iter().filter(|r| r.split.read_at_once()) {
            self.send(Order::Assign { source: r.source, split_id: r.split_id, split: r.split.clone(), from: None });
        }
        let ranges = without(ranges, plan.time, &self.losses);
        self.seal(run, ranges, false, Some((plan, fill)));
        if self.replay.is_empty() && self.given.is_none() {
            self.send(Order::Live);
        }
    }

    fn seal(&mut self, run: u32, pieces: Vec<Range>, live: bool, replayed: Option<(Plan, bool)>) {
        let time = self.next;
        let end = (0..run).fold(time, |t, _| self.config.interval.after(t));
        self.next = self.config.interval.after(end);
        let now = self.time.now();
        let late = now.saturating_sub(time.millis());
        let limits = self.paces.limits(self.next);
        if live {
            self.paces.seal(time, Duration::from_millis(now.saturating_sub(end.millis())));
        }
        let info = BatchInfo { time, overdue: run, scheduling_delay: Duration::from_millis(late), ..BatchInfo::default() };
        let rate = self.paces.rate();
        self.metrics.update(|s| s.rate = rate);
        self.metrics.tell(|l| l.on_batch_started(&info));
        let last = self.ended || self.exhausted();
        let cut = self.ledger.as_ref().and_then(|l| l.due(end, last));
        if cut.is_some() {
            let standing = self.standing();
            if let Some(ledger) = &mut self.ledger {
                ledger.begun(end, standing);
            }
        }
        let (replayed, fill) = replayed.unzip();
        self.batches.push_back(Batch {
            info,
            end,
            run,
            fill: fill.unwrap_or(self.config.runtime.catch_up == CatchUp::Fill),
            replayed,
            cut,
            unsealed: self.kit.sources.len() * self.config.peers(),
            ranges: Vec::new(),
            lost: Vec::new(),
            began: Instant::now(),
            closed: false,
            computed: false,
            out: 0,
        });
        self.send(Order::Seal { time, run, pieces, live, last: self.ended, limits });
    }

    /// What sources want back after a restart, now that the batch of a checkpoint is planned.
    fn standing(&self) -> Standing {
        let memory =
            |(i, half): (usize, &SourceHalf)| Some((crate::job::recovery::memory_of(i), half.enumerator.as_ref()?.snapshot()));
        let memory = self.kit.sources.iter().enumerate().filter_map(memory).filter(|(_, m)| !m.is_empty()).collect();
        Standing { split_ids: self.split_ids.given(), memory }
    }

    fn close_if_sealed(&mut self) -> Result<()> {
        let mut orders = Vec::new();
        for b in self.batches.iter_mut().skip_while(|b| b.closed) {
            if b.unsealed > 0 {
                break;
            }
            b.closed = true;
            b.ranges.sort_by_key(|r| r.split_id);
            let replayed = b.replayed.is_some();
            let ranges = std::mem::take(&mut b.ranges);
            let plan = b.replayed.take().unwrap_or(Plan { time: b.info.time, ranges, shown: true });
            b.ranges = plan.ranges.clone();
            b.info.ranges = plan.ranges.iter().map(Into::into).collect();
            b.info.lost = b.lost.iter().map(Into::into).collect();
            let record = PlanRecord { plan, run: b.run, fill: b.fill };
            let stamp = self.ledger.as_mut().map(|l| l.planned(&record, replayed, &b.lost)).transpose()?;
            self.paces.closed(b.info.time);
            self.metrics.tell(|l| l.on_batch_planned(&b.info));
            orders.push(Order::Close { plan: record.plan, run: b.run, fill: b.fill, cut: b.cut, stamp });
        }
        for order in orders {
            self.send(order);
        }
        Ok(())
    }

    /// Every output is through a batch with these ranges.
    fn tell_sources(&mut self, ranges: &[Range]) {
        for of_one in ranges.chunk_by(|a, b| a.source == b.source) {
            if let Some(enumerator) = &mut self.kit.sources[of_one[0].source as usize].enumerator {
                enumerator.on_committed(&of_one.iter().map(Range::split_range).collect::<Vec<_>>());
            }
        }
    }

    fn waits(&mut self, process: usize, bytes: u64) {
        self.waiting.insert(process, bytes);
        let all = self.waiting.values().sum();
        self.metrics.update(|s| s.waiting_bytes = all);
    }

    pub(crate) fn take(&mut self, report: Report) -> Result<()> {
        match report {
            Report::Sealed { worker, source, time, ranges, lost, records, lag, trouble, waiting } => {
                self.paces.sealed(source, time, records, &ranges, lag);
                let name = &self.kit.sources[source as usize].name;
                note(&mut self.trouble, (worker, source), trouble.map(|t| format!("{name}: {t}")));
                if let Some(b) = self.batches.iter_mut().find(|b| b.info.time == time) {
                    b.ranges.extend(ranges);
                    b.lost.extend(lost);
                    b.info.records += records;
                    b.unsealed -= 1;
                }
                self.waits(worker / self.config.runtime.workers as usize, waiting);
                let (lag, trouble) = (self.paces.lag(), &self.trouble);
                self.metrics.update(|s| {
                    s.lag = lag;
                    s.trouble = trouble.values().cloned().collect::<BTreeSet<_>>().into_iter().collect();
                });
            }
            Report::Computed { before } => {
                self.paces.computed(before);
                self.batches.iter_mut().filter(|b| b.closed && b.end < before).for_each(|b| b.computed = true);
            }
            Report::Out { process, time, waiting, ago, worked } => {
                if let Some(b) = self.batches.iter_mut().find(|b| b.end == time) {
                    b.out += 1;
                    self.paces.out(process, b.info.time, ago, worked);
                }
                self.waits(process, waiting);
            }
            Report::Pieces { worker, time, written } => {
                if let Some(ledger) = &mut self.ledger {
                    ledger.pieces(worker, time, written)?;
                }
            }
            Report::Ready { progress } => {
                self.progress.extend(progress);
                self.unready -= 1;
            }
            Report::Stop { graceful } => {
                self.stop = true;
                self.aborted |= !graceful;
            }
        }
        while self.batches.front().is_some_and(|b| b.computed && b.out >= self.kit.writers) {
            let mut b = self.batches.pop_front().expect("just looked at");
            b.info.processing_time = b.began.elapsed();
            self.paces.through(b.info.time);
            self.metrics.update(|s| {
                s.batches += 1 + b.run as u64;
                s.records += b.info.records;
                s.lost += b.info.lost.iter().map(|r| (r.until - r.from) as u64).sum::<u64>();
                s.last = Some(b.info.clone());
            });
            self.metrics.tell(|l| l.on_batch_completed(&b.info));
            if let Some(ledger) = &mut self.ledger {
                ledger.out(b.end)?;
            }
            self.tell_sources(&b.ranges);
        }
        let in_flight = self.batches.iter().filter(|b| b.closed).count();
        self.metrics.update(|s| s.in_flight = in_flight);
        Ok(())
    }
}

fn note<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: Option<V>) {
    match value {
        Some(v) => drop(map.insert(key, v)),
        None => drop(map.remove(&key)),
    }
}
