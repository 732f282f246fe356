//! The thread that answers readers, and its bounds: connections, bytes and time of a request. A reader that takes nothing holds one
//! answer in memory, until it is the oldest connection.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use hyper::rt::{Read, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{oneshot, watch};

use crate::core::error::{Error, Result};
use crate::core::thread::spawn;
use crate::http::address::Listen;
use crate::http::reader::{News, Reader};
use crate::http::routes::answer;
use crate::http::{About, Views};
use crate::metrics::{BatchInfo, Metrics, StreamingListener};

/// At most this many connections. Beyond that the oldest is closed, so that silent ones keep nobody out. A page connects again.
const CONNECTIONS: usize = 256;
/// The most bytes of a request, and about the most that waits for one reader besides the text of its answer.
const BYTES: usize = 16 << 10;
/// How long the head of a request may take, and how long a connection may be idle.
const REQUEST: Duration = Duration::from_secs(5);
/// How many ports to try.
const PORTS: u16 = 16;
/// How long the end of the job waits until readers know of it.
const LAST: Duration = Duration::from_millis(500);
const FLUSH: Duration = Duration::from_millis(20);

/// The running server. It ends when this is dropped.
pub(crate) struct Server {
    pub address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Wakes the readers of events after each batch.
struct Wake(watch::Sender<News>);

impl StreamingListener for Wake {
    fn on_batch_completed(&self, _: &BatchInfo) {
        self.0.send_modify(|news| news.batches += 1);
    }
}

/// Starts to answer readers of a job.
///
/// # Errors
/// No port is free, or the system gives no thread.
pub(crate) fn start(listen: Listen, about: About, metrics: Metrics, views: Views) -> Result<Server> {
    let failed = |e| Error::io(format!("cannot listen for readers on {}", listen.address), e);
    let listener = bind(listen.address)?;
    let address = listener.local_addr().map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
    metrics.keep_batches();
    let reader = Arc::new(Reader::new(about, metrics, listen.secret, views));
    reader.metrics.listen(Arc::new(Wake(reader.news.clone())));
    let (stop, stopped) = oneshot::channel();
    say(&reader.about, listen.address, address);
    let thread = spawn("tm-http", move || serve(&runtime, listener, &reader, stopped))?;
    Ok(Server { address, stop: Some(stop), thread: Some(thread) })
}

/// Logs where readers find the job.
fn say(about: &About, wanted: SocketAddr, got: SocketAddr) {
    let name = &about.name;
    let instead =
        if got.port() == wanted.port() || wanted.port() == 0 { "" } else { ", because the port that was asked for is taken" };
    match about.process {
        0 => tracing::info!("job {name}: its page is at http://{got}/{instead}"),
        process => tracing::info!("job {name}: metrics of process {process} are at http://{got}/metrics{instead}"),
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Binds the address, or one of the next ports.
fn bind(first: SocketAddr) -> Result<TcpListener> {
    let last = first.port().saturating_add(PORTS - 1);
    for port in first.port()..=last {
        match TcpListener::bind(SocketAddr::new(first.ip(), port)) {
            Err(e) if e.kind() == io::ErrorKind::AddrInUse => {}
            bound => return bound.map_err(|e| Error::io(format!("--listen {first}: cannot listen on port {port}"), e)),
        }
    }
    Err(Error::config(format!(
        "--listen {first}: this port and all up to {last} are taken; give another one, or 0 for any free one"
    )))
}

fn serve(runtime: &Runtime, listener: TcpListener, reader: &Arc<Reader>, stopped: oneshot::Receiver<()>) {
    runtime.block_on(async {
        let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
        tokio::spawn(accept(listener, reader.clone()));
        let _ = stopped.await;
        reader.news.send_modify(|news| news.ended = true);
        let _ = tokio::time::timeout(LAST, reader.news.closed()).await;
        // Their connections still have to write the last event.
        tokio::time::sleep(FLUSH).await;
    });
}

async fn accept(listener: tokio::net::TcpListener, reader: Arc<Reader>) {
    let mut open: VecDeque<tokio::task::JoinHandle<()>> = VecDeque::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Most likely all file descriptors are in use.
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        open.retain(|connection| !connection.is_finished());
        if open.len() >= CONNECTIONS
            && let Some(oldest) = open.pop_front()
        {
            oldest.abort();
        }
        open.push_back(tokio::spawn(connection(stream, reader.clone())));
    }
}

async fn connection(stream: TcpStream, reader: Arc<Reader>) {
    answer_all(TokioIo::new(stream), reader).await;
}

/// Answers the requests of one connection.
pub(super) async fn answer_all(stream: impl Read + Write + Unpin, reader: Arc<Reader>) {
    let service = service_fn(move |request| {
        let reader = reader.clone();
        async move { Ok::<_, std::convert::Infallible>(answer(request, &reader).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(REQUEST).max_buf_size(BYTES);
    // The reader went away, or sent what is not HTTP.
    let _ = http.serve_connection(stream, service).await;
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    fn ask(address: SocketAddr, path: &str) -> String {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        // A connection that is closed before its answer may be reset.
        let _ = stream.read_to_string(&mut answer);
        answer
    }

    #[test]
    fn a22_an_answer_that_panics_ends_its_connection_only() {
        let views = Views { names: Box::new(|| panic!("no names")), ..Views::of_no_job() };
        let listen = Listen { address: ([127, 0, 0, 1], 0).into(), secret: None };
        let server = start(listen, About::of_no_job(), Metrics::default(), views).unwrap();
        for _ in 0..3 {
            assert_eq!(ask(server.address, "/api/v1/views"), "");
            let answer = ask(server.address, "/healthz");
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        }
    }
}
