//! Counts trips of shared bikes by the station and the hour in which they start, and shows the peak hours of the day. Times are those of the
//! trips, so a file of half a year gives the same hours as a feed that is read while people ride.
//!
//!     cargo run --release --features dataflows --bin bike_trips -- --dir trips --existing --rows 5
//!
//! Lines are those of Bay Area Bike Share, which is CC0: `Trip ID,Duration,Start Date,Start Station,…`. `--brokers` reads a topic instead.

use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use clap::Parser;
use jiff::fmt::strtime;
use jiff::{Timestamp, Zoned};
use tidemill::prelude::*;

#[global_allocator]
static ALLOC: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Where the stations are. Times in the lines have no zone.
const ZONE: &str = "America/Los_Angeles";

/// Counts bike trips by station and hour, and shows the peak hours.
#[derive(Clone, Debug, Parser)]
struct Args {
    /// Kafka brokers, HOST:PORT
    #[arg(long, value_name = "LIST", required_unless_present = "dir", conflicts_with = "dir")]
    brokers: Option<String>,
    /// Read the files that appear in this directory, not a topic
    #[arg(long)]
    dir: Option<PathBuf>,
    /// A topic of lines
    #[arg(long, default_value = "bike_trips")]
    topic: String,
    #[arg(long, value_parser = tidemill::api::config::interval, default_value = "5s")]
    interval: Duration,
    /// How late a trip may be
    #[arg(long, value_parser = tidemill::core::time::parse_duration, default_value = "1h")]
    delay: Duration,
    /// How many rows of a table are printed
    #[arg(long, default_value_t = 10)]
    rows: usize,
    /// Read the files that are in the directory already, too
    #[arg(long, requires = "dir")]
    existing: bool,
    #[command(flatten)]
    runtime: RuntimeArgs,
}

/// When and where a trip starts.
#[derive(Clone, Debug, PartialEq)]
struct Trip {
    start: Zoned,
    station: String,
}

impl FromStr for Trip {
    type Err = BoxError;

    fn from_str(line: &str) -> Result<Self, BoxError> {
        let mut fields = line.split(',').skip(2);
        let (start, station) = fields.next().zip(fields.next()).ok_or("a trip has a start date and a start station")?;
        let start = strtime::parse("%m/%d/%Y %H:%M", start)?.to_datetime()?.in_tz(ZONE)?;
        Ok(Trip { start, station: station.into() })
    }
}

fn main() -> ExitCode {
    tidemill::logging::init();
    tidemill::logging::exit(run(Args::parse()))
}

fn run(args: Args) -> tidemill::Result<Summary> {
    StreamingContext::builder("bike_trips", args.interval).runtime(args.runtime.clone()).run(move |ssc| {
        let lines = match &args.dir {
            Some(dir) => ssc.text_file_stream_with(TextFileSource::new(dir).existing(args.existing)),
            None => {
                let brokers = args.brokers.as_deref().unwrap_or_default();
                let topic = KafkaSource::brokers(brokers).topic(&args.topic).start(StartFrom::earliest());
                ssc.kafka_direct_stream(topic).values()
            }
        };
        let lines = lines.oks().filter(|line| !line.starts_with("Trip ID"));
        let trips = lines.try_map(|line| line.parse::<Trip>()).oks();
        let stations = trips.event_time(|trip| trip.start.clone(), args.delay).map(|trip| trip.station);
        let by_hour = stations.tumbling(hours(1)).count_by_value().append();

        let line = |w: Windowed<(String, i64)>| format!("{}:\tStation {}\tTrips {}", hour(w.start), w.row.0, w.row.1);
        by_hour.sort_by(|w| (w.start, -w.row.1, w.row.0.clone())).map(line).print(args.rows);

        // Only hours that are over count, so that no hour looks quiet because it has just begun.
        let peaks = by_hour.map(|w| (hour_of_day(w.start), w.row.1)).sum_by_key().sort_by(|(_, n)| -n);
        peaks.complete().map(|(hour, n)| format!("Trips from {hour:02}:00:\t{n}")).print(args.rows);
        Ok(())
    })
}

/// A time where the stations are.
fn local(micros: i64) -> Option<Zoned> {
    Timestamp::from_microsecond(micros).ok()?.in_tz(ZONE).ok()
}

fn hour(micros: i64) -> String {
    local(micros).map(|at| at.strftime("%Y-%m-%d %H:%M").to_string()).unwrap_or_default()
}

fn hour_of_day(micros: i64) -> i8 {
    local(micros).map_or(0, |at| at.hour())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_or_refused_with_a_reason() {
        let trip = |line: &str| line.parse::<Trip>().map_err(|e| e.to_string());
        let read =
            trip("139545,435,1/1/2014 0:14,San Francisco City Hall,58,1/1/2014 0:21,Townsend at 7th,65,473,Subscriber,94612")
                .unwrap();
        assert_eq!(
            (read.start.timestamp().to_string(), &*read.station),
            ("2014-01-01T08:14:00Z".into(), "San Francisco City Hall")
        );
        assert_eq!(hour(read.start.timestamp().as_microsecond()), "2014-01-01 00:14");
        // Summer begins at two.
        assert_eq!([1, 3].map(|h| trip(&format!("1,2,3/9/2014 {h}:30,x")).unwrap().start.offset().seconds() / 3_600), [-8, -7]);
        assert_eq!(trip("139545,435").unwrap_err(), "a trip has a start date and a start station");
        assert!(trip("1,2,13/1/2014 0:14,x").unwrap_err().contains("month"));
    }
}
