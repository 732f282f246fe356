//! The last batches of a job, and its totals by source, output and stream.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::core::data::encoded;
use crate::core::plan::Range;
use crate::core::time::BatchTime;
use crate::metrics::batch::BatchInfo;
use crate::metrics::histogram::Histogram;
use crate::metrics::operator::OperatorWork;

/// At most this many batches are kept for readers, and at most this many figures in them: ranges, and operators on workers.
const BATCHES: usize = 1_000;
const FIGURES: usize = 200_000;

/// What is kept of the batches of a job, and the totals of all of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    /// Oldest first.
    batches: VecDeque<Arc<BatchInfo>>,
    /// The figures in them.
    figures: usize,
    /// Whether more than the last batch is kept.
    keeps: bool,
    /// The last batch of which each output had rows, and the first ones as texts. Only of a job that may be asked.
    pub came_out: BTreeMap<usize, (BatchTime, Arc<[String]>)>,
    /// When the last one was completed.
    pub completed: Option<Instant>,
    pub totals: Totals,
}

/// The totals of a job. With a checkpoint directory they go on after a restart: the totals of a checkpoint are those up to its batch.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Totals {
    /// Overdue ones included.
    pub batches: u64,
    pub records: u64,
    pub lost: u64,
    pub sources: Vec<SourceTotals>,
    pub outputs: Vec<OutputTotals>,
    pub operators: Vec<OperatorTotals>,
    /// By stream.
    pub bad: BTreeMap<String, BadTotals>,
    pub delays: Delays,
}

/// The bad records of one stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BadTotals {
    pub records: u64,
    /// Whether an output operation reads them.
    pub taken: bool,
}

/// One source.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct SourceTotals {
    pub name: String,
    pub records: u64,
    /// About how many bytes they have.
    pub bytes: u64,
    /// By split id. Splits that one batch reads as a whole are not in it, because their number has no limit.
    pub splits: BTreeMap<u32, SplitTotals>,
}

/// One split of a source, as Kafka's partitions.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SplitTotals {
    pub name: Arc<str>,
    pub partition: i32,
    /// The first position after the last completed batch.
    pub position: i64,
    pub records: u64,
    pub lag: Option<u64>,
    /// For how long the oldest record that it has left had waited at the seal of the last batch.
    pub lag_time: Option<Duration>,
}

/// One output.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct OutputTotals {
    pub name: Arc<str>,
    pub batches: u64,
    pub tries: u64,
    pub time: Duration,
    pub bytes: u64,
    /// Behind the totals in a checkpoint: those of earlier versions do not have it.
    #[serde(skip)]
    pub rows: u64,
}

/// One operator on all workers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct OperatorTotals {
    pub name: Arc<str>,
    pub work: OperatorWork,
}

/// How long batches took.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Delays {
    pub scheduling: Histogram,
    pub processing: Histogram,
    pub total: Histogram,
}

impl Totals {
    /// The bytes for a checkpoint.
    pub fn saved(&self) -> Vec<u8> {
        encoded(&(self, self.outputs.iter().map(|output| output.rows).collect::<Vec<u64>>()))
    }

    /// Those of a checkpoint. Of a version that saved others, they do not count.
    fn of_saved(bytes: &[u8]) -> Totals {
        let Ok((mut totals, rest)) = postcard::take_from_bytes::<Totals>(bytes) else { return Totals::default() };
        let rows: Vec<u64> = postcard::from_bytes(rest).unwrap_or_default();
        totals.outputs.iter_mut().zip(rows).for_each(|(output, rows)| output.rows = rows);
        totals
    }
}

impl SourceTotals {
    /// Records that its splits have left. `None`: none of them knows.
    pub fn lag(&self) -> Option<u64> {
        self.splits.values().filter_map(|s| s.lag).reduce(|a, b| a + b)
    }
}

