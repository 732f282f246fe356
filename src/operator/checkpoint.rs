//! `checkpoint`: how often states are saved.

use std::time::Duration;

use crate::api::dstream::DStream;
use crate::engine::operator_id::OperatorId;

impl<T> DStream<'_, T> {
    /// This stream, in a program that saves its states at this interval, if the job has a checkpoint directory. The interval is a
    /// multiple of the batch interval, else the start fails. Default: ten seconds, rounded up to a multiple.
    ///
    /// A checkpoint holds all states at once, so the shortest interval of a program counts. A shorter interval costs more writing,
    /// a longer one more recovery time.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check;
    /// check([vec![1]], |s| s.checkpoint(millis(5)).count(), [vec![1]]);
    /// ```
    #[track_caller]
    pub fn checkpoint(&self, every: Duration) -> Self {
        self.node.graph.checkpoint_every(&OperatorId::of("checkpoint"), every);
        self.clone()
    }
}
