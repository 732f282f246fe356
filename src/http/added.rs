//! Computations that readers add to the job: `GET /api/v1/added` lists them, `POST /api/v1/added` adds one, and `DELETE /api/v1/added/NAME`
//! removes it.

use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::{Method, Request, StatusCode, body::Incoming, header};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::oneshot;

use crate::core::added::{Added, Request as Asked};
use crate::http::reader::Reader;

pub(super) const PATH: &str = "/api/v1/added";
/// A page of a stranger cannot send this type, nor DELETE, without asking first, and nobody answers that.
const KIND: &str = "application/json";
/// The most bytes of a request.
const BYTES: usize = 16 << 10;
/// How long all of it may take to arrive.
const BODY: Duration = Duration::from_secs(5);

/// The body of a request.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    text: String,
    #[serde(default)]
    keep: bool,
}

/// Whether a request adds or removes a computation.
pub(super) fn changes<B>(request: &Request<B>) -> bool {
    let (method, path) = (request.method(), request.uri().path());
    let json = request.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == KIND);
    path == PATH && method == Method::POST && json || method == Method::DELETE && removes(path).is_some()
}

/// The computation that a path names.
fn removes(path: &str) -> Option<&str> {
    path.strip_prefix(PATH)?.strip_prefix('/')
}

/// The computations of the job, as JSON.
pub(super) fn list(reader: &Reader) -> String {
    json!({ "added": (reader.views.added)() }).to_string()
}

/// Adds or removes a computation, and waits for that.
pub(super) async fn change(request: Request<Incoming>, reader: &Reader) -> Result<String, (StatusCode, String)> {
    let asked = match removes(request.uri().path()) {
        // Names have no signs that are encoded in paths.
        Some(name) => Asked::Remove { name: name.into() },
        None => {
            let body = tokio::time::timeout(BODY, Limited::new(request.into_body(), BYTES).collect()).await;
            let body =
                body.map_err(|_| (StatusCode::REQUEST_TIMEOUT, format!("the text did not arrive within {} s", BODY.as_secs())))?;
            let body = body
                .map_err(|e| (StatusCode::PAYLOAD_TOO_LARGE, format!("{e}: a request has at most {BYTES} bytes")))?
                .to_bytes();
            asked(&body).map_err(|what| (StatusCode::BAD_REQUEST, what))?
        }
    };
    let (tx, rx) = oneshot::channel();
    let reply = move |said| {
        // The sender of the request may have gone. What it has asked for happens.
        let _ = tx.send(said);
    };
    (reader.views.change)(asked, Box::new(reply)).map_err(|what| (StatusCode::BAD_REQUEST, what))?;
    let said: Result<Added, String> = rx.await.unwrap_or_else(|_| Err("the job has ended".into()));
    let added = said.map_err(|what| (StatusCode::CONFLICT, what))?;
    Ok(json!(added).to_string())
}

/// What a body asks for.
fn asked(body: &[u8]) -> Result<Asked, String> {
    let what = r#"a body is {"text": "authors | top 10", "keep": false}"#;
    let Body { text, keep } = serde_json::from_slice(body).map_err(|e| format!("{e}; {what}"))?;
    Ok(Asked::Add { text, keep })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_json_and_deletions_change_something() {
        let request = |method: &str, path: &str, kind: &str| {
            changes(&Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, kind).body(()).unwrap())
        };
        assert!(request("POST", PATH, KIND) && request("DELETE", "/api/v1/added/best", ""));
        for (method, path, kind) in [
            ("POST", PATH, "text/plain"),
            ("GET", PATH, KIND),
            ("DELETE", PATH, KIND),
            ("POST", "/api/v1/added/best", KIND),
            ("DELETE", "/api/v1/views/best", ""),
            ("DELETE", "/api/v1/addedbest", ""),
        ] {
            assert!(!request(method, path, kind), "{method} {path} {kind}");
        }
        let said = |body: &str| asked(body.as_bytes()).err().unwrap_or_default();
        assert_eq!(said(r#"{"text": "a | count"}"#), "");
        assert!(said("a | count").ends_with(r#"; a body is {"text": "authors | top 10", "keep": false}"#));
        assert!(said(r#"{"text": "a", "keeps": true}"#).starts_with("unknown field `keeps`"));
    }
}
