//! What a job is told: parsed once, checked once, before any data is touched.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::checkpoint::url;
use crate::core::error::{Error, Result};
use crate::core::rate::Backpressure;
use crate::core::time::{BatchTime, Interval, parse_duration};
use crate::replay::request::Replay;

/// What outputs see of batch times that became due while the job could not run (overload, suspend, downtime).
/// Windows and state see all of them either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum CatchUp {
    /// Every overdue time.
    #[default]
    Fill,
    /// Only the last, and the first if there is data in it.
    Skip,
}

/// The command line of every tidemill program: `#[command(flatten)] runtime: RuntimeArgs`.
///
/// ```
/// use clap::Parser;
/// #[derive(Parser)]
/// struct Args { #[command(flatten)] runtime: tidemill::prelude::RuntimeArgs }
/// let args = Args::parse_from(["job", "-w", "2"]);
/// assert_eq!(args.runtime.workers, 2);
/// ```
#[derive(Clone, Debug, clap::Args)]
pub struct RuntimeArgs {
    /// Worker threads of each process
    #[arg(short = 'w', long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub workers: u16,
    /// Processes of the job
    #[arg(short = 'n', long, default_value_t = 1, value_name = "M", value_parser = clap::value_parser!(u16).range(1..))]
    pub processes: u16,
    /// Which of the processes this one is, from 0
    #[arg(short = 'p', long, default_value_t = 0, value_name = "INDEX")]
    pub process: u16,
    /// File with the address of process i in line i; without it, 127.0.0.1 and ports from 2101
    #[arg(long, value_name = "FILE")]
    pub hostfile: Option<PathBuf>,
    /// File with the secret that all processes share, else TIDEMILL_SECRET; without one, all are on this machine
    #[arg(long, value_name = "FILE")]
    pub secret_file: Option<PathBuf>,
    /// How long the processes wait for one another at the start
    #[arg(long, value_name = "TIME", value_parser = interval, default_value = "30s")]
    pub connect_timeout: Duration,
    /// A process that says nothing for so long is lost, and the job ends; at least 1s
    #[arg(long, value_name = "TIME", value_parser = interval, default_value = "10s")]
    pub heartbeat_timeout: Duration,
    /// End the job when a worker does not come back from user code for so long; without it, that is a warning
    #[arg(long, value_name = "TIME", value_parser = interval)]
    pub stuck_timeout: Option<Duration>,
    /// What outputs see of overdue batch times
    #[arg(long, value_enum, default_value_t)]
    pub catch_up: CatchUp,
    /// Time zone of printed batch times, as Europe/Paris or UTC; without it, the machine's
    #[arg(long, value_name = "ZONE", value_parser = zone)]
    pub time_zone: Option<jiff::tz::TimeZone>,
    /// Where states and plans outlive the job: it goes on where it stopped, on any number of workers
    #[arg(long, value_name = "DIR")]
    pub checkpoint: Option<PathBuf>,
    /// Time between two checkpoints, a multiple of the batch interval; without it, 10s or the first multiple after that
    #[arg(long, value_name = "TIME", value_parser = interval)]
    pub checkpoint_interval: Option<Duration>,
    /// How long plans are kept that no recovery needs; without it, 1h
    #[arg(long, value_name = "TIME", value_parser = interval)]
    pub keep_plans: Option<Duration>,
    /// How many checkpoints are kept, at least 1; without it, 2
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub keep_checkpoints: Option<u16>,
    /// Begin states empty that the checkpoint has and this program does not take
    #[arg(long)]
    pub drop_state: bool,
    /// Read no faster than the job can do, as it was measured: spark.streaming.backpressure.enabled
    #[arg(long)]
    pub backpressure: bool,
    /// A setting by Spark's name, as spark.streaming.kafka.maxRatePerPartition=1000; may be given again
    #[arg(long = "conf", value_name = "NAME=VALUE", value_parser = crate::api::spark_conf::pair)]
    pub conf: Vec<(String, String)>,
    /// Run batches of before again, from this one on: milliseconds since the epoch, or as 2026-11-21T17:08:55Z. The checkpoint
    /// directory is only read; what outputs would write goes to stdout
    #[arg(long, value_name = "TIME", value_parser = crate::replay::request::parse_time, requires = "replay_to", help_heading = "Replay")]
    pub replay_from: Option<BatchTime>,
    /// The last of these batches
    #[arg(long, value_name = "TIME", value_parser = crate::replay::request::parse_time, requires = "replay_from", help_heading = "Replay")]
    pub replay_to: Option<BatchTime>,
    /// The output with this topic or prefix of files writes to another one, at least once; may be given again
    #[arg(long, value_name = "OLD=NEW", value_parser = crate::replay::request::parse_redirect, requires = "replay_from", help_heading = "Replay")]
    pub replay_into: Vec<(String, String)>,
    /// Run foreach_batch and foreach_partition in the replay, too
    #[arg(long, requires = "replay_from", help_heading = "Replay")]
    pub replay_foreach: bool,
    /// Compute all states anew from the first batch on, and compare what leaves
    #[arg(long, requires = "replay_from", conflicts_with_all = ["replay_into", "replay_foreach"], help_heading = "Replay")]
    pub verify: bool,
    /// Run the batches of a file of plans (one JSON object a line) instead of live ones, then end
    #[arg(long, hide = true, value_name = "FILE")]
    pub plans: Option<PathBuf>,
}

