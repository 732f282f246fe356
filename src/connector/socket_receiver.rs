//! Sockets as receivers, with the log of receivers: lines, and blocks of encoded rows.

use std::io::Read;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;

use crate::api::context::StreamingContext;
use crate::connector::receiver::{Receiver, ReceiverHandle};
use crate::connector::socket::{CHUNK, PAUSES, connect, socket_address};
use crate::core::data::{Exchange, encoded};
use crate::core::error::BoxError;
use crate::core::lock::lock;
use crate::core::thread::spawn;
use crate::engine::operator_id::OperatorId;
use crate::format::lines::{Line, Raw, Splitter};
use crate::operator::Decoded;
use crate::operator::decode::decoded_lines;

/// The longest block that [`raw_socket_stream`](StreamingContext::raw_socket_stream) takes, in bytes.
const LONGEST_BLOCK: usize = 16 << 20;

/// What [`socket_text_stream_with`](StreamingContext::socket_text_stream_with) reads: a server, and whether its lines are logged.
///
/// ```
/// use tidemill::prelude::*;
/// let lines = SocketSource::new("localhost", 9999).write_ahead_log(true);
/// assert!(format!("{lines:?}").contains("9999"));
/// ```
#[derive(Clone, Debug)]
#[must_use = "it describes what to read"]
pub struct SocketSource {
    host: String,
    port: u16,
    logged: bool,
}

impl SocketSource {
    /// Reads lines of this TCP server.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        SocketSource { host: host.into(), port, logged: false }
    }

    /// Whether received lines are in the log of a receiver before they are in a batch, if the job has a checkpoint directory. Default:
    /// `false`.
    pub fn write_ahead_log(mut self, on: bool) -> Self {
        self.logged = on;
        self
    }
}

