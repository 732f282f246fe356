//! Builder: the settings of a job before it starts. `job/` adds `run` and `start`.
//!
//! Settings are applied in the order of the calls, and checked together when the job starts.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use crate::api::backpressure::Backpressure;
use crate::api::calls::Calls;
use crate::api::config::{CatchUp, Config, RuntimeArgs};
use crate::core::error::Result;
use crate::metrics::StreamingListener;

type Setting = Box<dyn FnOnce(&mut Config) + Send>;

/// The settings of a job. Made by [`StreamingContext::builder`](crate::api::context::StreamingContext::builder); a later call
/// replaces an earlier one. Calls that contradict each other are an error at the start: see [`runtime`](Builder::runtime) and
/// [`checkpoint`](Builder::checkpoint).
///
/// ```
/// use tidemill::prelude::*;
/// let numbers = QueueSource::from_batches([vec![1, 2], vec![3]]);
/// let seen = MemorySink::new();
/// let out = seen.clone();
/// let summary = StreamingContext::builder("sums", millis(5))
///     .workers(2)
///     .batches_in_flight(4)
///     .batch_bytes(1 << 20)
///     .gather_cap(16 << 20)
///     .output_tries(5)
///     .catch_up(CatchUp::Skip)
///     .without_checkpoint()
///     .run(move |ssc| {
///         ssc.queue_stream(&numbers).reduce(|a, b| a + b).to_memory(&out);
///         Ok(())
///     })
///     .unwrap();
/// assert_eq!((seen.rows(), summary.records), (vec![3, 3], 3));
/// ```
#[must_use = "nothing runs before `run` or `start`"]
pub struct Builder {
    name: String,
    interval: Duration,
    settings: Vec<Setting>,
    calls: Calls,
}

impl Builder {
    pub(crate) fn new(name: String, interval: Duration) -> Self {
        Builder { name, interval, settings: Vec::new(), calls: Calls::default() }
    }

    pub(crate) fn set(mut self, setting: impl FnOnce(&mut Config) + Send + 'static) -> Self {
        self.settings.push(Box::new(setting));
        self
    }

