//! `max_drift`: partitions of a backlog stay near one another in event time, and the result is that of the same rows without it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, Mutex};

use tidemill::connector::source::{
    Emit, Limits, MaxRate, ReaderContext, Sealed, Source, SourceReader, Split, SplitEnumerator, SplitOffset, SplitRange,
};
use tidemill::prelude::*;

use super::event_time::micros;
use crate::harness::eventually;
use crate::temp_dir::TempDir;

/// The rows that one call gives of each split.
const ROWS: usize = 2;
const DRIFT: i64 = 1_000;
/// How far a split may be ahead of the drift: what a few calls give, before the first one is known.
const AT_ONCE: i64 = 2_000;

/// A backlog: the times of each split. A split that is stuck has records that never come.
#[derive(Clone)]
struct Backlog {
    splits: Arc<Vec<Vec<i64>>>,
    stuck: BTreeSet<i32>,
    /// The most rows of a split in a second.
    per_second: Option<u64>,
    progress: Arc<Mutex<Progress>>,
}

/// How far each split was read, by its position; and the most that one was ahead of the slowest.
#[derive(Default)]
struct Progress {
    next: BTreeMap<i32, usize>,
    furthest: i64,
}

impl Backlog {
    fn new(splits: impl IntoIterator<Item = Vec<i64>>) -> Self {
        Backlog {
            splits: Arc::new(splits.into_iter().collect()),
            stuck: BTreeSet::new(),
            per_second: None,
            progress: Arc::default(),
        }
    }

    /// A split that has a row each 100 µs of event time, and one with a row each 4 µs.
    fn skewed() -> Self {
        let every = |step: i64| (0..20_000 / step).map(|k| k * step).collect();
        Backlog::new([every(100), every(4)])
    }

    fn rows(&self) -> usize {
        self.splits.iter().map(Vec::len).sum()
    }

    /// How many rows each window of 100 µs has that ends by `end`.
    fn windows(&self, end: i64) -> BTreeMap<i64, i64> {
        let mut counts = BTreeMap::new();
        let times = self.splits.iter().flatten().filter(|time| (*time / 100 + 1) * 100 <= end);
        times.for_each(|time| *counts.entry(time / 100 * 100).or_default() += 1);
        counts
    }

    fn read(&self, partition: i32, rows: Range<usize>) {
        let mut progress = self.progress.lock().unwrap();
        progress.next.insert(partition, rows.end);
        let next = |(p, times): (i32, &Vec<i64>)| times.get(progress.next.get(&p).copied().unwrap_or(0)).copied();
        let slowest = (0..).zip(self.splits.iter()).filter_map(next).min();
        if let Some(last) = self.splits[partition as usize][rows].last() {
            progress.furthest = progress.furthest.max(last - slowest.unwrap_or(*last));
        }
    }
}

impl Source for Backlog {
    type Item = i64;

    fn name(&self) -> String {
        "a backlog".into()
    }

    fn enumerator(&self) -> tidemill::Result<Box<dyn SplitEnumerator>> {
        Ok(Box::new(Splits { count: self.splits.len(), known: 0 }))
    }

    fn reader(&self, _: &ReaderContext) -> tidemill::Result<Box<dyn SourceReader<i64>>> {
        let (limits, paused) = (Limits::default(), BTreeSet::new());
        Ok(Box::new(Reader { backlog: self.clone(), cursors: BTreeMap::new(), limits, paused }))
    }

    fn max_rate(&self) -> MaxRate {
        MaxRate { per_second: self.per_second, first_batch: None }
    }
}

struct Splits {
    count: usize,
    known: usize,
}

impl SplitEnumerator for Splits {
    fn restore(&mut self, read: Vec<SplitOffset>, _: &[u8]) -> tidemill::Result<()> {
        self.known = read.len();
        Ok(())
    }

    fn start(&mut self) -> tidemill::Result<Vec<SplitOffset>> {
        Ok((self.known..self.count).map(|p| SplitOffset { split: Split::custom("backlog", p as i32), from: 0 }).collect())
    }
}

struct Reader {
    backlog: Backlog,
    /// By split id: the partition, the first position of the open batch, and the next one.
    cursors: BTreeMap<u32, (i32, i64, i64)>,
    limits: Limits,
    paused: BTreeSet<u32>,
}

