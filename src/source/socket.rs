//! `socket_text_stream`: lines from a TCP server, read by a thread of their own. At most once: what was sent is not sent again.

use std::collections::VecDeque;
use std::io::Read;
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::lines::{LINE_LIMIT, LINES_A_CALL, Line, Splitter, decoded};
use crate::context::{Pace, SourceSpec, StreamingContext};
use crate::error::{Error, Result};
use crate::flow::Site;
use crate::operator::Decoded;
use crate::plan::{Range, Split};
use crate::source::{Emit, Reader, Sealed, Splits, Start, Waker};

/// How many bytes of lines wait for the worker at most (and the lines of one chunk more): then the thread stops reading, and
/// TCP tells the peer.
const BUFFER: usize = 4 << 20;
/// How many bytes are read at once.
const CHUNK: usize = 64 << 10;
/// The pause before the next try to connect: doubled with each, back to the first when something was received.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// How long one address is tried.
const CONNECTING: Duration = Duration::from_secs(2);

impl<'s> StreamingContext<'s> {
    /// Lines from a TCP server, as `nc -lk 9999` is one. A batch has the lines that were taken from the connection since the
    /// batch before; silence gives empty batches. Spark's `socketTextStream`.
    ///
    /// - **Delivery is at most once.** A server sends once: what was received and not yet out when the job fails is lost, and
    ///   so is what was sent while the job did not run. A graceful stop puts all that was received into the last batch, an
    ///   unfinished line too.
    /// - **One connection, one worker.** The worker whose turn the source's lane is connects and reads; its rows are not dealt
    ///   to the others. Verbs that exchange by key (as `count_by`) spread what follows; or open several streams.
    /// - **The server may come later, and go.** It is tried again until the job ends, with pauses from 50 ms to 2 s.
    ///   Meanwhile batches are empty, the log has one line for each change, and
    ///   [`Statistics::trouble`](crate::metrics::Statistics::trouble) says why. A peer that vanishes without closing (a power
    ///   cut) looks like silence.
    /// - **A slow job slows the server.** 4 MiB of lines wait for the worker at most; then nothing is taken from the connection.
    /// - **Lines** end at LF, and a CR before it is not part of them; half a line when the peer closes is a line. Lines that are
    ///   not UTF-8, and lines over 1 MiB (their first MiB; the rest is skipped), are error records: origin `host:port`,
    ///   offset = how many lines came before.
    ///
    /// Positions count lines from 0. A given range (`--plans`, `received`) is the next `until - from` lines, waited for.
    ///
    /// ```
    /// use std::io::Write;
    /// use tidemill::prelude::*;
    /// let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// let port = server.local_addr().unwrap().port();
    /// let seen = Memory::new();
    /// let out = seen.clone();
    /// let job = StreamingContext::builder("lines", millis(5)).start(move |ssc| {
    ///     ssc.socket_text_stream("127.0.0.1", port).oks().to_memory(&out);
    ///     Ok(())
    /// }).unwrap();
    /// server.accept().unwrap().0.write_all(b"to be\r\nor not").unwrap();
    /// while seen.rows().len() < 2 {
    ///     std::thread::yield_now();
    /// }
    /// job.stop_gracefully().unwrap();
    /// assert_eq!(seen.rows(), ["to be", "or not"]);
    /// ```
    #[doc(alias = "socketTextStream")]
    #[track_caller]
    pub fn socket_text_stream(&self, host: impl Into<String>, port: u16) -> Decoded<'s, String> {
        let site = Site::of("socket_text_stream");
        let host = host.into();
        if host.is_empty() {
            self.graph.problem(&site, "the host is empty: write a name or an address, as localhost");
        }
        let address: Arc<str> = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }.into();
        let split = Split::Received { from: address.clone() };
        let lines = self.read(
            &site,
            "socket_text_stream",
            SourceSpec {
                name: format!("socket {address}"),
                splits: Box::new(move || Ok(Box::new(SocketSplits(split)))),
                reader: Box::new(move |wake| Ok(Box::new(SocketReader::new(host, port, address, wake)))),
                planned: false,
                pace: Pace::default(),
            },
        );
        decoded(&lines, &site)
    }
}

/// One split, known from the start.
struct SocketSplits(Split);

