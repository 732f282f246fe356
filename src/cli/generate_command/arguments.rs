//! The arguments of `tidemill gen`, and what they say together.

use std::path::PathBuf;

use super::super::args::{self, ReplaySpeed};
use super::super::generate::{Pace, ReplayPace};
use super::record_time::RecordTime;
use crate::core::error::BoxError;

/// The pace of generated records in their own times, where no rate is given.
pub(super) const DEFAULT_RATE: f64 = 1_000.0;

/// When records are due.
pub(super) enum Pacing {
    /// At once.
    Free,
    /// At a rate.
    Rate(Pace),
    /// By their own times.
    Times(ReplayPace),
}

/// The same seed gives the same records at any rate. Ctrl-C ends in order: accepted records are delivered.
#[derive(clap::Args)]
pub struct Args {
    /// What to generate
    #[arg(value_enum)]
    pub(super) kind: Kind,
    /// Kafka brokers, HOST:PORT [default: write lines to stdout]
    #[arg(long, value_name = "LIST")]
    pub(super) brokers: Option<String>,
    /// The topic, created if it does not exist [default: twitter, words, weblogs or nexmark]
    #[arg(long, requires = "brokers")]
    pub(super) topic: Option<String>,
    /// A stream of Kinesis, created if it does not exist; credentials are those of the environment
    #[arg(long, value_name = "STREAM", conflicts_with = "brokers")]
    pub(super) kinesis: Option<String>,
    /// The address of Kinesis [default: that of AWS in the region]
    #[arg(long, value_name = "URL", requires = "kinesis")]
    pub(super) endpoint_url: Option<String>,
    /// The region of Kinesis [default: that of the environment]
    #[arg(long, value_name = "NAME", requires = "kinesis")]
    pub(super) region: Option<String>,
    /// Partitions of a created topic, or shards of a created stream
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    pub(super) partitions: i32,
    /// Records per second: 500, 200k or 1.5M [default: as fast as possible]; the times in generated records have this pace, or 1000
    #[arg(long, value_name = "N", value_parser = args::rate)]
    pub(super) rate: Option<f64>,
    /// Send records this many times as fast as their own times pass: 60, 0.5, or max for as fast as possible
    #[arg(long, value_name = "X", value_parser = args::replay_speed)]
    pub(super) replay_speed: Option<ReplaySpeed>,
    /// End after N records
    #[arg(long, value_name = "N")]
    pub(super) count: Option<u64>,
    /// Random seed
    #[arg(long, default_value_t = 7)]
    pub(super) seed: u64,
    /// Share of unreadable records: 0.01 or 1%
    #[arg(long, default_value = "0", value_name = "SHARE", value_parser = args::share)]
    pub(super) bad: f64,
    /// Write lines of N words instead of one word in a JSON object (words only)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) line: Option<u16>,
    /// The key of a record: this field of its JSON, such as word or user.screen_name; a record without it has no key in Kafka, and its number
    /// in Kinesis
    #[arg(long, value_name = "FIELD")]
    pub(super) key: Option<String>,
    /// A header of each record, NAME=VALUE; repeatable
    #[arg(long, value_name = "NAME=VALUE", value_parser = args::header, requires = "brokers")]
    pub(super) header: Vec<(String, Vec<u8>)>,
    /// Send the lines of this file once, instead of generated records; gzip is unpacked, - is stdin
    #[arg(long, value_name = "PATH", conflicts_with_all = ["bad", "line", "seed"])]
    pub(super) file: Option<PathBuf>,
    /// The field of a JSON line that has its time, such as user.since, as text or as a number since 1970 [default: that of tweets, web logs
    /// and NEXMark]
    #[arg(long, value_name = "FIELD", requires = "file")]
    pub(super) time: Option<String>,
    /// Write files into this directory, one for each day (UTC) of the records' own times: 2017-01-11.json
    #[arg(long, value_name = "DIR", conflicts_with_all = ["brokers", "kinesis"])]
    pub(super) by_day: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Kind {
    /// Tweets as JSON
    Tweets,
    /// Words, {"word": "…"}
    Words,
    /// Requests in Combined Log Format
    Weblogs,
    /// People, auctions and bids of the benchmark NEXMark as JSON
    Nexmark,
}

impl Args {
    /// Whether records go to a service, where they have keys.
    pub(super) fn has_keys(&self) -> bool {
        self.brokers.is_some() || self.kinesis.is_some()
    }

    /// What the records are called.
    pub(super) fn name(&self) -> &'static str {
        match self.kind {
            _ if self.file.is_some() => "lines",
            Kind::Tweets => "tweets",
            Kind::Words if self.line.is_some() => "lines",
            Kind::Words => "words",
            Kind::Weblogs => "requests",
            Kind::Nexmark => "events",
        }
    }

