//! States on one worker, in and out: what is loaded before the first batch, and what a checkpoint takes, a little at a time.

use std::collections::{BTreeMap, VecDeque};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::api::config::Config;
use crate::checkpoint::{DirectoryId, Groups, Lease, Pieces};
use crate::core::error::{Error, Result};
use crate::core::fault;
use crate::core::plan::{Order, RunId};
use crate::core::time::BatchTime;
use crate::engine::state::{Saved, State};
use crate::job::snapshot_writer::Piece;

/// How long states are saved at a time while batches may be waiting.
const FUEL: Duration = Duration::from_millis(2);

/// What every worker is told of the checkpoint directory before the first batch.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Restore {
    /// Who has taken it: each process proves by it that it sees the same directory. Nobody, where it is only read.
    pub lease: Option<Lease>,
    /// The pieces to load, by operator.
    pub states: BTreeMap<String, Groups>,
}

/// The states of one worker.
pub(crate) struct States<'a> {
    config: &'a Config,
    states: Vec<State>,
    worker: usize,
    /// To the thread that writes pieces; there is one if there is a checkpoint directory.
    pieces: Option<Sender<Piece>>,
    /// Cuts that are being saved, the oldest first.
    cuts: VecDeque<BatchTime>,
}

impl<'a> States<'a> {
    pub fn new(config: &'a Config, states: Vec<State>, worker: usize, pieces: Option<Sender<Piece>>) -> Self {
        States { config, states, worker, pieces, cuts: VecDeque::new() }
    }

    /// Takes what orders say of states.
    ///
    /// # Errors
    /// A piece that cannot be loaded; a directory that this host does not share.
    pub fn order(&mut self, order: &Order) -> Result<()> {
        match order {
            Order::Restore { what, run, .. } => self.restore(*run, what),
            Order::Close { plan, run, cut: Some(_), .. } => {
                fault::point(fault::FaultPoint::Cut);
                let end = plan.time.millis() + u64::from(*run) * self.config.interval.millis();
                self.cuts.push_back(BatchTime::from_millis(end));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn restore(&self, run: RunId, what: &[u8]) -> Result<()> {
        let replay = self.config.replay.as_ref();
        let Some(dir) = self.config.runtime.checkpoint.as_ref().or(replay.map(|r| &r.dir)) else { return Ok(()) };
        let restore: Restore = postcard::from_bytes(what).map_err(|e| Error::Cluster(format!("an order cannot be read: {e}")))?;
        let id = DirectoryId(run.directory);
        let pieces = match &restore.lease {
            Some(lease) => Pieces::attach(dir, id, lease)?,
            None => Pieces::look(dir, id)?,
        };
        fault::point(fault::FaultPoint::RestoreBefore);
        for (name, groups) in restore.states {
            let Some(state) = self.states.iter().find(|s| s.name == name) else { continue };
            for (group, list) in groups.iter().filter(|(g, _)| **g as usize % self.config.peers() == self.worker) {
                for piece in list {
                    let wrong =
                        |e| Error::checkpoint(piece.file.to_string(), format!("the state of \"{name}\" cannot be read: {e}"));
                    state.owner.load(*group, piece.file.time, &pieces.read(&name, *group, piece)?).map_err(wrong)?;
                    fault::point(fault::FaultPoint::RestorePiece);
                }
            }
        }
        if let Some(to) = &self.pieces {
            let _ = to.send(Piece::Attach(pieces));
        }
        Ok(())
    }

    /// Saves a little of what a cut wants. `true`: there is more.
    pub fn step(&mut self) -> bool {
        let (Some(&time), Some(to)) = (self.cuts.front(), &self.pieces) else { return false };
        let until = Instant::now() + FUEL;
        let mut more = true;
        while more && Instant::now() < until {
            more = self.states.iter().any(|s| s.owner.step());
        }
        let worker = self.worker as u32;
        for state in &self.states {
            // Pieces that are added to one another stay for long: in a file of their own they keep nothing else.
            let file = if state.owner.adds() { self.config.peers() as u32 + worker } else { worker };
            for saved in state.owner.saved() {
                let operator = state.name.clone();
                let _ = to.send(match saved {
                    Saved::Piece { cut: time, group, since, bytes } => {
                        Piece::Put { worker, file, time, operator, group: group as u32, since, bytes }
                    }
                    Saved::Gone { cut: time, until } => Piece::Gone { worker, time, operator, until },
                });
            }
        }
        if self.states.iter().all(|s| s.owner.has_cut(time)) {
            self.cuts.pop_front();
            let _ = to.send(Piece::Done { worker, time });
        }
        more
    }
}