impl<'s> StreamingContext<'s> {
    /// Like [`socket_text_stream`](StreamingContext::socket_text_stream), with the options of a [`SocketSource`].
    ///
    /// With [`write_ahead_log`](SocketSource::write_ahead_log), and a checkpoint directory, lines are synced to the log of a
    /// [receiver](StreamingContext::receiver_stream) before they are in a batch. A restart runs the same batches again, and exactly-once
    /// outputs accept the stream. A crash loses only what was on its way: the plain protocol has no acknowledgement, so the
    /// server cannot know. A sender that can wait for an answer should use [`http_receiver`](StreamingContext::http_receiver), or a
    /// receiver of its own. The offsets of bad lines count from the start of the process. A line that is not complete when the job stops is
    /// left out.
    ///
    /// ```
    /// use std::io::Write;
    /// use tidemill::prelude::*;
    /// let dir = std::env::temp_dir().join(format!("tidemill-doc-socket-log-{}", std::process::id()));
    /// let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// let port = server.local_addr().unwrap().port();
    /// let seen = MemorySink::new();
    /// let out = seen.clone();
    /// let job = StreamingContext::builder("lines", millis(5)).checkpoint(&dir).start(move |ssc| {
    ///     let lines = SocketSource::new("127.0.0.1", port).write_ahead_log(true);
    ///     ssc.socket_text_stream_with(lines).to_memory(&out);
    ///     Ok(())
    /// })?;
    /// let mut peer = server.accept().unwrap().0;
    /// peer.write_all(b"to be\r\nor not\n").unwrap();
    /// while seen.rows().len() < 2 {
    ///     std::thread::yield_now();
    /// }
    /// job.stop_gracefully()?;
    /// assert_eq!(seen.rows(), ["to be", "or not"]);
    /// assert!(std::fs::read_dir(dir.join("received")).unwrap().count() > 0);
    /// # std::fs::remove_dir_all(dir).unwrap();
    /// # Ok::<(), Error>(())
    /// ```
    #[doc(alias = "socketTextStream")]
    #[track_caller]
    pub fn socket_text_stream_with(&self, socket: SocketSource) -> Decoded<'s, String> {
        let operator = OperatorId::of("socket_text_stream_with");
        if !socket.logged {
            return self.socket_lines(&operator, socket.host, socket.port);
        }
        let (host, address) = socket_address(socket.host, socket.port, |e| self.graph.report(&operator, e));
        let splitter = Splitter::new(self.graph.config.max_line_bytes);
        let lines = Lines { origin: address.clone(), splitter, received: 0 };
        let receiver = SocketReceiver::new(host, socket.port, format!("lines of {address}"), lines);
        decoded_lines(&self.receive(&operator, receiver), &operator)
    }

    /// Rows from a TCP server that sends blocks of encoded rows, as [`raw_block`] makes them. Spark's `rawSocketStream`.
    ///
    /// A block is its length in bytes as a `u32`, most significant byte first, and then the encoded rows, one after the other
    /// ([`encoded`]). A block that does not decode as rows of `T` is a bad record with its bytes; the rows
    /// before the fault are records. A length of more than 16 MiB cannot be skipped: the connection is closed, and the trouble is in
    /// [`Statistics::trouble`](crate::metrics::Statistics::trouble).
    ///
    /// With a checkpoint directory blocks are in the log of a [receiver](StreamingContext::receiver_stream) before they are in a batch;
    /// `spark.streaming.receiver.writeAheadLog.enable=false` turns that off. The source connects again as
    /// [`socket_text_stream`](StreamingContext::socket_text_stream) does.
    ///
    /// ```
    /// use std::io::Write;
    /// use tidemill::prelude::*;
    /// let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// let port = server.local_addr().unwrap().port();
    /// let seen = MemorySink::new();
    /// let out = seen.clone();
    /// let job = StreamingContext::builder("raw", millis(5)).without_checkpoint().start(move |ssc| {
    ///     ssc.raw_socket_stream::<(String, i64)>("127.0.0.1", port).to_memory(&out);
    ///     Ok(())
    /// })?;
    /// let mut peer = server.accept().unwrap().0;
    /// peer.write_all(&raw_block(&[("tide".to_owned(), 1), ("mill".to_owned(), 2)])).unwrap();
    /// while seen.rows().len() < 2 {
    ///     std::thread::yield_now();
    /// }
    /// job.stop_gracefully()?;
    /// assert_eq!(seen.rows(), [("tide".to_owned(), 1), ("mill".to_owned(), 2)]);
    /// # Ok::<(), Error>(())
    /// ```
    #[doc(alias = "rawSocketStream")]
    #[track_caller]
    pub fn raw_socket_stream<T: Exchange>(&self, host: impl Into<String>, port: u16) -> Decoded<'s, T> {
        let operator = OperatorId::of("raw_socket_stream");
        let (host, address) = socket_address(host.into(), port, |e| self.graph.report(&operator, e));
        let receiver = SocketReceiver::new(host, port, format!("blocks of {address}"), Blocks::default());
        self.receive(&operator, receiver).try_each(&operator, |block, out| {
            let mut rest = &block[..];
            let mut count = 0;
            while !rest.is_empty() {
                let (row, after) = postcard::take_from_bytes(rest)
                    .map_err(|e| format!("row {count} of the block is no {}: {e}", std::any::type_name::<T>()))?;
                out.push(row);
                (rest, count) = (after, count + 1);
            }
            Ok(())
        })
    }
}

/// A block of rows, as [`raw_socket_stream`](StreamingContext::raw_socket_stream) reads it.
///
/// ```
/// use tidemill::prelude::*;
/// assert_eq!(raw_block(&["ab".to_owned(), "c".to_owned()]), [0, 0, 0, 5, 2, b'a', b'b', 1, b'c']);
/// ```
///
/// # Panics
/// The rows have more than 4 GiB, or their `Serialize` fails.
pub fn raw_block<T: Exchange>(rows: &[T]) -> Vec<u8> {
    let bytes: Vec<u8> = rows.iter().flat_map(encoded).collect();
    let mut block = u32::try_from(bytes.len()).expect("a block has at most 4 GiB").to_be_bytes().to_vec();
    block.extend(bytes);
    block
}

