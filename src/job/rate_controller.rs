//! How much each source may give to a batch: what was measured of the batches before, and what each split has left.
//!
//! A job is a pipeline: a batch is read while one before it is computed and another is written. What limits it is the slower of
//! the two: how long the workers computed since the batch before was computed, and how long the output threads worked. Waiting
//! for one's turn, or for others to commit with, is no work; but it is what the estimator works off.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::api::config::Config;
use crate::core::plan::{Range, RateLimits};
use crate::core::time::{BatchTime, Interval};
use crate::job::rate_estimator::{Measured, Pid, share};
use crate::job::source_operator::quota;

/// A batch that is not through yet.
#[derive(Default)]
struct Tracked {
    /// From the time of its end to its seal.
    late: Duration,
    closed: Option<Instant>,
    computed: Option<Instant>,
    computing: Duration,
    /// For its turn to be computed, and then to be written.
    waited: (Duration, Duration),
    records: BTreeMap<u32, u64>,
}

/// What came through since the last estimate.
#[derive(Default)]
struct Through {
    records: BTreeMap<u32, u64>,
    computing: Duration,
    /// By process.
    worked: BTreeMap<usize, Duration>,
    waited: Duration,
}

/// The paces of all sources. Without back-pressure it only knows what is left in them.
pub(crate) struct Paces {
    interval: Interval,
    began: Instant,
    /// The estimator of each source that is read as records come.
    rates: BTreeMap<u32, Pid>,
    batches: BTreeMap<BatchTime, Tracked>,
    through: Through,
    /// When the newest batch that is computed was.
    computed: Option<Instant>,
    /// By source and split id: what a split gave to the last batch, and what it has left.
    wants: BTreeMap<u32, BTreeMap<u32, u64>>,
    lag: BTreeMap<u32, u64>,
}

impl Paces {
    /// For the sources with these numbers.
    pub fn new(config: &Config, sources: impl Iterator<Item = u32>) -> Self {
        let pid = |settings| Pid::new(settings, config.interval.duration());
        let rates = config.backpressure.map(|settings| sources.map(|source| (source, pid(settings))).collect());
        Paces {
            interval: config.interval,
            began: Instant::now(),
            rates: rates.unwrap_or_default(),
            batches: BTreeMap::new(),
            through: Through::default(),
            computed: None,
            wants: BTreeMap::new(),
            lag: BTreeMap::new(),
        }
    }

    /// Records that are left in all sources, where any can say.
    pub fn lag(&self) -> Option<u64> {
        (!self.lag.is_empty()).then(|| self.lag.values().sum())
    }

    /// Records a second that all sources may be read with.
    pub fn rate(&self) -> Option<u64> {
        let rates: Vec<f64> = self.rates.values().filter_map(Pid::rate).collect();
        (!rates.is_empty()).then(|| rates.iter().sum::<f64>() as u64)
    }

    /// There is a split.
    pub fn split(&mut self, source: u32, split_id: u32) {
        if self.rates.contains_key(&source) {
            self.wants.entry(source).or_default().entry(split_id).or_default();
        }
    }

    /// A batch that is read as records come is being sealed.
    pub fn seal(&mut self, time: BatchTime, late: Duration) {
        if !self.rates.is_empty() {
            self.batches.insert(time, Tracked { late, ..Tracked::default() });
        }
    }

    /// A source on one worker has said how far it is.
    pub fn sealed(&mut self, source: u32, time: BatchTime, records: u64, ranges: &[Range], lag: BTreeMap<u32, u64>) {
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
        self.lag.extend(lag);
    }

    /// The plan is made: workers compute from now on.
    pub fn closed(&mut self, time: BatchTime) {
        if let Some(b) = self.batches.get_mut(&time) {
            b.closed = Some(Instant::now());
        }
    }

    /// Everything before this time is computed.
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

    /// A process has written a batch: it began so long `ago`, and has worked for so long since it last said so. What a batch of
    /// before a restart took is no measure: its records are not counted either.
    pub fn out(&mut self, process: usize, time: BatchTime, ago: Duration, worked: Duration) {
        let Some(b) = self.batches.get_mut(&time) else { return };
        *self.through.worked.entry(process).or_default() += worked;
        if let Some(computed) = b.computed
            && let Some(began) = Instant::now().checked_sub(ago)
        {
            b.waited.1 = b.waited.1.max(began.saturating_duration_since(computed));
        }
    }

    /// All processes have.
    pub fn through(&mut self, time: BatchTime) {
        let Some(b) = self.batches.remove(&time) else { return };
        for (source, records) in b.records {
            *self.through.records.entry(source).or_default() += records;
        }
        self.through.computing += b.computing;
        self.through.waited = b.late + b.waited.0 + b.waited.1;
    }

    /// What each source may give to the batch of `time`, by what was measured until now.
    pub fn limits(&mut self, time: BatchTime) -> RateLimits {
        if !self.through.records.is_empty() {
            let Through { records, computing, worked, waited } = std::mem::take(&mut self.through);
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
    fn what_replayed_batches_took_to_write_is_not_charged_to_the_first_live_one() {
        let mut config = Config::new("j".into(), Duration::from_secs(1)).unwrap();
        config.backpressure = Some(Backpressure::default());
        let mut paces = Paces::new(&config, [0].into_iter());
        let (replayed, live) = (BatchTime::from_millis(1_000), BatchTime::from_millis(2_000));
        paces.out(0, replayed, Duration::ZERO, Duration::from_secs(900));
        paces.through(replayed);
        paces.seal(live, Duration::ZERO);
        paces.sealed(0, live, 10, &[], BTreeMap::new());
        paces.out(0, live, Duration::ZERO, Duration::from_millis(20));
        paces.through(live);
        assert_eq!(paces.through.worked, [(0, Duration::from_millis(20))].into());
        assert_eq!(paces.through.records, [(0, 10)].into());
    }
}