    /// Sets a runtime option, which the command line has too.
    pub(crate) fn option<T>(mut self, name: &'static str, value: T, field: fn(&mut RuntimeArgs) -> &mut T) -> Self
    where
        T: Clone + Debug + PartialEq + Send + 'static,
    {
        self.calls.option(name, value.clone(), field);
        self.set(move |c| *field(&mut c.runtime) = value)
    }

    /// Takes all arguments of the command line. Call it first: an earlier call that it would undo is an error at the start.
    ///
    /// ```
    /// use clap::Parser;
    /// use tidemill::prelude::*;
    /// #[derive(Parser)]
    /// struct Args { #[command(flatten)] runtime: RuntimeArgs }
    ///
    /// let args = Args::parse_from(["job", "-w", "2", "--conf", "spark.streaming.backpressure.enabled=perhaps"]);
    /// let job = StreamingContext::builder("job", secs(1)).runtime(args.runtime);
    /// assert!(job.run(|_| Ok(())).unwrap_err().to_string().contains("it must be true or false"));
    ///
    /// let job = StreamingContext::builder("job", secs(1)).workers(4).runtime(RuntimeArgs::default());
    /// assert!(job.run(|_| Ok(())).unwrap_err().to_string().contains("call runtime(..) first"));
    /// ```
    pub fn runtime(mut self, args: RuntimeArgs) -> Self {
        self.calls.runtime(&args);
        self.set(|c| c.runtime = args)
    }

    /// Worker threads of each process. Default: 1.
    pub fn workers(self, n: u16) -> Self {
        self.option("workers", n, |r| &mut r.workers)
    }

    /// The most workers that the job can ever have, in all processes: 1 to 4,096. Default: 128. It is Flink's setting of this name.
    ///
    /// Keys are in this many key groups, and each worker owns some. A checkpoint directory keeps the number that it was made with, so a
    /// later start must say the same one, on any number of workers up to it. Each key group costs each state a few bytes, a chunk in
    /// checkpoints, and a container in batches that have all groups. So take a few times the workers that you expect, not the most.
    ///
    /// `--max-parallelism` is the same setting.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// let (words, seen) = (QueueSource::from_batches([vec!["a", "b", "a"]]), MemorySink::new());
    /// let out = seen.clone();
    /// StreamingContext::builder("wide", millis(5)).workers(2).max_parallelism(1_000).without_checkpoint().run(move |ssc| {
    ///     ssc.queue_stream(&words).map(str::to_owned).count_by_value().to_memory(&out);
    ///     Ok(())
    /// })?;
    /// assert_eq!(seen.rows(), [("a".into(), 2), ("b".into(), 1)]);
    ///
    /// let job = StreamingContext::builder("few", millis(5)).workers(4).max_parallelism(3);
    /// assert!(job.run(|_| Ok(())).unwrap_err().to_string().contains("4 workers"));
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[doc(alias = "setMaxParallelism")]
    pub fn max_parallelism(self, n: u16) -> Self {
        self.option("max_parallelism", n, |r| &mut r.max_parallelism)
    }

    /// At most this many batches are closed and not yet computed. Default: 2. At this limit sources wait.
    pub fn batches_in_flight(self, n: usize) -> Self {
        self.set(move |c| c.in_flight = n.max(1))
    }

    /// Soft limit on the bytes that one worker reads into one batch. Default: 64 MiB. While as many bytes wait at the outputs of
    /// a process, the open batch is not closed.
    pub fn batch_bytes(self, n: usize) -> Self {
        self.set(move |c| c.batch_bytes = n.max(1))
    }

    /// The longest line of a file or a socket, in bytes without its line end. Default: 1 MiB; at most 1 GiB. A longer line is an
    /// error record with its first bytes, as many as this. A worker holds a line and what follows it in memory.
    ///
    /// A batch that runs again after a restart has the same lines only with the same setting.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// # let dir = std::env::temp_dir().join(format!("tidemill-doc-lines-{}", std::process::id()));
    /// # std::fs::create_dir_all(&dir).unwrap();
    /// std::fs::write(dir.join("a"), "short\nfar too long\n").unwrap();
    /// let (good, bad, watched) = (MemorySink::new(), MemorySink::new(), dir.clone());
    /// let (oks, errors) = (good.clone(), bad.clone());
    /// let job = StreamingContext::builder("lines", millis(20)).max_line_bytes(8).start(move |ssc| {
    ///     let lines = ssc.text_file_stream_with(TextFileSource::new(&watched).existing(true));
    ///     lines.oks().to_memory(&oks);
    ///     lines.errors().to_memory(&errors);
    ///     Ok(())
    /// })?;
    /// while bad.rows().is_empty() {
    ///     std::thread::yield_now();
    /// }
    /// job.stop_gracefully()?;
    /// assert_eq!((good.rows(), &bad.rows()[0].raw[..]), (vec!["short".to_owned()], &b"far too "[..]));
    /// # std::fs::remove_dir_all(dir).unwrap();
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn max_line_bytes(self, n: usize) -> Self {
        self.set(move |c| c.max_line_bytes = n)
    }

    /// At most this many bytes of one batch are gathered for `transform`, `foreach_batch` and full sorts. Default: 256 MiB.
    /// A larger batch ends the job with [`Error::GatherCap`](crate::Error::GatherCap).
    pub fn gather_cap(self, n: usize) -> Self {
        self.set(move |c| c.gather_cap = n)
    }

    /// Reads sources no faster than the measured rate of the job. Default: off. `--backpressure` turns it on, too.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// let numbers = QueueSource::from_batches([vec![1, 2]]);
    /// let careful = Backpressure { initial_rate: Some(5_000.0), ..Backpressure::default() };
    /// let job = StreamingContext::builder("careful", millis(5)).without_checkpoint().backpressure(careful);
    /// let summary = job.run(move |ssc| { ssc.queue_stream(&numbers).count().print(1); Ok(()) }).unwrap();
    /// assert_eq!(summary.records, 2);
    /// ```
    #[doc(alias = "spark.streaming.backpressure.enabled")]
    pub fn backpressure(self, how: Backpressure) -> Self {
        self.set(move |c| c.backpressure = Some(how))
    }

    /// Lets the running job answer questions about every view that the program names, by this name: as
    /// [`View::queryable`](crate::prelude::View::queryable) does. Default: off, and only the views that the program calls `queryable` answer.
    /// `--queryable` is the same setting.
    ///
    /// A view that the program calls `queryable` keeps its other name and its history. A name that has other characters than letters, digits,
    /// `-`, `_` and `.` cannot be asked for; a warning says so. Each of these views holds its rows for questions: counts, sums and windows have
    /// them already, and other views arrange them. A named view is then computed also if no output reads it, and its
    /// state is in checkpoints: a later run without this setting needs `--drop-state`.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// let (words, rows) = (QueueSource::new(), MemorySink::new());
    /// let (feed, sink) = (words.clone(), rows.clone());
    /// let job = StreamingContext::builder("words", millis(5)).queryable().start(move |ssc| {
    ///     ssc.queue_stream(&words).count_by_value().sum_by_key().named("counts").update().to_memory(&sink);
    ///     Ok(())
    /// })?;
    /// feed.push(vec!["tide".to_string()]);
    /// while rows.rows().is_empty() {
    ///     std::thread::yield_now();
    /// }
    /// assert_eq!(job.query("counts").key("tide").ask()?.rows_as::<(String, i64)>().unwrap(), [("tide".to_string(), 1)]);
    /// job.stop_now()?;
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn queryable(self) -> Self {
        self.option("queryable", true, |r| &mut r.queryable)
    }

    /// A setting by Spark's name: `spark.streaming.backpressure.*`, `spark.streaming.kafka.maxRatePerPartition`,
    /// `spark.streaming.receiver.maxRate`, `spark.streaming.receiver.writeAheadLog.enable` or `spark.streaming.stopGracefullyOnShutdown`.
    /// Another name is an error at the start, which says what does it here. `--conf` overrides these.
    ///
    /// ```
    /// # use tidemill::prelude::*;
    /// let job = StreamingContext::builder("typo", secs(1)).conf("spark.streaming.backpresure.enabled", "true");
    /// assert!(job.run(|_| Ok(())).unwrap_err().to_string().contains("spark.streaming.backpressure.enabled"));
    /// ```
    pub fn conf(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let setting = (name.into(), value.into());
        self.set(|c| c.conf.push(setting))
    }

    /// How long a failing output operation is tried again before the job fails, from the first failure. Default: 30 seconds.
    /// Each try repeats the whole batch. The pauses between tries grow from 100 ms to 5 s. Warnings say that the output is
    /// failing, at least every ten seconds, and a line says that it writes again. Zero: the first failure ends the job.
    ///
    /// A try is never interrupted. One try of [`to_kafka`](crate::api::dstream::DStream::to_kafka) waits up to
    /// `message.timeout.ms` (default: 30 seconds) for its brokers, so the job may end later than this time.
    ///
    /// `--output-retry` is the same setting.
    ///
    /// ```
    /// use std::sync::{Arc, atomic::{AtomicU32, Ordering}};
    /// use tidemill::prelude::*;
    /// let numbers = QueueSource::from_batches([vec![1, 2]]);
    /// let tries = Arc::new(AtomicU32::new(0));
    /// let job = StreamingContext::builder("patient", millis(5)).without_checkpoint().output_retry(secs(60));
    /// let tried = tries.clone();
    /// job.run(move |ssc| {
    ///     let tried = tried.clone();
    ///     ssc.queue_stream(&numbers).foreach_batch(move |_| match tried.fetch_add(1, Ordering::Relaxed) {
    ///         0 => Err("the database is down".into()),
    ///         _ => Ok(()),
    ///     });
    ///     Ok(())
    /// })?;
    /// assert_eq!(tries.load(Ordering::Relaxed), 2);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn output_retry(self, time: Duration) -> Self {
        self.option("output_retry", Some(time), |r| &mut r.output_retry)
    }

