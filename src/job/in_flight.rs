//! The batches between their seal and their last output, oldest first, with the planner's data about each.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::Span;
use tracing::field::Empty;

use crate::checkpoint::PlanRecord;
use crate::core::plan::{BatchSpan, Plan, Range};
use crate::core::time::BatchTime;
use crate::engine::output::FIRST_ROWS;
use crate::engine::tick::SnapshotScope;
use crate::job::protocol::{OutputReport, SplitRead};
use crate::metrics::{Accumulators, BatchInfo, EventTimeInfo, InputInfo, OperatorWork, OutputInfo};

/// How many batches may be computed and not yet written. What waits at the outputs is also bounded in bytes.
const UNWRITTEN: usize = 16;

/// The target of the spans of batches.
const SPANS: &str = "tidemill::batch";

/// A batch between its seal and its last output.
pub(crate) struct BatchInFlight {
    pub info: BatchInfo,
    pub span: BatchSpan,
    /// The last batch time of the span.
    pub end: BatchTime,
    pub fill: bool,
    /// The plan of a batch that runs again.
    pub replayed: Option<Plan>,
    pub snapshot: Option<SnapshotScope>,
    /// Sources on workers that have not answered the seal.
    pub unsealed: usize,
    /// What the sources have sealed; once the batch is closed, the ranges of its plan.
    pub ranges: Vec<Range>,
    /// Ranges that the sources no longer had.
    pub lost: Vec<Range>,
    /// By split id.
    read: BTreeMap<u32, SplitRead>,
    lag_times: BTreeMap<u32, Duration>,
    /// What the outputs of all processes report.
    outputs: Vec<OutputReport>,
    /// The event time of streams, by the operator.
    event_times: BTreeMap<usize, EventTimeInfo>,
    /// For subscribers: from the seal until all outputs have written the batch.
    traced: Span,
    began: Instant,
    closed: bool,
    computed: bool,
    /// Processes whose outputs have written the batch.
    written: usize,
    /// Time from the seal until it was computed and written.
    done: Option<Duration>,
}

impl BatchInFlight {
    /// A batch whose seal was just sent. `unsealed`: the number of sources on workers that must answer.
    pub fn new(info: BatchInfo, span: BatchSpan, end: BatchTime, unsealed: usize) -> Self {
        BatchInFlight {
            span,
            end,
            fill: true,
            replayed: None,
            snapshot: None,
            unsealed,
            ranges: Vec::new(),
            lost: Vec::new(),
            read: BTreeMap::new(),
            lag_times: BTreeMap::new(),
            outputs: Vec::new(),
            event_times: BTreeMap::new(),
            traced: tracing::debug_span!(target: SPANS, "batch", batch = info.time.millis(), records = Empty),
            info,
            began: Instant::now(),
            closed: false,
            computed: false,
            written: 0,
            done: None,
        }
    }

    /// Makes the plan of what the sources have sealed. A batch that runs again keeps its plan.
    pub fn close(&mut self) -> PlanRecord {
        self.closed = true;
        self.ranges.sort_by_key(|r| r.split_id);
        let ranges = std::mem::take(&mut self.ranges);
        let plan = self.replayed.take().unwrap_or(Plan { time: self.info.time, ranges, shown: true });
        self.ranges = plan.ranges.clone();
        self.info.inputs = plan.ranges.iter().map(|r| self.input(r)).collect();
        self.info.lost = self.lost.iter().map(Into::into).collect();
        PlanRecord { plan, run: self.span.overdue, fill: self.fill }
    }

    fn input(&self, r: &Range) -> InputInfo {
        let SplitRead { records, bytes, lag, .. } = self.read.get(&r.split_id).copied().unwrap_or_default();
        InputInfo { source: r.source, range: r.into(), records, bytes, lag, lag_time: self.lag_times.get(&r.split_id).copied() }
    }

    /// Completes the description of the batch: every output has written it. `names`: those of all outputs.
    pub fn finish(&mut self, names: &[Arc<str>]) {
        self.info.processing_time = self.done.unwrap_or_else(|| self.elapsed());
        let info = |(output, name): (usize, &Arc<str>)| {
            let all = || self.outputs.iter().filter(|r| r.output == output);
            OutputInfo {
                name: name.clone(),
                tries: all().map(|r| r.tries).max().unwrap_or(0),
                time: all().map(|r| r.time).max().unwrap_or_default(),
                commit_time: all().map(|r| r.commit_time).max().unwrap_or_default(),
                rows: all().map(|r| r.rows).sum(),
                bytes: all().map(|r| r.bytes).sum(),
            }
        };
        self.info.outputs = names.iter().enumerate().map(info).collect();
        self.info.event_times = std::mem::take(&mut self.event_times).into_values().collect();
        self.traced.record("records", self.info.records);
    }

    /// The first rows of each output that had some, by its place.
    pub fn first_rows(&mut self) -> BTreeMap<usize, Vec<String>> {
        let mut rows: BTreeMap<usize, Vec<String>> = BTreeMap::new();
        for report in self.outputs.iter_mut().filter(|report| !report.first_rows.is_empty()) {
            let of = rows.entry(report.output).or_default();
            of.append(&mut report.first_rows);
            of.truncate(FIRST_ROWS);
        }
        rows
    }

    /// Time since the seal.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }
}

