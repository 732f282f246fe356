//! Receivers: sources for what can only push. What a receiver stores is logged before the sender is told, if the job has a checkpoint
//! directory.
//!
//! ```text
//!  threads of the receiver        ReceiverHandle                         worker that owns the split
//!    | store_many(rows) ------------>| waits for room
//!    |                               | one of the waiting threads writes and syncs the rows of all
//!    |                               | ready rows ------------------------>| read: into the open batch
//!    |<------------------------- Ok  |                                     | seal: records from..until of the log
//!    | acknowledges to its sender    |                                     |
//! ```
//!
//! `supervisor.rs` starts, restarts and stops the receiver, and first gives what an earlier run has logged and no batch of a checkpoint
//! has. So the rows of a reader follow one another from its first position, whether they were logged or have just arrived.

mod handle;
mod reader;
mod shared;
mod supervisor;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::Arc;

pub use self::handle::{ReceiverHandle, StoreError};
use self::reader::ReceiverReader;
use crate::api::context::StreamingContext;
use crate::api::dstream::DStream;
use crate::connector::source::{MaxRate, ReaderContext, Source, SourceReader, SplitEnumerator, SplitOffset};
use crate::core::data::Exchange;
use crate::core::error::{BoxError, Error, Result};
use crate::core::plan::Split;
use crate::engine::operator_id::OperatorId;

/// Receives rows from a system that can only push, for [`StreamingContext::receiver_stream`]. Spark's `Receiver`.
///
/// One worker of the job starts it; the others make one and never start it. All calls come from one thread of its own, one after
/// the other. `examples/receiver.rs` is a complete receiver.
pub trait Receiver: Send + 'static {
    /// The type of its rows.
    type Item: Exchange;

    /// The receiver's name in errors, logs and plans: `orders on port 9000`. Its log belongs to this name, so it must be the same in
    /// every run.
    fn name(&self) -> String;

    /// Starts receiving. Must return soon: receive on threads of your own, which store rows by `to`. They must end when
    /// [`ReceiverHandle::is_stopped`] is true. Called again after each restart, with a new handle.
    ///
    /// # Errors
    /// Any error. The receiver is started again after 2 seconds.
    fn on_start(&mut self, to: ReceiverHandle<Self::Item>) -> Result<(), BoxError>;

    /// Stops receiving: close connections, and wait for the threads. Called before each restart, and at the end of the job, which waits at
    /// most 5 seconds for it. The handle already refuses rows. Default: nothing.
    fn on_stop(&mut self) {}
}

impl<'s> StreamingContext<'s> {
    /// The rows that a [`Receiver`] stores. A batch has the rows that became ready since the previous batch, in the order in which they
    /// were stored. Spark's `receiverStream`.
    ///
    /// - **With a checkpoint directory, nothing that is acknowledged is lost.** [`ReceiverHandle::store`] returns when the rows are synced
    ///   to a log in that directory. So a receiver acknowledges to its sender after `store`. A restart reads the same records of the log
    ///   again as the same batches, and then what no batch had. Rows that were not acknowledged come at most twice, if the sender sends
    ///   them again. Exactly-once outputs accept the stream. One sync covers all rows that wait for it.
    ///   `--conf spark.streaming.receiver.writeAheadLog.enable=false` turns the log off.
    /// - **Without a log, delivery is at most once.** Rows are in memory, and a crash loses those whose batch is not written.
    /// - **A graceful stop** stops the receiver, and puts what it has stored into the last batch. Rows that are being logged at that moment
    ///   are in the first batch of the next run.
    /// - **One receiver, one worker.** The worker that owns its split starts it, in whichever process that is. Verbs that exchange by key
    ///   spread later work; several receivers spread the receiving.
    /// - **A slow job slows the sender.** At most 4 MiB of encoded rows wait for the worker; above that `store` blocks.
    ///   `spark.streaming.receiver.maxRate` limits a batch.
    /// - **Disk space.** The log is deleted, in files of 16 MiB, as far as no kept checkpoint needs it.
    ///
    /// Positions count records from 0. An error of the log ends the job, so that a supervisor can start it again. A panic of the
    /// receiver's calls ends the job, too.
    ///
    /// ```
    /// use tidemill::connector::receiver::{Receiver, ReceiverHandle};
    /// use tidemill::prelude::*;
    ///
    /// /// A sensor that calls back with readings.
    /// struct Sensor;
    ///
    /// impl Receiver for Sensor {
    ///     type Item = i64;
    ///     fn name(&self) -> String {
    ///         "sensor".into()
    ///     }
    ///     fn on_start(&mut self, to: ReceiverHandle<i64>) -> Result<(), BoxError> {
    ///         std::thread::spawn(move || {
    ///             for reading in 0.. {
    ///                 // Ok: the sensor may forget this reading.
    ///                 if to.store(reading).is_err() {
    ///                     return;
    ///                 }
    ///             }
    ///         });
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let dir = std::env::temp_dir().join(format!("tidemill-doc-receiver-{}", std::process::id()));
    /// let readings = |dir: &std::path::Path| {
    ///     let seen = MemorySink::new();
    ///     let out = seen.clone();
    ///     let job = StreamingContext::builder("readings", millis(10)).checkpoint(dir).start(move |ssc| {
    ///         ssc.receiver_stream(Sensor).to_memory(&out);
    ///         Ok(())
    ///     })?;
    ///     while seen.rows().is_empty() {
    ///         std::thread::yield_now();
    ///     }
    ///     job.stop_gracefully()?;
    ///     Ok::<_, Error>(seen.rows())
    /// };
    /// let rows = readings(&dir)?;
    /// assert_eq!(rows, (0..rows.len() as i64).collect::<Vec<_>>());
    /// # std::fs::remove_dir_all(dir).unwrap();
    /// # Ok::<(), Error>(())
    /// ```
    #[doc(alias = "receiverStream")]
    #[track_caller]
    pub fn receiver_stream<R: Receiver>(&self, receiver: R) -> DStream<'s, R::Item> {
        self.receive(&OperatorId::of("receiver_stream"), receiver)
    }

    /// As [`receiver_stream`](StreamingContext::receiver_stream), by the verb of another receiver.
    pub(in crate::connector) fn receive<R: Receiver>(&self, operator: &OperatorId, receiver: R) -> DStream<'s, R::Item> {
        let config = &self.graph.config;
        let name = self.graph.numbered("receiver", &receiver.name());
        if name.is_empty() {
            self.graph.report(operator, "the receiver's name is empty: its log belongs to its name");
        }
        let dir = config.runtime.checkpoint.as_ref().or(config.replay.as_ref().map(|r| &r.dir));
        let log = dir.filter(|_| config.receiver_log).cloned();
        let per_second = config.max_rate_of_receivers;
        let source =
            ReceiverSource { receiver: Cell::new(Some(receiver)), split: Own::new(&name, log.is_some()), log, per_second };
        self.read(operator, source)
    }
}

