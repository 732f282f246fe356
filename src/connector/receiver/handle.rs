//! What a receiver stores its rows with, and what it shares with the worker that reads them.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::checkpoint::received_log::{Appender, LONGEST};
use crate::connector::received::Taken;
use crate::connector::source::Waker;
use crate::core::data::Exchange;
use crate::core::error::Error;
use crate::core::lock::lock;

/// The encoded bytes of rows that may wait for the worker, plus at most one block for each thread that stores.
pub(super) const BUFFER: usize = 4 << 20;
/// Rows of about this many encoded bytes are stored together.
const BLOCK: usize = 1 << 20;
/// The maximum length of an encoded row, in bytes. A block has several rows, each at most this long.
const LONGEST_ROW: usize = LONGEST / 4;
/// How long a restart waits if nobody says otherwise: Spark's `spark.streaming.receiverRestartDelay`.
const RESTART_DELAY: Duration = Duration::from_secs(2);

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
    shared: Arc<Shared<T>>,
    /// Which start of the receiver it belongs to.
    start: u64,
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

    /// Reports a trouble: it is logged, and is in [`Statistics::trouble`](crate::metrics::Statistics::trouble) until a row is stored. The
    /// receiver goes on. Spark's `reportError`.
    #[doc(alias = "reportError")]
    pub fn report_error(&self, what: impl Into<String>) {
        let what = what.into();
        tracing::warn!(source = %self.shared.name, %what, "the receiver reports a trouble");
        let mut state = self.shared.lock();
        if state.takes(self.start) {
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

/// What is to become of the receiver.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Request {
    Restart { why: String, delay: Duration },
    Stop { why: String },
}

impl Request {
    /// What follows if `on_start` fails.
    pub fn after_failure(why: String) -> Self {
        Request::Restart { why, delay: RESTART_DELAY }
    }
}

/// The log, which one thread at a time writes.
enum Log {
    /// The receiver has no log, or the log is not open yet.
    None,
    Idle(Appender),
    Busy,
}

/// What the receiver's threads, its supervisor and the worker share.
pub(super) struct Shared<T> {
    pub name: Arc<str>,
    /// Whether rows are logged.
    logs: bool,
    state: Mutex<State<T>>,
    /// Notified at each change that somebody may wait for.
    changed: Condvar,
    wake: Waker,
}

pub(super) struct State<T> {
    /// How often the receiver was started, and whether the last start still takes rows.
    starts: u64,
    takes: bool,
    request: Option<Request>,
    log: Log,
    /// Rows that wait to be logged, and their bytes.
    pending: (Vec<T>, Vec<u8>),
    ready: VecDeque<T>,
    ready_bytes: usize,
    /// The bytes of all rows that are stored and not taken.
    held: usize,
    /// How many rows were ever stored, and how many of them are ready.
    stored: u64,
    done: u64,
    /// Planned records from this number on will never come.
    pub end: Option<i64>,
    pub trouble: Option<String>,
    /// The job has no more use for the receiver.
    over: bool,
    failure: Option<Error>,
}

impl<T> State<T> {
    fn takes(&self, start: u64) -> bool {
        self.takes && self.starts == start
    }

    /// The current start takes no more rows.
    fn end_of_start(&mut self, request: Request) {
        self.takes = false;
        self.request = Some(request);
    }

    /// Returns whether the worker may be waiting for rows.
    fn put_ready(&mut self, rows: Vec<T>, bytes: usize) -> bool {
        let waited = self.ready.is_empty();
        self.done += rows.len() as u64;
        self.ready.extend(rows);
        self.ready_bytes += bytes;
        waited
    }
}

impl<T> Shared<T> {
    pub fn new(name: Arc<str>, logs: bool, wake: Waker) -> Arc<Self> {
        let state = State {
            starts: 0,
            takes: false,
            request: None,
            log: Log::None,
            pending: (Vec::new(), Vec::new()),
            ready: VecDeque::new(),
            ready_bytes: 0,
            held: 0,
            stored: 0,
            done: 0,
            end: None,
            trouble: None,
            over: false,
            failure: None,
        };
        Arc::new(Shared { name, logs, state: Mutex::new(state), changed: Condvar::new(), wake })
    }

    pub fn lock(&self) -> MutexGuard<'_, State<T>> {
        lock(&self.state)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State<T>>) -> MutexGuard<'a, State<T>> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores a block of a start of the receiver. With a log it is durable when this returns.
    fn store(&self, start: u64, rows: Vec<T>, bytes: Vec<u8>, size: usize) -> Result<(), StoreError> {
        let mut state = self.lock();
        while state.takes(start) && state.held >= BUFFER {
            state = self.wait(state);
        }
        if !state.takes(start) {
            return Err(StoreError::Stopped);
        }
        state.held += size;
        state.stored += rows.len() as u64;
        state.trouble = None;
        if !self.logs {
            if state.put_ready(rows, size) {
                (self.wake)();
            }
            return Ok(());
        }
        let last = state.stored;
        state.pending.0.extend(rows);
        state.pending.1.extend(bytes);
        self.commit(state, last)
    }

    /// Waits until the row with this number is durable. The first thread that waits writes the rows of all.
    fn commit<'a>(&'a self, mut state: MutexGuard<'a, State<T>>, last: u64) -> Result<(), StoreError> {
        while state.done < last {
            let mut log = match std::mem::replace(&mut state.log, Log::Busy) {
                Log::Idle(log) => log,
                Log::Busy => {
                    state = self.wait(state);
                    continue;
                }
                Log::None => {
                    state.log = Log::None;
                    return Err(StoreError::Stopped);
                }
            };
            let (rows, bytes) = std::mem::take(&mut state.pending);
            drop(state);
            let written = log.append(rows.len() as u32, &bytes);
            state = self.lock();
            match written {
                Ok(()) => {
                    state.log = Log::Idle(log);
                    if state.put_ready(rows, bytes.len()) {
                        (self.wake)();
                    }
                }
                // Its end is unknown now.
                Err(e) => {
                    state.log = Log::None;
                    self.fail_in(&mut state, e);
                }
            }
            self.changed.notify_all();
        }
        Ok(())
    }

    /// Takes at most `n` rows that are ready.
    pub fn take(&self, n: usize) -> Taken<T> {
        let mut state = self.lock();
        let ready = state.ready.len();
        let n = n.min(ready);
        let rows = state.ready.drain(..n).collect();
        // The bytes of each row are not kept: rows are about equally long.
        let bytes = if n == ready { state.ready_bytes } else { state.ready_bytes / ready * n };
        state.ready_bytes -= bytes;
        let was_full = state.held >= BUFFER;
        state.held -= bytes;
        if was_full && state.held < BUFFER {
            self.changed.notify_all();
        }
        Taken { rows, bytes, more: n < ready }
    }

    #[cfg(test)]
    pub fn held(&self) -> usize {
        self.lock().held
    }

    pub fn ready(&self) -> usize {
        self.lock().ready.len()
    }

    /// Puts rows of the log before those of the receiver. Waits for room. Returns whether more are wanted.
    pub fn put_logged(&self, rows: Vec<T>, bytes: usize) -> bool {
        let mut state = self.lock();
        while state.held >= BUFFER && !state.over {
            state = self.wait(state);
        }
        state.held += bytes;
        state.stored += rows.len() as u64;
        if state.put_ready(rows, bytes) {
            (self.wake)();
        }
        !state.over
    }

    /// Planned records from this number on will never come.
    pub fn ends_at(&self, end: i64) {
        self.lock().end = Some(end);
        (self.wake)();
    }

    /// The log is open, after all that it had.
    pub fn opened(&self, log: Appender) {
        self.lock().log = Log::Idle(log);
    }

    /// The receiver starts: returns its handle. `None`: the job is over.
    pub fn start(self: &Arc<Self>) -> Option<ReceiverHandle<T>> {
        let mut state = self.lock();
        if state.over {
            return None;
        }
        state.starts += 1;
        (state.takes, state.request, state.trouble) = (true, None, None);
        Some(ReceiverHandle { shared: self.clone(), start: state.starts })
    }

    /// Asks the current start to end.
    pub fn request(&self, request: Request) {
        self.lock().end_of_start(request);
    }

    /// Waits until the current start has to end. `None`: the job is over.
    pub fn next_request(&self) -> Option<Request> {
        let mut state = self.lock();
        while state.request.is_none() && !state.over {
            state = self.wait(state);
        }
        if state.over { None } else { state.request.take() }
    }

    /// Waits, with this trouble, until the time has passed or the job is over.
    pub fn pause(&self, trouble: String, time: Duration) {
        let mut state = self.lock();
        state.trouble = Some(trouble);
        let _ = self.changed.wait_timeout_while(state, time, |state| !state.over).unwrap_or_else(PoisonError::into_inner);
    }

    /// The job needs no more rows: threads that store and wait get errors, and the supervisor ends.
    pub fn end(&self) {
        let mut state = self.lock();
        (state.over, state.takes) = (true, false);
        self.changed.notify_all();
    }

    fn fail_in(&self, state: &mut State<T>, e: Error) {
        (state.over, state.takes) = (true, false);
        state.failure.get_or_insert(e);
        self.changed.notify_all();
        (self.wake)();
    }

    /// The job must end with this error.
    pub fn fail(&self, e: Error) {
        self.fail_in(&mut self.lock(), e);
    }

    /// The error with which the job must end.
    pub fn failure(&self) -> Option<Error> {
        self.lock().failure.take()
    }
}
