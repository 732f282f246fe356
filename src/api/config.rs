//! The settings of a job: the arguments of its command line, and all settings together, checked before any data is touched.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use crate::api::backpressure::Backpressure;
use crate::api::max_bad::MaxBad;
use crate::core::clock::Clock;
use crate::core::error::{Error, Result};
use crate::core::key_groups::KeyGroups;
use crate::core::path::{local, real, url};
use crate::core::time::{BatchTime, Interval, parse_duration};
use crate::format::lines::LINE_LIMIT;
use crate::logging::LogFormat;
use crate::metrics::StreamingListener;
use crate::replay::request::Replay;

/// Which batch times outputs see of those that became due while the job could not run (overload, suspend, downtime).
/// Windows and state see all of them in either case.
///
/// ```
/// use tidemill::prelude::*;
/// let job = StreamingContext::builder("restarted", secs(1)).catch_up(CatchUp::Skip);
/// # let _ = job;
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum CatchUp {
    /// Every overdue batch time.
    #[default]
    Fill,
    /// Only the last overdue batch time, and the first if it has records.
    Skip,
}

/// The arguments that every tidemill program takes: `#[command(flatten)] runtime: RuntimeArgs`.
///
/// `RuntimeArgs::default()` is the command line without arguments.
///
/// ```
/// use clap::Parser;
/// #[derive(Parser)]
/// struct Args { #[command(flatten)] runtime: tidemill::prelude::RuntimeArgs }
/// let args = Args::parse_from(["job", "-w", "2"]);
/// assert_eq!(args.runtime.workers, 2);
/// ```
#[derive(Clone, Debug, PartialEq, clap::Args)]
#[command(next_help_heading = "Runtime options")]
pub struct RuntimeArgs {
    /// Worker threads of each process
    #[arg(short = 'w', long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub workers: u16,
    /// The most workers that the job can ever have, in all processes: 1 to 4096. It is fixed when the checkpoint directory is made
    #[arg(long, default_value_t = KeyGroups::USUAL, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=i64::from(KeyGroups::MOST)))]
    pub max_parallelism: u16,
    /// Processes of the job
    #[arg(short = 'n', long, default_value_t = 1, value_name = "M", value_parser = clap::value_parser!(u16).range(1..))]
    pub processes: u16,
    /// Index of this process, from 0
    #[arg(short = 'p', long, default_value_t = 0, value_name = "INDEX")]
    pub process: u16,
    /// File with the address of process i in line i [default: 127.0.0.1, ports from 2101]
    #[arg(long, value_name = "FILE")]
    pub hostfile: Option<PathBuf>,
    /// File with the secret that all processes share; needed when they are on several machines [default: TIDEMILL_SECRET]
    #[arg(long, value_name = "FILE")]
    pub secret_file: Option<PathBuf>,
    /// How long the processes wait for each other at the start
    #[arg(long, value_name = "TIME", value_parser = interval, default_value = "30s")]
    pub connect_timeout: Duration,
    /// End the job when a process is silent for this time; at least 1s
    #[arg(long, value_name = "TIME", value_parser = interval, default_value = "10s")]
    pub heartbeat_timeout: Duration,
    /// End the job when a worker is in user code for this time [default: only warn]
    #[arg(long, value_name = "TIME", value_parser = interval)]
    pub stuck_timeout: Option<Duration>,
    /// How long a failing output is tried again before the job ends [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub output_retry: Option<Duration>,
    /// End the job if a verb finds more bad records in a batch: a number, or a percentage of its rows such as 0.1% [default: no limit]
    #[arg(long, value_name = "N|PERCENT", value_parser = MaxBad::from_str)]
    pub max_bad: Option<MaxBad>,
    /// End the job if a verb finds more bad records than this in a row, in one partition [default: no limit]
    #[arg(long, value_name = "N")]
    pub max_bad_in_a_row: Option<u64>,
    /// Answer questions about every view that the program names, as View::queryable does
    #[arg(long)]
    pub queryable: bool,
    /// Which overdue batch times outputs see
    #[arg(long, value_enum, default_value_t)]
    pub catch_up: CatchUp,
    /// Time zone of printed batch times, such as Europe/Paris, UTC or +02:00 [default: the machine's]
    #[arg(long, value_name = "ZONE", allow_hyphen_values = true, value_parser = crate::core::time_zone::parse)]
    pub time_zone: Option<jiff::tz::TimeZone>,
    /// Log only warnings and errors
    #[arg(long)]
    pub quiet: bool,
    /// Format of log lines
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub log: LogFormat,
    /// Serve a page, JSON and metrics of the job over HTTP, such as 127.0.0.1:4040; the next free port if that is taken. Other
    /// addresses than loopback need a secret
    #[arg(long, value_name = "ADDR:PORT", value_parser = crate::http::address::parse)]
    pub listen: Option<std::net::SocketAddr>,
    /// Send metrics and a trace of each batch to a collector of OpenTelemetry, such as http://127.0.0.1:4318 [default:
    /// OTEL_EXPORTER_OTLP_ENDPOINT]
    #[arg(long, value_name = "URL", value_parser = otlp_url)]
    pub otlp: Option<String>,
    /// Show the progress of the job in one line on stderr, if that is a terminal
    #[arg(long)]
    pub status: bool,
    /// Directory, or s3://BUCKET/PREFIX, that keeps state and plans: the job continues where it stopped, on any number of workers
    #[arg(long, value_name = "DIR")]
    pub checkpoint: Option<PathBuf>,
    /// Time between two checkpoints, a multiple of the batch interval [default: 10s, or the first multiple above it]
    #[arg(long, value_name = "TIME", value_parser = interval)]
    pub checkpoint_interval: Option<Duration>,
    /// How long to keep plans that no recovery needs [default: 1h]
    #[arg(long, value_name = "TIME", value_parser = interval)]
    pub keep_plans: Option<Duration>,
    /// How many checkpoints to keep, at least 1 [default: 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub keep_checkpoints: Option<u16>,
    /// Discard checkpointed state that this program does not use
    #[arg(long)]
    pub drop_state: bool,
    /// Read sources no faster than the measured rate of the job: spark.streaming.backpressure.enabled
    #[arg(long)]
    pub backpressure: bool,
    /// A setting by Spark's name, such as spark.streaming.kafka.maxRatePerPartition=1000; repeatable
    #[arg(long = "conf", value_name = "NAME=VALUE", value_parser = crate::api::spark_conf::pair)]
    pub conf: Vec<(String, String)>,
    /// Run earlier batches again, from this batch time: milliseconds since the epoch, or 2026-11-21T17:08:55Z. The checkpoint
    /// directory is only read; outputs write to stdout
    #[arg(long, value_name = "TIME", value_parser = crate::replay::request::parse_time, requires = "replay_to", help_heading = "Replay")]
    pub replay_from: Option<BatchTime>,
    /// Batch time of the last of these batches
    #[arg(long, value_name = "TIME", value_parser = crate::replay::request::parse_time, requires = "replay_from", help_heading = "Replay")]
    pub replay_to: Option<BatchTime>,
    /// Write the output of this topic or file prefix to another one, at least once; repeatable
    #[arg(long, value_name = "OLD=NEW", value_parser = crate::replay::request::parse_redirect, requires = "replay_from", help_heading = "Replay")]
    pub replay_into: Vec<(String, String)>,
    /// Run foreach_batch and foreach_partition in the replay too
    #[arg(long, requires = "replay_from", help_heading = "Replay")]
    pub replay_foreach: bool,
    /// Recompute all state from the first batch, and compare the outputs
    #[arg(long, requires = "replay_from", conflicts_with_all = ["replay_into", "replay_foreach"], help_heading = "Replay")]
    pub verify: bool,
    /// Find the record on which the program panics, in one of these batches, or in what a failed job had read and not planned
    #[arg(long, conflicts_with_all = ["replay_into", "replay_foreach", "verify"], help_heading = "Replay")]
    pub find_poison: bool,
    /// Computations to add at the start, over queryable views: a file with a line for each, such as best = authors | top 10
    #[arg(long, value_name = "FILE")]
    pub add: Option<PathBuf>,
    /// Run the batches of a file of plans (one JSON object a line) instead of live ones, then end
    #[arg(long, hide = true, value_name = "FILE")]
    pub plans: Option<PathBuf>,
}

