//! `socket_text_stream`: lines from a TCP server, received by a thread. At most once, because a server does not send again.

use std::collections::{BTreeSet, VecDeque};
use std::io::Read;
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::api::context::StreamingContext;
use crate::connector::received::{Received, Taken};
use crate::connector::source::{
    Emit, MaxRate, ReaderContext, Sealed, Source, SourceReader, SplitEnumerator, SplitOffset, SplitRange, Waker,
};
use crate::core::error::{Error, Result};
use crate::core::lock::lock;
use crate::core::plan::{Limits, Split};
use crate::core::thread::spawn;
use crate::engine::operator_id::OperatorId;
use crate::format::lines::{Line, Splitter};
use crate::operator::Decoded;
use crate::operator::decode::decoded_lines;

/// The bytes of lines that may wait for the worker, plus at most one chunk. At this limit the thread stops reading, and TCP
/// slows the peer.
const BUFFER: usize = 4 << 20;
/// Bytes per read.
pub(super) const CHUNK: usize = 64 << 10;
/// The first and the longest pause between connection attempts. Each attempt doubles the pause; received bytes reset it.
pub(super) const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// The timeout of an attempt to connect to one address.
const CONNECTING: Duration = Duration::from_secs(2);

impl<'s> StreamingContext<'s> {
    /// Lines from a TCP server, such as `nc -lk 9999`. A batch has the lines that arrived since the previous batch. Silence
    /// gives empty batches. Spark's `socketTextStream`.
    ///
    /// - **Delivery is at most once.** If the job fails, received lines whose batch is not written are lost. Lines sent while
    ///   the job does not run are lost too. A graceful stop puts everything received into the last batch, also an unfinished
    ///   line.
    /// - **One connection, one worker.** One worker connects and reads. Verbs that exchange by key (such as `count_by`) spread
    ///   later work; several streams spread the reading.
    /// - **The server may start later, or disappear.** The source reconnects until the job ends, with pauses from 50 ms to 2 s.
    ///   Meanwhile batches are empty, the log has one line for each change of state, and
    ///   [`Statistics::trouble`](crate::metrics::Statistics::trouble) says why. A peer that vanishes without closing (a power
    ///   cut) looks like silence.
    /// - **A slow job slows the server.** At most 4 MiB of lines wait for the worker; above that the source stops reading.
    /// - **Lines** end at LF, and a CR before it is not part of them. An unfinished line counts as a line when the peer closes.
    ///   Two kinds of lines are error records: lines that are not UTF-8, and lines over
    ///   [`max_line_bytes`](crate::api::builder::Builder::max_line_bytes) (only their beginning; the rest is skipped). Their origin is `host:port`, their offset the number of lines before it.
    ///
    /// Positions count lines from 0. A given range (`--plans`, `received`) waits for the next `until - from` lines.
    ///
    /// ```
    /// use std::io::Write;
    /// use tidemill::prelude::*;
    /// let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// let port = server.local_addr().unwrap().port();
    /// let seen = MemorySink::new();
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
        self.socket_lines(&OperatorId::of("socket_text_stream"), host.into(), port)
    }

    /// As [`socket_text_stream`](StreamingContext::socket_text_stream), by another verb.
    pub(super) fn socket_lines(&self, operator: &OperatorId, host: String, port: u16) -> Decoded<'s, String> {
        let (host, address) = socket_address(host, port, |e| self.graph.report(operator, e));
        let config = &self.graph.config;
        let (per_second, line_limit) = (config.max_rate_of_receivers, config.max_line_bytes);
        let socket = Socket { host, port, address, per_second, line_limit };
        decoded_lines(&self.read(operator, socket), operator)
    }
}

/// The host without brackets, and the address in messages. `report`: what is wrong with the host.
pub(super) fn socket_address(host: String, port: u16, report: impl FnOnce(&'static str)) -> (String, Arc<str>) {
    // An address of IPv6 in brackets, as in a URL.
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&host).to_owned();
    if host.is_empty() {
        report("the host is empty: write a name or an address, as localhost");
    }
    let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    (host, address.into())
}

/// Connects to the first address of a host that answers.
pub(super) fn connect(host: &str, port: u16, stopped: impl Fn() -> bool) -> std::io::Result<TcpStream> {
    let mut last = std::io::Error::other("the name has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECTING) {
            Ok(stream) => return Ok(stream),
            Err(e) => last = e,
        }
        if stopped() {
            break;
        }
    }
    Err(last)
}