/// What one source on one worker has put into a batch.
pub(crate) struct SealedPart {
    pub ranges: Vec<Range>,
    /// Ranges that the source no longer had.
    pub lost: Vec<Range>,
    /// By split id: what each split gave and has left, and for how long the oldest record that it has left has waited.
    pub read: BTreeMap<u32, SplitRead>,
    pub lag_times: BTreeMap<u32, Duration>,
}

/// All batches between their seal and their last output.
pub(crate) struct InFlight {
    batches: VecDeque<BatchInFlight>,
    /// For each worker: it has told what it did for all batches before this time.
    told: Vec<BatchTime>,
}

impl InFlight {
    /// For this many workers.
    pub fn new(workers: usize) -> Self {
        InFlight { batches: VecDeque::new(), told: vec![BatchTime::default(); workers] }
    }

    pub fn push(&mut self, batch: BatchInFlight) {
        self.batches.push_back(batch);
    }

    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Batches that are closed and not written.
    pub fn closed(&self) -> usize {
        self.batches.iter().filter(|b| b.closed).count()
    }

    /// Why no further batch may be sealed: at most `ahead` are not closed, and at most `in_flight` closed ones are not computed.
    /// `None`: there is room.
    pub fn held_by(&self, ahead: usize, in_flight: usize) -> Option<&'static str> {
        let uncomputed = self.batches.iter().filter(|b| !b.computed).count();
        let unclosed = self.batches.iter().filter(|b| !b.closed).count();
        let bounds = [
            (self.batches.len() >= UNWRITTEN, "batches that outputs have not written"),
            (uncomputed >= in_flight + ahead - 1, "batches that workers have not computed"),
            (unclosed >= ahead, "a batch that sources have not sealed"),
        ];
        bounds.iter().find(|(full, _)| *full).map(|(_, what)| *what)
    }

    /// One source on one worker has answered the seal of the batch of `time`.
    pub fn sealed(&mut self, time: BatchTime, sealed: SealedPart) {
        if let Some(b) = self.of(time) {
            b.ranges.extend(sealed.ranges);
            b.lost.extend(sealed.lost);
            b.info.records += sealed.read.values().map(|split| split.records).sum::<u64>();
            b.read.extend(sealed.read);
            b.lag_times.extend(sealed.lag_times);
            b.unsealed -= 1;
        }
    }

    /// One worker has read bad records of the batch of `time`.
    pub fn bad(&mut self, time: BatchTime, records: u64) {
        if let Some(b) = self.of(time) {
            b.info.bad += records;
        }
    }

    /// The totals of the accumulators after a batch time.
    pub fn accumulated(&mut self, time: BatchTime, totals: Accumulators) {
        if let Some(b) = self.batches.iter_mut().find(|b| b.end >= time) {
            b.info.accumulators = totals;
        }
    }

    /// The event time of a stream after a batch time.
    pub fn event_time(&mut self, time: BatchTime, info: EventTimeInfo) {
        // The time of a loaded checkpoint, and of a batch that is over, belongs to no batch.
        if let Some(b) = self.batches.iter_mut().find(|b| b.info.time <= time && time <= b.end) {
            let info = match b.event_times.remove(&info.operator) {
                Some(known) => known.then(info),
                None => info,
            };
            b.event_times.insert(info.operator, info);
        }
    }

    fn of(&mut self, time: BatchTime) -> Option<&mut BatchInFlight> {
        self.batches.iter_mut().find(|b| b.info.time == time)
    }

    /// The oldest batch that is not closed, if all sources have answered its seal.
    pub fn next_to_close(&mut self) -> Option<&mut BatchInFlight> {
        self.batches.iter_mut().find(|b| !b.closed).filter(|b| b.unsealed == 0)
    }

    /// Everything before this time is computed.
    pub fn computed(&mut self, before: BatchTime) {
        for b in self.batches.iter_mut().filter(|b| b.closed && !b.computed && b.end < before) {
            b.computed = true;
            b.info.computing_time = b.elapsed().saturating_sub(b.info.planning_time);
        }
    }

    /// One worker tells what its operators did for the batches before this time.
    pub fn worked(&mut self, worker: usize, before: BatchTime, work: Vec<(BatchTime, Vec<OperatorWork>)>) {
        for (time, work) in work {
            // Work for the time of a loaded checkpoint belongs to no batch, and work for an overdue time to the one before it.
            let Some(batch) = self.batches.iter_mut().find(|b| b.info.time <= time && time <= b.end) else { continue };
            for (operator, work) in batch.info.operators.iter_mut().zip(work) {
                operator.workers.get_mut(worker).into_iter().for_each(|sum| *sum += work);
            }
        }
        self.told.get_mut(worker).into_iter().for_each(|told| *told = before);
    }

    /// The outputs of one more process have written a batch time. If that was the last one of a batch, returns the time of the batch.
    pub fn written(&mut self, time: BatchTime, outputs: Vec<OutputReport>) -> Option<BatchTime> {
        let batch = self.batches.iter_mut().find(|b| b.end >= time)?;
        batch.outputs.extend(outputs);
        if batch.end != time {
            return None;
        }
        batch.written += 1;
        Some(batch.info.time)
    }

    /// Takes the oldest batch, if all `writers` have written it, and all workers have told what they did for it.
    pub fn pop_written(&mut self, writers: usize) -> Option<BatchInFlight> {
        let first = self.batches.front_mut().filter(|b| b.computed && b.written >= writers)?;
        first.done = first.done.or_else(|| Some(first.elapsed()));
        let end = first.end;
        if self.told.iter().all(|told| *told > end) { self.batches.pop_front() } else { None }
    }
}