/// The values of a command line without arguments. Only the attributes above have the defaults.
impl Default for RuntimeArgs {
    fn default() -> Self {
        let command = <Self as clap::Args>::augment_args(clap::Command::new("job").no_binary_name(true));
        let arguments = command.try_get_matches_from::<[&str; 0], _>([]).expect("no argument is required");
        <Self as clap::FromArgMatches>::from_arg_matches(&arguments).expect("all defaults are valid")
    }
}

/// A batch interval on a command line: `#[arg(long, value_parser = interval, default_value = "5s")]`.
///
/// # Errors
/// The text is not a duration, or is shorter than 1 ms. clap prints the error and exits with status 2.
///
/// ```
/// use std::time::Duration;
/// assert_eq!(tidemill::api::config::interval("1500ms").unwrap(), Duration::from_millis(1_500));
/// assert!(tidemill::api::config::interval("soon").is_err());
/// ```
pub fn interval(text: &str) -> Result<Duration> {
    let d = parse_duration(text)?;
    Interval::new(d).map(|_| d)
}

/// Reads the address of a collector.
fn otlp_url(text: &str) -> Result<String> {
    crate::http::otlp::endpoint::parse(text).map(|_| text.to_owned())
}

/// The largest `max_line_bytes`: a worker has memory for a few lines.
const LONGEST_LINE: usize = 1 << 30;

