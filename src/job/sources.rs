//! The planner's half of all sources: their enumerators, the split ids, and their health.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use crate::api::context::SourceHalf;
use crate::checkpoint::Position;
use crate::connector::source::{SplitEnumerator, SplitOffset};
use crate::core::correction::Correction;
use crate::core::error::{Error, Result};
use crate::core::plan::{Plan, Range, Split, SplitRange};
use crate::core::time::BatchTime;
use crate::job::control::CommandSender;
use crate::job::protocol::Command;
use crate::job::rate_controller::RateController;
use crate::job::reporter;
use crate::job::resumed::{Resumed, memory_key};
use crate::job::split_ids::SplitIds;

/// How often sources are asked for new splits.
pub(super) const DISCOVERY: Duration = Duration::from_millis(500);

/// What a checkpoint holds of the sources.
pub(crate) struct SourceSnapshot {
    /// How many split ids were given.
    pub split_ids: u32,
    /// The snapshot of each enumerator, by [`memory_key`].
    pub memory: BTreeMap<String, Vec<u8>>,
}

/// Starts the enumerators, and returns where new splits of each source start. May wait for brokers.
///
/// # Errors
/// A source cannot start.
pub(crate) fn start(halves: &mut [SourceHalf]) -> Result<Vec<Vec<SplitOffset>>> {
    halves.iter_mut().map(|half| half.enumerator.as_mut().map_or(Ok(Vec::new()), |e| e.start())).collect()
}

/// Asks each source whether these splits of it exist. May wait for brokers.
///
/// # Errors
/// What a source says of a split that does not exist.
pub(crate) fn check(halves: &mut [SourceHalf], splits: &[Vec<Split>]) -> Result<()> {
    let each = halves.iter_mut().zip(splits).filter_map(|(half, splits)| Some((half.enumerator.as_mut()?, splits)));
    each.into_iter().try_for_each(|(enumerator, splits)| enumerator.check(splits))
}

/// A source in trouble.
struct Away {
    /// What was logged.
    what: String,
    since: Instant,
    /// By worker without trouble again: the records that it then found. Empty: the source does not know.
    waited: BTreeMap<usize, u64>,
}

/// All sources of a job. New splits are assigned on all workers.
pub(crate) struct Sources {
    halves: Vec<SourceHalf>,
    split_ids: SplitIds,
    workers: CommandSender,
    /// When the sources were last asked for new splits.
    discovered: Instant,
    /// By worker and source; the enumerator has the worker `usize::MAX`.
    trouble: BTreeMap<(usize, u32), String>,
    /// Sources that are in trouble.
    away: BTreeMap<u32, Away>,
    /// The restored snapshots of sources that no output reads. They are kept until an output reads them again.
    unread: BTreeMap<String, Vec<u8>>,
    /// Batches that every output has written and that a restart may run again, by their last times: the ranges of sources that wait until
    /// none does.
    repeatable: VecDeque<(BatchTime, Vec<Range>)>,
    /// No restart runs batches up to this time again, and sources know it.
    checkpointed: BatchTime,
}

impl Sources {
    pub fn new(halves: Vec<SourceHalf>, workers: CommandSender) -> Self {
        let (split_ids, trouble) = (SplitIds::default(), BTreeMap::new());
        let (away, unread) = (BTreeMap::new(), BTreeMap::new());
        let (repeatable, checkpointed) = (VecDeque::new(), BatchTime::default());
        Sources { halves, split_ids, workers, discovered: Instant::now(), trouble, away, unread, repeatable, checkpointed }
    }

    /// The number of sources that an output reads.
    pub fn count(&self) -> usize {
        self.halves.iter().filter(|half| half.read).count()
    }

    /// The name of each source, by its number.
    pub fn names(&self) -> Vec<String> {
        self.halves.iter().map(|half| half.name.clone()).collect()
    }

    /// The numbers of the live sources.
    pub fn live(&self) -> impl Iterator<Item = u32> {
        let live = |half: &SourceHalf| half.enumerator.as_ref().is_some_and(|e| !e.planned());
        self.halves.iter().zip(0..).filter(move |(half, _)| live(half)).map(|(_, source)| source)
    }

    fn enumerators(&mut self) -> impl Iterator<Item = &mut Box<dyn SplitEnumerator>> {
        self.halves.iter_mut().filter_map(|half| half.enumerator.as_mut())
    }

