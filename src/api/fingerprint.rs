//! Lines of the fingerprint that a library above this one adds.

use crate::api::context::StreamingContext;

impl StreamingContext<'_> {
    /// Adds a line to the fingerprint of the program, which processes compare when they meet: for what a library above this one knows of its
    /// verbs, and no operator here tells. Checkpoints do not have it.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// let numbers = QueueSource::from_batches([vec![1]]);
    /// StreamingContext::builder("told", millis(5))
    ///     .without_checkpoint()
    ///     .run(move |ssc| {
    ///         ssc.add_to_fingerprint("map (words.py:3) 5a1b");
    ///         ssc.queue_stream(&numbers).to_memory(&MemorySink::new());
    ///         Ok(())
    ///     })
    ///     .unwrap();
    /// ```
    pub fn add_to_fingerprint(&self, line: impl Into<String>) {
        self.graph.add_line(line.into());
    }
}