    /// At most this many tries of a failing output operation before the job fails. Default: no limit but the time of
    /// [`output_retry`](Builder::output_retry). Without such a time, only the number counts.
    pub fn output_tries(self, n: u32) -> Self {
        self.set(move |c| c.output_tries = Some(n.max(1)))
    }

    /// Which overdue batch times outputs see. Default: all of them.
    pub fn catch_up(self, what: CatchUp) -> Self {
        self.option("catch_up", what, |r| &mut r.catch_up)
    }

    /// The directory that keeps state and plans when the job ends: a path, `file:///PATH`, or
    /// `s3://BUCKET/PREFIX`.
    ///
    /// If it has an earlier run of this job, the job continues there. It runs the current code, on any number of workers, with the
    /// guarantees of its sinks (docs/guarantees.md). All processes need the same directory. Default: none. Then state is lost when
    /// the job ends, and a warning says so.
    ///
    /// Another directory beside it, by a second call or by `--checkpoint`, is an error at the start. So is
    /// [`without_checkpoint`](Builder::without_checkpoint).
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// # let dir = std::env::temp_dir().join(format!("tidemill-doc-checkpoint-{}", std::process::id()));
    /// let seen = MemorySink::new();
    /// for words in [["a", "b"], ["a", "c"]] {
    ///     let (out, dir) = (seen.clone(), dir.clone());
    ///     let queue = QueueSource::from_batches([words.to_vec()]);
    ///     StreamingContext::builder("counts", millis(5)).checkpoint(dir).run(move |ssc| {
    ///         let words = ssc.queue_stream(&queue).map(str::to_owned);
    ///         words.count_by_value().sum_by_key().complete().to_memory(&out);
    ///         Ok(())
    ///     }).unwrap();
    /// }
    /// assert_eq!(seen.rows()[2..], [("a".into(), 2), ("b".into(), 1), ("c".into(), 1)]);
    /// # std::fs::remove_dir_all(dir).unwrap();
    ///
    /// let job = StreamingContext::builder("counts", secs(1)).checkpoint("/tmp/states").without_checkpoint();
    /// assert!(job.run(|_| Ok(())).unwrap_err().to_string().contains("leave one of the two out"));
    /// ```
    #[doc(alias = "get_or_create")]
    #[doc(alias = "getOrCreate")]
    pub fn checkpoint(mut self, dir: impl Into<std::path::PathBuf>) -> Self {
        let dir = dir.into();
        self.calls.directory(format!("checkpoint({dir:?})"), Some(dir.clone()));
        self.set(|c| c.runtime.checkpoint = Some(dir))
    }