/// How the bytes of a connection become rows.
trait Framing: Send + 'static {
    type Item: Exchange;

    /// Takes bytes of the connection.
    ///
    /// # Errors
    /// The bytes cannot be framed: the connection is of no more use.
    fn feed(&mut self, bytes: &[u8], out: &mut Vec<Self::Item>) -> Result<(), String>;

    /// The connection has ended.
    fn finish(&mut self, out: &mut Vec<Self::Item>);
}

/// Lines, with their numbers.
struct Lines {
    origin: Arc<str>,
    splitter: Splitter,
    received: i64,
}

impl Lines {
    fn each<'a>(origin: &'a Arc<str>, received: &'a mut i64, out: &'a mut Vec<Line>) -> impl FnMut(Raw<'_>) + 'a {
        move |raw| {
            out.push(raw.line(origin, *received));
            *received += 1;
        }
    }
}

impl Framing for Lines {
    type Item = Line;

    fn feed(&mut self, bytes: &[u8], out: &mut Vec<Line>) -> Result<(), String> {
        self.splitter.feed(bytes, &mut Lines::each(&self.origin, &mut self.received, out));
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<Line>) {
        self.splitter.finish(&mut Lines::each(&self.origin, &mut self.received, out));
    }
}

/// Blocks behind their lengths. Holds the bytes of a block that is not complete.
#[derive(Default)]
struct Blocks(Vec<u8>);

impl Framing for Blocks {
    type Item = Vec<u8>;

    fn feed(&mut self, bytes: &[u8], out: &mut Vec<Vec<u8>>) -> Result<(), String> {
        self.0.extend_from_slice(bytes);
        let mut rest = &self.0[..];
        while let Some((length, after)) = rest.split_first_chunk::<4>() {
            let length = u32::from_be_bytes(*length) as usize;
            if length > LONGEST_BLOCK {
                return Err(format!("a block of {length} bytes is announced; at most {LONGEST_BLOCK} are possible: split it"));
            }
            let Some((block, after)) = after.split_at_checked(length) else { break };
            out.push(block.to_vec());
            rest = after;
        }
        let taken = self.0.len() - rest.len();
        self.0.drain(..taken);
        Ok(())
    }

    /// A block that is not complete was never acknowledged as one.
    fn finish(&mut self, _: &mut Vec<Vec<u8>>) {
        self.0.clear();
    }
}

/// Receives from one server.
struct SocketReceiver<F> {
    host: String,
    port: u16,
    name: String,
    framing: Arc<Mutex<F>>,
    running: Option<(Arc<Connection>, JoinHandle<()>)>,
}

/// The connection, which a stop shuts down.
#[derive(Default)]
struct Connection {
    state: Mutex<(bool, Option<TcpStream>)>,
    stopped: Condvar,
}

impl<F: Framing> SocketReceiver<F> {
    fn new(host: String, port: u16, name: String, framing: F) -> Self {
        SocketReceiver { host, port, name, framing: Arc::new(Mutex::new(framing)), running: None }
    }
}

impl<F: Framing> Receiver for SocketReceiver<F> {
    type Item = F::Item;

    fn name(&self) -> String {
        self.name.clone()
    }

    fn on_start(&mut self, to: ReceiverHandle<F::Item>) -> Result<(), BoxError> {
        let line = Arc::new(Connection::default());
        let (shared, framing, host, port) = (line.clone(), self.framing.clone(), self.host.clone(), self.port);
        let thread = spawn("tm-socket", move || run(&host, port, &shared, &mut *lock(&framing), &to))?;
        self.running = Some((line, thread));
        Ok(())
    }