/// How long a failing output is tried again, if the program says neither a time nor a number.
const DEFAULT_OUTPUT_RETRY: Duration = Duration::from_secs(30);

/// The limits of the tries of a failing output. The job ends at the first that is reached. At least one is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RetryLimits {
    /// From the first failure.
    pub time: Option<Duration>,
    /// With the first try.
    pub tries: Option<u32>,
}

/// How many given batches may be sealed ahead of the one that is being closed. This hides the round trip to the workers.
pub(crate) const SEALS_AHEAD: usize = 4;

/// All settings of a job, checked.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub name: String,
    pub interval: Interval,
    pub runtime: RuntimeArgs,
    /// At most this many batches are closed and not yet computed.
    pub in_flight: usize,
    /// Soft limit: bytes that one worker reads into the open batch, and bytes that wait at the outputs of one process.
    pub batch_bytes: usize,
    /// At most this many bytes in a line of a file or a socket.
    pub max_line_bytes: usize,
    /// Computations that are added at the start, as texts.
    pub added: Vec<String>,
    /// At most this many bytes in a gathered batch.
    pub gather_cap: usize,
    /// How often a failed output is tried before the job stops. `None`: only the time counts.
    pub output_tries: Option<u32>,
    /// `None`: off.
    pub backpressure: Option<Backpressure>,
    /// Records a second from each partition of a Kafka source without a rate of its own.
    pub max_rate_per_partition: Option<u64>,
    /// Records a second from each socket and receiver.
    pub max_rate_of_receivers: Option<u64>,
    /// Whether receivers log what they store, if there is a checkpoint directory.
    pub receiver_log: bool,
    /// The program's settings by Spark's names. Those of the command line override them.
    pub conf: Vec<(String, String)>,
    /// Earlier batches instead of live ones.
    pub replay: Option<Replay>,
    /// Whether to warn that state is lost without a checkpoint directory.
    pub warns: bool,
    /// Whether the job sets up log lines if the program has not.
    pub logs: bool,
    /// Whether SIGINT and SIGTERM stop the job.
    pub signals: bool,
    /// The clock of the job, whose time is that of batches.
    pub clock: Clock,
    /// Who hears of every batch, from the first one on.
    pub listeners: Listeners,
}

