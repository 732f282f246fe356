//! Settings of back-pressure: a limit on how fast sources are read, so that the job can keep up. job/rate_estimator.rs reads them.

use crate::core::error::{Error, Result};

/// Back-pressure by a measured rate: Spark's `spark.streaming.backpressure.*`. Off by default.
///
/// The job measures how many records a second it processes. Sources that receive records by themselves (Kafka, sockets) are read
/// no faster than that. Batches then take no longer than their interval, even when more records arrive than the job can process.
/// The bounds that always hold, [`Builder::batch_bytes`](crate::api::builder::Builder::batch_bytes) and the caps of a source, hold
/// here too. Rates are in records a second.
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
    /// `initialRate`: the rate of each source until the first batch is measured. Default: no limit.
    pub initial_rate: Option<f64>,
    /// `pid.proportional`: how much of the difference to the measured rate is subtracted. Default: 1.
    pub proportional: f64,
    /// `pid.integral`: how much of the waiting records each batch works off. Default: 0.2.
    pub integral: f64,
    /// `pid.derived`: how much a change of the difference counts. Default: 0.
    pub derived: f64,
    /// `pid.minRate`: the lowest estimate. Default: 100.
    pub min_rate: f64,
}

impl Default for Backpressure {
    fn default() -> Self {
        Backpressure { initial_rate: None, proportional: 1.0, integral: 0.2, derived: 0.0, min_rate: 100.0 }
    }
}

impl Backpressure {
    /// # Errors
    /// A value is out of its range. The error names each by its Spark name.
    pub(crate) fn check(&self) -> Result<()> {
        let Backpressure { initial_rate, proportional, integral, derived, min_rate } = *self;
        let no_less = [("pid.proportional", proportional), ("pid.integral", integral), ("pid.derived", derived)];
        let above = [("pid.minRate", min_rate), ("initialRate", initial_rate.unwrap_or(1.0))];
        let wrong = no_less.iter().filter(|(_, v)| !(v.is_finite() && *v >= 0.0)).map(|w| (w, "0 or more"));
        let wrong = wrong.chain(above.iter().filter(|(_, v)| !(v.is_finite() && *v > 0.0)).map(|w| (w, "above 0")));
        let message =
            |((name, v), what): (&(&str, f64), &str)| format!("spark.streaming.backpressure.{name} is {v}: it must be {what}");
        let found: Vec<String> = wrong.map(message).collect();
        if found.is_empty() { Ok(()) } else { Err(Error::config(found.join("\n"))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_values_are_named_as_spark_names_them() {
        let b = Backpressure {
            proportional: -1.0,
            derived: f64::NAN,
            min_rate: 0.0,
            initial_rate: Some(-3.0),
            ..Backpressure::default()
        };
        let e = b.check().unwrap_err().to_string();
        for expected in
            ["pid.proportional is -1", "pid.derived is NaN", "pid.minRate is 0", "initialRate is -3: it must be above 0"]
        {
            assert!(e.contains(expected), "{e}");
        }
        assert!(!e.contains("integral"), "{e}");
    }
}
