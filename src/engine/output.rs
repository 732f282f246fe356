//! What goes to the output thread of a process: outputs as they are registered, the rows of their batches, and what an output
//! does that promises to write each batch exactly once.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde::{Deserialize, Serialize};

use crate::core::error::{BoxError, Result};
use crate::core::plan::{Progress, Tick};
use crate::core::time::BatchTime;

/// What an output operation writes with: on the output thread, whole batches, again after an error.
pub(crate) type Write = Box<dyn FnMut(&Tick, &mut [Box<dyn Any + Send>]) -> Result<(), BoxError> + Send>;

/// A message to the output thread of this process.
pub(crate) enum Delivery {
    /// One worker has built its graph: these are the outputs, in program order; what is absent is written elsewhere.
    Built { outputs: Vec<OutputSpec> },
    /// The job has its checkpoint directory: outputs that are exactly once find out how far they are.
    Begin(Life),
    /// One worker's rows of one batch for one output; `None`: the view does not leave at this time, or it is not shown.
    Part { output: usize, plan: Arc<Tick>, rows: Option<Box<dyn Any + Send>>, bytes: usize },
}

/// Which run of which checkpoint directory this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Life {
    pub directory: u128,
    pub generation: u64,
}

/// One output operation, as one worker registers it.
pub(crate) struct OutputSpec {
    pub name: String,
    /// How many workers of this process send a part of each batch.
    pub parts: usize,
    pub write: Write,
    pub out: Completion,
}

/// When a batch that an output was given is out.
#[cfg_attr(not(feature = "kafka"), allow(dead_code, reason = "only sinks of Kafka are through a batch later than they write it"))]
pub(crate) enum Completion {
    /// When it is written.
    Written,
    /// When its rows are delivered; batches may be on their way together.
    Delivered(Box<dyn Receipts>),
    /// When it is committed.
    Committed(Box<dyn Promise>),
}

impl Completion {
    pub fn promise(&self) -> Option<&dyn Promise> {
        if let Completion::Committed(promise) = self { Some(&**promise) } else { None }
    }
}

/// What comes back from where rows are sent to.
pub(crate) trait Receipts: Send {
    /// Whether every row up to the batch of this time has arrived. Does not wait.
    ///
    /// # Errors
    /// Some row has not, and will not: all that is not known to have arrived has to be written again.
    fn arrived(&mut self, time: BatchTime) -> Result<bool, BoxError>;
}

/// A sink that writes each batch exactly once. What `write` was given it keeps until `commit` says that it is out for ever.
pub(crate) trait Promise: Send {
    /// The sink's name, the same in every run, and its shards, fixed when the checkpoint directory is made.
    fn sink(&self) -> (String, u32);

    /// How many batches one commit may hold.
    fn most(&self) -> usize;

    /// Before the first batch: shuts out whoever wrote the shards of this process before, then finds how far each is. Gives up
    /// soon after the job is `over`.
    ///
    /// # Errors
    /// Whatever makes the promise impossible: the job does not start.
    fn begin(&mut self, life: Life, over: &Arc<AtomicBool>) -> Result<Vec<Progress>>;

    /// All rows of this batch were written; also said of batches without rows.
    fn through(&mut self, tick: &Tick);

    /// Makes all batches up to the last one definite. Called again after an error that is not [`Final`].
    ///
    /// # Errors
    /// It is not known to be out.
    fn commit(&mut self) -> Result<(), BoxError>;
}

/// An error after which nothing is tried again.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Final(pub String);
