//! A schema registry with the protocol of Confluent's: asks it for schemas by HTTP, and waits while it is away.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::core::error::Result;
use crate::core::http_url::{Service, percent_encoded};
use crate::core::time::human_duration;
use crate::format::Unavailable;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a registry that does not answer is asked again, unless the program says otherwise.
const RETRY: Duration = Duration::from_secs(30);
/// The first pause before it is asked again; each further one is four times as long, up to the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// The longest answer, in bytes.
const ANSWER: usize = 16 << 20;
/// How many schemas one may refer to, those of these schemas included.
const REFERENCES: usize = 1_000;

const SERVICE: Service = Service {
    what: "a schema registry",
    example: "http://127.0.0.1:8081",
    port: 80,
    forwarder: "a proxy",
    user: "give the user and the password to basic_auth",
};

/// A schema registry that speaks the HTTP of Confluent's, for [`Avro::confluent`](super::Avro::confluent). Feature `avro`.
///
/// ```
/// use std::time::Duration;
/// use tidemill::format::SchemaRegistry;
/// let registry = SchemaRegistry::new("http://127.0.0.1:8081")?.basic_auth("reader", "secret").retry_for(Duration::from_secs(60));
/// assert_eq!(format!("{registry} {registry:?}").matches("secret").count(), 0);
/// assert!(SchemaRegistry::new("127.0.0.1:8081").is_err());
/// # Ok::<(), tidemill::Error>(())
/// ```
#[derive(Clone)]
#[must_use = "it describes where schemas are"]
pub struct SchemaRegistry {
    /// `HOST:PORT`.
    authority: String,
    /// What goes before `/schemas`.
    path: String,
    authorization: Option<Arc<str>>,
    retry: Duration,
}

impl fmt::Display for SchemaRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the schema registry http://{}{}", self.authority, self.path)
    }
}

impl fmt::Debug for SchemaRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SchemaRegistry { authority, path, authorization, retry } = self;
        let authorized = authorization.is_some();
        let mut shown = f.debug_struct("SchemaRegistry");
        shown.field("authority", authority).field("path", path).field("authorized", &authorized).field("retry", retry).finish()
    }
}

/// The text of a schema, and those of the schemas that it refers to: each is before those that need it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Texts {
    pub schema: String,
    pub references: Vec<String>,
}

/// The reason why a registry gives no schema for a number.
#[derive(Debug)]
pub(super) struct NoSchema {
    pub text: String,
    /// The registry does not have it now. `false`: it has something that is never a schema of Avro.
    pub missing: bool,
}

/// A schema, as a registry tells of it.
#[derive(Deserialize)]
struct Told {
    schema: String,
    #[serde(rename = "schemaType", default)]
    kind: Option<String>,
    #[serde(default)]
    references: Vec<Reference>,
}

#[derive(Deserialize)]
struct Reference {
    subject: String,
    version: i64,
}

/// What a registry says if it does not give what it is asked for.
#[derive(Deserialize)]
struct Refusal {
    error_code: i64,
}

impl SchemaRegistry {
    /// The registry at `http://HOST:PORT`, or at `http://HOST:PORT/PATH`. Default port: 80. `https` is not
    /// supported: run a proxy on this machine that forwards requests to it.
    ///
    /// # Errors
    /// The URL has another form. A user in it is refused: see [`basic_auth`](SchemaRegistry::basic_auth).
    pub fn new(url: &str) -> Result<Self> {
        let (authority, path) = SERVICE.place(url)?;
        Ok(SchemaRegistry { authority, path, authorization: None, retry: RETRY })
    }

