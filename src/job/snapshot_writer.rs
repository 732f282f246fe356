//! The thread of a process that writes pieces of state: workers encode them, and never wait for a disk.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::mpsc::Receiver;

use crate::checkpoint::{PieceWriter, Pieces};
use crate::core::data::encoded;
use crate::core::error::{Error, Result};
use crate::core::plan::Report;
use crate::core::time::BatchTime;
use crate::job::checkpoint_coordinator::Written;

/// What a worker says to the thread.
pub(crate) enum Piece {
    /// Where pieces go; said once by each worker.
    Attach(Pieces),
    /// The state of one key group, for one of the worker's files: in the place of what the worker saved of it after `since`.
    /// No bytes where nothing is left of that.
    Put { worker: u32, file: u32, time: BatchTime, operator: String, group: u32, since: BatchTime, bytes: Vec<u8> },
    /// Pieces of this operator until then are needed no more.
    Gone { worker: u32, time: BatchTime, operator: String, until: BatchTime },
    /// All of this worker's pieces for this time have been said.
    Done { worker: u32, time: BatchTime },
}

/// One worker's files for one checkpoint.
#[derive(Default)]
struct Files {
    writers: BTreeMap<u32, PieceWriter>,
    written: Written,
    wrong: Option<Error>,
}

impl Files {
    fn put(&mut self, pieces: Option<&Pieces>, (file, time): (u32, BatchTime), operator: &str, group: u32, bytes: &[u8]) {
        let mut write = || -> Result<()> {
            let pieces = pieces.ok_or_else(|| Error::bug("pieces of a job without a checkpoint directory"))?;
            let writer = match self.writers.entry(file) {
                Entry::Occupied(writer) => writer.into_mut(),
                Entry::Vacant(none) => none.insert(pieces.write(time, file)?),
            };
            writer.put(operator, group, bytes)
        };
        if self.wrong.is_none() && !bytes.is_empty() {
            self.wrong = write().err();
        }
    }

    fn done(self) -> Result<Vec<u8>> {
        if let Some(e) = self.wrong {
            return Err(e);
        }
        let mut written = self.written;
        for writer in self.writers.into_values() {
            written.index.extend(writer.finish()?);
        }
        Ok(encoded(&written))
    }
}

/// Works until all workers of the process are gone.
pub(crate) fn write(pieces: Receiver<Piece>, report: impl Fn(Report)) {
    let mut to: Option<Pieces> = None;
    let mut files: BTreeMap<(u32, BatchTime), Files> = BTreeMap::new();
    for piece in pieces {
        match piece {
            Piece::Attach(pieces) => to = Some(pieces),
            Piece::Put { worker, file, time, operator, group, since, bytes } => {
                let files = files.entry((worker, time)).or_default();
                files.put(to.as_ref(), (file, time), &operator, group, &bytes);
                files.written.replaced.push((operator, group, since));
            }
            Piece::Gone { worker, time, operator, until } => {
                files.entry((worker, time)).or_default().written.gone.push((operator, until));
            }
            Piece::Done { worker, time } => {
                let written = files.remove(&(worker, time)).unwrap_or_default().done().map_err(|e| e.to_string());
                report(Report::Pieces { worker: worker as usize, time, written });
            }
        }
    }
}