/// Listeners of a job that has not started.
#[derive(Clone, Default)]
pub(crate) struct Listeners(pub Vec<Arc<dyn StreamingListener>>);

impl std::fmt::Debug for Listeners {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} listeners", self.0.len())
    }
}

impl Config {
    pub fn new(name: String, interval: Duration) -> Result<Self> {
        if name.is_empty() || name.chars().any(|c| c.is_control() || c == '/') {
            return Err(Error::config(format!(
                "job name {name:?}: it names the consumer group and files, so it must not be empty, and must not contain '/' or control characters"
            )));
        }
        Ok(Config {
            name,
            interval: Interval::new(interval)?,
            runtime: RuntimeArgs::default(),
            in_flight: 2,
            batch_bytes: 64 << 20,
            max_line_bytes: LINE_LIMIT,
            added: Vec::new(),
            gather_cap: 256 << 20,
            output_tries: None,
            backpressure: None,
            max_rate_per_partition: None,
            max_rate_of_receivers: None,
            receiver_log: true,
            conf: Vec::new(),
            replay: None,
            warns: true,
            logs: true,
            signals: true,
            clock: Clock::System,
            listeners: Listeners::default(),
        })
    }

    pub fn check(&self) -> Result<()> {
        let r = &self.runtime;
        if r.process >= r.processes {
            return Err(Error::config(format!(
                "process index -p {} is not below the number of processes -n {}: indices go from 0 to {}",
                r.process,
                r.processes,
                r.processes - 1
            )));
        }
        let (peers, most) = (self.peers(), KeyGroups::new(r.max_parallelism)?.count());
        if peers as u64 > most {
            let (workers, processes) = (r.workers, r.processes);
            return Err(Error::config(format!(
                "{peers} workers (-w {workers} in each of -n {processes} processes) are more than max_parallelism {most}: start fewer, or \
                 raise it by --max-parallelism, at most {}; a checkpoint directory keeps the one that it was made with",
                KeyGroups::MOST
            )));
        }
        if r.heartbeat_timeout < Duration::from_secs(1) {
            let given = r.heartbeat_timeout;
            return Err(Error::config(format!(
                "--heartbeat-timeout {given:?}: a busy process is silent for longer; give at least 1s"
            )));
        }
        let possible = 1..=LONGEST_LINE;
        if !possible.contains(&self.max_line_bytes) {
            return Err(Error::config(format!("max_line_bytes {}: it must be 1 to {LONGEST_LINE} bytes", self.max_line_bytes)));
        }
        match r.checkpoint_interval {
            Some(every) => self.checkpoint_every(every).map(|_| ()),
            None => Ok(()),
        }
    }

    /// A time between checkpoints in milliseconds: a multiple of the batch interval.
    pub fn checkpoint_every(&self, every: Duration) -> Result<u64> {
        let (ms, interval) = (every.as_millis() as u64, self.interval.millis());
        if ms > 0 && ms.is_multiple_of(interval) {
            return Ok(ms);
        }
        let near = ms.div_ceil(interval).max(1) * interval;
        let what = format!("checkpoint interval {every:?} is not a multiple of the batch interval");
        Err(Error::config(format!("{what}, {interval} ms; the nearest above it is {near} ms")))
    }

    /// Milliseconds between checkpoints. Default as in Spark: 10 s, or the first multiple of the interval above it.
    pub fn default_checkpoint_every(&self) -> u64 {
        let given = self.runtime.checkpoint_interval.map(|every| every.as_millis() as u64);
        given.unwrap_or_else(|| 10_000u64.next_multiple_of(self.interval.millis()))
    }

    /// Replaces `file:` URLs by their paths.
    ///
    /// # Errors
    /// A URL that is not possible for a file, such as `https://…`. A checkpoint directory may be in an object store.
    pub fn settle_paths(&mut self) -> Result<()> {
        let r = &mut self.runtime;
        for path in [&mut r.hostfile, &mut r.secret_file, &mut r.add, &mut r.plans].into_iter().flatten() {
            *path = local(path).map_err(Error::config)?;
        }
        if let Some(dir) = r.checkpoint.as_mut().filter(|dir| url(dir).is_none()) {
            *dir = local(dir).map_err(Error::config)?;
        }
        Ok(())
    }

