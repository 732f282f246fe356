//! Asks a view of a running job.

use std::sync::mpsc;
use std::time::Duration;

use serde::Serialize;

use crate::core::error::{Error, Result};
use crate::core::question::{Answer, Filter, Question, Reply};
use crate::core::time::BatchTime;
use crate::job::protocol::Event;
use crate::job::shared::JobState;

/// How long [`Query::ask`] waits. A scan of a million rows takes seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// A question to a view of a running job. [`JobHandle::query`](crate::job::JobHandle::query) begins it.
///
/// ```
/// use tidemill::prelude::*;
/// let words = QueueSource::new();
/// let (feed, seen) = (words.clone(), MemorySink::new());
/// let sink = seen.clone();
/// let job = StreamingContext::builder("words", millis(5)).start(move |ssc| {
///     let counts = ssc.queue_stream(&words).count_by_value().sum_by_key();
///     counts.queryable("counts").history(1_000);
///     counts.update().to_memory(&sink);
///     Ok(())
/// })?;
/// feed.push(["tide", "mill", "time", "tide"].map(str::to_string).to_vec());
/// while seen.rows().len() < 3 {
///     std::thread::yield_now();
/// }
/// let first = job.query("counts").key("tide").ask()?;
/// assert_eq!(first.rows_as::<(String, i64)>().unwrap(), [("tide".to_string(), 2)]);
/// assert_eq!(job.query("counts").top(1).ask()?.rows, first.rows);
/// assert_eq!(job.query("counts").prefix("ti").limit(1).ask()?.matched, 2);
/// assert_eq!(job.query("counts").key("tide").at(first.time).ask()?, first);
/// job.stop_now()?;
/// # Ok::<(), tidemill::Error>(())
/// ```
#[must_use = "a question is not asked before `ask`"]
pub struct Query<'j> {
    job: &'j JobState,
    question: Question,
    /// A setting that cannot be.
    problem: Option<String>,
}

impl<'j> Query<'j> {
    pub(crate) fn new(job: &'j JobState, view: &str) -> Self {
        Query { job, question: Question::all(view), problem: None }
    }

    /// As of this batch time, which must be held. Default: the newest batch.
    pub fn at(mut self, time: BatchTime) -> Self {
        self.question.at = Some(time);
        self
    }

    /// Only rows with this key: the first element of a row that is a tuple, or the row itself.
    pub fn key(mut self, key: impl Serialize) -> Self {
        match serde_json::to_string(&key) {
            Ok(json) => self.question.filter = Filter::Key(json),
            Err(e) => self.problem = Some(format!("the key has no JSON: {e}")),
        }
        self
    }

    /// Only rows whose key is a text that begins so.
    pub fn prefix(mut self, prefix: &str) -> Self {
        self.question.filter = Filter::Prefix(prefix.into());
        self
    }

    /// Only rows with a key from `from` on and before `until`: numbers by their value, texts by their letters, tuples part by part.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// let numbers = QueueSource::new();
    /// let (feed, seen) = (numbers.clone(), MemorySink::new());
    /// let sink = seen.clone();
    /// let job = StreamingContext::builder("between", millis(5)).start(move |ssc| {
    ///     let all = ssc.queue_stream(&numbers).accumulate();
    ///     all.queryable("all");
    ///     all.update().to_memory(&sink);
    ///     Ok(())
    /// })?;
    /// feed.push(vec![3i64, 10, 9, 11]);
    /// while seen.rows().len() < 4 {
    ///     std::thread::yield_now();
    /// }
    /// assert_eq!(job.query("all").between(9, 11).top(10).ask()?.rows_as::<i64>().unwrap(), [10, 9]);
    /// job.stop_now()?;
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn between(mut self, from: impl Serialize, until: impl Serialize) -> Self {
        match (serde_json::to_string(&from), serde_json::to_string(&until)) {
            (Ok(from), Ok(until)) => self.question.filter = Filter::Range(Some(from), Some(until)),
            (Err(e), _) | (_, Err(e)) => self.problem = Some(format!("a key has no JSON: {e}")),
        }
        self
    }

    /// The `n` rows with the largest last number, the largest first.
    pub fn top(mut self, n: u32) -> Self {
        (self.question.top, self.question.limit) = (true, n);
        self
    }

    /// At most this many rows (default: 100, at most 10,000). Without [`top`](Query::top), the first by their JSON text.
    pub fn limit(mut self, rows: u32) -> Self {
        self.question.limit = rows;
        self
    }

    /// Asks all workers, and waits for the answer, at most a minute. Batches go on meanwhile.
    ///
    /// # Errors
    /// [`Error::Query`]: no view has this name, the batch is not held, or the job does not run. Only process 0 of a job can ask.
    pub fn ask(self) -> Result<Answer> {
        let (tx, rx) = mpsc::channel();
        let view = self.question.view.clone();
        let fault = |reason: String| Error::Query { view, reason };
        let reply = move |answer| {
            // Who asked may have given up.
            let _ = tx.send(answer);
        };
        let asked = self.problem.map_or_else(|| self.question.check(), Err);
        let asked = asked.and_then(|()| self.job.ask(vec![(self.question, Box::new(reply))]));
        if let Err(reason) = asked {
            return Err(fault(reason));
        }
        match rx.recv_timeout(PATIENCE) {
            Ok(answer) => answer.map(Answer::new).map_err(fault),
            Err(_) => Err(fault(format!("there is no answer after {} s", PATIENCE.as_secs()))),
        }
    }
}

impl JobState {
    /// Asks questions, which are answered as of one batch unless they name others. Each reply gets its answer on the thread of the planner. Returns
    /// the numbers of the questions.
    pub(crate) fn ask(&self, questions: Vec<(Question, Reply)>) -> Result<Vec<u64>, String> {
        let mut asked = Vec::new();
        for (question, reply) in questions {
            match self.askers.add(&question.view, reply) {
                Ok(id) => asked.push((id, question)),
                Err(why) => {
                    asked.iter().for_each(|(id, _)| self.askers.forget(*id));
                    return Err(why);
                }
            }
        }
        let ids = asked.iter().map(|(id, _)| *id).collect();
        self.post(Event::Ask { asked });
        Ok(ids)
    }

    /// Nobody waits for the answer to this question any more, or follows a view since it.
    pub(crate) fn forget(&self, id: u64) {
        self.askers.forget(id);
        self.post(Event::Forget { id });
    }
}