    /// Assigns the splits of the previous run, which keep their split ids.
    pub fn resume(&mut self, resumed: &Resumed, rates: &mut RateController) {
        self.split_ids.go_on(resumed.split_ids);
        let known = resumed.positions.iter().map(|p| (p.source, &p.split, p.split_id, p.next));
        // Splits that appeared after the checkpoint are in the plans.
        let ranges = resumed.replay.iter().flat_map(|r| &r.plan.ranges).filter(|r| !r.split.read_at_once());
        for (source, split, split_id, from) in known.chain(ranges.map(|r| (r.source, &r.split, r.split_id, r.from))) {
            let read = self.halves.get(source as usize).is_none_or(|half| half.read);
            if self.split_ids.keep(source, split, split_id) && read {
                rates.split(source, split_id);
                self.workers.send(Command::Assign { source, split_id, split: split.clone(), from: Some(from) });
            }
        }
    }

    /// The enumerators, for work on another thread that may wait for a source. [`Sources::put_back`] returns them.
    pub fn take(&mut self) -> Vec<SourceHalf> {
        std::mem::take(&mut self.halves)
    }

    pub fn put_back(&mut self, halves: Vec<SourceHalf>) {
        self.halves = halves;
    }

    /// Gives the enumerators what the previous run knew, if there was one. [`start`] is next.
    ///
    /// # Errors
    /// A snapshot cannot be read.
    pub fn restore(&mut self, resumed: &Resumed) -> Result<()> {
        if !resumed.known {
            return Ok(());
        }
        for (source, half) in self.halves.iter_mut().enumerate() {
            let saved = resumed.memory.get(&memory_key(source)).map_or(&[][..], Vec::as_slice);
            if let Some(enumerator) = &mut half.enumerator {
                enumerator.restore(resumed.offsets(source as u32), saved)?;
            } else if !saved.is_empty() {
                self.unread.insert(memory_key(source), saved.to_vec());
            }
        }
        Ok(())
    }

    /// Assigns the splits that [`start`] found. Returns where they start.
    ///
    /// # Errors
    /// A source gave a split that it cannot have.
    pub fn started(&mut self, found: Vec<Vec<SplitOffset>>, rates: &mut RateController) -> Result<Vec<Position>> {
        let mut starts = Vec::new();
        for (source, new) in found.into_iter().enumerate() {
            for s in self.assign(source as u32, new, rates)? {
                let split_id = self.split_ids.of(source as u32, &s.split).0;
                starts.push(Position { source: source as u32, split_id, split: s.split, next: s.from });
            }
        }
        Ok(starts)
    }

    /// What each source reads, and from where, for the log.
    pub fn origins(&self, starts: &[Position], resumed: &[Position]) -> Vec<String> {
        let of = |(source, half): (usize, &SourceHalf)| {
            let known = resumed.iter().chain(starts).filter(|p| p.source as usize == source && p.split.replayable());
            let splits: Vec<(String, i64)> = known.map(|p| (p.split.to_string(), p.next)).collect();
            reporter::origin(&half.name, &splits)
        };
        self.halves.iter().enumerate().filter(|(_, half)| half.read).map(of).collect()
    }

    /// Gives the splits of plans from a file their split ids.
    ///
    /// # Errors
    /// A plan names a source that the program does not have.
    pub fn number(&mut self, mut plans: Vec<Plan>, rates: &mut RateController) -> Result<VecDeque<Plan>> {
        for plan in &mut plans {
            self.split_ids.batch();
            for range in &mut plan.ranges {
                if range.source as usize >= self.halves.len() {
                    let what = format!("plan of {}: source {} does not exist", plan.time, range.source);
                    return Err(Error::config(format!("{what}, the program has {}", self.halves.len())));
                }
                range.split_id = self.split_id(range.source, &range.split, None, rates);
            }
        }
        Ok(plans.into())
    }

