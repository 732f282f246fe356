//! `tidemill gen`: data at a rate, on stdout, into a topic or into a stream of Kinesis.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use flate2::bufread::MultiGzDecoder;

use super::args;
use super::generate::{BEGIN_MS, Generate, Nexmark, Pace, Spoiled, Tweets, Weblogs, Words};
use super::stop::stop_on_signals;
use super::terminal::{Terminal, grouped, listened};
use crate::core::error::{BoxError, Error};

/// The same seed gives the same records at any rate. Ctrl-C ends in order: accepted records are delivered.
#[derive(clap::Args)]
pub struct Args {
    /// What to generate
    #[arg(value_enum)]
    kind: Kind,
    /// Kafka brokers, HOST:PORT [default: write lines to stdout]
    #[arg(long, value_name = "LIST")]
    brokers: Option<String>,
    /// The topic, created if it does not exist [default: twitter, words, weblogs or nexmark]
    #[arg(long, requires = "brokers")]
    topic: Option<String>,
    /// A stream of Kinesis, created if it does not exist; credentials are those of the environment
    #[arg(long, value_name = "STREAM", conflicts_with = "brokers")]
    kinesis: Option<String>,
    /// The address of Kinesis [default: that of AWS in the region]
    #[arg(long, value_name = "URL", requires = "kinesis")]
    endpoint_url: Option<String>,
    /// The region of Kinesis [default: that of the environment]
    #[arg(long, value_name = "NAME", requires = "kinesis")]
    region: Option<String>,
    /// Partitions of a created topic, or shards of a created stream
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    partitions: i32,
    /// Records per second: 500, 200k or 1.5M [default: as fast as possible]
    #[arg(long, value_name = "N", value_parser = args::rate)]
    rate: Option<f64>,
    /// End after N records
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Random seed
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Share of unreadable records: 0.01 or 1%
    #[arg(long, default_value = "0", value_name = "SHARE", value_parser = args::share)]
    bad: f64,
    /// Write lines of N words instead of one word in a JSON object (words only)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    line: Option<u16>,
    /// The key of a record: this field of its JSON, such as word or user.screen_name; a record without it has no key in Kafka, and its number
    /// in Kinesis
    #[arg(long, value_name = "FIELD")]
    key: Option<String>,
    /// Send the lines of this file once, instead of generated records; gzip is unpacked, - is stdin
    #[arg(long, value_name = "PATH", conflicts_with_all = ["bad", "line", "seed"])]
    file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
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
    /// Whether records go to a service, and not to stdout.
    fn remote(&self) -> bool {
        self.brokers.is_some() || self.kinesis.is_some()
    }
}

impl Kind {
    fn topic(self) -> &'static str {
        match self {
            Kind::Tweets => "twitter",
            Kind::Words => "words",
            Kind::Weblogs => "weblogs",
            Kind::Nexmark => "nexmark",
        }
    }
}

/// The source of the records.
enum From {
    Made { generator: Box<dyn Generate>, made: u64, rate: f64 },
    Lines { lines: Box<dyn BufRead>, path: PathBuf },
}

impl From {
    fn new(args: &Args) -> Result<Self, BoxError> {
        if args.line.is_some() && args.kind != Kind::Words {
            return Err("--line is for words only".into());
        }
        if let Some(path) = &args.file {
            return Ok(From::Lines { lines: lines_of(path)?, path: path.clone() });
        }
        let (seed, bad) = (args.seed, args.bad);
        let generator: Box<dyn Generate> = match args.kind {
            Kind::Tweets => Box::new(Spoiled::new(Tweets::new(seed), bad, seed)),
            Kind::Weblogs => Box::new(Spoiled::new(Weblogs::new(seed), bad, seed)),
            Kind::Nexmark => Box::new(Spoiled::new(Nexmark::new(seed), bad, seed)),
            Kind::Words => {
                let words = args.line.map_or_else(|| Words::json(seed), |n| Words::lines(seed, n.into()));
                Box::new(Spoiled::new(words, bad, seed))
            }
        };
        // The times in the records depend on the rate, not on the clock.
        Ok(From::Made { generator, made: 0, rate: args.rate.unwrap_or(1_000.0) })
    }

    /// The next record; false at the end.
    fn next(&mut self, record: &mut Vec<u8>) -> Result<bool, BoxError> {
        record.clear();
        match self {
            From::Made { generator, made, rate } => {
                generator.write(BEGIN_MS + (*made as f64 * 1_000.0 / *rate) as u64, record);
                *made += 1;
                Ok(true)
            }
            From::Lines { lines, path } => {
                let read = lines.read_until(b'\n', record).map_err(|e| Error::io(path.display().to_string(), e))?;
                if read == 0 {
                    return Ok(false);
                }
                while matches!(record.last(), Some(b'\n' | b'\r')) {
                    record.pop();
                }
                Ok(true)
            }
        }
    }
}

