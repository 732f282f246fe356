//! `OperatorInfo`: what the workers did in one operator for one batch.

use std::ops::AddAssign;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

#[cfg(any(test, feature = "http"))]
use crate::metrics::batch::BatchInfo;

/// What all workers did in one operator for one batch.
///
/// An operator is a verb with the line that called it, or a step that tidemill adds to a verb of a [`View`](crate::prelude::View):
/// `numbered` gives rows their codes, `arranged` keeps them, `count` counts them, `codes` and `names` make rows of codes. The last one,
/// `timely and differential`, is what a worker did outside of these: the exchange between workers, and joins and reductions of views.
///
/// ```
/// use tidemill::prelude::*;
/// let numbers = QueueSource::from_batches([vec![1, 2, 3]]);
/// let job = StreamingContext::builder("operators", millis(5)).without_checkpoint().start(move |ssc| {
///     ssc.queue_stream(&numbers).filter(|n| n % 2 == 1).to_memory(&MemorySink::new());
///     Ok(())
/// })?;
/// assert!(job.await_termination_or_timeout(mins(5))?);
/// let batch = job.statistics().last.unwrap();
/// let filter = batch.operators.iter().find(|o| o.name.starts_with("filter (")).unwrap();
/// assert_eq!((filter.total().rows_in, filter.total().rows_out), (3, 2));
/// // How long the fastest worker, the one in the middle, and the slowest one took for it.
/// let [min, median, max] = filter.spread();
/// assert!(min <= median && median <= max && max == filter.workers[filter.slowest_worker()].time);
/// # Ok::<(), tidemill::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorInfo {
    /// The verb, and the line that called it.
    pub name: Arc<str>,
    /// What each worker did, by its number. There is at least one.
    pub workers: Vec<OperatorWork>,
}

/// What one worker did in one operator for one batch.
///
/// ```
/// use tidemill::metrics::{OperatorInfo, OperatorWork};
/// use tidemill::prelude::*;
/// let work = OperatorWork { time: millis(3), rows_in: 10, ..OperatorWork::default() };
/// let operator = OperatorInfo { name: "map (main.rs:12)".into(), workers: vec![work, work] };
/// assert_eq!((operator.total().time, operator.total().rows_in), (millis(6), 20));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorWork {
    /// Time for rows of this batch, also while the batch was open. If the worker has to share its core, this includes the time of others.
    pub time: Duration,
    /// Time while this was the oldest batch that was sealed and not computed, for rows of any batch.
    pub waited: Duration,
    /// Rows that came from other operators. For a view: changes.
    pub rows_in: u64,
    /// Rows that left to other operators, without bad records. For a view: changes.
    pub rows_out: u64,
}

impl AddAssign for OperatorWork {
    fn add_assign(&mut self, other: OperatorWork) {
        self.time += other.time;
        self.waited += other.waited;
        self.rows_in += other.rows_in;
        self.rows_out += other.rows_out;
    }
}

impl OperatorInfo {
    /// The work of all workers together.
    pub fn total(&self) -> OperatorWork {
        self.workers.iter().fold(OperatorWork::default(), |mut sum, work| {
            sum += *work;
            sum
        })
    }

    /// The least time of a worker, the median, and the longest.
    pub fn spread(&self) -> [Duration; 3] {
        let mut times: Vec<Duration> = self.workers.iter().map(|work| work.time).collect();
        times.sort_unstable();
        [0, times.len() / 2, times.len().saturating_sub(1)].map(|i| times.get(i).copied().unwrap_or_default())
    }

    /// The worker that spent the most time.
    pub fn slowest_worker(&self) -> usize {
        (0..self.workers.len()).max_by_key(|worker| self.workers[*worker].time).unwrap_or(0)
    }
}

/// The operator and the worker with the most time. `None`: no time is known.
pub(crate) fn most(operators: &[OperatorInfo], time: impl Fn(&OperatorWork) -> Duration) -> Option<(&OperatorInfo, usize)> {
    let all = operators.iter().flat_map(|operator| (0..operator.workers.len()).map(move |worker| (operator, worker)));
    let time = |(operator, worker): &(&OperatorInfo, usize)| time(&operator.workers[*worker]);
    all.max_by_key(time).filter(|most| !time(most).is_zero())
}

/// What the workers did in each operator for all of these batches.
#[cfg(any(test, feature = "http"))]
pub(crate) fn sum<'a>(batches: impl IntoIterator<Item = &'a BatchInfo>) -> Vec<OperatorInfo> {
    let mut batches = batches.into_iter();
    let mut sum = batches.next().map(|batch| batch.operators.clone()).unwrap_or_default();
    for batch in batches {
        for (sum, operator) in sum.iter_mut().zip(&batch.operators) {
            sum.workers.iter_mut().zip(&operator.workers).for_each(|(work, more)| *work += *more);
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::time::millis;

    #[test]
    fn the_median_of_an_even_number_is_the_upper_one_and_without_work_nothing_is_slow() {
        let operator = |times: &[u64]| {
            let work = |ms: &u64| OperatorWork { time: millis(*ms), ..OperatorWork::default() };
            OperatorInfo { name: "map".into(), workers: times.iter().map(work).collect() }
        };
        assert_eq!(operator(&[4, 1, 9, 3]).spread(), [1, 4, 9].map(millis));
        assert_eq!(operator(&[4, 1, 9, 3]).slowest_worker(), 2);
        let operators = [operator(&[2, 1]), operator(&[1, 3])];
        let (slow, worker) = most(&operators, |work| work.time).unwrap();
        assert_eq!((slow, worker), (&operators[1], 1));
        assert!(most(&operators, |work| work.waited).is_none());
        let batch = BatchInfo { operators: operators.into(), ..BatchInfo::default() };
        assert_eq!(sum([&batch, &batch]), [operator(&[4, 2]), operator(&[2, 6])]);
    }
}