impl Reader {
    fn give(&mut self, split_id: u32, until: usize, emit: &mut Emit<'_, i64>) -> bool {
        let Some((partition, _, next)) = self.cursors.get_mut(&split_id) else { return false };
        let times = &self.backlog.splits[*partition as usize];
        let from = *next as usize;
        let until = until.min(from + ROWS).min(times.len());
        if from < until {
            *next = until as i64;
            self.backlog.read(*partition, from..until);
            emit(split_id, times[from..until].to_vec(), 8 * (until - from));
        }
        from < until
    }
}

impl SourceReader<i64> for Reader {
    fn assign(&mut self, split_id: u32, split: &Split, from: Option<i64>) -> tidemill::Result<()> {
        let from = from.unwrap_or(0);
        self.cursors.insert(split_id, (split.partition(), from, from));
        Ok(())
    }

    fn limit(&mut self, limits: Limits) {
        self.limits = limits;
    }

    fn pause(&mut self, split_ids: &BTreeSet<u32>) {
        self.paused = split_ids.clone();
    }

    fn read(&mut self, emit: &mut Emit<'_, i64>) -> tidemill::Result<bool> {
        let ids: Vec<u32> = self.cursors.keys().copied().filter(|id| !self.paused.contains(id)).collect();
        let until = |from: i64, id| self.limits.of(id).map_or(usize::MAX, |most| from as usize + most as usize);
        let untils: Vec<(u32, usize)> = ids.into_iter().map(|id| (id, until(self.cursors[&id].1, id))).collect();
        Ok(untils.into_iter().fold(false, |more, (id, until)| self.give(id, until, emit) | more))
    }

    fn seal(&mut self, _: &mut Emit<'_, i64>) -> tidemill::Result<Sealed> {
        let mut sealed = Sealed::default();
        for (id, (partition, from, next)) in &mut self.cursors {
            sealed.ranges.insert(*id, std::mem::replace(from, *next)..*next);
            let left = self.backlog.splits[*partition as usize].len() as u64 - *next as u64;
            sealed.lag.insert(*id, left + u64::from(self.backlog.stuck.contains(partition)));
        }
        Ok(sealed)
    }

    fn read_range(&mut self, split_id: u32, range: &SplitRange, emit: &mut Emit<'_, i64>) -> tidemill::Result<bool> {
        let (_, from, next) = self.cursors.get_mut(&split_id).expect("assigned");
        if *from != range.from {
            (*from, *next) = (range.from, range.from);
        }
        self.give(split_id, range.until as usize, emit);
        let (_, from, next) = self.cursors.get_mut(&split_id).expect("assigned");
        let done = *next == range.until;
        if done {
            *from = *next;
        }
        Ok(done)
    }
}

/// The windows that have closed, and how many are open after each batch.
#[derive(Clone)]
struct Out {
    closed: MemorySink<(i64, i64)>,
    open: MemorySink<i64>,
    rows: MemorySink<i64>,
}

fn start(backlog: &Backlog, strategy: WatermarkStrategy, runtime: RuntimeArgs) -> (JobHandle, Out) {
    let out = Out { closed: MemorySink::new(), open: MemorySink::new(), rows: MemorySink::new() };
    let (given, own) = (backlog.clone(), out.clone());
    let job = StreamingContext::builder("backlog", millis(10)).runtime(runtime).checkpoint_interval(millis(10));
    let job = job.start(move |ssc| {
        let rows = ssc.from_source(given.clone());
        let counts = rows.event_time(|time| *time, strategy).tumbling(micros(100)).count();
        counts.append().map(|w| (w.start, w.row)).to_memory(&own.closed);
        counts.complete().map(|w| w.start).to_memory(&own.open);
        rows.count().to_memory(&own.rows);
        Ok(())
    });
    (job.unwrap(), out)
}

fn read(out: &Out) -> i64 {
    out.rows.rows().into_iter().sum()
}

/// How late rows may be. A split counts from its first row on, and the others may be ahead by then.
const DELAY: i64 = 4_000;
/// The watermark when all is read.
const LAST: i64 = 19_900 - DELAY;

/// No split is idle for the watermark.
fn ordered() -> WatermarkStrategy {
    WatermarkStrategy::max_out_of_orderness(micros(DELAY)).idle_after(hours(1))
}

/// Reads all of a backlog. Returns it, and what the job wrote.
fn read_all(strategy: WatermarkStrategy, workers: u16) -> (Backlog, Out) {
    let backlog = Backlog::skewed();
    let (job, out) = start(&backlog, strategy, RuntimeArgs { workers, ..RuntimeArgs::default() });
    eventually("all rows are read", || read(&out) == backlog.rows() as i64);
    job.stop_gracefully().unwrap();
    (backlog, out)
}