/// The destination of the records.
enum To {
    Stdout(std::io::BufWriter<std::io::StdoutLock<'static>>),
    #[cfg(feature = "kafka")]
    Topic(Box<crate::connector::kafka::topic_writer::Producer>),
    /// With the number of the next record.
    #[cfg(feature = "kinesis")]
    Stream(Box<crate::connector::kinesis::stream_writer::StreamWriter>, u64),
}

impl To {
    fn new(args: &Args) -> Result<Self, BoxError> {
        match (&args.kinesis, &args.brokers) {
            (Some(stream), _) => To::stream(args, stream),
            (None, Some(brokers)) => To::topic(args, brokers),
            (None, None) if args.key.is_some() => Err("--key is for --brokers or --kinesis: lines have no key".into()),
            (None, None) => Ok(To::stdout()),
        }
    }

    #[cfg(feature = "kinesis")]
    fn stream(args: &Args, stream: &str) -> Result<Self, BoxError> {
        use crate::connector::kinesis::{source::KinesisSource, stream_writer::StreamWriter};
        let mut source = KinesisSource::stream(stream);
        if let Some(url) = &args.endpoint_url {
            source = source.endpoint_url(url);
        }
        if let Some(region) = &args.region {
            source = source.region_name(region);
        }
        Ok(To::Stream(Box::new(StreamWriter::new(source, args.partitions)?), 0))
    }

    #[cfg(not(feature = "kinesis"))]
    fn stream(_: &Args, _: &str) -> Result<Self, BoxError> {
        Err("--kinesis: this tidemill was built without Kinesis; build it with the feature `kinesis`".into())
    }

    #[cfg(feature = "kafka")]
    fn topic(args: &Args, brokers: &str) -> Result<Self, BoxError> {
        use crate::connector::kafka::{topic_tools::Topics, topic_writer::Producer};
        let topic = args.topic.as_deref().unwrap_or(args.kind.topic());
        Topics::new(brokers, &[])?.create_missing(topic, args.partitions)?;
        Ok(To::Topic(Box::new(Producer::new(brokers, topic)?)))
    }

    #[cfg(not(feature = "kafka"))]
    fn topic(_: &Args, _: &str) -> Result<Self, BoxError> {
        Err("--brokers: this tidemill was built without Kafka; build it with the feature `kafka`".into())
    }

    fn stdout() -> Self {
        To::Stdout(std::io::BufWriter::with_capacity(1 << 16, std::io::stdout().lock()))
    }

    /// Sends a record. `key`: the field that is its key, where records have one. `false`: stdout is closed.
    #[cfg_attr(not(any(feature = "kafka", feature = "kinesis")), allow(unused_variables, reason = "stdout has no keys"))]
    fn send(&mut self, key: Option<&str>, record: &mut Vec<u8>) -> Result<bool, BoxError> {
        match self {
            To::Stdout(out) => {
                record.push(b'\n');
                Ok(listened(out.write_all(record))?)
            }
            #[cfg(feature = "kafka")]
            To::Topic(producer) => {
                match key.and_then(|field| key_of(record, field)) {
                    Some(key) => producer.send_keyed(&key, record)?,
                    None => producer.send(None, record)?,
                }
                Ok(true)
            }
            #[cfg(feature = "kinesis")]
            To::Stream(writer, number) => {
                let key = key.and_then(|field| key_of(record, field));
                let key = key.map_or_else(|| number.to_string(), |key| String::from_utf8_lossy(&key).into_owned());
                *number += 1;
                writer.send(&key, record)?;
                Ok(true)
            }
        }
    }

    /// Flushes after some records. `false`: stdout is closed.
    fn pause(&mut self) -> Result<bool, BoxError> {
        match self {
            To::Stdout(out) => Ok(listened(out.flush())?),
            #[cfg(feature = "kafka")]
            To::Topic(producer) => {
                producer.poll();
                Ok(true)
            }
            #[cfg(feature = "kinesis")]
            To::Stream(writer, _) => writer.flush().map(|()| true).map_err(Into::into),
        }
    }

