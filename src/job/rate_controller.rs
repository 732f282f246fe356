//! Decides how many records each source may emit into a batch, from measurements of previous batches and the backlog of each split.
//!
//! A job is a pipeline: it reads one batch while it computes the previous one and writes another. The slower of the last two
//! stages limits it: the workers' time since the previous batch was computed, or the busy time of the output threads. Waiting for
//! a turn, or for other batches of a commit, is not busy time. The estimator uses it as scheduling delay.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::api::config::Config;
use crate::core::plan::{Range, RateLimits};
use crate::core::time::{BatchTime, Interval};
use crate::job::rate_estimator::{Measured, Pid, share};
use crate::job::source_operator::quota;

/// A batch that is not written yet.
#[derive(Default)]
struct Tracked {
    /// Time from the end of the batch to its seal.
    late: Duration,
    closed: Option<Instant>,
    computed: Option<Instant>,
    computing: Duration,
    /// Time it waited for its turn to be computed, and then to be written.
    waited: (Duration, Duration),
    records: BTreeMap<u32, u64>,
}

/// What was written since the last estimate.
#[derive(Default)]
struct Completed {
    records: BTreeMap<u32, u64>,
    computing: Duration,
    /// Busy time of the output threads, by process.
    worked: BTreeMap<usize, Duration>,
    waited: Duration,
}

/// The rates of all sources. Without back-pressure it only knows what is left in them.
pub(crate) struct RateController {
    interval: Interval,
    began: Instant,
    /// The estimator of each live source.
    rates: BTreeMap<u32, Pid>,
    batches: BTreeMap<BatchTime, Tracked>,
    completed: Completed,
    /// When the newest computed batch was computed.
    computed: Option<Instant>,
    /// By source and split id: how many records a split gave to the last batch, plus those it has left.
    wants: BTreeMap<u32, BTreeMap<u32, u64>>,
    lag: BTreeMap<u32, u64>,
}

impl RateController {
    /// `sources`: the numbers of the live sources.
    pub fn new(config: &Config, sources: impl Iterator<Item = u32>) -> Self {
        let pid = |settings| Pid::new(settings, config.interval.duration());
        let rates = config.backpressure.map(|settings| sources.map(|source| (source, pid(settings))).collect());
        RateController {
            interval: config.interval,
            began: Instant::now(),
            rates: rates.unwrap_or_default(),
            batches: BTreeMap::new(),
            completed: Completed::default(),
            computed: None,
            wants: BTreeMap::new(),
            lag: BTreeMap::new(),
        }
    }

    /// Records that all sources have left. `None`: no source can say.
    pub fn lag(&self) -> Option<u64> {
        (!self.lag.is_empty()).then(|| self.lag.values().sum())
    }

    /// Records a second that all sources may give together. `None`: no limit yet.
    pub fn rate(&self) -> Option<u64> {
        let rates: Vec<f64> = self.rates.values().filter_map(Pid::rate).collect();
        (!rates.is_empty()).then(|| rates.iter().sum::<f64>() as u64)
    }

    /// Adds a split.
    pub fn split(&mut self, source: u32, split_id: u32) {
        if self.rates.contains_key(&source) {
            self.wants.entry(source).or_default().entry(split_id).or_default();
        }
    }

    /// A live batch is being sealed, this long after its time.
    pub fn seal(&mut self, time: BatchTime, late: Duration) {
        if !self.rates.is_empty() {
            self.batches.insert(time, Tracked { late, ..Tracked::default() });
        }
    }

    /// A source on one worker has sealed its part.
    pub fn sealed(&mut self, source: u32, time: BatchTime, records: u64, ranges: &[Range], lag: &BTreeMap<u32, u64>) {
        if self.rates.contains_key(&source) {
            let wants = self.wants.entry(source).or_default();
            for r in ranges {
                let taken = u64::try_from(r.until - r.from).unwrap_or(0);
                wants.insert(r.split_id, taken.saturating_add(lag.get(&r.split_id).copied().unwrap_or(0)));
            }
            if let Some(b) = self.batches.get_mut(&time) {
                *b.records.entry(source).or_default() += records;
            }
        }
        self.lag.extend(lag.iter().map(|(split_id, records)| (*split_id, *records)));
    }

