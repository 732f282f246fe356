//! Requests to an object store: on a thread of their own, the only one that knows tokio, and with answers that hold no secret.

use std::future::Future;
use std::sync::{OnceLock, mpsc};
use std::time::Duration;

use object_store::Error as Said;
use tokio::runtime::{Builder, Handle};

/// The answer of the library.
pub(super) type Answer<T> = Result<T, Said>;

/// So many requests run at a time where there are many.
const AT_ONCE: usize = 32;

/// The thread that requests run on: begun with the first, and there until the process ends.
fn requests() -> &'static Handle {
    static HANDLE: OnceLock<Handle> = OnceLock::new();
    HANDLE.get_or_init(|| {
        let runtime = Builder::new_current_thread().enable_all().build().expect("file descriptors for a runtime");
        let handle = runtime.handle().clone();
        let run = move || runtime.block_on(std::future::pending::<()>());
        std::thread::Builder::new().name("tidemill:objects".into()).spawn(run).expect("a thread for requests");
        handle
    })
}

/// Runs it there, and waits for what it gives.
pub(super) fn wait<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    let (tell, told) = mpsc::sync_channel(1);
    start(async move {
        let _ = tell.send(work.await);
    });
    told.recv().expect("a request ends with an answer")
}

/// Runs it there, and does not wait.
pub(super) fn start(work: impl Future<Output = ()> + Send + 'static) {
    requests().spawn(work);
}

/// Many of a kind, some at a time; what they give, in their order, or what the first one that failed said.
pub(super) async fn all<I, T, F>(items: Vec<I>, request: impl Fn(I) -> F) -> Answer<Vec<T>>
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

pub(super) async fn pause(time: Duration) {
    tokio::time::sleep(time).await;
}

/// Whether trying again may help.
pub(super) fn passes(e: &Said) -> bool {
    matches!(e, Said::Generic { .. } | Said::AlreadyExists { .. } | Said::Precondition { .. } | Said::JoinError { .. })
}

/// What went wrong, in words that hold no secret: the server's code and message, or what the system said. Its answer as a whole may
/// hold keys, signatures and tokens, and the address of a request may hold a password.
pub(super) fn why(e: &Said) -> String {
    let whole = e.to_string();
    if let Some(code) = element(&whole, "Code") {
        let message = element(&whole, "Message").unwrap_or_default().trim_end_matches('.');
        return format!("{code}: {message}{}", remedy(code));
    }
    let kind = match e {
        Said::NotFound { .. } => "not found",
        Said::PermissionDenied { .. } => "not permitted: give these credentials the right to read, write, delete and list there",
        Said::Unauthenticated { .. } => "the credentials were not accepted: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        Said::AlreadyExists { .. } | Said::Precondition { .. } => "an object of this name is there",
        Said::NotSupported { .. } | Said::NotImplemented { .. } => "this store cannot do it",
        Said::UnknownConfigurationKey { .. } => "a setting that is none",
        _ => return innermost(e),
    };
    kind.into()
}

/// What is inside an element of the server's answer.
fn element<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    Some(rest.split_once("</")?.0)
}

fn remedy(code: &str) -> &'static str {
    match code {
        "NoSuchBucket" => ": make the bucket, or name another one",
        "InvalidAccessKeyId" | "SignatureDoesNotMatch" => ": set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        "ExpiredToken" | "InvalidToken" => ": set AWS_SESSION_TOKEN anew",
        "AccessDenied" => ": give these credentials the right to read, write, delete and list there",
        "AuthorizationHeaderMalformed" | "PermanentRedirect" => ": set AWS_REGION to that of the bucket",
        "SlowDown" | "ServiceUnavailable" => ": it was asked too often, or is busy",
        _ => "",
    }
}

/// The cause of all causes: it is the system's, or a status, and names no address.
fn innermost(e: &Said) -> String {
    let mut cause: &dyn std::error::Error = e;
    while let Some(source) = cause.source() {
        cause = source;
    }
    let said = cause.to_string();
    // An answer that is no XML: its first line says what it is.
    let line = said.lines().next().unwrap_or_default();
    if line.contains("://") {
        "the store did not answer as one: look at AWS_ENDPOINT".into()
    } else {
        line.chars().take(200).collect()
    }
}
