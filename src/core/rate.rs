//! How fast sources may be read, by what the job did before: the estimator, its settings, and how a rate is shared out.
//!
//! The estimator is Spark's `PIDRateEstimator` (org.apache.spark.streaming.scheduler.rate, SPARK-8979): a rate that is too high by
//! what was measured, and by what waits, is lowered by both. Shared is as Spark's direct stream shares it, by what each
//! partition has.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::core::error::{Error, Result};
use crate::core::plan::Limits;

/// No job does more in a second: a bound for whatever was measured.
const MOST: f64 = 1e12;

/// Back-pressure by a rate: Spark's `spark.streaming.backpressure.*`, off unless asked for.
///
/// Sources of records that come by themselves (Kafka, sockets) are read no faster than the job has shown that it can, beside the
/// bounds that are always there: [`Builder::batch_bytes`](crate::api::context::Builder::batch_bytes) and the caps of a source.
/// Batches then stay as short as their interval where more comes than the job can do. Rates are records a second.
///
/// ```
/// use tidemill::prelude::*;
/// let careful = Backpressure { initial_rate: Some(5_000.0), ..Backpressure::default() };
/// let queue = QueueSource::from_batches([vec![1]]);
/// StreamingContext::builder("careful", millis(5)).backpressure(careful).run(move |ssc| {
///     ssc.queue_stream(&queue).print(1);
///     Ok(())
/// }).unwrap();
/// let wrong = StreamingContext::builder("wrong", millis(5)).backpressure(Backpressure { min_rate: 0.0, ..careful });
/// let e = wrong.run(|_| Ok(())).unwrap_err().to_string();
/// assert!(e.contains("spark.streaming.backpressure.pid.minRate is 0"), "{e}");
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backpressure {
    /// `initialRate`: of each source until the first batch has been measured; no limit unless said.
    pub initial_rate: Option<f64>,
    /// `pid.proportional`: how much of the difference to the measured rate is taken away; 1 unless said.
    pub proportional: f64,
    /// `pid.integral`: how much of what waits is worked off at each turn; 0.2 unless said.
    pub integral: f64,
    /// `pid.derived`: how much a change of the difference counts; 0 unless said.
    pub derived: f64,
    /// `pid.minRate`: no estimate is lower; 100 unless said.
    pub min_rate: f64,
}

impl Default for Backpressure {
    fn default() -> Self {
        Backpressure { initial_rate: None, proportional: 1.0, integral: 0.2, derived: 0.0, min_rate: 100.0 }
    }
}

impl Backpressure {
    /// Every value that cannot be, under Spark's name of it.
    pub(crate) fn check(&self) -> Result<()> {
        let Backpressure { initial_rate, proportional, integral, derived, min_rate } = *self;
        let no_less = [("pid.proportional", proportional), ("pid.integral", integral), ("pid.derived", derived)];
        let above = [("pid.minRate", min_rate), ("initialRate", initial_rate.unwrap_or(1.0))];
        let wrong = no_less.iter().filter(|(_, v)| !(v.is_finite() && *v >= 0.0)).map(|w| (w, "0 or more"));
        let wrong = wrong.chain(above.iter().filter(|(_, v)| !(v.is_finite() && *v > 0.0)).map(|w| (w, "above 0")));
        let said =
            |((name, v), what): (&(&str, f64), &str)| format!("spark.streaming.backpressure.{name} is {v}: it must be {what}");
        let found: Vec<String> = wrong.map(said).collect();
        if found.is_empty() { Ok(()) } else { Err(Error::config(found.join("\n"))) }
    }
}

/// What was measured since the last estimate.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Measured {
    /// Seconds since the job began, by a clock that only goes forward.
    pub at: f64,
    pub records: u64,
    /// How long they took.
    pub processing: Duration,
    /// How long the last of them waited before that.
    pub scheduling: Duration,
}

/// What is known from the last estimate.
#[derive(Clone, Copy, Debug)]
struct Last {
    at: f64,
    rate: f64,
    error: f64,
}

/// The estimator of one source.
#[derive(Clone, Debug)]
pub(crate) struct Pid {
    settings: Backpressure,
    /// Seconds.
    interval: f64,
    last: Option<Last>,
    rate: Option<f64>,
}

impl Pid {
    pub fn new(settings: Backpressure, interval: Duration) -> Self {
        Pid { settings, interval: interval.as_secs_f64(), last: None, rate: settings.initial_rate }
    }

    /// Records a second; `None` is no limit, as long as nothing is known.
    pub fn rate(&self) -> Option<f64> {
        self.rate
    }

