//! `POST /api/v1/corrections`: bad records that the job reads once more, as lines of dead letters.

use http_body_util::{BodyExt, Limited};
use hyper::header::{self, HeaderMap};
use hyper::{Request, StatusCode, body::Incoming};
use serde_json::json;
use std::time::Duration;
use tokio::sync::oneshot;

use crate::core::correction::{Corrected, Correction};
use crate::core::letter;
use crate::http::reader::Reader;

pub(super) const PATH: &str = "/api/v1/corrections";
/// A page of a stranger cannot send this type without asking first, and nobody answers that.
pub(super) const KIND: &str = "application/x-ndjson";
/// The most bytes of a request: hex takes two digits for a byte.
const BYTES: usize = 16 << 20;
/// How long all of it may take to arrive.
const BODY: Duration = Duration::from_secs(30);

/// Whether a request says that it has dead letters.
pub(super) fn has_letters(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == KIND)
}

/// Gives the records to the job, and waits until all are in plans. One request after the other, so that memory is bounded.
pub(super) async fn correct(request: Request<Incoming>, reader: &Reader) -> Result<String, (StatusCode, String)> {
    let _one = reader.correcting.lock().await;
    let bad = |what: String| (StatusCode::BAD_REQUEST, what);
    let body = tokio::time::timeout(BODY, Limited::new(request.into_body(), BYTES).collect()).await;
    let body =
        body.map_err(|_| (StatusCode::REQUEST_TIMEOUT, format!("the records did not arrive within {} s", BODY.as_secs())))?;
    let body = body.map_err(|e| (StatusCode::PAYLOAD_TOO_LARGE, format!("{e}: a request has at most {BYTES} bytes")))?.to_bytes();
    let corrections = corrections(&body).map_err(bad)?;
    let mut done: Vec<Corrected> = Vec::new();
    for correction in corrections {
        let of = correction.of;
        let after = |why: String| {
            let before = if done.is_empty() { String::new() } else { format!("; {} earlier batches are corrected", done.len()) };
            (StatusCode::CONFLICT, format!("correction of the batch of {} ms: {why}{before}", of.millis()))
        };
        let (tx, rx) = oneshot::channel();
        let reply = move |said| {
            // The sender of the request may have gone. What it has asked for happens.
            let _ = tx.send(said);
        };
        (reader.views.correct)(correction, Box::new(reply)).map_err(&after)?;
        let said = rx.await.unwrap_or_else(|_| Err("the job has ended".into()));
        let corrected = said.map_err(after)?;
        done.push(corrected);
    }
    let corrected =
        |c: &Corrected| json!({ "of": c.of.millis(), "batch": c.batch.millis(), "records": c.records, "left": c.left });
    Ok(json!({ "corrected": done.iter().map(corrected).collect::<Vec<_>>() }).to_string())
}

/// The corrections of a request.
fn corrections(body: &[u8]) -> Result<Vec<Correction>, String> {
    let text = std::str::from_utf8(body).map_err(|e| format!("lines of JSON are UTF-8: {e}"))?;
    let lines = text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty());
    let letters = lines
        .map(|(line, n)| letter::parse(line).map(|letter| letter.bad).map_err(|e| format!("line {n}: {e}")))
        .collect::<Result<Vec<_>, _>>()?;
    let all = Correction::all(&letters);
    all.iter().try_for_each(Correction::check)?;
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_lines_of_dead_letters() {
        let line = |time: u64, value: &str| {
            format!(
                r#"{{"topic":"t","partition":0,"offset":1,"batch_time":{time},"verb":"v","reason":"r","key":null,"value":"{value}"}}"#
            )
        };
        let body = format!("{}\n\n{}\n{}", line(20, "a"), line(10, "b"), line(20, "c"));
        let all = corrections(body.as_bytes()).unwrap();
        assert_eq!(all.iter().map(|c| (c.of.millis(), c.letters.len())).collect::<Vec<_>>(), [(10, 1), (20, 2)]);
        assert_eq!(corrections(b"").unwrap(), []);
        assert!(corrections(format!("{}\n{{", line(1, "a")).as_bytes()).unwrap_err().starts_with("line 2: this is not"));
        assert!(corrections(b"\xff").unwrap_err().starts_with("lines of JSON are UTF-8"));
    }
}
