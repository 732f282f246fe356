//! For fuzzers: a caller of the port that readers have, from its first byte to the answer.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};

use crate::cluster::secret::Secret;
use crate::http::reader::Reader;
use crate::http::server::answer_all;
use crate::http::{About, Views};
use crate::metrics::Metrics;

/// For how long an answer that never ends is read.
const ENOUGH: Duration = Duration::from_millis(2);

/// A connection of which all bytes are there, and what was answered.
struct Caller {
    says: Vec<u8>,
    at: usize,
    heard: Vec<u8>,
}

impl Read for &mut Caller {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, mut buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let (at, n) = (self.at, buffer.remaining().min(self.says.len() - self.at));
        buffer.put_slice(&self.says[at..at + n]);
        self.at += n;
        Poll::Ready(Ok(()))
    }
}

impl Write for &mut Caller {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.heard.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Answers a caller who says these bytes. Returns whether it got what it asked for.
pub(crate) fn caller(bytes: &[u8]) -> bool {
    // A job with a secret, and one without, are asked the same.
    [None, Secret::new(b"a secret of some length", "").ok()].map(|secret| answered(bytes, secret)).contains(&true)
}

fn answered(bytes: &[u8], secret: Option<Secret>) -> bool {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_time().build() else { return false };
    let views = Views { names: Box::new(|| vec!["counts".into()]), ..Views::of_no_job() };
    let reader = Arc::new(Reader::new(About::of_no_job(), Metrics::default(), secret, views));
    let mut caller = Caller { says: bytes.into(), at: 0, heard: Vec::new() };
    let _ = runtime.block_on(async { tokio::time::timeout(ENOUGH, answer_all(&mut caller, reader)).await });
    caller.heard.starts_with(b"HTTP/1.1 2") || caller.heard.starts_with(b"HTTP/1.0 2")
}

/// Requests of each kind.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost:4040\r\n\r\n");
    let letter = r#"{"topic":"t","partition":0,"offset":1,"batch_time":9,"verb":"v","reason":"r","key":null,"value":"x"}"#;
    let length = letter.len();
    let post = format!(
        "POST /api/v1/corrections HTTP/1.1\r\nHost: [::1]\r\nContent-Type: application/x-ndjson\r\nContent-Length: {length}\r\n\r\n{letter}"
    );
    let chunked = format!(
        "POST /api/v1/corrections HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n{letter}\r\n0\r\n\r\n"
    );
    let token = Secret::new(b"a secret of some length", "").map(|secret| secret.token()).unwrap_or_default();
    let shown = format!("GET /api/v1/job HTTP/1.1\r\nHost: job.example\r\nAuthorization: Bearer {token}\r\n\r\n");
    let basic = "GET / HTTP/1.1\r\nHost: job.example\r\nAuthorization: Basic bWU6d29yZA==\r\n\r\n".to_owned();
    let paths = [
        "/",
        "/metrics",
        "/api/v1/batches?after=9",
        "/api/v1/batches/9",
        "/api/v1/state",
        "/api/v1/errors",
        "/api/v1/views/counts?key=%22tide%22&top=3&at=9",
        "/api/v1/views/counts?from_key=7&until_key=9&limit=5",
        "/api/v1/views/counts/changes?prefix=M%C3%BChle",
        "/api/v1/rows?view=counts&view=sums&at=9",
        "/api/v1/added",
        "/healthz",
    ];
    let text = r#"{"text":"authors | top 10"}"#;
    let add = format!(
        "POST /api/v1/added HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{text}",
        text.len()
    );
    let remove = "DELETE /api/v1/added/often HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned();
    let two = get("/api/v1/job") + &get("/api/v1/sources");
    paths.map(get).into_iter().chain([post, chunked, shown, basic, add, remove, two]).map(String::into_bytes).collect()
}