    /// Takes what was measured; what says nothing (no records, no time, an earlier moment) changes nothing.
    pub fn measured(&mut self, m: Measured) {
        let processing = m.processing.as_secs_f64();
        let later = self.last.is_none_or(|last| m.at > last.at);
        if m.records == 0 || processing <= 0.0 || !later || !m.at.is_finite() {
            return;
        }
        let s = &self.settings;
        let processed = (m.records as f64 / processing).min(MOST);
        // The first one only says where to begin: Spark gives no rate for it. There it is too late to read less, because the
        // next batches are planned by then; here the open batch is the next, so it holds at once.
        let Some(last) = self.last else {
            self.last = Some(Last { at: m.at, rate: processed, error: 0.0 });
            self.rate = Some(processed.max(s.min_rate));
            return;
        };
        let error = last.rate - processed;
        // Records that wait, as a rate that works them off within one batch.
        let waiting = m.scheduling.as_secs_f64() * processed / self.interval;
        let change = (error - last.error) / (m.at - last.at);
        let rate = last.rate - s.proportional * error - s.integral * waiting - s.derived * change;
        // `max` and `min` have a number where an overflow left none.
        let rate = rate.max(s.min_rate).min(MOST.max(s.min_rate));
        self.last = Some(Last { at: m.at, rate, error });
        self.rate = Some(rate);
    }
}