    /// The batch is closed: workers compute from now on.
    pub fn closed(&mut self, time: BatchTime) {
        if let Some(b) = self.batches.get_mut(&time) {
            b.closed = Some(Instant::now());
        }
    }

    /// All batches before this time are computed.
    pub fn computed(&mut self, before: BatchTime) {
        let now = Instant::now();
        let news = self.batches.range_mut(..before).map(|(_, b)| b).filter(|b| b.computed.is_none());
        for (b, closed) in news.filter_map(|b| b.closed.map(|closed| (b, closed))) {
            let turn = self.computed.map_or(closed, |before| before.max(closed));
            (b.computing, b.waited.0) = (now - turn, turn - closed);
            b.computed = Some(now);
            self.computed = Some(now);
        }
    }

    /// A process has written a batch. `ago`: time since it began to write; `worked`: busy time since its previous report.
    /// Replayed batches are ignored.
    pub fn written(&mut self, process: usize, time: BatchTime, ago: Duration, worked: Duration) {
        let Some(b) = self.batches.get_mut(&time) else { return };
        *self.completed.worked.entry(process).or_default() += worked;
        if let Some(computed) = b.computed
            && let Some(began) = Instant::now().checked_sub(ago)
        {
            b.waited.1 = b.waited.1.max(began.saturating_duration_since(computed));
        }
    }

    /// All processes have written the batch.
    pub fn completed(&mut self, time: BatchTime) {
        let Some(b) = self.batches.remove(&time) else { return };
        for (source, records) in b.records {
            *self.completed.records.entry(source).or_default() += records;
        }
        self.completed.computing += b.computing;
        self.completed.waited = b.late + b.waited.0 + b.waited.1;
    }

    /// The limits of each source for the batch of `time`, from what was measured until now.
    pub fn limits(&mut self, time: BatchTime) -> RateLimits {
        if !self.completed.records.is_empty() {
            let Completed { records, computing, worked, waited } = std::mem::take(&mut self.completed);
            let at = self.began.elapsed().as_secs_f64();
            let processing = worked.into_values().fold(computing, Duration::max);
            for (source, records) in records {
                if let Some(pid) = self.rates.get_mut(&source) {
                    pid.measured(Measured { at, records, processing, scheduling: waited });
                }
            }
        }
        let limit = |(source, pid): (&u32, &Pid)| {
            let records = quota(Some(pid.rate()?.round() as u64), time, self.interval)?;
            let none = BTreeMap::new();
            Some((*source, share(records, self.wants.get(source).unwrap_or(&none))))
        };
        self.rates.iter().filter_map(limit).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::backpressure::Backpressure;

    #[test]
    fn writing_replayed_batches_is_not_charged_to_the_first_live_one() {
        let mut config = Config::new("j".into(), Duration::from_secs(1)).unwrap();
        config.backpressure = Some(Backpressure::default());
        let mut rates = RateController::new(&config, [0].into_iter());
        let (replayed, live) = (BatchTime::from_millis(1_000), BatchTime::from_millis(2_000));
        rates.written(0, replayed, Duration::ZERO, Duration::from_secs(900));
        rates.completed(replayed);
        rates.seal(live, Duration::ZERO);
        rates.sealed(0, live, 10, &[], &BTreeMap::new());
        rates.written(0, live, Duration::ZERO, Duration::from_millis(20));
        rates.completed(live);
        assert_eq!(rates.completed.worked, [(0, Duration::from_millis(20))].into());
        assert_eq!(rates.completed.records, [(0, 10)].into());
    }
}