impl History {
    /// The job runs, with these sources, outputs and operators. `saved`: the totals of a checkpoint. What has another name begins at 0.
    pub fn begin(&mut self, sources: Vec<String>, outputs: &[Arc<str>], operators: &[Arc<str>], saved: Option<&[u8]>) {
        let saved = saved.map(Totals::of_saved).unwrap_or_default();
        let source = |(number, name): (usize, String)| {
            let found = saved.sources.get(number).filter(|s| s.name == name).cloned();
            found.unwrap_or_else(|| SourceTotals { name, ..SourceTotals::default() })
        };
        let sources = sources.into_iter().enumerate().map(source).collect();
        let output = |(number, name): (usize, &Arc<str>)| {
            let (batches, tries, time, bytes, rows) = (0, 0, Duration::ZERO, 0, 0);
            let found = saved.outputs.get(number).filter(|o| o.name == *name).cloned();
            found.unwrap_or_else(|| OutputTotals { name: name.clone(), batches, tries, time, bytes, rows })
        };
        let outputs = outputs.iter().enumerate().map(output).collect();
        let operator = |(number, name): (usize, &Arc<str>)| {
            let found = saved.operators.get(number).filter(|o| o.name == *name).cloned();
            found.unwrap_or_else(|| OperatorTotals { name: name.clone(), work: OperatorWork::default() })
        };
        let operators = operators.iter().enumerate().map(operator).collect();
        self.totals = Totals { sources, outputs, operators, ..saved };
    }

    /// From now on batches have one more operator.
    pub fn operator_added(&mut self, name: &str) {
        self.totals.operators.push(OperatorTotals { name: name.into(), work: OperatorWork::default() });
    }

    /// From now on the last batches are kept. Until then only the last one is, so that a job without readers needs no memory for them.
    pub fn keep_batches(&mut self) {
        self.keeps = true;
    }

    /// Every output has processed the batch. `ranges`: those of its inputs, in the same order.
    pub fn complete(&mut self, info: BatchInfo, ranges: &[Range]) {
        let totals = &mut self.totals;
        totals.batches += 1 + u64::from(info.overdue);
        totals.records += info.records;
        totals.lost += info.lost_positions();
        for (input, range) in info.inputs.iter().zip(ranges) {
            let Some(source) = totals.sources.get_mut(input.source as usize) else { continue };
            source.records += input.records;
            source.bytes += input.bytes;
            if range.split.read_at_once() {
                continue;
            }
            let split = source.splits.entry(range.split_id).or_insert_with(|| SplitTotals {
                name: range.split.name().clone(),
                partition: range.split.partition(),
                position: range.from,
                records: 0,
                lag: None,
                lag_time: None,
            });
            split.position = range.until;
            split.records += input.records;
            (split.lag, split.lag_time) = (input.lag, input.lag_time);
        }
        for (totals, output) in totals.outputs.iter_mut().zip(&info.outputs).filter(|(_, output)| output.tries > 0) {
            totals.batches += 1;
            totals.tries += u64::from(output.tries);
            totals.time += output.time;
            totals.bytes += output.bytes;
            totals.rows += output.rows;
        }
        totals.operators.iter_mut().zip(&info.operators).for_each(|(totals, operator)| totals.work += operator.total());
        if info.on_clock {
            totals.delays.scheduling.add(info.scheduling_delay);
            totals.delays.total.add(info.total_delay());
        }
        totals.delays.processing.add(info.processing_time);
        self.figures += figures(&info);
        self.batches.push_back(Arc::new(info));
        self.completed = Some(Instant::now());
        let most = if self.keeps { BATCHES } else { 1 };
        while self.batches.len() > most || self.figures > FIGURES && self.batches.len() > 1 {
            let oldest = self.batches.pop_front();
            self.figures -= oldest.map_or(0, |b| figures(&b));
        }
    }

    /// One worker has read bad records. `taken`: whether an output operation reads them.
    pub fn add_bad(&mut self, stream: String, time: BatchTime, records: u64, taken: bool) {
        let bad = self.totals.bad.entry(stream).or_default();
        *bad = BadTotals { records: bad.records + records, taken };
        if let Some(batch) = self.batches.iter_mut().rev().find(|b| b.time == time) {
            Arc::make_mut(batch).bad += records;
        }
    }