/// Shares the records of one batch among the splits of a source: `wants` has by split id what each took of the last batch and has
/// left. Where all of it fits, what is over is shared equally; else each gets its part, and at least one record, so that none is
/// forgotten and a hot one is not held to the share of the others. SplitEnumerator that are not among them get a mean share.
pub(crate) fn share(records: u64, wants: &BTreeMap<u32, u64>) -> Limits {
    let splits = wants.len() as u64;
    let total: u128 = wants.values().map(|w| u128::from(*w)).sum();
    let mean = (records / splits.max(1)).max(1);
    let part = |want: u64| match u128::from(records).checked_sub(total) {
        Some(over) => want + (over / u128::from(splits)) as u64,
        None => (u128::from(records) * u128::from(want) / total) as u64,
    };
    Limits::new(wants.iter().map(|(split_id, want)| (*split_id, part(*want).max(1))).collect(), Some(mean))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn pid(settings: Backpressure) -> Pid {
        settings.check().unwrap();
        Pid::new(settings, SECOND)
    }

    /// A batch of so many records that took so long and had waited so long.
    fn batch(pid: &mut Pid, at: u64, records: u64, processing: u64, scheduling: u64) -> f64 {
        pid.measured(Measured { at: at as f64, records, processing: ms(processing), scheduling: ms(scheduling) });
        pid.rate().unwrap()
    }

    #[test]
    fn the_rate_becomes_what_was_measured_and_what_waits_is_worked_off() {
        let mut p = pid(Backpressure::default());
        assert_eq!(p.rate(), None, "nothing is known, nothing is held back");
        assert_eq!(batch(&mut p, 1, 40_000, 2_000, 0), 20_000.0);
        assert_eq!(batch(&mut p, 2, 20_000, 1_000, 0), 20_000.0, "it can do what it is given");
        assert_eq!(batch(&mut p, 3, 10_000, 1_000, 0), 10_000.0, "all of the difference is taken away");
        // Half a second of waiting is 5,000 records: a fifth of them at each turn.
        assert_eq!(batch(&mut p, 4, 10_000, 1_000, 500), 9_000.0);
        assert_eq!(batch(&mut p, 5, 50_000, 1_000, 0), 50_000.0, "and it goes up again");
    }

    #[test]
    fn each_part_counts_as_it_is_set() {
        let off = Backpressure { proportional: 0.0, integral: 0.0, derived: 0.0, ..Backpressure::default() };
        let mut p = pid(off);
        assert_eq!((batch(&mut p, 1, 500, 1_000, 0), batch(&mut p, 2, 900, 1_000, 9_000)), (500.0, 500.0));
        let mut p = pid(Backpressure { proportional: 0.5, ..off });
        assert_eq!((batch(&mut p, 1, 500, 1_000, 0), batch(&mut p, 2, 900, 1_000, 9_000)), (500.0, 700.0));
        let mut p = pid(Backpressure { derived: 1.0, ..off });
        assert_eq!((batch(&mut p, 1, 1_000, 1_000, 0), batch(&mut p, 3, 600, 1_000, 0)), (1_000.0, 800.0), "400 over 2 s");
    }

    #[test]
    fn e12_what_says_nothing_changes_nothing() {
        let mut p = pid(Backpressure { initial_rate: Some(7_000.0), ..Backpressure::default() });
        for (at, records, processing) in [(1, 0, 1_000), (2, 10, 0), (3, 0, 0)] {
            assert_eq!(batch(&mut p, at, records, processing, 500), 7_000.0, "no records, or no delay: as it was");
        }
        assert_eq!(batch(&mut p, 10, 3_000, 1_000, 0), 3_000.0);
        assert_eq!(batch(&mut p, 10, 9_000, 1_000, 0), 3_000.0, "the same moment again");
        assert_eq!(batch(&mut p, 4, 9_000, 1_000, 0), 3_000.0, "a clock that was set back");
        assert_eq!(batch(&mut p, 1 << 40, 9_000, 1_000, 0), 9_000.0, "a clock that ran ahead");
        p.measured(Measured { at: f64::NAN, records: 5, processing: SECOND, scheduling: SECOND });
        assert_eq!(p.rate(), Some(9_000.0));
    }

    #[test]
    fn values_that_cannot_be_are_named_as_spark_names_them() {
        let b = Backpressure {
            proportional: -1.0,
            derived: f64::NAN,
            min_rate: 0.0,
            initial_rate: Some(-3.0),
            ..Backpressure::default()
        };
        let e = b.check().unwrap_err().to_string();
        for said in ["pid.proportional is -1", "pid.derived is NaN", "pid.minRate is 0", "initialRate is -3: it must be above 0"]
        {
            assert!(e.contains(said), "{e}");
        }
        assert!(!e.contains("integral"), "{e}");
    }

    fn shared(records: u64, wants: &[u64]) -> Vec<u64> {
        let wants: BTreeMap<u32, u64> = (0..).zip(wants.iter().copied()).collect();
        let limits = share(records, &wants);
        wants.keys().map(|split_id| limits.of(*split_id).unwrap()).collect()
    }

    #[test]
    fn a_hot_split_gets_by_what_it_has_and_a_silent_one_is_not_forgotten() {
        assert_eq!(shared(1_000, &[9_000, 1_000, 0]), [900, 100, 1]);
        assert_eq!(shared(1_000, &[100, 50, 0]), [383, 333, 283], "room for all: the rest equally");
        assert_eq!(shared(1_000, &[0, 0]), [500, 500]);
        assert_eq!(shared(0, &[5, 0]), [1, 1]);
        assert_eq!(shared(u64::MAX, &[u64::MAX, u64::MAX]), [u64::MAX / 2, u64::MAX / 2]);
        assert_eq!(share(90, &BTreeMap::new()).of(3), Some(90));
        assert_eq!(share(90, &BTreeMap::from([(0, 500), (1, 0), (2, 0)])).of(3), Some(30), "one that is new");
    }

    fn any_settings() -> impl Strategy<Value = Backpressure> {
        let factor = || prop_oneof![Just(0.0), 0.0..2.0f64, 0.0..1e300f64];
        let rate = || prop_oneof![0.001..1e4f64, Just(f64::MIN_POSITIVE), Just(1e300)];
        (factor(), factor(), factor(), rate(), proptest::option::of(rate())).prop_map(
            |(proportional, integral, derived, min_rate, initial_rate)| Backpressure {
                proportional,
                integral,
                derived,
                min_rate,
                initial_rate,
            },
        )
    }

    fn any_measure() -> impl Strategy<Value = Measured> {
        let time = || prop_oneof![Just(0u64), 0..5_000_000_000u64, Just(u64::MAX)];
        (-1e9..1e12f64, prop_oneof![Just(0u64), 0..1_000_000u64, Just(u64::MAX)], time(), time()).prop_map(
            |(at, records, processing, scheduling)| Measured {
                at,
                records,
                processing: Duration::from_nanos(processing),
                scheduling: Duration::from_nanos(scheduling),
            },
        )
    }

    proptest! {
        #[test]
        fn e12_no_rate_is_below_the_least_nor_no_number(
            settings in any_settings(),
            interval in 1..100_000u64,
            measures in proptest::collection::vec(any_measure(), 0..40),
        ) {
            settings.check().unwrap();
            let mut p = Pid::new(settings, ms(interval));
            let mut said = false;
            for m in measures {
                p.measured(m);
                said |= m.records > 0 && !m.processing.is_zero();
                match p.rate() {
                    Some(rate) if said => prop_assert!(rate.is_finite() && rate >= settings.min_rate, "{rate}"),
                    rate => prop_assert_eq!(rate, settings.initial_rate),
                }
            }
        }

        #[test]
        fn shares_are_no_more_than_there_is_but_one_a_split(
            records in 0..u64::MAX,
            wants in proptest::collection::vec(prop_oneof![Just(0u64), 0..1_000u64, Just(u64::MAX)], 1..20),
        ) {
            let given = shared(records, &wants);
            let total: u128 = given.iter().map(|n| u128::from(*n)).sum();
            prop_assert!(total <= u128::from(records) + given.len() as u128);
            prop_assert!(given.iter().all(|n| *n >= 1));
            for (a, b) in wants.iter().zip(&given).zip(wants.iter().zip(&given).skip(1)) {
                prop_assert!(a.0 > b.0 || a.1 <= b.1, "who wants more gets no less");
                prop_assert!(a.0 < b.0 || a.1 >= b.1);
            }
        }
    }
}
