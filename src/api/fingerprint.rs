//! What a library above this one says of its verbs: lines of the fingerprint, and what states are of. It also asks for its outputs.

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

    /// How many output operations the program has so far. The next one has this place in [`BatchInfo::outputs`](crate::metrics::BatchInfo::outputs).
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// let numbers = QueueSource::from_batches([vec![1]]);
    /// StreamingContext::builder("places", millis(5))
    ///     .without_checkpoint()
    ///     .run(move |ssc| {
    ///         assert_eq!(ssc.output_count(), 0);
    ///         ssc.queue_stream(&numbers).to_memory(&MemorySink::new());
    ///         assert_eq!(ssc.output_count(), 1);
    ///         Ok(())
    ///     })
    ///     .unwrap();
    /// ```
    pub fn output_count(&self) -> usize {
        self.graph.output_count()
    }

    /// Names the states of the verbs that `build` makes. A checkpoint finds them by the verb and this name, as in
    /// `fold_by_key of counts by word`, and not by their order in the program. Names may be in each other; the inner one counts.
    ///
    /// A library that makes verbs of something else, such as SQL, names each part. So a part that has changed does not take the state of
    /// another: the start lists the states that no part takes. States with the same name are numbered from the second one on.
    /// [`DStream::named`] names one state.
    ///
    /// [`DStream::named`]: crate::prelude::DStream::named
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// let words = QueueSource::from_batches([vec!["to".to_owned()]]);
    /// StreamingContext::builder("known", millis(5))
    ///     .without_checkpoint()
    ///     .run(move |ssc| {
    ///         let words = ssc.queue_stream(&words);
    ///         let counts = ssc.states_of("counts by word", || words.count_by_value().sum_by_key());
    ///         counts.update().to_memory(&MemorySink::new());
    ///         Ok(())
    ///     })
    ///     .unwrap();
    /// ```
    pub fn states_of<R>(&self, what: &str, build: impl FnOnce() -> R) -> R {
        let before = self.graph.set_states_of(Some(what.into()));
        let built = build();
        self.graph.set_states_of(before);
        built
    }
}
