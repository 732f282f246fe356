//! Who may read, and which text answers a request.

use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_body_util::channel::Channel;
use http_body_util::{Either, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::uri::Authority;
use hyper::{Method, Request, Response, StatusCode};

use crate::cluster::secret::Secret;
use crate::core::time::BatchTime;
use crate::http::events::events;
use crate::http::reader::Reader;
use crate::http::{added, changes, corrections, json, page, prometheus, state, views};

pub(super) type Answer = Response<Either<Full<Bytes>, Channel<Bytes>>>;

/// On every answer. The page loads nothing from elsewhere, and no other page may show it or read what it reads.
const HEADERS: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (header::CACHE_CONTROL, "no-store"),
    (header::VARY, "authorization"),
];

const JSON: &str = "application/json";
const JSON_LINES: &str = "application/x-ndjson";
const TEXT: &str = "text/plain; charset=utf-8";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All rows of some views.
const ROWS: &str = "/api/v1/rows";

/// Behind the path of a view: what changes in it.
const CHANGES: &str = "/changes";

/// Answers one request.
pub(super) async fn answer(request: Request<Incoming>, reader: &Arc<Reader>) -> Answer {
    let uri = request.uri().clone();
    let (path, query) = (uri.path(), uri.query());
    // A probe of a cluster manager shows no token, and learns nothing but one word.
    let writes = path == corrections::PATH && request.method() == Method::POST && corrections::has_letters(request.headers());
    let adds = added::changes(&request);
    let method = if writes || adds { &Method::GET } else { request.method() };
    let refused = || {
        let refusal = refusal(method, request.headers(), reader.secret.as_ref())?;
        match refusal.status() {
            StatusCode::FORBIDDEN => reader.refuse("it named another host"),
            StatusCode::UNAUTHORIZED => reader.refuse("it showed no token, or a wrong one"),
            _ => {}
        }
        Some(refusal)
    };
    let known = health(path, reader).or_else(refused);
    let mut answer = match (known, path.strip_prefix("/api/v1/views/")) {
        (Some(answer), _) => answer,
        (None, _) if writes && reader.about.process == 0 => said(corrections::correct(request, reader).await),
        (None, _) if adds && reader.about.process == 0 => said(added::change(request, reader).await),
        (None, Some(view)) if reader.about.process == 0 && view.ends_with(CHANGES) => {
            match changes::follow(view.trim_end_matches(CHANGES), query, reader).await {
                Ok(lines) => streamed(JSON_LINES, lines),
                Err((status, what)) => full(status, TEXT, what + "\n"),
            }
        }
        (None, Some(view)) if reader.about.process == 0 => said(views::ask(view, query, reader).await),
        (None, None) if reader.about.process == 0 && path == ROWS => said(views::rows(query, reader).await),
        (None, _) => read(path, query, reader),
    };
    for (name, value) in HEADERS {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    answer
}

/// What the job says, as JSON, or why it refuses.
fn said(answer: Result<String, (StatusCode, String)>) -> Answer {
    match answer {
        Ok(json) => full(StatusCode::OK, JSON, json),
        Err((status, what)) => full(status, TEXT, what + "\n"),
    }
}

/// Whether the process runs, and whether the job does.
fn health(path: &str, reader: &Reader) -> Option<Answer> {
    match path {
        "/readyz" if !reader.metrics.is_running() => {
            Some(plain(StatusCode::SERVICE_UNAVAILABLE, "the job has not opened its first batch\n"))
        }
        "/healthz" | "/readyz" => Some(plain(StatusCode::OK, "ok\n")),
        _ => None,
    }
}

/// Why a request is not answered.
fn refusal(method: &Method, headers: &HeaderMap, secret: Option<&Secret>) -> Option<Answer> {
    if method != Method::GET && method != Method::HEAD {
        let mut refusal = plain(
            StatusCode::METHOD_NOT_ALLOWED,
            "only GET and HEAD; dead letters of type application/x-ndjson to POST /api/v1/corrections; computations of type \
             application/json to POST /api/v1/added, and DELETE /api/v1/added/NAME\n",
        );
        refusal.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return Some(refusal);
    }
    match secret {
        // A page of a stranger that calls itself by a name which leads here has another name in `Host`. It does not know the token.
        None if !is_local(headers.get(header::HOST)) => {
            let what =
                "the header Host must name localhost or a loopback address: this job answers readers on this machine only\n";
            Some(plain(StatusCode::FORBIDDEN, what))
        }
        Some(secret) if !shown_token(headers).is_some_and(|token| secret.is_token(&token)) => {
            let what = "show the token that `tidemill token --secret-file FILE` prints: as password of any user, or as bearer\n";
            let mut refusal = plain(StatusCode::UNAUTHORIZED, what);
            refusal.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"tidemill\""));
            Some(refusal)
        }
        _ => None,
    }
}

/// Whether a `Host` names this machine.
fn is_local(host: Option<&HeaderValue>) -> bool {
    let authority = host.and_then(|host| host.to_str().ok()?.parse::<Authority>().ok());
    authority.is_some_and(|authority| {
        let name = authority.host().trim_start_matches('[').trim_end_matches(']');
        name == "localhost" || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    })
}

/// The token of a request: a bearer token, or the password of any user.
fn shown_token(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    if let Some(token) = value.strip_prefix("Bearer ") {
        return Some(token.into());
    }
    let user_and_password = String::from_utf8(STANDARD.decode(value.strip_prefix("Basic ")?).ok()?).ok()?;
    Some(user_and_password.split_once(':')?.1.into())
}

