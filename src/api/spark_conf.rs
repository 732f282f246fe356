//! Settings by Spark's names, `--conf NAME=VALUE`, for programs that come from Spark.

use crate::api::backpressure::Backpressure;
use crate::api::config::Config;
use crate::core::error::{Error, Result};

/// The known settings. docs/guide/coming-from-spark.md lists them too.
const KNOWN: [&str; 11] = [
    "spark.streaming.backpressure.enabled",
    "spark.streaming.backpressure.initialRate",
    "spark.streaming.backpressure.pid.proportional",
    "spark.streaming.backpressure.pid.integral",
    "spark.streaming.backpressure.pid.derived",
    "spark.streaming.backpressure.pid.minRate",
    "spark.streaming.backpressure.rateEstimator",
    "spark.streaming.kafka.maxRatePerPartition",
    "spark.streaming.receiver.maxRate",
    "spark.streaming.receiver.writeAheadLog.enable",
    "spark.streaming.stopGracefullyOnShutdown",
];

/// Spark's settings that are none here, by the beginning of their names: what does it here, or why nothing does. The first one counts.
const NOT_HERE: [(&str, &str); 17] = [
    ("spark.streaming.blockInterval", "rows of a receiver are not cut into blocks; repartition spreads them over the workers"),
    ("spark.streaming.concurrentJobs", "Builder::batches_in_flight says how many batches may be closed and not yet computed"),
    ("spark.streaming.driver.writeAheadLog.", "plans are in the checkpoint directory, if there is one: --checkpoint DIR"),
    ("spark.streaming.dynamicAllocation.", "tidemill rescale changes the workers and processes of a running job"),
    ("spark.streaming.fileStream.minRememberDuration", "TextFileSource::max_age sets it for each source; the default is any age"),
    (
        "spark.streaming.gracefulStopTimeout",
        "a graceful stop has no time limit; a second signal, or stop_now, ends the job at once",
    ),
    ("spark.streaming.kafka.allowNonConsecutiveOffsets", "gaps between offsets are always allowed"),
    ("spark.streaming.kafka.consumer.", "a consumer lives as long as the job, so none is cached; KafkaSource::params sets it up"),
    ("spark.streaming.kafka.minRatePerPartition", "with backpressure each partition gets at least one record of a batch"),
    ("spark.streaming.receiver.writeAheadLog.", "the log of receivers has only spark.streaming.receiver.writeAheadLog.enable"),
    ("spark.streaming.streamingListeners", "Builder::streaming_listener adds a listener"),
    ("spark.streaming.ui.retainedBatches", "the page always keeps the last 1,000 batches"),
    ("spark.streaming.unpersist", "a batch is always dropped after its last reader"),
    ("spark.app.name", "StreamingContext::builder takes the name of the job"),
    ("spark.executor.", "there are no executors; -w N and -n M set the workers and processes"),
    ("spark.master", "-w N and -n M set the workers and processes"),
    ("spark.ui.", "--listen ADDR:PORT serves the page of the job"),
];

/// `NAME=VALUE` of a command line.
///
/// # Errors
/// It has no `=`: clap shows it and ends with status 2.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) => Ok((name.trim().into(), value.trim().into())),
        None => Err(format!("\"{text}\" is not a setting; write NAME=VALUE, such as spark.streaming.backpressure.enabled=true")),
    }
}

/// Applies settings by Spark's names. A later one replaces an earlier one.
///
/// # Errors
/// A name is not known, or a value is not allowed. The error names the setting.
pub(crate) fn apply(config: &mut Config, settings: &[(String, String)]) -> Result<()> {
    let mut on = config.backpressure.is_some();
    let mut b = config.backpressure.unwrap_or_default();
    for (name, value) in settings {
        let wrong = |what: &str| Error::config(format!("{name} is \"{value}\": {what}"));
        let number = || value.parse::<f64>().map_err(|_| wrong("it must be a number"));
        let whole = || match value.parse::<u64>() {
            Ok(n @ 1..) => Ok(Some(n)),
            _ => Err(wrong("it must be a whole number of records a second, 1 or more")),
        };
        let short = name.strip_prefix("spark.streaming.").unwrap_or_default();
        let switch = || value.parse::<bool>().map_err(|_| wrong("it must be true or false"));
        match short {
            "backpressure.enabled" => on = switch()?,
            "backpressure.initialRate" => b.initial_rate = Some(number()?),
            "backpressure.pid.proportional" => b.proportional = number()?,
            "backpressure.pid.integral" => b.integral = number()?,
            "backpressure.pid.derived" => b.derived = number()?,
            "backpressure.pid.minRate" => b.min_rate = number()?,
            "backpressure.rateEstimator" if value == "pid" => {}
            "backpressure.rateEstimator" => return Err(wrong("the only estimator is pid")),
            "kafka.maxRatePerPartition" => config.max_rate_per_partition = whole()?,
            "receiver.maxRate" => config.max_rate_of_receivers = whole()?,
            "receiver.writeAheadLog.enable" => config.receiver_log = switch()?,
            // A signal always does it.
            "stopGracefullyOnShutdown" => switch()?.then_some(()).ok_or_else(|| {
                wrong("it can only be true: a signal stops a job after a last batch, and a second one ends it at once")
            })?,
            _ => return Err(unknown(name)),
        }
    }
    b.check()?;
    config.backpressure = on.then_some(b);
    Ok(())
}

