//! Questions of readers to the views of the job: `GET /api/v1/views` lists the views, `GET /api/v1/views/NAME?...` asks one, and
//! `GET /api/v1/rows?view=NAME&view=NAME` has all rows of some as of one batch. A question whose reader has gone is forgotten.

use std::sync::Arc;

use hyper::StatusCode;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::core::question::{Filter, Follow, Part, Question, RankedRow, Reply, is_name};
use crate::core::time::BatchTime;
use crate::http::reader::Reader;

/// The most views of which all rows are asked for at once.
const MOST_VIEWS: usize = 32;

/// The names of the views that can be asked, as JSON.
pub(super) fn list(reader: &Reader) -> String {
    json!({ "views": (reader.views.names)() }).to_string()
}

/// Asks a view; the answer as JSON, or why there is none.
pub(super) async fn ask(view: &str, query: Option<&str>, reader: &Arc<Reader>) -> Result<String, (StatusCode, String)> {
    let question = question(view, query).map_err(|what| (StatusCode::BAD_REQUEST, what))?;
    question.check().map_err(|what| (StatusCode::NOT_FOUND, what))?;
    let (_, (time, part)) = answer(question, reader).await?;
    Ok(format!(r#"{{"matched":{},"rows":[{}],"time":{}}}"#, part.matched, list_of(&part.rows), time.millis()))
}

/// All rows of some views as of one batch, as JSON. The error says what is wrong with the question, or that the job has ended.
pub(super) async fn rows(query: Option<&str>, reader: &Arc<Reader>) -> Result<String, (StatusCode, String)> {
    let questions = whole_views(query).map_err(|what| (StatusCode::BAD_REQUEST, what))?;
    let names: Vec<String> = questions.iter().map(|question| question.view.clone()).collect();
    let answers = answers(questions, reader).await?;
    let time = answers.first().map_or(0, |(_, (time, _))| time.millis());
    // Names of views need no escapes in JSON.
    let views = names.iter().zip(&answers).map(|(name, (_, (_, part)))| format!(r#""{name}":[{}]"#, list_of(&part.rows)));
    Ok(format!(r#"{{"time":{time},"views":{{{}}}}}"#, views.collect::<Vec<_>>().join(",")))
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
pub(super) async fn answer(question: Question, reader: &Arc<Reader>) -> Result<Answered, (StatusCode, String)> {
    Ok(answers(vec![question], reader).await?.remove(0))
}

/// A question, and its answer as of a batch.
type Answered = (Asking, (BatchTime, Part));

/// Asks questions, all as of one batch. If one has no answer, the job forgets the others.
async fn answers(questions: Vec<Question>, reader: &Arc<Reader>) -> Result<Vec<Answered>, (StatusCode, String)> {
    let (mut asked, mut waiting) = (Vec::new(), Vec::new());
    for question in questions {
        let (tx, rx) = oneshot::channel();
        waiting.push((matches!(question.follow, Some(Follow::Begin)), rx));
        let reply: Reply = Box::new(move |answer| {
            // The reader may have gone.
            let _ = tx.send(answer);
        });
        asked.push((question, reply));
    }
    let ids = (reader.views.ask)(asked).map_err(|what| (StatusCode::NOT_FOUND, what))?;
    let asking: Vec<Asking> = ids.into_iter().map(|id| Asking { reader: reader.clone(), id, done: false }).collect();
    let mut answers = Vec::new();
    for (mut asking, (follows, rx)) in asking.into_iter().zip(waiting) {
        let answer = rx.await;
        asking.done = !follows;
        match answer {
            Ok(Ok(answer)) => answers.push((asking, answer)),
            Ok(Err(what)) => return Err((StatusCode::CONFLICT, what)),
            Err(_) => return Err((StatusCode::SERVICE_UNAVAILABLE, "the job has ended".into())),
        }
    }
    Ok(answers)
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
            "at" => question.at = Some(batch(&value)?),
            _ => return Err(format!("{name}: there are key, from_key, until_key, prefix, top, limit and at")),
        }
    }
    Ok(question)
}

/// The questions of a query string: `view`, once for each view, and `at`.
fn whole_views(query: Option<&str>) -> Result<Vec<Question>, String> {
    let (mut views, mut at) = (Vec::new(), None);
    for part in query.unwrap_or_default().split('&').filter(|part| !part.is_empty()) {
        match part.split_once('=') {
            Some(("view", view)) if !is_name(view) => return Err(format!("view={view}: this is not the name of a view")),
            Some(("view", view)) if views.contains(&view) => {}
            Some(("view", view)) => views.push(view),
            Some(("at", value)) => at = Some(batch(value)?),
            _ => return Err(format!("{part}: there are view=NAME, once for each view, and at=TIME")),
        }
    }
    if !(1..=MOST_VIEWS).contains(&views.len()) {
        return Err(format!("{} views: name 1 to {MOST_VIEWS} by view=NAME", views.len()));
    }
    Ok(views.into_iter().map(|view| Question::whole(view, at)).collect())
}

fn batch(value: &str) -> Result<BatchTime, String> {
    let time = value.parse().map_err(|_| format!("at={value}: a batch time is a number of milliseconds since 1970"))?;
    Ok(BatchTime::from_millis(time))
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
    use crate::http::{Views, reader};

    /// What a job is asked and told: the questions that it has not answered, and those that it may forget.
    #[derive(Default)]
    struct Job {
        open: Mutex<Vec<Reply>>,
        forgotten: Mutex<Vec<u64>>,
    }

    fn reader(job: &Arc<Job>) -> Arc<Reader> {
        let (asked, told) = (job.clone(), job.clone());
        let ask = move |questions: Vec<(Question, Reply)>| {
            let mut open = asked.open.lock().unwrap();
            let number = |(_, reply)| {
                open.push(reply);
                open.len() as u64
            };
            Ok(questions.into_iter().map(number).collect())
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
    fn several_views_are_asked_as_of_one_batch() {
        let views = |query| whole_views(Some(query)).map(|all| all.into_iter().map(|q| (q.view, q.at)).collect::<Vec<_>>());
        let at = Some(BatchTime::from_millis(7));
        assert_eq!(views("view=a&at=7&view=b.c&view=a").unwrap(), [("a".to_owned(), at), ("b.c".into(), at)]);
        let many = (0..33).map(|n| format!("view=v{n}")).collect::<Vec<_>>().join("&");
        for (wrong, why) in [
            ("at=7", "0 views: name 1 to 32"),
            (&*many, "33 views"),
            ("view=a%20b", "view=a%20b: this is not"),
            ("view=a&at=now", "at=now: a batch time"),
            ("view=a&top=3", "top=3: there are view=NAME"),
        ] {
            assert!(views(wrong).unwrap_err().starts_with(why), "{wrong}: {:?}", views(wrong));
        }
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