/// The split of a receiver, as every part of the source knows it.
#[derive(Clone)]
struct Own(Split);

impl Own {
    fn new(name: &str, logged: bool) -> Self {
        let name = format!("receiver {name}");
        Own(if logged { Split::custom(name, 0) } else { Split::custom_received(name, 0) })
    }

    fn name(&self) -> &Arc<str> {
        self.0.name()
    }

    fn is_logged(&self) -> bool {
        self.0.replayable()
    }

    /// Checks that a split of an earlier run, or of given plans, is this one.
    fn check(&self, split: &Split) -> Result<()> {
        // Given plans name a receiver as they name a socket.
        let given = matches!(split, Split::Received { from } if from == self.name()) && !self.is_logged();
        if *split == self.0 || given {
            return Ok(());
        }
        let reason = if split.name() != self.name() {
            format!("the plans have {split} in its place: receivers keep their names and their order in the program")
        } else {
            let was = split.replayable();
            let setting = "spark.streaming.receiver.writeAheadLog.enable";
            format!(
                "the plans were made with {setting}={was}, and it is {}: leave it as it was, or begin in an empty directory",
                !was
            )
        };
        Err(Error::source(self.name().to_string(), reason))
    }
}

/// The source: the receiver, until a worker takes it, and where its log is.
struct ReceiverSource<R> {
    receiver: Cell<Option<R>>,
    split: Own,
    log: Option<PathBuf>,
    per_second: Option<u64>,
}

impl<R: Receiver> Source for ReceiverSource<R> {
    type Item = R::Item;

    fn name(&self) -> String {
        self.split.name().to_string()
    }

    fn enumerator(&self) -> Result<Box<dyn SplitEnumerator>> {
        Ok(Box::new(ReceiverEnumerator { split: self.split.clone(), known: false }))
    }

    fn reader(&self, context: &ReaderContext) -> Result<Box<dyn SourceReader<R::Item>>> {
        let receiver = self.receiver.take().ok_or_else(|| Error::bug("a receiver has two readers"))?;
        Ok(Box::new(ReceiverReader::new(receiver, self.split.clone(), self.log.clone(), context.waker().clone())))
    }

    fn max_rate(&self) -> MaxRate {
        MaxRate { per_second: self.per_second, first_batch: None }
    }
}

/// One split, known from the start.
struct ReceiverEnumerator {
    split: Own,
    known: bool,
}

impl SplitEnumerator for ReceiverEnumerator {
    fn restore(&mut self, read: Vec<SplitOffset>, _: &[u8]) -> Result<()> {
        self.known = !read.is_empty();
        read.iter().try_for_each(|at| self.split.check(&at.split))
    }

    fn start(&mut self) -> Result<Vec<SplitOffset>> {
        let new = (!self.known).then(|| SplitOffset { split: self.split.0.clone(), from: 0 });
        Ok(new.into_iter().collect())
    }

    fn replayable(&self) -> bool {
        self.split.is_logged()
    }

    /// Without a log, a receiver may tell its sender when rows are written.
    fn tells_readers(&self) -> bool {
        !self.split.is_logged()
    }
}
