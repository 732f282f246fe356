//! What a receiver's threads, its supervisor and the worker share: rows that wait, and the log, which one of the waiting threads writes.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::handle::{ReceiverHandle, StoreError};
use crate::checkpoint::received_log::Appender;
use crate::connector::received::Taken;
use crate::connector::source::Waker;
use crate::core::error::Error;
use crate::core::lock::lock;
use crate::metrics::ReceiverEvent;

/// The encoded bytes of rows that may wait for the worker, plus at most one block for each thread that stores.
pub(super) const BUFFER: usize = 4 << 20;
/// How long a restart waits if nobody says otherwise: Spark's `spark.streaming.receiverRestartDelay`.
pub(super) const RESTART_DELAY: Duration = Duration::from_secs(2);

/// How many events wait until the next seal.
const EVENTS: usize = 100;

/// What is to become of the receiver.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Request {
    Restart { why: String, delay: Duration },
    Stop { why: String },
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
    pub(super) logs: bool,
    state: Mutex<State<T>>,
    /// Notified at each change that somebody may wait for.
    pub(super) changed: Condvar,
    wake: Waker,
}

pub(super) struct State<T> {
    /// How often the receiver was started, and whether the last start still takes rows.
    pub(super) starts: u64,
    takes: bool,
    request: Option<Request>,
    log: Log,
    /// Rows that wait to be logged, and their bytes.
    pending: (Vec<T>, Vec<u8>),
    ready: VecDeque<T>,
    ready_bytes: usize,
    /// The bytes of all rows that are stored and not taken.
    pub(super) held: usize,
    /// How many rows were ever stored, and how many of them are ready.
    pub(super) stored: u64,
    done: u64,
    /// The number of the first row in the plans, and how many rows from it on every output has written.
    first: i64,
    pub(super) written: u64,
    /// Planned records from this number on will never come.
    pub end: Option<i64>,
    pub trouble: Option<String>,
    /// What the listeners of the job have not heard yet.
    pub events: VecDeque<ReceiverEvent>,
    /// The job has no more use for the receiver.
    pub(super) over: bool,
    /// The worker has no more use for it either: all batches are written, or the job has failed.
    pub(super) gone: bool,
    /// Whether the thread of the supervisor runs.
    supervised: bool,
    failure: Option<Error>,
}

impl<T> State<T> {
    pub(super) fn takes(&self, start: u64) -> bool {
        self.takes && self.starts == start
    }

    /// The current start takes no more rows.
    pub(super) fn end_of_start(&mut self, request: Request) {
        let (Request::Restart { why, .. } | Request::Stop { why }) = &request;
        if self.takes {
            self.happens(ReceiverEvent::Stopped(why.clone()));
        }
        self.takes = false;
        self.request = Some(request);
    }

    pub(super) fn happens(&mut self, event: ReceiverEvent) {
        if self.events.len() == EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
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
            first: 0,
            written: 0,
            end: None,
            trouble: None,
            events: VecDeque::new(),
            over: false,
            gone: false,
            supervised: false,
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
    pub(super) fn store(&self, start: u64, rows: Vec<T>, bytes: Vec<u8>, size: usize) -> Result<(), StoreError> {
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
        state.happens(ReceiverEvent::Started);
        Some(ReceiverHandle { shared: self.clone(), start: state.starts })
    }

    /// The current start has failed: it ends, and another one follows.
    pub fn failed(&self, why: String) {
        let mut state = self.lock();
        state.happens(ReceiverEvent::Error(why.clone()));
        state.end_of_start(Request::Restart { why, delay: RESTART_DELAY });
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
        if state.takes {
            state.happens(ReceiverEvent::Stopped("the job ends".into()));
        }
        (state.over, state.takes) = (true, false);
        self.changed.notify_all();
    }

    /// The supervisor begins; the first row has this number in the plans.
    pub fn begins(&self, first: i64) {
        let mut state = self.lock();
        (state.first, state.supervised) = (first, true);
    }

    /// The supervisor has ended.
    pub fn ended(&self) {
        self.lock().supervised = false;
        self.changed.notify_all();
    }

    /// Every output has written the rows before this number.
    pub fn written_until(&self, number: i64) {
        let mut state = self.lock();
        state.written = state.written.max((number - state.first).try_into().unwrap_or(0));
        self.changed.notify_all();
    }

    /// The worker ends. Waits until the supervisor has ended too, at most for this time, so that the receiver can say goodbye.
    pub fn leave(&self, time: Duration) {
        self.end();
        let mut state = self.lock();
        state.gone = true;
        self.changed.notify_all();
        let _ = self.changed.wait_timeout_while(state, time, |s| s.supervised).unwrap_or_else(PoisonError::into_inner);
    }

    pub(super) fn fail_in(&self, state: &mut State<T>, e: Error) {
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