    /// The last batch.
    pub fn last(&self) -> Option<&BatchInfo> {
        self.batches.back().map(|b| &**b)
    }

    /// The last batches, oldest first.
    pub fn batches(&self) -> impl DoubleEndedIterator<Item = &Arc<BatchInfo>> {
        self.batches.iter()
    }
}

/// How many figures a batch has.
fn figures(batch: &BatchInfo) -> usize {
    batch.inputs.len() + batch.operators.iter().map(|operator| operator.workers.len()).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::plan::OffsetRange;
    use crate::metrics::{InputInfo, OutputInfo};

    fn batch(n: u64, ranges: usize) -> BatchInfo {
        let input =
            InputInfo { source: 0, range: OffsetRange::new("t", 0, 0, 1), records: 1, bytes: 8, lag: None, lag_time: None };
        BatchInfo { time: BatchTime::from_millis(n), inputs: vec![input; ranges], ..BatchInfo::default() }
    }

    #[test]
    fn batches_are_kept_for_readers_within_bounds() {
        let mut history = History::default();
        let times = |history: &History| (history.batches().count(), history.batches().next().map(|b| b.time.millis()));
        (1..=3).for_each(|n| history.complete(batch(n, 1), &[]));
        assert_eq!(times(&history), (1, Some(3)), "nobody reads");
        history.keep_batches();
        (4..=2_000).for_each(|n| history.complete(batch(n, 1), &[]));
        assert_eq!(times(&history), (BATCHES, Some(1_001)));
        (2_001..=2_003).for_each(|n| history.complete(batch(n, FIGURES / 2), &[]));
        assert_eq!(times(&history), (2, Some(2_002)));
        history.complete(batch(2_004, 2 * FIGURES), &[]);
        assert_eq!((times(&history), history.figures), ((1, Some(2_004)), 2 * FIGURES), "the last one is kept whatever its size");
    }

    #[test]
    fn saved_totals_go_on_if_the_names_are_the_same() {
        let names = |names: [&str; 2]| names.map(Arc::<str>::from);
        let mut before = History::default();
        before.begin(vec!["words".into()], &names(["print", "count"]), &[], None);
        let output = |name: &Arc<str>| OutputInfo {
            name: name.clone(),
            tries: 1,
            time: Duration::ZERO,
            commit_time: Duration::ZERO,
            rows: 3,
            bytes: 7,
        };
        let outputs = names(["print", "count"]).iter().map(output).collect();
        before.complete(BatchInfo { records: 5, overdue: 2, outputs, ..BatchInfo::default() }, &[]);
        let saved = before.totals.saved();
        let mut again = History::default();
        again.begin(vec!["words".into()], &names(["print", "sum"]), &[], Some(&saved));
        again.complete(BatchInfo { records: 1, ..BatchInfo::default() }, &[]);
        assert_eq!((again.totals.batches, again.totals.records), (4, 6));
        let outputs = |history: &History| history.totals.outputs.iter().map(|o| (o.bytes, o.rows)).collect::<Vec<_>>();
        assert_eq!(outputs(&again), [(7, 3), (0, 0)]);
        // An earlier version saved the totals without rows.
        again.begin(Vec::new(), &names(["print", "count"]), &[], Some(&encoded(&before.totals)));
        assert_eq!((again.totals.batches, outputs(&again)), (3, vec![(7, 0), (7, 0)]));
        again.begin(Vec::new(), &[], &[], Some(b"of another version"));
        assert_eq!(again.totals.batches, 0);
    }

    #[test]
    fn late_bad_records_are_those_of_their_batch() {
        let mut history = History::default();
        history.keep_batches();
        (1..=2).for_each(|n| history.complete(batch(n, 0), &[]));
        history.add_bad("decode".into(), BatchTime::from_millis(1), 3, false);
        history.add_bad("decode".into(), BatchTime::from_millis(9), 4, false);
        assert_eq!(history.batches().map(|b| b.bad).collect::<Vec<_>>(), [3, 0]);
        assert_eq!(history.totals.bad["decode"], BadTotals { records: 7, taken: false }, "a batch in flight counts its own");
    }
}