    /// The time between two checkpoints, a multiple of the batch interval. Default: 10 s, or the first multiple above it.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// let job = StreamingContext::builder("job", secs(2)).checkpoint("/tmp/states").checkpoint_interval(secs(3));
    /// assert!(job.run(|_| Ok(())).unwrap_err().to_string().contains("the nearest above it is 4000 ms"));
    /// ```
    pub fn checkpoint_interval(self, every: Duration) -> Self {
        self.option("checkpoint_interval", Some(every), |r| &mut r.checkpoint_interval)
    }

    /// Runs without a checkpoint directory, and without the warning that state is lost when the job ends.
    pub fn without_checkpoint(mut self) -> Self {
        self.calls.directory("without_checkpoint()".into(), None);
        self.set(|c| (c.runtime.checkpoint, c.warns) = (None, false))
    }

    /// Serves a page, JSON and metrics of the job over HTTP on this address: `127.0.0.1:4040`. Default: nothing is served. `--listen` is
    /// the same setting.
    ///
    /// If the port is taken, the next free one is used; a line on stderr says which. Process p of a job begins p ports higher. Process 0
    /// has the page at `/` and JSON below `/api/v1/`; every process has `/metrics`, `/healthz` and `/readyz`. Bad records
    /// and added computations come to the job over it; nothing else can be changed. An address that is not a loopback address needs a secret, or the start fails. See docs/guide/operations.md.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// let everywhere = ([0, 0, 0, 0], 4040).into();
    /// let job = StreamingContext::builder("open", secs(1)).without_checkpoint().listen(everywhere);
    /// # if std::env::var_os("TIDEMILL_SECRET").is_none() {
    /// assert!(job.run(|_| Ok(())).unwrap_err().to_string().contains("set a secret by --secret-file FILE"));
    /// # }
    /// ```
    #[doc(alias = "spark.ui.port")]
    pub fn listen(self, address: std::net::SocketAddr) -> Self {
        self.option("listen", Some(address), |r| &mut r.listen)
    }

