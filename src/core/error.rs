//! Every error of tidemill. Each message names the thing, the value and the remedy, and never shows a secret.

use std::fmt;

use crate::core::time::BatchTime;

/// The error of user code: any error that may cross threads.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The result of everything in tidemill that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a job could not be built or started, or why it failed.
///
/// `Debug` prints the same sentence as `Display`, so that a program whose `main` returns it ends with readable words:
///
/// ```no_run
/// # use tidemill::prelude::*;
/// fn main() -> tidemill::Result<()> {
///     let numbers = QueueSource::from_batches([vec![1, 2, 3]]);
///     StreamingContext::builder("sum", secs(1)).run(move |ssc| {
///         ssc.queue_stream(&numbers).print(10);
///         Ok(())
///     })?;
///     Ok(())
/// }
/// ```
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting or an argument is wrong. Found before any data is touched.
    #[error("{0}")]
    Config(String),
    /// The program as built cannot run. Lists every problem of the graph, one per line.
    #[error("{}", .0.join("\n"))]
    Graph(Vec<String>),
    /// The build closure returned an error.
    #[error("the program could not be built: {0}")]
    Build(BoxError),
    /// A source cannot continue.
    #[error("source {source_name}: {reason}")]
    Source {
        /// The source, as its verb names it.
        source_name: String,
        /// What happened and what to do.
        reason: String,
    },
    /// Kafka refused a request, or does not answer.
    #[error("Kafka at {brokers}: {reason}")]
    Kafka {
        /// The addresses of the brokers, as the program gave them.
        brokers: String,
        /// What happened and what to do.
        reason: String,
    },
    /// An output operation failed on every try. The batch is not committed.
    #[error("output {output}, batch {time}: {reason} (tried {tries} times; nothing after this batch was written)")]
    Output {
        /// The output operation.
        output: String,
        /// The batch that is not committed.
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
        /// The batch it worked on, if there was one.
        batch: Option<BatchTime>,
        /// The message of the panic.
        message: String,
    },
    /// A worker does not return from a step: user code blocks or loops, or the batch is very long.
    #[error("worker {worker} has been in {operator}{} for {seconds} s and does not come back", .batch.map(|t| format!(", batch {t},")).unwrap_or_default())]
    WorkerStuck {
        /// The operator that it entered last.
        operator: String,
        /// The worker.
        worker: usize,
        /// The batch it works on, if there is one.
        batch: Option<BatchTime>,
        /// How long it has been there, in seconds.
        seconds: u64,
    },
    /// A gathered batch is larger than its cap.
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
    /// A format needs what is away: [`Unavailable`](crate::format::Unavailable). No record became a bad one for it.
    #[error("{operator}: {reason}")]
    Format {
        /// The verb that decodes.
        operator: String,
        /// What happened and what to do.
        reason: String,
    },
    /// A verb found more bad records in a batch than [`Builder::max_bad`](crate::api::builder::Builder::max_bad) allows. The batch is not out.
    #[error(
        "{operator}, batch {time}: {bad} bad records of {rows} rows, and at most {most} are allowed; the first: {first}; mend the records or the verb, or raise --max-bad"
    )]
    TooManyBad {
        /// The verb.
        operator: String,
        /// The batch.
        time: BatchTime,
        /// How many bad records it found.
        bad: u64,
        /// How many rows it read.
        rows: u64,
        /// The limit.
        most: String,
        /// Where one of them is from, and why it is bad.
        first: String,
    },
    /// A verb found more bad records in a row, in a partition, than
    /// [`Builder::max_bad_in_a_row`](crate::api::builder::Builder::max_bad_in_a_row) allows. The batch is not out.
    #[error(
        "{operator}, batch {time}: {bad} bad records in a row, and at most {most} are allowed; one of them: {one}; mend the records or the verb, or raise --max-bad-in-a-row"
    )]
    TooManyBadInARow {
        /// The verb.
        operator: String,
        /// The batch.
        time: BatchTime,
        /// How many bad records followed one another, with those of earlier batches.
        bad: u64,
        /// The limit.
        most: u64,
        /// Where a bad record of this partition and batch is from, and why it is bad.
        one: String,
    },
    /// A sum does not fit into an `i64`. Sums are from `-i64::MAX` to `i64::MAX`, also those of one worker.
    #[error(
        "{operator}, batch {time}: the sum of {key} does not fit into 64 bits; sum an i128: fold_by_key(0i128, |sum, n| sum + i128::from(n))"
    )]
    SumTooLarge {
        /// The verb that sums.
        operator: String,
        /// The key, as `Debug` writes it.
        key: String,
        /// The batch.
        time: BatchTime,
    },
    /// A view of a running job could not be asked.
    #[error("view {view}: {reason}")]
    Query {
        /// The name that was asked for.
        view: String,
        /// Why it cannot be answered.
        reason: String,
    },
    /// A computation could not be added to a job, or removed from it.
    #[error("{what}: {reason}")]
    Added {
        /// Its text, or its name.
        what: String,
        /// What is wrong, where in the text, and what to do.
        reason: String,
    },
    /// A running job did not take bad records back.
    #[error("correction of the batch of {} ms: {reason}", .of.millis())]
    Correction {
        /// The batch that the records belong to.
        of: BatchTime,
        /// Why they cannot be read once more.
        reason: String,
    },
    /// A loop of views still changes after its bound of rounds. The batch is not written.
    #[error(
        "{operator}, batch {time}: the row {row} still changes after {rounds} rounds; check that the rows of the loop converge, or allow more: iterate_with(Rounds::AtMost(n), ..)"
    )]
    TooManyRounds {
        /// The verb that loops, with its name and its place.
        operator: String,
        /// The bound.
        rounds: u64,
        /// A row that changes, as `Debug` writes it.
        row: String,
        /// The batch.
        time: BatchTime,
    },
    /// The processes of a cluster could not find or accept one another, or one of them was lost.
    #[error("cluster: {0}")]
    Cluster(String),
    /// A checkpoint directory is damaged or incomplete, or cannot be written.
    #[error("checkpoint: {file}: {reason}")]
    Checkpoint {
        /// The file, by its name in the directory, or the directory.
        file: String,
        /// What was found, what was expected, and what to do.
        reason: String,
    },
    /// A file of a checkpoint directory has a format that this program does not read.
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
        /// Process, host and start time of the other run, if known.
        holder: Option<String>,
    },
    /// A verified replay gave other rows than the job did with its saved state.
    #[error("verified, and not the same: output {output}, batch {time} ({} ms): {what}", .time.millis())]
    Differs {
        /// The output operation.
        output: String,
        /// The batch.
        time: BatchTime,
        /// The first row that differs, in both versions.
        what: String,
    },
    /// The job has already ended with an error, which an earlier call returned.
    #[error("the job has ended: {0}")]
    Ended(String),
    /// A second SIGINT or SIGTERM ended the job before its last batch.
    #[error(
        "ended at once by a second {0}: batches that were not written are dropped; with a checkpoint directory they run again at the next start"
    )]
    Aborted(String),
    /// The operating system refused an operation.
    #[error("{what}: {cause}")]
    Io {
        /// What was tried, and on what.
        what: String,
        /// The error of the system.
        cause: std::io::Error,
    },
    /// Tidemill contradicts itself. Not the fault of the program or of its settings.
    #[error("a bug in tidemill, please report it: {0}")]
    Bug(String),
}