impl Default for RuntimeArgs {
    fn default() -> Self {
        RuntimeArgs {
            workers: 1,
            processes: 1,
            process: 0,
            hostfile: None,
            secret_file: None,
            connect_timeout: Duration::from_secs(30),
            heartbeat_timeout: Duration::from_secs(10),
            stuck_timeout: None,
            catch_up: CatchUp::default(),
            time_zone: None,
            checkpoint: None,
            checkpoint_interval: None,
            keep_plans: None,
            keep_checkpoints: None,
            drop_state: false,
            backpressure: false,
            conf: Vec::new(),
            replay_from: None,
            replay_to: None,
            replay_into: Vec::new(),
            replay_foreach: false,
            verify: false,
            plans: None,
        }
    }
}

fn zone(name: &str) -> Result<jiff::tz::TimeZone, String> {
    if name == "UTC" {
        return Ok(jiff::tz::TimeZone::UTC);
    }
    jiff::tz::TimeZone::get(name).map_err(|_| format!("\"{name}\" is no time zone known here: write one as UTC or Europe/Paris"))
}

/// A batch interval on a command line: `#[arg(long, value_parser = interval, default_value = "5s")]`.
///
/// # Errors
/// What is no duration, or shorter than 1 ms: clap shows it and ends with status 2.
pub fn interval(text: &str) -> Result<Duration> {
    let d = parse_duration(text)?;
    Interval::new(d).map(|_| d)
}

/// The states of a job by the names of their operators, and by key group.
pub(crate) type Saved = Arc<Mutex<BTreeMap<String, BTreeMap<u64, Vec<u8>>>>>;

/// Everything a job runs by, checked.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub name: String,
    pub interval: Interval,
    pub runtime: RuntimeArgs,
    /// At most this many batches closed and not computed.
    pub in_flight: usize,
    /// At most this many bytes read into the open batch by one worker, and waiting at the outputs of one process.
    pub batch_bytes: usize,
    /// At most this many bytes in a gathered batch.
    pub gather_cap: usize,
    /// How often a failed output is tried before the job stops.
    pub output_tries: u32,
    /// Whether sources are held to what the job can do.
    pub backpressure: Option<Backpressure>,
    /// Records a second from each partition, where a Kafka source says nothing.
    pub max_rate_per_partition: Option<u64>,
    /// Records a second from each socket.
    pub max_rate_of_receivers: Option<u64>,
    /// Settings by Spark's names, of the program; those of the command line are after them.
    pub conf: Vec<(String, String)>,
    /// Batches of before, instead of live ones.
    pub replay: Option<Replay>,
    /// Whether it is said that states are lost without a checkpoint directory.
    pub warns: bool,
    /// States that go in before the first batch.
    pub load: Option<Saved>,
    /// Where states go when the job has ended in order.
    pub save: Option<Saved>,
}

