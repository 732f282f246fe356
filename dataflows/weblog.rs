//! Counts requests to a web server by method and by endpoint, in each batch and over a window. This is the exercise at the end of
//! "Working with Spark and Kafka".
//!
//!     tidemill gen weblogs --brokers 127.0.0.1:9092 --rate 200 --bad 1% &
//!     cargo run --release --features dataflows --bin weblog -- --brokers 127.0.0.1:9092
//!
//! `--dir DIR` reads files that appear in a directory instead. `--event-time` counts the requests for each endpoint in each minute and
//! hour of the log, by the time in its lines:
//!
//!     cargo run --release --features dataflows --bin weblog -- --dir logs --existing --event-time --rows 100

use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use clap::Parser;
use jiff::Timestamp;
use jiff::fmt::strtime;
use tidemill::prelude::*;

#[global_allocator]
static ALLOC: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Counts requests by method and by endpoint.
#[derive(Clone, Debug, Parser)]
struct Args {
    /// Kafka brokers, HOST:PORT
    #[arg(long, value_name = "LIST", required_unless_present = "dir", conflicts_with = "dir")]
    brokers: Option<String>,
    /// Read the files that appear in this directory, not a topic
    #[arg(long)]
    dir: Option<PathBuf>,
    /// A topic of lines in Common or Combined Log Format
    #[arg(long, default_value = "weblogs")]
    topic: String,
    #[arg(long, value_parser = tidemill::api::config::interval, default_value = "5s")]
    interval: Duration,
    /// Length of the window
    #[arg(long, value_parser = tidemill::api::config::interval, default_value = "60s")]
    window: Duration,
    /// Count by the time in the lines, in minutes and hours, not by batch
    #[arg(long)]
    event_time: bool,
    /// How late a line may be, with --event-time
    #[arg(long, value_parser = tidemill::core::time::parse_duration, default_value = "10s")]
    delay: Duration,
    /// How many rows of a table are printed
    #[arg(long, default_value_t = 10)]
    rows: usize,
    /// Read the files that are in the directory already, too
    #[arg(long, requires = "dir")]
    existing: bool,
    /// Read the topic from its beginning, not from its end
    #[arg(long)]
    earliest: bool,
    #[command(flatten)]
    runtime: RuntimeArgs,
}

/// The counted parts of a request: `host - - [time] "METHOD endpoint HTTP/1.1" status size …`.
#[derive(Clone, Debug, PartialEq)]
struct Hit {
    /// As it is written: `01/Aug/1995:00:00:01 -0400`.
    time: String,
    method: String,
    endpoint: String,
    status: u16,
}

impl FromStr for Hit {
    type Err = BoxError;

    fn from_str(line: &str) -> Result<Self, BoxError> {
        let (start, rest) = line.split_once("] \"").ok_or("no request after the time")?;
        let time = start.rsplit('[').next().unwrap_or_default().into();
        let (request, rest) = rest.split_once("\" ").ok_or("the request does not end")?;
        let (method, rest_of_request) = request.split_once(' ').ok_or("the request has no endpoint")?;
        let endpoint = rest_of_request.split([' ', '?']).next().unwrap_or_default();
        let status = rest.split(' ').next().unwrap_or_default().parse().map_err(|_| "the status is no number")?;
        Ok(Hit { time, method: method.into(), endpoint: endpoint.into(), status })
    }
}

impl Hit {
    fn time(&self) -> Result<Timestamp, BoxError> {
        Ok(strtime::parse("%d/%b/%Y:%H:%M:%S %z", &self.time)?.to_timestamp()?)
    }
}

fn main() -> ExitCode {
    tidemill::logging::init();
    tidemill::logging::exit(run(Args::parse()))
}

fn run(args: Args) -> tidemill::Result<Summary> {
    StreamingContext::builder("weblog", args.interval).runtime(args.runtime.clone()).run(move |ssc| {
        let lines = match &args.dir {
            Some(dir) => ssc.text_file_stream_with(TextFileSource::new(dir).existing(args.existing)),
            None => {
                let start = if args.earliest { StartFrom::earliest() } else { StartFrom::latest() };
                let brokers = args.brokers.as_deref().unwrap_or_default();
                ssc.kafka_direct_stream(KafkaSource::brokers(brokers).topic(&args.topic).start(start)).values()
            }
        };
        let hits = lines.oks().try_map(|line| line.parse::<Hit>()).oks();
        if args.event_time {
            by_event_time(&hits, &args);
        } else {
            by_batch(&hits, &args);
        }
        Ok(())
    })
}

/// The requests of each minute and hour, when it is over.
fn by_event_time(hits: &DStream<'_, Hit>, args: &Args) {
    let endpoints = hits.event_time(Hit::time, args.delay).map(|h| h.endpoint);
    for (name, length) in [("minute", mins(1)), ("hour", hours(1))] {
        let counts = endpoints.tumbling(length).count_by_value().append();
        let line = move |Windowed { start, row: (what, n), .. }: Windowed<(String, i64)>| {
            let start = Timestamp::from_microsecond(start).map(|start| start.to_string()).unwrap_or_default();
            format!("{name} of {start}:\tValue {what}\tCount {n}")
        };
        counts.sort_by(|w| (w.start, -w.row.1, w.row.0.clone())).map(line).print(args.rows);
    }
}

/// The requests of each batch, and of a window.
fn by_batch(hits: &DStream<'_, Hit>, args: &Args) {
    for (name, by) in [("method", (|h| h.method) as fn(Hit) -> String), ("endpoint", |h| h.endpoint)] {
        let names = hits.map(by);
        let line = move |when| move |(what, n): (String, i64)| format!("{name} {when}:\tValue {what}\tCount {n}");
        names.count_by_value().sort_by(|(_, n)| -n).map(line("this batch")).print(args.rows);
        let rolling = names.count_by_value_and_window(args.window, args.interval).sort_by(|(_, n)| -n);
        rolling.complete().map(line("rolling")).print(args.rows);
    }
    hits.filter(|h| h.status >= 500).count().map(|n| format!("Server errors this batch: {n}")).print(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_or_refused_with_a_reason() {
        let line = r#"127.0.0.1 - - [01/Aug/1995:00:00:01 -0400] "GET /images/launch-logo.gif?x=1 HTTP/1.0" 200 1839"#;
        let (time, endpoint) = ("01/Aug/1995:00:00:01 -0400".into(), "/images/launch-logo.gif".into());
        let hit = Hit { time, method: "GET".into(), endpoint, status: 200 };
        assert_eq!(line.parse::<Hit>().unwrap(), hit);
        assert_eq!(hit.time().unwrap().to_string(), "1995-08-01T04:00:01Z");
        assert!(Hit { time: "yesterday".into(), ..hit }.time().is_err());
        for (cut, why) in [(20, "no request"), (60, "does not end"), (48, "does not end")] {
            assert!(line[..cut].parse::<Hit>().unwrap_err().to_string().contains(why), "{cut}");
        }
    }
}
