//! Where a collector of OpenTelemetry listens, and with which headers it is asked: OTLP over HTTP, with the field's environment variables.

use std::time::Duration;

use crate::core::error::{Error, Result};
use crate::core::http_url::Service;

/// The variables of the OpenTelemetry specification that are read.
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";
const INTERVAL: &str = "OTEL_METRIC_EXPORT_INTERVAL";
const SERVICE: &str = "OTEL_SERVICE_NAME";

/// A collector. Its headers may be secret, so it has no `Debug`.
#[cfg_attr(not(feature = "otlp"), allow(dead_code, reason = "only the exporter reads it"))]
pub(crate) struct Endpoint {
    /// `HOST:PORT`.
    pub authority: String,
    /// What goes before `/v1/metrics`, without a slash at its end.
    pub path: String,
    pub headers: Vec<(String, String)>,
    /// Time between two sets of metrics.
    pub every: Duration,
    /// The name of the service. `None`: that of the job.
    pub service: Option<String>,
}

/// Where a collector listens.
const COLLECTOR: Service = Service {
    what: "a collector",
    example: "http://127.0.0.1:4318, where one listens for OTLP over HTTP",
    port: 4318,
    forwarder: "a collector",
    user: "it has no user",
};

/// Reads `http://HOST:PORT` or `http://HOST:PORT/PATH`: the authority with a port, and the path.
///
/// # Errors
/// Anything else, with the form.
pub(crate) fn parse(url: &str) -> Result<(String, String)> {
    COLLECTOR.place(url)
}

impl Endpoint {
    /// The collector of `--otlp`, or of the environment. `None`: there is none.
    ///
    /// # Errors
    /// A variable has another form.
    pub fn find(asked: Option<&str>) -> Result<Option<Endpoint>> {
        Self::of(asked, |name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn of(asked: Option<&str>, variable: impl Fn(&str) -> Option<String>) -> Result<Option<Endpoint>> {
        let Some(url) = asked.map(str::to_owned).or_else(|| variable(ENDPOINT)) else { return Ok(None) };
        let (authority, path) = parse(&url)?;
        let mut headers = Vec::new();
        for (pair, n) in variable(HEADERS).iter().flat_map(|all| all.split(',')).filter(|pair| !pair.trim().is_empty()).zip(1..) {
            // The value may be a secret, so the error has neither.
            let wrong = || Error::config(format!("{HEADERS}: pair {n} is not NAME=VALUE; write for example api-key=KEY"));
            let (name, value) = pair.split_once('=').ok_or_else(wrong)?;
            let (name, value) = (name.trim(), value.trim());
            let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
            if name.is_empty() || !name.chars().all(token) || value.chars().any(|c| c.is_ascii_control()) {
                return Err(wrong());
            }
            headers.push((name.to_owned(), value.to_owned()));
        }
        let every =
            match variable(INTERVAL) {
                None => 60_000,
                Some(text) => text.parse::<u64>().ok().filter(|ms| *ms > 0).ok_or_else(|| {
                    Error::config(format!("{INTERVAL}={text}: a number of milliseconds is needed, such as 60000"))
                })?,
            };
        Ok(Some(Endpoint { authority, path, headers, every: Duration::from_millis(every), service: variable(SERVICE) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_the_form_of_otlp_over_http() {
        let of = |url: &str| parse(url).map(|(authority, path)| format!("{authority}{path}"));
        for (url, expected) in [
            ("http://127.0.0.1:4318", "127.0.0.1:4318"),
            ("http://collector", "collector:4318"),
            ("http://collector:9090/api/v1/otlp/", "collector:9090/api/v1/otlp"),
            ("http://[::1]:4318", "[::1]:4318"),
            ("http://[::1]", "[::1]:4318"),
        ] {
            assert_eq!(of(url).unwrap(), expected);
        }
        for (url, why) in [
            ("127.0.0.1:4318", "http://127.0.0.1:4318"),
            ("https://collector", "https is not supported"),
            ("http://collector:many", "its port is a number"),
            ("http://me:word@collector", "no user"),
            ("http://:4318", "no host"),
        ] {
            let e = of(url).unwrap_err().to_string();
            assert!(e.contains(why) && !e.contains("word@"), "{url}: {e}");
        }
    }

    #[test]
    fn the_variables_of_the_field_count_and_no_error_shows_a_header() {
        let of = |asked, pairs: &[(&str, &str)]| {
            let pairs: Vec<(String, String)> = pairs.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect();
            Endpoint::of(asked, move |name| pairs.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone()))
        };
        assert!(of(None, &[(HEADERS, "a=b")]).unwrap().is_none());
        let found = of(None, &[(ENDPOINT, "http://c:1/x"), (HEADERS, "a=b, Key = c d"), (INTERVAL, "500"), (SERVICE, "sales")]);
        let found = found.unwrap().unwrap();
        assert_eq!((found.authority.as_str(), found.path.as_str(), found.every.as_millis()), ("c:1", "/x", 500));
        assert_eq!(found.headers, [("a".into(), "b".into()), ("Key".into(), "c d".into())]);
        assert_eq!(found.service.as_deref(), Some("sales"));
        assert_eq!(of(Some("http://d"), &[(ENDPOINT, "http://c:1")]).unwrap().unwrap().authority, "d:4318");
        let e = of(Some("http://d"), &[(HEADERS, "a=b,secret")]).err().unwrap().to_string();
        assert!(e.contains("pair 2 is not NAME=VALUE") && !e.contains("secret"), "{e}");
        assert!(of(Some("http://d"), &[(INTERVAL, "1s")]).err().unwrap().to_string().contains("OTEL_METRIC_EXPORT_INTERVAL=1s"));
    }
}