    /// Waits until all records are delivered. Returns their number.
    fn finish(self, sent: u64) -> Result<u64, BoxError> {
        match self {
            To::Stdout(mut out) => Ok(listened(out.flush()).map(|_| sent)?),
            #[cfg(feature = "kafka")]
            To::Topic(producer) => Ok(producer.settle(Duration::from_secs(35))?),
            #[cfg(feature = "kinesis")]
            To::Stream(writer, _) => Ok(writer.settle()?),
        }
    }
}

/// The lines of a file or of stdin, which may be compressed by gzip.
fn lines_of(path: &Path) -> Result<Box<dyn BufRead>, BoxError> {
    /// The first bytes of every gzip file.
    const GZIP: [u8; 2] = [0x1f, 0x8b];
    let wrong = |e| Error::io(path.display().to_string(), e);
    let file: Box<dyn Read> = match path == Path::new("-") {
        true => Box::new(std::io::stdin()),
        false => Box::new(std::fs::File::open(path).map_err(wrong)?),
    };
    let mut lines = BufReader::with_capacity(1 << 16, file);
    if lines.fill_buf().map_err(wrong)?.starts_with(&GZIP) {
        return Ok(Box::new(BufReader::with_capacity(1 << 16, MultiGzDecoder::new(lines))));
    }
    Ok(Box::new(lines))
}

/// The value of a field of a JSON object, as the bytes of a key. Dots lead into objects. Text has no quotes.
#[cfg(any(feature = "kafka", feature = "kinesis"))]
fn key_of(record: &[u8], field: &str) -> Option<Vec<u8>> {
    let json: serde_json::Value = serde_json::from_slice(record).ok()?;
    match field.split('.').try_fold(&json, |json, name| json.get(name))? {
        serde_json::Value::Null => None,
        serde_json::Value::String(text) => Some(text.clone().into_bytes()),
        other => Some(other.to_string().into_bytes()),
    }
}

/// Runs the command.
pub fn run(args: &Args) -> Result<ExitCode, BoxError> {
    crate::logging::init();
    let interrupted = stop_on_signals()?;
    let (mut from, mut to, mut terminal) = (From::new(args)?, To::new(args)?, Terminal::new());
    let start = Instant::now();
    let sent = write(args, &interrupted, &mut from, &mut to, &mut terminal)?;
    let delivered = to.finish(sent)?;
    terminal.clear();
    // The summary is for topics and streams, and for people at a terminal.
    if args.remote() || terminal.live() {
        let secs = start.elapsed().as_secs_f64();
        let place = match (&args.kinesis, &args.brokers) {
            (Some(stream), _) => format!(" in stream {stream}"),
            (None, Some(b)) => format!(" in topic {} on {b}", args.topic.as_deref().unwrap_or(args.kind.topic())),
            (None, None) => String::new(),
        };
        let rate = grouped((delivered as f64 / secs.max(0.001)) as u64);
        terminal.say(&format!("{} {}{place}, {secs:.1} s, {rate}/s", grouped(delivered), name(args)));
    }
    Ok(ExitCode::SUCCESS)
}

fn name(args: &Args) -> &'static str {
    match args.kind {
        _ if args.file.is_some() => "lines",
        Kind::Tweets => "tweets",
        Kind::Words if args.line.is_some() => "lines",
        Kind::Words => "words",
        Kind::Weblogs => "requests",
        Kind::Nexmark => "events",
    }
}

/// Sends records until the count is reached, the source ends, or the command is stopped. Returns how many were sent.
fn write(args: &Args, stop: &AtomicBool, from: &mut From, to: &mut To, terminal: &mut Terminal) -> Result<u64, BoxError> {
    const AT_ONCE: u64 = 1_000;
    let mut pace = Pace::new(args.rate.unwrap_or(f64::MAX));
    let (mut record, mut sent, start, mut drawn) = (Vec::with_capacity(1 << 10), 0u64, Instant::now(), Instant::now());
    while !stop.load(Ordering::Relaxed) {
        let due = if args.rate.is_some() { pace.due(start.elapsed()) } else { AT_ONCE };
        let due = due.min(args.count.unwrap_or(u64::MAX) - sent);
        for _ in 0..due {
            if !from.next(&mut record)? || !to.send(args.key.as_deref(), &mut record)? {
                return Ok(sent);
            }
            sent += 1;
        }
        if !to.pause()? || args.count == Some(sent) {
            return Ok(sent);
        }
        if drawn.elapsed() > Duration::from_millis(200) && args.remote() {
            let rate = sent as f64 / start.elapsed().as_secs_f64();
            terminal.draw(&format!("{} {}  {}/s", grouped(sent), name(args), grouped(rate as u64)));
            drawn = Instant::now();
        }
        if args.rate.is_some() {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    Ok(sent)
}

#[cfg(all(test, any(feature = "kafka", feature = "kinesis")))]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_field_of_the_record() {
        let record = br#"{"word": "tide", "user": {"id": 7}, "none": null}"#;
        let key = |field| key_of(record, field).map(|key| String::from_utf8(key).unwrap());
        assert_eq!(key("word").as_deref(), Some("tide"));
        assert_eq!(key("user.id").as_deref(), Some("7"));
        assert_eq!((key("none"), key("word.no"), key("other"), key_of(b"no JSON", "word")), (None, None, None, None));
    }
}
