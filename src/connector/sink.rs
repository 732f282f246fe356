//! 5. Where results go. An output sees whole batches, in order, on the output thread of its process.
//!
//! Operators never do I/O: the kernel `attach` (operator/kernel/deliver.rs) sends the rows of a closed batch here. The thread runs
//! t before t+1, and within t the outputs in program order. A failed output is tried again with the same batch; then the job stops.

use crate::core::error::BoxError;
use crate::core::time::BatchTime;

/// One part of an output's batch: the rows of a source partition, or of a shard after an exchange.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Part<T> {
    /// The partition or shard.
    pub number: u32,
    /// Its rows, in the order in which they leave.
    pub rows: Vec<T>,
}

/// What an output does with a batch.
pub trait Output<T>: Send {
    /// Writes the batch. Called again with the same batch after an error, so it must not keep half of it.
    ///
    /// # Errors
    /// Anything: it is tried again, then the job stops with this batch not out.
    fn write(&mut self, time: BatchTime, parts: &[Part<T>]) -> Result<(), BoxError>;
}
