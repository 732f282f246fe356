//! Questions of readers to the views of the job: `GET /api/v1/views` lists the views, and `GET /api/v1/views/NAME?...` asks one.

use hyper::StatusCode;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::core::question::{Filter, Part, Question};
use crate::core::time::BatchTime;
use crate::http::reader::Reader;

/// The names of the views that can be asked, as JSON.
pub(super) fn list(reader: &Reader) -> String {
    json!({ "views": (reader.views.names)() }).to_string()
}

/// Asks a view; the answer as JSON, or why there is none.
pub(super) async fn ask(view: &str, query: Option<&str>, reader: &Reader) -> Result<String, (StatusCode, String)> {
    let question = question(view, query).map_err(|what| (StatusCode::BAD_REQUEST, what))?;
    let (tx, rx) = oneshot::channel();
    let reply = move |answer| {
        // The reader may have gone.
        let _ = tx.send(answer);
    };
    (reader.views.ask)(question, Box::new(reply)).map_err(|what| (StatusCode::NOT_FOUND, what))?;
    match rx.await {
        Ok(Ok(answer)) => Ok(text(&answer)),
        Ok(Err(what)) => Err((StatusCode::CONFLICT, what)),
        Err(_) => Err((StatusCode::SERVICE_UNAVAILABLE, "the job has ended".into())),
    }
}

/// The rows are JSON already.
fn text((time, part): &(BatchTime, Part)) -> String {
    let rows: Vec<&str> = part.rows.iter().map(|row| row.json.as_str()).collect();
    format!(r#"{{"matched":{},"rows":[{}],"time":{}}}"#, part.matched, rows.join(","), time.millis())
}

/// The question of a query string: `key` (JSON, or a text), `from_key`, `until_key`, `prefix`, `top`, `limit`, and `at` (milliseconds since 1970).
fn question(view: &str, query: Option<&str>) -> Result<Question, String> {
    let mut question = Question::all(view);
    for part in query.unwrap_or_default().split('&').filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let value = decoded(value).ok_or_else(|| format!("{name}: this is not percent-encoded UTF-8"))?;
        let number = || value.parse().map_err(|_| format!("{name}={value}: a number is needed"));
        match name {
            "key" => question.filter = Filter::Key(json(value)),
            "from_key" | "until_key" => {
                let (from, until) = match question.filter {
                    Filter::Range(from, until) => (from, until),
                    _ => (None, None),
                };
                let key = Some(json(value));
                question.filter = if name == "from_key" { Filter::Range(key, until) } else { Filter::Range(from, key) };
            }
            "prefix" => question.filter = Filter::Prefix(value),
            "top" => (question.top, question.limit) = (true, number()?),
            "limit" => question.limit = number()?,
            "at" => {
                let at = value.parse().map_err(|_| format!("at={value}: a batch time is a number of milliseconds since 1970"))?;
                question.at = Some(BatchTime::from_millis(at));
            }
            _ => return Err(format!("{name}: there are key, from_key, until_key, prefix, top, limit and at")),
        }
    }
    Ok(question)
}

/// A key as JSON. A text may stand without its quotes, as people write it.
fn json(key: String) -> String {
    serde_json::from_str::<Value>(&key).unwrap_or(Value::String(key)).to_string()
}

/// A percent-encoded text.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                (digit(rest.next()?)? * 16 + digit(rest.next()?)?) as u8
            }
            b'+' => b' ',
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_string_is_a_question() {
        let of = |query| question("words", Some(query));
        let filter = |query| of(query).unwrap().filter;
        assert_eq!(filter("key=tide"), Filter::Key("\"tide\"".into()));
        assert_eq!(filter("key=%22tide%20mill%22"), Filter::Key("\"tide mill\"".into()));
        assert_eq!(filter("key=7"), Filter::Key("7".into()));
        assert_eq!(filter("prefix=M%C3%BChle+"), Filter::Prefix("Mühle ".into()));
        assert_eq!(filter("until_key=c&from_key=7"), Filter::Range(Some("7".into()), Some("\"c\"".into())));
        let top = of("top=3&at=5000").unwrap();
        assert_eq!((top.top, top.limit, top.at), (true, 3, Some(BatchTime::from_millis(5000))));
        assert_eq!(of("").unwrap().limit, 100);
        for (wrong, why) in [
            ("top=many", "top=many: a number"),
            ("at=now", "at=now: a batch time"),
            ("where=x", "where: there are key"),
            ("key=%zz", "key: this is not"),
        ] {
            assert!(of(wrong).unwrap_err().starts_with(why), "{wrong}: {:?}", of(wrong));
        }
    }
}
