//! `checkpoint`: how often states are saved.

use std::time::Duration;

use crate::api::dstream::DStream;
use crate::engine::flow::Site;

impl<T> DStream<'_, T> {
    /// States are saved so often, where the job has a checkpoint directory: a multiple of the batch interval, else an error at
    /// start. A checkpoint is of all states at once, so the shortest interval of a program counts; without any it is ten seconds
    /// or the first multiple after. More often costs more writing, less often a longer recovery.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check;
    /// check([vec![1]], |s| s.checkpoint(millis(5)).count(), [vec![1]]);
    /// ```
    #[track_caller]
    pub fn checkpoint(&self, every: Duration) -> Self {
        self.node.graph.checkpoint_every(&Site::of("checkpoint"), every);
        self.clone()
    }
}