fn unknown(name: &str) -> Error {
    Error::config(match NOT_HERE.iter().find(|(start, _)| name.starts_with(start)) {
        Some((_, why)) => format!("{name} is not a setting of tidemill: {why}"),
        None => format!("{name} is not a known setting; the known settings are {}", KNOWN.join(", ")),
    })
}

impl Config {
    /// Combines the rates of the builder and of the command line. The command line overrides the builder.
    pub(crate) fn settle_rates(&mut self) -> Result<()> {
        if self.runtime.backpressure {
            self.backpressure.get_or_insert_with(Backpressure::default);
        }
        let settings: Vec<_> = self.conf.iter().chain(&self.runtime.conf).cloned().collect();
        apply(self, &settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn with(settings: &[(&str, &str)]) -> Result<Config> {
        let mut config = Config::new("j".into(), Duration::from_secs(1))?;
        config.runtime.conf = settings.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect();
        config.settle_rates().map(|()| config)
    }

    #[test]
    fn each_known_name_is_taken() {
        for name in KNOWN {
            let value = ["true", "pid", "7"].into_iter().find(|v| with(&[(name, v)]).is_ok());
            assert!(value.is_some(), "{name}");
        }
        let all = [
            (KNOWN[0], "true"),
            (KNOWN[1], "5000"),
            (KNOWN[2], "0.9"),
            (KNOWN[3], "0.1"),
            (KNOWN[4], "0.3"),
            (KNOWN[5], "50"),
            (KNOWN[7], "1000"),
            (KNOWN[8], "30"),
            (KNOWN[9], "false"),
        ];
        let config = with(&all).unwrap();
        let b = Backpressure { initial_rate: Some(5_000.0), proportional: 0.9, integral: 0.1, derived: 0.3, min_rate: 50.0 };
        assert_eq!(config.backpressure, Some(b));
        assert_eq!((config.max_rate_per_partition, config.max_rate_of_receivers), (Some(1_000), Some(30)));
        assert!(!config.receiver_log && with(&[]).unwrap().receiver_log, "on unless it is turned off");
        assert_eq!(with(&all[1..]).unwrap().backpressure, None, "off unless it is enabled");
        assert_eq!(with(&[(KNOWN[0], "true"), (KNOWN[0], "false")]).unwrap().backpressure, None);
    }

    #[test]
    fn a_wrong_setting_is_named() {
        for (name, value, expected) in [
            ("spark.streaming.backpressure.enabled", "yes", "true or false"),
            ("spark.streaming.receiver.writeAheadLog.enable", "on", "true or false"),
            ("spark.streaming.backpressure.pid.minRate", "-1", "above 0"),
            ("spark.streaming.backpressure.initialRate", "fast", "a number"),
            ("spark.streaming.backpressure.rateEstimator", "mine", "the only estimator is pid"),
            ("spark.streaming.kafka.maxRatePerPartition", "0", "1 or more"),
            ("spark.streaming.stopGracefullyOnShutdown", "false", "it can only be true"),
            ("spark.streaming.stopGracefullyOnShutdown", "no", "true or false"),
            ("spark.executor.memory", "4g", "there are no executors"),
            ("spark.streaming.backpresure.enabled", "true", "spark.streaming.backpressure.enabled"),
        ] {
            let e = with(&[(name, value)]).unwrap_err().to_string();
            assert!(e.contains(name) && e.contains(expected), "{e}");
        }
        for (name, why) in NOT_HERE {
            let e = with(&[(name, "1")]).unwrap_err().to_string();
            assert!(e.contains(name) && e.contains(why), "{e}");
        }
        assert!(pair("enabled").unwrap_err().contains("=true"));
        assert_eq!(pair("a=b=c"), Ok(("a".into(), "b=c".into())));
    }
}
