//! The thread of a process that writes pieces of state: workers encode them, and never wait for a disk.

use std::collections::BTreeMap;
use std::sync::mpsc::Receiver;

use super::ledger::Written;
use crate::checkpoint::{PieceWriter, Pieces};
use crate::data::encoded;
use crate::error::{Error, Result};
use crate::plan::Report;
use crate::time::BatchTime;

/// What a worker says to the thread.
pub(crate) enum Piece {
    /// Where pieces go; said once by each worker.
    Attach(Pieces),
    /// The state of one key group; no bytes where nothing is left of it.
    Put { worker: u32, time: BatchTime, operator: String, group: u32, bytes: Vec<u8> },
    /// All of this worker's pieces for this time have been said.
    Done { worker: u32, time: BatchTime },
}

/// One worker's file for one checkpoint.
#[derive(Default)]
struct File {
    writer: Option<PieceWriter>,
    emptied: Vec<(String, u32)>,
    wrong: Option<Error>,
}

impl File {
    fn put(&mut self, pieces: Option<&Pieces>, (worker, time): (u32, BatchTime), operator: String, group: u32, bytes: &[u8]) {
        if bytes.is_empty() {
            return self.emptied.push((operator, group));
        }
        let mut write = || -> Result<()> {
            let pieces = pieces.ok_or_else(|| Error::config("pieces of a job without a checkpoint directory"))?;
            let writer = match &mut self.writer {
                Some(writer) => writer,
                none => none.insert(pieces.write(time, worker)?),
            };
            writer.put(&operator, group, bytes)
        };
        if self.wrong.is_none() {
            self.wrong = write().err();
        }
    }

    fn done(self) -> Result<Vec<u8>> {
        if let Some(e) = self.wrong {
            return Err(e);
        }
        let index = self.writer.map_or_else(|| Ok(Vec::new()), PieceWriter::finish)?;
        let written: Written = (index, self.emptied);
        Ok(encoded(&written))
    }
}

/// Works until all workers of the process are gone.
pub(crate) fn write(pieces: Receiver<Piece>, report: impl Fn(Report)) {
    let mut to: Option<Pieces> = None;
    let mut files: BTreeMap<(u32, BatchTime), File> = BTreeMap::new();
    for piece in pieces {
        match piece {
            Piece::Attach(pieces) => to = Some(pieces),
            Piece::Put { worker, time, operator, group, bytes } => {
                files.entry((worker, time)).or_default().put(to.as_ref(), (worker, time), operator, group, &bytes);
            }
            Piece::Done { worker, time } => {
                let written = files.remove(&(worker, time)).unwrap_or_default().done().map_err(|e| e.to_string());
                report(Report::Pieces { worker: worker as usize, time, written });
            }
        }
    }
}