    /// Adds a listener, which hears of every batch from the first one on. For the rules of listeners see
    /// [`JobHandle::add_streaming_listener`](crate::job::JobHandle::add_streaming_listener), which adds one later.
    ///
    /// ```
    /// use std::sync::{Arc, Mutex};
    /// use tidemill::prelude::*;
    /// #[derive(Default)]
    /// struct Records(Mutex<Vec<u64>>);
    /// impl StreamingListener for Records {
    ///     fn on_batch_completed(&self, batch: &BatchInfo) {
    ///         self.0.lock().unwrap().push(batch.records);
    ///     }
    /// }
    /// let (numbers, records) = (QueueSource::from_batches([vec![1, 2], vec![3]]), Arc::new(Records::default()));
    /// let job = StreamingContext::builder("heard", millis(20)).without_checkpoint().streaming_listener(records.clone());
    /// job.run(move |ssc| {
    ///     ssc.queue_stream(&numbers).print(1);
    ///     Ok(())
    /// })
    /// .unwrap();
    /// assert_eq!(*records.0.lock().unwrap(), [2, 1]);
    /// ```
    #[doc(alias = "spark.streaming.streamingListeners")]
    pub fn streaming_listener(self, listener: Arc<dyn StreamingListener>) -> Self {
        self.set(move |c| c.listeners.0.push(listener))
    }

    /// Sends the metrics of the job, and a trace of each batch, to a collector of OpenTelemetry: `http://127.0.0.1:4318`. Default: the
    /// environment variable `OTEL_EXPORTER_OTLP_ENDPOINT`; without it, nothing is sent. `--otlp` is the same setting.
    ///
    /// OTLP over HTTP, with the names of `/metrics`. Every process sends its own; process 0 those of the job. A collector that does not
    /// answer costs a warning, and the traces of all but the last 512 batches. Needs the feature `otlp` of tidemill; without it the start fails.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// let job = StreamingContext::builder("watched", secs(1)).without_checkpoint().otlp("https://collector");
    /// assert!(job.run(|_| Ok(())).unwrap_err().to_string().contains("https is not supported"));
    /// ```
    #[doc(alias = "OpenTelemetry")]
    pub fn otlp(self, url: &str) -> Self {
        // Not an option of `calls`, which shows values: this one may have a user.
        let url = url.to_owned();
        self.set(move |c| c.runtime.otlp = Some(url))
    }

