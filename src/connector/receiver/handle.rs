//! What a receiver stores its rows with.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::shared::{BUFFER, RESTART_DELAY, Request, Shared, State};
use crate::checkpoint::received_log::LONGEST;
use crate::core::data::Exchange;
use crate::core::error::Error;
use crate::metrics::ReceiverEvent;

/// Rows of about this many encoded bytes are stored together.
const BLOCK: usize = 1 << 20;
/// The maximum length of an encoded row, in bytes. A block has several rows, each at most this long.
const LONGEST_ROW: usize = LONGEST / 4;

/// Why rows were not stored. Do not acknowledge them.
///
/// ```
/// use tidemill::connector::receiver::StoreError;
/// assert_eq!(StoreError::Stopped.to_string(), "the receiver is stopped");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The receiver is stopped or restarts, or the job is over.
    #[error("the receiver is stopped")]
    Stopped,
    /// A row is too long for the log.
    #[error("a row has {0} encoded bytes; at most 16 MiB are possible: split it")]
    TooLong(usize),
}

/// Stores the rows of a [`Receiver`](super::Receiver), and restarts or stops it. All threads of the receiver may share clones of it.
///
/// It belongs to one start of the receiver: after a restart it refuses everything.
///
/// ```
/// use tidemill::connector::receiver::{Receiver, ReceiverHandle, StoreError};
/// use tidemill::prelude::*;
///
/// /// A feed that ends, and begins again once.
/// struct Feed {
///     starts: i64,
/// }
///
/// impl Receiver for Feed {
///     type Item = i64;
///     fn name(&self) -> String {
///         "feed".into()
///     }
///     fn on_start(&mut self, to: ReceiverHandle<i64>) -> Result<(), BoxError> {
///         self.starts += 1;
///         let start = self.starts;
///         std::thread::spawn(move || {
///             to.store(10 * start)?;
///             to.store_many([10 * start + 1, 10 * start + 2])?;
///             match start {
///                 1 => to.restart_after("the feed has ended", millis(0)),
///                 2 => to.stop("there are two parts"),
///                 _ => to.restart("later"),
///             }
///             // It is stopped, so nobody hears of this.
///             to.report_error("late");
///             Ok::<(), StoreError>(())
///         });
///         Ok(())
///     }
/// }
///
/// let seen = MemorySink::new();
/// let out = seen.clone();
/// let job = StreamingContext::builder("feed", millis(5)).without_checkpoint().start(move |ssc| {
///     ssc.receiver_stream(Feed { starts: 0 }).to_memory(&out);
///     Ok(())
/// })?;
/// while seen.rows().len() < 6 {
///     std::thread::yield_now();
/// }
/// job.stop_gracefully()?;
/// assert_eq!(seen.rows(), [10, 11, 12, 20, 21, 22]);
/// # Ok::<(), Error>(())
/// ```
pub struct ReceiverHandle<T> {
    pub(super) shared: Arc<Shared<T>>,
    /// Which start of the receiver it belongs to.
    pub(super) start: u64,
}

impl<T> Clone for ReceiverHandle<T> {
    fn clone(&self) -> Self {
        ReceiverHandle { shared: self.shared.clone(), start: self.start }
    }
}

impl<T: Exchange> ReceiverHandle<T> {
    /// Stores one row. With a log it is durable when this returns. Blocks while 4 MiB of rows wait for the worker.
    ///
    /// # Errors
    /// The row is not stored, or not known to be: do not acknowledge it.
    pub fn store(&self, row: T) -> Result<(), StoreError> {
        self.store_many([row])
    }

