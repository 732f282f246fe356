//! The thread of a process that writes snapshots. Invariant: workers encode chunks of state, and never wait for a disk.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::mpsc::Receiver;

use crate::checkpoint::{ChunkWriter, Chunks};
use crate::core::error::{Error, Result};
use crate::core::time::BatchTime;
use crate::job::protocol::{Event, WorkerSnapshot};

/// What a worker sends to the thread.
pub(crate) enum ToWriter {
    /// The chunk files of the directory; each worker sends this once.
    Attach(Chunks),
    /// The state of one key group, for one of the worker's files. It replaces what the worker saved of this group after `since`.
    /// Empty `bytes`: no state remains of that part.
    Chunk { worker: u32, file: u32, time: BatchTime, operator: String, group: u32, since: BatchTime, bytes: Vec<u8> },
    /// The operator's chunks up to `until` have expired.
    Expired { worker: u32, time: BatchTime, operator: String, until: BatchTime },
    /// The worker's snapshot of `time` is complete.
    Done { worker: u32, time: BatchTime },
}

/// One worker's files of one snapshot.
#[derive(Default)]
struct Files {
    writers: BTreeMap<u32, ChunkWriter>,
    written: WorkerSnapshot,
    failure: Option<Error>,
}

impl Files {
    fn put(&mut self, chunks: Option<&Chunks>, (file, time): (u32, BatchTime), operator: &str, group: u32, bytes: &[u8]) {
        let mut write = || -> Result<()> {
            let chunks = chunks.ok_or_else(|| Error::bug("a snapshot of a job without a checkpoint directory"))?;
            let writer = match self.writers.entry(file) {
                Entry::Occupied(writer) => writer.into_mut(),
                Entry::Vacant(none) => none.insert(chunks.write(time, file)?),
            };
            writer.put(operator, group, bytes)
        };
        if self.failure.is_none() && !bytes.is_empty() {
            self.failure = write().err();
        }
    }

    fn finish(self) -> Result<WorkerSnapshot> {
        if let Some(e) = self.failure {
            return Err(e);
        }
        let mut written = self.written;
        for writer in self.writers.into_values() {
            written.index.extend(writer.finish()?);
        }
        Ok(written)
    }
}

/// Writes until all workers of the process have ended.
pub(crate) fn write(messages: Receiver<ToWriter>, post: impl Fn(Event)) {
    let mut to: Option<Chunks> = None;
    let mut files: BTreeMap<(u32, BatchTime), Files> = BTreeMap::new();
    for message in messages {
        match message {
            ToWriter::Attach(chunks) => to = Some(chunks),
            ToWriter::Chunk { worker, file, time, operator, group, since, bytes } => {
                let files = files.entry((worker, time)).or_default();
                files.put(to.as_ref(), (file, time), &operator, group, &bytes);
                files.written.replaced.push((operator, group, since));
            }
            ToWriter::Expired { worker, time, operator, until } => {
                files.entry((worker, time)).or_default().written.expired.push((operator, until));
            }
            ToWriter::Done { worker, time } => {
                let written = files.remove(&(worker, time)).unwrap_or_default().finish().map_err(|e| e.to_string());
                post(Event::Snapshot { worker: worker as usize, time, written });
            }
        }
    }
}