/// `main` prints its error with `Debug`: users see a sentence instead of a struct.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error {
    /// An error about a setting or an argument.
    pub(crate) fn config(message: impl Into<String>) -> Self {
        Error::Config(message.into())
    }

    /// A state that the code excludes.
    pub(crate) fn bug(what: impl Into<String>) -> Self {
        Error::Bug(what.into())
    }

    /// A panic of a thread that runs no user code.
    pub(crate) fn panicked(thread: &str, panic: &(dyn std::any::Any + Send)) -> Self {
        Error::Bug(format!("{thread} panicked: {}", panic_text(panic)))
    }

    /// A request that Kafka refused.
    #[cfg(feature = "kafka")]
    pub(crate) fn kafka(brokers: impl Into<String>, reason: impl ToString) -> Self {
        Error::Kafka { brokers: brokers.into(), reason: reason.to_string() }
    }

    /// An I/O error, with what was tried.
    pub(crate) fn io(what: impl Into<String>, cause: std::io::Error) -> Self {
        Error::Io { what: what.into(), cause }
    }

    /// A file of a checkpoint directory, and what is wrong with it.
    pub(crate) fn checkpoint(file: impl Into<String>, reason: impl ToString) -> Self {
        Error::Checkpoint { file: file.into(), reason: reason.to_string() }
    }

    /// A file of a checkpoint directory that does not hold the bytes that were written.
    pub(crate) fn damaged(file: impl Into<String>, found: impl fmt::Display) -> Self {
        Error::checkpoint(file, format!("damaged: {found}"))
    }

    /// A source that cannot continue: its name and what happened. For sources of your own.
    ///
    /// ```
    /// let e = tidemill::Error::source("numbers", "the file ends at byte 17");
    /// assert_eq!(e.to_string(), "source numbers: the file ends at byte 17");
    /// ```
    pub fn source(name: impl Into<String>, reason: impl ToString) -> Self {
        Error::Source { source_name: name.into(), reason: reason.to_string() }
    }
}

/// The message of a panic.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| s.to_string());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without a message".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_is_the_sentence_of_display() {
        let e = Error::WorkerPanicked {
            operator: "map".into(),
            worker: 1,
            batch: Some(BatchTime::from_millis(500)),
            message: "boom".into(),
        };
        assert_eq!(format!("{e:?}"), e.to_string());
        assert!(e.to_string().starts_with("worker 1 panicked in map, batch "), "{e}");
        let bug = Error::panicked("the planner", &"index out of bounds");
        assert_eq!(format!("{bug:?}"), "a bug in tidemill, please report it: the planner panicked: index out of bounds");
    }
}