    /// Stores rows in this order. With a log all are durable when this returns, and a sync covers about 1 MiB of them.
    ///
    /// # Errors
    /// Not all rows are known to be stored; the first of them may be. Do not acknowledge them.
    pub fn store_many(&self, rows: impl IntoIterator<Item = T>) -> Result<(), StoreError> {
        let logs = self.shared.logs;
        let (mut block, mut bytes, mut size) = (Vec::new(), Vec::new(), 0);
        for row in rows {
            let length = match logs {
                true => {
                    let before = bytes.len();
                    bytes = postcard::to_extend(&row, bytes).expect("the row's Serialize failed");
                    bytes.len() - before
                }
                false => postcard::experimental::serialized_size(&row).expect("the row's Serialize failed"),
            };
            if length > LONGEST_ROW {
                return Err(StoreError::TooLong(length));
            }
            block.push(row);
            size += length;
            if size >= BLOCK {
                self.shared.store(
                    self.start,
                    std::mem::take(&mut block),
                    std::mem::take(&mut bytes),
                    std::mem::take(&mut size),
                )?;
            }
        }
        match block.is_empty() {
            true => Ok(()),
            false => self.shared.store(self.start, block, bytes, size),
        }
    }

    /// Whether this start of the receiver is over: its threads must end.
    pub fn is_stopped(&self) -> bool {
        !self.shared.lock().takes(self.start)
    }

    /// Whether `store` would wait: 4 MiB of rows wait for the worker. With `time`, waits at most this long for room.
    #[cfg_attr(not(any(feature = "kafka", feature = "http")), allow(dead_code, reason = "for receivers of these features"))]
    pub(in crate::connector) fn is_full(&self, time: Duration) -> bool {
        let full = |s: &mut State<T>| s.takes(self.start) && s.held >= BUFFER;
        let (mut state, _) =
            self.shared.changed.wait_timeout_while(self.shared.lock(), time, full).unwrap_or_else(PoisonError::into_inner);
        full(&mut state)
    }

    /// How many rows were stored since the job has started.
    #[cfg_attr(not(feature = "kafka"), allow(dead_code, reason = "for the receiver of Kafka"))]
    pub(in crate::connector) fn stored(&self) -> u64 {
        self.shared.lock().stored
    }

    /// How many of the stored rows every output has written. Known only of a receiver without a log.
    #[cfg_attr(not(feature = "kafka"), allow(dead_code, reason = "for the receiver of Kafka"))]
    pub(in crate::connector) fn written(&self) -> u64 {
        self.shared.lock().written
    }

    /// Whether the rows that are stored may still be written, although no more are taken.
    #[cfg_attr(not(feature = "kafka"), allow(dead_code, reason = "for the receiver of Kafka"))]
    pub(in crate::connector) fn is_draining(&self) -> bool {
        let state = self.shared.lock();
        state.starts == self.start && state.over && !state.gone
    }

    /// Ends the job with this error.
    #[cfg_attr(not(feature = "kafka"), allow(dead_code, reason = "for the receiver of Kafka"))]
    pub(in crate::connector) fn fail(&self, e: Error) {
        let mut state = self.shared.lock();
        if state.takes(self.start) {
            self.shared.fail_in(&mut state, e);
        }
    }

    /// Reports a trouble: it is logged, and is in [`Statistics::trouble`](crate::metrics::Statistics::trouble) until a row is stored. The
    /// receiver goes on. Listeners hear of it. Spark's `reportError`.
    #[doc(alias = "reportError")]
    pub fn report_error(&self, what: impl Into<String>) {
        let what = what.into();
        tracing::warn!(source = %self.shared.name, %what, "the receiver reports a trouble");
        let mut state = self.shared.lock();
        if state.takes(self.start) {
            state.happens(ReceiverEvent::Error(what.clone()));
            state.trouble = Some(what);
        }
    }

    /// Stops the receiver, and starts it again after 2 seconds. Returns at once.
    pub fn restart(&self, why: impl Into<String>) {
        self.restart_after(why, RESTART_DELAY);
    }

    /// Like [`restart`](Self::restart), after another delay.
    pub fn restart_after(&self, why: impl Into<String>, delay: Duration) {
        self.ask(Request::Restart { why: why.into(), delay });
    }

    /// Stops the receiver for the rest of the job, whose batches go on without its rows. Returns at once.
    pub fn stop(&self, why: impl Into<String>) {
        self.ask(Request::Stop { why: why.into() });
    }

    fn ask(&self, request: Request) {
        let mut state = self.shared.lock();
        if state.takes(self.start) {
            state.end_of_start(request);
            self.shared.changed.notify_all();
        }
    }
}
