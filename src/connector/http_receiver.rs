//! `http_receiver`: lines that others POST. The answer comes when the lines are safe.

use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, HeaderValue, RETRY_AFTER};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::{Semaphore, oneshot};

use crate::api::context::StreamingContext;
use crate::api::dstream::DStream;
use crate::connector::receiver::{Receiver, ReceiverHandle, StoreError};
use crate::core::error::BoxError;
use crate::core::lock::lock;
use crate::core::thread::spawn;
use crate::engine::operator_id::OperatorId;
use crate::format::lines::Splitter;

/// The longest body, in bytes, unless the program says otherwise.
const BODY: usize = 1 << 20;
/// How many bodies are read and stored at a time. More senders are asked to come back.
const BODIES: usize = 64;
/// How many connections may be open.
const CONNECTIONS: usize = 1_024;
/// The most bytes of a request beside its body.
const HEAD: usize = 16 << 10;
/// How long the head of a request may take, and how long a connection may be idle.
const IDLE: Duration = Duration::from_secs(30);
/// How long a body may take.
const SLOWEST: Duration = Duration::from_secs(30);

/// Where [`http_receiver`](StreamingContext::http_receiver) listens, and who may send.
///
/// ```
/// use tidemill::connector::http_receiver::HttpReceiver;
/// let orders = HttpReceiver::new("127.0.0.1:8080").max_body(10 << 20).token("secret");
/// assert!(!format!("{orders:?}").contains("secret"));
/// ```
#[derive(Clone)]
#[must_use = "it describes where to listen"]
pub struct HttpReceiver {
    address: String,
    max_body: usize,
    token: Option<Arc<str>>,
    listens: Arc<Mutex<Option<SocketAddr>>>,
}

impl fmt::Debug for HttpReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let HttpReceiver { address, max_body, token, .. } = self;
        let asks = token.is_some();
        f.debug_struct("HttpReceiver").field("address", address).field("max_body", max_body).field("asks", &asks).finish()
    }
}

impl HttpReceiver {
    /// Listens on an address, such as `127.0.0.1:8080`, or `127.0.0.1:0` for any free port. An address that other machines can reach
    /// needs a [`token`](HttpReceiver::token).
    pub fn new(address: impl Into<String>) -> Self {
        HttpReceiver { address: address.into(), max_body: BODY, token: None, listens: Arc::default() }
    }

    /// The most bytes of the body of a request. Default: 1 MiB. At most 64 bodies are in memory at a time.
    pub fn max_body(mut self, bytes: usize) -> Self {
        self.max_body = bytes;
        self
    }

    /// Takes only requests with the header `Authorization: Bearer TOKEN`. Others are answered with 401. The token is not encrypted on its
    /// way: put a proxy with TLS in front of the job where others can listen.
    pub fn token(mut self, token: impl AsRef<str>) -> Self {
        self.token = Some(token.as_ref().into());
        self
    }

    /// The address on which it listens now, in the process that receives. Clones share it.
    pub fn listens(&self) -> Option<SocketAddr> {
        *lock(&self.listens)
    }

    /// What is wrong with the description.
    fn problem(&self) -> Option<String> {
        let Ok(address) = self.address.replace("localhost", "127.0.0.1").parse::<SocketAddr>() else {
            return Some(format!("\"{}\" is not ADDR:PORT; write for example 127.0.0.1:8080", self.address));
        };
        if !address.ip().is_loopback() && self.token.is_none() {
            return Some(format!(
                "{address}: everybody who reaches this address could send; set a token, or listen on 127.0.0.1"
            ));
        }
        (self.max_body == 0).then(|| "max_body is 0: nothing could ever be sent".into())
    }
}

