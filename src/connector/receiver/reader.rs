//! The worker's half of a receiver: starts it, and gives its rows.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::shared::Shared;
use super::supervisor::{self, Begin};
use super::{Own, Receiver};
use crate::checkpoint::received_log::ReceivedLog;
use crate::connector::received::Received;
use crate::connector::source::{Emit, Sealed, SourceReader, Waker};
use crate::core::error::{Error, Result};
use crate::core::plan::{Limits, RunId, Split, SplitRange};
use crate::core::thread::spawn;
use crate::metrics::ReceiverEvent;

/// How long the end of a job waits for a receiver that stops.
const FAREWELL: Duration = Duration::from_secs(5);

/// Reads the split of one receiver.
pub(super) struct ReceiverReader<R: Receiver> {
    split: Own,
    /// `None` after it was started.
    receiver: Option<R>,
    /// The checkpoint directory, if rows are logged.
    log: Option<PathBuf>,
    run: Option<RunId>,
    shared: Arc<Shared<R::Item>>,
    cursor: Received,
    /// Whether the split is this worker's, and whether its first position is known from the start.
    assigned: Option<bool>,
}

impl<R: Receiver> ReceiverReader<R> {
    pub fn new(receiver: R, split: Own, log: Option<PathBuf>, waker: Waker) -> Self {
        let shared = Shared::new(split.name().clone(), log.is_some(), waker);
        ReceiverReader { split, receiver: Some(receiver), log, run: None, shared, cursor: Received::default(), assigned: None }
    }

    /// Starts the receiver, once, from this record on.
    fn start(&mut self, from: i64) -> Result<()> {
        let Some(receiver) = self.receiver.take() else { return Ok(()) };
        let (shared, split) = (self.shared.clone(), self.split.clone());
        let log = self.log.take().zip(self.run);
        // A replay has no generation: it writes nothing.
        let receives = self.run.is_none_or(|run| run.generation > 0);
        let awaits = receives && self.assigned == Some(false);
        self.shared.begins(from);
        let begin = move || {
            let log = log.map(|(dir, run)| ReceivedLog::open(&dir, run, split.name())).transpose()?;
            Ok(Begin { from: from as u64, log, receives, awaits })
        };
        let spawned = spawn("tm-receiver", move || supervisor::run(receiver, &shared, begin)).map(drop);
        if spawned.is_err() {
            self.shared.ended();
        }
        spawned
    }

    #[cfg(test)]
    pub fn held(&self) -> usize {
        self.shared.held()
    }

    fn check(&self) -> Result<()> {
        self.shared.failure().map_or(Ok(()), Err)
    }
}

impl<R: Receiver> SourceReader<R::Item> for ReceiverReader<R> {
    fn assign(&mut self, split_id: u32, split: &Split, from: Option<i64>) -> Result<()> {
        self.split.check(split)?;
        self.cursor.assign(split_id, from);
        self.assigned = Some(from.is_some());
        Ok(())
    }

    fn begin(&mut self, run: RunId) -> Result<()> {
        self.run = Some(run);
        Ok(())
    }

    fn limit(&mut self, limits: Limits) {
        self.cursor.limit(&limits);
    }

    fn pause(&mut self, split_ids: &BTreeSet<u32>) {
        self.cursor.pause(split_ids);
    }

    fn read(&mut self, emit: &mut Emit<'_, R::Item>) -> Result<bool> {
        self.check()?;
        if self.assigned == Some(true) {
            self.start(self.cursor.given)?;
        }
        Ok(self.cursor.read(|n| self.shared.take(n), emit))
    }

    fn seal(&mut self, _: &mut Emit<'_, R::Item>) -> Result<Sealed> {
        self.check()?;
        Ok(self.cursor.seal(self.shared.ready()))
    }

    fn seal_last(&mut self, emit: &mut Emit<'_, R::Item>) -> Result<Sealed> {
        self.shared.end();
        self.cursor.drain(|n| self.shared.take(n), emit);
        self.seal(emit)
    }

    fn read_range(&mut self, _: u32, range: &SplitRange, emit: &mut Emit<'_, R::Item>) -> Result<bool> {
        self.check()?;
        if self.assigned == Some(false) && self.receiver.is_some() {
            self.cursor.given = range.from;
        }
        self.start(self.cursor.given)?;
        let name = || self.split.name().to_string();
        if self.split.is_logged() && !self.cursor.is_within_range() && self.cursor.given != range.from {
            let reason = format!("records from {} on are planned, but its next record is {}", range.from, self.cursor.given);
            return Err(Error::source(name(), reason));
        }
        if let Some(end) = self.shared.lock().end.filter(|end| range.until > *end) {
            let reason = format!("records up to {} are planned, but its log ends before record {end}", range.until);
            return Err(Error::source(name(), format!("{reason}: records are lost; restore received/ from a copy")));
        }
        Ok(self.cursor.read_range(range, |n| self.shared.take(n), emit))
    }

    fn on_committed(&mut self, _: u32, range: &SplitRange) {
        self.shared.written_until(range.until);
    }

    fn receiver_events(&mut self) -> Vec<ReceiverEvent> {
        self.shared.lock().events.drain(..).collect()
    }

    fn health(&self) -> Result<(), String> {
        self.shared.lock().trouble.clone().map_or(Ok(()), Err)
    }
}

impl<R: Receiver> Drop for ReceiverReader<R> {
    fn drop(&mut self) {
        self.shared.leave(FAREWELL);
    }
}