    /// Shows itself by a user and a password, which no error shows. They are not encrypted on their way.
    pub fn basic_auth(mut self, user: &str, password: &str) -> Self {
        self.authorization = Some(format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))).into());
        self
    }

    /// For how long it is asked again if it does not answer, or answers with 429 or a status from 500 on. The worker waits meanwhile: pauses grow
    /// from 100 ms to 5 seconds. Then the job ends, and a restart reads the same records again. Default: 30 seconds.
    pub fn retry_for(mut self, time: Duration) -> Self {
        self.retry = time;
        self
    }

    /// The schema with this number.
    ///
    /// # Errors
    /// [`Unavailable`]: the registry does not answer.
    pub(super) fn schema(&self, id: u32) -> Result<Result<Texts, NoSchema>, Unavailable> {
        let missing = || NoSchema { text: format!("{self} has no schema {id}"), missing: true };
        let Some(told) = self.get::<Told>(&format!("/schemas/ids/{id}"))? else { return Ok(Err(missing())) };
        if let Some(kind) = told.kind.filter(|kind| kind != "AVRO") {
            let text = format!("schema {id} of {self} is one of {kind}, not of Avro");
            return Ok(Err(NoSchema { text, missing: false }));
        }
        let (mut references, mut seen) = (Vec::new(), Vec::new());
        let referred = self.refer(id, &told.references, &mut seen, &mut references)?;
        Ok(referred.map(|()| Texts { schema: told.schema, references }))
    }

    /// Adds the texts of references of schema `id`, each behind those that it needs.
    fn refer(
        &self,
        id: u32,
        all: &[Reference],
        seen: &mut Vec<(String, i64)>,
        texts: &mut Vec<String>,
    ) -> Result<Result<(), NoSchema>, Unavailable> {
        for Reference { subject, version } in all {
            if seen.iter().any(|(s, v)| (s, v) == (subject, version)) {
                continue;
            }
            if seen.len() == REFERENCES {
                let text = format!("schema {id} of {self} refers to more than {REFERENCES} others");
                return Ok(Err(NoSchema { text, missing: false }));
            }
            seen.push((subject.clone(), *version));
            let path = format!("/subjects/{}/versions/{version}", percent_encoded(subject));
            let Some(told) = self.get::<Told>(&path)? else {
                let text = format!("{self} has no version {version} of {subject}, to which schema {id} refers");
                return Ok(Err(NoSchema { text, missing: true }));
            };
            if let Err(why) = self.refer(id, &told.references, seen, texts)? {
                return Ok(Err(why));
            }
            texts.push(told.schema);
        }
        Ok(Ok(()))
    }

    /// Asks until there is an answer. `None`: the registry does not have it.
    ///
    /// # Errors
    /// [`Unavailable`].
    fn get<A: DeserializeOwned>(&self, path: &str) -> Result<Option<A>, Unavailable> {
        let (begun, mut pause, mut said) = (Instant::now(), PAUSES.0, false);
        let refuses = |why: String| Unavailable(format!("{self} {why}"));
        loop {
            let why = match self.ask(path) {
                Ok((status, body)) if status.is_success() => {
                    let told = serde_json::from_slice(&body);
                    return told
                        .map(Some)
                        .map_err(|e| refuses(format!("answered {path} with what a registry does not say: {e}")));
                }
                Ok((StatusCode::NOT_FOUND, body)) => match serde_json::from_slice::<Refusal>(&body) {
                    Ok(refusal) if refusal.error_code / 100 == 404 => return Ok(None),
                    _ => return Err(refuses(format!("answered {path} with 404, as other servers do: check its URL"))),
                },
                Ok((status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN), _)) => {
                    return Err(refuses(format!("answered with {status}: check the user and the password of basic_auth")));
                }
                Ok((status, _)) if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() => {
                    format!("answers with {status}")
                }
                Ok((status, _)) => return Err(refuses(format!("answered {path} with {status}: check its URL"))),
                Err(e) => format!("cannot be reached: {e}"),
            };
            if begun.elapsed() + pause > self.retry {
                let waited = human_duration(begun.elapsed());
                return Err(refuses(format!(
                    "{why}; it was asked again for {waited}. The records are read again after a restart"
                )));
            }
            if !std::mem::replace(&mut said, true) {
                tracing::warn!("{self} {why}; it is asked again for {}", human_duration(self.retry));
            }
            std::thread::sleep(pause);
            pause = (pause * 4).min(PAUSES.1);
        }
    }

    /// One request.
    fn ask(&self, path: &str) -> Result<(StatusCode, Bytes), String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
        runtime.block_on(async {
            let asked = timeout(PATIENCE, self.send(path)).await;
            asked.unwrap_or_else(|_| Err(format!("there was no answer within {}", human_duration(PATIENCE))))
        })
    }

    async fn send(&self, path: &str) -> Result<(StatusCode, Bytes), String> {
        let stream = TcpStream::connect(&self.authority).await.map_err(|e| e.to_string())?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
        tokio::spawn(connection);
        let mut request = Request::get(format!("{}{path}", self.path))
            .header(header::HOST, &self.authority)
            .header(header::ACCEPT, "application/vnd.schemaregistry.v1+json, application/json")
            .header(header::CONNECTION, "close");
        if let Some(secret) = &self.authorization {
            request = request.header(header::AUTHORIZATION, &**secret);
        }
        // The error would have the header, which is secret.
        let request = request.body(Empty::<Bytes>::new()).map_err(|_| "the request cannot be made".to_owned())?;
        let answer = sender.send_request(request).await.map_err(|e| e.to_string())?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER).collect().await.map_err(|e| e.to_string())?;
        Ok((status, body.to_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_form_and_no_error_shows_a_password() {
        let of = |url: &str| SchemaRegistry::new(url).map(|r| format!("{}{}", r.authority, r.path)).map_err(|e| e.to_string());
        for (url, expected) in [
            ("http://127.0.0.1:8081", "127.0.0.1:8081"),
            ("http://registry", "registry:80"),
            ("http://registry:9/apis/ccompat/v7/", "registry:9/apis/ccompat/v7"),
            ("http://[::1]:8081", "[::1]:8081"),
        ] {
            assert_eq!(of(url).as_deref(), Ok(expected));
        }
        for (url, why) in [
            ("127.0.0.1:8081", "write for example http://127.0.0.1:8081"),
            ("https://registry", "https is not supported"),
            ("http://registry:many", "its port is a number"),
            ("http://me:hunter2@registry", "basic_auth"),
            ("http://registry/a b", "no query"),
            ("http://:8081", "no host"),
        ] {
            let e = of(url).unwrap_err();
            assert!(e.contains(why) && !e.contains("hunter2"), "{url}: {e}");
        }
    }

    #[test]
    fn a_subject_is_one_segment() {
        assert_eq!(percent_encoded("sales-value"), "sales-value");
        assert_eq!(percent_encoded("a/b c%ü"), "a%2Fb%20c%25%C3%BC");
    }
}