impl Splits for SocketSplits {
    fn start(&mut self) -> Result<Vec<Start>> {
        Ok(vec![Start { split: self.0.clone(), from: 0 }])
    }
}

/// What the reader and its thread share.
struct Shared {
    state: Mutex<State>,
    /// Told when there is room, and when the thread is to end.
    room: Condvar,
}

struct State {
    splitter: Splitter,
    ready: VecDeque<Line>,
    bytes: usize,
    /// How many lines were received: the number of the next.
    received: i64,
    trouble: Option<String>,
    /// The last trouble that the log has.
    logged: Option<String>,
    /// The connection, to end a read that waits.
    stream: Option<TcpStream>,
    stop: bool,
}

impl State {
    /// Takes bytes from the connection; none: it has ended, and what is left is a line.
    fn take(&mut self, origin: &Arc<str>, bytes: &[u8]) {
        let State { splitter, ready, bytes: held, received, .. } = self;
        let mut each = |raw: super::lines::Raw<'_>| {
            let line = raw.line(origin, *received);
            *received += 1;
            *held += line.bytes();
            ready.push_back(line);
        };
        match bytes {
            [] => splitter.finish(&mut each),
            bytes => splitter.feed(bytes, &mut each),
        }
    }

    fn end(&mut self) {
        self.stop = true;
        if let Some(stream) = self.stream.take() {
            // It may have ended by itself.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread: connects, receives, and again, until it is told to end.
struct Receiver {
    host: String,
    port: u16,
    address: Arc<str>,
    shared: Arc<Shared>,
    wake: Waker,
}

impl Receiver {
    fn run(self) {
        let mut pause = PAUSES.0;
        loop {
            let (received, trouble) = match self.connect() {
                Ok(stream) => self.receive(stream),
                Err(e) => (false, format!("no connection: {e}")),
            };
            pause = if received { PAUSES.0 } else { pause };
            let mut state = self.shared.lock();
            if state.stop {
                return;
            }
            if received || state.logged.as_ref() != Some(&trouble) {
                tracing::warn!(address = %self.address, %trouble, "the socket is away and is tried again until it is back");
                state.logged = Some(trouble.clone());
            }
            state.trouble = Some(trouble);
            let (state, _) =
                self.shared.room.wait_timeout_while(state, pause, |s| !s.stop).unwrap_or_else(PoisonError::into_inner);
            if state.stop {
                return;
            }
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    fn connect(&self) -> std::io::Result<TcpStream> {
        let mut last = std::io::Error::other("the name has no address");
        for address in (self.host.as_str(), self.port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, CONNECTING) {
                Ok(stream) => return Ok(stream),
                Err(e) => last = e,
            }
            if self.shared.lock().stop {
                break;
            }
        }
        Err(last)
    }

    /// Receives until the connection ends. Returns whether anything came, and how it ended.
    fn receive(&self, mut stream: TcpStream) -> (bool, String) {
        let mut any = false;
        {
            let mut state = self.shared.lock();
            match stream.try_clone() {
                Ok(handle) if !state.stop => state.stream = Some(handle),
                Ok(_) => return (false, String::new()),
                Err(e) => return (false, format!("no connection: {e}")),
            }
            state.trouble = None;
        }
        let mut chunk = vec![0; CHUNK];
        loop {
            let result = stream.read(&mut chunk);
            let n = match &result {
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(_) => 0,
                Ok(n) => *n,
            };
            let mut state = self.shared.lock();
            if state.stop {
                return (any, String::new());
            }
            if n > 0 && state.logged.take().is_some() {
                tracing::info!(address = %self.address, "the socket is back");
            }
            let waited = state.ready.is_empty();
            state.take(&self.address, &chunk[..n]);
            if waited && !state.ready.is_empty() {
                (self.wake)();
            }
            match result {
                Ok(0) => {
                    state.stream = None;
                    return (any, "the peer closed the connection".into());
                }
                Ok(_) => any = true,
                Err(e) => {
                    state.stream = None;
                    return (any, format!("the connection broke: {e}"));
                }
            }
            let full = |s: &mut State| s.bytes >= BUFFER && !s.stop;
            let _room = self.shared.room.wait_while(state, full).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// The worker's half: takes what the thread has.
struct SocketReader {
    /// Until the thread is started.
    receiver: Option<Receiver>,
    address: Arc<str>,
    shared: Arc<Shared>,
    lane: Option<u32>,
    /// Lines given since the start, and of these, how many are in sealed batches.
    given: i64,
    sealed: i64,
    /// Lines of a given range that are still to come.
    due: Option<i64>,
    /// Lines the open batch may still have.
    left: Option<u64>,
}

impl SocketReader {
    fn new(host: String, port: u16, address: Arc<str>, wake: Waker) -> Self {
        let state = State {
            splitter: Splitter::new(LINE_LIMIT),
            ready: VecDeque::new(),
            bytes: 0,
            received: 0,
            trouble: None,
            logged: None,
            stream: None,
            stop: false,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), room: Condvar::new() });
        let receiver = Receiver { host, port, address: address.clone(), shared: shared.clone(), wake };
        SocketReader { receiver: Some(receiver), address, shared, lane: None, given: 0, sealed: 0, due: None, left: None }
    }

    /// Gives up to `n` lines, and says how many, and whether others are ready.
    fn give(&mut self, n: usize, emit: &mut Emit<'_, Line>) -> (usize, bool) {
        let Some(lane) = self.lane else { return (0, false) };
        let mut state = self.shared.lock();
        let n = n.min(state.ready.len());
        let lines: Vec<Line> = state.ready.drain(..n).collect();
        let bytes = lines.iter().map(Line::bytes).sum();
        let was_full = state.bytes >= BUFFER;
        state.bytes -= bytes;
        if was_full && state.bytes < BUFFER {
            self.shared.room.notify_all();
        }
        let more = !state.ready.is_empty();
        drop(state);
        self.given += n as i64;
        emit(lane, lines, bytes);
        (n, more)
    }
}

impl Reader<Line> for SocketReader {
    fn assign(&mut self, lane: u32, split: &Split, _from: Option<i64>) -> Result<()> {
        if **split.name() != *self.address {
            let reason = format!("a range of {} is given, and this stream reads {}", split.name(), self.address);
            return Err(Error::source(format!("socket {}", self.address), reason));
        }
        self.lane = Some(lane);
        if let Some(receiver) = self.receiver.take() {
            let thread = std::thread::Builder::new().name(format!("socket {}", self.address));
            thread.spawn(move || receiver.run()).map_err(|e| Error::io("start of a socket's thread", e))?;
        }
        Ok(())
    }

    fn limit(&mut self, records_per_split: Option<u64>) {
        self.left = records_per_split;
    }

    fn read(&mut self, emit: &mut Emit<'_, Line>) -> Result<bool> {
        let room = self.left.map_or(LINES_A_CALL, |left| LINES_A_CALL.min(left as usize));
        let (n, more) = self.give(room, emit);
        self.left = self.left.map(|left| left - n as u64);
        Ok(more && self.left != Some(0))
    }

    fn seal(&mut self, _emit: &mut Emit<'_, Line>) -> Result<Sealed> {
        let Some(lane) = self.lane else { return Ok(Sealed::default()) };
        let split = Split::Received { from: self.address.clone() };
        let range = Range { source: 0, lane, split, from: self.sealed, until: self.given };
        self.sealed = self.given;
        let state = self.shared.lock();
        Ok(Sealed { ranges: vec![range], lag: Some(state.ready.len() as u64), trouble: state.trouble.clone() })
    }

    fn seal_last(&mut self, emit: &mut Emit<'_, Line>) -> Result<Sealed> {
        let mut state = self.shared.lock();
        if !state.stop {
            state.end();
            state.take(&self.address, &[]);
        }
        drop(state);
        self.shared.room.notify_all();
        while self.give(LINES_A_CALL, emit).1 {}
        self.seal(emit)
    }

    fn read_range(&mut self, range: &Range, emit: &mut Emit<'_, Line>) -> Result<bool> {
        let due = self.due.unwrap_or(range.until - range.from);
        let (n, _) = self.give(LINES_A_CALL.min(due as usize), emit);
        let due = due - n as i64;
        self.due = (due > 0).then_some(due);
        Ok(due == 0)
    }
}

impl Drop for SocketReader {
    fn drop(&mut self) {
        self.shared.lock().end();
        self.shared.room.notify_all();
    }
}