/// The source: its server and its maximum rate.
struct Socket {
    host: String,
    port: u16,
    address: Arc<str>,
    per_second: Option<u64>,
    line_limit: usize,
}

impl Source for Socket {
    type Item = Line;

    fn name(&self) -> String {
        format!("socket {}", self.address)
    }

    fn enumerator(&self) -> Result<Box<dyn SplitEnumerator>> {
        Ok(Box::new(SocketEnumerator(Split::Received { from: self.address.clone() })))
    }

    fn reader(&self, context: &ReaderContext) -> Result<Box<dyn SourceReader<Line>>> {
        Ok(Box::new(SocketReader::new(
            self.host.clone(),
            self.port,
            self.address.clone(),
            self.line_limit,
            context.waker().clone(),
        )))
    }

    fn max_rate(&self) -> MaxRate {
        MaxRate { per_second: self.per_second, first_batch: None }
    }
}

/// One split, known from the start.
struct SocketEnumerator(Split);

impl SplitEnumerator for SocketEnumerator {
    /// A server does not send again, so only the line numbers continue.
    fn restore(&mut self, _: Vec<SplitOffset>, _: &[u8]) -> Result<()> {
        Ok(())
    }

    fn replayable(&self) -> bool {
        false
    }

    fn start(&mut self) -> Result<Vec<SplitOffset>> {
        Ok(vec![SplitOffset { split: self.0.clone(), from: 0 }])
    }
}

/// The state that the reader and its thread share.
struct Shared {
    state: Mutex<State>,
    /// Notified when the buffer has room, and when the thread must end.
    room: Condvar,
}

struct State {
    splitter: Splitter,
    ready: VecDeque<Line>,
    bytes: usize,
    /// The number of lines received, which is the number of the next line.
    received: i64,
    trouble: Option<String>,
    /// The last trouble that was logged.
    logged: Option<String>,
    /// The connection. Shutting it down ends a waiting read.
    stream: Option<TcpStream>,
    stop: bool,
}

