//! Estimates from previous batches how fast sources may be read, and computes the share of each split.
//!
//! The estimator is Spark's `PIDRateEstimator` (org.apache.spark.streaming.scheduler.rate, SPARK-8979). The proportional part lowers
//! the rate if it was higher than the processing rate. The integral part lowers it by the backlog. Partitions share a batch as in
//! Spark's direct stream: in proportion to their backlog.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::api::backpressure::Backpressure;
use crate::core::plan::Limits;

/// Records a second that no job exceeds: an upper bound for every measurement.
const MOST: f64 = 1e12;

/// What was measured since the last estimate.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Measured {
    /// Seconds since the job began, by a clock that only goes forward.
    pub at: f64,
    pub records: u64,
    /// How long they took.
    pub processing: Duration,
    /// How long the last of them waited before it was processed.
    pub scheduling: Duration,
}

/// The previous estimate.
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

    /// Records a second. `None`: not limited, because nothing is measured yet.
    pub fn rate(&self) -> Option<f64> {
        self.rate
    }

    /// Takes a measurement. One without records, without time, or of an earlier moment changes nothing.
    pub fn measured(&mut self, m: Measured) {
        let processing = m.processing.as_secs_f64();
        let later = self.last.is_none_or(|last| m.at > last.at);
        if m.records == 0 || processing <= 0.0 || !later || !m.at.is_finite() {
            return;
        }
        let s = &self.settings;
        let processed = (m.records as f64 / processing).min(MOST);
        // Spark gives no rate for the first measurement, because the next batches are planned by then. Here the next batch is still
        // open, so the rate holds at once.
        let Some(last) = self.last else {
            self.last = Some(Last { at: m.at, rate: processed, error: 0.0 });
            self.rate = Some(processed.max(s.min_rate));
            return;
        };
        let error = last.rate - processed;
        // The rate that works off the waiting records within one batch.
        let waiting = m.scheduling.as_secs_f64() * processed / self.interval;
        let change = (error - last.error) / (m.at - last.at);
        let rate = last.rate - s.proportional * error - s.integral * waiting - s.derived * change;
        // After an overflow the rate is NaN; `max` and `min` then return the bound.
        let rate = rate.max(s.min_rate).min(MOST.max(s.min_rate));
        self.last = Some(Last { at: m.at, rate, error });
        self.rate = Some(rate);
    }
}

/// Shares the records of one batch among the splits of a source. `wants` says for each split id how many records it took of the last
/// batch and how many it has left.
///
/// If all of them fit, the rest is shared equally. If not, each split gets its proportion, and at least one record. A hot split is
/// thus not held to the share of the others, and no split starves. A split that is not in `wants` gets the mean share.
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

    /// Measures a batch: its records, its processing time and its scheduling delay, in ms.
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
