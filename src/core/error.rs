//! What can go wrong, in words a user can act on. The first noun: everything may name it.
//!
//! A message names the thing, the value and the remedy, and never shows a secret.

use crate::core::time::BatchTime;

/// What a user's own code may fail with: anything that is an error and may cross threads.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The result of everything in tidemill that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a job could not be built, started or brought to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting or an argument is wrong: found before any data is touched.
    #[error("{0}")]
    Config(String),
    /// The program as built cannot run: every problem of the graph, one a line.
    #[error("{}", .0.join("\n"))]
    Graph(Vec<String>),
    /// The build closure returned an error.
    #[error("the program could not be built: {0}")]
    Build(BoxError),
    /// A source cannot go on.
    #[error("source {source_name}: {reason}")]
    Source {
        /// The source, as its verb names it.
        source_name: String,
        /// What happened and what to do.
        reason: String,
    },
    /// Kafka does not do what an output needs.
    #[error("Kafka at {brokers}: {reason}")]
    Kafka {
        /// The brokers, as the program names them.
        brokers: String,
        /// What happened and what to do.
        reason: String,
    },
    /// An output operation failed, was tried again, and failed for good: the batch is not out.
    #[error("output {output}, batch {time}: {reason} (tried {tries} times; nothing after this batch was written)")]
    Output {
        /// The output operation.
        output: String,
        /// The batch that is not out.
        time: BatchTime,
        /// How often it was tried.
        tries: u32,
        /// The last error.
        reason: String,
    },
    /// User code, or an operator, panicked.
    #[error("worker {worker} panicked in {operator}{}: {message}", .batch.map(|t| format!(", batch {t}")).unwrap_or_default())]
    WorkerPanicked {
        /// The operator that ran.
        operator: String,
        /// The worker it ran on.
        worker: usize,
        /// The batch it worked on, where there was one.
        batch: Option<BatchTime>,
        /// What the panic said.
        message: String,
    },
    /// A worker does not come back from a step: user code that waits or never ends, or a very long batch.
    #[error("worker {worker} has been in {operator}{} for {seconds} s and does not come back", .batch.map(|t| format!(", batch {t},")).unwrap_or_default())]
    WorkerStuck {
        /// The operator that it entered last.
        operator: String,
        /// The worker.
        worker: usize,
        /// The batch it works on, where there is one.
        batch: Option<BatchTime>,
        /// For how long.
        seconds: u64,
    },
    /// A gathered batch outgrew its cap.
    #[error(
        "{operator}, batch {time}: the gathered batch is larger than {cap} bytes; use foreach_partition(init, f), which does not gather, or raise gather_cap"
    )]
    GatherCap {
        /// The verb that gathers.
        operator: String,
        /// The batch.
        time: BatchTime,
        /// The cap, in bytes.
        cap: usize,
    },
    /// The processes of a cluster could not find or accept one another, or one of them was lost.
    #[error("cluster: {0}")]
    Cluster(String),
    /// A checkpoint directory does not hold what it should, or cannot be written.
    #[error("checkpoint: {file}: {reason}")]
    Checkpoint {
        /// The file, as it is called in the directory, or the directory.
        file: String,
        /// What was found, what was expected, and what to do.
        reason: String,
    },
    /// A file of a checkpoint directory is of another format than this program reads.
    #[error(
        "checkpoint: {file}: it is written in format {found}, this program reads format {known}: run the version of tidemill that wrote it, or a newer one"
    )]
    CheckpointFormat {
        /// The file.
        file: String,
        /// Its format.
        found: u32,
        /// The format that this program reads and writes.
        known: u32,
    },
    /// Another run writes the checkpoint directory.
    #[error(
        "checkpoint directory {dir} is in use{}: stop that run first, or choose another directory",
        .holder.as_ref().map(|h| format!(" by {h}")).unwrap_or_default()
    )]
    CheckpointInUse {
        /// The directory.
        dir: String,
        /// Process, host and since when, where that is known.
        holder: Option<String>,
    },
    /// A replay gave other rows than the job did with the states that it had saved.
    #[error("verified, and not the same: output {output}, batch {time} ({} ms): {what}", .time.millis())]
    Differs {
        /// The output operation.
        output: String,
        /// The batch.
        time: BatchTime,
        /// The first row that differs, both ways.
        what: String,
    },
    /// The job ended before, with an error that has been told already.
    #[error("the job has ended: {0}")]
    Ended(String),
    /// The operating system said no.
    #[error("{what}: {cause}")]
    Io {
        /// What was tried, and on what.
        what: String,
        /// What the system said.
        cause: std::io::Error,
    },
}

impl Error {
    /// A wrong setting, in words.
    pub(crate) fn config(message: impl Into<String>) -> Self {
        Error::Config(message.into())
    }

    /// An I/O error with what was tried.
    pub(crate) fn io(what: impl Into<String>, cause: std::io::Error) -> Self {
        Error::Io { what: what.into(), cause }
    }

    /// A file of a checkpoint directory, and what is the matter with it.
    pub(crate) fn checkpoint(file: impl Into<String>, reason: impl ToString) -> Self {
        Error::Checkpoint { file: file.into(), reason: reason.to_string() }
    }

    /// A file of a checkpoint directory whose bytes are not those that were written.
    pub(crate) fn damaged(file: impl Into<String>, found: impl std::fmt::Display) -> Self {
        Error::checkpoint(file, format!("damaged: {found}"))
    }

    /// A source that cannot go on.
    pub(crate) fn source(name: impl Into<String>, reason: impl ToString) -> Self {
        Error::Source { source_name: name.into(), reason: reason.to_string() }
    }
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| s.to_string());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without words".into())
}