    /// Reads the computations of `--add`: a line for each, empty lines and those with `#` left out. Only process 0 adds computations.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn settle_added(&mut self) -> Result<()> {
        let Some(file) = self.runtime.add.as_ref().filter(|_| self.runtime.process == 0) else { return Ok(()) };
        let text = std::fs::read_to_string(file).map_err(|e| Error::io(format!("--add {}", file.display()), e))?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        self.added.extend(lines.map(str::to_owned));
        Ok(())
    }

    /// How long, and how often, a failed output is tried again.
    pub fn retry_limits(&self) -> RetryLimits {
        let time = self.runtime.output_retry.or((self.output_tries.is_none()).then_some(DEFAULT_OUTPUT_RETRY));
        RetryLimits { time, tries: self.output_tries }
    }

    /// Checks that a directory of a source or an output and the checkpoint directory do not contain each other. Else a source
    /// would read checkpoints as lines, or an output would write among their files.
    pub fn apart(&self, dir: &Path, reads: bool) -> Result<()> {
        let Some(checkpoint) = &self.runtime.checkpoint else { return Ok(()) };
        let (ours, theirs) = match (url(checkpoint), url(dir)) {
            (None, None) => (real(checkpoint), real(dir)),
            (Some(_), Some(_)) => (checkpoint.clone(), dir.to_owned()),
            // A bucket overlaps with no directory.
            _ => return Ok(()),
        };
        if !(theirs.starts_with(&ours) || reads && ours.starts_with(&theirs)) {
            return Ok(());
        }
        let (verb, ours, theirs) = (if reads { "read" } else { "written" }, checkpoint.display(), dir.display());
        Err(Error::config(format!(
            "{theirs} is {verb} here, and the checkpoint directory is {ours}: one must not be inside the other; choose another --checkpoint DIR"
        )))
    }

    pub fn zone(&self) -> jiff::tz::TimeZone {
        self.runtime.time_zone.clone().unwrap_or_else(crate::core::time_zone::shown)
    }

    /// The key groups of the job. `check` refuses a wrong number.
    pub fn key_groups(&self) -> KeyGroups {
        KeyGroups::new(self.runtime.max_parallelism).unwrap_or_default()
    }

    /// All workers of the job.
    pub fn peers(&self) -> usize {
        self.runtime.workers as usize * self.runtime.processes as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::temp_dir::TempDir;
    use clap::Parser;

    #[derive(clap::Parser, Debug)]
    struct Args {
        #[command(flatten)]
        runtime: RuntimeArgs,
        #[arg(long, value_parser = interval)]
        interval: Option<Duration>,
    }

    #[test]
    fn g2_g3_bad_arguments_are_claps_errors() {
        for (line, names) in [
            ("job --interval 0ms", "at least 1 ms"),
            ("job --interval fast", "100ms"),
            ("job --time-zone Mars/Base", "Europe/Paris"),
            ("job -w 0", "1.."),
            ("job --max-parallelism 4097", "1..=4096"),
        ] {
            let e = Args::try_parse_from(line.split(' ')).unwrap_err();
            assert_eq!(e.exit_code(), 2);
            assert!(e.to_string().contains(names), "{line}: {e}");
        }
    }

    #[test]
    fn defaults_are_those_of_an_empty_command_line() {
        let parsed = Args::parse_from(["job"]).runtime;
        assert_eq!(parsed, RuntimeArgs::default());
        assert_eq!((parsed.workers, parsed.processes, parsed.process, parsed.catch_up), (1, 1, 0, CatchUp::Fill));
        let timeouts = (parsed.connect_timeout, parsed.heartbeat_timeout, parsed.stuck_timeout);
        assert_eq!(timeouts, (Duration::from_secs(30), Duration::from_secs(10), None));
    }

    #[test]
    fn g7_a_checkpoint_directory_lies_apart_from_what_is_read_and_written() {
        let dir = TempDir::made("apart");
        std::fs::create_dir(dir.join("in")).unwrap();
        std::os::unix::fs::symlink(dir.join("in"), dir.join("link")).unwrap();
        let mut c = Config::new("j".into(), Duration::from_secs(1)).unwrap();
        assert!(c.apart(&dir, true).is_ok(), "there is no checkpoint directory");
        let mut apart = |checkpoint: &str, other: &str, reads| {
            c.runtime.checkpoint = Some(dir.join(checkpoint));
            c.apart(&dir.join(other), reads).map_err(|e| e.to_string())
        };
        for (checkpoint, other, reads) in [
            ("in", "in", true),
            ("in/states", "in", true),
            ("link/states", "in", true),
            ("in", "in/sub/../more", true),
            ("states", "states", false),
            ("states", "states/out", false),
        ] {
            let e = apart(checkpoint, other, reads).unwrap_err();
            assert!(e.contains(other) && e.contains(checkpoint) && e.contains("--checkpoint DIR"), "{e}");
        }
        for (checkpoint, other, reads) in [("states", "in", true), ("in-states", "in", true), ("out/states", "out", false)] {
            apart(checkpoint, other, reads).unwrap();
        }
        // A text with a scheme is not a path below the working directory.
        c.runtime.checkpoint = Some("s3://bucket/prefix".into());
        for (other, reads) in [(".", true), ("s3:", true), ("s3:/bucket/prefix", false)] {
            c.apart(Path::new(other), reads).unwrap();
        }
        c.runtime.checkpoint = Some("s3://bucket/states".into());
        for (other, reads) in [("s3://bucket", true), ("s3://bucket/states", false), ("s3://bucket/states/out", false)] {
            assert!(c.apart(Path::new(other), reads).is_err(), "{other}");
        }
        for (other, reads) in [("s3://bucket", false), ("s3://bucket/states-2", true), ("s3://other/states", true)] {
            c.apart(Path::new(other), reads).unwrap();
        }
    }

    #[test]
    fn file_urls_are_paths() {
        let mut c = Config::new("paths".into(), Duration::from_secs(1)).unwrap();
        (c.runtime.checkpoint, c.runtime.hostfile) = (Some("file:///states".into()), Some("file:/hosts".into()));
        c.settle_paths().unwrap();
        assert_eq!(
            (c.runtime.checkpoint.as_deref(), c.runtime.hostfile.as_deref()),
            (Some("/states".as_ref()), Some("/hosts".as_ref()))
        );
        c.runtime.checkpoint = Some("s3://bucket/prefix".into());
        c.settle_paths().unwrap();
        c.runtime.secret_file = Some("https://example.org/secret".into());
        let e = c.settle_paths().unwrap_err().to_string();
        assert!(e.contains("https://example.org/secret is a URL"), "{e}");
    }

    #[test]
    fn more_workers_than_key_groups_are_refused() {
        let mut c = Config::new("j".into(), Duration::from_secs(1)).unwrap();
        (c.runtime.workers, c.runtime.processes) = (43, 3);
        let e = c.check().unwrap_err().to_string();
        for part in ["129 workers", "-w 43", "-n 3", "max_parallelism 128", "--max-parallelism"] {
            assert!(e.contains(part), "{e}");
        }
        c.runtime.max_parallelism = 129;
        c.check().unwrap();
        assert_eq!(c.key_groups().count(), 129);
        c.runtime.max_parallelism = 5_000;
        assert!(c.check().unwrap_err().to_string().contains("max_parallelism 5000: it must be 1 to 4096"));
    }

    #[test]
    fn a_process_index_beyond_the_processes_is_refused() {
        let mut c = Config::new("j".into(), Duration::from_secs(1)).unwrap();
        c.runtime.process = 2;
        assert!(c.check().unwrap_err().to_string().contains("-p 2"));
        assert!(Config::new("a/b".into(), Duration::from_secs(1)).is_err());
    }
}
