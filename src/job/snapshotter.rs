//! The states of one worker: restores them before the first batch, and saves snapshots in small steps.

use std::collections::VecDeque;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use crate::api::config::Config;
use crate::checkpoint::{Chunks, DirectoryId};
use crate::core::error::{Error, Result};
use crate::core::fault;
use crate::core::plan::RunId;
use crate::core::time::BatchTime;
use crate::engine::state::{SavedChunk, State};
use crate::job::protocol::{Command, Restore};
use crate::job::snapshot_writer::ToWriter;

/// The maximum duration of one step, because batches may be waiting.
const FUEL: Duration = Duration::from_millis(2);

/// Loads and saves the states of one worker.
pub(crate) struct Snapshotter<'a> {
    config: &'a Config,
    states: Vec<State>,
    worker: usize,
    /// To the thread that writes snapshots; set if the job has a checkpoint directory.
    writer: Option<Sender<ToWriter>>,
    /// Snapshots that are being saved, oldest first.
    pending: VecDeque<BatchTime>,
}

impl<'a> Snapshotter<'a> {
    pub fn new(config: &'a Config, states: Vec<State>, worker: usize, writer: Option<Sender<ToWriter>>) -> Self {
        Snapshotter { config, states, worker, writer, pending: VecDeque::new() }
    }

    /// Executes the part of a command that concerns states.
    ///
    /// # Errors
    /// A chunk cannot be loaded, or this host does not share the directory.
    pub fn obey(&mut self, command: &Command) -> Result<()> {
        match command {
            Command::Restore { what, run, .. } => self.restore(*run, what),
            Command::Close { record, snapshot: Some(_), .. } => {
                fault::point(fault::FaultPoint::Cut);
                self.pending.push_back(record.end(self.config.interval.millis()));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn restore(&self, run: RunId, what: &Restore) -> Result<()> {
        let replay = self.config.replay.as_ref();
        let Some(dir) = self.config.runtime.checkpoint.as_ref().or(replay.map(|r| &r.dir)) else { return Ok(()) };
        let id = DirectoryId(run.directory);
        let chunks = match &what.lease {
            Some(lease) => Chunks::attach(dir, id, lease)?,
            None => Chunks::read_only(dir, id)?,
        };
        fault::point(fault::FaultPoint::RestoreBefore);
        for (name, groups) in &what.states {
            let Some(state) = self.states.iter().find(|s| s.name == *name) else { continue };
            state.handle.restore();
            for (group, list) in groups.iter().filter(|(g, _)| self.owns(u64::from(**g))) {
                for chunk in list {
                    let wrong =
                        |e| Error::checkpoint(chunk.file.to_string(), format!("the state of \"{name}\" cannot be read: {e}"));
                    state.handle.load(*group, chunk.file.time, &chunks.read(name, *group, chunk)?).map_err(wrong)?;
                    fault::point(fault::FaultPoint::RestorePiece);
                }
            }
        }
        if let Some(writer) = &self.writer {
            let _ = writer.send(ToWriter::Attach(chunks));
        }
        Ok(())
    }

    /// Whether this worker owns the key group.
    fn owns(&self, group: u64) -> bool {
        group as usize % self.config.peers() == self.worker
    }

    /// Saves a little of the oldest pending snapshot. Returns whether there is more.
    pub fn step(&mut self) -> bool {
        let (Some(&time), Some(writer)) = (self.pending.front(), &self.writer) else { return false };
        let until = Instant::now() + FUEL;
        let mut more = true;
        while more && Instant::now() < until {
            more = self.states.iter().any(|s| s.handle.step());
        }
        let worker = self.worker as u32;
        for state in &self.states {
            // Deltas live long. In a separate file, they do not keep the files of other chunks alive.
            let file = if state.handle.has_deltas() { self.config.peers() as u32 + worker } else { worker };
            for saved in state.handle.saved() {
                let operator = state.name.clone();
                let _ = writer.send(match saved {
                    SavedChunk::Chunk { time, group, since, bytes } => {
                        ToWriter::Chunk { worker, file, time, operator, group: group as u32, since, bytes }
                    }
                    SavedChunk::Expired { time, until } => ToWriter::Expired { worker, time, operator, until },
                });
            }
        }
        if self.states.iter().all(|s| s.handle.has_saved(time)) {
            self.pending.pop_front();
            let _ = writer.send(ToWriter::Done { worker, time });
        }
        more
    }
}