impl<'s> StreamingContext<'s> {
    /// The lines of requests that others POST, to any path. A [receiver](StreamingContext::receiver_stream) with its log. Feature `http`.
    ///
    /// | answer | when |
    /// |---|---|
    /// | 200, and the number of lines | all lines of the request are durable, in the log of a job with a checkpoint directory |
    /// | 202, and the number of lines | all lines are in memory: the job has no log |
    /// | 400 | a line is not UTF-8, or is longer than [`max_line_bytes`](crate::api::builder::Builder::max_line_bytes); nothing is stored |
    /// | 401 | the [`token`](HttpReceiver::token) is missing or wrong |
    /// | 405, 408, 413 | not a POST; a body that takes more than 30 seconds; a body over [`max_body`](HttpReceiver::max_body) |
    /// | 429, with `Retry-After` | the job is behind: 4 MiB of rows wait for it, or 64 requests are being stored |
    /// | 503 | the job stops |
    ///
    /// A sender sends a request again unless it got 200 or 202, so a crash repeats at most what was not answered. Lines end at LF, and a
    /// CR before it is not part of them; the last line needs no LF. Requests that are stored at the same time share a sync.
    ///
    /// ```
    /// use std::io::{Read, Write};
    /// use tidemill::connector::http_receiver::HttpReceiver;
    /// use tidemill::prelude::*;
    /// let (http, seen) = (HttpReceiver::new("127.0.0.1:0"), MemorySink::new());
    /// let (source, out) = (http.clone(), seen.clone());
    /// let job = StreamingContext::builder("posted", millis(10)).without_checkpoint().start(move |ssc| {
    ///     ssc.http_receiver(source.clone()).to_memory(&out);
    ///     Ok(())
    /// })?;
    /// let address = loop {
    ///     if let Some(address) = http.listens() {
    ///         break address;
    ///     }
    ///     std::thread::yield_now();
    /// };
    /// let mut peer = std::net::TcpStream::connect(address).unwrap();
    /// peer.write_all(b"POST / HTTP/1.1\r\nHost: job\r\nConnection: close\r\nContent-Length: 12\r\n\r\nto be\nor not").unwrap();
    /// let mut answer = String::new();
    /// peer.read_to_string(&mut answer).unwrap();
    /// assert!(answer.starts_with("HTTP/1.1 202") && answer.ends_with("\r\n\r\n2\n"), "{answer}");
    /// job.stop_gracefully()?;
    /// assert_eq!(seen.rows(), ["to be", "or not"]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn http_receiver(&self, http: HttpReceiver) -> DStream<'s, String> {
        let operator = OperatorId::of("http_receiver");
        if let Some(problem) = http.problem() {
            self.graph.report(&operator, problem);
        }
        let config = &self.graph.config;
        let logged = config.runtime.checkpoint.is_some() && config.receiver_log;
        let stored = if logged { StatusCode::OK } else { StatusCode::ACCEPTED };
        let line_limit = config.max_line_bytes;
        self.receive(&operator, Posts { http, stored, line_limit, running: None })
    }
}

/// The receiver: a thread that serves.
struct Posts {
    http: HttpReceiver,
    /// The answer to lines that are stored.
    stored: StatusCode,
    line_limit: usize,
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Receiver for Posts {
    type Item = String;

    fn name(&self) -> String {
        format!("http on {}", self.http.address)
    }

    fn on_start(&mut self, to: ReceiverHandle<String>) -> Result<(), BoxError> {
        let listener = TcpListener::bind(&self.http.address).map_err(|e| format!("{}: {e}", self.http.address))?;
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(BODIES).build()?;
        let door = Arc::new(Door {
            to,
            stored: self.stored,
            line_limit: self.line_limit,
            max_body: self.http.max_body,
            token: self.http.token.clone(),
            bodies: Semaphore::new(BODIES),
        });
        let (stop, stopped) = oneshot::channel::<()>();
        let serve = move || {
            runtime.block_on(async {
                let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
                tokio::spawn(accept(listener, door));
                let _ = stopped.await;
            });
            // A thread that stores ends by itself: the receiver is stopped.
            runtime.shutdown_timeout(Duration::from_secs(1));
        };
        let thread = spawn("tm-http-recv", serve)?;
        tracing::info!("lines are received at http://{address}/");
        *lock(&self.http.listens) = Some(address);
        self.running = Some((stop, thread));
        Ok(())
    }

    fn on_stop(&mut self) {
        *lock(&self.http.listens) = None;
        if let Some((stop, thread)) = self.running.take() {
            drop(stop);
            let _ = thread.join();
        }
    }
}

/// What all connections share.
struct Door {
    to: ReceiverHandle<String>,
    stored: StatusCode,
    line_limit: usize,
    max_body: usize,
    token: Option<Arc<str>>,
    bodies: Semaphore,
}

async fn accept(listener: tokio::net::TcpListener, door: Arc<Door>) {
    let open = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(slot) = open.clone().acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            // Most likely all file descriptors are in use.
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let door = door.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let door = door.clone();
                async move { Ok::<_, std::convert::Infallible>(answer(request, &door).await) }
            });
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(IDLE).max_buf_size(HEAD);
            // The sender went away, or sent what is not HTTP.
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
            drop(slot);
        });
    }
}