impl Config {
    pub fn new(name: String, interval: Duration) -> Result<Self> {
        if name.is_empty() || name.chars().any(|c| c.is_control() || c == '/') {
            return Err(Error::config(format!(
                "job name {name:?}: it names the consumer group and files, so it must not be empty, nor hold '/' or control characters"
            )));
        }
        Ok(Config {
            name,
            interval: Interval::new(interval)?,
            runtime: RuntimeArgs::default(),
            in_flight: 2,
            batch_bytes: 64 << 20,
            gather_cap: 256 << 20,
            output_tries: 3,
            backpressure: None,
            max_rate_per_partition: None,
            max_rate_of_receivers: None,
            conf: Vec::new(),
            replay: None,
            warns: true,
            load: None,
            save: None,
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
        if r.heartbeat_timeout < Duration::from_secs(1) {
            let given = r.heartbeat_timeout;
            return Err(Error::config(format!(
                "--heartbeat-timeout {given:?}: a busy process is silent for longer; at least 1s"
            )));
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

    /// The time between checkpoints if nobody said one: Spark's rule, ten seconds or the first multiple after.
    pub fn usual_checkpoint_every(&self) -> u64 {
        let said = self.runtime.checkpoint_interval.map(|every| every.as_millis() as u64);
        said.unwrap_or_else(|| 10_000u64.next_multiple_of(self.interval.millis()))
    }

    /// Whether a directory that the program reads or writes has nothing to do with the checkpoint directory: lines are not read
    /// from checkpoints, and no output lies among their files.
    pub fn apart(&self, dir: &Path, reads: bool) -> Result<()> {
        let Some(checkpoint) = &self.runtime.checkpoint else { return Ok(()) };
        // A bucket is apart from every directory.
        if url(checkpoint).is_some() {
            return Ok(());
        }
        let (ours, theirs) = (real(checkpoint), real(dir));
        if !(theirs.starts_with(&ours) || reads && ours.starts_with(&theirs)) {
            return Ok(());
        }
        let (verb, ours, theirs) = (if reads { "read" } else { "written" }, checkpoint.display(), dir.display());
        Err(Error::config(format!(
            "{theirs} is {verb} here, and the checkpoint directory is {ours}: one must not lie in the other; say another --checkpoint DIR"
        )))
    }

    pub fn zone(&self) -> jiff::tz::TimeZone {
        self.runtime.time_zone.clone().unwrap_or_else(jiff::tz::TimeZone::system)
    }

    /// All workers of the job.
    pub fn peers(&self) -> usize {
        self.runtime.workers as usize * self.runtime.processes as usize
    }
}

/// A path without links and dots, as far as it is there.
fn real(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let there = path.ancestors().find_map(|above| Some((above, above.canonicalize().ok()?)));
    there.and_then(|(above, real)| Some(real.join(path.strip_prefix(above).ok()?))).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;
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
        ] {
            let e = Args::try_parse_from(line.split(' ')).unwrap_err();
            assert_eq!(e.exit_code(), 2);
            assert!(e.to_string().contains(names), "{line}: {e}");
        }
    }

    #[test]
    fn g7_a_checkpoint_directory_lies_apart_from_what_is_read_and_written() {
        let dir = std::env::temp_dir().join(format!("tidemill-apart-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("in")).unwrap();
        std::os::unix::fs::symlink(dir.join("in"), dir.join("link")).unwrap();
        let mut c = Config::new("j".into(), Duration::from_secs(1)).unwrap();
        assert!(c.apart(&dir, true).is_ok(), "there is none");
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
        std::fs::remove_dir_all(dir).unwrap();
        // What has a scheme is no path below the working directory.
        c.runtime.checkpoint = Some("s3://bucket/prefix".into());
        for (other, reads) in [(".", true), ("s3:", true), ("s3:/bucket/prefix", false)] {
            c.apart(Path::new(other), reads).unwrap();
        }
    }

    #[test]
    fn a_directory_is_one_whatever_its_name() {
        for dir in ["/var/lib/x", "s3", "s3:/x", "://x", "a b://x", "./s3://b"] {
            assert_eq!(url(Path::new(dir)), None, "{dir}");
        }
        assert_eq!(url(Path::new("s3://b/p")), Some("s3://b/p"));
    }

    #[test]
    fn a_process_index_beyond_the_processes_is_refused() {
        let mut c = Config::new("j".into(), Duration::from_secs(1)).unwrap();
        c.runtime.process = 2;
        assert!(c.check().unwrap_err().to_string().contains("-p 2"));
        assert!(Config::new("a/b".into(), Duration::from_secs(1)).is_err());
    }
}
