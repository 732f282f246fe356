//! Questions of readers to the views of the job: `GET /api/v1/views` lists the views, and `GET /api/v1/views/NAME?...` asks one. A question
//! whose reader has gone is forgotten.

use std::sync::Arc;

use hyper::StatusCode;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::core::question::{Filter, Follow, Part, Question, RankedRow};
use crate::core::time::BatchTime;
use crate::http::reader::Reader;

/// The names of the views that can be asked, as JSON.
pub(super) fn list(reader: &Reader) -> String {
    json!({ "views": (reader.views.names)() }).to_string()
}

/// Asks a view; the answer as JSON, or why there is none.
pub(super) async fn ask(view: &str, query: Option<&str>, reader: &Arc<Reader>) -> Result<String, (StatusCode, String)> {
    let question = question(view, query).map_err(|what| (StatusCode::BAD_REQUEST, what))?;
    let (_, (time, part)) = answer(question, reader).await?;
    Ok(format!(r#"{{"matched":{},"rows":[{}],"time":{}}}"#, part.matched, list_of(&part.rows), time.millis()))
}

/// A question for which the job works, until this is dropped: when its reader has gone, no worker looks at more rows for it.
pub(super) struct Asking {
    reader: Arc<Reader>,
    id: u64,
    /// Whether the job has nothing more to do for it.
    done: bool,
}

impl Asking {
    /// The number of the question.
    pub fn id(&self) -> u64 {
        self.id
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        if !self.done {
            (self.reader.views.forget)(self.id);
        }
    }
}

/// Asks a question. The workers follow the view for the first question of a follower until the result is dropped.
pub(super) async fn answer(
    question: Question,
    reader: &Arc<Reader>,
) -> Result<(Asking, (BatchTime, Part)), (StatusCode, String)> {
    let (tx, rx) = oneshot::channel();
    let reply = move |answer| {
        // The reader may have gone.
        let _ = tx.send(answer);
    };
    let follows = matches!(question.follow, Some(Follow::Begin));
    let id = (reader.views.ask)(question, Box::new(reply)).map_err(|what| (StatusCode::NOT_FOUND, what))?;
    let mut asking = Asking { reader: reader.clone(), id, done: false };
    let answer = rx.await;
    asking.done = !follows;
    match answer {
        Ok(Ok(answer)) => Ok((asking, answer)),
        Ok(Err(what)) => Err((StatusCode::CONFLICT, what)),
        Err(_) => Err((StatusCode::SERVICE_UNAVAILABLE, "the job has ended".into())),
    }
}

/// Rows as a JSON list, without its brackets: they are JSON already.
pub(super) fn list_of(rows: &[RankedRow]) -> String {
    rows.iter().map(|row| row.json.as_str()).collect::<Vec<_>>().join(",")
}

/// The question of a query string: `key` (JSON, or a text), `from_key`, `until_key`, `prefix`, `top`, `limit`, and `at` (milliseconds since 1970).
pub(super) fn question(view: &str, query: Option<&str>) -> Result<Question, String> {
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
    use std::sync::Mutex;

    use super::*;
    use crate::core::question::Reply;
    use crate::http::{Views, reader};

    /// What a job is asked and told: the questions that it has not answered, and those that it may forget.
    #[derive(Default)]
    struct Job {
        open: Mutex<Vec<Reply>>,
        forgotten: Mutex<Vec<u64>>,
    }

    fn reader(job: &Arc<Job>) -> Arc<Reader> {
        let (asked, told) = (job.clone(), job.clone());
        let ask = move |_, reply| {
            let mut open = asked.open.lock().unwrap();
            open.push(reply);
            Ok(open.len() as u64)
        };
        reader::tests::reader(Views {
            ask: Box::new(ask),
            forget: Box::new(move |id| told.forgotten.lock().unwrap().push(id)),
            ..Views::of_no_job()
        })
    }

    /// A question is forgotten if its reader goes before the answer; one of a follower also afterwards.
    #[test]
    fn the_job_forgets_who_has_gone() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let job = Arc::new(Job::default());
        let reader = reader(&job);
        let question = |follow| Question { follow, ..Question::all("words") };
        let forgotten = || std::mem::take(&mut *job.forgotten.lock().unwrap());
        runtime.block_on(async {
            let mut gone = Box::pin(answer(question(None), &reader));
            let waits = std::future::poll_fn(|cx| std::task::Poll::Ready(gone.as_mut().poll(cx).is_pending()));
            assert!(waits.await && forgotten().is_empty());
            drop(gone);
            assert_eq!(forgotten(), [1]);
            for (follow, expected) in [(None, vec![]), (Some(Follow::Begin), vec![3])] {
                let (answered, _) = tokio::join!(answer(question(follow), &reader), async {
                    let reply = job.open.lock().unwrap().pop().unwrap();
                    job.open.lock().unwrap().push(Box::new(|_| ()));
                    reply(Ok((BatchTime::default(), Part::default())));
                });
                assert!(answered.is_ok() && forgotten().is_empty());
                drop(answered);
                assert_eq!(forgotten(), expected);
            }
        });
    }

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