    /// The ending of files by day.
    pub(super) fn ending(&self) -> &'static str {
        match self.kind {
            Kind::Weblogs => "log",
            Kind::Words if self.file.is_some() || self.line.is_some() => "txt",
            Kind::Words | Kind::Tweets | Kind::Nexmark => "json",
        }
    }

    /// Whether lines go to stdout.
    pub(super) fn is_stdout(&self) -> bool {
        !self.has_keys() && self.by_day.is_none()
    }

    /// Where the lines of the file have the time that another argument needs. `None`: none needs it.
    pub(super) fn needed_time(&self) -> Result<Option<RecordTime>, BoxError> {
        let paced = matches!(self.replay_speed, Some(ReplaySpeed::Times(_)));
        let why = match (&self.by_day, paced) {
            (Some(_), _) => "--by-day",
            (None, true) => "--replay-speed",
            (None, false) => return Ok(None),
        };
        let time = RecordTime::of(self.kind, self.time.as_deref());
        time.map(Some)
            .ok_or_else(|| format!("{why} needs the times of the lines, and words have none: --time FIELD names it").into())
    }

    /// The pace of the records.
    pub(super) fn pacing(&self) -> Result<Pacing, BoxError> {
        match (self.replay_speed, self.rate) {
            (None, None) | (Some(ReplaySpeed::Max), _) => Ok(Pacing::Free),
            (None, Some(rate)) => Ok(Pacing::Rate(Pace::new(rate))),
            (Some(_), Some(_)) if self.file.is_some() => {
                Err("--rate and --replay-speed: the lines of a file have a pace of their own; leave one of them out".into())
            }
            (Some(ReplaySpeed::Times(speed)), _) if self.file.is_some() => Ok(Pacing::Times(ReplayPace::new(speed))),
            (Some(ReplaySpeed::Times(speed)), rate) => Ok(Pacing::Rate(Pace::new(rate.unwrap_or(DEFAULT_RATE) * speed))),
        }
    }

    /// What contradicts itself, and what has no meaning.
    pub(super) fn check(&self) -> Result<(), BoxError> {
        if self.line.is_some() && self.kind != Kind::Words {
            return Err("--line is for words only".into());
        }
        if self.file.is_some() && self.rate.is_some() && self.replay_speed == Some(ReplaySpeed::Max) {
            return Err("--rate and --replay-speed max: one of them says the pace of the lines; leave the other out".into());
        }
        if self.time.is_some() && self.needed_time()?.is_none() {
            return Err("--time is for --replay-speed X and --by-day: nothing else needs the times of lines".into());
        }
        Ok(())
    }
}

impl Kind {
    pub(super) fn topic(self) -> &'static str {
        match self {
            Kind::Tweets => "twitter",
            Kind::Words => "words",
            Kind::Weblogs => "weblogs",
            Kind::Nexmark => "nexmark",
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn parsed(line: &str) -> Result<Args, String> {
        Line::try_parse_from(["gen"].into_iter().chain(line.split(' '))).map(|line| line.args).map_err(|e| e.to_string())
    }

    fn refused(line: &str) -> String {
        let args = parsed(line).unwrap();
        args.check().and_then(|()| args.pacing().map(drop)).and_then(|()| args.needed_time().map(drop)).unwrap_err().to_string()
    }

    #[test]
    fn options_that_contradict_each_other_are_refused_with_the_remedy() {
        for (line, word) in [
            ("words --by-day days --brokers b:1", "--brokers"),
            ("words --by-day days --kinesis s", "--kinesis"),
            ("words --header unit=words", "--brokers"),
            ("words --time at", "--file"),
            ("words --replay-speed fast", "max"),
            ("words --header unit --brokers b:1", "NAME=VALUE"),
        ] {
            let e = parsed(line).err().unwrap();
            assert!(e.contains(word), "{line}: {e}");
        }
        for (line, word) in [
            ("tweets --file f --rate 5 --replay-speed 2", "leave one of them out"),
            ("tweets --file f --rate 5 --replay-speed max", "leave the other out"),
            ("words --file f --replay-speed 2", "--time FIELD"),
            ("words --file f --by-day days", "--time FIELD"),
            ("words --file f --time at", "nothing else needs"),
            ("tweets --line 3", "words only"),
        ] {
            let e = refused(line);
            assert!(e.contains(word), "{line}: {e}");
        }
    }

    #[test]
    fn the_pace_is_that_of_the_rate_or_of_the_records_own_times() {
        let pacing = |line: &str| {
            let args = parsed(line).unwrap();
            args.check().unwrap();
            match args.pacing().unwrap() {
                Pacing::Free => "free".to_owned(),
                Pacing::Rate(mut pace) => format!("{} in a second", pace.due(std::time::Duration::from_secs(1))),
                Pacing::Times(_) => "own times".to_owned(),
            }
        };
        assert_eq!(pacing("words"), "free");
        assert_eq!(pacing("words --rate 5"), "5 in a second");
        assert_eq!(pacing("words --rate 5 --replay-speed 60x"), "300 in a second");
        assert_eq!(pacing("words --replay-speed 2"), "2000 in a second");
        assert_eq!(pacing("weblogs --rate 0.1 --replay-speed max --by-day days"), "free");
        assert_eq!(pacing("weblogs --file f --replay-speed 60"), "own times");
        assert_eq!(pacing("words --file f --replay-speed 0.5 --time at"), "own times");
        let args = parsed("words --header unit=words --header none= --brokers b:1").unwrap();
        assert_eq!(args.header, [("unit".to_owned(), b"words".to_vec()), ("none".to_owned(), Vec::new())]);
    }
}