    fn on_stop(&mut self) {
        let Some((line, thread)) = self.running.take() else { return };
        {
            let mut state = lock(&line.state);
            state.0 = true;
            // An error means that the connection has already ended.
            let _ = state.1.take().map(|stream| stream.shutdown(Shutdown::Both));
            line.stopped.notify_all();
        }
        let _ = thread.join();
    }
}

/// Connects, receives, and connects again until the receiver stops.
fn run<F: Framing>(host: &str, port: u16, line: &Connection, framing: &mut F, to: &ReceiverHandle<F::Item>) {
    let stopped = || lock(&line.state).0 || to.is_stopped();
    let (mut pause, mut said) = (PAUSES.0, None);
    while !stopped() {
        let (received, trouble) = match connect(host, port, stopped) {
            Ok(stream) => receive(stream, line, framing, to),
            Err(e) => (false, format!("no connection: {e}")),
        };
        if stopped() {
            return;
        }
        // One line for each change of the state.
        if received || said.as_ref() != Some(&trouble) {
            to.report_error(&trouble);
            said = Some(trouble);
        }
        pause = if received { PAUSES.0 } else { (pause * 2).min(PAUSES.1) };
        let _ = line.stopped.wait_timeout_while(lock(&line.state), pause, |state| !state.0);
    }
}

/// Stores what a connection gives until it ends. Returns whether there was anything, and why it has ended.
fn receive<F: Framing>(
    mut stream: TcpStream,
    line: &Connection,
    framing: &mut F,
    to: &ReceiverHandle<F::Item>,
) -> (bool, String) {
    {
        let mut state = lock(&line.state);
        match stream.try_clone() {
            Ok(handle) if !state.0 => state.1 = Some(handle),
            Ok(_) => return (false, String::new()),
            Err(e) => return (false, format!("no connection: {e}")),
        }
    }
    let (mut any, mut chunk, mut rows) = (false, vec![0; CHUNK], Vec::new());
    let why = loop {
        match stream.read(&mut chunk) {
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(e) => break format!("the connection broke: {e}"),
            Ok(0) => break "the peer closed the connection".into(),
            Ok(n) => {
                any = true;
                let framed = framing.feed(&chunk[..n], &mut rows);
                if let Err(e) = to.store_many(std::mem::take(&mut rows)) {
                    break e.to_string();
                }
                if let Err(why) = framed {
                    break why;
                }
            }
        }
    };
    framing.finish(&mut rows);
    // If the receiver is stopped, the line has no end, and its beginning is as lost as what follows.
    let _ = to.store_many(rows);
    lock(&line.state).1 = None;
    (any, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_cut_of_the_bytes_gives_the_same_blocks(
            blocks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..9), 0..9),
            cut in 1usize..9,
        ) {
            let bytes: Vec<u8> =
                blocks.iter().flat_map(|b| (b.len() as u32).to_be_bytes().into_iter().chain(b.iter().copied())).collect();
            let (mut framing, mut seen) = (Blocks::default(), Vec::new());
            bytes.chunks(cut).for_each(|chunk| framing.feed(chunk, &mut seen).unwrap());
            prop_assert_eq!(seen, blocks);
            prop_assert!(framing.0.is_empty());
        }
    }

    #[test]
    fn a_length_that_no_block_has_ends_the_connection_after_the_blocks_before_it() {
        let (mut framing, mut seen) = (Blocks::default(), Vec::new());
        let e = framing.feed(&[0, 0, 0, 1, 7, 0xff, 0xff, 0xff, 0xff], &mut seen).unwrap_err();
        assert!(e.contains("4294967295 bytes") && e.contains("split it"), "{e}");
        assert_eq!(seen, [[7]]);
        framing.finish(&mut seen);
        framing.feed(&[0, 0, 0, 1, 8], &mut seen).unwrap();
        assert_eq!(seen, [[7], [8]]);
    }
}