    /// Adds a computation over queryable views at the start, as [`JobHandle::add`](crate::job::JobHandle::add) does while the job runs:
    /// `best = authors | top 10`. docs/guide/live.md has the language. Default: none. `--add FILE` reads them from a file, a line for each.
    ///
    /// # Errors
    /// The start fails with [`Error::Added`](crate::Error::Added), before any data is touched, if a text is wrong or reads a view that the
    /// program does not have.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// let words = QueueSource::new();
    /// let (feed, seen) = (words.clone(), MemorySink::new());
    /// let sink = seen.clone();
    /// let builder = StreamingContext::builder("words", millis(5)).without_checkpoint();
    /// let job = builder.add("often = counts | filter _2 > 1").start(move |ssc| {
    ///     let counts = ssc.queue_stream(&words).count_by_value().sum_by_key();
    ///     counts.queryable("counts");
    ///     counts.update().to_memory(&sink);
    ///     Ok(())
    /// })?;
    /// feed.push(["tide", "mill", "tide"].map(str::to_string).to_vec());
    /// while seen.rows().len() < 2 {
    ///     std::thread::yield_now();
    /// }
    /// assert_eq!(job.query("often").ask()?.rows_as::<(String, i64)>().unwrap(), [("tide".to_string(), 2)]);
    /// job.stop_now()?;
    ///
    /// let wrong = StreamingContext::builder("words", millis(5)).without_checkpoint().add("count | top 3");
    /// let error = wrong.run(|ssc| {
    ///     ssc.queue_stream(&QueueSource::from_batches([vec![1]])).accumulate().queryable("counts");
    ///     ssc.queue_stream(&QueueSource::from_batches([vec![1]])).print(1);
    ///     Ok(())
    /// });
    /// assert_eq!(error.unwrap_err().to_string(), "count | top 3: character 1: no view \"count\"; there are: counts");
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[expect(clippy::should_implement_trait, reason = "named as `--add` and `JobHandle::add` are")]
    pub fn add(self, text: impl Into<String>) -> Self {
        let text = text.into();
        self.set(move |c| c.added.push(text))
    }

    /// Leaves logging to the program. Default: if no tracing subscriber is set when the job starts, tidemill sets one that writes
    /// to stderr, as [`logging::init`](crate::logging::init) does.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// let numbers = QueueSource::from_batches([vec![1, 2]]);
    /// let summary = StreamingContext::builder("mute", millis(5)).without_logging().run(move |ssc| {
    ///     ssc.queue_stream(&numbers).to_memory(&MemorySink::new());
    ///     Ok(())
    /// })?;
    /// assert_eq!(summary.records, 2);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn without_logging(self) -> Self {
        self.set(|c| c.logs = false)
    }

    /// Leaves SIGINT and SIGTERM to the program, which stops the job itself. Default: a signal stops every job of the process after a last
    /// batch, a second one at once, and later ones end the process.
    ///
    /// For a program that has handlers of its own, such as an interpreter. A job with this setting installs no handler; one without it
    /// in the same process does.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// let numbers = QueueSource::from_batches([vec![1, 2]]);
    /// let job = StreamingContext::builder("embedded", millis(5)).without_signals().start(move |ssc| {
    ///     ssc.queue_stream(&numbers).to_memory(&MemorySink::new());
    ///     Ok(())
    /// })?;
    /// # let handled = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    /// # let caught = handled.lines().find_map(|line| line.strip_prefix("SigCgt:")).map(|set| u64::from_str_radix(set.trim(), 16).unwrap());
    /// # assert!(caught.is_none_or(|set| set & (1 << 14) == 0), "SIGTERM has a handler");
    /// assert_eq!(job.await_termination()?.records, 2);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn without_signals(self) -> Self {
        self.set(|c| c.signals = false)
    }

    pub(crate) fn config(self) -> Result<Config> {
        self.calls.check()?;
        let mut config = Config::new(self.name, self.interval)?;
        for setting in self.settings {
            setting(&mut config);
        }
        config.settle_paths()?;
        config.settle_added()?;
        config.settle_rates()?;
        config.settle_replay()?;
        config.check()?;
        Ok(config)
    }
}
