//! Corrections of a running job: who waits for one, and which are under way. `correcting` makes batches of them.
//!
//! A correction has a batch of its own. When the batch before it is sealed, sources stop reading (`Command::Seal` with `hold`). The batch is then
//! sealed with the records as a given range, so that it is in the plan log and runs again like any other. Between two corrections
//! sources have a batch.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};

use crate::core::correction::{Corrected, Correction, Reply};
use crate::core::data::BadRecord;
use crate::core::error::{Error, Result};
use crate::core::lock::lock;
use crate::core::time::BatchTime;
use crate::job::protocol::Event;
use crate::job::shared::JobState;

/// The most corrections that wait for their batch.
const MOST: usize = 1_000;
const ENDED: &str = "the job has ended, or it stops; correct the records after its next start";

/// Who waits for corrections, in this process.
#[derive(Default)]
pub(crate) struct Correctors {
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, Reply>>,
    ended: std::sync::atomic::AtomicBool,
}

impl Correctors {
    /// The job has ended.
    pub fn close(&self) {
        self.ended.store(true, Ordering::SeqCst);
        let waiting = std::mem::take(&mut *lock(&self.waiting));
        waiting.into_values().for_each(|reply| reply(Err(ENDED.into())));
    }

    fn reply(&self, id: u64, said: Result<Corrected, String>) {
        let reply = lock(&self.waiting).remove(&id);
        if let Some(reply) = reply {
            reply(said);
        }
    }
}

impl JobState {
    /// Asks for a correction; `reply` hears of it on the thread of the planner, when it is in a plan.
    pub(crate) fn correct(&self, correction: Correction, reply: Reply) -> Result<(), String> {
        correction.check()?;
        let correctors = &self.correctors;
        let mut waiting = lock(&correctors.waiting);
        if correctors.ended.load(Ordering::SeqCst) {
            return Err(ENDED.into());
        }
        if waiting.len() >= MOST {
            return Err(format!("{MOST} corrections wait for their batch already; correct again later"));
        }
        let id = correctors.next.fetch_add(1, Ordering::Relaxed);
        waiting.insert(id, reply);
        drop(waiting);
        self.post(Event::Correct { id, correction });
        Ok(())
    }

    /// Reads bad records once more, each for its batch.
    pub(crate) fn correct_all(&self, letters: &[BadRecord]) -> Result<Vec<Corrected>> {
        let mut all = Vec::new();
        for correction in Correction::all(letters) {
            let of = correction.of;
            let refused = |reason: String| Error::Correction { of, reason };
            let (tx, rx) = mpsc::channel();
            let reply = move |said| {
                let _ = tx.send(said);
            };
            self.correct(correction, Box::new(reply)).map_err(refused)?;
            all.push(rx.recv().unwrap_or_else(|_| Err(ENDED.into())).map_err(refused)?);
        }
        Ok(all)
    }
}

/// The planner's side.
pub(crate) struct Corrections {
    correctors: Arc<Correctors>,
    /// Each with its number and its source.
    pub(super) waiting: VecDeque<(u64, u32, Correction)>,
    /// Sources do not read: the open batch is for the first correction.
    pub(super) held: bool,
    /// Corrections that are sealed, and not in the plan log.
    pub(super) sealed: VecDeque<(u64, Corrected)>,
}

impl Corrections {
    pub fn new(correctors: Arc<Correctors>) -> Self {
        Corrections { correctors, waiting: VecDeque::new(), held: false, sealed: VecDeque::new() }
    }

    /// A batch of the sources is sealed. Whether the next one is for a correction.
    pub fn hold(&mut self) -> bool {
        self.held = !self.waiting.is_empty();
        self.held
    }

    /// Whether the open batch is for a correction.
    pub fn held(&self) -> bool {
        self.held
    }

    pub(super) fn refuse(&self, id: u64, why: String) {
        self.correctors.reply(id, Err(why));
    }

    /// The batch of this time is in the plan log.
    pub fn closed(&mut self, time: BatchTime) {
        while self.sealed.front().is_some_and(|(_, corrected)| corrected.batch <= time) {
            let Some((id, corrected)) = self.sealed.pop_front() else { break };
            let Corrected { of, batch, records, left } = &corrected;
            tracing::info!("batch of {batch}: a correction of the batch of {of}, with {records} records");
            if !left.is_empty() {
                tracing::warn!(
                    "batch of {batch}: these windows no longer hold the batch of {of}, and stay as they are: {}",
                    left.join(", ")
                );
            }
            self.correctors.reply(id, Ok(corrected));
        }
    }
}
