//! Questions to the views of a job: who waits for an answer, and what the planner does with questions and parts of answers.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::core::lock::lock;
use crate::core::question::{Part, Question, Reply};
use crate::core::time::BatchTime;
use crate::job::protocol::Command;

/// The most questions that wait for an answer.
const MOST: usize = 1_000;

/// The askers of this process.
#[derive(Default)]
pub(crate) struct Askers {
    next: AtomicU64,
    /// `None`: the job has ended.
    waiting: Mutex<Option<HashMap<u64, Reply>>>,
    views: Mutex<Vec<String>>,
}

impl Askers {
    /// The job runs, and these views answer.
    pub fn open(&self, views: Vec<String>) {
        *lock(&self.views) = views;
        *lock(&self.waiting) = Some(HashMap::new());
    }

    /// The job has ended: who waits hears nothing but that.
    pub fn close(&self) {
        let waiting = lock(&self.waiting).take();
        for reply in waiting.into_iter().flat_map(HashMap::into_values) {
            reply(Err(ENDED.into()));
        }
    }

    /// The names of the views that answer.
    pub fn views(&self) -> Vec<String> {
        lock(&self.views).clone()
    }

    fn check(&self, view: &str) -> Result<(), String> {
        let views = lock(&self.views);
        if views.iter().any(|name| name == view) {
            return Ok(());
        }
        let views = if views.is_empty() { "none is; call View::queryable".into() } else { views.join(", ") };
        Err(format!("no view is queryable as {view:?}; there are: {views}"))
    }

    /// A new asker; returns its number, under which the answer comes.
    pub fn add(&self, view: &str, reply: Reply) -> Result<u64, String> {
        let mut waiting = lock(&self.waiting);
        let waiting = waiting.as_mut().ok_or(ENDED)?;
        self.check(view)?;
        if waiting.len() >= MOST {
            return Err(format!("{MOST} questions wait for an answer already; ask again later"));
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        waiting.insert(id, reply);
        Ok(id)
    }

    /// This asker has gone.
    pub fn forget(&self, id: u64) {
        drop(lock(&self.waiting).as_mut().and_then(|waiting| waiting.remove(&id)));
    }

    fn reply(&self, id: u64, answer: Result<(BatchTime, Part), String>) {
        let reply = lock(&self.waiting).as_mut().and_then(|waiting| waiting.remove(&id));
        if let Some(reply) = reply {
            reply(answer);
        }
    }
}

const ENDED: &str = "the job does not run (it has not opened its first batch, or has ended)";

/// The planner's side.
pub(crate) struct Questions {
    askers: Arc<Askers>,
    /// The names of the views that answer.
    views: Vec<String>,
    workers: usize,
    open: BTreeMap<u64, Open>,
    /// Questions, each with the batch that must be computed first; `None`: any.
    waiting: Vec<(u64, Question, Option<BatchTime>)>,
    /// Batches that are closed and not known to be computed, oldest first, and the newest computed one.
    closed: VecDeque<BatchTime>,
    computed: Option<BatchTime>,
}

struct Open {
    question: Question,
    at: BatchTime,
    /// How many workers have not answered.
    missing: usize,
    part: Result<Part, String>,
}

impl Questions {
    pub fn new(askers: Arc<Askers>, views: Vec<String>, workers: usize) -> Self {
        Questions { askers, views, workers, open: BTreeMap::new(), waiting: Vec::new(), closed: VecDeque::new(), computed: None }
    }

    /// The first batch is about to open: views answer from now on. `restored`: the time of the checkpoint that was loaded.
    pub fn begin(&mut self, restored: Option<BatchTime>) {
        self.closed.extend(restored);
        self.askers.open(std::mem::take(&mut self.views));
    }

    /// The views that answer.
    pub fn views(&self) -> Vec<String> {
        self.askers.views()
    }

    /// A view answers from now on.
    pub fn answers(&self, view: &str) {
        lock(&self.askers.views).push(view.into());
    }

    /// A view answers no longer, also those who wait.
    pub fn removed(&mut self, view: &str) {
        lock(&self.askers.views).retain(|name| name != view);
        let waiting = self.waiting.extract_if(.., |(_, question, _)| question.view == view).map(|(id, ..)| id);
        let open = self.open.iter().filter(|(_, open)| open.question.view == view).map(|(id, _)| *id);
        let gone: Vec<u64> = waiting.chain(open).collect();
        for id in gone {
            self.open.remove(&id);
            self.askers.reply(id, Err(format!("{view} has been removed from the job")));
        }
    }

    /// A batch is closed.
    pub fn closed(&mut self, end: BatchTime) {
        self.closed.push_back(end);
    }

    /// All batches before this time are computed. Returns the questions that waited for it, as commands to the workers.
    pub fn computed(&mut self, before: BatchTime) -> Vec<Command> {
        while let Some(end) = self.closed.front().copied().filter(|end| *end < before) {
            self.closed.pop_front();
            self.computed = Some(end);
        }
        let Some(newest) = self.computed else { return Vec::new() };
        let ready = self.waiting.extract_if(.., |(_, _, after)| after.is_none_or(|after| after <= newest));
        let ready: Vec<(u64, Question)> = ready.map(|(id, question, _)| (id, question)).collect();
        ready.into_iter().map(|(id, question)| self.command(id, question, newest)).collect()
    }

    /// Takes a question. It waits until all batches are computed that are closed now: what an output has shown is in the answer. Returns
    /// the command to the workers if it need not wait.
    pub fn ask(&mut self, id: u64, question: Question) -> Option<Command> {
        if let Err(why) = self.askers.check(&question.view) {
            self.askers.reply(id, Err(why));
            return None;
        }
        let newest = self.closed.back().copied().or(self.computed);
        if let (Some(at), Some(newest)) = (question.at, newest)
            && at > newest
        {
            let why = format!("the batch of {} is not closed yet: the newest is {}", at.millis(), newest.millis());
            self.askers.reply(id, Err(why));
            return None;
        }
        match self.computed {
            Some(computed) if newest == Some(computed) => Some(self.command(id, question, computed)),
            _ => {
                self.waiting.push((id, question, newest));
                None
            }
        }
    }

    fn command(&mut self, id: u64, question: Question, newest: BatchTime) -> Command {
        let at = question.at.unwrap_or(newest);
        self.open.insert(id, Open { question: question.clone(), at, missing: self.workers, part: Ok(Part::default()) });
        Command::Ask { id, at, question }
    }

    /// An asker has gone. Returns the command to the workers, which may look for it still, or hold a batch.
    pub fn forget(&mut self, id: u64) -> Command {
        self.waiting.retain(|(waiting, ..)| *waiting != id);
        self.open.remove(&id);
        Command::Forget { id }
    }

    /// Takes the part of one worker, and replies when it is the last one.
    pub fn answered(&mut self, id: u64, part: Result<Part, String>) {
        let Some(open) = self.open.get_mut(&id) else { return };
        open.missing -= 1;
        match (&mut open.part, part) {
            (Ok(all), Ok(part)) => all.add(part, open.question.limit),
            (all @ Ok(_), Err(why)) => *all = Err(why),
            (Err(_), _) => {}
        }
        if open.missing == 0
            && let Some(Open { at, part, .. }) = self.open.remove(&id)
        {
            self.askers.reply(id, part.map(|part| (at, part)));
        }
    }
}
