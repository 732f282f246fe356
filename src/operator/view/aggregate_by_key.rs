//! `aggregate_by_key` of a view: an accumulator of the values of each key, which values enter and leave.

use crate::api::view::{Form, View};
use crate::arrangement::accumulated::accumulated;
use crate::core::data::Key;

impl<'s, K: Key, V: Key> View<'s, (K, V)> {
    /// A view with a row `(key, result)` for each key in this view. Each key has an accumulator, which is `init` at first. `fold` adds to it: it
    /// gets a value, and how many copies of it entered; a negative number left. `result` makes the result of the accumulator.
    ///
    /// A batch costs the changes of this view, however many values a key has, and two calls of `result` for each key that changed. So it is for
    /// what can be taken away again, such as counts, sums of whole numbers, and maps of values to their numbers:
    /// [`View::reduce_by_key`] is for any other function. `fold` must be pure, changes come in any order, and `-n` must undo `n`. Each worker keeps
    /// an accumulator for each key that it owns.
    ///
    /// ```
    /// use tidemill::prelude::*;
    /// use tidemill::testing::check;
    /// let spread = |_: &char, values: &std::collections::BTreeMap<i64, i64>| {
    ///     values.keys().next_back().zip(values.keys().next()).map(|(most, least)| most - least)
    /// };
    /// let fold = |values: &mut std::collections::BTreeMap<i64, i64>, value, copies| {
    ///     *values.entry(value).or_insert(0) += copies;
    ///     values.retain(|_, copies| *copies != 0);
    /// };
    /// check(
    ///     [vec![('a', 3), ('b', 1)], vec![('a', 4), ('a', 8)], vec![]],
    ///     move |s| s.over(millis(2), millis(1)).aggregate_by_key(Default::default(), fold, spread).complete(),
    ///     [vec![('a', Some(0)), ('b', Some(0))], vec![('a', Some(5)), ('b', Some(0))], vec![('a', Some(4))]],
    /// );
    /// ```
    #[doc(alias = "aggregateByKey")]
    #[track_caller]
    pub fn aggregate_by_key<A: Clone + 'static, U: Key>(
        &self,
        init: A,
        fold: impl Fn(&mut A, V, i64) + 'static,
        result: impl Fn(&K, &A) -> U + 'static,
    ) -> View<'s, (K, U)> {
        let operator = self.operator::<(K, U)>("aggregate_by_key", "");
        let (view, verb) = (self.clone(), operator.clone());
        let results = Form::rows(move || accumulated(&view.node.graph, &verb, view.rows(), init, fold, result));
        self.derive(results, Some(&operator.to_string())).co_located(true).view()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use crate::api::context::StreamingContext;
    use crate::connector::memory::MemorySink;
    use crate::connector::queue::QueueSource;
    use crate::core::data::Change;
    use crate::core::time::millis;

    /// A change of a key with many values costs one call, and not one for each value.
    #[test]
    fn a_change_costs_the_same_however_many_values_a_key_has() {
        let change = |n: i64, diff| Change { row: ('a', n), diff };
        let many: Vec<_> = (1..=1_000).map(|n| change(n, 1)).collect();
        let batches = [many, vec![change(7, -1)], vec![], vec![change(2_000, 2), change(1, -1)]];
        for workers in [1, 2, 4] {
            let (calls, sums) = (Arc::new(AtomicU64::new(0)), MemorySink::new());
            let (counter, out, queue) = (calls.clone(), sums.clone(), QueueSource::from_batches(batches.clone()));
            let job = StreamingContext::builder("work", millis(1)).workers(workers).start(move |ssc| {
                let calls = counter.clone();
                let fold = move |sum: &mut i64, n: i64, copies: i64| {
                    calls.fetch_add(1, Ordering::Relaxed);
                    *sum += n * copies;
                };
                let all = ssc.queue_stream(&queue).changes_to_view().aggregate_by_key(0, fold, |_, sum| *sum);
                all.complete().to_memory(&out);
                Ok(())
            });
            job.unwrap().await_termination().unwrap();
            let totals = [500_500, 500_493, 500_493, 504_492].map(|sum| ('a', sum));
            assert_eq!(sums.rows(), totals, "at {workers} workers");
            assert_eq!(calls.load(Ordering::Relaxed), 1_003, "at {workers} workers");
        }
    }
}
