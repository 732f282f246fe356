//! Requests to an object store, on the only thread that uses tokio. Invariant: the texts of errors contain no secrets.

use std::future::Future;
use std::sync::{OnceLock, mpsc};
use std::time::Duration;

use object_store::Error as StoreError;
use tokio::runtime::{Builder, Handle};

/// The result of a request.
pub(crate) type Answer<T> = Result<T, StoreError>;

/// The maximum number of concurrent requests.
const AT_ONCE: usize = 32;

/// The thread of requests. It starts with the first request, and runs until the process ends.
fn requests() -> &'static Handle {
    static HANDLE: OnceLock<Handle> = OnceLock::new();
    HANDLE.get_or_init(|| {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let handle = runtime.handle().clone();
        let run = move || runtime.block_on(std::future::pending::<()>());
        std::thread::Builder::new().name("tm-objects".into()).spawn(run).expect("a thread for requests");
        handle
    })
}

/// Runs `work` on the thread of requests, and waits for its result.
pub(crate) fn wait<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    let (sender, receiver) = mpsc::sync_channel(1);
    start(async move {
        let _ = sender.send(work.await);
    });
    receiver.recv().expect("a request ends with an answer")
}

/// Runs `work` on the thread of requests, without waiting.
pub(crate) fn start(work: impl Future<Output = ()> + Send + 'static) {
    requests().spawn(work);
}

/// Runs a request for each item, at most `AT_ONCE` at a time. Returns the results in order, or the first error.
pub(crate) async fn all<I, T, F>(items: Vec<I>, request: impl Fn(I) -> F) -> Answer<Vec<T>>
where
    T: Send + 'static,
    F: Future<Output = Answer<T>> + Send + 'static,
{
    let mut given = Vec::with_capacity(items.len());
    let mut items = items.into_iter();
    loop {
        let running: Vec<_> = items.by_ref().take(AT_ONCE).map(|item| tokio::spawn(request(item))).collect();
        if running.is_empty() {
            return Ok(given);
        }
        for request in running {
            given.push(request.await??);
        }
    }
}

pub(crate) async fn pause(time: Duration) {
    tokio::time::sleep(time).await;
}

/// Whether a retry may succeed.
pub(crate) fn is_transient(e: &StoreError) -> bool {
    matches!(
        e,
        StoreError::Generic { .. }
            | StoreError::AlreadyExists { .. }
            | StoreError::Precondition { .. }
            | StoreError::JoinError { .. }
    )
}

/// A text for an error: the code and message of the server, or the error of the system. The complete answer may contain keys,
/// signatures and tokens, and the address of a request may contain a password.
pub(crate) fn reason(e: &StoreError) -> String {
    let whole = e.to_string();
    if let Some(code) = element(&whole, "Code") {
        let message = element(&whole, "Message").unwrap_or_default().trim_end_matches('.');
        return format!("{code}: {message}{}", remedy(code));
    }
    let kind = match e {
        StoreError::NotFound { .. } => "not found",
        StoreError::PermissionDenied { .. } => {
            "not permitted: give these credentials the right to read, write, delete and list there"
        }
        StoreError::Unauthenticated { .. } => {
            "the credentials were not accepted: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        }
        StoreError::AlreadyExists { .. } | StoreError::Precondition { .. } => "an object of this name exists",
        StoreError::NotSupported { .. } | StoreError::NotImplemented { .. } => "this store does not support it",
        StoreError::UnknownConfigurationKey { .. } => "an unknown setting",
        _ => return innermost(e),
    };
    kind.into()
}

/// The content of an XML element in the server's answer.
fn element<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    Some(rest.split_once("</")?.0)
}

fn remedy(code: &str) -> &'static str {
    match code {
        "NoSuchBucket" => ": create the bucket, or use another one",
        "InvalidAccessKeyId" | "SignatureDoesNotMatch" => ": set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        "ExpiredToken" | "InvalidToken" => ": set AWS_SESSION_TOKEN to a new token",
        "AccessDenied" => ": give these credentials the right to read, write, delete and list there",
        "AuthorizationHeaderMalformed" | "PermanentRedirect" => ": set AWS_REGION to the region of the bucket",
        "SlowDown" | "ServiceUnavailable" => ": it gets too many requests, or is busy",
        _ => "",
    }
}

/// The innermost cause of an error: an error of the system, or a status, without an address.
fn innermost(e: &StoreError) -> String {
    let mut cause: &dyn std::error::Error = e;
    while let Some(source) = cause.source() {
        cause = source;
    }
    let said = cause.to_string();
    // The answer is not XML. Its first line describes it.
    let line = said.lines().next().unwrap_or_default();
    if line.contains("://") {
        "the answer is not from an object store: check AWS_ENDPOINT".into()
    } else {
        line.chars().take(200).collect()
    }
}
