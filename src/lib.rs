//! tidemill is the Spark Streaming model in Rust, on [timely dataflow] and [differential dataflow].
//!
//! A program reads streams in batches of a fixed interval, and it counts, joins and windows them. Results leave as whole
//! batches, in order, and with a checkpoint directory exactly once. The program is one binary. It runs on N worker threads in
//! M processes, without a cluster manager and without a JVM.
//!
//! [timely dataflow]: https://github.com/TimelyDataflow/timely-dataflow
//! [differential dataflow]: https://github.com/TimelyDataflow/differential-dataflow
//!
//! # A program
//!
//! ```
//! use tidemill::prelude::*;
//!
//! // Two batches of lines. In production this is Kafka, a socket or a directory.
//! let lines = QueueSource::from_batches([vec!["to be or", "not to be"], vec!["to do"]]);
//! let (batches, totals) = (MemorySink::new(), MemorySink::new());
//! let (per_batch, so_far) = (batches.clone(), totals.clone());
//!
//! StreamingContext::builder("word-count", secs(1))
//!     .workers(2)
//!     .without_checkpoint()
//!     .run(move |ssc| {
//!         let words = ssc.queue_stream(&lines).flat_map(|line| {
//!             line.split(' ').map(str::to_owned).collect::<Vec<_>>()
//!         });
//!         // A DStream: the counts of each batch.
//!         let counts = words.count_by_value();
//!         counts.filter(|(word, _)| word.starts_with('t')).to_memory(&per_batch);
//!         // A View is kept up to date. Its changed rows leave.
//!         counts.sum_by_key().update().to_memory(&so_far);
//!         Ok(())
//!     })?;
//!
//! let row = |word: &str, n| (word.to_owned(), n);
//! assert_eq!(batches.rows(), [row("to", 2), row("to", 1)]);
//! assert_eq!(totals.rows()[4..], [row("do", 1), row("to", 3)]);
//! # Ok::<(), tidemill::Error>(())
//! ```
//!
//! The closure builds the program. It runs once on every worker and must build the same graph everywhere.
//!
//! # The life of a batch
//!
//! ```text
//!          sources               verbs               Views, windows    outputs
//! open     read records  ────▶   combine by key
//! seal     stop at a record: these offset ranges are the batch
//! close    log the plan; the frontier passes the batch time
//! compute                        exchange by key ─▶  update state
//! output                                             rows leave  ────▶ write, in order
//! ```
//!
//! * A batch is its time: a multiple of the batch interval since 1970 ([`BatchTime`](prelude::BatchTime)). Batches without
//!   records exist too, so windows slide during silence.
//! * A [`DStream`](prelude::DStream) verb looks at one batch. A [`View`](prelude::View) is kept up to date over all batches, and
//!   costs what changed. It leaves through an output mode: `complete`, `update`, `append` or `changes`.
//! * An output that fails is tried again with the same batch. Then the job ends, and that batch is not out.
//! * With [`Builder::checkpoint`](api::context::Builder::checkpoint) a job continues where it stopped, after any failure, on
//!   any number of workers.
//!
//! # Modules in reading order
//!
//! | module | |
//! |---|---|
//! | [`prelude`] | what a program imports |
//! | [`api`] | the context and its settings, [`DStream`](prelude::DStream) and [`View`](prelude::View) |
//! | [`operator`] | the verbs, one file each |
//! | [`graph`] | components, distances, PageRank, triangles and cores of a view of edges |
//! | [`connector`] | sources and sinks: Kafka, files, sockets, queues, memory, and the traits for your own |
//! | [`format`](mod@format) | formats that decode bytes: JSON, and the trait for your own |
//! | [`core`] | batch times, rows and keys, plans, errors |
//! | [`job`] | how a job starts, reports and ends |
//! | [`checkpoint`] | files from which a job continues after a crash, and tools for them |
//! | [`cluster`] | several processes as one job: launch, supervise, rescale |
//! | [`metrics`] | statistics and listeners |
//! | [`logging`] | log lines and exit codes of a program |
//!
//! Inside, `engine` wraps timely, `arrangement` holds keyed state, `replay` runs earlier batches again, `live` adds computations to a running job, and `http` serves the page of a job.
//!
//! # Features
//!
//! | feature | default | |
//! |---|---|---|
//! | `kafka` | yes | the Kafka source and sink, on librdkafka |
//! | `http` | no | a page, JSON and metrics of a job: `--listen 127.0.0.1:4040` |
//! | `cli` | no | the command `tidemill` and its allocator |
//! | `ssl` | no | Kafka over TLS and SASL/SCRAM |
//! | `object-store` | no | checkpoint directories and files in S3 |
//! | `mqtt` | no | messages of an MQTT broker as a source |
//! | `avro` | no | a decoder of Avro, alone or with a schema registry |
//! | `protobuf` | no | a decoder of Protocol Buffers |
//! | `sqlite`, `postgres` | no | tables of these databases as outputs |
//! | `testing` | no | `testing::check`, a harness for a program's own tests |
//!
//! # Where to go next
//!
//! * `docs/guide/first-program.md` begins with `tidemill new`, and `docs/guide/testing.md` tests a program.
//! * `docs/guide/coming-from-spark.md` shows programs of Spark, each beside the same program in tidemill. `docs/guide/tutorials/` does it for five
//!   tutorials.
//! * `docs/guide/state-and-windows.md` says which verb to use and what it costs. `docs/guide/checkpoints.md` describes restarts.
//! * `docs/guide/event-time.md` is about windows by when something happened, and about watermarks.
//! * `docs/guide/graphs.md` is about graphs and loops, and about arrangements for those who come from differential.
//! * `docs/guide/python.md` is for programs in Python.
//! * `docs/guide/logging.md` lists the log lines of a job.
//! * `docs/glossary.md` has each term with the word that Spark, Flink or timely uses for it.
//! * `docs/architecture.md` follows a record through the code. `docs/guarantees.md` names a test for each promise.
//! * `dataflows/` has whole programs, `examples/` short lessons.