    /// The splits of these plans, by source, for [`check`].
    pub fn splits<'a>(&self, plans: impl Iterator<Item = &'a Plan> + Clone) -> Vec<Vec<Split>> {
        // A plan has the records of a correction.
        let read = |r: &&Range| !matches!(r.split, Split::Correction { .. });
        let of = |source| plans.clone().flat_map(|p| &p.ranges).filter(read).filter(move |r| r.source as usize == source);
        let splits = |source| of(source).map(|r| &r.split).collect::<BTreeSet<_>>().into_iter().cloned().collect();
        (0..self.halves.len()).map(splits).collect()
    }

    /// The split id of a split. A new split is assigned.
    fn split_id(&mut self, source: u32, split: &Split, from: Option<i64>, rates: &mut RateController) -> u32 {
        let (split_id, new) = self.split_ids.of(source, split);
        if new {
            rates.split(source, split_id);
            self.workers.send(Command::Assign { source, split_id, split: split.clone(), from });
        }
        split_id
    }

    /// Assigns new splits, in the order of the splits.
    fn assign(&mut self, source: u32, mut starts: Vec<SplitOffset>, rates: &mut RateController) -> Result<Vec<SplitOffset>> {
        starts.sort_by(|a, b| a.split.cmp(&b.split));
        for s in &starts {
            self.halves[source as usize].check(&s.split)?;
            self.split_id(source, &s.split, Some(s.from), rates);
        }
        Ok(starts)
    }

    /// Assigns splits that have appeared, if it is time to look for some.
    ///
    /// # Errors
    /// A source has failed.
    pub fn discover(&mut self, rates: &mut RateController) -> Result<()> {
        if self.discovered.elapsed() < DISCOVERY {
            return Ok(());
        }
        self.discovered = Instant::now();
        for source in 0..self.halves.len() {
            if let Some(enumerator) = &mut self.halves[source].enumerator {
                let new = enumerator.discover()?;
                self.assign(source as u32, new, rates)?;
            }
        }
        Ok(())
    }

    /// The ranges that the planned sources put into the next batch.
    ///
    /// # Errors
    /// A source has failed.
    pub fn plan(&mut self, rates: &mut RateController) -> Result<Vec<Range>> {
        let mut ranges = Vec::new();
        self.split_ids.batch();
        for source in 0..self.halves.len() {
            let Some(enumerator) = &mut self.halves[source].enumerator else { continue };
            let (planned, trouble) = (enumerator.plan()?, enumerator.health().err());
            self.set_trouble(usize::MAX, source as u32, trouble, None);
            for range in planned {
                self.halves[source].check(&range.split)?;
                let split_id = self.split_id(source as u32, &range.split, None, rates);
                ranges.push(Range::new(source as u32, split_id, range));
            }
        }
        Ok(ranges)
    }

    /// The source that takes records back which were read under this name.
    ///
    /// # Errors
    /// There is none, or it is not clear which one.
    pub fn takes(&self, origin: &str) -> Result<u32, String> {
        let takes = |half: &SourceHalf| half.read && half.takes_records;
        let able: Vec<u32> = self.halves.iter().zip(0..).filter(|(half, _)| takes(half)).map(|(_, source)| source).collect();
        if let Some(source) = self.split_ids.reader(origin).filter(|source| able.contains(source)) {
            return Ok(source);
        }
        match able[..] {
            [source] => Ok(source),
            [] => Err("no source of this job takes records back: its rows must be messages, lines, texts or bytes".into()),
            _ => Err(format!(
                "several sources take records back, and none of them reads {origin:?} now; it is in the dead letter as its topic"
            )),
        }
    }

    /// The ranges of a correction, whose splits are assigned.
    pub fn correct(&mut self, source: u32, correction: &Correction) -> Vec<Range> {
        self.split_ids.batch();
        let assigned = |range: SplitRange| {
            let (split_id, _) = self.split_ids.of(source, &range.split);
            self.workers.send(Command::Assign { source, split_id, split: range.split.clone(), from: None });
            Range::new(source, split_id, range)
        };
        correction.ranges().into_iter().map(assigned).collect()
    }

    /// Assigns the files of a batch that runs again: they are read at once, so no earlier assignment holds.
    pub fn assign_files(&self, ranges: &[Range]) {
        for r in ranges.iter().filter(|r| r.split.read_at_once()) {
            self.workers.send(Command::Assign { source: r.source, split_id: r.split_id, split: r.split.clone(), from: None });
        }
    }

    /// Sets or clears the trouble of a source on one worker. `found`: the records that this worker took and has left, if known.
    pub fn set_trouble(&mut self, worker: usize, source: u32, trouble: Option<String>, found: Option<u64>) {
        match trouble {
            Some(t) => drop(self.trouble.insert((worker, source), format!("{}: {t}", self.halves[source as usize].name))),
            None if self.trouble.remove(&(worker, source)).is_some() => {
                if let (Some(away), Some(found)) = (self.away.get_mut(&source), found) {
                    away.waited.insert(worker, found);
                }
            }
            None => {}
        }
        self.log_trouble(source);
    }

    /// Logs when a source is in trouble, and when it no longer is.
    fn log_trouble(&mut self, source: u32) {
        let now = self.trouble.iter().find(|((_, s), _)| *s == source).map(|(_, what)| what);
        match (now, self.away.get(&source)) {
            (Some(what), None) => {
                reporter::away(what);
                let (what, since) = (what.clone(), Instant::now());
                self.away.insert(source, Away { what, since, waited: BTreeMap::new() });
            }
            (None, Some(Away { what, since, waited })) => {
                let waited = (!waited.is_empty()).then(|| waited.values().sum());
                reporter::back(what, since.elapsed(), waited);
                self.away.remove(&source);
            }
            _ => {}
        }
    }

    /// The troubles of the sources, each text once.
    pub fn trouble(&self) -> Vec<String> {
        self.trouble.values().cloned().collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Whether all sources are planned and end by themselves.
    pub fn finite(&self) -> bool {
        self.all_read(|e| e.bounded())
    }

    /// Whether all sources can be read again from a position of a checkpoint.
    pub fn replayable(&self) -> bool {
        self.all_read(|e| e.replayable())
    }

    /// Whether all sources that an output reads are planned here, and have this property.
    fn all_read(&self, has: impl Fn(&dyn SplitEnumerator) -> bool) -> bool {
        self.halves.iter().filter(|half| half.read).all(|half| half.enumerator.as_ref().is_some_and(|e| has(&**e)))
    }

    /// Whether no source plans any more ranges.
    pub fn finished(&self) -> bool {
        self.halves.iter().all(|s| s.enumerator.as_ref().is_none_or(|e| e.finished()))
    }

    /// Tells the planned sources that the job stops. Returns how long they still receive.
    pub fn begin_drain(&mut self) -> Duration {
        self.enumerators().map(|e| e.begin_drain()).max().unwrap_or_default()
    }

    /// Whether a planned source has more than fits into the batch that was planned last.
    pub fn has_pending(&mut self) -> bool {
        self.enumerators().any(|e| e.has_pending())
    }

    /// What the sources need after a restart.
    pub fn snapshot(&self) -> SourceSnapshot {
        let memory = |(i, half): (usize, &SourceHalf)| Some((memory_key(i), half.enumerator.as_ref()?.snapshot()));
        let memory = self.halves.iter().enumerate().filter_map(memory).filter(|(_, m)| !m.is_empty());
        let memory = memory.chain(self.unread.clone()).collect();
        SourceSnapshot { split_ids: self.split_ids.given(), memory }
    }

    /// Every output has written the batch with these ranges, whose last time is `end`. Readers that want to know are told.
    pub fn committed(&mut self, end: BatchTime, ranges: &[Range]) {
        let (mut told, mut repeatable) = (Vec::new(), Vec::new());
        for of_one in ranges.chunk_by(|a, b| a.source == b.source) {
            if let Some(enumerator) = &mut self.halves[of_one[0].source as usize].enumerator {
                let own = of_one.iter().filter(|r| !matches!(r.split, Split::Correction { .. }));
                enumerator.on_committed(&own.clone().map(Range::split_range).collect::<Vec<_>>());
                if enumerator.tells_readers() {
                    told.extend_from_slice(of_one);
                }
                if enumerator.awaits_checkpoints() {
                    repeatable.extend(own.cloned());
                }
            }
        }
        if !told.is_empty() {
            self.workers.send(Command::Committed(told));
        }
        if !repeatable.is_empty() {
            self.repeatable.push_back((end, repeatable));
        }
    }

    /// No restart runs batches up to this time again. Sources that wait for it are told. `None`: it may run all of them.
    pub fn checkpointed(&mut self, until: Option<BatchTime>) {
        let Some(until) = until else { return };
        let due = self.repeatable.iter().take_while(|(end, _)| *end <= until).count();
        if due == 0 && until <= self.checkpointed {
            return;
        }
        self.checkpointed = until;
        let ranges: Vec<Range> = self.repeatable.drain(..due).flat_map(|(_, ranges)| ranges).collect();
        for (half, source) in self.halves.iter_mut().zip(0..) {
            if let Some(enumerator) = half.enumerator.as_mut().filter(|e| e.awaits_checkpoints()) {
                let own = ranges.iter().filter(|r| r.source == source).map(Range::split_range);
                enumerator.on_checkpointed(&own.collect::<Vec<_>>());
            }
        }
    }
}
