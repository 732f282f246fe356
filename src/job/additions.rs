//! Computations that are added to a running job: who waits for one, and which there are. `adding` is what the planner does with them, and
//! `added_dataflows` what a worker does.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use crate::core::added::{Added, Reply, Request};
use crate::core::error::{Error, Result};
use crate::core::lock::lock;
use crate::core::time::BatchTime;
use crate::job::protocol::Event;
use crate::job::shared::JobState;
use crate::live::description::Description;
use crate::live::parse::parse;

/// The most computations that run beside a program. Each costs memory, and time in every batch.
pub(crate) const MOST: usize = 32;
const ENDED: &str = "the job does not run (it has not opened its first batch, or has ended)";

/// Who waits, and what there is, in process 0.
#[derive(Default)]
pub(crate) struct Adders {
    next: AtomicU64,
    /// `None`: the job does not run.
    waiting: Mutex<Option<HashMap<u64, Reply>>>,
    running: Mutex<Vec<Added>>,
}

impl Adders {
    /// The job runs.
    pub fn open(&self) {
        *lock(&self.waiting) = Some(HashMap::new());
    }

    /// The job has ended.
    pub fn close(&self) {
        let waiting = lock(&self.waiting).take();
        waiting.into_iter().flat_map(HashMap::into_values).for_each(|reply| reply(Err(ENDED.into())));
    }

    pub fn reply(&self, id: u64, said: Result<Added, String>) {
        let reply = lock(&self.waiting).as_mut().and_then(|waiting| waiting.remove(&id));
        if let Some(reply) = reply {
            reply(said);
        }
    }

    /// The computations that run, oldest first.
    pub fn running(&self) -> Vec<Added> {
        lock(&self.running).clone()
    }

    pub fn runs(&self, added: Added) {
        lock(&self.running).push(added);
    }

    /// The computation of this name runs no longer.
    pub fn remove(&self, name: &str) {
        lock(&self.running).retain(|added| added.name != name);
    }
}

impl JobState {
    /// Asks the planner to add or remove a computation; `reply` hears of it on its thread.
    pub(crate) fn change_added(&self, request: Request, reply: Reply) -> Result<(), String> {
        if let Request::Add { text, .. } = &request {
            check_print(&parse(text)?)?;
        }
        let mut waiting = lock(&self.adders.waiting);
        let waiting = waiting.as_mut().ok_or(ENDED)?;
        if waiting.len() >= MOST {
            return Err(format!("{MOST} requests wait already; ask again later"));
        }
        let id = self.adders.next.fetch_add(1, Ordering::Relaxed);
        waiting.insert(id, reply);
        self.post(match request {
            Request::Add { text, keep } => Event::Add { id, text, keep },
            Request::Remove { name } => Event::Remove { id, name },
        });
        Ok(())
    }

    /// Adds or removes a computation, and waits for that. `what`: which one, for the error.
    pub(crate) fn change_added_now(&self, what: &str, request: Request) -> Result<Added> {
        let (tx, rx) = mpsc::channel();
        let reply = move |said| {
            let _ = tx.send(said);
        };
        let fault = |reason| Error::Added { what: what.into(), reason };
        self.change_added(request, Box::new(reply)).map_err(fault)?;
        rx.recv().unwrap_or_else(|_| Err(ENDED.into())).map_err(fault)
    }
}

/// `print` is for who adds from a terminal.
pub(crate) fn check_print(description: &Description) -> Result<(), String> {
    match description.print {
        true => Err(
            "print is for `tidemill add`, which prints the result in its terminal; leave it out, and ask the result by its name"
                .into(),
        ),
        false => Ok(()),
    }
}

/// The planner's side.
pub(crate) struct Additions {
    pub(super) adders: Arc<Adders>,
    /// The last batch that was closed.
    pub(super) newest: BatchTime,
}

impl Additions {
    pub fn new(adders: Arc<Adders>) -> Self {
        Additions { adders, newest: BatchTime::default() }
    }

    /// A batch is closed.
    pub fn closed(&mut self, end: BatchTime) {
        self.newest = end;
    }
}