// The demo runs the code of dataflows/tweets, which names the library as programs do.
extern crate self as tidemill;

// In reading order: first the API of a program, then the modules below it, lowest last.
pub mod prelude;
pub mod api;
pub mod operator;
pub mod graph;
mod arrangement;
pub mod format;
pub mod connector;
mod replay;
mod live;
pub mod job;
mod engine;
mod http;
pub mod metrics;
pub mod checkpoint;
#[cfg(feature = "object-store")]
mod bucket;
pub mod cluster;
pub mod core;
pub mod logging;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
#[cfg(any(test, doctest, feature = "testing"))]
pub mod testing;

pub use core::error::{BoxError, Error, Result};

/// The pages for users: every program in them is a doc test.
#[cfg(all(doctest, feature = "kafka"))]
mod pages {
    #[doc = include_str!("../README.md")]
    mod readme {}
    #[doc = include_str!("../docs/guide/first-program.md")]
    mod first_program {}
    #[doc = include_str!("../docs/guide/commands.md")]
    mod commands {}
    #[doc = include_str!("../docs/guide/testing.md")]
    mod testing {}
    #[doc = include_str!("../docs/guide/captured-values.md")]
    mod captured_values {}
    #[doc = include_str!("../docs/guide/coming-from-spark.md")]
    mod coming_from_spark {}
    #[cfg(feature = "avro")]
    #[doc = include_str!("../docs/guide/formats.md")]
    mod formats {}
    #[cfg(feature = "kinesis")]
    #[doc = include_str!("../docs/guide/kinesis.md")]
    mod kinesis {}
    #[doc = include_str!("../docs/guide/flat-map.md")]
    mod flat_map {}
    #[doc = include_str!("../docs/guide/writing-helpers.md")]
    mod writing_helpers {}
    #[doc = include_str!("../docs/guide/state-and-windows.md")]
    mod state_and_windows {}
    #[doc = include_str!("../docs/guide/event-time.md")]
    mod event_time {}
    #[doc = include_str!("../docs/guide/graphs.md")]
    mod graphs {}
    #[doc = include_str!("../docs/guide/checkpoints.md")]
    mod checkpoints {}
    #[doc = include_str!("../docs/guide/logging.md")]
    mod logging {}
    #[doc = include_str!("../docs/guide/operations.md")]
    mod operations {}
    #[doc = include_str!("../docs/guide/live.md")]
    mod live {}
    #[doc = include_str!("../docs/guide/python.md")]
    mod python {}
    #[doc = include_str!("../docs/guide/tutorials/README.md")]
    mod tutorials {}
    #[doc = include_str!("../docs/guide/tutorials/getting-started-with-python-and-kafka.md")]
    mod getting_started_with_python_and_kafka {}
    #[doc = include_str!("../docs/guide/tutorials/kafka-integration-guide.md")]
    mod kafka_integration_guide {}
    #[doc = include_str!("../docs/guide/tutorials/working-with-spark-and-kafka.md")]
    mod working_with_spark_and_kafka {}
}