#[test]
fn partitions_of_a_backlog_stay_near_one_another_and_state_is_small() {
    let furthest = |backlog: &Backlog| backlog.progress.lock().unwrap().furthest;
    for workers in [1, 2, 4] {
        let (backlog, out) = read_all(ordered().max_drift(micros(DRIFT)), workers);
        let closed: BTreeMap<i64, i64> = out.closed.rows().into_iter().collect();
        assert_eq!(closed, backlog.windows(LAST), "at {workers} workers");
        let furthest = furthest(&backlog);
        assert!(furthest <= DRIFT + AT_ONCE, "at {workers} workers: {furthest} ahead");
        // The view still has what closes with its batch.
        let closed: BTreeMap<BatchTime, usize> = out.closed.batches().into_iter().map(|(t, rows)| (t, rows.len())).collect();
        let open = |(t, rows): (BatchTime, Vec<i64>)| rows.len() - closed.get(&t).copied().unwrap_or(0);
        let open = out.open.batches().into_iter().map(open).max().unwrap();
        assert!(open as i64 <= (DELAY + DRIFT + AT_ONCE) / 100 + 2, "at {workers} workers: {open} windows are open at once");
    }
    let furthest = furthest(&read_all(ordered(), 1).0);
    assert!(furthest > 15_000, "without a limit only {furthest} ahead");
}

/// A split has records that do not come, such as those of a broker that is away: the others go on when it is idle.
#[test]
fn nobody_waits_for_ever_for_a_split_that_gives_nothing() {
    let mut backlog = Backlog::new([(0..5_000).collect(), vec![5], vec![], vec![7]]);
    backlog.stuck = [1, 2].into();
    let strategy = ordered().max_drift(micros(DRIFT)).idle_after(millis(50));
    let (job, out) = start(&backlog, strategy, RuntimeArgs { workers: 2, ..RuntimeArgs::default() });
    eventually("all rows are read", || read(&out) == backlog.rows() as i64);
    job.stop_gracefully().unwrap();
}

/// Ranges of the previous run are read as they were, and splits stay near one another behind them.
#[test]
fn a_backlog_goes_on_after_a_restart_with_the_same_windows() {
    let dir = TempDir::made("drift");
    let backlog = Backlog { per_second: Some(20_000), ..Backlog::skewed() };
    let runtime = |workers| RuntimeArgs { checkpoint: Some(dir.to_path_buf()), workers, ..RuntimeArgs::default() };
    let strategy = ordered().max_drift(micros(DRIFT));
    let mut closed: BTreeMap<i64, BTreeSet<i64>> = BTreeMap::new();
    let mut takes =
        |out: &Out| out.closed.rows().into_iter().for_each(|(start, n)| _ = closed.entry(start).or_default().insert(n));
    for workers in [2, 1] {
        let (job, out) = start(&backlog, strategy, runtime(workers));
        eventually("some windows have closed", || out.closed.rows().len() > 5);
        job.stop_now().unwrap();
        takes(&out);
    }
    let (job, out) = start(&backlog, strategy, runtime(4));
    let end = backlog.windows(LAST).into_keys().next_back();
    eventually("the last window has closed", || out.closed.rows().into_iter().map(|(start, _)| start).max() == end);
    job.stop_gracefully().unwrap();
    takes(&out);
    let expected = backlog.windows(LAST).into_iter().map(|(start, n)| (start, BTreeSet::from([n]))).collect();
    assert_eq!(closed, expected);
}

#[test]
fn rows_that_have_left_their_partitions_cannot_be_aligned() {
    let backlog = Backlog::skewed();
    let e = StreamingContext::builder("moved", millis(10)).start(move |ssc| {
        let rows = ssc.from_source(backlog.clone()).repartition(2);
        rows.event_time(|time| *time, ordered().max_drift(micros(DRIFT)))
            .tumbling(micros(100))
            .count()
            .append()
            .to_memory(&MemorySink::new());
        rows.event_time(|time| *time, ordered().max_drift(micros(1))).errors().print(1);
        Ok(())
    });
    let e = e.err().unwrap().to_string();
    assert!(
        e.contains("max_drift needs rows in their source partitions; call event_time before the verb that moves them"),
        "{e}"
    );
    assert!(e.contains("max_drift of 1µs is too short; the shortest is 1 ms"), "{e}");
}
