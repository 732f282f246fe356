//! `Builder::max_bad` and `max_bad_in_a_row`: how many bad records a batch may have, and how many may follow one another.

use crate::api::builder::Builder;
use crate::api::max_bad::MaxBad;

impl Builder {
    /// The most bad records that a fallible verb may find in one batch. Default: no limit.
    ///
    /// More end the job with [`Error::TooManyBad`](crate::Error::TooManyBad). No output that reads the verb, its good records or its bad
    /// ones, gets this batch. A job with a checkpoint directory runs the batch again when it starts again. So the verb must be mended, or
    /// the limit raised, before it goes on. Each batch then waits until all workers have told how many bad records they found.
    ///
    /// `--max-bad` is the same setting.
    ///
    /// ```
    /// use tidemill::api::max_bad::MaxBad;
    /// use tidemill::prelude::*;
    /// let (lines, seen) = (QueueSource::from_batches([vec!["1", "x"], vec!["y", "z"]]), MemorySink::new());
    /// let out = seen.clone();
    /// let job = StreamingContext::builder("strict", millis(5)).without_checkpoint().max_bad(MaxBad::Percent(50.0));
    /// let ended = job.run(move |ssc| {
    ///     ssc.queue_stream(&lines).try_map(|text| Ok(text.parse::<i64>()?)).to_memory(&out);
    ///     Ok(())
    /// });
    /// assert!(matches!(ended, Err(Error::TooManyBad { bad: 2, rows: 2, .. })));
    /// assert!(seen.rows().iter().all(|n| *n == 1), "nothing of the second batch is out");
    /// ```
    pub fn max_bad(self, most: MaxBad) -> Self {
        self.option("max_bad", Some(most), |r| &mut r.max_bad)
    }

    /// The most bad records in a row that a fallible verb may find in a partition. Default: no limit.
    ///
    /// They are counted in the order of the rows that the verb reads, for each partition of the source, over batches: a good row ends a
    /// row of bad ones. Rows without a lasting partition, such as those of files or behind a verb by key, are one sequence. A checkpoint has the
    /// counts, so a restart continues them. More end the job with [`Error::TooManyBadInARow`](crate::Error::TooManyBadInARow), as
    /// [`max_bad`](Builder::max_bad) does: the batch is not out. Both limits may be set.
    ///
    /// `--max-bad-in-a-row` is the same setting.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// let (lines, seen) = (QueueSource::from_batches([vec!["x", "1", "y"], vec!["z"], vec!["2"]]), MemorySink::new());
    /// let out = seen.clone();
    /// let job = StreamingContext::builder("strict", millis(5)).without_checkpoint().max_bad_in_a_row(1);
    /// let ended = job.run(move |ssc| {
    ///     ssc.queue_stream(&lines).try_map(|text| Ok(text.parse::<i64>()?)).to_memory(&out);
    ///     Ok(())
    /// });
    /// assert!(matches!(ended, Err(Error::TooManyBadInARow { bad: 2, .. })));
    /// assert!(!seen.rows().contains(&2), "y and z follow one another, so the job ended");
    /// ```
    pub fn max_bad_in_a_row(self, most: u64) -> Self {
        self.option("max_bad_in_a_row", Some(most), |r| &mut r.max_bad_in_a_row)
    }
}