fn read(path: &str, query: Option<&str>, reader: &Arc<Reader>) -> Answer {
    if path == "/metrics" {
        return full(StatusCode::OK, PROMETHEUS, prometheus::text(reader));
    }
    if reader.about.process > 0 {
        return plain(
            StatusCode::NOT_FOUND,
            "this process has only /metrics, /healthz and /readyz; process 0 has the page of the job\n",
        );
    }
    if let Some((kind, file)) = page::file(path) {
        return full(StatusCode::OK, kind, file);
    }
    match path.strip_prefix("/api/v1/") {
        Some("job") => full(StatusCode::OK, JSON, json::job(reader)),
        Some("operators") => full(StatusCode::OK, JSON, json::operators(reader)),
        Some("state") => full(StatusCode::OK, JSON, state::state(reader)),
        Some("kafka") => full(StatusCode::OK, JSON, json::kafka(reader)),
        Some("errors") => full(StatusCode::OK, JSON, state::errors(reader)),
        Some("views") => full(StatusCode::OK, JSON, views::list(reader)),
        Some("added") => full(StatusCode::OK, JSON, added::list(reader)),
        Some("outputs") => full(StatusCode::OK, JSON, json::outputs(reader)),
        Some("sources") => full(StatusCode::OK, JSON, json::sources(reader)),
        Some("events") => streamed("text/event-stream", events(reader)),
        Some("batches") => match after(query) {
            Ok(after) => full(StatusCode::OK, JSON, json::batches(reader, after)),
            Err(what) => plain(StatusCode::BAD_REQUEST, what),
        },
        Some(other) => match other.strip_prefix("batches/").map(time) {
            Some(Some(time)) => match json::batch(reader, time) {
                Some(batch) => full(StatusCode::OK, JSON, batch),
                None => plain(StatusCode::NOT_FOUND, "this batch is not among the last ones that are kept\n"),
            },
            Some(None) => plain(StatusCode::BAD_REQUEST, "a batch time is a number of milliseconds since 1970\n"),
            None => plain(StatusCode::NOT_FOUND, NOT_FOUND),
        },
        None => plain(StatusCode::NOT_FOUND, NOT_FOUND),
    }
}

const NOT_FOUND: &str = "there is: / /metrics /healthz /readyz /api/v1/job /api/v1/batches /api/v1/batches/TIME /api/v1/operators \
                         /api/v1/sources /api/v1/outputs /api/v1/kafka /api/v1/state /api/v1/errors /api/v1/views /api/v1/views/NAME /api/v1/views/NAME/changes /api/v1/rows /api/v1/events \
                         /api/v1/corrections /api/v1/added\n";

fn time(text: &str) -> Option<BatchTime> {
    text.parse().ok().map(BatchTime::from_millis)
}

/// `after=TIME`: only batches after this one.
fn after(query: Option<&str>) -> Result<Option<BatchTime>, &'static str> {
    let Some(query) = query else { return Ok(None) };
    let after = query.strip_prefix("after=").and_then(time);
    after.map(Some).ok_or("the only parameter is after=TIME, a batch time in milliseconds since 1970\n")
}

fn plain(status: StatusCode, text: &'static str) -> Answer {
    full(status, TEXT, text)
}

fn streamed(kind: &'static str, body: Channel<Bytes>) -> Answer {
    let mut answer = Response::new(Either::Right(body));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

fn full(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Either::Left(Full::new(body.into())));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn only_this_machine_reads_without_a_secret() {
        let refused = |host: &str| refusal(&Method::GET, &headers(&[(header::HOST, host)]), None).map(|r| r.status());
        for host in ["localhost", "localhost:4040", "127.0.0.1:9", "[::1]:4040", "127.8.8.8"] {
            assert_eq!(refused(host), None, "{host}");
        }
        for host in ["job.example", "localhost.example:4040", "10.0.0.1", "127.0.0.1.example", "", "a b", "[::1"] {
            assert_eq!(refused(host), Some(StatusCode::FORBIDDEN), "{host}");
        }
        assert_eq!(refusal(&Method::GET, &HeaderMap::new(), None).unwrap().status(), StatusCode::FORBIDDEN);
        assert_eq!(refusal(&Method::POST, &HeaderMap::new(), None).unwrap().status(), StatusCode::METHOD_NOT_ALLOWED);
    }

    #[test]
    fn with_a_secret_its_token_is_needed_and_the_secret_itself_is_none() {
        let secret = Secret::new(b"a secret of some length", "").unwrap();
        let token = secret.token();
        let asked = |authorization: &str| {
            let headers = headers(&[(header::HOST, "job.example"), (header::AUTHORIZATION, authorization)]);
            refusal(&Method::GET, &headers, Some(&secret)).map(|r| r.status())
        };
        assert_eq!(asked(&format!("Bearer {token}")), None);
        assert_eq!(asked(&format!("Basic {}", STANDARD.encode(format!("me:{token}")))), None);
        let wrong = ["", "Bearer ", "Basic", "Basic ====", "Bearer a secret of some length", &token];
        let wrong = wrong.map(str::to_owned).into_iter().chain([
            format!("Basic {}", STANDARD.encode(&token)),
            format!("Bearer {}", &token[..62]),
            format!("Bearer {}é", &token[..62]),
        ]);
        for authorization in wrong {
            assert_eq!(asked(&authorization), Some(StatusCode::UNAUTHORIZED), "{authorization}");
        }
    }
}
