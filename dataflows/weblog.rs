//! Counts requests to a web server by method and by endpoint, in each batch and over a window. This is the exercise at the end of
//! "Working with Spark and Kafka".
//!
//!     tidemill gen weblogs --brokers 127.0.0.1:9092 --rate 200 --bad 1% &
//!     cargo run --release --features dataflows --bin weblog -- --brokers 127.0.0.1:9092
//!
//! `--dir DIR` reads files that appear in a directory instead.

use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use clap::Parser;
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
    /// Read the topic from its beginning, not from its end
    #[arg(long)]
    earliest: bool,
    #[command(flatten)]
    runtime: RuntimeArgs,
}

/// The counted parts of a request: `host - - [time] "METHOD endpoint HTTP/1.1" status size …`.
#[derive(Clone, Debug, PartialEq)]
struct Hit {
    method: String,
    endpoint: String,
    status: u16,
}

impl FromStr for Hit {
    type Err = BoxError;

    fn from_str(line: &str) -> Result<Self, BoxError> {
        let (_, rest) = line.split_once("] \"").ok_or("no request after the time")?;
        let (request, rest) = rest.split_once("\" ").ok_or("the request does not end")?;
        let (method, rest_of_request) = request.split_once(' ').ok_or("the request has no endpoint")?;
        let endpoint = rest_of_request.split([' ', '?']).next().unwrap_or_default();
        let status = rest.split(' ').next().unwrap_or_default().parse().map_err(|_| "the status is no number")?;
        Ok(Hit { method: method.into(), endpoint: endpoint.into(), status })
    }
}

fn main() -> ExitCode {
    tidemill::logging::init();
    tidemill::logging::exit(run(Args::parse()))
}

fn run(args: Args) -> tidemill::Result<Summary> {
    StreamingContext::builder("weblog", args.interval).runtime(args.runtime.clone()).run(move |ssc| {
        let lines = match &args.dir {
            Some(dir) => ssc.text_file_stream(dir),
            None => {
                let start = if args.earliest { StartFrom::earliest() } else { StartFrom::latest() };
                let brokers = args.brokers.as_deref().unwrap_or_default();
                ssc.kafka_direct_stream(KafkaSource::brokers(brokers).topic(&args.topic).start(start)).values()
            }
        };
        let hits = lines.oks().try_map(|line| line.parse::<Hit>()).oks();
        for (name, by) in [("method", (|h| h.method) as fn(Hit) -> String), ("endpoint", |h| h.endpoint)] {
            let names = hits.map(by);
            let line = move |when| move |(what, n): (String, i64)| format!("{name} {when}:\tValue {what}\tCount {n}");
            names.count_by_value().sort_by(|(_, n)| -n).map(line("this batch")).print(10);
            let rolling = names.count_by_value_and_window(args.window, args.interval).sort_by(|(_, n)| -n);
            rolling.complete().map(line("rolling")).print(10);
        }
        hits.filter(|h| h.status >= 500).count().map(|n| format!("Server errors this batch: {n}")).print(1);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_or_refused_with_a_reason() {
        let line = r#"127.0.0.1 - - [01/Aug/1995:00:00:01 -0400] "GET /images/launch-logo.gif?x=1 HTTP/1.0" 200 1839"#;
        let hit = Hit { method: "GET".into(), endpoint: "/images/launch-logo.gif".into(), status: 200 };
        assert_eq!(line.parse::<Hit>().unwrap(), hit);
        for (cut, why) in [(20, "no request"), (60, "does not end"), (48, "does not end")] {
            assert!(line[..cut].parse::<Hit>().unwrap_err().to_string().contains(why), "{cut}");
        }
    }
}