impl State {
    /// Adds bytes of the connection. No bytes: the connection has ended, and the remaining bytes are a line.
    fn take(&mut self, origin: &Arc<str>, bytes: &[u8]) {
        let State { splitter, ready, bytes: held, received, .. } = self;
        let mut each = |raw: crate::format::lines::Raw<'_>| {
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
            // An error means that the connection has already ended.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Takes at most `n` lines.
    fn take(&self, n: usize) -> Taken<Line> {
        let mut state = self.lock();
        let n = n.min(state.ready.len());
        let rows: Vec<Line> = state.ready.drain(..n).collect();
        let bytes = rows.iter().map(Line::bytes).sum();
        let was_full = state.bytes >= BUFFER;
        state.bytes -= bytes;
        if was_full && state.bytes < BUFFER {
            self.room.notify_all();
        }
        Taken { rows, bytes, more: !state.ready.is_empty() }
    }
}

/// The thread: connects, receives, and reconnects until the job ends.
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
            let (received, trouble) = match connect(&self.host, self.port, || self.shared.lock().stop) {
                Ok(stream) => self.receive(stream),
                Err(e) => (false, format!("no connection: {e}")),
            };
            pause = if received { PAUSES.0 } else { pause };
            let mut state = self.shared.lock();
            if state.stop {
                return;
            }
            if received || state.logged.as_ref() != Some(&trouble) {
                tracing::warn!(address = %self.address, %trouble, "the connection to the server failed; the source reconnects until it succeeds");
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

    /// Receives until the connection ends. Returns whether any bytes arrived, and why the connection ended.
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
                tracing::info!(address = %self.address, "the connection to the server works again");
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

/// The worker's half: gives the lines that the thread has received.
struct SocketReader {
    /// `None` until the thread is started.
    receiver: Option<Receiver>,
    address: Arc<str>,
    shared: Arc<Shared>,
    cursor: Received,
}

impl SocketReader {
    fn new(host: String, port: u16, address: Arc<str>, line_limit: usize, wake: Waker) -> Self {
        let state = State {
            splitter: Splitter::new(line_limit),
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
        SocketReader { receiver: Some(receiver), address, shared, cursor: Received::default() }
    }
}

impl SourceReader<Line> for SocketReader {
    fn assign(&mut self, split_id: u32, split: &Split, from: Option<i64>) -> Result<()> {
        if **split.name() != *self.address {
            let reason = format!("a range of {} is given, and this stream reads {}", split.name(), self.address);
            return Err(Error::source(format!("socket {}", self.address), reason));
        }
        self.shared.lock().received = self.cursor.assign(split_id, from);
        if let Some(receiver) = self.receiver.take() {
            spawn("tm-socket", move || receiver.run())?;
        }
        Ok(())
    }

    fn limit(&mut self, limits: Limits) {
        self.cursor.limit(&limits);
    }

    fn pause(&mut self, split_ids: &BTreeSet<u32>) {
        self.cursor.pause(split_ids);
    }

    fn read(&mut self, emit: &mut Emit<'_, Line>) -> Result<bool> {
        Ok(self.cursor.read(|n| self.shared.take(n), emit))
    }

    fn seal(&mut self, _emit: &mut Emit<'_, Line>) -> Result<Sealed> {
        Ok(self.cursor.seal(self.shared.lock().ready.len()))
    }

    fn seal_last(&mut self, emit: &mut Emit<'_, Line>) -> Result<Sealed> {
        let mut state = self.shared.lock();
        if !state.stop {
            state.end();
            state.take(&self.address, &[]);
        }
        drop(state);
        self.shared.room.notify_all();
        self.cursor.drain(|n| self.shared.take(n), emit);
        self.seal(emit)
    }

    fn read_range(&mut self, _split_id: u32, range: &SplitRange, emit: &mut Emit<'_, Line>) -> Result<bool> {
        Ok(self.cursor.read_range(range, |n| self.shared.take(n), emit))
    }

    fn health(&self) -> Result<(), String> {
        self.shared.lock().trouble.clone().map_or(Ok(()), Err)
    }
}

impl Drop for SocketReader {
    fn drop(&mut self) {
        self.shared.lock().end();
        self.shared.room.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::config::RuntimeArgs;
    use crate::connector::memory::MemorySink;
    use crate::core::time::{millis, secs};
    use crate::format::lines::LINE_LIMIT;
    use crate::job::ManualClock;
    use crate::testing::temp_dir::TempDir;
    use std::io::Write;
    use std::net::TcpListener;
    use std::time::Instant;

    fn server() -> (TcpListener, u16) {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = server.local_addr().unwrap().port();
        (server, port)
    }

    fn until(what: &str, mut done: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !done() {
            assert!(begun.elapsed() < secs(300), "waited too long until {what}");
            std::thread::sleep(millis(1));
        }
    }

    /// A separate reader, on partition 3.
    fn reader(port: u16) -> SocketReader {
        let address: Arc<str> = format!("127.0.0.1:{port}").into();
        let mut reader = SocketReader::new("127.0.0.1".into(), port, address.clone(), LINE_LIMIT, Arc::new(|| ()));
        reader.assign(3, &Split::Received { from: address }, Some(0)).unwrap();
        reader
    }

    fn texts(lines: Vec<Line>) -> Vec<String> {
        let text = |line| match line {
            Line::Text(text, _) => text,
            Line::Bad(bad) => panic!("{bad:?}"),
        };
        lines.into_iter().map(text).collect()
    }

    #[test]
    fn lines_arrive_and_bad_lines_have_their_position() {
        let (server, port) = server();
        let (oks, errors) = (MemorySink::new(), MemorySink::new());
        let (good, bad) = (oks.clone(), errors.clone());
        let job = StreamingContext::builder("socket", millis(5)).workers(2).start(move |ssc| {
            let lines = ssc.socket_text_stream("127.0.0.1", port);
            lines.oks().to_memory(&good);
            lines.errors().to_memory(&bad);
            Ok(())
        });
        let job = job.unwrap();
        let mut peer = server.accept().unwrap().0;
        peer.write_all(b"a\r\n\na\xffb\n").unwrap();
        peer.write_all(&vec![b'x'; LINE_LIMIT + 9]).unwrap();
        peer.write_all("\nlast is hälf".as_bytes()).unwrap();
        // Drop the server too, so that no reconnection ends the trouble before the test sees it.
        drop((peer, server));
        until("the unfinished line has arrived", || oks.rows().len() == 3);
        let said = |t: &String| t.contains("closed the connection") || t.contains("no connection");
        until("the trouble is reported", || job.statistics().trouble.iter().any(said));
        job.stop_gracefully().unwrap();
        assert_eq!(oks.rows(), ["a", "", "last is hälf"]);
        let errors = errors.rows();
        let at: Vec<_> = errors.iter().map(|e| (e.origin.clone(), e.offset, e.raw.len())).collect();
        let origin = format!("127.0.0.1:{port}");
        assert_eq!(at, [(origin.clone(), 2, 3), (origin, 3, LINE_LIMIT)]);
        assert_eq!(errors[0].raw, b"a\xffb");
        assert!(errors[1].reason.contains("longer than 1048576 bytes"), "{}", errors[1].reason);
    }

    #[test]
    fn f3_a_server_may_start_late_and_disappear() {
        let (server, port) = server();
        drop(server);
        let seen = MemorySink::new();
        let out = seen.clone();
        let job = StreamingContext::builder("socket", millis(5)).start(move |ssc| {
            ssc.socket_text_stream("127.0.0.1", port).oks().to_memory(&out);
            Ok(())
        });
        let job = job.unwrap();
        until("no server listens", || job.statistics().trouble.iter().any(|t| t.contains("no connection")));
        let server = TcpListener::bind(("127.0.0.1", port)).unwrap();
        for n in 1..=3 {
            let mut peer = server.accept().unwrap().0;
            writeln!(peer, "line {n}").unwrap();
            until("the line has arrived", || seen.rows().len() == n);
            until("no trouble is reported", || job.statistics().trouble.is_empty());
            drop(peer);
            until("the end is noticed", || job.statistics().trouble.iter().any(|t| t.contains("closed")));
        }
        job.stop_gracefully().unwrap();
        assert_eq!(seen.rows(), ["line 1", "line 2", "line 3"]);
    }

    #[test]
    fn the_last_batch_has_all_that_was_received() {
        let (server, port) = server();
        let seen = MemorySink::new();
        let out = seen.clone();
        let job = StreamingContext::builder("socket", secs(1)).start_on_clock(ManualClock::at(0), move |ssc| {
            ssc.socket_text_stream("127.0.0.1", port).oks().to_memory(&out);
            Ok(())
        });
        let job = job.unwrap();
        let mut peer = server.accept().unwrap().0;
        (0..10_000).for_each(|n| writeln!(peer, "{n}").unwrap());
        drop(peer);
        // The next connection proves that the end of this one was received.
        let _peer = server.accept().unwrap();
        assert_eq!(job.stop_gracefully().unwrap().records, 10_000);
        let batches = seen.batches();
        assert_eq!(batches.len(), 1, "the clock did not move");
        assert_eq!(batches[0].1, (0..10_000).map(|n| n.to_string()).collect::<Vec<_>>());
    }

    #[test]
    fn f1_an_unfinished_line_is_in_the_last_batch_too() {
        let (server, port) = server();
        let mut reader = reader(port);
        let mut peer = server.accept().unwrap().0;
        peer.write_all(b"whole\nhalf").unwrap();
        let mut lines = Vec::new();
        let mut emit = |split_id, rows, _| {
            assert_eq!(split_id, 3);
            lines.extend::<Vec<Line>>(rows);
        };
        until("the first line has arrived", || {
            reader.read(&mut emit).unwrap();
            reader.cursor.given == 1
        });
        let first = reader.seal(&mut emit).unwrap();
        let last = reader.seal_last(&mut emit).unwrap();
        assert_eq!(first.ranges, [(3, 0..1)].into());
        assert_eq!((last.ranges, last.lag), ([(3, 1..2)].into(), [(3, 0)].into()));
        assert_eq!(texts(lines), ["whole", "half"]);
    }

    #[test]
    fn a_given_range_waits_for_its_number_of_lines() {
        let (server, port) = server();
        let dir = TempDir::made("socket");
        let path = dir.join("plans");
        let range = |from, until| format!("[{{\"received\":\"127.0.0.1:{port}\",\"from\":{from},\"until\":{until}}}]");
        let plans = format!("{{\"time\":5,\"ranges\":{}}}\n{{\"time\":15,\"ranges\":{}}}\n", range(0, 2), range(2, 6_000));
        std::fs::write(&path, plans).unwrap();
        let seen = MemorySink::new();
        let out = seen.clone();
        let runtime = RuntimeArgs { plans: Some(path), ..RuntimeArgs::default() };
        let job = StreamingContext::builder("socket", millis(5)).runtime(runtime).start(move |ssc| {
            ssc.socket_text_stream("127.0.0.1", port).oks().count().to_memory(&out);
            Ok(())
        });
        let mut peer = server.accept().unwrap().0;
        // The peer offers more than the job reads, so the job may end before it has sent everything.
        let _ = (0..7_000).try_for_each(|n| writeln!(peer, "{n}"));
        job.unwrap().await_termination().unwrap();
        let batches: Vec<_> = seen.batches().into_iter().map(|(t, rows)| (t.millis(), rows)).collect();
        assert_eq!(batches, [(5, vec![2]), (10, vec![0]), (15, vec![5_998])]);
    }

    #[test]
    fn f12_an_address_of_ipv6_may_be_in_brackets() {
        for host in ["[::1]", "::1"] {
            // One for each job: the first job may connect again before it ends.
            let server = TcpListener::bind("[::1]:0").expect("a loopback address of IPv6");
            let port = server.local_addr().unwrap().port();
            let (seen, errors) = (MemorySink::new(), MemorySink::new());
            let (good, bad) = (seen.clone(), errors.clone());
            let job = StreamingContext::builder("socket", millis(5)).max_line_bytes(5).start(move |ssc| {
                let lines = ssc.socket_text_stream(host, port);
                lines.oks().to_memory(&good);
                lines.errors().to_memory(&bad);
                Ok(())
            });
            let job = job.unwrap();
            server.accept().unwrap().0.write_all(b"hello\n123456\n").unwrap();
            until("both lines have arrived", || seen.rows().len() + errors.rows().len() == 2);
            job.stop_gracefully().unwrap();
            assert_eq!(seen.rows(), ["hello"]);
            let error = &errors.rows()[0];
            assert_eq!((error.origin.as_str(), &error.raw[..]), (format!("[::1]:{port}").as_str(), &b"12345"[..]));
            assert!(error.reason.contains("max_line_bytes"), "{}", error.reason);
        }
    }

    #[test]
    fn a_limit_holds_for_the_open_batch() {
        let (server, port) = server();
        let mut reader = reader(port);
        server.accept().unwrap().0.write_all(b"1\n2\n3\n").unwrap();
        until("all is received", || reader.shared.lock().ready.len() == 3);
        let mut lines = Vec::new();
        let mut emit = |_, rows, _| lines.extend::<Vec<Line>>(rows);
        reader.limit(Limits::each(2));
        assert!(!reader.read(&mut emit).unwrap() && !reader.read(&mut emit).unwrap());
        assert_eq!(reader.seal(&mut emit).unwrap().lag, [(3, 1)].into());
        reader.limit(Limits::each(2));
        reader.read(&mut emit).unwrap();
        assert_eq!(texts(lines), ["1", "2", "3"]);
    }

    #[test]
    fn f4_a_slow_reader_slows_the_peer_and_loses_nothing() {
        let (server, port) = server();
        let mut reader = reader(port);
        let mut peer = server.accept().unwrap().0;
        let line = "x".repeat(1 << 10);
        let lines = 4 * BUFFER / line.len();
        let sender = std::thread::spawn(move || (0..lines).for_each(|_| writeln!(peer, "{line}").unwrap()));
        until("the buffer is full", || reader.shared.lock().bytes >= BUFFER);
        let mut n = 0;
        until("all lines have arrived", || {
            assert!(reader.shared.lock().bytes < BUFFER + 2 * CHUNK);
            reader.read(&mut |_, rows, _| n += rows.len()).unwrap();
            n == lines
        });
        sender.join().unwrap();
        assert_eq!(reader.shared.lock().bytes, 0);
    }

    #[test]
    fn dropping_the_reader_ends_the_connection() {
        let (server, port) = server();
        let reader = reader(port);
        let mut peer = server.accept().unwrap().0;
        peer.set_read_timeout(Some(secs(60))).unwrap();
        until("the thread has the connection", || reader.shared.lock().stream.is_some());
        let shared = Arc::downgrade(&reader.shared);
        drop(reader);
        assert_eq!(peer.read(&mut [0]).unwrap(), 0);
        until("the thread has ended", || shared.upgrade().is_none());
    }

    #[test]
    fn a_range_of_another_socket_is_refused() {
        let mut reader = SocketReader::new("a".into(), 1, "a:1".into(), LINE_LIMIT, Arc::new(|| ()));
        let e = reader.assign(0, &Split::Received { from: "b:2".into() }, None).unwrap_err().to_string();
        assert!(e.contains("b:2") && e.contains("a:1"), "{e}");
    }
}
