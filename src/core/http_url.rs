//! Parts of URLs, and where a service listens that is asked over HTTP without TLS: a collector of OpenTelemetry, a registry of schemas.

use crate::core::error::{Error, Result};

/// A text as a segment of a path, or as a name or a value of a query: all but the unreserved characters of RFC 3986 is percent-encoded.
///
/// ```
/// use tidemill::core::http_url::percent_encoded;
/// assert_eq!(percent_encoded("a-b c/é"), "a-b%20c%2F%C3%A9");
/// ```
pub fn percent_encoded(text: &str) -> String {
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes().map(|byte| if unreserved(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// The words of errors about the URL of one service.
pub(crate) struct Service {
    /// What listens there, such as `a collector`.
    pub what: &'static str,
    /// A URL of one.
    pub example: &'static str,
    /// The port of a URL without one.
    pub port: u16,
    /// What forwards requests for `https`, which is not supported.
    pub forwarder: &'static str,
    /// What to do about a user in the URL.
    pub user: &'static str,
}

impl Service {
    /// Reads `http://HOST:PORT` or `http://HOST:PORT/PATH`: `HOST:PORT`, and the path without a slash at its end.
    ///
    /// # Errors
    /// Anything else, with the form. A URL may have a password, so no error shows what is before the @.
    pub fn place(&self, url: &str) -> Result<(String, String)> {
        let shown = url.rsplit_once('@').map_or(url, |(_, behind)| behind);
        let Service { what, example, forwarder, user, .. } = self;
        let wrong =
            |why: &str| Error::config(format!("\"{shown}\" is not the address of {what}{why}; write for example {example}"));
        if url.contains('@') {
            return Err(wrong(&format!(": {user}")));
        }
        if url.starts_with("https://") {
            return Err(wrong(&format!(": https is not supported, so run {forwarder} on this machine that forwards requests")));
        }
        let rest = url.strip_prefix("http://").ok_or_else(|| wrong(""))?;
        if url.contains(['?', '#', ' ']) || url.chars().any(char::is_control) {
            return Err(wrong(": it has no query, fragment or space"));
        }
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| wrong(": its port is a number"))?),
            _ => (authority, self.port),
        };
        if host.is_empty() {
            return Err(wrong(": it has no host"));
        }
        Ok((format!("{host}:{port}"), path.trim_end_matches('/').to_owned()))
    }
}
