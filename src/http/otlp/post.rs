//! One request to a collector.

use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::http::otlp::endpoint::Endpoint;

/// How long a request may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How much of an answer is read.
const ANSWER: usize = 64 << 10;

/// Sends a message to a path such as `/v1/metrics`.
///
/// # Errors
/// Why the collector does not have it.
pub(super) async fn post(to: &Endpoint, path: &str, message: Vec<u8>) -> Result<(), String> {
    let sent = timeout(PATIENCE, send(to, path, message)).await;
    sent.unwrap_or_else(|_| Err(format!("no answer within {} s", PATIENCE.as_secs())))
}

async fn send(to: &Endpoint, path: &str, message: Vec<u8>) -> Result<(), String> {
    let stream = TcpStream::connect(&to.authority).await.map_err(|e| e.to_string())?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
    let connection = tokio::spawn(connection);
    let mut request = Request::post(format!("{}{path}", to.path))
        .header(header::HOST, &to.authority)
        .header(header::CONTENT_TYPE, "application/x-protobuf")
        .header(header::CONNECTION, "close");
    for (name, value) in &to.headers {
        request = request.header(name, value);
    }
    // The error would have the header, which may be secret.
    let request = request.body(Full::new(Bytes::from(message))).map_err(|_| "a header cannot be sent".to_string())?;
    let answer = sender.send_request(request).await.map_err(|e| e.to_string())?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), ANSWER).collect().await;
    connection.abort();
    if status.is_success() {
        return Ok(());
    }
    let said = body.map(|body| String::from_utf8_lossy(&body.to_bytes()).trim().to_owned()).unwrap_or_default();
    let said: String = said.chars().take(200).filter(|c| !c.is_control()).collect();
    Err(format!("it answered {status}{}{said}", if said.is_empty() { "" } else { ": " }))
}