/// A text with its status.
fn text(status: StatusCode, text: impl Into<String>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text.into() + "\n"));
    *response.status_mut() = status;
    if status == StatusCode::TOO_MANY_REQUESTS {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// Whether two texts are equal, in a time that does not depend on where they differ.
fn equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

async fn answer(request: Request<Incoming>, door: &Arc<Door>) -> Response<Full<Bytes>> {
    if let Some(token) = &door.token {
        let given = request.headers().get(AUTHORIZATION).and_then(|v| v.as_bytes().strip_prefix(b"Bearer "));
        if !given.is_some_and(|given| equal(given, token.as_bytes())) {
            return text(StatusCode::UNAUTHORIZED, "send the header Authorization: Bearer TOKEN");
        }
    }
    if request.method() != Method::POST {
        return text(StatusCode::METHOD_NOT_ALLOWED, "POST lines of text");
    }
    let behind = || text(StatusCode::TOO_MANY_REQUESTS, "the job is behind: send this again later");
    let Ok(_slot) = door.bodies.try_acquire() else { return behind() };
    if door.to.is_full(Duration::ZERO) {
        return behind();
    }
    let body = tokio::time::timeout(SLOWEST, Limited::new(request.into_body(), door.max_body).collect()).await;
    let body = match body {
        Err(_) => return text(StatusCode::REQUEST_TIMEOUT, format!("the body took more than {} seconds", SLOWEST.as_secs())),
        Ok(Err(e)) if e.is::<http_body_util::LengthLimitError>() => {
            return text(StatusCode::PAYLOAD_TOO_LARGE, format!("the body has more than {} bytes: split it", door.max_body));
        }
        Ok(Err(e)) => return text(StatusCode::BAD_REQUEST, format!("the body could not be read: {e}")),
        Ok(Ok(body)) => body.to_bytes(),
    };
    let lines = match lines(&body, door.line_limit) {
        Ok(lines) => lines,
        Err(why) => return text(StatusCode::BAD_REQUEST, why),
    };
    let (count, own) = (lines.len(), door.clone());
    match tokio::task::spawn_blocking(move || own.to.store_many(lines)).await {
        Ok(Ok(())) => text(door.stored, count.to_string()),
        Ok(Err(e @ StoreError::TooLong(_))) => text(StatusCode::BAD_REQUEST, e.to_string()),
        Ok(Err(StoreError::Stopped)) | Err(_) => text(StatusCode::SERVICE_UNAVAILABLE, "the job stops: send this again later"),
    }
}

/// The lines of a body.
///
/// # Errors
/// What is wrong with the first line that cannot be stored.
fn lines(body: &[u8], limit: usize) -> Result<Vec<String>, String> {
    let (mut lines, mut wrong, mut splitter) = (Vec::new(), None, Splitter::new(limit));
    let mut each = |raw: crate::format::lines::Raw<'_>| {
        let number = lines.len() + 1;
        match std::str::from_utf8(raw.bytes) {
            _ if raw.over => wrong = wrong.take().or(Some(format!("line {number} is longer than {limit} bytes"))),
            Ok(line) => lines.push(line.to_owned()),
            Err(e) => wrong = wrong.take().or(Some(format!("line {number} is not UTF-8: {e}"))),
        }
    };
    splitter.feed(body, &mut each);
    splitter.finish(&mut each);
    wrong.map_or(Ok(lines), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_lines_or_an_error_that_names_the_line() {
        assert_eq!(lines(b"a\r\n\nb", 4), Ok(vec!["a".into(), String::new(), "b".into()]));
        assert_eq!(lines(b"", 4), Ok(Vec::new()));
        assert_eq!(lines(b"a\nabcde\n\xff", 4), Err("line 2 is longer than 4 bytes".into()));
        assert!(lines(b"a\n\xff\n", 4).unwrap_err().starts_with("line 2 is not UTF-8"));
    }

    #[test]
    fn an_address_that_others_reach_needs_a_token() {
        let problem = |address: &str| HttpReceiver::new(address).problem().unwrap_or_default();
        assert!(problem("0.0.0.0:8080").contains("set a token"));
        assert!(problem("8080").contains("not ADDR:PORT"));
        assert_eq!(problem("127.0.0.1:8080") + &problem("localhost:0") + &problem("[::1]:1"), "");
        assert_eq!(HttpReceiver::new("0.0.0.0:8080").token("t").problem(), None);
        assert!(HttpReceiver::new("127.0.0.1:0").max_body(0).problem().unwrap().contains("max_body"));
        assert!(equal(b"abc", b"abc") && !equal(b"abc", b"abd") && !equal(b"abc", b"ab"));
    }
}
